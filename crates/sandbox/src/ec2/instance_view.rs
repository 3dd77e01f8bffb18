//! Instances in the answers of `RunInstances` and `DescribeInstances`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    document, elastic_ip,
    instance_change::write_metadata,
    instance_type::threads_per_core,
    interface::{self, group_set, private_name, write_addresses, write_tracking},
    model::{Instance, InstanceState, Interface},
    region,
    select::{self, Row, THOUSAND, row_fields, shown, text},
    spot, tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    durations::Delay,
    query::Params,
    xml::Xml,
};

impl Row for Instance {
    const PREFIX: &'static str = "i-";
    const KIND: &'static str = "instance";
    const NOUN: &'static str = "instance ID";
    const NOT_FOUND: &'static str = "InvalidInstanceID.NotFound";
    const MALFORMED: &'static str = "InvalidInstanceID.Malformed";
    const IDS: &'static str = "InstanceId";
    const FILTERS: &'static [&'static str] = &[
        "instance-id",
        "instance-state-name",
        "instance-state-code",
        "instance-type",
        "image-id",
        "architecture",
        "client-token",
        "reservation-id",
        "owner-id",
        "vpc-id",
        "subnet-id",
        "availability-zone",
        "instance.group-id",
        "instance.group-name",
        "instance-lifecycle",
        "iam-instance-profile.arn",
        "iam-instance-profile.id",
        "private-ip-address",
        "network-interface.network-interface-id",
        "network-interface.subnet-id",
        "network-interface.vpc-id",
        "network-interface.group-id",
        "network-interface.addresses.private-ip-address",
        "block-device-mapping.volume-id",
        "metadata-options.http-tokens",
        "root-device-name",
        "root-device-type",
        "tenancy",
        "availability-zone-id",
        "dns-name",
        "ebs-optimized",
        "ena-support",
        "hypervisor",
        "ip-address",
        "key-name",
        "launch-index",
        "launch-time",
        "metadata-options.http-endpoint",
        "metadata-options.http-put-response-hop-limit",
        "metadata-options.instance-metadata-tags",
        "monitoring-state",
        "network-interface.description",
        "network-interface.private-ip-address",
        "platform-details",
        "private-dns-name",
        "spot-instance-request-id",
        "state-reason-code",
        "virtualization-type",
    ];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        // A terminated instance no longer has a VPC and a subnet.
        let here = |place: &'r str| if self.state == InstanceState::Terminated { Vec::new() } else { text(place) };
        match filter {
            "instance-state-name" => text(self.state.name()),
            "instance-state-code" => shown(self.state.code()),
            "instance-type" => text(&self.kind),
            "image-id" => text(&self.image),
            "architecture" => text(&self.architecture),
            "client-token" => self.token.iter().map(Cow::from).collect(),
            "reservation-id" => text(&self.reservation),
            "owner-id" => text(&cloud.account),
            "vpc-id" | "network-interface.vpc-id" => here(&self.vpc),
            "subnet-id" => here(&self.subnet),
            "availability-zone" => text(&self.zone),
            "instance.group-id" => {
                interfaces(self, cloud).take(1).flat_map(|(_, row)| &row.groups).map(Cow::from).collect()
            }
            "instance.group-name" => interfaces(self, cloud)
                .take(1)
                .flat_map(|(_, row)| &row.groups)
                .filter_map(|group| cloud.ec2.groups.get(group))
                .map(|group| Cow::from(&group.name))
                .collect(),
            "instance-lifecycle" => {
                if self.spot {
                    text("spot")
                } else {
                    Vec::new()
                }
            }
            "iam-instance-profile.arn" => self.profile.iter().map(|(arn, _)| Cow::from(arn)).collect(),
            "iam-instance-profile.id" => self.profile.iter().map(|(_, id)| Cow::from(id)).collect(),
            "private-ip-address" => {
                interfaces(self, cloud).take(1).map(|(_, row)| row.primary.to_string().into()).collect()
            }
            "network-interface.network-interface-id" => self.interfaces.iter().map(Cow::from).collect(),
            "network-interface.subnet-id" => interfaces(self, cloud).map(|(_, row)| Cow::from(&row.subnet)).collect(),
            "network-interface.group-id" => {
                interfaces(self, cloud).flat_map(|(_, row)| &row.groups).map(Cow::from).collect()
            }
            "network-interface.addresses.private-ip-address" => interfaces(self, cloud)
                .flat_map(|(_, row)| std::iter::once(&row.primary).chain(&row.secondary.0))
                .map(|address| address.to_string().into())
                .collect(),
            "block-device-mapping.volume-id" => self.volumes.values().map(Cow::from).collect(),
            "metadata-options.http-tokens" => text(&self.metadata.tokens),
            "root-device-name" => text(&self.root_device),
            "tenancy" => text(&self.tenancy),
            "instance-id" => text(id),
            other => more_values(self, id, cloud, other),
        }
    }
}

/// The values of the filters that are not used often.
fn more_values<'r>(instance: &'r Instance, id: &str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
    let primary = || interfaces(instance, cloud).next();
    let public = || primary().and_then(|(id, row)| elastic_ip::public_of(cloud, id, row.primary));
    match filter {
        "availability-zone-id" => shown(region::zone_id(&instance.zone)),
        "dns-name" => public().map_or_else(Vec::new, |ip| shown(elastic_ip::public_name(&instance.region, ip))),
        "ebs-optimized" => shown(instance.ebs_optimized),
        "ena-support" => text("true"),
        "hypervisor" => text("xen"),
        "ip-address" => public().map_or_else(Vec::new, shown),
        "launch-index" => shown(instance.launch_index),
        "launch-time" => shown(instance.created.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")),
        "metadata-options.http-endpoint" => text(&instance.metadata.endpoint),
        "metadata-options.http-put-response-hop-limit" => shown(instance.metadata.hop_limit),
        "metadata-options.instance-metadata-tags" => text(&instance.metadata.tags),
        "monitoring-state" => text(monitoring(instance)),
        "network-interface.description" => {
            interfaces(instance, cloud).map(|(_, row)| Cow::from(&row.description)).collect()
        }
        "network-interface.private-ip-address" => {
            interfaces(instance, cloud).map(|(_, row)| row.primary.to_string().into()).collect()
        }
        "platform-details" => text("Linux/UNIX"),
        "private-dns-name" => {
            primary().map_or_else(Vec::new, |(_, row)| shown(private_name(&instance.region, row.primary)))
        }
        "root-device-type" => text("ebs"),
        "spot-instance-request-id" if instance.spot => shown(spot::request_of(id)),
        "state-reason-code" => reason(instance).map_or_else(Vec::new, |reason| text(reason.code)),
        "virtualization-type" => text("hvm"),
        // No instance here has a key pair.
        _ => Vec::new(),
    }
}

fn monitoring(instance: &Instance) -> &'static str {
    if instance.monitoring { "enabled" } else { "disabled" }
}

/// Why an instance does not run.
struct Reason {
    code: &'static str,
    says: &'static str,
    /// `StateTransitionReason`.
    transition: String,
}

fn reason(instance: &Instance) -> Option<Reason> {
    let is_ending = matches!(instance.state, InstanceState::ShuttingDown | InstanceState::Terminated);
    let is_stopping = matches!(instance.state, InstanceState::Stopping | InstanceState::Stopped);
    if is_ending && instance.ends_after_launch {
        let code = "Server.InternalError";
        return Some(Reason { code, says: "Internal error on launch", transition: code.to_owned() });
    }
    if instance.state == InstanceState::Pending {
        return Some(Reason { code: "pending", says: "pending", transition: String::new() });
    }
    let since = instance.since.strftime("%Y-%m-%d %H:%M:%S GMT");
    (is_ending || is_stopping).then(|| Reason {
        code: "Client.UserInitiatedShutdown",
        says: "User initiated shutdown",
        transition: format!("User initiated ({since})"),
    })
}

fn interfaces<'w>(instance: &'w Instance, cloud: &'w Cloud) -> impl Iterator<Item = (&'w str, &'w Interface)> {
    instance.interfaces.iter().filter_map(|id| cloud.ec2.interfaces.entry(id))
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, next) = select::select(cloud, call, &cloud.ec2.instances, THOUSAND)?;
    let mut reservations: BTreeMap<&str, Vec<(&str, &Instance)>> = BTreeMap::new();
    for (id, instance) in page {
        reservations.entry(&instance.reservation).or_default().push((id, instance));
    }
    Ok(document(call, |xml| {
        xml.list("reservationSet", "item", reservations, |xml, (id, instances)| {
            write_reservation(xml, cloud, Some(call.now), id, &instances);
        });
        xml.optional("nextToken", next);
    }))
}

/// The answer to `RunInstances`.
pub(super) fn reservation(cloud: &Cloud, call: &Call, ids: &[String]) -> Reply {
    let instances: Vec<(&str, &Instance)> = ids.iter().filter_map(|id| cloud.ec2.instances.entry(id)).collect();
    let id = instances.first().map_or("", |(_, instance)| instance.reservation.as_str());
    document(call, |xml| write_reservation(xml, cloud, None, id, &instances))
}

/// `read_at` is the time of a read, which may not show all interfaces yet.
fn write_reservation(
    xml: &mut Xml,
    cloud: &Cloud,
    read_at: Option<Timestamp>,
    id: &str,
    instances: &[(&str, &Instance)],
) {
    xml.text("reservationId", id).text("ownerId", &cloud.account).element("groupSet", |_| {}).list(
        "instancesSet",
        "item",
        instances,
        |xml, (id, instance)| write(xml, cloud, read_at, id, instance),
    );
}

fn write(xml: &mut Xml, cloud: &Cloud, read_at: Option<Timestamp>, id: &str, instance: &Instance) {
    let reason = reason(instance);
    xml.text("instanceId", id)
        .text("imageId", &instance.image)
        .element("instanceState", |xml| {
            xml.plain("code", instance.state.code()).text("name", instance.state.name());
        })
        .plain("amiLaunchIndex", instance.launch_index)
        .element("productCodes", |_| {})
        .text("instanceType", &instance.kind)
        .moment("launchTime", instance.created)
        .element("placement", |xml| {
            xml.text("availabilityZone", &instance.zone)
                .text("availabilityZoneId", region::zone_id(&instance.zone))
                .text("groupName", "")
                .text("tenancy", &instance.tenancy);
        })
        .element("monitoring", |xml| {
            xml.text("state", monitoring(instance));
        })
        .text("architecture", &instance.architecture)
        .text("rootDeviceType", "ebs")
        .text("rootDeviceName", &instance.root_device)
        .text("virtualizationType", "hvm")
        // Instances on Nitro have this value, too (EC2 API reference, `Instance`, read November 2026).
        .text("hypervisor", "xen")
        .text("clientToken", instance.token.as_deref().unwrap_or_default())
        .plain("ebsOptimized", instance.ebs_optimized)
        .plain("enaSupport", true)
        .text("bootMode", "uefi-preferred")
        .text("currentInstanceBootMode", "uefi")
        .text("platformDetails", "Linux/UNIX")
        .text("usageOperation", "RunInstances")
        .moment("usageOperationUpdateTime", instance.created)
        .text("reason", reason.as_ref().map_or("", |reason| reason.transition.as_str()));
    if instance.spot {
        xml.text("instanceLifecycle", "spot").text("spotInstanceRequestId", spot::request_of(id));
    }
    if let Some((arn, id)) = &instance.profile {
        xml.element("iamInstanceProfile", |xml| {
            xml.text("arn", arn).text("id", id);
        });
    }
    if let Some(Reason { code, says, .. }) = reason {
        xml.element("stateReason", |xml| {
            let message = if code == says { says.to_owned() } else { format!("{code}: {says}") };
            xml.text("code", code).text("message", message);
        });
    }
    xml.element("metadataOptions", |xml| {
        let state = if instance.state == InstanceState::Pending { "pending" } else { "applied" };
        write_metadata(xml, state, &instance.metadata);
    });
    write_options(xml, instance);
    write_place(xml, cloud, read_at, instance);
    tag::write(xml, &instance.tags);
}

/// Writes launch options, with AWS's defaults.
fn write_options(xml: &mut Xml, instance: &Instance) {
    let options = Params::new(&instance.options);
    let option = |name: &str, default: &str| options.get(name).unwrap_or(default).to_owned();
    let kind = trunnion_catalog::instance_type(&instance.kind);
    let threads = kind.map_or(2, threads_per_core);
    let cores = kind.map_or(1, |kind| kind.vcpu / threads);
    xml.element("cpuOptions", |xml| {
        xml.text("coreCount", option("CpuOptions.CoreCount", &cores.to_string()))
            .text("threadsPerCore", option("CpuOptions.ThreadsPerCore", &threads.to_string()));
    })
    .element("capacityReservationSpecification", |xml| {
        xml.text("capacityReservationPreference", "open");
    })
    .element("hibernationOptions", |xml| {
        xml.text("configured", option("HibernationOptions.Configured", "false"));
    })
    .element("enclaveOptions", |xml| {
        xml.text("enabled", option("EnclaveOptions.Enabled", "false"));
    })
    .element("maintenanceOptions", |xml| {
        xml.text("autoRecovery", option("MaintenanceOptions.AutoRecovery", "default"))
            .text("rebootMigration", "default");
    })
    .element("networkPerformanceOptions", |xml| {
        xml.text("bandwidthWeighting", option("NetworkPerformanceOptions.BandwidthWeighting", "default"));
    })
    .element("privateDnsNameOptions", |xml| {
        let name = |member: &str| format!("PrivateDnsNameOptions.{member}");
        xml.text("hostnameType", option(&name("HostnameType"), "ip-name"))
            .text("enableResourceNameDnsARecord", option(&name("EnableResourceNameDnsARecord"), "false"))
            .text("enableResourceNameDnsAAAARecord", option(&name("EnableResourceNameDnsAAAARecord"), "false"));
    })
    .element("operator", |xml| {
        xml.plain("managed", false);
    });
}

/// Writes what an instance has only until it is terminated; after that, its names are empty.
fn write_place(xml: &mut Xml, cloud: &Cloud, read_at: Option<Timestamp>, instance: &Instance) {
    let primary = interfaces(instance, cloud).next().filter(|_| instance.state != InstanceState::Terminated);
    let public = primary.and_then(|(id, row)| elastic_ip::public_of(cloud, id, row.primary));
    xml.text("privateDnsName", primary.map_or_else(String::new, |(_, row)| private_name(&row.region, row.primary)))
        .text("dnsName", public.map_or_else(String::new, |public| elastic_ip::public_name(&instance.region, public)));
    if instance.state == InstanceState::Terminated {
        return;
    }
    xml.text("vpcId", &instance.vpc)
        .text("subnetId", &instance.subnet)
        .plain("sourceDestCheck", !primary.is_some_and(|(_, row)| row.is_unchecked));
    if let Some((_, primary)) = primary {
        xml.plain("privateIpAddress", primary.primary);
        if let Some(public) = public {
            xml.plain("ipAddress", public);
        }
        group_set(xml, cloud, &primary.groups);
    }
    write_devices(xml, cloud, instance);
    // Nobody knows whether a starting instance is shown with all of its interfaces at once.
    let is_known = |(id, row): &(&str, &Interface)| {
        let is_new = cloud.is_strict() && instance.state == InstanceState::Pending;
        let is_primary = instance.interfaces.first().is_some_and(|first| first == id);
        !is_new || is_primary || read_at.is_none_or(|now| cloud.knows(Delay::Ec2Lag, id, row.created, now))
    };
    xml.list("networkInterfaceSet", "item", interfaces(instance, cloud).filter(is_known), |xml, (id, interface)| {
        write_interface(xml, cloud, id, interface);
    });
}

/// Writes the volumes of an instance.
pub(super) fn write_devices(xml: &mut Xml, cloud: &Cloud, instance: &Instance) {
    xml.list("blockDeviceMapping", "item", &instance.volumes, |xml, (device, volume)| {
        let row = cloud.ec2.volumes.get(volume);
        xml.text("deviceName", device).element("ebs", |xml| {
            xml.text("volumeId", volume)
                .text("status", "attached")
                .moment("attachTime", instance.created)
                .plain("deleteOnTermination", row.is_none_or(|row| row.delete_on_termination));
        });
    });
}

fn write_interface(xml: &mut Xml, cloud: &Cloud, id: &str, interface: &Interface) {
    xml.text("networkInterfaceId", id)
        .text("subnetId", &interface.subnet)
        .text("vpcId", &interface.vpc)
        .text("description", &interface.description)
        .text("ownerId", &cloud.account)
        .text("status", "in-use")
        .plain("macAddress", super::interface::mac(id))
        .text("interfaceType", &interface.kind)
        .plain("sourceDestCheck", !interface.is_unchecked)
        .element("operator", |xml| {
            xml.plain("managed", false);
        });
    group_set(xml, cloud, &interface.groups);
    if let Some(attachment) = &interface.attachment {
        xml.element("attachment", |xml| {
            xml.text("attachmentId", &attachment.id)
                .plain("deviceIndex", attachment.device)
                .plain("networkCardIndex", attachment.card)
                .text("status", "attached")
                .moment("attachTime", interface.created)
                .plain("deleteOnTermination", attachment.delete_on_termination);
            if let Some(queues) = attachment.queues {
                xml.plain("enaQueueCount", queues);
            }
        });
    }
    write_tracking(xml, interface);
    write_addresses(xml, cloud, id, interface, interface::Shown::InInstance);
}
