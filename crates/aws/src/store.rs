//! The state document in S3. No update can be lost, because every write names the version that it replaces.
//!
//! A lock object beside the document says who is working. Its holder renews it; a lock that is no longer renewed, for
//! example after a kill, can be taken over. Only S3's clock counts, so the clocks of two machines need not agree.

mod lock;
mod region;

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{Client, primitives::ByteStream, types::ObjectVersion};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextRef},
        result::SdkError,
        runtime_components::RuntimeComponents,
    },
    http::Response,
};
use aws_smithy_types::{DateTime, config_bag::ConfigBag, date_time::Format, error::metadata::ProvideErrorMetadata};
use tokio::time::sleep;
use trunnion_engine::{FoundLock, LockInfo, State, StateStore, StoreError, Version};

pub use self::lock::S3Lock;
pub(crate) use self::region::in_region_of_bucket;
use crate::{
    Aws,
    calls::{On, Subject},
    error::{Class, Denial, Failure, OfCall as _},
    wait::{LOOKS_AGAIN, pause},
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
    /// For the region of the bucket, once an answer named it.
    s3: Arc<RwLock<Client>>,
    bucket: String,
    key: String,
    stack: String,
    /// For the policy after a denied call.
    subject: Arc<Subject>,
    lease: Lease,
    /// The longest pause between two calls about a bucket that S3 does not know.
    pace: Duration,
    /// The document that was last read or written; `None` if there was none.
    last: Arc<Mutex<Option<Known>>>,
}

/// A document's identity, and its `ETag`.
#[derive(Debug, Clone)]
struct Known {
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
            s3: Arc::new(RwLock::new(aws.clients.s3.clone())),
            stack: aws.connection.stack.clone(),
            subject: Arc::new(aws.subject().with_state(&bucket, [key.clone(), lock_key(&key)])),
            bucket,
            key,
            lease: Lease::default(),
            pace: aws.connection.pace,
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
        let version = tag.map(|tag| Known { lineage: state.lineage.clone(), serial: state.serial, tag });
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = version;
    }

    fn remembered(&self) -> Option<Known> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, failure: Failure) -> StoreError {
        let help = match failure.code.as_str() {
            "NoSuchBucket" => {
                Some("create the bucket, with versioning, or correct `state` in the stack file".to_owned())
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                Some("use a bucket in a partition of AWS that the stack's credentials are for".to_owned())
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

    fn client(&self) -> Client {
        self.s3.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a call in the region of the bucket. S3 may not know a new bucket everywhere, so it is asked again for 2 seconds.
    async fn call<T, E, F>(&self, call: impl Fn(Client) -> F) -> Result<T, SdkError<E, Response>>
    where
        E: ProvideErrorMetadata,
        F: Future<Output = Result<T, SdkError<E, Response>>>,
    {
        let mut look = 0;
        loop {
            let (answer, moved) = in_region_of_bucket(self.client(), &call).await;
            if let Some(client) = moved {
                *self.s3.write().unwrap_or_else(PoisonError::into_inner) = client;
            }
            let is_unknown = answer.as_ref().is_err_and(|error| error.code() == Some("NoSuchBucket"));
            if !is_unknown || look == LOOKS_AGAIN {
                return answer;
            }
            sleep(pause(look, self.pace)).await;
            look += 1;
        }
    }

    /// The content and version of a key.
    async fn get(&self, key: &str) -> Result<Option<Found>, Failure> {
        let date = ServerDate::default();
        let get = |s3: Client| {
            let call = s3.get_object().bucket(&self.bucket).key(key).customize().interceptor(date.clone());
            async move { call.send().await }
        };
        let answer = match self.call(get).await.of_call("s3:GetObject") {
            Ok(answer) => answer,
            Err(failure) if failure.class == Class::NotFound && failure.code != "NoSuchBucket" => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let version = answer.e_tag.unwrap_or_default();
        let age = answer.last_modified.and_then(|at| date.since(&at)).unwrap_or_default();
        Ok(Some(Found { bytes: whole(answer.body).await?, version, age }))
    }

    /// The content of one version of a key.
    async fn get_version(&self, key: &str, id: &str) -> Result<Option<Vec<u8>>, Failure> {
        let get = |s3: Client| s3.get_object().bucket(&self.bucket).key(key).version_id(id).send();
        let answer = match self.call(get).await.of_call("s3:GetObject") {
            Ok(answer) => answer,
            Err(failure) if NO_VERSION.contains(&failure.code.as_str()) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        Ok(Some(whole(answer.body).await?))
    }

    /// The versions of a key, the newest first, with their times; deletions are none.
    async fn list_versions(&self, key: &str, most: usize) -> Result<Vec<(String, Option<DateTime>, bool)>, Failure> {
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        let list = |s3: Client| s3.list_object_versions().bucket(&self.bucket).prefix(key).max_keys(most).send();
        let answer = self.call(list).await.of_call("s3:ListObjectVersions")?;
        // Another key can begin with this one, and comes behind it.
        let ours = answer.versions.into_iter().flatten().filter(|version| version.key.as_deref() == Some(key));
        let row = |version: ObjectVersion| {
            (version.version_id.unwrap_or_default(), version.last_modified, version.is_latest.unwrap_or_default())
        };
        Ok(ours.map(row).collect())
    }

    /// Writes a key if its current version is the given one, or if the key does not exist for `None`. Returns the new
    /// version.
    async fn put(&self, key: &str, bytes: Vec<u8>, follows: Option<&str>) -> Result<String, Failure> {
        let put = |s3: Client| {
            let call = s3.put_object().bucket(&self.bucket).key(key).content_type("application/json");
            let call = match follows {
                Some(version) => call.if_match(version),
                None => call.if_none_match("*"),
            };
            call.body(ByteStream::from(bytes.clone())).send()
        };
        match self.call(put).await.of_call("s3:PutObject") {
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

    /// Deletes a key if its current version is the given one. Returns whether it was.
    async fn delete(&self, key: &str, version: &str) -> Result<bool, Failure> {
        let delete = |s3: Client| s3.delete_object().bucket(&self.bucket).key(key).if_match(version).send();
        match self.call(delete).await.of_call("s3:DeleteObject") {
            Ok(_) => Ok(true),
            Err(failure) if failure.code == "NoSuchBucket" => Err(failure),
            Err(failure) if failure.is(&[Class::NotFound, Class::Precondition]) => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

/// Codes for a version that does not exist: S3's list of error codes and the answers of `GetObject`, read November 2026. An
/// id of another form is an invalid argument, and a deletion has no content.
const NO_VERSION: &[&str] = &["NoSuchVersion", "NoSuchKey", "InvalidArgument", "MethodNotAllowed"];

async fn whole(body: ByteStream) -> Result<Vec<u8>, Failure> {
    let bytes = body.collect().await.map_err(|error| {
        let message = format!("the object was received only in part ({error})");
        Failure::of_call("s3:GetObject", Class::Unreachable, message)
    })?;
    Ok(bytes.to_vec())
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
        self.take_lock(info).await
    }

    async fn found_lock(&self) -> Result<Option<FoundLock>, StoreError> {
        self.read_lock().await
    }

    async fn take_away(&self, found: &FoundLock) -> Result<bool, StoreError> {
        let deleted = Box::pin(self.delete(&self.lock_key(), &found.version)).await;
        deleted.map_err(|failure| self.failed(failure))
    }

    async fn versions(&self, most: usize) -> Result<Vec<Version>, StoreError> {
        let failed = |failure| self.failed(failure);
        let mut versions = Vec::new();
        for (id, written, is_current) in Box::pin(self.list_versions(&self.key, most)).await.map_err(failed)? {
            let Some(bytes) = Box::pin(self.get_version(&self.key, &id)).await.map_err(failed)? else { continue };
            let written = written.and_then(|at| at.fmt(Format::DateTime).ok()).unwrap_or_default();
            versions.push(Version { id, written, is_current, content: State::parse(&bytes, &self.stack) });
        }
        Ok(versions)
    }

    async fn version(&self, id: &str) -> Result<Option<State>, StoreError> {
        let found = Box::pin(self.get_version(&self.key, id)).await.map_err(|failure| self.failed(failure))?;
        let place = || format!("{} (version {id})", self.location());
        let parse = |bytes: Vec<u8>| State::parse(&bytes, &self.stack);
        found.map(parse).transpose().map_err(|source| StoreError::Document { place: place(), source })
    }

    /// `s3://bucket/key`
    fn location(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}
