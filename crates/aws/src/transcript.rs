//! Writes every call of a run to a file: one JSON document per line, without secrets and without what identifies the
//! account or a person (`redact.rs`).
//!
//! A file has one or more sections, one for each process that appended to it. A section starts with a line that names
//! the format. The lines of calls are in the order in which the calls ended. Only calls of our own clients are written:
//! those of credentials providers carry credentials.

mod redact;

use std::{
    collections::BTreeMap,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Poll},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::Uri;
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use trunnion_engine::hex;

use self::redact::Redactor;
use crate::pace::Turn;

/// The format of the file. `cargo xtask replay` reads this major version.
pub(crate) const FORMAT: &str = "trunnion-transcript/1";

/// The longest body, in bytes, that is written as it is. A longer one is written as its length and digest.
const LONGEST: usize = 4 * 1024 * 1024;

/// The calls whose bodies are the content of an object.
const CONTENT: [&str; 3] = ["s3:GetObject", "s3:PutObject", "s3:UploadPart"];

/// The headers of an S3 answer that are written, beside all that start with `x-amz-`.
const ANSWER_HEADERS: [&str; 4] = ["content-type", "etag", "last-modified", "location"];

/// Request headers that are written, beside those that start with `x-amz-`.
const REQUEST_HEADERS: [&str; 4] = ["content-type", "if-match", "if-none-match", "range"];

/// Headers with credentials, or about the one connection only. They are never written.
const NEVER: [&str; 8] = [
    "authorization",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-id-2",
    "x-amz-request-id",
    "x-amz-security-token",
    "x-amz-user-agent",
    "x-amzn-requestid",
];

/// A file to which all calls of a connection are appended. Clones write to the same file.
#[derive(Clone)]
pub struct Transcript(Arc<Inner>);

struct Inner {
    file: Mutex<File>,
    redactor: Redactor,
    began: Instant,
    last: AtomicU64,
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript").finish_non_exhaustive()
    }
}

/// The first line of a section.
#[derive(Serialize)]
struct Header {
    format: &'static str,
    trunnion: &'static str,
    /// In seconds since 1970.
    began: u64,
}

/// The line of a call.
#[derive(Debug, Serialize)]
struct Line {
    /// Counted from one in each section, in the order in which the attempts were sent.
    number: u64,
    /// When the attempt was sent, since the start of the section.
    offset_ms: u64,
    operation: String,
    /// The region of the signature.
    region: String,
    attempt: u32,
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: BTreeMap<String, String>,
    request: Body,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    answer_headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Body>,
    /// Why there is no complete answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
    /// Until the answer was complete, or failed.
    latency_ms: f64,
}

/// A body without what must not be written.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Body {
    Empty,
    Form(Vec<(String, String)>),
    Json(Value),
    /// XML, and the rare text of another form.
    Text(String),
    /// The content of an object, and whatever is not text or too long.
    Content {
        length: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
}

impl Transcript {
    /// Appends to this file, and creates it if necessary: only its owner can read it then. `account` and `home` are
    /// replaced everywhere.
    pub fn append(path: &Path, account: &str, home: &str) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let redactor = Redactor::new(account, home).map_err(io::Error::other)?;
        let inner = Inner { file: Mutex::new(file), redactor, began: Instant::now(), last: AtomicU64::new(0) };
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        inner.write(&Header { format: FORMAT, trunnion: env!("CARGO_PKG_VERSION"), began })?;
        Ok(Self(Arc::new(inner)))
    }

    /// Begins the line of an attempt. A request without a [`Turn`] is one of a credentials provider.
    pub(crate) fn begin(&self, request: &HttpRequest, turn: Option<&Turn>) -> Option<Pending> {
        let turn = turn?;
        let inner = &self.0;
        let number = inner.last.fetch_add(1, Ordering::Relaxed) + 1;
        let line = inner.line(number, request, turn)?;
        let token = request.headers().get("x-amz-security-token").unwrap_or_default().to_owned();
        Some(Pending { line, token, sent: Instant::now(), transcript: Arc::clone(inner), is_written: false })
    }
}

impl Inner {
    fn line(&self, number: u64, request: &HttpRequest, turn: &Turn) -> Option<Line> {
        let redactor = &self.redactor;
        let uri: Uri = request.uri().parse().ok()?;
        let operation = turn.operation.to_string();
        let is_s3 = operation.starts_with("s3:");
        let bucket = if is_s3 { bucket_of(uri.host().unwrap_or_default()) } else { None };
        let path = bucket.map_or_else(|| uri.path().to_owned(), |bucket| format!("/{bucket}{}", uri.path()));
        let query: Vec<(String, String)> =
            serde_urlencoded::from_str(uri.query().unwrap_or_default()).unwrap_or_default();
        let body = match request.body().bytes() {
            Some(bytes) => redactor.body(&operation, bytes),
            None => Body::Content { length: request.body().content_length().unwrap_or_default(), sha256: None },
        };
        Some(Line {
            number,
            offset_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            operation,
            region: region_of(request.headers().get("authorization").unwrap_or_default()),
            attempt: turn.attempt(),
            method: request.method().to_owned(),
            path: redactor.text(&path),
            query: redactor.form(query),
            headers: redactor.headers(request.headers().iter(), &REQUEST_HEADERS),
            request: body,
            status: None,
            answer_headers: BTreeMap::new(),
            answer: None,
            failure: None,
            latency_ms: 0.0,
        })
    }

    fn write(&self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text)
    }
}

/// The bucket in the host name of an S3 endpoint of AWS.
fn bucket_of(host: &str) -> Option<&str> {
    let (bucket, _) = host.rsplit_once(".s3.").or_else(|| host.rsplit_once(".s3-"))?;
    Some(bucket)
}

/// The region of the credential scope in an `Authorization` header.
fn region_of(authorization: &str) -> String {
    let scope = authorization.split("Credential=").nth(1).unwrap_or_default();
    scope.split('/').nth(2).unwrap_or_default().to_owned()
}

/// An attempt that was sent. Its line is written when the answer is complete, or when this is dropped.
pub(crate) struct Pending {
    line: Line,
    /// The session token of the request, which must not be written; empty if it has none.
    token: String,
    sent: Instant,
    transcript: Arc<Inner>,
    is_written: bool,
}

impl Pending {
    fn write(&mut self) {
        if std::mem::replace(&mut self.is_written, true) {
            return;
        }
        self.line.latency_ms = (self.sent.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
        if let Err(error) = self.transcript.write(&self.line) {
            tracing::error!(%error, "the transcript cannot be written");
        }
    }

    /// There is no answer.
    pub fn fail(mut self, error: &ConnectorError) {
        self.line.failure = Some(if error.is_timeout() {
            "timeout"
        } else if error.is_io() {
            "connection"
        } else {
            "other"
        });
        self.write();
    }

    /// The answer was not one of AWS.
    pub fn foreign(mut self) {
        self.line.failure = Some("not an answer of AWS");
        self.write();
    }

    /// The same answer. The line is written when its body ends.
    pub fn answered(mut self, answer: HttpResponse) -> HttpResponse {
        self.line.status = Some(answer.status().as_u16());
        if self.line.operation.starts_with("s3:") {
            self.line.answer_headers = self.transcript.redactor.headers(answer.headers().iter(), &ANSWER_HEADERS);
        }
        let mut answer = answer;
        let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
        let recorded = Recorded { body, pending: self, kept: Vec::new(), length: 0, digest: Sha256::new() };
        *answer.body_mut() = SdkBody::from_body_1_x(recorded);
        answer
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_written {
            self.line.failure = self.line.failure.or(Some("cancelled"));
            self.write();
        }
    }
}

/// The body of an answer, which is written when it ends.
struct Recorded {
    body: SdkBody,
    pending: Pending,
    kept: Vec<u8>,
    length: u64,
    digest: Sha256,
}

impl Recorded {
    fn take(&mut self, data: &Bytes) {
        self.length += data.len() as u64;
        self.digest.update(data);
        if self.kept.len() <= LONGEST {
            self.kept.extend_from_slice(data);
        }
    }

    fn end(&mut self, failure: Option<&'static str>) {
        if self.pending.is_written {
            return;
        }
        let operation = &self.pending.line.operation;
        let answer = if self.kept.len() > LONGEST || CONTENT.contains(&operation.as_str()) && self.is_success() {
            let sha256 = failure.is_none().then(|| hex(&self.digest.clone().finalize()));
            Body::Content { length: self.length, sha256 }
        } else {
            let kept = redact::without(&self.kept, &self.pending.token);
            self.pending.transcript.redactor.body_text(&kept)
        };
        self.pending.line.answer = Some(answer);
        self.pending.line.failure = failure;
        self.pending.write();
    }

    fn is_success(&self) -> bool {
        self.pending.line.status.is_some_and(|status| status < 300)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // A reader that knows the length stops after the last byte. An empty body may not be read at all.
        let is_complete = HttpBody::is_end_stream(&self.body) || HttpBody::size_hint(&self.body).exact() == Some(0);
        self.end((!is_complete).then_some("cut"));
    }
}

impl HttpBody for Recorded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.take(data);
                }
            }
            Poll::Ready(Some(Err(_))) => self.end(Some("cut")),
            Poll::Ready(None) => self.end(None),
            Poll::Pending => {}
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }

    fn is_end_stream(&self) -> bool {
        HttpBody::is_end_stream(&self.body)
    }
}
