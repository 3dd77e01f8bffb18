use super::*;
use crate::{
    imds::{self, Metadata},
    layout, netlink,
};

const PRIMARY_TABLE: u32 = 10_000;
const SECONDARY: u32 = 10_001;
const USER: Option<u32> = Some(1_001);

/// A primary interface and a secondary one with a prefix, in one subnet.
fn layout() -> Layout {
    let interface = |device: u8, prefixes: &[&str]| imds::Interface {
        mac: [2, 0, 0, 0, 0, device],
        card: 0,
        device: device.into(),
        subnet: "10.0.1.0/24".parse().unwrap(),
        addresses: vec![[10, 0, 1, 10 + device].into(), [10, 0, 1, 20 + device].into()],
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        public: Vec::new(),
        ipv6_subnets: vec!["2001:db8::/64".parse().unwrap()],
        ipv6_addresses: vec![format!("2001:db8::1{device}").parse().unwrap()],
        ipv6_prefixes: vec![],
    };
    let metadata = Metadata { interfaces: vec![interface(0, &[]), interface(1, &["10.0.1.32/28"])] };
    Layout::new(&metadata, &[link(1).identity, link(2).identity]).unwrap()
}

fn link(index: u32) -> netlink::Link {
    let mac = [2, 0, 0, 0, 0, u8::try_from(index).unwrap() - 1];
    netlink::Link { identity: layout::Link { index, name: format!("ens{index}"), mac }, up: true, works: true }
}

fn bare() -> State {
    State { links: vec![link(1), link(2)], ..State::default() }
}

/// The state of the kernel after these steps.
fn after(mut state: State, steps: &[Step]) -> State {
    for step in steps {
        match step {
            Step::Add(Object::Address(address)) => state.addresses.push(*address),
            Step::Add(Object::Rule(rule)) => state.rules.push(*rule),
            Step::Add(Object::Refusal(refusal)) => state.refusals.push(*refusal),
            Step::Add(Object::Route(route)) => state.routes.push(*route),
            Step::Remove(Object::Address(address)) => state.addresses.retain(|found| found != address),
            Step::Remove(Object::Rule(rule)) => state.rules.retain(|found| found != rule),
            Step::Remove(Object::Refusal(refusal)) => state.refusals.retain(|found| found != refusal),
            Step::Remove(Object::Route(route)) => state.routes.retain(|found| found != route),
            Step::Up(link) => {
                state.links.iter_mut().filter(|found| found.identity == *link).for_each(|found| found.up = true);
            }
            Step::Down(_) => panic!("nothing is set down"),
        }
    }
    state
}

fn whole() -> State {
    after(bare(), &plan(&layout(), 0, USER, &bare()).steps)
}

fn listed(steps: &[Step]) -> Vec<String> {
    let object = |sign: &str, object: &Object| match object.index() {
        Some(index) => format!("{sign}{object} {index}"),
        None => format!("{sign}{object}"),
    };
    let listed = |step: &Step| match step {
        Step::Add(added) => object("+", added),
        Step::Remove(removed) => object("-", removed),
        Step::Up(link) | Step::Down(link) => link.name.clone(),
    };
    steps.iter().map(listed).collect()
}

fn rule(source: &str, table: u32, priority: u32) -> Rule {
    Rule { source: source.parse().unwrap(), table, priority, without_default: false, ours: false, plain: true }
}

fn address(index: u32, text: &str, ours: bool) -> Address {
    let net: IpNet = text.parse().unwrap();
    Address { index, ip: net.addr(), length: net.prefix_len(), ours, usable: true }
}

fn default(table: u32, gateway: &str, index: u32, metric: u32) -> Route {
    let gateway: IpAddr = gateway.parse().unwrap();
    let destination = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    Route {
        table,
        destination: destination.parse().unwrap(),
        gateway: Some(gateway),
        index: Some(index),
        metric,
        ours: false,
    }
}

#[test]
fn a_bare_host_gets_everything_once() {
    let steps = plan(&layout(), 0, USER, &bare()).steps;
    let listed = listed(&steps);
    let (refusals, listed) = listed.split_at(2);
    assert!(refusals.iter().all(|step| step.starts_with("+rule to ") && step.contains(" prohibit ")), "{refusals:?}");
    assert_eq!(listed.iter().filter(|step| step.starts_with("+address")).count(), 3 + 3 + 16);
    assert_eq!(&listed[..2], ["+address 10.0.1.10/24 1", "+address 10.0.1.20/32 1"]);
    let rest: Vec<_> = listed.iter().filter(|step| !step.starts_with("+address")).map(String::as_str).collect();
    let expected = [
        "+route 10.0.1.0/24 in the main table 1",
        "+route default via 10.0.1.1 in the main table 1",
        "+route 10.0.1.0/24 in table 10000 1",
        "+route default via 10.0.1.1 in table 10000 1",
        "+route 2001:db8::/64 in the main table 1",
        "+route default via 2001:db8::1 in the main table 1",
        "+route 2001:db8::/64 in table 10000 1",
        "+route default via 2001:db8::1 in table 10000 1",
        "+route 10.0.1.0/24 in table 10001 2",
        "+route default via 10.0.1.1 in table 10001 2",
        "+route 2001:db8::/64 in table 10001 2",
        "+route default via 2001:db8::1 in table 10001 2",
        "+rule from 10.0.1.0/24 lookup 10000 without its default route of priority 20000",
        "+rule from 10.0.1.0/24 lookup 254 without its default route of priority 20001",
        "+rule from 10.0.1.0/24 lookup 10000 of priority 20002",
        "+rule from 2001:db8::/64 lookup 10000 without its default route of priority 20000",
        "+rule from 2001:db8::/64 lookup 254 without its default route of priority 20001",
        "+rule from 2001:db8::/64 lookup 10000 of priority 20002",
        "+rule from 0.0.0.0/32 lookup 10000 without its default route of priority 20000",
        "+rule from 0.0.0.0/32 lookup 254 without its default route of priority 20001",
        "+rule from 0.0.0.0/32 lookup 10000 of priority 20002",
        "+rule from 10.0.1.11/32 lookup 10001 of priority 10001",
        "+rule from 10.0.1.21/32 lookup 10001 of priority 10001",
        "+rule from 2001:db8::11/128 lookup 10001 of priority 10001",
        "+rule from 10.0.1.32/28 lookup 10001 of priority 10001",
    ];
    assert_eq!(rest, expected);
    assert_eq!(plan(&layout(), 0, USER, &whole()), Plan::default());
}

#[test]
fn links_go_up_first() {
    let mut state = bare();
    state.links[1].up = false;
    assert_eq!(listed(&plan(&layout(), 0, USER, &state).steps)[0], "ens2");
}

#[test]
fn right_objects_stay_ours_and_foreign() {
    let mut state = whole();
    for address in &mut state.addresses {
        address.ours = false;
        address.length = address.length.min(25);
    }
    state.rules.iter_mut().for_each(|rule| rule.ours = false);
    state.routes.iter_mut().for_each(|route| {
        route.ours = false;
        route.metric = 512;
    });
    assert_eq!(plan(&layout(), 0, USER, &state), Plan::default());
}

#[test]
fn our_wrong_objects_are_replaced() {
    let mut state = whole();
    let route = state.routes.iter_mut().find(|route| route.table == SECONDARY && route.gateway.is_some()).unwrap();
    route.gateway = Some("10.0.1.254".parse().unwrap());
    state.rules.iter_mut().find(|rule| rule.source.to_string() == "10.0.1.11/32").unwrap().table = 10_007;
    state.addresses.iter_mut().find(|address| address.ip.to_string() == "10.0.1.21").unwrap().index = 1;
    let steps = plan(&layout(), 1_000, USER, &state).steps;
    let expected = [
        "-route default via 10.0.1.254 in table 10001 2",
        "+address 10.0.1.21/32 2",
        "+route default via 10.0.1.1 in table 10001 2",
        "+rule from 10.0.1.11/32 lookup 10001 of priority 10001",
        "-address 10.0.1.21/32 1",
        "-rule from 10.0.1.11/32 lookup 10007 of priority 10001",
    ];
    assert_eq!(listed(&steps), expected);
    assert_eq!(plan(&layout(), 0, USER, &after(state, &steps)), Plan::default());
}

#[test]
fn addresses_that_are_gone_are_removed_only_if_the_promise_holds() {
    let mut smaller = layout();
    smaller.interfaces[1].addresses.retain(|address| address.to_string() != "10.0.1.21");
    smaller.interfaces[1].sources.retain(|source| source.to_string() != "10.0.1.21/32");
    let lost = ["rule from 10.0.1.21/32 lookup 10001 of priority 10001", "address 10.0.1.21/32"];
    let all = smaller.addresses().filter(IpAddr::is_ipv4).count() as u64;
    let Plan { steps, kept, .. } = plan(&smaller, all, USER, &whole());
    assert_eq!(listed(&steps), [format!("-{}", lost[0]), format!("-{} 2", lost[1])]);
    assert_eq!(kept, []);
    let Plan { steps, kept, .. } = plan(&smaller, all + 1, USER, &whole());
    assert_eq!(steps, []);
    let mut kept: Vec<_> = kept.iter().map(ToString::to_string).collect();
    kept.sort();
    assert_eq!(kept, [lost[1], lost[0]]);
}

#[test]
fn everything_of_a_gone_interface_is_removed() {
    let mut smaller = layout();
    smaller.interfaces.truncate(1);
    let steps = plan(&smaller, 2, USER, &whole()).steps;
    let state = after(whole(), &steps);
    assert!(state.rules.iter().all(|rule| [PRIMARY_TABLE, MAIN].contains(&rule.table)));
    assert!(state.addresses.iter().all(|address| address.index == 1));
    assert!(state.routes.iter().all(|route| [PRIMARY_TABLE, MAIN].contains(&route.table) && route.index == Some(1)));
    assert_eq!(plan(&smaller, 3, USER, &whole()).steps, []);
}

#[test]
fn foreign_objects_stay() {
    let mut state = whole();
    state.addresses.push(address(2, "192.168.7.7/24", false));
    state.rules.push(rule("192.168.7.7/32", 77, 100));
    state.rules.push(rule("0.0.0.0/0", 77, 100));
    state.rules.push(rule("0.0.0.0/0", MAIN, 32_766));
    state.rules.push(Rule { plain: false, ..rule("0.0.0.0/0", MAIN, 5) });
    state.rules.push(Rule { without_default: true, ..rule("0.0.0.0/0", MAIN, 32_764) });
    state.routes.push(default(77, "192.168.7.1", 2, 0));
    state.routes.push(default(MAIN, "10.0.1.1", 1, 512));
    assert_eq!(plan(&layout(), 0, USER, &state), Plan::default());
    let steps = undo(&state);
    let left = after(state, &steps);
    assert_eq!((left.addresses.len(), left.rules.len(), left.routes.len()), (1, 5, 2));
}

#[test]
fn foreign_objects_that_prevent_the_layout_are_problems() {
    let mut state = whole();
    state.rules.push(rule("10.0.1.11/32", 77, 100));
    state.rules.push(rule("10.0.0.0/8", MAIN, 10_001));
    state.rules.push(rule("10.0.1.21/32", 77, 10_002));
    state.rules.push(Rule { without_default: true, ..rule("10.0.1.20/32", MAIN, 200) });
    state.addresses.push(address(1, "10.0.1.21/24", false));
    state.routes.push(default(SECONDARY, "10.0.1.99", 2, 0));
    let Plan { steps, problems, .. } = plan(&layout(), 0, USER, &state);
    assert_eq!(steps, []);
    let has = |text: &str| problems.iter().filter(|problem| problem.contains(text)).count();
    assert_eq!(has("rule from 10.0.1.11/32 lookup 77 of priority 100 takes precedence over"), 1);
    assert_eq!(has("rule from 10.0.0.0/8"), 4);
    assert_eq!(has("address 10.0.1.21/24 is on ens1"), 1);
    assert_eq!(has("via 10.0.1.99"), 1);
    assert_eq!(has("lookup 254 without its default route of priority 200 takes precedence over"), 1);
    assert_eq!(problems.len(), 8);
}

#[test]
fn the_router_that_advertised_itself_is_used() {
    let mut state = bare();
    state.routes.push(default(MAIN, "fe80::1", 2, 1_024));
    let steps = plan(&layout(), 0, USER, &state).steps;
    assert!(listed(&steps).contains(&"+route default via fe80::1 in table 10001 2".to_owned()));
    let state = after(state, &steps);
    assert_eq!(plan(&layout(), 0, USER, &state), Plan::default());
}

fn connected(destination: &str, index: u32, metric: u32) -> Route {
    let destination = destination.parse().unwrap();
    Route { table: MAIN, destination, gateway: None, index: Some(index), metric, ours: false }
}

/// The routes in the table of the primary interface.
fn of_primary(state: &State) -> Vec<String> {
    let routes = plan(&layout(), 0, USER, state).steps.into_iter().filter_map(|step| match step {
        Step::Add(Object::Route(route)) if route.table == PRIMARY_TABLE => Some(route.to_string()),
        _ => None,
    });
    routes.collect()
}

#[test]
fn the_primary_interface_uses_its_own_table_whatever_the_main_table_has() {
    let mut state = bare();
    state.routes.extend([
        connected("10.0.1.0/24", 2, 522),
        connected("10.0.1.1/32", 2, 522),
        connected("10.0.0.0/16", 2, 522),
        connected("198.18.0.0/24", 2, 522),
        // The route of the primary interface has the lower metric there, or the other route.
        connected("198.18.1.0/24", 2, 522),
        connected("198.18.1.0/24", 1, 512),
        connected("198.18.2.0/24", 1, 512),
        connected("172.17.0.0/16", 7, 0),
        connected("198.18.3.0/24", 2, 5),
        connected("198.18.3.0/24", 7, 0),
        connected("2001:db8:1::/48", 2, 1_024),
        connected("fe80::/64", 2, 256),
        default(MAIN, "10.0.1.1", 2, 522),
    ]);
    let expected = [
        "route 10.0.1.0/24 in table 10000",
        "route default via 10.0.1.1 in table 10000",
        "route 10.0.0.0/16 via 10.0.1.1 in table 10000",
        "route 198.18.0.0/24 via 10.0.1.1 in table 10000",
        "route 2001:db8::/64 in table 10000",
        "route default via 2001:db8::1 in table 10000",
        "route 2001:db8:1::/48 via 2001:db8::1 in table 10000",
    ];
    assert_eq!(of_primary(&state), expected);
    let state = after(state.clone(), &plan(&layout(), 0, USER, &state).steps);
    assert_eq!(plan(&layout(), 0, USER, &state), Plan::default());
}

#[test]
fn the_primary_interface_uses_the_router_of_the_main_table() {
    let expected = |router: &str| format!("route default via {router} in table 10000");
    let mut state = bare();
    state.routes.push(default(MAIN, "10.0.1.77", 1, 512));
    state.routes.push(default(MAIN, "10.0.1.88", 1, 600));
    assert!(of_primary(&state).contains(&expected("10.0.1.77")));
    // A router outside of its subnet is not used, and another one in it not beside the VPC's.
    state.routes.push(default(MAIN, "10.9.9.9", 1, 0));
    assert!(of_primary(&state).contains(&expected("10.0.1.77")));
    state.routes.push(default(MAIN, "10.0.1.1", 1, 700));
    assert!(of_primary(&state).contains(&expected("10.0.1.1")));
    let only = State { routes: vec![default(MAIN, "10.9.9.9", 1, 0)], ..bare() };
    assert!(of_primary(&only).contains(&expected("10.0.1.1")));
}

#[test]
fn a_route_in_the_place_of_ours_is_one_problem() {
    let mut state = whole();
    let ours = state.routes.iter_mut().find(|route| route.table == PRIMARY_TABLE && route.gateway.is_none()).unwrap();
    (ours.index, ours.ours) = (Some(2), false);
    let Plan { steps, problems, .. } = plan(&layout(), 0, USER, &state);
    assert_eq!(steps, []);
    assert_eq!(problems.len(), 1);
}

#[test]
fn undo_removes_the_first_rule_of_a_source_last() {
    let steps = listed(&undo(&whole()));
    let place = |rule: &str| steps.iter().position(|step| step.contains(rule)).unwrap();
    assert!(place("from 10.0.1.0/24 lookup 10000 of priority 20002") < place("from 10.0.1.0/24 lookup 254"));
    assert!(place("from 10.0.1.0/24 lookup 254") < place("from 10.0.1.0/24 lookup 10000 without"));
}

#[test]
fn the_user_is_refused_the_metadata_service() {
    let (layout, state) = (layout(), whole());
    let refused =
        |state: &State| -> Vec<_> { state.refusals.iter().map(|it| (it.destination.to_string(), it.uid)).collect() };
    let both = |uid| vec![("169.254.169.254".to_owned(), uid), ("fd00:ec2::254".to_owned(), uid)];
    assert_eq!(refused(&state), both(1_001));
    // Another user, and none.
    let other = after(state.clone(), &plan(&layout, 0, Some(7), &state).steps);
    assert_eq!(refused(&other), both(7));
    assert_eq!(refused(&after(state.clone(), &plan(&layout, 0, None, &state).steps)), []);
    // A rule of somebody else stays beside ours.
    let mut foreign = state.clone();
    foreign.refusals.push(Refusal { priority: 5, ours: false, ..foreign.refusals[0] });
    assert_eq!(plan(&layout, 0, USER, &foreign), Plan::default());
    assert_eq!(after(foreign.clone(), &undo(&foreign)).refusals.len(), 1);
}
