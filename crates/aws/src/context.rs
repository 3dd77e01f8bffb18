//! The context of one plan or apply, available to all of its calls.
//!
//! It is task-local. The SDK asks its identity cache and its retry classifier in the task of the call, so they find it
//! too. Work in other tasks (the shared poll of hosts, the renewal of a lock) has no context, so nothing interrupts it. It
//! changes no resource.

use trunnion_engine::Context;

tokio::task_local! {
    static CONTEXT: Context;
}

/// Runs calls in this context.
pub(crate) async fn within<T>(context: &Context, calls: impl Future<Output = T>) -> T {
    CONTEXT.scope(context.clone(), calls).await
}

/// The context of the current task, if it has one.
pub(crate) fn current() -> Option<Context> {
    CONTEXT.try_with(Context::clone).ok()
}

/// Whether the user asked to stop.
pub(crate) fn is_interrupted() -> bool {
    CONTEXT.try_with(|context| context.interrupt.is_cancelled()).unwrap_or_default()
}

/// Waits until the user asks to stop.
pub(crate) async fn interrupted() {
    match current() {
        Some(context) => context.interrupt.cancelled_owned().await,
        None => std::future::pending().await,
    }
}

/// Whether the lock is lost under which the task makes its changes.
pub(crate) fn is_lock_lost() -> bool {
    CONTEXT.try_with(|context| !context.hold.is_held()).unwrap_or_default()
}
