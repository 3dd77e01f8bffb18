//! Reads that several connections share: equal requests get one answer.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_smithy_runtime_api::client::{
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use crate::{connect::ConnectError, http::Pool, pace::Turn, quotas::InUse};

/// The answers to the reads of one moment, such as one preview of many stacks. Connections that have the same one send equal
/// requests once, and the others over the same open connections. What is changed meanwhile is not seen.
#[derive(Clone, Default)]
pub struct Reads {
    answers: Arc<Mutex<HashMap<[u8; 32], Place>>>,
    in_use: Arc<Mutex<HashMap<Asker, Arc<InUse>>>>,
    pools: Arc<Mutex<HashMap<Option<String>, Pool>>>,
}

/// The identity that asks, the endpoint if it is not AWS's, and the region.
type Asker = (String, Option<String>, String);

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reads").finish_non_exhaustive()
    }
}

/// Where an answer will be. Who comes while the first one waits for it, waits, too.
type Place = Arc<OnceCell<Answer>>;

/// An answer whose body was read.
#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// Beginnings of the names of operations that change nothing.
const READS: [&str; 6] = ["Describe", "Get", "List", "Head", "Simulate", "BatchGet"];

/// How Service Quotas refuses a quota without a value (its API reference, `GetServiceQuota`, read November 2026).
const NO_RESOURCE: &str = "NoSuchResourceException";

impl Reads {
    /// Without any answer yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all answers: who waits for a change must see it.
    pub(crate) fn forget(&self) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The open connections of all that trust this file of certificate authorities, or those of this machine.
    pub(crate) fn pool(
        &self,
        bundle: Option<&str>,
        first: impl FnOnce() -> Result<Pool, ConnectError>,
    ) -> Result<Pool, ConnectError> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&bundle.map(str::to_owned)) {
            return Ok(pool.clone());
        }
        let pool = first()?;
        pools.insert(bundle.map(str::to_owned), pool.clone());
        Ok(pool)
    }

    /// What is in use in the region of the one that asks.
    pub(crate) fn in_use(&self, asker: Asker) -> Arc<InUse> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(in_use.entry(asker).or_default())
    }

    /// The place of the answer to a request; nothing for one that changes something, or whose body is a stream.
    fn place(&self, request: &HttpRequest) -> Option<Place> {
        let operation = &request.extension::<Turn>()?.operation;
        let name = operation.split_once(':').map_or(&**operation, |(_, name)| name);
        if !READS.iter().any(|start| name.starts_with(start)) {
            return None;
        }
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        };
        add(request.method().as_bytes());
        add(request.uri().as_bytes());
        add(request.headers().get("x-amz-target").unwrap_or_default().as_bytes());
        // Who asks which service of which region: the date between them and the signature are different at each request.
        let authorization = request.headers().get("authorization").unwrap_or_default();
        let mut scope = authorization.split('/');
        add(scope.next().unwrap_or_default().as_bytes());
        scope.skip(1).take(2).for_each(|part| add(part.as_bytes()));
        add(request.body().bytes()?);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(answers.entry(digest.finalize().into()).or_default()))
    }

    /// The answer to a request: an earlier one, or that of `send`. A success is kept, and that a quota has no value.
    pub(crate) async fn answer<F>(
        &self,
        request: HttpRequest,
        send: impl FnOnce(HttpRequest) -> F,
    ) -> Result<HttpResponse, ConnectorError>
    where
        F: Future<Output = Result<HttpResponse, ConnectorError>>,
    {
        let Some(place) = self.place(&request) else { return send(request).await };
        let mut refused = None;
        let answer = place
            .get_or_try_init(|| async {
                let answer = Answer::of(send(request).await.map_err(Some)?).await.map_err(Some)?;
                if answer.holds() {
                    return Ok(answer);
                }
                refused = Some(answer);
                Err(None)
            })
            .await
            .cloned();
        match (answer, refused) {
            (Ok(answer), _) | (Err(None), Some(answer)) => answer.response(),
            (Err(error), _) => Err(error.unwrap_or_else(|| ConnectorError::other("no answer".into(), None))),
        }
    }
}

impl Answer {
    async fn of(mut response: HttpResponse) -> Result<Self, ConnectorError> {
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        let body =
            ByteStream::new(body).collect().await.map_err(|error| ConnectorError::io(error.into()))?.into_bytes();
        let headers = response.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { status: response.status().as_u16(), headers, body })
    }

    /// Whether the same request would get it again a moment later.
    fn holds(&self) -> bool {
        let is_unknown = || {
            let body: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
            body.is_some_and(|body| body["__type"].as_str().is_some_and(|kind| kind.ends_with(NO_RESOURCE)))
        };
        (200..300).contains(&self.status) || self.status == 400 && is_unknown()
    }

    fn response(&self) -> Result<HttpResponse, ConnectorError> {
        let mut response = http::Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let response = response.body(SdkBody::from(self.body.clone()));
        let response = response.map_err(|error| ConnectorError::other(error.into(), None))?;
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }
}
