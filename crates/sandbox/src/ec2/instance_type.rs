//! Instance types from the catalog. Every zone of every region offers every type.

use std::borrow::Cow;

use trunnion_catalog::{Architecture, InstanceType};

use super::{
    document,
    model::Tags,
    region::{zone_id, zones},
    select::{Filters, PageSize, Pager, shown, text},
};
use crate::{
    call::{Call, Fault, Reply},
    xml::Xml,
};

const FILTERS: &[&str] = &[
    "instance-type",
    "processor-info.supported-architecture",
    "vcpu-info.default-vcpus",
    "memory-info.size-in-mib",
    "network-info.maximum-network-interfaces",
    "network-info.maximum-network-cards",
    "network-info.ipv4-addresses-per-interface",
    "current-generation",
    "bare-metal",
];

pub(super) fn describe(call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let filters = Filters::of(&params, FILTERS)?;
    let pager = Pager::of(&params, PageSize { least: 5, most: 100, default: Some(100) })?;
    let names = params.list("InstanceType");
    if names.len() > 100 {
        return Err(Fault::new("InvalidParameterValue", "At most 100 instance types can be named"));
    }
    let unknown: Vec<&str> =
        names.iter().copied().filter(|name| trunnion_catalog::instance_type(name).is_none()).collect();
    if !unknown.is_empty() {
        let message = format!("The following supplied instance types do not exist: [{}]", unknown.join(", "));
        return Err(Fault::new("InvalidInstanceType", message));
    }
    let none = Tags::new();
    let mut listed: Vec<&InstanceType> = trunnion_catalog::instance_types()
        .filter(|kind| names.is_empty() || names.contains(&kind.name))
        .filter(|kind| filters.accept(&none, |filter| values(kind, filter)))
        .collect();
    listed.sort_unstable_by_key(|kind| kind.name);
    let (page, next) = pager.page(listed.into_iter().map(|kind| (kind.name, kind)));
    Ok(document(call, |xml| {
        xml.list("instanceTypeSet", "item", page, |xml, (_, kind)| write(xml, kind));
        xml.optional("nextToken", next);
    }))
}

fn values<'k>(kind: &'k InstanceType, filter: &str) -> Vec<Cow<'k, str>> {
    match filter {
        "instance-type" => text(kind.name),
        "processor-info.supported-architecture" => text(kind.architecture.as_str()),
        "vcpu-info.default-vcpus" => shown(kind.vcpu),
        "memory-info.size-in-mib" => shown(kind.memory_mib),
        "network-info.maximum-network-interfaces" => shown(kind.max_interfaces()),
        "network-info.maximum-network-cards" => shown(kind.cards.len()),
        "network-info.ipv4-addresses-per-interface" => shown(kind.ipv4_per_interface),
        "current-generation" => text("true"),
        _ => text("false"),
    }
}

/// How many virtual CPUs a core of this type is.
pub(super) fn threads_per_core(kind: &InstanceType) -> u32 {
    if kind.architecture == Architecture::Arm64 { 1 } else { 2 }
}

fn write(xml: &mut Xml, kind: &InstanceType) {
    let threads = threads_per_core(kind);
    let gigabits = |mbps: u32| f64::from(mbps) / 1000.0;
    let performance = format!("{} Gigabit", gigabits(kind.peak_mbps));
    xml.text("instanceType", kind.name)
        .plain("currentGeneration", true)
        .plain("freeTierEligible", false)
        .list("supportedUsageClasses", "item", ["on-demand", "spot"], write_text)
        .list("supportedRootDeviceTypes", "item", ["ebs"], write_text)
        .list("supportedVirtualizationTypes", "item", ["hvm"], write_text)
        .plain("bareMetal", false)
        .text("hypervisor", "nitro")
        .element("processorInfo", |xml| {
            xml.list("supportedArchitectures", "item", [kind.architecture.as_str()], write_text);
        })
        .element("vCpuInfo", |xml| {
            xml.plain("defaultVCpus", kind.vcpu)
                .plain("defaultCores", kind.vcpu / threads)
                .plain("defaultThreadsPerCore", threads);
        })
        .element("memoryInfo", |xml| {
            xml.plain("sizeInMiB", kind.memory_mib);
        })
        .plain("instanceStorageSupported", false)
        .element("ebsInfo", |xml| {
            xml.text("ebsOptimizedSupport", "default")
                .text("encryptionSupport", "supported")
                .text("nvmeSupport", "required");
        })
        .element("networkInfo", |xml| {
            xml.text("networkPerformance", &performance)
                .plain("maximumNetworkInterfaces", kind.max_interfaces())
                .plain("maximumNetworkCards", kind.cards.len())
                .plain("defaultNetworkCardIndex", 0)
                .list("networkCards", "item", kind.cards.iter().enumerate(), |xml, (index, interfaces)| {
                    xml.plain("networkCardIndex", index)
                        .text("networkPerformance", &performance)
                        .plain("maximumNetworkInterfaces", interfaces)
                        .plain("baselineBandwidthInGbps", gigabits(kind.baseline_mbps) / cards(kind))
                        .plain("peakBandwidthInGbps", gigabits(kind.peak_mbps) / cards(kind));
                })
                .plain("ipv4AddressesPerInterface", kind.ipv4_per_interface)
                .plain("ipv6AddressesPerInterface", kind.ipv4_per_interface)
                .plain("ipv6Supported", true)
                .text("enaSupport", "required");
        })
        .plain("hibernationSupported", false)
        .plain("burstablePerformanceSupported", false)
        .plain("dedicatedHostsSupported", true)
        .plain("autoRecoverySupported", true);
}

/// How many network cards share the bandwidth.
fn cards(kind: &InstanceType) -> f64 {
    u32::try_from(kind.cards.len()).map_or(1.0, f64::from).max(1.0)
}

fn write_text(xml: &mut Xml, value: &str) {
    xml.value(value);
}

pub(super) fn describe_offerings(call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let filters = Filters::of(&params, &["instance-type", "location"])?;
    let pager = Pager::of(&params, PageSize { least: 5, most: 1000, default: Some(1000) })?;
    let location_type = params.get("LocationType").unwrap_or("region");
    let locations: Vec<String> = match location_type {
        "region" => vec![call.region.clone()],
        "availability-zone" => zones(&call.region).collect(),
        "availability-zone-id" => zones(&call.region).map(|zone| zone_id(&zone)).collect(),
        other => {
            let message = format!("Value ({other}) for parameter locationType is invalid.");
            return Err(Fault::new("InvalidParameterValue", message));
        }
    };
    let none = Tags::new();
    let mut offered = Vec::new();
    for kind in trunnion_catalog::instance_types() {
        for location in &locations {
            let value = |filter: &str| text(if filter == "location" { location } else { kind.name });
            if filters.accept(&none, value) {
                offered.push((format!("{} {location}", kind.name), (kind.name, location)));
            }
        }
    }
    offered.sort_unstable();
    let (page, next) = pager.page(offered.iter().map(|(key, offer)| (key.as_str(), offer)));
    Ok(document(call, |xml| {
        xml.list("instanceTypeOfferingSet", "item", page, |xml, (_, (name, location))| {
            xml.text("instanceType", name).text("locationType", location_type).text("location", location);
        });
        xml.optional("nextToken", next);
    }))
}
