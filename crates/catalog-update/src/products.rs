//! What AWS's price list says: `GetProducts` of the Price List Query API.

use std::{collections::BTreeMap, str::FromStr as _};

use aws_sdk_pricing::{
    Client,
    types::{Filter, FilterType},
};
use serde::Deserialize;
use trunnion_estimate::Decimal;

use crate::Failure;

/// A product of the price list. The API hands it out as a text of JSON in JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Product {
    #[serde(rename = "product")]
    about: Described,
    #[serde(default)]
    terms: Terms,
    /// When AWS published this version of the list, in RFC 3339.
    publication_date: String,
}

#[derive(Debug, Deserialize)]
struct Described {
    sku: String,
    attributes: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
struct Terms {
    #[serde(rename = "OnDemand", default)]
    on_demand: BTreeMap<String, Term>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Term {
    price_dimensions: BTreeMap<String, Dimension>,
}

/// A tier of a price.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dimension {
    unit: String,
    #[serde(default)]
    begin_range: Option<String>,
    /// Amounts by currency.
    price_per_unit: BTreeMap<String, String>,
}

/// Which products have a price, and which of them is meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    pub service: &'a str,
    /// What AWS selects by. Each attribute has exactly this value.
    pub filters: &'a [(&'a str, &'a str)],
    /// The usage type without the prefix of its region, such as `NatGateway-Hours` of `EUC1-NatGateway-Hours`; any if empty.
    pub usage: &'a str,
    /// The attribute with the region's code.
    pub region: &'a str,
    /// How AWS writes the unit.
    pub units: &'a [&'a str],
}

/// A price in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Priced {
    pub usd: Decimal,
    /// The day on which AWS published it: `2026-11-27`.
    pub date: String,
    sku: String,
}

impl Query<'_> {
    /// The price in each region. Two products of one region with different prices are an error: the query is too wide.
    pub(super) async fn ask(&self, pricing: &Client) -> Result<BTreeMap<String, Priced>, Failure> {
        let filter = |(field, value): &(&str, &str)| {
            Filter::builder().r#type(FilterType::TermMatch).field(*field).value(*value).build()
        };
        let filters = self.filters.iter().map(filter).collect::<Result<_, _>>()?;
        let call = pricing.get_products().service_code(self.service).set_filters(Some(filters));
        let mut texts = call.into_paginator().page_size(100).items().send();
        let mut found: Vec<Product> = Vec::new();
        while let Some(text) = texts.next().await {
            let text = text.map_err(super::said)?;
            found.push(serde_json::from_str(&text)?);
        }
        self.read(&found)
    }

    /// The price in each region of these products.
    pub(super) fn read(&self, products: &[Product]) -> Result<BTreeMap<String, Priced>, Failure> {
        let mut found: BTreeMap<String, Priced> = BTreeMap::new();
        for product in products.iter().filter(|product| self.means(product)) {
            let Some(region) = product.about.attributes.get(self.region) else { continue };
            let Some(priced) = product.price(self.units)? else { continue };
            match found.get(region) {
                Some(other) if other.usd != priced.usd => {
                    return Err(format!(
                        "{} in {region} is {} (SKU {}) and {} (SKU {}): the filters do not tell them apart",
                        self.usage, other.usd, other.sku, priced.usd, priced.sku
                    )
                    .into());
                }
                _ => drop(found.insert(region.clone(), priced)),
            }
        }
        Ok(found)
    }

    /// The prefix of a region is letters and digits, `EUC1-`; us-east-1 has none in some services.
    fn means(&self, product: &Product) -> bool {
        let usage = product.about.attributes.get("usagetype").map_or("", String::as_str);
        let has_prefix = |prefix: &str| !prefix.is_empty() && prefix.chars().all(|one| one.is_ascii_alphanumeric());
        let is_usage = self.usage.is_empty()
            || usage == self.usage
            || usage.strip_suffix(self.usage).and_then(|prefix| prefix.strip_suffix('-')).is_some_and(has_prefix);
        // Filters are AWS's to apply; that it did is seen here, because a mistyped field would select everything.
        let matches = |(field, value): &(&str, &str)| {
            *field == "productFamily" || product.about.attributes.get(*field).is_some_and(|found| found == value)
        };
        // Local zones and Wavelength zones have the code of their region.
        let is_region = |field: &str| product.about.attributes.get(field).is_none_or(|kind| kind == "AWS Region");
        is_usage && is_region("locationType") && is_region("fromLocationType") && self.filters.iter().all(matches)
    }
}

impl Product {
    /// The on-demand price of the first tier that costs something; nothing without a price on demand.
    fn price(&self, units: &[&str]) -> Result<Option<Priced>, Failure> {
        let sku = &self.about.sku;
        let terms: Vec<&Term> = self.terms.on_demand.values().collect();
        let [term] = terms[..] else {
            if terms.is_empty() {
                return Ok(None);
            }
            return Err(format!("SKU {sku} has {} offers on demand", terms.len()).into());
        };
        let mut tiers = Vec::new();
        for tier in term.price_dimensions.values() {
            if !units.contains(&tier.unit.as_str()) {
                return Err(
                    format!("SKU {sku} is priced for `{}`, and not for {}", tier.unit, units.join(" or ")).into()
                );
            }
            let Some(usd) = tier.price_per_unit.get("USD") else { continue };
            let number = |text: &str| Decimal::from_str(text).map_err(|error| format!("SKU {sku}: `{text}`: {error}"));
            tiers.push((number(tier.begin_range.as_deref().unwrap_or("0"))?, number(usd)?.normalize()));
        }
        tiers.sort_unstable();
        let first = tiers.into_iter().map(|(_, usd)| usd).find(|usd| *usd > Decimal::ZERO);
        let date = self.publication_date.get(..10).unwrap_or_default().to_owned();
        Ok(first.map(|usd| Priced { usd, date, sku: sku.clone() }))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use trunnion_catalog::prices::Item;

    use super::{super::items::query, *};

    /// Products as AWS returned them, from public repositories: TypeOneLabs/tellury (EC2, EBS, public IPv4; August and July 2026,
    /// Apache-2.0), opencost/opencost (Fargate 2025, capacity blocks 2024, Apache-2.0; joined from the regional offer files) and
    /// scttfrdmn/substrate (S3, July 2026).
    fn recorded() -> Vec<Product> {
        serde_json::from_str(include_str!("recorded.json")).unwrap()
    }

    fn found(query: Query<'_>) -> Vec<(String, String)> {
        let prices = query.read(&recorded()).unwrap();
        prices.into_iter().map(|(region, priced)| (region, priced.usd.to_string())).collect()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(region, usd)| ((*region).to_owned(), (*usd).to_owned())).collect()
    }

    #[test]
    fn a_type_has_its_price_on_demand() {
        for (name, usd) in [("t3.medium", "0.0416"), ("p4d.24xlarge", "32.7726")] {
            let (filters, usage) = (super::super::instance(name), format!("BoxUsage:{name}"));
            let query =
                Query { service: "AmazonEC2", filters: &filters, usage: &usage, region: "regionCode", units: &["Hrs"] };
            assert_eq!(found(query), pairs(&[("us-east-1", usd)]), "{name}");
        }
    }

    #[test]
    fn an_item_is_none_of_its_neighbours() {
        for (item, expected) in [
            (Item::Gp3GbMonth, &[("eu-west-1", "0.088"), ("us-east-1", "0.08")][..]),
            (Item::PublicIpv4Hour, &[("eu-west-1", "0.005")]),
            (Item::FargateVcpuHour, &[("us-east-1", "0.04048")]),
            (Item::FargateGbHour, &[("us-east-1", "0.004445")]),
            // The first of three tiers.
            (Item::S3GbMonth, &[("us-east-1", "0.023")]),
            (Item::NatGatewayHour, &[]),
        ] {
            assert_eq!(found(query(item)), pairs(expected), "{item}");
        }
    }

    fn product(sku: &str, region: &str, tiers: &str) -> Product {
        let text = format!(
            r#"{{"product": {{"sku": "{sku}", "attributes": {{"usagetype": "EUC1-NatGateway-Hours", "regionCode": "{region}",
            "groupDescription": "Hourly charge for NAT Gateways", "locationType": "AWS Region"}}}}, "publicationDate":
            "2026-11-01T00:00:00Z", "terms": {{"OnDemand": {{"t": {{"priceDimensions": {tiers}}}}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn tier(begin: &str, unit: &str, usd: &str) -> String {
        format!(r#""{begin}": {{"unit": "{unit}", "beginRange": "{begin}", "pricePerUnit": {{"USD": "{usd}"}}}}"#)
    }

    #[test]
    fn a_price_that_is_not_clear_is_an_error() {
        let of = |tiers: &[String]| product("A", "eu-central-1", &format!("{{{}}}", tiers.join(", ")));
        let read = |products: &[Product]| {
            let prices = query(Item::NatGatewayHour).read(products);
            prices.map(|prices| prices.into_values().map(|priced| priced.usd.to_string()).collect::<Vec<_>>())
        };
        let dear = of(&[tier("0", "Hrs", "0.0520000000")]);
        // A tier that is free is no price. Tiers have no order.
        let free = of(&[tier("100", "Hrs", "0.04"), tier("10", "Hrs", "0.052"), tier("0", "Hrs", "0")]);
        assert_eq!(read(&[free]).unwrap(), ["0.052"]);
        assert_eq!(read(&[of(&[tier("0", "Hrs", "0")])]).unwrap(), Vec::<String>::new());
        // Two products with the same price are one; with other prices, the query is too wide.
        let same = product("B", "eu-central-1", &format!("{{{}}}", tier("0", "Hrs", "0.052")));
        let other = product("B", "eu-central-1", &format!("{{{}}}", tier("0", "Hrs", "0.05")));
        let elsewhere = product("C", "eu-west-1", &format!("{{{}}}", tier("0", "Hrs", "0.05")));
        assert_eq!(read(&[same, elsewhere]).unwrap(), ["0.052", "0.05"]);
        let both = read(&[dear, other]).unwrap_err().to_string();
        assert!(both.contains("SKU A") && both.contains("SKU B"), "{both}");
        let per_gb = read(&[of(&[tier("0", "GB", "0.052")])]).unwrap_err().to_string();
        assert!(per_gb.contains("priced for `GB`"), "{per_gb}");
        assert!(read(&[of(&[tier("0", "Hrs", "cheap")])]).is_err());
    }

    #[test]
    fn a_local_zone_is_no_region() {
        let mut zone = product("A", "eu-central-1", &format!("{{{}}}", tier("0", "Hrs", "0.1")));
        zone.about.attributes.insert("locationType".to_owned(), "AWS Local Zone".to_owned());
        assert!(query(Item::NatGatewayHour).read(&[zone]).unwrap().is_empty());
    }
}
