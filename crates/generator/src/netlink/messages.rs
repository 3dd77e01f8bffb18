//! Messages of rtnetlink: what the kernel says as objects, and objects as requests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope},
    link::{LinkAttribute, LinkFlags, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage, RuleUidRange},
};

use super::objects::{Address, Link, Refusal, Route, Rule, Way};
use crate::layout;

/// Marks addresses (`IFA_PROTO`), routes (`rtm_protocol`) and rules (`FRA_PROTOCOL`) as ours, so that no journal of them is
/// needed. Neither `rt_protos` of iproute2 nor the kernel uses this number.
const PROTOCOL: u8 = 84;

impl Address {
    pub(super) fn message(&self) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = family(self.ip);
        message.header.prefix_len = self.length;
        message.header.index = self.index;
        message.header.scope = AddressScope::Universe;
        // Setup adds the routes of a subnet itself: the kernel would add one for each interface in the same subnet.
        let mut flags = AddressFlags::Noprefixroute;
        if self.ip.is_ipv6() {
            // EC2 assigns no address twice, so there are no duplicates to look for.
            flags |= AddressFlags::Nodad;
        }
        message.attributes = vec![
            AddressAttribute::Local(self.ip),
            AddressAttribute::Address(self.ip),
            AddressAttribute::Flags(flags),
            AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)),
        ];
        message
    }
}

impl Rule {
    pub(super) fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = family(self.source.addr());
        message.header.src_len = self.source.prefix_len();
        message.header.action = RuleAction::ToTable;
        message.attributes = vec![
            RuleAttribute::Source(self.source.addr()),
            RuleAttribute::Table(self.table),
            RuleAttribute::Priority(self.priority),
            RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
        ];
        if self.without_default {
            message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
        }
        message
    }
}

impl Refusal {
    pub(super) fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = family(self.destination);
        message.header.dst_len = whole(self.destination);
        message.header.action = RuleAction::Prohibit;
        message.attributes = vec![
            RuleAttribute::Destination(self.destination),
            RuleAttribute::UidRange(RuleUidRange { start: self.uid, end: self.uid }),
            RuleAttribute::Priority(self.priority),
            RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
        ];
        message
    }
}

impl Route {
    pub(super) fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.destination.addr());
        message.header.destination_prefix_length = self.destination.prefix_len();
        message.header.protocol = RouteProtocol::Other(PROTOCOL);
        message.header.kind = RouteType::Unicast;
        message.header.scope = match (self.gateway, self.destination) {
            (None, IpNet::V4(_)) => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        message.attributes = vec![RouteAttribute::Table(self.table), RouteAttribute::Priority(self.metric)];
        if self.destination.prefix_len() > 0 {
            message.attributes.push(RouteAttribute::Destination(self.destination.addr().into()));
        }
        message.attributes.extend(self.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        message.attributes.extend(self.index.map(RouteAttribute::Oif));
        message
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The prefix length of one address.
fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first address of the range of all addresses of a family.
fn everything(family: AddressFamily) -> Option<IpAddr> {
    match family {
        AddressFamily::Inet => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

/// A request that sets a link up or down.
pub(super) fn up_or_down(link: &layout::Link, flags: LinkFlags) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message.header.flags = flags;
    message.header.change_mask = LinkFlags::Up;
    message
}

pub(super) fn link(message: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let flags = message.header.flags;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    });
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    let identity = layout::Link { index: message.header.index, name: name?, mac: mac? };
    let works = flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    (!flags.contains(LinkFlags::Loopback)).then_some(Link { identity, up: flags.contains(LinkFlags::Up), works })
}

pub(super) fn address(message: &RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    // On a link with a peer, `IFA_LOCAL` is the address and `IFA_ADDRESS` the peer's. IPv6 has `IFA_ADDRESS` alone.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let plain = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    let ours = AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL));
    let unusable = message.attributes.iter().any(|attribute| match attribute {
        AddressAttribute::Flags(flags) => {
            flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
                && !flags.contains(AddressFlags::Optimistic)
        }
        _ => false,
    });
    Some(Address {
        index: message.header.index,
        ip: local.or(plain)?,
        length: message.header.prefix_len,
        ours: message.attributes.contains(&ours),
        usable: !unusable,
    })
}

pub(super) fn refusal(message: &RouteNetlinkMessage) -> Option<Refusal> {
    let RouteNetlinkMessage::NewRule(message) = message else { return None };
    let header = &message.header;
    let (mut destination, mut uid, mut priority, mut ours) = (None, None, 0, false);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Destination(address) => destination = Some(*address),
            RuleAttribute::UidRange(RuleUidRange { start, end }) if start == end => uid = Some(*start),
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Protocol(protocol) => ours = *protocol == RouteProtocol::Other(PROTOCOL),
            // The kernel reports these for every rule, with these values for none.
            RuleAttribute::Table(0)
            | RuleAttribute::SuppressPrefixLen(u32::MAX)
            | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            _ => return None,
        }
    }
    let refusal = Refusal { destination: destination?, uid: uid?, priority, ours };
    let refuses = header.action == RuleAction::Prohibit
        && (header.src_len, header.tos) == (0, 0)
        && header.dst_len == whole(refusal.destination)
        && !header.flags.contains(RuleFlags::Invert);
    refuses.then_some(refusal)
}

/// A rule that is no [`Refusal`].
pub(super) fn rule(message: &RouteNetlinkMessage) -> Option<Rule> {
    if refusal(message).is_some() {
        return None;
    }
    let RouteNetlinkMessage::NewRule(message) = message else { return None };
    let header = &message.header;
    let mut source = everything(header.family)?;
    let mut table = u32::from(header.table);
    let mut priority = 0;
    let mut without_default = false;
    let mut ours = false;
    let mut plain = header.action == RuleAction::ToTable
        && (header.dst_len, header.tos) == (0, 0)
        && !header.flags.contains(RuleFlags::Invert);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(address) => source = *address,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Protocol(protocol) => ours = *protocol == RouteProtocol::Other(PROTOCOL),
            // The kernel reports both for every rule, with this value for none.
            RuleAttribute::SuppressPrefixLen(u32::MAX) | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            RuleAttribute::SuppressPrefixLen(0) => without_default = true,
            _ => plain = false,
        }
    }
    let source = IpNet::new(source, header.src_len).ok()?;
    Some(Rule { source, table, priority, without_default, ours, plain })
}

pub(super) fn route(message: &RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let header = &message.header;
    if header.kind != RouteType::Unicast || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut destination = everything(header.address_family)?;
    let mut table = u32::from(header.table);
    let mut gateway = None;
    let mut index = None;
    let mut metric = 0;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(number) => index = Some(*number),
            RouteAttribute::Priority(number) => metric = *number,
            _ => {}
        }
    }
    let destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
    let ours = header.protocol == RouteProtocol::Other(PROTOCOL);
    Some(Route { table, destination, gateway, index, metric, ours })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// Asks for the way of a connection: from this source, or that of a connection that binds no address; of this user, or of
/// root.
pub(super) fn way_request(source: Option<IpAddr>, destination: IpAddr, uid: Option<u32>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = whole(destination);
    // The table in which the route was found, not that of the cached result.
    message.header.flags |= RouteFlags::LookupTable;
    message.attributes.push(RouteAttribute::Destination(destination.into()));
    message.attributes.extend(uid.map(RouteAttribute::Uid));
    if let Some(source) = source {
        message.header.source_prefix_length = whole(source);
        message.attributes.push(RouteAttribute::Source(source.into()));
    }
    message
}

pub(super) fn way(message: &RouteNetlinkMessage) -> Option<Way> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let mut way = Way { index: None, table: u32::from(message.header.table), source: None };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => way.index = Some(*index),
            RouteAttribute::Table(number) => way.table = *number,
            RouteAttribute::PrefSource(address) => way.source = ip(address),
            _ => {}
        }
    }
    Some(way)
}
