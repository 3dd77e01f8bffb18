//! `ecs_service`: keeps the control plane running. The engine counts it as created once `CreateService` has answered.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// An ECS service on Fargate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcsService {
    /// Unique in the cluster.
    pub name: String,
    /// ARN of the cluster.
    pub cluster: Value,
    /// ARN of the task definition's revision.
    pub task_definition: Value,
    /// How many tasks ECS keeps running.
    pub desired_count: i32,
    /// The network of its tasks.
    pub network: ServiceNetwork,
    /// How ECS replaces its tasks when the task definition changes.
    pub deployment: Deployment,
    /// All its tags, including those that Trunnion sets.
    pub tags: Tags,
}

/// The network of a service's tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceNetwork {
    /// Ids of the subnets (`subnet-…`).
    pub subnets: Vec<Value>,
    /// Ids of the security groups (`sg-…`).
    pub security_groups: Vec<Value>,
    /// Whether a task gets a public IPv4 address.
    pub public_ip: bool,
}

/// How ECS replaces a service's tasks. Both limits are percentages of `desired_count`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The lowest share of tasks that keep running.
    pub minimum_healthy_percent: i32,
    /// The highest share of tasks that run at the same time.
    pub maximum_percent: i32,
}

/// The name of a stack's control plane in ECS: both the service and the family of its task definition have it.
pub fn control_plane_name(stack: &str) -> String {
    format!("{stack}-control-plane")
}

impl EcsService {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "ecs_service";
    /// How the engine orders, compares and replaces resources of this kind.
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
