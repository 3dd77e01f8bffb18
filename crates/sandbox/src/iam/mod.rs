//! Identity and Access Management: roles and users with their policies, access keys, and instance profiles. IAM is global, so every region shows
//! the same.

mod account;
pub(crate) mod delay;
mod details;
mod held;
mod held_policy;
mod identity;
mod managed;
mod permissions;
pub(crate) mod policy;
mod profile;
mod role;
mod session;
mod simulate;
mod tag;
#[cfg(test)]
mod tests;
mod user;
pub(crate) mod wire;

use jiff::Timestamp;
use serde::Serialize;
use trunnion_catalog::limits;

use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    json::hex_id,
    table::{AnyTable, Table},
};

use held_policy::Whose;
pub(crate) use identity::{Credentials, Identity, credentials, identity, in_role, unknown_principal};
pub(crate) use permissions::{PERMISSIONS, assumed_by_service, assumed_role, passed, role_with_source, service_role};
pub(crate) use profile::InstanceProfile;
pub(crate) use session::{Begun, assume, token};

/// Roles, users and instance profiles of the account.
#[derive(Debug, Default)]
pub struct State {
    /// By name in lower case: names are unique regardless of case and path.
    roles: Table<role::Role>,
    /// By name in lower case.
    profiles: Table<InstanceProfile>,
    /// By name in lower case.
    users: Table<user::User>,
    /// By id.
    keys: Table<user::AccessKey>,
    /// Temporary credentials by the id of their access key.
    sessions: Table<session::Session>,
    /// Managed policies of the account by ARN.
    policies: Table<managed::Managed>,
    /// Recent changes of roles, and deleted roles.
    delayed: delay::State,
}

impl State {
    /// Every table, for the journal.
    pub fn tables(&mut self) -> Vec<(&'static str, &mut dyn AnyTable)> {
        let mut tables: Vec<(&'static str, &mut dyn AnyTable)> = vec![
            ("iam.roles", &mut self.roles),
            ("iam.profiles", &mut self.profiles),
            ("iam.users", &mut self.users),
            ("iam.keys", &mut self.keys),
            ("iam.sessions", &mut self.sessions),
            ("iam.policies", &mut self.policies),
        ];
        tables.extend(self.delayed.tables());
        tables
    }

    /// The policies of every role and user.
    fn held(&self) -> impl Iterator<Item = &held::Held> {
        self.roles.values().map(|role| &role.held).chain(self.users.values().map(|user| &user.held))
    }

    /// The ARN of the role with this name.
    pub(crate) fn role_arn(&self, name: &str) -> Option<&str> {
        self.roles.values().find(|role| role.name == name).map(|role| role.arn.as_str())
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

/// The calls that are answered from a table.
#[cfg(test)]
pub(crate) fn from_tables() -> Vec<&'static str> {
    account::names().collect()
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
        "CreateServiceLinkedRole" => role::create_service_role(cloud, call),
        "UpdateRole" => role::update(cloud, call),
        "UpdateAssumeRolePolicy" => role::update_trust(cloud, call),
        "DeleteRole" => role::delete(cloud, call),
        "PutRolePolicy" => held_policy::put(cloud, call, Whose::Role),
        "GetRolePolicy" => held_policy::get(cloud, call, Whose::Role),
        "DeleteRolePolicy" => held_policy::delete(cloud, call, Whose::Role),
        "ListRolePolicies" => held_policy::list(cloud, call, Whose::Role),
        "AttachRolePolicy" => held_policy::attach(cloud, call, Whose::Role),
        "DetachRolePolicy" => held_policy::detach(cloud, call, Whose::Role),
        "ListAttachedRolePolicies" => held_policy::list_attached(cloud, call, Whose::Role),
        "PutRolePermissionsBoundary" => held_policy::put_boundary(cloud, call, Whose::Role),
        "DeleteRolePermissionsBoundary" => held_policy::delete_boundary(cloud, call, Whose::Role),
        "CreateUser" => user::create(cloud, call),
        "GetUser" => user::get(cloud, call),
        "ListUsers" => user::list(cloud, call),
        "DeleteUser" => user::delete(cloud, call),
        "CreateAccessKey" => user::create_key(cloud, call),
        "ListAccessKeys" => user::list_keys(cloud, call),
        "UpdateAccessKey" => user::update_key(cloud, call),
        "DeleteAccessKey" => user::delete_key(cloud, call),
        "PutUserPolicy" => held_policy::put(cloud, call, Whose::User),
        "GetUserPolicy" => held_policy::get(cloud, call, Whose::User),
        "DeleteUserPolicy" => held_policy::delete(cloud, call, Whose::User),
        "ListUserPolicies" => held_policy::list(cloud, call, Whose::User),
        "AttachUserPolicy" => held_policy::attach(cloud, call, Whose::User),
        "DetachUserPolicy" => held_policy::detach(cloud, call, Whose::User),
        "ListAttachedUserPolicies" => held_policy::list_attached(cloud, call, Whose::User),
        "PutUserPermissionsBoundary" => held_policy::put_boundary(cloud, call, Whose::User),
        "DeleteUserPermissionsBoundary" => held_policy::delete_boundary(cloud, call, Whose::User),
        "CreatePolicy" => managed::create(cloud, call),
        "GetPolicy" => managed::get(cloud, call),
        "GetPolicyVersion" => managed::version(cloud, call),
        "ListPolicies" => managed::list(cloud, call),
        "DeletePolicy" => managed::delete(cloud, call),
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
        "ListEntitiesForPolicy" => account::entities(cloud, call),
        "SimulatePrincipalPolicy" => simulate::principal_policy(cloud, call),
        "GetAccountSummary" => account::summary(cloud, call),
        "GetAccountPasswordPolicy" => account::password_policy(cloud),
        other => account::absent(call).unwrap_or_else(|| {
            Err(Fault::new("InvalidAction", format!("Could not find operation {other} for version 2010-05-08")))
        }),
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
    if !path.starts_with('/')
        || !path.ends_with('/')
        || !visible
        || path.len() > limits::IAM_PATH
        || path.contains("//")
    {
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
