//! A client of the instance metadata service (IMDSv2 only): the host's interfaces as EC2 knows them, and notices of AWS.
//!
//! An incomplete answer is an error, so that a failure never looks like an address that is gone.
//!
//! Paths and formats: EC2 User Guide, "Instance metadata categories" (`network/interfaces/macs/…`), "Use the Instance
//! Metadata Service" (tokens), "Spot Instance interruption notices" (`spot/instance-action`) and "EC2 instance rebalance
//! recommendations" (`events/recommendations/rebalance`), read August 2026.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Body as _, Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{HOST, HeaderValue, TRANSFER_ENCODING},
};
use hyper_util::rt::TokioIo;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;
use tokio::{net::TcpStream, time};
use trunnion_host::Config;

use crate::{accounts, failure::FileError};

/// The addresses of the metadata service (EC2 User Guide, "Access instance metadata for an EC2 instance").
pub(crate) const ADDRESSES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

const TOKEN: &str = "/latest/api/token";
const TOKEN_TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const MACS: &str = "/latest/meta-data/network/interfaces/macs/";
const INTERRUPTION: &str = "/latest/meta-data/spot/instance-action";
const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";

/// The lifetime of a token in seconds: the longest that the service allows.
const TTL: u64 = 21_600;
/// The age at which a token is renewed. A read takes less than the hour that is left.
const RENEWED_AFTER: Duration = Duration::from_secs(TTL - 3_600);
/// The longest time of one request with its answer.
const REQUEST: Duration = Duration::from_secs(2);
/// The longest time of one read: all its requests, with retries and pauses.
const READ: Duration = Duration::from_secs(30);
/// How many requests of one read are retried, and the pause before each retry.
const RETRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// Longer answers are an error. The longest one lists the addresses of one interface.
const LONGEST: usize = 64 * 1024;

/// A client of the metadata service.
#[derive(Debug)]
pub(crate) struct Imds {
    address: SocketAddr,
    host: HeaderValue,
    /// Kept for later reads.
    token: Mutex<Option<Token>>,
}

#[derive(Debug, Clone)]
struct Token {
    value: HeaderValue,
    since: Instant,
}

/// The host's interfaces in the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// By card and device; the first is the primary interface.
    pub(crate) interfaces: Vec<Interface>,
}

/// One interface in the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) mac: [u8; 6],
    pub(crate) card: u32,
    pub(crate) device: u32,
    pub(crate) subnet: Ipv4Net,
    /// Private IPv4 addresses, the primary one first, without those of prefixes.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// Delegated prefixes.
    pub(crate) prefixes: Vec<Ipv4Net>,
    /// The private IPv4 addresses that have a public one.
    pub(crate) public: Vec<Ipv4Addr>,
    pub(crate) ipv6_subnets: Vec<Ipv6Net>,
    pub(crate) ipv6_addresses: Vec<Ipv6Addr>,
    pub(crate) ipv6_prefixes: Vec<Ipv6Net>,
}

/// A notice of AWS about the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A spot instance will be stopped, terminated or hibernated.
    Interruption { action: String, time: String },
    /// A spot instance is likely to be interrupted soon.
    Rebalance { time: String },
}

/// Why the metadata cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImdsError {
    #[error(
        "`{0}` is not the address of a metadata service, such as `http://169.254.169.254` or `http://[fd00:ec2::254]:80`"
    )]
    Address(String),
    #[error("cannot reach the metadata service at {address}")]
    Unreachable { address: SocketAddr, source: io::Error },
    #[error("the metadata service closed the connection at `{path}`")]
    Broken { path: String, source: hyper::Error },
    #[error("the metadata service did not answer within {} s at `{path}`", REQUEST.as_secs())]
    Silent { path: String },
    #[error("reading the metadata took longer than {} s", READ.as_secs())]
    Slow,
    #[error("the metadata service answered `{path}` with {status}")]
    Status { path: String, status: StatusCode },
    #[error("the metadata service did not answer `{path}` with a complete text of at most {LONGEST} bytes")]
    Body { path: String },
    #[error("the metadata service answered `{path}` with `{text}`, which is not a valid value")]
    NotUnderstood { path: String, text: String },
    #[error("the metadata has no network interface")]
    NoInterface,
}

impl ImdsError {
    pub(crate) const OUT_OF_REACH: &str =
        "make sure that the instance's metadata service is on and reachable at its link-local address";

    /// What to do next, for errors that a user can resolve.
    pub(crate) fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Silent { .. } | Self::Slow | Self::Status { .. } => {
                Some(Self::OUT_OF_REACH)
            }
            Self::Address(_) | Self::Body { .. } | Self::NotUnderstood { .. } | Self::NoInterface => None,
        }
    }

    /// Whether a retry of the request can succeed.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Silent { .. } => true,
            // A revoked token is answered with 401. Too many requests are answered with 503, or, as observed, with 429.
            Self::Status { status, .. } => {
                status.is_server_error()
                    || *status == StatusCode::UNAUTHORIZED
                    || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

impl Imds {
    /// The address on EC2.
    pub(crate) const ADDRESS: &str = "http://169.254.169.254";

    /// A client of the service at `http://IP` or `http://IP:port`, with an IPv6 address in brackets. Names are not resolved,
    /// because the service has none.
    pub(crate) fn new(address: &str) -> Result<Self, ImdsError> {
        let wrong = || ImdsError::Address(address.to_owned());
        let rest = address.strip_prefix("http://").ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let parsed = rest.parse::<SocketAddr>().ok().or_else(|| {
            let ip: IpAddr = match rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(inner) => inner.parse::<Ipv6Addr>().ok()?.into(),
                None => rest.parse::<Ipv4Addr>().ok()?.into(),
            };
            Some(SocketAddr::new(ip, 80))
        });
        let host = HeaderValue::from_str(rest).map_err(|_| wrong())?;
        Ok(Self { address: parsed.ok_or_else(wrong)?, host, token: Mutex::new(None) })
    }

    /// Reads the host's interfaces. One incomplete answer makes it an error.
    pub(crate) async fn metadata(&self) -> Result<Metadata, ImdsError> {
        time::timeout(READ, self.read_metadata()).await.map_err(|_| ImdsError::Slow)?
    }

    /// Reads the notice of AWS, if there is one.
    pub(crate) async fn notice(&self) -> Result<Option<Notice>, ImdsError> {
        time::timeout(READ, self.read_notice()).await.map_err(|_| ImdsError::Slow)?
    }

    async fn read_metadata(&self) -> Result<Metadata, ImdsError> {
        let mut read = Read::new(self);
        let mut interfaces = Vec::new();
        for line in read.must(MACS).await?.lines() {
            let mac = line.trim().trim_end_matches('/');
            let bytes = mac_bytes(mac).ok_or_else(|| not_understood(MACS, line))?;
            interfaces.push(read.interface(mac, bytes).await?);
        }
        if interfaces.is_empty() {
            return Err(ImdsError::NoInterface);
        }
        interfaces.sort_by_key(|interface| (interface.card, interface.device));
        Ok(Metadata { interfaces })
    }

    async fn read_notice(&self) -> Result<Option<Notice>, ImdsError> {
        #[derive(Deserialize)]
        struct Interruption {
            action: String,
            time: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Rebalance {
            notice_time: String,
        }
        let mut read = Read::new(self);
        if let Some(text) = read.get(INTERRUPTION).await? {
            let Interruption { action, time } =
                serde_json::from_str(&text).map_err(|_| not_understood(INTERRUPTION, &text))?;
            return Ok(Some(Notice::Interruption { action: printable(&action), time: printable(&time) }));
        }
        if let Some(text) = read.get(REBALANCE).await? {
            let Rebalance { notice_time: time } =
                serde_json::from_str(&text).map_err(|_| not_understood(REBALANCE, &text))?;
            return Ok(Some(Notice::Rebalance { time: printable(&time) }));
        }
        Ok(None)
    }

    fn cached_token(&self) -> Option<HeaderValue> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().filter(|token| token.since.elapsed() < RENEWED_AFTER).map(|token| token.value.clone())
    }

    fn cache_token(&self, value: Option<HeaderValue>) {
        let since = Instant::now();
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = value.map(|value| Token { value, since });
    }
}

/// One read: requests one after the other, over one connection while it is open.
struct Read<'a> {
    imds: &'a Imds,
    connection: Option<SendRequest<Empty<Bytes>>>,
    retries: u32,
}

impl<'a> Read<'a> {
    fn new(imds: &'a Imds) -> Self {
        Self { imds, connection: None, retries: RETRIES }
    }

    async fn interface(&mut self, mac: &str, bytes: [u8; 6]) -> Result<Interface, ImdsError> {
        let path = |name: &str| format!("{MACS}{mac}/{name}");
        Ok(Interface {
            mac: bytes,
            // Only instance types with several cards have this path.
            card: self.all(&path("network-card")).await?.first().copied().unwrap_or(0),
            device: self.one(&path("device-number")).await?,
            subnet: self.one(&path("subnet-ipv4-cidr-block")).await?,
            addresses: self.some(&path("local-ipv4s")).await?,
            prefixes: self.all(&path("ipv4-prefix")).await?,
            public: self.public(&path("ipv4-associations/")).await?,
            ipv6_subnets: self.all(&path("subnet-ipv6-cidr-blocks")).await?,
            ipv6_addresses: self.all(&path("ipv6s")).await?,
            ipv6_prefixes: self.all(&path("ipv6-prefix")).await?,
        })
    }

    /// The private addresses that have a public one, in their order.
    async fn public(&mut self, path: &str) -> Result<Vec<Ipv4Addr>, ImdsError> {
        let mut associated = Vec::new();
        for public in self.all::<Ipv4Addr>(path).await? {
            // One that was taken away meanwhile is not there any more.
            associated.extend(self.all::<Ipv4Addr>(&format!("{path}{public}")).await?);
        }
        associated.sort_unstable();
        associated.dedup();
        Ok(associated)
    }

    /// A value that must be there.
    async fn one<T: FromStr>(&mut self, path: &str) -> Result<T, ImdsError> {
        let text = self.must(path).await?;
        text.trim().parse().map_err(|_| not_understood(path, &text))
    }

    /// A list that must have at least one value.
    async fn some<T: FromStr>(&mut self, path: &str) -> Result<Vec<T>, ImdsError> {
        let text = self.must(path).await?;
        let all = each(path, &text)?;
        if all.is_empty() { Err(not_understood(path, &text)) } else { Ok(all) }
    }

    /// A list that can be empty or missing.
    async fn all<T: FromStr>(&mut self, path: &str) -> Result<Vec<T>, ImdsError> {
        each(path, &self.get(path).await?.unwrap_or_default())
    }

    async fn must(&mut self, path: &str) -> Result<String, ImdsError> {
        let missing = || ImdsError::Status { path: path.to_owned(), status: StatusCode::NOT_FOUND };
        self.get(path).await?.ok_or_else(missing)
    }

    /// The text at `path`; `None` if the service answers 404.
    async fn get(&mut self, path: &str) -> Result<Option<String>, ImdsError> {
        loop {
            match self.attempt(path).await {
                Ok(text) => return Ok(Some(text)),
                Err(ImdsError::Status { path: at, status: StatusCode::NOT_FOUND }) if at == path => return Ok(None),
                Err(error) if error.may_pass() && self.retries > 0 => {
                    self.retries -= 1;
                    // The retry uses a new connection and a new token.
                    self.connection = None;
                    self.imds.cache_token(None);
                    time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&mut self, path: &str) -> Result<String, ImdsError> {
        let token = if let Some(token) = self.imds.cached_token() {
            token
        } else {
            let text = self.request(Method::PUT, TOKEN, TOKEN_TTL, HeaderValue::from(TTL)).await?;
            let mut token = HeaderValue::from_str(text.trim()).map_err(|_| not_understood(TOKEN, &text))?;
            token.set_sensitive(true);
            self.imds.cache_token(Some(token.clone()));
            token
        };
        self.request(Method::GET, path, TOKEN_HEADER, token).await
    }

    async fn request(
        &mut self,
        method: Method,
        path: &str,
        header: &'static str,
        value: HeaderValue,
    ) -> Result<String, ImdsError> {
        let silent = |_| ImdsError::Silent { path: path.to_owned() };
        time::timeout(REQUEST, self.exchange(method, path, header, value)).await.map_err(silent)?
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        header: &'static str,
        value: HeaderValue,
    ) -> Result<String, ImdsError> {
        let broken = |source| ImdsError::Broken { path: path.to_owned(), source };
        let no_text = || ImdsError::Body { path: path.to_owned() };
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await.map_err(|error| error.at(path, self.imds.address))?,
        };
        connection.ready().await.map_err(broken)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.imds.host.clone())
            .header(header, value)
            .body(Empty::new())
            .map_err(|_| not_understood(MACS, path))?;
        let answer = connection.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        // Without a length or chunks, a cut answer looks complete.
        if answer.body().size_hint().exact().is_none() && !answer.headers().contains_key(TRANSFER_ENCODING) {
            return Err(no_text());
        }
        let body = Limited::<Incoming>::new(answer.into_body(), LONGEST).collect().await;
        let bytes = match body {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return Err(match error.downcast::<hyper::Error>() {
                    Ok(source) => broken(*source),
                    Err(_) => no_text(),
                });
            }
        };
        self.connection = Some(connection);
        if status != StatusCode::OK {
            return Err(ImdsError::Status { path: path.to_owned(), status });
        }
        String::from_utf8(bytes.into()).map_err(|_| no_text())
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Connect> {
        let stream = TcpStream::connect(self.imds.address).await.map_err(Connect::Tcp)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Connect::Http)?;
        // The task ends with the sender. Its errors are reported by the request.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Why a connection failed.
enum Connect {
    Tcp(io::Error),
    Http(hyper::Error),
}

impl Connect {
    fn at(self, path: &str, address: SocketAddr) -> ImdsError {
        match self {
            Self::Tcp(source) => ImdsError::Unreachable { address, source },
            Self::Http(source) => ImdsError::Broken { path: path.to_owned(), source },
        }
    }
}

fn not_understood(path: &str, text: &str) -> ImdsError {
    ImdsError::NotUnderstood { path: path.to_owned(), text: printable(text) }
}

/// The beginning of a text of the metadata service, for messages: it begins no other line, and does not change a terminal.
fn printable(text: &str) -> String {
    let is_plain = |character: char| {
        // Those of the second kind change the direction of a text, or are not visible.
        let hides = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        !character.is_control() && !hides
    };
    let mut printable = String::new();
    for character in text.chars().take(100) {
        if is_plain(character) { printable.push(character) } else { printable.extend(character.escape_default()) }
    }
    printable
}

/// Parses one value on each line.
fn each<T: FromStr>(path: &str, text: &str) -> Result<Vec<T>, ImdsError> {
    text.lines().map(|line| line.trim().parse().map_err(|_| not_understood(path, line))).collect()
}

fn mac_bytes(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// The id of the SSH user, whose processes must not reach the metadata service; `None` if they may, if there is no such user
/// yet, and for root, which the service runs as.
pub(crate) fn refused_user(config: &Config) -> Result<Option<u32>, FileError> {
    if config.metadata_access {
        return Ok(None);
    }
    Ok(accounts::user(&config.ssh.user)?.map(|user| user.uid).filter(|uid| *uid != 0))
}

#[cfg(test)]
mod tests;
