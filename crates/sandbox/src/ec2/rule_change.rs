//! Changes of security group rules: their traffic and their descriptions.

use super::{
    done,
    model::Rule,
    security_group::named,
    security_rule::{by_id, by_permission, in_direction, permissions, read_rule},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
};

/// Changes all rules of the call or none. The direction of a rule cannot be changed.
pub(super) fn modify(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    params.require("GroupId")?;
    let group = named(cloud, call, &params)?;
    let mut changed: Vec<(String, Rule)> = Vec::new();
    for update in params.items("SecurityGroupRule") {
        let id = update.require("SecurityGroupRuleId")?;
        let before = by_id(cloud, call, id, |rule| rule.group == group)?.clone();
        let (permission, description) = read_rule(cloud, call, &update.under("SecurityGroupRule"), &group)?;
        changed.push((id.to_owned(), Rule { permission, description, ..before }));
    }
    if changed.is_empty() {
        return Err(Fault::new("MissingParameter", "The request must contain the parameter SecurityGroupRule"));
    }
    for (id, rule) in &changed {
        let mut others = in_direction(cloud, &group, rule.is_egress).filter(|(other, _)| other != id);
        if others.any(|(_, other)| other.permission == rule.permission) {
            let message = "The specified rule already exists in this security group.";
            return Err(Fault::new("InvalidPermission.Duplicate", message));
        }
    }
    for (id, rule) in changed {
        cloud.ec2.rules.insert(id, rule);
    }
    Ok(done(call))
}

/// Rules are found by their id or by the traffic that they allow. A description that is left out is removed.
pub(super) fn set_descriptions(cloud: &mut Cloud, call: &Call, is_egress: bool) -> Result<Reply, Fault> {
    let params = call.params();
    let group = named(cloud, call, &params)?;
    let mut changes = Vec::new();
    for item in params.items("SecurityGroupRuleDescription") {
        let id = item.require("SecurityGroupRuleId")?;
        by_id(cloud, call, id, |rule| rule.group == group && rule.is_egress == is_egress)?;
        changes.push((id.to_owned(), item.get("Description").filter(|text| !text.is_empty()).map(str::to_owned)));
    }
    for (permission, description) in permissions(cloud, call, &params, &group)? {
        changes.push((by_permission(cloud, &group, is_egress, &permission)?, description));
    }
    if changes.is_empty() {
        let message = "Either 'ipPermissions' or 'securityGroupRuleDescriptions' should be provided.";
        return Err(Fault::new("MissingParameter", message));
    }
    for (id, description) in changes {
        if let Some(rule) = cloud.ec2.rules.get_mut(&id) {
            rule.description = description;
        }
    }
    Ok(done(call))
}
