//! Network interfaces and volumes, which are created with instances.

use std::{
    borrow::Cow,
    fmt::{self, Display},
    net::Ipv4Addr,
};

use sha2::{Digest, Sha256};

use super::{
    address::Addresses,
    document, done, elastic_ip, launch_spec,
    model::{Interface, Volume},
    placement, region,
    select::{self, Row, THOUSAND, find, find_mut, row_fields, shown, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::{Cloud, id_of},
    xml::Xml,
};

/// The account that owns the hosts of Fargate. AWS's own differs from region to region.
const FARGATE: &str = "111122223333";

impl Row for Interface {
    const PREFIX: &'static str = "eni-";
    const KIND: &'static str = "network-interface";
    const NOUN: &'static str = "networkInterface ID";
    const NOT_FOUND: &'static str = "InvalidNetworkInterfaceID.NotFound";
    const MALFORMED: &'static str = "InvalidNetworkInterfaceId.Malformed";
    const IDS: &'static str = "NetworkInterfaceId";
    const FILTERS: &'static [&'static str] = &[
        "network-interface-id",
        "subnet-id",
        "vpc-id",
        "group-id",
        "availability-zone",
        "status",
        "description",
        "interface-type",
        "mac-address",
        "owner-id",
        "private-ip-address",
        "addresses.private-ip-address",
        "attachment.attachment-id",
        "attachment.instance-id",
        "attachment.delete-on-termination",
        "attachment.device-index",
        "attachment.instance-owner-id",
        "attachment.status",
        "addresses.association.public-ip",
        "association.allocation-id",
        "association.public-ip",
        "availability-zone-id",
        "group-name",
        "private-dns-name",
        "requester-id",
        "requester-managed",
        "source-dest-check",
    ];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        let attachment = self.attachment.as_ref();
        match filter {
            "subnet-id" => text(&self.subnet),
            "vpc-id" => text(&self.vpc),
            "group-id" => self.groups.iter().map(Cow::from).collect(),
            "availability-zone" => text(&self.zone),
            "status" => text(status(self)),
            "description" => text(&self.description),
            "interface-type" => text(&self.kind),
            "mac-address" => shown(mac(id)),
            "owner-id" => text(&cloud.account),
            "private-ip-address" => shown(self.primary),
            "addresses.private-ip-address" => {
                std::iter::once(&self.primary).chain(&self.secondary.0).flat_map(shown).collect()
            }
            "attachment.attachment-id" => attachment.map_or_else(Vec::new, |attachment| text(&attachment.id)),
            "attachment.delete-on-termination" => {
                attachment.map_or_else(Vec::new, |attachment| shown(attachment.delete_on_termination))
            }
            "attachment.instance-id" => attachment.map_or_else(Vec::new, |attachment| text(&attachment.instance)),
            "attachment.instance-owner-id" => attachment.map_or_else(Vec::new, |_| text(&cloud.account)),
            "attachment.device-index" => attachment.map_or_else(Vec::new, |attachment| shown(attachment.device)),
            "attachment.status" => attachment.map_or_else(Vec::new, |_| text("attached")),
            "addresses.association.public-ip" | "association.public-ip" => {
                elastic_ip::public_of(cloud, id, self.primary).map_or_else(Vec::new, shown)
            }
            "association.allocation-id" => {
                elastic_ip::allocation_of(cloud, id, self.primary).map_or_else(Vec::new, text)
            }
            "availability-zone-id" => shown(region::zone_id(&self.zone)),
            "group-name" => {
                let groups = self.groups.iter().filter_map(|group| cloud.ec2.groups.get(group));
                groups.map(|group| Cow::from(&group.name)).collect()
            }
            "private-dns-name" => shown(private_name(&self.region, self.primary)),
            "requester-id" => self.task.as_ref().map_or_else(Vec::new, |_| text(FARGATE)),
            "requester-managed" => shown(is_managed(self)),
            "source-dest-check" => shown(!self.is_unchecked),
            _ => text(id),
        }
    }
}

fn status(interface: &Interface) -> &'static str {
    if interface.attachment.is_some() || is_managed(interface) { "in-use" } else { "available" }
}

/// Whether a service made the interface.
fn is_managed(interface: &Interface) -> bool {
    interface.task.is_some() || interface.kind == "nat_gateway"
}

/// An interface that no service made, so that the account can change it.
pub(super) fn find_own<'w>(cloud: &'w Cloud, call: &Call, id: &str) -> Result<&'w Interface, Fault> {
    let interface = find(&cloud.ec2.interfaces, &call.region, id)?;
    if is_managed(interface) {
        let message = "You do not have permission to access the specified resource.";
        return Err(Fault::new("AuthFailure", message));
    }
    Ok(interface)
}

/// An interface's MAC address, derived from its id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mac([u8; 5]);

/// The MAC address of the interface with this id.
pub(super) fn mac(id: &str) -> Mac {
    let mut bytes = [0; 5];
    for (byte, digest) in bytes.iter_mut().zip(Sha256::digest(id)) {
        *byte = digest;
    }
    Mac(bytes)
}

impl Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("06")?;
        self.0.iter().try_for_each(|byte| write!(formatter, ":{byte:02x}"))
    }
}

/// The DNS name that Amazon's resolver gives to a private address.
pub(super) fn private_name(region: &str, address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    match region {
        "us-east-1" => format!("ip-{a}-{b}-{c}-{d}.ec2.internal"),
        _ => format!("ip-{a}-{b}-{c}-{d}.{region}.compute.internal"),
    }
}

/// Writes the DNS name of a private address.
pub(super) fn write_name(xml: &mut Xml, region: &str, address: Ipv4Addr) {
    xml.text("privateDnsName", private_name(region, address));
}

/// Writes the groups of an interface.
pub(super) fn group_set(xml: &mut Xml, cloud: &Cloud, groups: &[String]) {
    xml.list("groupSet", "item", groups, |xml, id| {
        let name = cloud.ec2.groups.get(id).map(|group| group.name.as_str());
        xml.text("groupId", id).optional("groupName", name);
    });
}

/// Where an interface is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// By itself: its public addresses have the ids of allocation and association.
    Alone,
    /// In an instance, where they have not.
    InInstance,
}

/// Writes all addresses of an interface.
pub(super) fn write_addresses(xml: &mut Xml, cloud: &Cloud, id: &str, interface: &Interface, shown: Shown) {
    xml.plain("privateIpAddress", interface.primary);
    write_name(xml, &interface.region, interface.primary);
    elastic_ip::write_association(xml, cloud, (id, interface, interface.primary), shown);
    let addresses =
        std::iter::once((true, interface.primary)).chain(interface.secondary.0.iter().map(|address| (false, *address)));
    xml.list("privateIpAddressesSet", "item", addresses, |xml, (is_primary, address)| {
        xml.plain("primary", is_primary).plain("privateIpAddress", address);
        write_name(xml, &interface.region, address);
        elastic_ip::write_association(xml, cloud, (id, interface, address), shown);
    });
    if !interface.prefixes.0.is_empty() {
        xml.list("ipv4PrefixSet", "item", &interface.prefixes.0, |xml, prefix| {
            xml.plain("ipv4Prefix", format_args!("{prefix}/28"));
        });
    }
    xml.list("ipv6AddressesSet", "item", &interface.ipv6.addresses, |xml, address| {
        xml.plain("ipv6Address", address).plain("isPrimaryIpv6", false);
    });
    if !interface.ipv6.prefixes.is_empty() {
        xml.list("ipv6PrefixSet", "item", &interface.ipv6.prefixes, |xml, prefix| {
            xml.plain("ipv6Prefix", prefix);
        });
    }
}

/// Writes the connection tracking timeouts, if any is set.
pub(super) fn write_tracking(xml: &mut Xml, interface: &Interface) {
    let Some([tcp, udp_stream, udp]) = interface.tracking else { return };
    xml.element("connectionTrackingConfiguration", |xml| {
        let names = ["tcpEstablishedTimeout", "udpStreamTimeout", "udpTimeout"];
        for (name, seconds) in names.into_iter().zip([tcp, udp_stream, udp]) {
            if let Some(seconds) = seconds {
                xml.plain(name, seconds);
            }
        }
    });
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, next) = select::select(cloud, call, &cloud.ec2.interfaces, THOUSAND)?;
    Ok(document(call, |xml| {
        xml.list("networkInterfaceSet", "item", page, |xml, (id, interface)| write(xml, cloud, id, interface));
        xml.optional("nextToken", next);
    }))
}

fn write(xml: &mut Xml, cloud: &Cloud, id: &str, interface: &Interface) {
    xml.text("networkInterfaceId", id)
        .text("subnetId", &interface.subnet)
        .text("vpcId", &interface.vpc)
        .text("availabilityZone", &interface.zone)
        .text("availabilityZoneId", region::zone_id(&interface.zone))
        .text("description", &interface.description)
        .text("ownerId", &cloud.account)
        .optional("requesterId", interface.task.as_ref().map(|_| FARGATE))
        .plain("requesterManaged", is_managed(interface))
        .text("status", status(interface))
        .plain("macAddress", mac(id))
        .text("interfaceType", &interface.kind)
        .plain("sourceDestCheck", !interface.is_unchecked)
        .element("operator", |xml| {
            xml.plain("managed", false);
        });
    group_set(xml, cloud, &interface.groups);
    write_attachment(xml, cloud, interface);
    write_tracking(xml, interface);
    write_addresses(xml, cloud, id, interface, Shown::Alone);
    let public = elastic_ip::public_of(cloud, id, interface.primary);
    let name = public.map_or_else(String::new, |public| elastic_ip::public_name(&interface.region, public));
    xml.text("publicDnsName", name);
    tag::write(xml, &interface.tags);
}

/// Writes what the interface is attached to. A host of Fargate has the interface of its task as its second one.
pub(super) fn write_attachment(xml: &mut Xml, cloud: &Cloud, interface: &Interface) {
    let (id, card, device, delete) = match (&interface.attachment, &interface.task) {
        (Some(attachment), _) => {
            (attachment.id.clone(), attachment.card, attachment.device, attachment.delete_on_termination)
        }
        (None, Some(task)) => (id_of("eni-attach-", task), 0, 1, false),
        (None, None) => return,
    };
    xml.element("attachment", |xml| {
        xml.text("attachmentId", id);
        match &interface.attachment {
            Some(attachment) => xml.text("instanceId", &attachment.instance).text("instanceOwnerId", &cloud.account),
            None => xml.text("instanceOwnerId", FARGATE),
        };
        xml.plain("deviceIndex", device)
            .plain("networkCardIndex", card)
            .text("status", "attached")
            .moment("attachTime", interface.created)
            .plain("deleteOnTermination", delete);
        if let Some(queues) = interface.attachment.as_ref().and_then(|attachment| attachment.queues) {
            xml.plain("enaQueueCount", queues);
        }
    });
}

/// How many IPv4 addresses and prefixes an interface can have, from its instance's type.
fn most_addresses(cloud: &Cloud, interface: &Interface) -> usize {
    let instance = interface.attachment.as_ref().and_then(|attachment| cloud.ec2.instances.get(&attachment.instance));
    let instance_type = instance.and_then(|instance| trunnion_catalog::instance_type(&instance.kind));
    instance_type.map_or(50, |kind| usize::try_from(kind.ipv4_per_interface).unwrap_or(usize::MAX))
}

pub(super) fn assign(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("NetworkInterfaceId")?;
    let interface = find_own(cloud, call, id)?;
    let mut named = Vec::new();
    for text in params.list("PrivateIpAddress") {
        named.push(parse(text)?);
    }
    let count = launch_spec::count(&params, "SecondaryPrivateIpAddressCount")?;
    let prefix_count = launch_spec::count(&params, "Ipv4PrefixCount")?;
    let asked = [named.len(), count, prefix_count];
    if asked.iter().filter(|count| **count > 0).count() != 1 {
        let message = "The request must contain addresses, a count of addresses, or a count of prefixes";
        return Err(Fault::new("InvalidParameterCombination", message));
    }
    let have = 1 + interface.secondary.0.len() + interface.prefixes.0.len();
    if have + asked.iter().sum::<usize>() > most_addresses(cloud, interface) {
        let message = "Number of private addresses will exceed limit.";
        return Err(Fault::new("PrivateIpAddressLimitExceeded", message));
    }
    let subnet = interface.subnet.clone();
    let mut plan = placement::plan(cloud, &subnet).ok_or_else(|| placement::exhausted(&subnet))?;
    for address in &named {
        if !plan.take(*address) {
            return Err(Fault::new(
                "InvalidParameterValue",
                format!("Address {address} is in use or not in the subnet."),
            ));
        }
    }
    for _ in 0..count {
        named.push(plan.next().ok_or_else(|| placement::exhausted(&subnet))?);
    }
    let mut prefixes = Vec::with_capacity(prefix_count);
    for _ in 0..prefix_count {
        prefixes.push(plan.next_prefix().ok_or_else(|| placement::exhausted(&subnet))?);
    }
    let interface = find_mut(&mut cloud.ec2.interfaces, &call.region, id)?;
    interface.secondary.0.extend(&named);
    interface.prefixes.0.extend(&prefixes);
    Ok(document(call, |xml| {
        xml.plain("return", true)
            .text("networkInterfaceId", id)
            .list("assignedPrivateIpAddressesSet", "item", named, |xml, address| {
                xml.plain("privateIpAddress", address);
            })
            .list("assignedIpv4PrefixSet", "item", prefixes, |xml, prefix| {
                xml.plain("ipv4Prefix", format_args!("{prefix}/28"));
            });
    }))
}

pub(super) fn unassign(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("NetworkInterfaceId")?;
    let interface = find_own(cloud, call, id)?;
    let missing = || {
        let message = "Some of the specified addresses are not assigned to the network interface";
        Fault::new("InvalidParameterValue", message)
    };
    let drop = |have: &Addresses, doomed: Vec<Ipv4Addr>| {
        let all = doomed.iter().all(|address| have.0.contains(address));
        let left = have.0.iter().copied().filter(|address| !doomed.contains(address)).collect();
        if all { Ok(Addresses(left)) } else { Err(missing()) }
    };
    let addresses = params.list("PrivateIpAddress").into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let prefixes = params
        .list("Ipv4Prefix")
        .into_iter()
        .map(|prefix| parse(prefix.trim_end_matches("/28")))
        .collect::<Result<Vec<_>, _>>()?;
    let (secondary, prefixes) = (drop(&interface.secondary, addresses)?, drop(&interface.prefixes, prefixes)?);
    let interface = find_mut(&mut cloud.ec2.interfaces, &call.region, id)?;
    interface.secondary = secondary;
    interface.prefixes = prefixes;
    Ok(done(call))
}

fn parse(text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|_| Fault::new("InvalidParameterValue", format!("Invalid IPv4 address: {text}")))
}

impl Row for Volume {
    const PREFIX: &'static str = "vol-";
    const KIND: &'static str = "volume";
    const NOUN: &'static str = "volume";
    const NOT_FOUND: &'static str = "InvalidVolume.NotFound";
    const MALFORMED: &'static str = "InvalidParameterValue";
    const IDS: &'static str = "VolumeId";
    const FILTERS: &'static [&'static str] = &[
        "volume-id",
        "attachment.instance-id",
        "attachment.device",
        "availability-zone",
        "status",
        "size",
        "volume-type",
        "encrypted",
        "snapshot-id",
    ];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, _: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        match filter {
            "attachment.instance-id" => self.instance.iter().map(Cow::from).collect(),
            "attachment.device" => text(&self.device),
            "availability-zone" => text(&self.zone),
            "status" => text(if self.instance.is_some() { "in-use" } else { "available" }),
            "size" => shown(self.size_gib),
            "volume-type" => text(&self.kind),
            "encrypted" => shown(self.encrypted),
            "snapshot-id" => self.snapshot.iter().map(Cow::from).collect(),
            _ => text(id),
        }
    }
}

pub(super) fn describe_volumes(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, next) = select::select(cloud, call, &cloud.ec2.volumes, THOUSAND)?;
    Ok(document(call, |xml| {
        xml.list("volumeSet", "item", page, |xml, (id, volume)| write_volume(xml, id, volume));
        xml.optional("nextToken", next);
    }))
}

fn write_volume(xml: &mut Xml, id: &str, volume: &Volume) {
    xml.text("volumeId", id)
        .plain("size", volume.size_gib)
        .text("snapshotId", volume.snapshot.as_deref().unwrap_or_default())
        .text("availabilityZone", &volume.zone)
        .text("status", if volume.instance.is_some() { "in-use" } else { "available" })
        .moment("createTime", volume.created)
        .text("volumeType", &volume.kind)
        .plain("encrypted", volume.encrypted)
        .plain("multiAttachEnabled", false);
    if let Some(iops) = volume.iops {
        xml.plain("iops", iops);
    }
    if let Some(throughput) = volume.throughput {
        xml.plain("throughput", throughput);
    }
    xml.list("attachmentSet", "item", &volume.instance, |xml, instance| {
        xml.text("volumeId", id)
            .text("instanceId", instance)
            .text("device", &volume.device)
            .text("status", "attached")
            .moment("attachTime", volume.created)
            .plain("deleteOnTermination", volume.delete_on_termination);
    });
    tag::write(xml, &volume.tags);
}
