//! The condition keys of EC2's resources.

use super::{
    super::model::{Instance, Tags},
    TAGS, pairs,
};
use crate::authorize::{Scene, Target};

/// The condition keys of a resource; none if it does not exist.
pub(super) fn of(scene: &Scene<'_>, kind: &'static str, id: &str, target: Target) -> Target {
    let ec2 = &scene.cloud.ec2;
    let arn = |kind: &str, id: &str| scene.arn_of(kind, id);
    let tagged = |target: Target, tags: &Tags| target.has_tags(TAGS, pairs(tags));
    match kind {
        "vpc" => match ec2.vpcs.get(id) {
            Some(vpc) => tagged(target, &vpc.tags).with("ec2:VpcID", id).with("ec2:Tenancy", "default"),
            None => target,
        },
        "dhcp-options" => match ec2.dhcp_options.get(id) {
            Some(options) => tagged(target, &options.tags).with("ec2:DhcpOptionsID", id),
            None => target,
        },
        "subnet" => match ec2.subnets.get(id) {
            Some(subnet) => tagged(target, &subnet.tags)
                .with("ec2:SubnetID", id)
                .with("ec2:AvailabilityZone", subnet.zone.as_str())
                .with("ec2:Vpc", arn("vpc", &subnet.vpc)),
            None => target,
        },
        "route-table" => match ec2.route_tables.get(id) {
            Some(table) => {
                tagged(target, &table.tags).with("ec2:RouteTableID", id).with("ec2:Vpc", arn("vpc", &table.vpc))
            }
            None => target,
        },
        "security-group" => match ec2.groups.get(id) {
            Some(group) => {
                tagged(target, &group.tags).with("ec2:SecurityGroupID", id).with("ec2:Vpc", arn("vpc", &group.vpc))
            }
            None => target,
        },
        "launch-template" => match ec2.templates.get(id) {
            Some(template) => tagged(target, &template.tags),
            None => target,
        },
        "instance" => match ec2.instances.get(id) {
            Some(instance) => instance_facts(tagged(target, &instance.tags), id, instance),
            None => target,
        },
        "network-interface" => match ec2.interfaces.get(id) {
            Some(interface) => tagged(target, &interface.tags)
                .with("ec2:NetworkInterfaceID", id)
                .with("ec2:AvailabilityZone", interface.zone.as_str())
                .with("ec2:Subnet", arn("subnet", &interface.subnet))
                .with("ec2:Vpc", arn("vpc", &interface.vpc)),
            None => target,
        },
        "volume" => match ec2.volumes.get(id) {
            Some(volume) => tagged(target, &volume.tags)
                .with("ec2:VolumeID", id)
                .with("ec2:AvailabilityZone", volume.zone.as_str())
                .with("ec2:Encrypted", volume.encrypted)
                .with("ec2:VolumeSize", volume.size_gib.to_string())
                .with("ec2:VolumeType", volume.kind.as_str())
                .with_some("ec2:VolumeIops", volume.iops.map(|iops| iops.to_string()))
                .with_some("ec2:VolumeThroughput", volume.throughput.map(|one| one.to_string())),
            None => target,
        },
        "elastic-ip" => match ec2.elastic_ips.get(id) {
            Some(address) => tagged(target, &address.tags)
                .with("ec2:AllocationId", id)
                .with("ec2:Domain", "vpc")
                .with("ec2:PublicIpAddress", address.public.to_string()),
            None => target,
        },
        "image" => match ec2.images.get(id) {
            Some(image) => tagged(target, &image.tags)
                .with("ec2:ImageID", id)
                .with("ec2:ImageType", "machine")
                .with("ec2:Owner", image.owner_alias.as_ref().unwrap_or(&image.owner).as_str())
                .with("ec2:Public", image.owner_alias.is_some())
                .with("ec2:RootDeviceType", "ebs"),
            None => target,
        },
        "internet-gateway" => match ec2.internet_gateways.get(id) {
            Some(gateway) => tagged(target, &gateway.tags).with("ec2:InternetGatewayID", id),
            None => target,
        },
        "natgateway" => match ec2.nat_gateways.get(id) {
            Some(gateway) => tagged(target, &gateway.tags),
            None => target,
        },
        "security-group-rule" => match ec2.rules.get(id) {
            Some(rule) => tagged(target, &rule.tags),
            None => target,
        },
        _ => target,
    }
}

fn instance_facts(target: Target, id: &str, instance: &Instance) -> Target {
    target
        .with("ec2:InstanceID", id)
        .with("ec2:AvailabilityZone", instance.zone.as_str())
        .with("ec2:EbsOptimized", instance.ebs_optimized)
        .with("ec2:InstanceType", instance.kind.as_str())
        .with_some("ec2:InstanceMarketType", instance.spot.then_some("spot"))
        .with_some("ec2:InstanceProfile", instance.profile.as_ref().map(|(arn, _)| arn.as_str()))
        .with("ec2:MetadataHttpEndpoint", instance.metadata.endpoint.as_str())
        .with("ec2:MetadataHttpPutResponseHopLimit", instance.metadata.hop_limit.to_string())
        .with("ec2:MetadataHttpTokens", instance.metadata.tokens.as_str())
        .with("ec2:InstanceMetadataTags", instance.metadata.tags.as_str())
        .with("ec2:RootDeviceType", "ebs")
        .with("ec2:Tenancy", instance.tenancy.as_str())
}
