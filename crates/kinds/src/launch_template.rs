//! `launch_template`: how the hosts of a pool are launched. It counts as created once its first version is there.
//!
//! Versions never change: an update adds one and makes it the default. The newest version is the template's `data`;
//! a default that is not the newest is drift.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// `default_version` when the newest version is the default one.
pub const LATEST: &str = "latest";

/// A launch template by its newest version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplate {
    /// Its name, unique in account and region.
    pub name: String,
    /// What its newest version says.
    pub data: LaunchTemplateData,
    /// Where `data.user_data` comes from; nothing in versions that an earlier Trunnion or somebody else made.
    pub boot: Option<Boot>,
    /// [`LATEST`], or the number of the default version where that is an older one.
    pub default_version: String,
    /// Tags of the template itself.
    pub tags: Tags,
}

/// Where the user data of a version comes from. It is kept in the version's description, beside the data: hosts compare by
/// the data alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The version of Trunnion that rendered it.
    pub trunnion: String,
    /// SHA-256 of the generator binary that it starts, in hexadecimal.
    pub generator: String,
    /// Digest of the stack's own inputs and of the user data that they became. Equal inputs with other user data, or the
    /// other way round, have another one.
    pub digest: String,
}

/// What a version of the template says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplateData {
    /// What `image` was asked for by (an SSM parameter or an id); kept in the version's description.
    pub image_source: String,
    /// `ami-…`
    pub image: Value,
    /// The instance type.
    pub instance_type: String,
    /// ARN of the instance profile.
    pub instance_profile: Value,
    /// The root volume.
    pub volume: Volume,
    /// How the instance metadata service answers.
    pub metadata: Metadata,
    /// How the instances are paid.
    pub market: Market,
    /// Every interface, in the order of cards and devices.
    pub interfaces: Vec<Interface>,
    /// Tags of every instance, volume and interface launched from it.
    pub tags: Tags,
    /// Names of settings beyond these: none. Somebody who edits the template may leave some.
    pub other: Vec<String>,
    /// The boot template, in plain text (16,384 bytes at most).
    pub user_data: String,
}

/// The root volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The image's root device, such as `/dev/xvda`.
    pub device: Value,
    /// Size in GiB.
    pub size_gib: u32,
    /// EBS volume type: `gp3`.
    #[serde(rename = "type")]
    pub volume_type: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Whether it goes with its instance.
    pub delete_on_termination: bool,
}

/// How the instance metadata service answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// `required`: IMDSv2 only.
    pub tokens: String,
    /// How many network hops an answer may take.
    pub hop_limit: i32,
}

/// How instances are paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// By the second.
    OnDemand,
    /// At the spot price.
    Spot,
}

/// One network interface of every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Network card.
    pub card: u32,
    /// Device number on its card; 0 on card 0 is the primary interface.
    pub device: u32,
    /// `subnet-…`
    pub subnet: Value,
    /// `sg-…`, of each.
    pub security_groups: Vec<Value>,
    /// Private IPv4 addresses, the primary one included.
    pub addresses: u32,
}

/// How a version's description names an image source that is too long for it.
pub fn shortened_source(source: &str) -> String {
    format!("sha256:{}", Value::from(source).digest())
}

/// How many characters of a source earlier versions kept in a description.
const KEPT_OF_SOURCE: usize = 249;

/// Whether an image source as a version's description keeps it stands for this one.
pub fn stands_for(kept: &str, source: &str) -> bool {
    let is_cut = || kept.chars().count() == KEPT_OF_SOURCE && source.starts_with(kept);
    kept == source || kept == shortened_source(source) || is_cut()
}

impl LaunchTemplate {
    /// The kind's name.
    pub const KIND: &str = "launch_template";
    /// The kind's rules. `digest` says what instances are launched from; it leaves the template's own tags out.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["iam_instance_profile", "security_group", "s3_object"],
        blocks: &[],
        attributes: &[
            ("name", Attribute::IMMUTABLE),
            ("boot", Attribute::OPTIONAL),
            ("data.image", Attribute::PLAIN.pinned_by("data.image_source")),
            ("data.volume.device", Attribute::PLAIN.pinned_by("data.image_source")),
        ],
        computed: &[
            ("id", Computed::AtCreation),
            ("version", Computed::ChangesWith(&["data", "boot", "default_version"])),
            ("digest", Computed::DigestOf("data")),
        ],
        replacement: Replacement::DeleteFirst,
    };
}
