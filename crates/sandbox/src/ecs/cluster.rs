//! Clusters: created once per name, inactive after their deletion.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunnion_catalog::limits;

use super::{
    SERVICE_ROLE, bad_token, has, has_service_role, invalid, listed, no_service_role, page_size, tag, tag::Tag,
    task::Stage,
};
use crate::{
    authorize,
    call::{Call, Fault},
    cloud::Cloud,
    durations::Delay,
    iam,
    json::{input, page},
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cluster {
    pub region: String,
    pub name: String,
    pub active: bool,
    pub created: Timestamp,
    pub tags: Vec<Tag>,
    settings: Vec<Setting>,
    configuration: Option<Value>,
    capacity_providers: Vec<String>,
    default_strategy: Vec<Value>,
    service_connect: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Setting {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    /// The name of a new cluster.
    cluster_name: Option<String>,
    /// The name or ARN of one that exists.
    cluster: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    settings: Option<Vec<Setting>>,
    configuration: Option<Value>,
    #[serde(default)]
    capacity_providers: Vec<String>,
    #[serde(default)]
    default_capacity_provider_strategy: Vec<Value>,
    service_connect_defaults: Option<Value>,
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let asked: Asked = input(call)?;
    let name = asked.cluster_name.unwrap_or_else(|| "default".to_owned());
    check_name(&name)?;
    tag::check(&asked.tags)?;
    // The first cluster of an account makes AWS create the service-linked role, and fails because the role does not
    // exist yet; a second attempt succeeds (aws-samples/run-selenium-tests-at-scale-using-ecs-fargate issue 2). If the
    // identity may not create the role, the cluster is created without it (`CreateCluster`, read November 2026).
    if cloud.makes_service_roles && !has_service_role(cloud, call.now) {
        let is_made = cloud.iam.service_role_since(SERVICE_ROLE).is_some();
        let role = || iam::service_role(cloud, &call.region, "ecs.amazonaws.com", SERVICE_ROLE);
        if is_made || authorize::may(cloud, call, "iam:CreateServiceLinkedRole", role()) {
            if !is_made {
                iam::make_service_role(cloud, SERVICE_ROLE, "ecs.amazonaws.com", call);
                cloud.keep();
            }
            return Err(no_service_role());
        }
    }
    let settings = with_defaults(asked.settings)?;
    let arn = arn(cloud, call, &name);
    if let Some(cluster) = cloud.ecs.clusters.get(&arn).filter(|cluster| cluster.active) {
        // An existing cluster is returned unchanged, with its own tags, if its settings match.
        if cluster.settings != settings
            || cluster.configuration != asked.configuration
            || cluster.capacity_providers != asked.capacity_providers
        {
            return Err(invalid(
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            ));
        }
    } else {
        let row = Cluster {
            region: call.region.clone(),
            name,
            active: true,
            created: call.now,
            tags: asked.tags,
            settings,
            configuration: asked.configuration,
            capacity_providers: asked.capacity_providers,
            default_strategy: asked.default_capacity_provider_strategy,
            service_connect: asked.service_connect_defaults,
        };
        cloud.ecs.clusters.insert(arn.clone(), row);
    }
    Ok(json!({ "cluster": shown(cloud, call, &arn, true, true) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    #[serde(default)]
    clusters: Vec<String>,
    #[serde(default)]
    include: Vec<String>,
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let mut describe: Describe = input(call)?;
    if describe.clusters.is_empty() {
        describe.clusters.push("default".to_owned());
    }
    if describe.clusters.len() > 100 {
        return Err(invalid("DescribeClusters supports up to 100 clusters."));
    }
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for id in &describe.clusters {
        let arn = arn(cloud, call, id);
        match cloud.ecs.clusters.get(&arn) {
            Some(cluster)
                if cluster.region == call.region && cloud.knows(Delay::EcsLag, &arn, cluster.created, call.now) =>
            {
                let (settings, tags) = (has(&describe.include, "SETTINGS"), has(&describe.include, "TAGS"));
                clusters.push(shown(cloud, call, &arn, settings, tags));
            }
            _ => failures.push(json!({ "arn": arn, "reason": "MISSING" })),
        }
    }
    Ok(json!({ "clusters": clusters, "failures": failures }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    max_results: Option<usize>,
    next_token: Option<String>,
}

pub(super) fn list(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let list: List = input(call)?;
    let clusters = cloud
        .ecs
        .clusters
        .iter()
        .filter(|(_, cluster)| cluster.active && cluster.region == call.region)
        .filter(|(arn, cluster)| cloud.knows(Delay::EcsLag, arn, cluster.created, call.now))
        .map(|(arn, _)| (arn.to_owned(), Value::from(arn)))
        .collect();
    let limit = page_size(list.max_results)?;
    let (clusters, next) = page(clusters, limit, list.next_token.as_deref(), false).ok_or_else(bad_token)?;
    Ok(listed("clusterArns", clusters, next))
}

pub(super) fn update(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let asked: Asked = input(call)?;
    let arn = active(cloud, call, asked.cluster.as_deref())?;
    let settings = asked.settings.map(|settings| with_defaults(Some(settings))).transpose()?;
    if let Some(cluster) = cloud.ecs.clusters.get_mut(&arn) {
        if let Some(settings) = settings {
            cluster.settings = settings;
        }
        cluster.configuration = asked.configuration.or(cluster.configuration.take());
        cluster.service_connect = asked.service_connect_defaults.or(cluster.service_connect.take());
    }
    Ok(json!({ "cluster": shown(cloud, call, &arn, true, true) }))
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Value, Fault> {
    let asked: Asked = input(call)?;
    let Some(id) = asked.cluster else { return Err(invalid("Cluster cannot be empty.")) };
    let arn = active(cloud, call, Some(&id))?;
    let clock = cloud.clock();
    let mut services = cloud.ecs.services.values().filter(|service| service.cluster == arn);
    if services.any(|service| !service.is_inactive(call.now, clock)) {
        return Err(Fault::new(
            "ClusterContainsServicesException",
            "The Cluster cannot be deleted while Services are active.",
        ));
    }
    let mut tasks = cloud.ecs.leaving.values().filter(|task| task.cluster == arn);
    let mut runs = cloud.ecs.runs.values().filter(|run| run.cluster == arn);
    if tasks.any(|task| task.stage(call.now, clock) != Stage::Stopped)
        || runs.any(|run| run.stage(call.now, clock) != Stage::Stopped)
    {
        return Err(Fault::new(
            "ClusterContainsTasksException",
            "The Cluster cannot be deleted while Tasks are active.",
        ));
    }
    if let Some(cluster) = cloud.ecs.clusters.get_mut(&arn) {
        cluster.active = false;
    }
    Ok(json!({ "cluster": shown(cloud, call, &arn, true, true) }))
}

/// The ARN of the active cluster with this name or ARN; without one, of the cluster `default`.
pub(super) fn active(cloud: &Cloud, call: &Call, id: Option<&str>) -> Result<String, Fault> {
    let arn = arn(cloud, call, id.unwrap_or("default"));
    match cloud.ecs.clusters.get(&arn) {
        Some(cluster) if cluster.active => Ok(arn),
        Some(_) => Err(Fault::new("ClusterNotFoundException", "The referenced cluster was inactive.")),
        None => Err(Fault::new("ClusterNotFoundException", "Cluster not found.")),
    }
}

/// The ARN of the cluster with this name or ARN, active or not.
pub(super) fn known(cloud: &Cloud, call: &Call, id: Option<&str>) -> Result<String, Fault> {
    let arn = arn(cloud, call, id.unwrap_or("default"));
    match cloud.ecs.clusters.get(&arn) {
        Some(_) => Ok(arn),
        None => Err(Fault::new("ClusterNotFoundException", "Cluster not found.")),
    }
}

pub(super) fn arn(cloud: &Cloud, call: &Call, id: &str) -> String {
    if id.starts_with("arn:") {
        return id.to_owned();
    }
    format!("{}:ecs:{}:{}:cluster/{id}", call.arn(), call.region, cloud.account)
}

fn check_name(name: &str) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > limits::ECS_NAME || !name.chars().all(allowed) {
        return Err(invalid("Cluster name contains invalid characters."));
    }
    Ok(())
}

fn with_defaults(asked: Option<Vec<Setting>>) -> Result<Vec<Setting>, Fault> {
    let asked = asked.unwrap_or_default();
    for setting in &asked {
        if setting.name != "containerInsights" || !matches!(setting.value.as_str(), "enabled" | "disabled" | "enhanced")
        {
            return Err(invalid(format!("Invalid cluster setting {}: {}.", setting.name, setting.value)));
        }
    }
    if asked.is_empty() {
        return Ok(vec![Setting { name: "containerInsights".to_owned(), value: "disabled".to_owned() }]);
    }
    Ok(asked)
}

fn shown(cloud: &Cloud, call: &Call, arn: &str, settings: bool, tags: bool) -> Value {
    let Some(cluster) = cloud.ecs.clusters.get(arn) else { return Value::Null };
    let clock = cloud.clock();
    let services: Vec<_> = cloud.ecs.services.values().filter(|service| service.cluster == arn).collect();
    let count = |count: fn(&super::deployment::Counts) -> u64| -> u64 {
        services.iter().map(|service| count(&service.counts(call.now, clock))).sum()
    };
    let runs = cloud.ecs.runs.values().filter(|run| run.cluster == arn);
    let stages: Vec<Stage> = runs.map(|run| run.stage(call.now, clock)).collect();
    let alone = |wanted: Stage| -> u64 { stages.iter().filter(|stage| **stage == wanted).map(|_| 1).sum() };
    let active = services.iter().filter(|service| service.deleted.is_none()).count();
    let mut shown = json!({
        "clusterArn": arn,
        "clusterName": cluster.name,
        "status": if cluster.active { "ACTIVE" } else { "INACTIVE" },
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": count(|counts| counts.running) + alone(Stage::Running),
        "pendingTasksCount": count(|counts| counts.pending) + alone(Stage::Pending),
        "activeServicesCount": active,
        "statistics": [],
        "tags": if tags { json!(cluster.tags) } else { json!([]) },
        "settings": if settings { json!(cluster.settings) } else { json!([]) },
        "capacityProviders": cluster.capacity_providers,
        "defaultCapacityProviderStrategy": cluster.default_strategy,
    });
    if let Some(configuration) = &cluster.configuration {
        shown["configuration"] = configuration.clone();
    }
    if let Some(defaults) = &cluster.service_connect {
        shown["serviceConnectDefaults"] = defaults.clone();
    }
    shown
}
