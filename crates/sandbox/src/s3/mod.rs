//! S3. `s3s` implements the protocol and checks the signatures; this module implements buckets and objects.
//!
//! Rows are in the sandbox's tables; the bytes of objects are in the data directory or in memory, under their SHA-256.

#![expect(clippy::needless_pass_by_value, reason = "s3s passes the input of operations by value")]

mod api;
mod blob;
mod bucket;
mod bucket_absent;
mod bucket_settings;
mod checksum;
mod listing;
mod multipart;
mod object;
pub(crate) mod permissions;
mod read;
mod route;
mod unserved;
mod write;

use std::{collections::BTreeMap, sync::Arc};

use hyper::header::HeaderValue;
use jiff::Timestamp;
use s3s::{
    HttpError, HttpRequest, HttpResponse, S3Error, S3ErrorCode, S3Result,
    auth::{S3Auth, SecretKey},
    service::{S3Service, S3ServiceBuilder},
};

use crate::{
    authorize::Origin,
    call::{CANNOT_KEEP, Fault},
    cloud::{Cloud, SharedCloud, lock},
    gate::Gate,
    iam,
    table::{AnyTable, Table},
};
use blob::Blobs;
use unserved::Unserved;

/// Buckets, object versions and unfinished uploads of all regions.
#[derive(Debug, Default)]
pub struct State {
    /// By name.
    buckets: Table<bucket::Bucket>,
    /// When each deleted bucket was deleted, by name.
    freed: Table<Timestamp>,
    /// By bucket, key and age (`object::row_id`), which is the order of S3's lists.
    versions: Table<object::Version>,
    /// By upload id.
    uploads: Table<multipart::Upload>,
    /// By upload id and part number.
    parts: Table<multipart::Part>,
}

impl State {
    /// Names and tags of the buckets of a region.
    pub(crate) fn tagged(&self, region: &str) -> impl Iterator<Item = (&str, &BTreeMap<String, String>)> {
        self.buckets
            .iter()
            .filter(move |(_, bucket)| bucket.region == region)
            .map(|(name, bucket)| (name, &bucket.tags))
    }

    /// Every table, for the journal.
    pub fn tables(&mut self) -> Vec<(&'static str, &mut dyn AnyTable)> {
        vec![
            ("s3.buckets", &mut self.buckets),
            ("s3.freed", &mut self.freed),
            ("s3.versions", &mut self.versions),
            ("s3.uploads", &mut self.uploads),
            ("s3.parts", &mut self.parts),
        ]
    }
}

/// The S3 endpoint.
#[derive(Debug, Clone)]
pub struct Service {
    inner: S3Service,
}

/// An S3 endpoint for this data with this gate. The bytes of objects are stored where the other data is.
pub fn service(cloud: SharedCloud, gate: Gate) -> Service {
    let blobs = Blobs::open(lock(&cloud).data_dir());
    let keys = Keys(Arc::clone(&cloud));
    let unserved = Unserved { control: Arc::clone(&gate.control) };
    let mut builder = S3ServiceBuilder::new(Store { cloud, blobs: Arc::new(blobs) });
    builder.set_auth(keys);
    builder.set_access(gate);
    builder.set_route(unserved);
    Service { inner: builder.build() }
}

impl Service {
    /// Answers one request. Its signature has not been checked yet.
    pub async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = route::with_create_tags(request).await?;
        self.inner.call(request).await
    }
}

/// The access keys of the account. Tokens are checked with the permissions.
struct Keys(SharedCloud);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if let Some(credentials) = iam::credentials(&lock(&self.0), access_key, Timestamp::now()) {
            return Ok(SecretKey::from(credentials.secret));
        }
        let text = "The AWS Access Key Id you provided does not exist in our records.";
        Err(S3Error::with_message(S3ErrorCode::InvalidAccessKeyId, text))
    }
}

/// The data that operations use.
#[derive(Clone)]
struct Store {
    cloud: SharedCloud,
    blobs: Arc<Blobs>,
}

/// What an operation needs of its request besides the input.
struct Context {
    region: String,
    now: Timestamp,
    /// Tags of `CreateBucket`, which s3s does not support yet.
    create_tags: Vec<(String, String)>,
    /// `s3:authType` of the request.
    auth_type: &'static str,
    /// Who sent the request, and from where.
    origin: Option<Origin>,
}

impl Store {
    /// Runs an operation with the data locked, and writes its changes before the answer is sent.
    fn run<T>(&self, operation: impl FnOnce(&mut Cloud) -> S3Result<T>) -> S3Result<T> {
        let mut cloud = lock(&self.cloud);
        cloud.begin("s3");
        let answer = cloud.attempt(operation);
        cloud.commit().map_err(|error| not_kept(&error))?;
        object::sweep(&cloud, &self.blobs);
        answer
    }
}

/// The error if a body or a change cannot be written.
fn not_kept(error: &dyn std::error::Error) -> S3Error {
    let fault = Fault::not_kept(error);
    custom(CANNOT_KEEP, fault.status, fault.message)
}

/// An S3 error for which `s3s` has no status.
fn custom(code: &'static str, status: u16, message: impl Into<String>) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message.into());
    if let Ok(status) = hyper::StatusCode::from_u16(status) {
        error.set_status_code(status);
    }
    error
}

fn error(code: S3ErrorCode, message: impl Into<String>) -> S3Error {
    S3Error::with_message(code, message.into())
}

/// The error of two concurrent changes of one bucket or one name.
fn in_progress() -> S3Error {
    custom(
        "OperationAborted",
        409,
        "A conflicting conditional operation is currently in progress against this resource. Please try again.",
    )
}

fn malformed_xml() -> S3Error {
    error(
        S3ErrorCode::MalformedXML,
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
}

fn header(value: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(value).ok()
}
