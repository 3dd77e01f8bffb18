//! `log_group`: where the control plane logs to. It counts as created once the group is there; its retention follows.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules};

use crate::Tags;

/// A `CloudWatch` Logs group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGroup {
    /// Its name, unique in account and region.
    pub name: String,
    /// How many days events are kept; 0 is for ever.
    pub retention_days: i32,
    /// Its tags.
    pub tags: Tags,
}

impl LogGroup {
    /// The kind's name.
    pub const KIND: &str = "log_group";

    /// The beginning of the names of a stack's groups.
    pub fn prefix(stack: &str) -> String {
        format!("/trunnion/{stack}/")
    }

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
