//! One connection pool to one API. The token goes to the origin of the API, and nowhere else.

use std::{error::Error as _, fmt, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::{
        legacy::{
            self,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{ForgeError, Kind, environment::Lookup};

/// How many redirects of one request are followed.
const REDIRECTS: usize = 5;
/// The most bytes of an answer: 100 comments of the greatest length, each character escaped.
const MOST: usize = 256 * 1024 * 1024;
/// The most characters of a forge's message in an error.
const MESSAGE: usize = 300;

type Pool<C> = legacy::Client<HttpsConnector<C>, Full<Bytes>>;

/// Connects without TLS (to this machine only), directly, through a proxy, or through a proxy that is itself reached with TLS.
enum Transport {
    Plain(legacy::Client<HttpConnector, Full<Bytes>>),
    Direct(Pool<HttpConnector>),
    Through(Pool<Tunnel<HttpConnector>>),
    ThroughTls(Pool<Tunnel<HttpsConnector<HttpConnector>>>),
}

/// A token. It is shown nowhere.
#[derive(Clone)]
pub(crate) struct Token {
    value: String,
    header: (HeaderName, HeaderValue),
}

/// The client of one API.
pub(crate) struct Client {
    pub kind: Kind,
    /// The URL of the API without a slash at its end.
    pub base: String,
    /// Scheme, host and port.
    pub origin: String,
    transport: Transport,
    token: Token,
    headers: HeaderMap,
    answer: Duration,
}

/// An answer.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer.
pub(crate) enum Lost {
    /// It may work the next time.
    Unanswered(String),
    /// It never will.
    Error(ForgeError),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Token {
    /// A token that is sent in this header, after this word. `None` if it cannot be in a header.
    pub fn new(value: &str, name: HeaderName, before: &str) -> Option<Self> {
        let value = value.trim();
        if value.is_empty() || value.chars().any(|character| !character.is_ascii_graphic()) {
            return None;
        }
        let mut header = HeaderValue::from_str(&format!("{before}{value}")).ok()?;
        header.set_sensitive(true);
        Some(Self { value: value.to_owned(), header: (name, header) })
    }

    /// What a forge said, in one short line without the token.
    pub fn without(&self, said: &str) -> String {
        let said = said.replace(&self.value, "***");
        let line: String = said.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        match words.char_indices().nth(MESSAGE) {
            Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default()),
            None => words,
        }
    }
}

/// Scheme, host and port of a URL.
pub(crate) fn origin(uri: &Uri) -> Option<String> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let host = uri.host()?.to_ascii_lowercase();
    // A user or a password in the URL is not part of the origin, and refused elsewhere.
    let usual = if scheme == "https" { 443 } else { 80 };
    match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => Some(format!("{scheme}://{host}:{port}")),
        None => Some(format!("{scheme}://{host}")),
    }
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

impl Client {
    /// A client of the API at this URL, which the variable `name` has.
    pub fn new(
        kind: Kind,
        (name, base): (&'static str, &str),
        token: Token,
        headers: HeaderMap,
        lookup: &Lookup<'_>,
    ) -> Result<Self, ForgeError> {
        let unusable = || ForgeError::Variable {
            name,
            problem: "is not the URL of an API".to_owned(),
            help: "use a URL such as https://api.github.com or https://gitlab.example/api/v4".to_owned(),
        };
        let base = base.trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|_| unusable())?;
        let authority = uri.authority().ok_or_else(unusable)?.as_str();
        if authority.contains('@') || uri.query().is_some() {
            return Err(unusable());
        }
        let origin = origin(&uri).ok_or_else(unusable)?;
        let transport = match uri.scheme_str() {
            Some("https") => encrypted(&uri, lookup)?,
            Some("http") if is_loopback(&uri) => {
                Transport::Plain(legacy::Client::builder(TokioExecutor::new()).build(tcp()))
            }
            Some("http") => return Err(ForgeError::Plain { name, origin }),
            _ => return Err(unusable()),
        };
        let base = base.to_owned();
        Ok(Self { kind, base, origin, transport, token, headers, answer: Duration::from_secs(30) })
    }

    /// The longest time of one request.
    pub fn set_answer(&mut self, answer: Duration) {
        self.answer = answer;
    }

    /// A forge's words without the token.
    pub fn said(&self, said: &str) -> String {
        self.token.without(said)
    }

    /// An error about an answer that is not the API's.
    pub fn unexpected(&self, why: &str) -> ForgeError {
        ForgeError::Unexpected { kind: self.kind, origin: self.origin.clone(), why: self.said(why) }
    }

    /// Checks that a URL has the origin of the API.
    pub fn checked(&self, url: &str) -> Result<Uri, ForgeError> {
        let uri: Uri = url.parse().map_err(|_| self.unexpected("a link in it is no URL"))?;
        let to = origin(&uri).ok_or_else(|| self.unexpected("a link in it has no host"))?;
        let has_login = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if to != self.origin || has_login {
            return Err(ForgeError::Elsewhere { kind: self.kind, from: self.origin.clone(), to: self.said(&to) });
        }
        Ok(uri)
    }

    /// Sends one request and follows redirects inside the origin. The method stays the same, as GitHub's documentation
    /// asks for.
    pub async fn send(&self, method: &Method, url: &str, body: Option<&Value>) -> Result<Answer, Lost> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut uri = self.checked(url).map_err(Lost::Error)?;
        for _ in 0..=REDIRECTS {
            let mut request = Request::builder().method(method).uri(uri.clone());
            if let Some(headers) = request.headers_mut() {
                headers.extend(self.headers.clone());
                headers.insert(self.token.header.0.clone(), self.token.header.1.clone());
                if body.is_some() {
                    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                }
            }
            let request = request
                .body(Full::new(bytes.clone()))
                .map_err(|_| Lost::Error(self.unexpected("a request cannot be made from it")))?;
            let answer = match tokio::time::timeout(self.answer, self.exchange(request)).await {
                Ok(answer) => answer?,
                Err(_) => return Err(Lost::Unanswered(format!("no answer in {} s", self.answer.as_secs_f32()))),
            };
            let leads = matches!(answer.status.as_u16(), 301 | 302 | 307 | 308);
            let Some(location) = answer.headers.get(header::LOCATION).filter(|_| leads) else { return Ok(answer) };
            let location = location.to_str().map_err(|_| Lost::Error(self.unexpected("its redirect is no URL")))?;
            uri = self.checked(&self.absolute(location)).map_err(Lost::Error)?;
        }
        Err(Lost::Error(self.unexpected("it leads from one redirect to the next")))
    }

    fn absolute(&self, location: &str) -> String {
        if location.starts_with('/') && !location.starts_with("//") {
            return format!("{}{location}", self.origin);
        }
        location.to_owned()
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Lost> {
        let answer = match &self.transport {
            Transport::Plain(pool) => pool.request(request).await,
            Transport::Direct(pool) => pool.request(request).await,
            Transport::Through(pool) => pool.request(request).await,
            Transport::ThroughTls(pool) => pool.request(request).await,
        };
        let answer = answer.map_err(|error| Lost::Unanswered(self.said(&chain(&error))))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MOST).collect().await;
        let body = body.map_err(|error| Lost::Unanswered(self.said(&error.to_string())))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

impl Answer {
    /// The answer's JSON.
    pub fn json<T: DeserializeOwned>(&self, client: &Client) -> Result<T, ForgeError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            client.unexpected(&format!("status {} with a body that is not the expected JSON ({error})", self.status))
        })
    }

    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    /// The `rel="next"` of the header `Link`.
    pub fn next(&self) -> Option<String> {
        let links = self.headers.get_all(header::LINK).into_iter().filter_map(|value| value.to_str().ok());
        links.flat_map(|value| value.split('<').skip(1)).find_map(|link| {
            let (url, parameters) = link.split_once('>')?;
            let is_next = parameters.split([';', ',']).any(|parameter| {
                parameter.trim().split_once('=').is_some_and(|(name, value)| {
                    name.trim().eq_ignore_ascii_case("rel")
                        && value.trim().trim_matches('"').split(' ').any(|kind| kind.eq_ignore_ascii_case("next"))
                })
            });
            is_next.then(|| url.to_owned())
        })
    }
}

/// An error with its causes.
fn chain(error: &legacy::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

fn config(roots: RootCertStore) -> Result<ClientConfig, ForgeError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| ForgeError::Authorities { source_of: "this machine".to_owned(), why: error.to_string() })?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // The layer above decides about TLS.
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector
}

fn secure<C>(config: &ClientConfig, connector: C) -> HttpsConnector<C> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(config.clone());
    builder.https_or_http().enable_http1().wrap_connector(connector)
}

fn pool<C>(connector: HttpsConnector<C>) -> Pool<C>
where
    HttpsConnector<C>: legacy::connect::Connect + Clone,
{
    legacy::Client::builder(TokioExecutor::new()).build(connector)
}

/// Connects to an API with TLS, through the proxy of the environment if the API's host is not excepted.
fn encrypted(uri: &Uri, lookup: &Lookup<'_>) -> Result<Transport, ForgeError> {
    let config = config(roots(lookup)?)?;
    let set = ["https_proxy", "HTTPS_PROXY"].into_iter().find_map(|name| Some((name, lookup.get(name)?)));
    let Some((variable, value)) = set.filter(|_| !is_loopback(uri)) else {
        return Ok(Transport::Direct(pool(secure(&config, tcp()))));
    };
    let refused = || ForgeError::Proxy { variable };
    let value = value.trim().trim_start_matches("//");
    // Every host uses the proxy if none is excepted: so this also says whether the URL can be used.
    Matcher::builder().https(value).build().intercept(uri).ok_or_else(refused)?;
    let except = lookup.get("no_proxy").or_else(|| lookup.get("NO_PROXY")).unwrap_or_default();
    let Some(proxy) = Matcher::builder().https(value).no(except).build().intercept(uri) else {
        return Ok(Transport::Direct(pool(secure(&config, tcp()))));
    };
    match proxy.uri().scheme_str() {
        Some("http") => Ok(Transport::Through(pool(secure(&config, tunnel(&proxy, tcp()))))),
        Some("https") => Ok(Transport::ThroughTls(pool(secure(&config, tunnel(&proxy, secure(&config, tcp())))))),
        _ => Err(refused()),
    }
}

fn tunnel<C>(proxy: &Intercept, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    match proxy.basic_auth() {
        Some(login) => tunnel.with_auth(login.clone()),
        None => tunnel,
    }
}

/// The authorities of `SSL_CERT_FILE` and `SSL_CERT_DIR`, or else those of this machine.
fn roots(lookup: &Lookup<'_>) -> Result<RootCertStore, ForgeError> {
    let (file, folder) = (lookup.get("SSL_CERT_FILE"), lookup.get("SSL_CERT_DIR"));
    let (source_of, found) = if file.is_none() && folder.is_none() {
        ("this machine".to_owned(), rustls_native_certs::load_native_certs())
    } else {
        let names = [file.as_ref().map(|_| "`SSL_CERT_FILE`"), folder.as_ref().map(|_| "`SSL_CERT_DIR`")];
        let names = names.into_iter().flatten().collect::<Vec<_>>().join(" and ");
        let path = |name: &Option<String>| name.as_ref().map(|name| Path::new(name).to_path_buf());
        let (file, folder) = (path(&file), path(&folder));
        (names, rustls_native_certs::load_certs_from_paths(file.as_deref(), folder.as_deref()))
    };
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why =
            found.errors.first().map_or_else(|| "it has no certificate in PEM form".to_owned(), ToString::to_string);
        return Err(ForgeError::Authorities { source_of, why });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn answer(links: &[&str]) -> Answer {
        let mut headers = HeaderMap::new();
        for link in links {
            headers.append(header::LINK, HeaderValue::from_str(link).unwrap());
        }
        Answer { status: StatusCode::OK, headers, body: Bytes::new() }
    }

    #[test]
    fn the_next_page_is_found_in_every_form_of_the_header() {
        let next = "https://api.test/a?page=2";
        for links in [
            vec!["<https://api.test/a?page=2>; rel=\"next\", <https://api.test/a?page=9>; rel=\"last\""],
            vec!["<https://api.test/a?page=9>; rel=\"last\", <https://api.test/a?page=2>; rel=\"next\""],
            vec!["<https://api.test/a?page=9>;rel=last,<https://api.test/a?page=2>;REL=next"],
            vec![
                "<https://api.test/a?page=9>; rel=\"last\"",
                "<https://api.test/a?page=2>; title=\"x\"; rel=\"a next\"",
            ],
        ] {
            assert_eq!(answer(&links).next().as_deref(), Some(next), "{links:?}");
        }
        for links in [vec![], vec!["<https://api.test/next>; rel=\"prev\""], vec!["next"], vec!["<x>; rel=\"nextone\""]]
        {
            assert_eq!(answer(&links).next(), None, "{links:?}");
        }
    }

    #[test]
    fn an_origin_has_the_port_only_if_it_is_not_the_usual_one() {
        for (url, expected) in [
            ("https://API.github.com/x", "https://api.github.com"),
            ("https://api.github.com:443/x", "https://api.github.com"),
            ("http://localhost:80", "http://localhost"),
            ("https://ghe.test:8443/api/v3", "https://ghe.test:8443"),
            ("http://[::1]:9/x", "http://[::1]:9"),
        ] {
            assert_eq!(origin(&url.parse().unwrap()).as_deref(), Some(expected), "{url}");
        }
    }

    #[test]
    fn a_token_is_cut_out_of_what_a_forge_says() {
        let token = Token::new(" hush1\n", header::AUTHORIZATION, "Bearer ").unwrap();
        assert_eq!(token.header.1, "Bearer hush1");
        assert_eq!(token.without("a hush1\u{1b}[31m\nb"), "a *** [31m b");
        assert_eq!(token.without(&"é".repeat(400)).chars().count(), 301);
        assert!(!format!("{token:?} {:?}", token.header.1).contains("hush1"));
        for value in ["", " ", "a b", "a\nb", "é"] {
            assert!(Token::new(value, header::AUTHORIZATION, "").is_none(), "{value:?}");
        }
    }
}
