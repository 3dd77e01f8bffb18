//! `iam_instance_profile`: hands a role to instances. It counts as created once the profile is there; its role follows.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// An instance profile with its role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IamInstanceProfile {
    /// Its name, unique in the account; one that is there keeps it, for hosts are launched with it.
    pub name: String,
    /// `/trunnion/<stack>/<region>/`; one that is there keeps it.
    pub path: String,
    /// The names of its roles; AWS takes one.
    pub roles: Vec<Value>,
    /// Its tags.
    pub tags: Tags,
}

impl IamInstanceProfile {
    /// The kind's name.
    pub const KIND: &str = "iam_instance_profile";
    /// The kind's rules.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["iam_role"],
        blocks: &["iam_role"],
        attributes: &[("name", Attribute::KEPT), ("path", Attribute::KEPT), ("roles", Attribute::UNORDERED)],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    };
}
