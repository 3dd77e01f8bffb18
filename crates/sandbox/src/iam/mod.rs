//! Identity and Access Management: roles, their policies, and instance profiles. IAM is global, so every region shows
//! the same.

pub(crate) mod delay;
mod details;
mod evaluate;
mod policy;
mod profile;
mod role;
mod role_policy;
mod tag;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    json::hex_id,
    table::{AnyTable, Table},
};

pub(crate) use profile::InstanceProfile;

/// Roles and instance profiles of the account.
#[derive(Debug, Default)]
pub struct State {
    /// By name in lower case: names are unique regardless of case and path.
    roles: Table<role::Role>,
    /// By name in lower case.
    profiles: Table<InstanceProfile>,
    /// Recent changes of roles, and deleted roles.
    delayed: delay::State,
}

impl State {
    /// Every table, for the journal.
    pub fn tables(&mut self) -> Vec<(&'static str, &mut dyn AnyTable)> {
        let mut tables: Vec<(&'static str, &mut dyn AnyTable)> =
            vec![("iam.roles", &mut self.roles), ("iam.profiles", &mut self.profiles)];
        tables.extend(self.delayed.tables());
        tables
    }

    /// The instance profile with this name or ARN.
    pub(crate) fn instance_profile(&self, id: &str) -> Option<&InstanceProfile> {
        self.profiles.values().find(|profile| profile.name == id || profile.arn == id)
    }

    /// How many roles and instance profiles there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.roles.values().count(), self.profiles.values().count())
    }

    /// When the service-linked role with this name was created; `None` if the account does not have it.
    pub(crate) fn service_role_since(&self, name: &str) -> Option<Timestamp> {
        self.roles.get(&name.to_lowercase()).map(|role| role.created)
    }
}

/// Creates the service-linked role with this name for a service, such as `ecs.amazonaws.com`.
pub(crate) fn make_service_role(cloud: &mut Cloud, name: &str, service: &str, call: &Call) {
    role::make_service_role(cloud, name, service, call);
}

/// Answers one call.
pub fn handle(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    delay::check(cloud, call)?;
    let before = delay::role_of(cloud, call);
    let reply = run(cloud, call)?;
    delay::note(cloud, call, before);
    Ok(reply)
}

fn run(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    match call.action.as_str() {
        "CreateRole" => role::create(cloud, call),
        "GetRole" => role::get(cloud, call),
        "ListRoles" => role::list(cloud, call),
        "UpdateRole" => role::update(cloud, call),
        "UpdateAssumeRolePolicy" => role::update_trust(cloud, call),
        "DeleteRole" => role::delete(cloud, call),
        "PutRolePolicy" => role_policy::put(cloud, call),
        "GetRolePolicy" => role_policy::get(cloud, call),
        "DeleteRolePolicy" => role_policy::delete(cloud, call),
        "ListRolePolicies" => role_policy::list(cloud, call),
        "AttachRolePolicy" => role_policy::attach(cloud, call),
        "DetachRolePolicy" => role_policy::detach(cloud, call),
        "ListAttachedRolePolicies" => role_policy::list_attached(cloud, call),
        "TagRole" => tag::tag_role(cloud, call),
        "UntagRole" => tag::untag_role(cloud, call),
        "ListRoleTags" => tag::list_role(cloud, call),
        "CreateInstanceProfile" => profile::create(cloud, call),
        "GetInstanceProfile" => profile::get(cloud, call),
        "ListInstanceProfiles" => profile::list(cloud, call),
        "ListInstanceProfilesForRole" => profile::list_for_role(cloud, call),
        "DeleteInstanceProfile" => profile::delete(cloud, call),
        "AddRoleToInstanceProfile" => profile::add_role(cloud, call),
        "RemoveRoleFromInstanceProfile" => profile::remove_role(cloud, call),
        "TagInstanceProfile" => tag::tag_profile(cloud, call),
        "UntagInstanceProfile" => tag::untag_profile(cloud, call),
        "ListInstanceProfileTags" => tag::list_profile(cloud, call),
        "GetAccountAuthorizationDetails" => details::get(cloud, call),
        other => Err(Fault::new("InvalidAction", format!("Could not find operation {other} for version 2010-05-08"))),
    }
}

fn answer<T: Serialize>(call: &Call, result: &T) -> Result<Reply, Fault> {
    wire::reply(call, "https://iam.amazonaws.com/doc/2010-05-08/", Some(result))
}

fn done(call: &Call) -> Result<Reply, Fault> {
    wire::reply::<()>(call, "https://iam.amazonaws.com/doc/2010-05-08/", None)
}

fn no_such(message: impl Into<String>) -> Fault {
    Fault::new("NoSuchEntity", message).with_status(404)
}

fn exists(message: impl Into<String>) -> Fault {
    Fault::new("EntityAlreadyExists", message).with_status(409)
}

fn conflict(message: impl Into<String>) -> Fault {
    Fault::new("DeleteConflict", message).with_status(409)
}

fn limit(message: impl Into<String>) -> Fault {
    Fault::new("LimitExceeded", message).with_status(409)
}

fn validation(message: impl Into<String>) -> Fault {
    Fault::new("ValidationError", message)
}

/// Unique ids in IAM's format: four letters for the kind, 17 capitals and digits.
fn unique_id(cloud: &mut Cloud, kind: &str) -> String {
    format!("{kind}{}", hex_id(&cloud.new_id(kind), 17).to_uppercase())
}

/// A time in IAM's format, in whole seconds.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Checks the name of a role, profile or inline policy.
fn check_name(name: &str, member: &str, longest: usize) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@-_".contains(c);
    if !name.chars().all(allowed) {
        return Err(validation(format!(
            "The specified value for {member} is invalid. It must contain only alphanumeric characters and/or the \
             following: +=,.@_-"
        )));
    }
    if name.len() > longest {
        return Err(validation(format!(
            "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: Member must have \
             length less than or equal to {longest}"
        )));
    }
    Ok(())
}

/// Checks a path: `/` or `/…/`.
fn check_path(path: &str) -> Result<(), Fault> {
    let visible = path.chars().all(|c| ('!'..='\u{7f}').contains(&c));
    if !path.starts_with('/') || !path.ends_with('/') || !visible || path.len() > 512 || path.contains("//") {
        return Err(validation(
            "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric \
             characters and/or / characters.",
        ));
    }
    Ok(())
}

/// `PathPrefix` of a list call; `/` by default.
fn path_prefix(call: &Call) -> Result<&str, Fault> {
    let prefix = wire::parameter(call, "PathPrefix").unwrap_or("/");
    if !prefix.starts_with('/') {
        return Err(validation("The specified value for pathPrefix is invalid. It must begin with the / character."));
    }
    Ok(prefix)
}
