//! IAM's changes that other services, or other reads, do not know yet.
//!
//! Every change of a role is noted with its time. A deleted role is kept as long as some reads still show it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{conflict, exists, role::Role, wire::parameter};
use crate::{
    call::{Call, Fault},
    cloud::Cloud,
    control::is_mutating,
    durations::Delay,
    table::{AnyTable, Table},
};

/// Recent changes.
#[derive(Debug, Default)]
pub(super) struct State {
    /// When each role was last changed, by its name in lower case.
    changed: Table<Timestamp>,
    /// When something was last removed from each role or profile, by `role/` or `profile/` and its name.
    removed: Table<Timestamp>,
    /// Deleted roles, by name in lower case.
    deleted: Table<Deleted>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Deleted {
    role: Role,
    at: Timestamp,
}

impl State {
    pub(super) fn tables(&mut self) -> [(&'static str, &mut dyn AnyTable); 3] {
        [("iam.changed", &mut self.changed), ("iam.removed", &mut self.removed), ("iam.deleted", &mut self.deleted)]
    }
}

/// Whether every service knows the current role with this ARN, with its policies.
pub(crate) fn is_known_everywhere(cloud: &Cloud, arn: &str, now: Timestamp) -> bool {
    let name = arn.rsplit('/').next().unwrap_or_default();
    let changed = cloud.iam.delayed.changed.get(&name.to_lowercase());
    changed.is_none_or(|changed| cloud.all_know(Delay::IamLag, *changed, now))
}

/// The roles that the current call shows: those that it knows already, and deleted ones of whose deletion it does not
/// know yet.
pub(super) fn seen<'w>(cloud: &'w Cloud, call: &Call) -> impl Iterator<Item = &'w Role> + use<'w> {
    let now = call.now;
    let roles = cloud.iam.roles.values().filter(move |role| cloud.knows(Delay::IamLag, &role.id, role.created, now));
    let deleted = cloud.iam.delayed.deleted.values().filter(move |deleted| {
        let is_again = cloud.iam.roles.get(&deleted.role.name.to_lowercase()).is_some();
        let knows = |since| cloud.knows(Delay::IamLag, &deleted.role.id, since, now);
        !is_again && knows(deleted.role.created) && !knows(deleted.at)
    });
    roles.chain(deleted.map(|deleted| &deleted.role))
}

/// Refuses what AWS refuses while an earlier change is not known everywhere.
pub(super) fn check(cloud: &Cloud, call: &Call) -> Result<(), Fault> {
    let State { removed, deleted, .. } = &cloud.iam.delayed;
    let is_on_its_way =
        |since: Option<&Timestamp>| since.is_some_and(|since| !cloud.all_know(Delay::IamLag, *since, call.now));
    let role = parameter(call, "RoleName").unwrap_or_default();
    let profile = parameter(call, "InstanceProfileName").unwrap_or_default();
    match call.action.as_str() {
        // hashicorp/terraform-provider-aws issue 3222.
        "DeleteRole" if is_on_its_way(removed.get(&role_key(role))) => {
            Err(conflict("Cannot delete entity, must delete policies first."))
        }
        "DeleteInstanceProfile" if is_on_its_way(removed.get(&profile_key(profile))) => {
            Err(conflict("Cannot delete entity, must remove roles from instance profile first."))
        }
        "CreateRole" if is_on_its_way(deleted.get(&role.to_lowercase()).map(|deleted| &deleted.at)) => {
            Err(exists(format!("Role with name {role} already exists.")))
        }
        _ => Ok(()),
    }
}

/// The role that a call deletes, as it is before the call.
pub(super) fn role_of(cloud: &Cloud, call: &Call) -> Option<Role> {
    let name = parameter(call, "RoleName").filter(|_| cloud.is_strict() && call.action == "DeleteRole")?;
    cloud.iam.roles.get(&name.to_lowercase()).cloned()
}

/// Notes a change that was made.
pub(super) fn note(cloud: &mut Cloud, call: &Call, before: Option<Role>) {
    if !is_mutating(&call.action) || !cloud.is_strict() {
        return;
    }
    let deleted = cloud.iam.delayed.deleted.iter();
    let forgotten = deleted.filter(|(_, deleted)| cloud.all_know(Delay::IamLag, deleted.at, call.now));
    let forgotten: Vec<String> = forgotten.map(|(name, _)| name.to_owned()).collect();
    let state = &mut cloud.iam.delayed;
    for name in forgotten {
        state.deleted.remove(&name);
    }
    let role = parameter(call, "RoleName").unwrap_or_default();
    if let Some(before) = before {
        state.deleted.insert(role.to_lowercase(), Deleted { role: before, at: call.now });
        state.changed.remove(&role.to_lowercase());
        state.removed.remove(&role_key(role));
        return;
    }
    if call.action == "CreateRole" {
        state.deleted.remove(&role.to_lowercase());
    }
    if !role.is_empty() && !call.action.contains("Tag") {
        state.changed.insert(role.to_lowercase(), call.now);
    }
    if ["DeleteRolePolicy", "DetachRolePolicy", "RemoveRoleFromInstanceProfile"].contains(&call.action.as_str()) {
        state.removed.insert(role_key(role), call.now);
    }
    let profile = parameter(call, "InstanceProfileName").unwrap_or_default();
    match call.action.as_str() {
        "RemoveRoleFromInstanceProfile" => state.removed.insert(profile_key(profile), call.now),
        "DeleteInstanceProfile" => {
            state.removed.remove(&profile_key(profile));
        }
        _ => {}
    }
}

fn role_key(name: &str) -> String {
    format!("role/{}", name.to_lowercase())
}

fn profile_key(name: &str) -> String {
    format!("profile/{}", name.to_lowercase())
}
