//! The highest possible cost of a run.

use std::fmt;

use serde_json::Value;
use trunnion_catalog::{COMMERCIAL, Partition, prices::on_demand};

use crate::Failure;

/// No region of AWS's commercial partition that was read (24, prices of 2026-04 to 2026-08) costs more than 1.72 times
/// us-east-1, for instances, Fargate and EBS (1.9 times, 2021): sa-east-1.
const FACTOR: f64 = 2.0;

/// Fargate in us-east-1, Linux on x86, in dollars for a vCPU and for a GB, each for an hour (AWS's prices as quoted by
/// vantage.sh, and by Infracost's tests of 2025-07-07).
const FARGATE_VCPU: f64 = 0.04048;
const FARGATE_GB: f64 = 0.004_445;

/// A public IPv4 address for an hour, in every commercial region (AWS's announcement, since 2024-02-01).
const PUBLIC_IPV4: f64 = 0.005;

/// gp3 for a GB in a month of 720 hours, us-east-1 (2024-07-01).
const GP3_MONTH: f64 = 0.08;

/// Requests, logs and traffic, in dollars.
const REST: f64 = 0.50;

/// The highest possible cost, in words.
pub(super) struct Cost(String);

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.0)
    }
}

/// The cost of these changes for this time.
pub(super) fn highest(changes: &[Value], region: &str, minutes: u32, agreed: Option<f64>) -> Result<Cost, Failure> {
    if let Some(most) = agreed {
        return Ok(Cost(format!("You accept a cost of {most:.2} US dollars; no price was looked up.")));
    }
    if Partition::of(region).id != COMMERCIAL.id {
        let help = "name the highest cost that you accept, with `--most-cost`";
        return Err(format!("there are no prices for {region}: {help}").into());
    }
    // Destroying can take as long as the limit again.
    let hours = f64::from(minutes) * 2.0 / 60.0;
    let mut hourly = 0.0;
    for change in changes {
        let (address, desired) = (change["address"].as_str().unwrap_or_default(), &change["desired"]);
        match address.split('.').next().unwrap_or_default() {
            "instance" => {
                let pool = address.trim_start_matches("instance.").split('[').next().unwrap_or_default();
                hourly += host(changes, pool)? + PUBLIC_IPV4;
            }
            "elastic_ip" => hourly += PUBLIC_IPV4,
            "ecs_task_definition" => {
                // Two tasks can exist for a moment while the service is changed.
                hourly += 2.0 * (task(desired) + PUBLIC_IPV4);
            }
            _ => {}
        }
    }
    let most = ((hourly * hours * FACTOR + REST) * 100.0).ceil() / 100.0;
    Ok(Cost(format!(
        "It costs at most {most:.2} US dollars: {hours:.1} hours with twice the on-demand prices of us-east-1, and \
         {REST:.2} for requests, logs and traffic. Taxes are not included."
    )))
}

/// A task for an hour. A size that cannot be read is the largest one of Fargate.
fn task(desired: &Value) -> f64 {
    let number = |name: &str| desired[name].as_str().and_then(|text| text.parse().ok()).or(desired[name].as_f64());
    let vcpu = number("cpu").unwrap_or(16_384.0) / 1024.0;
    let gb = number("memory").unwrap_or(122_880.0) / 1024.0;
    vcpu * FARGATE_VCPU + gb * FARGATE_GB
}

/// A host of a pool for an hour, with its volume.
fn host(changes: &[Value], pool: &str) -> Result<f64, Failure> {
    let template = format!("launch_template.{pool}");
    let template = changes.iter().find(|change| change["address"] == template.as_str());
    let name = template.and_then(|change| change["desired"]["data"]["instance_type"].as_str()).unwrap_or_default();
    let price = hourly(name).ok_or_else(|| {
        format!(
            "the price of `{name}` is not known: use another instance type, or name the highest cost that you accept, \
             with `--most-cost`"
        )
    })?;
    let size = template.and_then(|change| change["desired"]["data"]["volume"]["size_gib"].as_f64());
    let size = size.filter(|size| *size > 0.0).ok_or_else(|| {
        format!(
            "the plan does not show the size of the volumes of `{pool}`: name the highest cost that you accept, with \
             `--most-cost`"
        )
    })?;
    Ok(price + size * GP3_MONTH / 720.0)
}

/// The price of an instance type in us-east-1, in dollars for an hour.
fn hourly(name: &str) -> Option<f64> {
    on_demand(name, "us-east-1")?.usd.to_string().parse().ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_cost_counts_hosts_addresses_and_tasks() {
        let with = |data: Value| {
            vec![
                json!({"address": "launch_template.small", "desired": {"data": data}}),
                json!({"address": "instance.small[0]", "desired": {}}),
                json!({"address": "elastic_ip.small[0]", "desired": {}}),
                json!({"address": "ecs_task_definition.control_plane", "desired": {"cpu": "1024", "memory": "2048"}}),
            ]
        };
        let changes = |kind: &str, size: u32| with(json!({"instance_type": kind, "volume": {"size_gib": size}}));
        let priced = trunnion_catalog::instance_type("c7i.xlarge").unwrap();
        for size in [30, 16_384] {
            let hourly = super::hourly(priced.name).unwrap()
                + 2.0 * 0.005
                + f64::from(size) * 0.08 / 720.0
                + 2.0 * (0.04048 + 2.0 * 0.004_445 + 0.005);
            let expected = ((hourly * 2.0 * 2.0 + 0.5) * 100.0).ceil() / 100.0;
            let text = highest(&changes(priced.name, size), "eu-west-3", 60, None).unwrap().to_string();
            assert!(text.starts_with(&format!("It costs at most {expected:.2} US dollars: 2.0 hours")), "{text}");
        }
        let unsized_volume = with(json!({"instance_type": priced.name}));
        let error = highest(&unsized_volume, "eu-west-3", 60, None).err().unwrap().to_string();
        assert!(error.contains("--most-cost"), "{error}");
        for (kind, region) in [("a1.metal", "eu-west-3"), ("x9.huge", "eu-west-3"), (priced.name, "cn-north-1")] {
            let error = highest(&changes(kind, 30), region, 60, None).err().unwrap().to_string();
            assert!(error.contains("--most-cost"), "{error}");
            assert!(highest(&changes(kind, 30), region, 60, Some(7.0)).unwrap().to_string().contains("7.00"));
        }
    }
}
