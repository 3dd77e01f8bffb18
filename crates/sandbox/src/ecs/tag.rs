//! Tags of clusters, task definitions and services; tasks keep the tags that they started with.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunnion_catalog::limits;

use super::{client, invalid, task_view};
use crate::{
    call::{Call, Fault},
    cloud::Cloud,
    json::input,
};

/// One tag in ECS's format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tag {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

/// Refuses what AWS refuses: more than 50 tags, duplicate keys, reserved keys, texts that are too long.
pub(super) fn check(tags: &[Tag]) -> Result<(), Fault> {
    if tags.len() > limits::MOST_TAGS {
        return Err(invalid("The number of tags exceeds the limit of 50."));
    }
    for (index, tag) in tags.iter().enumerate() {
        if tag.key.is_empty() || tag.key.chars().count() > 128 || tag.value.chars().count() > 256 {
            return Err(invalid(format!("Tag key {:?} or its value has an invalid length.", tag.key)));
        }
        if !limits::is_tag_text(&tag.key) || !limits::is_tag_text(&tag.value) {
            return Err(invalid(format!(
                "Tag key {:?} or its value contains characters that are not allowed.",
                tag.key
            )));
        }
        if limits::is_tag_of_aws(&tag.key) || limits::is_tag_of_aws(&tag.value) {
            return Err(invalid("Tag keys starting with aws: are reserved for AWS use."));
        }
        if tags.iter().take(index).any(|earlier| earlier.key == tag.key) {
            return Err(invalid(format!("Duplicate tag key {:?}.", tag.key)));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tagged {
    resource_arn: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

pub(super) fn tag(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let tagged: Tagged = input(call)?;
    let tags = tags_of(cloud, &tagged.resource_arn)?;
    tags.retain(|tag| tagged.tags.iter().all(|new| new.key != tag.key));
    tags.extend(tagged.tags);
    check(tags)?;
    Ok(json!({}))
}

pub(super) fn untag(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let tagged: Tagged = input(call)?;
    tags_of(cloud, &tagged.resource_arn)?.retain(|tag| !tagged.tag_keys.contains(&tag.key));
    Ok(json!({}))
}

pub(super) fn list(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let tagged: Tagged = input(call)?;
    if tagged.resource_arn.contains(":task/") {
        let tasks = task_view::all(cloud, None, call.now);
        let task = tasks.into_iter().find(|task| task.arn == tagged.resource_arn);
        return match task {
            Some(task) => Ok(json!({ "tags": task.tags })),
            None => Err(invalid("The specified task does not exist.")),
        };
    }
    Ok(json!({ "tags": tags_of(cloud, &tagged.resource_arn)? }))
}

fn tags_of<'w>(cloud: &'w mut Cloud, arn: &str) -> Result<&'w mut Vec<Tag>, Fault> {
    let ecs = &mut cloud.ecs;
    let kind = arn.splitn(6, ':').nth(5).and_then(|resource| resource.split('/').next());
    match kind {
        Some("cluster") => match ecs.clusters.get_mut(arn) {
            Some(cluster) if cluster.active => Ok(&mut cluster.tags),
            _ => Err(Fault::new("ClusterNotFoundException", "The specified cluster is inactive or does not exist.")),
        },
        Some("service") => match ecs.services.get_mut(arn) {
            Some(service) if service.deleted.is_none() => Ok(&mut service.tags),
            _ => Err(Fault::new("ServiceNotFoundException", "The specified service is inactive or does not exist.")),
        },
        Some("task-definition") => match ecs.definitions.get_mut(arn) {
            Some(definition) => Ok(&mut definition.tags),
            None => Err(client("The specified task definition does not exist.")),
        },
        _ => Err(invalid(format!("Invalid resource ARN: {arn}"))),
    }
}
