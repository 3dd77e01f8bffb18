//! Prices of the stack's own, in place of the dated list prices.

use std::collections::BTreeMap;

use iso_currency::Currency;
use rust_decimal::Decimal;
use serde_json::json;
use trunnion_catalog::prices::Item;

use super::{
    Around, Described,
    decimals::{ByInstanceType, Number},
    key::{Kind, optional, or, or_empty},
    section::section,
};
use crate::{
    diagnostic::Findings,
    field::{Field, Map},
    sources::shown_text,
};

const MONEY: Number = Number::money();
const RATE: Number = Number {
    least: Decimal::from_parts(1, 0, 0, false, 6),
    most: Decimal::from_parts(1_000_000, 0, 0, false, 0),
    places: 8,
};
const PERCENT: Number = Number { least: Decimal::ZERO, most: Decimal::ONE_HUNDRED, places: 4 };

section! {
    /// Prices of your own, in place of the list prices that this version has: negotiated rates, savings plans, and what no list has. All
    /// are in `currency`.
    pub struct Prices {
        /// The currency of these prices, of `budget`, and of every amount in a plan, as its ISO 4217 code.
        currency: String = or(CurrencyCode, "USD").such_as(&["EUR"]),
        /// How many units of the currency a US dollar is worth. List prices are in US dollars.
        exchange_rate: Decimal = or(RATE, "1").such_as(&["0.92"]),
        /// What list prices of on-demand instances are reduced by, in percent, such as by a savings plan.
        discount_percent: Decimal = or(PERCENT, "0").such_as(&["28"]),
        /// On-demand prices of instance types, for an hour.
        instances: BTreeMap<String, Decimal> = or_empty(ByInstanceType(MONEY), "list prices")
            .such_as(&["{ c6in.32xlarge: 5.1 }"]),
        /// Spot prices of instance types, for an hour.
        spot: BTreeMap<String, Decimal> = or_empty(ByInstanceType(MONEY), "list prices, or the on-demand price")
            .such_as(&["{ c6in.32xlarge: 2.9 }"]),
        /// A gigabyte of a gp3 volume, for a month.
        gp3_gb_month: Option<Decimal> = optional(MONEY, "the list price").such_as(&["0.0928"]),
        /// A public IPv4 address in use, for an hour.
        public_ipv4_hour: Option<Decimal> = optional(MONEY, "the list price").such_as(&["0.005"]),
        /// A vCPU of a Fargate task, for an hour.
        fargate_vcpu_hour: Option<Decimal> = optional(MONEY, "the list price").such_as(&["0.0486"]),
        /// A gigabyte of memory of a Fargate task, for an hour.
        fargate_gb_hour: Option<Decimal> = optional(MONEY, "the list price").such_as(&["0.0053"]),
        /// A gigabyte that CloudWatch Logs ingests.
        logs_gb: Option<Decimal> = optional(MONEY, "the list price").such_as(&["0.59"]),
        /// A gigabyte that CloudWatch Logs stores, for a month.
        logs_gb_month: Option<Decimal> = optional(MONEY, "the list price").such_as(&["0.0315"]),
        /// A gigabyte in S3's standard class, for a month.
        s3_gb_month: Option<Decimal> = optional(MONEY, "the list price").such_as(&["0.024"]),
        /// A NAT gateway, for an hour.
        nat_gateway_hour: Option<Decimal> = optional(MONEY, "the list price").such_as(&["0.05"]),
        /// A gigabyte that a NAT gateway processes.
        nat_gateway_gb: Option<Decimal> = optional(MONEY, "the list price").such_as(&["0.05"]),
        /// A gigabyte to another availability zone, at each end.
        zone_transfer_gb: Option<Decimal> = optional(MONEY, "the list price").such_as(&["0.01"]),
        /// A gigabyte sent to the internet.
        internet_transfer_gb: Option<Decimal> = optional(MONEY, "the list price").such_as(&["0.09"]),
        /// A credit of Gatling Enterprise, for the comparison with generators that Gatling manages.
        gatling_credit: Option<Decimal> = optional(MONEY, "that comparison has credits only").such_as(&["0.1"]),
    }
    check(map, _around, findings) {
        is_converted(map, currency.as_deref(), exchange_rate, findings)
    }
}

impl Prices {
    /// The own prices of everything but instances.
    pub fn items(&self) -> BTreeMap<Item, Decimal> {
        let price = |item| match item {
            Item::Gp3GbMonth => self.gp3_gb_month,
            Item::PublicIpv4Hour => self.public_ipv4_hour,
            Item::FargateVcpuHour => self.fargate_vcpu_hour,
            Item::FargateGbHour => self.fargate_gb_hour,
            Item::LogsGb => self.logs_gb,
            Item::LogsGbMonth => self.logs_gb_month,
            Item::S3GbMonth => self.s3_gb_month,
            Item::NatGatewayHour => self.nat_gateway_hour,
            Item::NatGatewayGb => self.nat_gateway_gb,
            Item::ZoneTransferGb => self.zone_transfer_gb,
            Item::InternetTransferGb => self.internet_transfer_gb,
        };
        Item::ALL.into_iter().filter_map(|item| Some((item, price(item)?))).collect()
    }
}

/// List prices are in US dollars, so another currency needs a rate.
fn is_converted(
    map: &Map,
    currency: Option<&str>,
    exchange_rate: Option<Decimal>,
    findings: &mut Findings,
) -> Option<()> {
    let (says, help, field) = match (currency, map.get("exchange_rate")) {
        (Some(currency), None) if currency != "USD" => (
            format!("is `{currency}`, but list prices are in US dollars"),
            "add how many units of it a US dollar is worth, such as `exchange_rate: 0.92`".to_owned(),
            map.get("currency")?,
        ),
        (Some("USD"), Some(rate)) if exchange_rate.is_some_and(|rate| rate != Decimal::ONE) => (
            "is another one than 1, but the currency is `USD`".to_owned(),
            "add the `currency` that the rate is of, such as `currency: EUR`".to_owned(),
            rate,
        ),
        _ => return Some(()),
    };
    findings.about(&field, "stack::currency", says, help);
    None
}

struct CurrencyCode;

impl Kind for CurrencyCode {
    type Value = String;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<String> {
        let text = findings.text(field)?;
        if Currency::from_code(text).is_none() {
            let help = match Currency::from_code(&text.to_uppercase()) {
                Some(currency) => format!("write it as `{}`", currency.code()),
                None => "write a code of ISO 4217, such as `EUR`".to_owned(),
            };
            let says = format!("is `{}`, which is not a currency", shown_text(text));
            findings.about(field, "stack::currency", says, help);
            return None;
        }
        Some(text.to_owned())
    }

    fn describe(&self) -> Described {
        Described {
            name: "text".to_owned(),
            bounds: vec!["a code of ISO 4217".to_owned()],
            forms: vec![json!({ "type": "string", "pattern": "^[A-Z]{3}$" })],
            ..Described::default()
        }
    }
}
