//! The stage, a test environment: a new EC2 host, the VPC's router and metadata service, and targets behind the router.
//!
//! ```text
//!                 ┌ ens5 ── eni0 ┐
//!   host machine  ├ ens6 ── eni1 ┤ bridge sub0: 10.0.0.1/20 ┐
//!                 │              ┘                          ├ router ── target 0: 198.18.0.2
//!                 └ ens7 ── eni2 ─ bridge sub1: 10.0.16.1/20┘        └─ target 1: 198.18.1.2
//! ```
//!
//! The first interface has its first address and the default route, as from DHCP. The others are down and have no
//! address. As in a VPC, packets with a source address of another interface are dropped.

use std::{
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ipnet::{Ipv4Net, Ipv6Net};
use trunnion_host::{CONFIG_PATH, Config, Connections, Ports, Spread, Ssh};

use super::{
    command::{Ended, Service},
    imds::{Imds, Interface, Metadata},
    namespace::Namespace,
    target::Server,
};
use crate::Failure;

/// The address ranges of the VPC.
pub(crate) const VPC: &str = "10.0.0.0/16";
pub(crate) const VPC_IPV6: &str = "2001:db8::/56";

/// The path of the generator on the host.
pub(crate) const GENERATOR: &str = "/usr/local/bin/trunnion-generator";

/// The prefix of the control groups of stages.
const PREFIX: &str = "trunnion-kernel-";

/// Kernel parameters without a namespace: a host's setup changes them for the whole machine.
const GLOBALS: &[&str] = &["/proc/sys/fs/nr_open", "/proc/sys/fs/file-max", "/proc/sys/net/core/optmem_max"];

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// The generator for all stages.
pub(crate) fn set_binary(path: PathBuf) {
    // A second call has no effect.
    let _ = BINARY.set(path);
}

/// The static generator of this run.
pub(crate) fn binary() -> Result<&'static Path, Failure> {
    Ok(BINARY.get().ok_or("the generator is not built yet")?)
}

/// The configuration of a stage.
#[derive(Debug, Clone)]
pub(crate) struct StageOptions {
    /// The subnet of each interface by its number; the first interface is the primary one.
    pub(crate) subnets: Vec<u8>,
    /// The network card of each interface.
    pub(crate) cards: Vec<u32>,
    /// Private IPv4 addresses of each interface, the primary one included.
    pub(crate) addresses: u8,
    /// Delegated prefixes of each interface, each of 16 addresses.
    pub(crate) prefixes: u8,
    /// IPv6 addresses of each interface.
    pub(crate) ipv6: u16,
    /// Target namespaces behind the router.
    pub(crate) targets: u8,
    /// The folder of the host's initial files.
    pub(crate) root: PathBuf,
    /// Whether the host's systemd runs.
    pub(crate) booted: bool,
}

impl StageOptions {
    /// This number of interfaces and of addresses for each, all in one subnet; two targets.
    pub(crate) fn one_subnet(interfaces: usize, addresses: u8) -> Self {
        Self {
            subnets: vec![0; interfaces],
            cards: vec![0; interfaces],
            addresses,
            prefixes: 0,
            ipv6: 0,
            targets: 2,
            root: "/".into(),
            booted: false,
        }
    }

    /// As [`StageOptions::one_subnet`], with a subnet for each interface.
    pub(crate) fn many_subnets(interfaces: u8, addresses: u8) -> Self {
        Self { subnets: (0..interfaces).collect(), ..Self::one_subnet(interfaces.into(), addresses) }
    }

    fn interfaces(&self) -> Result<Vec<Interface>, Failure> {
        let mut interfaces = Vec::new();
        let mut devices = std::collections::BTreeMap::<u32, u32>::new();
        for ((&subnet, &card), number) in self.subnets.iter().zip(&self.cards).zip(0_u8..) {
            let block = |last| Ipv4Addr::new(10, 0, 16 * subnet + number, last);
            let device = devices.entry(card).or_default();
            // EC2 numbers the devices of additional cards from 1.
            if *device == 0 && card > 0 {
                *device = 1;
            }
            let ipv6 = ipv6_subnet(subnet)?;
            let ipv6_address = |last: u16| {
                Ipv6Addr::from(u128::from(ipv6.network()) + 0x1_0000 * (u128::from(number) + 1) + u128::from(last))
            };
            interfaces.push(Interface {
                name: format!("ens{}", 5 + number),
                mac: format!("02:00:00:00:{subnet:02x}:{number:02x}"),
                card,
                device: *device,
                subnet: ipv4_subnet(subnet)?,
                addresses: (0..self.addresses).map(|address| block(10 + address)).collect(),
                prefixes: (0..self.prefixes)
                    .map(|prefix| Ipv4Net::new(block(128 + 16 * prefix), 28))
                    .collect::<Result<_, _>>()?,
                associations: Vec::new(),
                ipv6_subnet: (self.ipv6 > 0).then_some(ipv6),
                ipv6_addresses: (1..=self.ipv6).map(ipv6_address).collect(),
                ipv6_prefixes: Vec::new(),
            });
            *device += 1;
        }
        Ok(interfaces)
    }
}

fn ipv4_subnet(number: u8) -> Result<Ipv4Net, Failure> {
    Ok(Ipv4Net::new(Ipv4Addr::new(10, 0, 16 * number, 0), 20)?)
}

fn ipv6_subnet(number: u8) -> Result<Ipv6Net, Failure> {
    Ok(Ipv6Net::new(Ipv6Addr::new(0x2001, 0xdb8, 0, number.into(), 0, 0, 0, 0), 64)?)
}

/// The router's addresses in a subnet.
fn gateways(subnet: u8) -> Result<(Ipv4Addr, Ipv6Addr), Failure> {
    let (ipv4, ipv6) = (u32::from(ipv4_subnet(subnet)?.network()) + 1, u128::from(ipv6_subnet(subnet)?.network()) + 1);
    Ok((ipv4.into(), ipv6.into()))
}

/// A running stage. Dropping it removes everything.
#[derive(Debug)]
pub(crate) struct Stage {
    imds: Imds,
    host: Namespace,
    router: Namespace,
    targets: Vec<Namespace>,
    options: StageOptions,
    /// The port of the next server with any port.
    port: AtomicU16,
    _globals: Globals,
}

impl Stage {
    const FIRST_PORT: u16 = 30_000;

    pub(crate) fn new(options: StageOptions) -> Result<Self, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let globals = Globals::save()?;
        let interfaces = options.interfaces()?;
        let cgroup = cgroups()?.join(format!("{PREFIX}{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let machine = if options.booted { Namespace::booted_machine } else { Namespace::machine };
        let host = machine("host", &options.root, &cgroup)?;
        let router = Namespace::network("router")?;
        let target = |number| Namespace::network(&format!("target {number}"));
        let targets = (0..options.targets).map(target).collect::<Result<Vec<_>, _>>()?;
        // Set before interfaces exist, so that it applies to all of them.
        let strict = ["net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1"];
        for namespace in targets.iter().chain([&host, &router]) {
            namespace.sysctl(&strict)?;
        }
        if options.ipv6 == 0 {
            // Link-local addresses appear at any time and would disturb comparisons.
            host.sysctl(&["net.ipv6.conf.default.addr_gen_mode=1"])?;
        }
        router.sysctl(&["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])?;
        router.ip(&router_lines(&options, &interfaces, &host, &targets)?)?;
        for (target, number) in targets.iter().zip(0_u8..) {
            target.ip(&format!(
                "link set eth0 up\n\
                 addr add {}/24 dev eth0\n\
                 addr add {}/64 dev eth0 nodad\n\
                 route add default via 198.18.{number}.1\n\
                 route add default via 2001:db8:ff00:{number}::1\n",
                target_ipv4(number),
                target_ipv6(number)
            ))?;
        }
        host.ip(&dhcp_lines(&interfaces)?)?;
        let metadata = Metadata {
            interfaces,
            instance_type: "c7i.xlarge".into(),
            region: "eu-west-3".into(),
            ..Metadata::default()
        };
        let imds = Imds::start(&router, metadata.clone())?;
        let port = AtomicU16::new(Self::FIRST_PORT);
        let stage = Self { imds, host, router, targets, options, port, _globals: globals };
        guard_sources(&stage.router, &metadata)?;
        if !stage.options.booted {
            stage.install()?;
        }
        Ok(stage)
    }

    /// Puts the generator and its config on the host, as the boot template does.
    pub(crate) fn install(&self) -> Result<(), Failure> {
        self.make_folder("/usr/local/bin")?;
        fs::copy(binary()?, self.path(GENERATOR))?;
        self.config(|_| {}).map(drop)
    }

    /// Runs a command on the host to its end.
    pub(crate) fn host(&self, arguments: &[&str]) -> Result<Ended, Failure> {
        self.host.run(arguments)
    }

    /// Runs a script on the host to its end.
    pub(crate) fn script(&self, text: &str) -> Result<Ended, Failure> {
        self.host.run_with(&["bash", "-euo", "pipefail", "-s"], text)
    }

    /// Runs a command on the host as this user to its end.
    pub(crate) fn as_user(&self, user: &str, arguments: &[&str]) -> Result<Ended, Failure> {
        self.host.run(&[&Self::become_user(user)[..], arguments].concat())
    }

    /// Starts a command on the host as this user.
    pub(crate) fn start_as_user(&self, user: &str, arguments: &[&str]) -> Result<Service, Failure> {
        self.start(&[&Self::become_user(user)[..], arguments].concat())
    }

    fn become_user(user: &str) -> [&str; 6] {
        ["setpriv", "--reuid", user, "--regid", user, "--init-groups"]
    }

    /// Runs the generator on the host to its end.
    pub(crate) fn generator(&self, arguments: &[&str]) -> Result<Ended, Failure> {
        self.host(&[&[GENERATOR], arguments].concat())
    }

    /// Starts the generator on the host like a service manager.
    pub(crate) fn generator_as_service(&self, arguments: &[&str]) -> Result<Service, Failure> {
        self.start(&[&[GENERATOR], arguments].concat())
    }

    /// Starts a command on the host.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Service, Failure> {
        Service::start(self.host.command(arguments), arguments.join(" "), &self.host)
    }

    /// The host's namespaces, for other commands and sockets.
    pub(crate) fn host_namespace(&self) -> &Namespace {
        &self.host
    }

    /// The router's namespace; its `eni0` is the other end of the host's first interface.
    pub(crate) fn router(&self) -> &Namespace {
        &self.router
    }

    pub(crate) fn imds(&self) -> &Imds {
        &self.imds
    }

    /// A target's namespace.
    pub(crate) fn target(&self, number: u8) -> Result<&Namespace, Failure> {
        Ok(self.targets.get(usize::from(number)).ok_or("there is no such target")?)
    }

    /// A server in a target's namespace that accepts and holds connections. Port 0 means any port.
    pub(crate) fn listen(&self, target: u8, port: u16) -> Result<Server, Failure> {
        Server::start(self.target(target)?, SocketAddr::from((target_ipv4(target), self.port(port))), false)
    }

    /// As [`Stage::listen`], on the target's IPv6 address.
    pub(crate) fn listen_ipv6(&self, target: u8, port: u16) -> Result<Server, Failure> {
        Server::start(self.target(target)?, SocketAddr::from((target_ipv6(target), self.port(port))), false)
    }

    /// A server that also answers HTTP requests with the client's address.
    pub(crate) fn serve(&self, target: u8, port: u16) -> Result<Server, Failure> {
        Server::start(self.target(target)?, SocketAddr::from((target_ipv4(target), self.port(port))), true)
    }

    /// This port, or for 0 a new one. A reused destination would still have a counter in the spread program and connections in
    /// `TIME_WAIT`.
    fn port(&self, port: u16) -> u16 {
        if port == 0 { self.port.fetch_add(1, Ordering::Relaxed) } else { port }
    }

    /// Makes an HTTP request from the router to the host's primary address. Returns status and body.
    pub(crate) fn get(&self, port: u16, path: &str) -> Result<(u16, String), Failure> {
        self.router.get(self.primary_address()?, port, path)
    }

    /// All load addresses of the host in the metadata, with those of prefixes.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        self.imds.metadata().interfaces.iter().flat_map(Interface::all_addresses).collect()
    }

    /// The address that the host has before setup.
    pub(crate) fn primary_address(&self) -> Result<Ipv4Addr, Failure> {
        Ok(*self.imds.metadata().interfaces.first().and_then(|first| first.addresses.first()).ok_or("no address")?)
    }

    /// Lets only addresses with a public one reach a target, as an internet gateway does. The others are refused at once
    /// instead of dropped, so that a connection from them fails and does not hang.
    pub(crate) fn put_on_internet(&self, target: u8) -> Result<(), Failure> {
        let metadata = self.imds.metadata();
        let associations = metadata.interfaces.iter().flat_map(|interface| &interface.associations);
        let public: Vec<String> = associations.map(|(_, private)| private.to_string()).collect();
        let mut lines = String::from("table ip internet\ndelete table ip internet\ntable ip internet {\n");
        lines.push_str(" chain gateway {\n  type filter hook forward priority 0;\n");
        let target = target_ipv4(target);
        if public.is_empty() {
            writeln!(lines, "  ip daddr {target} counter reject with tcp reset")?;
        } else {
            let public = public.join(", ");
            writeln!(
                lines,
                "  ip daddr {target} meta l4proto tcp ip saddr != {{ {public} }} counter reject with tcp reset"
            )?;
        }
        lines.push_str(" }\n}\n");
        self.router.run_with(&["nft", "-f", "-"], &lines)?.succeeded().map(drop)
    }

    /// Changes the metadata, and the source addresses that the network accepts.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Metadata)) -> Result<(), Failure> {
        let mut metadata = self.imds.metadata();
        change(&mut metadata);
        guard_sources(&self.router, &metadata)?;
        self.imds.set_metadata(metadata);
        Ok(())
    }

    /// Writes the config. The promises fit the stage unless the function changes them.
    pub(crate) fn config(&self, change: impl FnOnce(&mut Config)) -> Result<Config, Failure> {
        let interfaces = u32::try_from(self.options.subnets.len())?;
        let addresses = u32::from(self.options.addresses) + 16 * u32::from(self.options.prefixes);
        let ports = Ports { first: 20_000, last: 20_099 };
        let connections = u64::from(interfaces * addresses) * ports.count();
        let mut config = Config {
            format: Config::FORMAT,
            stack: "kernel".into(),
            pool: "stage".into(),
            instance_type: "c7i.xlarge".into(),
            java: 17,
            interfaces,
            addresses,
            tracking: trunnion_host::Tracking::Tracked,
            ports,
            reserved_ports: Vec::new(),
            connections: Connections { per_destination: connections, total: connections },
            descriptors: 15_000,
            spread: Spread::default(),
            network: None,
            ipv6: false,
            metrics_port: Config::METRICS_PORT,
            executable_dir: "/var/lib/gatling".into(),
            ssh: Ssh {
                user: "gatling".into(),
                authorized_keys: vec![
                    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEV4YW1wbGVLZXlOb3RGb3JSZWFsVXNlMDEyMzQ1Njc4 gatling".into(),
                ],
            },
            metadata_access: false,
            dns_cache: false,
        };
        change(&mut config);
        self.write(CONFIG_PATH, &config.to_json()?)?;
        Ok(config)
    }

    /// The path of a file of the host, for this process.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.host.path(path)
    }

    /// Writes a file of the host, and creates its folder.
    #[expect(clippy::disallowed_methods, reason = "a file of the host, which is in memory")]
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<(), Failure> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.make_folder(folder)?;
        }
        Ok(fs::write(self.path(path), text)?)
    }

    /// Creates a folder of the host if it does not exist.
    pub(crate) fn make_folder(&self, path: &str) -> Result<(), Failure> {
        Ok(fs::create_dir_all(self.path(path))?)
    }

    /// Reads a file of the host.
    pub(crate) fn read(&self, path: &str) -> Result<String, Failure> {
        Ok(fs::read_to_string(self.path(path)).map_err(|error| format!("{path}: {error}"))?)
    }
}

/// The source check of AWS: an interface can send only from its own addresses. The router's ends are named `eni0` and so
/// on, in the order of the interfaces.
pub(crate) fn guard_sources(router: &Namespace, metadata: &Metadata) -> Result<(), Failure> {
    let mut lines = String::from("table bridge vpc\ndelete table bridge vpc\ntable bridge vpc {\n chain sources {\n");
    lines.push_str("  type filter hook prerouting priority -300;\n");
    for (interface, number) in metadata.interfaces.iter().zip(0..) {
        let mut own: Vec<_> = interface.addresses.iter().map(ToString::to_string).collect();
        own.extend(interface.prefixes.iter().map(ToString::to_string));
        writeln!(lines, "  iifname \"eni{number}\" ip saddr != {{ {} }} counter drop", own.join(", "))?;
        let mut own: Vec<_> = interface.ipv6_addresses.iter().map(ToString::to_string).collect();
        own.extend(interface.ipv6_prefixes.iter().map(ToString::to_string));
        own.extend(["fe80::/10".to_owned(), "::".to_owned()]);
        writeln!(lines, "  iifname \"eni{number}\" ip6 saddr != {{ {} }} counter drop", own.join(", "))?;
    }
    lines.push_str(" }\n}\n");
    router.run_with(&["nft", "-f", "-"], &lines)?.succeeded()?;
    Ok(())
}

impl Interface {
    /// Its load addresses, including those of prefixes.
    pub(crate) fn all_addresses(&self) -> Vec<Ipv4Addr> {
        // All addresses of a delegated prefix can be used, including the first and the last.
        let of_prefix = |prefix: &Ipv4Net| u32::from(prefix.network())..=u32::from(prefix.broadcast());
        self.addresses.iter().copied().chain(self.prefixes.iter().flat_map(of_prefix).map(Ipv4Addr::from)).collect()
    }
}

/// A target's IPv4 address.
pub(crate) fn target_ipv4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, number, 2)
}

/// A target's IPv6 address.
pub(crate) fn target_ipv6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xff00, number.into(), 0, 0, 0, 2)
}

fn router_lines(
    options: &StageOptions,
    interfaces: &[Interface],
    host: &Namespace,
    targets: &[Namespace],
) -> Result<String, Failure> {
    let mut lines = format!("addr add {}/32 dev lo\n", Imds::ADDRESS);
    let mut subnets = options.subnets.clone();
    subnets.sort_unstable();
    subnets.dedup();
    for subnet in subnets {
        let (ipv4, ipv6) = gateways(subnet)?;
        writeln!(lines, "link add sub{subnet} type bridge mcast_snooping 0")?;
        writeln!(lines, "addr add {ipv4}/20 dev sub{subnet}\naddr add {ipv6}/64 dev sub{subnet} nodad")?;
        writeln!(lines, "addr add fe80::1/64 dev sub{subnet} nodad\nlink set sub{subnet} up")?;
    }
    for ((interface, subnet), number) in interfaces.iter().zip(&options.subnets).zip(0..) {
        let (Interface { name, mac, .. }, host) = (interface, host.id());
        writeln!(lines, "link add eni{number} type veth peer name {name} address {mac} netns {host}")?;
        writeln!(lines, "link set eni{number} master sub{subnet} up")?;
    }
    for (target, number) in targets.iter().zip(0_u8..) {
        writeln!(lines, "link add target{number} type veth peer name eth0 netns {}", target.id())?;
        writeln!(lines, "link set target{number} up\naddr add 198.18.{number}.1/24 dev target{number}")?;
        writeln!(lines, "addr add 2001:db8:ff00:{number}::1/64 dev target{number} nodad")?;
    }
    Ok(lines)
}

/// Configures a new host as DHCP does: only the primary interface, with its first address.
fn dhcp_lines(interfaces: &[Interface]) -> Result<String, Failure> {
    let primary = interfaces.first().ok_or("a host has an interface")?;
    let (name, address) = (&primary.name, primary.addresses.first().ok_or("an interface has an address")?);
    let gateway = Ipv4Addr::from(u32::from(primary.subnet.network()) + 1);
    let length = primary.subnet.prefix_len();
    let lease = "valid_lft 3600 preferred_lft 3600";
    let mut lines = format!("link set {name} up\naddr add {address}/{length} brd + dev {name} {lease}\n");
    writeln!(lines, "route add default via {gateway} dev {name} proto dhcp src {address} metric 512")?;
    if let Some(address) = primary.ipv6_addresses.first() {
        writeln!(lines, "addr add {address}/128 dev {name} nodad {lease}")?;
        writeln!(lines, "route add default via fe80::1 dev {name} proto ra metric 512")?;
    }
    Ok(lines)
}

/// Kernel parameters of the whole machine, which are restored on drop.
#[derive(Debug)]
struct Globals(Vec<(&'static str, String)>);

impl Globals {
    fn save() -> Result<Self, Failure> {
        let read = |path: &&'static str| Ok((*path, fs::read_to_string(path)?));
        Ok(Self(GLOBALS.iter().map(read).collect::<Result<_, io::Error>>()?))
    }
}

impl Drop for Globals {
    #[expect(clippy::disallowed_methods, reason = "kernel parameters, not regular files")]
    fn drop(&mut self) {
        for (path, value) in &self.0 {
            if fs::read_to_string(path).is_ok_and(|now| now != *value) {
                let _ = fs::write(path, value);
            }
        }
    }
}

/// The mount point of the unified cgroup hierarchy.
fn cgroups() -> Result<PathBuf, Failure> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let unified =
        mounts.lines().filter_map(|line| line.split_once(" - ")).find(|(_, kind)| kind.starts_with("cgroup2 "));
    let path = unified.and_then(|(mount, _)| mount.split(' ').nth(4));
    Ok(path.ok_or("the unified hierarchy of control groups (`cgroup2`) is not mounted here")?.into())
}

/// Takes a lock, so that only one run is active: two runs would restore each other's kernel parameters.
pub(crate) fn alone() -> Result<fs::File, Failure> {
    let hierarchy = fs::File::open(cgroups()?)?;
    hierarchy.lock()?;
    Ok(hierarchy)
}

/// Removes what a killed run left.
pub(crate) fn clear_leftovers() -> Result<(), Failure> {
    for entry in fs::read_dir(cgroups()?)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            remove_cgroup(&entry.path())?;
        }
    }
    Ok(())
}

/// Ends every process of a control group and removes it.
#[expect(clippy::disallowed_methods, reason = "a kernel interface, not a regular file")]
pub(crate) fn remove_cgroup(path: &Path) -> io::Result<()> {
    fs::write(path.join("cgroup.kill"), "1")?;
    let end = Instant::now() + Duration::from_secs(10);
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    loop {
        match fs::remove_dir(path) {
            // Its processes are still ending.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end => {
                thread::sleep(Duration::from_millis(2));
            }
            other => return other,
        }
    }
}
