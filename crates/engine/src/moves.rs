//! Resources that have another address now, because what they belong to has another name.
//!
//! A resource keeps its id and gets its new address in the next change of its tags. Until then, its tag has the old
//! address. So an apply that ends in the middle leaves some at each address, and the next plan moves the rest.

use crate::{Address, KindName, Note, Observed, State};

/// What of one kind has another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The kind.
    pub kind: KindName,
    /// The name until now.
    pub from: String,
    /// The name from now on.
    pub to: String,
    /// Whether the cloud cannot rename it. Then one of the new name is created, which keeps what the old one holds, and the
    /// old one is deleted.
    pub is_remade: bool,
}

impl Move {
    /// The address from now on of what is at this one.
    pub fn target(&self, address: &Address) -> Option<Address> {
        let is_it = address.kind == self.kind && address.name == self.from;
        is_it.then(|| Address { name: self.to.clone(), ..address.clone() })
    }

    /// The address until now of what will be at this one.
    pub fn source(&self, address: &Address) -> Option<Address> {
        let is_it = address.kind == self.kind && address.name == self.to;
        is_it.then(|| Address { name: self.from.clone(), ..address.clone() })
    }
}

/// Gives what was recorded its address from now on.
pub fn move_recorded(recorded: &mut State, moves: &[Move]) {
    for made in moves.iter().filter(|made| !made.is_remade) {
        let pairs: Vec<(Address, Address)> =
            recorded.resources.keys().filter_map(|from| Some((from.clone(), made.target(from)?))).collect();
        for (from, to) in pairs {
            if !recorded.resources.contains_key(&to)
                && let Some(found) = recorded.resources.remove(&from)
            {
                recorded.resources.insert(to, found);
            }
        }
    }
}

/// Gives what was observed its address from now on, and says what is moved and what cannot be.
pub fn move_observed(observed: &mut Observed, moves: &[Move]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut counts: Vec<((&str, &str), usize)> = Vec::new();
    for made in moves.iter().filter(|made| !made.is_remade) {
        let pairs: Vec<(Address, Address)> =
            observed.remotes.keys().filter_map(|from| Some((from.clone(), made.target(from)?))).collect();
        for (from, to) in pairs {
            if observed.remotes.get(&to).is_some_and(|remotes| remotes.iter().any(|it| !it.is_spent && !it.is_untagged))
            {
                notes.push(note(format!("`{from}` cannot become `{to}`, which exists: it counts as removed")));
                continue;
            }
            let Some(remotes) = observed.remotes.remove(&from) else { continue };
            observed.remotes.entry(to).or_default().extend(remotes);
            let names = (made.from.as_str(), made.to.as_str());
            match counts.iter_mut().find(|(other, _)| *other == names) {
                Some((_, count)) => *count += 1,
                None => counts.push((names, 1)),
            }
        }
    }
    notes.extend(counts.into_iter().map(|((from, to), count)| {
        let (resources, stay) = if count == 1 { ("resource", "stays") } else { ("resources", "stay") };
        note(format!("`{from}` is `{to}` now: {count} {resources} of it {stay}, with other tags"))
    }));
    notes
}

fn note(message: String) -> Note {
    Note { code: "plan::moved".to_owned(), message, help: None }
}
