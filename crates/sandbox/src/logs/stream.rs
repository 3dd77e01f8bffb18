//! Log streams: created by name, or by the containers of ECS tasks.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{arn, group_of, invalid, no_such_group};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    json::{hex_id, input, page},
};

/// A stream. Its events are rows of their own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stream {
    /// The ARN of its group.
    pub group: String,
    pub name: String,
    pub created: Timestamp,
    /// The times of its first and its last event, in milliseconds.
    pub first_event: Option<i64>,
    pub last_event: Option<i64>,
    pub last_ingestion: Option<i64>,
}

/// The ARN of a stream, which is the key of its row.
pub(super) fn stream_arn(group: &str, name: &str) -> String {
    format!("{group}:log-stream:{name}")
}

pub(super) fn no_such_stream() -> Fault {
    Fault::new("ResourceNotFoundException", "The specified log stream does not exist.")
}

/// Creates a stream of a container, unless it exists or its group does not.
pub(crate) fn open(cloud: &mut Cloud, region: &str, group: &str, name: &str, now: Timestamp) {
    let group = arn(region, &cloud.account, group);
    let id = stream_arn(&group, name);
    if cloud.logs.groups.get(&group).is_some() && cloud.logs.streams.get(&id).is_none() {
        insert(cloud, id, group, name, now);
    }
}

fn insert(cloud: &mut Cloud, id: String, group: String, name: &str, created: Timestamp) {
    let name = name.to_owned();
    let row = Stream { group, name, created, first_event: None, last_event: None, last_ingestion: None };
    cloud.logs.streams.insert(id, row);
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    log_group_name: String,
    log_stream_name: String,
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let Named { log_group_name, log_stream_name: name } = input(call)?;
    if name.is_empty() || name.len() > 512 || name.contains([':', '*']) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'logStreamName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [^:*]*"
        )));
    }
    let group = arn(&call.region, &cloud.account, &log_group_name);
    if cloud.logs.groups.get(&group).is_none() {
        return Err(no_such_group());
    }
    let id = stream_arn(&group, &name);
    if cloud.logs.streams.get(&id).is_some() {
        return Err(Fault::new("ResourceAlreadyExistsException", "The specified log stream already exists"));
    }
    insert(cloud, id, group, &name, call.now);
    Ok(Reply::Json(json!({})))
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let Named { log_group_name, log_stream_name } = input(call)?;
    let group = arn(&call.region, &cloud.account, &log_group_name);
    if cloud.logs.groups.get(&group).is_none() {
        return Err(no_such_group());
    }
    let id = stream_arn(&group, &log_stream_name);
    cloud.logs.streams.remove(&id).ok_or_else(no_such_stream)?;
    super::event::forget(cloud, &id);
    Ok(Reply::Json(json!({})))
}

/// Deletes the streams of a group that is deleted.
pub(super) fn forget(cloud: &mut Cloud, group: &str) {
    let of_group = cloud.logs.streams.iter().filter(|(_, stream)| stream.group == group);
    let doomed: Vec<String> = of_group.map(|(id, _)| id.to_owned()).collect();
    for id in doomed {
        cloud.logs.streams.remove(&id);
        super::event::forget(cloud, &id);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name_prefix: Option<String>,
    order_by: Option<String>,
    #[serde(default)]
    descending: bool,
    next_token: Option<String>,
    limit: Option<usize>,
}

pub(super) fn describe(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    // The streams of tasks that run by now.
    crate::ecs::settle(cloud, call.now);
    let describe: Describe = input(call)?;
    let group = group_of(cloud, call, describe.log_group_name, describe.log_group_identifier)?;
    let limit = describe.limit.unwrap_or(50);
    if !(1..=50).contains(&limit) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must have \
             value less than or equal to 50"
        )));
    }
    let by_time = match describe.order_by.as_deref() {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") if describe.log_stream_name_prefix.is_none() => true,
        Some("LastEventTime") => {
            return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
        }
        Some(other) => return Err(invalid(format!("The order {other} is not valid."))),
    };
    let prefix = describe.log_stream_name_prefix.unwrap_or_default();
    let streams = cloud
        .logs
        .streams
        .iter()
        .filter(|(_, stream)| stream.group == group && stream.name.starts_with(&prefix))
        .map(|(id, stream)| {
            let time = if by_time { format!("{:020} ", stream.last_event.unwrap_or_default()) } else { String::new() };
            (format!("{time}{}", stream.name), shown(id, stream))
        })
        .collect();
    let (streams, next) = page(streams, limit, describe.next_token.as_deref(), describe.descending)
        .ok_or_else(|| invalid("The specified nextToken is invalid."))?;
    let mut answer = json!({ "logStreams": streams });
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    Ok(Reply::Json(answer))
}

fn shown(id: &str, stream: &Stream) -> Value {
    let mut shown = json!({
        "logStreamName": stream.name,
        "creationTime": stream.created.as_millisecond(),
        "arn": id,
        "storedBytes": 0,
        "uploadSequenceToken": token(id),
    });
    let times = [
        ("firstEventTimestamp", stream.first_event),
        ("lastEventTimestamp", stream.last_event),
        ("lastIngestionTime", stream.last_ingestion),
    ];
    for (member, time) in times {
        if let Some(time) = time {
            shown[member] = time.into();
        }
    }
    shown
}

/// A sequence token, which `PutLogEvents` accepts and does not need.
pub(super) fn token(id: &str) -> String {
    hex_id(id, 56)
}
