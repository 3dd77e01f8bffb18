//! `CloudWatch` Logs: log groups, their retention, and their tags; their streams and events.

mod event;
mod pattern;
mod stream;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunnion_catalog::limits;

use crate::{
    call::{Call, Fault, Reply, arn_of},
    cloud::Cloud,
    durations::Delay,
    json::{input, page},
    table::{AnyTable, Table},
};

/// The log groups of every region.
#[derive(Debug, Default)]
pub struct State {
    /// By ARN without `:*`.
    groups: Table<LogGroup>,
    /// By ARN.
    streams: Table<stream::Stream>,
    /// By the ARN of the stream and the time, so that they are sorted.
    events: Table<event::Event>,
}

impl State {
    /// Every table, for the journal.
    pub fn tables(&mut self) -> Vec<(&'static str, &mut dyn AnyTable)> {
        vec![("logs.groups", &mut self.groups), ("logs.streams", &mut self.streams), ("logs.events", &mut self.events)]
    }

    /// ARNs and tags of the groups of a region.
    pub(crate) fn tagged(&self, region: &str) -> impl Iterator<Item = (String, BTreeMap<String, String>)> {
        let here = self.groups.iter().filter(move |(_, group)| group.region == region);
        here.map(|(arn, group)| (arn.to_owned(), group.tags.clone()))
    }

    /// The tags of a log group by its ARN.
    pub(crate) fn tags(&self, arn: &str) -> Option<&BTreeMap<String, String>> {
        self.groups.get(arn).map(|group| &group.tags)
    }

    /// Whether the region has a log group with this name.
    pub(crate) fn has_group(&self, region: &str, account: &str, name: &str) -> bool {
        self.groups.get(&arn(region, account, name)).is_some()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LogGroup {
    region: String,
    name: String,
    created: jiff::Timestamp,
    retention_days: Option<u32>,
    class: String,
    kms_key_id: Option<String>,
    tags: BTreeMap<String, String>,
}

pub(crate) use stream::open as open_stream;

/// What no account here has, because nothing creates it: the action and the list of its answer.
const ABSENT: [(&str, &str); 7] = [
    ("DescribeAccountPolicies", "accountPolicies"),
    ("DescribeDestinations", "destinations"),
    ("DescribeExportTasks", "exportTasks"),
    ("DescribeMetricFilters", "metricFilters"),
    ("DescribeQueryDefinitions", "queryDefinitions"),
    ("DescribeResourcePolicies", "resourcePolicies"),
    ("DescribeSubscriptionFilters", "subscriptionFilters"),
];

/// Answers one call.
pub fn handle(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    match call.action.as_str() {
        "CreateLogGroup" => create(cloud, call),
        "DescribeLogGroups" => describe(cloud, call),
        "PutRetentionPolicy" => put_retention(cloud, call),
        "DeleteRetentionPolicy" => delete_retention(cloud, call),
        "DeleteLogGroup" => delete(cloud, call),
        "ListTagsForResource" => list_tags(cloud, call),
        "TagResource" => tag(cloud, call),
        "UntagResource" => untag(cloud, call),
        "ListTagsLogGroup" => list_group_tags(cloud, call),
        "TagLogGroup" => tag_group(cloud, call),
        "UntagLogGroup" => untag_group(cloud, call),
        "CreateLogStream" => stream::create(cloud, call),
        "DeleteLogStream" => stream::delete(cloud, call),
        "DescribeLogStreams" => stream::describe(cloud, call),
        "PutLogEvents" => event::put(cloud, call),
        "GetLogEvents" => event::get(cloud, call),
        "FilterLogEvents" => event::filter(cloud, call),
        other => absent(cloud, call, other),
    }
}

fn absent(cloud: &Cloud, call: &Call, action: &str) -> Result<Reply, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Asked {
        log_group_name: Option<String>,
    }
    let Some((_, list)) = ABSENT.iter().find(|(absent, _)| *absent == action) else {
        let message = format!("The operation {action} is not served here.");
        return Err(Fault::new("UnknownOperationException", message));
    };
    let Asked { log_group_name } = input(call)?;
    if let Some(name) = log_group_name {
        group_of(cloud, call, Some(name), None)?;
    }
    Ok(Reply::Json(json!({ *list: [] })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    log_group_name: String,
    log_group_class: Option<String>,
    kms_key_id: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let create: Create = input(call)?;
    let name = create.log_group_name;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/#".contains(c);
    if name.is_empty() || name.len() > limits::LOG_NAME || !name.chars().all(allowed) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'logGroupName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+"
        )));
    }
    let id = arn(&call.region, &cloud.account, &name);
    if cloud.logs.groups.get(&id).is_some() {
        return Err(Fault::new("ResourceAlreadyExistsException", "The specified log group already exists"));
    }
    check_tags(&create.tags)?;
    let row = LogGroup {
        region: call.region.clone(),
        name,
        created: call.now,
        retention_days: None,
        class: create.log_group_class.unwrap_or_else(|| "STANDARD".to_owned()),
        kms_key_id: create.kms_key_id,
        tags: create.tags,
    };
    cloud.logs.groups.insert(id, row);
    Ok(Reply::Json(json!({})))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    log_group_name_prefix: Option<String>,
    log_group_name_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let describe: Describe = input(call)?;
    if describe.log_group_name_prefix.is_some() && describe.log_group_name_pattern.is_some() {
        return Err(invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."));
    }
    let limit = describe.limit.unwrap_or(50);
    if !(1..=50).contains(&limit) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must have \
             value less than or equal to 50"
        )));
    }
    let prefix = describe.log_group_name_prefix.unwrap_or_default();
    let pattern = describe.log_group_name_pattern.unwrap_or_default().to_lowercase();
    let groups = cloud
        .logs
        .groups
        .iter()
        .filter(|(_, group)| group.region == call.region && group.name.starts_with(&prefix))
        .filter(|(_, group)| group.name.to_lowercase().contains(&pattern))
        .filter(|(id, group)| cloud.knows(Delay::LogsLag, id, group.created, call.now))
        .map(|(id, group)| (group.name.clone(), shown(id, group)))
        .collect();
    let (groups, next) = page(groups, limit, describe.next_token.as_deref(), false)
        .ok_or_else(|| invalid("The specified nextToken is invalid."))?;
    let mut answer = json!({ "logGroups": groups });
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    Ok(Reply::Json(answer))
}

fn shown(id: &str, group: &LogGroup) -> Value {
    let mut shown = json!({
        "logGroupName": group.name,
        "creationTime": group.created.as_millisecond(),
        "metricFilterCount": 0,
        "arn": format!("{id}:*"),
        "storedBytes": 0,
        "logGroupClass": group.class,
        "logGroupArn": id,
    });
    if let Some(days) = group.retention_days {
        shown["retentionInDays"] = days.into();
    }
    if let Some(key) = &group.kms_key_id {
        shown["kmsKeyId"] = key.as_str().into();
    }
    shown
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    log_group_name: String,
    retention_in_days: Option<u32>,
}

fn put_retention(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let named: Named = input(call)?;
    let days = named.retention_in_days.unwrap_or_default();
    if !limits::RETENTION_DAYS.contains(&days) {
        return Err(invalid(format!("The specified retention period {days} is not valid for the log group.")));
    }
    group_mut(cloud, call, &named.log_group_name)?.retention_days = Some(days);
    Ok(Reply::Json(json!({})))
}

fn delete_retention(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let named: Named = input(call)?;
    group_mut(cloud, call, &named.log_group_name)?.retention_days = None;
    Ok(Reply::Json(json!({})))
}

fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let named: Named = input(call)?;
    let id = arn(&call.region, &cloud.account, &named.log_group_name);
    cloud.logs.groups.remove(&id).ok_or_else(no_such_group)?;
    stream::forget(cloud, &id);
    Ok(Reply::Json(json!({})))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tagged {
    resource_arn: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

fn list_tags(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let Tagged { resource_arn, .. } = input(call)?;
    let group = cloud.logs.groups.get(bare(&resource_arn)?).ok_or_else(no_such_resource)?;
    Ok(Reply::Json(json!({ "tags": group.tags })))
}

fn tag(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let tagged: Tagged = input(call)?;
    let group = cloud.logs.groups.get_mut(bare(&tagged.resource_arn)?).ok_or_else(no_such_resource)?;
    group.tags.extend(tagged.tags);
    check_tags(&group.tags)?;
    Ok(Reply::Json(json!({})))
}

fn untag(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let tagged: Tagged = input(call)?;
    let group = cloud.logs.groups.get_mut(bare(&tagged.resource_arn)?).ok_or_else(no_such_resource)?;
    group.tags.retain(|key, _| !tagged.tag_keys.contains(key));
    Ok(Reply::Json(json!({})))
}

/// The tag calls of a group by its name, which AWS keeps for earlier clients. Here, `tags` of an untagging are keys.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaggedGroup<T> {
    log_group_name: String,
    tags: T,
}

fn list_group_tags(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let named: Named = input(call)?;
    let id = group_of(cloud, call, Some(named.log_group_name), None)?;
    let tags = cloud.logs.groups.get(&id).map(|group| group.tags.clone()).unwrap_or_default();
    Ok(Reply::Json(json!({ "tags": tags })))
}

fn tag_group(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let TaggedGroup::<BTreeMap<String, String>> { log_group_name, tags } = input(call)?;
    let group = group_mut(cloud, call, &log_group_name)?;
    group.tags.extend(tags);
    check_tags(&group.tags)?;
    Ok(Reply::Json(json!({})))
}

fn untag_group(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let TaggedGroup::<Vec<String>> { log_group_name, tags: keys } = input(call)?;
    group_mut(cloud, call, &log_group_name)?.tags.retain(|key, _| !keys.contains(key));
    Ok(Reply::Json(json!({})))
}

/// The tag calls need the ARN without `:*`: their API reference says so, and AWS refuses the other form.
fn bare(arn: &str) -> Result<&str, Fault> {
    if arn.ends_with(":*") || !arn.starts_with("arn:") {
        return Err(invalid(format!("The resource ARN {arn} is not valid.")));
    }
    Ok(arn)
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Fault> {
    if tags.len() > limits::MOST_TAGS {
        return Err(Fault::new(
            "TooManyTagsException",
            format!("A resource can have no more than {} tags.", limits::MOST_TAGS),
        ));
    }
    let is_fit = |(key, value): &(&String, &String)| {
        let fits = |text: &str, longest| text.chars().count() <= longest && limits::is_tag_text(text);
        !key.is_empty() && fits(key, limits::LONGEST_TAG_KEY) && fits(value, limits::LONGEST_TAG_VALUE)
    };
    if let Some((key, _)) = tags.iter().find(|tag| !is_fit(tag)) {
        return Err(invalid(format!(
            "1 validation error detected: the tag {key} failed to satisfy constraint: Member must satisfy regular \
             expression pattern: ^([\\p{{L}}\\p{{Z}}\\p{{N}}_.:/=+\\-@]+)$"
        )));
    }
    match tags.keys().find(|key| limits::is_tag_of_aws(key)) {
        Some(key) => Err(invalid(format!("The tag key {key} is reserved: aws: prefixed tag keys are not allowed."))),
        None => Ok(()),
    }
}

fn group_mut<'w>(cloud: &'w mut Cloud, call: &Call, name: &str) -> Result<&'w mut LogGroup, Fault> {
    let id = arn(&call.region, &cloud.account, name);
    cloud.logs.groups.get_mut(&id).ok_or_else(no_such_group)
}

/// The ARN of the group that a call gives by its name or by its identifier, which is a name or an ARN.
fn group_of(cloud: &Cloud, call: &Call, name: Option<String>, identifier: Option<String>) -> Result<String, Fault> {
    let id = match (name, identifier) {
        (None, Some(id)) if id.starts_with("arn:") => id.trim_end_matches(":*").to_owned(),
        (Some(name), None) | (None, Some(name)) => arn(&call.region, &cloud.account, &name),
        _ => return Err(invalid("Exactly one of logGroupName and logGroupIdentifier must be specified.")),
    };
    let is_known = cloud.logs.groups.get(&id).is_some_and(|group| group.region == call.region);
    if is_known { Ok(id) } else { Err(no_such_group()) }
}

fn arn(region: &str, account: &str, name: &str) -> String {
    format!("{}:logs:{region}:{account}:log-group:{name}", arn_of(region))
}

fn no_such_group() -> Fault {
    Fault::new("ResourceNotFoundException", "The specified log group does not exist.")
}

fn no_such_resource() -> Fault {
    Fault::new("ResourceNotFoundException", "The specified resource does not exist.")
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("InvalidParameterException", message)
}
