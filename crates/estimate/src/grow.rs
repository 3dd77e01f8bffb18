//! The cheapest change of one pool with which a stack holds more virtual users.

use rust_decimal::Decimal;
use trunnion_catalog::{InstanceType, instance_types, prices::Item};
use trunnion_host::{Mode, Route, Tracking};

use crate::{Host, Market, Prices, Workload};

/// A pool of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// One of its hosts.
    pub host: Host,
    /// How many hosts it has.
    pub count: u32,
    /// How they are paid.
    pub market: Market,
    /// Whether its hosts must stay: only more of them are possible.
    pub keeps_hosts: bool,
}

/// A change of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// The pool afterwards.
    pub pool: Pool,
    /// The keys that change, with their new values, such as `count: 6`.
    pub keys: Vec<String>,
    /// What it costs more for an hour: its instances and public addresses.
    pub hourly: Decimal,
    /// How many virtual users all pools hold then.
    pub virtual_users: u64,
}

/// The most hosts of a pool.
const MOST_HOSTS: u32 = 1_000;

/// How many virtual users all pools hold.
pub fn held(pools: &[Pool], workload: &Workload) -> u64 {
    crate::held_by(pools.iter().map(|pool| (&pool.host, pool.count)), workload)
}

fn of(pool: &Pool, workload: &Workload) -> u64 {
    pool.host.capacity(pool.count, workload, None).virtual_users
}

/// The cheapest change of one pool with which all hold this many users: more hosts, more addresses, also public ones, untracked
/// connections, or a type that is larger in every way. Equal costs: the one with fewer changed keys, then with fewer addresses. `None` if no change of
/// one pool is enough, or none has a price.
pub fn growth(pools: &[Pool], needed: u64, workload: &Workload, prices: &Prices) -> Option<Growth> {
    let mut best: Option<(Growth, u32)> = None;
    for (at, pool) in pools.iter().enumerate() {
        let all_with = |one: &Pool| {
            let others = pools.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
            crate::held_by(others.chain([one]).map(|pool| (&pool.host, pool.count)), workload)
        };
        let missing = needed.saturating_sub(held(pools, workload).saturating_sub(of(pool, workload)));
        let before = cost(pool, prices);
        let kinds = instance_types().filter(|kind| {
            kind.name == pool.host.instance_type.name
                || !pool.keeps_hosts
                    && is_larger(kind, pool.host.instance_type)
                    && prices.instance(kind.name, pool.market).is_some()
        });
        let hosts = kinds.flat_map(|kind| variants(&pool.host, kind));
        for host in hosts.filter(|host| !pool.keeps_hosts || *host == pool.host) {
            let Some(after) = with(pool, host, missing, workload) else { continue };
            let virtual_users = all_with(&after);
            let hourly = match (cost(&after, prices), before) {
                _ if virtual_users < needed => continue,
                (Some(after), Some(before)) => after.saturating_sub(before),
                // The price of the type does not matter where the hosts stay.
                _ if after.count == pool.count && after.host.instance_type == pool.host.instance_type => Decimal::ZERO,
                _ => continue,
            };
            let addresses = after.host.interfaces.saturating_mul(after.host.addresses);
            let growth = Growth { keys: changed(pool, &after), pool: after, hourly, virtual_users };
            let rank = |(growth, addresses): &(Growth, u32)| (growth.hourly, growth.keys.len(), *addresses);
            let found = (growth, addresses);
            if best.as_ref().is_none_or(|best| rank(&found) < rank(best)) {
                best = Some(found);
            }
        }
    }
    best.map(|(growth, _)| growth)
}

/// Whether a type can take the place of another one: somebody chose that for what it has.
fn is_larger(kind: &InstanceType, than: &InstanceType) -> bool {
    kind.architecture == than.architecture
        && kind.vcpu >= than.vcpu
        && kind.memory_mib >= than.memory_mib
        && kind.baseline_mbps >= than.baseline_mbps
}

/// The hosts that a pool could have with this type: as it is, with all addresses, and with all of them untracked.
fn variants(host: &Host, kind: &'static InstanceType) -> Vec<Host> {
    let fits = kind.fits(host.interfaces, host.addresses);
    let same = fits.then(|| Host { instance_type: kind, ..host.clone() });
    let wide = Host {
        instance_type: kind,
        interfaces: kind.max_interfaces(),
        addresses: kind.ipv4_per_interface,
        ..host.clone()
    };
    let untracked = (kind.max_interfaces() > 1 && host.mode != Mode::Off)
        .then(|| Host { tracking: Tracking::Untracked, ..wide.clone() });
    let same_untracked = (fits && host.interfaces > 1 && host.mode != Mode::Off).then(|| Host {
        instance_type: kind,
        tracking: Tracking::Untracked,
        ..host.clone()
    });
    let more_addresses = (kind.max_interfaces() >= host.interfaces && kind.ipv4_per_interface > host.addresses)
        .then(|| Host { instance_type: kind, addresses: kind.ipv4_per_interface, ..host.clone() });
    let with_public = |host: &Host| {
        // What a subnet gives to a host with one interface is one address.
        let can = host.route == Route::InternetGateway && host.public_addresses > 0 && host.interfaces > 1;
        can.then(|| Host { public_addresses: host.interfaces.saturating_mul(host.addresses), ..host.clone() })
    };
    let all: Vec<Host> =
        same.into_iter().chain(more_addresses).chain(same_untracked).chain([wide]).chain(untracked).collect();
    let public: Vec<Host> = all.iter().filter_map(with_public).collect();
    all.into_iter().chain(public).collect()
}

/// The pool with this host and as many hosts as it needs; never fewer of the same type than before.
fn with(pool: &Pool, host: Host, missing: u64, workload: &Workload) -> Option<Pool> {
    let one = host.capacity(1, workload, None).virtual_users;
    let needed = u32::try_from(missing.div_ceil(one.max(1))).ok().filter(|_| one > 0)?;
    let least = if host.instance_type == pool.host.instance_type { pool.count } else { 1 };
    let after = Pool { host, count: needed.max(least), ..pool.clone() };
    (after.count <= MOST_HOSTS && of(&after, workload) >= missing).then(|| narrowed(pool, after, missing, workload))
}

/// The pool with the fewest interfaces, then the fewest addresses, then the fewest public ones, that are enough; not fewer than
/// before.
fn narrowed(before: &Pool, mut after: Pool, missing: u64, workload: &Workload) -> Pool {
    let is_enough = |pool: &Pool| of(pool, workload) >= missing;
    // A public address is on a private one.
    let narrower = |of: &Host, interfaces: u32, addresses: u32| Host {
        interfaces,
        addresses,
        public_addresses: of.public_addresses.min(interfaces.saturating_mul(addresses)),
        ..of.clone()
    };
    for interfaces in before.host.interfaces..after.host.interfaces {
        let narrow = Pool { host: narrower(&after.host, interfaces, after.host.addresses), ..after.clone() };
        if (interfaces > 1 || after.host.tracking == Tracking::Tracked) && is_enough(&narrow) {
            after = narrow;
            break;
        }
    }
    for addresses in before.host.addresses..after.host.addresses {
        let narrow = Pool { host: narrower(&after.host, after.host.interfaces, addresses), ..after.clone() };
        if is_enough(&narrow) {
            after = narrow;
            break;
        }
    }
    // Many of them are possible, and more are never less.
    let (mut least, mut most) = (before.host.public_addresses, after.host.public_addresses);
    while least < most {
        let public_addresses = least.midpoint(most);
        if is_enough(&Pool { host: Host { public_addresses, ..after.host.clone() }, ..after.clone() }) {
            most = public_addresses;
        } else {
            least = public_addresses + 1;
        }
    }
    after.host.public_addresses = most;
    after
}

fn cost(pool: &Pool, prices: &Prices) -> Option<Decimal> {
    let host = prices.instance(pool.host.instance_type.name, pool.market)?.amount;
    // Without a price, only the hosts are compared.
    let address = prices.item(Item::PublicIpv4Hour).map(|rate| rate.amount).unwrap_or_default();
    let addresses = address.checked_mul(pool.host.public_addresses.into())?;
    host.checked_add(addresses)?.checked_mul(pool.count.into())
}

fn changed(before: &Pool, after: &Pool) -> Vec<String> {
    let mut keys = Vec::new();
    let (old, new) = (&before.host, &after.host);
    if old.instance_type != new.instance_type {
        keys.push(format!("instance_type: {}", new.instance_type.name));
    }
    for (key, old, new) in [
        ("count", before.count, after.count),
        ("interfaces", old.interfaces, new.interfaces),
        ("addresses", old.addresses, new.addresses),
        ("public_addresses", old.public_addresses, new.public_addresses),
    ] {
        if old != new {
            keys.push(format!("{key}: {new}"));
        }
    }
    // EC2 gives a host with several interfaces no public address.
    if old.interfaces == 1 && new.interfaces > 1 && new.route == Route::InternetGateway {
        keys.push("public_ip: true".to_owned());
    }
    if old.tracking != new.tracking {
        keys.push(format!("tracking: {}", new.tracking));
    }
    keys
}
