//! Lays an environment over the stack it belongs to.
//!
//! Maps are merged key by key, everything else is replaced, and `null` takes a key away. What comes from the environment
//! keeps its place there.

use crate::tree::{Entry, Node, Value};

/// Values that are one choice of several: never merged, although some choices are maps.
const CHOICES: [&str; 2] = ["network.vpc", "pools.*.image"];
/// Keys of which a pool has exactly one: naming the one takes the other away.
const EITHER_OR: [(&str, &str); 2] = [("zone", "subnet"), ("subnet", "zone")];

/// The stack's tree with the environment's tree laid over it.
pub(crate) fn overlay(base: Node, over: Node) -> Node {
    merge(base, over, "")
}

fn merge(base: Node, over: Node, path: &str) -> Node {
    match (base.value, over.value) {
        (Value::Map(entries), Value::Map(over)) if !CHOICES.contains(&path) => {
            Node { span: base.span, value: Value::Map(merge_entries(entries, over, path)) }
        }
        (_, value) => Node { span: over.span, value: without_nulls(value) },
    }
}

fn merge_entries(mut entries: Vec<Entry>, over: Vec<Entry>, path: &str) -> Vec<Entry> {
    if path == "pools.*" {
        for (named, other) in EITHER_OR {
            if over.iter().any(|entry| entry.key == named) && !over.iter().any(|entry| entry.key == other) {
                entries.retain(|entry| entry.key != other);
            }
        }
    }
    for entry in over {
        let at = entries.iter().position(|known| known.key == entry.key);
        match at {
            _ if entry.value.is_null() => entries.retain(|known| known.key != entry.key),
            Some(at) => {
                let known = entries.swap_remove(at);
                let path = path_below(path, &entry.key);
                entries.push(Entry { value: merge(known.value, entry.value, &path), ..entry });
            }
            None => entries.push(Entry {
                value: Node { span: entry.value.span, value: without_nulls(entry.value.value) },
                ..entry
            }),
        }
    }
    entries
}

/// A value that has nothing below it in the base: what its nulls would take away is not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Map(entries) => Value::Map(merge_entries(Vec::new(), entries, "")),
        other => other,
    }
}

/// The path one key further down, with `*` for the names that users give.
fn path_below(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        "pools" => "pools.*".to_owned(),
        path => format!("{path}.{key}"),
    }
}

#[cfg(test)]
mod tests;
