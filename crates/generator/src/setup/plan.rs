//! What has to change for the kernel's network to be the layout. Pure: from the layout and what the kernel has.
//!
//! What is present and right stays untouched, whoever made it. What is ours and wrong is replaced. What is wrong and not
//! ours is left alone and named as a problem. What is ours and no longer in the layout goes only if what remains still
//! holds the host's promise: metadata that lost an address must not cost the host that address.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::kernel::{Address, MAIN, Object, Route, Rule, State, Step};
use crate::layout::{Interface, Layout};

/// The metric of what we add to the main table: whatever DHCP or router advertisements bring goes first.
const FALLBACK: u32 = 20_000;
/// The metric in tables of our own; to IPv6 the kernel gives this one where none is named.
const METRIC_V4: u32 = 0;
const METRIC_V6: u32 = 1_024;

/// The first of three priorities of the primary interface's rules. They come after those of all secondary interfaces, which
/// may stand in its subnet.
const PRIMARY: u32 = 20_000;

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
        let has_table = layout.interfaces.iter().any(|interface| interface.table == route.table);
        if route.table == MAIN || has_table && !layout.has_one_interface() {
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

/// Takes back everything that is ours, of the rules the last one first: as long as the last one of a source is there, it needs
/// those before it.
pub(super) fn undo(state: &State) -> Vec<Step> {
    let rules = state.rules.iter().rev().filter(|rule| rule.ours).map(|rule| Object::Rule(*rule));
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
            // The kernel takes no second route of the same metric.
            let has_place = !others().any(|found| found.metric == route.metric);
            if best.is_none() && !ours && has_place {
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
        let key = |rule: &Rule| (rule.source, rule.table, rule.priority, rule.without_default);
        let plain: Vec<&Rule> = state.rules.iter().filter(|rule| rule.plain).collect();
        let present: HashSet<_> = plain.iter().map(|rule| key(rule)).collect();
        let expected: HashSet<_> = wanted.rules.iter().map(key).collect();
        // What sends all sources into a table may find nothing there and go on; the main table has a way for everything.
        let takes_some = |rule: &Rule| rule.source.prefix_len() > 0 || rule.table == MAIN;
        let foreign = plain.iter().filter(|rule| !rule.ours && rule.table != LOCAL && takes_some(rule));
        let foreign: Vec<&&Rule> = foreign.filter(|rule| !expected.contains(&key(rule))).collect();
        for rule in &wanted.rules {
            if !present.contains(&key(rule)) {
                self.steps.push(Step::Add(Object::Rule(*rule)));
            }
        }
        let sources = layout.interfaces.iter().flat_map(|interface| {
            interface.sources.iter().filter_map(|source| Some((source, wanted.rule_of(interface, source)?)))
        });
        for (source, rule) in sources {
            let before = foreign.iter().filter(|found| {
                found.priority <= rule.priority
                    && found.table != rule.table
                    && (found.source.contains(source) || source.contains(&found.source))
            });
            for found in before {
                let problem = format!("{found} comes before {rule} and is not ours: remove it");
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
            }
        }
        let addresses: Vec<IpAddr> = layout.addresses().collect();
        for rule in state.rules.iter().rev().filter(|rule| rule.ours && !expected.contains(&key(rule))) {
            // What the primary interface had beside others goes when they go.
            let is_of_primary = layout.has_one_interface()
                && (rule.table == MAIN || layout.interfaces.iter().any(|primary| primary.table == rule.table));
            if !is_of_primary && addresses.iter().any(|address| rule.source.contains(address)) {
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
            wanted.addresses(interface);
            for (subnet, gateway) in interface.subnets() {
                let router = router(state, interface, subnet, gateway);
                if interface.is_primary() {
                    wanted.way_out((MAIN, FALLBACK), interface.index, subnet, router);
                    if layout.has_one_interface() {
                        continue;
                    }
                }
                let metric = if subnet.addr().is_ipv4() { METRIC_V4 } else { METRIC_V6 };
                wanted.way_out((interface.table, metric), interface.index, subnet, router);
                if interface.is_primary() {
                    for destination in elsewhere(layout, state, subnet) {
                        wanted.route((interface.table, metric), interface.index, destination, Some(router));
                    }
                }
            }
            wanted.rules(layout, interface);
        }
        wanted
    }

    fn addresses(&mut self, interface: &Interface) {
        for (position, &ip) in interface.addresses.iter().enumerate() {
            let length = match ip {
                IpAddr::V4(_) if position == 0 => interface.subnet.prefix_len(),
                IpAddr::V4(_) => 32,
                IpAddr::V6(_) => 128,
            };
            self.addresses.push(Address { index: interface.index, ip, length, ours: true });
        }
    }

    /// The subnet, and everything else through its router.
    fn way_out(&mut self, place: (u32, u32), index: u32, subnet: IpNet, router: IpAddr) {
        // The router is found through the subnet, so the subnet comes first.
        self.route(place, index, subnet, None);
        self.route(place, index, everything(router), Some(router));
    }

    /// In this table, with this metric.
    fn route(&mut self, (table, metric): (u32, u32), index: u32, destination: IpNet, gateway: Option<IpAddr>) {
        self.routes.push(Route { table, destination, gateway, index: Some(index), metric, ours: true });
    }

    /// A secondary interface's addresses have its table alone. What else comes from the primary interface's subnets is its
    /// own, and has three rules: between the routes of its table and that table's default route comes what the main table
    /// knows of others, such as a bridge to containers.
    fn rules(&mut self, layout: &Layout, interface: &Interface) {
        let table = interface.table;
        let rule = |&source: &IpNet, table, priority, without_default| Rule {
            source,
            table,
            priority,
            without_default,
            ours: true,
            plain: true,
        };
        if !interface.is_primary() {
            self.rules.extend(interface.sources.iter().map(|source| rule(source, table, table, false)));
        } else if !layout.has_one_interface() {
            let subnets: Vec<IpNet> = interface.subnets().map(|(subnet, _)| subnet).collect();
            let others =
                interface.sources.iter().filter(|source| !subnets.iter().any(|subnet| subnet.contains(*source)));
            for source in subnets.iter().chain(others) {
                self.rules.push(rule(source, table, PRIMARY, true));
                self.rules.push(rule(source, MAIN, PRIMARY + 1, true));
                self.rules.push(rule(source, table, PRIMARY + 2, false));
            }
        }
    }

    /// The rule that sends this source of the interface out.
    fn rule_of(&self, interface: &Interface, source: &IpNet) -> Option<&Rule> {
        let of_source = |rule: &&Rule| rule.table == interface.table && rule.source.contains(source);
        self.rules.iter().filter(of_source).find(|rule| !rule.without_default)
    }
}

/// The range of all addresses of this one's family.
fn everything(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
    }
}

/// Where the interface's way out leads: to the IPv6 router that made itself known on it, which EC2's does with its
/// link-local address; for the primary interface to the router in its subnet that the main table names; else to the VPC's.
fn router(state: &State, interface: &Interface, subnet: IpNet, vpc: IpAddr) -> IpAddr {
    let others = state.routes.iter().filter(|route| !route.ours && route.destination == everything(vpc));
    let others = others.filter(|route| route.index == Some(interface.index));
    let named = match vpc {
        IpAddr::V6(_) => others.filter_map(|route| route.gateway).find(is_link_local),
        IpAddr::V4(_) if interface.is_primary() => {
            let main = others.filter(|route| route.table == MAIN).min_by_key(|route| route.metric);
            main.and_then(|route| route.gateway).filter(|gateway| subnet.contains(gateway))
        }
        IpAddr::V4(_) => None,
    };
    named.unwrap_or(vpc)
}

/// The destinations that the main table may lead to through a secondary interface: the subnets of those interfaces, and
/// whatever else is routed there. The primary interface's addresses must not take such a route. Of the family of this subnet.
fn elsewhere(layout: &Layout, state: &State, primary: IpNet) -> BTreeSet<IpNet> {
    let is_wanted = |range: &IpNet| range.addr().is_ipv4() == primary.addr().is_ipv4() && !primary.contains(range);
    let secondary = || layout.interfaces.iter().filter(|interface| !interface.is_primary());
    let subnets: BTreeSet<IpNet> =
        secondary().flat_map(Interface::subnets).map(|(subnet, _)| subnet).filter(is_wanted).collect();
    let mut first: BTreeMap<IpNet, &Route> = BTreeMap::new();
    for route in state.routes.iter().filter(|route| route.table == MAIN && !route.ours) {
        let first = first.entry(route.destination).or_insert(route);
        // Of two with one metric, the kernel takes the one that it tells first.
        if route.metric < first.metric {
            *first = route;
        }
    }
    let routed = first.into_values().filter(|route| {
        is_wanted(&route.destination)
            && route.destination.prefix_len() > 0
            && !is_link_local(&route.destination.addr())
            && !subnets.iter().any(|subnet| subnet.contains(&route.destination))
            && secondary().any(|interface| route.index == Some(interface.index))
    });
    routed.map(|route| route.destination).chain(subnets.iter().copied()).collect()
}

/// Whether it is an IPv6 address that each link has for itself.
fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn name(state: &State, index: u32) -> String {
    let link = state.links.iter().find(|link| link.link.index == index);
    link.map_or_else(|| format!("interface {index}"), |link| link.link.name.clone())
}

#[cfg(test)]
mod tests;
