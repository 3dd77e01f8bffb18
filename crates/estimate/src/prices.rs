//! The prices of one stack: its own first, then the dated list prices of its region.

use std::{collections::BTreeMap, fmt};

use rust_decimal::Decimal;
use trunnion_catalog::prices::{self, Basis, Item};

/// How instances are paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Market {
    /// By the second, until they are terminated.
    OnDemand,
    /// At the spot price.
    Spot,
}

/// Where a price comes from, and in which currency it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prices {
    /// The AWS region.
    pub region: String,
    /// ISO 4217 code of all amounts.
    pub currency: String,
    /// How many units of the currency a US dollar is worth. List prices are in dollars.
    pub exchange_rate: Decimal,
    /// What the list prices of on-demand instances are reduced by, in percent, such as by savings plans.
    pub discount_percent: Decimal,
    /// Own prices of instance types for an hour, on demand.
    pub instances: BTreeMap<String, Decimal>,
    /// Own prices of instance types for an hour, spot.
    pub spot: BTreeMap<String, Decimal>,
    /// Own prices of everything else.
    pub items: BTreeMap<Item, Decimal>,
    /// Price of a credit of Gatling Enterprise.
    pub gatling_credit: Option<Decimal>,
}

/// One price, in the currency of its [`Prices`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// The price of one unit.
    pub amount: Decimal,
    /// Where it comes from.
    pub source: Source,
}

/// Where a price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The stack's own `prices`.
    Stack,
    /// A dated list.
    List {
        /// When the source had it.
        date: &'static str,
        /// Where it was read.
        source: &'static str,
        /// How it was found there.
        basis: Basis,
    },
    /// The on-demand price stands in for an unknown spot price, which is never higher.
    InsteadOfSpot {
        /// When the source had it.
        date: &'static str,
        /// Where it was read.
        source: &'static str,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stack => f.write_str("`prices` of the stack"),
            Self::List { date, source, basis: Basis::List } => write!(f, "{source}, {date}"),
            Self::List { date, source, basis: Basis::Scaled } => {
                write!(f, "us-east-1's price by the ratio of the family in both regions; {source}, {date}")
            }
            Self::List { date, source, basis: Basis::Metal } => {
                write!(f, "the price of the virtual type of this size; {source}, {date}")
            }
            Self::List { date, source, basis: Basis::Spot } => {
                write!(f, "an order of magnitude: {source}, {date}")
            }
            Self::InsteadOfSpot { date, source } => {
                write!(f, "the on-demand price, which a spot price never exceeds; {source}, {date}")
            }
        }
    }
}

impl Prices {
    /// List prices of a region, in US dollars.
    pub fn of_region(region: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            currency: "USD".to_owned(),
            exchange_rate: Decimal::ONE,
            discount_percent: Decimal::ZERO,
            instances: BTreeMap::new(),
            spot: BTreeMap::new(),
            items: BTreeMap::new(),
            gatling_credit: None,
        }
    }

    /// An instance for an hour; `None` if it is unpriced.
    pub fn instance(&self, instance_type: &str, market: Market) -> Option<Rate> {
        let own = |of: &BTreeMap<String, Decimal>| {
            of.get(instance_type).map(|amount| Rate { amount: *amount, source: Source::Stack })
        };
        match market {
            Market::OnDemand => own(&self.instances).or_else(|| self.on_demand(instance_type)),
            Market::Spot => {
                let listed = || {
                    let price = prices::spot(instance_type, &self.region)?;
                    Some(self.listed(price, Decimal::ZERO))
                };
                let upper_bound = || {
                    let price = prices::on_demand(instance_type, &self.region)?;
                    let source = Source::InsteadOfSpot { date: price.date, source: price.source };
                    Some(Rate { source, ..self.listed(price, Decimal::ZERO) })
                };
                let own_on_demand = || own(&self.instances);
                own(&self.spot).or_else(listed).or_else(own_on_demand).or_else(upper_bound)
            }
        }
    }

    fn on_demand(&self, instance_type: &str) -> Option<Rate> {
        let price = prices::on_demand(instance_type, &self.region)?;
        Some(self.listed(price, self.discount_percent))
    }

    /// Anything else for one unit; `None` if it is unpriced.
    pub fn item(&self, item: Item) -> Option<Rate> {
        let own = self.items.get(&item).map(|amount| Rate { amount: *amount, source: Source::Stack });
        own.or_else(|| prices::item(item, &self.region).map(|price| self.listed(price, Decimal::ZERO)))
    }

    fn listed(&self, price: prices::Price, discount_percent: Decimal) -> Rate {
        let left = (Decimal::ONE_HUNDRED - discount_percent) / Decimal::ONE_HUNDRED;
        Rate {
            amount: (price.usd.0 * left * self.exchange_rate).normalize(),
            source: Source::List { date: price.date, source: price.source, basis: price.basis },
        }
    }
}
