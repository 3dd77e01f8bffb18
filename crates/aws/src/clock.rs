//! AWS's clock: the clock of this machine may be wrong.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_smithy_types::{DateTime, date_time::Format};

/// By how many seconds AWS's clock is ahead of this machine's, from the `Date` of its last answer.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicI64);

fn here() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Clock {
    /// Sets it by an answer's `Date`; another text is ignored.
    pub fn set(&self, date: &str) {
        if let Ok(date) = DateTime::from_str(date, Format::HttpDate) {
            self.0.store(date.secs().saturating_sub(here()), Ordering::Relaxed);
        }
    }

    /// In seconds since 1970.
    pub fn now(&self) -> i64 {
        here().saturating_add(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_date_of_answers() {
        let clock = Clock::default();
        assert!((clock.now() - here()).abs() <= 1);
        clock.set("Thu, 01 Jan 2026 00:00:00 GMT");
        assert!((clock.now() - 1_767_225_600).abs() <= 1, "{}", clock.now());
        clock.set("yesterday");
        assert!((clock.now() - 1_767_225_600).abs() <= 1, "{}", clock.now());
    }
}
