//! Requests for spot instances: one for each spot instance, created with it.

use std::borrow::Cow;

use super::{
    document,
    model::{Instance, InstanceState, SpotRequest},
    region,
    select::{self, PageSize, Row, row_fields, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    json::hex_id,
    query::Params,
    xml::Xml,
};

const SIZE: PageSize = PageSize { least: 5, most: 1000, default: None };

impl Row for SpotRequest {
    const PREFIX: &'static str = "sir-";
    const KIND: &'static str = "spot-instances-request";
    const NOUN: &'static str = "spot instance request ID";
    const NOT_FOUND: &'static str = "InvalidSpotInstanceRequestID.NotFound";
    const MALFORMED: &'static str = "InvalidSpotInstanceRequestID.Malformed";
    const IDS: &'static str = "SpotInstanceRequestId";
    const FILTERS: &'static [&'static str] = &[
        "instance-id",
        "launch.image-id",
        "launch.instance-type",
        "launched-availability-zone",
        "spot-instance-request-id",
        "state",
        "status-code",
        "type",
    ];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        let Some(instance) = cloud.ec2.instances.get(&self.instance) else { return Vec::new() };
        let (state, code, _) = state(instance);
        match filter {
            "instance-id" => text(&self.instance),
            "launch.image-id" => text(&instance.image),
            "launch.instance-type" => text(&instance.kind),
            "launched-availability-zone" => text(&instance.zone),
            "state" => text(state),
            "status-code" => text(code),
            "type" => text(option(instance, "SpotInstanceType").unwrap_or(ONE_TIME)),
            _ => text(id),
        }
    }
}

/// The type of a request that does not name one.
const ONE_TIME: &str = "one-time";

/// An option of the request that launched an instance.
fn option<'w>(instance: &'w Instance, name: &str) -> Option<&'w str> {
    Params::new(&instance.options).under("InstanceMarketOptions.SpotOptions").get(name)
}

/// The id of the request for an instance.
pub(super) fn request_of(instance: &str) -> String {
    format!("sir-{}", hex_id(instance, 8))
}

/// State of the request, code and message of its status.
fn state(instance: &Instance) -> (&'static str, &'static str, &'static str) {
    match instance.state {
        InstanceState::ShuttingDown | InstanceState::Terminated => (
            "closed",
            "instance-terminated-by-user",
            "Your Spot instance request has been closed because you terminated the instance.",
        ),
        _ => ("active", "fulfilled", "Your Spot request is fulfilled."),
    }
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, next) = select::select(cloud, call, &cloud.ec2.spot_requests, SIZE)?;
    Ok(document(call, |xml| {
        xml.list("spotInstanceRequestSet", "item", page, |xml, (id, request)| write(xml, cloud, id, request));
        xml.optional("nextToken", next);
    }))
}

fn write(xml: &mut Xml, cloud: &Cloud, id: &str, request: &SpotRequest) {
    let Some(instance) = cloud.ec2.instances.get(&request.instance) else { return };
    let (state, code, message) = state(instance);
    xml.text("spotInstanceRequestId", id)
        .optional("spotPrice", option(instance, "MaxPrice"))
        .text("type", option(instance, "SpotInstanceType").unwrap_or(ONE_TIME))
        .text("state", state)
        .element("status", |xml| {
            xml.text("code", code).text("message", message).moment("updateTime", instance.since);
        })
        .element("launchSpecification", |xml| {
            xml.text("imageId", &instance.image)
                .text("instanceType", &instance.kind)
                .text("subnetId", &instance.subnet)
                .element("placement", |xml| {
                    xml.text("availabilityZone", &instance.zone);
                })
                .element("monitoring", |xml| {
                    xml.plain("enabled", instance.monitoring);
                })
                .plain("ebsOptimized", instance.ebs_optimized);
        })
        .text("instanceId", &request.instance)
        .moment("createTime", instance.created)
        .text("productDescription", "Linux/UNIX")
        .text("launchedAvailabilityZone", &instance.zone)
        .text("launchedAvailabilityZoneId", region::zone_id(&instance.zone))
        .text("instanceInterruptionBehavior", option(instance, "InstanceInterruptionBehavior").unwrap_or("terminate"));
    tag::write(xml, &request.tags);
}
