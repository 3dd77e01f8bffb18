//! `launch_template`: how the hosts of a pool are launched. The engine counts it as created once its first version
//! exists.
//!
//! Versions never change: an update adds a version and makes it the default. `data` is that of the newest version. A
//! default that is not the newest version is drift.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Map, Replacement, Rules, Value};

use crate::Tags;

/// Value of `default_version` when the newest version is the default one.
pub const LATEST: &str = "latest";

/// A launch template, described by its newest version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplate {
    /// `<stack>.<pool>`, unique in account and region; an existing template keeps its name.
    pub name: String,
    /// The contents of the newest version.
    pub data: LaunchTemplateData,
    /// What `data.user_data` was rendered from; `None` in versions that an earlier Trunnion or another tool made.
    pub boot: Option<Boot>,
    /// [`LATEST`], or the number of the default version where that is not the newest.
    pub default_version: String,
    /// Tags of the template itself.
    pub tags: Tags,
}

/// What the user data of a version was rendered from. It is stored in the version's description and is not part of the
/// data, because hosts compare by the data alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The version of Trunnion that rendered it.
    pub trunnion: String,
    /// SHA-256 of the generator binary that it starts, in hexadecimal.
    pub generator: String,
    /// Digest over the stack's own inputs and the user data that was rendered from them. It changes when either of the
    /// two changes.
    pub digest: String,
}

/// The contents of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplateData {
    /// The SSM parameter or the id that gave `image`; stored in the version's description.
    pub image_source: String,
    /// Image id (`ami-…`).
    pub image: Value,
    /// Such as `c6in.32xlarge`.
    pub instance_type: String,
    /// ARN of the instance profile.
    pub instance_profile: Value,
    /// The root volume of every host.
    pub volume: Volume,
    /// Options of the instance metadata service.
    pub metadata: Metadata,
    /// On-demand or spot.
    pub market: Market,
    /// Every interface, sorted by card and device.
    pub interfaces: Vec<Interface>,
    /// Tags of every instance, volume and interface launched from it.
    pub tags: Tags,
    /// Names of settings that a stack does not know. A stack has none; a template edited by hand may have some.
    pub other: Vec<String>,
    /// The rendered boot template in plain text, at most 16,384 bytes.
    pub user_data: String,
}

/// The root volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Name of the image's root device, such as `/dev/xvda`.
    pub device: Value,
    /// Size in GiB.
    pub size_gib: u32,
    /// EBS volume type: `gp3`.
    #[serde(rename = "type")]
    pub volume_type: String,
    /// Whether EBS encrypts it.
    pub encrypted: bool,
    /// Whether it is deleted with its instance.
    pub delete_on_termination: bool,
}

/// Options of the instance metadata service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// `required`: IMDSv2 only.
    pub tokens: String,
    /// How many network hops an answer may travel.
    pub hop_limit: i32,
}

/// How AWS charges for the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// The fixed price.
    OnDemand,
    /// The spot price; AWS may interrupt the instance.
    Spot,
}

/// One network interface of every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Index of its network card.
    pub card: u32,
    /// Device index on the card; 0 on card 0 is the primary interface.
    pub device: u32,
    /// Subnet id (`subnet-…`).
    pub subnet: Value,
    /// Ids of its security groups (`sg-…`).
    pub security_groups: Vec<Value>,
    /// Private IPv4 addresses, the primary one included.
    pub addresses: u32,
    /// IPv6 prefixes of 80 bits.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ipv6_prefixes: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The form in which a version's description stores an image source that is too long for it.
pub fn shortened_source(source: &str) -> String {
    format!("sha256:{}", Value::from(source).digest())
}

/// How many characters of an image source earlier versions stored in a description.
const KEPT_OF_SOURCE: usize = 249;

/// Whether an image source stored in a version's description is this source, in full, shortened or cut.
pub fn stands_for(kept: &str, source: &str) -> bool {
    let is_cut = || kept.chars().count() == KEPT_OF_SOURCE && source.starts_with(kept);
    kept == source || kept == shortened_source(source) || is_cut()
}

impl LaunchTemplate {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "launch_template";
    /// How the engine orders, compares and replaces resources of this kind. `digest` covers everything that instances
    /// are launched with, so it leaves out the template's own tags.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["iam_instance_profile", "security_group", "s3_object"],
        blocks: &[],
        attributes: &[
            ("name", Attribute::KEPT),
            ("boot", Attribute::OPTIONAL),
            ("data.image", Attribute::PLAIN.pinned_by("data.image_source")),
            ("data.volume.device", Attribute::PLAIN.pinned_by("data.image_source")),
            // A template of the user puts `generator.variables` into it.
            ("data.user_data", Attribute::SENSITIVE),
            // Each launch names what it launches, so this name has no effect. A pool that was renamed keeps it, and its hosts.
            ("data.tags.Name", Attribute::PLAIN.accepting(|_, _| true)),
            // Last, because the rules before it may already have made both contents equal.
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

/// Whether two contents differ only in the device indexes on further network cards, and each card has space for the
/// observed indexes. An earlier version numbered those devices from 1. The hosts are the same either way, so they are
/// not replaced.
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
    let has_space = |card: i64, device: i64| {
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
        has_space(card, device) && renumbered == *wanted
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
    fn devices_of_further_cards_may_be_numbered_from_one_if_the_card_has_space() {
        let wanted = data(&[(0, 0), (0, 1), (1, 0), (1, 1)], "");
        assert!(is_numbered_otherwise(&wanted, &data(&[(0, 0), (0, 1), (1, 1), (1, 2)], "")));
        for (other, why) in [
            (data(&[(0, 0), (0, 2), (1, 0), (1, 1)], ""), "the first card"),
            (data(&[(0, 0), (0, 1), (1, 1), (1, 2)], "#!"), "the user data"),
            (data(&[(0, 0), (0, 1), (1, 1)], ""), "one interface fewer"),
            (data(&[(0, 0), (1, 0), (1, 1), (1, 2)], ""), "another card"),
        ] {
            assert!(!is_numbered_otherwise(&wanted, &other), "{why}");
        }
        let full = |first: i64| {
            let places: Vec<_> =
                (0..8).map(|device| (0, device)).chain((first..first + 8).map(|device| (1, device))).collect();
            data(&places, "")
        };
        assert!(
            !is_numbered_otherwise(&full(0), &full(1)),
            "EC2 terminates hosts of a full card that is numbered from one"
        );
    }
}
