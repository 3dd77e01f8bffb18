//! What a person sees while a call takes long: that something is still under way, and what.

use std::{future::Future, time::Duration};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio::time::{Instant, Interval};

use super::output::Output;

/// A wait shorter than this is not worth a word.
const FIRST: Duration = Duration::from_secs(5);
/// Time between two words about one wait.
const EVERY: Duration = Duration::from_secs(10);

/// Waits for `work`, and says `Still <what>: 15 s` while it takes long; on a terminal, a line that counts the seconds.
pub(crate) async fn patiently<T>(output: Output, what: &str, work: impl Future<Output = T>) -> T {
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

/// What tells the time, and when it is time to say something.
pub(crate) trait Ticks {
    /// The time.
    fn now(&self) -> Instant;
    /// Waits until something is to be said.
    fn tick(&mut self) -> impl Future<Output = Instant>;
}

/// The clock of this machine.
pub(crate) struct Clock(Interval);

impl Clock {
    /// Ticks after `first` from now, and then after each `every`.
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

/// Waits for `work`, and tells how long it has taken, at each tick.
async fn beat<T>(mut ticks: impl Ticks, work: impl Future<Output = T>, mut tell: impl FnMut(Duration)) -> T {
    let began = ticks.now();
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            now = ticks.tick() => tell(now.saturating_duration_since(began)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{cell::RefCell, collections::VecDeque, rc::Rc};

    use super::*;

    /// A clock that stands still until a test moves it. It ticks when it is moved.
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
    async fn a_long_wait_is_spoken_of_at_each_tick() {
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
        let mut told = Vec::new();
        let result = beat(script.clone(), work, |waited| told.push(waited.as_secs())).await;
        assert_eq!((result, told), ("done", vec![5, 15]));
    }
}
