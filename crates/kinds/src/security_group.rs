//! `security_group`: who may reach an interface. It counts as created once the group is there; its rules follow.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// A security group with all of its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its name, unique in the VPC.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// `vpc-…`
    pub vpc: Value,
    /// What may come in.
    pub ingress: Vec<SecurityGroupRule>,
    /// What may go out.
    pub egress: Vec<SecurityGroupRule>,
    /// Its tags.
    pub tags: Tags,
}

/// One permission; a permission for several peers is several rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    /// `tcp`, `udp`, `icmp`, or `-1` for all.
    pub protocol: String,
    /// The first port; absent when `protocol` is `-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_port: Option<i32>,
    /// The last port; absent when `protocol` is `-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<i32>,
    /// A CIDR block, a prefix list (`pl-…`) or a security group (`sg-…`).
    pub peer: Value,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl SecurityGroup {
    /// The kind's name.
    pub const KIND: &str = "security_group";
    /// The kind's rules.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["security_group"],
        blocks: &[],
        attributes: &[
            ("name", Attribute::IMMUTABLE),
            ("description", Attribute::IMMUTABLE),
            ("vpc", Attribute::IMMUTABLE),
            ("ingress", Attribute::UNORDERED),
            ("egress", Attribute::UNORDERED),
        ],
        computed: &[("id", Computed::AtCreation)],
        replacement: Replacement::CreateFirst,
    };
}
