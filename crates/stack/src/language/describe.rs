//! The description of the language as data. The check for unknown keys, the JSON Schema, the reference and the merge rules all
//! use it.

use serde_json::Value;

/// The keys of one map.
#[derive(Debug)]
pub(crate) struct Description {
    /// What the map is for.
    pub(crate) about: String,
    /// The keys, in the usual order of a file.
    pub(crate) keys: Vec<Entry>,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// What it is for, in one paragraph.
    pub(crate) about: String,
    pub(crate) absent: Absent,
    /// Example values in YAML; empty if the keys below have examples.
    pub(crate) examples: &'static [&'static str],
    pub(crate) kind: Described,
}

/// What applies without the key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Absent {
    /// The key is required.
    Required,
    /// Exactly one of this key and the named one is required.
    Either(&'static str),
    /// This value applies, written in YAML.
    Value(&'static str),
    /// The value described by this text applies.
    Otherwise(&'static str),
}

/// The values of a key.
#[derive(Debug, Default)]
pub(crate) struct Described {
    /// Its type, such as `whole number`.
    pub(crate) name: String,
    /// Its bounds, such as `0 to 1000`.
    pub(crate) bounds: Vec<String>,
    /// The JSON Schemas of its possible forms, except a map with keys below.
    pub(crate) forms: Vec<Value>,
    pub(crate) below: Below,
    /// Whether an empty value counts as an empty list or map.
    pub(crate) may_be_empty: bool,
    /// Whether an environment replaces the whole value, even if both are maps.
    pub(crate) is_replaced: bool,
}

/// The keys below a key.
#[derive(Debug, Default)]
pub(crate) enum Below {
    /// No keys, or keys that the language does not define.
    #[default]
    Anything,
    /// These.
    Keys(Description),
    /// Names chosen by the user, each with these keys below it.
    Named(Named),
}

/// Names chosen by the user.
#[derive(Debug)]
pub(crate) struct Named {
    /// The placeholder for the name in a path, such as `<pool>`.
    pub(crate) placeholder: &'static str,
    /// An example of a name.
    pub(crate) example: &'static str,
    /// The pattern of such names.
    pub(crate) pattern: &'static str,
    pub(crate) at_least: usize,
    pub(crate) at_most: usize,
    /// The keys below each name.
    pub(crate) each: Description,
}

impl Description {
    /// The key of this name.
    pub(crate) fn key(&self, name: &str) -> Option<&Entry> {
        self.keys.iter().find(|entry| entry.name == name)
    }
}

/// The first paragraph of a doc comment as one line. Further paragraphs are for the Rust documentation only.
pub(super) fn paragraph(doc: &[&str]) -> String {
    let lines: Vec<&str> = doc.iter().map(|line| line.trim()).take_while(|line| !line.is_empty()).collect();
    lines.join(" ")
}
