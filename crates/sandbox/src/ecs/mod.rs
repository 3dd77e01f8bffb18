//! Elastic Container Service: clusters, task definitions, services on Fargate, and the tasks of these services.
//!
//! Running tasks are not stored: they follow from the service's deployment, the elapsed time and the sandbox's clock.
//! Tasks that have been asked to stop are stored (`task.rs`).

mod account;
mod attachment;
mod cluster;
mod container;
mod definition;
mod deployment;
mod permissions;
mod revision;
mod run;
mod service;
mod service_view;
mod start;
mod tag;
mod task;
mod task_view;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    durations::{Clock, Delay},
    table::{AnyTable, Table},
};

pub(crate) use permissions::PERMISSIONS;

/// Clusters, definitions and services of every region.
#[derive(Debug, Default)]
pub struct State {
    /// By ARN.
    clusters: Table<cluster::Cluster>,
    /// By ARN, including deleted ones, so that a revision number is never used twice.
    definitions: Table<definition::Definition>,
    /// By ARN, including inactive ones.
    services: Table<service::Service>,
    /// Tasks that have been asked to stop, by deployment and number.
    leaving: Table<task::Leaving>,
    /// Tasks without a service, by ARN.
    runs: Table<run::Run>,
    /// The network interfaces of tasks, by the ARN of the task.
    attachments: Table<attachment::Attachment>,
    /// Counted since this process started.
    most_tasks: task::MostTasks,
}

impl State {
    /// Every table, for the journal.
    pub fn tables(&mut self) -> Vec<(&'static str, &mut dyn AnyTable)> {
        vec![
            ("ecs.clusters", &mut self.clusters),
            ("ecs.definitions", &mut self.definitions),
            ("ecs.services", &mut self.services),
            ("ecs.leaving", &mut self.leaving),
            ("ecs.runs", &mut self.runs),
            ("ecs.attachments", &mut self.attachments),
        ]
    }

    /// How many active clusters the region has.
    pub(crate) fn clusters_in(&self, region: &str) -> usize {
        self.clusters.values().filter(|row| row.active && row.region == region).count()
    }

    /// Whether a task that is not STOPPED uses this security group or this subnet.
    pub(crate) fn uses_network(&self, id: &str, now: Timestamp, clock: Clock) -> bool {
        let is_left = |task: &task::Leaving| task.stage(now, clock) != task::Stage::Stopped;
        self.services.values().any(|service| service.has_tasks() && service.network().iter().any(|one| one == id))
            || self.leaving.values().any(|task| is_left(task) && task.network.iter().any(|one| one == id))
            || self
                .runs
                .values()
                .any(|run| run.stage(now, clock) != task::Stage::Stopped && run.network.iter().any(|one| one == id))
    }

    /// ARNs and tags of the active clusters, services and definitions of a region.
    pub(crate) fn tagged(&self, region: &str) -> Vec<(String, BTreeMap<String, String>)> {
        let pairs = |tags: &[tag::Tag]| tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
        let clusters = self.clusters.iter().filter(|(_, row)| row.active && row.region == region);
        let services = self.services.iter().filter(|(_, row)| row.deleted.is_none() && row.region == region);
        let definitions = self.definitions.iter().filter(|(_, row)| row.is_active() && row.region == region);
        clusters
            .map(|(arn, row)| (arn.to_owned(), pairs(&row.tags)))
            .chain(services.map(|(arn, row)| (arn.to_owned(), pairs(&row.tags))))
            .chain(definitions.map(|(arn, row)| (arn.to_owned(), pairs(&row.tags))))
            .collect()
    }

    /// The highest number of tasks that were not STOPPED at the same time, by the ARN of their service.
    pub(crate) fn most_tasks(&self) -> &BTreeMap<String, u64> {
        &self.most_tasks
    }
}

/// Answers one call.
pub fn handle(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    settle(cloud, call.now);
    let answer = match call.action.as_str() {
        "CreateCluster" => cluster::create(cloud, call),
        "DescribeClusters" => cluster::describe(cloud, call),
        "ListClusters" => cluster::list(cloud, call),
        "UpdateCluster" | "UpdateClusterSettings" => cluster::update(cloud, call),
        "DeleteCluster" => cluster::delete(cloud, call),
        "RegisterTaskDefinition" => definition::register(cloud, call),
        "DescribeTaskDefinition" => definition::describe(cloud, call),
        "ListTaskDefinitions" => definition::list(cloud, call),
        "ListTaskDefinitionFamilies" => definition::list_families(cloud, call),
        "DeregisterTaskDefinition" => definition::deregister(cloud, call),
        "DeleteTaskDefinitions" => definition::delete(cloud, call),
        "CreateService" => service::create(cloud, call),
        "UpdateService" => service::update(cloud, call),
        "DeleteService" => service::delete(cloud, call),
        "DescribeServices" => service_view::describe(cloud, call),
        "ListServices" => service_view::list(cloud, call),
        "ListServiceDeployments" => revision::list_deployments(cloud, call),
        "DescribeServiceDeployments" => revision::describe_deployments(cloud, call),
        "DescribeServiceRevisions" => revision::describe_revisions(cloud, call),
        "ListTasks" => task_view::list(cloud, call),
        "DescribeTasks" => task_view::describe(cloud, call),
        "RunTask" => run::run(cloud, call),
        "StopTask" => run::stop(cloud, call),
        "ListAccountSettings" => account::list_settings(cloud, call),
        "ListContainerInstances" => account::list_container_instances(cloud, call),
        "TagResource" => tag::tag(cloud, call),
        "UntagResource" => tag::untag(cloud, call),
        "ListTagsForResource" => tag::list(cloud, call),
        other => Err(Fault::new("UnknownOperationException", format!("The operation {other} is not served here."))),
    };
    task::count(cloud, call.now);
    answer.map(Reply::Json)
}

/// Updates the tasks that wait or stop, and the network interfaces of all tasks.
pub(crate) fn settle(cloud: &mut Cloud, now: Timestamp) {
    service::settle(cloud, now);
    task::settle(cloud, now);
    attachment::settle(cloud, now);
}

/// The service-linked role of ECS.
const SERVICE_ROLE: &str = "AWSServiceRoleForECS";

/// Whether ECS has its role in this account. It does if the account has a cluster.
fn has_service_role(cloud: &Cloud, now: Timestamp) -> bool {
    let has_cluster = || cloud.makes_service_roles && cloud.ecs.clusters.values().next().is_some();
    let since = cloud.iam.service_role_since(SERVICE_ROLE);
    since.is_some_and(|since| cloud.all_know(Delay::IamLag, since, now)) || has_cluster()
}

fn no_service_role() -> Fault {
    invalid("Unable to assume the service linked role. Please verify that the ECS service linked role exists.")
}

fn client(message: impl Into<String>) -> Fault {
    Fault::new("ClientException", message)
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("InvalidParameterException", message)
}

/// A page in an answer: `{ member: rows, nextToken }`.
fn listed(member: &str, rows: Vec<Value>, next: Option<String>) -> Value {
    let mut answer = serde_json::Map::new();
    answer.insert(member.to_owned(), rows.into());
    if let Some(next) = next {
        answer.insert("nextToken".to_owned(), next.into());
    }
    Value::Object(answer)
}

/// The page size of a list call; AWS's maximum is 100.
fn page_size(asked: Option<usize>) -> Result<usize, Fault> {
    match asked {
        None => Ok(100),
        Some(size @ 1..=100) => Ok(size),
        Some(_) => Err(invalid("maxResults must be between 1 and 100, inclusive.")),
    }
}

fn bad_token() -> Fault {
    invalid("Invalid token")
}

fn has(include: &[String], what: &str) -> bool {
    include.iter().any(|asked| asked == what)
}
