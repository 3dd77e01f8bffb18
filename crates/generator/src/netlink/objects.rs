//! Links, addresses, rules and routes of the kernel as plain data, and what can be changed of them.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use crate::layout;

/// The kernel's main routing table.
pub(crate) const MAIN: u32 = 254;

/// The whole network of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) links: Vec<Link>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) routes: Vec<Route>,
}

/// A link other than the loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) identity: layout::Link,
    /// Whether it is set up.
    pub(crate) up: bool,
    /// Whether it has a carrier, too.
    pub(crate) works: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) ip: IpAddr,
    pub(crate) length: u8,
    /// Whether `setup` added it.
    pub(crate) ours: bool,
    /// Whether sockets can use it: not while IPv6 looks for duplicates of it, and not if it found one.
    pub(crate) usable: bool,
}

/// A rule of the routing policy (`ip rule`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) source: IpNet,
    pub(crate) table: u32,
    pub(crate) priority: u32,
    /// Whether it ignores default routes, so that the lookup continues with the next rule (`suppress_prefixlength 0`).
    pub(crate) without_default: bool,
    pub(crate) ours: bool,
    /// Whether it selects by the source alone, and its only action is to look up a table.
    pub(crate) plain: bool,
}

/// A rule that refuses all traffic of one user to one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) destination: IpAddr,
    pub(crate) uid: u32,
    pub(crate) priority: u32,
    pub(crate) ours: bool,
}

/// A unicast route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) table: u32,
    pub(crate) destination: IpNet,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) index: Option<u32>,
    pub(crate) metric: u32,
    pub(crate) ours: bool,
}

/// One change of the network. Everything that it adds is marked as ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Up(layout::Link),
    Down(layout::Link),
    Add(Object),
    Remove(Object),
}

/// Something to add or remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Object {
    Address(Address),
    Rule(Rule),
    Refusal(Refusal),
    Route(Route),
}

/// The way that a connection takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) index: Option<u32>,
    /// The table in which the route was found.
    pub(crate) table: u32,
    /// The source address of a connection that binds none.
    pub(crate) source: Option<IpAddr>,
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { destination, uid, priority, .. } = self;
        write!(f, "rule to {destination} of user {uid} prohibit of priority {priority}")
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

impl Address {
    /// Whether it is the wanted one, usable yet or not.
    pub(crate) fn is(&self, wanted: &Self) -> bool {
        Self { usable: wanted.usable, ..*self } == *wanted
    }
}

impl Object {
    /// The index of its interface; rules have none.
    pub(crate) fn index(&self) -> Option<u32> {
        match self {
            Self::Address(address) => Some(address.index),
            Self::Route(route) => route.index,
            Self::Rule(_) | Self::Refusal(_) => None,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Rule(rule) => rule.fmt(f),
            Self::Refusal(refusal) => refusal.fmt(f),
            Self::Route(route) => route.fmt(f),
        }
    }
}
