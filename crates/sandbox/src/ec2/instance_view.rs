//! Instances in the answers of `RunInstances` and `DescribeInstances`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{
    document, elastic_ip,
    interface::{group_set, write_addresses, write_tracking},
    model::{Instance, InstanceState, Interface},
    region,
    select::{self, Row, THOUSAND, row_fields, shown, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
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
        "tenancy",
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
            _ => text(id),
        }
    }
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
            write_reservation(xml, cloud, id, &instances);
        });
        xml.optional("nextToken", next);
    }))
}

/// The answer to `RunInstances`.
pub(super) fn reservation(cloud: &Cloud, call: &Call, ids: &[String]) -> Reply {
    let instances: Vec<(&str, &Instance)> = ids.iter().filter_map(|id| cloud.ec2.instances.entry(id)).collect();
    let id = instances.first().map_or("", |(_, instance)| instance.reservation.as_str());
    document(call, |xml| write_reservation(xml, cloud, id, &instances))
}

fn write_reservation(xml: &mut Xml, cloud: &Cloud, id: &str, instances: &[(&str, &Instance)]) {
    xml.text("reservationId", id).text("ownerId", &cloud.account).element("groupSet", |_| {}).list(
        "instancesSet",
        "item",
        instances,
        |xml, (id, instance)| write(xml, cloud, id, instance),
    );
}

fn write(xml: &mut Xml, cloud: &Cloud, id: &str, instance: &Instance) {
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
            xml.text("state", if instance.monitoring { "enabled" } else { "disabled" });
        })
        .text("architecture", &instance.architecture)
        .text("rootDeviceType", "ebs")
        .text("rootDeviceName", &instance.root_device)
        .text("virtualizationType", "hvm")
        // Instances on Nitro show `xen` too: the API model knows no other value but `ovm`.
        .text("hypervisor", "xen")
        .text("clientToken", instance.token.as_deref().unwrap_or_default())
        .plain("ebsOptimized", instance.ebs_optimized)
        .plain("enaSupport", true)
        .text("platformDetails", "Linux/UNIX")
        .text("usageOperation", "RunInstances");
    if instance.spot {
        xml.text("instanceLifecycle", "spot");
    }
    if let Some((arn, id)) = &instance.profile {
        xml.element("iamInstanceProfile", |xml| {
            xml.text("arn", arn).text("id", id);
        });
    }
    match instance.state {
        InstanceState::ShuttingDown | InstanceState::Terminated => {
            let (code, says, reason) = if instance.ends_after_launch {
                ("Server.InternalError", "Internal error on launch", "Server.InternalError".to_owned())
            } else {
                let since = instance.since.strftime("%Y-%m-%d %H:%M:%S GMT");
                ("Client.UserInitiatedShutdown", "User initiated shutdown", format!("User initiated ({since})"))
            };
            xml.text("reason", reason);
            xml.element("stateReason", |xml| {
                xml.text("code", code).text("message", format!("{code}: {says}"));
            });
        }
        _ => {
            xml.text("reason", "");
        }
    }
    xml.element("metadataOptions", |xml| {
        let options = &instance.metadata;
        xml.text("state", if instance.state == InstanceState::Pending { "pending" } else { "applied" })
            .text("httpTokens", &options.tokens)
            .plain("httpPutResponseHopLimit", options.hop_limit)
            .text("httpEndpoint", &options.endpoint)
            .text("httpProtocolIpv6", &options.ipv6)
            .text("instanceMetadataTags", &options.tags);
    });
    if instance.state != InstanceState::Terminated {
        write_place(xml, cloud, instance);
    }
    tag::write(xml, &instance.tags);
}

/// Writes what an instance has only until it is terminated.
fn write_place(xml: &mut Xml, cloud: &Cloud, instance: &Instance) {
    xml.text("vpcId", &instance.vpc).text("subnetId", &instance.subnet).plain("sourceDestCheck", true);
    if let Some((id, primary)) = interfaces(instance, cloud).next() {
        xml.plain("privateIpAddress", primary.primary);
        if let Some(public) = elastic_ip::public_of(cloud, id, primary.primary) {
            xml.plain("ipAddress", public);
        }
        super::interface::write_name(xml, &instance.region, primary.primary);
        group_set(xml, cloud, &primary.groups);
    }
    xml.list("blockDeviceMapping", "item", &instance.volumes, |xml, (device, volume)| {
        let row = cloud.ec2.volumes.get(volume);
        xml.text("deviceName", device).element("ebs", |xml| {
            xml.text("volumeId", volume)
                .text("status", "attached")
                .moment("attachTime", instance.created)
                .plain("deleteOnTermination", row.is_none_or(|row| row.delete_on_termination));
        });
    });
    xml.list("networkInterfaceSet", "item", interfaces(instance, cloud), |xml, (id, interface)| {
        write_interface(xml, cloud, id, interface);
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
        .plain("sourceDestCheck", true);
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
    write_addresses(xml, cloud, id, interface);
    xml.element("ipv6AddressesSet", |_| {});
}
