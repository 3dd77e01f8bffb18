//! The lock object beside a state in S3.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval_at},
};
use trunnion_engine::{Context, FoundLock, Hold, LockInfo, Moment, State, StateLock, StateStore as _, StoreError};
use uuid::Uuid;

use super::{Found, S3Store};
use crate::{
    context::within,
    error::{Class, Failure},
};

/// The content of a lock object.
#[derive(Debug, Serialize, Deserialize)]
struct LockDocument {
    #[serde(flatten)]
    holder: LockInfo,
    /// Unique for each acquisition. S3's versions are digests of the content, so no two locks may have the same
    /// content.
    id: String,
    /// How often it has been renewed.
    renewal: u64,
}

impl LockDocument {
    /// Nothing where it is none, for example one of another version.
    fn of(found: &Found) -> Option<Self> {
        serde_json::from_slice(&found.bytes).ok()
    }
}

impl S3Store {
    pub(super) async fn take_lock(&self, info: &LockInfo) -> Result<S3Lock, StoreError> {
        let key = self.lock_key();
        let failed = |failure| self.failed(failure);
        let document = LockDocument { holder: info.clone(), id: Uuid::new_v4().to_string(), renewal: 0 };
        let body = serde_json::to_vec_pretty(&document);
        let body = body.map_err(|error| failed(Failure::own(error.to_string(), None)))?;
        let began = Moment::now();
        let version = match Box::pin(self.put(&key, body.clone(), None)).await {
            Ok(version) => version,
            Err(failure) if failure.class == Class::Precondition => self.take_over(&key, body).await?,
            Err(failure) => return Err(failed(failure)),
        };
        let lasts = self.lease.stale_after.saturating_sub(GRAIN);
        let held = Arc::new(Held { is_lost: AtomicBool::new(false), renewed: Mutex::new(began), lasts });
        let (release, released) = oneshot::channel();
        let holding = Holding { store: self.clone(), key, document, version, held: Arc::clone(&held) };
        tokio::spawn(holding.until(released));
        Ok(S3Lock { store: self.clone(), held, release })
    }

    /// Takes the lock of a holder that does not renew it any more, or that does not run any more. Returns the version of
    /// the lock object.
    async fn take_over(&self, key: &str, body: Vec<u8>) -> Result<String, StoreError> {
        let locked = |holder| StoreError::Locked { place: format!("s3://{}/{key}", self.bucket), holder };
        let found = Box::pin(self.get(key)).await.map_err(|failure| self.failed(failure))?;
        let follows = match &found {
            // It was released a moment ago.
            None => None,
            Some(found) => {
                let holder = LockDocument::of(found).map(|document| Box::new(document.holder));
                if found.age < self.lease.stale_after && !holder.as_ref().is_some_and(|holder| holder.is_dead()) {
                    return Err(locked(holder));
                }
                Some(found.version.as_str())
            }
        };
        match Box::pin(self.put(key, body, follows)).await {
            Ok(version) => Ok(version),
            Err(failure) if failure.class == Class::Precondition => Err(locked(None)),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// The lock object, if there is one.
    pub(super) async fn read_lock(&self) -> Result<Option<FoundLock>, StoreError> {
        let key = self.lock_key();
        let found = Box::pin(self.get(&key)).await.map_err(|failure| self.failed(failure))?;
        let place = format!("s3://{}/{key}", self.bucket);
        Ok(found.map(|found| {
            let holder = LockDocument::of(&found).map(|document| Box::new(document.holder));
            FoundLock { place, holder, version: found.version }
        }))
    }
}

/// What is known of a lock without asking S3.
#[derive(Debug)]
struct Held {
    is_lost: AtomicBool,
    /// When the last successful renewal started.
    renewed: Mutex<Moment>,
    /// How long a renewal counts.
    lasts: Duration,
}

impl Held {
    /// Whether nobody has taken the lock over and nobody can have: the last renewal is recent enough. A lock that was lost
    /// once stays lost, also where a later renewal would succeed.
    fn is_held(&self) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if renewed.elapsed() >= self.lasts {
            self.is_lost.store(true, Ordering::Relaxed);
        }
        !self.is_lost.load(Ordering::Relaxed)
    }
}

/// Requests the release of a lock; the result is sent back.
type Release = oneshot::Sender<Result<(), StoreError>>;

/// Renews a lock and releases it.
struct Holding {
    store: S3Store,
    key: String,
    document: LockDocument,
    /// The version of our lock object.
    version: String,
    held: Arc<Held>,
}

impl Holding {
    /// Runs until the lock is released or dropped. Once it is lost, it sends nothing that changes something.
    async fn until(self, released: oneshot::Receiver<Release>) {
        let held = Arc::clone(&self.held);
        let context = Context::default().with_hold(Hold::new(move || held.is_held()));
        within(&context, self.renew_until(released)).await;
    }

    async fn renew_until(mut self, mut released: oneshot::Receiver<Release>) {
        let every = self.store.lease.renewal;
        let mut renewals = interval_at(Instant::now() + every, every);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // A renewal in progress ends first: the release needs its version.
            tokio::select! {
                biased;
                asked = &mut released => {
                    let result = self.give_back().await;
                    if let Ok(answer) = asked {
                        let _ = answer.send(result);
                    }
                    return;
                }
                _ = renewals.tick(), if self.held.is_held() => {
                    if !self.renew().await {
                        self.held.is_lost.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Renews the lock. Returns whether it is still ours.
    async fn renew(&mut self) -> bool {
        self.document.renewal += 1;
        let Ok(body) = serde_json::to_vec_pretty(&self.document) else { return true };
        let began = Moment::now();
        match Box::pin(self.store.put(&self.key, body, Some(&self.version))).await {
            Ok(version) => {
                self.version = version;
                *self.held.renewed.lock().unwrap_or_else(PoisonError::into_inner) = began;
            }
            Err(failure) if failure.class == Class::Precondition => match self.ours().await {
                Ok(Some(version)) => self.version = version,
                Ok(None) => {
                    tracing::warn!(self.key, "the lock was taken over by somebody else: no further changes are made");
                    return false;
                }
                Err(failure) => tracing::debug!(self.key, message = failure.message, "reading the lock failed"),
            },
            // The next renewal comes before the lock expires.
            Err(failure) => tracing::debug!(self.key, message = failure.message, "renewing the lock failed"),
        }
        true
    }

    /// The version of the lock object if it is still ours: the answer to an earlier renewal may have been lost.
    async fn ours(&self) -> Result<Option<String>, Failure> {
        let found = Box::pin(self.store.get(&self.key)).await?;
        Ok(found.and_then(|found| self.if_ours(found)))
    }

    fn if_ours(&self, found: Found) -> Option<String> {
        let is_ours = LockDocument::of(&found).is_some_and(|document| document.id == self.document.id);
        is_ours.then_some(found.version)
    }

    /// Deletes the lock object, and only if it is ours. One that was lost is left to the others; if nothing noticed that
    /// before, it is an error.
    async fn give_back(self) -> Result<(), StoreError> {
        let failed = |failure| self.store.failed(failure);
        match Box::pin(self.store.delete(&self.key, &self.version)).await {
            Ok(true) => return Ok(()),
            Err(failure) if failure.class == Class::Interrupted => return Ok(()),
            Ok(false) => {}
            Err(failure) => return Err(failed(failure)),
        }
        // The answer to the last renewal may have been lost: then the object is ours under another version. That to the
        // deletion may have been lost, too: then there is none.
        let Some(found) = Box::pin(self.store.get(&self.key)).await.map_err(failed)? else { return Ok(()) };
        let Some(version) = self.if_ours(found) else {
            return Err(StoreError::Lost { place: self.store.location() });
        };
        Box::pin(self.store.delete(&self.key, &version)).await.map_err(failed)?;
        Ok(())
    }
}

/// A lock that is held. When dropped, it is released if the runtime still runs; otherwise it is just no longer renewed.
#[derive(Debug)]
pub struct S3Lock {
    store: S3Store,
    held: Arc<Held>,
    release: oneshot::Sender<Release>,
}

/// S3 reports ages in whole seconds.
const GRAIN: Duration = Duration::from_secs(1);

impl S3Lock {
    /// Writes the document in the place of this version of it, as long as the lock is held.
    async fn put(&self, state: &State, document: Vec<u8>, follows: Option<&str>) -> Result<(), StoreError> {
        let (store, place) = (&self.store, self.store.location());
        let put = store.put(&store.key, document, follows);
        match Box::pin(within(&Context::default().with_hold(self.hold()), put)).await {
            Ok(tag) => {
                store.remember(state, Some(tag));
                Ok(())
            }
            Err(failure) if failure.class == Class::Interrupted => Err(StoreError::Lost { place }),
            Err(failure) if failure.class == Class::Precondition => Err(StoreError::Moved { place }),
            Err(failure) => Err(store.failed(failure)),
        }
    }
}

impl StateLock for S3Lock {
    async fn save(&self, state: &State) -> Result<(), StoreError> {
        let (store, place) = (&self.store, || self.store.location());
        if !self.is_held() {
            return Err(StoreError::Lost { place: place() });
        }
        let document =
            state.to_document().map_err(|error| StoreError::Document { place: place(), source: error.into() })?;
        let follows = match store.remembered() {
            // Another document, written by somebody else, was read since.
            Some(last) if !state.follows(Some((&last.lineage, last.serial))) => {
                return Err(StoreError::Moved { place: place() });
            }
            last => last.map(|last| last.tag),
        };
        self.put(state, document, follows.as_deref()).await
    }

    async fn replace_damaged(&self, state: &State) -> Result<(), StoreError> {
        let (store, place) = (&self.store, || self.store.location());
        let failed = |failure| self.store.failed(failure);
        let found = Box::pin(store.get(&store.key)).await.map_err(failed)?;
        if !self.is_held() {
            return Err(StoreError::Lost { place: place() });
        }
        let document =
            state.to_document().map_err(|error| StoreError::Document { place: place(), source: error.into() })?;
        let follows = found.as_ref().map(|found| found.version.as_str());
        self.put(state, document, follows).await
    }

    fn hold(&self) -> Hold {
        let held = Arc::clone(&self.held);
        Hold::new(move || held.is_held())
    }

    async fn release(self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        // After a loss, there is no receiver and nothing to release.
        let _ = self.release.send(answer);
        answered.await.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_lost_once_stays_lost() {
        let held = Held { is_lost: AtomicBool::new(false), renewed: Mutex::new(Moment::now()), lasts: Duration::ZERO };
        assert!(!held.is_held());
        let renewed = Held { lasts: Duration::from_hours(1), ..held };
        assert!(!renewed.is_held());
        assert!(Held { is_lost: AtomicBool::new(false), ..renewed }.is_held());
    }
}
