//! Lays an environment over the stack it belongs to.
//!
//! Maps are merged key by key, everything else is replaced, and a written `null` takes a key away; nothing behind a colon
//! leaves a map as it is. What comes from the environment keeps its place there.

use std::collections::BTreeMap;

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
    let is_nothing = over.is_null() && !over.is_written_null();
    match (base.value, over.value) {
        (Value::Map(entries), Value::Map(over)) if !CHOICES.contains(&path) => {
            Node { span: base.span, value: Value::Map(merge_entries(entries, over, path)) }
        }
        (value @ Value::Map(_), _) if is_nothing => Node { span: base.span, value },
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
    let known: BTreeMap<String, usize> =
        entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
    let mut merged: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    for entry in over {
        let mut slot = known.get(&entry.key).and_then(|at| merged.get_mut(*at));
        let base = slot.as_mut().and_then(|slot| slot.take()).map(|base| base.value);
        let result = if entry.value.is_written_null() {
            None
        } else {
            let value = match base {
                Some(base) => merge(base, entry.value, &path_below(path, &entry.key)),
                None => Node { span: entry.value.span, value: without_nulls(entry.value.value) },
            };
            Some(Entry { value, ..entry })
        };
        match slot {
            Some(slot) => *slot = result,
            None => merged.push(result),
        }
    }
    merged.into_iter().flatten().collect()
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
