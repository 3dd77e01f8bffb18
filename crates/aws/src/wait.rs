//! Patience: with AWS's consistency lag, with what is slow to let go, and with what is slow to start.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    Aws,
    error::{Class, Failure},
};

/// Why a wait ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The person asked for it.
    Interrupted,
    /// It took too long.
    OutOfPatience,
}

/// A wait that ends by itself.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    aws: &'a Aws,
    until: Instant,
}

impl Wait<'_> {
    /// Whether patience is at its end.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits until it is time to look again.
    pub async fn look(&self) -> Result<(), Ended> {
        if self.is_over() {
            return Err(Ended::OutOfPatience);
        }
        tokio::select! {
            () = self.aws.connection.interrupt.cancelled() => Err(Ended::Interrupted),
            () = sleep(self.aws.connection.pace) => Ok(()),
        }
    }
}

impl Aws {
    /// A wait for something that AWS is slow to learn of, or that is slow to let go.
    pub(crate) fn short_wait(&self) -> Wait<'_> {
        self.wait(self.connection.patience)
    }

    /// A wait for a host or a service.
    pub(crate) fn long_wait(&self) -> Wait<'_> {
        self.wait(self.connection.patience * 5)
    }

    fn wait(&self, patience: Duration) -> Wait<'_> {
        Wait { aws: self, until: Instant::now() + patience }
    }

    /// Looks for something that is said to be there until AWS shows it, for a short while.
    pub(crate) async fn until_seen<T>(
        &self,
        mut look: impl AsyncFnMut() -> Result<Option<T>, Failure>,
    ) -> Result<Option<T>, Failure> {
        let wait = self.short_wait();
        loop {
            let seen = look().await?;
            if seen.is_some() || wait.look().await.is_err() {
                return Ok(seen);
            }
        }
    }

    /// Repeats a call while it fails with one of these classes.
    pub(crate) async fn patiently<T>(
        &self,
        classes: &[Class],
        call: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        repeat(&self.short_wait(), classes, call).await
    }

    /// The same for as long as a host or a service may take: something else must end first.
    pub(crate) async fn very_patiently<T>(
        &self,
        classes: &[Class],
        call: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        repeat(&self.long_wait(), classes, call).await
    }
}

async fn repeat<T>(
    wait: &Wait<'_>,
    classes: &[Class],
    mut call: impl AsyncFnMut() -> Result<T, Failure>,
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
