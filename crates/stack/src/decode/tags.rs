//! The user's own tags: what every service that they are put on takes.

use std::{collections::BTreeMap, ops::Range};

use trunnion_catalog::limits::{self, LONGEST_TAG_KEY, LONGEST_TAG_VALUE};

use super::Map;
use crate::{
    diagnostic::{Diagnostic, Findings},
    sources::shown_text,
};

/// Beside them, a resource has up to five of ours: `trunnion:stack`, `trunnion:address`, `trunnion:home`, `Name` and, on
/// hosts, `trunnion:template`.
pub(crate) const MOST: usize = limits::MOST_TAGS - 5;

pub(super) fn read(top: &Map, findings: &mut Findings) -> Option<BTreeMap<String, String>> {
    let tags = findings.scalars(top, "tags", |findings, key, value, field| {
        if value.chars().count() > LONGEST_TAG_VALUE || !limits::is_tag_text(value) {
            let help = "AWS takes 256 letters, digits, spaces and `_ . : / = + - @` at most";
            findings.about(field, "stack::tag", "has a value that AWS does not take in tags", help);
            return None;
        }
        if limits::is_tag_of_aws(value) {
            let says = "has a value that begins with `aws:`, which AWS keeps for itself";
            findings.about(field, "stack::tag", says, "take another value");
            return None;
        }
        let (says, help) = if limits::is_tag_of_aws(key) {
            ("begins with `aws:`, which AWS keeps for itself", "take another key")
        } else if key.to_lowercase().starts_with("trunnion:") {
            ("begins with `trunnion:`, by which resources are found again", "take another key")
        } else if !(1..=LONGEST_TAG_KEY).contains(&key.chars().count()) || !limits::is_tag_text(key) {
            ("is no key that AWS takes for a tag", "take 1 to 128 letters, digits, spaces and `_ . : / = + - @`")
        } else {
            return Some(());
        };
        findings.about_name(field, "stack::tag", says, help);
        None
    });
    let distinct = distinct(top, findings);
    let tags = tags.filter(|_| distinct)?;
    if tags.len() > MOST {
        let field = top.get("tags")?;
        let help = "AWS takes 50 on a resource, and five of them are ours";
        findings.about(&field, "stack::tag", format!("holds {} tags, but {MOST} fit", tags.len()), help);
        return None;
    }
    Some(tags)
}

/// IAM takes keys that differ in case alone for the same key (IAM User Guide, "Rules for tagging in IAM and AWS STS").
fn distinct(top: &Map, findings: &mut Findings) -> bool {
    let Some(map) =
        top.get("tags").map(|field| Map { path: field.path, place: field.place, entries: field.node.entries() })
    else {
        return true;
    };
    let mut seen: BTreeMap<String, (&str, Range<usize>)> = BTreeMap::new();
    let mut is_distinct = true;
    for (key, field) in map.fields() {
        if let Some((first, place)) = seen.get(&key.to_lowercase()) {
            let message = format!("{} differs from `{}` in case alone", field.shown(), shown_text(first));
            let found = Diagnostic::new("stack::tag", Some(field.key_place.clone()), message);
            findings.push(
                found
                    .with_help("keep one of the two: IAM takes them for the same key")
                    .with_also(place.clone(), "the other one"),
            );
            is_distinct = false;
        } else {
            seen.insert(key.to_lowercase(), (key, field.key_place.clone()));
        }
    }
    is_distinct
}
