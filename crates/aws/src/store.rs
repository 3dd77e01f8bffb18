//! The state document in S3, where a lost update cannot happen: every write names the version it follows.
//!
//! A lock object beside the document tells people who is working. Its holder renews it; a lock that nobody renews any
//! more, as after a kill, is taken over. S3's clock decides, so the clocks of two machines need not agree.

use std::{
    sync::{Arc, Mutex, PoisonError},
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
use tokio::task::JoinHandle;
use trunnion_engine::{LockGuard, LockInfo, State, StateStore, StoreError};
use uuid::Uuid;

use crate::{
    Aws,
    error::{Class, Failure, Told as _},
};

/// How often a lock is renewed, and when it counts as left behind.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// Time between two renewals.
    pub renewal: Duration,
    /// A lock that was not renewed for so long is taken over.
    pub stale_after: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Self { renewal: Duration::from_secs(20), stale_after: Duration::from_mins(2) }
    }
}

/// A state document in S3.
#[derive(Debug, Clone)]
pub struct S3Store {
    s3: Client,
    bucket: String,
    key: String,
    stack: String,
    lease: Lease,
    /// The version that the next write follows; none where there was no document.
    version: Arc<Mutex<Option<String>>>,
}

impl S3Store {
    /// The document at a key of a bucket, which must be there; the key ends with `.json`.
    pub fn new(aws: &Aws, bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            s3: aws.clients.s3.clone(),
            bucket: bucket.into(),
            key: key.into(),
            stack: aws.connection.stack.clone(),
            lease: Lease::default(),
            version: Arc::default(),
        }
    }

    /// The same with another lease for its locks.
    #[must_use]
    pub fn with_lease(self, lease: Lease) -> Self {
        Self { lease, ..self }
    }

    /// `s3://bucket/key`
    pub fn place(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    fn lock_key(&self) -> String {
        format!("{}.lock.json", self.key.strip_suffix(".json").unwrap_or(&self.key))
    }

    fn remember(&self, version: Option<String>) {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = version;
    }

    fn remembered(&self) -> Option<String> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, failure: Failure) -> StoreError {
        let help = match failure.code.as_str() {
            "NoSuchBucket" => {
                Some("create the bucket, with versioning, or correct `state` in the stack file".to_owned())
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                Some("the bucket lies in another region: keep the state in a bucket of the stack's region".to_owned())
            }
            _ => None,
        };
        let error = failure.about(&format!("`{}`", self.place()));
        StoreError::Remote { message: error.message, help: help.or(error.help) }
    }

    /// The bytes and version at a key.
    async fn get(&self, key: &str) -> Result<Option<Found>, Failure> {
        let date = ServerDate::default();
        let call = self.s3.get_object().bucket(&self.bucket).key(key).customize().interceptor(date.clone());
        let answer = match call.send().await.told("s3:GetObject") {
            Ok(answer) => answer,
            Err(failure) if failure.class == Class::NotFound && failure.code != "NoSuchBucket" => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let version = answer.e_tag.unwrap_or_default();
        let age = answer.last_modified.and_then(|at| date.since(&at)).unwrap_or_default();
        let bytes = answer.body.collect().await.map_err(|error| Failure {
            operation: "s3:GetObject",
            class: Class::Unreachable,
            code: String::new(),
            message: format!("the object was not received to its end ({error})"),
            help: None,
        })?;
        Ok(Some(Found { bytes: bytes.to_vec(), version, age }))
    }

    /// Writes a key if its version is still the one named, or if there is none; gives the new version.
    async fn put(&self, key: &str, bytes: Vec<u8>, follows: Option<&str>) -> Result<String, Failure> {
        let call = self.s3.put_object().bucket(&self.bucket).key(key).content_type("application/json");
        let call = match follows {
            Some(version) => call.if_match(version),
            None => call.if_none_match("*"),
        };
        let written = call.body(ByteStream::from(bytes.clone())).send().await.told("s3:PutObject");
        match written {
            Ok(answer) => Ok(answer.e_tag.unwrap_or_default()),
            // The answer to a first try may have been lost, or the version named may be gone: what lies there tells.
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

/// What lies at a key.
#[derive(Debug)]
struct Found {
    bytes: Vec<u8>,
    version: String,
    /// How long ago it was written, by S3's clock.
    age: Duration,
}

/// Takes down the time at which S3 answered.
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
    type Guard = S3Lock;

    async fn load(&self) -> Result<State, StoreError> {
        match Box::pin(self.get(&self.key)).await.map_err(|failure| self.failed(failure))? {
            None => {
                self.remember(None);
                Ok(State::empty(&self.stack))
            }
            Some(found) => {
                let state = State::parse(&found.bytes, &self.stack)
                    .map_err(|source| StoreError::Document { place: self.place(), source })?;
                self.remember(Some(found.version));
                Ok(state)
            }
        }
    }

    async fn save(&self, state: &State) -> Result<(), StoreError> {
        let document =
            state.to_document().map_err(|error| StoreError::Document { place: self.place(), source: error.into() })?;
        let follows = self.remembered();
        match Box::pin(self.put(&self.key, document, follows.as_deref())).await {
            Ok(version) => {
                self.remember(Some(version));
                Ok(())
            }
            Err(failure) if failure.class == Class::Precondition => Err(StoreError::Moved { place: self.place() }),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    async fn lock(&self, info: &LockInfo) -> Result<S3Lock, StoreError> {
        let key = self.lock_key();
        let failed = |failure| self.failed(failure);
        let document = LockDocument { holder: info.clone(), id: Uuid::new_v4().to_string(), renewal: 0 };
        let body = serde_json::to_vec_pretty(&document);
        let body = body.map_err(|error| failed(Failure::own(error.to_string(), None)))?;
        let locked = |holder| StoreError::Locked { place: format!("s3://{}/{key}", self.bucket), holder };
        let version = match Box::pin(self.put(&key, body.clone(), None)).await {
            Ok(version) => version,
            Err(failure) if failure.class == Class::Precondition => {
                let found = Box::pin(self.get(&key)).await.map_err(failed)?;
                let follows = match &found {
                    // Given back a moment ago.
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
        let version = Arc::new(tokio::sync::Mutex::new(Some(version)));
        let renewing = tokio::spawn(renew(self.clone(), key.clone(), document, Arc::clone(&version)));
        Ok(S3Lock { store: self.clone(), key, version, renewing })
    }
}

/// What a lock object says.
#[derive(Debug, Serialize, Deserialize)]
struct LockDocument {
    #[serde(flatten)]
    holder: LockInfo,
    /// Which taking of the lock this is: S3's versions are digests of the content, so no two may be alike.
    id: String,
    /// How often it was renewed.
    renewal: u64,
}

/// Renews a lock until it is given back or somebody else has taken it over.
async fn renew(
    store: S3Store,
    key: String,
    mut document: LockDocument,
    version: Arc<tokio::sync::Mutex<Option<String>>>,
) {
    loop {
        tokio::time::sleep(store.lease.renewal).await;
        document.renewal += 1;
        let Ok(body) = serde_json::to_vec_pretty(&document) else { return };
        let mut held = version.lock().await;
        match Box::pin(store.put(&key, body, held.as_deref())).await {
            Ok(version) => *held = Some(version),
            Err(failure) if failure.class == Class::Precondition => {
                tracing::warn!(key, "the lock was taken over: the state will be saved only if nobody else has");
                *held = None;
                return;
            }
            // The next renewal comes before the lock is stale.
            Err(failure) => tracing::debug!(key, message = failure.message, "renewing the lock failed"),
        }
    }
}

/// A lock that is held; dropped without [`LockGuard::release`], it is no longer renewed.
#[derive(Debug)]
pub struct S3Lock {
    store: S3Store,
    key: String,
    /// The version of the lock object that is ours; none once it was taken over.
    version: Arc<tokio::sync::Mutex<Option<String>>>,
    renewing: JoinHandle<()>,
}

impl LockGuard for S3Lock {
    async fn release(self) -> Result<(), StoreError> {
        // Waits for a renewal under way: its version is the one to delete.
        let held = self.version.lock().await.take();
        self.renewing.abort();
        let Some(version) = held else { return Ok(()) };
        let call = self.store.s3.delete_object().bucket(&self.store.bucket).key(&self.key).if_match(version);
        match call.send().await.told("s3:DeleteObject") {
            Err(failure) if !failure.is(&[Class::NotFound, Class::Precondition]) => Err(self.store.failed(failure)),
            _ => Ok(()),
        }
    }
}

impl Drop for S3Lock {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}
