//! The permissions of IAM's calls, and what other services need of IAM: to pass a role, to make a service's role.

use super::{identity, role::Role, wire::parameter};
use crate::{
    authorize::{Row, Scene, Target, any},
    call::arn_of,
    cloud::Cloud,
    durations::Delay,
};

/// One row per call.
pub(crate) const PERMISSIONS: &[Row] = &[
    ("ListEntitiesForPolicy", &[("iam:ListEntitiesForPolicy", policy)]),
    ("GetAccountSummary", &[("iam:GetAccountSummary", any)]),
    ("GetAccountPasswordPolicy", &[("iam:GetAccountPasswordPolicy", any)]),
    ("ListAccountAliases", &[("iam:ListAccountAliases", any)]),
    ("ListGroups", &[("iam:ListGroups", any)]),
    ("ListOpenIDConnectProviders", &[("iam:ListOpenIDConnectProviders", any)]),
    ("ListSAMLProviders", &[("iam:ListSAMLProviders", any)]),
    ("ListServerCertificates", &[("iam:ListServerCertificates", any)]),
    ("ListVirtualMFADevices", &[("iam:ListVirtualMFADevices", any)]),
    ("AddRoleToInstanceProfile", &[("iam:AddRoleToInstanceProfile", profile), ("iam:PassRole", passed_to_instances)]),
    ("AttachRolePolicy", &[("iam:AttachRolePolicy", role_with_policy)]),
    ("AttachUserPolicy", &[("iam:AttachUserPolicy", user_with_policy)]),
    ("CreateAccessKey", &[("iam:CreateAccessKey", user)]),
    (
        "CreateInstanceProfile",
        &[("iam:CreateInstanceProfile", new_profile), ("iam:TagInstanceProfile", |s| with_tags(s, new_profile))],
    ),
    ("CreatePolicy", &[("iam:CreatePolicy", new_policy), ("iam:TagPolicy", |s| with_tags(s, new_policy))]),
    ("CreateRole", &[("iam:CreateRole", new_role), ("iam:TagRole", |s| with_tags(s, new_role))]),
    ("CreateServiceLinkedRole", &[("iam:CreateServiceLinkedRole", new_service_role)]),
    ("CreateUser", &[("iam:CreateUser", new_user), ("iam:TagUser", |s| with_tags(s, new_user))]),
    ("DeleteAccessKey", &[("iam:DeleteAccessKey", user)]),
    ("DeleteInstanceProfile", &[("iam:DeleteInstanceProfile", profile)]),
    ("DeletePolicy", &[("iam:DeletePolicy", policy)]),
    ("DeleteRole", &[("iam:DeleteRole", role)]),
    ("DeleteRolePermissionsBoundary", &[("iam:DeleteRolePermissionsBoundary", role)]),
    ("DeleteRolePolicy", &[("iam:DeleteRolePolicy", role)]),
    ("DeleteUser", &[("iam:DeleteUser", user)]),
    ("DeleteUserPermissionsBoundary", &[("iam:DeleteUserPermissionsBoundary", user)]),
    ("DeleteUserPolicy", &[("iam:DeleteUserPolicy", user)]),
    ("DetachRolePolicy", &[("iam:DetachRolePolicy", role_with_policy)]),
    ("DetachUserPolicy", &[("iam:DetachUserPolicy", user_with_policy)]),
    ("GetAccountAuthorizationDetails", &[("iam:GetAccountAuthorizationDetails", any)]),
    ("GetInstanceProfile", &[("iam:GetInstanceProfile", profile)]),
    ("GetPolicy", &[("iam:GetPolicy", policy)]),
    ("GetPolicyVersion", &[("iam:GetPolicyVersion", policy)]),
    ("GetRole", &[("iam:GetRole", role)]),
    ("GetRolePolicy", &[("iam:GetRolePolicy", role)]),
    ("GetUser", &[("iam:GetUser", user)]),
    ("GetUserPolicy", &[("iam:GetUserPolicy", user)]),
    ("ListAccessKeys", &[("iam:ListAccessKeys", user)]),
    ("ListAttachedRolePolicies", &[("iam:ListAttachedRolePolicies", role)]),
    ("ListAttachedUserPolicies", &[("iam:ListAttachedUserPolicies", user)]),
    ("ListInstanceProfileTags", &[("iam:ListInstanceProfileTags", profile)]),
    ("ListInstanceProfiles", &[("iam:ListInstanceProfiles", any)]),
    ("ListInstanceProfilesForRole", &[("iam:ListInstanceProfilesForRole", role)]),
    ("ListPolicies", &[("iam:ListPolicies", any)]),
    ("ListRolePolicies", &[("iam:ListRolePolicies", role)]),
    ("ListRoleTags", &[("iam:ListRoleTags", role)]),
    ("ListRoles", &[("iam:ListRoles", any)]),
    ("ListUserPolicies", &[("iam:ListUserPolicies", user)]),
    ("ListUsers", &[("iam:ListUsers", any)]),
    ("PutRolePermissionsBoundary", &[("iam:PutRolePermissionsBoundary", role)]),
    ("PutRolePolicy", &[("iam:PutRolePolicy", role)]),
    ("PutUserPermissionsBoundary", &[("iam:PutUserPermissionsBoundary", user)]),
    ("PutUserPolicy", &[("iam:PutUserPolicy", user)]),
    ("RemoveRoleFromInstanceProfile", &[("iam:RemoveRoleFromInstanceProfile", profile)]),
    ("SimulatePrincipalPolicy", &[("iam:SimulatePrincipalPolicy", simulated)]),
    ("TagInstanceProfile", &[("iam:TagInstanceProfile", |s| with_tags(s, profile))]),
    ("TagRole", &[("iam:TagRole", |s| with_tags(s, role))]),
    ("UntagInstanceProfile", &[("iam:UntagInstanceProfile", |s| without_tags(s, profile))]),
    ("UntagRole", &[("iam:UntagRole", |s| without_tags(s, role))]),
    ("UpdateAccessKey", &[("iam:UpdateAccessKey", user)]),
    ("UpdateAssumeRolePolicy", &[("iam:UpdateAssumeRolePolicy", role)]),
    ("UpdateRole", &[("iam:UpdateRole", role)]),
];

const TAGS: &[&str] = &["aws:ResourceTag/", "iam:ResourceTag/"];

fn arn(scene: &Scene<'_>, resource: &str) -> String {
    format!("{}:iam::{}:{resource}", arn_of(&scene.call.region), scene.cloud.account)
}

/// The name in the call, or `*`, which no name is.
fn name<'s>(scene: &Scene<'s>, member: &str) -> &'s str {
    parameter(scene.call, member).unwrap_or("*")
}

fn pairs(tags: &[super::tag::Tag]) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str()))
}

/// The boundary that the call gives the holder, otherwise the one it has.
fn boundary(scene: &Scene<'_>, has: Option<&String>) -> Option<String> {
    parameter(scene.call, "PermissionsBoundary").map(str::to_owned).or_else(|| has.cloned())
}

/// What does not exist has no path, and refusals call it by its name (aws/aws-cdk issue 27067, read November
/// 2026).
fn missing(scene: &Scene<'_>, kind: &'static str, word: &str, name: &str) -> Target {
    let target = Target::of(kind, arn(scene, &format!("{kind}/{name}")));
    Target { shown: Some(format!("{word} {name}")), ..target }
}

fn role(scene: &Scene<'_>) -> Vec<Target> {
    let name = name(scene, "RoleName");
    let Ok(role) = super::role::find(scene.cloud, name) else {
        return vec![missing(scene, "role", "role", name)];
    };
    let target = Target::of("role", role.arn.clone()).has_tags(TAGS, pairs(&role.tags));
    vec![target.with_some("iam:PermissionsBoundary", boundary(scene, role.held.boundary.as_ref()))]
}

/// The user or the role whose policies are simulated.
fn simulated(scene: &Scene<'_>) -> Vec<Target> {
    let arn = parameter(scene.call, "PolicySourceArn").unwrap_or("*");
    let kind = if arn.contains(":role/") { "role" } else { "user" };
    vec![Target::of(kind, arn)]
}

fn user(scene: &Scene<'_>) -> Vec<Target> {
    let name = name(scene, "UserName");
    let Ok(user) = super::user::find(scene.cloud, name) else {
        return vec![missing(scene, "user", "user", name)];
    };
    let target = Target::of("user", user.arn.clone()).has_tags(TAGS, pairs(&user.tags));
    vec![target.with_some("iam:PermissionsBoundary", boundary(scene, user.held.boundary.as_ref()))]
}

fn profile(scene: &Scene<'_>) -> Vec<Target> {
    let name = name(scene, "InstanceProfileName");
    let Some(profile) = scene.cloud.iam.profiles.get(&name.to_lowercase()) else {
        return vec![missing(scene, "instance-profile", "instance profile", name)];
    };
    vec![Target::of("instance-profile", profile.arn.clone()).has_tags(TAGS, pairs(&profile.tags))]
}

fn policy(scene: &Scene<'_>) -> Vec<Target> {
    let arn = name(scene, "PolicyArn");
    let tags = scene.cloud.iam.policies.get(arn).map(|policy| policy.tags.as_slice()).unwrap_or_default();
    vec![Target::of("policy", arn).has_tags(TAGS, pairs(tags))]
}

/// What a call creates: its path comes with the call.
fn new(scene: &Scene<'_>, kind: &'static str, member: &str) -> Target {
    let path = parameter(scene.call, "Path").unwrap_or("/");
    Target::of(kind, arn(scene, &format!("{kind}{path}{}", name(scene, member)))).gets_tags(given(scene))
}

fn new_role(scene: &Scene<'_>) -> Vec<Target> {
    vec![new(scene, "role", "RoleName").with_some("iam:PermissionsBoundary", boundary(scene, None))]
}

fn new_user(scene: &Scene<'_>) -> Vec<Target> {
    vec![new(scene, "user", "UserName").with_some("iam:PermissionsBoundary", boundary(scene, None))]
}

fn new_profile(scene: &Scene<'_>) -> Vec<Target> {
    vec![new(scene, "instance-profile", "InstanceProfileName")]
}

fn new_policy(scene: &Scene<'_>) -> Vec<Target> {
    vec![new(scene, "policy", "PolicyName")]
}

fn role_with_policy(scene: &Scene<'_>) -> Vec<Target> {
    role(scene).into_iter().map(|target| target.with("iam:PolicyARN", name(scene, "PolicyArn"))).collect()
}

fn user_with_policy(scene: &Scene<'_>) -> Vec<Target> {
    user(scene).into_iter().map(|target| target.with("iam:PolicyARN", name(scene, "PolicyArn"))).collect()
}

/// The tags in the call.
fn given<'s>(scene: &Scene<'s>) -> Vec<(&'s str, &'s str)> {
    let pair = |index: u32| {
        let key = parameter(scene.call, &format!("Tags.member.{index}.Key"))?;
        Some((key, parameter(scene.call, &format!("Tags.member.{index}.Value")).unwrap_or_default()))
    };
    (1..).map_while(pair).collect()
}

/// The resource with the tags in the call; nothing if there are none.
fn with_tags(scene: &Scene<'_>, resolve: fn(&Scene<'_>) -> Vec<Target>) -> Vec<Target> {
    let tags = given(scene);
    if tags.is_empty() {
        return Vec::new();
    }
    let has = |target: &Target| target.keys.iter().any(|(key, _)| key == "aws:TagKeys");
    let with = |target: Target| if has(&target) { target } else { target.gets_tags(tags.iter().copied()) };
    resolve(scene).into_iter().map(with).collect()
}

fn without_tags(scene: &Scene<'_>, resolve: fn(&Scene<'_>) -> Vec<Target>) -> Vec<Target> {
    let keys = super::wire::texts(scene.call, "TagKeys");
    resolve(scene).into_iter().map(|target| target.loses_tags(keys.clone())).collect()
}

/// A profile's role is handed to instances.
fn passed_to_instances(scene: &Scene<'_>) -> Vec<Target> {
    vec![passed(scene.cloud, &scene.call.region, name(scene, "RoleName"), "ec2.amazonaws.com")]
}

/// A role, by name or ARN, that a call hands to a service.
pub(crate) fn passed(cloud: &Cloud, region: &str, role: &str, service: &str) -> Target {
    let found = cloud.iam.roles.values().find(|row| row.name == role || row.arn == role);
    let arn = match found {
        Some(found) => found.arn.clone(),
        None if role.starts_with("arn:") => role.to_owned(),
        None => format!("{}:iam::{}:role/{role}", arn_of(region), cloud.account),
    };
    let tags = found.map(|role| role.tags.as_slice()).unwrap_or_default();
    Target::of("role", arn).has_tags(TAGS, pairs(tags)).with("iam:PassedToService", service)
}

/// The service-linked role that a call makes AWS create.
pub(crate) fn service_role(cloud: &Cloud, region: &str, service: &str, name: &str) -> Target {
    let arn = format!("{}:iam::{}:role/aws-service-role/{service}/{name}", arn_of(region), cloud.account);
    Target::of("role", arn).with("iam:AWSServiceName", service)
}

fn new_service_role(scene: &Scene<'_>) -> Vec<Target> {
    let service = name(scene, "AWSServiceName");
    let name = super::role::name_for_service(service).unwrap_or("*");
    vec![service_role(scene.cloud, &scene.call.region, service, name)]
}

/// The role of `AssumeRole`, with its trust policy.
pub(crate) fn assumed_role(scene: &Scene<'_>) -> Vec<Target> {
    let wanted = name(scene, "RoleArn");
    let found = scene.cloud.iam.roles.values().find(|role| role.arn == wanted);
    let found = found.filter(|role| scene.cloud.knows(Delay::IamLag, &role.id, role.created, scene.call.now));
    let mut target = Target::of("role", wanted)
        .gets_tags(given(scene))
        .with_some("sts:RoleSessionName", parameter(scene.call, "RoleSessionName"))
        .with_some("sts:ExternalId", parameter(scene.call, "ExternalId"))
        .with_some("sts:SourceIdentity", source_identity(scene));
    target.is_trust = true;
    vec![match found {
        Some(role) => trusted(scene.cloud, role, target, scene.call.now),
        None => target,
    }]
}

/// The source identity that a session has: the one given, or the one of the session from which it is opened.
fn source_identity(scene: &Scene<'_>) -> Option<String> {
    let given = parameter(scene.call, "SourceIdentity").map(str::to_owned);
    given.or_else(|| super::session::inherited_source(scene.cloud, &scene.call.origin.access_key))
}

/// The role of `AssumeRole`, if the session has a source identity. One that is inherited needs the permission again
/// ("Monitor and control actions taken with assumed roles", IAM user guide, read November 2026).
pub(crate) fn role_with_source(scene: &Scene<'_>) -> Vec<Target> {
    if source_identity(scene).is_some() { assumed_role(scene) } else { Vec::new() }
}

fn trusted(cloud: &Cloud, role: &Role, target: Target, now: jiff::Timestamp) -> Target {
    let mut target = target.has_tags(TAGS, pairs(&role.tags));
    target.policy = Some(identity::trust(cloud, role, now));
    target.is_trust = true;
    target
}

/// A role that a service assumes, with its trust policy; `None` if it does not exist or is too new.
pub(crate) fn assumed_by_service(cloud: &Cloud, arn: &str, now: jiff::Timestamp) -> Option<Target> {
    let role =
        cloud.iam.roles.values().find(|role| role.arn == arn && cloud.all_know(Delay::IamLag, role.created, now))?;
    Some(trusted(cloud, role, Target::of("role", arn), now))
}
