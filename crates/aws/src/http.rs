//! Sends every request: over plain HTTP or TLS, directly or through a proxy.
//!
//! All SDK clients and credentials providers share one [`Client`]. An answer that is not AWS's becomes an error that
//! names the endpoint ([`Unanswered`]); an answer of AWS gets a [`Peer`] that says where it came from. TLS roots are
//! loaded at the first `https` request, so never for a sandbox on loopback.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{self, Poll},
    time::Duration,
};

use aws_smithy_http_client::{
    Builder, Connector as Hyper,
    proxy::ProxyConfig,
    tls::{self, TlsContext},
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use bytes::Bytes;
use http::Uri;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::{
    calls::Subject,
    connect::ConnectError,
    credentials::Source,
    cut::{CutShort, Whole},
    pace::{LockLost, Turn, unless_lock_is_lost},
    proxy::{Proxies, Proxy},
    reads::Reads,
    transcript::Transcript,
    trust::Bundle,
    unanswered::{Trouble, Unanswered, find, has_request_id, is_page, names_a_request, title},
};

/// The longest time to open a connection, the proxy and TLS included.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// The longest wait for the start of an answer.
pub(crate) const READ: Duration = Duration::from_secs(25);
/// The longest pause inside an answer; `WHOLE` is the longest time from its start to its end.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(15);
const WHOLE: Duration = Duration::from_mins(3);
/// The longest time and the most bytes for reading the title of a page that is not AWS's.
const PAGE: (Duration, u64) = (Duration::from_secs(3), 64 * 1024);
/// The same limits for any other answer without headers of AWS.
const BODY: (Duration, u64) = (STANDSTILL, 16 * 1024 * 1024);

/// Where an answer came from, and whose credentials the request had.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// The region of the stack.
    pub region: String,
    /// The stack that the calls are for.
    pub subject: Arc<Subject>,
    /// The source of the credentials.
    pub source: Arc<Source>,
    /// What configures each endpoint outside AWS, by the endpoint's scheme, host and port.
    pub named_by: Arc<BTreeMap<String, String>>,
}

/// The open connections without a proxy, and the certificate authorities that are trusted.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    plain: SharedHttpClient,
    secure: SharedHttpClient,
    trust: TlsContext,
}

impl Pool {
    fn new(trust: TlsContext) -> Self {
        Self {
            plain: Builder::new().build_http(),
            secure: Builder::new().tls_provider(provider()).tls_context(trust.clone()).build_https(),
            trust,
        }
    }
}

/// The HTTP client that all SDK clients share.
#[derive(Clone)]
pub(crate) struct Client {
    plain: SharedHttpClient,
    secure: SharedHttpClient,
    /// The clients for the proxies of `http` and of `https` requests.
    through: [Option<SharedHttpClient>; 2],
    proxies: Proxies,
    peer: Peer,
    /// The file to which the calls are written.
    transcript: Option<Transcript>,
    /// The answers that this connection shares with others.
    reads: Option<Reads>,
    /// Hosts that have answered before.
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client that uses these proxies. It trusts what `trust` reads: the certificate authorities of the bundle, or else this
    /// machine's.
    pub fn new(
        proxies: Proxies,
        bundle: Option<&Bundle>,
        trust: impl FnOnce() -> Result<TlsContext, ConnectError>,
        peer: Peer,
        transcript: Option<Transcript>,
        reads: Option<Reads>,
    ) -> Result<Self, ConnectError> {
        let pool = || trust().map(Pool::new);
        let Pool { plain, secure, trust } = match &reads {
            Some(reads) => reads.pool(bundle.map(|bundle| &*bundle.path), pool)?,
            None => pool()?,
        };
        let [http, https] = proxies.both();
        let through = |proxy: Option<&Proxy>| proxy.map(|proxy| through(proxy, trust.clone())).transpose();
        Ok(Self {
            plain,
            secure,
            through: [through(http)?, through(https)?],
            proxies,
            peer,
            transcript,
            reads,
            known: Arc::default(),
        })
    }

    /// The client and the proxy for a request.
    fn route(&self, uri: &Uri) -> (&SharedHttpClient, Option<&Proxy>) {
        let is_plain = uri.scheme_str() == Some("http");
        let [http, https] = &self.through;
        let through = if is_plain { http } else { https };
        match (self.proxies.route(uri), through) {
            (Some(proxy), Some(client)) => (client, Some(proxy)),
            _ if is_plain => (&self.plain, None),
            _ => (&self.secure, None),
        }
    }

    fn is_strange(&self, host: &str) -> bool {
        !self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(host)
    }

    fn remember(&self, host: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(host) {
            known.insert(host.to_owned());
        }
    }
}

fn provider() -> tls::Provider {
    tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc)
}

fn through(proxy: &Proxy, trust: TlsContext) -> Result<SharedHttpClient, ConnectError> {
    let config = ProxyConfig::all(proxy.url.as_str()).map_err(|_| ConnectError::Proxy { variable: proxy.variable })?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = Hyper::builder().proxy_config(config.clone()).tls_provider(provider());
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        builder.tls_context(trust.clone()).build()
    }))
}

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        // Some credentials providers set no time-outs.
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(settings.connect_timeout().unwrap_or(CONNECT))
            .read_timeout(settings.read_timeout().unwrap_or(READ))
            .build();
        SharedHttpConnector::new(Connector { client: self.clone(), settings, components: components.clone() })
    }
}

#[derive(Debug, Clone)]
struct Connector {
    client: Client,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some(reads) = self.client.reads.clone() else { return self.send(request) };
        let (this, turn) = (self.clone(), request.extension::<Turn>().cloned());
        HttpConnectorFuture::new(async move {
            let mut answer = reads.answer(request, |request| this.send(request)).await?;
            // An answer of another connection has neither.
            answer.add_extension(this.client.peer.clone());
            if let Some(turn) = turn {
                answer.add_extension(turn);
            }
            Ok(answer)
        })
    }
}

impl Connector {
    fn send(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri: Uri = match request.uri().parse() {
            Ok(uri) => uri,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(Box::new(error)))),
        };
        let (client, proxy) = self.client.route(&uri);
        let host = host_of(&uri);
        let proxy = proxy.cloned();
        // Without a tunnel, the connection is one to the proxy.
        let is_of_proxy = proxy.is_some() && uri.scheme_str() == Some("http");
        let turn = request.extension::<Turn>().cloned();
        // Every client of an AWS service sends this header; the endpoints of machine and container credentials do not
        // need it.
        let is_of_service = request.headers().get("amz-sdk-invocation-id").is_some();
        let transcript = self.client.transcript.as_ref();
        let pending = transcript.and_then(|transcript| transcript.begin(&request, turn.as_ref()));
        let answer = client.http_connector(&self.settings, &self.components).call(request);
        let client = self.client.clone();
        HttpConnectorFuture::new(async move {
            let trouble = |trouble| Unanswered {
                is_strange: client.is_strange(&host),
                named_by: client.peer.named_by.get(&host).cloned(),
                host: host.clone(),
                proxy: proxy.clone(),
                trouble,
                turn: turn.clone(),
            };
            let mut answer = match unless_lock_is_lost(turn.as_ref(), answer).await {
                Ok(answer) => answer,
                Err(error) if find::<LockLost>(&error).is_some() => return Err(error),
                Err(error) => {
                    if let Some(pending) = pending {
                        pending.fail(&error);
                    }
                    return Err(trouble(Trouble::of(&error, is_of_proxy)).into_error(Some(&error)));
                }
            };
            if let Some(foreign) = foreign(&mut answer, is_of_service).await {
                if let Some(pending) = pending {
                    pending.foreign();
                }
                return Err(trouble(foreign).into_error(None));
            }
            client.remember(&host);
            answer.add_extension(client.peer.clone());
            let operation = turn.as_ref().map(|turn| Arc::clone(&turn.operation));
            if let Some(turn) = turn {
                answer.add_extension(turn);
            }
            let whole = is_of_service.then(|| Whole::of(&answer, operation.as_deref()));
            let answer = answer.map(|body| Bounded::around(body, whole.clone()));
            Ok(match pending {
                Some(pending) => pending.answered(answer),
                None => answer,
            })
        })
    }
}

/// Scheme, host and port of a request's endpoint.
pub(crate) fn host_of(uri: &Uri) -> String {
    format!(
        "{}://{}",
        uri.scheme_str().unwrap_or("https"),
        uri.authority().map(http::uri::Authority::as_str).unwrap_or_default()
    )
}

/// A body with limits on its pauses and on its total time, which ends with an error if it was cut short.
struct Bounded {
    body: SdkBody,
    whole: Option<Whole>,
    goes_on: Pin<Box<Sleep>>,
    ends: Pin<Box<Sleep>>,
}

/// An answer exceeds a time limit.
#[derive(Debug, thiserror::Error)]
#[error("the answer did not end in time")]
struct TooLong;

impl Bounded {
    fn around(body: SdkBody, whole: Option<Whole>) -> SdkBody {
        let sleep = |time| Box::pin(tokio::time::sleep(time));
        SdkBody::from_body_1_x(Self { body, whole, goes_on: sleep(STANDSTILL), ends: sleep(WHOLE) })
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.goes_on.as_mut().reset(Instant::now() + STANDSTILL);
            if frame.is_none() && self.whole.take().is_some_and(|whole| !whole.is_complete()) {
                return Poll::Ready(Some(Err(CutShort.into())));
            }
            if let (Some(Ok(frame)), Some(whole)) = (&frame, &mut self.whole) {
                whole.add(frame.data_ref().map_or(&[], |data| data));
            }
            return Poll::Ready(frame);
        }
        if self.goes_on.as_mut().poll(context).is_ready() || self.ends.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(TooLong.into())));
        }
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }

    fn is_end_stream(&self) -> bool {
        // Only the end shows whether the body is whole.
        self.whole.is_none() && Body::is_end_stream(&self.body)
    }
}

/// What is wrong with an answer that is not AWS's. An answer of AWS keeps its body.
async fn foreign(answer: &mut HttpResponse, is_of_service: bool) -> Option<Trouble> {
    let is_page = is_page(answer);
    if has_request_id(answer) || !(is_of_service || is_page) {
        return None;
    }
    let status = answer.status().as_u16();
    let page = |title| Some(Trouble::Page { status, title });
    let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
    let (patience, most) = if is_page { PAGE } else { BODY };
    if body.content_length().is_some_and(|length| length > most) {
        return page(None);
    }
    match tokio::time::timeout(patience, ByteStream::new(body).collect()).await {
        Ok(Ok(bytes)) => {
            let bytes = bytes.into_bytes();
            if is_page || !names_a_request(&bytes) {
                return page(title(&bytes));
            }
            *answer.body_mut() = SdkBody::from(bytes);
            None
        }
        _ if is_page => page(None),
        _ => Some(Trouble::Cut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an answer with this status, type and body is refused, for an AWS service's client or for another one.
    async fn wrong(
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &'static str,
        of_service: bool,
    ) -> bool {
        let mut answer = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        for (name, value) in headers {
            answer.headers_mut().insert(*name, *value);
        }
        let found = foreign(&mut answer, of_service).await;
        assert!(found.is_some() || answer.body().bytes() == Some(body.as_bytes()), "the body is lost");
        matches!(found, Some(Trouble::Page { status: of, .. }) if of == status)
    }

    #[tokio::test]
    async fn an_answer_without_a_request_id_is_refused() {
        let kind = |kind| [("content-type", kind)];
        for (status, headers, body) in [
            (403, &kind("text/plain")[..], "no"),
            (403, &[], ""),
            (403, &kind("application/json"), "{\"message\":\"Forbidden\"}"),
            (403, &kind("application/xhtml+xml"), "<html/>"),
            (403, &kind("TEXT/HTML"), "<html>RequestId</html>"),
            (403, &[], "<html></html>"),
            (302, &[("location", "https://login.test/")], ""),
            (307, &[("location", "https://login.test/")], ""),
            (200, &[], ""),
            (200, &kind("application/json"), "{}"),
            (200, &kind("text/xml"), "<foo/>"),
            (401, &kind("application/json"), "{}"),
            (404, &kind("application/json"), "{}"),
            (503, &kind("text/plain"), "later"),
            (500, &[], ""),
        ] {
            assert!(wrong(status, headers, body, true).await, "{status} {headers:?} {body}");
            let with_id = [headers, &[("x-amzn-requestid", "1")]].concat();
            assert!(!wrong(status, &with_id, body, true).await, "{status} {headers:?} {body}");
        }
        assert!(!wrong(403, &kind("text/xml"), "<E><RequestId>1</RequestId></E>", true).await);
        // The endpoints of machine credentials send no request id.
        assert!(!wrong(200, &kind("application/json"), "{}", false).await);
        assert!(!wrong(404, &[], "", false).await);
        assert!(wrong(200, &kind("text/html"), "<html/>", false).await);
    }
}
