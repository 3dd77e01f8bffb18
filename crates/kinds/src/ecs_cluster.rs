//! `ecs_cluster`: where the control plane runs. It counts as created once the cluster is there.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules};

use crate::Tags;

/// An ECS cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcsCluster {
    /// Its name, unique in account and region.
    pub name: String,
    /// Its tags.
    pub tags: Tags,
}

impl EcsCluster {
    /// The kind's name.
    pub const KIND: &str = "ecs_cluster";
    /// The kind's rules.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &[],
        blocks: &[],
        attributes: &[("name", Attribute::IMMUTABLE)],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    };
}
