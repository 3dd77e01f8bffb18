//! Requests for spot instances: one for each spot instance, created with it.

use std::borrow::Cow;

use super::{
    document,
    model::{Instance, InstanceState},
    region,
    select::{Filters, PageSize, Pager, shown, text},
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

const FILTERS: &[&str] = &[
    "instance-id",
    "launch.image-id",
    "launch.instance-type",
    "launched-availability-zone",
    "spot-instance-request-id",
    "state",
    "status-code",
    "type",
];

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
    let params = call.params();
    let (filters, pager) = (Filters::of(&params, FILTERS)?, Pager::of(&params, SIZE)?);
    let here = cloud.ec2.instances.iter().filter(|(_, row)| row.spot && row.region == call.region);
    let mut all: Vec<(String, (&str, &Instance))> = here.map(|(id, row)| (request_of(id), (id, row))).collect();
    all.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    let ids = params.list("SpotInstanceRequestId");
    if let Some(missing) = ids.iter().find(|id| !all.iter().any(|(request, _)| request == *id)) {
        let message = format!("The spot instance request ID '{missing}' does not exist");
        return Err(Fault::new("InvalidSpotInstanceRequestID.NotFound", message));
    }
    let passing = all.iter().filter(|(request, (id, row))| {
        cloud.visible(row.created, call.now)
            && (ids.is_empty() || ids.contains(&request.as_str()))
            && filters.accept(&row.tags, |filter| values(request, id, row, filter))
    });
    let (page, next) = pager.page(passing.map(|(request, row)| (request.as_str(), *row)));
    Ok(document(call, |xml| {
        xml.list("spotInstanceRequestSet", "item", page, |xml, (request, (id, row))| write(xml, request, id, row));
        xml.optional("nextToken", next);
    }))
}

fn values<'w>(request: &'w str, id: &'w str, instance: &'w Instance, filter: &str) -> Vec<Cow<'w, str>> {
    let (state, code, _) = state(instance);
    match filter {
        "instance-id" => text(id),
        "launch.image-id" => text(&instance.image),
        "launch.instance-type" => text(&instance.kind),
        "launched-availability-zone" => text(&instance.zone),
        "state" => text(state),
        "status-code" => text(code),
        "type" => shown(kind(&Params::new(&instance.options))),
        _ => text(request),
    }
}

fn kind(options: &Params<'_>) -> String {
    options.get("InstanceMarketOptions.SpotOptions.SpotInstanceType").unwrap_or("one-time").to_owned()
}

fn write(xml: &mut Xml, request: &str, id: &str, instance: &Instance) {
    let options = Params::new(&instance.options);
    let (state, code, message) = state(instance);
    xml.text("spotInstanceRequestId", request)
        .optional("spotPrice", options.get("InstanceMarketOptions.SpotOptions.MaxPrice"))
        .text("type", kind(&options))
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
        .text("instanceId", id)
        .moment("createTime", instance.created)
        .text("productDescription", "Linux/UNIX")
        .text("launchedAvailabilityZone", &instance.zone)
        .text("launchedAvailabilityZoneId", region::zone_id(&instance.zone))
        .text("instanceInterruptionBehavior", "terminate");
    tag::write(xml, &super::model::Tags::new());
}
