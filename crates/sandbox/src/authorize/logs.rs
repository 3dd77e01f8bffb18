//! The permissions of CloudWatch Logs' calls.
//!
//! Requests are evaluated with `…:log-group:NAME:log-stream:` (hashicorp/terraform-provider-aws issue 8804, read November
//! 2026), which a policy covers with `…:log-group:NAME:*`. Only the calls for tags take the ARN without it ("Overview of
//! managing access permissions", CloudWatch Logs user guide, read November 2026).

use super::{Row, Scene, Target};
use crate::{call::arn_of, cloud::Cloud};

pub(super) const PERMISSIONS: &[Row] = &[
    ("CreateLogStream", &[("logs:CreateLogStream", stream)]),
    ("DeleteLogStream", &[("logs:DeleteLogStream", stream)]),
    ("DescribeLogStreams", &[("logs:DescribeLogStreams", group)]),
    ("FilterLogEvents", &[("logs:FilterLogEvents", group)]),
    ("GetLogEvents", &[("logs:GetLogEvents", stream)]),
    ("ListTagsLogGroup", &[("logs:ListTagsLogGroup", group)]),
    ("PutLogEvents", &[("logs:PutLogEvents", stream)]),
    ("TagLogGroup", &[("logs:TagLogGroup", created)]),
    ("UntagLogGroup", &[("logs:UntagLogGroup", untagged_group)]),
    ("CreateLogGroup", &[("logs:CreateLogGroup", created), ("logs:TagResource", tagged_new)]),
    ("DescribeLogGroups", &[("logs:DescribeLogGroups", all)]),
    ("PutRetentionPolicy", &[("logs:PutRetentionPolicy", group)]),
    ("DeleteRetentionPolicy", &[("logs:DeleteRetentionPolicy", group)]),
    ("DeleteLogGroup", &[("logs:DeleteLogGroup", group)]),
    ("ListTagsForResource", &[("logs:ListTagsForResource", by_arn)]),
    ("TagResource", &[("logs:TagResource", tagged)]),
    ("UntagResource", &[("logs:UntagResource", untagged)]),
];

/// The ARN with which a log group is evaluated.
pub(crate) fn evaluated(region: &str, account: &str, name: &str, stream: &str) -> String {
    format!("{}:logs:{region}:{account}:log-group:{name}:log-stream:{stream}", arn_of(region))
}

/// The reference has no resource for it, although refusals name one.
fn all(scene: &Scene<'_>) -> Vec<Target> {
    let shown = evaluated(&scene.call.region, &scene.cloud.account, "", "");
    vec![Target { shown: Some(shown), ..Target::any() }]
}

/// The name of a group, which calls can also give by its ARN.
fn name<'s>(scene: &'s Scene<'_>) -> &'s str {
    let given = scene.text("logGroupName").or_else(|| scene.text("logGroupIdentifier")).unwrap_or_default();
    let named = given.split_once(":log-group:").map_or(given, |(_, name)| name);
    named.trim_end_matches(":*")
}

fn stream(scene: &Scene<'_>) -> Vec<Target> {
    let stream = scene.text("logStreamName").unwrap_or_default();
    let arn = evaluated(&scene.call.region, &scene.cloud.account, name(scene), stream);
    let group = scene.arn("logs", &format!("log-group:{}", name(scene)));
    vec![own_tags(scene.cloud, Target::of("log-stream", arn), &group)]
}

fn group(scene: &Scene<'_>) -> Vec<Target> {
    let name = name(scene);
    let arn = evaluated(&scene.call.region, &scene.cloud.account, name, "");
    vec![own_tags(scene.cloud, Target::of("log-group", arn), &scene.arn("logs", &format!("log-group:{name}")))]
}

fn by_arn(scene: &Scene<'_>) -> Vec<Target> {
    let arn = scene.text("resourceArn").unwrap_or_default();
    vec![own_tags(scene.cloud, Target::of("log-group", arn), arn)]
}

/// A group or one of its streams with the tags of the group, whose ARN this is.
pub(crate) fn own_tags(cloud: &Cloud, target: Target, arn: &str) -> Target {
    let tags = cloud.logs.tags(arn.trim_end_matches(":*"));
    target
        .has_tags(&["aws:ResourceTag/"], tags.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())))
}

fn given<'s>(scene: &'s Scene<'_>) -> Vec<(&'s str, &'s str)> {
    let tags = scene.json().get("tags").and_then(serde_json::Value::as_object);
    tags.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}

fn created(scene: &Scene<'_>) -> Vec<Target> {
    group(scene).into_iter().map(|target| target.gets_tags(given(scene))).collect()
}

fn tagged_new(scene: &Scene<'_>) -> Vec<Target> {
    let (tags, name) = (given(scene), name(scene));
    if tags.is_empty() {
        return Vec::new();
    }
    vec![Target::of("log-group", scene.arn("logs", &format!("log-group:{name}"))).gets_tags(tags)]
}

fn tagged(scene: &Scene<'_>) -> Vec<Target> {
    by_arn(scene).into_iter().map(|target| target.gets_tags(given(scene))).collect()
}

fn untagged(scene: &Scene<'_>) -> Vec<Target> {
    let keys: Vec<String> = scene.texts("tagKeys").into_iter().map(str::to_owned).collect();
    by_arn(scene).into_iter().map(|target| target.loses_tags(keys.clone())).collect()
}

fn untagged_group(scene: &Scene<'_>) -> Vec<Target> {
    let keys: Vec<String> = scene.texts("tags").into_iter().map(str::to_owned).collect();
    group(scene).into_iter().map(|target| target.loses_tags(keys.clone())).collect()
}
