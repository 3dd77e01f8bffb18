//! What happens at each address, phase by phase.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::{Action, Cause, Change, Note, PlanError, PlanOptions, Reason, steps};
use crate::{
    Accepts, Address, Computed, Difference, Graph, Map, Move, Observed, Reference, Remote, Resource, RuleBook, Rules,
    State, Value, diff, drift, home, lies_under, order::in_order, value::attribute_at,
};

pub(super) struct Planner<'a> {
    pub desired: &'a Graph,
    pub observed: &'a Observed,
    pub recorded: &'a State,
    pub rules: &'a RuleBook,
    pub options: &'a PlanOptions,
    /// The addresses whose replacement was asked for.
    pub asked: BTreeSet<Address>,
    /// The addresses that targets select; `None` for all.
    pub selected: Option<&'a BTreeSet<Address>>,
    /// The phase that is planned; 0 before the first one.
    pub phase: usize,
    /// What happens at each address, phase by phase: either one change that does nothing, or changes that all do something.
    pub changes: Changes,
    pub notes: Vec<Note>,
}

/// The changes of each address, phase by phase.
pub(super) type Changes = BTreeMap<Address, Vec<Change>>;

impl<'a> Planner<'a> {
    /// Plans phase by phase.
    pub(super) fn run(mut self) -> Result<(Changes, Vec<Note>), PlanError> {
        let desired = self.desired;
        let order = desired.in_order();
        if !desired.phases().is_empty() {
            // What a phase does not list is what it is.
            for resource in order.iter().filter_map(|address| desired.resources().get(*address)) {
                self.plan_resource(resource, false)?;
            }
        }
        for phase in 1..=desired.phases().len() {
            self.phase = phase;
            for resource in self.members(phase)? {
                self.plan_resource(resource, true)?;
            }
        }
        self.phase = steps::last_phase(desired);
        for resource in order.into_iter().filter_map(|address| desired.resources().get(address)) {
            self.plan_resource(resource, self.is_selected(&resource.address))?;
        }
        Ok((self.changes, self.notes))
    }

    fn is_selected(&self, address: &Address) -> bool {
        self.selected.is_none_or(|selected| selected.contains(address))
    }

    /// What a phase before the last one leads to what it asks for, in order.
    fn members(&self, phase: usize) -> Result<Vec<&'a Resource>, PlanError> {
        let phases = self.desired.phases();
        let waits = |need: &Address| {
            self.changes.contains_key(need) && phases.iter().any(|resources| resources.contains_key(need))
        };
        let listed = phases.get(phase - 1).into_iter().flat_map(BTreeMap::keys);
        let mut queue: Vec<&Address> = listed.filter(|address| self.is_selected(address)).collect();
        let mut members: BTreeMap<&Address, &'a Resource> = BTreeMap::new();
        while let Some(address) = queue.pop() {
            let Some(resource) = self.desired.revision(phase, address) else { continue };
            if members.insert(&resource.address, resource).is_none() {
                queue.extend(resource.dependencies().into_iter().filter(|need| !waits(need)));
            }
        }
        let needs = members.iter().map(|(address, resource)| (*address, resource.dependencies()));
        let order = in_order(needs).map_err(|stuck| PlanError::Cycle(stuck.into_iter().cloned().collect()))?;
        Ok(order.into_iter().filter_map(|address| members.get(address).copied()).collect())
    }

    /// Adds what happens at an address in the phase that is planned. What an earlier phase found unchanged gives way.
    fn push(&mut self, change: Change) {
        let is_deferred =
            self.phase > 0 && self.phase < steps::last_phase(self.desired) && home::is_last(self.rules, &change);
        let changes = self.changes.entry(change.address.clone()).or_default();
        if is_deferred && !changes.is_empty() {
            return;
        }
        if changes.last().is_some_and(|last| last.action == Action::None) {
            changes.pop();
        }
        if changes.is_empty() || change.action != Action::None {
            changes.push(change);
        }
    }

    fn plan_resource(&mut self, resource: &Resource, is_selected: bool) -> Result<(), PlanError> {
        let address = &resource.address;
        let rules = self.rules.get(&address.kind).ok_or_else(|| PlanError::UnknownKind(address.kind.clone()))?;
        let mut wanted: Map = resource
            .attributes
            .iter()
            .map(|(name, value)| (name.clone(), value.resolve(&|reference| self.known(reference))))
            .collect();
        diff::drop_repeats(rules, &mut wanted);
        let phase = self.phase;
        let change = match self.current(rules, address, wanted) {
            Err(_) if !is_selected => return Ok(()),
            Err(wanted) => Change {
                address: address.clone(),
                phase,
                action: Action::Create,
                reason: self.reason_to_create(address),
                differences: Vec::new(),
                desired: Some(wanted),
                remote: None,
                follows: None,
            },
            Ok(Candidate { remote, .. }) if !is_selected => Change {
                address: address.clone(),
                phase,
                action: Action::None,
                reason: Reason::NotSelected,
                differences: Vec::new(),
                // What no target selects stays, and the state records it as it is.
                desired: Some(remote.attributes.clone()),
                remote: Some(remote.into_owned()),
                follows: None,
            },
            Ok(candidate) => {
                let is_made = candidate.is_made;
                let is_asked = self.asked.contains(address) && !is_made;
                let (action, reason) = match () {
                    () if candidate.needs_replacement() => (Action::Replace, Reason::Differs),
                    () if is_asked => (Action::Replace, Reason::Asked),
                    () if candidate.differences.is_empty() => (Action::None, Reason::Unchanged),
                    () => (Action::Update, Reason::Differs),
                };
                let Candidate { remote, wanted, differences, notes, .. } = candidate;
                let is_of_phase = is_made || self.desired.resources().get(address) != Some(resource);
                let causes = if is_of_phase {
                    vec![Cause::Phase; differences.len()]
                } else {
                    self.causes(address, &remote, &differences)
                };
                for note in notes {
                    // Another phase may have said so.
                    if !self.notes.contains(&note) {
                        self.notes.push(note);
                    }
                }
                Change {
                    address: address.clone(),
                    phase,
                    action,
                    reason,
                    differences: differences.into_iter().zip(causes).collect(),
                    desired: Some(wanted),
                    remote: (!is_made).then(|| remote.into_owned()),
                    follows: None,
                }
            }
        };
        self.push(change);
        Ok(())
    }

    /// The current one of the resources at an address: one that needs no replacement comes before one that does, then one
    /// without differences, then one that is exactly as asked for and not only acceptable; the first of equals. So an apply
    /// that was interrupted after it created a successor goes on with that one. Returns what is wanted where there is none.
    fn current(&self, rules: &Rules, address: &Address, wanted: Map) -> Result<Candidate<'a>, Map> {
        if let Some(made) = self.made(address) {
            return Ok(Candidate { is_made: true, ..self.candidate(rules, address, Cow::Owned(made), wanted) });
        }
        let remotes = self.observed.remotes.get(address).map(Vec::as_slice).unwrap_or_default();
        let has_tagged = remotes.iter().any(|remote| !remote.is_spent && !remote.is_untagged);
        let mut remotes = remotes.iter().filter(|it| !it.is_spent && it.is_untagged != has_tagged);
        // What the state alone knows may get its tags back, and nothing else.
        let without_it = (!has_tagged).then(|| wanted.clone());
        let Some(first) = remotes.next() else { return Err(self.kept_from_predecessor(rules, address, wanted)) };
        let others: Vec<(&Remote, Map)> = remotes.map(|remote| (remote, wanted.clone())).collect();
        let candidate = |(remote, wanted)| self.candidate(rules, address, Cow::Borrowed(remote), wanted);
        let first = candidate((first, wanted));
        let nearer = |best: Candidate<'a>, other: Candidate<'a>| {
            if other.distance() < best.distance() { other } else { best }
        };
        let best = others.into_iter().map(candidate).fold(first, nearer);
        match without_it {
            Some(wanted) if best.needs_replacement() || self.asked.contains(address) => {
                Err(self.kept_from_predecessor(rules, address, wanted))
            }
            _ => Ok(best),
        }
    }

    /// What is wanted of something that takes the place of one of another name: it keeps what that one holds, except what
    /// cannot change in place.
    fn kept_from_predecessor(&self, rules: &Rules, address: &Address, mut wanted: Map) -> Map {
        let observed = |made: &Move| {
            let remotes = self.observed.remotes.get(&made.source(address)?)?;
            remotes.iter().find(|remote| !remote.is_spent)
        };
        let mut remade = self.options.moves.iter().filter(|made| made.is_remade);
        let Some(remote) = remade.find_map(observed) else { return wanted };
        let own = wanted.clone();
        self.hold_pins(rules, address, &mut wanted, remote, &mut Vec::new());
        hold_accepted(rules, &mut wanted, remote);
        for (path, _) in rules.attributes.iter().filter(|(_, rule)| rule.immutable) {
            if let Some(value) = diff::at(&own, path) {
                diff::put(&mut wanted, path, value.clone());
            }
        }
        wanted
    }

    fn candidate(&self, rules: &Rules, address: &Address, remote: Cow<'a, Remote>, mut wanted: Map) -> Candidate<'a> {
        let mut notes = Vec::new();
        self.hold_pins(rules, address, &mut wanted, &remote, &mut notes);
        // What is accepted as a whole may hold pins.
        let is_accepted = hold_accepted(rules, &mut wanted, &remote);
        let differences = diff::differences(rules, &wanted, &remote.attributes);
        Candidate { remote, wanted, differences, notes, is_accepted, is_made: false }
    }

    /// What an earlier phase makes of an address, as far as the plan knows it: its references stand for what they stood for
    /// in that phase.
    fn made(&self, address: &Address) -> Option<Remote> {
        let change = self.changes.get(address)?.last().filter(|change| change.action != Action::None)?;
        let then = |reference: &Reference| {
            self.is_renewed(reference, change.phase).then(|| {
                let Reference { address, attribute } = reference;
                Value::reference(address.clone(), format!("{attribute} of phase {}", change.phase))
            })
        };
        let desired = change.desired.iter().flatten();
        Some(Remote::new("", desired.map(|(name, value)| (name.clone(), value.resolve(&then))).collect()))
    }

    /// Whether what an unknown reference stands for changes after a phase.
    fn is_renewed(&self, Reference { address, attribute }: &Reference, since: usize) -> bool {
        let computed = self.rules.get(&address.kind).and_then(|rules| rules.computed(attribute));
        let changes = |change: &Change, name: &str| {
            change.differences.iter().any(|(difference, _)| lies_under(&difference.path, name))
        };
        let renews = |change: &Change| match (computed, change.action) {
            (_, Action::None | Action::Delete) | (Some(Computed::AtCreation), Action::Update) => false,
            (_, Action::Create | Action::Replace) => true,
            (Some(Computed::ChangesWith(names)), Action::Update) => names.iter().any(|name| changes(change, name)),
            (Some(Computed::DigestOf(name)), Action::Update) => changes(change, name),
            (None, Action::Update) => changes(change, attribute),
        };
        self.changes.get(address).into_iter().flatten().any(|change| change.phase > since && renews(change))
    }

    fn reason_to_create(&self, address: &Address) -> Reason {
        let is_left = |id: &str| {
            self.observed.remotes.get(address).is_some_and(|it| it.iter().any(|it| it.is_untagged && it.id == id))
        };
        let recorded = self.recorded.resources.get(address).filter(|recorded| !is_left(&recorded.id));
        recorded.map_or(Reason::New, |recorded| Reason::Gone {
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
        self.known_after(self.changes.get(address)?, attribute)
    }

    /// What an attribute is after changes of one address, if that is known before apply.
    fn known_after(&self, changes: &[Change], attribute: &str) -> Option<Value> {
        let (change, before) = changes.split_last()?;
        let rules = self.rules.get(&change.address.kind)?;
        let asked_for = |name: &str| change.desired.as_ref()?.get(name).filter(|value| value.is_known()).cloned();
        let observed = || match before {
            [] => attribute_at(&change.remote.as_ref()?.attributes, attribute),
            before => self.known_after(before, attribute),
        };
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
            // If somebody removed the pin, that of the earlier version counts. The state is never asked.
            let pin = [&remote.attributes]
                .into_iter()
                .chain(&remote.earlier)
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

    /// Why attributes differ. It is all that the state is for, beside [`Planner::reason_to_create`].
    fn causes(&self, address: &Address, remote: &Remote, found: &[Difference]) -> Vec<Cause> {
        let Some(recorded) = self.recorded.resources.get(address).filter(|recorded| recorded.id == remote.id) else {
            return vec![Cause::Unrecorded; found.len()];
        };
        let drift = drift::since(recorded, remote, address, self.rules);
        found
            .iter()
            .map(|difference| {
                let path = &difference.path;
                let is_outside =
                    drift.iter().any(|drift| lies_under(&drift.path, path) || lies_under(path, &drift.path));
                if is_outside { Cause::Outside { since: recorded.applied_at.clone() } } else { Cause::Stack }
            })
            .collect()
    }
}

/// Keeps observed values that are acceptable in place of the desired ones, so that references see them too. Returns whether
/// there is one.
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

/// What would become of a resource if one of the remotes at its address were the current one.
struct Candidate<'a> {
    remote: Cow<'a, Remote>,
    wanted: Map,
    differences: Vec<Difference>,
    notes: Vec<Note>,
    /// Whether an observed value is not as asked for and is accepted.
    is_accepted: bool,
    /// Whether an earlier phase of the plan makes it.
    is_made: bool,
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
