//! What apply reports while it works.

use tokio::sync::mpsc;

use crate::{Address, Operation, ProviderError};

/// What apply reports while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step began.
    Started {
        /// What it is about.
        address: Address,
        /// What is done.
        operation: Operation,
    },
    /// A step succeeded.
    Finished {
        /// What it is about.
        address: Address,
        /// What was done.
        operation: Operation,
        /// What the cloud calls it.
        id: String,
    },
    /// A step failed.
    Failed {
        /// What it is about.
        address: Address,
        /// What was tried.
        operation: Operation,
        /// Why it failed.
        error: ProviderError,
    },
    /// A step was not tried, because another one failed.
    Skipped {
        /// What it is about.
        address: Address,
        /// What would have been done.
        operation: Operation,
        /// Whose failure it is.
        because: Address,
    },
    /// The wait for a step was ended, because the person asked to stop or because the lock was lost: it may be done or not.
    Interrupted {
        /// What it is about.
        address: Address,
        /// What was being done.
        operation: Operation,
    },
    /// No further step is started.
    Stopping,
}

/// Where events go. Every printer listens to the other end.
#[derive(Debug, Clone)]
pub struct Events(Option<mpsc::UnboundedSender<Event>>);

/// Where events come from. It ends once every [`Events`] of its channel is dropped.
pub type EventReceiver = mpsc::UnboundedReceiver<Event>;

impl Events {
    /// A channel of events.
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
