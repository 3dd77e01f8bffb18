//! The way of every request: over plain HTTP or TLS, directly or through a proxy.
//!
//! All SDK clients and the providers of credentials share one [`Client`]. What comes back without being an answer of AWS
//! leaves as an error that names the endpoint ([`Unanswered`]); what is an answer carries where it came from ([`Peer`]).
//! TLS roots are loaded with the first `https` request, never for a sandbox on loopback.

use std::{
    collections::BTreeSet,
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
    connect::ConnectError,
    credentials::Source,
    pace::Turn,
    proxy::{Proxies, Proxy},
    unanswered::{Trouble, Unanswered, title},
};

/// How long a connection may take, with the proxy's and TLS's part.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may be waited for.
pub(crate) const READ: Duration = Duration::from_secs(25);
/// How long an answer may stand still, and how long it may take from its beginning to its end.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(15);
const WHOLE: Duration = Duration::from_mins(3);
/// How long a page that is not AWS's is read for its title, and how large it may be.
const PAGE: (Duration, u64) = (Duration::from_secs(3), 64 * 1024);

/// Where an answer came from, and with whose credentials it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// The region of the stack.
    pub region: String,
    /// Where the credentials come from.
    pub source: Arc<Source>,
}

/// The HTTP client that all SDK clients share.
#[derive(Clone)]
pub(crate) struct Client {
    plain: SharedHttpClient,
    secure: SharedHttpClient,
    /// Through the proxy for `http`, and through the one for `https`.
    through: [Option<SharedHttpClient>; 2],
    proxies: Proxies,
    peer: Peer,
    /// The hosts that have answered.
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client that goes through these proxies and trusts these authorities.
    pub fn new(proxies: Proxies, trust: &TlsContext, peer: Peer) -> Result<Self, ConnectError> {
        let [http, https] = proxies.both();
        let through = |proxy: Option<&Proxy>| proxy.map(|proxy| through(proxy, trust.clone())).transpose();
        Ok(Self {
            plain: Builder::new().build_http(),
            secure: Builder::new().tls_provider(provider()).tls_context(trust.clone()).build_https(),
            through: [through(http)?, through(https)?],
            proxies,
            peer,
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
        // Not every provider of credentials asks for time-outs.
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(settings.connect_timeout().unwrap_or(CONNECT))
            .read_timeout(settings.read_timeout().unwrap_or(READ))
            .build();
        SharedHttpConnector::new(Connector { client: self.clone(), settings, components: components.clone() })
    }
}

#[derive(Debug)]
struct Connector {
    client: Client,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri: Uri = match request.uri().parse() {
            Ok(uri) => uri,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(Box::new(error)))),
        };
        let (client, proxy) = self.client.route(&uri);
        let host = host_of(&uri);
        let proxy = proxy.cloned();
        let turn = request.extension::<Turn>().cloned();
        let answer = client.http_connector(&self.settings, &self.components).call(request);
        let client = self.client.clone();
        HttpConnectorFuture::new(async move {
            let trouble = |trouble| Unanswered {
                is_strange: client.is_strange(&host),
                host: host.clone(),
                proxy: proxy.clone(),
                trouble,
                turn: turn.clone(),
            };
            let mut answer = match answer.await {
                Ok(answer) => answer,
                Err(error) => return Err(trouble(Trouble::of(&error)).into_error(Some(&error))),
            };
            if let Some(page) = Trouble::of_answer(&answer) {
                return Err(trouble(with_title(page, &mut answer).await).into_error(None));
            }
            client.remember(&host);
            answer.add_extension(client.peer.clone());
            if let Some(turn) = turn {
                answer.add_extension(turn);
            }
            Ok(answer.map(Bounded::around))
        })
    }
}

/// Scheme, name and port of a request's endpoint.
pub(crate) fn host_of(uri: &Uri) -> String {
    format!(
        "{}://{}",
        uri.scheme_str().unwrap_or("https"),
        uri.authority().map(http::uri::Authority::as_str).unwrap_or_default()
    )
}

/// A body that must go on and end in time.
struct Bounded {
    body: SdkBody,
    goes_on: Pin<Box<Sleep>>,
    ends: Pin<Box<Sleep>>,
}

/// An answer takes too long.
#[derive(Debug, thiserror::Error)]
#[error("the answer did not come to its end in time")]
struct TooLong;

impl Bounded {
    fn around(body: SdkBody) -> SdkBody {
        let sleep = |time| Box::pin(tokio::time::sleep(time));
        SdkBody::from_body_1_x(Self { body, goes_on: sleep(STANDSTILL), ends: sleep(WHOLE) })
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
        Body::is_end_stream(&self.body)
    }
}

async fn with_title(page: Trouble, answer: &mut HttpResponse) -> Trouble {
    let Trouble::Page { status, .. } = page else { return page };
    let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
    let title = match body.content_length() {
        Some(length) if length > PAGE.1 => None,
        _ => match tokio::time::timeout(PAGE.0, ByteStream::new(body).collect()).await {
            Ok(Ok(bytes)) => title(&bytes.into_bytes()),
            _ => None,
        },
    };
    Trouble::Page { status, title }
}
