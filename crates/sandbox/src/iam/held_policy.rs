//! The policies of roles and users: inline ones by name, managed ones by ARN, and the permissions boundary.

use serde::Serialize;
use trunnion_catalog::limits::{ATTACHED_POLICIES, POLICY_NAME, ROLE_POLICY, USER_POLICY};

use super::{
    answer, check_name, done,
    held::Held,
    limit, managed, no_such, policy, role, user, validation,
    wire::{Members, paged, parameter, percent_encoded, required},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    durations::Delay,
};

/// Whose policies a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Role,
    User,
}

impl Whose {
    fn parameter(self) -> &'static str {
        match self {
            Self::Role => "RoleName",
            Self::User => "UserName",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::User => "user",
        }
    }

    /// The total length of the inline policies in characters, without white space (IAM quotas, read August 2026).
    fn most_inline(self) -> usize {
        match self {
            Self::Role => ROLE_POLICY,
            Self::User => USER_POLICY,
        }
    }

    /// The holder's name and policies.
    fn held(self, cloud: &Cloud, call: &Call) -> Result<(String, Held), Fault> {
        let name = required(call, self.parameter())?;
        match self {
            Self::Role => role::find(cloud, name).map(|role| (role.name.clone(), role.held.clone())),
            Self::User => user::find(cloud, name).map(|user| (user.name.clone(), user.held.clone())),
        }
    }

    /// The policies for a change, which the rest of AWS learns of later.
    pub(super) fn held_mut<'c>(self, cloud: &'c mut Cloud, call: &Call) -> Result<&'c mut Held, Fault> {
        let changed = self.held(cloud, call)?.1.changed();
        let is_known = changed.is_none_or(|at| cloud.all_know(Delay::IamLag, at, call.now));
        let has_lag = !cloud.all_know(Delay::IamLag, call.now, call.now);
        let name = required(call, self.parameter())?;
        let held = match self {
            Self::Role => &mut role::find_mut(cloud, name)?.held,
            Self::User => &mut user::find_mut(cloud, name)?.held,
        };
        held.begin_change(has_lag, is_known, call.now);
        Ok(held)
    }

    fn unknown(self, name: &str) -> Fault {
        no_such(format!("The {} policy with name {name} cannot be found.", self.noun()))
    }
}

/// A managed policy attached to a role or a user.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attached {
    policy_name: String,
    policy_arn: String,
}

impl Held {
    pub(super) fn attached_policies(&self) -> impl Iterator<Item = Attached> {
        self.attached.iter().map(|arn| Attached {
            policy_name: arn.rsplit('/').next().unwrap_or_default().to_owned(),
            policy_arn: arn.clone(),
        })
    }
}

pub(super) fn put(cloud: &mut Cloud, call: &Call, whose: Whose) -> Result<Reply, Fault> {
    let (name, document) = (required(call, "PolicyName")?, required(call, "PolicyDocument")?);
    let (holder, held) = whose.held(cloud, call)?;
    check_name(name, "policyName", POLICY_NAME)?;
    policy::check_identity(document)?;
    let size = |document: &str| document.chars().filter(|c| !c.is_whitespace()).count();
    let others: usize = held.inline.iter().filter(|(other, _)| *other != name).map(|(_, text)| size(text)).sum();
    let most = whose.most_inline();
    if others + size(document) > most {
        return Err(limit(format!("Maximum policy size of {most} bytes exceeded for {} {holder}", whose.noun())));
    }
    whose.held_mut(cloud, call)?.inline.insert(name.to_owned(), document.to_owned());
    done(call)
}

pub(super) fn get(cloud: &Cloud, call: &Call, whose: Whose) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct One<'w> {
        #[serde(skip_serializing_if = "Option::is_none")]
        role_name: Option<&'w str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_name: Option<&'w str>,
        policy_name: &'w str,
        policy_document: String,
    }
    let name = required(call, "PolicyName")?;
    let (holder, held) = whose.held(cloud, call)?;
    let document = held.inline.get(name).ok_or_else(|| whose.unknown(name))?;
    let of = |wanted: Whose| (whose == wanted).then_some(holder.as_str());
    let one = One {
        role_name: of(Whose::Role),
        user_name: of(Whose::User),
        policy_name: name,
        policy_document: percent_encoded(document),
    };
    answer(call, &one)
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call, whose: Whose) -> Result<Reply, Fault> {
    let name = required(call, "PolicyName")?;
    if !whose.held(cloud, call)?.1.inline.contains_key(name) {
        return Err(whose.unknown(name));
    }
    whose.held_mut(cloud, call)?.inline.remove(name);
    done(call)
}

pub(super) fn list(cloud: &Cloud, call: &Call, whose: Whose) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        policy_names: Members<String>,
        is_truncated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
    }
    let (_, held) = whose.held(cloud, call)?;
    let names = held.inline.into_keys().map(|name| (name.clone(), name)).collect();
    let (policy_names, is_truncated, marker) = paged(call, names)?;
    answer(call, &List { policy_names, is_truncated, marker })
}

pub(super) fn attach(cloud: &mut Cloud, call: &Call, whose: Whose) -> Result<Reply, Fault> {
    let arn = required(call, "PolicyArn")?;
    check_arn(arn)?;
    let (_, held) = whose.held(cloud, call)?;
    managed::check_attachable(cloud, call, arn)?;
    if !held.attached.iter().any(|attached| attached == arn) {
        if held.attached.len() >= ATTACHED_POLICIES {
            let quota = if whose == Whose::Role { "PoliciesPerRole" } else { "PoliciesPerUser" };
            return Err(limit(format!("Cannot exceed quota for {quota}: {ATTACHED_POLICIES}")));
        }
        whose.held_mut(cloud, call)?.attached.push(arn.to_owned());
    }
    done(call)
}

pub(super) fn detach(cloud: &mut Cloud, call: &Call, whose: Whose) -> Result<Reply, Fault> {
    let arn = required(call, "PolicyArn")?;
    check_arn(arn)?;
    let (_, held) = whose.held(cloud, call)?;
    let Some(index) = held.attached.iter().position(|attached| attached == arn) else {
        return Err(no_such(format!("Policy {arn} was not found.")));
    };
    whose.held_mut(cloud, call)?.attached.remove(index);
    done(call)
}

pub(super) fn list_attached(cloud: &Cloud, call: &Call, whose: Whose) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        attached_policies: Members<Attached>,
        is_truncated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
    }
    let (_, held) = whose.held(cloud, call)?;
    let prefix = parameter(call, "PathPrefix").unwrap_or("/");
    let policies = held
        .attached_policies()
        .filter(|policy| policy.policy_arn.split_once(":policy").is_some_and(|(_, path)| path.starts_with(prefix)))
        .map(|policy| (policy.policy_name.clone(), policy))
        .collect();
    let (attached_policies, is_truncated, marker) = paged(call, policies)?;
    answer(call, &List { attached_policies, is_truncated, marker })
}

pub(super) fn put_boundary(cloud: &mut Cloud, call: &Call, whose: Whose) -> Result<Reply, Fault> {
    let arn = required(call, "PermissionsBoundary")?;
    check_boundary(cloud, call, Some(arn))?;
    whose.held(cloud, call)?;
    whose.held_mut(cloud, call)?.boundary = Some(arn.to_owned());
    done(call)
}

pub(super) fn delete_boundary(cloud: &mut Cloud, call: &Call, whose: Whose) -> Result<Reply, Fault> {
    let (holder, held) = whose.held(cloud, call)?;
    if held.boundary.is_none() {
        return Err(no_such(format!("The {} {holder} has no permissions boundary.", whose.noun())));
    }
    whose.held_mut(cloud, call)?.boundary = None;
    done(call)
}

/// Refuses a permissions boundary that is no managed policy.
pub(super) fn check_boundary(cloud: &Cloud, call: &Call, arn: Option<&str>) -> Result<(), Fault> {
    let Some(arn) = arn else { return Ok(()) };
    check_arn(arn)?;
    managed::check_attachable(cloud, call, arn)
        .map_err(|_| no_such(format!("Scope ARN: {arn} does not exist or is not attachable.")))
}

fn check_arn(arn: &str) -> Result<(), Fault> {
    if arn.starts_with("arn:") && arn.contains(":policy/") {
        return Ok(());
    }
    Err(validation(format!("ARN {arn} is not valid.")))
}
