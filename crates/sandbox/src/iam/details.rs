//! `GetAccountAuthorizationDetails`: every role with its policies, profiles and tags in one answer.

use serde::Serialize;

use super::{
    answer, delay,
    held_policy::Attached,
    moment, profile,
    role::{Boundary, Nothing, Role},
    tag::Tag,
    validation,
    wire::{Members, paged, percent_encoded, texts},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
};

const KINDS: [&str; 5] = ["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"];

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Details {
    user_detail_list: Nothing,
    group_detail_list: Nothing,
    role_detail_list: Members<RoleDetail>,
    policies: Nothing,
    is_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RoleDetail {
    path: String,
    role_name: String,
    role_id: String,
    arn: String,
    create_date: String,
    assume_role_policy_document: String,
    instance_profile_list: Members<profile::Shown>,
    role_policy_list: Members<Inline>,
    attached_managed_policies: Members<Attached>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions_boundary: Option<Boundary>,
    tags: Members<Tag>,
    role_last_used: Nothing,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Inline {
    policy_name: String,
    policy_document: String,
}

pub(super) fn get(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let filter = texts(call, "Filter");
    if let Some(kind) = filter.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(validation(format!(
            "1 validation error detected: Value '[{kind}]' at 'filter' failed to satisfy constraint: Member must \
             satisfy enum value set: [{}]",
            KINDS.join(", ")
        )));
    }
    let with_roles = filter.is_empty() || filter.iter().any(|kind| kind == "Role");
    let roles =
        delay::seen(cloud, call).filter(|_| with_roles).map(|role| (role.name.clone(), detail(cloud, role))).collect();
    let (role_detail_list, is_truncated, marker) = paged(call, roles)?;
    answer(
        call,
        &Details {
            user_detail_list: Nothing {},
            group_detail_list: Nothing {},
            role_detail_list,
            policies: Nothing {},
            is_truncated,
            marker,
        },
    )
}

fn detail(cloud: &Cloud, role: &Role) -> RoleDetail {
    let inline = role
        .held
        .inline
        .iter()
        .map(|(name, document)| Inline { policy_name: name.clone(), policy_document: percent_encoded(document) });
    let profiles = cloud.iam.profiles.values().filter(|profile| profile.role.as_ref() == Some(&role.name));
    RoleDetail {
        path: role.path.clone(),
        role_name: role.name.clone(),
        role_id: role.id.clone(),
        arn: role.arn.clone(),
        create_date: moment(role.created),
        assume_role_policy_document: percent_encoded(role.held.trust()),
        instance_profile_list: profiles.map(|profile| profile.shown_in_list(cloud)).collect(),
        role_policy_list: inline.collect(),
        attached_managed_policies: role.held.attached_policies().collect(),
        permissions_boundary: role.boundary(),
        tags: role.tags.iter().cloned().collect(),
        role_last_used: Nothing {},
    }
}
