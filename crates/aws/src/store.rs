//! The state document in S3. No update can be lost, because every write names the version that it replaces.
//!
//! A lock object beside the document says who is working. Its holder renews it; a lock that is no longer renewed, for
//! example after a kill, can be taken over. Only S3's clock counts, so the clocks of two machines need not agree.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{Client, primitives::ByteStream};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextRef},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{DateTime, config_bag::ConfigBag, date_time::Format};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval_at},
};
use trunnion_engine::{LockInfo, State, StateLock, StateStore, StoreError};
use uuid::Uuid;

use crate::{
    Aws,
    calls::{On, Subject},
    error::{Class, Denial, Failure, OfCall as _},
};

/// How often a lock is renewed, and when it is considered abandoned.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// Time between two renewals.
    pub renewal: Duration,
    /// A lock whose last renewal is older than this can be taken over.
    pub stale_after: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Self { renewal: Duration::from_secs(20), stale_after: Duration::from_mins(2) }
    }
}

/// A store for one state document in S3.
#[derive(Debug, Clone)]
pub struct S3Store {
    s3: Client,
    bucket: String,
    key: String,
    stack: String,
    /// For the policy after a denied call.
    subject: Arc<Subject>,
    lease: Lease,
    /// The document that was last read or written; `None` if there was none.
    last: Arc<Mutex<Option<Version>>>,
}

/// A document's identity, and S3's version of it.
#[derive(Debug, Clone)]
struct Version {
    lineage: String,
    serial: u64,
    tag: String,
}

/// The key of the lock of the document with this key.
pub(crate) fn lock_key(key: &str) -> String {
    format!("{}.lock.json", key.strip_suffix(".json").unwrap_or(key))
}

impl S3Store {
    /// A store for the document at this key. The bucket must exist; the key ends with `.json`.
    pub fn new(aws: &Aws, bucket: impl Into<String>, key: impl Into<String>) -> Self {
        let (bucket, key) = (bucket.into(), key.into());
        Self {
            s3: aws.clients.s3.clone(),
            stack: aws.connection.stack.clone(),
            subject: Arc::new(aws.subject().with_state(&bucket, [key.clone(), lock_key(&key)])),
            bucket,
            key,
            lease: Lease::default(),
            last: Arc::default(),
        }
    }

    /// The same store with another lease for its locks.
    #[must_use]
    pub fn with_lease(self, lease: Lease) -> Self {
        Self { lease, ..self }
    }

    fn lock_key(&self) -> String {
        lock_key(&self.key)
    }

    fn remember(&self, state: &State, tag: Option<String>) {
        let version = tag.map(|tag| Version { lineage: state.lineage.clone(), serial: state.serial, tag });
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = version;
    }

    fn remembered(&self) -> Option<Version> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, failure: Failure) -> StoreError {
        let help = match failure.code.as_str() {
            "NoSuchBucket" => {
                Some("create the bucket, with versioning, or correct `state` in the stack file".to_owned())
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                Some("use a bucket in the stack's region: this one is in another region".to_owned())
            }
            _ if failure.class == Class::Denied => Some(self.denied(&failure)),
            _ => None,
        };
        let error = Failure { help: help.or_else(|| failure.help.clone()), ..failure };
        StoreError::Remote(error.about(&format!("`{}`", self.location())))
    }

    /// The next step after a denied call, for the objects of the state.
    fn denied(&self, failure: &Failure) -> String {
        let objects = self.subject.arns(On::StateObjects);
        let denial = Denial::new(failure.operation, &failure.message);
        objects.first().map_or(denial, |object| denial.on(object)).help(Some(&self.subject))
    }

    /// The content and version of a key.
    async fn get(&self, key: &str) -> Result<Option<Found>, Failure> {
        let date = ServerDate::default();
        let call = self.s3.get_object().bucket(&self.bucket).key(key).customize().interceptor(date.clone());
        let answer = match call.send().await.of_call("s3:GetObject") {
            Ok(answer) => answer,
            Err(failure) if failure.class == Class::NotFound && failure.code != "NoSuchBucket" => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let version = answer.e_tag.unwrap_or_default();
        let age = answer.last_modified.and_then(|at| date.since(&at)).unwrap_or_default();
        let bytes = answer.body.collect().await.map_err(|error| {
            let message = format!("the object was received only in part ({error})");
            Failure::of_call("s3:GetObject", Class::Unreachable, message)
        })?;
        Ok(Some(Found { bytes: bytes.to_vec(), version, age }))
    }

    /// Writes a key if its current version is the given one, or if the key does not exist for `None`. Returns the new
    /// version.
    async fn put(&self, key: &str, bytes: Vec<u8>, follows: Option<&str>) -> Result<String, Failure> {
        let call = self.s3.put_object().bucket(&self.bucket).key(key).content_type("application/json");
        let call = match follows {
            Some(version) => call.if_match(version),
            None => call.if_none_match("*"),
        };
        let written = call.body(ByteStream::from(bytes.clone())).send().await.of_call("s3:PutObject");
        match written {
            Ok(answer) => Ok(answer.e_tag.unwrap_or_default()),
            // An earlier attempt may have succeeded without an answer, or the given version may be gone: the current
            // content decides.
            Err(failure) if failure.is(&[Class::Precondition, Class::NotFound]) && failure.code != "NoSuchBucket" => {
                match self.get(key).await? {
                    Some(found) if found.bytes == bytes => Ok(found.version),
                    _ => Err(Failure { class: Class::Precondition, ..failure }),
                }
            }
            Err(failure) => Err(failure),
        }
    }
}

/// The content of a key.
#[derive(Debug)]
struct Found {
    bytes: Vec<u8>,
    version: String,
    /// Time since it was written, by S3's clock.
    age: Duration,
}

/// Keeps the time of S3's answer.
#[derive(Debug, Clone, Default)]
struct ServerDate(Arc<Mutex<Option<SystemTime>>>);

impl ServerDate {
    fn since(&self, at: &DateTime) -> Option<Duration> {
        let now = (*self.0.lock().unwrap_or_else(PoisonError::into_inner)).unwrap_or_else(SystemTime::now);
        now.duration_since(SystemTime::try_from(*at).ok()?).ok()
    }
}

impl Intercept for ServerDate {
    fn name(&self) -> &'static str {
        "ServerDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date.and_then(|date| SystemTime::try_from(date).ok());
        Ok(())
    }
}

impl StateStore for S3Store {
    type Lock = S3Lock;

    async fn load(&self) -> Result<State, StoreError> {
        let found = Box::pin(self.get(&self.key)).await.map_err(|failure| self.failed(failure))?;
        let (state, tag) = match found {
            None => (State::empty(&self.stack), None),
            Some(found) => {
                let state = State::parse(&found.bytes, &self.stack)
                    .map_err(|source| StoreError::Document { place: self.location(), source })?;
                (state, Some(found.version))
            }
        };
        self.remember(&state, tag);
        Ok(state)
    }

    async fn lock(&self, info: &LockInfo) -> Result<S3Lock, StoreError> {
        let key = self.lock_key();
        let failed = |failure| self.failed(failure);
        let document = LockDocument { holder: info.clone(), id: Uuid::new_v4().to_string(), renewal: 0 };
        let body = serde_json::to_vec_pretty(&document);
        let body = body.map_err(|error| failed(Failure::own(error.to_string(), None)))?;
        let locked = |holder| StoreError::Locked { place: format!("s3://{}/{key}", self.bucket), holder };
        let began = Instant::now();
        let version = match Box::pin(self.put(&key, body.clone(), None)).await {
            Ok(version) => version,
            Err(failure) if failure.class == Class::Precondition => {
                let found = Box::pin(self.get(&key)).await.map_err(failed)?;
                let follows = match &found {
                    // It was released a moment ago.
                    None => None,
                    Some(found) if found.age >= self.lease.stale_after => Some(found.version.as_str()),
                    Some(found) => {
                        let holder = serde_json::from_slice(&found.bytes).ok();
                        return Err(locked(holder.map(|document: LockDocument| Box::new(document.holder))));
                    }
                };
                match Box::pin(self.put(&key, body, follows)).await {
                    Ok(version) => version,
                    Err(failure) if failure.class == Class::Precondition => return Err(locked(None)),
                    Err(failure) => return Err(failed(failure)),
                }
            }
            Err(failure) => return Err(failed(failure)),
        };
        let held = Arc::new(Held { is_lost: AtomicBool::new(false), renewed: Mutex::new(began) });
        let (release, released) = oneshot::channel();
        let holding = Holding { store: self.clone(), key, document, version, held: Arc::clone(&held) };
        tokio::spawn(holding.until(released));
        Ok(S3Lock { store: self.clone(), held, release })
    }

    /// `s3://bucket/key`
    fn location(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}

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

/// What is known of a lock without asking S3.
#[derive(Debug)]
struct Held {
    is_lost: AtomicBool,
    /// When the last successful renewal started.
    renewed: Mutex<Instant>,
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
    /// Runs until the lock is released, dropped or taken over.
    async fn until(mut self, mut released: oneshot::Receiver<Release>) {
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
                _ = renewals.tick() => {
                    if !self.renew().await {
                        self.held.is_lost.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            }
        }
    }

    /// Renews the lock. Returns whether it is still ours.
    async fn renew(&mut self) -> bool {
        self.document.renewal += 1;
        let Ok(body) = serde_json::to_vec_pretty(&self.document) else { return true };
        let began = Instant::now();
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
        let document = |found: &Found| serde_json::from_slice::<LockDocument>(&found.bytes).ok();
        let is_ours = |found: &Found| document(found).is_some_and(|document| document.id == self.document.id);
        Ok(found.filter(is_ours).map(|found| found.version))
    }

    async fn give_back(self) -> Result<(), StoreError> {
        let Self { store, key, version, .. } = self;
        let call = store.s3.delete_object().bucket(&store.bucket).key(&key).if_match(version);
        match call.send().await.of_call("s3:DeleteObject") {
            Err(failure) if !failure.is(&[Class::NotFound, Class::Precondition]) => Err(store.failed(failure)),
            _ => Ok(()),
        }
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
        match Box::pin(store.put(&store.key, document, follows.as_deref())).await {
            Ok(tag) => {
                store.remember(state, Some(tag));
                Ok(())
            }
            Err(failure) if failure.class == Class::Precondition => Err(StoreError::Moved { place: place() }),
            Err(failure) => Err(store.failed(failure)),
        }
    }

    /// Whether nobody has taken it over and nobody can have: the last renewal is recent enough.
    fn is_held(&self) -> bool {
        let renewed = *self.held.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = self.store.lease.stale_after.saturating_sub(GRAIN);
        !self.held.is_lost.load(Ordering::Relaxed) && renewed.elapsed() < lasts
    }

    async fn release(self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        // After a loss, there is no receiver and nothing to release.
        let _ = self.release.send(answer);
        answered.await.unwrap_or(Ok(()))
    }
}
