//! Why a request got no answer of AWS, told for a person: which host, which proxy, and what helps.
//!
//! [`Unanswered`] is what every [`ConnectorError`] of this crate's HTTP client carries, so that it can be found in an
//! SDK's error again, however deep. What the layers below tell by type is asked by type; hyper and the SDK's connector
//! keep the types of a few causes to themselves, and those are told apart by their fixed words.

use std::{error::Error as StdError, io};

use aws_smithy_runtime_api::{client::result::ConnectorError, http::Response};
use aws_smithy_types::retry::ErrorKind;
use rustls::CertificateError;

use crate::{pace::Turn, proxy::Proxy};

/// A request without an answer of AWS.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.message())]
pub(crate) struct Unanswered {
    /// Scheme, name and port of the endpoint.
    pub host: String,
    /// Who names it, where it is not AWS's own.
    pub named_by: Option<String>,
    /// The proxy that the request went through.
    pub proxy: Option<Proxy>,
    /// Whether nothing has ever answered there.
    pub is_strange: bool,
    /// What went wrong.
    pub trouble: Trouble,
    /// The call that it went wrong for.
    pub turn: Option<Turn>,
}

/// What can go wrong between here and an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The name of the endpoint, or of the proxy, is not known.
    UnknownName,
    /// Nothing listens there.
    Refused,
    /// There is no way to it; the cause in the system's words.
    NoWay(String),
    /// The connection did not come about in time.
    NoConnection,
    /// The connection came about, and no answer came in time.
    Silent,
    /// The connection was closed before an answer.
    Closed,
    /// The answer began, and did not come to its end.
    Cut,
    /// The certificate is not signed by anybody who is trusted here.
    UnknownIssuer,
    /// The certificate is refused for another reason.
    Certificate(String),
    /// The certificate is one of an authority, which a server may not show as its own.
    Authority,
    /// It wants a certificate of ours.
    ClientCertificate,
    /// One of those, and it is the proxy that the TLS connection was to end at.
    AtProxy(Box<Trouble>),
    /// What listens there speaks no TLS, or another one.
    NoTls(String),
    /// The proxy wants a user and a password, or others.
    ProxyLogin,
    /// The proxy does not connect to the endpoint.
    ProxyRefuses,
    /// Something else answered in the place of AWS: a proxy, a gateway, a login page.
    Page {
        /// The HTTP status.
        status: u16,
        /// The title of a page, where it has one.
        title: Option<String>,
    },
    /// Anything else, with its causes.
    Other(String),
}

impl Unanswered {
    /// What a connector's error carries.
    pub fn of(error: &ConnectorError) -> Option<&Self> {
        find(error)
    }

    /// Whether another attempt would end in the same.
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

    /// Whether nothing came back at all, in all the time there was for it.
    pub fn is_silent(&self) -> bool {
        matches!(self.trouble, Trouble::NoConnection | Trouble::Silent | Trouble::Cut)
    }

    /// The connector's error that carries this, of the same kind as its cause, so that the SDK retries as it would.
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

    /// What went wrong, as a sentence without its end.
    pub fn message(&self) -> String {
        let Self { host, proxy, trouble, .. } = self;
        let through = proxy.as_ref().map(|proxy| format!(" (through the proxy `{}`)", proxy.shown)).unwrap_or_default();
        // Without an answer of the proxy, nobody knows of the endpoint yet.
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
                "`{host}`{through} shows the certificate of an authority (`CA:TRUE`) where its own belongs, which nobody may trust"
            ),
            Trouble::ClientCertificate => {
                format!("`{host}`{through} requires a client certificate, and there is none")
            }
            Trouble::AtProxy(trouble) => Self { trouble: (**trouble).clone(), ..self.clone() }.message(),
            Trouble::NoTls(why) => format!("`{host}`{through} does not speak TLS as it must: {why}"),
            Trouble::ProxyLogin => format!("{end} requires a user and a password, or rejects those it was given"),
            Trouble::ProxyRefuses => format!("{end} refuses to connect to `{host}`"),
            Trouble::Page { status, title } => {
                let title = title.as_ref().map(|title| format!(", \"{title}\"")).unwrap_or_default();
                match proxy {
                    // Nobody answers between the two ends of a tunnel.
                    Some(proxy) if host.starts_with("http://") => format!(
                        "the proxy `{}` answers in the place of `{host}`: HTTP status {status}{title}",
                        proxy.shown
                    ),
                    _ => format!(
                        "`{host}`{through} answers with something that is not AWS's: HTTP status {status}{title}"
                    ),
                }
            }
            Trouble::Other(why) => format!("`{host}`{through} cannot be reached ({why})"),
        }
    }

    /// The same as if the proxy were the endpoint.
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

    /// What to do next.
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
                format!("correct or unset `{variable}`, or name `{name}` in `NO_PROXY`")
            }
            (Trouble::UnknownName, None) => {
                format!("check `region` in the stack file, {endpoint} and this machine's name service; set `HTTPS_PROXY` where only a proxy knows the internet")
            }
            (Trouble::Refused, None) if endpoint.contains("`AWS_ENDPOINT_URL") => {
                format!("start what must listen at `{bare}`, correct {endpoint}, or unset it to use AWS")
            }
            (Trouble::Refused, None) => format!("start what must listen at `{bare}`, or correct {endpoint}"),
            (Trouble::Page { status: 407, .. } | Trouble::ProxyLogin, Some(variable)) => {
                format!("write them into `{variable}`, as in `http://USER:PASSWORD@proxy:3128`")
            }
            (Trouble::Page { .. } | Trouble::ProxyRefuses, Some(_)) => {
                format!("have the proxy allow `{name}`, or name it in `NO_PROXY` where it can be reached directly")
            }
            (Trouble::Page { .. } | Trouble::ProxyLogin | Trouble::ProxyRefuses, None) => {
                format!("check {endpoint}, and what stands between this machine and AWS: a gateway or a login page of the network")
            }
            (Trouble::Silent | Trouble::Closed | Trouble::Cut | Trouble::NoConnection | Trouble::Other(_), Some(variable)) => {
                format!("check whether the proxy in `{variable}` lets `{name}` through, and run it again")
            }
            (Trouble::Silent | Trouble::Closed | Trouble::Cut, None) => format!(
                "check what listens at `{bare}` and what stands before it ({endpoint}, a firewall, a VPN), and run it again"
            ),
            (Trouble::NoConnection | Trouble::NoWay(_) | Trouble::Other(_), None) => {
                format!("check the network, the firewall, {endpoint} and `region` in the stack file; set `HTTPS_PROXY` where only a proxy reaches the internet")
            }
            (Trouble::UnknownIssuer, _) => {
                "name the file with your company's certificate authority in `AWS_CA_BUNDLE`, or as `ca_bundle` of the profile".to_owned()
            }
            (Trouble::Certificate(_), _) => {
                format!("check {endpoint} and this machine's clock, or have the certificate renewed")
            }
            (Trouble::Authority, _) => {
                format!("have `{bare}` show a certificate of its own (`CA:FALSE`), and name the authority that signed it in `AWS_CA_BUNDLE`")
            }
            (Trouble::ClientCertificate | Trouble::AtProxy(_), _) => {
                format!("Trunnion shows no certificates: correct {endpoint}, or have `{bare}` ask for none")
            }
            (Trouble::NoTls(_), _) => {
                let named = self.named_by.as_ref().map(|by| format!(" (in {by})")).unwrap_or_default();
                format!("check whether `http://` is meant for `{bare}`{named}, and which proxy stands before it")
            }
        }
    }
}

impl Trouble {
    /// What a connector's error tells; `is_of_proxy` says whether the connection was to end at a proxy.
    pub fn of(error: &ConnectorError, is_of_proxy: bool) -> Self {
        let told = chain(error);
        let says = |part: &str| told.contains(part);
        // The words of hyper-util's tunnel, whose error type is not public.
        let is_tunnel = says("tunnel error");
        if let Some(tls) = find::<rustls::Error>(error) {
            let trouble = of_tls(tls);
            // Before there is a tunnel, TLS is the proxy's.
            return if is_tunnel || is_of_proxy { Self::AtProxy(Box::new(trouble)) } else { trouble };
        }
        if is_tunnel && says("proxy authorization required") {
            return Self::ProxyLogin;
        }
        if is_tunnel && (says("unsuccessful") || says("unexpected end of file") || says("headers too long")) {
            return Self::ProxyRefuses;
        }
        // The words of the SDK's connector and of hyper-util's resolver.
        if says("HTTP connect timeout") {
            return Self::NoConnection;
        }
        if error.is_timeout() {
            return Self::Silent;
        }
        if says("dns error") {
            return Self::UnknownName;
        }
        // One within another says nothing of its own.
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
            // The SDK marks an answer that never began as passing.
            _ if error.as_other() == Some(ErrorKind::TransientError) || says("connection closed before") => {
                Self::Closed
            }
            _ => Self::Other(told),
        }
    }
}

/// Whether an answer has the request id that AWS gives each of its answers.
pub(crate) fn has_request_id(answer: &Response) -> bool {
    ["x-amzn-requestid", "x-amz-request-id", "x-amz-id-2", "x-amzn-request-id"]
        .iter()
        .any(|name| answer.headers().get(*name).is_some())
}

/// Whether the body of an answer has it, as of services that speak XML.
pub(crate) fn names_a_request(body: &[u8]) -> bool {
    body.windows(REQUEST_ID.len()).any(|window| window.eq_ignore_ascii_case(REQUEST_ID))
}

const REQUEST_ID: &[u8] = b"requestid";

/// Whether an answer is a page for a person, or a proxy's own.
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
        // The type of the cause is webpki's, which rustls does not show.
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            Trouble::Authority
        }
        // The other one: an authority of the same name is trusted, and another key has signed.
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

/// The title of a page, in one line.
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

/// A state of the network that may be gone a moment later.
fn is_passing(status: u16) -> bool {
    matches!(status, 500 | 502 | 503 | 504)
}

/// The first cause of this type; what an [`io::Error`] was made of counts as its cause.
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

/// An error with its causes, each said once.
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
