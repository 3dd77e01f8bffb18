//! The network as the kernel has it, against the layout: interfaces, addresses, and the way that each address takes.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures::TryStreamExt as _;
use netlink_packet_route::{
    address::{AddressAttribute, AddressFlags},
    link::LinkFlags,
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage},
};
use rtnetlink::{Handle, RouteMessageBuilder};
use trunnion_generator::Config;

use super::Check;
use crate::layout::{Interface, Layout};

/// Where routes are looked up to: addresses of documentation (RFC 5737, RFC 3849), which stand for all the world.
const FAR4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

const MAIN: u32 = 254;

const SETUP: &str = "run `trunnion-generator setup`";

/// The network as the kernel has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    /// By index, whether it is up and has a carrier.
    links: BTreeMap<u32, bool>,
    /// By address, the indices of the interfaces that have it; addresses that cannot be used yet are not among them.
    addresses: BTreeMap<IpAddr, Vec<u32>>,
    /// The way that a connection bound to an address takes.
    ways: BTreeMap<IpAddr, Way>,
}

/// The way that a connection takes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Through {
        interface: u32,
        table: u32,
    },
    /// Why there is none.
    None(String),
}

impl Network {
    /// Asks the kernel: one dump of links, one of addresses, and a route lookup for each address of the layout.
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
        for address in layout.addresses().filter(|address| network.addresses.contains_key(address)) {
            network.ways.insert(address, way(&handle, address).await);
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

    fn stands(&self, interface: &Interface, address: IpAddr) -> bool {
        self.addresses.get(&address).is_some_and(|indices| indices.contains(&interface.index))
    }

    fn leaves(&self, interface: &Interface, address: IpAddr) -> bool {
        matches!(self.ways.get(&address), Some(Way::Through { interface: index, .. }) if *index == interface.index)
    }
}

/// The address that the kernel gives to connections into the world that bind none: the primary one, also while the
/// metadata service says nothing.
pub(crate) async fn primary_of_kernel() -> Option<IpAddr> {
    let handle = connect().ok()?;
    let message = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(FAR4, 32).build();
    let route = handle.route().get(message).execute().try_next().await.ok()??;
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        _ => None,
    })
}

fn connect() -> Result<Handle, rtnetlink::Error> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|error| rtnetlink::Error::NamespaceError(error.to_string()))?;
    // It ends by itself when the handle is gone.
    tokio::spawn(connection);
    Ok(handle)
}

/// What `ip route get <far> from <address>` says.
async fn way(handle: &Handle, address: IpAddr) -> Way {
    let mut message: RouteMessage = match address {
        IpAddr::V4(address) => {
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(FAR4, 32).source_prefix(address, 32).build()
        }
        IpAddr::V6(address) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(FAR6, 128).source_prefix(address, 128).build()
        }
    };
    // The table in which the route was found, not the one of the cached result.
    message.header.flags |= RouteFlags::LookupTable;
    let route = match handle.route().get(message).execute().try_next().await {
        Ok(Some(route)) => route,
        Ok(None) => return Way::None("the kernel does not answer".to_owned()),
        Err(rtnetlink::Error::NetlinkError(error)) => return Way::None(error.to_io().to_string()),
        Err(error) => return Way::None(error.to_string()),
    };
    let (mut interface, mut table) = (None, u32::from(route.header.table));
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    match interface {
        Some(interface) => Way::Through { interface, table },
        None => Way::None("its route names no interface".to_owned()),
    }
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

/// Whether every address that is there leaves through its own interface.
pub(super) fn routes(layout: &Layout, network: &Network) -> Check {
    const NAME: &str = "routes";
    let (mut details, mut right) = (Vec::new(), 0_u64);
    for interface in &layout.interfaces {
        let expected = format!("through `{}` by table {}", interface.name, table_name(interface.table.unwrap_or(MAIN)));
        for address in interface.addresses.iter().filter(|&&address| network.stands(interface, address)) {
            match network.ways.get(address) {
                Some(Way::Through { interface: index, .. }) if *index == interface.index => right += 1,
                Some(Way::Through { interface: index, table }) => details.push(format!(
                    "`{address}` leaves through {} by table {}, not {expected}",
                    name(layout, *index),
                    table_name(*table)
                )),
                Some(Way::None(why)) => details.push(format!("`{address}` has no way out, not {expected}: {why}")),
                None => details.push(format!("`{address}` was not looked up")),
            }
        }
    }
    if details.is_empty() {
        return Check::ok(NAME, format!("all {right} addresses that are there leave through their own interface"));
    }
    let message = format!("{} addresses do not leave through their own interface", details.len());
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
