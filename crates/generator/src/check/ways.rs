//! The ways that connections take, asked of the kernel: from every address to every kind of destination. Which rule and
//! which table decide is left to the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures::TryStreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::layout::{Interface, Layout};

/// Off-link: addresses of documentation (RFC 5737, RFC 3849), which stand for all the world.
const FAR4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xffff, 0, 0, 0, 1);

/// The kernel's main routing table.
pub(super) const MAIN: u32 = 254;

/// So many ranges of the main table are destinations, beside those of the subnets: DHCP brings a handful.
const MOST_RANGES: usize = 64;

/// A way to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) destination: IpAddr,
    pub(super) taken: Taken,
}

/// The way that a connection takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taken {
    Through {
        interface: u32,
        table: u32,
        /// The source that the kernel gives to a connection that binds none.
        source: Option<IpAddr>,
    },
    /// Why there is none.
    None(String),
}

impl Way {
    /// Whether it leads through this interface.
    pub(super) fn leads_through(&self, index: u32) -> bool {
        matches!(self.taken, Taken::Through { interface, .. } if interface == index)
    }
}

/// The address that the kernel gives to connections into the world that bind none.
pub(super) async fn unbound_source(handle: &Handle) -> Option<IpAddr> {
    match way(handle, None, FAR4.into()).await.taken {
        Taken::Through { source, .. } => source,
        Taken::None(_) => None,
    }
}

/// The ways from this address, or of connections that bind none, to each of these destinations of the family.
pub(super) async fn ways(
    handle: &Handle,
    source: Option<IpAddr>,
    destinations: impl Iterator<Item = &IpAddr>,
) -> Vec<Way> {
    let mut ways = Vec::new();
    for &destination in destinations {
        ways.push(way(handle, source, destination).await);
    }
    ways
}

/// One destination of each kind: off-link, the router and a neighbour in each subnet of the host, and whatever else the main
/// table routes through an interface of the layout. None is an address of the host.
pub(super) async fn destinations(
    handle: &Handle,
    layout: &Layout,
    own: &BTreeMap<IpAddr, Vec<u32>>,
) -> Result<Vec<IpAddr>, rtnetlink::Error> {
    let mut destinations = vec![FAR4.into(), FAR6.into()];
    let subnets: BTreeSet<_> = layout.interfaces.iter().flat_map(Interface::subnets).collect();
    for (subnet, router) in &subnets {
        destinations.push(*router);
        destinations.extend(neighbour(*subnet, own));
    }
    let mut ranges = routed(handle, layout).await?;
    ranges.retain(|range| !subnets.iter().any(|(subnet, _)| subnet == range));
    destinations.extend(ranges.iter().take(MOST_RANGES).filter_map(|range| neighbour(*range, own)));
    let mut seen = BTreeSet::new();
    destinations.retain(|destination| !own.contains_key(destination) && seen.insert(*destination));
    Ok(destinations)
}

/// The last address of the range that is not the host's own.
fn neighbour(range: IpNet, own: &BTreeMap<IpAddr, Vec<u32>>) -> Option<IpAddr> {
    range.hosts().rev().find(|address| !own.contains_key(address))
}

/// What the main table routes through the layout's interfaces, but for default routes and what each link has for itself.
async fn routed(handle: &Handle, layout: &Layout) -> Result<BTreeSet<IpNet>, rtnetlink::Error> {
    let mut ranges = BTreeSet::new();
    let mut routes = handle.route().get(RouteMessage::default()).execute();
    while let Some(route) = routes.try_next().await? {
        let (mut destination, mut interface, mut table) = (None, None, u32::from(route.header.table));
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip(address),
                RouteAttribute::Oif(index) => interface = Some(*index),
                RouteAttribute::Table(number) => table = *number,
                _ => {}
            }
        }
        let range = destination.and_then(|address| IpNet::new(address, route.header.destination_prefix_length).ok());
        let is_ours = layout.interfaces.iter().any(|known| interface == Some(known.index));
        let of_link = |range: &IpNet| matches!(range.addr(), IpAddr::V6(address) if address.is_unicast_link_local());
        let is_unicast = route.header.kind == RouteType::Unicast && !route.header.flags.contains(RouteFlags::Cloned);
        if table == MAIN && is_ours && is_unicast {
            ranges.extend(range.filter(|range| range.prefix_len() > 0 && !of_link(range)));
        }
    }
    Ok(ranges)
}

/// What `ip route get <destination> from <source>` says.
async fn way(handle: &Handle, source: Option<IpAddr>, destination: IpAddr) -> Way {
    let taken = match ask(handle, source, destination).await {
        Ok(Some(route)) => read(&route),
        Ok(None) => Taken::None("the kernel does not answer".to_owned()),
        Err(rtnetlink::Error::NetlinkError(error)) => Taken::None(error.to_io().to_string()),
        Err(error) => Taken::None(error.to_string()),
    };
    Way { destination, taken }
}

async fn ask(
    handle: &Handle,
    source: Option<IpAddr>,
    destination: IpAddr,
) -> Result<Option<RouteMessage>, rtnetlink::Error> {
    let mut message = match destination {
        IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build(),
        IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(address, 128).build(),
    };
    if let Some(source) = source {
        message.header.source_prefix_length = if source.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Source(source.into()));
    }
    // The table in which the route was found, not the one of the cached result.
    message.header.flags |= RouteFlags::LookupTable;
    handle.route().get(message).execute().try_next().await
}

fn read(route: &RouteMessage) -> Taken {
    let (mut interface, mut table, mut source) = (None, u32::from(route.header.table), None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::PrefSource(address) => source = ip(address),
            _ => {}
        }
    }
    match interface {
        Some(interface) => Taken::Through { interface, table, source },
        None => Taken::None("its route names no interface".to_owned()),
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
