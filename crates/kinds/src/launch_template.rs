//! `launch_template`: how the hosts of a pool are launched. It counts as created once its first version is there.
//!
//! Versions never change: an update adds one and makes it the default. The newest version is the template's `data`;
//! a default that is not the newest is drift.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Map, Replacement, Rules, Value};

use crate::Tags;

/// `default_version` when the newest version is the default one.
pub const LATEST: &str = "latest";

/// A launch template by its newest version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplate {
    /// `<stack>.<pool>`, unique in account and region; one that is there keeps its name.
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
            ("name", Attribute::KEPT),
            ("boot", Attribute::OPTIONAL),
            ("data.image", Attribute::PLAIN.pinned_by("data.image_source")),
            ("data.volume.device", Attribute::PLAIN.pinned_by("data.image_source")),
            // Behind the others, which may have brought the contents together by then.
            ("data", Attribute::PLAIN.accepting(is_numbered_otherwise)),
        ],
        computed: &[
            ("id", Computed::AtCreation),
            ("version", Computed::ChangesWith(&["data", "boot", "default_version"])),
            ("digest", Computed::DigestOf("data")),
        ],
        replacement: Replacement::DeleteFirst,
    };
}

/// Whether two contents differ in nothing but the numbers of devices on the further network cards, where each has place for
/// the numbers observed. Such numbers began at 1 once; they launch the same hosts, so a fleet is not replaced for them.
fn is_numbered_otherwise(desired: &Value, observed: &Value) -> bool {
    let (Value::Map(desired), Value::Map(observed)) = (desired, observed) else { return false };
    let without_interfaces = |data: &Map| {
        let mut data = data.clone();
        data.remove("interfaces");
        data
    };
    let interfaces = |data: &Map| data.get("interfaces").and_then(Value::as_list).map(<[Value]>::to_vec);
    let (Some(wanted), Some(found)) = (interfaces(desired), interfaces(observed)) else { return false };
    let cards = desired.get("instance_type").and_then(Value::as_text).and_then(trunnion_catalog::instance_type);
    let has_place = |card: i64, device: i64| {
        let most = usize::try_from(card).ok().and_then(|card| cards?.cards.get(card).copied());
        most.is_some_and(|most| device < i64::from(most))
    };
    let number = |interface: &Map, name: &str| interface.get(name).and_then(Value::as_number);
    let same = |(wanted, found): (&Value, &Value)| {
        let (Value::Map(wanted), Value::Map(found)) = (wanted, found) else { return false };
        let (Some(card), Some(device)) = (number(found, "card"), number(found, "device")) else { return false };
        if card == 0 {
            return wanted == found;
        }
        let mut renumbered = found.clone();
        renumbered.extend(wanted.get("device").map(|device| ("device".to_owned(), device.clone())));
        has_place(card, device) && renumbered == *wanted
    };
    without_interfaces(desired) == without_interfaces(observed)
        && wanted.len() == found.len()
        && wanted.iter().zip(&found).all(same)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn data(interfaces: &[(i64, i64)], user_data: &str) -> Value {
        let interfaces: Vec<_> = interfaces
            .iter()
            .map(|(card, device)| json!({ "card": card, "device": device, "addresses": 30 }))
            .collect();
        json!({ "instance_type": "c6in.32xlarge", "user_data": user_data, "interfaces": interfaces }).into()
    }

    #[test]
    fn devices_of_further_cards_may_be_numbered_from_one_where_they_have_place() {
        let wanted = data(&[(0, 0), (0, 1), (1, 0), (1, 1)], "");
        assert!(is_numbered_otherwise(&wanted, &data(&[(0, 0), (0, 1), (1, 1), (1, 2)], "")));
        for (other, why) in [
            (data(&[(0, 0), (0, 2), (1, 0), (1, 1)], ""), "the first card"),
            (data(&[(0, 0), (0, 1), (1, 1), (1, 2)], "#!"), "the user data"),
            (data(&[(0, 0), (0, 1), (1, 1)], ""), "an interface less"),
            (data(&[(0, 0), (1, 0), (1, 1), (1, 2)], ""), "another card"),
        ] {
            assert!(!is_numbered_otherwise(&wanted, &other), "{why}");
        }
        let full = |first: i64| {
            let places: Vec<_> =
                (0..8).map(|device| (0, device)).chain((first..first + 8).map(|device| (1, device))).collect();
            data(&places, "")
        };
        assert!(!is_numbered_otherwise(&full(0), &full(1)), "EC2 ends hosts of a full card that is numbered from one");
    }
}
