//! Elastic Container Service: clusters, task definitions, services on Fargate and the tasks that these run.
//!
//! Tasks are no rows: what a service runs follows from its deployment, the time since, and the world's pace.

mod cluster;
mod container;
mod definition;
mod service;
mod service_view;
mod tag;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    call::{Call, Fault, Reply},
    table::{AnyTable, Table},
    world::World,
};

/// Clusters, definitions and services of every region.
#[derive(Debug, Default)]
pub struct State {
    /// By ARN.
    clusters: Table<cluster::Cluster>,
    /// By ARN, the deleted ones included: a revision number is never given twice.
    definitions: Table<definition::Definition>,
    /// By ARN, the inactive ones included.
    services: Table<service::Service>,
}

impl State {
    /// Every table, for the journal.
    pub fn tables(&mut self) -> Vec<(&'static str, &mut dyn AnyTable)> {
        vec![
            ("ecs.clusters", &mut self.clusters),
            ("ecs.definitions", &mut self.definitions),
            ("ecs.services", &mut self.services),
        ]
    }

    /// Whether a service that still has tasks puts them behind this security group, or into this subnet.
    pub(crate) fn uses_network(&self, id: &str, now: Timestamp, pace: SignedDuration) -> bool {
        self.services.values().any(|service| service.has_tasks(now, pace) && service.is_in_network(id))
    }
}

/// Answers one call.
pub fn handle(world: &mut World, call: &Call) -> Result<Reply, Fault> {
    let answer = match call.action.as_str() {
        "CreateCluster" => cluster::create(world, call),
        "DescribeClusters" => cluster::describe(world, call),
        "ListClusters" => cluster::list(world, call),
        "UpdateCluster" | "UpdateClusterSettings" => cluster::update(world, call),
        "DeleteCluster" => cluster::delete(world, call),
        "RegisterTaskDefinition" => definition::register(world, call),
        "DescribeTaskDefinition" => definition::describe(world, call),
        "ListTaskDefinitions" => definition::list(world, call),
        "ListTaskDefinitionFamilies" => definition::list_families(world, call),
        "DeregisterTaskDefinition" => definition::deregister(world, call),
        "DeleteTaskDefinitions" => definition::delete(world, call),
        "CreateService" => service::create(world, call),
        "UpdateService" => service::update(world, call),
        "DeleteService" => service::delete(world, call),
        "DescribeServices" => service_view::describe(world, call),
        "ListServices" => service_view::list(world, call),
        "ListTasks" => service_view::list_tasks(world, call),
        "DescribeTasks" => service_view::describe_tasks(world, call),
        "TagResource" => tag::tag(world, call),
        "UntagResource" => tag::untag(world, call),
        "ListTagsForResource" => tag::list(world, call),
        other => Err(Fault::new("UnknownOperationException", format!("The operation {other} is not served here."))),
    };
    answer.map(Reply::Json)
}

fn client(message: impl Into<String>) -> Fault {
    Fault::new("ClientException", message)
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("InvalidParameterException", message)
}

/// A page's answer: `{ member: rows, nextToken }`.
fn listed(member: &str, rows: Vec<Value>, next: Option<String>) -> Value {
    let mut answer = serde_json::Map::new();
    answer.insert(member.to_owned(), rows.into());
    if let Some(next) = next {
        answer.insert("nextToken".to_owned(), next.into());
    }
    Value::Object(answer)
}

/// What a list call asks of its pages; AWS's largest page is 100.
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
