//! `iam_role`: what a host or task may do. It counts as created once the role is there; its policy follows.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// A role with its only policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IamRole {
    /// Its name, unique in the account; one that is there keeps it.
    pub name: String,
    /// `/trunnion/<stack>/<region>/`; one that is there keeps it.
    pub path: String,
    /// What it is for.
    pub description: String,
    /// Who may assume it, as JSON.
    pub trust_policy: String,
    /// What it may do, as JSON: the inline policy [`IamRole::POLICY`]; without one it may do nothing.
    pub policy: Option<Value>,
    /// The names of further inline policies: none.
    pub other_policies: Vec<String>,
    /// The ARNs of attached policies: none.
    pub attached_policies: Vec<String>,
    /// Its tags.
    pub tags: Tags,
}

impl IamRole {
    /// The kind's name.
    pub const KIND: &str = "iam_role";
    /// The name of the role's inline policy.
    pub const POLICY: &str = "trunnion";
    /// The kind's rules.
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
