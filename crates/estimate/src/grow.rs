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
    /// Size of a host's root volume.
    pub volume_gib: u32,
    /// Whether its hosts must stay: only more of them are possible.
    pub keeps_hosts: bool,
    /// How many private addresses its hosts may have together, if their subnet is known.
    pub room: Option<u64>,
}

/// A change of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// The pool afterwards.
    pub pool: Pool,
    /// The keys that change, with their new values, such as `count: 6`.
    pub keys: Vec<String>,
    /// What it costs more for an hour: its instances, volumes and public addresses, as far as they have a price. Nothing where the
    /// instances have none.
    pub hourly: Option<Decimal>,
    /// Whether it needs more of something without a price.
    pub has_unpriced: bool,
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
/// connections, or a type that is larger in every way. Equal costs: the one with fewer changed keys, then with fewer addresses. One
/// without a price is the last choice. `None` if no change of one pool is enough.
pub fn growth(pools: &[Pool], needed: u64, workload: &Workload, prices: &Prices) -> Option<Growth> {
    let mut best: Option<(Growth, u32)> = None;
    for (at, pool) in pools.iter().enumerate() {
        let all_with = |one: &Pool| {
            let others = pools.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
            crate::held_by(others.chain([one]).map(|pool| (&pool.host, pool.count)), workload)
        };
        let missing = needed.saturating_sub(held(pools, workload).saturating_sub(of(pool, workload)));
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
            let addresses = after.host.interfaces.saturating_mul(after.host.addresses);
            let all = u64::from(addresses).saturating_mul(after.count.into());
            if virtual_users < needed || pool.room.is_some_and(|room| room < all) {
                continue;
            }
            let (hourly, has_unpriced) = more(pool, &after, prices);
            let growth = Growth { keys: changed(pool, &after), pool: after, hourly, has_unpriced, virtual_users };
            let rank = |(growth, addresses): &(Growth, u32)| {
                (growth.hourly.is_none(), growth.hourly, growth.keys.len(), *addresses)
            };
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
    // More are not always better: EC2 tracks those of the primary interface, which they are spread over with the others. They are
    // never worse as long as it has as many of them.
    let with = |public_addresses| Pool { host: Host { public_addresses, ..after.host.clone() }, ..after.clone() };
    let (least, most) = (before.host.public_addresses, after.host.public_addresses);
    let interfaces = after.host.interfaces.max(1);
    let groups = least.div_ceil(interfaces).max(1)..=most.div_ceil(interfaces);
    let group = groups.map(|group| (group - 1) * interfaces + 1..=(group * interfaces).min(most));
    let mut group = group.filter(|group| is_enough(&with(*group.end())));
    let fewest = group.next().map_or(most, |group| {
        let (mut least, mut most) = ((*group.start()).max(least), *group.end());
        while least < most {
            let middle = least.midpoint(most);
            if is_enough(&with(middle)) {
                most = middle;
            } else {
                least = middle + 1;
            }
        }
        most
    });
    after.host.public_addresses = fewest;
    after
}

/// What a pool costs more for an hour than before, and whether it needs more of something without a price.
fn more(before: &Pool, after: &Pool, prices: &Prices) -> (Option<Decimal>, bool) {
    let number = |count: u32, of_each: u32| Decimal::from(u64::from(count) * u64::from(of_each));
    let rest_of = |item, of: fn(&Pool) -> u32| {
        let more = number(after.count, of(after)) - number(before.count, of(before));
        let rate = prices.item(item).map(|rate| rate.amount);
        (rate.unwrap_or_default().saturating_mul(more), rate.is_none() && more > Decimal::ZERO)
    };
    let (volumes, no_volumes) = rest_of(Item::Gp3GbMonth, |pool| pool.volume_gib);
    let (addresses, no_addresses) = rest_of(Item::PublicIpv4Hour, |pool| pool.host.public_addresses);
    let rest = addresses.saturating_add(volumes / Decimal::from(Workload::HOURS_OF_A_MONTH));
    let has_unpriced = no_volumes || no_addresses;
    let hosts = |pool: &Pool| {
        let rate = prices.instance(pool.host.instance_type.name, pool.market)?;
        Some(rate.amount.saturating_mul(pool.count.into()))
    };
    let hosts = match (hosts(after), hosts(before)) {
        // The price of the type does not matter where the hosts stay.
        _ if after.count == before.count && after.host.instance_type == before.host.instance_type => {
            Some(Decimal::ZERO)
        }
        (Some(after), Some(before)) => Some(after.saturating_sub(before)),
        (Some(after), None) if before.count == 0 => Some(after),
        _ => None,
    };
    (hosts.map(|hosts| hosts.saturating_add(rest)), has_unpriced)
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
