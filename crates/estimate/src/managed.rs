//! The comparison that this architecture stands on: the same workload on generators that Gatling manages, with 4 cores and
//! 8 GB each, billed by the minute.

use std::sync::LazyLock;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunnion_catalog::{Architecture, InstanceType};
use trunnion_host::{Mode, Ports, Route, Tracking};

use crate::{Capacity, Host, Prices, Workload};

/// Credits of a load generator for an hour, managed or private, whatever its size: one a minute (Gatling's documentation,
/// "Credits", read November 2026).
pub const CREDITS_PER_HOUR: u64 = 60;

/// A managed generator: 4 cores, 8 GB and up to 10 Gbit/s (Gatling's documentation of tests, read November 2026). That it has
/// one address, and that the rest of the model holds for it as for a host, is assumed.
static MANAGED: LazyLock<InstanceType> = LazyLock::new(|| InstanceType {
    name: "managed generator",
    architecture: Architecture::X86_64,
    vcpu: 4,
    memory_mib: 8 * 1_024,
    baseline_mbps: 10_000,
    peak_mbps: 10_000,
    cards: vec![1],
    ipv4_per_interface: 1,
});

/// The same workload on managed generators and on hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// How many virtual users are compared.
    pub virtual_users: u64,
    /// Managed generators that hold them.
    pub managed_generators: u64,
    /// Users that one of them holds.
    pub users_per_managed_generator: u64,
    /// Credits of the managed generators for an hour.
    pub managed_credits_per_hour: u64,
    /// Credits of the hosts for an hour.
    pub credits_per_hour: u64,
    /// Cost of the managed generators for an hour; absent without the price of a credit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_hourly: Option<Decimal>,
    /// Cost of the hosts and their credits for an hour; absent without the price of a credit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly: Option<Decimal>,
    /// The price of a credit from which on hosts are cheaper; absent where they need as many credits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cheaper_from_credit: Option<Decimal>,
    /// What the comparison assumes.
    pub assumptions: Vec<String>,
}

/// What one managed generator holds of a workload. Targets on the internet have a way of their own there.
pub fn managed(workload: &Workload) -> Capacity {
    let host = Host {
        instance_type: &MANAGED,
        interfaces: 1,
        addresses: 1,
        public_addresses: 1,
        mode: Mode::Kernel,
        tracking: Tracking::Untracked,
        ports: Ports::WIDEST.count(),
        route: Route::Other,
        nat_gateway: None,
    };
    host.capacity(1, workload, None)
}

impl Comparison {
    /// Compares these hosts, which cost this much for an hour, with managed generators. `None` where one of both holds nobody.
    pub fn new(virtual_users: u64, hosts: u32, hourly: Decimal, workload: &Workload, prices: &Prices) -> Option<Self> {
        let one = managed(workload);
        if virtual_users == 0 || hosts == 0 || one.virtual_users == 0 {
            return None;
        }
        let generators = virtual_users.div_ceil(one.virtual_users);
        let managed_credits = generators.saturating_mul(CREDITS_PER_HOUR);
        let credits = u64::from(hosts).saturating_mul(CREDITS_PER_HOUR);
        let cost_of = |credits: u64| prices.gatling_credit?.checked_mul(credits.into());
        let saved = managed_credits.saturating_sub(credits);
        Some(Self {
            virtual_users,
            managed_generators: generators,
            users_per_managed_generator: one.virtual_users,
            managed_credits_per_hour: managed_credits,
            credits_per_hour: credits,
            managed_hourly: cost_of(managed_credits),
            hourly: cost_of(credits).and_then(|credits| credits.checked_add(hourly)),
            cheaper_from_credit: (saved > 0)
                .then(|| hourly.checked_div(saved.into()))
                .flatten()
                .map(|price| trunnion_catalog::prices::rounded(price, 6).normalize()),
            assumptions: vec![
                "a managed generator has 4 cores, 8 GB, 10 Gbit/s and one address, and is billed one credit a minute"
                    .to_owned(),
                "a host is one load generator, which is billed one credit a minute, too".to_owned(),
                format!(
                    "one managed generator holds {} users by the same model as a host, limited by {}",
                    one.virtual_users,
                    one.binds.map_or("nothing", crate::Limit::words)
                ),
                match prices.gatling_credit {
                    Some(price) => format!("a credit costs {price} {}", prices.currency),
                    None => "the price of a credit is in no public list: `prices.gatling_credit` sets it".to_owned(),
                },
            ],
        })
    }
}
