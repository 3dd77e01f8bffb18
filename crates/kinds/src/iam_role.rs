//! `iam_role`: what a host or task may do. The engine counts it as created once the role exists; its policy is added
//! afterwards.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// An IAM role with one inline policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IamRole {
    /// Unique in the account; an existing role keeps its name.
    pub name: String,
    /// `/trunnion/<stack>/<region>/`; an existing role keeps its path.
    pub path: String,
    /// The text that IAM shows for it.
    pub description: String,
    /// Who may assume the role, as JSON.
    pub trust_policy: String,
    /// What the role may do, as JSON: the inline policy [`IamRole::POLICY`]. Without it the role may do nothing.
    pub policy: Option<Value>,
    /// Names of further inline policies. A stack has none, so any is removed.
    pub other_policies: Vec<String>,
    /// ARNs of attached managed policies. A stack has none, so any is detached.
    pub attached_policies: Vec<String>,
    /// All its tags, including those that Trunnion sets.
    pub tags: Tags,
}

impl IamRole {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "iam_role";
    /// The name of the role's inline policy.
    pub const POLICY: &str = "trunnion";
    /// How the engine orders, compares and replaces resources of this kind.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &[],
        blocks: &[],
        attributes: &[
            ("name", Attribute::KEPT),
            ("path", Attribute::KEPT),
            ("trust_policy", Attribute::JSON),
            ("policy", Attribute::JSON),
            ("other_policies", Attribute::UNORDERED),
            ("attached_policies", Attribute::UNORDERED),
        ],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    };
}
