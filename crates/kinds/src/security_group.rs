//! `security_group`: who may reach an interface. The engine counts it as created once the group exists; its rules are
//! added afterwards.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// A security group with all its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Unique in the VPC.
    pub name: String,
    /// The text that EC2 shows for it.
    pub description: String,
    /// Id of the VPC (`vpc-…`).
    pub vpc: Value,
    /// Rules for incoming traffic.
    pub ingress: Vec<SecurityGroupRule>,
    /// Rules for outgoing traffic.
    pub egress: Vec<SecurityGroupRule>,
    /// All its tags, including those that Trunnion sets.
    pub tags: Tags,
}

/// One rule with one peer; AWS's permissions with several peers are several rules.
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
    /// The text that EC2 shows for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl SecurityGroup {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "security_group";
    /// How the engine orders, compares and replaces resources of this kind.
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
