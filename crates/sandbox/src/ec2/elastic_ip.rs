//! Elastic IP addresses: allocated to the account, associated with a private address of an interface.

use std::{borrow::Cow, net::Ipv4Addr};

use trunnion_catalog::Partition;

use super::{
    document, done,
    instance::only_interface,
    interface::{Shown, find_own},
    launch_spec::MOST_GROUPS,
    model::{Association, ElasticIp, InstanceState, Interface},
    select::{self, PageSize, Row, find, find_mut, row_fields, shown, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    xml::Xml,
};

/// `DescribeAddresses` has no pages.
const ALL: PageSize = PageSize { least: 1, most: usize::MAX, default: None };

/// Addresses are taken from the block for benchmarks (198.18.0.0/15, RFC 2544), which is not routed on the internet.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const LAST: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 254);

impl Row for ElasticIp {
    const PREFIX: &'static str = "eipalloc-";
    const KIND: &'static str = "elastic-ip";
    const NOUN: &'static str = "allocation ID";
    const NOT_FOUND: &'static str = "InvalidAllocationID.NotFound";
    const MALFORMED: &'static str = "InvalidAllocationID.Malformed";
    const IDS: &'static str = "AllocationId";
    const FILTERS: &'static [&'static str] = &[
        "allocation-id",
        "association-id",
        "instance-id",
        "network-interface-id",
        "network-interface-owner-id",
        "network-border-group",
        "private-ip-address",
        "public-ip",
    ];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        let association = self.association.as_ref();
        let of = |value: fn(&'r Association) -> &'r str| association.map_or_else(Vec::new, |found| text(value(found)));
        match filter {
            "association-id" => of(|found| &found.id),
            "instance-id" => association.and_then(|found| instance(cloud, found)).map_or_else(Vec::new, text),
            "network-interface-id" => of(|found| &found.interface),
            "network-interface-owner-id" => association.map_or_else(Vec::new, |_| text(&cloud.account)),
            "network-border-group" => text(&self.region),
            "private-ip-address" => association.map_or_else(Vec::new, |found| shown(found.private)),
            "public-ip" => shown(self.public),
            _ => text(id),
        }
    }
}

/// The instance of an association, if it has one.
fn instance<'w>(cloud: &'w Cloud, association: &Association) -> Option<&'w str> {
    let interface = cloud.ec2.interfaces.get(&association.interface)?;
    interface.attachment.as_ref().map(|attachment| attachment.instance.as_str())
}

/// The public address of an interface's private address, if it has one.
pub(super) fn public_of(cloud: &Cloud, interface: &str, private: Ipv4Addr) -> Option<Ipv4Addr> {
    let is_it = |found: &Association| found.is_at(interface, private);
    let elastic = cloud.ec2.elastic_ips.values().find(|row| row.association.as_ref().is_some_and(is_it));
    let given = || cloud.ec2.interfaces.get(interface).filter(|row| row.primary == private)?.public;
    elastic.map(|row| row.public).or_else(given)
}

/// The allocation id of that address.
pub(super) fn allocation_of<'w>(cloud: &'w Cloud, interface: &str, private: Ipv4Addr) -> Option<&'w str> {
    let is_it = |found: &Association| found.is_at(interface, private);
    cloud.ec2.elastic_ips.iter().find(|(_, row)| row.association.as_ref().is_some_and(is_it)).map(|(id, _)| id)
}

/// Whether an interface in this VPC has a public address.
pub(super) fn is_mapped_in(cloud: &Cloud, vpc: &str) -> bool {
    let associations = cloud.ec2.elastic_ips.values().filter_map(|row| row.association.as_ref());
    let mut elastic = associations.filter_map(|found| cloud.ec2.interfaces.get(&found.interface));
    let mut given = cloud.ec2.interfaces.values().filter(|interface| interface.public.is_some());
    elastic.any(|interface| interface.vpc == vpc) || given.any(|interface| interface.vpc == vpc)
}

/// Ends the associations of an interface that is about to be deleted.
pub(super) fn unplug(cloud: &mut Cloud, interface: &str) {
    let is_on = |row: &ElasticIp| row.association.as_ref().is_some_and(|found| found.interface == interface);
    let ended: Vec<String> =
        cloud.ec2.elastic_ips.iter().filter(|(_, row)| is_on(row)).map(|(id, _)| id.to_owned()).collect();
    for id in ended {
        if let Some(row) = cloud.ec2.elastic_ips.get_mut(&id) {
            row.association = None;
        }
    }
}

pub(super) fn allocate(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let domain = params.get("Domain").unwrap_or("vpc");
    if domain != "vpc" {
        return Err(Fault::new("InvalidParameterValue", format!("Invalid domain '{domain}'; expected 'vpc'")));
    }
    let tags = tag::of_created::<ElasticIp>(&params)?;
    let here = cloud.ec2.elastic_ips.values().filter(|row| row.region == call.region).count();
    if here >= cloud.most_elastic_ips {
        let message = "The maximum number of addresses has been reached.";
        return Err(Fault::new("AddressLimitExceeded", message));
    }
    let public = next_public(cloud);
    let id = cloud.new_id(ElasticIp::PREFIX);
    let row = ElasticIp { region: call.region.clone(), created: call.now, public, association: None, tags };
    cloud.ec2.elastic_ips.insert(id.clone(), row);
    Ok(document(call, |xml| {
        xml.plain("publicIp", public)
            .text("domain", "vpc")
            .text("allocationId", &id)
            .text("publicIpv4Pool", "amazon")
            .text("networkBorderGroup", &call.region);
    }))
}

/// The lowest free address.
pub(super) fn next_public(cloud: &Cloud) -> Ipv4Addr {
    let given = cloud.ec2.interfaces.values().filter_map(|row| row.public);
    let taken: Vec<Ipv4Addr> = cloud.ec2.elastic_ips.values().map(|row| row.public).chain(given).collect();
    (u32::from(FIRST)..=u32::from(LAST)).map(Ipv4Addr::from).find(|address| !taken.contains(address)).unwrap_or(FIRST)
}

pub(super) fn associate(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("AllocationId")?;
    let allowed = params.bool("AllowReassociation")?.unwrap_or(true);
    let row = find(&cloud.ec2.elastic_ips, &call.region, id)?;
    if let Some(association) = &row.association
        && !allowed
    {
        return Err(already(id, &association.id));
    }
    check_own(cloud, call, row)?;
    let interface = match (params.get("NetworkInterfaceId"), params.get("InstanceId")) {
        (Some(interface), None) => {
            refuse_pending_or_ending(cloud, call, interface)?;
            interface.to_owned()
        }
        (None, Some(instance)) => interface_of(cloud, call, instance)?,
        _ => {
            let message = "Either 'instanceId' or 'networkInterfaceId' must be specified, and not both";
            return Err(Fault::new("InvalidParameterCombination", message));
        }
    };
    let found = find_own(cloud, call, &interface)?;
    let private = match params.get("PrivateIpAddress") {
        None => found.primary,
        Some(asked) => {
            let all = || std::iter::once(found.primary).chain(found.secondary.0.iter().copied());
            let is_asked = |address: &Ipv4Addr| address.to_string() == asked;
            all().find(is_asked).ok_or_else(|| {
                let message = format!("The private IP address {asked} is not assigned to '{interface}'");
                Fault::new("InvalidParameterValue", message)
            })?
        }
    };
    let there = cloud.ec2.elastic_ips.iter().find_map(|(id, row)| {
        row.association
            .as_ref()
            .filter(|found| found.is_at(&interface, private))
            .map(|found| (id.to_owned(), &found.id))
    });
    if let Some((other, association)) = there.filter(|(other, _)| other != id) {
        if !allowed {
            return Err(already(&interface, association));
        }
        find_mut(&mut cloud.ec2.elastic_ips, &call.region, &other)?.association = None;
    }
    let association = cloud.new_id("eipassoc-");
    find_mut(&mut cloud.ec2.elastic_ips, &call.region, id)?.association =
        Some(Association { id: association.clone(), interface, private });
    Ok(document(call, |xml| {
        xml.plain("return", true).text("associationId", &association);
    }))
}

fn already(what: &str, with: &str) -> Fault {
    Fault::new("Resource.AlreadyAssociated", format!("resource {what} is already associated with associate-id {with}"))
}

/// Refuses an interface whose instance is pending or ending.
fn refuse_pending_or_ending(cloud: &Cloud, call: &Call, interface: &str) -> Result<(), Fault> {
    let found = find(&cloud.ec2.interfaces, &call.region, interface)?;
    let instance = found.attachment.as_ref().and_then(|attachment| cloud.ec2.instances.get(&attachment.instance));
    match instance.map(|instance| instance.state) {
        Some(InstanceState::Pending) => Err(Fault::new(
            "IncorrectInstanceState",
            format!(
                "The pending-instance-creation instance to which '{interface}' is attached is not in a valid state for \
                 this operation"
            ),
        )),
        Some(InstanceState::ShuttingDown | InstanceState::Terminated) => Err(Fault::new(
            "IncorrectInstanceState",
            format!("The instance to which '{interface}' is attached is not in a valid state for this operation"),
        )),
        _ => Ok(()),
    }
}

/// The only interface of an instance that runs or is stopped.
fn interface_of(cloud: &Cloud, call: &Call, id: &str) -> Result<String, Fault> {
    let instance = find(&cloud.ec2.instances, &call.region, id)?;
    if !matches!(instance.state, InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped) {
        let state = instance.state.name();
        let message = format!("The {state} instance '{id}' is not in a valid state for this operation.");
        return Err(Fault::new("InvalidInstanceID", message));
    }
    only_interface(cloud, call, id)
}

/// Refuses an address on an interface that a service made.
fn check_own(cloud: &Cloud, call: &Call, row: &ElasticIp) -> Result<(), Fault> {
    row.association.as_ref().map_or(Ok(()), |found| find_own(cloud, call, &found.interface).map(|_| ()))
}

pub(super) fn disassociate(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let association = params.require("AssociationId")?;
    let is_it = |row: &ElasticIp| {
        row.region == call.region && row.association.as_ref().is_some_and(|found| found.id == association)
    };
    let id = cloud.ec2.elastic_ips.iter().find(|(_, row)| is_it(row)).map(|(id, _)| id.to_owned());
    let missing = || {
        let message = format!("The association ID '{association}' does not exist");
        Fault::new("InvalidAssociationID.NotFound", message)
    };
    let id = id.ok_or_else(missing)?;
    check_own(cloud, call, find(&cloud.ec2.elastic_ips, &call.region, &id)?)?;
    find_mut(&mut cloud.ec2.elastic_ips, &call.region, &id)?.association = None;
    Ok(done(call))
}

/// An address that is still associated cannot be released.
pub(super) fn release(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("AllocationId")?;
    let row = find(&cloud.ec2.elastic_ips, &call.region, id)?;
    check_own(cloud, call, row)?;
    if row.association.is_some() {
        return Err(Fault::new("InvalidIPAddress.InUse", format!("Address {} is in use.", row.public)));
    }
    cloud.ec2.elastic_ips.remove(id);
    Ok(done(call))
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, _) = select::select(cloud, call, &cloud.ec2.elastic_ips, ALL)?;
    Ok(document(call, |xml| {
        xml.list("addressesSet", "item", page, |xml, (id, row)| write(xml, cloud, id, row));
    }))
}

fn write(xml: &mut Xml, cloud: &Cloud, id: &str, row: &ElasticIp) {
    xml.plain("publicIp", row.public)
        .text("allocationId", id)
        .text("domain", "vpc")
        .text("publicIpv4Pool", "amazon")
        .text("networkBorderGroup", &row.region);
    if let Some(association) = &row.association {
        xml.text("associationId", &association.id)
            .text("networkInterfaceId", &association.interface)
            .text("networkInterfaceOwnerId", &cloud.account)
            .plain("privateIpAddress", association.private)
            .optional("instanceId", instance(cloud, association));
    }
    tag::write(xml, &row.tags);
}

/// Writes the public address of one of an interface's private addresses, if it has one.
pub(super) fn write_association(
    xml: &mut Xml,
    cloud: &Cloud,
    (id, interface, private): (&str, &Interface, Ipv4Addr),
    shown: Shown,
) {
    let is_it = |row: &ElasticIp| row.association.as_ref().is_some_and(|found| found.is_at(id, private));
    let elastic = cloud.ec2.elastic_ips.iter().find(|(_, row)| is_it(row));
    let given = interface.public.filter(|_| interface.primary == private);
    let Some(public) = elastic.map(|(_, row)| row.public).or(given) else { return };
    xml.element("association", |xml| {
        xml.plain("publicIp", public).text("publicDnsName", public_name(&interface.region, public));
        xml.text("ipOwnerId", if elastic.is_some() { &cloud.account } else { "amazon" });
        if let (Some((allocation, row)), Shown::Alone) = (elastic, shown) {
            xml.text("allocationId", allocation)
                .optional("associationId", row.association.as_ref().map(|found| &found.id));
        }
    });
}

/// The DNS name that Amazon gives to a public address.
pub(super) fn public_name(region: &str, address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    let domain = Partition::of(region).domain;
    match region {
        "us-east-1" => format!("ec2-{a}-{b}-{c}-{d}.compute-1.{domain}"),
        _ => format!("ec2-{a}-{b}-{c}-{d}.{region}.compute.{domain}"),
    }
}

/// The answer to `DescribeAccountAttributes`: the attributes that its API reference lists (read 26 November 2026), apart
/// from `max-instances`, which AWS no longer gives a meaning.
pub(super) fn account_attributes(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let names = params.list("AttributeName");
    let mut vpcs = cloud.ec2.vpcs.iter().filter(|(_, vpc)| vpc.is_default && vpc.region == call.region);
    let default = vpcs.next().map_or_else(|| "none".to_owned(), |(id, _)| id.to_owned());
    let most = cloud.most_elastic_ips.to_string();
    let known = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", default),
        ("vpc-max-security-groups-per-interface", MOST_GROUPS.to_string()),
        ("max-elastic-ips", most.clone()),
        ("vpc-max-elastic-ips", most),
    ];
    if let Some(other) = names.iter().find(|name| !known.iter().any(|(known, _)| known == *name)) {
        return Err(Fault::new(
            "InvalidParameterValue",
            format!("Value ({other}) for parameter attribute is invalid."),
        ));
    }
    let asked = known.iter().filter(|(name, _)| names.is_empty() || names.contains(name));
    Ok(document(call, |xml| {
        xml.list("accountAttributeSet", "item", asked, |xml, (name, value)| {
            xml.text("attributeName", name).list("attributeValueSet", "item", [value], |xml, value| {
                xml.text("attributeValue", value);
            });
        });
    }))
}
