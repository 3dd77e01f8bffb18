//! Changes of instances: attributes, metadata options, monitoring, reboots.

use trunnion_catalog::InstanceType;

use super::{
    cards::{Slot, check_cards, is_beyond_card},
    document, done, instance,
    instance::only_interface,
    interface_change::write_groups,
    launch,
    launch_data::check_user_data,
    launch_spec::{self, check_groups},
    model::{Instance, InstanceState, MetadataOptions},
    select::{find, find_mut},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    query::Params,
    xml::Xml,
};

/// Launch parameters that an instance keeps although they have no field of their own.
pub(super) const KEPT: [&str; 9] = [
    "CpuOptions",
    "DisableApiStop",
    "EnclaveOptions",
    "HibernationOptions",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions",
    "MaintenanceOptions",
    "NetworkPerformanceOptions",
    "PrivateDnsNameOptions",
];

/// The value of an attribute that is one value; empty if the attribute has none, `None` if it is not of this kind.
fn value(cloud: &Cloud, instance: &Instance, attribute: &str) -> Option<String> {
    let options = Params::new(&instance.options);
    let option = |name: &str, default: &str| options.get(name).unwrap_or(default).to_owned();
    let primary = instance.interfaces.first().and_then(|id| cloud.ec2.interfaces.get(id));
    Some(match attribute {
        "userData" => {
            let digest = instance.user_data.as_ref();
            digest.and_then(|digest| cloud.ec2.user_data.get(digest)).cloned().unwrap_or_default()
        }
        "instanceType" => instance.kind.clone(),
        "disableApiTermination" => instance.termination_protected.to_string(),
        "disableApiStop" => option("DisableApiStop", "false"),
        "ebsOptimized" => instance.ebs_optimized.to_string(),
        "enaSupport" => "true".to_owned(),
        "instanceInitiatedShutdownBehavior" => option("InstanceInitiatedShutdownBehavior", "stop"),
        "rootDeviceName" => instance.root_device.clone(),
        "sourceDestCheck" => primary.map_or_else(String::new, |primary| (!primary.is_unchecked).to_string()),
        "kernel" | "ramdisk" | "sriovNetSupport" => String::new(),
        _ => return None,
    })
}

pub(super) fn attribute(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("InstanceId")?;
    let instance = find(&cloud.ec2.instances, &call.region, id)?;
    let attribute = params.require("Attribute")?;
    if let Some(value) = value(cloud, instance, attribute) {
        return Ok(document(call, |xml| {
            xml.text("instanceId", id).element(attribute, |xml| {
                xml.optional("value", Some(value).filter(|value| !value.is_empty()));
            });
        }));
    }
    let write: fn(&mut Xml, &Cloud, &Instance) = match attribute {
        "blockDeviceMapping" => super::instance_view::write_devices,
        "groupSet" => |xml, cloud, instance| {
            let primary = instance.interfaces.first().and_then(|id| cloud.ec2.interfaces.get(id));
            write_groups(xml, primary.map_or(&[][..], |primary| primary.groups.as_slice()));
        },
        "productCodes" => |xml, _, _| {
            xml.element("productCodes", |_| {});
        },
        "enclaveOptions" => |xml, _, instance| {
            let enabled = Params::new(&instance.options).get("EnclaveOptions.Enabled").unwrap_or("false");
            xml.element("enclaveOptions", |xml| {
                xml.text("enabled", enabled);
            });
        },
        other => {
            let message = format!("Value ({other}) for parameter attribute is invalid. Unknown attribute.");
            return Err(Fault::new("InvalidParameterValue", message));
        }
    };
    Ok(document(call, |xml| {
        xml.text("instanceId", id);
        write(xml, cloud, instance);
    }))
}

/// One call changes one attribute. A type and user data can be changed while the instance is stopped.
pub(super) fn modify(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("InstanceId")?;
    find(&cloud.ec2.instances, &call.region, id)?;
    let mut changes = Vec::new();
    for (name, parameter) in VALUES {
        if let Some(value) = params.get(parameter) {
            changes.push((name, value));
        }
    }
    if let Some(attribute) = params.get("Attribute").filter(|attribute| *attribute != "blockDeviceMapping") {
        changes.push((attribute, params.require("Value")?));
    }
    let groups: Vec<String> = params.list("GroupId").into_iter().map(str::to_owned).collect();
    let devices = params.items("BlockDeviceMapping");
    match (changes.as_slice(), groups.as_slice(), devices.as_slice()) {
        ([(name, value)], [], []) => set(cloud, call, id, name, value)?,
        ([], [_, ..], []) => {
            let interface = only_interface(cloud, call, id)?;
            check_groups(cloud, call, &find(&cloud.ec2.interfaces, &call.region, &interface)?.vpc, &groups)?;
            find_mut(&mut cloud.ec2.interfaces, &call.region, &interface)?.groups = groups;
        }
        ([], [], [_, ..]) => set_devices(cloud, call, id, &devices)?,
        ([], [], []) => return Err(Fault::new("InvalidParameterCombination", "No attributes specified.")),
        _ => {
            let message = "Fields for multiple attribute types specified";
            return Err(Fault::new("InvalidParameterCombination", message));
        }
    }
    Ok(done(call))
}

/// Attributes that one call sets to one value, with their parameters.
const VALUES: [(&str, &str); 7] = [
    ("disableApiStop", "DisableApiStop.Value"),
    ("disableApiTermination", "DisableApiTermination.Value"),
    ("ebsOptimized", "EbsOptimized.Value"),
    ("instanceInitiatedShutdownBehavior", "InstanceInitiatedShutdownBehavior.Value"),
    ("instanceType", "InstanceType.Value"),
    ("sourceDestCheck", "SourceDestCheck.Value"),
    ("userData", "UserData.Value"),
];

fn set(cloud: &mut Cloud, call: &Call, id: &str, name: &str, value: &str) -> Result<(), Fault> {
    let invalid = || {
        let message = format!("Value ({value}) for parameter {name} is invalid.");
        Fault::new("InvalidParameterValue", message)
    };
    let flag = || value.to_ascii_lowercase().parse::<bool>().map_err(|_| invalid());
    if name == "sourceDestCheck" {
        let interface = only_interface(cloud, call, id)?;
        find_mut(&mut cloud.ec2.interfaces, &call.region, &interface)?.is_unchecked = !flag()?;
        return Ok(());
    }
    let is_stopped = find(&cloud.ec2.instances, &call.region, id)?.state == InstanceState::Stopped;
    if matches!(name, "instanceType" | "userData" | "ebsOptimized") && !is_stopped {
        let message = format!("The instance '{id}' is not in the 'stopped' state.");
        return Err(Fault::new("IncorrectInstanceState", message));
    }
    if name == "userData" {
        check_user_data(value)?;
        let digest = launch::digest(value);
        cloud.ec2.user_data.insert(digest.clone(), value.to_owned());
        find_mut(&mut cloud.ec2.instances, &call.region, id)?.user_data = Some(digest);
        return Ok(());
    }
    if name == "instanceType" {
        let kind = trunnion_catalog::instance_type(value).ok_or_else(invalid)?;
        check_type(cloud, find(&cloud.ec2.instances, &call.region, id)?, kind)?;
        kind.name.clone_into(&mut find_mut(&mut cloud.ec2.instances, &call.region, id)?.kind);
        return Ok(());
    }
    let instance = find_mut(&mut cloud.ec2.instances, &call.region, id)?;
    match name {
        "disableApiTermination" => instance.termination_protected = flag()?,
        "ebsOptimized" => instance.ebs_optimized = flag()?,
        "disableApiStop" => keep(instance, "DisableApiStop", &flag()?.to_string()),
        "instanceInitiatedShutdownBehavior" if matches!(value, "stop" | "terminate") => {
            keep(instance, "InstanceInitiatedShutdownBehavior", value);
        }
        _ => return Err(invalid()),
    }
    Ok(())
}

/// Whether a type fits the image and the interfaces of an instance.
fn check_type(cloud: &Cloud, instance: &Instance, kind: &InstanceType) -> Result<(), Fault> {
    let interfaces = instance.interfaces.iter().filter_map(|id| cloud.ec2.interfaces.get(id));
    let slots = interfaces.filter_map(|interface| {
        let attachment = interface.attachment.as_ref()?;
        let addresses = 1 + interface.secondary.0.len() + interface.prefixes.0.len();
        Some((attachment.card, attachment.device, addresses))
    });
    let slots: Vec<Slot> = slots.collect();
    check_cards(kind, &slots)?;
    if kind.architecture.as_str() != instance.architecture || is_beyond_card(kind, &slots) {
        let message = format!("Value ({}) for parameter instanceType is invalid.", kind.name);
        return Err(Fault::new("InvalidParameterValue", message));
    }
    Ok(())
}

fn keep(instance: &mut Instance, name: &str, value: &str) {
    instance.options.retain(|(known, _)| known != name);
    instance.options.push((name.to_owned(), value.to_owned()));
}

fn set_devices(cloud: &mut Cloud, call: &Call, id: &str, devices: &[Params<'_>]) -> Result<(), Fault> {
    for device in devices {
        let name = device.require("DeviceName")?;
        let instance = find(&cloud.ec2.instances, &call.region, id)?;
        let Some(volume) = instance.volumes.get(name).cloned() else {
            let message = format!("No device is currently mapped at {name}");
            return Err(Fault::new("InvalidInstanceAttributeValue", message));
        };
        if let Some(delete) = device.bool("Ebs.DeleteOnTermination")?
            && let Some(volume) = cloud.ec2.volumes.get_mut(&volume)
        {
            volume.delete_on_termination = delete;
        }
    }
    Ok(())
}

/// What is left out stays as it is.
pub(super) fn modify_metadata(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("InstanceId")?;
    let instance = find_mut(&mut cloud.ec2.instances, &call.region, id)?;
    if !matches!(instance.state, InstanceState::Pending | InstanceState::Running | InstanceState::Stopped) {
        let message = format!("The instance '{id}' is not in a state in which its options can be changed.");
        return Err(Fault::new("IncorrectInstanceState", message));
    }
    instance.metadata = launch_spec::metadata(&params, &instance.metadata)?;
    let options = &instance.metadata;
    Ok(document(call, |xml| {
        xml.text("instanceId", id).element("instanceMetadataOptions", |xml| write_metadata(xml, "pending", options));
    }))
}

/// Writes the options of the metadata service.
pub(super) fn write_metadata(xml: &mut Xml, state: &str, options: &MetadataOptions) {
    xml.text("state", state)
        .text("httpTokens", &options.tokens)
        .plain("httpPutResponseHopLimit", options.hop_limit)
        .text("httpEndpoint", &options.endpoint)
        .text("httpProtocolIpv6", &options.ipv6)
        .text("instanceMetadataTags", &options.tags);
}

/// `MonitorInstances` and `UnmonitorInstances`.
pub(super) fn monitor(cloud: &mut Cloud, call: &Call, on: bool) -> Result<Reply, Fault> {
    let ids = instance::ids(cloud, call, &call.params())?;
    for id in &ids {
        find_mut(&mut cloud.ec2.instances, &call.region, id)?.monitoring = on;
    }
    Ok(document(call, |xml| {
        xml.list("instancesSet", "item", ids, |xml, id| {
            xml.text("instanceId", id).element("monitoring", |xml| {
                xml.text("state", if on { "pending" } else { "disabling" });
            });
        });
    }))
}

/// A reboot changes nothing that AWS shows.
pub(super) fn reboot(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    for id in instance::ids(cloud, call, &call.params())? {
        if find(&cloud.ec2.instances, &call.region, &id)?.state != InstanceState::Running {
            return Err(instance::wrong_state(&id, "rebooted"));
        }
    }
    Ok(done(call))
}
