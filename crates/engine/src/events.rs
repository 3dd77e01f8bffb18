//! What apply reports while it works.

use tokio::sync::mpsc;

use crate::{Address, Operation, ProviderError};

/// What apply reports while it works. Every step that starts ends with exactly one of [`Event::Finished`],
/// [`Event::Failed`] and [`Event::Interrupted`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "`address` and `operation` are the step's, and `error` says why it failed")]
pub enum Event {
    /// A step began.
    Started { address: Address, operation: Operation },
    /// A step succeeded.
    Finished {
        address: Address,
        operation: Operation,
        /// The resource's id in the cloud, such as `i-…`, an ARN or a name.
        id: String,
    },
    /// A step failed.
    Failed { address: Address, operation: Operation, error: ProviderError },
    /// A step was not tried, because another one failed.
    Skipped {
        address: Address,
        operation: Operation,
        /// The address of the step that failed.
        because: Address,
    },
    /// The wait for a step was ended, because the person asked to stop or because the lock was lost: it may be done or not.
    Interrupted { address: Address, operation: Operation },
    /// No further step is started, because the apply was interrupted.
    Stopping,
}

/// Where events go: to the receiver of a channel, or nowhere.
#[derive(Debug, Clone)]
pub struct Events(Option<mpsc::UnboundedSender<Event>>);

/// Where events come from. It ends once every [`Events`] of its channel is dropped.
pub type EventReceiver = mpsc::UnboundedReceiver<Event>;

impl Events {
    /// A channel without a limit: a slow receiver does not slow the apply down.
    pub fn channel() -> (Self, EventReceiver) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Some(sender)), receiver)
    }

    /// For callers who only want the outcome.
    pub fn nowhere() -> Self {
        Self(None)
    }

    pub(crate) fn send(&self, event: Event) {
        if let Some(sender) = &self.0 {
            // A listener that went away is no reason to stop.
            let _ = sender.send(event);
        }
    }
}
