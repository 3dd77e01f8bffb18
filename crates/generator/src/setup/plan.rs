//! What has to change for the kernel's network to be the layout. Pure: from the layout and what the kernel has.
//!
//! What is present and right stays untouched, whoever made it. What is ours and wrong is replaced. What is wrong and not
//! ours is left alone and named as a problem. What is ours and no longer in the layout goes only if what remains still
//! holds the host's promise: metadata that lost an address must not cost the host that address.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::kernel::{Address, MAIN, Object, Route, Rule, State, Step};
use crate::layout::{Interface, Layout};

/// The metric of what we add to the main table: whatever DHCP or router advertisements bring goes first.
const FALLBACK: u32 = 20_000;
/// The metric in tables of our own; to IPv6 the kernel gives this one where none is named.
const METRIC_V4: u32 = 0;
const METRIC_V6: u32 = 1_024;

/// The kernel's table of local addresses.
const LOCAL: u32 = 255;

/// What has to change, and what cannot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// In the order in which they are safe.
    pub(super) steps: Vec<Step>,
    /// What is ours, no longer in the layout, and kept for the promise.
    pub(super) kept: Vec<Object>,
    /// What stands in the way and is not ours.
    pub(super) problems: Vec<String>,
}

/// Everything of the layout, as if all of it were ours.
#[derive(Debug, Default)]
struct Wanted {
    addresses: Vec<Address>,
    rules: Vec<Rule>,
    routes: Vec<Route>,
}

/// What has to change; `promised` is how many IPv4 addresses the host was promised.
pub(super) fn plan(layout: &Layout, promised: u64, state: &State) -> Plan {
    let wanted = Wanted::new(layout, state);
    let holds = layout.addresses().filter(IpAddr::is_ipv4).count() as u64 >= promised;
    let mut plan = Plan::default();
    let mut corrections = Vec::new();
    let mut lost = Vec::new();

    let links = state.links.iter().filter(|link| !link.up);
    let links = links.filter(|link| layout.interfaces.iter().any(|interface| interface.index == link.link.index));
    plan.steps.extend(links.map(|link| Step::Up(link.link.clone())));

    // Routes that are wrong go first: they may stand where the right ones go.
    for route in state.routes.iter().filter(|route| route.ours && !wanted.routes.contains(route)) {
        let has_table = |interface: &Interface| interface.table.unwrap_or(MAIN) == route.table;
        if layout.interfaces.iter().any(has_table) {
            plan.steps.push(Step::Remove(Object::Route(*route)));
        } else {
            lost.push(Object::Route(*route));
        }
    }
    plan.addresses(&wanted, state, &mut corrections, &mut lost);
    plan.routes(&wanted, state);
    plan.rules(&wanted, layout, state, &mut corrections, &mut lost);

    plan.steps.extend(corrections);
    if holds {
        // Rules before the tables they lead to, and both before their addresses.
        lost.sort_by_key(|object| match object {
            Object::Rule(_) => 0,
            Object::Route(_) => 1,
            Object::Address(_) => 2,
        });
        plan.steps.extend(lost.into_iter().map(Step::Remove));
    } else {
        plan.kept = lost;
    }
    plan
}

/// Takes back everything that is ours.
pub(super) fn undo(state: &State) -> Vec<Step> {
    let rules = state.rules.iter().filter(|rule| rule.ours).map(|rule| Object::Rule(*rule));
    let routes = state.routes.iter().filter(|route| route.ours).map(|route| Object::Route(*route));
    let addresses = state.addresses.iter().filter(|address| address.ours).map(|address| Object::Address(*address));
    rules.chain(routes).chain(addresses).map(Step::Remove).collect()
}

impl Plan {
    fn addresses(&mut self, wanted: &Wanted, state: &State, corrections: &mut Vec<Step>, lost: &mut Vec<Object>) {
        let mut found: HashMap<IpAddr, Vec<&Address>> = HashMap::new();
        for address in &state.addresses {
            found.entry(address.ip).or_default().push(address);
        }
        let mut expected = HashMap::new();
        for address in &wanted.addresses {
            expected.insert(address.ip, address);
            let found = found.get(&address.ip).map_or(&[][..], Vec::as_slice);
            // What is not ours is as DHCP or somebody else put it: with the length that it has.
            if !found.iter().any(|found| found.index == address.index && (!found.ours || found == &address)) {
                self.steps.push(Step::Add(Object::Address(*address)));
            }
            for elsewhere in found.iter().filter(|found| !found.ours && found.index != address.index) {
                self.problems.push(format!(
                    "{elsewhere} is on {} and not where the metadata has it: remove it there",
                    name(state, elsewhere.index)
                ));
            }
        }
        for address in state.addresses.iter().filter(|address| address.ours) {
            match expected.get(&address.ip) {
                Some(expected) if *expected == address => {}
                Some(_) => corrections.push(Step::Remove(Object::Address(*address))),
                None => lost.push(Object::Address(*address)),
            }
        }
    }

    fn routes(&mut self, wanted: &Wanted, state: &State) {
        for route in &wanted.routes {
            let here = |found: &&Route| found.table == route.table && found.destination == route.destination;
            let right = |found: &Route| {
                if route.table == MAIN && route.gateway.is_some() {
                    // The host has its way out, whatever it is.
                    return true;
                }
                found.index == route.index && found.gateway == route.gateway
            };
            let others = || state.routes.iter().filter(here).filter(|found| !found.ours);
            let best = others().filter(|found| right(found)).map(|found| found.metric).min();
            let ours = state.routes.contains(route);
            if best.is_none() && !ours {
                self.steps.push(Step::Add(Object::Route(*route)));
            }
            if route.table != MAIN {
                let metric = if ours { route.metric } else { best.unwrap_or(route.metric) };
                for wrong in others().filter(|found| !right(found) && found.metric <= metric) {
                    let wrong = format!("{wrong} leads elsewhere than {route}: remove it");
                    self.problems.push(wrong);
                }
            }
        }
    }

    fn rules(
        &mut self,
        wanted: &Wanted,
        layout: &Layout,
        state: &State,
        corrections: &mut Vec<Step>,
        lost: &mut Vec<Object>,
    ) {
        let key = |rule: &Rule| (rule.source, rule.table, rule.priority);
        let plain: Vec<&Rule> = state.rules.iter().filter(|rule| rule.plain).collect();
        let present: HashSet<_> = plain.iter().map(|rule| key(rule)).collect();
        // What sends all sources into a table may find nothing there and go on; the main table has a way for everything.
        let takes_some = |rule: &Rule| rule.source.prefix_len() > 0 || rule.table == MAIN;
        let foreign = plain.iter().filter(|rule| !rule.ours && rule.table != LOCAL && takes_some(rule));
        let foreign: Vec<&&Rule> = foreign.collect();
        for rule in &wanted.rules {
            if !present.contains(&key(rule)) {
                self.steps.push(Step::Add(Object::Rule(*rule)));
            }
            let before = foreign.iter().filter(|found| {
                found.priority <= rule.priority
                    && found.table != rule.table
                    && (found.source.contains(&rule.source) || rule.source.contains(&found.source))
            });
            for found in before {
                self.problems.push(format!("{found} comes before {rule} and is not ours: remove it"));
            }
        }
        let expected: HashSet<_> = wanted.rules.iter().map(key).collect();
        let addresses: Vec<IpAddr> = layout.addresses().collect();
        for rule in state.rules.iter().filter(|rule| rule.ours && !expected.contains(&key(rule))) {
            if addresses.iter().any(|address| rule.source.contains(address)) {
                corrections.push(Step::Remove(Object::Rule(*rule)));
            } else {
                lost.push(Object::Rule(*rule));
            }
        }
    }
}

impl Wanted {
    fn new(layout: &Layout, state: &State) -> Self {
        let mut wanted = Self::default();
        for interface in &layout.interfaces {
            let index = interface.index;
            for (position, &ip) in interface.addresses.iter().enumerate() {
                let length = match ip {
                    IpAddr::V4(_) if position == 0 => interface.subnet.prefix_len(),
                    IpAddr::V4(_) => 32,
                    IpAddr::V6(_) => 128,
                };
                wanted.addresses.push(Address { index, ip, length, ours: true });
            }
            wanted.way_out(interface, interface.subnet.into(), interface.gateway.into());
            if let Some((subnet, gateway)) = interface.ipv6
                && interface.addresses.iter().any(IpAddr::is_ipv6)
            {
                wanted.way_out(interface, subnet.into(), advertised(state, index).unwrap_or(gateway.into()));
            }
            if let Some(table) = interface.table {
                let rules = interface.sources.iter();
                wanted.rules.extend(rules.map(|&source| Rule {
                    source,
                    table,
                    priority: table,
                    ours: true,
                    plain: true,
                }));
            }
        }
        wanted
    }

    /// The subnet, and everything else through its router.
    fn way_out(&mut self, interface: &Interface, subnet: IpNet, gateway: IpAddr) {
        let metric = match (interface.table, gateway) {
            (None, _) => FALLBACK,
            (Some(_), IpAddr::V4(_)) => METRIC_V4,
            (Some(_), IpAddr::V6(_)) => METRIC_V6,
        };
        let everything = match gateway {
            IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
        };
        let table = interface.table.unwrap_or(MAIN);
        let index = Some(interface.index);
        let route = |destination, gateway| Route { table, destination, gateway, index, metric, ours: true };
        // The router is found through the subnet, so the subnet comes first.
        self.routes.push(route(subnet, None));
        self.routes.push(route(everything, Some(gateway)));
    }
}

/// The IPv6 router that made itself known on the interface. EC2's does so with its link-local address.
fn advertised(state: &State, index: u32) -> Option<IpAddr> {
    let defaults = state.routes.iter().filter(|route| !route.ours && route.destination.prefix_len() == 0);
    defaults.filter(|route| route.index == Some(index)).find_map(|route| match route.gateway {
        Some(IpAddr::V6(gateway)) if gateway.is_unicast_link_local() => Some(gateway.into()),
        _ => None,
    })
}

fn name(state: &State, index: u32) -> String {
    let link = state.links.iter().find(|link| link.link.index == index);
    link.map_or_else(|| format!("interface {index}"), |link| link.link.name.clone())
}

#[cfg(test)]
mod tests;
