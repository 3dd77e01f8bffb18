//! Whether the zone of each pool offers its instance type.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::LocationType;
use trunnion_engine::Finding;
use trunnion_kinds::lookup::{InstanceType, Subnet};

use super::{Examination, failed};
use crate::{convert::attribute, error::OfCall as _, kinds::tagging::filter};

pub(super) async fn examine(examination: &Examination<'_>) -> Vec<Finding> {
    let Examination { aws, known, .. } = examination;
    let of_kind = |kind: &'static str| known.iter().filter(move |(address, _)| address.kind.as_str() == kind);
    let zones: BTreeMap<&str, &str> =
        of_kind(Subnet::KIND).map(|(_, found)| (attribute(found, "id"), attribute(found, "zone"))).collect();
    // A type that the whole region does not offer has a finding of its own.
    let in_region: BTreeSet<&str> = of_kind(InstanceType::KIND).map(|(_, found)| attribute(found, "name")).collect();
    let asked: BTreeSet<(&str, &str)> = (examination.pools.iter())
        .filter_map(|pool| Some((pool.instance_type.as_str(), *zones.get(pool.subnet.as_deref()?)?)))
        .filter(|(name, _)| in_region.contains(name))
        .collect();
    if asked.is_empty() {
        return Vec::new();
    }
    let names: BTreeSet<String> = asked.iter().map(|(name, _)| (*name).to_owned()).collect();
    let call = aws.clients.ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
    let mut pages = call.filters(filter("instance-type", names.into_iter().collect())).into_paginator().send();
    let mut offered = BTreeSet::new();
    while let Some(page) = pages.next().await {
        match page.of_call("ec2:DescribeInstanceTypeOfferings") {
            Ok(page) => {
                let all = page.instance_type_offerings.into_iter().flatten();
                offered.extend(all.filter_map(|one| Some((one.instance_type?.as_str().to_owned(), one.location?))));
            }
            Err(failure) => {
                let subject = |(name, zone): (&str, &str)| format!("{name} in {zone}");
                return asked.into_iter().map(|one| failed(subject(one), failure.clone())).collect();
            }
        }
    }
    let finding = |(name, zone): (&str, &str)| {
        let subject = format!("{name} in {zone}");
        if offered.contains(&(name.to_owned(), zone.to_owned())) {
            return Finding::ok(subject, "offered");
        }
        let of_name: Vec<&str> =
            offered.iter().filter(|(offered, _)| offered == name).map(|(_, zone)| zone.as_str()).collect();
        let help = match of_name.as_slice() {
            [] => "use another `instance_type`".to_owned(),
            zones => format!("use another `instance_type`, or a subnet in {}", zones.join(" or ")),
        };
        Finding::missing(subject, format!("{zone} does not offer {name}"), Some(help))
    };
    asked.into_iter().map(finding).collect()
}
