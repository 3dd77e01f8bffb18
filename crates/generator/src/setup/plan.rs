//! Plans the changes that make the kernel's network match the layout. Pure: from the layout and the state of the kernel.
//!
//! An object is ours if it carries our protocol number, and foreign otherwise.
//!
//! | | ours | foreign |
//! |---|---|---|
//! | right | stays | stays |
//! | wrong | is replaced | stays, and is reported as a problem |
//!
//! Beside the layout, rules refuse connections of the SSH user to the metadata service.
//!
//! Our objects that the layout no longer has are removed only if the remaining addresses still hold the promise: metadata
//! that leaves out an address by mistake must not remove it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    imds,
    layout::{Interface, Layout},
    netlink::{Address, MAIN, Object, Refusal, Route, Rule, State, Step},
};

/// The metric of our routes in the main table. Routes of DHCP and router advertisements have lower ones and come first.
const FALLBACK: u32 = 20_000;
/// The metrics in our own tables. For IPv6, it is the kernel's default.
const METRIC_V4: u32 = 0;
const METRIC_V6: u32 = 1_024;

/// The first of three priorities of the primary interface's rules. They come after the rules of the secondary interfaces,
/// whose addresses can be in the primary interface's subnet.
const PRIMARY: u32 = 20_000;

/// The priority of the rules that refuse connections: before every other rule but that of local addresses.
const REFUSALS: u32 = 1;

/// The source of a lookup for an IPv4 socket that is not bound to an address. IPv6 rules with a source never match one.
const UNBOUND: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 32);

/// The kernel's table of local addresses.
const LOCAL: u32 = 255;

/// The changes, and what prevents others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// In an order in which each step is possible and keeps connections working.
    pub(super) steps: Vec<Step>,
    /// Objects of ours that the layout no longer has, but the promise needs.
    pub(super) kept: Vec<Object>,
    /// Foreign objects that prevent the layout.
    pub(super) problems: Vec<String>,
}

/// All objects of the layout, marked as ours.
#[derive(Debug, Default)]
struct Wanted {
    addresses: Vec<Address>,
    rules: Vec<Rule>,
    routes: Vec<Route>,
}

/// Plans the changes. `promised` is the number of IPv4 addresses that the host was promised, `refused` the user that must not
/// reach the metadata service.
pub(super) fn plan(layout: &Layout, promised: u64, refused: Option<u32>, state: &State) -> Plan {
    let wanted = Wanted::new(layout, state);
    let holds = layout.addresses().filter(IpAddr::is_ipv4).count() as u64 >= promised;
    let mut plan = Plan::default();
    let mut corrections = Vec::new();
    let mut lost = Vec::new();

    let links = state.links.iter().filter(|link| !link.up);
    let links = links.filter(|link| layout.interfaces.iter().any(|interface| interface.index == link.identity.index));
    plan.steps.extend(links.map(|link| Step::Up(link.identity.clone())));

    plan.refusals(refused, state);
    // Wrong routes are removed first: they can occupy the place of the right ones.
    for route in state.routes.iter().filter(|route| route.ours && !wanted.routes.contains(route)) {
        let has_table = layout.interfaces.iter().any(|interface| interface.table == route.table);
        if route.table == MAIN || has_table {
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
        // Rules before the routes of their tables, and both before the addresses.
        lost.sort_by_key(|object| match object {
            Object::Rule(_) | Object::Refusal(_) => 0,
            Object::Route(_) => 1,
            Object::Address(_) => 2,
        });
        plan.steps.extend(lost.into_iter().map(Step::Remove));
    } else {
        plan.kept = lost;
    }
    plan
}

/// The steps that remove all objects of ours. Rules are removed in reverse order: the last rule of a source needs the rules
/// before it.
pub(super) fn undo(state: &State) -> Vec<Step> {
    let rules = state.rules.iter().rev().filter(|rule| rule.ours).map(|rule| Object::Rule(*rule));
    let routes = state.routes.iter().filter(|route| route.ours).map(|route| Object::Route(*route));
    let addresses = state.addresses.iter().filter(|address| address.ours).map(|address| Object::Address(*address));
    let refusals = state.refusals.iter().filter(|refusal| refusal.ours).map(|refusal| Object::Refusal(*refusal));
    rules.chain(refusals).chain(routes).chain(addresses).map(Step::Remove).collect()
}

impl Plan {
    fn refusals(&mut self, refused: Option<u32>, state: &State) {
        let refusal =
            |uid| imds::ADDRESSES.map(|destination| Refusal { destination, uid, priority: REFUSALS, ours: true });
        let wanted: Vec<Refusal> = refused.into_iter().flat_map(refusal).collect();
        let missing = wanted.iter().filter(|refusal| !state.refusals.contains(refusal));
        self.steps.extend(missing.map(|refusal| Step::Add(Object::Refusal(*refusal))));
        let wrong = state.refusals.iter().filter(|refusal| refusal.ours && !wanted.contains(refusal));
        self.steps.extend(wrong.map(|refusal| Step::Remove(Object::Refusal(*refusal))));
    }

    fn addresses(&mut self, wanted: &Wanted, state: &State, corrections: &mut Vec<Step>, lost: &mut Vec<Object>) {
        let mut found: HashMap<IpAddr, Vec<&Address>> = HashMap::new();
        for address in &state.addresses {
            found.entry(address.ip).or_default().push(address);
        }
        let mut expected = HashMap::new();
        for address in &wanted.addresses {
            expected.insert(address.ip, address);
            let found = found.get(&address.ip).map_or(&[][..], Vec::as_slice);
            // A foreign address, such as that of DHCP, is right with any prefix length.
            if !found.iter().any(|found| found.index == address.index && (!found.ours || found.is(address))) {
                self.steps.push(Step::Add(Object::Address(*address)));
            }
            for elsewhere in found.iter().filter(|found| !found.ours && found.index != address.index) {
                self.problems.push(format!(
                    "{elsewhere} is on {}, but the metadata has it on another interface: remove it from {0}",
                    name(state, elsewhere.index)
                ));
            }
        }
        for address in state.addresses.iter().filter(|address| address.ours) {
            match expected.get(&address.ip) {
                Some(expected) if address.is(expected) => {}
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
                    // Any default route of the main table will do.
                    return true;
                }
                found.index == route.index && found.gateway == route.gateway
            };
            let others = || state.routes.iter().filter(here).filter(|found| !found.ours);
            let best = others().filter(|found| right(found)).map(|found| found.metric).min();
            let ours = state.routes.contains(route);
            // The kernel refuses a second route with the same destination and metric.
            let has_place = !others().any(|found| found.metric == route.metric);
            if best.is_none() && !ours && has_place {
                self.steps.push(Step::Add(Object::Route(*route)));
            }
            if route.table != MAIN {
                let metric = if ours { route.metric } else { best.unwrap_or(route.metric) };
                for wrong in others().filter(|found| !right(found) && found.metric <= metric) {
                    let wrong = format!("{wrong} takes precedence over {route} and leads elsewhere: remove it");
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
        // A rule for all sources whose table has no matching route does not matter; the main table matches everything.
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
                let problem = format!("{found} takes precedence over {rule}: remove it");
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
            }
        }
        let addresses: Vec<IpAddr> = layout.addresses().collect();
        for rule in state.rules.iter().rev().filter(|rule| rule.ours && !expected.contains(&key(rule))) {
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
            wanted.addresses(interface);
            for (subnet, gateway) in interface.subnets() {
                let router = router(state, interface, subnet, gateway);
                if interface.is_primary() {
                    wanted.way_out((MAIN, FALLBACK), interface.index, subnet, router);
                }
                let metric = if subnet.addr().is_ipv4() { METRIC_V4 } else { METRIC_V6 };
                wanted.way_out((interface.table, metric), interface.index, subnet, router);
                if interface.is_primary() {
                    for destination in elsewhere(layout, state, subnet) {
                        wanted.route((interface.table, metric), interface.index, destination, Some(router));
                    }
                }
            }
            wanted.rules(interface);
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
            self.addresses.push(Address { index: interface.index, ip, length, ours: true, usable: true });
        }
    }

    /// Adds a route to the subnet, and a default route through its router.
    fn way_out(&mut self, place: (u32, u32), index: u32, subnet: IpNet, router: IpAddr) {
        // The kernel accepts the router only once there is a route to it.
        self.route(place, index, subnet, None);
        self.route(place, index, everything(router), Some(router));
    }

    /// Adds a route to this table, with this metric.
    fn route(&mut self, (table, metric): (u32, u32), index: u32, destination: IpNet, gateway: Option<IpAddr>) {
        self.routes.push(Route { table, destination, gateway, index: Some(index), metric, ours: true });
    }

    /// Adds the rules of one interface.
    ///
    /// Addresses of a secondary interface use the interface's table alone. All other addresses of the primary interface's
    /// subnets belong to the primary interface, and so do connections that bind no address. They have three rules: the
    /// routes of its table except the default route, the main table except its default route (such as a bridge to
    /// containers), and the default route of its table. So no other default route of the main table affects them.
    fn rules(&mut self, interface: &Interface) {
        let table = interface.table;
        let rule = |&source: &IpNet, table, priority, without_default| Rule {
            source,
            table,
            priority,
            without_default,
            ours: true,
            plain: true,
        };
        if interface.is_primary() {
            let subnets: Vec<IpNet> = interface.subnets().map(|(subnet, _)| subnet).collect();
            let others =
                interface.sources.iter().filter(|source| !subnets.iter().any(|subnet| subnet.contains(*source)));
            for source in subnets.iter().chain(others).chain(&[UNBOUND.into()]) {
                self.rules.push(rule(source, table, PRIMARY, true));
                self.rules.push(rule(source, MAIN, PRIMARY + 1, true));
                self.rules.push(rule(source, table, PRIMARY + 2, false));
            }
        } else {
            self.rules.extend(interface.sources.iter().map(|source| rule(source, table, table, false)));
        }
    }

    /// The rule that decides the default route of this source.
    fn rule_of(&self, interface: &Interface, source: &IpNet) -> Option<&Rule> {
        let of_source = |rule: &&Rule| rule.table == interface.table && rule.source.contains(source);
        self.rules.iter().filter(of_source).find(|rule| !rule.without_default)
    }
}

/// The range of all addresses of the same family.
fn everything(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
    }
}

/// The router of the interface's default route. For IPv6, the one that advertised itself with its link-local address, as EC2's
/// does. Otherwise the VPC's. If the main table's default routes through the primary interface lead to other routers of the
/// subnet only, the first of those.
fn router(state: &State, interface: &Interface, subnet: IpNet, vpc: IpAddr) -> IpAddr {
    let others = state.routes.iter().filter(|route| !route.ours && route.destination == everything(vpc));
    let others = others.filter(|route| route.index == Some(interface.index));
    let named = match vpc {
        IpAddr::V6(_) => others.filter_map(|route| route.gateway).find(is_link_local),
        IpAddr::V4(_) if interface.is_primary() => {
            let main =
                others.filter(|route| route.table == MAIN && route.gateway.is_some_and(|it| subnet.contains(&it)));
            main.min_by_key(|route| (route.gateway != Some(vpc), route.metric)).and_then(|route| route.gateway)
        }
        IpAddr::V4(_) => None,
    };
    named.unwrap_or(vpc)
}

/// The destinations that the main table can route through a secondary interface: the subnets of those interfaces, and other
/// ranges. The primary interface's addresses must not take such a route. Only those of the family of `primary`.
fn elsewhere(layout: &Layout, state: &State, primary: IpNet) -> BTreeSet<IpNet> {
    let is_wanted = |range: &IpNet| range.addr().is_ipv4() == primary.addr().is_ipv4() && !primary.contains(range);
    let secondary = || layout.interfaces.iter().filter(|interface| !interface.is_primary());
    let subnets: BTreeSet<IpNet> =
        secondary().flat_map(Interface::subnets).map(|(subnet, _)| subnet).filter(is_wanted).collect();
    let mut first: BTreeMap<IpNet, &Route> = BTreeMap::new();
    for route in state.routes.iter().filter(|route| route.table == MAIN && !route.ours) {
        let first = first.entry(route.destination).or_insert(route);
        // Of two routes with the same metric, the kernel uses the one that it lists first.
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

/// Whether it is a link-local IPv6 address.
fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn name(state: &State, index: u32) -> String {
    let link = state.links.iter().find(|link| link.identity.index == index);
    link.map_or_else(|| format!("interface {index}"), |link| link.identity.name.clone())
}

#[cfg(test)]
mod tests;
