//! Shows during a long wait what the command is doing.

use std::{future::Future, time::Duration};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio::time::{Instant, Interval};

use super::output::Output;

/// The time before the first message about a wait.
const FIRST: Duration = Duration::from_secs(5);
/// The time between two messages about the same wait.
const EVERY: Duration = Duration::from_secs(10);

/// Waits for `work`. A long wait prints lines such as `Still <what>: 15 s`, or draws a spinner on a terminal.
pub(crate) async fn with_progress<T>(output: Output, what: &str, work: impl Future<Output = T>) -> T {
    let mut bar: Option<ProgressBar> = None;
    let result = beat(Clock::new(FIRST, EVERY), work, |waited| {
        let text = format!("Still {what}: {:.0} s", waited.as_secs_f64());
        if !output.is_live() {
            output.say(&text);
        } else if bar.is_none() {
            bar = Some(spinner(what, waited));
        }
    })
    .await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    result
}

fn spinner(what: &str, waited: Duration) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_elapsed(waited).with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(format!("still {what}"));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A clock with ticks, which tests replace.
pub(crate) trait Ticks {
    /// The present time.
    fn now(&self) -> Instant;
    /// Waits for the next tick, and returns its time.
    fn tick(&mut self) -> impl Future<Output = Instant>;
}

/// The system's monotonic clock.
pub(crate) struct Clock(Interval);

impl Clock {
    /// The first tick comes after `first`, each further one after another `every`.
    pub(crate) fn new(first: Duration, every: Duration) -> Self {
        Self(tokio::time::interval_at(Instant::now() + first, every))
    }
}

impl Ticks for Clock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn tick(&mut self) -> Instant {
        self.0.tick().await
    }
}

/// Waits for `work`, and calls `report` with the elapsed time at each tick.
async fn beat<T>(mut ticks: impl Ticks, work: impl Future<Output = T>, mut report: impl FnMut(Duration)) -> T {
    let began = ticks.now();
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            now = ticks.tick() => report(now.saturating_duration_since(began)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{cell::RefCell, collections::VecDeque, rc::Rc};

    use super::*;

    /// A clock that a test sets and whose ticks it triggers.
    #[derive(Clone)]
    pub(crate) struct Script {
        now: Rc<RefCell<Instant>>,
        ticks: Rc<RefCell<VecDeque<Instant>>>,
    }

    impl Script {
        pub(crate) fn new() -> Self {
            Self { now: Rc::new(RefCell::new(Instant::now())), ticks: Rc::default() }
        }

        pub(crate) fn pass(&self, seconds: u64) {
            *self.now.borrow_mut() += Duration::from_secs(seconds);
        }

        pub(crate) fn ring(&self) {
            self.ticks.borrow_mut().push_back(self.now());
        }
    }

    impl Ticks for Script {
        fn now(&self) -> Instant {
            *self.now.borrow()
        }

        async fn tick(&mut self) -> Instant {
            loop {
                if let Some(now) = self.ticks.borrow_mut().pop_front() {
                    return now;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_long_wait_is_reported_at_each_tick() {
        let script = Script::new();
        let work = async {
            for seconds in [5, 10] {
                script.pass(seconds);
                script.ring();
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
            "done"
        };
        let mut reported = Vec::new();
        let result = beat(script.clone(), work, |waited| reported.push(waited.as_secs())).await;
        assert_eq!((result, reported), ("done", vec![5, 15]));
    }
}
