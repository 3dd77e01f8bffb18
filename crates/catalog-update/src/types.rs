//! What instance types are: `DescribeInstanceTypes`.

use std::collections::BTreeMap;

use aws_sdk_ec2::{
    Client,
    types::{ArchitectureType, InstanceTypeInfo, NetworkInfo},
};

use crate::Failure;

/// The line of each type that a region offers, by its name. Types that cannot run the generator, such as Macs, have none.
pub(super) async fn ask(ec2: &Client) -> Result<BTreeMap<String, String>, Failure> {
    let mut types = ec2.describe_instance_types().into_paginator().page_size(100).items().send();
    let mut found = BTreeMap::new();
    while let Some(one) = types.next().await {
        found.extend(line(&one.map_err(super::said)?));
    }
    Ok(found)
}

fn line(one: &InstanceTypeInfo) -> Option<(String, String)> {
    let name = one.instance_type.as_ref()?.as_str().to_owned();
    let architectures = one.processor_info.as_ref()?.supported_architectures();
    let known = [ArchitectureType::X8664, ArchitectureType::Arm64];
    let architecture = known.iter().find(|known| architectures.contains(known))?;
    let vcpu = one.v_cpu_info.as_ref()?.default_v_cpus?;
    let memory = one.memory_info.as_ref()?.size_in_mib?;
    let network = one.network_info.as_ref()?;
    let (baseline, peak) = bandwidth(network)?;
    let cards = network.network_cards();
    let cards: Option<Vec<String>> =
        cards.iter().map(|card| Some(card.maximum_network_interfaces?.to_string())).collect();
    let (cards, addresses) = (cards?.join("+"), network.ipv4_addresses_per_interface?);
    let line = format!("{name},{architecture},{vcpu},{memory},{baseline},{peak},{cards},{addresses}");
    Some((name, line))
}

/// The baseline and the peak of all cards together, in Mbit/s. AWS's words, such as `Up to 25 Gigabit` or `2x 100 Gigabit`, win
/// over the sum of the cards.
fn bandwidth(network: &NetworkInfo) -> Option<(f64, f64)> {
    let cards = network.network_cards();
    let sum = |of: fn(&aws_sdk_ec2::types::NetworkCardInfo) -> Option<f64>| cards.iter().map(of).sum::<Option<f64>>();
    let (mut baseline, mut peak) =
        (sum(|card| card.baseline_bandwidth_in_gbps)?, sum(|card| card.peak_bandwidth_in_gbps)?);
    if let Some(words) = in_words(network.network_performance()?) {
        peak = words.gbps;
        baseline = if words.bursts { baseline.min(peak) } else { peak };
    }
    let mbps = |gbps: f64| (gbps * 1000.0).round();
    Some((mbps(baseline), mbps(peak)))
}

#[derive(Debug, PartialEq)]
struct Words {
    gbps: f64,
    bursts: bool,
}

fn in_words(text: &str) -> Option<Words> {
    let rest = text.strip_suffix(" Gigabit")?;
    let (bursts, rest) = rest.strip_prefix("Up to ").map_or((false, rest), |rest| (true, rest));
    let (cards, each) = match rest.split_once("x ") {
        Some((cards, each)) => (cards.parse::<u8>().ok()?, each),
        None => (1, rest),
    };
    Some(Words { gbps: each.parse::<f64>().ok()? * f64::from(cards), bursts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_aws_are_read() {
        let words = |gbps, bursts| Some(Words { gbps, bursts });
        assert_eq!(in_words("25 Gigabit"), words(25.0, false));
        assert_eq!(in_words("Up to 12.5 Gigabit"), words(12.5, true));
        assert_eq!(in_words("4x 100 Gigabit"), words(400.0, false));
        assert_eq!(in_words("Moderate"), None);
        assert_eq!(in_words("Up to fast Gigabit"), None);
    }
}
