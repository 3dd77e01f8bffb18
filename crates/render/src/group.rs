//! Groups equal changes of the hosts of a pool: `instance.heavy[0…3]`.

use trunnion_engine::{Action, Address, DocumentChange, DocumentDifference, Index, KindName, Map, Reference, Value};

/// How many groups back a change may join. Changes of a pool are adjacent, except for a few that differ.
const BACK: usize = 8;

/// Changes that differ only in their index.
pub(crate) struct Group<'a> {
    pub(crate) first: &'a DocumentChange,
    pub(crate) all: Vec<&'a DocumentChange>,
}

impl Group<'_> {
    /// `instance.heavy[0…3]`, or the address of the only one.
    pub(crate) fn title(&self) -> String {
        addresses(self.all.iter().map(|change| &change.address))
    }
}

/// A list of addresses in which those of a pool are combined: `instance.heavy[0…3, 5], iam_role.generator`.
pub fn addresses<'a>(all: impl IntoIterator<Item = &'a Address>) -> String {
    let mut named: Vec<(&Address, Vec<(u32, u32)>)> = Vec::new();
    for address in all {
        let Some(number) = number(address) else {
            named.push((address, Vec::new()));
            continue;
        };
        let is_of_pool = |(other, runs): &&mut (&Address, Vec<_>)| {
            !runs.is_empty() && other.kind == address.kind && other.name == address.name
        };
        match named.iter_mut().rev().find(is_of_pool) {
            Some((_, runs)) => match runs.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => runs.push((number, number)),
            },
            None => named.push((address, vec![(number, number)])),
        }
    }
    let one = |(address, runs): (&Address, Vec<(u32, u32)>)| {
        let run = |(first, last)| if first == last { format!("{first}") } else { format!("{first}…{last}") };
        let runs: Vec<String> = runs.into_iter().map(run).collect();
        if runs.is_empty() {
            address.to_string()
        } else {
            format!("{}.{}[{}]", address.kind, address.name, runs.join(", "))
        }
    };
    named.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Groups changes with the same kind, name, action and content, in the order of their first changes.
pub(crate) fn groups<'a>(changes: impl Iterator<Item = &'a DocumentChange>) -> Vec<Group<'a>> {
    let mut groups: Vec<(Group<'a>, Option<Likeness<'a>>)> = Vec::new();
    for change in changes {
        let likeness = Likeness::of(change);
        let same = groups
            .iter_mut()
            .rev()
            .take(BACK)
            .find(|(_, other)| likeness.is_some() && *other == likeness)
            .map(|(group, _)| group);
        match same {
            Some(group) => group.all.push(change),
            None => groups.push((Group { first: change, all: vec![change] }, likeness)),
        }
    }
    groups.into_iter().map(|(group, _)| group).collect()
}

fn number(address: &Address) -> Option<u32> {
    match address.index {
        Some(Index::Number(number)) => Some(number),
        _ => None,
    }
}

/// The part of a change that must be equal within a group: everything except its own number.
#[derive(PartialEq)]
struct Likeness<'a> {
    kind: &'a KindName,
    name: &'a str,
    action: Action,
    reason: std::mem::Discriminant<trunnion_engine::Reason>,
    differences: Vec<DocumentDifference>,
    desired: Option<Map>,
}

impl<'a> Likeness<'a> {
    /// `None` for an address without a number.
    fn of(change: &'a DocumentChange) -> Option<Self> {
        let number = number(&change.address)?;
        let without_number = |value: &Option<Value>| value.as_ref().map(|value| without_number(value, number));
        let differences = change.differences.iter().map(|difference| DocumentDifference {
            before: without_number(&difference.before),
            after: without_number(&difference.after),
            ..difference.clone()
        });
        Some(Self {
            kind: &change.address.kind,
            name: &change.address.name,
            action: change.action,
            reason: std::mem::discriminant(&change.reason),
            differences: differences.collect(),
            desired: change.desired.as_ref().map(|desired| map_without_number(desired, number)),
        })
    }
}

/// A value without the number of its host, which occurs in addresses (`instance.heavy[3]`) and at the end of names
/// (`loadtest-heavy-3`).
fn without_number(value: &Value, number: u32) -> Value {
    match value {
        Value::Text(text) => {
            let text = text.replace(&format!("[{number}]"), "[]");
            Value::Text(text.strip_suffix(&format!("-{number}")).map(|name| format!("{name}-")).unwrap_or(text))
        }
        Value::Reference(Reference { address, attribute }) if address.index == Some(Index::Number(number)) => {
            Value::reference(Address { index: None, ..address.clone() }, attribute)
        }
        Value::List(list) => Value::List(list.iter().map(|part| without_number(part, number)).collect()),
        Value::Concat(parts) => Value::Concat(parts.iter().map(|part| without_number(part, number)).collect()),
        Value::Map(map) => Value::Map(map_without_number(map, number)),
        other => other.clone(),
    }
}

fn map_without_number(map: &Map, number: u32) -> Map {
    map.iter().map(|(name, value)| (name.clone(), without_number(value, number))).collect()
}
