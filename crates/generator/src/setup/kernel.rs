//! The kernel's side of the network: what it has, in one dump per kind, and one request for each change. rtnetlink only.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures::StreamExt as _;
use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope},
    link::{LinkAttribute, LinkFlags, LinkMessage},
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
    },
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use crate::layout;

/// Marks what is ours among addresses (`IFA_PROTO`), routes (`rtm_protocol`) and rules (`FRA_PROTOCOL`), so that it is
/// known without a journal. Neither `rt_protos` of iproute2 nor the kernel names this number.
const PROTOCOL: u8 = 84;

/// The kernel's main routing table.
pub(super) const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// A dump during which something changed is made again this many times.
const DUMPS: u32 = 5;

/// What the kernel has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<Address>,
    pub(super) rules: Vec<Rule>,
    pub(super) routes: Vec<Route>,
}

/// A link, but for the loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) link: layout::Link,
    pub(super) up: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) index: u32,
    pub(super) ip: IpAddr,
    pub(super) length: u8,
    pub(super) ours: bool,
}

/// A rule of the routing policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) source: IpNet,
    pub(super) table: u32,
    pub(super) priority: u32,
    /// Whether it takes no default route, so that the lookup goes on with the next rule (`suppress_prefixlength 0`).
    pub(super) without_default: bool,
    pub(super) ours: bool,
    /// Whether it selects by nothing but the source, and does nothing but look into a table.
    pub(super) plain: bool,
}

/// A route that leads somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) table: u32,
    pub(super) destination: IpNet,
    pub(super) gateway: Option<IpAddr>,
    pub(super) index: Option<u32>,
    pub(super) metric: u32,
    pub(super) ours: bool,
}

/// One change of what the kernel has. Whatever it adds is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Up(layout::Link),
    Down(layout::Link),
    Add(Object),
    Remove(Object),
}

/// Something to add or remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Object {
    Address(Address),
    Rule(Rule),
    Route(Route),
}

/// A way to the kernel.
pub(super) struct Netlink(rtnetlink::Handle);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        // It ends with the handle.
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    pub(super) async fn links(&mut self) -> io::Result<Vec<Link>> {
        let messages = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).await?;
        Ok(messages.iter().filter_map(link).collect())
    }

    pub(super) async fn state(&mut self) -> io::Result<State> {
        let links = self.links().await?;
        let addresses = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default())).await?;
        let rules = self.dump(RouteNetlinkMessage::GetRule(RuleMessage::default())).await?;
        let routes = self.dump(RouteNetlinkMessage::GetRoute(RouteMessage::default())).await?;
        Ok(State {
            links,
            addresses: addresses.iter().filter_map(address).collect(),
            rules: rules.iter().filter_map(rule).collect(),
            routes: routes.iter().filter_map(route).collect(),
        })
    }

    /// Makes one change. What is already so, or already gone, is fine.
    pub(super) async fn apply(&mut self, step: &Step) -> io::Result<()> {
        let create = NLM_F_CREATE | NLM_F_EXCL;
        let (message, flags, fine): (_, _, &[i32]) = match step {
            Step::Up(link) => (RouteNetlinkMessage::SetLink(up_or_down(link, LinkFlags::Up)), 0, &[]),
            Step::Down(link) => {
                (RouteNetlinkMessage::SetLink(up_or_down(link, LinkFlags::empty())), 0, &[libc::ENODEV])
            }
            Step::Add(object) => {
                let message = match object {
                    Object::Address(address) => RouteNetlinkMessage::NewAddress(address.message()),
                    Object::Rule(rule) => RouteNetlinkMessage::NewRule(rule.message()),
                    Object::Route(route) => RouteNetlinkMessage::NewRoute(route.message()),
                };
                (message, create, &[libc::EEXIST])
            }
            Step::Remove(object) => {
                let message = match object {
                    Object::Address(address) => RouteNetlinkMessage::DelAddress(address.message()),
                    Object::Rule(rule) => RouteNetlinkMessage::DelRule(rule.message()),
                    Object::Route(route) => RouteNetlinkMessage::DelRoute(route.message()),
                };
                (message, 0, &[libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENODEV])
            }
        };
        match self.acknowledged(message, flags).await {
            Err(error) if error.raw_os_error().is_some_and(|code| fine.contains(&code)) => Ok(()),
            result => result,
        }
    }

    async fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMPS {
            let mut request = NetlinkMessage::from(message.clone());
            request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            let mut answers = self.0.request(request).map_err(io::Error::other)?;
            let mut found = Vec::new();
            let mut interrupted = false;
            while let Some(answer) = answers.next().await {
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => found.push(message),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Overrun(_) => interrupted = true,
                    _ => {}
                }
            }
            if !interrupted {
                return Ok(found);
            }
        }
        Err(io::Error::other("the kernel's network changes faster than it can be read"))
    }

    async fn acknowledged(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self.0.request(request).map_err(io::Error::other)?;
        // A good acknowledgement only ends the answers.
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(error.to_io());
            }
        }
        Ok(())
    }
}

impl Address {
    fn message(&self) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = family(self.ip);
        message.header.prefix_len = self.length;
        message.header.index = self.index;
        message.header.scope = AddressScope::Universe;
        // The routes of a subnet are ours to set: the kernel's own would double them where interfaces share a subnet.
        let mut flags = AddressFlags::Noprefixroute;
        if self.ip.is_ipv6() {
            // EC2 gives no address twice, so nobody need be asked for it.
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
    fn message(&self) -> RuleMessage {
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

impl Route {
    fn message(&self) -> RouteMessage {
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

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {}/{}", self.ip, self.length)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, table, priority, without_default, .. } = self;
        let but = if *without_default { " without its default route" } else { "" };
        write!(f, "rule from {source} lookup {table}{but} of priority {priority}")
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.destination.prefix_len() == 0 {
            f.write_str("route default")?;
        } else {
            write!(f, "route {}", self.destination)?;
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if self.table == MAIN { f.write_str(" in the main table") } else { write!(f, " in table {}", self.table) }
    }
}

impl Object {
    /// The interface it belongs to, if it does to one.
    pub(super) fn index(&self) -> Option<u32> {
        match self {
            Self::Address(address) => Some(address.index),
            Self::Route(route) => route.index,
            Self::Rule(_) => None,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Rule(rule) => rule.fmt(f),
            Self::Route(route) => route.fmt(f),
        }
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The range of a family that has all addresses.
fn everything(family: AddressFamily) -> Option<IpAddr> {
    match family {
        AddressFamily::Inet => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

fn up_or_down(link: &layout::Link, flags: LinkFlags) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message.header.flags = flags;
    message.header.change_mask = LinkFlags::Up;
    message
}

fn link(message: &RouteNetlinkMessage) -> Option<Link> {
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
    let link = layout::Link { index: message.header.index, name: name?, mac: mac? };
    (!flags.contains(LinkFlags::Loopback)).then_some(Link { link, up: flags.contains(LinkFlags::Up) })
}

fn address(message: &RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    // With a peer, `IFA_LOCAL` is the address and `IFA_ADDRESS` the peer's; IPv6 has the latter only.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let plain = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    let ours = AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL));
    Some(Address {
        index: message.header.index,
        ip: local.or(plain)?,
        length: message.header.prefix_len,
        ours: message.attributes.contains(&ours),
    })
}

fn rule(message: &RouteNetlinkMessage) -> Option<Rule> {
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
            // The kernel tells both of every rule; this is its word for none.
            RuleAttribute::SuppressPrefixLen(u32::MAX) | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            RuleAttribute::SuppressPrefixLen(0) => without_default = true,
            _ => plain = false,
        }
    }
    let source = IpNet::new(source, header.src_len).ok()?;
    Some(Rule { source, table, priority, without_default, ours, plain })
}

fn route(message: &RouteNetlinkMessage) -> Option<Route> {
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
