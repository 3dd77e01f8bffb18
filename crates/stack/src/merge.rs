//! Merges an environment into its stack.
//!
//! Maps are merged key by key, other values are replaced, and an explicit `null` removes a key. An empty value leaves a
//! map unchanged. Values from the environment keep their place in the file.

use std::collections::BTreeMap;

use crate::{
    language::{Absent, Below, Described, Description, STACK},
    tree::{Entry, Node, Value},
};

/// The merge rule of a place in the file.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// A map with these keys.
    Keys(&'a Description),
    /// Names chosen by the user, each with these keys below it.
    Names(&'a Description),
    /// A value that is never merged, although some of its forms are maps.
    Replaced,
    /// Nothing.
    Unknown,
}

impl<'a> Place<'a> {
    fn of(kind: &'a Described) -> Self {
        match &kind.below {
            _ if kind.is_replaced => Place::Replaced,
            Below::Keys(section) => Place::Keys(section),
            Below::Named(named) => Place::Names(&named.each),
            Below::Anything => Place::Unknown,
        }
    }

    /// The place one key further down.
    fn below(self, key: &str) -> Self {
        match self {
            Place::Keys(section) => section.key(key).map_or(Place::Unknown, |entry| Place::of(&entry.kind)),
            Place::Names(each) => Place::Keys(each),
            Place::Replaced | Place::Unknown => Place::Unknown,
        }
    }

    /// The key that this key replaces, because exactly one of the two is required.
    fn replaced_by(self, key: &str) -> Option<&'a str> {
        let Place::Keys(section) = self else { return None };
        match section.key(key)?.absent {
            Absent::Either(other) => Some(other),
            _ => None,
        }
    }
}

/// The stack's tree, merged with the environment's tree.
pub(crate) fn overlay(base: Node, over: Node) -> Node {
    merge(base, over, Place::Keys(&STACK))
}

fn merge(base: Node, over: Node, place: Place) -> Node {
    let is_nothing = over.is_null() && !over.is_written_null();
    match (base.value, over.value) {
        (Value::Map(entries), Value::Map(over)) if !matches!(place, Place::Replaced) => {
            Node { span: base.span, value: Value::Map(merge_entries(entries, over, place)) }
        }
        (value @ Value::Map(_), _) if is_nothing => Node { span: base.span, value },
        (_, value) => Node { span: over.span, value: without_nulls(value) },
    }
}

fn merge_entries(mut entries: Vec<Entry>, over: Vec<Entry>, place: Place) -> Vec<Entry> {
    for other in over.iter().filter_map(|entry| place.replaced_by(&entry.key)) {
        if !over.iter().any(|entry| entry.key == other) {
            entries.retain(|entry| entry.key != other);
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
                Some(base) => merge(base, entry.value, place.below(&entry.key)),
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

/// A value without a counterpart in the base. Its nulls remove nothing, so they are dropped.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Map(entries) => Value::Map(merge_entries(Vec::new(), entries, Place::Unknown)),
        other => other,
    }
}

#[cfg(test)]
mod tests;
