//! Dated list prices: what AWS charges for the resources of a stack and for their traffic, by region.
//!
//! The tables are part of the program (`data/*-prices.csv`; their headers name the sources). What has no source in a region has
//! no price there.

use std::{
    collections::BTreeMap,
    fmt,
    iter::Sum,
    ops::{Add, Mul},
    sync::LazyLock,
};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{COMMERCIAL, Partition};

/// US dollars, exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(pub Decimal);

impl fmt::Display for Usd {
    /// As many decimal places as the amount has; `{:.2}` rounds to two, halves away from zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.precision() {
            Some(places) => write!(f, "{}", rounded(self.0, u32::try_from(places).unwrap_or(u32::MAX))),
            None => self.0.fmt(f),
        }
    }
}

/// An amount with exactly this many decimal places, halves away from zero.
pub fn rounded(amount: Decimal, places: u32) -> Decimal {
    let mut amount = amount.round_dp_with_strategy(places, rust_decimal::RoundingStrategy::MidpointAwayFromZero);
    amount.rescale(places);
    amount
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Usd(self.0.saturating_add(other.0))
    }
}

impl Mul<u32> for Usd {
    type Output = Self;

    fn mul(self, times: u32) -> Self {
        Usd(self.0.saturating_mul(times.into()))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

/// A list price in one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// The price of one unit.
    pub usd: Usd,
    /// When the source had it, such as `2026-07-20`, or `undated`.
    pub date: &'static str,
    /// Where it was read.
    pub source: &'static str,
    /// How the price was found in the source.
    pub basis: Basis,
}

/// How a price was found in its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The source has it.
    List,
    /// The price in us-east-1, by the ratio of one type of the family in both regions. AWS prices a family by size.
    Scaled,
    /// The price of the virtual type of the same size, for a type without virtualisation.
    Metal,
    /// One moment of the spot market: an order of magnitude.
    Spot,
}

impl Basis {
    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "list" => Self::List,
            "scaled" => Self::Scaled,
            "metal" => Self::Metal,
            _ => return None,
        })
    }
}

/// What AWS charges for beside instances. The end of a name is its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// A gigabyte of a gp3 volume, for a month. 3,000 operations and 125 MiB a second are included.
    Gp3GbMonth,
    /// A public IPv4 address that is in use, Elastic IPs included.
    PublicIpv4Hour,
    /// A vCPU of a Fargate task: Linux, x86.
    FargateVcpuHour,
    /// A gigabyte of memory of a Fargate task: Linux, x86.
    FargateGbHour,
    /// A gigabyte that CloudWatch Logs ingests (standard class).
    LogsGb,
    /// A gigabyte that CloudWatch Logs stores for a month.
    LogsGbMonth,
    /// A gigabyte in S3's standard class for a month, first tier.
    S3GbMonth,
    /// A NAT gateway.
    NatGatewayHour,
    /// A gigabyte that a NAT gateway processes, in either direction.
    NatGatewayGb,
    /// A gigabyte between two zones of a region. Each end is charged for it.
    ZoneTransferGb,
    /// A gigabyte sent to the internet, first tier.
    InternetTransferGb,
}

impl Item {
    /// Every item.
    pub const ALL: [Self; 11] = [
        Self::Gp3GbMonth,
        Self::PublicIpv4Hour,
        Self::FargateVcpuHour,
        Self::FargateGbHour,
        Self::LogsGb,
        Self::LogsGbMonth,
        Self::S3GbMonth,
        Self::NatGatewayHour,
        Self::NatGatewayGb,
        Self::ZoneTransferGb,
        Self::InternetTransferGb,
    ];

    /// Its name in the tables and in stack files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gp3GbMonth => "gp3_gb_month",
            Self::PublicIpv4Hour => "public_ipv4_hour",
            Self::FargateVcpuHour => "fargate_vcpu_hour",
            Self::FargateGbHour => "fargate_gb_hour",
            Self::LogsGb => "logs_gb",
            Self::LogsGbMonth => "logs_gb_month",
            Self::S3GbMonth => "s3_gb_month",
            Self::NatGatewayHour => "nat_gateway_hour",
            Self::NatGatewayGb => "nat_gateway_gb",
            Self::ZoneTransferGb => "zone_transfer_gb",
            Self::InternetTransferGb => "internet_transfer_gb",
        }
    }

    /// The item with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|item| item.as_str() == name)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The price of an instance type for an hour: Linux, shared tenancy.
pub fn on_demand(instance_type: &str, region: &str) -> Option<Price> {
    of(&ON_DEMAND, instance_type, region)
}

/// What an instance type cost for an hour at one moment of the spot market: the median over the region's zones.
pub fn spot(instance_type: &str, region: &str) -> Option<Price> {
    of(&SPOT, instance_type, region)
}

/// The price of anything else.
pub fn item(item: Item, region: &str) -> Option<Price> {
    let everywhere = || of(&OTHER, item.as_str(), EVERYWHERE).filter(|_| Partition::of(region) == COMMERCIAL);
    of(&OTHER, item.as_str(), region).or_else(everywhere)
}

/// The regions in which an instance type has a price, sorted, each with the price.
pub fn regions(instance_type: &str) -> impl Iterator<Item = (&'static str, Price)> {
    below(&ON_DEMAND, instance_type)
}

/// The regions in which an item has a price, sorted, each with the price. `*` is each commercial region.
pub fn item_regions(item: Item) -> impl Iterator<Item = (&'static str, Price)> {
    below(&OTHER, item.as_str())
}

/// The regions that have a price for at least one instance type, sorted.
pub fn priced_regions() -> Vec<&'static str> {
    let mut regions: Vec<_> = ON_DEMAND.iter().map(|row| row.region).collect();
    regions.sort_unstable();
    regions.dedup();
    regions
}

/// The region of a price that is the same in each commercial region.
const EVERYWHERE: &str = "*";

struct Row {
    name: &'static str,
    region: &'static str,
    price: Price,
}

static ON_DEMAND: LazyLock<Vec<Row>> = LazyLock::new(|| {
    read(include_str!("../data/on-demand-prices.csv"), |fields, sources| {
        let basis = Basis::read(fields.next()?)?;
        let (date, source) = sources.get(fields.next()?)?;
        Some((date, source, basis))
    })
});

static SPOT: LazyLock<Vec<Row>> = LazyLock::new(|| {
    read(include_str!("../data/spot-prices.csv"), |_, sources| {
        let (date, source) = sources.get("")?;
        Some((date, source, Basis::Spot))
    })
});

static OTHER: LazyLock<Vec<Row>> = LazyLock::new(|| {
    read(include_str!("../data/other-prices.csv"), |fields, _| Some((fields.next()?, fields.next()?, Basis::List)))
});

/// The sources that a table's header names, each with its date: `# source K: 2026-07-20: …`, or `# source: …` where it has only one.
type Sources = BTreeMap<&'static str, (&'static str, &'static str)>;

fn sources(text: &'static str) -> Sources {
    let source = |line: &'static str| {
        let (letter, rest) = line.strip_prefix("# source")?.split_once(": ")?;
        Some((letter.trim_start(), rest.split_once(": ")?))
    };
    text.lines().take_while(|line| line.starts_with('#')).filter_map(source).collect()
}

/// The date, the source and the basis of a price, from the fields behind it.
type Origin = fn(&mut dyn Iterator<Item = &'static str>, &Sources) -> Option<(&'static str, &'static str, Basis)>;

/// Every valid line, sorted. The crate's tests prove that every line of the embedded files is valid.
fn read(text: &'static str, origin: Origin) -> Vec<Row> {
    let sources = sources(text);
    let line = |line: &'static str| {
        let mut fields = line.split(',');
        let (name, region) = (fields.next()?, fields.next()?);
        let usd = Usd(Decimal::from_str_exact(fields.next()?).ok()?);
        let (date, source, basis) = origin(&mut fields, &sources)?;
        Some(Row { name, region, price: Price { usd, date, source, basis } })
    };
    let mut rows: Vec<Row> = text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect();
    rows.sort_unstable_by_key(|row| (row.name, row.region));
    rows
}

fn of(table: &'static [Row], name: &str, region: &str) -> Option<Price> {
    let at = table.binary_search_by(|row| (row.name, row.region).cmp(&(name, region))).ok()?;
    table.get(at).map(|row| row.price)
}

fn below(table: &'static [Row], name: &str) -> impl Iterator<Item = (&'static str, Price)> {
    let first = table.partition_point(|row| row.name < name);
    let end = first + table.get(first..).map_or(0, |rows| rows.partition_point(|row| row.name == name));
    table.get(first..end).unwrap_or_default().iter().map(|row| (row.region, row.price))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> usize {
        text.lines().filter(|line| !line.starts_with('#')).count()
    }

    #[test]
    fn every_line_of_the_tables_is_read() {
        assert_eq!(ON_DEMAND.len(), lines(include_str!("../data/on-demand-prices.csv")));
        assert_eq!(SPOT.len(), lines(include_str!("../data/spot-prices.csv")));
        assert_eq!(OTHER.len(), lines(include_str!("../data/other-prices.csv")));
        assert!(ON_DEMAND.len() > 3_000 && SPOT.len() > 40 && OTHER.len() > 80);
        for row in ON_DEMAND.iter().chain(SPOT.iter()) {
            assert!(crate::instance_type(row.name).is_some(), "{} is no known type", row.name);
            assert!(row.price.usd.0 > Decimal::ZERO, "{} in {}", row.name, row.region);
        }
        for row in OTHER.iter() {
            assert!(Item::named(row.name).is_some(), "{} is no item", row.name);
        }
        for table in [&*ON_DEMAND, &*SPOT, &*OTHER] {
            let is_sorted =
                table.windows(2).all(|pair| (pair[0].name, pair[0].region) < (pair[1].name, pair[1].region));
            assert!(is_sorted, "a line is there twice");
        }
    }

    #[test]
    fn prices_are_those_of_their_region() {
        let price = |name, region| on_demand(name, region).map(|price| (price.usd.to_string(), price.basis));
        assert_eq!(price("c6in.32xlarge", "us-east-1"), Some(("7.2576".to_owned(), Basis::List)));
        assert!(price("c6in.32xlarge", "eu-west-3").is_some());
        assert_eq!(price("c6in.32xlarge", "mars-north-1"), None);
        assert_eq!(price("c6in.31xlarge", "us-east-1"), None);
        assert_eq!(item(Item::NatGatewayHour, "eu-west-3"), None);
        assert_eq!(item(Item::PublicIpv4Hour, "eu-west-3").unwrap().usd.to_string(), "0.005");
        assert_eq!(item(Item::PublicIpv4Hour, "cn-north-1"), None, "it is a price of the commercial partition");
        assert_eq!(spot("c6in.8xlarge", "us-east-1").unwrap().basis, Basis::Spot);
        let known: Vec<_> = item_regions(Item::NatGatewayHour).map(|(region, _)| region).collect();
        assert_eq!(known, ["ap-southeast-1", "eu-central-1", "us-east-1", "us-east-2"]);
        assert_eq!(regions("c8a.large").count(), 1);
        assert!(priced_regions().contains(&"sa-east-1"));
    }

    #[test]
    fn money_is_exact() {
        let price = on_demand("c6in.32xlarge", "us-east-1").unwrap().usd;
        assert_eq!((price * 4).to_string(), "29.0304");
        assert_eq!(format!("{:.2}", price * 3), "21.77");
        assert_eq!([price, price].into_iter().sum::<Usd>(), price * 2);
        assert_eq!(rounded(Decimal::new(5, 3), 2).to_string(), "0.01");
        assert_eq!(rounded(Decimal::new(7, 0), 2).to_string(), "7.00");
    }
}
