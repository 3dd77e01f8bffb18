//! Changes of instances: attributes, metadata options, monitoring, reboots.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    document, done, instance,
    interface_change::{check_groups, write_groups},
    launch,
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
pub(super) const KEPT: [&str; 10] = [
    "CpuOptions",
    "DisableApiStop",
    "EnclaveOptions",
    "HibernationOptions",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions",
    "MaintenanceOptions",
    "NetworkPerformanceOptions",
    "Placement",
    "PrivateDnsNameOptions",
];

/// Attributes that `DescribeInstanceAttribute` shows and that are one value.
fn value(cloud: &Cloud, instance: &Instance, attribute: &str) -> Option<Option<String>> {
    let options = Params::new(&instance.options);
    let option = |name: &str, default: &str| Some(options.get(name).unwrap_or(default).to_owned());
    let primary = instance.interfaces.first().and_then(|id| cloud.ec2.interfaces.get(id));
    Some(match attribute {
        "userData" => instance.user_data.as_ref().and_then(|digest| cloud.ec2.user_data.get(digest)).cloned(),
        "instanceType" => Some(instance.kind.clone()),
        "disableApiTermination" => Some(instance.termination_protected.to_string()),
        "disableApiStop" => option("DisableApiStop", "false"),
        "ebsOptimized" => Some(instance.ebs_optimized.to_string()),
        "enaSupport" => Some("true".to_owned()),
        "instanceInitiatedShutdownBehavior" => option("InstanceInitiatedShutdownBehavior", "stop"),
        "rootDeviceName" => Some(instance.root_device.clone()),
        "sourceDestCheck" => primary.map(|primary| (!primary.is_unchecked).to_string()),
        "kernel" | "ramdisk" | "sriovNetSupport" => None,
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
                xml.optional("value", value);
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
    let groups = params.list("GroupId");
    let devices = params.items("BlockDeviceMapping");
    match (changes.as_slice(), groups.as_slice(), devices.as_slice()) {
        ([(name, value)], [], []) => set(cloud, call, id, name, value)?,
        ([], [_, ..], []) => {
            let interface = only_interface(cloud, call, id)?;
            let groups = check_groups(cloud, call, &interface, &groups)?;
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
        STANDARD
            .decode(value)
            .map_err(|_| Fault::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data"))?;
        let digest = launch::digest(value);
        cloud.ec2.user_data.insert(digest.clone(), value.to_owned());
        find_mut(&mut cloud.ec2.instances, &call.region, id)?.user_data = Some(digest);
        return Ok(());
    }
    let instance = find_mut(&mut cloud.ec2.instances, &call.region, id)?;
    match name {
        "instanceType" => {
            let kind = trunnion_catalog::instance_type(value).ok_or_else(invalid)?;
            if kind.architecture.as_str() != instance.architecture {
                return Err(invalid());
            }
            kind.name.clone_into(&mut instance.kind);
        }
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

fn only_interface(cloud: &Cloud, call: &Call, id: &str) -> Result<String, Fault> {
    match find(&cloud.ec2.instances, &call.region, id)?.interfaces.as_slice() {
        [only] => Ok(only.clone()),
        _ => {
            let message = format!(
                "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the \
                 operation instead."
            );
            Err(Fault::new("InvalidInstanceID", message))
        }
    }
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
    instance.metadata = changed_metadata(&params, &instance.metadata)?;
    let options = &instance.metadata;
    Ok(document(call, |xml| {
        xml.text("instanceId", id).element("instanceMetadataOptions", |xml| write_metadata(xml, "pending", options));
    }))
}

fn changed_metadata(params: &Params<'_>, before: &MetadataOptions) -> Result<MetadataOptions, Fault> {
    let invalid = |name: &str, value: &str| {
        Fault::new("InvalidParameterValue", format!("Value ({value}) for parameter {name} is invalid."))
    };
    let choice = |name: &str, choices: [&str; 2], before: &str| match params.get(name) {
        Some(value) if choices.contains(&value) => Ok(value.to_owned()),
        Some(value) => Err(invalid(name, value)),
        None => Ok(before.to_owned()),
    };
    let hop_limit = params.number("HttpPutResponseHopLimit")?.unwrap_or(before.hop_limit);
    if !(1..=64).contains(&hop_limit) {
        return Err(invalid("HttpPutResponseHopLimit", &hop_limit.to_string()));
    }
    Ok(MetadataOptions {
        tokens: choice("HttpTokens", ["optional", "required"], &before.tokens)?,
        hop_limit,
        endpoint: choice("HttpEndpoint", ["enabled", "disabled"], &before.endpoint)?,
        ipv6: choice("HttpProtocolIpv6", ["enabled", "disabled"], &before.ipv6)?,
        tags: choice("InstanceMetadataTags", ["enabled", "disabled"], &before.tags)?,
    })
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
