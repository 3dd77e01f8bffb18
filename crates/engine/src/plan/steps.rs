//! The steps of a plan and what each one waits for.
//!
//! - Making or changing something waits for what it refers to.
//! - So does deleting something that is then made again: it must not be gone when what it needs failed.
//! - Deleting something waits until everything of a kind that may depend on its kind was made, changed or deleted; of its
//!   own kind, until what refers to it was.
//! - Of hosts of one pool, the next one is deleted once the one before it was made again: unless all of them need something
//!   that must itself be deleted before it is made again, for then all of them have to go first.
//! - Nothing that is made waits for the deletion of a left-over.
//! - Of the kind that says when a take-over is complete, a change of its home waits for everything else, and nothing for it.
//! - A phase waits for everything of the phase before it. What a successor leaves behind is deleted in the last phase, when
//!   nothing uses it any more.
//!
//! Where those waits would form a cycle, the least important ones in it go ([`Weight`]), so that there is always an order.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};

use super::{Action, Change, Operation, PlanError, Reason, Step};
use crate::{Address, Graph, KindName, Replacement, RuleBook, home, order::in_order};

struct Draft {
    change: usize,
    operation: Operation,
    /// The old one of a replacement goes after the new one came.
    is_late: bool,
}

/// How much depends on a wait. Of a cycle, the waits of the lowest weight go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// Before something is replaced, what the stack does not ask for any more and may depend on it goes.
    Tidy,
    /// Before something is deleted to be made again, what may depend on it and is replaced as well goes.
    Dependent,
    /// Nothing is deleted to be made again before what it needs is there.
    Cautious,
    /// Without it a call would fail.
    Needed,
}

/// What each draft waits for.
struct Waits(Vec<BTreeMap<usize, Weight>>);

impl Waits {
    fn add(&mut self, index: usize, needs: impl IntoIterator<Item = usize>, weight: Weight) {
        for need in needs {
            let found = self.0[index].entry(need).or_insert(weight);
            *found = weight.max(*found);
        }
    }

    /// Takes waits out of every cycle, the least important ones first.
    fn break_cycles(&mut self) {
        loop {
            let mut graph: DiGraphMap<usize, ()> = DiGraphMap::new();
            for (index, needs) in self.0.iter().enumerate() {
                for &need in needs.keys() {
                    graph.add_edge(index, need, ());
                }
            }
            let mut is_broken = true;
            for cycle in tarjan_scc(&graph).into_iter().filter(|cycle| cycle.len() > 1) {
                let inside: BTreeSet<usize> = cycle.into_iter().collect();
                let weights =
                    || inside.iter().flat_map(|&index| &self.0[index]).filter(|(need, _)| inside.contains(need));
                let Some(least) = weights().map(|(_, weight)| *weight).min().filter(|it| *it < Weight::Needed) else {
                    continue;
                };
                for &index in &inside {
                    self.0[index].retain(|need, weight| !inside.contains(need) || *weight > least);
                }
                is_broken = false;
            }
            if is_broken {
                return;
            }
        }
    }
}

/// The steps of changes, phase by phase. Of kinds that are `held`, no predecessor is deleted.
pub(super) fn steps(
    desired: &Graph,
    changes: &[Change],
    rules: &RuleBook,
    held: &BTreeSet<&str>,
) -> Result<Vec<Step>, PlanError> {
    let mut steps: Vec<Step> = Vec::new();
    // The steps of the phase before that no other one of it waits for.
    let mut ends: Vec<usize> = Vec::new();
    for phase in 1..=last_phase(desired) {
        let first = steps.len();
        for step in steps_of_phase(phase, desired, changes, rules, held)? {
            let begins = step.after.is_empty();
            let after = step.after.into_iter().map(|need| first + need);
            steps.push(Step { after: if begins { ends.clone() } else { after.collect() }, ..step });
        }
        if steps.len() > first {
            let needed: BTreeSet<usize> = steps.iter().skip(first).flat_map(|step| step.after.clone()).collect();
            ends = (first..steps.len()).filter(|index| !needed.contains(index)).collect();
        }
    }
    Ok(steps)
}

/// The number of the phase that leads everything to what the stack asks for.
pub(super) fn last_phase(desired: &Graph) -> usize {
    desired.phases().len() + 1
}

fn steps_of_phase(
    phase: usize,
    desired: &Graph,
    changes: &[Change],
    rules: &RuleBook,
    held: &BTreeSet<&str>,
) -> Result<Vec<Step>, PlanError> {
    let is_last = phase == last_phase(desired);
    let drafts = drafts(phase, is_last, changes, rules, held);
    let mut waits = Waits(vec![BTreeMap::new(); drafts.len()]);
    let address_of = |draft: &Draft| &changes[draft.change].address;

    // Which step brings an address to its desired state.
    let made_by: BTreeMap<&Address, usize> = drafts
        .iter()
        .enumerate()
        .filter(|(_, draft)| draft.operation != Operation::Delete)
        .map(|(index, draft)| (address_of(draft), index))
        .collect();

    let goes_down = goes_down(phase, desired, changes, rules);
    for (index, draft) in drafts.iter().enumerate() {
        let weight = match draft.operation {
            Operation::Create | Operation::Update => Some(Weight::Needed),
            Operation::Delete if draft.is_late || goes_down.contains(address_of(draft)) => None,
            Operation::Delete => Some(Weight::Cautious),
        };
        if let Some(weight) = weight
            && let Some(resource) = desired.revision(phase, address_of(draft))
        {
            waits.add(index, resource.dependencies().into_iter().filter_map(|need| made_by.get(need).copied()), weight);
        }
        // The create at its address may find this very one, which then stays.
        if draft.is_late
            && let Some(&made) = made_by.get(address_of(draft))
        {
            waits.add(index, [made], Weight::Needed);
        }
        // The two halves of a replacement stand beside each other.
        let beside = [index.checked_sub(1), Some(index + 1)].into_iter().flatten();
        let other = beside.filter_map(|at| Some((at, drafts.get(at)?))).find(|(_, other)| other.change == draft.change);
        if let Some((at, other)) = other
            && draft.operation != Operation::Delete
            && !other.is_late
        {
            waits.add(index, [at], Weight::Needed);
        }
    }
    wait_for_dependents(&drafts, changes, rules, &mut waits);
    wait_for_alike(&drafts, changes, rules, &mut waits);
    one_by_one(&goes_down, &drafts, changes, rules, &mut waits);
    put_last(&drafts, changes, rules, &mut waits);
    match ordered(&drafts, changes, &waits) {
        Err(PlanError::Cycle(_)) => {
            waits.break_cycles();
            ordered(&drafts, changes, &waits)
        }
        steps => steps,
    }
}

fn drafts(phase: usize, is_last: bool, changes: &[Change], rules: &RuleBook, held: &BTreeSet<&str>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (change, what) in changes.iter().enumerate() {
        let is_of_phase = what.phase == phase;
        let mut push = |operation, is_late| drafts.push(Draft { change, operation, is_late });
        match what.action {
            Action::Replace if what.is_create_first(rules) => {
                if is_of_phase {
                    push(Operation::Create, false);
                }
                if is_last && !held.contains(what.address.kind.as_str()) {
                    push(Operation::Delete, true);
                }
            }
            _ if !is_of_phase => {}
            Action::None => {}
            Action::Create => push(Operation::Create, false),
            Action::Update => push(Operation::Update, false),
            Action::Delete => push(Operation::Delete, true),
            Action::Replace => {
                push(Operation::Delete, false);
                push(Operation::Create, false);
            }
        }
    }
    drafts
}

/// Deletes wait for the kinds that may depend on theirs. Worked out kind by kind: a pool may have a thousand hosts.
fn wait_for_dependents(drafts: &[Draft], changes: &[Change], rules: &RuleBook, waits: &mut Waits) {
    let kind_of = |draft: &Draft| &changes[draft.change].address.kind;
    let mut by_kind: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        by_kind.entry(kind_of(draft)).or_default().push(index);
    }
    for (index, draft) in drafts.iter().enumerate().filter(|(_, draft)| draft.operation == Operation::Delete) {
        let kind = kind_of(draft);
        for (other_kind, others) in by_kind.iter().filter(|(other, _)| **other != kind && rules.may_depend(other, kind))
        {
            let is_blocked = rules.blocks(other_kind, kind);
            for &other in others {
                let weight = if draft.is_late {
                    Some(Weight::Needed)
                } else {
                    weight_of_dependent(&drafts[other], &changes[drafts[other].change], is_blocked)
                };
                if let Some(weight) = weight {
                    waits.add(index, [other], weight);
                }
            }
        }
    }
}

/// Of a kind whose resources may refer to each other, one is deleted once those that refer to it were changed or deleted.
fn wait_for_alike(drafts: &[Draft], changes: &[Change], rules: &RuleBook, waits: &mut Waits) {
    let refers = |kind: &KindName| rules.get(kind).is_some_and(|it| it.depends_on.contains(&kind.as_str()));
    for (index, draft) in drafts.iter().enumerate().filter(|(_, draft)| draft.operation == Operation::Delete) {
        let Change { address, remote: Some(remote), .. } = &changes[draft.change] else { continue };
        if !refers(&address.kind) {
            continue;
        }
        let ends = |(other, draft): &(usize, &Draft)| {
            let change = &changes[draft.change];
            *other != index
                && change.address.kind == address.kind
                && draft.operation != Operation::Create
                && change.remote.as_ref().is_some_and(|other| other.attributes.values().any(|it| it.names(&remote.id)))
        };
        let others: Vec<usize> = drafts.iter().enumerate().filter(ends).map(|(other, _)| other).collect();
        waits.add(index, others, Weight::Cautious);
    }
}

/// Why something that is deleted to be made again waits for a step of a kind that may depend on its kind. It cannot wait for
/// those that wait for its successor.
fn weight_of_dependent(draft: &Draft, change: &Change, is_blocked: bool) -> Option<Weight> {
    match (draft.operation, change.action, &change.reason) {
        (Operation::Delete, ..) if is_blocked && (!draft.is_late || change.action == Action::Delete) => {
            Some(Weight::Needed)
        }
        (Operation::Delete, Action::Delete, Reason::LeftOver) => None,
        (Operation::Delete, Action::Delete, _) => Some(Weight::Tidy),
        (Operation::Delete, ..) if !draft.is_late => Some(Weight::Dependent),
        _ => None,
    }
}

fn one_by_one(
    goes_down: &BTreeSet<&Address>,
    drafts: &[Draft],
    changes: &[Change],
    rules: &RuleBook,
    waits: &mut Waits,
) {
    let mut halves: BTreeMap<usize, [Option<usize>; 2]> = BTreeMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        let half = usize::from(draft.operation == Operation::Create);
        halves.entry(draft.change).or_default()[half] = Some(index);
    }
    let mut before: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (change, Change { address, action, .. }) in changes.iter().enumerate() {
        let is_rolling = *action == Action::Replace
            && rules.get(&address.kind).is_some_and(|rules| rules.replacement == Replacement::DeleteFirstOneByOne)
            && !goes_down.contains(address);
        if !is_rolling {
            continue;
        }
        if let Some([Some(delete), Some(create)]) = halves.get(&change)
            && let Some(create_before) = before.insert((address.kind.as_str(), &address.name), *create)
        {
            waits.add(*delete, [create_before], Weight::Needed);
        }
    }
}

/// Until the home of the last one changes, an interrupted take-over is seen as one.
fn put_last(drafts: &[Draft], changes: &[Change], rules: &RuleBook, Waits(waits): &mut Waits) {
    let is_last = |draft: &Draft| home::is_last(rules, &changes[draft.change]);
    let (last, others): (Vec<usize>, Vec<usize>) = (0..drafts.len()).partition(|&index| is_last(&drafts[index]));
    for &index in &last {
        for needs in &mut *waits {
            needs.remove(&index);
        }
        waits[index].extend(others.iter().map(|&other| (other, Weight::Needed)));
    }
}

/// What needs something that must be deleted before it is made again.
fn goes_down<'a>(phase: usize, desired: &'a Graph, changes: &[Change], rules: &RuleBook) -> BTreeSet<&'a Address> {
    let replaced: BTreeSet<&Address> = changes
        .iter()
        .filter(|change| {
            let replacement = rules.get(&change.address.kind).map(|rules| rules.replacement);
            change.phase == phase && change.action == Action::Replace && replacement == Some(Replacement::DeleteFirst)
        })
        .map(|change| &change.address)
        .collect();
    let mut goes_down = BTreeSet::new();
    if replaced.is_empty() {
        return goes_down;
    }
    for address in desired.in_order() {
        let needs_one = desired.revision(phase, address).is_some_and(|resource| {
            resource.dependencies().iter().any(|need| replaced.contains(*need) || goes_down.contains(*need))
        });
        if needs_one {
            goes_down.insert(address);
        }
    }
    goes_down
}

/// Each step behind those it waits for, the order of addresses deciding between equals.
fn ordered(drafts: &[Draft], changes: &[Change], Waits(waits): &Waits) -> Result<Vec<Step>, PlanError> {
    let needs = waits.iter().map(|needs| needs.keys().copied()).enumerate();
    let order = in_order(needs).map_err(|stuck| {
        let stuck: BTreeSet<Address> =
            stuck.into_iter().map(|index| changes[drafts[index].change].address.clone()).collect();
        PlanError::Cycle(stuck.into_iter().collect())
    })?;
    let mut place = vec![usize::MAX; drafts.len()];
    for (at, &index) in order.iter().enumerate() {
        place[index] = at;
    }
    let step = |index: usize| {
        let mut after: Vec<usize> = waits[index].keys().map(|&need| place[need]).collect();
        after.sort_unstable();
        Step { change: drafts[index].change, operation: drafts[index].operation, after }
    };
    Ok(order.into_iter().map(step).collect())
}
