//! What a plan costs and how many virtual users its pools hold: the stack, what is observed and what a plan changes, as inputs of
//! [`trunnion_estimate`].

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use trunnion_catalog::{instance_type, prices::Item};
use trunnion_engine::{Address, Map, Observed, Plan, Reason, State, Value, from_map};
use trunnion_estimate::{
    Bill, Billed, Budget, Bytes, Comparison, Estimate, Host, LocationCapacity, Market, NatGateway, Per, PoolCapacity,
    Prices, Targets, Traffic, Use, Workload, grouped,
};
use trunnion_host::{Mode, Ports, Route};
use trunnion_kinds::{
    EcsService, EcsTaskDefinition, ElasticIp, Instance, LaunchTemplate, LaunchTemplateData, LogGroup, S3Object,
    STATE_RUNNING,
};
use trunnion_stack::{Location, Pool, Stack};

use crate::{
    address,
    boot::{self, config_in},
    findings::{self, Finding},
};

/// How many Elastic IPs a new account may have in a region.
#[expect(clippy::cast_possible_truncation, reason = "it is a small number")]
const ELASTIC_IPS: u32 = trunnion_catalog::limits::ELASTIC_IPS as u32;
/// Gigabytes of logs that a control plane writes in a month. An assumption: it was not measured.
const LOGS_GB_A_MONTH: u32 = 1;
/// Days of a month, for logs that are kept for other times.
const DAYS_OF_A_MONTH: u32 = 30;
/// Size of a generator binary in millionths of a gigabyte, rounded up: a static one of a release has 6 MB.
const BINARY_GB_MILLIONTHS: i64 = 10_000;

/// The workload of a stack.
pub fn workload(stack: &Stack) -> Workload {
    let of = &stack.workload;
    Workload {
        virtual_users: of.virtual_users.map(u64::from),
        connections_per_user: of.connections_per_user,
        requests_per_second_per_user: of.requests_per_second_per_user,
        bytes_per_request: match of.bytes_per_request {
            trunnion_stack::Bytes::Together(bytes) => Bytes::Together(bytes.into()),
            trunnion_stack::Bytes::Each { sent, received } => {
                Bytes::Each { sent: sent.into(), received: received.into() }
            }
        },
        targets: Targets { private: of.targets.private, public: of.targets.public },
        memory_per_user: of.memory_per_user.into(),
        memory_margin_percent: of.memory_margin_percent,
        hours_per_month: of.hours_per_month,
        other_zone_percent: of.other_zone_percent,
    }
}

/// The prices of a stack.
pub fn prices(stack: &Stack) -> Prices {
    let of = &stack.prices;
    Prices {
        region: stack.region.clone(),
        currency: of.currency.clone(),
        exchange_rate: of.exchange_rate,
        discount_percent: of.discount_percent,
        instances: of.instances.clone(),
        spot: of.spot.clone(),
        items: of.items(),
        gatling_credit: of.gatling_credit,
    }
}

/// The budget of a stack.
pub fn budget(stack: &Stack) -> Budget {
    Budget { hourly: stack.budget.hourly, monthly: stack.budget.monthly }
}

/// A host of a pool, as far as its capacity depends on it.
pub fn host(stack: &Stack, pool: &Pool, observed: &Observed) -> Host {
    let (mode, ports) = sources_of(stack);
    Host {
        instance_type: pool.instance_type,
        interfaces: pool.interfaces,
        addresses: pool.addresses,
        public_addresses: match pool.public_addresses {
            0 => u32::from(pool.interfaces == 1 && gives_public_address(pool, observed)),
            number => number,
        },
        mode,
        tracking: boot::tracking(pool),
        ports,
        route: boot::default_routes(pool, observed).ipv4,
        nat_gateway: nat_gateway(pool, observed),
    }
}

/// Who picks the source addresses of a stack's hosts, and how many local ports each address has.
pub fn sources_of(stack: &Stack) -> (Mode, u64) {
    let generator = &stack.generator;
    let listeners = generator.reserved_ports.iter().copied().chain([generator.metrics_port]);
    (boot::mode(stack), Ports::WIDEST.count_without(listeners))
}

/// The pools of a stack as it asks for them.
fn pools(stack: &Stack, observed: &Observed) -> Vec<trunnion_estimate::Pool> {
    let pool = |(name, pool): (&String, &Pool)| trunnion_estimate::Pool {
        name: name.clone(),
        host: host(stack, pool, observed),
        count: pool.count,
        market: match pool.market {
            trunnion_stack::Market::OnDemand => Market::OnDemand,
            trunnion_stack::Market::Spot => Market::Spot,
        },
        volume_gib: pool.volume_gib,
        keeps_hosts: pool.protect && has_hosts(name, observed),
        room: room(stack, name, pool, observed),
    };
    stack.pools.iter().map(pool).collect()
}

/// How many addresses the hosts of a pool may have together: those that they have, and those that are free in their subnet
/// without what the other pools still need of it.
fn room(stack: &Stack, name: &str, pool: &Pool, observed: &Observed) -> Option<u64> {
    let subnet = |pool: &Pool| observed.lookups.get(&address::subnet(&pool.placement));
    let id = |pool: &Pool| subnet(pool)?.get("id")?.as_text();
    let here = id(pool)?;
    let free = subnet(pool)?.get("free_addresses")?.as_number()?;
    let held = |name: &str, count: u32| -> i64 {
        (0..count).map(|number| findings::held(&address::instance(name, number), observed)).sum()
    };
    let others = stack.pools.iter().filter(|(other, pool)| *other != name && id(pool) == Some(here));
    let needed: i64 = others
        .map(|(name, pool)| {
            let wanted = i64::from(pool.count) * i64::from(pool.interfaces) * i64::from(pool.addresses);
            (wanted - held(name, pool.count)).max(0)
        })
        .sum();
    u64::try_from(free.saturating_sub(needed).saturating_add(held(name, pool.count)).max(0)).ok()
}

/// Whether hosts of a pool exist.
fn has_hosts(pool: &str, observed: &Observed) -> bool {
    let is_its = |address: &Address| address.kind.as_str() == Instance::KIND && address.name == pool;
    observed.remotes.keys().any(is_its)
}

/// The error if the pools of a stack hold fewer virtual users than its workload has, with the cheapest change of a pool.
pub(crate) fn too_few_users(stack: &Stack, observed: &Observed) -> Option<Finding> {
    let (workload, pools) = (workload(stack), pools(stack, observed));
    let needed = workload.virtual_users?;
    let users = trunnion_estimate::held(&pools, &workload);
    if users >= needed {
        return None;
    }
    let largest = pools.iter().max_by_key(|pool| pool.host.capacity(pool.count, &workload, None).virtual_users)?;
    let binds = largest.host.capacity(largest.count.max(1), &workload, None).binds;
    let limit = binds
        .filter(|_| largest.count > 0)
        .map(|limit| format!(", limited by {} in pool `{}`", limit.words(), largest.name));
    let prices = prices(stack);
    let help = if let Some(growth) = trunnion_estimate::growth(&pools, needed, &workload, &prices) {
        let unpriced = if growth.has_unpriced { " and unpriced parts" } else { "" };
        let cost = match growth.hourly {
            None => "it has no known price".to_owned(),
            Some(hourly) if hourly.is_zero() && !growth.has_unpriced => "it costs no more".to_owned(),
            Some(hourly) => {
                let sign = if hourly.is_sign_negative() { "less" } else { "more" };
                let hourly = trunnion_catalog::prices::rounded(hourly.abs(), 2);
                format!("it costs {hourly} {} an hour{unpriced} {sign}", prices.currency)
            }
        };
        // A subnet gives the address of a host with one interface.
        let elastic_ips_of = |pool: &trunnion_estimate::Pool| match pool.host.interfaces {
            1 => 0,
            _ => pool.count.saturating_mul(pool.host.public_addresses),
        };
        let others = pools.iter().filter(|pool| pool.name != growth.pool.name);
        let elastic_ips = others.chain([&growth.pool]).map(elastic_ips_of).fold(0, u32::saturating_add);
        let quota = if elastic_ips_of(&growth.pool) > 0 && elastic_ips > ELASTIC_IPS {
            format!(
                "; the stack's {elastic_ips} Elastic IPs are more than the {ELASTIC_IPS} that a new account may have"
            )
        } else {
            String::new()
        };
        format!(
            "the cheapest change of one pool, to hosts that are not smaller: `{}` in `pools.{}` holds {} and {cost}{quota}",
            growth.keys.join(", "),
            growth.pool.name,
            grouped(growth.virtual_users)
        )
    } else {
        let lifted = largest.host.capacity(largest.count.max(1), &workload, None).lifted_by;
        let lifted = lifted.filter(|_| !largest.keeps_hosts && largest.count > 0);
        let lifted = lifted.map(|lifted| format!("; the limit of pool `{}` is raised by {lifted}", largest.name));
        format!(
            "no change of one pool is enough: add a pool, or lower `workload.virtual_users`{}",
            lifted.unwrap_or_default()
        )
    };
    Some(Finding {
        code: "too_few_virtual_users",
        message: format!(
            "`workload.virtual_users` is {}, but the pools hold {}{}",
            grouped(needed),
            grouped(users),
            limit.unwrap_or_default()
        ),
        help: Some(help),
        path: "workload.virtual_users".to_owned(),
    })
}

/// The attributes of all resources at one moment, by address.
type Standing<'a> = BTreeMap<Address, &'a Map>;

/// What exists before a plan is applied, and what exists afterwards.
fn standing<'a>(plan: &'a Plan, observed: &'a Observed) -> (Standing<'a>, Standing<'a>) {
    let before: Standing = observed
        .remotes
        .iter()
        .filter_map(|(address, remotes)| {
            Some((address.clone(), &remotes.iter().find(|remote| !remote.is_spent)?.attributes))
        })
        .collect();
    let mut before = before;
    // What moves to another name stands there already: hosts that keep running have a template there.
    for change in &plan.changes {
        if let Reason::Moved { to } = &change.reason
            && !before.contains_key(to)
            && let Some(attributes) = before.remove(&change.address)
        {
            before.insert(to.clone(), attributes);
        }
    }
    let mut after = before.clone();
    let changes = || plan.changes.iter().filter(|change| change.reason != Reason::NotSelected);
    for change in changes().filter(|change| change.desired.is_none()) {
        after.remove(&change.address);
    }
    for change in changes() {
        if let Some(desired) = &change.desired {
            after.insert(change.address.clone(), desired);
        }
    }
    (before, after)
}

/// A pool as it stands at one moment.
struct StandingPool {
    name: String,
    host: Host,
    /// Hosts that run.
    running: u32,
    /// All hosts, stopped ones included: they have volumes.
    hosts: u32,
    market: Market,
    volume_gib: u32,
    /// Public addresses of all hosts.
    public_addresses: u32,
    /// Whether the subnet gives these addresses to the hosts. Else they are Elastic IPs.
    is_given: bool,
}

impl StandingPool {
    fn uses(&self) -> Vec<Use> {
        let of =
            |count, billed, quantity, per| Use { of: format!("instance.{}", self.name), count, billed, quantity, per };
        vec![
            of(
                self.running,
                Billed::Instance(self.host.instance_type.name.to_owned(), self.market),
                Decimal::ONE,
                Per::Hour,
            ),
            of(self.hosts, Billed::Item(Item::Gp3GbMonth), self.volume_gib.into(), Per::Month),
            Use {
                of: format!("{}.{}", if self.is_given { Instance::KIND } else { ElasticIp::KIND }, self.name),
                ..of(self.public_addresses, Billed::Item(Item::PublicIpv4Hour), Decimal::ONE, Per::Hour)
            },
        ]
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The resources of a kind that belong to a pool.
fn of_pool<'a>(standing: &'a Standing, kind: &'a str, pool: &'a str) -> impl Iterator<Item = &'a Map> {
    let is_its = move |address: &Address| address.kind.as_str() == kind && address.name.as_str() == pool;
    standing.iter().filter(move |(address, _)| is_its(address)).map(|(_, attributes)| *attributes)
}

/// Every pool of which something stands. What its launch template does not say is taken from the stack.
fn standing_pools(standing: &Standing, stack: &Stack, observed: &Observed) -> Vec<StandingPool> {
    let templates = standing.iter().filter(|(address, _)| address.kind.as_str() == LaunchTemplate::KIND);
    let pool = |(address, attributes): (&Address, &&Map)| {
        let name = address.name.as_str();
        let Some(Value::Map(data)) = attributes.get("data") else { return None };
        // A state has a digest in the place of the user data.
        let mut data = data.clone();
        if data.get("user_data").and_then(Value::as_text).is_none() {
            data.insert("user_data".to_owned(), Value::from(""));
        }
        let data: LaunchTemplateData = from_map(&data).ok()?;
        let instance_type = instance_type(&data.instance_type)?;
        let hosts: Vec<&Map> = of_pool(standing, Instance::KIND, name).collect();
        let is_running = |host: &&&Map| host.get("state").and_then(Value::as_text) == Some(STATE_RUNNING);
        let running = count(hosts.iter().filter(is_running).count());
        let number =
            |host: &Map, key| host.get(key).and_then(Value::as_number).and_then(|number| u32::try_from(number).ok());
        let shape = |key| hosts.iter().filter_map(|host| number(host, key)).min();
        let of_stack = stack.pools.get(name);
        let elastic = count(of_pool(standing, ElasticIp::KIND, name).count());
        // An Elastic IP is of use only where the route is an internet gateway, so that one tells the route where it was not read.
        let route = match of_stack.map_or(Route::Other, |pool| boot::default_routes(pool, observed).ipv4) {
            Route::Other if elastic > 0 => Route::InternetGateway,
            route => route,
        };
        let given = of_stack.is_some_and(|pool| pool.interfaces == 1 && gives_public_address(pool, observed));
        let hosts = count(hosts.len());
        let is_given = elastic == 0 && given;
        let public_addresses = if is_given { running } else { elastic };
        let config = config_in(&data.user_data);
        let ports = config.as_ref().map_or_else(
            || of_stack.map_or(Ports::WIDEST.count(), |pool| host(stack, pool, observed).ports),
            |config| {
                let listeners = config.reserved_ports.iter().copied().chain([config.metrics_port]);
                config.ports.count_without(listeners)
            },
        );
        let host = Host {
            instance_type,
            interfaces: shape("interfaces").unwrap_or_else(|| count(data.interfaces.len())),
            addresses: shape("addresses")
                .or_else(|| data.interfaces.iter().map(|interface| interface.addresses).min())
                .unwrap_or(1),
            public_addresses: public_addresses.checked_div(hosts).unwrap_or(0),
            mode: config.as_ref().map_or_else(|| boot::mode(stack), |config| config.spread.mode),
            tracking: match (&config, of_stack) {
                (Some(config), _) => config.tracking,
                (None, Some(pool)) => boot::tracking(pool),
                (None, None) => trunnion_host::Tracking::Tracked,
            },
            ports,
            route,
            nat_gateway: of_stack.and_then(|pool| nat_gateway(pool, observed)),
        };
        let market = match data.market {
            trunnion_kinds::Market::OnDemand => Market::OnDemand,
            trunnion_kinds::Market::Spot => Market::Spot,
        };
        let volume_gib = data.volume.size_gib;
        Some(StandingPool {
            name: name.to_owned(),
            host,
            running,
            hosts,
            market,
            volume_gib,
            public_addresses,
            is_given,
        })
    };
    templates.filter_map(pool).collect()
}

/// Whether a host with one interface gets a public address from its subnet.
fn gives_public_address(pool: &Pool, observed: &Observed) -> bool {
    let subnet = observed.lookups.get(&address::subnet(&pool.placement));
    subnet.is_some_and(|subnet| subnet.get("gives_public_address") == Some(&Value::Bool(true)))
}

/// The NAT gateway that the hosts of a pool send through.
fn nat_gateway(pool: &Pool, observed: &Observed) -> Option<NatGateway> {
    let subnet = observed.lookups.get(&address::subnet(&pool.placement))?;
    let number = |key| subnet.get(key).and_then(Value::as_number).and_then(|number| u32::try_from(number).ok());
    Some(NatGateway {
        id: subnet.get("nat_gateway")?.as_text()?.to_owned(),
        addresses: number("nat_gateway_addresses")?,
        public_addresses: number("nat_gateway_public_addresses")?,
    })
}

/// What the NAT gateways of these pools cost, each once.
fn uses_of_nat_gateways<'a>(hosts: impl Iterator<Item = &'a Host>) -> Vec<Use> {
    let gateways = hosts.filter(|host| host.route == Route::Nat).map(|host| {
        let gateway = host.nat_gateway.as_ref();
        (gateway.map(|gateway| &gateway.id), gateway.map_or(0, |gateway| gateway.public_addresses))
    });
    let gateways: BTreeMap<_, u32> = gateways.collect();
    let use_of = |count, item| Use {
        of: "NAT gateway".to_owned(),
        count,
        billed: Billed::Item(item),
        quantity: Decimal::ONE,
        per: Per::Hour,
    };
    let addresses = gateways.values().fold(0_u32, |sum, addresses| sum.saturating_add(*addresses));
    let all = [(count(gateways.len()), Item::NatGatewayHour), (addresses, Item::PublicIpv4Hour)];
    all.into_iter().filter(|(count, _)| *count > 0).map(|(count, item)| use_of(count, item)).collect()
}

/// What AWS charges for beside hosts and traffic.
fn other_uses(standing: &Standing) -> Vec<Use> {
    let mut uses = Vec::new();
    let mut add = |of: &str, count: u32, item: Item, quantity: Decimal, per: Per| {
        uses.push(Use { of: of.to_owned(), count, billed: Billed::Item(item), quantity, per });
    };
    let service = standing.get(&address::service()).and_then(|map| from_map::<EcsService>(map).ok());
    let definition = standing.get(&address::task_definition()).and_then(|map| from_map::<EcsTaskDefinition>(map).ok());
    if let Some(service) = service {
        let tasks = u32::try_from(service.desired_count).unwrap_or_default();
        let of = "ecs_service.control_plane";
        if let Some(definition) = definition {
            // ECS counts 1,024 units a vCPU, and 1,024 MiB a gigabyte.
            let units = |number: u32| Decimal::from(number) / Decimal::from(1_024);
            add(of, tasks, Item::FargateVcpuHour, units(definition.cpu), Per::Hour);
            add(of, tasks, Item::FargateGbHour, units(definition.memory), Per::Hour);
        }
        if service.network.public_ip {
            add(of, tasks, Item::PublicIpv4Hour, Decimal::ONE, Per::Hour);
        }
    }
    if let Some(group) = standing.get(&address::log_group()).and_then(|map| from_map::<LogGroup>(map).ok()) {
        let of = "log_group.control_plane";
        let months = Decimal::from(group.retention_days.max(0)) / Decimal::from(DAYS_OF_A_MONTH);
        add(of, 1, Item::LogsGb, LOGS_GB_A_MONTH.into(), Per::Month);
        add(of, 1, Item::LogsGbMonth, Decimal::from(LOGS_GB_A_MONTH) * months, Per::Month);
    }
    let objects = standing.keys().filter(|address| address.kind.as_str() == S3Object::KIND).count();
    add("s3_object.generator", count(objects), Item::S3GbMonth, Decimal::new(BINARY_GB_MILLIONTHS, 6), Per::Month);
    uses
}

/// Everything that stands at one moment: what it costs, and how many virtual users it holds.
struct Moment {
    bill: Bill,
    pools: Vec<StandingPool>,
    virtual_users: u64,
}

fn moment(standing: &Standing, stack: &Stack, observed: &Observed, workload: &Workload, prices: &Prices) -> Moment {
    let pools = standing_pools(standing, stack, observed);
    let held = |pool: &StandingPool| pool.host.capacity(pool.running, workload, None).virtual_users;
    let virtual_users = trunnion_estimate::held_by(pools.iter().map(|pool| (&pool.host, pool.running)), workload);
    let mut uses: Vec<Use> = pools.iter().flat_map(StandingPool::uses).collect();
    uses.extend(other_uses(standing));
    uses.extend(uses_of_nat_gateways(pools.iter().filter(|pool| pool.hosts > 0).map(|pool| &pool.host)));
    if let Some(wanted) = workload.virtual_users {
        let load = wanted.min(virtual_users);
        for pool in &pools {
            // Users are spread over the pools as these hold them.
            let all = pools.iter().fold(0_u64, |sum, pool| sum.saturating_add(held(pool)));
            let share = Decimal::from(load).saturating_mul(held(pool).into()) / Decimal::from(all.max(1));
            let requests_per_second = share.saturating_mul(workload.requests_per_second_per_user);
            let is_behind_nat = pool.host.route == Route::Nat;
            let traffic = Traffic { requests_per_second, is_behind_nat };
            uses.extend(traffic.uses(&format!("traffic of {}", pool.name), workload));
        }
    }
    Moment { bill: Bill::new(uses, prices, workload), pools, virtual_users }
}

/// The estimate of a plan.
pub fn estimate(stack: &Stack, plan: &Plan, observed: &Observed) -> Estimate {
    let (before, after) = standing(plan, observed);
    between(stack, &before, &after, observed)
}

/// The estimate of what a state records. Nothing is read, so the routes of its subnets are not known.
pub fn estimate_of_state(stack: &Stack, state: &State) -> Estimate {
    let recorded = state.resources.iter().map(|(address, recorded)| (address.clone(), &recorded.attributes));
    let standing: Standing = recorded.collect();
    between(stack, &standing, &standing, &Observed::default())
}

fn between(stack: &Stack, before: &Standing, after: &Standing, observed: &Observed) -> Estimate {
    let (workload, prices) = (workload(stack), prices(stack));
    let before = moment(before, stack, observed, &workload, &prices);
    let after = moment(after, stack, observed, &workload, &prices);
    let pools: Vec<PoolCapacity> = after
        .pools
        .iter()
        .map(|pool| {
            let bill = Bill::new(pool.uses(), &prices, &workload);
            PoolCapacity {
                pool: pool.name.clone(),
                hosts: pool.running,
                instance_type: pool.host.instance_type.name.to_owned(),
                hourly: bill.total.hourly,
                unpriced: bill.total.unpriced,
                capacity: pool.host.capacity(pool.running, &workload, None),
            }
        })
        .collect();
    let locations = stack.locations.iter().filter_map(|(name, location)| {
        let pool = after.pools.iter().find(|pool| pool.name == location.pool)?;
        let heap = heap(location, pool.host.instance_type.memory_mib << 20);
        Some(LocationCapacity {
            location: name.clone(),
            pool: location.pool.clone(),
            heap_mib: heap >> 20,
            capacity: pool.host.capacity(pool.running, &workload, Some(heap)),
        })
    });
    let hosts = after.pools.iter().fold(0_u32, |sum, pool| sum.saturating_add(pool.running));
    let compared = workload.virtual_users.unwrap_or(after.virtual_users).min(after.virtual_users);
    Estimate {
        currency: prices.currency.clone(),
        million_user_hours: after
            .bill
            .total
            .hourly
            .saturating_mul(Decimal::from(1_000_000))
            .checked_div(compared.into())
            .map(|amount| trunnion_catalog::prices::rounded(amount, 6).normalize()),
        cost_before: before.bill.total,
        virtual_users_before: before.virtual_users,
        virtual_users: after.virtual_users,
        locations: locations.collect(),
        comparison: Comparison::new(compared, hosts, after.bill.total.hourly, &workload, &prices),
        // Nothing was looked up for a state, or to delete everything.
        without_network: observed.lookups.is_empty() && !(before.pools.is_empty() && after.pools.is_empty()),
        hours_per_month: workload.hours_per_month,
        assumptions: assumptions(stack, &workload, &prices),
        cost: after.bill.total,
        lines: after.bill.lines,
        unpriced: after.bill.unpriced,
        pools,
    }
}

/// The heap of a location's JVM in bytes, on hosts with this much memory: the last option that sets it, else a quarter of the
/// memory.
fn heap(location: &Location, memory: u64) -> u64 {
    let visible = trunnion_host::visible_memory(memory);
    let of = |option: &str| {
        let sized = option.strip_prefix("-Xmx").or_else(|| option.strip_prefix("-XX:MaxHeapSize="));
        if let Some(size) = sized {
            return size_of(size);
        }
        let percent = option.strip_prefix("-XX:MaxRAMPercentage=")?;
        // The JVM takes no other.
        let is_share = |percent: &Decimal| (Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(percent);
        let percent = Decimal::from_str_exact(percent).ok().filter(is_share)?;
        rust_decimal::prelude::ToPrimitive::to_u64(&(Decimal::from(visible) * percent / Decimal::ONE_HUNDRED))
    };
    location.jvm_options.iter().rev().find_map(|option| of(option)).unwrap_or(visible / 4)
}

/// A size as the JVM reads it: `128g`, `512m`, `1024k` or bytes.
fn size_of(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()?.to_ascii_lowercase() {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        b't' => 40,
        _ => return text.parse().ok(),
    };
    text.get(..text.len() - 1)?.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// What the figures assume, and what they leave out.
fn assumptions(stack: &Stack, workload: &Workload, prices: &Prices) -> Vec<String> {
    let size = match workload.bytes_per_request {
        Bytes::Together(bytes) => format!("{} B, of which the worse case is taken", grouped(bytes)),
        Bytes::Each { sent, received } => format!("{} B and {} B back", grouped(sent), grouped(received)),
    };
    let mut assumptions = vec![
        format!(
            "a virtual user holds {} connections at once and sends {} requests a second of {size} (`workload`)",
            workload.connections_per_user, workload.requests_per_second_per_user
        ),
        format!(
            "users are spread evenly over {} private and {} public targets (`workload.targets`)",
            workload.targets.private, workload.targets.public
        ),
        format!(
            "a user takes {} B of Gatling's memory, {} % more for scripts, and {} B of the kernel's for each connection",
            grouped(workload.memory_per_user),
            workload.memory_margin_percent,
            grouped(trunnion_estimate::KERNEL_BYTES_PER_CONNECTION)
        ),
        format!(
            "a request takes {} µs of CPU (Gatling 3.15.1, kept connections, November 2026), and {} % of the vCPUs are used",
            trunnion_estimate::CPU_MICROS_PER_REQUEST,
            trunnion_estimate::CPU_PERCENT
        ),
        format!("{} % of the baseline bandwidth carries payload", trunnion_estimate::BANDWIDTH_PERCENT),
        "a pool's capacity is for all tests together that run on it at once".to_owned(),
        format!(
            "a month has 730 hours, in {} of which the load runs (`workload.hours_per_month`)",
            workload.hours_per_month
        ),
        format!(
            "{} % of the traffic to private targets goes to another zone (`workload.other_zone_percent`)",
            workload.other_zone_percent
        ),
        format!("the control plane writes {LOGS_GB_A_MONTH} GB of logs a month, which was not measured"),
    ];
    if workload.virtual_users.is_none() {
        assumptions.push("traffic is left out, because `workload.virtual_users` is not set".to_owned());
    }
    if boot::mode(stack) == Mode::Simulation {
        assumptions
            .push("simulations name their addresses, so a connection takes a port towards all destinations".to_owned());
    }
    assumptions.push(format!("list prices of {} without tax, free tiers and support plans", prices.region));
    assumptions
        .push("requests to AWS, secrets, the state's bucket and what a test's targets cost are left out".to_owned());
    assumptions
}
