//! The policies of roles: inline ones by name, managed ones by ARN.

use serde::Serialize;

use super::{
    answer, check_name, done, limit, no_such, policy, role,
    role::Role,
    validation,
    wire::{Members, paged, parameter, percent_encoded, required},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
};

/// The total length of a role's inline policies in characters, without white space (IAM quotas, read August 2026).
const MAX_INLINE: usize = 10_240;
/// Quota `PoliciesPerRole`.
const MAX_ATTACHED: usize = 10;

/// A managed policy attached to a role.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attached {
    policy_name: String,
    policy_arn: String,
}

impl Role {
    pub(super) fn attached_policies(&self) -> impl Iterator<Item = Attached> {
        self.attached.iter().map(|arn| Attached {
            policy_name: arn.rsplit('/').next().unwrap_or_default().to_owned(),
            policy_arn: arn.clone(),
        })
    }
}

pub(super) fn put(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let (name, document) = (required(call, "PolicyName")?, required(call, "PolicyDocument")?);
    let role = role::find_mut(cloud, required(call, "RoleName")?)?;
    check_name(name, "policyName", 128)?;
    policy::check_identity(document)?;
    let size = |document: &str| document.chars().filter(|c| !c.is_whitespace()).count();
    let others: usize = role.inline.iter().filter(|(other, _)| *other != name).map(|(_, text)| size(text)).sum();
    if others + size(document) > MAX_INLINE {
        return Err(limit(format!("Maximum policy size of {MAX_INLINE} bytes exceeded for role {}", role.name)));
    }
    role.inline.insert(name.to_owned(), document.to_owned());
    done(call)
}

pub(super) fn get(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct One<'w> {
        role_name: &'w str,
        policy_name: &'w str,
        policy_document: String,
    }
    let name = required(call, "PolicyName")?;
    let role = role::find(cloud, required(call, "RoleName")?)?;
    let document = role.inline.get(name).ok_or_else(|| unknown(name))?;
    answer(call, &One { role_name: &role.name, policy_name: name, policy_document: percent_encoded(document) })
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let name = required(call, "PolicyName")?;
    let role = role::find_mut(cloud, required(call, "RoleName")?)?;
    role.inline.remove(name).ok_or_else(|| unknown(name))?;
    done(call)
}

pub(super) fn list(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        policy_names: Members<String>,
        is_truncated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
    }
    let role = role::find(cloud, required(call, "RoleName")?)?;
    let names = role.inline.keys().map(|name| (name.clone(), name.clone())).collect();
    let (policy_names, is_truncated, marker) = paged(call, names)?;
    answer(call, &List { policy_names, is_truncated, marker })
}

pub(super) fn attach(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let arn = required(call, "PolicyArn")?;
    check_arn(arn)?;
    let role = role::find_mut(cloud, required(call, "RoleName")?)?;
    // Only AWS's own managed policies exist, because the sandbox cannot create others.
    if !arn.starts_with(&format!("{}:iam::aws:policy/", call.arn())) {
        return Err(no_such(format!("Policy {arn} does not exist or is not attachable.")));
    }
    if !role.attached.iter().any(|attached| attached == arn) {
        if role.attached.len() >= MAX_ATTACHED {
            return Err(limit(format!("Cannot exceed quota for PoliciesPerRole: {MAX_ATTACHED}")));
        }
        role.attached.push(arn.to_owned());
    }
    done(call)
}

pub(super) fn detach(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let arn = required(call, "PolicyArn")?;
    check_arn(arn)?;
    let role = role::find_mut(cloud, required(call, "RoleName")?)?;
    let Some(index) = role.attached.iter().position(|attached| attached == arn) else {
        return Err(no_such(format!("Policy {arn} was not found.")));
    };
    role.attached.remove(index);
    done(call)
}

pub(super) fn list_attached(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        attached_policies: Members<Attached>,
        is_truncated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
    }
    let role = role::find(cloud, required(call, "RoleName")?)?;
    let prefix = parameter(call, "PathPrefix").unwrap_or("/");
    let policies = role
        .attached_policies()
        .filter(|policy| policy.policy_arn.split_once(":policy").is_some_and(|(_, path)| path.starts_with(prefix)))
        .map(|policy| (policy.policy_name.clone(), policy))
        .collect();
    let (attached_policies, is_truncated, marker) = paged(call, policies)?;
    answer(call, &List { attached_policies, is_truncated, marker })
}

fn check_arn(arn: &str) -> Result<(), Fault> {
    if arn.starts_with("arn:") && arn.contains(":policy/") {
        return Ok(());
    }
    Err(validation(format!("ARN {arn} is not valid.")))
}

fn unknown(name: &str) -> Fault {
    no_such(format!("The role policy with name {name} cannot be found."))
}
