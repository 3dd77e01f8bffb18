//! The ways that connections take, from every address to every kind of destination. The kernel looks them up, with the rules
//! and tables that it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use crate::{
    imds,
    layout::{Interface, Layout},
    netlink::{self, MAIN, Netlink},
};

/// Destinations outside the VPC: addresses for documentation (RFC 5737, RFC 3849), to which no packet is sent.
const FAR4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xffff, 0, 0, 0, 1);

/// How many ranges of the main table are looked up, beside the subnets. DHCP adds a handful.
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
        /// The source address of a connection that binds none.
        source: Option<IpAddr>,
    },
    /// Why there is no way.
    None(String),
}

impl Way {
    /// Whether it leads through this interface.
    pub(super) fn leads_through(&self, index: u32) -> bool {
        matches!(self.taken, Taken::Through { interface, .. } if interface == index)
    }
}

/// The source address of connections that bind none and leave the VPC.
pub(super) async fn unbound_source(netlink: &Netlink) -> Option<IpAddr> {
    match way(netlink, None, FAR4.into(), None).await.taken {
        Taken::Through { source, .. } => source,
        Taken::None(_) => None,
    }
}

/// The ways from this address, or of connections that bind none, to each of these destinations.
pub(super) async fn ways(
    netlink: &Netlink,
    source: Option<IpAddr>,
    destinations: impl Iterator<Item = &IpAddr>,
) -> Vec<Way> {
    let mut ways = Vec::new();
    for &destination in destinations {
        ways.push(way(netlink, source, destination, None).await);
    }
    ways
}

/// The ways of connections of this user to the metadata service.
pub(super) async fn to_metadata(netlink: &Netlink, uid: u32) -> Vec<Way> {
    let mut ways = Vec::new();
    for destination in imds::ADDRESSES {
        ways.push(way(netlink, None, destination, Some(uid)).await);
    }
    ways
}

/// One destination of each kind: outside the VPC, the router and a neighbour in each subnet of the host, and an address of
/// every other range that the main table routes through an interface of the layout. None is an address of the host.
pub(super) async fn destinations(
    netlink: &Netlink,
    layout: &Layout,
    own: &BTreeMap<IpAddr, Vec<u32>>,
) -> io::Result<Vec<IpAddr>> {
    let mut destinations = vec![FAR4.into(), FAR6.into()];
    let subnets: BTreeSet<_> = layout.interfaces.iter().flat_map(Interface::subnets).collect();
    for (subnet, router) in &subnets {
        destinations.push(*router);
        destinations.extend(neighbour(*subnet, own));
    }
    let mut ranges = routed(netlink, layout).await?;
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

/// The ranges that the main table routes through interfaces of the layout, without default and link-local routes.
async fn routed(netlink: &Netlink, layout: &Layout) -> io::Result<BTreeSet<IpNet>> {
    let mut ranges = BTreeSet::new();
    let of_link = |range: &IpNet| matches!(range.addr(), IpAddr::V6(address) if address.is_unicast_link_local());
    for route in netlink.routes().await?.into_iter().filter(|route| route.table == MAIN) {
        let is_known = layout.interfaces.iter().any(|interface| route.index == Some(interface.index));
        if is_known && route.destination.prefix_len() > 0 && !of_link(&route.destination) {
            ranges.insert(route.destination);
        }
    }
    Ok(ranges)
}

async fn way(netlink: &Netlink, source: Option<IpAddr>, destination: IpAddr, uid: Option<u32>) -> Way {
    let taken = match netlink.way(source, destination, uid).await {
        Ok(Some(netlink::Way { index: Some(interface), table, source })) => Taken::Through { interface, table, source },
        Ok(Some(netlink::Way { index: None, .. })) => Taken::None("its route names no interface".to_owned()),
        Ok(None) => Taken::None("the kernel does not answer".to_owned()),
        Err(error) => Taken::None(error.to_string()),
    };
    Way { destination, taken }
}
