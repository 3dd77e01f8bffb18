//! `trunnion catalog`: the instance types that hosts can have, with their prices.

use serde_json::{Value as Json, json};
use trunnion::{
    ExitCode,
    catalog::{
        Architecture, InstanceType, instance_types,
        prices::{self, Price},
    },
    render::{Column, table},
};

use super::{arguments::Catalog, failure::Failure, output::Output};

pub(crate) fn catalog(arguments: &Catalog, output: Output) -> Result<ExitCode, Failure> {
    let region = arguments.region.as_str();
    let known = prices::priced_regions();
    if !known.contains(&region) {
        let message = format!("no instance type has a price in `{region}`");
        let help = format!("use one of {}", known.join(", "));
        return Err(Failure::with_help("catalog::region", message, help));
    }
    let architecture: Option<Architecture> = arguments.arch.map(Into::into);
    let is_shown = |kind: &&InstanceType| {
        (arguments.names.is_empty() || arguments.names.iter().any(|name| kind.name.starts_with(name.as_str())))
            && architecture.is_none_or(|architecture| architecture == kind.architecture)
            && kind.vcpu >= arguments.min_vcpu
            && kind.memory_mib >= u64::from(arguments.min_memory_gib) << 10
            && kind.baseline_mbps >= arguments.min_gbps.saturating_mul(1_000)
            && kind.max_interfaces().saturating_mul(kind.ipv4_per_interface) >= arguments.min_addresses
            && (arguments.unpriced || prices::on_demand(kind.name, region).is_some())
    };
    let mut types: Vec<&InstanceType> = instance_types().filter(is_shown).collect();
    types.sort_by_key(|kind| (family(kind), kind.vcpu, kind.name));
    if arguments.json {
        let types: Vec<Json> = types.iter().map(|kind| as_json(kind, region)).collect();
        output.data(&format!("{:#}", Json::from(types)))?;
    } else if types.is_empty() {
        output.say("No instance type fits these options.");
    } else {
        let rows: Vec<Vec<String>> = types.iter().map(|kind| row(kind, region)).collect();
        let columns = [
            Column::Left("type"),
            Column::Left("arch"),
            Column::Right("vCPU"),
            Column::Right("GiB"),
            Column::Right("Gbit/s"),
            Column::Right("peak"),
            Column::Left("interfaces"),
            Column::Right("addresses"),
            Column::Right("USD an hour"),
            Column::Right("spot"),
            Column::Left("price"),
        ];
        let text = table(&columns, &rows);
        output.readable(&format!(
            "{text}  On-demand prices of Linux in {region}. Spot prices are of one moment. AWS publishes no limit of tracked \
             connections.\n"
        ))?;
    }
    Ok(ExitCode::Done)
}

fn family(kind: &InstanceType) -> &'static str {
    kind.name.split('.').next().unwrap_or_default()
}

fn row(kind: &InstanceType, region: &str) -> Vec<String> {
    let (on_demand, spot) = (prices::on_demand(kind.name, region), prices::spot(kind.name, region));
    let amount = |price: Option<Price>| price.map_or_else(String::new, |price| price.usd.to_string());
    let gbps = |mbps: u32| {
        let gbps = format!("{}.{:03}", mbps / 1_000, mbps % 1_000);
        gbps.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    vec![
        kind.name.to_owned(),
        kind.architecture.to_string(),
        kind.vcpu.to_string(),
        gib(kind.memory_mib),
        gbps(kind.baseline_mbps),
        gbps(kind.peak_mbps),
        kind.interfaces_in_words(),
        kind.ipv4_per_interface.to_string(),
        on_demand.map_or_else(|| "unpriced".to_owned(), |price| price.usd.to_string()),
        amount(spot),
        on_demand.map_or_else(String::new, |price| format!("{} {}", price.date, basis(price))),
    ]
}

fn basis(price: Price) -> &'static str {
    match price.basis {
        prices::Basis::List => "",
        prices::Basis::Scaled => "(by the family's ratio to us-east-1)",
        prices::Basis::Metal => "(that of the virtual type)",
        prices::Basis::Spot => "(spot)",
    }
}

fn as_json(kind: &InstanceType, region: &str) -> Json {
    let price = |price: Option<Price>| {
        price.map(|price| {
            json!({
                "usd_per_hour": price.usd.to_string(),
                "date": price.date,
                "source": price.source,
                "basis": price.basis,
            })
        })
    };
    json!({
        "name": kind.name,
        "architecture": kind.architecture,
        "vcpu": kind.vcpu,
        "memory_mib": kind.memory_mib,
        "baseline_mbps": kind.baseline_mbps,
        "peak_mbps": kind.peak_mbps,
        "interfaces_per_card": kind.cards,
        "ipv4_per_interface": kind.ipv4_per_interface,
        "region": region,
        "on_demand": price(prices::on_demand(kind.name, region)),
        "spot": price(prices::spot(kind.name, region)),
    })
}

/// `1.7` of 1,740 MiB: to a tenth.
fn gib(mib: u64) -> String {
    let tenths = (mib * 10 + 512) / 1_024;
    if tenths.is_multiple_of(10) { (tenths / 10).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
}
