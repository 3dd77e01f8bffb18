//! The specification of a launch: launch data, checked against the account and completed with AWS's defaults.

use std::{collections::BTreeMap, net::Ipv4Addr};

use trunnion_catalog::{InstanceType, limits};

use super::{
    cards::{Slot, check_cards, is_beyond_card},
    model::{Flat, Image, MetadataOptions, Tags},
    security_group::by_name,
    select::find,
    snapshot, tag,
};
use crate::{
    call::{Call, Fault},
    cloud::Cloud,
    durations::Delay,
    query::Params,
};

/// The specification of an instance; one call can launch several such instances.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are AWS's own, and none depends on another")]
pub(super) struct Spec {
    pub(super) instance_type: &'static InstanceType,
    pub(super) image: String,
    pub(super) root_device: String,
    pub(super) profile: Option<(String, String)>,
    pub(super) vpc: String,
    pub(super) zone: String,
    /// The primary interface comes first.
    pub(super) interfaces: Vec<InterfaceSpec>,
    /// Whether EC2 terminates it right after the launch.
    pub(super) ends_after_launch: bool,
    pub(super) devices: Vec<DeviceSpec>,
    pub(super) user_data: Option<String>,
    pub(super) metadata: MetadataOptions,
    pub(super) tenancy: String,
    pub(super) spot: bool,
    pub(super) monitoring: bool,
    pub(super) ebs_optimized: bool,
    pub(super) termination_protected: bool,
    pub(super) instance_tags: Tags,
    pub(super) volume_tags: Tags,
    pub(super) interface_tags: Tags,
    pub(super) request_tags: Tags,
}

/// The specification of an interface.
#[derive(Debug)]
pub(super) struct InterfaceSpec {
    pub(super) card: u32,
    pub(super) device: u32,
    pub(super) subnet: String,
    pub(super) groups: Vec<String>,
    pub(super) kind: String,
    pub(super) description: String,
    pub(super) primary: Option<Ipv4Addr>,
    /// Secondary addresses that were asked for explicitly.
    pub(super) secondary: Vec<Ipv4Addr>,
    /// How many further secondary addresses are wanted.
    pub(super) secondary_count: usize,
    pub(super) prefix_count: usize,
    pub(super) ipv6_address_count: usize,
    pub(super) ipv6_prefix_count: usize,
    pub(super) delete_on_termination: bool,
    pub(super) tracking: Option<[Option<u32>; 3]>,
    pub(super) queues: Option<u32>,
}

impl InterfaceSpec {
    fn slot(&self) -> Slot {
        (self.card, self.device, 1 + self.secondary.len() + self.secondary_count + self.prefix_count)
    }
}

/// The specification of a volume.
#[derive(Debug)]
pub(super) struct DeviceSpec {
    pub(super) name: String,
    pub(super) size_gib: u32,
    pub(super) kind: String,
    pub(super) iops: Option<u32>,
    pub(super) throughput: Option<u32>,
    pub(super) encrypted: bool,
    pub(super) snapshot: Option<String>,
    pub(super) delete_on_termination: bool,
}

/// Reads launch data. `call` has the parameters that only `RunInstances` has: a subnet and an address for the only
/// interface. `tags` are those of the template, overridden by those of the request, by resource type.
pub(super) fn read(cloud: &Cloud, call: &Call, data: &Flat, tags: BTreeMap<String, Tags>) -> Result<Spec, Fault> {
    let params = Params::new(data);
    let name = params.require("InstanceType")?;
    let instance_type = trunnion_catalog::instance_type(name)
        .ok_or_else(|| invalid(format!("Invalid value '{name}' for InstanceType.")))?;
    let image_id = params.require("ImageId")?;
    let image = find(&cloud.ec2.images, &call.region, image_id)?;
    let architecture = instance_type.architecture.as_str();
    if image.architecture != architecture {
        return Err(invalid(format!(
            "The architecture '{architecture}' of the specified instance type does not match the architecture '{}' of \
             the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.",
            image.architecture
        )));
    }
    if let Some(key) = params.get("KeyName") {
        let message = format!("The key pair '{key}' does not exist");
        return Err(Fault::new("InvalidKeyPair.NotFound", message));
    }
    if let Some(group) = params.get("Placement.GroupName").filter(|group| !group.is_empty()) {
        let message = format!("The Placement Group '{group}' is unknown.");
        return Err(Fault::new("InvalidPlacementGroup.Unknown", message));
    }
    let interfaces = interfaces(cloud, call, &params)?;
    for interface in &interfaces {
        check_ipv6(cloud, call, instance_type, interface)?;
    }
    let slots: Vec<Slot> = interfaces.iter().map(InterfaceSpec::slot).collect();
    check_cards(instance_type, &slots)?;
    let ends_after_launch = is_beyond_card(instance_type, &slots);
    let (vpc, zone) = one_place(cloud, call, &params, &interfaces)?;
    for interface in &interfaces {
        check_groups(cloud, call, &vpc, &interface.groups)?;
    }
    let mut tags = tags;
    let mut tags_of = |kind: &str| tags.remove(kind).unwrap_or_default();
    Ok(Spec {
        instance_type,
        image: image_id.to_owned(),
        root_device: image.root_device.clone(),
        profile: profile(cloud, call, &params)?,
        vpc,
        zone,
        interfaces,
        ends_after_launch,
        devices: devices(cloud, call, &params, image)?,
        user_data: params.get("UserData").filter(|text| !text.is_empty()).map(str::to_owned),
        metadata: metadata(&params.under("MetadataOptions"), &new_metadata())?,
        tenancy: params.get("Placement.Tenancy").unwrap_or("default").to_owned(),
        spot: params.get("InstanceMarketOptions.MarketType") == Some("spot"),
        monitoring: params.bool("Monitoring.Enabled")?.unwrap_or(false),
        ebs_optimized: params.bool("EbsOptimized")?.unwrap_or(true),
        termination_protected: params.bool("DisableApiTermination")?.unwrap_or(false),
        instance_tags: tags_of("instance"),
        volume_tags: tags_of("volume"),
        interface_tags: tags_of("network-interface"),
        request_tags: tags_of("spot-instances-request"),
    })
}

fn invalid(message: String) -> Fault {
    Fault::new("InvalidParameterValue", message)
}

fn combination(message: &str) -> Fault {
    Fault::new("InvalidParameterCombination", message)
}

/// The tags of a template, overridden by those of the request.
pub(super) fn tags(template: Option<&Flat>, request: &Flat) -> Result<BTreeMap<String, Tags>, Fault> {
    let taggable = ["instance", "volume", "network-interface", "spot-instances-request"];
    let mut tags = match template {
        Some(template) => tag::specified(&Params::new(template), &taggable)?,
        None => BTreeMap::new(),
    };
    for (kind, over) in tag::specified(&Params::new(request), &taggable)? {
        tags.entry(kind).or_default().extend(over);
    }
    Ok(tags)
}

/// A profile that IAM created very recently is treated like one that does not exist.
fn profile(cloud: &Cloud, call: &Call, params: &Params<'_>) -> Result<Option<(String, String)>, Fault> {
    let (member, wanted) = match (params.get("IamInstanceProfile.Arn"), params.get("IamInstanceProfile.Name")) {
        (Some(_), Some(_)) => {
            return Err(combination("The parameter 'iamInstanceProfile.name' may not be used with its arn"));
        }
        (Some(arn), None) => ("arn", arn),
        (None, Some(name)) => ("name", name),
        (None, None) => return Ok(None),
    };
    let known = cloud
        .iam
        .instance_profile(wanted)
        .filter(|profile| cloud.all_know(Delay::IamLag, profile.created, call.now))
        .filter(|profile| (member == "arn") == (profile.arn == wanted));
    let Some(profile) = known else {
        let what = if member == "arn" { "ARN" } else { "name" };
        return Err(invalid(format!(
            "Value ({wanted}) for parameter iamInstanceProfile.{member} is invalid. Invalid IAM Instance Profile {what}"
        )));
    };
    if profile.role.is_none() {
        let message = format!("IAM Instance Profile \"{}\" has no associated IAM Roles", profile.arn);
        return Err(invalid(message));
    }
    Ok(Some((profile.arn.clone(), profile.id.clone())))
}

fn interfaces(cloud: &Cloud, call: &Call, params: &Params<'_>) -> Result<Vec<InterfaceSpec>, Fault> {
    let request = call.params();
    let groups: Vec<&str> = params.list("SecurityGroupId");
    let names: Vec<&str> = params.list("SecurityGroup");
    let items = params.items("NetworkInterface");
    let zone = params.get("Placement.AvailabilityZone");
    if items.is_empty() {
        let subnet = match request.get("SubnetId") {
            Some(subnet) => subnet.to_owned(),
            None => default_subnet(cloud, call, zone)?,
        };
        let vpc = &find(&cloud.ec2.subnets, &call.region, &subnet)?.vpc;
        let mut members: Vec<String> = groups.into_iter().map(str::to_owned).collect();
        for name in names {
            members.push(by_name(cloud, vpc, name)?);
        }
        if members.is_empty() {
            members.push(by_name(cloud, vpc, "default")?);
        }
        let primary = request.get("PrivateIpAddress").map(address).transpose()?;
        return Ok(vec![InterfaceSpec {
            card: 0,
            device: 0,
            subnet,
            groups: members,
            kind: "interface".to_owned(),
            description: String::new(),
            primary,
            secondary: Vec::new(),
            secondary_count: 0,
            prefix_count: 0,
            ipv6_address_count: 0,
            ipv6_prefix_count: 0,
            delete_on_termination: true,
            tracking: None,
            queues: None,
        }]);
    }
    if !groups.is_empty() || !names.is_empty() {
        return Err(combination(
            "Network interfaces and an instance-level security groups may not be specified on the same request",
        ));
    }
    if request.get("SubnetId").is_some() || request.get("PrivateIpAddress").is_some() {
        return Err(combination(
            "Network interfaces and an instance-level subnet ID may not be specified on the same request",
        ));
    }
    let several = items.len() > 1;
    let mut interfaces = Vec::with_capacity(items.len());
    for item in &items {
        if several && item.bool("AssociatePublicIpAddress")? == Some(true) {
            return Err(combination(
                "The associatePublicIPAddress parameter cannot be specified when launching with multiple network \
                 interfaces.",
            ));
        }
        interfaces.push(interface(cloud, call, item, zone)?);
    }
    interfaces.sort_by_key(|interface| (interface.card, interface.device));
    Ok(interfaces)
}

fn interface(cloud: &Cloud, call: &Call, item: &Params<'_>, zone: Option<&str>) -> Result<InterfaceSpec, Fault> {
    if item.get("NetworkInterfaceId").is_some() {
        let message = "Launching with an interface that exists is not served here.";
        return Err(Fault::new("UnsupportedOperation", message));
    }
    let device = item.number("DeviceIndex")?;
    let device: u32 = device.ok_or_else(|| invalid("Each network interface requires a device index.".to_owned()))?;
    let subnet = match item.get("SubnetId") {
        Some(subnet) => subnet.to_owned(),
        None => default_subnet(cloud, call, zone)?,
    };
    let row = find(&cloud.ec2.subnets, &call.region, &subnet)?;
    let mut groups: Vec<String> = item.list("SecurityGroupId").into_iter().map(str::to_owned).collect();
    if groups.is_empty() {
        groups.push(by_name(cloud, &row.vpc, "default")?);
    }
    let mut primary = item.get("PrivateIpAddress").map(address).transpose()?;
    let mut secondary = Vec::new();
    for named in item.items("PrivateIpAddresses") {
        let address = address(named.require("PrivateIpAddress")?)?;
        match named.bool("Primary")? {
            Some(true) if primary.is_none() => primary = Some(address),
            Some(true) => return Err(combination("Only one primary private IP address can be specified.")),
            _ => secondary.push(address),
        }
    }
    for address in primary.iter().chain(&secondary) {
        if row.cidr.place(*address).is_none() {
            return Err(invalid(format!("Address {address} does not fall within the subnet's address range")));
        }
    }
    let secondary_count = count(item, "SecondaryPrivateIpAddressCount")?;
    if secondary_count > 0 && !secondary.is_empty() {
        return Err(combination(
            "The parameters privateIpAddresses and secondaryPrivateIpAddressCount exclude another.",
        ));
    }
    if !item.items("Ipv4Prefix").is_empty() {
        let message = "Prefixes given by name are not served here; ask for a count.";
        return Err(Fault::new("UnsupportedOperation", message));
    }
    let tracking = item.under("ConnectionTrackingSpecification");
    let tracking = [
        tracking.number("TcpEstablishedTimeout")?,
        tracking.number("UdpStreamTimeout")?,
        tracking.number("UdpTimeout")?,
    ];
    Ok(InterfaceSpec {
        card: item.number("NetworkCardIndex")?.unwrap_or_default(),
        device,
        subnet,
        groups,
        kind: item.get("InterfaceType").unwrap_or("interface").to_owned(),
        description: item.get("Description").unwrap_or_default().to_owned(),
        primary,
        secondary,
        secondary_count,
        prefix_count: count(item, "Ipv4PrefixCount")?,
        ipv6_address_count: count(item, "Ipv6AddressCount")?,
        ipv6_prefix_count: count(item, "Ipv6PrefixCount")?,
        delete_on_termination: item.bool("DeleteOnTermination")?.unwrap_or(true),
        tracking: tracking.iter().any(Option::is_some).then_some(tracking),
        queues: item.number("EnaQueueCount")?,
    })
}

/// Whether an interface can have the IPv6 addresses or prefixes that it asks for. EC2 takes only one of the two
/// (aws/karpenter-provider-aws issue 2187 has the words, and pull request 9201 of May 2026 shows that it is still so). The
/// words of the other two refusals are not known.
fn check_ipv6(
    cloud: &Cloud,
    call: &Call,
    instance_type: &InstanceType,
    interface: &InterfaceSpec,
) -> Result<(), Fault> {
    let (addresses, prefixes) = (interface.ipv6_address_count, interface.ipv6_prefix_count);
    if addresses > 0 && prefixes > 0 {
        let message = "You can and can only specify one of ipv6-addresses or ipv6-addresses-count  ipv6-prefix and \
                       ipv6-prefix-count.";
        return Err(invalid(message.to_owned()));
    }
    if addresses + prefixes == 0 {
        return Ok(());
    }
    if find(&cloud.ec2.subnets, &call.region, &interface.subnet)?.ipv6.is_none() {
        return Err(invalid(format!("The subnet {} has no IPv6 CIDR block associated with it.", interface.subnet)));
    }
    // AWS publishes the same limit for both families.
    if addresses + prefixes > usize::try_from(instance_type.ipv4_per_interface).unwrap_or(usize::MAX) {
        return Err(invalid("Number of IPv6 addresses will exceed limit.".to_owned()));
    }
    Ok(())
}

/// A count of addresses. All of AWS's limits are far below the highest one that is read.
pub(super) fn count(params: &Params<'_>, name: &str) -> Result<usize, Fault> {
    Ok(params.number::<u16>(name)?.unwrap_or_default().into())
}

fn address(text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse()
        .map_err(|_| invalid(format!("Value ({text}) for parameter privateIpAddress is invalid. Invalid IPv4 address")))
}

fn default_subnet(cloud: &Cloud, call: &Call, zone: Option<&str>) -> Result<String, Fault> {
    let mut subnets = cloud.ec2.subnets.iter();
    subnets
        .find(|(_, subnet)| {
            subnet.is_default && subnet.region == call.region && zone.is_none_or(|zone| subnet.zone == zone)
        })
        .map(|(id, _)| id.to_owned())
        .ok_or_else(|| Fault::new("MissingInput", "No subnets found for the default VPC. Please specify a subnet."))
}

/// The VPC and the zone of all interfaces.
fn one_place(
    cloud: &Cloud,
    call: &Call,
    params: &Params<'_>,
    interfaces: &[InterfaceSpec],
) -> Result<(String, String), Fault> {
    let mut place = None;
    for interface in interfaces {
        let subnet = find(&cloud.ec2.subnets, &call.region, &interface.subnet)?;
        let here = (subnet.vpc.clone(), subnet.zone.clone());
        match &place {
            Some(other) if *other != here => {
                return Err(combination("All network interfaces must be in the same availability zone and VPC"));
            }
            _ => place = Some(here),
        }
    }
    let place = place.ok_or_else(|| invalid("An instance needs a network interface".to_owned()))?;
    if params.get("Placement.AvailabilityZone").is_some_and(|zone| zone != place.1) {
        return Err(combination("The specified subnet is not in the specified availability zone"));
    }
    Ok(place)
}

/// Whether an interface can have these groups: they exist in its VPC, and are not too many.
pub(super) fn check_groups(cloud: &Cloud, call: &Call, vpc: &str, groups: &[String]) -> Result<(), Fault> {
    if groups.len() > limits::INTERFACE_GROUPS {
        let message = "The maximum number of security groups per interface has been reached.";
        return Err(Fault::new("SecurityGroupsPerInterfaceLimitExceeded", message));
    }
    for id in groups {
        if find(&cloud.ec2.groups, &call.region, id)?.vpc != vpc {
            let message = "You have specified two resources that belong to different networks.";
            return Err(Fault::new("InvalidGroup.NotFound", message));
        }
    }
    Ok(())
}

/// The volumes: the image's root volume, with the changes requested for its device, and further ones.
fn devices(cloud: &Cloud, call: &Call, params: &Params<'_>, image: &Image) -> Result<Vec<DeviceSpec>, Fault> {
    let mut devices = vec![DeviceSpec {
        name: image.root_device.clone(),
        size_gib: image.root_size_gib,
        kind: "gp3".to_owned(),
        iops: None,
        throughput: None,
        encrypted: false,
        snapshot: Some(image.snapshot.clone()),
        delete_on_termination: true,
    }];
    let mut named = Vec::new();
    for mapping in params.items("BlockDeviceMapping") {
        let name = mapping.require("DeviceName")?;
        let fault = |message: String| Fault::new("InvalidBlockDeviceMapping", message);
        if named.contains(&name) {
            return Err(fault(format!("The device '{name}' is used in more than one block-device mapping")));
        }
        named.push(name);
        if mapping.get("NoDevice").is_some() || mapping.get("VirtualName").is_some() {
            continue;
        }
        let ebs = mapping.under("Ebs");
        let is_root = name == image.root_device;
        let snapshot = ebs.get("SnapshotId").or(is_root.then_some(&image.snapshot));
        if is_root && snapshot != Some(&image.snapshot) {
            return Err(fault("snapshotId cannot be modified on root device".to_owned()));
        }
        if let Some(snapshot) = snapshot.filter(|_| !is_root) {
            snapshot::check(cloud, call, snapshot)?;
        }
        let size: Option<u32> = ebs.number("VolumeSize")?;
        let smallest = if is_root { image.root_size_gib } else { 1 };
        let size_gib = match size {
            Some(size) if size < smallest => {
                return Err(fault(format!(
                    "Volume of size {size}GB is smaller than snapshot '{}', expect size>= {smallest}GB",
                    image.snapshot
                )));
            }
            Some(size) => size,
            None if is_root => smallest,
            None => {
                let message = "The request must contain the parameter size or snapshotId";
                return Err(Fault::new("MissingParameter", message));
            }
        };
        let kind = ebs.get("VolumeType").unwrap_or(if is_root { "gp3" } else { "gp2" });
        if !matches!(kind, "gp2" | "gp3" | "io1" | "io2" | "st1" | "sc1" | "standard") {
            return Err(invalid(format!("Value ({kind}) for parameter volumeType is invalid.")));
        }
        check_size(kind, size_gib)?;
        let iops: Option<u32> = ebs.number("Iops")?;
        if matches!(kind, "io1" | "io2") && iops.is_none() {
            let message = format!("The parameter iops must be specified for {kind} volumes.");
            return Err(Fault::new("MissingParameter", message));
        }
        let device = DeviceSpec {
            name: name.to_owned(),
            size_gib,
            kind: kind.to_owned(),
            iops,
            throughput: ebs.number("Throughput")?,
            encrypted: ebs.bool("Encrypted")?.unwrap_or(false),
            snapshot: snapshot.map(str::to_owned),
            delete_on_termination: ebs.bool("DeleteOnTermination")?.unwrap_or(true),
        };
        match devices.first_mut() {
            Some(root) if is_root => *root = device,
            _ => devices.push(device),
        }
    }
    Ok(devices)
}

/// The size of a volume is within the limits of its type. The code is certain; where the words of AWS are is not known.
fn check_size(kind: &str, gib: u32) -> Result<(), Fault> {
    let known = limits::VOLUME_GIB.into_iter().find(|(known, ..)| *known == kind);
    match known {
        Some((_, _, most)) if gib > most => {
            Err(invalid(format!("Volume of {gib}GiB is too large for volume type {kind}; maximum is {most}GiB")))
        }
        Some((_, least, _)) if gib < least => {
            Err(invalid(format!("Volume of {gib}GiB is too small for volume type {kind}; minimum is {least}GiB")))
        }
        _ => Ok(()),
    }
}

/// The options of a new instance. IMDSv2 is required by default, as with Amazon Linux 2023.
fn new_metadata() -> MetadataOptions {
    let text = str::to_owned;
    MetadataOptions {
        tokens: text("required"),
        hop_limit: 2,
        endpoint: text("enabled"),
        ipv6: text("disabled"),
        tags: text("disabled"),
    }
}

/// The options in `params`; what is left out stays as it was before.
pub(super) fn metadata(params: &Params<'_>, before: &MetadataOptions) -> Result<MetadataOptions, Fault> {
    let choice = |name: &str, choices: [&str; 2], before: &str| match params.get(name) {
        Some(value) if choices.contains(&value) => Ok(value.to_owned()),
        Some(value) => Err(invalid(format!("Value ({value}) for parameter {name} is invalid."))),
        None => Ok(before.to_owned()),
    };
    let hop_limit = params.number("HttpPutResponseHopLimit")?.unwrap_or(before.hop_limit);
    if !(1..=64).contains(&hop_limit) {
        let message = format!("Value ({hop_limit}) for parameter HttpPutResponseHopLimit is invalid.");
        return Err(invalid(message));
    }
    Ok(MetadataOptions {
        tokens: choice("HttpTokens", ["optional", "required"], &before.tokens)?,
        hop_limit,
        endpoint: choice("HttpEndpoint", ["enabled", "disabled"], &before.endpoint)?,
        ipv6: choice("HttpProtocolIpv6", ["enabled", "disabled"], &before.ipv6)?,
        tags: choice("InstanceMetadataTags", ["enabled", "disabled"], &before.tags)?,
    })
}
