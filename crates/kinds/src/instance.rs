//! `instance`: a generator host. It counts as created once `RunInstances` answered; the token finds it again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// The `state` that every host should have.
pub const STATE_RUNNING: &str = "running";

/// A host of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `id` of the launch template it is launched from.
    pub launch_template: Value,
    /// The template's version it is launched from.
    pub version: Value,
    /// `digest` of the launch template: another one replaces the host.
    pub template: Value,
    /// How many network interfaces it has.
    pub interfaces: u32,
    /// How many private IPv4 addresses each of them has.
    pub addresses: u32,
    /// [`STATE_RUNNING`]; a stopped host is started again.
    pub state: String,
    /// Tags of the instance, its volumes and its interfaces.
    pub tags: Tags,
}

/// One element of the computed attribute `network_interfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceInterface {
    /// `eni-…`
    pub id: String,
    /// Network card.
    pub card: u32,
    /// Device number on the card.
    pub device: u32,
    /// Its primary private address.
    pub private_ip: String,
    /// How many private IPv4 addresses it has.
    pub addresses: u32,
}

impl Instance {
    /// The kind's name.
    pub const KIND: &str = "instance";
    /// The kind's rules.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["launch_template", "iam_instance_profile", "security_group", "s3_object"],
        blocks: &["security_group"],
        attributes: &[
            ("launch_template", Attribute::CREATE_ONLY),
            ("version", Attribute::CREATE_ONLY),
            ("template", Attribute::IMMUTABLE),
            ("interfaces", Attribute::IMMUTABLE),
            ("addresses", Attribute::IMMUTABLE),
        ],
        computed: &[
            ("id", Computed::AtCreation),
            ("private_ip", Computed::AtCreation),
            ("network_interfaces", Computed::AtCreation),
            ("volumes", Computed::AtCreation),
        ],
        replacement: Replacement::DeleteFirstOneByOne,
    };
}
