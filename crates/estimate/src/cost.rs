//! What a stack costs: a line for each thing that AWS charges for, and their sums.
//!
//! Arithmetic is decimal. Amounts for an hour that follow from a price for a month are a 730th of it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunnion_catalog::prices::{Item, item_regions, regions, rounded};

use crate::{
    prices::{Market, Prices, Rate},
    workload::Workload,
};

/// Decimal places of the amounts for an hour in a document.
const HOURLY_PLACES: u32 = 6;

/// Something that AWS charges for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Billed {
    /// An instance of this type.
    Instance(String, Market),
    /// Anything else.
    Item(Item),
}

impl Billed {
    /// Its name in a document: the instance type, with ` (spot)` behind it, or the item's name.
    pub fn name(&self) -> String {
        match self {
            Self::Instance(name, Market::OnDemand) => name.clone(),
            Self::Instance(name, Market::Spot) => format!("{name} (spot)"),
            Self::Item(item) => item.to_string(),
        }
    }

    fn rate(&self, prices: &Prices) -> Option<Rate> {
        match self {
            Self::Instance(name, market) => prices.instance(name, *market),
            Self::Item(item) => prices.item(*item),
        }
    }

    /// The line of a stack's `prices` that gives it a price.
    fn key(&self, value: &str) -> String {
        match self {
            Self::Instance(name, Market::OnDemand) => format!("instances: {{ {name}: {value} }}"),
            Self::Instance(name, Market::Spot) => format!("spot: {{ {name}: {value} }}"),
            Self::Item(item) => format!("{item}: {value}"),
        }
    }

    /// What other regions charge, in US dollars.
    fn elsewhere(&self) -> Option<String> {
        let known: Vec<(&str, String)> = match self {
            Self::Instance(name, _) => regions(name).map(|(region, price)| (region, price.usd.to_string())).collect(),
            Self::Item(item) => item_regions(*item).map(|(region, price)| (region, price.usd.to_string())).collect(),
        };
        let shown: Vec<String> = known.iter().take(2).map(|(region, usd)| format!("{usd} in {region}")).collect();
        (!shown.is_empty()).then(|| format!("USD {}", shown.join(", ")))
    }
}

/// The lines of a stack's `prices` that give everything unpriced a price, to fill in. One key has one line; comments are short, so
/// that nobody breaks them.
pub fn price_lines(unpriced: &[Unpriced]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for group in ["instances", "spot"] {
        let inside = |one: &Unpriced| {
            let rest = one.key.strip_prefix(group)?.strip_prefix(": { ")?.strip_suffix(" }")?;
            Some(rest.to_owned())
        };
        let all: Vec<String> = unpriced.iter().filter_map(inside).collect();
        if !all.is_empty() {
            lines.push(format!("{group}: {{ {} }}", all.join(", ")));
        }
    }
    let is_item = |one: &&Unpriced| !one.key.contains('{');
    lines.extend(unpriced.iter().filter(is_item).map(|one| match &one.elsewhere {
        Some(elsewhere) => format!("{}  # {elsewhere}", one.key),
        None => one.key.clone(),
    }));
    lines
}

/// How often a quantity is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Each hour.
    Hour,
    /// Each month.
    Month,
    /// Each hour in which the load runs.
    HourOfLoad,
}

/// What is used of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Whose it is: an address without its number, such as `instance.heavy`, or a word for traffic.
    pub of: String,
    /// How many equal ones there are.
    pub count: u32,
    /// What is charged.
    pub billed: Billed,
    /// The units of each one.
    pub quantity: Decimal,
    /// How often.
    pub per: Per,
}

/// One line of a bill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Whose cost it is: an address without its number, such as `instance.heavy`, or `traffic`.
    pub of: String,
    /// How many equal ones there are.
    pub count: u32,
    /// What is charged: an instance type, or an item of `prices`.
    pub item: String,
    /// The units of each one.
    pub quantity: Decimal,
    /// How often they are charged.
    pub per: Per,
    /// The price of a unit; absent where it is unpriced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Decimal>,
    /// Where the price comes from, with its date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// All of them for an hour, in which the load runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly: Option<Decimal>,
    /// All of them for a month of 730 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly: Option<Decimal>,
}

/// A sum of priced lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Total {
    /// For an hour, in which the load runs.
    pub hourly: Decimal,
    /// For a month of 730 hours.
    pub monthly: Decimal,
    /// What is used but has no price, each with its units: the real cost is higher.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unpriced: BTreeMap<String, Decimal>,
}

/// What is used but has no price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unpriced {
    /// What is charged.
    pub item: String,
    /// The line of the stack's `prices` that gives it a price; `…` stands for the price.
    pub key: String,
    /// What is known of other regions, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
}

/// Lines with their sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bill {
    /// Every line, in the order of its use.
    pub lines: Vec<Line>,
    /// Their sum.
    pub total: Total,
    /// What has no price, each once.
    pub unpriced: Vec<Unpriced>,
}

impl Bill {
    /// Prices what is used. Equal uses of one subject become one line.
    pub fn new(uses: impl IntoIterator<Item = Use>, prices: &Prices, workload: &Workload) -> Self {
        let mut joined: BTreeMap<(String, Billed, Per, Decimal), u32> = BTreeMap::new();
        let mut order = Vec::new();
        for one in uses.into_iter().filter(|one| one.count > 0 && !one.quantity.is_zero()) {
            let key = (one.of, one.billed, one.per, one.quantity);
            let count = joined.entry(key.clone()).or_insert_with(|| {
                order.push(key);
                0
            });
            *count = count.saturating_add(one.count);
        }
        let mut unpriced: Vec<Unpriced> = Vec::new();
        let mut lines = Vec::new();
        for key in order {
            let count = joined.get(&key).copied().unwrap_or_default();
            let (of, billed, per, quantity) = key;
            let rate = billed.rate(prices);
            let line = Line {
                of,
                count,
                item: billed.name(),
                quantity: quantity.normalize(),
                per,
                price: None,
                source: None,
                hourly: None,
                monthly: None,
            };
            let price = rate.as_ref().map(|rate| rate.amount.normalize());
            let line = line.at(price, rate.map(|rate| rate.source.to_string()), workload.hours_per_month);
            if line.hourly.is_none() && !unpriced.iter().any(|known| known.item == line.item) {
                unpriced.push(Unpriced { item: billed.name(), key: billed.key("…"), elsewhere: billed.elsewhere() });
            }
            lines.push(line);
        }
        Self { unpriced, ..Self::of_lines(lines) }
    }

    /// Adds lines up. What is unpriced is named in the total only.
    pub(crate) fn of_lines(lines: Vec<Line>) -> Self {
        let sum = |of: fn(&Line) -> Option<Decimal>| {
            lines.iter().filter_map(of).fold(Decimal::ZERO, Decimal::saturating_add).normalize()
        };
        let mut unpriced: BTreeMap<String, Decimal> = BTreeMap::new();
        for line in lines.iter().filter(|line| line.hourly.is_none()) {
            let units = unpriced.entry(line.item.clone()).or_default();
            *units = units.saturating_add(line.quantity.saturating_mul(line.count.into()));
        }
        let total = Total { hourly: sum(|line| line.hourly), monthly: sum(|line| line.monthly), unpriced };
        Self { lines, total, unpriced: Vec::new() }
    }
}

impl Line {
    /// The same line at this price of a unit.
    pub(crate) fn at(&self, price: Option<Decimal>, source: Option<String>, hours_of_load: u32) -> Self {
        let month = Decimal::from(Workload::HOURS_OF_A_MONTH);
        let amounts = price.and_then(|price| {
            let amount = price.checked_mul(self.quantity)?.checked_mul(self.count.into())?;
            Some(match self.per {
                Per::Hour => (amount, amount.checked_mul(month)?),
                Per::Month => (amount.checked_div(month)?, amount),
                Per::HourOfLoad => (amount, amount.checked_mul(hours_of_load.into())?),
            })
        });
        Self {
            price,
            source,
            hourly: amounts.map(|(hourly, _)| shown(hourly)),
            monthly: amounts.map(|(_, monthly)| shown(monthly)),
            ..self.clone()
        }
    }
}

impl Total {
    /// Whether it has more units of something unpriced than another total.
    pub fn has_more_unpriced(&self, other: &Self) -> bool {
        self.unpriced.iter().any(|(item, units)| other.unpriced.get(item).is_none_or(|known| known < units))
    }

    /// Whether it is not higher than another total, as far as both are known.
    pub fn is_at_most(&self, other: &Self) -> bool {
        self.hourly <= other.hourly && self.monthly <= other.monthly && !self.has_more_unpriced(other)
    }
}

/// An amount as a document has it.
fn shown(amount: Decimal) -> Decimal {
    rounded(amount, HOURLY_PLACES).normalize()
}

/// What an hour of load moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Requests a second of all hosts that share a way to their targets: of users that need not be whole, because they are spread
    /// over pools.
    pub requests_per_second: Decimal,
    /// Whether the way to public targets is a NAT gateway.
    pub is_behind_nat: bool,
}

impl Traffic {
    /// What AWS charges for it, for an hour.
    pub fn uses(&self, of: &str, workload: &Workload) -> Vec<Use> {
        let all = workload.targets.all();
        if all == 0 || self.requests_per_second.is_zero() {
            return Vec::new();
        }
        let gigabytes = |bytes_per_request: u64, part: u64, whole: u64| {
            // AWS's gigabytes of traffic have 2^30 bytes.
            let bytes = self
                .requests_per_second
                .saturating_mul(Decimal::from(3_600))
                .saturating_mul(Decimal::from(bytes_per_request))
                .saturating_mul(Decimal::from(part));
            rounded(bytes / Decimal::from(whole) / Decimal::from(1_u64 << 30), HOURLY_PLACES)
        };
        let line = |item: Item, quantity: Decimal| Use {
            of: of.to_owned(),
            count: 1,
            billed: Billed::Item(item),
            quantity,
            per: Per::HourOfLoad,
        };
        let size = workload.bytes_per_request;
        let (private, public) = (u64::from(workload.targets.private), u64::from(workload.targets.public));
        // Each end is charged for what it sends to another zone and for what it receives from there.
        let between =
            gigabytes(size.total().saturating_mul(2), private * u64::from(workload.other_zone_percent), all * 100);
        let mut uses = vec![
            line(Item::ZoneTransferGb, between),
            line(Item::InternetTransferGb, gigabytes(size.sent(), public, all)),
        ];
        if self.is_behind_nat {
            uses.push(line(Item::NatGatewayGb, gigabytes(size.total(), public, all)));
        }
        uses.retain(|one| !one.quantity.is_zero());
        uses
    }
}
