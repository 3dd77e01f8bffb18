//! The network as the kernel has it, against the layout: interfaces, addresses, and the way that each address takes.

use std::{collections::BTreeMap, net::IpAddr};

use futures::TryStreamExt as _;
use netlink_packet_route::{
    address::{AddressAttribute, AddressFlags},
    link::LinkFlags,
};
use rtnetlink::Handle;
use trunnion_host::Config;

use super::{
    Check,
    ways::{self, MAIN, Taken, Way},
};
use crate::layout::{Interface, Layout};

const SETUP: &str = "run `trunnion-generator setup`";

/// The network as the kernel has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    /// By index, whether it is up and has a carrier.
    links: BTreeMap<u32, bool>,
    /// By address, the indices of the interfaces that have it; addresses that cannot be used yet are not among them.
    addresses: BTreeMap<IpAddr, Vec<u32>>,
    /// By address, the ways that connections bound to it take, one to each kind of destination.
    ways: BTreeMap<IpAddr, Vec<Way>>,
    /// The ways of connections that bind no address.
    unbound: Vec<Way>,
}

impl Network {
    /// Asks the kernel: one dump each of links, addresses and routes, and for each address of the layout a route lookup to
    /// each kind of destination.
    pub(crate) async fn look(layout: &Layout) -> Result<Self, rtnetlink::Error> {
        let handle = connect()?;
        let mut network = Self::default();
        let mut links = handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            let works = LinkFlags::Up | LinkFlags::LowerUp;
            network.links.insert(link.header.index, link.header.flags.contains(works));
        }
        let mut addresses = handle.address().get().execute();
        while let Some(message) = addresses.try_next().await? {
            let (mut local, mut peer, mut unusable) = (None, None, false);
            for attribute in &message.attributes {
                match attribute {
                    AddressAttribute::Local(address) => local = Some(*address),
                    AddressAttribute::Address(address) => peer = Some(*address),
                    AddressAttribute::Flags(flags) => {
                        unusable = flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
                            && !flags.contains(AddressFlags::Optimistic);
                    }
                    _ => {}
                }
            }
            // Where there is a peer, as on a tunnel, `Address` is the peer's.
            if let Some(address) = local.or(peer).filter(|_| !unusable) {
                network.addresses.entry(address).or_default().push(message.header.index);
            }
        }
        let destinations = ways::destinations(&handle, layout, &network.addresses).await?;
        let of_family = |ipv4| destinations.iter().filter(move |destination| destination.is_ipv4() == ipv4);
        for address in layout.addresses().filter(|address| network.addresses.contains_key(address)) {
            let ways = ways::ways(&handle, Some(address), of_family(address.is_ipv4())).await;
            network.ways.insert(address, ways);
        }
        let primary = layout.interfaces.first().map_or(&[][..], |primary| &primary.addresses);
        for ipv4 in [true, false] {
            // What the primary interface has nothing of, the main table need not lead anywhere.
            if primary.iter().any(|address| address.is_ipv4() == ipv4) {
                network.unbound.extend(ways::ways(&handle, None, of_family(ipv4)).await);
            }
        }
        Ok(network)
    }

    /// The addresses that stand on their own interface, of these, and leave through it.
    pub(crate) fn usable(&self, interfaces: &[Interface]) -> Vec<IpAddr> {
        let mut usable = Vec::new();
        for interface in interfaces {
            let works = |address: &&IpAddr| {
                self.links.get(&interface.index) == Some(&true)
                    && self.stands(interface, **address)
                    && self.leaves(interface, **address)
            };
            usable.extend(interface.addresses.iter().filter(works));
        }
        usable
    }

    fn has(&self, index: u32, address: IpAddr) -> bool {
        self.addresses.get(&address).is_some_and(|indices| indices.contains(&index))
    }

    fn stands(&self, interface: &Interface, address: IpAddr) -> bool {
        self.has(interface.index, address)
    }

    fn leaves(&self, interface: &Interface, address: IpAddr) -> bool {
        let ways = self.ways.get(&address);
        ways.is_some_and(|ways| ways.iter().all(|way| way.leads_through(interface.index)))
    }

    /// How the address leaves, if that is not through its own interface.
    fn astray(&self, layout: &Layout, interface: &Interface, address: IpAddr) -> Option<String> {
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
            Taken::None(why) => format!("has no way to `{destination}`{more}, {expected}: {why}"),
        })
    }
}

/// The address that the kernel gives to connections into the world that bind none: the primary one, also while the
/// metadata service says nothing.
pub(crate) async fn primary_of_kernel() -> Option<IpAddr> {
    ways::unbound_source(&connect().ok()?).await
}

fn connect() -> Result<Handle, rtnetlink::Error> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|error| rtnetlink::Error::NamespaceError(error.to_string()))?;
    // It ends by itself when the handle is gone.
    tokio::spawn(connection);
    Ok(handle)
}

/// Whether the metadata names as many interfaces and addresses as were promised.
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
            details.push(format!(
                "`{}` was given {addresses} addresses, {} were promised",
                interface.name, config.addresses
            ));
        }
    }
    if details.is_empty() {
        let addresses = layout.addresses().count();
        return Check::ok(NAME, format!("{named} interfaces with {addresses} addresses, as promised"));
    }
    let message = "the metadata service names less than was promised";
    Check::failed(NAME, message, "the launch template gives every host its interfaces: replace this host").with(details)
}

/// Whether every interface is there and up.
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

/// Whether every address stands on its interface.
pub(super) fn addresses(layout: &Layout, network: &Network) -> Check {
    const NAME: &str = "addresses";
    let mut details = Vec::new();
    for interface in &layout.interfaces {
        for address in interface.addresses.iter().filter(|&&address| !network.stands(interface, address)) {
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

/// Whether every address that is there leaves through its own interface, wherever it goes, and whether connections that bind
/// none have a way.
pub(super) fn routes(layout: &Layout, network: &Network) -> Check {
    const NAME: &str = "routes";
    let (mut details, mut right) = (Vec::new(), 0_u64);
    for interface in &layout.interfaces {
        for address in interface.addresses.iter().filter(|&&address| network.stands(interface, address)) {
            match network.astray(layout, interface, *address) {
                None => right += 1,
                Some(why) => details.push(format!("`{address}` {why}")),
            }
        }
    }
    let wrong = details.len();
    for Way { destination, taken } in &network.unbound {
        match taken {
            Taken::None(why) => {
                details.push(format!("connections that bind no address have no way to `{destination}`: {why}"));
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
        return Check::ok(NAME, format!("all {right} addresses that are there leave through their own interface"));
    }
    let message = if wrong == 0 {
        "connections that bind no address cannot go everywhere".to_owned()
    } else {
        format!("{wrong} addresses do not leave through their own interface")
    };
    Check::failed(NAME, message, SETUP).with(details)
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
