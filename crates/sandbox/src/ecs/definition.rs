//! Task definitions. Every registration creates a revision, of which later only the status and the tags can change.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use trunnion_catalog::limits;

use super::{bad_token, client, container, has, invalid, listed, page_size, tag, tag::Tag};
use crate::{
    call::{Call, Fault, Input},
    cloud::Cloud,
    durations::{Clock, Delay},
    json::{epoch, input, page},
};

/// Members of a registration besides family, containers and tags; they are returned unchanged.
const KEPT: [&str; 14] = [
    "taskRoleArn",
    "executionRoleArn",
    "networkMode",
    "volumes",
    "placementConstraints",
    "requiresCompatibilities",
    "cpu",
    "memory",
    "pidMode",
    "ipcMode",
    "proxyConfiguration",
    "ephemeralStorage",
    "runtimePlatform",
    "enableFaultInjection",
];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Definition {
    pub region: String,
    pub family: String,
    pub revision: u32,
    pub status: Status,
    pub tags: Vec<Tag>,
    /// The registered members, including the containers, with AWS's defaults.
    pub body: Map<String, Value>,
    registered: Timestamp,
    registered_by: String,
    deregistered: Option<Timestamp>,
    delete_requested: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    Active,
    Inactive,
    DeleteInProgress,
}

impl Definition {
    /// A member of the body as text; empty if it does not exist.
    pub(super) fn text(&self, member: &str) -> &str {
        self.body.get(member).and_then(Value::as_str).unwrap_or_default()
    }

    /// The container definitions.
    pub(super) fn containers(&self) -> &[Value] {
        self.body.get("containerDefinitions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_active(&self) -> bool {
        self.status == Status::Active
    }

    pub(super) fn is_fargate(&self) -> bool {
        let compatibilities = self.body.get("requiresCompatibilities").and_then(Value::as_array);
        compatibilities.is_some_and(|all| all.iter().any(|one| one == "FARGATE"))
    }

    /// `X86_64` or `ARM64`, if it says so.
    pub(super) fn architecture(&self) -> Option<&str> {
        self.body.get("runtimePlatform")?.get("cpuArchitecture")?.as_str()
    }

    fn is_gone(&self, now: Timestamp, clock: Clock) -> bool {
        self.delete_requested.is_some_and(|at| clock.is_over(Delay::DefinitionDelete, at, now))
    }
}

pub(super) fn register(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let Input::Json(Value::Object(asked)) = &call.input else {
        return Err(Fault::new("SerializationException", "a JSON object is expected"));
    };
    let tags: Vec<Tag> = match asked.get("tags") {
        Some(tags) => serde_json::from_value(tags.clone())
            .map_err(|error| Fault::new("SerializationException", error.to_string()))?,
        None => Vec::new(),
    };
    tag::check(&tags)?;
    let family = asked.get("family").and_then(Value::as_str).unwrap_or_default().to_owned();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if family.is_empty() {
        return Err(client("Family contains invalid characters."));
    }
    if family.len() > limits::ECS_NAME || !family.chars().all(allowed) {
        return Err(client("Family contains invalid characters."));
    }
    let mut body: Map<String, Value> =
        KEPT.iter().filter_map(|member| Some(((*member).to_owned(), asked.get(*member)?.clone()))).collect();
    body.entry("volumes").or_insert_with(|| json!([]));
    body.entry("placementConstraints").or_insert_with(|| json!([]));
    let containers = asked.get("containerDefinitions").and_then(Value::as_array).cloned().unwrap_or_default();
    body.insert("containerDefinitions".to_owned(), containers.into());
    container::check(&body, &call.arn())?;
    container::fill_defaults(&mut body);
    if Value::Object(body.clone()).to_string().len() > limits::TASK_DEFINITION_BYTES {
        let most = limits::TASK_DEFINITION_BYTES;
        return Err(client(format!("Actual length of the task definition exceeds the maximum of {most} bytes.")));
    }

    let earlier = cloud.ecs.definitions.values().filter(|old| old.region == call.region && old.family == family);
    let revision = earlier.map(|old| old.revision).max().unwrap_or(0) + 1;
    let arn = format!("{}:ecs:{}:{}:task-definition/{family}:{revision}", call.arn(), call.region, cloud.account);
    let row = Definition {
        region: call.region.clone(),
        family,
        revision,
        status: Status::Active,
        tags,
        body,
        registered: call.now,
        registered_by: format!("{}:iam::{}:user/sandbox", call.arn(), cloud.account),
        deregistered: None,
        delete_requested: None,
    };
    let answer = json!({ "taskDefinition": shown(&arn, &row), "tags": row.tags });
    cloud.ecs.definitions.insert(arn, row);
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    task_definition: String,
    #[serde(default)]
    include: Vec<String>,
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let describe: Describe = input(call)?;
    let (arn, definition) = find_known(cloud, call, &describe.task_definition)
        .filter(|(_, definition)| !definition.is_gone(call.now, cloud.clock()))
        .ok_or_else(|| client("Unable to describe task definition."))?;
    let mut answer = json!({ "taskDefinition": shown(arn, definition) });
    if has(&describe.include, "TAGS") {
        answer["tags"] = json!(definition.tags);
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    family_prefix: Option<String>,
    status: Option<String>,
    sort: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

pub(super) fn list(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let list: List = input(call)?;
    let status = match list.status.as_deref() {
        None | Some("ACTIVE") => Status::Active,
        Some("INACTIVE") => Status::Inactive,
        Some("DELETE_IN_PROGRESS") => Status::DeleteInProgress,
        Some(other) => return Err(client(format!("Invalid task definition status: {other}"))),
    };
    // Despite its name, AWS compares `familyPrefix` with the whole family name.
    let rows = cloud
        .ecs
        .definitions
        .iter()
        .filter(|(_, row)| row.region == call.region && row.status == status)
        .filter(|(_, row)| list.family_prefix.as_ref().is_none_or(|family| row.family == *family))
        .filter(|(_, row)| !row.is_gone(call.now, cloud.clock()))
        .filter(|(arn, row)| cloud.knows(Delay::EcsLag, arn, row.registered, call.now))
        .map(|(arn, row)| (format!("{}:{:010}", row.family, row.revision), Value::from(arn)))
        .collect();
    let descending = list.sort.as_deref() == Some("DESC");
    let (rows, next) =
        page(rows, page_size(list.max_results)?, list.next_token.as_deref(), descending).ok_or_else(bad_token)?;
    Ok(listed("taskDefinitionArns", rows, next))
}

pub(super) fn list_families(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let list: List = input(call)?;
    let prefix = list.family_prefix.unwrap_or_default();
    let active = |family: &str| {
        let mut rows = cloud.ecs.definitions.values().filter(|row| row.region == call.region && row.family == family);
        rows.any(|row| row.status == Status::Active)
    };
    let wanted = |family: &str| match list.status.as_deref() {
        Some("ACTIVE") => active(family),
        Some("INACTIVE") => !active(family),
        _ => true,
    };
    let mut families: Vec<(String, Value)> = cloud
        .ecs
        .definitions
        .values()
        .filter(|row| row.region == call.region && row.status != Status::DeleteInProgress)
        .filter(|row| row.family.starts_with(&prefix) && wanted(&row.family))
        .map(|row| (row.family.clone(), Value::from(row.family.as_str())))
        .collect();
    families.sort_by(|left, right| left.0.cmp(&right.0));
    families.dedup_by(|left, right| left.0 == right.0);
    let limit = page_size(list.max_results)?;
    let (families, next) = page(families, limit, list.next_token.as_deref(), false).ok_or_else(bad_token)?;
    Ok(listed("families", families, next))
}

pub(super) fn deregister(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let Describe { task_definition: id, .. } = input(call)?;
    if !id.rsplit('/').next().unwrap_or_default().contains(':') {
        return Err(invalid("Invalid revision number. Number: null"));
    }
    let arn = find(cloud, call, &id)
        .filter(|(_, row)| row.status != Status::DeleteInProgress)
        .map(|(arn, _)| arn.to_owned())
        .ok_or_else(|| client("The specified task definition does not exist."))?;
    let Some(row) = cloud.ecs.definitions.get_mut(&arn) else { return Ok(Value::Null) };
    row.status = Status::Inactive;
    row.deregistered.get_or_insert(call.now);
    Ok(json!({ "taskDefinition": shown(&arn, row) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delete {
    #[serde(default)]
    task_definitions: Vec<String>,
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let Delete { task_definitions: ids } = input(call)?;
    if ids.is_empty() || ids.len() > limits::DEFINITIONS_PER_CALL {
        return Err(invalid(format!(
            "The number of task definitions must be between 1 and {}, inclusive.",
            limits::DEFINITIONS_PER_CALL
        )));
    }
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for id in ids {
        let found = find(cloud, call, &id).map(|(arn, row)| (arn.to_owned(), row.status));
        match found {
            None => failures.push(json!({ "arn": id, "reason": "TASK_DEFINITION_NOT_FOUND" })),
            Some((arn, Status::Active)) => failures.push(json!({
                "arn": arn,
                "reason": "TASK_DEFINITION_ACTIVE",
                "detail": "The specified task definition is still in ACTIVE status. Please deregister \
                           the target and try again.",
            })),
            Some((arn, _)) => {
                let Some(row) = cloud.ecs.definitions.get_mut(&arn) else { continue };
                row.status = Status::DeleteInProgress;
                row.delete_requested.get_or_insert(call.now);
                deleted.push(shown(&arn, row));
            }
        }
    }
    Ok(json!({ "taskDefinitions": deleted, "failures": failures }))
}

/// Finds a definition by ARN, by `family:revision`, or the newest active revision of a family.
pub(super) fn find<'w>(cloud: &'w Cloud, call: &Call, id: &str) -> Option<(&'w str, &'w Definition)> {
    find_among(cloud, call, id, |_, _| true)
}

/// The same among those that the current call knows of.
fn find_known<'w>(cloud: &'w Cloud, call: &Call, id: &str) -> Option<(&'w str, &'w Definition)> {
    find_among(cloud, call, id, |arn, row| cloud.knows(Delay::EcsLag, arn, row.registered, call.now))
}

fn find_among<'w>(
    cloud: &'w Cloud,
    call: &Call,
    id: &str,
    is_known: impl Fn(&str, &Definition) -> bool,
) -> Option<(&'w str, &'w Definition)> {
    let arn_prefix = format!("{}:ecs:{}:{}:task-definition/", call.arn(), call.region, cloud.account);
    let id = id.strip_prefix(&arn_prefix).unwrap_or(id);
    let rows = cloud.ecs.definitions.iter().filter(|(arn, row)| row.region == call.region && is_known(arn, row));
    match id.split_once(':') {
        Some((family, revision)) => {
            let revision: u32 = revision.parse().ok()?;
            rows.into_iter().find(|(_, row)| row.family == family && row.revision == revision)
        }
        None => {
            rows.filter(|(_, row)| row.family == id && row.status == Status::Active).max_by_key(|(_, row)| row.revision)
        }
    }
}

fn shown(arn: &str, row: &Definition) -> Value {
    let mut shown = row.body.clone();
    shown.insert("taskDefinitionArn".to_owned(), arn.into());
    shown.insert("family".to_owned(), row.family.as_str().into());
    shown.insert("revision".to_owned(), row.revision.into());
    shown.insert("status".to_owned(), json!(row.status));
    let compatible = if row.is_fargate() { json!(["EC2", "FARGATE"]) } else { json!(["EC2"]) };
    shown.insert("compatibilities".to_owned(), compatible);
    shown.insert("requiresAttributes".to_owned(), json!([]));
    shown.insert("registeredAt".to_owned(), epoch(row.registered));
    shown.insert("registeredBy".to_owned(), row.registered_by.as_str().into());
    if let Some(at) = row.deregistered {
        shown.insert("deregisteredAt".to_owned(), epoch(at));
    }
    if let Some(at) = row.delete_requested {
        shown.insert("deleteRequestedAt".to_owned(), epoch(at));
    }
    Value::Object(shown)
}
