//! The VPC around the machine, in a network namespace: two subnets with a router, the metadata service, the sandbox in
//! place of AWS, and a target that accepts and holds connections.
//!
//! ```text
//!            ┌ eni0 ┐
//!   machine  ├ eni1 ┤ bridge sub0: 10.0.0.1/20  ┐
//!            │      ┘                           ├ router ── target 198.18.0.2, AWS 198.18.0.3
//!            └ eni2 ─ bridge sub1: 10.0.16.1/20 ┘
//! ```

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    Failure,
    kernel::{
        command::{Ended, Service},
        imds::{Imds, Interface, Metadata},
        namespace::Namespace,
        stage,
        target::Server,
    },
};

/// The endpoint of AWS for the machine.
pub(super) const ENDPOINT: &str = "http://198.18.0.3:4600";
const ENDPOINT_ADDRESS: &str = "198.18.0.3:4600";

/// The address of the target.
pub(super) const TARGET: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 18, 0, 2), 8080);

/// Private addresses of each interface, the primary one included.
pub(super) const ADDRESSES: u8 = 5;

/// The credentials of the sandbox.
const CREDENTIALS: (&str, &str) = ("sandbox", "sandbox");

/// The VPC around one machine. Dropping it removes everything.
#[derive(Debug)]
pub(super) struct Vpc {
    // These are dropped before their namespace.
    _imds: Imds,
    _sandbox: Service,
    target: Server,
    namespace: Namespace,
    interfaces: Vec<Interface>,
}

impl Vpc {
    /// Builds the VPC. The sandbox keeps its data in `data`.
    pub(super) fn new(trunnion: &Path, data: &Path) -> Result<Self, Failure> {
        let interfaces = interfaces()?;
        let namespace = Namespace::network("VPC")?;
        namespace.sysctl(&[
            "net.ipv4.conf.all.rp_filter=1",
            "net.ipv4.conf.default.rp_filter=1",
            "net.ipv4.ip_forward=1",
        ])?;
        let mut lines = format!("addr add {}/32 dev lo\naddr add {}/32 dev lo\n", Imds::ADDRESS, TARGET.0);
        lines.push_str("addr add 198.18.0.3/32 dev lo\n");
        lines.push_str("link add sub0 type bridge\nlink set sub0 up\naddr add 10.0.0.1/20 dev sub0\n");
        lines.push_str("link add sub1 type bridge\nlink set sub1 up\naddr add 10.0.16.1/20 dev sub1\n");
        namespace.ip(&lines)?;
        for (number, bridge) in ["sub0", "sub0", "sub1"].into_iter().enumerate() {
            let tap = tap(number);
            namespace.ip(&format!("tuntap add {tap} mode tap\nlink set {tap} master {bridge} up\n"))?;
        }
        let metadata = Metadata {
            interfaces: interfaces.clone(),
            instance_type: "c7i.large".into(),
            region: "eu-west-3".into(),
            credentials: Some((CREDENTIALS.0.into(), CREDENTIALS.1.into())),
            ..Metadata::default()
        };
        stage::guard_sources(&namespace, &metadata)?;
        let imds = Imds::start(&namespace, metadata)?;
        let target = Server::start(&namespace, SocketAddr::from(TARGET), false)?;
        let sandbox = sandbox(&namespace, trunnion, data)?;
        Ok(Self { _imds: imds, _sandbox: sandbox, target, namespace, interfaces })
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) fn target(&self) -> &Server {
        &self.target
    }

    /// The tap of each interface and its MAC address.
    pub(super) fn taps(&self) -> Vec<(String, String)> {
        self.interfaces.iter().enumerate().map(|(number, interface)| (tap(number), interface.mac.clone())).collect()
    }

    /// Every address of the machine, the primary one first.
    pub(super) fn addresses(&self) -> Vec<Ipv4Addr> {
        self.interfaces.iter().flat_map(Interface::all_addresses).collect()
    }

    pub(super) fn primary(&self) -> Result<Ipv4Addr, Failure> {
        Ok(*self.addresses().first().ok_or("the machine has no address")?)
    }

    /// The network configuration for cloud-init that DHCP would give for the first interface.
    pub(super) fn network_config(&self) -> Result<String, Failure> {
        let first = self.interfaces.first().ok_or("the machine has no interface")?;
        let (address, length, mac) = (self.primary()?, first.subnet.prefix_len(), &first.mac);
        Ok(format!(
            "version: 2\n\
             ethernets:\n\
             \x20 primary:\n\
             \x20   match: {{ macaddress: \"{mac}\" }}\n\
             \x20   addresses: [\"{address}/{length}\"]\n\
             \x20   routes: [{{ to: 0.0.0.0/0, via: 10.0.0.1 }}]\n"
        ))
    }

    /// Makes an HTTP request to the primary address. Returns status and body.
    pub(super) fn get(&self, port: u16, path: &str) -> Result<(u16, String), Failure> {
        self.namespace.get(self.primary()?, port, path)
    }

    /// Opens a TCP connection to the machine. Returns the result.
    pub(super) fn connect(&self, address: Ipv4Addr, port: u16) -> Result<io::Result<TcpStream>, Failure> {
        let patience = Duration::from_secs(10);
        self.namespace.inside(|| TcpStream::connect_timeout(&SocketAddr::from((address, port)), patience))
    }

    /// Logs in with a key and runs a command with this standard input.
    pub(super) fn ssh(&self, key: &Path, user: &str, command: &str, input: &str) -> Result<Ended, Failure> {
        let (key, login) = (key.to_string_lossy(), format!("{user}@{}", self.primary()?));
        let options = ["-F", "/dev/null", "-i", &key, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"];
        // The machine makes its host keys at its first boot, and no other machine is in this network.
        let hosts = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"];
        self.namespace
            .run_with(&[&["ssh"], &options[..], &hosts, &["-o", "ConnectTimeout=20", &login, command]].concat(), input)
    }
}

fn tap(number: usize) -> String {
    format!("eni{number}")
}

/// Two interfaces in one subnet, and one in another.
fn interfaces() -> Result<Vec<Interface>, Failure> {
    let mut interfaces = Vec::new();
    for (device, subnet) in [(0_u8, 0_u8), (1, 0), (2, 16)] {
        interfaces.push(Interface {
            name: format!("eni{device}"),
            mac: format!("02:00:00:00:00:{:02x}", device + 1),
            card: 0,
            device: device.into(),
            subnet: format!("10.0.{subnet}.0/20").parse()?,
            addresses: (0..ADDRESSES).map(|number| Ipv4Addr::new(10, 0, subnet + device, 10 + number)).collect(),
            prefixes: Vec::new(),
            ipv6_subnet: None,
            ipv6_addresses: Vec::new(),
            ipv6_prefixes: Vec::new(),
            associations: Vec::new(),
        });
    }
    Ok(interfaces)
}

/// Starts the sandbox and waits until it answers.
fn sandbox(namespace: &Namespace, trunnion: &Path, data: &Path) -> Result<Service, Failure> {
    let (trunnion, data) = (trunnion.to_string_lossy(), data.to_string_lossy());
    let command = namespace.command(&[&trunnion, "sandbox", "--listen", ENDPOINT_ADDRESS, "--data", &data]);
    let mut sandbox = Service::start(command, "trunnion sandbox".into(), namespace)?;
    let end = Instant::now() + Duration::from_mins(1);
    while namespace.inside(|| TcpStream::connect(ENDPOINT_ADDRESS))?.is_err() {
        if !sandbox.is_running()? || Instant::now() > end {
            return Err(format!("the sandbox did not start: {}", sandbox.said()?.1).into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(sandbox)
}
