//! The attributes of VPCs.

use super::{
    document, done,
    model::Vpc,
    select::{find, find_mut},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
};

/// The attributes that can be changed, with their value in a VPC that somebody created (EC2 API reference,
/// `ModifyVpcAttribute`, read November 2026). The default VPC has both kinds of names.
const ATTRIBUTES: [(&str, &str, bool); 3] = [
    ("enableDnsSupport", "EnableDnsSupport", true),
    ("enableDnsHostnames", "EnableDnsHostnames", false),
    ("enableNetworkAddressUsageMetrics", "EnableNetworkAddressUsageMetrics", false),
];

fn value(vpc: &Vpc, name: &str, default: bool) -> bool {
    let default = default || (vpc.is_default && name == "enableDnsHostnames");
    vpc.attributes.get(name).copied().unwrap_or(default)
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("VpcId")?;
    let asked = params.require("Attribute")?;
    let vpc = find(&cloud.ec2.vpcs, &call.region, id)?;
    let known = ATTRIBUTES.iter().find(|(name, _, _)| *name == asked);
    let Some((name, _, default)) = known else {
        let message = format!("Value ({asked}) for parameter attribute is invalid. Unknown attribute.");
        return Err(Fault::new("InvalidParameterValue", message));
    };
    Ok(document(call, |xml| {
        xml.text("vpcId", id).element(name, |xml| {
            xml.plain("value", value(vpc, name, *default));
        });
    }))
}

/// One call changes one attribute.
pub(super) fn modify(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let vpc = find_mut(&mut cloud.ec2.vpcs, &call.region, params.require("VpcId")?)?;
    let mut changes = Vec::new();
    for (name, parameter, _) in ATTRIBUTES {
        if let Some(value) = params.bool(&format!("{parameter}.Value"))? {
            changes.push((name, value));
        }
    }
    let [(name, value)] = changes[..] else {
        let message = "The request must contain exactly one attribute of the VPC";
        return Err(Fault::new("InvalidParameterCombination", message));
    };
    vpc.attributes.insert(name.to_owned(), value);
    Ok(done(call))
}
