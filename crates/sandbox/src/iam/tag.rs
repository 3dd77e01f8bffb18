//! Tags of roles and instance profiles.

use serde::{Deserialize, Serialize};
use trunnion_catalog::limits;

use super::{
    answer, done, limit, profile, role, validation,
    wire::{Members, paged, parameter, required, texts},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
};

/// One tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub key: String,
    pub value: String,
}

/// Reads and checks `Tags.member.N.Key` and `.Value`.
pub(super) fn given(call: &Call) -> Result<Vec<Tag>, Fault> {
    let mut tags: Vec<Tag> = Vec::new();
    for index in 1.. {
        let Some(key) = parameter(call, &format!("Tags.member.{index}.Key")) else { break };
        let value = parameter(call, &format!("Tags.member.{index}.Value")).unwrap_or_default();
        if key.chars().count() > limits::LONGEST_TAG_KEY || value.chars().count() > limits::LONGEST_TAG_VALUE {
            return Err(validation(format!("The tag key {key} or its value is too long.")));
        }
        if limits::is_tag_of_aws(key) || limits::is_tag_of_aws(value) {
            return Err(validation("aws: prefixed tag names are not allowed for external use."));
        }
        if key.is_empty() || !limits::is_tag_text(key) || !limits::is_tag_text(value) {
            return Err(validation(format!(
                "The tag key {key} or its value contains characters that are not allowed."
            )));
        }
        if tags.iter().any(|tag| tag.key.to_lowercase() == key.to_lowercase()) {
            return Err(Fault::new(
                "InvalidInput",
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
        tags.push(Tag { key: key.to_owned(), value: value.to_owned() });
    }
    check_count(&tags)?;
    Ok(tags)
}

pub(super) fn tag_role(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let role = role::find_mut(cloud, required(call, "RoleName")?)?;
    tag(&mut role.tags, call)
}

pub(super) fn untag_role(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let role = role::find_mut(cloud, required(call, "RoleName")?)?;
    untag(&mut role.tags, call)
}

pub(super) fn list_role(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    list(&role::find(cloud, required(call, "RoleName")?)?.tags, call)
}

pub(super) fn tag_profile(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let profile = profile::find_mut(cloud, required(call, "InstanceProfileName")?)?;
    tag(&mut profile.tags, call)
}

pub(super) fn untag_profile(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let profile = profile::find_mut(cloud, required(call, "InstanceProfileName")?)?;
    untag(&mut profile.tags, call)
}

pub(super) fn list_profile(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    list(&profile::find(cloud, required(call, "InstanceProfileName")?)?.tags, call)
}

fn tag(tags: &mut Vec<Tag>, call: &Call) -> Result<Reply, Fault> {
    let given = given(call)?;
    let mut merged: Vec<Tag> = tags.clone();
    merged.retain(|tag| given.iter().all(|new| !new.key.eq_ignore_ascii_case(&tag.key)));
    merged.extend(given);
    check_count(&merged)?;
    *tags = merged;
    done(call)
}

fn untag(tags: &mut Vec<Tag>, call: &Call) -> Result<Reply, Fault> {
    let keys = texts(call, "TagKeys");
    tags.retain(|tag| !keys.contains(&tag.key));
    done(call)
}

fn list(tags: &[Tag], call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        tags: Members<Tag>,
        is_truncated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
    }
    let tags = tags.iter().map(|tag| (tag.key.clone(), tag.clone())).collect();
    let (tags, is_truncated, marker) = paged(call, tags)?;
    answer(call, &List { tags, is_truncated, marker })
}

fn check_count(tags: &[Tag]) -> Result<(), Fault> {
    if tags.len() > limits::MOST_TAGS {
        return Err(limit("The number of tags has reached the maximum limit."));
    }
    Ok(())
}
