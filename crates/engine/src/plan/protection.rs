//! What a plan must not delete or replace.

use std::{collections::BTreeMap, fmt};

use super::{Action, Change, Reason};
use crate::{Address, Computed, Graph, KindName, Reference, Remote, RuleBook, Value, lies_under};

/// Which resources no plan deletes or replaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protection {
    tag: Option<&'static str>,
    said: BTreeMap<(KindName, String), bool>,
}

impl Protection {
    /// For each kind and name, whether its resources are protected. Of all others, those are that have this tag with the
    /// value `true`.
    pub fn new(tag: &'static str, said: BTreeMap<(KindName, String), bool>) -> Self {
        Self { tag: Some(tag), said }
    }

    /// What protects a resource, if anything does.
    fn of(&self, address: &Address, remote: &Remote) -> Option<ProtectedBy> {
        if let Some(said) = self.said.get(&(address.kind.clone(), address.name.clone())) {
            return said.then_some(ProtectedBy::Stack);
        }
        let tags = remote.attributes.get("tags").and_then(Value::as_map);
        let tag = self.tag?;
        (tags?.get(tag)?.as_text() == Some("true")).then_some(ProtectedBy::Tag(tag))
    }
}

/// What protects a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtectedBy {
    /// The stack file.
    Stack,
    /// This tag, with which it was applied before the stack file stopped asking for it.
    Tag(&'static str),
}

/// A protected resource that a plan would delete or replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// Its address.
    pub address: Address,
    /// Its id.
    pub id: String,
    /// [`Action::Delete`] or [`Action::Replace`].
    pub action: Action,
    /// What forces that, as the end of a sentence.
    pub because: String,
    /// Whether its replacement was asked for by its address.
    pub is_asked: bool,
    /// What protects it.
    pub by: ProtectedBy,
}

impl fmt::Display for Protected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, id, because, .. } = self;
        let action = if self.action == Action::Replace { "replaced" } else { "deleted" };
        write!(f, "`{address}` (`{id}`) is protected and would be {action}: {because}")
    }
}

/// The protected resources among those that changes delete or replace. A left-over is none: the resource of its address
/// stays.
pub(super) fn refused(
    desired: &Graph,
    changes: &[Change],
    rules: &RuleBook,
    protection: &Protection,
) -> Vec<Protected> {
    let ends = |change: &&Change| {
        matches!(change.action, Action::Delete | Action::Replace)
            && !matches!(change.reason, Reason::LeftOver | Reason::Moved { .. })
    };
    let refused = changes.iter().filter(ends).filter_map(|change| {
        let remote = change.remote.as_ref().filter(|remote| !remote.is_spent)?;
        let by = protection.of(&change.address, remote)?;
        Some(Protected {
            address: change.address.clone(),
            id: remote.id.clone(),
            action: change.action,
            because: because(desired, changes, rules, change),
            is_asked: change.action == Action::Replace && change.reason == Reason::Asked,
            by,
        })
    });
    refused.collect()
}

pub(super) fn because(desired: &Graph, changes: &[Change], rules: &RuleBook, change: &Change) -> String {
    match (change.action, &change.reason) {
        (Action::Delete, _) if desired.resources().is_empty() => "everything of the stack would be deleted".to_owned(),
        (Action::Delete, _) => "the stack does not ask for it any more".to_owned(),
        (_, Reason::Asked) => "its replacement was asked for".to_owned(),
        _ => {
            let forcing = change.differences.iter().map(|(difference, _)| difference);
            let forcing = forcing.filter(|difference| difference.forces_replacement);
            let causes: Vec<String> =
                forcing.map(|difference| cause(desired, changes, rules, &change.address, &difference.path)).collect();
            causes.join(", and ")
        }
    }
}

/// Whether a change of this path changes what a reference stands for.
fn decides(rules: &RuleBook, Reference { address, attribute }: &Reference, path: &str) -> bool {
    match rules.get(&address.kind).and_then(|rules| rules.computed(attribute)) {
        Some(Computed::DigestOf(name)) => lies_under(path, name),
        Some(Computed::ChangesWith(names)) => names.iter().any(|name| lies_under(path, name)),
        Some(Computed::AtCreation) => false,
        None => lies_under(path, attribute),
    }
}

/// A path that changes, with what changes it: other resources that it refers to.
fn cause(desired: &Graph, changes: &[Change], rules: &RuleBook, address: &Address, path: &str) -> String {
    let name = path.split(['.', '[']).next().unwrap_or(path);
    let mut others = Vec::new();
    if let Some(value) = desired.resources().get(address).and_then(|resource| resource.attributes.get(name)) {
        value.visit_references(&mut |reference| {
            let pending = changes.iter().find(|it| it.address == reference.address && it.action != Action::None);
            others.extend(pending.map(|other| {
                let paths = other.differences.iter().map(|(difference, _)| difference.path.as_str());
                let paths: Vec<String> =
                    paths.filter(|path| decides(rules, reference, path)).map(|path| format!("`{path}`")).collect();
                match other.action {
                    Action::Update => format!("`{}` changes {}", other.address, paths.join(", ")),
                    Action::Create => format!("`{}` is created", other.address),
                    _ => format!("`{}` is replaced", other.address),
                }
            }));
        });
    }
    if others.is_empty() {
        return format!("its `{path}` differs and cannot change in place");
    }
    format!("its `{path}` differs because {}", others.join(", and "))
}
