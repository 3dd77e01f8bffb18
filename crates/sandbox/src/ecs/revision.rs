//! Service deployments and service revisions: the history of a service.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    bad_token, cluster,
    deployment::Deployment,
    has, invalid, listed, page_size,
    service::{self, Service},
    tag::Tag,
};
use crate::{
    call::{Call, Fault},
    cloud::Cloud,
    durations::Delay,
    json::{epoch, hex_id, input, page},
};

/// The members of a service that belong to its revision.
const SETTINGS: [&str; 6] = [
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "platformFamily",
    "loadBalancers",
    "networkConfiguration",
];

/// Stores with a new primary deployment what its tasks take from the service of this moment.
pub(super) fn complete(cloud: &Cloud, service: &mut Service) {
    let of = |member: &&str| Some(((*member).to_owned(), service.body.get(*member)?.clone()));
    service.primary.settings = SETTINGS.iter().filter_map(of).collect();
    service.primary.tags = task_tags(cloud, service);
}

/// The tags that new tasks of a service get.
fn task_tags(cloud: &Cloud, service: &Service) -> Vec<Tag> {
    let mut tags = match service.body.get("propagateTags").and_then(Value::as_str) {
        Some("SERVICE") => service.tags.clone(),
        Some("TASK_DEFINITION") => {
            let definition = cloud.ecs.definitions.get(&service.primary.definition);
            definition.map_or_else(Vec::new, |definition| definition.tags.clone())
        }
        _ => Vec::new(),
    };
    if service.body.get("enableECSManagedTags") == Some(&json!(true)) {
        let cluster = service.cluster.rsplit('/').next().unwrap_or_default();
        for (key, value) in [("aws:ecs:clusterName", cluster), ("aws:ecs:serviceName", service.name.as_str())] {
            tags.push(Tag { key: key.to_owned(), value: value.to_owned() });
        }
    }
    tags
}

/// The ARN of a deployment (`service-deployment`) or of its revision (`service-revision`).
fn arn(service: &str, deployment: &Deployment, kind: &str) -> String {
    let id = match kind {
        "service-deployment" => hex_id(&deployment.id, 21),
        _ => deployment.id.trim_start_matches("ecs-svc/").to_owned(),
    };
    format!("{}/{id}", service.replacen(":service/", &format!(":{kind}/"), 1))
}

/// The deployments of a service, the newest first.
fn history(service: &Service) -> impl Iterator<Item = &Deployment> {
    std::iter::once(&service.primary).chain(&service.previous).chain(service.earlier.iter().rev())
}

/// A service's own members about its deployment and its revisions.
pub(super) fn current(service: &Service, service_arn: &str, running: u64, pending: u64) -> Map<String, Value> {
    let members = json!({
        "currentServiceDeployment": arn(service_arn, &service.primary, "service-deployment"),
        "currentServiceRevisions": [{
            "arn": arn(service_arn, &service.primary, "service-revision"),
            "requestedTaskCount": service.primary.desired,
            "runningTaskCount": running,
            "pendingTaskCount": pending,
        }],
    });
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn status(cloud: &Cloud, service: &Service, deployment: &Deployment, now: Timestamp) -> &'static str {
    if deployment.id != service.primary.id {
        return if deployment.blocked.is_some() { "STOPPED" } else { "SUCCESSFUL" };
    }
    if deployment.is_complete(now, cloud.clock()) { "SUCCESSFUL" } else { "IN_PROGRESS" }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    cluster: Option<String>,
    service: String,
    #[serde(default)]
    status: Vec<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

pub(super) fn list_deployments(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let list: List = input(call)?;
    let cluster = cluster::active(cloud, call, list.cluster.as_deref())?;
    let service_arn = service::find(cloud, &cluster, &list.service)?;
    let Some(service) = cloud.ecs.services.get(&service_arn) else { return Ok(json!({ "serviceDeployments": [] })) };
    let shown = history(service)
        .filter(|deployment| list.status.is_empty() || has(&list.status, status(cloud, service, deployment, call.now)))
        .map(|deployment| {
            let shown = brief(cloud, service, &service_arn, deployment, call.now);
            (format!("{} {}", deployment.started, deployment.id), shown)
        })
        .collect();
    let limit = page_size(list.max_results)?;
    let (shown, next) = page(shown, limit, list.next_token.as_deref(), true).ok_or_else(bad_token)?;
    Ok(listed("serviceDeployments", shown, next))
}

fn brief(cloud: &Cloud, service: &Service, service_arn: &str, deployment: &Deployment, now: Timestamp) -> Value {
    let status = status(cloud, service, deployment, now);
    let mut shown = json!({
        "serviceDeploymentArn": arn(service_arn, deployment, "service-deployment"),
        "serviceArn": service_arn,
        "clusterArn": service.cluster,
        "startedAt": epoch(deployment.started),
        "createdAt": epoch(deployment.started),
        "targetServiceRevisionArn": arn(service_arn, deployment, "service-revision"),
        "status": status,
    });
    if status != "IN_PROGRESS" {
        shown["finishedAt"] = epoch(deployment.started + cloud.clock().takes(Delay::TaskStart));
    }
    shown
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    #[serde(default)]
    service_deployment_arns: Vec<String>,
    #[serde(default)]
    service_revision_arns: Vec<String>,
}

/// Every deployment with its service and the ARN of this.
fn everything(cloud: &Cloud) -> impl Iterator<Item = (&str, &Service, &Deployment)> {
    let services = cloud.ecs.services.iter();
    services.flat_map(|(arn, service)| history(service).map(move |deployment| (arn, service, deployment)))
}

pub(super) fn describe_deployments(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let describe: Describe = input(call)?;
    let (found, failures) = found(cloud, &describe.service_deployment_arns, "service-deployment")?;
    let shown: Vec<Value> = found
        .into_iter()
        .map(|(service_arn, service, deployment)| detailed(cloud, service_arn, service, deployment, call.now))
        .collect();
    Ok(json!({ "serviceDeployments": shown, "failures": failures }))
}

type Found<'w> = (Vec<(&'w str, &'w Service, &'w Deployment)>, Vec<Value>);

fn found<'w>(cloud: &'w Cloud, arns: &[String], kind: &str) -> Result<Found<'w>, Fault> {
    if arns.is_empty() || arns.len() > 20 {
        return Err(invalid("The request must name between 1 and 20 ARNs."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for wanted in arns {
        let is_it =
            |(service, _, deployment): &(&str, &Service, &Deployment)| arn(service, deployment, kind) == *wanted;
        match everything(cloud).find(is_it) {
            Some(one) => found.push(one),
            None => failures.push(json!({ "arn": wanted, "reason": "MISSING" })),
        }
    }
    Ok((found, failures))
}

fn detailed(cloud: &Cloud, service_arn: &str, service: &Service, deployment: &Deployment, now: Timestamp) -> Value {
    let mut shown = brief(cloud, service, service_arn, deployment, now);
    if let Some(members) = shown.as_object_mut() {
        members.remove("targetServiceRevisionArn");
    }
    let is_primary = deployment.id == service.primary.id;
    let counts = service.counts(now, cloud.clock());
    let (running, pending) = if is_primary { (counts.running, counts.pending) } else { (0, 0) };
    let members = [
        ("updatedAt", epoch(deployment.scaled)),
        ("deploymentConfiguration", service.body.get("deploymentConfiguration").cloned().unwrap_or_default()),
        (
            "targetServiceRevision",
            json!({
                "arn": arn(service_arn, deployment, "service-revision"),
                "requestedTaskCount": deployment.desired,
                "runningTaskCount": running,
                "pendingTaskCount": pending,
            }),
        ),
    ];
    for (member, value) in members {
        shown[member] = value;
    }
    let mut older = history(service).skip_while(|other| other.id != deployment.id).skip(1);
    let source = older.next().map(|source| json!({ "arn": arn(service_arn, source, "service-revision") }));
    shown["sourceServiceRevisions"] = source.into_iter().collect();
    shown
}

pub(super) fn describe_revisions(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let describe: Describe = input(call)?;
    let (found, failures) = found(cloud, &describe.service_revision_arns, "service-revision")?;
    let shown: Vec<Value> = found
        .into_iter()
        .map(|(service_arn, service, deployment)| {
            let definition = cloud.ecs.definitions.get(&deployment.definition);
            let containers = definition.map_or(&[][..], |definition| definition.containers());
            let images = containers.iter().map(|one| json!({ "containerName": one["name"], "image": one["image"] }));
            let mut shown = Value::Object(deployment.settings.clone());
            let members = [
                ("serviceRevisionArn", json!(arn(service_arn, deployment, "service-revision"))),
                ("serviceArn", json!(service_arn)),
                ("clusterArn", json!(service.cluster)),
                ("taskDefinition", json!(deployment.definition)),
                ("containerImages", images.collect()),
                ("guardDutyEnabled", json!(false)),
                ("createdAt", epoch(deployment.started)),
            ];
            for (member, value) in members {
                shown[member] = value;
            }
            shown
        })
        .collect();
    Ok(json!({ "serviceRevisions": shown, "failures": failures }))
}
