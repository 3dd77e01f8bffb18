//! What the account has besides roles, users and profiles: none of many other things.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    answer, no_such,
    role::Role,
    wire::{Members, paged, parameter, required},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
};

/// What no account here has, because nothing creates it: the action, the list of its answer, whether it has pages.
const ABSENT: [(&str, &str, bool); 6] = [
    ("ListAccountAliases", "AccountAliases", true),
    ("ListGroups", "Groups", true),
    ("ListOpenIDConnectProviders", "OpenIDConnectProviderList", false),
    ("ListSAMLProviders", "SAMLProviderList", false),
    ("ListServerCertificates", "ServerCertificateMetadataList", true),
    ("ListVirtualMFADevices", "VirtualMFADevices", true),
];

/// The answer to a call for what the account does not have.
pub(super) fn absent(call: &Call) -> Option<Result<Reply, Fault>> {
    let (_, list, has_pages) = ABSENT.iter().find(|(action, _, _)| *action == call.action)?;
    Some(empty(call, list, *has_pages))
}

fn empty(call: &Call, list: &'static str, has_pages: bool) -> Result<Reply, Fault> {
    let mut members = BTreeMap::from([(list, "")]);
    if has_pages {
        members.insert("IsTruncated", "false");
    }
    answer(call, &members)
}

/// The roles that a policy is attached to.
pub(super) fn entities(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        policy_groups: &'static str,
        policy_users: &'static str,
        policy_roles: Members<Attached>,
        is_truncated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Attached {
        role_name: String,
        role_id: String,
    }
    let arn = required(call, "PolicyArn")?;
    let is_attached = |role: &&Role| match parameter(call, "PolicyUsageFilter") {
        Some("PermissionsBoundary") => role.held.boundary.as_deref() == Some(arn),
        _ => role.held.attached.iter().any(|attached| attached == arn),
    };
    let wants_roles = parameter(call, "EntityFilter").is_none_or(|filter| filter == "Role");
    let roles: Vec<(String, Attached)> = cloud
        .iam
        .roles
        .values()
        .filter(|role| wants_roles && is_attached(role))
        .map(|role| (role.name.clone(), Attached { role_name: role.name.clone(), role_id: role.id.clone() }))
        .collect();
    if roles.is_empty() && !arn.contains(":iam::aws:policy/") {
        return Err(no_such(format!("Policy {arn} does not exist or is not attachable.")));
    }
    let (policy_roles, is_truncated, marker) = paged(call, roles)?;
    answer(call, &List { policy_groups: "", policy_users: "", policy_roles, is_truncated, marker })
}

/// The default quotas (IAM API reference, `GetAccountSummary`, read November 2026), and what is here.
pub(super) fn summary(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Summary {
        summary_map: Entries,
    }
    #[derive(Serialize)]
    struct Entries {
        entry: Vec<Entry>,
    }
    #[derive(Serialize)]
    struct Entry {
        key: &'static str,
        value: usize,
    }
    let roles = cloud.iam.roles.values().count();
    let profiles = cloud.iam.profiles.values().count();
    let (users, policies) = (cloud.iam.users.values().count() + 1, cloud.iam.policies.values().count());
    let counted = [("InstanceProfiles", profiles), ("Policies", policies), ("Roles", roles), ("Users", users)];
    let quotas = [
        ("AccessKeysPerUserQuota", 2),
        ("AssumeRolePolicySizeQuota", 2_048),
        ("AttachedPoliciesPerGroupQuota", 10),
        ("AttachedPoliciesPerRoleQuota", 10),
        ("AttachedPoliciesPerUserQuota", 10),
        ("GlobalEndpointTokenVersion", 1),
        ("GroupPolicySizeQuota", 5_120),
        ("GroupsPerUserQuota", 10),
        ("GroupsQuota", 300),
        ("InstanceProfilesQuota", 1_000),
        ("PoliciesQuota", 1_500),
        ("PolicySizeQuota", 6_144),
        ("PolicyVersionsInUseQuota", 10_000),
        ("RolePolicySizeQuota", 10_240),
        ("RolesQuota", 1_000),
        ("ServerCertificatesQuota", 20),
        ("SigningCertificatesPerUserQuota", 2),
        ("UserPolicySizeQuota", 2_048),
        ("UsersQuota", 5_000),
        ("VersionsPerPolicyQuota", 5),
    ];
    let none = [
        "AccountAccessKeysPresent",
        "AccountMFAEnabled",
        "AccountPasswordPresent",
        "AccountSigningCertificatesPresent",
        "Groups",
        "MFADevices",
        "MFADevicesInUse",
        "PolicyVersionsInUse",
        "Providers",
        "ServerCertificates",
    ];
    let all = counted.into_iter().chain(quotas).chain(none.map(|key| (key, 0)));
    let entry = all.map(|(key, value)| Entry { key, value }).collect();
    answer(call, &Summary { summary_map: Entries { entry } })
}

/// The account has no password policy of its own.
pub(super) fn password_policy(cloud: &Cloud) -> Result<Reply, Fault> {
    Err(no_such(format!("The Password Policy with domain name {} cannot be found.", cloud.account)))
}

/// The names of the calls for what the account does not have.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ABSENT.iter().map(|(action, _, _)| *action)
}
