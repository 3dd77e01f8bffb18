//! `ecs_cluster`: the cluster of the control plane's service. The engine counts it as created once the cluster exists.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules};

use crate::Tags;

/// An ECS cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcsCluster {
    /// Unique in account and region.
    pub name: String,
    /// All its tags, including those that Trunnion sets.
    pub tags: Tags,
}

impl EcsCluster {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "ecs_cluster";
    /// How the engine orders, compares and replaces resources of this kind.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &[],
        blocks: &[],
        attributes: &[("name", Attribute::IMMUTABLE)],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    };
}
