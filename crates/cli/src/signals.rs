//! Ctrl-C, SIGTERM and the closing of the terminal: the first one asks the command to stop, the second one ends it.

use tokio_util::sync::CancellationToken;
use trunnion::{Error, ExitCode};

use super::{failure::Failure, output::Output};

/// A token that the first signal cancels. The second signal ends the process at once. No resource is lost, because the
/// next plan finds everything that was created. A terminal that closes sends SIGHUP, often twice, so a second SIGHUP
/// does not end the process.
pub(crate) fn interrupt() -> CancellationToken {
    let token = CancellationToken::new();
    // Listen from now on, not from the first run of the task.
    let Some(mut signals) = Signals::listen() else { return token };
    let cancelled = token.clone();
    tokio::spawn(async move {
        signals.first().await;
        cancelled.cancel();
        signals.second().await;
        #[expect(clippy::exit, reason = "the user asked a second time")]
        std::process::exit(i32::from(ExitCode::Interrupted.code()));
    });
    token
}

/// The result of work that changes nothing: an interruption just ends it.
pub(crate) async fn unless_interrupted<T>(
    interrupt: &CancellationToken,
    output: Output,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let result = tokio::select! {
        result = work => result,
        () = interrupt.cancelled() => Err(Error::Interrupted.into()),
    };
    match result {
        Err(Failure::Library(Error::Interrupted)) => {
            output.always_say("\nInterrupted. Nothing was changed.");
            Err(Failure::Reported(ExitCode::Interrupted))
        }
        result => result,
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None` if the parent process ignores the signal, as `nohup` does.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Option<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = if is_hangup_ignored() { None } else { signal(SignalKind::hangup()).ok() };
        let (interrupt, terminate) = (signal(SignalKind::interrupt()).ok()?, signal(SignalKind::terminate()).ok()?);
        Some(Self { interrupt, terminate, hangup })
    }

    async fn first(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }

    async fn second(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Whether SIGHUP is ignored, according to `SigIgn` in `/proc/self/status`. Without that file, it counts as not
/// ignored.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Option<Self> {
        Some(Self)
    }

    async fn first(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }

    async fn second(&mut self) {
        self.first().await;
    }
}
