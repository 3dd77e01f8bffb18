//! Why a written plan is not the plan that is made now.

use std::collections::{BTreeMap, BTreeSet};

use super::{Compared, Document, DocumentChange, StateReference};
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
    /// The stack or the cloud changed since.
    Content(Vec<String>),
}

impl Document {
    /// Why a later plan of the same origin is not this one; nothing where it is. Only [`Document::compared`] counts, without
    /// what the state explains: the state is a cache, and another job may have none.
    pub fn moved(&self, later: &Self) -> Option<Moved> {
        let (made, now) = (&self.compared.agreed(), &later.compared.agreed());
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
            () => Moved::Content(made.different(now)),
        })
    }
}

impl Compared {
    /// What a person agrees to: without what only the state explains.
    #[must_use]
    pub fn agreed(&self) -> Self {
        let mut agreed = self.clone();
        agreed.state = StateReference { lineage: String::new(), serial: 0 };
        for change in &mut agreed.changes {
            if let Reason::Gone { .. } = change.reason {
                change.reason = Reason::New;
            }
            for difference in &mut change.differences {
                difference.cause = Cause::Unrecorded;
            }
        }
        agreed
    }

    /// One sentence for each thing that is different.
    fn different(&self, later: &Self) -> Vec<String> {
        let mut different = Vec::new();
        if self.digest != later.digest {
            different.push(
                "what the stack asks for has changed: its file, a file that it names, its generator binary or its home"
                    .to_owned(),
            );
        }
        if self.other_homes != later.other_homes {
            different.push("other resources belong to another home than before".to_owned());
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

/// The changes by address. The reason follows from the action.
fn by_address(document: &Compared) -> BTreeMap<&Address, Vec<DocumentChange>> {
    let mut changes: BTreeMap<&Address, Vec<DocumentChange>> = BTreeMap::new();
    for change in &document.changes {
        let plain = DocumentChange { reason: Reason::Unchanged, ..change.clone() };
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
