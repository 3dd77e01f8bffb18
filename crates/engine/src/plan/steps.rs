//! The steps of a plan and what each one waits for.
//!
//! - Making or changing something waits for what it refers to.
//! - So does deleting something that is then made anew: it must not be gone when what it needs failed.
//! - Deleting something waits until everything of a kind that may depend on its kind was made, changed or deleted.
//! - Of hosts of one pool, the next one is deleted once the one before it was made anew: unless they all stand on
//!   something that must itself be deleted before it is made anew, for then all of them have to go first.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Change, Operation, PlanError, Step};
use crate::{Address, Graph, Replacement, RuleBook};

struct Draft {
    change: usize,
    operation: Operation,
    /// The old one of a replacement goes after the new one came.
    is_late: bool,
}

pub(super) fn steps(desired: &Graph, changes: &[Change], rules: &RuleBook) -> Result<Vec<Step>, PlanError> {
    let drafts = drafts(changes, rules);
    let mut edges: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); drafts.len()];
    let address_of = |draft: &Draft| &changes[draft.change].address;

    // Which step brings an address to its desired state.
    let made_by: BTreeMap<&Address, usize> = drafts
        .iter()
        .enumerate()
        .filter(|(_, draft)| draft.operation != Operation::Delete)
        .map(|(index, draft)| (address_of(draft), index))
        .collect();

    let uprooted = uprooted(desired, changes, rules);
    for (index, draft) in drafts.iter().enumerate() {
        let needs_its_needs = match draft.operation {
            Operation::Create | Operation::Update => true,
            Operation::Delete => !draft.is_late && !uprooted.contains(address_of(draft)),
        };
        if needs_its_needs && let Some(resource) = desired.resources().get(address_of(draft)) {
            edges[index].extend(resource.dependencies().into_iter().filter_map(|need| made_by.get(need)));
        }
        // The two halves of a replacement.
        let other = drafts.iter().position(|other| other.change == draft.change && other.operation != draft.operation);
        if let Some(other) = other {
            let is_second = if draft.operation == Operation::Delete { draft.is_late } else { !drafts[other].is_late };
            if is_second {
                edges[index].insert(other);
            }
        }
    }
    wait_for_dependents(&drafts, changes, rules, &mut edges);
    one_by_one(&uprooted, &drafts, changes, rules, &mut edges);
    in_order(&drafts, changes, &edges)
}

fn drafts(changes: &[Change], rules: &RuleBook) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (change, what) in changes.iter().enumerate() {
        let mut push = |operation, is_late| drafts.push(Draft { change, operation, is_late });
        match what.action {
            Action::None => {}
            Action::Create => push(Operation::Create, false),
            Action::Update => push(Operation::Update, false),
            Action::Delete => push(Operation::Delete, true),
            Action::Replace if what.is_create_first(rules) => {
                push(Operation::Create, false);
                push(Operation::Delete, true);
            }
            Action::Replace => {
                push(Operation::Delete, false);
                push(Operation::Create, false);
            }
        }
    }
    drafts
}

/// Deletes wait for the kinds that may depend on theirs. Worked out kind by kind: a pool may have a thousand hosts.
fn wait_for_dependents(drafts: &[Draft], changes: &[Change], rules: &RuleBook, edges: &mut [BTreeSet<usize>]) {
    let kind_of = |draft: &Draft| &changes[draft.change].address.kind;
    let mut by_kind: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        by_kind.entry(kind_of(draft)).or_default().push(index);
    }
    for (index, draft) in drafts.iter().enumerate().filter(|(_, draft)| draft.operation == Operation::Delete) {
        let kind = kind_of(draft);
        // What is deleted before it is made anew cannot wait for those that wait for the new one.
        let can_wait_for = |other: &&usize| {
            let other = &drafts[**other];
            let is_gone_for_good = changes[other.change].action == Action::Delete;
            draft.is_late || (other.operation == Operation::Delete && (is_gone_for_good || !other.is_late))
        };
        for (_, others) in by_kind.iter().filter(|(other, _)| **other != kind && rules.may_depend(other, kind)) {
            edges[index].extend(others.iter().filter(can_wait_for));
        }
    }
}

fn one_by_one(
    uprooted: &BTreeSet<&Address>,
    drafts: &[Draft],
    changes: &[Change],
    rules: &RuleBook,
    edges: &mut [BTreeSet<usize>],
) {
    let mut before: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (change, Change { address, action, .. }) in changes.iter().enumerate() {
        let is_rolling = *action == Action::Replace
            && rules.get(&address.kind).is_some_and(|rules| rules.replacement == Replacement::DeleteFirstOneByOne)
            && !uprooted.contains(address);
        if !is_rolling {
            continue;
        }
        let half = |operation| drafts.iter().position(|draft| draft.change == change && draft.operation == operation);
        if let (Some(delete), Some(create)) = (half(Operation::Delete), half(Operation::Create))
            && let Some(create_before) = before.insert((address.kind.as_str(), &address.name), create)
        {
            edges[delete].insert(create_before);
        }
    }
}

/// What stands on something that must be deleted before it is made anew.
fn uprooted<'a>(desired: &'a Graph, changes: &[Change], rules: &RuleBook) -> BTreeSet<&'a Address> {
    let replaced: BTreeSet<&Address> = changes
        .iter()
        .filter(|change| {
            let replacement = rules.get(&change.address.kind).map(|rules| rules.replacement);
            change.action == Action::Replace && replacement == Some(Replacement::DeleteFirst)
        })
        .map(|change| &change.address)
        .collect();
    let mut uprooted = BTreeSet::new();
    if replaced.is_empty() {
        return uprooted;
    }
    for address in desired.in_order() {
        let stands_on = desired.resources().get(address).is_some_and(|resource| {
            resource.dependencies().iter().any(|need| replaced.contains(*need) || uprooted.contains(*need))
        });
        if stands_on {
            uprooted.insert(address);
        }
    }
    uprooted
}

/// Each step behind those it waits for, the order of addresses deciding between equals.
fn in_order(drafts: &[Draft], changes: &[Change], edges: &[BTreeSet<usize>]) -> Result<Vec<Step>, PlanError> {
    let mut waiting_for: Vec<usize> = edges.iter().map(BTreeSet::len).collect();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
    for (index, needs) in edges.iter().enumerate() {
        for &need in needs {
            needed_by[need].push(index);
        }
    }
    let mut ready: BTreeSet<usize> = (0..drafts.len()).filter(|&index| waiting_for[index] == 0).collect();
    let mut place = vec![usize::MAX; drafts.len()];
    let mut order = Vec::with_capacity(drafts.len());
    while let Some(index) = ready.pop_first() {
        place[index] = order.len();
        order.push(index);
        for &dependent in &needed_by[index] {
            waiting_for[dependent] -= 1;
            if waiting_for[dependent] == 0 {
                ready.insert(dependent);
            }
        }
    }
    if order.len() < drafts.len() {
        let stuck: BTreeSet<Address> = (0..drafts.len())
            .filter(|&index| waiting_for[index] > 0)
            .map(|index| changes[drafts[index].change].address.clone())
            .collect();
        return Err(PlanError::Knot(stuck.into_iter().collect()));
    }
    Ok(order
        .into_iter()
        .map(|index| {
            let mut after: Vec<usize> = edges[index].iter().map(|&need| place[need]).collect();
            after.sort_unstable();
            Step { change: drafts[index].change, operation: drafts[index].operation, after }
        })
        .collect())
}
