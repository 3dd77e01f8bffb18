//! Executes a plan, step by step as the plan says, as many at a time as do not wait for each other.
//!
//! It decides nothing: every step, its order and its attributes come from the plan; what was unknown then is taken from
//! the answers of the steps before. Every success is recorded in the state. What depends on a failure is skipped and
//! named. Once interrupted, it starts nothing new, finishes what runs, and saves.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::Either, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Action, Address, Adoption, Applied, Change, Computed, Context, Event, Events, KindName, Map, Operation, Outcome,
    Plan, Provider, ProviderError, Reason, Recorded, Reference, Remote, Resolved, RuleBook, Session, State, StateStore,
    Step, StoreError, Token, Value, diff, document::lasting, value::attribute_at,
};

/// How to apply.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// How many steps run at a time. By default all that do not wait for each other, so that a provider gets what it can do
    /// with one call as one list. A provider itself limits how many calls it makes at a time.
    pub concurrency: usize,
    /// Once cancelled, no further step is started, and every wait ends.
    pub interrupt: CancellationToken,
    /// The stack's home, which the state records.
    pub home: Option<String>,
    /// What creates may take over.
    pub adoption: Adoption,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(CancellationToken::new())
    }
}

impl Settings {
    /// Until this token is cancelled.
    pub fn new(interrupt: CancellationToken) -> Self {
        Self { concurrency: usize::MAX, interrupt, home: None, adoption: Adoption::default() }
    }

    /// The same for a stack of this home.
    #[must_use]
    pub fn with_home(self, home: impl Into<String>, adoption: Adoption) -> Self {
        Self { home: Some(home.into()), adoption, ..self }
    }
}

/// How long successes may wait to be saved together: the cloud is the journal, the state a cache.
const SAVE_AFTER: Duration = Duration::from_millis(250);

/// Executes the plan under a lock. `state` is the document the plan was made with. Once the lock is lost, it drops what
/// runs, as a kill would, and changes nothing more.
pub(crate) async fn apply(
    plan: &Plan,
    provider: &impl Provider,
    session: &Session<impl StateStore>,
    rules: &RuleBook,
    state: State,
    events: &Events,
    settings: &Settings,
) -> Outcome {
    let context =
        Context::new(settings.interrupt.clone()).with_adoption(settings.adoption.clone()).with_hold(session.hold());
    let mut lost = pin!(session.lost().fuse());
    let mut run = Run::new(plan, rules, state, settings.home.as_deref());
    run.adopt();
    let gives_away = run.give_away();
    if gives_away {
        // No earlier state counts any more once something has lost its tags.
        run.sign(provider, session).await;
    }
    if run.is_dirty {
        // A resource without tags belongs to the stack whose state knows its id.
        run.save(session).await;
    }
    let mut running = FuturesUnordered::new();
    let mut last_saved: Option<Instant> = None;
    loop {
        if let Err(error) = session.held() {
            running.clear();
            run.lose(error, events);
        }
        while running.len() < settings.concurrency.max(1)
            && !settings.interrupt.is_cancelled()
            && !run.cannot_save()
            && let Some(index) = run.ready.pop_first()
        {
            if run.stays(index) {
                run.settle(index);
                continue;
            }
            let limit = settings.concurrency.max(1) - running.len();
            let (batch, broken) = run.batch(index, limit, events);
            for (index, error) in broken {
                run.finish(index, Err(error), events);
            }
            running.extend(perform(provider, batch, &context));
        }
        if settings.interrupt.is_cancelled() && !run.is_stopping {
            run.is_stopping = true;
            events.send(Event::Stopping);
        }
        if running.is_empty() && (run.ready.is_empty() || settings.interrupt.is_cancelled() || run.cannot_save()) {
            break;
        }
        tokio::select! {
            biased;
            Some((index, result)) = running.next(), if !running.is_empty() => run.finish(index, result, events),
            () = settings.interrupt.cancelled(), if !run.is_stopping => {}
            () = &mut lost => {}
        }
        if run.is_dirty && last_saved.is_none_or(|saved| saved.elapsed() >= SAVE_AFTER) {
            run.save(session).await;
            last_saved = Some(Instant::now());
        }
    }
    run.end();
    if !gives_away {
        run.sign_if_changed(provider, session).await;
    }
    if run.is_dirty {
        run.save(session).await;
    }
    run.clear_unsaved();
    run.outcome_so_far
}

/// Steps of one kind and one operation that are ready at the same time, by their indices: they go to the provider as a list.
#[derive(Default)]
struct Batch {
    creates: Vec<(usize, Create)>,
    updates: Vec<(usize, Update)>,
    deletes: Vec<(usize, Delete)>,
}

type Create = (Resolved, Token);
type Update = (Remote, Resolved, Vec<String>);
type Delete = (Address, Remote);

/// What each step of a batch ends with.
fn perform<'a>(
    provider: &'a impl Provider,
    batch: Batch,
    context: &'a Context,
) -> impl Iterator<Item = impl Future<Output = (usize, Result<Option<Remote>, ProviderError>)>> {
    let (indices, items): (Vec<usize>, Vec<Create>) = batch.creates.into_iter().unzip();
    let first = indices.into_iter().zip(provider.create_all(items, context));
    let (indices, items): (Vec<usize>, Vec<Update>) = batch.updates.into_iter().unzip();
    let second = indices.into_iter().zip(provider.update_all(items, context));
    let (indices, items): (Vec<usize>, Vec<Delete>) = batch.deletes.into_iter().unzip();
    let third = indices.into_iter().zip(provider.delete_all(items, context));
    let first = first.map(|(index, work)| Either::Left(Either::Left(work.map(move |it| (index, it.map(Some))))));
    let second = second.map(|(index, work)| Either::Left(Either::Right(work.map(move |it| (index, it.map(Some))))));
    let third = third.map(|(index, work)| Either::Right(work.map(move |it| (index, it.map(|()| None)))));
    first.chain(second).chain(third)
}

struct Run<'a> {
    plan: &'a Plan,
    rules: &'a RuleBook,
    home: Option<&'a str>,
    /// What each address looks like once its step is done: answers to references.
    made: BTreeMap<&'a Address, Map>,
    /// What each change made, for the change that follows it.
    results: BTreeMap<usize, Remote>,
    waiting_for: Vec<usize>,
    needed_by: Vec<Vec<usize>>,
    ready: BTreeSet<usize>,
    under_way: BTreeSet<usize>,
    settled: Vec<bool>,
    /// What a create of this run returned, made or found, by kind and id, as long as it is the current one of its address:
    /// none of it is deleted by this run.
    ours: BTreeSet<(&'a KindName, String)>,
    is_dirty: bool,
    is_stopping: bool,
    outcome_so_far: Outcome,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, rules: &'a RuleBook, state: State, home: Option<&'a str>) -> Self {
        let mut needed_by = vec![Vec::new(); plan.steps.len()];
        for (index, step) in plan.steps.iter().enumerate() {
            for &need in &step.after {
                if let Some(dependents) = needed_by.get_mut(need) {
                    dependents.push(index);
                }
            }
        }
        let waiting_for: Vec<usize> = plan.steps.iter().map(|step| step.after.len()).collect();
        let ready = (0..plan.steps.len()).filter(|&index| waiting_for[index] == 0).collect();
        Self {
            plan,
            rules,
            home,
            made: BTreeMap::new(),
            results: BTreeMap::new(),
            waiting_for,
            needed_by,
            ready,
            under_way: BTreeSet::new(),
            settled: vec![false; plan.steps.len()],
            ours: BTreeSet::new(),
            is_dirty: false,
            is_stopping: false,
            outcome_so_far: Outcome::new(state),
        }
    }

    fn cannot_save(&self) -> bool {
        self.outcome_so_far.unsaved.is_some()
    }

    /// Without the lock, nothing more is changed, and the state is not saved. Steps in progress may have taken effect or not.
    fn lose(&mut self, error: StoreError, events: &Events) {
        for index in std::mem::take(&mut self.under_way) {
            let (address, operation) = self.describe(index);
            self.settled[index] = true;
            self.outcome_so_far.interrupted.push((address.clone(), operation));
            events.send(Event::Interrupted { address, operation });
        }
        self.outcome_so_far.unsaved = Some(error);
        self.is_dirty = false;
    }

    /// Records what is already as the stack asks, and forgets what does not exist any more.
    fn adopt(&mut self) {
        for change in self.plan.changes.iter().filter(|change| change.action == Action::None) {
            let (Some(remote), Some(desired)) = (&change.remote, &change.desired) else { continue };
            let shown = lasting(desired, &change.address, self.rules);
            let is_recorded = self.outcome_so_far.state.resources.get(&change.address).is_some_and(|recorded| {
                recorded.id == remote.id
                    && shown.iter().all(|(name, value)| recorded.attributes.get(name) == Some(value))
            });
            if !is_recorded {
                self.record(change, remote);
            }
        }
        if self.outcome_so_far.state.home.is_none() || (self.plan.is_whole && self.plan.steps.is_empty()) {
            self.settle_home();
        }
        if !self.plan.is_whole {
            return;
        }
        let state = &mut self.outcome_so_far.state;
        let present: BTreeSet<&Address> =
            self.plan.changes.iter().filter(|change| change.remote.is_some()).map(|change| &change.address).collect();
        let before = state.resources.len();
        state.resources.retain(|address, _| present.contains(address));
        self.is_dirty |= state.resources.len() != before;
        if self.plan.steps.is_empty() && state.digest.as_ref() != Some(&self.plan.digest) {
            state.digest = Some(self.plan.digest.clone());
            self.is_dirty = true;
        }
    }

    /// Removes what is forgotten from the state, before it loses its tags. Returns whether something is forgotten.
    fn give_away(&mut self) -> bool {
        let forgotten = self.plan.changes.iter().filter(|change| change.reason == Reason::Forgotten);
        forgotten.map(|change| self.forget(&change.address, change.remote.as_ref())).count() > 0
    }

    fn describe(&self, index: usize) -> (Address, Operation) {
        let step = &self.plan.steps[index];
        (self.plan.changes[step.change].address.clone(), step.operation)
    }

    /// A step that is ready, with all ready steps that do the same to the same kind: at most `limit` of them. A step that
    /// cannot be prepared is returned with its error.
    fn batch(&mut self, first: usize, limit: usize, events: &Events) -> (Batch, Vec<(usize, ProviderError)>) {
        let (mut batch, mut broken) = (Batch::default(), Vec::new());
        let goes_along = |index: &usize| self.is_alike(first, *index) && !self.stays(*index);
        let others = self.ready.iter().copied().filter(goes_along).take(limit.saturating_sub(1));
        let list: Vec<usize> = [first].into_iter().chain(others).collect();
        for index in list {
            self.ready.remove(&index);
            let (address, operation) = self.describe(index);
            events.send(Event::Started { address, operation });
            self.under_way.insert(index);
            if let Err(error) = self.prepare(index, &mut batch) {
                broken.push((index, error));
            }
        }
        (batch, broken)
    }

    /// Whether two steps do the same to the same kind.
    fn is_alike(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.plan.steps[one], &self.plan.steps[other]);
        let kind = |step: &Step| &self.plan.changes[step.change].address.kind;
        one.operation == other.operation && kind(one) == kind(other)
    }

    /// Adds a step to a batch. What was unknown when the plan was made is filled in.
    fn prepare(&self, index: usize, batch: &mut Batch) -> Result<(), ProviderError> {
        let step = &self.plan.steps[index];
        let change = &self.plan.changes[step.change];
        let remote = || {
            let found = self.remote(change).cloned();
            found.ok_or_else(|| broken(&change.address, "the plan does not say which one is there"))
        };
        if step.operation == Operation::Delete {
            batch.deletes.push((index, (change.address.clone(), remote()?)));
            return Ok(());
        }
        let desired = change
            .desired
            .as_ref()
            .ok_or_else(|| broken(&change.address, "the plan does not say what it should look like"))?;
        let mut attributes = Map::new();
        for (name, value) in desired {
            let value = value.resolve(&|reference| self.known(reference));
            if !value.is_known() {
                return Err(broken(&change.address, &format!("its `{name}` is still unknown")));
            }
            attributes.insert(name.clone(), value);
        }
        let rules = self.rules.get(&change.address.kind);
        let rules = rules.ok_or_else(|| broken(&change.address, "there are no rules for its kind"))?;
        diff::drop_repeats(rules, &mut attributes);
        let resource = Resolved { address: change.address.clone(), attributes };
        if step.operation == Operation::Create {
            let token = Token::new(self.home.unwrap_or_default(), &self.plan.stack, &resource, rules);
            let token = match self.remote(change) {
                Some(before) => token.following(&before.id),
                None => token,
            };
            batch.creates.push((index, (resource, token)));
            return Ok(());
        }
        let paths = change.differences.iter().map(|(difference, _)| difference.path.clone()).collect();
        batch.updates.push((index, (remote()?, resource, paths)));
        Ok(())
    }

    fn known(&self, reference: &Reference) -> Option<Value> {
        let made = self.made.get(&reference.address)?;
        let rules = self.rules.get(&reference.address.kind)?;
        match rules.computed(&reference.attribute) {
            Some(Computed::DigestOf(name)) => made.get(name).map(|value| value.digest().into()),
            _ => attribute_at(made, &reference.attribute),
        }
    }

    /// What a change finds: what was observed, or what an earlier phase made.
    fn remote(&self, change: &'a Change) -> Option<&Remote> {
        change.remote.as_ref().or_else(|| self.results.get(&change.follows?))
    }

    /// Whether a step would delete what a create of this run made or found, and what is still the current one.
    fn stays(&self, index: usize) -> bool {
        let step = &self.plan.steps[index];
        let change = &self.plan.changes[step.change];
        // What an earlier phase made goes before its successor comes, or after it came as another one.
        let is_followed = change.follows.is_some() && !change.is_create_first(self.rules);
        let is_ours = |remote: &Remote| self.ours.contains(&(&change.address.kind, remote.id.clone()));
        step.operation == Operation::Delete && !is_followed && self.remote(change).is_some_and(is_ours)
    }

    fn finish(&mut self, index: usize, result: Result<Option<Remote>, ProviderError>, events: &Events) {
        let (address, operation) = self.describe(index);
        let at = self.plan.steps[index].change;
        let change = &self.plan.changes[at];
        self.settled[index] = true;
        self.under_way.remove(&index);
        let before = self.remote(change).cloned();
        let result = result.and_then(|remote| match (&remote, &before) {
            (Some(new), Some(old))
                if operation == Operation::Create && new.id == old.id && change.is_create_first(self.rules) =>
            {
                // The unknown values are what they were before, so the old one and the new one are the same.
                let differ = |rules| diff::differences(rules, &new.attributes, &old.attributes);
                let differences = self.rules.get(&address.kind).map(differ).unwrap_or_default();
                if differences.iter().any(|difference| difference.forces_replacement) {
                    return Err(broken(
                        &address,
                        &format!("`{}` cannot stand beside itself: delete it by hand", old.id),
                    ));
                }
                Ok(remote)
            }
            _ => Ok(remote),
        });
        match result {
            Ok(remote) => {
                let id = remote.as_ref().or(before.as_ref()).map(|remote| remote.id.clone()).unwrap_or_default();
                match remote {
                    Some(remote) => {
                        let kind = &change.address.kind;
                        if operation == Operation::Create {
                            if let Some(before) = before.filter(|_| change.follows.is_some()) {
                                self.ours.remove(&(kind, before.id));
                            }
                            self.ours.insert((kind, remote.id.clone()));
                        }
                        if change.reason != Reason::Forgotten {
                            self.record(change, &remote);
                        }
                        self.results.insert(at, remote);
                    }
                    None => self.forget(&change.address, before.as_ref()),
                }
                self.outcome_so_far.done.push((address.clone(), operation));
                events.send(Event::Finished { address, operation, id });
                self.settle(index);
            }
            // It is not complete, and nothing failed: the next apply continues it.
            Err(error) if error.is_interruption() => {
                self.outcome_so_far.interrupted.push((address.clone(), operation));
                events.send(Event::Interrupted { address, operation });
            }
            Err(error) => {
                self.outcome_so_far.failed.push((address.clone(), operation, error.clone()));
                events.send(Event::Failed { address: address.clone(), operation, error });
                self.skip_dependents(index, &address, events);
            }
        }
    }

    /// Makes the steps ready that waited only for this one.
    fn settle(&mut self, index: usize) {
        self.settled[index] = true;
        for dependent in std::mem::take(&mut self.needed_by[index]) {
            self.waiting_for[dependent] -= 1;
            if self.waiting_for[dependent] == 0 && !self.settled[dependent] {
                self.ready.insert(dependent);
            }
        }
    }

    fn skip_dependents(&mut self, index: usize, because: &Address, events: &Events) {
        let mut queue = std::mem::take(&mut self.needed_by[index]);
        queue.reverse();
        while let Some(dependent) = queue.pop() {
            if std::mem::replace(&mut self.settled[dependent], true) {
                continue;
            }
            let (address, operation) = self.describe(dependent);
            self.outcome_so_far.skipped.push((address.clone(), operation, because.clone()));
            events.send(Event::Skipped { address, operation, because: because.clone() });
            queue.extend(std::mem::take(&mut self.needed_by[dependent]).into_iter().rev());
        }
    }

    fn record(&mut self, change: &'a Change, remote: &Remote) {
        let mut attributes: Map = change
            .desired
            .iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.resolve(&|reference| self.known(reference))))
            .collect();
        let asked_for: BTreeSet<String> = attributes.keys().cloned().collect();
        let computed = remote.attributes.iter().filter(|(name, _)| !asked_for.contains(*name));
        attributes.extend(computed.map(|(name, value)| (name.clone(), value.clone())));
        let mut shown = lasting(&attributes, &change.address, self.rules);
        // What the cloud does later is recorded once it is done.
        for (name, value) in shown.iter_mut().filter(|(name, _)| asked_for.contains(*name)) {
            if remote.attributes.get(name) == Some(&Value::Null) {
                *value = Value::Null;
            }
        }
        self.made.insert(&change.address, attributes);
        let recorded = Recorded {
            id: remote.id.clone(),
            applied_at: jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())
                .unwrap_or_default()
                .to_string(),
            attributes: shown,
        };
        self.outcome_so_far.state.resources.insert(change.address.clone(), recorded);
        self.is_dirty = true;
    }

    fn forget(&mut self, address: &Address, deleted: Option<&Remote>) {
        let resources = &mut self.outcome_so_far.state.resources;
        let is_this_one = |recorded: &Recorded| deleted.is_some_and(|remote| remote.id == recorded.id);
        if resources.get(address).is_some_and(is_this_one) {
            resources.remove(address);
            self.is_dirty = true;
        }
    }

    async fn save(&mut self, session: &Session<impl StateStore>) {
        let outcome = &mut self.outcome_so_far;
        let (lineage, serial) = (outcome.state.lineage.clone(), outcome.state.serial);
        outcome.state.advance();
        let Err(error) = session.save(&outcome.state).await else {
            self.is_dirty = false;
            return;
        };
        // The number is still free.
        (outcome.state.lineage, outcome.state.serial) = (lineage, serial);
        // The first error says more than one of a later attempt, unless that one says that the lock is lost.
        if outcome.unsaved.is_none() || matches!(error, StoreError::Lost { .. }) {
            outcome.unsaved = Some(error);
        }
    }

    /// Drops the error of an earlier save once everything is saved. It stays if the lock is lost, or if steps were not started
    /// because of it.
    fn clear_unsaved(&mut self) {
        let outcome = &mut self.outcome_so_far;
        let is_lost = matches!(outcome.unsaved, Some(StoreError::Lost { .. }));
        if !self.is_dirty && !is_lost && outcome.not_started == 0 {
            outcome.unsaved = None;
        }
    }

    fn end(&mut self) {
        self.outcome_so_far.not_started = self.settled.iter().filter(|settled| !**settled).count();
        let outcome = &mut self.outcome_so_far;
        let is_all = outcome.failed.is_empty() && outcome.interrupted.is_empty() && outcome.not_started == 0;
        if is_all && self.plan.is_whole && !self.plan.steps.is_empty() {
            outcome.state.digest = Some(self.plan.digest.clone());
            self.is_dirty = true;
            self.settle_home();
        }
    }

    /// Says in the cloud who applied, if anything was changed and is left.
    async fn sign_if_changed(&mut self, provider: &impl Provider, session: &Session<impl StateStore>) {
        let outcome = &mut self.outcome_so_far;
        let last = self.plan.applied.as_ref().map(|applied| applied.number);
        if outcome.done.is_empty() {
            // A plan that changes nothing has seen the last apply, too.
            let seen = last.unwrap_or(outcome.state.applied);
            self.is_dirty |= outcome.state.applied != seen;
            outcome.state.applied = seen;
            return;
        }
        // What a plan that only deletes leaves behind was not applied.
        let is_applied = self.plan.changes.iter().any(|change| change.desired.is_some());
        if session.held().is_ok() && is_applied {
            self.sign(provider, session).await;
        }
    }

    /// Says in the cloud who applies. It is a remark, so a failure changes nothing else. An interruption does not end this one
    /// call.
    async fn sign(&mut self, provider: &impl Provider, session: &Session<impl StateStore>) {
        let outcome = &mut self.outcome_so_far;
        let last = self.plan.applied.as_ref().map(|applied| applied.number);
        let applied = Applied::now(last.unwrap_or_default(), provider.identity());
        let context = Context::default().with_hold(session.hold());
        match provider.sign(&applied, &outcome.state, &context).await {
            Ok(()) => {
                outcome.state.applied = applied.number;
                self.is_dirty = true;
            }
            Err(error) => outcome.unsigned = Some(error),
        }
    }

    /// Records the current home. Until every resource has it, the home that was recorded before still counts.
    fn settle_home(&mut self) {
        let recorded = &mut self.outcome_so_far.state.home;
        if recorded.as_deref() != self.home && self.home.is_some() {
            *recorded = self.home.map(str::to_owned);
            self.is_dirty = true;
        }
    }
}

fn broken(address: &Address, what: &str) -> ProviderError {
    ProviderError::new(format!("`{address}`: {what}"), "make a new plan and apply that".to_owned())
}

#[cfg(test)]
pub(crate) mod tests;
