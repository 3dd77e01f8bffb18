//! Waits: for AWS's eventual consistency, for resources that are slow to be released, and for those that are slow to
//! start.
//!
//! Repeated calls are closures `|| async { … }`, not `async || { … }`: the compiler cannot prove that the futures of
//! the latter can be sent between threads.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    Aws, context,
    error::{Class, Failure},
};

/// Why a wait ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The user interrupted it.
    Interrupted,
    /// It took longer than allowed.
    OutOfPatience,
}

/// The first pause between two polls. Each pause is half as long again as the one before, up to the connection's
/// `pace`. Many waits end after a very short time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The pause before a poll; the first poll has the number 0.
pub(crate) fn pause(look: u32, pace: Duration) -> Duration {
    FIRST_PAUSE.mul_f64(1.5_f64.powi(i32::try_from(look.min(32)).unwrap_or(32))).min(pace)
}

/// How often something that is probably new, and is not shown, is looked for again. With the pauses, this takes 2 seconds.
pub(crate) const LOOKS_AGAIN: u32 = 4;

/// A wait with an end.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    aws: &'a Aws,
    until: Instant,
    /// How many polls it has at most.
    most: u32,
    looks: AtomicU32,
}

impl Wait<'_> {
    /// Whether the wait has reached its end.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until || self.looks.load(Ordering::Relaxed) >= self.most
    }

    /// Waits until the next poll.
    pub async fn look(&self) -> Result<(), Ended> {
        if self.is_over() {
            return Err(Ended::OutOfPatience);
        }
        tokio::select! {
            () = context::interrupted() => return Err(Ended::Interrupted),
            () = sleep(pause(self.looks.fetch_add(1, Ordering::Relaxed), self.aws.connection.pace)) => {}
        }
        if let Some(reads) = &self.aws.connection.reads {
            reads.forget();
        }
        Ok(())
    }
}

impl Aws {
    /// A wait for AWS's eventual consistency, or for a resource that is slow to be released.
    pub(crate) fn short_wait(&self) -> Wait<'_> {
        self.wait(self.connection.patience)
    }

    /// A wait for a host or a service, five times as long.
    pub(crate) fn long_wait(&self) -> Wait<'_> {
        self.wait(self.connection.patience * 5)
    }

    fn wait(&self, patience: Duration) -> Wait<'_> {
        Wait { aws: self, until: Instant::now() + patience, most: u32::MAX, looks: AtomicU32::new(0) }
    }

    /// A wait for what AWS may not show yet: after it, AWS shows whatever existed when it began.
    pub(crate) fn lag_wait(&self) -> Wait<'_> {
        self.wait(self.connection.lag)
    }

    /// Reads an existing resource until AWS shows it, for a short time.
    pub(crate) async fn until_seen<T, F: Future<Output = Result<Option<T>, Failure>> + Send>(
        &self,
        look: impl FnMut() -> F,
    ) -> Result<Option<T>, Failure> {
        Self::seen_within(self.short_wait(), look).await
    }

    /// Reads a resource that may exist until AWS shows it. Without it, the resource does not exist.
    pub(crate) async fn within_lag<T, F: Future<Output = Result<Option<T>, Failure>> + Send>(
        &self,
        look: impl FnMut() -> F,
    ) -> Result<Option<T>, Failure> {
        Self::seen_within(self.lag_wait(), look).await
    }

    async fn seen_within<T, F: Future<Output = Result<Option<T>, Failure>> + Send>(
        wait: Wait<'_>,
        mut look: impl FnMut() -> F,
    ) -> Result<Option<T>, Failure> {
        loop {
            let seen = look().await?;
            if seen.is_some() {
                return Ok(seen);
            }
            match wait.look().await {
                Ok(()) => {}
                Err(Ended::Interrupted) => return Err(Failure::interrupted("AWS does not show it yet")),
                Err(Ended::OutOfPatience) => return Ok(None),
            }
        }
    }

    /// Repeats a call while it fails with one of these classes.
    pub(crate) async fn patiently<T, F: Future<Output = Result<T, Failure>> + Send>(
        &self,
        classes: &[Class],
        call: impl FnMut() -> F,
    ) -> Result<T, Failure> {
        repeat(&self.short_wait(), classes, call).await
    }

    /// Repeats a call some times while AWS says that what it is about does not exist: AWS may not know a new resource
    /// everywhere. With the pauses between them, this takes 2 seconds if it does not exist.
    pub(crate) async fn if_known<T, F: Future<Output = Result<T, Failure>> + Send>(
        &self,
        mut call: impl FnMut() -> F,
    ) -> Result<T, Failure> {
        let wait = self.short_wait();
        for _ in 0..LOOKS_AGAIN {
            match call().await {
                Err(failure) if failure.class == Class::NotFound && wait.look().await.is_ok() => {}
                result => return result,
            }
        }
        call().await
    }

    /// The same for a read that shows nothing.
    pub(crate) async fn if_shown<T, F: Future<Output = Result<Option<T>, Failure>> + Send>(
        &self,
        mut look: impl FnMut() -> F,
    ) -> Result<Option<T>, Failure> {
        let wait = self.short_wait();
        for _ in 0..LOOKS_AGAIN {
            match look().await? {
                None if wait.look().await.is_ok() => {}
                seen => return Ok(seen),
            }
        }
        look().await
    }

    /// The same as [`Aws::patiently`], for the longest lag: after it, AWS's answer is about what exists.
    pub(crate) async fn for_lag<T, F: Future<Output = Result<T, Failure>> + Send>(
        &self,
        classes: &[Class],
        call: impl FnMut() -> F,
    ) -> Result<T, Failure> {
        repeat(&self.lag_wait(), classes, call).await
    }

    /// The same as [`Aws::patiently`], this many times at most.
    pub(crate) async fn some_times<T, F: Future<Output = Result<T, Failure>> + Send>(
        &self,
        times: u32,
        classes: &[Class],
        call: impl FnMut() -> F,
    ) -> Result<T, Failure> {
        repeat(&Wait { most: times.saturating_sub(1), ..self.short_wait() }, classes, call).await
    }

    /// The same as [`Aws::patiently`], as long as a host or a service may take to end.
    pub(crate) async fn very_patiently<T, F: Future<Output = Result<T, Failure>> + Send>(
        &self,
        classes: &[Class],
        call: impl FnMut() -> F,
    ) -> Result<T, Failure> {
        repeat(&self.long_wait(), classes, call).await
    }
}

async fn repeat<T, F: Future<Output = Result<T, Failure>> + Send>(
    wait: &Wait<'_>,
    classes: &[Class],
    mut call: impl FnMut() -> F,
) -> Result<T, Failure> {
    loop {
        match call().await {
            Err(failure) if failure.is(classes) => match wait.look().await {
                Ok(()) => {}
                Err(Ended::Interrupted) => return Err(Failure { class: Class::Interrupted, ..failure }),
                Err(Ended::OutOfPatience) => return Err(failure),
            },
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pauses_are_short_and_the_last_ones_are_the_pace() {
        let pauses: Vec<u128> = (0..9).map(|look| pause(look, Duration::from_secs(3)).as_millis()).collect();
        assert_eq!(pauses, [250, 375, 562, 843, 1265, 1898, 2847, 3000, 3000]);
        assert_eq!(pause(u32::MAX, Duration::from_secs(3)), Duration::from_secs(3));
        assert_eq!(pause(0, Duration::from_millis(50)), Duration::from_millis(50));
    }
}
