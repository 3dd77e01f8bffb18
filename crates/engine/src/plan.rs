//! The plan: every change that leads from what was observed to what is desired, with its reasons, and the steps in which
//! apply executes it. A pure function: same input, same plan.

mod steps;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Address, Computed, Difference, Graph, KindName, Map, Observed, ProviderError, Reference, Remote, Replacement,
    Resource, RuleBook, Rules, State, Value, diff,
};

/// What happens to one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing.
    None,
    /// It is made.
    Create,
    /// It changes in place.
    Update,
    /// It is deleted and made anew, in the order its kind asks for.
    Replace,
    /// It is deleted.
    Delete,
}

/// Why it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is as it shall be.
    Unchanged,
    /// It is new in the stack.
    New,
    /// It was applied and is not there any more: somebody deleted it.
    Gone {
        /// What the cloud called it.
        id: String,
        /// When it was last applied.
        applied_at: String,
    },
    /// It differs from what the stack asks for.
    Differs,
    /// The stack does not ask for it any more.
    NotInStack,
    /// Another one stands at its address: a replacement that was interrupted, or somebody's copy.
    LeftOver,
}

/// Since when an attribute differs from what the stack asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The stack changed.
    Stack,
    /// The cloud was changed outside since the last apply.
    Outside {
        /// When it was last applied.
        since: String,
    },
    /// The state does not tell.
    Unrecorded,
}

/// What happens to one thing in the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its address.
    pub address: Address,
    /// What happens.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Which attributes make it happen, each with since when.
    pub differences: Vec<(Difference, Cause)>,
    /// What it shall look like: references that are known are replaced, pinned attributes hold their pins.
    pub desired: Option<Map>,
    /// What stands there now.
    pub remote: Option<Remote>,
}

/// What apply does in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Calls the provider's create.
    Create,
    /// Calls the provider's update.
    Update,
    /// Calls the provider's delete.
    Delete,
}

/// One call of apply to the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Index of the change it belongs to.
    pub change: usize,
    /// What is done.
    pub operation: Operation,
    /// Indices of the steps that must have succeeded before.
    pub after: Vec<usize>,
}

/// Something worth telling that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// `plan::pinned`, `blueprint::no_route`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What one could do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// All changes of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The stack's name.
    pub stack: String,
    /// Digest of what the stack asks for.
    pub digest: String,
    /// Lineage and serial of the state it was made with.
    pub state: (String, u64),
    /// One change per address, in the order of addresses; a left-over comes behind the one that stays.
    pub changes: Vec<Change>,
    /// What apply does, each step behind those it waits for.
    pub steps: Vec<Step>,
    /// What is worth telling.
    pub notes: Vec<Note>,
    /// Whether it speaks of the whole stack, and not only of targets.
    pub is_whole: bool,
}

/// How to plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Only these addresses (`instance.heavy` means all of its hosts) and what they need; everything if empty.
    pub targets: Vec<Address>,
    /// Take the newest value of pinned attributes.
    pub update_pinned: bool,
}

/// Why there is no plan.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlanError {
    /// Lookups that found nothing.
    #[error("{} of what the stack looks up was not found", .0.len())]
    Missing(BTreeMap<Address, ProviderError>),
    /// Names that somebody else has.
    #[error("{} of the names that the stack needs belong to something else", .0.len())]
    Taken(BTreeMap<Address, ProviderError>),
    /// A kind without rules.
    #[error("there are no rules for `{0}`")]
    UnknownKind(KindName),
    /// A target that is nowhere.
    #[error("`{0}` is neither in the stack nor in the cloud")]
    UnknownTarget(Address),
    /// Changes that wait for each other.
    #[error("the changes of {} wait for each other", .0.iter().map(|address| format!("`{address}`")).collect::<Vec<_>>().join(", "))]
    Knot(Vec<Address>),
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The changes that do something.
    pub fn pending(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.action != Action::None)
    }
}

/// Plans the way from what was observed to what is desired. `recorded` only explains.
pub fn plan(
    desired: &Graph,
    observed: &Observed,
    recorded: &State,
    rules: &RuleBook,
    options: &PlanOptions,
) -> Result<Plan, PlanError> {
    if !observed.missing.is_empty() {
        return Err(PlanError::Missing(observed.missing.clone()));
    }
    let selected = selection(desired, observed, &options.targets)?;
    let taken = observed.taken.iter().filter(|(address, _)| {
        desired.resources().contains_key(*address)
            && selected.as_ref().is_none_or(|selected| selected.contains(*address))
    });
    let taken: BTreeMap<_, _> = taken.map(|(address, error)| (address.clone(), error.clone())).collect();
    if !taken.is_empty() {
        return Err(PlanError::Taken(taken));
    }
    let mut planner = Planner { observed, recorded, rules, options, changes: BTreeMap::new(), notes: Vec::new() };
    for address in desired.in_order() {
        if let Some(resource) = desired.resources().get(address) {
            let is_selected = selected.as_ref().is_none_or(|selected| selected.contains(address));
            planner.plan_resource(resource, is_selected)?;
        }
    }
    let mut changes = planner.changes;
    for (address, remotes) in &observed.remotes {
        if rules.get(&address.kind).is_none() {
            return Err(PlanError::UnknownKind(address.kind.clone()));
        }
        if selected.as_ref().is_some_and(|selected| !selected.contains(address)) {
            continue;
        }
        let (kept, reason) =
            if desired.resources().contains_key(address) { (1, Reason::LeftOver) } else { (0, Reason::NotInStack) };
        let kept = if remotes.first().is_some_and(|remote| remote.is_spent) { 0 } else { kept };
        for remote in remotes.iter().skip(kept) {
            changes.entry(address.clone()).or_default().push(Change {
                address: address.clone(),
                action: Action::Delete,
                reason: reason.clone(),
                differences: Vec::new(),
                desired: None,
                remote: Some(remote.clone()),
            });
        }
    }
    let changes: Vec<Change> = changes.into_values().flatten().collect();
    let steps = steps::steps(desired, &changes, rules)?;
    Ok(Plan {
        stack: desired.stack().to_owned(),
        digest: desired.digest(rules),
        state: (recorded.lineage.clone(), recorded.serial),
        changes,
        steps,
        notes: planner.notes,
        is_whole: options.targets.is_empty(),
    })
}

/// The addresses that targets select, with everything they need; nothing means all.
fn selection(
    desired: &Graph,
    observed: &Observed,
    targets: &[Address],
) -> Result<Option<BTreeSet<Address>>, PlanError> {
    if targets.is_empty() {
        return Ok(None);
    }
    let mut selected = BTreeSet::new();
    let mut queue: Vec<&Address> = Vec::new();
    for target in targets {
        let before = queue.len();
        let matches = |address: &&Address| {
            *address == target || (target.index.is_none() && address.kind == target.kind && address.name == target.name)
        };
        queue.extend(desired.resources().keys().chain(observed.remotes.keys()).filter(matches));
        if queue.len() == before {
            return Err(PlanError::UnknownTarget(target.clone()));
        }
    }
    while let Some(address) = queue.pop() {
        if selected.insert(address.clone())
            && let Some(resource) = desired.resources().get(address)
        {
            queue.extend(resource.dependencies().into_iter().filter(|need| desired.resources().contains_key(*need)));
        }
    }
    Ok(Some(selected))
}

struct Planner<'a> {
    observed: &'a Observed,
    recorded: &'a State,
    rules: &'a RuleBook,
    options: &'a PlanOptions,
    changes: BTreeMap<Address, Vec<Change>>,
    notes: Vec<Note>,
}

impl Planner<'_> {
    fn plan_resource(&mut self, resource: &Resource, is_selected: bool) -> Result<(), PlanError> {
        let address = &resource.address;
        let rules = self.rules.get(&address.kind).ok_or_else(|| PlanError::UnknownKind(address.kind.clone()))?;
        let remote =
            self.observed.remotes.get(address).and_then(|remotes| remotes.first()).filter(|remote| !remote.is_spent);
        if !is_selected && remote.is_none() {
            return Ok(());
        }
        let mut wanted: Map = resource
            .attributes
            .iter()
            .map(|(name, value)| (name.clone(), value.resolve(&|reference| self.known(reference))))
            .collect();
        diff::drop_repeats(rules, &mut wanted);
        let change = match remote {
            None => Change {
                address: address.clone(),
                action: Action::Create,
                reason: self.reason_to_create(address),
                differences: Vec::new(),
                desired: Some(wanted),
                remote: None,
            },
            Some(remote) => {
                self.hold_pins(rules, address, &mut wanted, remote);
                let found = diff::differences(rules, &wanted, &remote.attributes);
                let action = match () {
                    () if found.is_empty() || !is_selected => Action::None,
                    () if found.iter().any(|difference| difference.forces_replacement) => Action::Replace,
                    () => Action::Update,
                };
                let causes = self.causes(rules, address, remote, &found);
                let is_changed = action != Action::None;
                Change {
                    address: address.clone(),
                    action,
                    reason: if is_changed { Reason::Differs } else { Reason::Unchanged },
                    differences: if is_changed { found.into_iter().zip(causes).collect() } else { Vec::new() },
                    // What no target selects stays as it is, and is recorded so.
                    desired: Some(if is_selected { wanted } else { remote.attributes.clone() }),
                    remote: Some(remote.clone()),
                }
            }
        };
        self.changes.entry(address.clone()).or_default().push(change);
        Ok(())
    }

    fn reason_to_create(&self, address: &Address) -> Reason {
        self.recorded.resources.get(address).map_or(Reason::New, |recorded| Reason::Gone {
            id: recorded.id.clone(),
            applied_at: recorded.applied_at.clone(),
        })
    }

    /// What a reference stands for, if that is known before apply.
    fn known(&self, reference: &Reference) -> Option<Value> {
        let Reference { address, attribute } = reference;
        if let Some(found) = self.observed.lookups.get(address) {
            return found.get(attribute).cloned();
        }
        let change = self.changes.get(address)?.first()?;
        let rules = self.rules.get(&address.kind)?;
        let asked_for = |name: &str| change.desired.as_ref()?.get(name).filter(|value| value.is_known()).cloned();
        let observed = || change.remote.as_ref()?.attributes.get(attribute).cloned();
        match (rules.computed(attribute), change.action) {
            (Some(Computed::DigestOf(name)), _) => asked_for(name).map(|value| value.digest().into()),
            (None, Action::None) => observed().or_else(|| asked_for(attribute)),
            (None, _) => asked_for(attribute),
            (Some(_), Action::None) | (Some(Computed::AtCreation), Action::Update) => observed(),
            (Some(Computed::ChangesWith(names)), Action::Update) => {
                let is_changed = |name: &str| change.differences.iter().any(|(found, _)| lies_under(&found.path, name));
                if names.iter().any(|name| is_changed(name)) { None } else { observed() }
            }
            (Some(_), _) => None,
        }
    }

    /// Pinned attributes keep what they are, and a note says what they could be.
    fn hold_pins(&mut self, rules: &Rules, address: &Address, wanted: &mut Map, remote: &Remote) {
        for (path, rule) in rules.attributes {
            let Some(by) = rule.pinned_by else { continue };
            // What was applied counts more than what stands there, which anybody may have edited.
            let recorded = self.recorded.resources.get(address).filter(|recorded| recorded.id == remote.id);
            let looks = recorded.map(|recorded| &recorded.attributes).into_iter().chain([&remote.attributes]);
            let pin = looks
                .filter(|look| diff::at(wanted, by).is_some() && diff::at(wanted, by) == diff::at(look, by))
                .find_map(|look| diff::at(look, path).filter(|pin| **pin != Value::Null));
            let (Some(newest), Some(pin)) = (diff::at(wanted, path), pin) else { continue };
            if newest == pin || self.options.update_pinned {
                continue;
            }
            if let (Some(newest), Some(pin)) = (newest.as_text(), pin.as_text()) {
                self.notes.push(Note {
                    code: "plan::pinned".to_owned(),
                    message: format!("`{address}` stays with `{path}` {pin}; {newest} is newer"),
                    help: Some("`--update-images` takes the newest ones".to_owned()),
                });
            }
            let pin = pin.clone();
            diff::put(wanted, path, pin);
        }
    }

    fn causes(&self, rules: &Rules, address: &Address, remote: &Remote, found: &[Difference]) -> Vec<Cause> {
        let Some(recorded) = self.recorded.resources.get(address).filter(|recorded| recorded.id == remote.id) else {
            return vec![Cause::Unrecorded; found.len()];
        };
        let drift = diff::differences(rules, &recorded.attributes, &remote.attributes);
        found
            .iter()
            .map(|difference| {
                let path = &difference.path;
                let is_outside = !difference.sensitive
                    && drift.iter().any(|drift| lies_under(&drift.path, path) || lies_under(path, &drift.path));
                if is_outside { Cause::Outside { since: recorded.applied_at.clone() } } else { Cause::Stack }
            })
            .collect()
    }
}

fn lies_under(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl Change {
    /// Whether the new one is made before the old one goes.
    pub(crate) fn is_create_first(&self, rules: &RuleBook) -> bool {
        self.action == Action::Replace
            && rules.get(&self.address.kind).is_some_and(|rules| rules.replacement == Replacement::CreateFirst)
    }
}

#[cfg(test)]
mod tests;
