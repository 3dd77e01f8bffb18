//! `iam_instance_profile`: gives a role to instances. The engine counts it as created once the profile exists; its role
//! is added afterwards.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// An instance profile with its role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IamInstanceProfile {
    /// Unique in the account. An existing profile keeps its name, because hosts were launched with it.
    pub name: String,
    /// `/trunnion/<stack>/<region>/`; an existing profile keeps its path.
    pub path: String,
    /// Names of its roles; AWS allows one.
    pub roles: Vec<Value>,
    /// All its tags, including those that Trunnion sets.
    pub tags: Tags,
}

impl IamInstanceProfile {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "iam_instance_profile";
    /// How the engine orders, compares and replaces resources of this kind.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["iam_role"],
        blocks: &["iam_role"],
        attributes: &[("name", Attribute::KEPT), ("path", Attribute::KEPT), ("roles", Attribute::UNORDERED)],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    };
}
