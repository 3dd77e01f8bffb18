//! What spot instances cost now: `DescribeSpotPriceHistory`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::{
    Client,
    primitives::DateTime,
    types::{InstanceType, SpotPrice},
};
use trunnion_estimate::Decimal;

use crate::Failure;

/// AWS's name of Linux in spot prices.
const LINUX: &str = "Linux/UNIX";

/// What each of these types costs in a region: the median over the zones that have it.
pub(super) async fn ask(
    ec2: &Client,
    types: &BTreeSet<String>,
    now: DateTime,
) -> Result<BTreeMap<String, Decimal>, Failure> {
    // A start of now leaves of each history the price that holds.
    let call = ec2.describe_spot_price_history().product_descriptions(LINUX).start_time(now).end_time(now);
    let mut prices = call.into_paginator().page_size(1000).items().send();
    let mut found = Vec::new();
    while let Some(price) = prices.next().await {
        found.push(price.map_err(super::said)?);
    }
    read(&found, types)
}

fn read(prices: &[SpotPrice], types: &BTreeSet<String>) -> Result<BTreeMap<String, Decimal>, Failure> {
    let mut newest: BTreeMap<(&str, &str), &SpotPrice> = BTreeMap::new();
    for price in prices {
        let name = price.instance_type.as_ref().map(InstanceType::as_str).unwrap_or_default();
        if !types.contains(name) {
            continue;
        }
        let zone = price.availability_zone.as_deref().or(price.availability_zone_id.as_deref()).unwrap_or_default();
        let known = newest.entry((name, zone)).or_insert(price);
        if price.timestamp > known.timestamp {
            *known = price;
        }
    }
    let mut of_type: BTreeMap<&str, Vec<Decimal>> = BTreeMap::new();
    for ((name, zone), price) in newest {
        let text = price.spot_price.as_deref().unwrap_or_default();
        let usd = text.parse().map_err(|error| format!("the spot price of {name} in {zone}, `{text}`: {error}"))?;
        of_type.entry(name).or_default().push(usd);
    }
    Ok(of_type.into_iter().filter_map(|(name, prices)| Some((name.to_owned(), median(prices)?.normalize()))).collect())
}

fn median(mut prices: Vec<Decimal>) -> Option<Decimal> {
    prices.sort_unstable();
    let (low, high) = (prices.get(prices.len().checked_sub(1)? / 2)?, prices.get(prices.len() / 2)?);
    Some((low + high) / Decimal::TWO)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn price(name: &str, zone: &str, seconds: i64, usd: &str) -> SpotPrice {
        SpotPrice::builder()
            .instance_type(InstanceType::from(name))
            .availability_zone(zone)
            .timestamp(DateTime::from_secs(seconds))
            .spot_price(usd)
            .build()
    }

    #[test]
    fn a_type_costs_the_median_of_the_newest_prices_of_its_zones() {
        let types = BTreeSet::from(["c6in.8xlarge".to_owned(), "c7i.large".to_owned()]);
        let prices = [
            price("c6in.8xlarge", "eu-west-3a", 10, "0.700000"),
            price("c6in.8xlarge", "eu-west-3a", 20, "0.900000"),
            price("c6in.8xlarge", "eu-west-3b", 15, "0.500000"),
            price("c6in.8xlarge", "eu-west-3c", 15, "0.600000"),
            price("c7i.large", "eu-west-3a", 15, "0.03"),
            price("c7i.large", "eu-west-3b", 15, "0.04"),
            price("m5.large", "eu-west-3b", 15, "0.04"),
        ];
        let found = read(&prices, &types).unwrap();
        let found: Vec<_> = found.iter().map(|(name, usd)| (name.as_str(), usd.to_string())).collect();
        assert_eq!(found, [("c6in.8xlarge", "0.6".to_owned()), ("c7i.large", "0.035".to_owned())]);
        assert!(read(&[price("c7i.large", "eu-west-3a", 1, "cheap")], &types).is_err());
    }
}
