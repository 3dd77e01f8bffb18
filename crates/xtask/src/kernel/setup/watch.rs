//! Checks that every address of the host works as a source, and which interface its packets use.

use std::{collections::BTreeSet, fmt::Write as _, net::IpAddr};

use super::PATIENCE;
use crate::{
    Failure,
    kernel::{
        ensure,
        stage::{Stage, target_ipv6},
    },
};

/// Counts packets of connections to this port on the host, by interface, and those on the wrong interface.
fn watch(stage: &Stage, port: u16) -> Result<(), Failure> {
    let (mut output, mut input) = (String::new(), String::new());
    for interface in stage.imds().metadata().interfaces {
        let name = &interface.name;
        let own = interface.all_addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        writeln!(output, "ip saddr {{ {own} }} tcp dport {port} oifname != {name} counter name wrong")?;
        writeln!(output, "ip saddr {{ {own} }} tcp dport {port} oifname {name} counter name out_{name}")?;
        writeln!(input, "ip daddr {{ {own} }} tcp sport {port} iifname != {name} counter name wrong")?;
        writeln!(input, "ip daddr {{ {own} }} tcp sport {port} iifname {name} counter name in_{name}")?;
        if !interface.ipv6_addresses.is_empty() {
            let own = interface.ipv6_addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            writeln!(output, "ip6 saddr {{ {own} }} tcp dport {port} oifname != {name} counter name wrong")?;
            writeln!(output, "ip6 saddr {{ {own} }} tcp dport {port} oifname {name} counter name out_{name}")?;
            writeln!(input, "ip6 daddr {{ {own} }} tcp sport {port} iifname != {name} counter name wrong")?;
            writeln!(input, "ip6 daddr {{ {own} }} tcp sport {port} iifname {name} counter name in_{name}")?;
        }
    }
    let mut rules = String::from("table inet watch {\n counter wrong { }\n");
    for interface in stage.imds().metadata().interfaces {
        writeln!(rules, " counter out_{0} {{ }}\n counter in_{0} {{ }}", interface.name)?;
    }
    write!(rules, " chain o {{ type filter hook output priority 0;\n{output} }}\n")?;
    write!(rules, " chain i {{ type filter hook input priority 0;\n{input} }}\n}}\n")?;
    stage.host_namespace().run_with(&["nft", "-f", "-"], &rules)?.succeeded()?;
    Ok(())
}

/// Packets by counter.
fn counted(stage: &Stage, counter: &str) -> Result<u64, Failure> {
    let json = stage.host(&["nft", "--json", "list", "counter", "inet", "watch", counter])?.succeeded()?.json()?;
    let found =
        json["nftables"].as_array().into_iter().flatten().find_map(|entry| entry["counter"]["packets"].as_u64());
    Ok(found.ok_or("nft counts nothing")?)
}

/// Connects from every address and checks that the connection arrives with this source, and that packets in both
/// directions use the interface of the address, with a strict reverse-path filter.
pub(super) fn every_address_reaches_the_target(stage: &Stage) -> Result<(), Failure> {
    const CONNECT: &str = "
import socket, sys
host, port, own = sys.argv[1], int(sys.argv[2]), sys.stdin.read().split()
for source in own:
    with socket.create_connection((host, port), 10, (source, 0)) as connection:
        assert connection.getsockname()[0] == source
";
    let metadata = stage.imds().metadata();
    let server = stage.listen(1, 4000)?;
    let server_ipv6 = stage.listen_ipv6(1, 4000)?;
    watch(stage, 4000)?;
    let own = stage.addresses();
    let own_ipv6: Vec<_> = metadata.interfaces.iter().flat_map(|interface| interface.ipv6_addresses.clone()).collect();
    let connect = |target: &str, own: &str| {
        let command = ["python3", "-c", CONNECT, target, "4000"];
        stage.host_namespace().run_with(&command, own)?.succeeded().map(drop)
    };
    let lines = |own: &[String]| own.join("\n");
    connect(&server.address().ip().to_string(), &lines(&own.iter().map(ToString::to_string).collect::<Vec<_>>()))?;
    connect(&target_ipv6(1).to_string(), &lines(&own_ipv6.iter().map(ToString::to_string).collect::<Vec<_>>()))?;
    server.wait_for(own.len(), PATIENCE)?;
    server_ipv6.wait_for(own_ipv6.len(), PATIENCE)?;
    let came: BTreeSet<IpAddr> = server.by_source().into_keys().chain(server_ipv6.by_source().into_keys()).collect();
    let all: BTreeSet<IpAddr> =
        own.iter().map(|&own| own.into()).chain(own_ipv6.iter().map(|&own| own.into())).collect();
    ensure!(came == all, "{came:?} came, not {all:?}");
    ensure!(counted(stage, "wrong")? == 0, "packets use another interface");
    for interface in &metadata.interfaces {
        let parameter = format!("/proc/sys/net/ipv4/conf/{}/rp_filter", interface.name);
        let strict = stage.host(&["cat", &parameter])?.succeeded()?.stdout;
        ensure!(strict.trim() == "1", "the reverse-path filter of {} is {strict}", interface.name);
        for way in ["in", "out"] {
            let packets = counted(stage, &format!("{way}_{}", interface.name))?;
            // Opening and closing a connection takes at least two packets in each direction.
            let least = 2 * (interface.all_addresses().len() + interface.ipv6_addresses.len()) as u64;
            ensure!(packets >= least, "{packets} packets of {least} went {way} through {}", interface.name);
        }
    }
    stage.host(&["nft", "delete", "table", "inet", "watch"])?.succeeded()?;
    Ok(())
}
