//! What a launch needs: permissions for all that it touches, for the tags that it sets, and for the role that it passes.

use trunnion_catalog::Partition;

use super::{
    super::{
        launch_data,
        model::{Flat, Subnet, Tags},
        security_group::by_name,
        template, template_version,
    },
    pairs, specified,
};
use crate::{
    authorize::{Scene, Target},
    iam,
    query::Params,
};

/// What a launch asks for: the template's data overridden by the request's, and the template's id.
struct Launch {
    data: Flat,
    template: Option<String>,
    from_template: Flat,
}

impl Launch {
    fn of(scene: &Scene<'_>) -> Self {
        let params = scene.call.params();
        let request: Flat =
            scene.call.params().pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let named = params.under("LaunchTemplate");
        let template =
            params.has("LaunchTemplate").then(|| template::named(scene.cloud, scene.call, &named).ok()).flatten();
        let version = template.as_ref().and_then(|id| {
            template_version::version(scene.cloud, scene.call, id, named.get("Version"))
                .ok()
                .map(|one| one.data.clone())
        });
        let from_template = version.unwrap_or_default();
        let data = if from_template.is_empty() { request } else { launch_data::merge(&from_template, &request) };
        Self { data, template, from_template }
    }

    /// Whether a resource comes from the template and not from the request.
    fn is_from_template(&self, scene: &Scene<'_>, name: &str) -> bool {
        Params::new(&self.from_template).has(name) && !scene.call.params().has(name)
    }
}

/// Everything a launch touches: image, instance, interfaces, groups, subnets, volumes, template.
pub(super) fn launched(scene: &Scene<'_>) -> Vec<Target> {
    let launch = Launch::of(scene);
    let data = Params::new(&launch.data);
    let template_arn = launch.template.as_ref().map(|id| scene.arn_of("launch-template", id));
    let with_template = |target: Target, name: &str| {
        // The keys say which of the resources the template brought.
        let from_template = template_arn.is_some().then(|| launch.is_from_template(scene, name));
        target
            .with_some("ec2:LaunchTemplate", template_arn.clone())
            .with_some("ec2:IsLaunchTemplateResource", from_template)
    };
    let mut targets = Vec::new();
    let image = data.get("ImageId").unwrap_or("*");
    targets.push(with_template(scene.resource("image", image), "ImageId"));

    let items = data.items("NetworkInterface");
    let request = scene.call.params();
    let mut subnets: Vec<&str> = items.iter().filter_map(|item| item.get("SubnetId")).collect();
    subnets.extend(request.get("SubnetId"));
    let own = subnet_by_default(scene, &data);
    if subnets.is_empty() {
        subnets.extend(own.as_deref());
    }
    let first = subnets.first().and_then(|id| scene.cloud.ec2.subnets.get(id));
    let mut groups = data.list("SecurityGroupId");
    groups.extend(items.iter().flat_map(|item| item.list("SecurityGroupId")));
    // Groups that are given by name are in the VPC of the subnet.
    let group_named = |name: &str| first.and_then(|subnet| by_name(scene.cloud, &subnet.vpc, name).ok());
    let id_of = |name: &str| group_named(name).unwrap_or_else(|| "*".to_owned());
    let by_names: Vec<String> = data.list("SecurityGroup").into_iter().map(id_of).collect();
    groups.extend(by_names.iter().map(String::as_str));
    let default_group = group_named("default");
    if groups.is_empty() {
        groups.extend(default_group.as_deref());
    }
    for list in [&mut subnets, &mut groups] {
        list.sort_unstable();
        list.dedup();
    }
    let zone = first.map(|subnet| subnet.zone.as_str());
    targets.push(with_template(new_instance(scene, &data, zone), "InstanceType"));
    targets.extend(subnets.iter().map(|id| with_template(scene.resource("subnet", id), "NetworkInterface")));
    targets.extend(groups.iter().map(|id| with_template(scene.resource("security-group", id), "NetworkInterface")));
    let interfaces = new_interfaces(scene, &data, &subnets);
    targets.extend(interfaces.into_iter().map(|target| with_template(target, "NetworkInterface")));
    let volumes = new_volumes(scene, &data, image, zone);
    targets.extend(volumes.into_iter().map(|target| with_template(target, "BlockDeviceMapping")));
    targets.extend(launch.template.as_ref().map(|id| with_template(scene.resource("launch-template", id), "")));
    if data.get("InstanceMarketOptions.MarketType") == Some("spot") {
        targets.push(Target::of("spot-instances-request", scene.arn_of("spot-instances-request", "*")));
    }
    targets
}

fn subnet_by_default(scene: &Scene<'_>, data: &Params<'_>) -> Option<String> {
    let zone = data.get("Placement.AvailabilityZone");
    let mut subnets = scene.cloud.ec2.subnets.iter();
    let is_it = |subnet: &Subnet| {
        subnet.is_default && subnet.region == scene.call.region && zone.is_none_or(|zone| subnet.zone == zone)
    };
    subnets.find(|(_, subnet)| is_it(subnet)).map(|(id, _)| id.to_owned())
}

fn new_instance(scene: &Scene<'_>, data: &Params<'_>, zone: Option<&str>) -> Target {
    let profile = profile(scene, data).map(|profile| profile.arn.clone());
    let tags = launch_tags_of(scene, "instance");
    let option = |name: &str| data.get(&format!("MetadataOptions.{name}"));
    Target::of("instance", scene.arn_of("instance", "*"))
        .with("ec2:InstanceType", data.get("InstanceType").unwrap_or_default())
        .with_some("ec2:AvailabilityZone", zone)
        .with("ec2:EbsOptimized", data.get("EbsOptimized").unwrap_or("true"))
        .with_some("ec2:InstanceMarketType", data.get("InstanceMarketOptions.MarketType"))
        .with_some("ec2:InstanceProfile", profile)
        .with("ec2:MetadataHttpEndpoint", option("HttpEndpoint").unwrap_or("enabled"))
        .with("ec2:MetadataHttpPutResponseHopLimit", option("HttpPutResponseHopLimit").unwrap_or("2"))
        .with("ec2:MetadataHttpTokens", option("HttpTokens").unwrap_or("optional"))
        .with("ec2:InstanceMetadataTags", option("InstanceMetadataTags").unwrap_or("disabled"))
        .with("ec2:RootDeviceType", "ebs")
        .with("ec2:Tenancy", data.get("Placement.Tenancy").unwrap_or("default"))
        .gets_tags(pairs(&tags))
}

/// One interface per subnet: more of the same differ in nothing that a policy can ask for.
fn new_interfaces(scene: &Scene<'_>, data: &Params<'_>, subnets: &[&str]) -> Vec<Target> {
    let items = data.items("NetworkInterface");
    let public = items.iter().find_map(|item| item.get("AssociatePublicIpAddress"));
    let tags = launch_tags_of(scene, "network-interface");
    let new = |id: &&str| {
        let subnet = scene.cloud.ec2.subnets.get(id);
        Target::of("network-interface", scene.arn_of("network-interface", "*"))
            .with("ec2:Subnet", scene.arn_of("subnet", id))
            .with_some("ec2:AvailabilityZone", subnet.map(|subnet| subnet.zone.as_str()))
            .with_some("ec2:Vpc", subnet.map(|subnet| scene.arn_of("vpc", &subnet.vpc)))
            .with_some("ec2:AssociatePublicIpAddress", public)
            .gets_tags(pairs(&tags))
    };
    if subnets.is_empty() {
        return vec![Target::of("network-interface", scene.arn_of("network-interface", "*"))];
    }
    subnets.iter().map(new).collect()
}

/// The root volume and the further ones.
fn new_volumes(scene: &Scene<'_>, data: &Params<'_>, image: &str, zone: Option<&str>) -> Vec<Target> {
    let image = scene.cloud.ec2.images.get(image);
    let mut devices = data.items("BlockDeviceMapping");
    let names_root = |device: &Params<'_>| device.get("DeviceName") == image.map(|image| image.root_device.as_str());
    if !devices.iter().any(names_root) {
        devices.push(Params::new(&[]));
    }
    let tags = launch_tags_of(scene, "volume");
    let new = |device: Params<'_>| {
        let ebs = |name: &str| device.get(&format!("Ebs.{name}"));
        let is_root = device.get("DeviceName").is_none() || names_root(&device);
        let size = ebs("VolumeSize").map(str::to_owned);
        let size = size.or_else(|| image.filter(|_| is_root).map(|image| image.root_size_gib.to_string()));
        let snapshot = ebs("SnapshotId").or_else(|| image.filter(|_| is_root).map(|image| image.snapshot.as_str()));
        Target::of("volume", scene.arn_of("volume", "*"))
            .with_some("ec2:AvailabilityZone", zone)
            .with("ec2:Encrypted", ebs("Encrypted").unwrap_or("false"))
            .with_some("ec2:ParentSnapshot", snapshot.map(|id| scene.arn_of("snapshot", id)))
            .with_some("ec2:VolumeSize", size)
            .with("ec2:VolumeType", ebs("VolumeType").unwrap_or("gp3"))
            .with_some("ec2:VolumeIops", ebs("Iops"))
            .with_some("ec2:VolumeThroughput", ebs("Throughput"))
            .gets_tags(pairs(&tags))
    };
    devices.into_iter().map(new).collect()
}

/// The tags of one type that a launch sets, from the template and the request.
fn launch_tags_of(scene: &Scene<'_>, kind: &str) -> Tags {
    let launch = Launch::of(scene);
    let mut tags = specified(&Params::new(&launch.from_template), kind);
    tags.extend(specified(&scene.call.params(), kind));
    tags
}

pub(super) fn launch_tags(scene: &Scene<'_>) -> Vec<Target> {
    let kinds = ["instance", "volume", "network-interface", "spot-instances-request"];
    let tags = kinds.map(|kind| (kind, launch_tags_of(scene, kind)));
    tags.iter().filter(|(_, tags)| !tags.is_empty()).map(|(kind, tags)| scene.tagging_with(kind, tags)).collect()
}

fn profile<'s>(scene: &Scene<'s>, data: &Params<'_>) -> Option<&'s iam::InstanceProfile> {
    let wanted = data.get("IamInstanceProfile.Arn").or_else(|| data.get("IamInstanceProfile.Name"))?;
    scene.cloud.iam.instance_profile(wanted)
}

/// The role that the launch hands to the instance.
pub(super) fn passed_role(scene: &Scene<'_>) -> Vec<Target> {
    let launch = Launch::of(scene);
    let role = profile(scene, &Params::new(&launch.data)).and_then(|profile| profile.role.clone());
    // In China, this is not the principal of `iam:AddRoleToInstanceProfile` (aws/karpenter-provider-aws#6843, read
    // November 2026).
    let service = Partition::of(&scene.call.region).service_principal("ec2");
    role.map(|role| iam::passed(scene.cloud, &scene.call.region, &role, &service)).into_iter().collect()
}
