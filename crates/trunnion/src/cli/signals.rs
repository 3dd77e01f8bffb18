//! Ctrl-C and SIGTERM: the first one asks to stop, the second one stops.

use tokio_util::sync::CancellationToken;

use super::INTERRUPTED;

/// A token that the first signal cancels. The second one ends the process at once: that loses nothing, because every
/// create can be found again.
pub(crate) fn interrupt() -> CancellationToken {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        next().await;
        cancelled.cancel();
        next().await;
        #[expect(clippy::exit, reason = "the person asked a second time")]
        std::process::exit(i32::from(INTERRUPTED));
    });
    token
}

async fn next() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
