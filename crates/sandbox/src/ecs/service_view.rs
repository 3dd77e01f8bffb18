//! Services and their deployments as the API shows them.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    bad_token, cluster,
    deployment::Deployment,
    has, invalid, listed, page_size, revision,
    service::{self, Service},
    start::Blocked,
    task::Stage,
    task_view::{Task, failed, task_id},
};
use crate::{
    call::{Call, Fault},
    cloud::Cloud,
    durations::{Clock, Delay},
    json::{epoch, input, page, uuid_id},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    cluster: Option<String>,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    include: Vec<String>,
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let describe: Describe = input(call)?;
    if describe.services.is_empty() {
        return Err(invalid("Services cannot be empty."));
    }
    if describe.services.len() > 10 {
        return Err(invalid("Too many services supplied: at most 10 can be described in one call."));
    }
    let cluster = cluster::known(cloud, call, describe.cluster.as_deref())?;
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for id in &describe.services {
        let found = service::find(cloud, &cluster, id).ok().filter(|arn| is_shown(cloud, call, arn));
        if let Some(arn) = found {
            services.push(shown(cloud, call, &arn, has(&describe.include, "TAGS")));
        } else {
            let arn = if id.starts_with("arn:") { id.clone() } else { service::arn(&cluster, id) };
            failures.push(json!({ "arn": arn, "reason": "MISSING" }));
        }
    }
    Ok(json!({ "services": services, "failures": failures }))
}

/// An inactive service can be described for some time.
fn is_shown(cloud: &Cloud, call: &Call, arn: &str) -> bool {
    cloud.ecs.services.get(arn).is_some_and(|service| {
        cloud.knows(Delay::EcsLag, arn, service.created, call.now)
            && service.deleted.is_none_or(|deleted| !cloud.settled(Delay::ServiceForgotten, deleted, call.now))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    cluster: Option<String>,
    launch_type: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

pub(super) fn list(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let list: List = input(call)?;
    let cluster = cluster::active(cloud, call, list.cluster.as_deref())?;
    let clock = cloud.clock();
    let services = cloud
        .ecs
        .services
        .iter()
        .filter(|(_, service)| service.cluster == cluster)
        .filter(|(arn, service)| cloud.knows(Delay::EcsLag, arn, service.created, call.now))
        .filter(|(_, service)| !service.is_inactive(call.now, clock))
        .filter(|(_, service)| {
            let of_service = service.body.get("launchType").and_then(Value::as_str);
            list.launch_type.is_none() || list.launch_type.as_deref() == of_service
        })
        .map(|(arn, _)| (arn.to_owned(), Value::from(arn)))
        .collect();
    let size = list.max_results.unwrap_or(10);
    let (services, next) =
        page(services, page_size(Some(size))?, list.next_token.as_deref(), false).ok_or_else(bad_token)?;
    Ok(listed("serviceArns", services, next))
}

/// A service in the answer of `DescribeServices`.
pub(super) fn shown(cloud: &Cloud, call: &Call, arn: &str, tags: bool) -> Value {
    let Some(service) = cloud.ecs.services.get(arn) else { return Value::Null };
    let clock = cloud.clock();
    let counts = service.counts(call.now, clock);
    let before = service.previous.as_ref().filter(|_| service.deleted.is_none());
    let before = before.map_or(0, |before| running_of(cloud, before, call.now));
    let status = match service.deleted {
        None => "ACTIVE",
        Some(_) if !service.is_inactive(call.now, clock) => "DRAINING",
        Some(_) => "INACTIVE",
    };
    let mut shown = service.body.clone();
    shown.extend([
        ("serviceArn".to_owned(), arn.into()),
        ("serviceName".to_owned(), service.name.as_str().into()),
        ("clusterArn".to_owned(), service.cluster.as_str().into()),
        ("status".to_owned(), status.into()),
        ("desiredCount".to_owned(), if service.deleted.is_some() { 0 } else { service.primary.desired }.into()),
        ("runningCount".to_owned(), (counts.running + before).into()),
        ("pendingCount".to_owned(), counts.pending.into()),
        ("taskDefinition".to_owned(), service.primary.definition.as_str().into()),
        ("createdAt".to_owned(), epoch(service.created)),
        (
            "deployments".to_owned(),
            if service.deleted.is_some() { json!([]) } else { deployments(cloud, service, call) },
        ),
        ("events".to_owned(), events(service, call, clock)),
        (
            "roleArn".to_owned(),
            format!(
                "{}:iam::{}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS",
                call.arn(),
                cloud.account
            )
            .into(),
        ),
        ("createdBy".to_owned(), format!("{}:iam::{}:user/sandbox", call.arn(), cloud.account).into()),
    ]);
    if service.deleted.is_none() {
        shown.extend(revision::current(service, arn, counts.running, counts.pending));
    }
    if tags {
        shown.insert("tags".to_owned(), json!(service.tags));
    }
    Value::Object(shown)
}

/// How many tasks of an earlier deployment still run.
fn running_of(cloud: &Cloud, deployment: &Deployment, now: Timestamp) -> u64 {
    let tasks = cloud.ecs.leaving.values().filter(|task| task.deployment == deployment.id);
    tasks.filter(|task| task.stage(now, cloud.clock()) == Stage::Running).map(|_| 1).sum()
}

fn deployments(cloud: &Cloud, service: &Service, call: &Call) -> Value {
    let clock = cloud.clock();
    let complete = service.primary.is_complete(call.now, clock);
    let primary = service.primary.counts(call.now, clock);
    let mut all = vec![deployment(
        service,
        &service.primary,
        "PRIMARY",
        json!({
            "desiredCount": service.primary.desired,
            "runningCount": primary.running,
            "pendingCount": primary.pending,
            "rolloutState": if complete { "COMPLETED" } else { "IN_PROGRESS" },
            "rolloutStateReason": format!(
                "ECS deployment {} {}.",
                service.primary.id,
                if complete { "completed" } else { "in progress" }
            ),
        }),
    )];
    if let Some(before) = service.previous.as_ref().filter(|_| !complete) {
        let running = running_of(cloud, before, call.now);
        all.push(deployment(
            service,
            before,
            "ACTIVE",
            json!({
                "desiredCount": running,
                "runningCount": running,
                "pendingCount": 0,
                "rolloutState": "COMPLETED",
                "rolloutStateReason": format!("ECS deployment {} completed.", before.id),
            }),
        ));
    }
    all.into()
}

fn deployment(service: &Service, deployment: &Deployment, status: &str, counts: Value) -> Value {
    let mut shown = counts;
    shown["id"] = deployment.id.as_str().into();
    shown["status"] = status.into();
    shown["taskDefinition"] = deployment.definition.as_str().into();
    shown["failedTasks"] = 0.into();
    shown["createdAt"] = epoch(deployment.started);
    shown["updatedAt"] = epoch(deployment.scaled);
    for member in ["launchType", "platformVersion", "platformFamily", "networkConfiguration"] {
        if let Some(value) = service.body.get(member) {
            shown[member] = value.clone();
        }
    }
    shown
}

/// The newest event comes first.
fn events(service: &Service, call: &Call, clock: Clock) -> Value {
    let Service { name, primary, .. } = service;
    let event = |at: Timestamp, text: String| {
        let id = uuid_id(&format!("{} {text}", primary.id));
        json!({ "id": id, "createdAt": epoch(at), "message": text })
    };
    let mut events = Vec::new();
    match &primary.blocked {
        Some(Blocked { role: Some(_), reason }) => {
            let text = format!("(service {name}) failed to launch a task with (error {reason}).");
            return vec![event(primary.started, text)].into();
        }
        Some(_) => {
            let id = |task: &Task| task.arn.rsplit('/').next().unwrap_or_default().to_owned();
            let tasks: Vec<String> = failed(service).iter().map(|task| format!("(task {})", id(task))).collect();
            let started = format!("(service {name}) has started {} tasks: {}.", tasks.len(), tasks.join(" "));
            // "Service event messages", ECS developer guide, read November 2026.
            let text = format!(
                "(service {name}) is unable to consistently start tasks successfully. For more information, see the \
                 Troubleshooting section of the Amazon ECS Developer Guide."
            );
            return vec![event(primary.started, text), event(primary.started, started)].into();
        }
        None => {}
    }
    let done = primary.started + clock.takes(Delay::TaskStart);
    if let Some(deleted) = service.deleted {
        events.push(event(deleted, format!("(service {name}) has begun draining.")));
    }
    if clock.is_over(Delay::TaskStart, primary.started, call.now) {
        events.push(event(done, format!("(service {name}) has reached a steady state.")));
        events.push(event(done, format!("(service {name}) (deployment {}) deployment completed.", primary.id)));
    }
    if primary.desired > 0 {
        let tasks: Vec<String> =
            primary.numbers().map(|number| format!("(task {})", task_id(&primary.id, number))).collect();
        let text = format!("(service {name}) has started {} tasks: {}.", primary.desired, tasks.join(" "));
        events.push(event(primary.started, text));
    }
    events.into()
}
