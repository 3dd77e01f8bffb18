//! Tests that connections of unmodified programs are spread over all addresses of a host.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use nix::sys::signal::Signal;
use trunnion_host::{Except, Mode};

use super::{
    Test,
    command::Ended,
    ensure,
    imds::Imds,
    stage::{GENERATOR, Stage, StageOptions},
    target::Server,
};
use crate::Failure;

pub(crate) const TESTS: &[Test] = &[
    ("spread_multiplies_the_number_of_connections", spread_multiplies_the_number_of_connections),
    ("spread_is_even", spread_is_even),
    ("spread_holds_its_promise_under_patterns", spread_holds_its_promise_under_patterns),
    ("spread_counts_what_was_there_before", spread_counts_what_was_there_before),
    ("spread_serves_ipv6", spread_serves_ipv6),
    ("spread_uses_the_addresses_of_the_metadata", spread_uses_the_addresses_of_the_metadata),
    ("spread_does_not_affect_other_connections", spread_does_not_affect_other_connections),
    ("spread_drains_and_adds_under_load", spread_drains_and_adds_under_load),
    ("spread_continues_after_its_binary_ends", spread_continues_after_its_binary_ends),
    ("run_alternates_the_parity_of_ports", run_alternates_the_parity_of_ports),
    ("spread_reports_why_it_fails", spread_reports_why_it_fails),
    ("spread_attaches_nothing_in_the_mode_simulation", spread_attaches_nothing_in_the_mode_simulation),
];

const PATIENCE: Duration = Duration::from_secs(30);

const PYTHON: &str = "/usr/local/share/client.py";
const BOUND: &str = "/usr/local/share/bound.py";
const LOAD: &str = "/usr/local/share/load.py";
const PATTERN: &str = "/usr/local/share/pattern.py";
const JAVA: &str = "/usr/local/share/Client.java";
const XTASK: &str = "/usr/local/bin/xtask";

/// The number of local ports of each address.
const PORTS: usize = 100;

/// A host with three interfaces, each with a working address of each family, a user and the clients. The network is set
/// up by hand, so that these tests do not depend on `setup`.
struct Host {
    stage: Stage,
    sources: Vec<IpAddr>,
    ipv6_sources: Vec<IpAddr>,
}

impl Host {
    fn new() -> Result<Self, Failure> {
        Self::with(3, 1, PORTS)
    }

    /// With so many interfaces, addresses of each, and local ports of each address.
    fn with(interfaces: u8, addresses: u8, ports: usize) -> Result<Self, Failure> {
        let stage =
            Stage::new(StageOptions { ipv6: 1, targets: 3, ..StageOptions::many_subnets(interfaces, addresses) })?;
        let last = 20_000 + ports - 1;
        let mut script = format!(
            "useradd --create-home gatling
            useradd --create-home other
            sysctl -q -w net.ipv4.ip_local_port_range='20000 {last}' net.ipv4.conf.all.arp_ignore=1\n",
        );
        let interfaces = stage.imds().metadata().interfaces;
        for address in interfaces.iter().take(1).flat_map(|primary| primary.addresses.iter().skip(1)) {
            writeln!(script, "ip addr add {address}/32 dev {}", interfaces[0].name)?;
        }
        for (interface, table) in interfaces.iter().zip(10_000..).skip(1) {
            let name = &interface.name;
            let gateway = interface.subnet.hosts().next().ok_or("a subnet has addresses")?;
            writeln!(script, "ip link set {name} up")?;
            writeln!(script, "ip route add default via {gateway} dev {name} onlink table {table}")?;
            writeln!(script, "ip -6 route add default via fe80::1 dev {name} table {table}")?;
            for address in &interface.addresses {
                writeln!(script, "ip addr add {address}/32 dev {name}; ip rule add from {address} lookup {table}")?;
            }
            for address in &interface.ipv6_addresses {
                writeln!(script, "ip addr add {address}/128 dev {name} nodad")?;
                writeln!(script, "ip -6 rule add from {address} lookup {table}")?;
            }
        }
        stage.script(&script)?.succeeded()?;
        stage.write(PYTHON, include_str!("clients/client.py"))?;
        stage.write(BOUND, include_str!("clients/bound.py"))?;
        stage.write(LOAD, include_str!("clients/load.py"))?;
        stage.write(PATTERN, include_str!("clients/pattern.py"))?;
        stage.write(JAVA, include_str!("clients/Client.java"))?;
        // Also when cargo has put another one in its place meanwhile.
        fs::copy("/proc/self/exe", stage.path(XTASK))?;
        let sources = interfaces.iter().flat_map(|one| one.addresses.iter().copied().map(IpAddr::from)).collect();
        let ipv6_sources =
            interfaces.iter().flat_map(|one| one.ipv6_addresses.iter().copied().map(IpAddr::from)).collect();
        Ok(Self { stage, sources, ipv6_sources })
    }

    fn primary(&self) -> Result<IpAddr, Failure> {
        Ok(self.stage.primary_address()?.into())
    }

    /// Runs `spread` over all addresses, with more arguments.
    fn spread(&self, more: &[&str]) -> Result<Ended, Failure> {
        let sources: Vec<String> = self.sources.iter().chain(&self.ipv6_sources).map(ToString::to_string).collect();
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        self.stage.generator(&[&["spread", "--source"], &sources[..], more].concat())
    }

    /// The counters of each source: connections, refusals, and whether it is draining.
    fn counts(&self) -> Result<BTreeMap<IpAddr, (u64, u64, bool)>, Failure> {
        let output = self.stage.generator(&["spread", "--show", "--json"])?.succeeded()?.json()?;
        let sources = output["sources"].as_array().ok_or("no sources")?;
        sources
            .iter()
            .map(|source| {
                let number = |name: &str| source[name].as_u64().ok_or_else(|| format!("no `{name}` in {source}"));
                let address = source["address"].as_str().ok_or("no address")?.parse()?;
                Ok((address, (number("connections")?, number("refused")?, source["draining"] == true)))
            })
            .collect()
    }

    /// The connections of all sources together.
    fn counted(&self) -> Result<u64, Failure> {
        Ok(self.counts()?.values().map(|(connections, refused, _)| connections + refused).sum())
    }

    /// Runs a client as the SSH user to its end, and returns the number of connections that it held at once.
    fn client(&self, client: Client, order: Order, servers: &[Server]) -> Result<usize, Failure> {
        self.client_with(client, order, 3 * PORTS + 20, servers)
    }

    /// As [`Host::client`], with this number of attempts for each destination.
    fn client_with(&self, client: Client, order: Order, most: usize, servers: &[Server]) -> Result<usize, Failure> {
        let destinations: Vec<String> = servers.iter().map(|server| server.address().to_string()).collect();
        let destinations: Vec<&str> = destinations.iter().map(String::as_str).collect();
        let most = &*most.to_string();
        let command: Vec<&str> = match client {
            Client::Curl => return self.curl(servers),
            Client::Python(kind) => vec!["python3", PYTHON, kind, order.name(), most],
            Client::Java => vec!["java", "-XX:TieredStopAtLevel=1", JAVA, order.name(), most],
            Client::Rust => vec![XTASK, "connect", order.name(), most],
        };
        let ended = self.stage.as_user("gatling", &[&command[..], &destinations].concat())?.succeeded()?;
        let held = ended.json()?["held"].as_u64().ok_or_else(|| format!("{ended}\nsays nothing"))?;
        Ok(usize::try_from(held)?)
    }

    /// A `curl` for each destination, with 300 transfers at once that are never answered.
    fn curl(&self, servers: &[Server]) -> Result<usize, Failure> {
        let mut script = String::new();
        for server in servers {
            writeln!(
                script,
                "curl -s -Z --parallel-immediate --parallel-max 300 --max-time 4 'http://{}/[1-300]' > /dev/null &",
                server.address()
            )?;
        }
        script.push_str("wait");
        self.stage.as_user("gatling", &["bash", "-c", &script])?.succeeded()?;
        Ok(servers.iter().map(|server| server.peers().len()).sum())
    }

    /// One destination, or three: two at one target and one at another.
    fn destinations(&self, count: u8) -> Result<Vec<Server>, Failure> {
        (0..count).map(|number| self.stage.listen(number / 2, 0)).collect()
    }
}

/// A program that opens connections and never binds them.
#[derive(Debug, Clone, Copy)]
enum Client {
    Curl,
    Python(&'static str),
    Rust,
    Java,
}

const CLIENTS: [Client; 6] = [
    Client::Curl,
    Client::Python("plain"),
    Client::Python("mapped"),
    Client::Python("asyncio"),
    Client::Rust,
    Client::Java,
];

/// The order in which a client connects to several destinations.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// One connection to each, and again.
    Turns,
    /// All connections to one, then all to the next.
    Rows,
}

impl Order {
    fn name(self) -> &'static str {
        match self {
            Self::Turns => "turns",
            Self::Rows => "rows",
        }
    }
}

/// The deviation from an equal number of connections for each source. 0 is the most even distribution.
fn unevenness(server: &Server, sources: &[IpAddr]) -> usize {
    let by_source = server.by_source();
    let counts = sources.iter().map(|source| by_source.get(source).copied().unwrap_or_default());
    let (least, most) = counts.fold((usize::MAX, 0), |(least, most), count| (least.min(count), most.max(count)));
    most.saturating_sub(least)
}

fn spread_multiplies_the_number_of_connections() -> Result<(), Failure> {
    let host = Host::new()?;
    let primary = BTreeMap::from([(host.primary()?, PORTS)]);
    for client in CLIENTS {
        for count in [1, 3] {
            let servers = host.destinations(count)?;
            let held = host.client(client, Order::Turns, &servers)?;
            ensure!(held == PORTS * servers.len(), "{client:?} held {held} connections to {count} without spreading");
            for server in &servers {
                server.wait_for(PORTS, PATIENCE)?;
                ensure!(server.by_source() == primary, "{client:?}: {:?} without spreading", server.by_source());
            }
        }
    }
    host.spread(&[])?.succeeded()?;
    let each: BTreeMap<_, _> = host.sources.iter().map(|&source| (source, PORTS)).collect();
    for client in CLIENTS {
        for (count, order) in [(1, Order::Turns), (3, Order::Turns), (3, Order::Rows)] {
            let servers = host.destinations(count)?;
            let held = host.client(client, order, &servers)?;
            ensure!(held == 3 * PORTS * servers.len(), "{client:?} held {held} connections to {count}, {order:?}");
            for server in &servers {
                server.wait_for(3 * PORTS, PATIENCE)?;
                ensure!(server.by_source() == each, "{client:?}, {count}, {order:?}: {:?}", server.by_source());
            }
        }
    }
    // Every established connection was counted, and no source was refused.
    ensure!(host.counts()?.values().all(|(_, refused, draining)| *refused == 0 && !draining), "{:?}", host.counts()?);
    Ok(())
}

fn spread_is_even() -> Result<(), Failure> {
    let host = Host::new()?;
    host.spread(&[])?.succeeded()?;
    for order in [Order::Turns, Order::Rows] {
        let servers = host.destinations(3)?;
        let destinations: Vec<String> = servers.iter().map(|server| server.address().to_string()).collect();
        for _ in 0..2 {
            let mut command = vec!["python3", PYTHON, "plain", order.name(), "50"];
            command.extend(destinations.iter().map(String::as_str));
            host.stage.as_user("gatling", &command)?.succeeded()?;
        }
        for server in &servers {
            server.wait_for(100, PATIENCE)?;
            ensure!(unevenness(server, &host.sources) <= 1, "{order:?}: {:?}", server.by_source());
        }
    }
    // Several processes at once, to a new destination.
    for _ in 0..5 {
        let server = host.stage.listen(0, 0)?;
        let client = format!("python3 {PYTHON} plain turns 30 {} > /dev/null &\n", server.address());
        host.stage.as_user("gatling", &["bash", "-c", &(client.repeat(8) + "wait")])?.succeeded()?;
        server.wait_for(240, PATIENCE)?;
        ensure!(unevenness(&server, &host.sources) == 0, "eight processes: {:?}", server.by_source());
    }
    // Many destinations with a connection or two each.
    for each in [1, 2] {
        let servers: Vec<_> = (0..30).map(|_| host.stage.listen(0, 0)).collect::<Result<_, _>>()?;
        let destinations: Vec<String> = servers.iter().map(|server| server.address().to_string()).collect();
        let most = each.to_string();
        let mut command = vec!["python3", PYTHON, "plain", "turns", &most];
        command.extend(destinations.iter().map(String::as_str));
        host.stage.as_user("gatling", &command)?.succeeded()?;
        let mut all = BTreeMap::<IpAddr, usize>::new();
        for server in &servers {
            server.wait_for(each, PATIENCE)?;
            for (source, count) in server.by_source() {
                *all.entry(source).or_default() += count;
            }
        }
        let even = host.sources.iter().map(|&source| (source, 10 * each)).collect();
        ensure!(all == even, "30 destinations with {each} each: {all:?}");
    }
    Ok(())
}

/// What `pattern.py` prints.
#[derive(Debug, serde::Deserialize)]
struct Repeated {
    held: usize,
    /// How many connects failed, by the number of the error.
    failed: BTreeMap<String, usize>,
    sources: BTreeMap<IpAddr, usize>,
}

impl Host {
    fn repeat(&self, server: &Server, pattern: &str, standing: usize) -> Result<Repeated, Failure> {
        let (destination, standing) = (server.address().to_string(), standing.to_string());
        let command = ["python3", PATTERN, &destination, pattern, &standing];
        let ended = self.stage.as_user("gatling", &command)?.succeeded()?;
        Ok(serde_json::from_value(ended.json()?)?)
    }
}

/// A client that repeats long and short connections gives the long ones to all sources, and one that wants more than there
/// is is refused at once.
fn spread_holds_its_promise_under_patterns() -> Result<(), Failure> {
    const PORTS: usize = 500;
    let host = Host::with(4, 4, PORTS)?;
    host.spread(&[])?.succeeded()?;
    // As after a version that did not count connections.
    host.stage.host(&["rm", "/sys/fs/bpf/trunnion/slots", "/sys/fs/bpf/trunnion/states"])?.succeeded()?;
    host.spread(&[])?.succeeded()?;
    let whole = host.sources.len() * PORTS;
    ensure!(whole == 8_000, "{:?}", host.sources);
    for pattern in ["L", "Ls", "LLLs", "LLsLsLLL", "sLLLLLL"] {
        let server = host.stage.listen(0, 0)?;
        let repeated = host.repeat(&server, pattern, whole * 95 / 100)?;
        ensure!(repeated.failed.is_empty(), "{pattern}: {repeated:?}");
        ensure!(repeated.sources.len() == host.sources.len(), "{pattern}: {repeated:?}");
        if pattern == "L" {
            let (least, most) = (repeated.sources.values().min(), repeated.sources.values().max());
            ensure!((least, most) == (Some(&475), Some(&475)), "{repeated:?}");
        }
    }
    let server = host.stage.listen(0, 0)?;
    let full = host.repeat(&server, "L", usize::MAX)?;
    let refused = BTreeMap::from([(nix::libc::EADDRNOTAVAIL.to_string(), 101)]);
    ensure!(full.held == whole && full.failed == refused, "{full:?}");
    ensure!(full.sources.values().all(|&held| held == PORTS), "{full:?}");
    Ok(())
}

/// Connections from before the programs were attached are counted, too: their source is not tried when it is full.
fn spread_counts_what_was_there_before() -> Result<(), Failure> {
    const THERE: usize = 60;
    let host = Host::new()?;
    let server = host.stage.listen(0, 0)?;
    let (destination, there) = (server.address().to_string(), THERE.to_string());
    let command = ["python3", PATTERN, &destination, "L", &there, "/tmp/enough"];
    let before = host.stage.start_as_user("gatling", &command)?;
    server.wait_for(THERE, PATIENCE)?;
    host.spread(&[])?.succeeded()?;
    let rest = host.sources.len() * PORTS - THERE;
    let repeated = host.repeat(&server, "L", rest)?;
    ensure!(repeated.failed.is_empty() && repeated.held == rest, "{repeated:?}");
    ensure!(repeated.sources.get(&host.primary()?) == Some(&(PORTS - THERE)), "{repeated:?}");
    host.stage.write("/tmp/enough", "")?;
    before.wait(PATIENCE)?.succeeded()?;
    Ok(())
}

fn spread_serves_ipv6() -> Result<(), Failure> {
    let host = Host::new()?;
    let servers = || (0..2).map(|target| host.stage.listen_ipv6(target, 0)).collect::<Result<Vec<_>, _>>();
    let before = servers()?;
    ensure!(host.client(Client::Python("plain"), Order::Turns, &before)? == 2 * PORTS, "more than there are ports");
    host.spread(&[])?.succeeded()?;
    let each: BTreeMap<_, _> = host.ipv6_sources.iter().map(|&source| (source, PORTS)).collect();
    for client in [Client::Python("plain"), Client::Python("asyncio"), Client::Rust, Client::Java] {
        let servers = servers()?;
        let held = host.client(client, Order::Turns, &servers)?;
        ensure!(held == 6 * PORTS, "{client:?} held {held} connections");
        for server in &servers {
            server.wait_for(3 * PORTS, PATIENCE)?;
            ensure!(server.by_source() == each, "{client:?}: {:?}", server.by_source());
        }
    }
    Ok(())
}

fn spread_uses_the_addresses_of_the_metadata() -> Result<(), Failure> {
    let host = Host::new()?;
    let stage = &host.stage;
    stage.config(|config| config.spread.except = vec![Except::OwnSubnets])?;
    let taken = || Ok::<_, Failure>(host.counts()?.into_keys().collect::<Vec<_>>());
    stage.generator(&["spread"])?.succeeded()?;
    let all: Vec<_> = host.sources.iter().chain(&host.ipv6_sources).copied().collect();
    ensure!(taken()? == all, "{:?} are taken", taken()?);
    // A destination in the host's own subnets: the router.
    let router = stage.imds().metadata().interfaces[0].subnet.hosts().next().ok_or("no router")?;
    let own = Server::start(stage.router(), SocketAddr::from((router, 8_090)), false)?;
    let other = stage.listen(0, 0)?;
    let destinations = [own, other];
    host.client(Client::Python("plain"), Order::Rows, &destinations)?;
    let [own, other] = destinations;
    ensure!(own.by_source().into_keys().eq([host.primary()?]), "the own subnet saw {:?}", own.by_source());
    ensure!(other.by_source().len() == host.sources.len(), "another subnet saw {:?}", other.by_source());

    // An address that is not on its interface is not a source.
    let new = Ipv4Addr::new(10, 0, 17, 99);
    stage.change(|metadata| metadata.interfaces[1].addresses.push(new))?;
    stage.generator(&["spread"])?.succeeded()?;
    ensure!(taken()? == all, "{:?} are taken", taken()?);
    stage.script(&format!("ip addr add {new}/32 dev ens6"))?.succeeded()?;
    stage.generator(&["spread"])?.succeeded()?;
    ensure!(taken()?.contains(&new.into()), "{:?} are taken", taken()?);
    stage.script(&format!("ip addr del {new}/32 dev ens6"))?.succeeded()?;
    // Until the sources are updated, the kernel refuses the address, and the next source is used.
    let server = [stage.listen(1, 0)?];
    let held = host.client(Client::Python("plain"), Order::Turns, &server)?;
    ensure!(held == 3 * PORTS, "{held} connections while a source is gone");
    let (connections, refused, _) = host.counts()?[&IpAddr::from(new)];
    ensure!(connections == 0 && refused > 0, "{connections} took an address that is gone, {refused} were refused");
    stage.generator(&["spread"])?.succeeded()?;
    ensure!(taken()? == all, "{:?} are taken", taken()?);
    Ok(())
}

fn spread_does_not_affect_other_connections() -> Result<(), Failure> {
    let host = Host::new()?;
    let stage = &host.stage;
    let second = stage.listen(1, 0)?;
    let third = stage.listen(2, 0)?;
    stage.config(|config| config.spread.except = vec![Except::Range(second.address().ip().into())])?;
    let range = format!("{}/32", third.address().ip());
    host.spread(&["--except", &range])?.succeeded()?;
    let only_primary = |server: &Server| Ok::<_, Failure>(server.by_source().into_keys().eq([host.primary()?]));

    // Exceptions: those of the config and the command, and AWS services on link-local addresses.
    let metadata = SocketAddr::from((Imds::ADDRESS, 8_090));
    let link_local = Server::start(stage.router(), metadata, false)?;
    for server in [second, third, link_local] {
        let address = server.address();
        let servers = [server];
        for client in [Client::Python("plain"), Client::Python("mapped"), Client::Rust] {
            host.client_with(client, Order::Turns, 10, &servers)?;
        }
        servers[0].wait_for(30, PATIENCE)?;
        ensure!(only_primary(&servers[0])?, "{address} saw {:?}", servers[0].by_source());
    }
    ensure!(host.counted()? == 0, "an exception was counted: {:?}", host.counts()?);

    // Another user, and a process in another network namespace.
    let server = stage.listen(0, 0)?;
    let address = server.address().to_string();
    stage.as_user("other", &["python3", PYTHON, "plain", "turns", "10", &address])?.succeeded()?;
    server.wait_for(10, PATIENCE)?;
    ensure!(only_primary(&server)?, "another user's connections came from {:?}", server.by_source());
    let network = format!("--net=/proc/{}/ns/net", stage.router().id());
    let elsewhere = ["nsenter", &network, "setpriv", "--reuid", "gatling", "--clear-groups"];
    let ended = stage.host(&[&elsewhere[..], &["python3", PYTHON, "plain", "turns", "10", &address]].concat())?;
    ensure!(ended.succeeded()?.json()?["held"] == 10, "a process of another network cannot connect");
    ensure!(host.counted()? == 0, "others were counted: {:?}", host.counts()?);

    // Sockets that are bound to something, and datagrams.
    let own = host.sources.last().ok_or("no source")?.to_string();
    let (primary, port) = (host.primary()?.to_string(), server.address().port().to_string());
    let target = server.address().ip().to_string();
    let output = stage.as_user("gatling", &["python3", BOUND, &target, &port, &own, "ens5"])?.succeeded()?.json()?;
    let expected = serde_json::json!({
        "address": own, "address without a port": own, "mapped address": own, "port": primary,
        "port of both families": primary, "interface": primary, "datagrams": primary,
    });
    ensure!(output == expected, "bound sockets have {output}");
    ensure!(host.counted()? == 0, "bound sockets were counted: {:?}", host.counts()?);

    // All users, with the option for that.
    host.spread(&["--uid", "any"])?.succeeded()?;
    let server = [stage.listen(0, 0)?];
    stage
        .as_user("other", &["python3", PYTHON, "plain", "turns", "9", &server[0].address().to_string()])?
        .succeeded()?;
    server[0].wait_for(9, PATIENCE)?;
    ensure!(unevenness(&server[0], &host.sources) == 0, "{:?}", server[0].by_source());
    Ok(())
}

fn spread_drains_and_adds_under_load() -> Result<(), Failure> {
    let host = Host::new()?;
    let stage = &host.stage;
    stage.script("sysctl -q -w net.ipv4.ip_local_port_range='20000 39999'")?.succeeded()?;
    host.spread(&[])?.succeeded()?;
    let server = stage.listen(0, 0)?;
    let load = stage.start_as_user("gatling", &["python3", LOAD, &server.address().to_string()])?;
    let more = |count| server.wait_for(server.peers().len() + count, PATIENCE);
    let drained = *host.sources.get(1).ok_or("no second source")?;
    let text = drained.to_string();
    let connections = || Ok::<_, Failure>(host.counts()?.get(&drained).ok_or("it is not listed")?.0);
    more(100)?;
    for _ in 0..3 {
        stage.generator(&["spread", "--drain", &text])?.succeeded()?;
        let then = connections()?;
        more(200)?;
        ensure!(connections()? == then && then > 0, "{} connections more took it", connections()? - then);
        // Setting the same sources again: a source that was drained by hand stays drained.
        host.spread(&[])?.succeeded()?;
        more(200)?;
        ensure!(connections()? == then, "it is not drained any more");
        ensure!(host.counts()?[&drained].2, "it is not listed as draining");
        stage.generator(&["spread", "--add", &text])?.succeeded()?;
        more(200)?;
        ensure!(connections()? > then, "it is not taken again");
    }
    // Drain all but one, then all: the normal source is used.
    let all: Vec<String> = host.sources.iter().map(ToString::to_string).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    stage.generator(&[&["spread", "--drain"], &all[..]].concat())?.succeeded()?;
    let then = host.counted()?;
    more(100)?;
    ensure!(host.counted()? == then, "a drained source was taken");
    let primary = server.peers().len();
    more(10)?;
    let normal = host.primary()?;
    ensure!(server.peers()[primary..].iter().all(|peer| peer.ip() == normal), "another source than the normal one");
    stage.generator(&[&["spread", "--add"], &all[..]].concat())?.succeeded()?;
    more(100)?;

    stage.write("/tmp/enough", "")?;
    let output = load.wait(PATIENCE)?.succeeded()?.json()?;
    ensure!(output["failed"] == 0, "connections failed: {output}");
    ensure!(output["held"] == output["standing"], "connections were lost: {output}");
    let unknown = stage.generator(&["spread", "--drain", "192.0.2.1"])?.ended_with(1)?;
    ensure!(unknown.stderr.starts_with("error: 192.0.2.1 is not a source address"), "{unknown}");
    Ok(())
}

fn spread_continues_after_its_binary_ends() -> Result<(), Failure> {
    let host = Host::new()?;
    let stage = &host.stage;
    stage.script("sysctl -q -w net.ipv4.ip_local_port_range='20000 39999'")?.succeeded()?;
    host.spread(&[])?.succeeded()?;
    // A connection from the primary address was not spread.
    stage.generator(&["spread", "--drain", &host.primary()?.to_string()])?.succeeded()?;
    let server = stage.listen(0, 0)?;
    let load = stage.start_as_user("gatling", &["python3", LOAD, &server.address().to_string()])?;
    let more = |count| server.wait_for(server.peers().len() + count, PATIENCE);
    more(100)?;
    for _ in 0..10 {
        let before = host.counted()?;
        host.spread(&[])?.succeeded()?;
        ensure!(host.counted()? >= before, "counters were lost");
        more(20)?;
    }
    // A map with the layout of another version, and an interrupted replacement.
    let pins = "/sys/fs/bpf/trunnion";
    stage.script(&format!("mv {pins}/start {pins}/turns; mv {pins}/connect4 {pins}/connect4-new"))?.succeeded()?;
    host.spread(&[])?.succeeded()?;
    more(100)?;
    let pinned = stage.host(&["ls", pins])?.succeeded()?.stdout;
    ensure!(
        pinned.split_whitespace().eq([
            "connect4",
            "connect6",
            "counters",
            "counts",
            "destinations",
            "draining",
            "full",
            "last",
            "live",
            "pending",
            "public_slots",
            "settings",
            "slots",
            "sources",
            "start",
            "states",
            "taken",
            "turns"
        ]),
        "pinned are {pinned}"
    );
    let unspread = server.by_source().get(&host.primary()?).copied();
    ensure!(unspread.is_none(), "{unspread:?} connections were not spread while the program was replaced");

    let came = u64::try_from(server.peers().len())?;
    let counted = host.counted()?;
    ensure!(counted >= came, "{counted} of {came} connections were counted");
    stage.generator(&["spread", "--detach"])?.succeeded()?;
    let last = server.peers().len();
    more(50)?;
    // The first connection may have started before.
    let normal = host.primary()?;
    ensure!(server.peers()[last + 1..].iter().all(|peer| peer.ip() == normal), "connections are still spread");
    ensure!(stage.host(&["ls", pins])?.succeeded()?.stdout.is_empty(), "pins are left");
    // Detach again, also after a killed detach.
    stage.generator(&["spread", "--detach"])?.succeeded()?;
    host.spread(&[])?.succeeded()?;
    stage.host(&["rm", &format!("{pins}/connect4")])?.succeeded()?;
    stage.generator(&["spread", "--detach"])?.succeeded()?;
    ensure!(stage.host(&["ls", pins])?.succeeded()?.stdout.is_empty(), "pins of a killed detach are left");
    stage.write("/tmp/enough", "")?;
    let output = load.wait(PATIENCE)?.succeeded()?.json()?;
    ensure!(output["failed"] == 0 && output["held"] == output["standing"], "connections were lost: {output}");
    Ok(())
}

/// Linux prefers ports of one parity while fewer than half are used; the service alternates the parity.
fn run_alternates_the_parity_of_ports() -> Result<(), Failure> {
    const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    let host = Host::new()?;
    let stage = &host.stage;
    for mode in [Mode::Kernel, Mode::Simulation, Mode::Off] {
        stage.config(|config| config.spread.mode = mode)?;
        let mut service = stage.generator_as_service(&["run"])?;
        service.wait_for_notice("READY=1", PATIENCE)?;
        let server = stage.listen(0, 0)?;
        let address = server.address().to_string();
        let is_odd = |peer: &SocketAddr| peer.port() % 2 == 1;
        let both = |peers: &[SocketAddr]| peers.iter().any(is_odd) && !peers.iter().all(is_odd);
        // A third of the ports, so that neither half is used up.
        for _ in 0..PORTS / 3 {
            stage.as_user("gatling", &["python3", PYTHON, "plain", "turns", "1", &address])?.succeeded()?;
            if both(&server.peers()) {
                break;
            }
        }
        ensure!(both(&server.peers()), "{mode:?}: all ports are of one parity: {:?}", server.peers());
        service.signal(Signal::SIGTERM)?;
        service.wait(PATIENCE)?.succeeded()?;
        let range = stage.host(&["cat", RANGE])?.succeeded()?.stdout;
        ensure!(range == "20000\t20099\n", "the service left {range}");
    }
    Ok(())
}

fn spread_reports_why_it_fails() -> Result<(), Failure> {
    let host = Host::new()?;
    let stage = &host.stage;
    let refused = |arguments: &[&str], message: &str, help: &str| {
        let ended = stage.host(arguments)?.ended_with(1)?;
        ensure!(ended.stderr.starts_with(&format!("error: {message}")), "not `{message}`: {ended}");
        ensure!(ended.stderr.contains(&format!("\nhelp: {help}")), "not `{help}`: {ended}");
        ensure!(ended.stdout.is_empty(), "{ended}");
        Ok::<_, Failure>(())
    };
    let spread = [GENERATOR, "spread", "--source", "10.0.0.10"];
    let with = |more: &[&'static str]| [&spread[..], more].concat();
    let without = |capability: &'static str| {
        let limits = ["setpriv", "--bounding-set", capability, "--inh-caps", capability];
        [&limits[..], &spread[..]].concat()
    };
    let rights = "run this as root";
    refused(&without("-all"), "the kernel does not allow this process to use BPF: Operation not permitted", rights)?;
    let as_user = ["setpriv", "--reuid", "gatling", "--clear-groups"];
    refused(&[&as_user[..], &spread[..]].concat(), "the kernel does not allow this process to use BPF", rights)?;
    refused(&with(&["--cgroup", "/tmp"]), "`/tmp` is not a folder of a cgroup2 file system", "name another one")?;
    refused(&with(&["--pins", "/tmp/pins"]), "`/tmp/pins` is not on a BPF file system", "name a folder")?;
    refused(&[GENERATOR, "spread", "--show"], "connections are not spread", "run `trunnion-generator spread`")?;
    stage.script("userdel gatling")?.succeeded()?;
    refused(&spread, "there is no user `gatling`", "run `trunnion-generator setup` first")?;
    stage.script("umount /sys/fs/cgroup")?.succeeded()?;
    refused(&with(&["--uid", "any"]), "no cgroup2 file system is mounted", "mount one")?;
    Ok(())
}

fn spread_attaches_nothing_in_the_mode_simulation() -> Result<(), Failure> {
    let host = Host::new()?;
    let stage = &host.stage;
    let attached = || Ok::<_, Failure>(stage.generator(&["spread", "--show"])?.code == 0);
    host.spread(&[])?.succeeded()?;
    ensure!(attached()?, "nothing is attached");
    stage.config(|config| config.spread.mode = Mode::Simulation)?;
    let output = stage.generator(&["spread", "--source", "10.0.0.10", "10.0.16.10"])?.succeeded()?;
    let pattern = r"^10\.0\.(?:0|16)\.10$";
    let lines = format!(
        "useAllLocalAddressesMatching(\"{}\")\n-Dtrunnion.local-addresses={pattern}\n",
        pattern.replace('\\', "\\\\")
    );
    ensure!(output.stdout == lines && output.stderr.contains("RFC 1918"), "{output}");
    ensure!(!attached()?, "it is still attached");
    host.stage.config(|_| {})?;
    host.spread(&[])?.succeeded()?;
    stage.config(|config| config.spread.mode = Mode::Off)?;
    let output = host.spread(&["--json"])?.succeeded()?.json()?;
    ensure!(output == serde_json::json!({ "attached": false, "sources": [] }), "{output}");
    ensure!(!attached()?, "it is still attached");
    Ok(())
}
