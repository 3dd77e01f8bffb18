//! Services: created once per name and cluster, updated to new definitions, drained when deleted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use trunnion_catalog::limits::{self, SERVICE_TASKS};

use super::{
    client, cluster,
    definition::{self, Definition, Status},
    deployment::{Counts, Deployment},
    has_service_role, invalid, no_service_role, revision, run, service_view, start, tag,
    tag::Tag,
    task,
};
use crate::{
    call::{Call, Fault, Input},
    cloud::Cloud,
    durations::{Clock, Delay},
    json::{hex_id, input},
};

/// Members that a service has besides those of `Service`; they are returned unchanged.
const KEPT: [&str; 16] = [
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "deploymentConfiguration",
    "networkConfiguration",
    "healthCheckGracePeriodSeconds",
    "schedulingStrategy",
    "deploymentController",
    "enableECSManagedTags",
    "propagateTags",
    "enableExecuteCommand",
    "availabilityZoneRebalancing",
    "placementConstraints",
    "placementStrategy",
    "loadBalancers",
    "serviceRegistries",
];

/// Those of them that start new tasks when they change.
const ROLLING: [&str; 5] =
    ["networkConfiguration", "platformVersion", "capacityProviderStrategy", "loadBalancers", "serviceRegistries"];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Service {
    pub region: String,
    pub cluster: String,
    pub name: String,
    pub tags: Vec<Tag>,
    pub body: Map<String, Value>,
    pub created: Timestamp,
    /// When it started to drain.
    pub deleted: Option<Timestamp>,
    pub primary: Deployment,
    /// The deployment that the primary one replaces.
    pub previous: Option<Deployment>,
    /// Those before it, the oldest first.
    #[serde(default)]
    pub earlier: Vec<Deployment>,
    client_token: Option<String>,
    /// The create request, which identifies a repeated one.
    request: String,
}

impl Service {
    /// The numbers of tasks of the primary deployment.
    pub(super) fn counts(&self, now: Timestamp, clock: Clock) -> Counts {
        if self.deleted.is_some() { Counts::default() } else { self.primary.counts(now, clock) }
    }

    /// Whether it was deleted and has drained.
    pub(super) fn is_inactive(&self, now: Timestamp, clock: Clock) -> bool {
        self.deleted.is_some_and(|deleted| clock.is_over(Delay::ServiceDrain, deleted, now))
    }

    /// Whether it has tasks that have not been asked to stop.
    pub(super) fn has_tasks(&self) -> bool {
        self.deleted.is_none() && self.primary.desired > 0
    }

    /// The subnets and security groups of its tasks.
    pub(super) fn network(&self) -> Vec<String> {
        run::network_of(&self.body)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    cluster: Option<String>,
    /// The name of a new service.
    service_name: Option<String>,
    /// The name or ARN of one that exists.
    service: Option<String>,
    task_definition: Option<String>,
    desired_count: Option<u64>,
    client_token: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    force_new_deployment: bool,
    #[serde(default)]
    force: bool,
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let asked: Asked = input(call)?;
    let request = request_of(call);
    let name = asked.service_name.unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > limits::ECS_NAME || !name.chars().all(allowed) {
        return Err(invalid("Service name contains invalid characters."));
    }
    if asked.client_token.as_ref().is_some_and(|token| token.len() > 36 || !token.is_ascii()) {
        return Err(invalid("clientToken must be at most 36 ASCII characters."));
    }
    tag::check(&asked.tags)?;
    let cluster = cluster::active(cloud, call, asked.cluster.as_deref())?;
    let arn = arn(&cluster, &name);
    let clock = cloud.clock();
    if let Some(service) = cloud.ecs.services.get(&arn) {
        match service.deleted {
            None => {
                if asked.client_token.is_some()
                    && asked.client_token == service.client_token
                    && request == service.request
                {
                    return Ok(json!({ "service": service_view::shown(cloud, call, &arn, true) }));
                }
                return Err(invalid("Creation of service was not idempotent."));
            }
            Some(_) if !service.is_inactive(call.now, clock) => {
                return Err(invalid("Unable to Start a service that is still Draining."));
            }
            Some(_) => {}
        }
    }
    if !has_service_role(cloud, call.now) {
        return Err(no_service_role());
    }
    let Some(definition) = asked.task_definition else { return Err(invalid("Task definition cannot be empty.")) };
    let (definition, row) = usable(cloud, call, &definition)?;
    let body = kept(call);
    check_launch(&body, row)?;
    check_rebalancing(&body)?;
    check_network(cloud, call, &body, row)?;
    let definition = definition.to_owned();
    let desired = desired(asked.desired_count)?.unwrap_or(0);
    let id = deployment_id(&cloud.new_id("ecs-svc/"));
    let mut primary = Deployment::new(id, definition, desired, call.now);
    primary.blocked = start::failure(cloud, &call.region, call.now, &primary.definition);
    let mut row = Service {
        region: call.region.clone(),
        cluster,
        name,
        tags: asked.tags,
        body: with_defaults(body),
        created: call.now,
        deleted: None,
        primary,
        previous: None,
        earlier: Vec::new(),
        client_token: asked.client_token,
        request,
    };
    revision::complete(cloud, &mut row);
    cloud.ecs.services.insert(arn.clone(), row);
    Ok(json!({ "service": service_view::shown(cloud, call, &arn, true) }))
}

pub(super) fn update(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let asked: Asked = input(call)?;
    let cluster = cluster::active(cloud, call, asked.cluster.as_deref())?;
    let arn = find(cloud, &cluster, asked.service.as_deref().ok_or_else(no_service)?)?;
    let Some(mut service) = cloud.ecs.services.get(&arn).cloned() else { return Ok(Value::Null) };
    if service.deleted.is_some() {
        return Err(Fault::new("ServiceNotActiveException", "Service was not ACTIVE."));
    }
    let (definition, row) = match &asked.task_definition {
        Some(id) => usable(cloud, call, id)?,
        // A service with an inactive revision can still be scaled.
        None => definition::find(cloud, call, &service.primary.definition)
            .ok_or_else(|| client("TaskDefinition not found."))?,
    };
    let definition = definition.to_owned();
    let desired = desired(asked.desired_count)?.unwrap_or(service.primary.desired);
    let changes = kept(call);
    if let Some(member) = ["launchType", "schedulingStrategy"].iter().find(|member| changes.contains_key(**member)) {
        return Err(invalid(format!("{member} of a service cannot be changed.")));
    }
    let rolls = asked.force_new_deployment
        || definition != service.primary.definition
        || ROLLING
            .iter()
            .any(|member| changes.contains_key(*member) && changes.get(*member) != service.body.get(*member));
    let earlier = service.clone();
    if changes.get("capacityProviderStrategy").is_some_and(|it| *it != json!([])) {
        service.body.remove("launchType");
    }
    service.body.extend(changes);
    check_launch(&service.body, row)?;
    check_rebalancing(&service.body)?;
    check_network(cloud, call, &service.body, row)?;
    service.body = with_defaults(service.body);

    let clock = cloud.clock();
    if rolls {
        // A task that has been asked to stop counts for neither percentage, so its successor starts before it is
        // STOPPED (aws/containers-roadmap issue 959).
        let minimum = service.body.get("deploymentConfiguration").and_then(|it| it["minimumHealthyPercent"].as_u64());
        let stop_at = (minimum.unwrap_or(100) == 0 || desired == 0).then_some(call.now);
        task::send_stop(cloud, &earlier, earlier.primary.desired, stop_at, call.now);
        let id = deployment_id(&cloud.new_id("ecs-svc/"));
        let mut primary = Deployment::new(id, definition, desired, call.now);
        primary.blocked = start::failure(cloud, &call.region, call.now, &primary.definition);
        service.earlier.extend(service.previous.take());
        service.previous = Some(std::mem::replace(&mut service.primary, primary));
        revision::complete(cloud, &mut service);
    } else if desired != service.primary.desired {
        service.primary.running_before = service.primary.counts(call.now, clock).running;
        if let Some(too_many) = service.primary.desired.checked_sub(desired) {
            task::send_stop(cloud, &earlier, too_many, Some(call.now), call.now);
            service.primary.drop_oldest(too_many);
        }
        service.primary.desired = desired;
        service.primary.scaled = call.now;
    }
    cloud.ecs.services.insert(arn.clone(), service);
    Ok(json!({ "service": service_view::shown(cloud, call, &arn, true) }))
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let asked: Asked = input(call)?;
    let cluster = cluster::known(cloud, call, asked.cluster.as_deref())?;
    let arn = find(cloud, &cluster, asked.service.as_deref().ok_or_else(no_service)?)?;
    let clock = cloud.clock();
    let Some(service) = cloud.ecs.services.get(&arn).cloned() else { return Ok(Value::Null) };
    match service.deleted {
        Some(_) if service.is_inactive(call.now, clock) => return Err(not_found()),
        Some(_) => {}
        None if service.primary.desired > 0 && !asked.force => {
            return Err(invalid("The service cannot be stopped while it is scaled above 0."));
        }
        None => {
            task::send_stop(cloud, &service, service.primary.desired, Some(call.now), call.now);
            if let Some(service) = cloud.ecs.services.get_mut(&arn) {
                service.deleted = Some(call.now);
            }
        }
    }
    Ok(json!({ "service": service_view::shown(cloud, call, &arn, true) }))
}

/// The ARN of a service by its name or ARN.
pub(super) fn find(cloud: &Cloud, cluster: &str, id: &str) -> Result<String, Fault> {
    let arn = if id.starts_with("arn:") { id.to_owned() } else { arn(cluster, id) };
    match cloud.ecs.services.get(&arn) {
        Some(service) if service.cluster == cluster => Ok(arn),
        _ => Err(not_found()),
    }
}

pub(super) fn arn(cluster: &str, name: &str) -> String {
    format!("{}/{name}", cluster.replacen(":cluster/", ":service/", 1))
}

/// Starts tasks that waited for a resource which now exists.
pub(super) fn settle(cloud: &mut Cloud, now: Timestamp) {
    let waiting = cloud.ecs.services.iter().filter(|(_, row)| row.deleted.is_none() && row.primary.blocked.is_some());
    let ready = waiting.filter(|(_, row)| start::failure(cloud, &row.region, now, &row.primary.definition).is_none());
    for arn in ready.map(|(arn, _)| arn.to_owned()).collect::<Vec<_>>() {
        if let Some(Service { primary, .. }) = cloud.ecs.services.get_mut(&arn) {
            primary.blocked = None;
            primary.started = now;
            primary.scaled = now;
        }
    }
}

fn desired(asked: Option<u64>) -> Result<Option<u64>, Fault> {
    match asked {
        Some(count) if count > SERVICE_TASKS => {
            Err(invalid(format!("The desired count {count} exceeds the quota of {SERVICE_TASKS} tasks per service.")))
        }
        asked => Ok(asked),
    }
}

fn no_service() -> Fault {
    invalid("Service cannot be empty.")
}

fn not_found() -> Fault {
    Fault::new("ServiceNotFoundException", "Service not found.")
}

pub(super) fn usable<'w>(cloud: &'w Cloud, call: &Call, id: &str) -> Result<(&'w str, &'w Definition), Fault> {
    let found = definition::find(cloud, call, id).ok_or_else(|| client("TaskDefinition not found."))?;
    if found.1.status != Status::Active {
        return Err(client("TaskDefinition is inactive"));
    }
    Ok(found)
}

fn kept(call: &Call) -> Map<String, Value> {
    let Input::Json(Value::Object(asked)) = &call.input else { return Map::new() };
    KEPT.iter().filter_map(|member| Some(((*member).to_owned(), asked.get(*member)?.clone()))).collect()
}

/// No cluster here has container instances, so that tasks run on Fargate only. For a service, AWS says so in an event.
pub(super) fn check_launch(body: &Map<String, Value>, definition: &Definition) -> Result<(), Fault> {
    let launch_type = body.get("launchType").and_then(Value::as_str);
    let strategy = body.get("capacityProviderStrategy").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if launch_type.is_some() && !strategy.is_empty() {
        return Err(invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        ));
    }
    for provider in strategy.iter().map(|item| item["capacityProvider"].as_str().unwrap_or_default()) {
        if !matches!(provider, "FARGATE" | "FARGATE_SPOT") {
            return Err(invalid(format!("The specified capacity provider '{provider}' was not found.")));
        }
    }
    if launch_type != Some("FARGATE") && strategy.is_empty() {
        return Err(invalid("No Container Instances were found in your cluster."));
    }
    if !definition.is_fargate() {
        return Err(invalid("Task definition does not support launch_type FARGATE."));
    }
    Ok(())
}

/// Rebalancing starts a task before it stops another one, so `maximumPercent` must be above 100 (Amazon ECS developer
/// guide, "Balancing an Amazon ECS service across Availability Zones", read November 2026).
fn check_rebalancing(body: &Map<String, Value>) -> Result<(), Fault> {
    let maximum = body.get("deploymentConfiguration").and_then(|it| it["maximumPercent"].as_u64()).unwrap_or(200);
    if maximum <= 100 && body.get("availabilityZoneRebalancing").is_some_and(|it| it == "ENABLED") {
        return Err(invalid("Availability Zone rebalancing requires a maximumPercent greater than 100."));
    }
    Ok(())
}

pub(super) fn check_network(
    cloud: &Cloud,
    call: &Call,
    body: &Map<String, Value>,
    definition: &Definition,
) -> Result<(), Fault> {
    let configuration =
        body.get("networkConfiguration").map(|it| &it["awsvpcConfiguration"]).filter(|it| it.is_object());
    if definition.text("networkMode") != "awsvpc" {
        return match configuration {
            Some(_) => {
                Err(invalid("Network Configuration is not valid for the given networkMode of this task definition."))
            }
            None => Ok(()),
        };
    }
    let Some(configuration) = configuration else {
        return Err(invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified."));
    };
    let ids = |member: &str| configuration[member].as_array().map_or(&[][..], Vec::as_slice);
    if ids("subnets").is_empty() {
        return Err(invalid("subnets can not be empty."));
    }
    if ids("subnets").len() > limits::SERVICE_SUBNETS {
        return Err(invalid(format!("subnets can have at most {} items.", limits::SERVICE_SUBNETS)));
    }
    if ids("securityGroups").len() > limits::SERVICE_GROUPS {
        return Err(invalid(format!("securityGroups can have at most {} items.", limits::SERVICE_GROUPS)));
    }
    let unknown = |member: &str| {
        let known = |id: &Value| id.as_str().is_some_and(|id| cloud.ec2.has_network(&call.region, id));
        ids(member).iter().find(|id| !known(id)).and_then(Value::as_str).map(str::to_owned)
    };
    if let Some(id) = unknown("subnets") {
        return Err(invalid(format!(
            "Error retrieving subnet information for [{id}]: The subnet ID '{id}' does not exist (ErrorCode: \
             InvalidSubnetID.NotFound)"
        )));
    }
    if let Some(id) = unknown("securityGroups") {
        return Err(invalid(format!(
            "Error retrieving security group information for [{id}]: The security group '{id}' does not exist \
             (ErrorCode: InvalidGroup.NotFound)"
        )));
    }
    Ok(())
}

fn with_defaults(mut body: Map<String, Value>) -> Map<String, Value> {
    body.entry("schedulingStrategy").or_insert_with(|| json!("REPLICA"));
    body.entry("deploymentController").or_insert_with(|| json!({ "type": "ECS" }));
    body.entry("enableECSManagedTags").or_insert_with(|| json!(false));
    body.entry("enableExecuteCommand").or_insert_with(|| json!(false));
    body.entry("propagateTags").or_insert_with(|| json!("NONE"));
    // ECS disables it for services that do not support it; all services here are of that kind.
    body.entry("availabilityZoneRebalancing").or_insert_with(|| json!("DISABLED"));
    for list in ["placementConstraints", "placementStrategy", "loadBalancers", "serviceRegistries"] {
        body.entry(list).or_insert_with(|| json!([]));
    }
    if body.get("launchType") == Some(&json!("FARGATE")) {
        body.entry("platformVersion").or_insert_with(|| json!("LATEST"));
        body.insert("platformFamily".to_owned(), json!("Linux"));
    }
    let deployment = body.entry("deploymentConfiguration").or_insert_with(|| json!({}));
    if let Some(deployment) = deployment.as_object_mut() {
        deployment.entry("maximumPercent").or_insert_with(|| json!(200));
        deployment.entry("minimumHealthyPercent").or_insert_with(|| json!(100));
        deployment.entry("deploymentCircuitBreaker").or_insert_with(|| json!({ "enable": false, "rollback": false }));
        deployment.entry("strategy").or_insert_with(|| json!("ROLLING"));
        deployment.entry("bakeTimeInMinutes").or_insert_with(|| json!(0));
    }
    if let Some(network) = body.get_mut("networkConfiguration").and_then(|it| it.get_mut("awsvpcConfiguration"))
        && let Some(network) = network.as_object_mut()
    {
        network.entry("assignPublicIp").or_insert_with(|| json!("DISABLED"));
        network.entry("securityGroups").or_insert_with(|| json!([]));
    }
    body
}

/// The create request without its token, on one line.
fn request_of(call: &Call) -> String {
    let Input::Json(document) = &call.input else { return String::new() };
    let mut document = document.clone();
    if let Some(members) = document.as_object_mut() {
        members.remove("clientToken");
    }
    hex_id(&document.to_string(), 64)
}

/// Deployment ids have 19 decimal digits.
fn deployment_id(seed: &str) -> String {
    let number = u64::from_str_radix(&hex_id(seed, 15), 16).unwrap_or_default();
    format!("ecs-svc/{number:019}")
}
