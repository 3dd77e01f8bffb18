//! The user's tags, within the limits of every service that gets them.

use std::{collections::BTreeMap, ops::Range};

use serde_json::json;
use trunnion_catalog::limits::{self, LONGEST_TAG_KEY, LONGEST_TAG_VALUE, MOST_TAGS, TAG_OF_AWS};

use super::{Around, Described, key::Kind, kinds::Limit};
use crate::{
    diagnostic::{Diagnostic, Findings},
    field::Field,
    forms::in_any_case,
    sources::shown_text,
};

/// The reserved prefix of tag keys.
const TAG_OF_TRUNNION: &str = "trunnion:";
/// A resource also has up to six tags of Trunnion: `trunnion:stack`, `trunnion:address`, `trunnion:home`, `Name` and, on
/// hosts, `trunnion:template` and `trunnion:launch`.
const LIMIT: Limit = Limit {
    most: MOST_TAGS - 6,
    code: "stack::tag",
    says: |found, most| format!("has {found} tags, but at most {most} are allowed"),
    help: "remove some: AWS limits the tags of a resource, and six of them are Trunnion's own",
};
const SIGNS: &str = "letters, digits, spaces and `_ . : / = + - @`";

pub(super) struct Tags;

impl Kind for Tags {
    type Value = BTreeMap<String, String>;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<Self::Value> {
        let tags = findings.scalars(field, tag);
        let are_distinct = are_distinct(field, findings);
        let tags = tags.filter(|_| are_distinct)?;
        LIMIT.holds(tags.len(), field, findings)?;
        Some(tags)
    }

    fn describe(&self) -> Described {
        let reserved = [TAG_OF_AWS, TAG_OF_TRUNNION].map(in_any_case).join("|");
        Described {
            name: "map of keys to single values".to_owned(),
            bounds: vec![
                format!("at most {} tags", LIMIT.most),
                format!(
                    "each key: 1 to {LONGEST_TAG_KEY} {SIGNS}, not beginning with `{TAG_OF_AWS}` or `{TAG_OF_TRUNNION}`"
                ),
                format!("each value: at most {LONGEST_TAG_VALUE} {SIGNS}, not beginning with `{TAG_OF_AWS}`"),
                "no two keys that differ only in case".to_owned(),
            ],
            forms: vec![json!({
                "type": "object",
                "maxProperties": LIMIT.most,
                "propertyNames": {
                    "minLength": 1,
                    "maxLength": LONGEST_TAG_KEY,
                    "not": { "pattern": format!("^({reserved})") },
                },
                "additionalProperties": { "anyOf": [
                    {
                        "type": "string",
                        "maxLength": LONGEST_TAG_VALUE,
                        "not": { "pattern": format!("^{}", in_any_case(TAG_OF_AWS)) },
                    },
                    { "type": "number" },
                    { "type": "boolean" },
                ] },
            })],
            may_be_empty: true,
            ..Described::default()
        }
    }
}

fn tag(findings: &mut Findings, key: &str, value: &str, field: &Field) -> Option<()> {
    if value.chars().count() > LONGEST_TAG_VALUE || !limits::is_s3_tag_text(value) {
        let help = format!("AWS allows {LONGEST_TAG_VALUE} {SIGNS} at most");
        findings.about(field, "stack::tag", "has a value that AWS does not allow in tags", help);
        return None;
    }
    if limits::is_tag_of_aws(value) {
        let says = format!("has a value that begins with `{TAG_OF_AWS}`, which AWS reserves");
        findings.about(field, "stack::tag", says, "use another value");
        return None;
    }
    let another = "use another key".to_owned();
    let (says, help) = if limits::is_tag_of_aws(key) {
        (format!("begins with `{TAG_OF_AWS}`, which AWS reserves"), another)
    } else if key.to_lowercase().starts_with(TAG_OF_TRUNNION) {
        (format!("begins with `{TAG_OF_TRUNNION}`, which is reserved (upper or lower case)"), another)
    } else if !(1..=LONGEST_TAG_KEY).contains(&key.chars().count()) || !limits::is_s3_tag_text(key) {
        ("is not a tag key that AWS allows".to_owned(), format!("use 1 to {LONGEST_TAG_KEY} {SIGNS}"))
    } else {
        return Some(());
    };
    findings.about_name(field, "stack::tag", &says, &help);
    None
}

/// IAM treats keys that differ only in case as the same key (IAM User Guide, "Rules for tagging in IAM and AWS STS").
fn are_distinct(field: &Field, findings: &mut Findings) -> bool {
    let mut seen: BTreeMap<String, (&str, Range<usize>)> = BTreeMap::new();
    let mut are_distinct = true;
    for (key, field) in field.keys() {
        if let Some((first, place)) = seen.get(&key.to_lowercase()) {
            let message = format!("{} differs from `{}` only in case", field.shown(), shown_text(first));
            let found = Diagnostic::new("stack::tag", Some(field.key_place), message);
            findings.push(
                found
                    .with_help("keep one of the two: IAM treats them as the same key")
                    .with_also(place.clone(), "the other one"),
            );
            are_distinct = false;
        } else {
            seen.insert(key.to_lowercase(), (key, field.key_place));
        }
    }
    are_distinct
}
