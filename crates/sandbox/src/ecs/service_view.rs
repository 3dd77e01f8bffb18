//! Services, their deployments and their tasks as the API shows them.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    bad_token, cluster, has, invalid, listed, page_size,
    service::{self, Deployment, Service},
    task::{Leaving, Stage},
};
use crate::{
    call::{Call, Fault},
    cloud::Cloud,
    durations::{Clock, Delay},
    json::{epoch, hex_id, input, page, uuid_id},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    cluster: Option<String>,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    tasks: Vec<String>,
    #[serde(default)]
    include: Vec<String>,
}

pub(super) fn describe(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
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
            service::settle(cloud, call, &arn);
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
    service_name: Option<String>,
    family: Option<String>,
    desired_status: Option<String>,
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
        .filter(|(_, service)| list.launch_type.as_ref().is_none_or(|wanted| service.body["launchType"] == **wanted))
        .map(|(arn, _)| (arn.to_owned(), Value::from(arn)))
        .collect();
    let size = list.max_results.unwrap_or(10);
    let (services, next) =
        page(services, page_size(Some(size))?, list.next_token.as_deref(), false).ok_or_else(bad_token)?;
    Ok(listed("serviceArns", services, next))
}

pub(super) fn list_tasks(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let list: List = input(call)?;
    let cluster = cluster::active(cloud, call, list.cluster.as_deref())?;
    // Tasks cannot be listed by the name of a deleted service (turbot/steampipe-plugin-aws issue 1415).
    if let Some(name) = &list.service_name {
        let arn = service::find(cloud, &cluster, name)?;
        if cloud.ecs.services.get(&arn).is_some_and(|service| service.is_inactive(call.now, cloud.clock())) {
            return Err(Fault::new("ServiceNotFoundException", "Service not found."));
        }
    }
    let desired = list.desired_status.as_deref().unwrap_or("RUNNING");
    let tasks = tasks(cloud, call, &cluster)
        .into_iter()
        .filter(|task| task["desiredStatus"] == desired)
        .filter(|task| list.service_name.as_ref().is_none_or(|name| task["group"] == format!("service:{name}")))
        .filter(|task| {
            let definition = task["taskDefinitionArn"].as_str().unwrap_or_default();
            list.family.as_ref().is_none_or(|family| definition.contains(&format!(":task-definition/{family}:")))
        })
        .map(|task| (task["taskArn"].as_str().unwrap_or_default().to_owned(), task["taskArn"].clone()))
        .collect();
    let limit = page_size(list.max_results)?;
    let (tasks, next) = page(tasks, limit, list.next_token.as_deref(), false).ok_or_else(bad_token)?;
    Ok(listed("taskArns", tasks, next))
}

pub(super) fn describe_tasks(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let describe: Describe = input(call)?;
    let cluster = cluster::active(cloud, call, describe.cluster.as_deref())?;
    if describe.tasks.is_empty() || describe.tasks.len() > 100 {
        return Err(invalid("Tasks must have between 1 and 100 items."));
    }
    let mut all = tasks(cloud, call, &cluster);
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for id in &describe.tasks {
        let is_it = |task: &Value| {
            let arn = task["taskArn"].as_str().unwrap_or_default();
            arn == id || arn.rsplit('/').next() == Some(id)
        };
        match all.iter().position(is_it) {
            Some(index) => found.push(all.swap_remove(index)),
            None => failures.push(json!({ "arn": id, "reason": "MISSING" })),
        }
    }
    Ok(json!({ "tasks": found, "failures": failures }))
}

/// Every task of a cluster, including recently stopped ones.
fn tasks(cloud: &mut Cloud, call: &Call, cluster: &str) -> Vec<Value> {
    let rows = cloud.ecs.services.iter().filter(|(_, service)| service.cluster == cluster);
    let arns: Vec<String> = rows.map(|(arn, _)| arn.to_owned()).collect();
    for arn in &arns {
        service::settle(cloud, call, arn);
    }
    let clock = cloud.clock();
    let mut tasks = Vec::new();
    for service in arns.iter().filter_map(|arn| cloud.ecs.services.get(arn)).filter(|one| one.deleted.is_none()) {
        let Deployment { id, definition, started, first, .. } = &service.primary;
        let counts = service.counts(call.now, clock);
        tasks.extend((0..counts.running + counts.pending).map(|index| {
            let task = Leaving {
                cluster: cluster.to_owned(),
                service: service.name.clone(),
                deployment: id.clone(),
                number: first + index,
                definition: definition.clone(),
                created: *started,
                launch_type: service.body.get("launchType").cloned(),
                network: Vec::new(),
                asked: None,
                stop_seconds: 0,
            };
            shown_task(cloud, &task, if index < counts.running { Stage::Running } else { Stage::Pending })
        }));
    }
    let leaving = cloud.ecs.leaving.values().filter(|task| task.cluster == cluster && task.is_shown(call.now, clock));
    tasks.extend(leaving.map(|task| shown_task(cloud, task, task.stage(call.now, clock))));
    tasks
}

fn shown_task(cloud: &Cloud, task: &Leaving, stage: Stage) -> Value {
    let id = task_id(&task.deployment, task.number);
    let arn = format!("{}/{id}", task.cluster.replacen(":cluster/", ":task/", 1));
    let definition = cloud.ecs.definitions.get(&task.definition);
    let containers: Vec<Value> = definition
        .map_or(&[][..], |definition| definition.containers())
        .iter()
        .map(|container| {
            let essential = container["essential"].as_bool().unwrap_or(true);
            let status = if stage != Stage::Pending && !essential { "STOPPED" } else { stage.as_str() };
            json!({
                "containerArn": format!(
                    "{}/{}",
                    arn.replacen(":task/", ":container/", 1),
                    uuid_id(&format!("{arn} {}", container["name"]))
                ),
                "taskArn": arn,
                "name": container["name"],
                "image": container["image"],
                "lastStatus": status,
                "networkInterfaces": [],
            })
        })
        .collect();
    let mut shown = json!({
        "taskArn": arn,
        "clusterArn": task.cluster,
        "taskDefinitionArn": task.definition,
        "containers": containers,
        "createdAt": epoch(task.created),
        "desiredStatus": stage.desired(),
        "lastStatus": stage.as_str(),
        "group": format!("service:{}", task.service),
        "startedBy": task.deployment,
        "launchType": task.launch_type,
        "platformVersion": "1.4.0",
        "platformFamily": "Linux",
        "cpu": definition.map(|definition| definition.text("cpu")),
        "memory": definition.map(|definition| definition.text("memory")),
        "attachments": [],
        "overrides": { "containerOverrides": [] },
        "tags": [],
        "version": 1,
    });
    if stage != Stage::Pending {
        shown["startedAt"] = epoch(task.created + cloud.clock().takes(Delay::TaskStart));
    }
    if let Some(asked) = task.asked.filter(|_| stage.desired() == "STOPPED") {
        shown["stoppingAt"] = epoch(asked);
        shown["stopCode"] = "ServiceSchedulerInitiated".into();
    }
    shown
}

fn task_id(deployment: &str, number: u64) -> String {
    hex_id(&format!("{deployment} {number}"), 32)
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
    if let Some(why) = &primary.blocked {
        events.push(event(primary.started, format!("(service {name}) was unable to start a task. Reason: {why}")));
        return events.into();
    }
    let done = primary.started + clock.takes(Delay::TaskStart);
    if let Some(deleted) = service.deleted {
        events.push(event(deleted, format!("(service {name}) has begun draining.")));
    }
    if call.now >= done {
        events.push(event(done, format!("(service {name}) has reached a steady state.")));
        events.push(event(done, format!("(service {name}) (deployment {}) deployment completed.", primary.id)));
    }
    if primary.desired > 0 {
        let tasks: Vec<String> = (0..primary.desired)
            .map(|index| format!("(task {})", task_id(&primary.id, primary.first + index)))
            .collect();
        let text = format!("(service {name}) has started {} tasks: {}.", primary.desired, tasks.join(" "));
        events.push(event(primary.started, text));
    }
    events.into()
}
