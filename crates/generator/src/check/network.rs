//! Compares the kernel's network with the layout: interfaces, addresses, and the way that connections of each address take.

use std::{collections::BTreeMap, io, net::IpAddr};

use trunnion_host::Config;

use super::{
    verdict::Check,
    ways::{self, Taken, Way},
};
use crate::{
    imds,
    layout::{Interface, Layout},
    netlink::{MAIN, Netlink},
};

const SETUP: &str = "run `trunnion-generator setup`";

/// The kernel's network.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    /// By index, whether the link is up and has a carrier.
    links: BTreeMap<u32, bool>,
    /// By address, the indices of the interfaces that have it. Addresses that sockets cannot use are left out.
    addresses: BTreeMap<IpAddr, Vec<u32>>,
    /// By address, the ways of connections bound to it, one to each kind of destination.
    ways: BTreeMap<IpAddr, Vec<Way>>,
    /// The ways of connections that bind no address.
    unbound: Vec<Way>,
    /// The ways of the SSH user's connections to the metadata service, if they must not reach it.
    to_metadata: Vec<Way>,
}

impl Network {
    /// Reads it: one dump each of links, addresses and routes, and for each address of the layout a route lookup to each kind
    /// of destination.
    pub(crate) async fn look(config: &Config, layout: &Layout) -> io::Result<Self> {
        let netlink = Netlink::open()?;
        let mut network = Self::default();
        if let Some(uid) = imds::refused_user(config).map_err(io::Error::other)? {
            network.to_metadata = ways::to_metadata(&netlink, uid).await;
        }
        network.links.extend(netlink.links().await?.into_iter().map(|link| (link.identity.index, link.works)));
        for address in netlink.addresses().await?.into_iter().filter(|address| address.usable) {
            network.addresses.entry(address.ip).or_default().push(address.index);
        }
        let destinations = ways::destinations(&netlink, layout, &network.addresses).await?;
        let of_family = |ipv4| destinations.iter().filter(move |destination| destination.is_ipv4() == ipv4);
        for address in layout.addresses().filter(|address| network.addresses.contains_key(address)) {
            let ways = ways::ways(&netlink, Some(address), of_family(address.is_ipv4())).await;
            network.ways.insert(address, ways);
        }
        let primary = layout.interfaces.first().map_or(&[][..], |primary| &primary.addresses);
        for ipv4 in [true, false] {
            // Without a primary address of a family, the host needs no routes of that family.
            if primary.iter().any(|address| address.is_ipv4() == ipv4) {
                network.unbound.extend(ways::ways(&netlink, None, of_family(ipv4)).await);
            }
        }
        Ok(network)
    }

    /// The addresses of these interfaces that the kernel has, on a working interface, and whose connections leave through it.
    pub(crate) fn usable(&self, interfaces: &[Interface]) -> Vec<IpAddr> {
        let mut usable = Vec::new();
        for interface in interfaces {
            let works = |address: &&IpAddr| {
                self.links.get(&interface.index) == Some(&true)
                    && self.has(interface.index, **address)
                    && self.leaves(interface, **address)
            };
            usable.extend(interface.addresses.iter().filter(works));
        }
        usable
    }

    fn has(&self, index: u32, address: IpAddr) -> bool {
        self.addresses.get(&address).is_some_and(|indices| indices.contains(&index))
    }

    fn leaves(&self, interface: &Interface, address: IpAddr) -> bool {
        let ways = self.ways.get(&address);
        ways.is_some_and(|ways| ways.iter().all(|way| way.leads_through(interface.index)))
    }

    /// How connections of the address leave, if that is not through its own interface.
    fn wrong_way(&self, layout: &Layout, interface: &Interface, address: IpAddr) -> Option<String> {
        let expected = format!("not through `{}`", interface.name);
        let Some(ways) = self.ways.get(&address) else { return Some("was not looked up".to_owned()) };
        let mut wrong = ways.iter().filter(|way| !way.leads_through(interface.index));
        let Way { destination, taken } = wrong.next()?;
        let more = match wrong.count() {
            0 => String::new(),
            more => format!(" and {more} other destinations"),
        };
        Some(match taken {
            Taken::Through { interface, table, .. } => format!(
                "leaves through {} by table {} to `{destination}`{more}, {expected}",
                name(layout, *interface),
                table_name(*table)
            ),
            Taken::None(why) => format!("has no route to `{destination}`{more}, {expected}: {why}"),
        })
    }
}

/// The primary address as the kernel knows it, for the time before there is metadata: the source address of connections that
/// bind none and leave the VPC.
pub(crate) async fn primary_of_kernel() -> Option<IpAddr> {
    ways::unbound_source(&Netlink::open().ok()?).await
}

/// Whether the metadata has as many interfaces and addresses as were promised.
pub(super) fn metadata(config: &Config, layout: &Layout) -> Check {
    const NAME: &str = "metadata";
    let mut details = Vec::new();
    let named = layout.interfaces.len() + layout.missing.len();
    if (named as u64) < u64::from(config.interfaces) {
        details.push(format!("{named} interfaces are attached, {} were promised", config.interfaces));
    }
    for interface in &layout.interfaces {
        let addresses = interface.addresses.iter().filter(|address| address.is_ipv4()).count();
        if (addresses as u64) < u64::from(config.addresses) {
            details.push(format!("`{}` has {addresses} addresses, {} were promised", interface.name, config.addresses));
        }
        let ipv6 = interface.addresses.len() as u64 - addresses as u64;
        if config.ipv6 && ipv6 < u64::from(config.addresses) {
            details.push(format!("`{}` has {ipv6} IPv6 addresses, {} were promised", interface.name, config.addresses));
        }
    }
    if details.is_empty() {
        let addresses = layout.addresses().count();
        return Check::ok(NAME, format!("{named} interfaces with {addresses} addresses, as promised"));
    }
    let message = "the metadata has fewer interfaces or addresses than were promised";
    Check::failed(NAME, message, "replace this host: the launch template gives a new one all interfaces and addresses")
        .with(details)
}

/// Whether every interface exists and is up.
pub(super) fn interfaces(layout: &Layout, network: &Network) -> Check {
    const NAME: &str = "interfaces";
    let named = layout.interfaces.len() + layout.missing.len();
    let mut details: Vec<String> =
        layout.missing.iter().map(|mac| format!("the interface with MAC address `{mac}` is missing")).collect();
    let missing = details.len();
    for interface in &layout.interfaces {
        match network.links.get(&interface.index) {
            Some(true) => {}
            Some(false) => details.push(format!("`{}` is down, or has no carrier", interface.name)),
            None => details.push(format!("`{}` is missing", interface.name)),
        }
    }
    if details.is_empty() {
        return Check::ok(NAME, format!("all {named} are up"));
    }
    let help = if missing == 0 { SETUP } else { "attach the interface to the instance again, or replace this host" };
    Check::failed(NAME, format!("{} of {named} cannot be used", details.len()), help).with(details)
}

/// Whether every address is on its interface.
pub(super) fn addresses(layout: &Layout, network: &Network) -> Check {
    const NAME: &str = "addresses";
    let mut details = Vec::new();
    for interface in &layout.interfaces {
        for address in interface.addresses.iter().filter(|&&address| !network.has(interface.index, address)) {
            let found = match network.addresses.get(address).and_then(|indices| indices.first()) {
                Some(index) => format!("it is on {}", name(layout, *index)),
                None => "no interface has it".to_owned(),
            };
            details.push(format!("`{address}` is not on `{}`: {found}", interface.name));
        }
    }
    let all = layout.addresses().count();
    if details.is_empty() {
        return Check::ok(NAME, format!("all {all} are on their interfaces"));
    }
    Check::failed(NAME, format!("{} of {all} are not on their interfaces", details.len()), SETUP).with(details)
}

/// Whether connections of every present address leave through its interface, to every kind of destination, and whether
/// connections that bind no address have a route.
pub(super) fn routes(layout: &Layout, network: &Network) -> Check {
    const NAME: &str = "routes";
    let (mut details, mut right) = (Vec::new(), 0_u64);
    for interface in &layout.interfaces {
        for address in interface.addresses.iter().filter(|&&address| network.has(interface.index, address)) {
            match network.wrong_way(layout, interface, *address) {
                None => right += 1,
                Some(why) => details.push(format!("`{address}` {why}")),
            }
        }
    }
    let wrong = details.len();
    for Way { destination, taken } in &network.unbound {
        match taken {
            Taken::None(why) => {
                details.push(format!("connections that bind no address have no route to `{destination}`: {why}"));
            }
            Taken::Through { interface, source: Some(source), .. } if !network.has(*interface, *source) => {
                details.push(format!(
                    "connections that bind no address leave through {} to `{destination}` with the source `{source}`, \
                     which is not on it",
                    name(layout, *interface)
                ));
            }
            Taken::Through { .. } => {}
        }
    }
    if details.is_empty() {
        return Check::ok(NAME, format!("all {right} present addresses leave through their own interface"));
    }
    let message = if wrong == 0 {
        "connections that bind no address do not reach every destination".to_owned()
    } else {
        format!("{wrong} addresses do not leave through their own interface")
    };
    Check::failed(NAME, message, SETUP).with(details)
}

/// Whether the metadata service is closed to the SSH user's processes.
pub(super) fn metadata_access(config: &Config, network: &Network) -> Check {
    const NAME: &str = "metadata access";
    let user = &config.ssh.user;
    if config.metadata_access {
        return Check::ok(NAME, format!("open to processes of `{user}`, as planned"));
    }
    let open = network.to_metadata.iter().filter(|way| matches!(way.taken, Taken::Through { .. }));
    let details: Vec<String> = open.map(|way| format!("`{}` is in reach", way.destination)).collect();
    if details.is_empty() {
        return Check::ok(NAME, format!("closed to processes of `{user}`"));
    }
    let message = format!("processes of `{user}` reach the metadata service, and with it the role of this host");
    let help = "run `trunnion-generator setup`, and remove other rules that come first (`ip rule`)";
    Check::failed(NAME, message, help).with(details)
}

fn name(layout: &Layout, index: u32) -> String {
    match layout.interfaces.iter().find(|interface| interface.index == index) {
        Some(interface) => format!("`{}`", interface.name),
        None => format!("interface {index}"),
    }
}

fn table_name(table: u32) -> String {
    match table {
        253 => "default".to_owned(),
        MAIN => "main".to_owned(),
        255 => "local".to_owned(),
        number => number.to_string(),
    }
}
