//! `log_group`: the control plane's logs. The engine counts it as created once the group exists; its retention is set
//! afterwards.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules};

use crate::Tags;

/// A `CloudWatch` Logs group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGroup {
    /// Unique in account and region.
    pub name: String,
    /// How many days events are kept; 0 means for ever.
    pub retention_days: i32,
    /// All its tags, including those that Trunnion sets.
    pub tags: Tags,
}

impl LogGroup {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "log_group";

    /// The prefix of the names of a stack's groups.
    pub fn prefix(stack: &str) -> String {
        format!("/trunnion/{stack}/")
    }

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
