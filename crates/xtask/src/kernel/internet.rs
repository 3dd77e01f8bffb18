//! Tests that connections to the internet come from the addresses that reach it, and that prefixes of IPv6 are used.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use trunnion_host::{DefaultRoutes, Network, Route, Tracking};

use super::{
    Test,
    check::{Checked, listen},
    command::Service,
    ensure,
    run::{eventually, hold, sources, start},
    stage::{Stage, StageOptions},
    target::Server,
};
use crate::Failure;

pub(crate) const TESTS: &[Test] = &[
    ("internet_is_reached_from_public_addresses", public_addresses),
    ("internet_behind_nat_is_reached_from_all_addresses", nat),
    ("ipv6_prefixes_have_sources", ipv6_prefixes),
];

const PATIENCE: Duration = Duration::from_secs(30);

/// Connects once, and prints the error.
const ONCE: &str = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)";

/// Connects until no port is left. While the service has moved the range by one port, the last of each address is not used.
const REST: &str = "import socket, sys
held = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) for _ in range(16)]";

/// A host with three interfaces of four addresses, whose default route leads there. Target 0 is private, target 1 is on the
/// internet.
fn stage(tracking: Tracking, route: Route) -> Result<(Stage, Service), Failure> {
    let stage = Stage::new(StageOptions { targets: 2, ..StageOptions::many_subnets(3, 4) })?;
    let sshd = listen(&stage)?;
    stage.config(|config| {
        config.tracking = tracking;
        let load = if tracking == Tracking::Tracked { 12 } else { 8 };
        config.connections.per_destination = load * config.ports.count();
        config.connections.total = config.connections.per_destination;
        config.network = Some(Network {
            default_routes: DefaultRoutes { ipv4: route, ipv6: Route::None },
            private_ranges: ["10.0.0.0/8", "198.18.0.0/24"]
                .into_iter()
                .filter_map(|range| range.parse().ok())
                .collect(),
        });
    })?;
    Ok((stage, sshd))
}

/// Gives public addresses to these addresses, by the numbers of their interface and within it.
fn associate(stage: &Stage, which: &[(usize, usize)]) -> Result<Vec<String>, Failure> {
    let mut private = Vec::new();
    stage.change(|metadata| {
        for (number, interface) in metadata.interfaces.iter_mut().enumerate() {
            let own = which.iter().filter(|(at, _)| *at == number);
            let own = own.filter_map(|(_, address)| interface.addresses.get(*address).copied());
            interface.associations = own.map(|own| (Ipv4Addr::from(u32::from(own) | 0xc000_0000), own)).collect();
            private.extend(interface.associations.iter().map(|(_, own)| own.to_string()));
        }
    })?;
    stage.put_on_internet(1)?;
    private.sort_unstable();
    Ok(private)
}

/// The sources that reach the internet.
fn public(stage: &Stage) -> Result<Vec<String>, Failure> {
    let output = stage.generator(&["spread", "--show", "--json"])?.succeeded()?.json()?;
    let sources = output["sources"].as_array().into_iter().flatten().filter(|source| source["public"] == true);
    let mut sources: Vec<_> = sources.filter_map(|source| Some(source["address"].as_str()?.to_owned())).collect();
    sources.sort_unstable();
    Ok(sources)
}

/// Holds so many connections to the server for each of these sources, and checks that the server sees that many more of each.
fn even(stage: &Stage, server: &Server, each: usize, from: &[String]) -> Result<Service, Failure> {
    let mut expected = server.by_source();
    let before: usize = expected.values().sum();
    for source in from {
        *expected.entry(source.parse()?).or_default() += each;
    }
    let held = hold(stage, server.address(), each * from.len())?;
    server.wait_for(before + each * from.len(), PATIENCE)?;
    let found = server.by_source();
    ensure!(found == expected, "not {each} more of each of {from:?}: {found:?}, not {expected:?}");
    Ok(held)
}

fn public_addresses() -> Result<(), Failure> {
    for tracking in [Tracking::Tracked, Tracking::Untracked] {
        let (stage, _sshd) = stage(tracking, Route::InternetGateway)?;
        let gateways = associate(&stage, &[(0, 0), (1, 2), (2, 3)])?;
        let _service = start(&stage, "1")?;
        ensure!(public(&stage)? == gateways, "the public sources are {:?}, not {gateways:?}", public(&stage)?);
        let load: Vec<String> = stage.addresses().iter().map(ToString::to_string).collect();
        let load = if tracking == Tracking::Tracked { &load[..] } else { &load[4..] };
        let (near, far) = (stage.listen(0, 0)?, stage.listen(1, 0)?);
        let _near = even(&stage, &near, 3, load)?;
        let _far = even(&stage, &far, 10, &gateways)?;
        // Ports of the public addresses are all that there are, and the others have theirs.
        let full = even(&stage, &far, 85, &gateways)?;
        let (ip, port) = (far.address().ip().to_string(), far.address().port().to_string());
        let once = |ip: &str, port: &str| stage.as_user("gatling", &["python3", "-c", ONCE, ip, port]);
        let refused = stage.as_user("gatling", &["python3", "-c", REST, &ip, &port])?;
        ensure!(refused.stderr.contains("Cannot assign requested address"), "not refused: {refused:?}");
        let _more = even(&stage, &near, 2, load)?;
        drop(full);
        // They change while the host runs.
        let gateways = associate(&stage, &[(0, 0), (2, 1)])?;
        eventually(|| {
            let found = public(&stage)?;
            ensure!(found == gateways, "the public sources are {found:?}, not {gateways:?}");
            Ok(())
        })?;
        let other = stage.listen(1, 0)?;
        let _other = even(&stage, &other, 5, &gateways)?;
        let _near = even(&stage, &near, 2, load)?;
        Checked::new(&stage, &[])?.says("spread", "and those to the internet over 2")?;
        // A drained one comes back where it was.
        let drained = gateways.first().ok_or("no public address")?;
        stage.generator(&["spread", "--drain", drained])?.succeeded()?;
        ensure!(public(&stage)? == gateways[1..], "the drained one is used");
        let _rest = even(&stage, &other, 5, &gateways[1..])?;
        stage.generator(&["spread", "--add", drained])?.succeeded()?;
        ensure!(public(&stage)? == gateways, "the drained one is not back: {:?}", public(&stage)?);
        // Without any, the connection leaves from the primary address and fails, and `check` says why.
        associate(&stage, &[])?;
        eventually(|| {
            ensure!(public(&stage)?.is_empty(), "there are still public sources");
            Ok(())
        })?;
        let lost = stage.listen(1, 0)?;
        let failed = once(&lost.address().ip().to_string(), &lost.address().port().to_string())?;
        ensure!(failed.stderr.contains("ConnectionRefusedError"), "not refused by the gateway: {failed:?}");
        Checked::new(&stage, &[])?.says("spread", "no address reaches the internet")?;
    }
    Ok(())
}

fn nat() -> Result<(), Failure> {
    let (stage, _sshd) = stage(Tracking::Tracked, Route::Nat)?;
    let _service = start(&stage, "1")?;
    let load: Vec<String> = stage.addresses().iter().map(ToString::to_string).collect();
    let far = stage.listen(1, 0)?;
    even(&stage, &far, 5, &load).map(drop)
}

fn ipv6_prefixes() -> Result<(), Failure> {
    let stage = Stage::new(StageOptions { ipv6: 1, ..StageOptions::many_subnets(3, 4) })?;
    let _sshd = listen(&stage)?;
    stage.config(|config| config.ipv6 = true)?;
    // A host without prefixes has fewer addresses than it was promised.
    Checked::new(&stage, &[])?.says("metadata", "the metadata has fewer interfaces or addresses than were promised")?;
    stage.change(|metadata| {
        for interface in &mut metadata.interfaces {
            let prefix = interface.ipv6_subnet.and_then(|subnet| {
                let first = u128::from(subnet.network()) + (7_u128 << 48);
                ipnet::Ipv6Net::new(first.into(), 80).ok()
            });
            interface.ipv6_prefixes.extend(prefix);
            // EC2 gives an interface a prefix or addresses.
            interface.ipv6_addresses.clear();
        }
    })?;
    let _service = start(&stage, "1")?;
    let of_ipv6 = || -> Result<Vec<String>, Failure> {
        let found = sources(&stage)?.into_keys();
        Ok(found.filter(|address| address.parse().is_ok_and(|address: IpAddr| address.is_ipv6())).collect())
    };
    let from = of_ipv6()?;
    ensure!(from.len() == 12, "not four addresses of IPv6 for each interface: {from:?}");
    let server = stage.listen_ipv6(0, 0)?;
    let _held = even(&stage, &server, 20, &from)?;
    Checked::new(&stage, &[])?.says("routes", "leave through their own interface")?;
    Ok(())
}
