//! The generator: its binaries, the software on the hosts, and how connections are spread.

use std::{collections::BTreeMap, path::PathBuf};

use ipnet::{IpNet, Ipv4Net};
use trunnion_catalog::Architecture;

use super::{
    Around,
    binaries::{Binaries, Digests, File, default_binaries},
    key::{optional, or, or_else, or_empty},
    kinds::{Boolean, Integer, Limit, List, Scalars, Word},
    ranges::{Destination, OwnNetwork, PrivateRange},
    section::section,
};
use crate::{
    diagnostic::{Diagnostic, Findings},
    field::Map,
    forms,
    model::{Except, Spread, Tracking},
};

section! {
    /// The software and the settings of the generator hosts.
    pub struct Generator {
        /// Where the generator binary is: one file, or one for each architecture. Hosts keep the binary that they were first applied
        /// with until `--update-generator`.
        ///
        /// One for each architecture that a pool has. Only what a plan boots hosts with must be there, so none of these files need
        /// exist.
        binaries as "binary": BTreeMap<Architecture, PathBuf> = or_else(
            Binaries,
            "`trunnion-generator` next to the `trunnion` executable",
            default_binaries,
        ).such_as(&["dist/trunnion-generator", "{ x86_64: dist/x86_64/generator, arm64: dist/arm64/generator }"]),
        /// The SHA-256 of the generator binary, or one for each architecture. Hosts boot that binary and no other. Once it is in the
        /// stack's bucket, no machine needs the file.
        ///
        /// In hexadecimal, for each architecture for which the stack names it.
        sha256: BTreeMap<Architecture, String> = or_empty(Digests, "that of the file")
            .such_as(&["9123dcbb0b42652b0e105956c68d3ca2ff34584f324fa41a29aedd32b883e131"]),
        /// Java version of the hosts. On Amazon Linux 2023 with the built-in boot template it is 11, 17, 21 or 25.
        java: u8 = or(Integer(11..=25), "21").such_as(&["25"]),
        /// A boot template of your own. It gets the variables that `templates/boot.sh.tera` names at its beginning.
        template: Option<PathBuf> = optional(File, "the built-in boot template").such_as(&["boot.sh.tera"]),
        /// Variables for the boot template. Their values are text, as they are spelled.
        variables: BTreeMap<String, String> = or_empty(
            Scalars {
                names: &forms::VARIABLE,
                otherwise: "is not a valid variable name",
            },
            "none",
        ).such_as(&["{ proxy: \"http://proxy.example.com:3128\" }"]),
        /// Who picks the source address of an outgoing connection.
        spread: Spread = or(
            Word(&[
                ("kernel", Spread::Kernel, "the host gives each connection of Gatling one of its addresses in turn"),
                ("simulation", Spread::Simulation, "the simulation names its local addresses"),
                ("off", Spread::Off, "every connection comes from the primary address"),
            ]),
            "kernel",
        ).such_as(&["simulation"]),
        /// Destinations that hosts reach from their normal source address. `own-subnets` stands for the subnets of the host's own
        /// interfaces. Gatling's cloud is always one of them.
        spread_except: Vec<Except> = or_empty(
            // Each item adds a line to the user data, which is limited to 16,384 bytes.
            List { item: Destination, limit: Some(Limit::of_items(100)), is_distinct: true },
            "none but Gatling's cloud",
        ).such_as(&["[own-subnets, 10.20.0.0/16]"]),
        /// Destinations that are reached without the internet, in addition to private addresses (RFC 1918, `100.64.0.0/10`, `fc00::/7`)
        /// and to the ranges of the VPC: public ranges that a VPN or a peering leads to. Connections to them use all addresses of a
        /// host.
        private_ranges: Vec<IpNet> = or_empty(
            List { item: PrivateRange, limit: Some(Limit::of_items(50)), is_distinct: true },
            "none",
        ).such_as(&["[203.0.113.0/24]"]),
        /// TCP port of `/health` and `/metrics` on the primary address of every host.
        // The lower ports are system ports, such as 22 of sshd.
        metrics_port: u16 = or(Integer(1_024..=65_535), "9464").such_as(&["9100"]),
        /// Networks that may reach that port.
        metrics_from: Vec<Ipv4Net> = or_empty(
            // Each item is a rule of the group that also allows SSH, and AWS allows 60 rules.
            List { item: OwnNetwork, limit: Some(Limit::of_items(50)), is_distinct: true },
            "none",
        ).such_as(&["[10.30.0.0/16]"]),
        /// Ports of other services on the hosts, such as an agent. Outgoing connections leave them free, so each address holds fewer
        /// connections.
        reserved_ports: Vec<u16> = or_empty(
            List { item: Integer(1_024..=65_535), limit: Some(Limit::of_items(100)), is_distinct: true },
            "none",
        ).such_as(&["[9100, 25888]"]),
        /// Whether simulations reach the instance metadata service, and with it the credentials of the host's role.
        metadata_access: bool = or(Boolean, "false").such_as(&["true"]),
        /// Whether lookups of names are answered from a cache on the host, by systemd-resolved. EC2 passes 1,024 packets a second of
        /// an interface to its DNS, time and metadata services.
        dns_cache: bool = or(Boolean, "false").such_as(&["true"]),
    }
    check(map, around, findings) {
        uses_its_interfaces(map, spread, around, findings)
    }
}

/// A pool with untracked load interfaces must use them.
fn uses_its_interfaces(map: &Map, spread: Option<Spread>, around: &Around, findings: &mut Findings) -> Option<()> {
    let opened = around.pools.iter().flat_map(|pools| &pools.valid);
    let opened = opened.filter(|(_, pool)| pool.tracking == Tracking::Untracked).map(|(name, _)| name).next();
    if let (Some(Spread::Off), Some(name), Some(field)) = (spread, opened, map.get("spread")) {
        let message =
            format!("pool `{name}` has untracked load interfaces, but with `spread: off` no connection uses them");
        let found = Diagnostic::new("stack::interfaces", Some(field.place), message);
        findings.push(found.with_help("remove `spread: off`, or remove `tracking` from the pool"));
        return None;
    }
    Some(())
}
