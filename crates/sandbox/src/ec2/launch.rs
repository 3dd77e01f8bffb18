//! `RunInstances`.

use sha2::{Digest, Sha256};
use trunnion_catalog::{VcpuQuota, limits};

use super::{
    instance_change::KEPT,
    instance_view, launch_data,
    launch_spec::{self, DeviceSpec, InterfaceSpec, Spec},
    model::{Attachment, Flat, Instance, InstanceState, Interface, SpotRequest, Volume},
    placement::{Placed, place},
    select::Row,
    spot, template, template_version,
};
use crate::{
    authorize,
    call::{Call, Fault, Reply},
    cloud::Cloud,
    json::hex,
    query::Params,
};

/// Parameters of `RunInstances` that are not part of launch templates.
const BESIDES: &[&str] = &[
    "Action",
    "Version",
    "MinCount",
    "MaxCount",
    "ClientToken",
    "DryRun",
    "LaunchTemplate",
    "SubnetId",
    "PrivateIpAddress",
];

/// The service-linked role with which EC2 requests spot instances.
const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";

/// The SHA-256 of a text in hexadecimal.
pub(super) fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

pub(super) fn run(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let zone = named_zone(cloud, call);
    if let Some(ids) = template::earlier(cloud, call, &zone)? {
        return again(cloud, call, &ids);
    }
    let (least, most) = counts(&params)?;
    let request = launch_data::read(&params, "", BESIDES)?;
    let base = from_template(cloud, call, &params)?;
    let data = base.as_ref().map_or_else(|| request.clone(), |base| launch_data::merge(base, &request));
    let tags = launch_spec::tags(base.as_ref(), &request)?;
    let spec = launch_spec::read(cloud, call, &data, tags)?;
    if most > 1 && spec.interfaces.iter().any(|interface| interface.primary.is_some()) {
        let message = "A private IP address can be specified for one instance only";
        return Err(Fault::new("InvalidParameterCombination", message));
    }
    if spec.spot && cloud.iam.service_role_since(SPOT_ROLE).is_none() {
        // AWS creates the role with the first spot instance of an account (Amazon EC2 user guide, "Service-linked role
        // for Spot Instance requests", read November 2026).
        let role = crate::iam::service_role(cloud, &call.region, "spot.amazonaws.com", SPOT_ROLE);
        let may = authorize::may(cloud, call, "iam:CreateServiceLinkedRole", role);
        if !cloud.makes_service_roles || !may {
            return Err(Fault::new(
                "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
                "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.",
            )
            .with_status(403));
        }
        crate::iam::make_service_role(cloud, SPOT_ROLE, "spot.amazonaws.com", call);
    }
    if let Some(quota) = VcpuQuota::of(spec.instance_type.name) {
        check_vcpus(cloud, &call.region, quota, spec.spot, vcpus(spec.instance_type.name).saturating_mul(most))?;
    }
    let placed = place(cloud, &spec.interfaces, least, most)?;

    let user_data = spec.user_data.as_ref().map(|text| (digest(text), text));
    if let Some((key, text)) = &user_data
        && cloud.ec2.user_data.get(key).is_none()
    {
        cloud.ec2.user_data.insert(key.clone(), (*text).clone());
    }
    let is_kept = |(name, _): &&(String, String)| KEPT.contains(&name.split('.').next().unwrap_or_default());
    let options: Flat = data.iter().filter(is_kept).cloned().collect();
    let reservation = cloud.new_id("r-");
    let mut ids = Vec::with_capacity(placed.len());
    for (launch_index, placed) in (0..).zip(placed) {
        let id = cloud.new_id(Instance::PREFIX);
        let interfaces = spec
            .interfaces
            .iter()
            .zip(placed)
            .map(|(interface, placed)| plug_in(cloud, call, &spec, &id, interface, placed))
            .collect();
        let volumes =
            spec.devices.iter().map(|device| (device.name.clone(), attach(cloud, call, &spec, &id, device))).collect();
        let instance = Instance {
            region: call.region.clone(),
            created: call.now,
            reservation: reservation.clone(),
            launch_index,
            token: params.get("ClientToken").filter(|token| !token.is_empty()).map(str::to_owned),
            state: InstanceState::Pending,
            since: call.now,
            kind: spec.instance_type.name.to_owned(),
            image: spec.image.clone(),
            architecture: spec.instance_type.architecture.as_str().to_owned(),
            root_device: spec.root_device.clone(),
            profile: spec.profile.clone(),
            vpc: spec.vpc.clone(),
            subnet: spec.interfaces.first().map_or_else(String::new, |interface| interface.subnet.clone()),
            zone: spec.zone.clone(),
            interfaces,
            volumes,
            user_data: user_data.as_ref().map(|(key, _)| key.clone()),
            metadata: spec.metadata.clone(),
            tenancy: spec.tenancy.clone(),
            spot: spec.spot,
            monitoring: spec.monitoring,
            ebs_optimized: spec.ebs_optimized,
            termination_protected: spec.termination_protected,
            ends_after_launch: spec.ends_after_launch,
            console: None,
            options: options.clone(),
            tags: spec.instance_tags.clone(),
        };
        cloud.ec2.instances.insert(id.clone(), instance);
        if spec.spot {
            let (region, instance, tags) = (call.region.clone(), id.clone(), spec.request_tags.clone());
            let request = SpotRequest { region, created: call.now, instance, tags };
            cloud.ec2.spot_requests.insert(spot::request_of(&id), request);
        }
        ids.push(id);
    }
    template::remember(cloud, call, &zone, ids.clone());
    Ok(instance_view::reservation(cloud, call, &ids))
}

/// The vCPUs of an instance type.
pub(super) fn vcpus(kind: &str) -> u32 {
    trunnion_catalog::instance_type(kind).map_or(0, |found| found.vcpu)
}

/// Refuses to start more vCPUs than a quota has left. Pending and running instances of the types that share it count.
pub(super) fn check_vcpus(
    cloud: &Cloud,
    region: &str,
    quota: &VcpuQuota,
    is_spot: bool,
    wanted: u32,
) -> Result<(), Fault> {
    let Some(most) = cloud.most_vcpus else { return Ok(()) };
    let is_live = |state| matches!(state, InstanceState::Pending | InstanceState::Running);
    let instances = cloud.ec2.instances.values();
    let live = instances.filter(|row| row.region == region && row.spot == is_spot && is_live(row.state));
    let live = live.filter(|row| VcpuQuota::of(&row.kind) == Some(quota));
    let used: u32 = live.map(|row| vcpus(&row.kind)).sum();
    if used.saturating_add(wanted) <= most {
        return Ok(());
    }
    if is_spot {
        return Err(Fault::new("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded"));
    }
    Err(Fault::new(
        "VcpuLimitExceeded",
        format!(
            "You have requested more vCPU capacity than your current vCPU limit of {most} allows for the instance \
             bucket that the specified instance type belongs to. Please visit \
             http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit."
        ),
    ))
}

/// The answer to a repeated call with the same client token.
fn again(cloud: &Cloud, call: &Call, ids: &[String]) -> Result<Reply, Fault> {
    let found = |id: &String| cloud.ec2.instances.get(id);
    let is_forgotten = ids.iter().any(|id| found(id).is_none());
    let is_over = ids
        .iter()
        .filter_map(found)
        .any(|instance| matches!(instance.state, InstanceState::ShuttingDown | InstanceState::Terminated));
    // AWS returned the terminated instance until January 2025, and refuses the token since (boto/boto3 issue 4406, read
    // November 2026). Its documents do not say so. An instance that it does not list any more it cannot return.
    let token = call.params().get("ClientToken").map(str::to_owned).unwrap_or_default();
    if is_forgotten || is_over && !cloud.draws(&format!("terminated {token}")) {
        return Err(Fault::new(
            "IdempotentInstanceTerminated",
            "The instance that was launched with this client token has been terminated.",
        ));
    }
    Ok(instance_view::reservation(cloud, call, ids))
}

/// The zone that a launch names, by a subnet or by itself; empty if it leaves the zone to EC2.
fn named_zone(cloud: &Cloud, call: &Call) -> String {
    let params = call.params();
    let of_template = from_template(cloud, call, &params).ok().flatten().unwrap_or_default();
    let mut pairs: Vec<(&str, &str)> = params.pairs().collect();
    let template = Params::new(&of_template);
    pairs.extend(template.pairs());
    let subnet = pairs.iter().find(|(name, _)| *name == "SubnetId" || name.ends_with(".SubnetId"));
    let of_subnet = subnet.and_then(|(_, id)| cloud.ec2.subnets.get(id)).map(|row| row.zone.clone());
    let named = pairs.iter().find(|(name, _)| *name == "Placement.AvailabilityZone");
    of_subnet.or_else(|| named.map(|(_, zone)| (*zone).to_owned())).unwrap_or_default()
}

fn counts(params: &Params<'_>) -> Result<(u32, u32), Fault> {
    let count = |name: &str| {
        let missing = || Fault::new("MissingParameter", format!("The request must contain the parameter {name}"));
        params.number::<u32>(name)?.ok_or_else(missing)
    };
    let (least, most) = (count("MinCount")?, count("MaxCount")?);
    if least == 0 || least > most {
        let message = format!("Value ({least}) for parameter minCount is invalid, with maxCount {most}");
        return Err(Fault::new("InvalidParameterValue", message));
    }
    if most > limits::INSTANCES_PER_CALL {
        let message = format!("You have requested more instances ({most}) than your current instance limit allows");
        return Err(Fault::new("InstanceLimitExceeded", message));
    }
    Ok((least, most))
}

fn from_template(cloud: &Cloud, call: &Call, params: &Params<'_>) -> Result<Option<Flat>, Fault> {
    if !params.has("LaunchTemplate") {
        return Ok(None);
    }
    let template = params.under("LaunchTemplate");
    let id = template::named(cloud, call, &template)?;
    let version = template_version::version(cloud, call, &id, template.get("Version"))?;
    Ok(Some(version.data.clone()))
}

fn plug_in(
    cloud: &mut Cloud,
    call: &Call,
    spec: &Spec,
    instance: &str,
    interface: &InterfaceSpec,
    placed: Placed,
) -> String {
    let id = cloud.new_id(Interface::PREFIX);
    let attachment = Attachment {
        id: cloud.new_id("eni-attach-"),
        instance: instance.to_owned(),
        card: interface.card,
        device: interface.device,
        delete_on_termination: interface.delete_on_termination,
        queues: interface.queues,
    };
    let row = Interface {
        region: call.region.clone(),
        created: call.now,
        vpc: spec.vpc.clone(),
        subnet: interface.subnet.clone(),
        zone: spec.zone.clone(),
        description: interface.description.clone(),
        kind: interface.kind.clone(),
        task: None,
        public: None,
        is_unchecked: false,
        groups: interface.groups.clone(),
        primary: placed.primary,
        secondary: placed.secondary,
        prefixes: placed.prefixes,
        ipv6: placed.ipv6,
        attachment: Some(attachment),
        tracking: interface.tracking,
        tags: spec.interface_tags.clone(),
    };
    cloud.ec2.interfaces.insert(id.clone(), row);
    id
}

fn attach(cloud: &mut Cloud, call: &Call, spec: &Spec, instance: &str, device: &DeviceSpec) -> String {
    let id = cloud.new_id(Volume::PREFIX);
    let is_gp3 = device.kind == "gp3";
    let row = Volume {
        region: call.region.clone(),
        created: call.now,
        zone: spec.zone.clone(),
        instance: Some(instance.to_owned()),
        device: device.name.clone(),
        delete_on_termination: device.delete_on_termination,
        size_gib: device.size_gib,
        kind: device.kind.clone(),
        iops: device.iops.or(is_gp3.then_some(3000)),
        throughput: device.throughput.or(is_gp3.then_some(125)),
        encrypted: device.encrypted,
        snapshot: device.snapshot.clone(),
        tags: spec.volume_tags.clone(),
    };
    cloud.ec2.volumes.insert(id.clone(), row);
    id
}
