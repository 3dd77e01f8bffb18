//! An instance metadata service like EC2's, version 2 only, for one host. Its metadata can change at any time, and it can
//! be made to fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ipnet::{Ipv4Net, Ipv6Net};
use nix::sys::socket;

use super::{namespace::Namespace, target::read_head};
use crate::Failure;

/// The metadata of the host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    /// The primary interface first.
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) instance_type: String,
    pub(crate) region: String,
    pub(crate) user_data: Option<String>,
    /// The credentials in `iam/security-credentials`: key ID and secret.
    pub(crate) credentials: Option<(String, String)>,
    /// A spot interruption: the action and its time, as in `2026-11-23T08:22:00Z`.
    pub(crate) interruption: Option<(String, String)>,
    /// The time of a rebalance recommendation.
    pub(crate) rebalance: Option<String>,
}

/// A network interface of the host.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    /// Its name in the host's kernel.
    pub(crate) name: String,
    /// Such as `02:00:00:00:00:0a`.
    pub(crate) mac: String,
    pub(crate) card: u32,
    pub(crate) device: u32,
    pub(crate) subnet: Ipv4Net,
    /// The primary address first.
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) prefixes: Vec<Ipv4Net>,
    /// Public addresses, each with the address of the interface that has it.
    pub(crate) associations: Vec<(Ipv4Addr, Ipv4Addr)>,
    pub(crate) ipv6_subnet: Option<Ipv6Net>,
    pub(crate) ipv6_addresses: Vec<Ipv6Addr>,
    pub(crate) ipv6_prefixes: Vec<Ipv6Net>,
}

/// A fault of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This status and an empty body, such as 500 or 404.
    Status(u16),
    /// 200 and this body.
    Text(&'static str),
    /// The connection ends in the middle of the body.
    Cut,
    /// The connection stays open without an answer.
    Silence,
}

#[derive(Debug, Default)]
struct State {
    metadata: Metadata,
    /// The faults, the latest first, each with a part of the paths that it applies to.
    faults: Vec<(String, Fault)>,
    /// Every request, as in `GET /latest/meta-data/mac`.
    requests: Vec<String>,
    tokens: BTreeMap<String, Instant>,
    tokens_given: u64,
    connections: Vec<TcpStream>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    requested: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running service.
#[derive(Debug)]
pub(crate) struct Imds {
    listener: TcpListener,
    accepting: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Imds {
    /// The address on EC2.
    pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

    pub(crate) fn start(router: &Namespace, metadata: Metadata) -> Result<Self, Failure> {
        let listener = router.inside(|| TcpListener::bind(SocketAddr::from((Self::ADDRESS, 80))))??;
        let shared = Arc::new(Shared::default());
        shared.state().metadata = metadata;
        let accepting = {
            let (listener, shared) = (listener.try_clone()?, Arc::clone(&shared));
            thread::spawn(move || {
                // Ends when the listener is shut down.
                while let Ok((stream, _)) = listener.accept() {
                    if let Ok(stream) = stream.try_clone() {
                        shared.state().connections.push(stream);
                    }
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || serve(stream, &shared));
                }
            })
        };
        Ok(Self { listener, accepting: Some(accepting), shared })
    }

    /// The current metadata.
    pub(crate) fn metadata(&self) -> Metadata {
        self.shared.state().metadata.clone()
    }

    /// Changes the metadata. [`super::stage::Stage::change`] also changes the network.
    pub(crate) fn set_metadata(&self, metadata: Metadata) {
        self.shared.state().metadata = metadata;
    }

    /// Makes every request with this part in its path fail like this. `""` matches all paths.
    pub(crate) fn fail(&self, part_of_path: &str, fault: Fault) {
        self.shared.state().faults.insert(0, (part_of_path.to_owned(), fault));
    }

    /// Removes all faults.
    pub(crate) fn heal(&self) {
        self.shared.state().faults.clear();
    }

    /// Makes all issued tokens invalid.
    pub(crate) fn forget_tokens(&self) {
        self.shared.state().tokens.clear();
    }

    /// Every request so far, such as `GET /latest/meta-data/mac`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }

    /// Waits for this number of further requests with this part in their path.
    pub(crate) fn wait_for(&self, part: &str, more: usize, patience: Duration) -> Result<(), Failure> {
        let end = Instant::now() + patience;
        let count = |state: &State| state.requests.iter().filter(|request| request.contains(part)).count();
        let mut state = self.shared.state();
        let wanted = count(&state) + more;
        while count(&state) < wanted {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("no request for `{part}` reached the metadata service").into());
            }
            state = self.shared.requested.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl Drop for Imds {
    fn drop(&mut self) {
        // Wakes the accepting thread and then the reading threads.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for connection in self.shared.state().connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into() }
    }

    fn not_found() -> Self {
        Self::new(
            404,
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<html><head><title>404 - Not Found</title></head></html>\n",
        )
    }

    fn write(&self, stream: &mut TcpStream) -> io::Result<()> {
        let Self { status, body } = self;
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            _ => "Error",
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nServer: EC2ws\r\n\r\n{body}"
        )
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    while let Some(request) = read_head(&mut stream).and_then(|head| parse(&head)) {
        let (fault, answer) = {
            let mut state = shared.state();
            state.requests.push(format!("{} {}", request.method, request.path));
            shared.requested.notify_all();
            let fault = state.faults.iter().find(|(part, _)| request.path.contains(part.as_str())).map(|fault| fault.1);
            (fault, state.answer(&request))
        };
        let written = match fault {
            None => answer.write(&mut stream),
            Some(Fault::Status(status)) => Answer::new(status, "").write(&mut stream),
            Some(Fault::Text(text)) => Answer::new(200, text).write(&mut stream),
            Some(Fault::Cut) => {
                // The header announces more bytes than follow.
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
                    answer.body.len() + 7,
                    answer.body
                );
                break;
            }
            // The next read waits for the client to give up.
            Some(Fault::Silence) => Ok(()),
        };
        if written.is_err() {
            break;
        }
    }
    // A clone of the stream is kept elsewhere, so that it does not close by itself.
    let _ = stream.shutdown(Shutdown::Both);
}

fn parse(head: &str) -> Option<Request> {
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Some(Request { method, path, headers: lines.filter_map(header).collect() })
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        const TOKEN_PATH: &str = "/latest/api/token";
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        match (request.method.as_str(), request.path.as_str()) {
            ("PUT", TOKEN_PATH) => {
                let seconds = header("x-aws-ec2-metadata-token-ttl-seconds").and_then(|text| text.parse().ok());
                let Some(seconds @ 1..=21_600) = seconds else { return Answer::new(400, "") };
                if header("x-forwarded-for").is_some() {
                    return Answer::new(403, "");
                }
                self.tokens_given += 1;
                let token = format!("AQAEA{:051}==", self.tokens_given);
                self.tokens.insert(token.clone(), Instant::now() + Duration::from_secs(seconds));
                Answer::new(200, token)
            }
            ("GET", path) => {
                let token = header("x-aws-ec2-metadata-token").and_then(|token| self.tokens.get(token));
                if token.is_none_or(|end| *end < Instant::now()) {
                    return Answer::new(401, "");
                }
                self.read(path)
            }
            _ => Answer::new(405, ""),
        }
    }

    /// A value, or the names below a folder.
    fn read(&self, path: &str) -> Answer {
        let values = self.metadata.values();
        if let Some(value) = values.get(path) {
            return Answer::new(200, value);
        }
        let folder = format!("{}/", path.trim_end_matches('/'));
        let names: BTreeSet<_> = values
            .keys()
            .filter_map(|path| path.strip_prefix(&folder))
            .map(|rest| rest.split_once('/').map_or_else(|| rest.to_owned(), |(name, _)| format!("{name}/")))
            .collect();
        if names.is_empty() { Answer::not_found() } else { Answer::new(200, Vec::from_iter(names).join("\n")) }
    }
}

impl Metadata {
    /// Every path that has a value.
    fn values(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        let mut put = |path: &str, value: String| values.insert(format!("/latest/meta-data/{path}"), value);
        put("instance-id", "i-0123456789abcdef0".into());
        put("instance-type", self.instance_type.clone());
        put("ami-id", "ami-0123456789abcdef0".into());
        put("placement/region", self.region.clone());
        put("placement/availability-zone", format!("{}a", self.region));
        if let Some(primary) = self.interfaces.first() {
            put("mac", primary.mac.clone());
            put("local-ipv4", lines(primary.addresses.get(..1).unwrap_or_default()));
        }
        if let Some((action, time)) = &self.interruption {
            put("spot/instance-action", format!("{{\"action\": \"{action}\", \"time\": \"{time}\"}}"));
            put("spot/termination-time", time.clone());
        }
        if let Some(time) = &self.rebalance {
            put("events/recommendations/rebalance", format!("{{\"noticeTime\": \"{time}\"}}"));
        }
        if let Some((id, secret)) = &self.credentials {
            let document = serde_json::json!({
                "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
                "Expiration": "2099-01-01T00:00:00Z", "AccessKeyId": id, "SecretAccessKey": secret, "Token": "",
            });
            put("iam/security-credentials/generator", document.to_string());
        }
        // Types with a single network card have no card number.
        let several_cards = self.interfaces.iter().any(|interface| interface.card > 0);
        for (interface, number) in self.interfaces.iter().zip(0..) {
            for (name, value) in interface.values(number, several_cards) {
                put(&format!("network/interfaces/macs/{}/{name}", interface.mac), value);
            }
            for (public, private) in &interface.associations {
                let path = format!("network/interfaces/macs/{}/ipv4-associations/{public}", interface.mac);
                put(&path, private.to_string());
            }
        }
        let document = serde_json::json!({
            "region": self.region, "instanceType": self.instance_type, "instanceId": "i-0123456789abcdef0",
            "accountId": "123456789012", "availabilityZone": format!("{}a", self.region),
        });
        values.insert("/latest/dynamic/instance-identity/document".into(), document.to_string());
        if let Some(user_data) = &self.user_data {
            values.insert("/latest/user-data".into(), user_data.clone());
        }
        values
    }
}

impl Interface {
    /// The entries of an interface. An empty list has no entry.
    fn values(&self, number: u32, several_cards: bool) -> Vec<(&'static str, String)> {
        let mut values = vec![
            ("device-number", self.device.to_string()),
            ("interface-id", format!("eni-{number:017x}")),
            ("local-ipv4s", lines(&self.addresses)),
            ("mac", self.mac.clone()),
            ("owner-id", "123456789012".into()),
            ("security-group-ids", "sg-0123456789abcdef0".into()),
            ("security-groups", "generators".into()),
            ("subnet-id", format!("subnet-{:017x}", u32::from(self.subnet.network()))),
            ("subnet-ipv4-cidr-block", self.subnet.to_string()),
            ("vpc-id", "vpc-0123456789abcdef0".into()),
            ("vpc-ipv4-cidr-block", super::stage::VPC.into()),
            ("vpc-ipv4-cidr-blocks", super::stage::VPC.into()),
        ];
        if let Some(address) = self.addresses.first() {
            values.push(("local-hostname", format!("ip-{}.ec2.internal", address.to_string().replace('.', "-"))));
        }
        if several_cards {
            values.push(("network-card", self.card.to_string()));
        }
        if !self.prefixes.is_empty() {
            values.push(("ipv4-prefix", lines(&self.prefixes)));
        }
        if let Some(subnet) = &self.ipv6_subnet {
            values.push(("subnet-ipv6-cidr-blocks", subnet.to_string()));
            values.push(("vpc-ipv6-cidr-blocks", super::stage::VPC_IPV6.into()));
        }
        if !self.ipv6_addresses.is_empty() {
            values.push(("ipv6s", lines(&self.ipv6_addresses)));
        }
        if !self.ipv6_prefixes.is_empty() {
            values.push(("ipv6-prefix", lines(&self.ipv6_prefixes)));
        }
        values
    }
}

fn lines<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
