//! Tasks that somebody started without a service, and tasks that somebody stopped.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    cluster, definition, invalid, service, start, tag,
    tag::Tag,
    task::{self, Stage},
    task_view,
};
use crate::{
    call::{Call, Fault, Input},
    cloud::Cloud,
    durations::{Clock, Delay},
    json::{hex_id, input},
};

/// A task without a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Run {
    pub cluster: String,
    pub definition: String,
    pub group: String,
    pub started_by: Option<String>,
    pub created: Timestamp,
    pub network: Vec<String>,
    /// Whether its interface gets a public address.
    pub is_public: bool,
    pub tags: Vec<Tag>,
    pub overrides: Option<Map<String, Value>>,
    pub token: Option<String>,
    pub stop: Option<Stop>,
}

/// Why a task stops.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stop {
    pub asked: Timestamp,
    /// How long the containers take to stop, in seconds.
    pub seconds: i32,
    pub code: String,
    pub reason: String,
}

impl Run {
    pub(super) fn stage(&self, now: Timestamp, clock: Clock) -> Stage {
        match &self.stop {
            Some(stop) => task::stage_of(stop.asked, stop.seconds, now, clock),
            None if clock.is_over(Delay::TaskStart, self.created, now) => Stage::Running,
            None => Stage::Pending,
        }
    }

    /// Whether it is listed, as it is for some time after it stopped.
    pub(super) fn is_shown(&self, now: Timestamp, clock: Clock) -> bool {
        self.stop.as_ref().is_none_or(|stop| task::is_shown(stop.asked, stop.seconds, now, clock))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    cluster: Option<String>,
    task_definition: String,
    count: Option<u64>,
    started_by: Option<String>,
    group: Option<String>,
    client_token: Option<String>,
    overrides: Option<Map<String, Value>>,
    propagate_tags: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default, rename = "enableECSManagedTags")]
    managed_tags: bool,
}

/// A task that cannot start is created, and stops with the reason.
pub(super) fn run(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let asked: Asked = input(call)?;
    let count = asked.count.unwrap_or(1);
    if !(1..=10).contains(&count) {
        return Err(invalid("Count must be between 1 and 10."));
    }
    tag::check(&asked.tags)?;
    let cluster = cluster::active(cloud, call, asked.cluster.as_deref())?;
    if let Some(token) = &asked.client_token {
        let again =
            cloud.ecs.runs.iter().filter(|(_, run)| run.token.as_ref() == Some(token) && run.cluster == cluster);
        let arns: Vec<String> = again.map(|(arn, _)| arn.to_owned()).collect();
        if !arns.is_empty() {
            return Ok(answer(cloud, &cluster, &arns, call.now));
        }
    }
    let (definition, row) = service::usable(cloud, call, &asked.task_definition)?;
    let (definition, row) = (definition.to_owned(), row.clone());
    let Input::Json(Value::Object(body)) = &call.input else { return Err(invalid("Invalid request.")) };
    service::check_launch(body, &row)?;
    service::check_network(cloud, call, body, &row)?;
    let tags = tags(cloud, &cluster, &asked, &row);
    let blocked = start::failure(cloud, &call.region, call.now, &definition);
    let run = Run {
        cluster: cluster.clone(),
        group: asked.group.unwrap_or_else(|| format!("family:{}", row.family)),
        definition,
        started_by: asked.started_by,
        created: call.now,
        network: network_of(body),
        is_public: is_public(body),
        tags,
        overrides: asked.overrides,
        token: asked.client_token,
        stop: blocked.map(|blocked| Stop {
            asked: call.now,
            seconds: 0,
            code: "TaskFailedToStart".to_owned(),
            reason: blocked.reason,
        }),
    };
    let mut arns = Vec::new();
    for _ in 0..count {
        let arn = task_view::arn(&cluster, &hex_id(&cloud.new_id("task-"), 32));
        cloud.ecs.runs.insert(arn.clone(), run.clone());
        arns.push(arn);
    }
    super::settle(cloud, call.now);
    Ok(answer(cloud, &cluster, &arns, call.now))
}

/// The tags of the call, those of the definition if they are propagated, and those that ECS manages.
fn tags(cloud: &Cloud, cluster: &str, asked: &Asked, definition: &definition::Definition) -> Vec<Tag> {
    let mut tags = asked.tags.clone();
    if asked.propagate_tags.as_deref() == Some("TASK_DEFINITION") {
        let more = definition.tags.iter().filter(|tag| !asked.tags.iter().any(|own| own.key == tag.key));
        tags.extend(more.cloned());
    }
    if asked.managed_tags
        && let Some(cluster) = cloud.ecs.clusters.get(cluster)
    {
        tags.push(Tag { key: "aws:ecs:clusterName".to_owned(), value: cluster.name.clone() });
    }
    tags
}

fn answer(cloud: &Cloud, cluster: &str, arns: &[String], now: Timestamp) -> Value {
    let all = task_view::all(cloud, Some(cluster), now);
    let tasks = arns.iter().filter_map(|arn| task_view::find(&all, arn));
    let tasks: Vec<Value> = tasks.map(|task| task_view::shown(cloud, task, true)).collect();
    json!({ "tasks": tasks, "failures": [] })
}

#[derive(Deserialize)]
struct Stopped {
    cluster: Option<String>,
    task: String,
    reason: Option<String>,
}

/// A service replaces the task that is stopped.
pub(super) fn stop(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let asked: Stopped = input(call)?;
    let cluster = cluster::active(cloud, call, asked.cluster.as_deref())?;
    let Some(found) = task_view::find(&task_view::all(cloud, Some(&cluster), call.now), &asked.task).cloned() else {
        return Err(invalid("The referenced task was not found."));
    };
    let reason = asked.reason.unwrap_or_else(|| "Task stopped by user".to_owned());
    if found.stop.is_none() {
        stop_one(cloud, &cluster, &found, &reason, call.now);
    }
    super::settle(cloud, call.now);
    let mut shown = task_view::find(&task_view::all(cloud, Some(&cluster), call.now), &found.arn)
        .map_or(Value::Null, |task| task_view::shown(cloud, task, false));
    if found.stop.is_none() {
        // The answer comes before anything has stopped.
        shown["lastStatus"] = found.stage.as_str().into();
    }
    Ok(json!({ "task": shown }))
}

fn stop_one(cloud: &mut Cloud, cluster: &str, found: &task_view::Task, reason: &str, now: Timestamp) {
    let stop_seconds = task::stop_seconds(cloud, &found.definition);
    if let Some(run) = cloud.ecs.runs.get_mut(&found.arn) {
        let seconds = if found.stage == Stage::Running { stop_seconds } else { 0 };
        let (code, reason) = ("UserInitiated".to_owned(), reason.to_owned());
        run.stop = Some(Stop { asked: now, seconds, code, reason });
        return;
    }
    let clock = cloud.clock();
    let waiting = cloud.ecs.leaving.iter().find(|(_, row)| {
        row.asked.is_none() && task_view::arn(cluster, &task_view::task_id(&row.deployment, row.number)) == found.arn
    });
    if let Some(id) = waiting.map(|(id, _)| id.to_owned()) {
        if let Some(row) = cloud.ecs.leaving.get_mut(&id) {
            row.asked = Some(now);
            row.by_user = Some(reason.to_owned());
        }
        return;
    }
    let of_service = |row: &service::Service| {
        (row.cluster == cluster && row.deleted.is_none())
            .then(|| task_view::number_of(&row.primary, cluster, &found.arn))
            .flatten()
    };
    let service = cloud.ecs.services.iter().find_map(|(arn, row)| Some((arn.to_owned(), of_service(row)?)));
    let Some((service, number)) = service else { return };
    let Some(row) = cloud.ecs.services.get(&service).cloned() else { return };
    task::stop_for_user(cloud, &row, number, found.stage, reason, now);
    if let Some(row) = cloud.ecs.services.get_mut(&service) {
        row.primary.replace(number, found.stage == Stage::Running, now, clock);
    }
}

/// The subnets and security groups of a request or of a service.
pub(super) fn network_of(body: &Map<String, Value>) -> Vec<String> {
    let Some(network) = body.get("networkConfiguration").map(|network| &network["awsvpcConfiguration"]) else {
        return Vec::new();
    };
    let ids = ["subnets", "securityGroups"].into_iter().filter_map(|member| network[member].as_array()).flatten();
    ids.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether tasks of a request or of a service get public addresses.
pub(super) fn is_public(body: &Map<String, Value>) -> bool {
    body.get("networkConfiguration").is_some_and(|it| it["awsvpcConfiguration"]["assignPublicIp"] == "ENABLED")
}
