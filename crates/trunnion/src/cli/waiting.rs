//! What a person sees while a call takes long: that something is still under way, and what.

use std::{future::Future, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::output::Output;

/// A wait shorter than this is not worth a word.
const FIRST: Duration = Duration::from_secs(5);
/// Time between two words about one wait.
const EVERY: Duration = Duration::from_secs(10);

/// Waits for `work`, and says `still <what>: 15 s` while it takes long; on a terminal, a line that counts the seconds.
pub(crate) async fn patiently<T>(output: Output, what: &str, work: impl Future<Output = T>) -> T {
    let mut bar: Option<ProgressBar> = None;
    let result = beat(work, |waited| {
        let text = format!("Still {what}: {} s", waited.as_secs());
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
    let bar = ProgressBar::new_spinner().with_elapsed(waited);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(format!("still {what}"));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Waits for `work`, and tells how long it has taken, from time to time.
async fn beat<T>(work: impl Future<Output = T>, mut tell: impl FnMut(Duration)) -> T {
    let began = Instant::now();
    let mut ticks = tokio::time::interval_at(began + FIRST, EVERY);
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            now = ticks.tick() => tell(now - began),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_spoken_of_and_a_short_one_is_not() {
        for (takes, expected) in [(4, vec![]), (14, vec![5]), (26, vec![5, 15, 25])] {
            let mut told = Vec::new();
            let work = tokio::time::sleep(Duration::from_secs(takes));
            beat(work, |waited| told.push(waited.as_secs())).await;
            assert_eq!(told, expected, "of {takes} seconds");
        }
    }
}
