//! What is known about the language as plain data. The known keys, the JSON Schema, the reference and the rules of merging are
//! all made from it.

use serde_json::Value;

/// The keys of one map.
#[derive(Debug)]
pub(crate) struct Description {
    /// What the map that holds them is.
    pub(crate) about: String,
    /// The keys, in the order in which files usually have them.
    pub(crate) keys: Vec<Entry>,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// What it is for, in one paragraph.
    pub(crate) about: String,
    pub(crate) absent: Absent,
    /// Values as somebody writes them; none where the keys below have them.
    pub(crate) examples: &'static [&'static str],
    pub(crate) kind: Described,
}

/// What holds without the key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Absent {
    /// Nothing: it has to be there.
    Required,
    /// Exactly one of it and this other key has to be there.
    Either(&'static str),
    /// This value, as a file would have it.
    Value(&'static str),
    /// What these words say.
    Otherwise(&'static str),
}

/// The values of a key.
#[derive(Debug, Default)]
pub(crate) struct Described {
    /// Its type, such as `whole number`.
    pub(crate) name: String,
    /// Its bounds, such as `0 to 1000`.
    pub(crate) bounds: Vec<String>,
    /// The JSON Schema of each form that it can have, apart from a map with keys below.
    pub(crate) forms: Vec<Value>,
    pub(crate) below: Below,
    /// Whether nothing after the colon is the same as an empty one.
    pub(crate) may_be_empty: bool,
    /// Whether an environment replaces it as a whole, also where both are maps.
    pub(crate) is_replaced: bool,
}

/// The keys below a key.
#[derive(Debug, Default)]
pub(crate) enum Below {
    /// None, or some that the language does not know.
    #[default]
    Anything,
    /// These.
    Keys(Description),
    /// Names that the user gives, each with these keys below it.
    Named(Named),
}

/// Names that the user gives.
#[derive(Debug)]
pub(crate) struct Named {
    /// What stands for the name in a path, such as `<pool>`.
    pub(crate) placeholder: &'static str,
    /// A name that somebody may give.
    pub(crate) example: &'static str,
    /// The pattern of such names.
    pub(crate) pattern: &'static str,
    pub(crate) at_least: usize,
    pub(crate) at_most: usize,
    /// What each of them holds.
    pub(crate) each: Description,
}

impl Description {
    /// The key of this name.
    pub(crate) fn key(&self, name: &str) -> Option<&Entry> {
        self.keys.iter().find(|entry| entry.name == name)
    }
}

/// The first paragraph of a doc comment as one line. What follows it is for readers of the Rust interface.
pub(super) fn paragraph(doc: &[&str]) -> String {
    let lines: Vec<&str> = doc.iter().map(|line| line.trim()).take_while(|line| !line.is_empty()).collect();
    lines.join(" ")
}
