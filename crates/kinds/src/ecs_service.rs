//! `ecs_service`: keeps the control plane running. It counts as created once `CreateService` answered.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// An ECS service on Fargate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcsService {
    /// Its name, unique in the cluster.
    pub name: String,
    /// The cluster's ARN.
    pub cluster: Value,
    /// ARN of the task definition's revision.
    pub task_definition: Value,
    /// How many tasks run.
    pub desired_count: i32,
    /// Where its tasks stand.
    pub network: ServiceNetwork,
    /// How a new revision takes over.
    pub deployment: Deployment,
    /// Its tags.
    pub tags: Tags,
}

/// Where a service's tasks stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceNetwork {
    /// `subnet-…`, of each.
    pub subnets: Vec<Value>,
    /// `sg-…`, of each.
    pub security_groups: Vec<Value>,
    /// Whether a task gets a public address.
    pub public_ip: bool,
}

/// How a new revision takes over: percentages of `desired_count`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// So many keep running.
    pub minimum_healthy_percent: i32,
    /// So many run at the most.
    pub maximum_percent: i32,
}

/// The name of a stack's control plane in ECS: of its service and of its task definition's family.
pub fn control_plane_name(stack: &str) -> String {
    format!("{stack}-control-plane")
}

impl EcsService {
    /// The kind's name.
    pub const KIND: &str = "ecs_service";
    /// The kind's rules.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["ecs_cluster", "ecs_task_definition", "security_group"],
        blocks: &["ecs_cluster", "security_group"],
        attributes: &[
            ("name", Attribute::IMMUTABLE),
            ("cluster", Attribute::IMMUTABLE),
            ("network.subnets", Attribute::UNORDERED),
            ("network.security_groups", Attribute::UNORDERED),
        ],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    };
}
