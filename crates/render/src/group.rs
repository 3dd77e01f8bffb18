//! Hosts of one pool that change alike are told once: `instance.heavy[0…3]`.

use serde_json::Value as Json;
use trunnion_engine::DocumentChange;

/// Changes that differ in nothing but their index.
pub(crate) struct Group<'a> {
    pub(crate) first: &'a DocumentChange,
    pub(crate) all: Vec<&'a DocumentChange>,
}

impl Group<'_> {
    /// `instance.heavy[0…3]`, or the address of the only one.
    pub(crate) fn title(&self) -> String {
        addresses(self.all.iter().map(|change| change.address.as_str()))
    }
}

/// Addresses in the order of their first ones, those of a pool together: `instance.heavy[0…3, 5], iam_role.generator`.
pub fn addresses<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    let mut named: Vec<(&str, Vec<(u32, u32)>)> = Vec::new();
    for address in all {
        let (base, index) = split(address).map_or((address, None), |(base, index)| (base, Some(index)));
        let known = named.iter_mut().rev().find(|(other, runs)| *other == base && index.is_some() != runs.is_empty());
        match (known, index) {
            (Some((_, runs)), Some(index)) => match runs.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(index) => *last = index,
                _ => runs.push((index, index)),
            },
            (None, Some(index)) => named.push((base, vec![(index, index)])),
            (_, None) => named.push((base, Vec::new())),
        }
    }
    let one = |(base, runs): (&str, Vec<(u32, u32)>)| {
        let run = |(first, last)| if first == last { format!("{first}") } else { format!("{first}…{last}") };
        let runs: Vec<String> = runs.into_iter().map(run).collect();
        if runs.is_empty() { base.to_owned() } else { format!("{base}[{}]", runs.join(", ")) }
    };
    named.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Puts changes of the same kind, name, action and content together, in the order of their first ones.
pub(crate) fn groups<'a>(changes: impl Iterator<Item = &'a DocumentChange>) -> Vec<Group<'a>> {
    let mut groups: Vec<(Group<'a>, Option<(String, Json)>)> = Vec::new();
    for change in changes {
        let likeness = likeness(change);
        let same = groups
            .iter_mut()
            .rev()
            .take(8)
            .find(|(_, other)| likeness.is_some() && *other == likeness)
            .map(|(group, _)| group);
        match same {
            Some(group) => group.all.push(change),
            None => groups.push((Group { first: change, all: vec![change] }, likeness)),
        }
    }
    groups.into_iter().map(|(group, _)| group).collect()
}

fn split(address: &str) -> Option<(&str, u32)> {
    let (base, index) = address.strip_suffix(']')?.split_once('[')?;
    Some((base, index.parse().ok()?))
}

/// What must be equal for two changes to be told as one; nothing for what has no number.
fn likeness(change: &DocumentChange) -> Option<(String, Json)> {
    let (base, index) = split(&change.address)?;
    let own = [(format!("[{index}]"), "[i]"), (format!("-{index}\""), "-i\"")];
    let mut text = serde_json::to_string(&(&change.action, &change.differences, &change.desired)).ok()?;
    for (mine, anyone) in own {
        text = text.replace(&mine, anyone);
    }
    Some((base.to_owned(), Json::String(format!("{:?}{text}", std::mem::discriminant(&change.reason)))))
}
