//! Log events: put, read from one stream, filtered over the streams of a group.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    arn, group_of, invalid, no_such_group,
    pattern::Pattern,
    stream::{self, no_such_stream, stream_arn},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    json::{hex_id, input, page},
};

/// `PutLogEvents` accepts events of the last 14 days and of the next two hours (CloudWatch Logs API reference, read
/// November 2026).
const OLDEST_MILLISECONDS: i64 = 14 * 24 * 3_600_000;
const NEWEST_MILLISECONDS: i64 = 2 * 3_600_000;

/// The most events in one request or answer.
const MOST: usize = 10_000;

/// One event, by the ARN of its stream, its time and a number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Event {
    /// The ARN of its stream.
    pub stream: String,
    /// Milliseconds since 1970.
    pub at: i64,
    pub ingested: i64,
    pub message: String,
}

/// Deletes the events of a stream that is deleted.
pub(super) fn forget(cloud: &mut Cloud, stream: &str) {
    let of_stream = cloud.logs.events.iter().filter(|(_, event)| event.stream == stream);
    let doomed: Vec<String> = of_stream.map(|(id, _)| id.to_owned()).collect();
    for id in doomed {
        cloud.logs.events.remove(&id);
    }
}

#[derive(Deserialize)]
struct Put {
    #[serde(rename = "logGroupName")]
    group: String,
    #[serde(rename = "logStreamName")]
    stream: String,
    #[serde(default, rename = "logEvents")]
    events: Vec<Sent>,
}

#[derive(Deserialize)]
struct Sent {
    timestamp: i64,
    message: String,
}

pub(super) fn put(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let put: Put = input(call)?;
    let group = arn(&call.region, &cloud.account, &put.group);
    if cloud.logs.groups.get(&group).is_none() {
        return Err(no_such_group());
    }
    let id = stream_arn(&group, &put.stream);
    if cloud.logs.streams.get(&id).is_none() {
        return Err(no_such_stream());
    }
    check(&put.events)?;
    let now = call.now.as_millisecond();
    let too_old = put.events.partition_point(|event| event.timestamp < now - OLDEST_MILLISECONDS);
    let too_new = put.events.partition_point(|event| event.timestamp <= now + NEWEST_MILLISECONDS);
    let accepted = put.events.get(too_old..too_new).unwrap_or_default();
    for event in accepted {
        let number = cloud.new_number();
        let key = format!("{id} {:020} {now:020} {number:020}", event.timestamp);
        let row = Event { stream: id.clone(), at: event.timestamp, ingested: now, message: event.message.clone() };
        cloud.logs.events.insert(key, row);
    }
    if let (Some(first), Some(last)) = (accepted.first(), accepted.last())
        && let Some(stream) = cloud.logs.streams.get_mut(&id)
    {
        stream.first_event = Some(stream.first_event.map_or(first.timestamp, |known| known.min(first.timestamp)));
        stream.last_event = Some(stream.last_event.map_or(last.timestamp, |known| known.max(last.timestamp)));
        stream.last_ingestion = Some(now);
    }
    let mut answer = json!({ "nextSequenceToken": stream::token(&id) });
    let mut rejected = serde_json::Map::new();
    if too_old > 0 {
        rejected.insert("tooOldLogEventEndIndex".to_owned(), too_old.into());
    }
    if too_new < put.events.len() {
        rejected.insert("tooNewLogEventStartIndex".to_owned(), too_new.into());
    }
    if !rejected.is_empty() {
        answer["rejectedLogEventsInfo"] = rejected.into();
    }
    Ok(Reply::Json(answer))
}

fn check(events: &[Sent]) -> Result<(), Fault> {
    if events.is_empty() || events.len() > MOST {
        return Err(invalid(format!(
            "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have length \
             between 1 and {MOST}"
        )));
    }
    if events.iter().any(|event| event.message.is_empty()) {
        return Err(invalid(
            "1 validation error detected: Value '' at 'logEvents.1.member.message' failed to satisfy constraint: \
             Member must have length greater than or equal to 1",
        ));
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Get {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name: String,
    start_time: Option<i64>,
    end_time: Option<i64>,
    next_token: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    start_from_head: bool,
}

/// The answer at an end of the stream has the token of the request, so that a client can go on later.
pub(super) fn get(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let get: Get = input(call)?;
    let group = group_of(cloud, call, get.log_group_name, get.log_group_identifier)?;
    let id = stream_arn(&group, &get.log_stream_name);
    if cloud.logs.streams.get(&id).is_none() {
        return Err(no_such_stream());
    }
    let limit = most(get.limit)?;
    let is_in = |event: &Event| is_between(event, get.start_time, get.end_time);
    let rows = cloud.logs.events.iter().filter(|(_, event)| event.stream == id && is_in(event));
    let events: Vec<Value> = rows.map(|(_, event)| shown(event)).collect();
    let (from, to) = match get.next_token.as_deref() {
        Some(token) => {
            let (kind, place) = read_token(token)?;
            let place = place.min(events.len());
            if kind == "f" { (place, place + limit) } else { (place.saturating_sub(limit), place) }
        }
        None if get.start_from_head => (0, limit),
        None => (events.len().saturating_sub(limit), events.len()),
    };
    let to = to.min(events.len());
    Ok(Reply::Json(json!({
        "events": events.get(from..to).unwrap_or_default(),
        "nextForwardToken": format!("f/{to:056}/s"),
        "nextBackwardToken": format!("b/{from:056}/s"),
    })))
}

fn read_token(token: &str) -> Result<(&str, usize), Fault> {
    let parts: Vec<&str> = token.split('/').collect();
    match parts[..] {
        [kind @ ("f" | "b"), place, "s"] if place.len() == 56 => {
            let place = place.parse().map_err(|_| invalid("The specified nextToken is invalid."))?;
            Ok((kind, place))
        }
        _ => Err(invalid("The specified nextToken is invalid.")),
    }
}

fn most(asked: Option<usize>) -> Result<usize, Fault> {
    match asked {
        None => Ok(MOST),
        Some(limit @ 1..=MOST) => Ok(limit),
        Some(limit) => Err(invalid(format!(
            "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must have \
             value less than or equal to {MOST}"
        ))),
    }
}

/// The start is part of the time, the end is not.
fn is_between(event: &Event, start: Option<i64>, end: Option<i64>) -> bool {
    start.is_none_or(|start| event.at >= start) && end.is_none_or(|end| event.at < end)
}

fn shown(event: &Event) -> Value {
    json!({ "timestamp": event.at, "message": event.message, "ingestionTime": event.ingested })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    #[serde(default)]
    log_stream_names: Vec<String>,
    log_stream_name_prefix: Option<String>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    filter_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

pub(super) fn filter(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let filter: Asked = input(call)?;
    let group = group_of(cloud, call, filter.log_group_name, filter.log_group_identifier)?;
    if !filter.log_stream_names.is_empty() && filter.log_stream_name_prefix.is_some() {
        return Err(invalid("LogStreamNamePrefix and LogStreamNames are mutually exclusive parameters."));
    }
    if filter.log_stream_names.iter().any(|name| cloud.logs.streams.get(&stream_arn(&group, name)).is_none()) {
        return Err(no_such_stream());
    }
    let pattern = Pattern::read(filter.filter_pattern.as_deref().unwrap_or_default())?;
    let prefix = filter.log_stream_name_prefix.unwrap_or_default();
    let name_of = |event: &Event| {
        let stream = cloud.logs.streams.get(&event.stream).filter(|stream| stream.group == group)?;
        let is_named = filter.log_stream_names.is_empty() || filter.log_stream_names.contains(&stream.name);
        (is_named && stream.name.starts_with(&prefix)).then(|| stream.name.clone())
    };
    let events = cloud
        .logs
        .events
        .iter()
        .filter(|(_, event)| is_between(event, filter.start_time, filter.end_time) && pattern.accepts(&event.message))
        .filter_map(|(key, event)| {
            let mut shown = shown(event);
            shown["logStreamName"] = name_of(event)?.into();
            shown["eventId"] = hex_id(key, 56).into();
            Some((format!("{:020} {key}", event.at), shown))
        })
        .collect();
    let (events, next) = page(events, most(filter.limit)?, filter.next_token.as_deref(), false)
        .ok_or_else(|| invalid("The specified nextToken is invalid."))?;
    let mut answer = json!({ "events": events, "searchedLogStreams": [] });
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    Ok(Reply::Json(answer))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        call::Reply,
        cloud::Cloud,
        json::testing::{self, json_call},
        logs::handle,
    };

    fn ask(cloud: &mut Cloud, action: &str, document: Value) -> Value {
        match handle(cloud, &json_call(action, 0, document)).unwrap() {
            Reply::Json(answer) => answer,
            Reply::Xml(text) => panic!("{text}"),
        }
    }

    #[test]
    fn events_of_one_millisecond_keep_their_order() {
        let mut cloud = testing::cloud();
        let (group, stream) = ("/group", "one");
        ask(&mut cloud, "CreateLogGroup", json!({ "logGroupName": group }));
        ask(&mut cloud, "CreateLogStream", json!({ "logGroupName": group, "logStreamName": stream }));
        let messages: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        for part in messages.chunks(8) {
            let events: Vec<Value> =
                part.iter().map(|message| json!({ "timestamp": 1_780_000_000_000_u64, "message": message })).collect();
            let put = json!({ "logGroupName": group, "logStreamName": stream, "logEvents": events });
            ask(&mut cloud, "PutLogEvents", put);
        }
        let named = json!({ "logGroupName": group, "logStreamName": stream, "startFromHead": true });
        for (action, asked) in [("GetLogEvents", named), ("FilterLogEvents", json!({ "logGroupName": group }))] {
            let read = ask(&mut cloud, action, asked);
            let read: Vec<&Value> = read["events"].as_array().unwrap().iter().map(|event| &event["message"]).collect();
            assert_eq!(read, messages.iter().collect::<Vec<_>>(), "{action}");
        }
    }
}
