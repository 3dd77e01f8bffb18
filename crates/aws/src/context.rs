//! What holds for the calls of one plan or apply, wherever in them it is asked for.
//!
//! The SDK asks its identity cache and its retry classifier in the task of the call, so that they find it, too. What another
//! task does (the shared look at hosts, the renewal of a lock) is outside: nothing interrupts that.

use trunnion_engine::Context;

tokio::task_local! {
    static CONTEXT: Context;
}

/// Runs calls within this context.
pub(crate) async fn within<T>(context: &Context, calls: impl Future<Output = T>) -> T {
    CONTEXT.scope(context.clone(), calls).await
}

/// What the calls under way are made within.
pub(crate) fn current() -> Option<Context> {
    CONTEXT.try_with(Context::clone).ok()
}

/// Whether the person asked to stop.
pub(crate) fn is_interrupted() -> bool {
    CONTEXT.try_with(|context| context.interrupt.is_cancelled()).unwrap_or_default()
}

/// Waits until the person asks to stop.
pub(crate) async fn interrupted() {
    match current() {
        Some(context) => context.interrupt.cancelled_owned().await,
        None => std::future::pending().await,
    }
}
