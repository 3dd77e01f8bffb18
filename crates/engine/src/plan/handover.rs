//! Plans that give resources away: they lose the stack's tags and stay as they are.

use std::collections::BTreeSet;

use super::{Action, Cause, Change, Note, Operation, Plan, PlanError, Reason, Step, is_meant};
use crate::{Address, Graph, Map, Observed, Remote, RuleBook, State, Value, diff, home};

/// What marks the resources of a stack.
#[derive(Debug, Clone, Copy)]
pub struct Marks<'a> {
    /// With what the keys of its tags begin.
    pub prefix: &'a str,
    /// Its home.
    pub home: &'a str,
}

/// A plan that takes the tags with this prefix off what is at these addresses. The stack must not ask for it any more.
///
/// # Errors
/// When the stack asks for one of the addresses, or nothing is there.
pub fn forgetting(
    desired: &Graph,
    observed: &Observed,
    recorded: &State,
    rules: &RuleBook,
    named: &[Address],
    Marks { prefix, home }: Marks<'_>,
) -> Result<Plan, PlanError> {
    let mut addresses = BTreeSet::new();
    for name in named {
        if let Some(asked) = desired.resources().keys().find(|address| is_meant(address, name)) {
            return Err(PlanError::StillAsked(asked.clone()));
        }
        let before = addresses.len();
        let is_tagged = |remotes: &[Remote]| remotes.iter().any(|remote| !remote.is_untagged);
        let there = observed.remotes.iter().filter(|(_, remotes)| is_tagged(remotes)).map(|(address, _)| address);
        addresses.extend(there.clone().filter(|address| is_meant(address, name)));
        if addresses.len() == before && !there.clone().any(|address| is_meant(address, name)) {
            return Err(PlanError::UnknownTarget(name.clone()));
        }
    }
    let mut changes = Vec::new();
    for (address, remotes) in observed.remotes.iter().filter(|(address, _)| addresses.contains(*address)) {
        let rules = rules.get(&address.kind).ok_or_else(|| PlanError::UnknownKind(address.kind.clone()))?;
        for remote in remotes.iter().filter(|remote| !remote.is_spent && !remote.is_untagged) {
            let without = without_tags(&remote.attributes, prefix);
            let found = diff::differences(rules, &without, &remote.attributes);
            changes.push(Change {
                address: address.clone(),
                phase: 1,
                action: Action::Update,
                reason: Reason::Forgotten,
                differences: found.into_iter().map(|difference| (difference, Cause::Stack)).collect(),
                desired: Some(without),
                remote: Some(remote.clone()),
                follows: None,
            });
        }
    }
    let steps = (0..changes.len()).map(|change| Step { change, operation: Operation::Update, after: Vec::new() });
    Ok(Plan {
        stack: desired.stack().to_owned(),
        digest: desired.digest(rules),
        state: (recorded.lineage.clone(), recorded.serial),
        applied: observed.applied.clone(),
        phases: 1,
        steps: steps.collect(),
        notes: notes(desired, observed, rules, &changes),
        other_homes: home::others(&given_away(observed, &addresses), recorded, rules, home),
        is_whole: false,
        not_covered: observed.remotes.keys().filter(|address| !addresses.contains(address)).count(),
        changes,
    })
}

/// The observation of these addresses alone.
fn given_away(observed: &Observed, addresses: &BTreeSet<&Address>) -> Observed {
    let remotes = observed.remotes.iter().filter(|(address, _)| addresses.contains(*address));
    Observed {
        remotes: remotes.map(|(address, found)| (address.clone(), found.clone())).collect(),
        ..Observed::default()
    }
}

fn without_tags(attributes: &Map, prefix: &str) -> Map {
    let mut without = attributes.clone();
    if let Some(Value::Map(tags)) = without.get_mut("tags") {
        tags.retain(|key, _| !key.starts_with(prefix));
    }
    without
}

/// Who uses what is forgotten, and what it may use itself.
fn notes(desired: &Graph, observed: &Observed, rules: &RuleBook, changes: &[Change]) -> Vec<Note> {
    let is_kept = |address: &Address| !changes.iter().any(|change| change.address == *address);
    let kept = || observed.remotes.iter().filter(|(address, _)| is_kept(address));
    let mut notes = Vec::new();
    for Change { remote, .. } in changes {
        let Some(Remote { id, .. }) = remote else { continue };
        let names = |remotes: &[Remote]| remotes.iter().any(|it| it.attributes.values().any(|value| value.names(id)));
        for (user, _) in kept().filter(|(_, remotes)| names(remotes)) {
            let is_asked = desired.resources().contains_key(user);
            let next = if is_asked { "stays part of the stack" } else { "is deleted by the next apply" };
            notes.push(note(
                format!("`{user}` uses `{id}` and {next}"),
                Some(format!("forget `{user}` too to keep both")).filter(|_| !is_asked),
            ));
        }
    }
    let kinds: BTreeSet<_> = changes.iter().map(|change| &change.address.kind).collect();
    let may_use = |address: &Address| {
        kinds.iter().any(|kind| rules.get(kind).is_some_and(|it| it.depends_on.contains(&address.kind.as_str())))
    };
    let used: Vec<String> =
        kept().filter(|(address, _)| may_use(address)).map(|(address, _)| format!("`{address}`")).collect();
    if !used.is_empty() {
        notes.push(note(
            format!("what is forgotten may still use {}, which stay in the stack", used.join(", ")),
            Some("`destroy` and later changes may delete them, or fail while they are in use".to_owned()),
        ));
    }
    notes
}

fn note(message: String, help: Option<String>) -> Note {
    Note { code: "plan::forget".to_owned(), message, help }
}
