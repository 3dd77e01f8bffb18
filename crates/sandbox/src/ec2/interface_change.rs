//! Changes of network interfaces, and their attributes.

use super::{
    document, done,
    interface::{find_own, group_set, write_attachment},
    launch_spec::check_groups,
    model::Interface,
    select::{find, find_mut},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    xml::Xml,
};

/// Writes group ids as `DescribeInstanceAttribute` does.
pub(super) fn write_groups(xml: &mut Xml, groups: &[String]) {
    xml.list("groupSet", "item", groups, |xml, id| {
        xml.text("groupId", id);
    });
}

pub(super) fn attribute(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("NetworkInterfaceId")?;
    let interface = find(&cloud.ec2.interfaces, &call.region, id)?;
    let attribute = params.require("Attribute")?;
    let write: fn(&mut Xml, &Cloud, &Interface) = match attribute {
        "description" => |xml, _, interface| {
            xml.element("description", |xml| {
                xml.text("value", &interface.description);
            });
        },
        "groupSet" => |xml, cloud, interface| group_set(xml, cloud, &interface.groups),
        "sourceDestCheck" => |xml, _, interface| {
            xml.element("sourceDestCheck", |xml| {
                xml.plain("value", !interface.is_unchecked);
            });
        },
        "attachment" => write_attachment,
        other => {
            let message = format!("Value ({other}) for parameter attribute is invalid. Unknown attribute.");
            return Err(Fault::new("InvalidParameterValue", message));
        }
    };
    Ok(document(call, |xml| {
        xml.text("networkInterfaceId", id);
        write(xml, cloud, interface);
    }))
}

/// One call changes one attribute.
pub(super) fn modify(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("NetworkInterfaceId")?;
    let interface = find_own(cloud, call, id)?;
    let groups: Vec<String> = params.list("SecurityGroupId").into_iter().map(str::to_owned).collect();
    let tracking = params.under("ConnectionTrackingSpecification");
    let asked = [
        params.get("Description.Value").is_some(),
        params.get("SourceDestCheck.Value").is_some(),
        !groups.is_empty(),
        params.has("Attachment"),
        params.has("ConnectionTrackingSpecification"),
    ];
    if asked.iter().filter(|asked| **asked).count() != 1 {
        let message = "The request must contain exactly one attribute of the network interface";
        return Err(Fault::new("InvalidParameterCombination", message));
    }
    check_groups(cloud, call, &interface.vpc, &groups)?;
    let [tcp, udp_stream, udp] = ["TcpEstablishedTimeout", "UdpStreamTimeout", "UdpTimeout"];
    let timeouts = [tracking.number(tcp)?, tracking.number(udp_stream)?, tracking.number(udp)?];
    let unchecked = params.bool("SourceDestCheck.Value")?.map(|checked| !checked);
    let interface = find_mut(&mut cloud.ec2.interfaces, &call.region, id)?;
    if let Some(description) = params.get("Description.Value") {
        description.clone_into(&mut interface.description);
    }
    if !groups.is_empty() {
        interface.groups = groups;
    }
    if timeouts.iter().any(Option::is_some) {
        interface.tracking = Some(timeouts);
    }
    interface.is_unchecked = unchecked.unwrap_or(interface.is_unchecked);
    if params.has("Attachment") {
        let asked = params.require("Attachment.AttachmentId")?;
        let delete = params.bool("Attachment.DeleteOnTermination")?;
        let Some(attachment) = interface.attachment.as_mut().filter(|attachment| attachment.id == asked) else {
            let message = format!("The attachment ID '{asked}' does not exist");
            return Err(Fault::new("InvalidAttachmentID.NotFound", message));
        };
        attachment.delete_on_termination = delete.unwrap_or(attachment.delete_on_termination);
    }
    Ok(done(call))
}
