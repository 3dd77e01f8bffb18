//! The permissions of ECS's calls, and the condition keys of its resources.

use serde_json::Value;

use super::{cluster, definition, service, task_view};
use crate::{
    authorize::{Row, Scene, Target, any},
    iam,
};

/// One row per call.
pub(crate) const PERMISSIONS: &[Row] = &[
    ("ListServiceDeployments", &[("ecs:ListServiceDeployments", |s| vec![one_service(s)])]),
    (
        "DescribeServiceDeployments",
        &[("ecs:DescribeServiceDeployments", |s| parts_of_service(s, "serviceDeploymentArns", "service-deployment"))],
    ),
    (
        "DescribeServiceRevisions",
        &[("ecs:DescribeServiceRevisions", |s| parts_of_service(s, "serviceRevisionArns", "service-revision"))],
    ),
    (
        "RunTask",
        &[
            ("ecs:RunTask", run_definition),
            ("ecs:TagResource", |s| tagging(s, new_task(s))),
            ("iam:PassRole", roles_of_definition),
        ],
    ),
    ("StopTask", &[("ecs:StopTask", stopped_task)]),
    ("ListAccountSettings", &[("ecs:ListAccountSettings", any)]),
    ("ListContainerInstances", &[("ecs:ListContainerInstances", |s| vec![one_cluster(s, "cluster")])]),
    (
        "CreateCluster",
        &[
            ("ecs:CreateCluster", |s| tagged(one_cluster(s, "clusterName"), s)),
            ("ecs:TagResource", |s| tagging(s, one_cluster(s, "clusterName"))),
        ],
    ),
    (
        "CreateService",
        &[
            ("ecs:CreateService", service_change),
            ("ecs:TagResource", |s| tagging(s, one_service(s))),
            ("iam:PassRole", roles_of_definition),
        ],
    ),
    ("DeleteCluster", &[("ecs:DeleteCluster", |s| vec![one_cluster(s, "cluster")])]),
    ("DeleteService", &[("ecs:DeleteService", |s| vec![one_service(s)])]),
    ("DeleteTaskDefinitions", &[("ecs:DeleteTaskDefinitions", definitions)]),
    ("DeregisterTaskDefinition", &[("ecs:DeregisterTaskDefinition", any)]),
    ("DescribeClusters", &[("ecs:DescribeClusters", clusters)]),
    ("DescribeServices", &[("ecs:DescribeServices", services)]),
    ("DescribeTaskDefinition", &[("ecs:DescribeTaskDefinition", any)]),
    ("DescribeTasks", &[("ecs:DescribeTasks", tasks)]),
    ("ListClusters", &[("ecs:ListClusters", any)]),
    ("ListServices", &[("ecs:ListServices", |s| vec![in_cluster(s, Target::any())])]),
    ("ListTagsForResource", &[("ecs:ListTagsForResource", |s| vec![by_arn(s)])]),
    ("ListTaskDefinitionFamilies", &[("ecs:ListTaskDefinitionFamilies", any)]),
    ("ListTaskDefinitions", &[("ecs:ListTaskDefinitions", any)]),
    ("ListTasks", &[("ecs:ListTasks", |s| vec![container_instances(s)])]),
    (
        "RegisterTaskDefinition",
        &[
            ("ecs:RegisterTaskDefinition", |s| tagged(new_definition(s), s)),
            ("ecs:TagResource", |s| tagging(s, new_definition(s))),
            ("iam:PassRole", roles_in_call),
        ],
    ),
    ("TagResource", &[("ecs:TagResource", |s| tagged(by_arn(s), s))]),
    ("UntagResource", &[("ecs:UntagResource", untagged)]),
    ("UpdateCluster", &[("ecs:UpdateCluster", |s| vec![one_cluster(s, "cluster")])]),
    ("UpdateClusterSettings", &[("ecs:UpdateClusterSettings", |s| vec![one_cluster(s, "cluster")])]),
    ("UpdateService", &[("ecs:UpdateService", service_change), ("iam:PassRole", roles_of_definition)]),
];

/// Both ways in which ECS names the tags of a resource.
const TAGS: &[&str] = &["aws:ResourceTag/", "ecs:ResourceTag/"];

fn pairs(tags: &[super::tag::Tag]) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str()))
}

/// The resource with the tags in the call.
fn tagged(target: Target, scene: &Scene<'_>) -> Vec<Target> {
    vec![target.gets_tags(scene.tags("tags"))]
}

/// The tagging of what the call creates; nothing without tags.
fn tagging(scene: &Scene<'_>, target: Target) -> Vec<Target> {
    if scene.tags("tags").is_empty() {
        return Vec::new();
    }
    tagged(target.with("ecs:CreateAction", scene.call.action.as_str()), scene)
}

fn untagged(scene: &Scene<'_>) -> Vec<Target> {
    let keys = scene.texts("tagKeys").into_iter().map(str::to_owned).collect();
    vec![by_arn(scene).loses_tags(keys)]
}

/// A resource by its ARN, with its tags.
fn with_own_tags(scene: &Scene<'_>, arn: &str) -> Target {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let ecs = &scene.cloud.ecs;
    if resource.starts_with("task/") {
        let tasks = task_view::all(scene.cloud, None, scene.call.now);
        let found = tasks.iter().find(|task| task.arn == arn);
        return Target::of("task", arn).has_tags(TAGS, pairs(found.map_or(&[][..], |task| &task.tags)));
    }
    let (kind, tags) = match resource.split('/').next().unwrap_or_default() {
        "cluster" => ("cluster", ecs.clusters.get(arn).map(|row| row.tags.as_slice())),
        "service" => ("service", ecs.services.get(arn).map(|row| row.tags.as_slice())),
        "task-definition" => ("task-definition", ecs.definitions.get(arn).map(|row| row.tags.as_slice())),
        "container-instance" => ("container-instance", None),
        _ => ("", None),
    };
    Target::of(kind, arn).has_tags(TAGS, pairs(tags.unwrap_or_default()))
}

fn by_arn(scene: &Scene<'_>) -> Target {
    with_own_tags(scene, scene.text("resourceArn").unwrap_or_default())
}

/// The ARN of the cluster that a call names; the default one is called `default`.
fn cluster_arn(scene: &Scene<'_>, member: &str) -> String {
    cluster::arn(scene.cloud, scene.call, scene.text(member).unwrap_or("default"))
}

fn one_cluster(scene: &Scene<'_>, member: &str) -> Target {
    with_own_tags(scene, &cluster_arn(scene, member))
}

fn clusters(scene: &Scene<'_>) -> Vec<Target> {
    let mut names = scene.texts("clusters");
    if names.is_empty() {
        names.push("default");
    }
    names.into_iter().map(|name| with_own_tags(scene, &cluster::arn(scene.cloud, scene.call, name))).collect()
}

fn in_cluster(scene: &Scene<'_>, target: Target) -> Target {
    target.with("ecs:cluster", cluster_arn(scene, "cluster"))
}

fn service_target(scene: &Scene<'_>, name: &str) -> Target {
    let arn =
        if name.starts_with("arn:") { name.to_owned() } else { service::arn(&cluster_arn(scene, "cluster"), name) };
    in_cluster(scene, with_own_tags(scene, &arn))
}

/// The service that a call names, by the member that the call itself reads.
fn one_service(scene: &Scene<'_>) -> Target {
    let member = if scene.call.action == "CreateService" { "serviceName" } else { "service" };
    service_target(scene, scene.text(member).unwrap_or("*"))
}

fn services(scene: &Scene<'_>) -> Vec<Target> {
    scene.texts("services").into_iter().map(|name| service_target(scene, name)).collect()
}

fn tasks(scene: &Scene<'_>) -> Vec<Target> {
    let ids = scene.texts("tasks").into_iter();
    ids.map(|id| in_cluster(scene, with_own_tags(scene, &task_arn(scene, id)))).collect()
}

fn task_arn(scene: &Scene<'_>, id: &str) -> String {
    if id.starts_with("arn:") {
        return id.to_owned();
    }
    format!("{}/{id}", cluster_arn(scene, "cluster").replacen(":cluster/", ":task/", 1))
}

fn stopped_task(scene: &Scene<'_>) -> Vec<Target> {
    let arn = task_arn(scene, scene.text("task").unwrap_or("*"));
    vec![in_cluster(scene, with_own_tags(scene, &arn))]
}

/// A new task has no id yet.
fn new_task(scene: &Scene<'_>) -> Target {
    Target::of("task", task_arn(scene, "*"))
}

/// The revision that a task is started from.
fn run_definition(scene: &Scene<'_>) -> Vec<Target> {
    let asked = scene.text("taskDefinition").unwrap_or("*");
    let found = definition::find(scene.cloud, scene.call, asked);
    let arn = found.map_or_else(|| scene.arn("ecs", &format!("task-definition/{asked}")), |(arn, _)| arn.to_owned());
    let target = in_cluster(scene, with_own_tags(scene, &arn))
        .with_some("ecs:enable-execute-command", scene.json()["enableExecuteCommand"].as_bool())
        .with_some("ecs:task-cpu", found.map(|(_, row)| row.text("cpu")))
        .with_some("ecs:task-memory", found.map(|(_, row)| row.text("memory")));
    tagged(target, scene)
}

/// Deployments or revisions of a service, and the service: its ARN is in theirs.
fn parts_of_service(scene: &Scene<'_>, member: &str, kind: &'static str) -> Vec<Target> {
    let mut targets = Vec::new();
    for arn in scene.texts(member) {
        let service = arn.rsplit_once('/').map_or(arn, |(service, _)| service);
        let service = service.replacen(&format!(":{kind}/"), ":service/", 1);
        targets.push(with_own_tags(scene, &service));
        let cluster = service.rsplit_once('/').map_or("", |(cluster, _)| cluster).replacen(":service/", ":cluster/", 1);
        targets.push(Target::of(kind, arn).with("ecs:cluster", cluster).with("ecs:service", service));
    }
    targets
}

fn container_instances(scene: &Scene<'_>) -> Target {
    let arn = cluster_arn(scene, "cluster").replacen(":cluster/", ":container-instance/", 1);
    in_cluster(scene, Target::of("container-instance", format!("{arn}/*")))
}

/// A new revision has no number yet.
fn new_definition(scene: &Scene<'_>) -> Target {
    let family = scene.text("family").unwrap_or_default();
    Target::of("task-definition", scene.arn("ecs", &format!("task-definition/{family}:*")))
        .with_some("ecs:task-cpu", scene.text("cpu"))
        .with_some("ecs:task-memory", scene.text("memory"))
}

fn definitions(scene: &Scene<'_>) -> Vec<Target> {
    let arn = |id: &str| {
        if id.starts_with("arn:") { id.to_owned() } else { scene.arn("ecs", &format!("task-definition/{id}")) }
    };
    scene.texts("taskDefinitions").into_iter().map(|id| with_own_tags(scene, &arn(id))).collect()
}

/// The service with what the call says of it.
fn service_change(scene: &Scene<'_>) -> Vec<Target> {
    let asked = scene.json();
    let network = &asked["networkConfiguration"]["awsvpcConfiguration"];
    let subnets = network["subnets"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let subnets: Vec<String> =
        subnets.map(|id| crate::ec2::arn(scene.cloud, &scene.call.region, "subnet", id)).collect();
    let definition = scene.text("taskDefinition").and_then(|id| definition::find(scene.cloud, scene.call, id));
    let flag = |member: &str| asked[member].as_bool();
    let target = one_service(scene)
        .with_some("ecs:auto-assign-public-ip", network["assignPublicIp"].as_str())
        .with_some("ecs:enable-ecs-managed-tags", flag("enableECSManagedTags"))
        .with_some("ecs:enable-execute-command", flag("enableExecuteCommand"))
        .with_some("ecs:propagate-tags", scene.text("propagateTags"))
        .with_some("ecs:subnet", (!subnets.is_empty()).then_some(subnets))
        .with_some("ecs:task-definition", definition.map(|(arn, _)| arn))
        .with_some("ecs:task-cpu", definition.map(|(_, row)| row.text("cpu")))
        .with_some("ecs:task-memory", definition.map(|(_, row)| row.text("memory")));
    tagged(target, scene)
}

/// The roles that a registration hands to tasks.
fn roles_in_call(scene: &Scene<'_>) -> Vec<Target> {
    let mut roles: Vec<&str> =
        ["taskRoleArn", "executionRoleArn"].iter().filter_map(|member| scene.text(member)).collect();
    roles.dedup();
    passed(scene, roles)
}

/// The roles that a service hands to its tasks, if the call names the definition. AWS's documents say so of `RunTask`;
/// for services this is the stricter assumption.
fn roles_of_definition(scene: &Scene<'_>) -> Vec<Target> {
    let definition = scene.text("taskDefinition").and_then(|id| definition::find(scene.cloud, scene.call, id));
    let Some((_, definition)) = definition else { return Vec::new() };
    passed(scene, ["taskRoleArn", "executionRoleArn"].map(|member| definition.text(member)).to_vec())
}

fn passed(scene: &Scene<'_>, roles: Vec<&str>) -> Vec<Target> {
    let roles = roles.into_iter().filter(|role| !role.is_empty());
    roles.map(|role| iam::passed(scene.cloud, &scene.call.region, role, "ecs-tasks.amazonaws.com")).collect()
}
