//! `iam_instance_profile`: hands a role to instances. It counts as created once the profile is there; its role follows.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// An instance profile with its role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IamInstanceProfile {
    /// Its name, unique in the account.
    pub name: String,
    /// `/trunnion/<stack>/`.
    pub path: String,
    /// The names of its roles; AWS takes one.
    pub roles: Vec<Value>,
    /// Its tags.
    pub tags: Tags,
}

/// The name of a stack's only instance profile.
pub fn instance_profile_name(stack: &str) -> String {
    format!("{stack}-generator")
}

impl IamInstanceProfile {
    /// The kind's name.
    pub const KIND: &str = "iam_instance_profile";
    /// The kind's rules.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["iam_role"],
        blocks: &["iam_role"],
        attributes: &[("name", Attribute::IMMUTABLE), ("path", Attribute::IMMUTABLE), ("roles", Attribute::UNORDERED)],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    };
}
