//! `instance`: a generator host. The engine counts it as created once `RunInstances` has answered; the client token
//! finds it again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// The `state` of a running host.
pub const STATE_RUNNING: &str = "running";

/// One host of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `id` of its launch template.
    pub launch_template: Value,
    /// Version of the launch template.
    pub version: Value,
    /// The availability zone. EC2 compares tokens within one zone.
    pub zone: Value,
    /// `digest` of the launch template. A host with another digest is replaced.
    pub template: Value,
    /// How many network interfaces it has.
    pub interfaces: u32,
    /// How many private IPv4 addresses each of them has.
    pub addresses: u32,
    /// [`STATE_RUNNING`]: a stopped host differs, so it is started.
    pub state: String,
    /// Tags of the instance, its volumes and its interfaces.
    pub tags: Tags,
}

/// One element of the computed attribute `network_interfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceInterface {
    /// Interface id (`eni-…`).
    pub id: String,
    /// Index of its network card.
    pub card: u32,
    /// Device index on the card.
    pub device: u32,
    /// Its primary private address.
    pub private_ip: String,
    /// How many private IPv4 addresses it has.
    pub addresses: u32,
}

impl Instance {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "instance";
    /// How the engine orders, compares and replaces resources of this kind.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["launch_template", "iam_instance_profile", "security_group", "s3_object"],
        blocks: &["security_group"],
        attributes: &[
            ("launch_template", Attribute::CREATE_ONLY),
            ("version", Attribute::CREATE_ONLY),
            ("zone", Attribute::CREATE_ONLY.identifying()),
            ("template", Attribute::IMMUTABLE),
            ("interfaces", Attribute::IMMUTABLE),
            ("addresses", Attribute::IMMUTABLE),
        ],
        computed: &[
            ("id", Computed::AtCreation),
            ("private_ip", Computed::AtCreation),
            ("private_ips", Computed::AtCreation),
            ("network_interfaces", Computed::AtCreation),
            ("volumes", Computed::AtCreation),
        ],
        replacement: Replacement::DeleteFirstOneByOne,
    };
}
