//! Hosts of one pool that change alike are shown once: `instance.heavy[0…3]`.

use trunnion_engine::{Action, Address, DocumentChange, DocumentDifference, Index, KindName, Map, Reference, Value};

/// How many groups back a change may belong to: those of a pool stand together, but for a few that differ.
const BACK: usize = 8;

/// Changes that differ in nothing but their index.
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

/// Addresses in the order of their first ones, those of a pool together: `instance.heavy[0…3, 5], iam_role.generator`.
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

/// Puts changes of the same kind, name, action and content together, in the order of their first ones.
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

/// What must be equal for two changes to be shown as one: all of it, with a change's own number taken out.
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
    /// Nothing for what has no number.
    fn of(change: &'a DocumentChange) -> Option<Self> {
        let number = number(&change.address)?;
        let anyone = |value: &Option<Value>| value.as_ref().map(|value| anyone(value, number));
        let differences = change.differences.iter().map(|difference| DocumentDifference {
            before: anyone(&difference.before),
            after: anyone(&difference.after),
            ..difference.clone()
        });
        Some(Self {
            kind: &change.address.kind,
            name: &change.address.name,
            action: change.action,
            reason: std::mem::discriminant(&change.reason),
            differences: differences.collect(),
            desired: change.desired.as_ref().map(|desired| anyone_of(desired, number)),
        })
    }
}

/// A value without the number of the host that has it: in addresses (`instance.heavy[3]`) and at the end of names
/// (`loadtest-heavy-3`).
fn anyone(value: &Value, number: u32) -> Value {
    match value {
        Value::Text(text) => {
            let text = text.replace(&format!("[{number}]"), "[]");
            Value::Text(text.strip_suffix(&format!("-{number}")).map(|name| format!("{name}-")).unwrap_or(text))
        }
        Value::Reference(Reference { address, attribute }) if address.index == Some(Index::Number(number)) => {
            Value::reference(Address { index: None, ..address.clone() }, attribute)
        }
        Value::List(list) => Value::List(list.iter().map(|part| anyone(part, number)).collect()),
        Value::Concat(parts) => Value::Concat(parts.iter().map(|part| anyone(part, number)).collect()),
        Value::Map(map) => Value::Map(anyone_of(map, number)),
        other => other.clone(),
    }
}

fn anyone_of(map: &Map, number: u32) -> Map {
    map.iter().map(|(name, value)| (name.clone(), anyone(value, number))).collect()
}
