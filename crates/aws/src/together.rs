//! One read for everybody who asks for it before it begins.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::sleep};

use crate::{error::Failure, wait::pause};

type Answer<T> = Result<Arc<T>, Failure>;

/// A read that callers share. It begins a short pause after the first of them asked, so it shows what each of them knows to
/// be there.
#[derive(Debug)]
pub(crate) struct Together<T> {
    pace: Duration,
    waiting: Arc<Mutex<Vec<oneshot::Sender<Answer<T>>>>>,
}

impl<T: Send + Sync + 'static> Together<T> {
    pub fn new(pace: Duration) -> Self {
        Self { pace, waiting: Arc::default() }
    }

    /// What the read shows that begins after this call.
    pub async fn read<F: Future<Output = Result<T, Failure>> + Send + 'static>(
        &self,
        read: impl FnOnce() -> F + Send + 'static,
    ) -> Answer<T> {
        let (sender, receiver) = oneshot::channel();
        let is_first = {
            let mut waiting = lock(&self.waiting);
            waiting.push(sender);
            waiting.len() == 1
        };
        if is_first {
            let (waiting, pace) = (Arc::clone(&self.waiting), self.pace);
            tokio::spawn(async move {
                sleep(pause(0, pace)).await;
                let asked = std::mem::take(&mut *lock(&waiting));
                let answer = read().await.map(Arc::new);
                for sender in asked {
                    // The receiver may have stopped waiting.
                    let _ = sender.send(answer.clone());
                }
            });
        }
        receiver.await.unwrap_or_else(|_| Err(Failure::own("the shared read has stopped", None)))
    }
}

fn lock<T>(waiting: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
