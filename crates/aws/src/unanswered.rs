//! Explains why a request got no answer from AWS: which host, which proxy, and the next step.
//!
//! Every [`ConnectorError`] of this crate's HTTP client contains an [`Unanswered`], which can be found again at any
//! depth of an SDK error. Causes are recognised by their types where possible. Hyper and the SDK's connector keep some
//! types private; those causes are recognised by their fixed texts.

use std::{error::Error as StdError, io};

use aws_smithy_runtime_api::{client::result::ConnectorError, http::Response};
use aws_smithy_types::retry::ErrorKind;
use rustls::CertificateError;

use crate::{pace::Turn, proxy::Proxy};

/// A request without an answer from AWS.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.message())]
pub(crate) struct Unanswered {
    /// Scheme, host and port of the endpoint.
    pub host: String,
    /// The setting that configures it, if it is not AWS's own.
    pub named_by: Option<String>,
    /// The proxy of the request.
    pub proxy: Option<Proxy>,
    /// Whether this host has never answered.
    pub is_strange: bool,
    /// The cause.
    pub trouble: Trouble,
    /// The call that failed.
    pub turn: Option<Turn>,
}

/// What can go wrong before an answer arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The name of the endpoint or of the proxy cannot be resolved.
    UnknownName,
    /// Nothing listens at the address.
    Refused,
    /// The address cannot be reached; with the system's error.
    NoWay(String),
    /// The connection was not opened in time.
    NoConnection,
    /// The connection was opened, but no answer came in time.
    Silent,
    /// The connection was closed before an answer.
    Closed,
    /// The answer started but did not end.
    Cut,
    /// The certificate is not signed by a trusted authority.
    UnknownIssuer,
    /// The certificate is invalid for another reason.
    Certificate(String),
    /// The certificate is an authority's, which a server must not use as its own.
    Authority,
    /// The server requires a client certificate.
    ClientCertificate,
    /// One of these problems in the TLS connection to the proxy.
    AtProxy(Box<Trouble>),
    /// The server speaks no TLS, or an incompatible version.
    NoTls(String),
    /// The proxy requires a user and a password, or other ones.
    ProxyLogin,
    /// The proxy refuses to connect to the endpoint.
    ProxyRefuses,
    /// Something else answered instead of AWS: a proxy, a gateway, a login page.
    Page {
        /// The HTTP status.
        status: u16,
        /// The title of the page, if it has one.
        title: Option<String>,
    },
    /// Any other problem, with its causes.
    Other(String),
}

impl Unanswered {
    /// Finds the value inside a connector's error.
    pub fn of(error: &ConnectorError) -> Option<&Self> {
        find(error)
    }

    /// Whether another attempt would fail in the same way.
    pub fn is_final(&self) -> bool {
        match &self.trouble {
            Trouble::UnknownIssuer
            | Trouble::Certificate(_)
            | Trouble::Authority
            | Trouble::ClientCertificate
            | Trouble::AtProxy(_)
            | Trouble::NoTls(_)
            | Trouble::ProxyLogin
            | Trouble::ProxyRefuses => true,
            Trouble::Page { status, .. } => !is_passing(*status),
            _ => false,
        }
    }

    /// Whether no complete answer came in the time allowed.
    pub fn is_silent(&self) -> bool {
        matches!(self.trouble, Trouble::NoConnection | Trouble::Silent | Trouble::Cut)
    }

    /// Wraps this into a connector's error of the same kind as its cause, so that the SDK's retries do not change.
    pub fn into_error(self, cause: Option<&ConnectorError>) -> ConnectorError {
        let kind = match &self.trouble {
            Trouble::Page { status, .. } if is_passing(*status) => Some(ErrorKind::TransientError),
            _ => cause.and_then(ConnectorError::as_other),
        };
        match cause {
            None if self.is_silent() => ConnectorError::timeout(self.into()),
            Some(cause) if cause.is_timeout() => ConnectorError::timeout(self.into()),
            Some(cause) if cause.is_io() => ConnectorError::io(self.into()),
            Some(cause) if cause.is_user() => ConnectorError::user(self.into()),
            _ => ConnectorError::other(self.into(), kind),
        }
    }

    /// The error message, without the full stop.
    pub fn message(&self) -> String {
        let Self { host, proxy, trouble, .. } = self;
        let through = proxy.as_ref().map(|proxy| format!(" (through the proxy `{}`)", proxy.shown)).unwrap_or_default();
        // If the proxy does not answer, nothing is known of the endpoint.
        if let (Trouble::AtProxy(trouble), Some(proxy)) = (trouble, proxy) {
            return format!("the proxy {}", self.at(proxy, trouble).message());
        }
        let end = proxy.as_ref().map_or_else(|| format!("`{host}`"), |proxy| format!("the proxy `{}`", proxy.shown));
        match trouble {
            Trouble::UnknownName => format!("{end} has a name that this machine cannot resolve"),
            Trouble::Refused => format!("{end} refuses the connection: nothing is listening there"),
            Trouble::NoWay(why) => format!("{end} cannot be reached ({why})"),
            Trouble::NoConnection => format!("`{host}`{through} does not accept the connection in time"),
            Trouble::Silent => format!("`{host}`{through} accepts the connection and does not answer in time"),
            Trouble::Closed => format!("`{host}`{through} closes the connection before it answers"),
            Trouble::Cut => format!("`{host}`{through} begins an answer and does not finish it"),
            Trouble::UnknownIssuer => {
                format!("`{host}`{through} shows a certificate that no authority trusted here has signed")
            }
            Trouble::Certificate(why) => format!("`{host}`{through} shows a certificate that is not valid: {why}"),
            Trouble::Authority => format!(
                "`{host}`{through} uses the certificate of an authority (`CA:TRUE`) as its own, which no client may accept"
            ),
            Trouble::ClientCertificate => {
                format!("`{host}`{through} requires a client certificate, and there is none")
            }
            Trouble::AtProxy(trouble) => Self { trouble: (**trouble).clone(), ..self.clone() }.message(),
            Trouble::NoTls(why) => format!("`{host}`{through} does not speak TLS correctly: {why}"),
            Trouble::ProxyLogin => format!("{end} requires a user and a password, or rejects those it was given"),
            Trouble::ProxyRefuses => format!("{end} refuses to connect to `{host}`"),
            Trouble::Page { status, title } => {
                let title = title.as_ref().map(|title| format!(", \"{title}\"")).unwrap_or_default();
                match proxy {
                    // In a tunnel, only the endpoint itself can answer.
                    Some(proxy) if host.starts_with("http://") => {
                        format!("the proxy `{}` answers instead of `{host}`: HTTP status {status}{title}", proxy.shown)
                    }
                    _ => format!(
                        "`{host}`{through} answers with something that is not AWS's: HTTP status {status}{title}"
                    ),
                }
            }
            Trouble::Other(why) => format!("`{host}`{through} cannot be reached ({why})"),
        }
    }

    /// The same problem with the proxy as the endpoint.
    fn at(&self, proxy: &Proxy, trouble: &Trouble) -> Self {
        Self {
            host: proxy.shown.clone(),
            named_by: Some(format!("`{}`", proxy.variable)),
            proxy: None,
            is_strange: self.is_strange,
            trouble: trouble.clone(),
            turn: self.turn.clone(),
        }
    }

    /// The next step, for the line `help:`.
    pub fn help(&self) -> String {
        if let (Trouble::AtProxy(trouble), Some(proxy)) = (&self.trouble, &self.proxy) {
            return self.at(proxy, trouble).help();
        }
        let endpoint = self.named_by.as_deref().unwrap_or("`AWS_ENDPOINT_URL`");
        let variable = self.proxy.as_ref().map(|proxy| proxy.variable);
        let bare = self.host.split_once("://").map_or(self.host.as_str(), |(_, host)| host);
        let name = bare.rsplit_once(':').map_or(bare, |(name, _)| name);
        match (&self.trouble, variable) {
            (Trouble::UnknownName | Trouble::Refused | Trouble::NoWay(_), Some(variable)) => {
                format!("correct or unset `{variable}`, or add `{name}` to `NO_PROXY`")
            }
            (Trouble::UnknownName, None) => {
                format!("check `region` in the stack file, {endpoint} and this machine's name service; set `HTTPS_PROXY` if the internet can be reached only through a proxy")
            }
            (Trouble::Refused, None) if endpoint.contains("`AWS_ENDPOINT_URL") => {
                format!("start the service at `{bare}`, correct {endpoint}, or unset it to use AWS")
            }
            (Trouble::Refused, None) => format!("start the service at `{bare}`, or correct {endpoint}"),
            (Trouble::Page { status: 407, .. } | Trouble::ProxyLogin, Some(variable)) => {
                format!("write them into `{variable}`, as in `http://USER:PASSWORD@proxy:3128`")
            }
            (Trouble::Page { .. } | Trouble::ProxyRefuses, Some(_)) => {
                format!("allow `{name}` in the proxy, or add it to `NO_PROXY` if it can be reached directly")
            }
            (Trouble::Page { .. } | Trouble::ProxyLogin | Trouble::ProxyRefuses, None) => {
                format!("check {endpoint}, and whether a gateway or a login page of the network is between this machine and AWS")
            }
            (Trouble::Silent | Trouble::Closed | Trouble::Cut | Trouble::NoConnection | Trouble::Other(_), Some(variable)) => {
                format!("check whether the proxy in `{variable}` lets `{name}` through, and run the command again")
            }
            (Trouble::Silent | Trouble::Closed | Trouble::Cut, None) => format!(
                "check the service at `{bare}` and what is in front of it ({endpoint}, a firewall, a VPN), and run the command again"
            ),
            (Trouble::NoConnection | Trouble::NoWay(_) | Trouble::Other(_), None) => {
                format!("check the network, the firewall, {endpoint} and `region` in the stack file; set `HTTPS_PROXY` if the internet can be reached only through a proxy")
            }
            (Trouble::UnknownIssuer, _) => {
                "set `AWS_CA_BUNDLE`, or `ca_bundle` of the profile, to the file with your company's certificate authority".to_owned()
            }
            (Trouble::Certificate(_), _) => {
                format!("check {endpoint} and this machine's clock, or renew the certificate")
            }
            (Trouble::Authority, _) => {
                format!("give `{bare}` a certificate of its own (`CA:FALSE`), and set `AWS_CA_BUNDLE` to the file with the authority that signed it")
            }
            (Trouble::ClientCertificate | Trouble::AtProxy(_), _) => {
                format!("Trunnion sends no client certificate: correct {endpoint}, or configure `{bare}` to require none")
            }
            (Trouble::NoTls(_), _) => {
                let named = self.named_by.as_ref().map(|by| format!(" (in {by})")).unwrap_or_default();
                format!("check whether `{bare}`{named} needs `http://`, and which proxy is in front of it")
            }
        }
    }
}

impl Trouble {
    /// Recognises the cause of a connector's error; `is_of_proxy` says whether the connection was one to a proxy.
    pub fn of(error: &ConnectorError, is_of_proxy: bool) -> Self {
        let text = chain(error);
        let says = |part: &str| text.contains(part);
        // The texts of hyper-util's tunnel; its error type is private.
        let is_tunnel = says("tunnel error");
        if let Some(tls) = find::<rustls::Error>(error) {
            let trouble = of_tls(tls);
            // Before the tunnel exists, TLS is that of the proxy.
            return if is_tunnel || is_of_proxy { Self::AtProxy(Box::new(trouble)) } else { trouble };
        }
        if is_tunnel && says("proxy authorization required") {
            return Self::ProxyLogin;
        }
        if is_tunnel && (says("unsuccessful") || says("unexpected end of file") || says("headers too long")) {
            return Self::ProxyRefuses;
        }
        // The texts of the SDK's connector and of hyper-util's resolver.
        if says("HTTP connect timeout") {
            return Self::NoConnection;
        }
        if error.is_timeout() {
            return Self::Silent;
        }
        if says("dns error") {
            return Self::UnknownName;
        }
        // An I/O error that contains another one has no information of its own.
        let of_system = causes(error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .find(|error| error.kind() != io::ErrorKind::Other);
        match of_system.map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused,
            Some(
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof,
            ) => Self::Closed,
            Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkDown) => {
                Self::NoWay(of_system.map(ToString::to_string).unwrap_or_default())
            }
            // The SDK marks an answer that never started as transient.
            _ if error.as_other() == Some(ErrorKind::TransientError) || says("connection closed before") => {
                Self::Closed
            }
            _ => Self::Other(text),
        }
    }
}

/// Whether an answer has the header with the request id that AWS sends.
pub(crate) fn has_request_id(answer: &Response) -> bool {
    ["x-amzn-requestid", "x-amz-request-id", "x-amz-id-2", "x-amzn-request-id"]
        .iter()
        .any(|name| answer.headers().get(*name).is_some())
}

/// Whether the body has the request id, as in the answers of services that use XML.
pub(crate) fn names_a_request(body: &[u8]) -> bool {
    body.windows(REQUEST_ID.len()).any(|window| window.eq_ignore_ascii_case(REQUEST_ID))
}

const REQUEST_ID: &[u8] = b"requestid";

/// Whether an answer is an HTML page or comes from a proxy.
pub(crate) fn is_page(answer: &Response) -> bool {
    let kind = answer.headers().get("content-type").unwrap_or_default().trim_start().to_ascii_lowercase();
    kind.starts_with("text/html")
        || kind.starts_with("application/xhtml")
        || answer.status().as_u16() == 407
        || answer.headers().get("proxy-authenticate").is_some()
}

fn of_tls(error: &rustls::Error) -> Trouble {
    match error {
        rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired) => Trouble::ClientCertificate,
        // The cause is a type of webpki, which rustls does not export.
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            Trouble::Authority
        }
        // `BadSignature`: a trusted authority has the same name but another key.
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            Trouble::UnknownIssuer
        }
        rustls::Error::InvalidCertificate(why) => Trouble::Certificate(match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "it is for another name".to_owned()
            }
            other => other.to_string(),
        }),
        other => Trouble::NoTls(other.to_string()),
    }
}

/// The title of a page on one line.
pub(crate) fn title(page: &[u8]) -> Option<String> {
    let page = String::from_utf8_lossy(page);
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower.get(start..)?.find('>')? + 1;
    let end = start + lower.get(start..)?.find("</title")?;
    let words: Vec<&str> = page.get(start..end)?.split_whitespace().collect();
    let title: String = words.join(" ").chars().filter(|character| !character.is_control()).take(80).collect();
    (!title.is_empty()).then_some(title)
}

/// HTTP statuses of problems that are often temporary.
fn is_passing(status: u16) -> bool {
    matches!(status, 500 | 502 | 503 | 504)
}

/// The first cause of this type; the inner error of an [`io::Error`] counts as its cause.
pub(crate) fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    fn next<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
        match error.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error), |error| next(*error))
}

/// An error with its causes, without repetitions.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut said = String::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if !said.contains(&text) {
            said.push_str(if said.is_empty() { "" } else { ": " });
            said.push_str(&text);
        }
    }
    said
}
