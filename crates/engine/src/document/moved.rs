//! Why a written plan is not the plan that is made now.

use std::collections::{BTreeMap, BTreeSet};

use super::{Compared, Document, DocumentChange};
use crate::{
    Address, Place,
    plan::{Action, Cause, Reason},
};

/// Why a plan made now is not the one that was written down: one sentence, or one for each thing that is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// It is the plan of another stack.
    Stack(String),
    /// It was made for another account or region, or for a sandbox.
    Place(String),
    /// It was made with a state that is not the one here.
    State(String),
    /// The stack, the state or the cloud changed since.
    Content(Vec<String>),
}

impl Document {
    /// Why a later plan of the same origin is not this one; nothing where it is. Only [`Document::compared`] counts.
    pub fn moved(&self, later: &Self) -> Option<Moved> {
        let (made, now) = (&self.compared, &later.compared);
        if made == now {
            return None;
        }
        Some(match () {
            () if made.stack != now.stack => {
                let message =
                    format!("it is a plan of `{}`, and the file is now the stack `{}`", made.stack, now.stack);
                Moved::Stack(message)
            }
            () if made.place != now.place => {
                let named = |place: Option<Place>| place.map_or_else(|| "no place".to_owned(), |it| it.to_string());
                Moved::Place(format!("it was made for {}, and this is {}", named(self.place()), named(later.place())))
            }
            () if made.state.lineage != now.state.lineage => Moved::State(made.another_state(now)),
            () => Moved::Content(made.different(now)),
        })
    }
}

impl Compared {
    fn another_state(&self, later: &Self) -> String {
        match (self.state.lineage.is_empty(), later.state.lineage.is_empty()) {
            (false, true) => {
                format!("it was made with a state, at serial {}, and there is no state here", self.state.serial)
            }
            (true, _) => format!(
                "it was made without a state, and the state here is at serial {}: the stack was applied since, or this \
                 is the state of another place",
                later.state.serial
            ),
            (false, false) => "it was made with another state than the one here".to_owned(),
        }
    }

    /// One sentence for each thing that is different. Since when an attribute differs, and why, follows from the state
    /// and is no difference by itself.
    fn different(&self, later: &Self) -> Vec<String> {
        let mut different = Vec::new();
        if self.digest != later.digest {
            different.push("the stack has changed".to_owned());
        }
        if self.other_homes != later.other_homes {
            different.push("other resources belong to another home than before".to_owned());
        }
        if self.state.serial != later.state.serial {
            let (now, then) = (later.state.serial, self.state.serial);
            different.push(format!("the state has changed: its serial is {now}, and was {then}"));
        }
        let (before, now) = (by_address(self), by_address(later));
        for address in before.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
            let changes = |of: &BTreeMap<_, Vec<DocumentChange>>| of.get(address).cloned().unwrap_or_default();
            let (planned, would) = (changes(&before), changes(&now));
            if planned == would {
                continue;
            }
            let (planned, would) = (actions(&planned), actions(&would));
            different.push(if planned == would {
                format!("`{address}`: its values on AWS or in the stack have changed")
            } else {
                format!("`{address}`: the plan says {planned}, a new plan says {would}")
            });
        }
        if different.is_empty() {
            different.push("a new plan has other steps or reasons".to_owned());
        }
        different
    }
}

/// The changes by address, without what only explains them.
fn by_address(document: &Compared) -> BTreeMap<&Address, Vec<DocumentChange>> {
    let mut changes: BTreeMap<&Address, Vec<DocumentChange>> = BTreeMap::new();
    for change in &document.changes {
        let mut plain = DocumentChange { reason: Reason::Unchanged, ..change.clone() };
        for difference in &mut plain.differences {
            difference.cause = Cause::Unrecorded;
        }
        changes.entry(&change.address).or_default().push(plain);
    }
    changes
}

/// `replace and delete`; an address may change in several phases, and may have a left-over.
fn actions(changes: &[DocumentChange]) -> String {
    let words: Vec<&str> = changes
        .iter()
        .map(|change| match change.action {
            Action::None => "no change",
            Action::Create => "create",
            Action::Update => "update",
            Action::Replace => "replace",
            Action::Delete => "delete",
        })
        .collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(" and ") }
}
