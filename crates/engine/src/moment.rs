//! A clock that goes on while the machine sleeps.

use std::time::Duration;

/// A time of a clock that nobody sets, and that counts the time in which the machine was suspended.
///
/// The clocks of the standard library and of tokio stop meanwhile on Linux, so a lease measured by them is longer than
/// everybody else sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The present time.
    pub fn now() -> Self {
        Self(now())
    }

    /// The time since then.
    pub fn elapsed(self) -> Duration {
        now().saturating_sub(self.0)
    }
}

#[cfg(unix)]
fn now() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    // clock_gettime(2), man-pages 6.9, read November 2026: `CLOCK_BOOTTIME` is `CLOCK_MONOTONIC` that also includes the
    // time in which the system is suspended. Darwin's `CLOCK_MONOTONIC` includes it by itself.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
    // It fails only for a clock that the system does not have: then nothing counts as held for longer than its lease.
    clock_gettime(CLOCK).map_or(Duration::MAX, Duration::from)
}

/// The performance counter of Windows counts the time of sleep.
#[cfg(not(unix))]
fn now() -> Duration {
    static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    BEGAN.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_clock_that_counts_sleep() {
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            text.split(' ').next().unwrap().parse().map(Duration::from_secs_f64).unwrap()
        };
        // `/proc/uptime` counts sleep, in hundredths of a second.
        let (before, now, after) = (uptime(), Moment::now().0, uptime());
        let grain = Duration::from_millis(10);
        assert!(before <= now + grain && now <= after + grain, "{before:?} {now:?} {after:?}");
    }
}
