//! `DescribeInstanceStatus`, and the console output of instances.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    document,
    model::{Instance, InstanceState, Tags},
    region,
    select::{Filters, Page, PageSize, Pager, Row, find, shown, text},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    durations::Delay,
    xml::Xml,
};

const SIZE: PageSize = PageSize { least: 5, most: 1000, default: None };

const FILTERS: &[&str] = &[
    "attached-ebs-status.status",
    "availability-zone",
    "availability-zone-id",
    "event.code",
    "event.description",
    "instance-state-code",
    "instance-state-name",
    "instance-status.reachability",
    "instance-status.status",
    "system-status.reachability",
    "system-status.status",
];

/// The status checks begin when an instance runs.
fn check(cloud: &Cloud, call: &Call, instance: &Instance) -> (&'static str, &'static str) {
    match instance.state {
        InstanceState::Running if cloud.settled(Delay::StatusChecks, instance.since, call.now) => ("ok", "passed"),
        InstanceState::Running => ("initializing", "initializing"),
        _ => ("not-applicable", ""),
    }
}

/// Only running instances, unless the call includes all of them.
pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let all = params.bool("IncludeAllInstances")? == Some(true);
    let (filters, pager) = (Filters::of(&params, FILTERS)?, Pager::of(&params, SIZE)?);
    let ids = params.list(Instance::IDS);
    if !ids.is_empty() && params.get("MaxResults").is_some() {
        let message = "The parameter instancesSet cannot be used with the parameter maxResults";
        return Err(Fault::new("InvalidParameterCombination", message));
    }
    for id in &ids {
        find(&cloud.ec2.instances, &call.region, id)?;
    }
    let none = Tags::new();
    let passing = cloud.ec2.instances.iter().filter(|(id, row)| {
        row.region == call.region
            && cloud.knows(Delay::Ec2Lag, id, row.created, call.now)
            && (ids.is_empty() || ids.contains(id))
            && (all || row.state == InstanceState::Running)
            && filters.accept(&none, |filter| values(cloud, call, row, filter))
    });
    let (page, next): Page<'_, Instance> = pager.page(passing);
    Ok(document(call, |xml| {
        xml.list("instanceStatusSet", "item", page, |xml, (id, row)| write(xml, cloud, call, id, row));
        xml.optional("nextToken", next);
    }))
}

fn values<'w>(cloud: &Cloud, call: &Call, instance: &'w Instance, filter: &str) -> Vec<Cow<'w, str>> {
    let (status, reachability) = check(cloud, call, instance);
    match filter {
        "availability-zone" => text(&instance.zone),
        "availability-zone-id" => shown(region::zone_id(&instance.zone)),
        "instance-state-code" => shown(instance.state.code()),
        "instance-state-name" => text(instance.state.name()),
        "instance-status.reachability" | "system-status.reachability" => text(reachability),
        "attached-ebs-status.status" | "instance-status.status" | "system-status.status" => text(status),
        // No instance here has a scheduled event.
        _ => Vec::new(),
    }
}

fn write(xml: &mut Xml, cloud: &Cloud, call: &Call, id: &str, instance: &Instance) {
    let (status, reachability) = check(cloud, call, instance);
    xml.text("instanceId", id)
        .text("availabilityZone", &instance.zone)
        .text("availabilityZoneId", region::zone_id(&instance.zone))
        .element("instanceState", |xml| {
            xml.plain("code", instance.state.code()).text("name", instance.state.name());
        })
        .element("operator", |xml| {
            xml.plain("managed", false);
        });
    for name in ["systemStatus", "instanceStatus", "attachedEbsStatus"] {
        xml.element(name, |xml| {
            xml.text("status", status);
            let details = (!reachability.is_empty()).then_some(reachability);
            xml.list("details", "item", details, |xml, reachability| {
                xml.text("name", "reachability").text("status", reachability);
            });
        });
    }
}

/// What an instance wrote to its console: a short form of it, and what its boot read from S3. No instance boots a kernel
/// here, and its output says so.
pub(super) fn console_output(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("InstanceId")?;
    let instance = find(&cloud.ec2.instances, &call.region, id)?;
    let output = (instance.state != InstanceState::Pending).then(|| {
        let user_data = instance.user_data.as_deref().map_or_else(
            || "no user data".to_owned(),
            |digest| format!("user data with the SHA-256 {digest} of its base64"),
        );
        format!(
            "{id}: {} from {} with {user_data}.\r\n{id}: this is an instance of a sandbox: it boots no \
             kernel and runs no user data.\r\n{}\r\n",
            instance.kind,
            instance.image,
            instance.console.as_deref().unwrap_or_default().replace('\n', "\r\n")
        )
    });
    Ok(document(call, |xml| {
        xml.text("instanceId", id).moment("timestamp", instance.since);
        xml.optional("output", output.map(|output| STANDARD.encode(output)));
    }))
}
