//! The plan: every change that leads from what was observed to what is desired, with its reasons, and the steps in which
//! apply executes it. A pure function: same input, same plan.

mod steps;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Accepts, Address, Computed, Difference, Graph, KindName, Map, Observed, OtherHome, ProviderError, Reference,
    Remote, Replacement, Resource, RuleBook, Rules, State, Value, diff, home, lies_under,
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
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reason {
    /// It is as the stack asks.
    Unchanged,
    /// No target selects it: it was not compared with what the stack asks for.
    NotSelected,
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
    /// Its replacement was asked for by its address.
    Asked,
    /// The stack does not ask for it any more.
    NotInStack,
    /// Another one stands at its address: a replacement that was interrupted, or somebody's copy.
    LeftOver,
}

/// Since when an attribute differs from what the stack asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
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

/// Something that a person should know and that changes nothing.
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
    /// Whose resources it would take over.
    pub other_homes: Vec<OtherHome>,
    /// Whether it speaks of the whole stack, and not only of targets.
    pub is_whole: bool,
    /// How many addresses no target covers.
    pub not_covered: usize,
}

/// How to plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanOptions {
    /// Only these addresses (`instance.heavy` means all of its hosts) and what they need; everything if empty.
    pub targets: Vec<Address>,
    /// Take the newest value of pinned attributes.
    pub update_pinned: bool,
    /// Addresses that are replaced although nothing of them differs (`instance.heavy` means all of its hosts).
    pub replace: Vec<Address>,
    /// The stack's home; without one, nobody asks whose the resources are.
    pub home: Option<String>,
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
    #[error("`{0}` is not in the stack and not on AWS")]
    UnknownTarget(Address),
    /// A replacement that was asked for and cannot be done.
    #[error("`{address}` cannot be replaced by its address: {reason}")]
    CannotReplace {
        /// What was to be replaced.
        address: Address,
        /// Why it cannot be.
        reason: String,
    },
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
    let asked = asked(desired, observed, rules, &options.replace)?;
    let mut planner =
        Planner { observed, recorded, rules, options, asked, changes: BTreeMap::new(), notes: Vec::new() };
    for address in desired.in_order() {
        if let Some(resource) = desired.resources().get(address) {
            let is_selected = selected.as_ref().is_none_or(|selected| selected.contains(address));
            planner.plan_resource(resource, is_selected)?;
        }
    }
    let mut notes = planner.notes;
    let mut changes = planner.changes;
    let held = selected.as_ref().map(|selected| held(observed, selected, rules)).unwrap_or_default();
    for (address, remotes) in &observed.remotes {
        if rules.get(&address.kind).is_none() {
            return Err(PlanError::UnknownKind(address.kind.clone()));
        }
        if selected.as_ref().is_some_and(|selected| !selected.contains(address)) {
            continue;
        }
        let reason = if desired.resources().contains_key(address) { Reason::LeftOver } else { Reason::NotInStack };
        let current = changes.get(address).and_then(|changes| changes.first()?.remote.as_ref()).map(|it| it.id.clone());
        for remote in remotes.iter().filter(|remote| current.as_ref() != Some(&remote.id)) {
            if held.contains(address.kind.as_str()) {
                notes.push(held_note(address, &remote.id));
                continue;
            }
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
    let stays = |change: &&Change| change.is_create_first(rules) && held.contains(change.address.kind.as_str());
    let staying = changes.iter().filter(stays);
    notes.extend(staying.filter_map(|change| Some(held_note(&change.address, &change.remote.as_ref()?.id))));
    let steps = steps::steps(desired, &changes, rules, &held)?;
    Ok(Plan {
        stack: desired.stack().to_owned(),
        digest: desired.digest(rules),
        state: (recorded.lineage.clone(), recorded.serial),
        changes,
        steps,
        notes,
        other_homes: options
            .home
            .as_deref()
            .map_or_else(Vec::new, |home| home::others(observed, recorded, rules, home)),
        is_whole: selected.is_none(),
        not_covered: selected.as_ref().map_or(0, |selected| not_covered(desired, observed, selected)),
    })
}

/// The addresses that targets select, with everything they need; nothing means all.
///
/// # Errors
/// When a target is neither in the stack nor in the cloud.
pub fn selection(
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
        queue.extend(desired.resources().keys().chain(observed.remotes.keys()).filter(|it| is_meant(it, target)));
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

/// The kinds of which nothing is deleted: something that no target selects may stand on it.
fn held(observed: &Observed, selected: &BTreeSet<Address>, rules: &RuleBook) -> BTreeSet<&'static str> {
    let others = observed.remotes.keys().filter(|address| !selected.contains(*address));
    others.filter_map(|address| rules.get(&address.kind)).flat_map(|rules| rules.depends_on).copied().collect()
}

fn held_note(address: &Address, id: &str) -> Note {
    Note {
        code: "plan::held".to_owned(),
        message: format!("`{id}` at `{address}` stays for now: what no target covers may still use it"),
        help: Some("apply the whole stack to delete it".to_owned()),
    }
}

/// Whether a target means an address: `instance.heavy` means all hosts of the pool.
fn is_meant(address: &Address, target: &Address) -> bool {
    address == target || (target.index.is_none() && address.kind == target.kind && address.name == target.name)
}

/// The addresses whose replacement was asked for: each is in the stack, and can go before its successor comes.
fn asked(
    desired: &Graph,
    observed: &Observed,
    rules: &RuleBook,
    targets: &[Address],
) -> Result<BTreeSet<Address>, PlanError> {
    let mut asked = BTreeSet::new();
    for target in targets {
        let found: Vec<&Address> = desired.resources().keys().filter(|address| is_meant(address, target)).collect();
        if found.is_empty() {
            let stands = observed.remotes.keys().find(|address| is_meant(address, target)).cloned();
            let reason = "the stack does not ask for it any more".to_owned();
            return Err(stands.map_or_else(
                || PlanError::UnknownTarget(target.clone()),
                |address| PlanError::CannotReplace { address, reason },
            ));
        }
        // What is gone is made again anyway.
        for address in found.into_iter().filter(|address| observed.remotes.contains_key(*address)) {
            let refused = |reason: String| PlanError::CannotReplace { address: address.clone(), reason };
            if rules.get(&address.kind).is_some_and(|rules| rules.replacement == Replacement::CreateFirst) {
                let reason = "its successor comes first, and the two cannot differ in nothing";
                return Err(refused(reason.to_owned()));
            }
            let needs_it = |other: &&Address| {
                let dependencies = desired.resources().get(*other).map(Resource::dependencies).unwrap_or_default();
                rules.blocks(&other.kind, &address.kind) && dependencies.contains(address)
            };
            if let Some(other) = observed.remotes.keys().find(needs_it) {
                return Err(refused(format!("`{other}` stands on it")));
            }
            asked.insert(address.clone());
        }
    }
    Ok(asked)
}

/// What would become of a resource if one of the remotes at its address were the current one.
struct Candidate<'a> {
    remote: &'a Remote,
    wanted: Map,
    differences: Vec<Difference>,
    notes: Vec<Note>,
    /// Whether something of it is not as asked for, but does as well.
    is_accepted: bool,
}

impl Candidate<'_> {
    /// How far it is from what is asked for.
    fn distance(&self) -> (bool, bool, bool) {
        (self.needs_replacement(), !self.differences.is_empty(), self.is_accepted)
    }

    fn needs_replacement(&self) -> bool {
        self.differences.iter().any(|difference| difference.forces_replacement)
    }
}

/// How many addresses are neither selected nor needed by what is.
fn not_covered(desired: &Graph, observed: &Observed, selected: &BTreeSet<Address>) -> usize {
    let all: BTreeSet<&Address> = desired.resources().keys().chain(observed.remotes.keys()).collect();
    all.into_iter().filter(|address| !selected.contains(*address)).count()
}

struct Planner<'a> {
    observed: &'a Observed,
    recorded: &'a State,
    rules: &'a RuleBook,
    options: &'a PlanOptions,
    asked: BTreeSet<Address>,
    changes: BTreeMap<Address, Vec<Change>>,
    notes: Vec<Note>,
}

impl<'a> Planner<'a> {
    fn plan_resource(&mut self, resource: &Resource, is_selected: bool) -> Result<(), PlanError> {
        let address = &resource.address;
        let rules = self.rules.get(&address.kind).ok_or_else(|| PlanError::UnknownKind(address.kind.clone()))?;
        let mut wanted: Map = resource
            .attributes
            .iter()
            .map(|(name, value)| (name.clone(), value.resolve(&|reference| self.known(reference))))
            .collect();
        diff::drop_repeats(rules, &mut wanted);
        let change = match self.current(rules, address, wanted) {
            Err(_) if !is_selected => return Ok(()),
            Err(wanted) => Change {
                address: address.clone(),
                action: Action::Create,
                reason: self.reason_to_create(address),
                differences: Vec::new(),
                desired: Some(wanted),
                remote: None,
            },
            Ok(Candidate { remote, .. }) if !is_selected => Change {
                address: address.clone(),
                action: Action::None,
                reason: Reason::NotSelected,
                differences: Vec::new(),
                // What no target selects stays as it is, and is recorded so.
                desired: Some(remote.attributes.clone()),
                remote: Some(remote.clone()),
            },
            Ok(candidate) => {
                let is_asked = self.asked.contains(address);
                let (action, reason) = match () {
                    () if candidate.needs_replacement() => (Action::Replace, Reason::Differs),
                    () if is_asked => (Action::Replace, Reason::Asked),
                    () if candidate.differences.is_empty() => (Action::None, Reason::Unchanged),
                    () => (Action::Update, Reason::Differs),
                };
                let Candidate { remote, wanted, differences, notes, .. } = candidate;
                let causes = self.causes(rules, address, remote, &differences);
                self.notes.extend(notes);
                Change {
                    address: address.clone(),
                    action,
                    reason,
                    differences: differences.into_iter().zip(causes).collect(),
                    desired: Some(wanted),
                    remote: Some(remote.clone()),
                }
            }
        };
        self.changes.entry(address.clone()).or_default().push(change);
        Ok(())
    }

    /// The current one of those that stand at an address: one that needs no replacement before one that does, then one that
    /// differs in nothing, then one that was asked for as it is and not only does as well; the first of equals. So an apply
    /// that was ended after it made a successor goes on with that one. Gives back what is wanted where none stands.
    fn current(&self, rules: &Rules, address: &Address, wanted: Map) -> Result<Candidate<'a>, Map> {
        let remotes = self.observed.remotes.get(address).map(Vec::as_slice).unwrap_or_default();
        let mut remotes = remotes.iter().filter(|remote| !remote.is_spent);
        let Some(first) = remotes.next() else { return Err(wanted) };
        let others: Vec<(&Remote, Map)> = remotes.map(|remote| (remote, wanted.clone())).collect();
        let candidate = |(remote, wanted)| self.candidate(rules, address, remote, wanted);
        let first = candidate((first, wanted));
        Ok(others.into_iter().map(candidate).fold(
            first,
            |best, other| {
                if other.distance() < best.distance() { other } else { best }
            },
        ))
    }

    fn candidate(&self, rules: &Rules, address: &Address, remote: &'a Remote, mut wanted: Map) -> Candidate<'a> {
        let mut notes = Vec::new();
        self.hold_pins(rules, address, &mut wanted, remote, &mut notes);
        // What is accepted as a whole may hold pins.
        let is_accepted = hold_accepted(rules, &mut wanted, remote);
        let mut differences = diff::differences(rules, &wanted, &remote.attributes);
        // A home that is missing comes along with the next change, where nobody has to be asked whose the resource is.
        if let ([only], Some(rule)) = (differences.as_slice(), self.rules.home())
            && only.path == home::path(rule)
            && let Some(without) = home::without(rule, &wanted, remote, self.recorded, address)
        {
            wanted = without;
            differences.clear();
        }
        Candidate { remote, wanted, differences, notes, is_accepted }
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
    fn hold_pins(&self, rules: &Rules, address: &Address, wanted: &mut Map, remote: &Remote, notes: &mut Vec<Note>) {
        for (path, rule) in rules.attributes {
            let Some(by) = rule.pinned_by else { continue };
            // What stands there counts; where somebody edited it away, what was applied does.
            let recorded = self.recorded.resources.get(address).filter(|recorded| recorded.id == remote.id);
            let looks = [&remote.attributes].into_iter().chain(recorded.map(|recorded| &recorded.attributes));
            let pin = looks
                .filter(|look| diff::at(wanted, by).is_some() && diff::at(wanted, by) == diff::at(look, by))
                .find_map(|look| diff::at(look, path).filter(|pin| **pin != Value::Null));
            let (Some(newest), Some(pin)) = (diff::at(wanted, path), pin) else { continue };
            if newest == pin || self.options.update_pinned {
                continue;
            }
            if let (Some(newest), Some(pin)) = (newest.as_text(), pin.as_text()) {
                notes.push(Note {
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

/// Observed values that do as well as the desired ones stay, so that what refers to them sees them, too. Says whether any did.
fn hold_accepted(rules: &Rules, wanted: &mut Map, remote: &Remote) -> bool {
    let mut is_accepted = false;
    for (path, rule) in rules.attributes {
        let Some(Accepts(accepts)) = rule.accepts else { continue };
        let (Some(desired), Some(observed)) = (diff::at(wanted, path), diff::at(&remote.attributes, path)) else {
            continue;
        };
        if desired != observed && accepts(desired, observed) {
            let observed = observed.clone();
            diff::put(wanted, path, observed);
            is_accepted = true;
        }
    }
    is_accepted
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
