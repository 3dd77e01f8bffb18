//! The cheapest pool that holds a workload: every type of the catalog, every number of hosts.

use rust_decimal::Decimal;
use trunnion_catalog::{Architecture, InstanceType, instance_types, prices::Item};
use trunnion_host::{Mode, Ports, Route, Tracking};

use crate::{Host, Limit, Prices, Workload, managed::CREDITS_PER_HOUR, prices::Market};

/// What a pool must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraints {
    /// At least this many hosts, such as one in each of several zones.
    pub least_hosts: u32,
    /// At most this many hosts.
    pub most_hosts: u32,
    /// Only types of this architecture.
    pub architecture: Option<Architecture>,
    /// How the hosts are paid.
    pub market: Market,
    /// Whether one host may fail: the others still hold the workload.
    pub one_may_fail: bool,
    /// Whether EC2 tracks connections.
    pub tracking: Tracking,
    /// Where the default route of the subnet leads.
    pub route: Route,
    /// Size of the root volume.
    pub volume_gib: u32,
    /// Only types whose name begins with one of these; all without any.
    pub families: Vec<String>,
    /// Who picks the source addresses.
    pub mode: Mode,
    /// Local ports of each address for outgoing connections.
    pub ports: u64,
}

impl Default for Constraints {
    fn default() -> Self {
        Self {
            least_hosts: 1,
            most_hosts: 1_000,
            architecture: None,
            market: Market::OnDemand,
            one_may_fail: false,
            tracking: Tracking::Untracked,
            route: Route::Other,
            volume_gib: 30,
            families: Vec::new(),
            mode: Mode::Kernel,
            // The metrics port is left free.
            ports: Ports::WIDEST.count().saturating_sub(1),
        }
    }
}

/// A pool that holds the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// One of its hosts.
    pub host: Host,
    /// How many.
    pub count: u32,
    /// Its cost for an hour: instances, volumes, public addresses, and Gatling's credits if they have a price.
    pub hourly: Decimal,
    /// What all its hosts hold.
    pub virtual_users: u64,
    /// The limit that binds.
    pub binds: Option<Limit>,
}

/// Why no pool holds the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoChoice {
    /// No type has a price in the region.
    Unpriced,
    /// Every pool is too small. This is the largest one, if any host holds a user.
    TooSmall(Option<Choice>),
}

/// The cheapest pool of each type that holds the workload, the cheapest type first. Equal costs: fewer hosts, then by name.
pub fn size(
    virtual_users: u64,
    workload: &Workload,
    constraints: &Constraints,
    prices: &Prices,
) -> Result<Vec<Choice>, NoChoice> {
    let (mut choices, mut largest, mut is_priced) = (Vec::new(), None::<Choice>, false);
    for kind in instance_types().filter(|kind| is_allowed(kind, constraints)) {
        let Some(cost) = HostCost::of(kind, constraints, prices) else { continue };
        is_priced = true;
        match cheapest(kind, virtual_users, workload, constraints, &cost) {
            Found::Pool(choice) => choices.push(*choice),
            Found::TooSmall(choice) => {
                if largest.as_ref().is_none_or(|largest| largest.virtual_users < choice.virtual_users) {
                    largest = Some(*choice);
                }
            }
            Found::Nothing => {}
        }
    }
    choices.sort_by(|a, b| {
        let of = |choice: &Choice| (choice.hourly, choice.count, choice.host.instance_type.name);
        of(a).cmp(&of(b))
    });
    match (choices.is_empty(), is_priced) {
        (false, _) => Ok(choices),
        (true, true) => Err(NoChoice::TooSmall(largest.filter(|largest| largest.virtual_users > 0))),
        (true, false) => Err(NoChoice::Unpriced),
    }
}

fn is_allowed(kind: &InstanceType, constraints: &Constraints) -> bool {
    let families = &constraints.families;
    constraints.architecture.is_none_or(|architecture| architecture == kind.architecture)
        && (families.is_empty() || families.iter().any(|family| kind.name.starts_with(family.as_str())))
        && (constraints.tracking == Tracking::Tracked || kind.max_interfaces() > 1)
}

/// The prices of one host.
struct HostCost {
    fixed: Decimal,
    public_address: Option<Decimal>,
}

impl HostCost {
    /// `None` if the type or its volume is unpriced.
    fn of(kind: &InstanceType, constraints: &Constraints, prices: &Prices) -> Option<Self> {
        let volume = prices.item(Item::Gp3GbMonth)?.amount.checked_mul(constraints.volume_gib.into())?;
        let volume = volume.checked_div(Workload::HOURS_OF_A_MONTH.into())?;
        let instance = prices.instance(kind.name, constraints.market)?.amount;
        let credits = prices.gatling_credit.unwrap_or_default().checked_mul(CREDITS_PER_HOUR.into())?;
        Some(Self {
            fixed: instance.checked_add(volume)?.checked_add(credits)?,
            public_address: prices.item(Item::PublicIpv4Hour).map(|rate| rate.amount),
        })
    }

    /// The cost of hosts for an hour; `None` if public addresses are unpriced and needed.
    fn hourly(&self, count: u32, public_addresses: u32) -> Option<Decimal> {
        let public = match public_addresses {
            0 => Decimal::ZERO,
            number => self.public_address?.checked_mul(number.into())?,
        };
        self.fixed.checked_add(public)?.checked_mul(count.into())
    }
}

enum Found {
    Pool(Box<Choice>),
    TooSmall(Box<Choice>),
    Nothing,
}

/// The cheapest pool of one type.
fn cheapest(
    kind: &'static InstanceType,
    virtual_users: u64,
    workload: &Workload,
    constraints: &Constraints,
    cost: &HostCost,
) -> Found {
    let spare = u32::from(constraints.one_may_fail);
    let widest = host(kind, (kind.max_interfaces(), kind.ipv4_per_interface), None, constraints);
    let most = u32::max(constraints.most_hosts, spare).saturating_sub(spare);
    let holds = |host: &Host, count: u32| host.capacity(count, workload, None).virtual_users;
    if holds(&widest, most) < virtual_users {
        let hourly = cost.hourly(most + spare, widest.public_addresses).unwrap_or_default();
        return Found::TooSmall(Box::new(choice(widest, most, spare, hourly, workload)));
    }
    // The capacity grows with the number of hosts.
    let first = constraints.least_hosts.saturating_sub(spare).clamp(1, most.max(1));
    let fewest = least(first, most, |count| holds(&widest, count) >= virtual_users);
    let mut best: Option<(Decimal, Host, u32)> = None;
    for count in fewest..=most {
        // More hosts only save public addresses.
        if let Some((hourly, ..)) = &best
            && cost.hourly(count + spare, 0).is_none_or(|least| least >= *hourly)
        {
            break;
        }
        let narrowest = narrowest(kind, count, virtual_users, workload, constraints);
        let Some(hourly) = cost.hourly(count + spare, narrowest.public_addresses) else { continue };
        if best.as_ref().is_none_or(|(best, ..)| hourly < *best) {
            best = Some((hourly, narrowest, count));
        }
    }
    match best {
        Some((hourly, host, count)) => Found::Pool(Box::new(choice(host, count, spare, hourly, workload))),
        None => Found::Nothing,
    }
}

fn choice(host: Host, count: u32, spare: u32, hourly: Decimal, workload: &Workload) -> Choice {
    let capacity = host.capacity(count, workload, None);
    Choice { count: count + spare, hourly, virtual_users: capacity.virtual_users, binds: capacity.binds, host }
}

/// The host with the fewest public addresses (behind an internet gateway at least one, because it must reach Gatling), then the fewest addresses in all, then the fewest interfaces, with which this many
/// hosts hold the workload. The host with everything that the type allows does.
fn narrowest(
    kind: &'static InstanceType,
    count: u32,
    virtual_users: u64,
    workload: &Workload,
    constraints: &Constraints,
) -> Host {
    let is_enough = |host: &Host| host.capacity(count, workload, None).virtual_users >= virtual_users;
    let widest = host(kind, (kind.max_interfaces(), kind.ipv4_per_interface), None, constraints);
    let public = match widest.public_addresses {
        0 => 0,
        most => {
            let with = |public| Host { public_addresses: public, ..widest.clone() };
            // What EC2 tracks does not grow with each address, so all from there on are tried.
            let fewest = least(1, most, |public| with(public).has_ports(count, virtual_users, workload));
            (fewest..=most).find(|public| is_enough(&with(*public))).unwrap_or(most)
        }
    };
    let mut best: Option<Host> = None;
    for interfaces in 1..=kind.max_interfaces() {
        let with = |addresses| host(kind, (interfaces, addresses), Some(public), constraints);
        if interfaces < 2 && constraints.tracking == Tracking::Untracked || !is_enough(&with(kind.ipv4_per_interface)) {
            continue;
        }
        let found = with(least(1, kind.ipv4_per_interface, |addresses| is_enough(&with(addresses))));
        let all = |host: &Host| u64::from(host.interfaces) * u64::from(host.addresses);
        if best.as_ref().is_none_or(|best| all(&found) < all(best)) {
            best = Some(found);
        }
    }
    best.unwrap_or(Host { public_addresses: public, ..widest })
}

/// A host of a pool. Without a number of public addresses, it has as many as possible, where the route makes them useful.
fn host(
    kind: &'static InstanceType,
    (interfaces, addresses): (u32, u32),
    public: Option<u32>,
    constraints: &Constraints,
) -> Host {
    let all = interfaces.saturating_mul(addresses);
    let useful = if constraints.route == Route::InternetGateway { all } else { 0 };
    Host {
        instance_type: kind,
        interfaces,
        addresses,
        public_addresses: public.unwrap_or(useful).min(all),
        mode: constraints.mode,
        tracking: constraints.tracking,
        ports: constraints.ports,
        route: constraints.route,
        nat_gateway: None,
    }
}

/// The least number between both ends for which something holds. It holds for the last one, and for all after the first.
fn least(first: u32, last: u32, holds: impl Fn(u32) -> bool) -> u32 {
    let (mut from, mut to) = (first, last);
    while from < to {
        let middle = from + (to - from) / 2;
        if holds(middle) { to = middle } else { from = middle + 1 }
    }
    to
}
