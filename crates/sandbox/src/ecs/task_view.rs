//! Tasks as the API shows them: those of services, those that are stopping, and those that were started on their own.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunnion_catalog::limits;

use super::{
    bad_token, cluster,
    deployment::Deployment,
    has, invalid, listed, page_size,
    run::{Run, is_public},
    service::{self, Service},
    start::Blocked,
    tag::Tag,
    task::{Leaving, Stage},
};
use crate::{
    call::{Call, Fault},
    cloud::Cloud,
    durations::Delay,
    json::{epoch, hex_id, input, page, uuid_id},
};

/// The launch type of every task: no cluster here has container instances.
pub(super) const FARGATE: &str = "FARGATE";

/// A task at one moment.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub arn: String,
    pub cluster: String,
    pub definition: String,
    /// `service:…` or `family:…`.
    pub group: String,
    pub started_by: Option<String>,
    /// Its number in its deployment.
    pub number: u64,
    pub created: Timestamp,
    pub network: Vec<String>,
    /// Whether its interface gets a public address.
    pub is_public: bool,
    pub tags: Vec<Tag>,
    pub overrides: Option<Map<String, Value>>,
    pub stage: Stage,
    /// When it was asked to stop, AWS's code for the cause, and the reason.
    pub stop: Option<(Timestamp, String, String)>,
    /// Whether it never started.
    pub is_blocked: bool,
}

impl Task {
    /// Its subnets or its groups.
    pub(super) fn network_ids<'t>(&'t self, prefix: &'t str) -> impl Iterator<Item = &'t str> {
        self.network.iter().map(String::as_str).filter(move |id| id.starts_with(prefix))
    }

    /// Whether its network interface exists.
    pub(super) fn holds_interface(&self) -> bool {
        self.stage != Stage::Stopped && !self.is_blocked
    }
}

/// The ARN of a task by the ARN of its cluster and its id.
pub(super) fn arn(cluster: &str, id: &str) -> String {
    format!("{}/{id}", cluster.replacen(":cluster/", ":task/", 1))
}

/// The id of a service's task.
pub(super) fn task_id(deployment: &str, number: u64) -> String {
    hex_id(&format!("{deployment} {number}"), 32)
}

/// Every task of one cluster, or of all, including recently stopped ones.
pub(super) fn all(cloud: &Cloud, cluster: Option<&str>, now: Timestamp) -> Vec<Task> {
    let is_here = |other: &str| cluster.is_none_or(|cluster| cluster == other);
    let services = cloud.ecs.services.values().filter(|one| one.deleted.is_none() && is_here(&one.cluster));
    let mut tasks: Vec<Task> = services.flat_map(|service| of_service(cloud, service, now)).collect();
    let services = cloud.ecs.services.values().filter(|one| one.deleted.is_none() && is_here(&one.cluster));
    tasks.extend(services.flat_map(failed));
    let clock = cloud.clock();
    let leaving = cloud.ecs.leaving.values().filter(|task| is_here(&task.cluster) && task.is_shown(now, clock));
    tasks.extend(leaving.map(|task| of_leaving(cloud, task, now)));
    let runs = cloud.ecs.runs.iter().filter(|(_, run)| is_here(&run.cluster) && run.is_shown(now, clock));
    tasks.extend(runs.map(|(arn, run)| of_run(cloud, arn, run, now)));
    tasks
}

fn of_service<'w>(cloud: &Cloud, service: &'w Service, now: Timestamp) -> impl Iterator<Item = Task> + use<'w> {
    let deployment = &service.primary;
    let running = service.counts(now, cloud.clock()).running;
    (0..).zip(deployment.numbers()).map(move |(index, number)| Task {
        arn: arn(&service.cluster, &task_id(&deployment.id, number)),
        cluster: service.cluster.clone(),
        definition: deployment.definition.clone(),
        group: format!("service:{}", service.name),
        started_by: Some(deployment.id.clone()),
        number,
        created: deployment.created_at(index),
        network: service.network(),
        is_public: is_public(&service.body),
        tags: deployment.tags.clone(),
        overrides: None,
        stage: if index < running { Stage::Running } else { Stage::Pending },
        stop: None,
        is_blocked: deployment.blocked.is_some(),
    })
}

/// The tasks that a service started and that stopped before they ran.
pub(super) fn failed(service: &Service) -> Vec<Task> {
    let deployment = &service.primary;
    let Some(Blocked { role: None, reason }) = &deployment.blocked else { return Vec::new() };
    let task = |number: u64| Task {
        arn: arn(&service.cluster, &hex_id(&format!("{} failed {number}", deployment.id), 32)),
        cluster: service.cluster.clone(),
        definition: deployment.definition.clone(),
        group: format!("service:{}", service.name),
        started_by: Some(deployment.id.clone()),
        number,
        created: deployment.started,
        network: service.network(),
        is_public: is_public(&service.body),
        tags: deployment.tags.clone(),
        overrides: None,
        stage: Stage::Stopped,
        stop: Some((deployment.started, "TaskFailedToStart".to_owned(), reason.clone())),
        is_blocked: true,
    };
    (0..deployment.desired).map(task).collect()
}

fn of_leaving(cloud: &Cloud, task: &Leaving, now: Timestamp) -> Task {
    let (code, reason) = match &task.by_user {
        Some(reason) => ("UserInitiated", reason.clone()),
        None => {
            ("ServiceSchedulerInitiated", format!("Scaling activity initiated by (deployment {})", task.deployment))
        }
    };
    Task {
        arn: arn(&task.cluster, &task_id(&task.deployment, task.number)),
        cluster: task.cluster.clone(),
        definition: task.definition.clone(),
        group: format!("service:{}", task.service),
        started_by: Some(task.deployment.clone()),
        number: task.number,
        created: task.created,
        network: task.network.clone(),
        // It has its interface already.
        is_public: false,
        tags: task.tags.clone(),
        overrides: None,
        stage: task.stage(now, cloud.clock()),
        stop: task.asked.map(|asked| (asked, code.to_owned(), reason)),
        is_blocked: false,
    }
}

fn of_run(cloud: &Cloud, arn: &str, run: &Run, now: Timestamp) -> Task {
    Task {
        arn: arn.to_owned(),
        cluster: run.cluster.clone(),
        definition: run.definition.clone(),
        group: run.group.clone(),
        started_by: run.started_by.clone(),
        number: 0,
        created: run.created,
        network: run.network.clone(),
        is_public: run.is_public,
        tags: run.tags.clone(),
        overrides: run.overrides.clone(),
        stage: run.stage(now, cloud.clock()),
        stop: run.stop.as_ref().map(|stop| (stop.asked, stop.code.clone(), stop.reason.clone())),
        is_blocked: run.stop.as_ref().is_some_and(|stop| stop.code == "TaskFailedToStart"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    cluster: Option<String>,
    launch_type: Option<String>,
    service_name: Option<String>,
    started_by: Option<String>,
    family: Option<String>,
    desired_status: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

pub(super) fn list(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
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
    if !matches!(desired, "RUNNING" | "PENDING" | "STOPPED") {
        return Err(invalid("desiredStatus must be one of RUNNING, PENDING and STOPPED."));
    }
    let is_named = |task: &Task| {
        let named = |name: &String| task.group == format!("service:{}", name.rsplit('/').next().unwrap_or(name));
        list.service_name.as_ref().is_none_or(named)
    };
    let tasks = known(cloud, call, &cluster)
        .into_iter()
        .filter(|task| task.stage.desired() == desired && is_named(task))
        .filter(|task| list.started_by.is_none() || task.started_by == list.started_by)
        .filter(|_| list.launch_type.as_ref().is_none_or(|wanted| wanted == FARGATE))
        .filter(|task| {
            let is_of = |family: &String| task.definition.contains(&format!(":task-definition/{family}:"));
            list.family.as_ref().is_none_or(is_of)
        })
        .map(|task| (task.arn.clone(), Value::from(task.arn)))
        .collect();
    let limit = page_size(list.max_results)?;
    let (tasks, next) = page(tasks, limit, list.next_token.as_deref(), false).ok_or_else(bad_token)?;
    Ok(listed("taskArns", tasks, next))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    cluster: Option<String>,
    #[serde(default)]
    tasks: Vec<String>,
    #[serde(default)]
    include: Vec<String>,
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let describe: Describe = input(call)?;
    let cluster = cluster::active(cloud, call, describe.cluster.as_deref())?;
    if describe.tasks.is_empty() || describe.tasks.len() > limits::TASKS_PER_CALL {
        return Err(invalid(format!("Tasks must have between 1 and {} items.", limits::TASKS_PER_CALL)));
    }
    let with_tags = has(&describe.include, "TAGS");
    let tasks = known(cloud, call, &cluster);
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for id in &describe.tasks {
        if let Some(task) = find(&tasks, id) {
            found.push(shown(cloud, task, with_tags));
        } else {
            let arn = if id.starts_with("arn:") { id.clone() } else { arn(&cluster, id) };
            failures.push(json!({ "arn": arn, "reason": "MISSING" }));
        }
    }
    Ok(json!({ "tasks": found, "failures": failures }))
}

/// The tasks of a cluster that the current call knows of.
fn known(cloud: &Cloud, call: &Call, cluster: &str) -> Vec<Task> {
    let mut tasks = all(cloud, Some(cluster), call.now);
    tasks.retain(|task| cloud.knows(Delay::EcsLag, &task.arn, task.created, call.now));
    tasks
}

/// The task with this id or ARN.
pub(super) fn find<'t>(tasks: &'t [Task], id: &str) -> Option<&'t Task> {
    tasks.iter().find(|task| task.arn == id || task.arn.rsplit('/').next() == Some(id))
}

/// A task in an answer (`StopTask`, "Example", read November 2026, lists the members).
pub(super) fn shown(cloud: &Cloud, task: &Task, tags: bool) -> Value {
    let definition = cloud.ecs.definitions.get(&task.definition);
    let attachment = cloud.ecs.attachments.get(&task.arn);
    let text = |member: &str| definition.map_or("", |definition| definition.text(member));
    let containers = definition.map_or(&[][..], |definition| definition.containers());
    let healthy: Vec<&str> = containers.iter().map(|container| health(task, container)).collect();
    let architecture = definition.and_then(|definition| definition.architecture()).unwrap_or("X86_64");
    let mut shown = json!({
        "attachments": attachment.map(|attachment| attachment.shown(&task.arn)).into_iter().collect::<Vec<_>>(),
        "attributes": [{ "name": "ecs.cpu-architecture", "value": architecture.to_lowercase() }],
        "clusterArn": task.cluster,
        "containers": containers.iter().map(|container| shown_container(cloud, task, container)).collect::<Vec<_>>(),
        "cpu": text("cpu"),
        "createdAt": epoch(task.created),
        "desiredStatus": task.stage.desired(),
        "enableExecuteCommand": false,
        "group": task.group,
        "healthStatus": if healthy.contains(&"HEALTHY") { "HEALTHY" } else { "UNKNOWN" },
        "lastStatus": task.stage.as_str(),
        "launchType": FARGATE,
        "memory": text("memory"),
        "overrides": overrides(task, containers),
        "platformVersion": "1.4.0",
        "platformFamily": "Linux",
        "tags": if tags { json!(task.tags) } else { json!([]) },
        "taskArn": task.arn,
        "taskDefinitionArn": task.definition,
        "version": version(task),
        "ephemeralStorage": { "sizeInGiB": 20 },
        "fargateEphemeralStorage": { "sizeInGiB": 20 },
    });
    if let Some(by) = &task.started_by {
        shown["startedBy"] = by.as_str().into();
    }
    if let Some(attachment) = attachment {
        shown["availabilityZone"] = attachment.plugged.zone.as_str().into();
        shown["connectivity"] = "CONNECTED".into();
        shown["connectivityAt"] = epoch(task.created);
    }
    let started = task.created + cloud.clock().takes(Delay::TaskStart);
    if task.stage != Stage::Pending && !task.is_blocked {
        for member in ["pullStartedAt", "pullStoppedAt", "startedAt"] {
            shown[member] = epoch(started);
        }
    }
    if let Some((asked, code, reason)) = &task.stop {
        shown["stoppingAt"] = epoch(*asked);
        shown["stopCode"] = code.as_str().into();
        shown["stoppedReason"] = reason.as_str().into();
        if task.stage == Stage::Stopped {
            shown["executionStoppedAt"] = epoch(*asked);
            shown["stoppedAt"] = epoch(*asked);
        }
    }
    shown
}

/// It increases with every change of the status.
fn version(task: &Task) -> u32 {
    match task.stage {
        Stage::Pending => 2,
        Stage::Running => 3,
        Stage::Stopping => 4,
        Stage::Deprovisioning => 5,
        Stage::Stopped => 6,
    }
}

/// Every container is named, with or without overrides.
fn overrides(task: &Task, containers: &[Value]) -> Value {
    let mut shown = task.overrides.clone().unwrap_or_default();
    let asked = shown.remove("containerOverrides").unwrap_or_default();
    let of = |container: &Value| {
        let found = asked.as_array().into_iter().flatten().find(|asked| asked["name"] == container["name"]);
        found.cloned().unwrap_or_else(|| json!({ "name": container["name"] }))
    };
    shown.insert("containerOverrides".to_owned(), containers.iter().map(of).collect());
    shown.insert("inferenceAcceleratorOverrides".to_owned(), json!([]));
    shown.into()
}

/// A container with a health check is healthy once it runs; of others, ECS knows nothing.
fn health(task: &Task, container: &Value) -> &'static str {
    if task.stage == Stage::Running && container["healthCheck"].is_object() { "HEALTHY" } else { "UNKNOWN" }
}

fn shown_container(cloud: &Cloud, task: &Task, container: &Value) -> Value {
    let essential = container["essential"].as_bool().unwrap_or(true);
    let status = match task.stage {
        Stage::Pending => "PENDING",
        Stage::Deprovisioning => "STOPPED",
        _ if !essential => "STOPPED",
        stage => stage.as_str(),
    };
    // While ECS stops a task, its containers are still RUNNING.
    let status = if status == "STOPPING" { "RUNNING" } else { status };
    let interfaces: Vec<Value> = cloud
        .ecs
        .attachments
        .get(&task.arn)
        .map(|found| {
            let id = super::attachment::id(&task.arn);
            json!({ "attachmentId": id, "privateIpv4Address": found.plugged.address.to_string() })
        })
        .into_iter()
        .collect();
    let name = container["name"].as_str().unwrap_or_default();
    let mut shown = json!({
        "containerArn": format!(
            "{}/{}",
            task.arn.replacen(":task/", ":container/", 1),
            uuid_id(&format!("{} {}", task.arn, container["name"]))
        ),
        "taskArn": task.arn,
        "name": name,
        "image": container["image"],
        "lastStatus": status,
        "healthStatus": health(task, container),
        "networkBindings": [],
        "networkInterfaces": interfaces,
        "managedAgents": [],
        "cpu": container["cpu"].as_u64().unwrap_or_default().to_string(),
    });
    if let Some(memory) = container["memory"].as_u64() {
        shown["memory"] = memory.to_string().into();
    }
    if let Some(memory) = container["memoryReservation"].as_u64() {
        shown["memoryReservation"] = memory.to_string().into();
    }
    if status != "PENDING" && !task.is_blocked {
        let id = task.arn.rsplit('/').next().unwrap_or_default();
        let number = u64::from_str_radix(&hex_id(&format!("{id} {name}"), 8), 16).unwrap_or_default();
        shown["runtimeId"] = format!("{id}-{number:010}").into();
        if status == "STOPPED" {
            // Nothing runs here; a container that ends by itself, or at its SIGTERM, ends well.
            shown["exitCode"] = 0.into();
        }
    }
    shown
}

/// Whether a deployment and a number are those of a task.
pub(super) fn number_of(deployment: &Deployment, cluster: &str, task: &str) -> Option<u64> {
    deployment.numbers().find(|number| arn(cluster, &task_id(&deployment.id, *number)) == task)
}
