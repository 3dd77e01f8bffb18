//! One case: a situation in the account, a change of the stack, a state, and an order of calls.

use std::{collections::BTreeMap, fmt, sync::Arc};

use trunnion_engine::{Address, Graph, PlanOptions, State};
use trunnion_kinds::Instance;

use crate::{
    cloud::{Account, Cloud, Fault, Thing},
    judge::Judge,
    situations::{self, Event},
    stacks::{self, Base, Change, Hosts},
    turns::Pace,
};

/// A stack that was applied twice: first in an earlier form, then in its present form.
pub struct Applied {
    base: Base,
    account: Account,
    kept: State,
    old: State,
    pub changes: BTreeMap<&'static str, (Change, Graph)>,
}

/// Which state the run starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The state of the last apply.
    Kept,
    /// Nothing.
    Deleted,
    /// The state of the apply before.
    Old,
}

impl Known {
    pub const ALL: [Self; 3] = [Self::Kept, Self::Deleted, Self::Old];
}

impl Applied {
    pub fn new(base: Base, before: &Change, changes: &[&[Change]]) -> Self {
        let nothing = Change::NOTHING;
        let (earlier, now) = (stacks::graph(base, before), stacks::graph(base, &nothing));
        let account = Account::starting_at(0x1234_5000);
        let mut judge = Judge::new(Cloud::new(account, 0, Pace::Oldest, true), State::empty(now.stack()));
        let mut states = Vec::new();
        for graph in [&earlier, &now] {
            let applied = judge.apply(graph, &PlanOptions::default(), None);
            let applied = applied.and_then(|()| judge.is_done(graph, &PlanOptions::default()));
            if let Err(why) = applied.and_then(|()| judge.matches(graph)) {
                panic!("{base:?} cannot be applied: {why}\n{}", judge.transcript());
            }
            states.push(judge.state.clone());
        }
        let mut account = judge.cloud.account.into_inner();
        situations::others(&mut account, now.stack());
        let [old, kept] = states.try_into().unwrap_or_else(|_| panic!("two states"));
        let all = changes.iter().copied().flatten();
        let changes = all.map(|change| (change.name, (*change, stacks::graph(base, change)))).collect();
        Self { base, account, kept, old, changes }
    }

    fn change(&self, name: &str) -> &(Change, Graph) {
        self.changes.get(name).unwrap_or_else(|| panic!("{name} is no change"))
    }

    fn state(&self, known: Known) -> State {
        match known {
            Known::Kept => self.kept.clone(),
            Known::Deleted => State::empty(self.kept.stack.clone()),
            Known::Old => self.old.clone(),
        }
    }
}

/// A fault in a case, and what differs in the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    pub fault: Fault,
    /// The change of the stack before the next run, by its name.
    pub edit: Option<&'static str>,
    /// The state of the next run; `None` for the one that the interrupted run saved.
    pub known: Option<Known>,
}

/// One case.
#[derive(Clone)]
pub struct Case {
    pub applied: Arc<Applied>,
    pub events: Vec<Event>,
    pub change: &'static str,
    pub known: Known,
    pub order: usize,
    pub pace: Pace,
    pub trouble: Option<Trouble>,
}

/// Why a case failed.
pub struct Wrong {
    pub why: String,
    /// The case, and every plan and call.
    pub transcript: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { applied, events, change, known, order, pace, trouble } = self;
        write!(f, "{:?}, {events:?}, then `{change}`, state {known:?}, order {order}, pace {pace:?}", applied.base)?;
        trouble.map_or(Ok(()), |trouble| write!(f, ", {trouble:?}"))
    }
}

impl Case {
    /// Runs the case. If it fails, runs it again with a transcript.
    pub fn run(&self) -> Result<(), Wrong> {
        match self.attempt(false) {
            (Ok(()), _) => Ok(()),
            (Err(why), _) => {
                let (_, transcript) = self.attempt(true);
                Err(Wrong { transcript: format!("{self}\n  {why}\n{transcript}"), why })
            }
        }
    }

    fn attempt(&self, is_verbose: bool) -> (Result<(), String>, String) {
        let (change, graph) = self.applied.change(self.change);
        let mut account = self.applied.account.clone();
        let is_another = graph.stack() != self.applied.kept.stack;
        situations::apply_events(&mut account, &self.applied.kept.stack, &self.events);
        account.newest_image += u32::from(change.is_image_published);
        let state = if is_another { State::empty(graph.stack()) } else { self.applied.state(self.known) };
        let mut judge = Judge::new(Cloud::new(account, self.order, self.pace, is_verbose), state);
        let result = match self.trouble {
            None => self.apply(&mut judge, change, graph),
            Some(trouble) => self.in_trouble(&mut judge, change, graph, trouble),
        };
        (result, judge.transcript())
    }

    /// How many calls the change takes without a fault.
    pub fn calls(&self) -> usize {
        let (change, graph) = self.applied.change(self.change);
        let cloud = Cloud::new(self.applied.account.clone(), 0, self.pace, false);
        let mut judge = Judge::new(cloud, self.applied.kept.clone());
        judge.apply(graph, &change.options(), None).unwrap();
        judge.calls()
    }

    /// Checks that one apply succeeds and leaves nothing to do.
    fn apply(&self, judge: &mut Judge, change: &Change, graph: &Graph) -> Result<(), String> {
        let before = others_of(&judge.cloud.account.borrow(), graph.stack());
        let hosts = hosts(&judge.cloud.account.borrow(), graph.stack());
        judge.apply(graph, &change.options(), None)?;
        if change.is_partial() {
            judge.is_done(graph, &change.options())?;
            judge.apply(graph, &PlanOptions::default(), None)?;
        }
        let again = if change.is_asked() { PlanOptions::default() } else { change.options() };
        judge.is_done(graph, &if change.is_partial() { PlanOptions::default() } else { again })?;
        judge.matches(graph)?;
        self.only_what_changed(judge, change, &hosts)?;
        if others_of(&judge.cloud.account.borrow(), graph.stack()) != before {
            return Err("the apply changed something that is not the stack's".to_owned());
        }
        Ok(())
    }

    /// Checks that unchanged hosts were not replaced and that no host was launched twice.
    fn only_what_changed(
        &self,
        judge: &Judge,
        change: &Change,
        before: &BTreeMap<Address, usize>,
    ) -> Result<(), String> {
        let mut concerned = vec![change.hosts, situations::hosts_of(&self.events)];
        // Without the launch template, the image of its hosts is unknown.
        if change.is_image_published && self.events.contains(&Event::Gone("launch_template.heavy")) {
            concerned.push(Hosts::Of("heavy"));
        }
        for (address, count) in &*judge.cloud.launched.borrow() {
            let may = concerned.iter().any(|hosts| match hosts {
                Hosts::None => false,
                Hosts::Of(pool) => address.name == *pool,
                Hosts::All => true,
            });
            if before.contains_key(address) && !may {
                return Err(format!("{address} was replaced although nothing of it changed"));
            }
            if *count > 1 {
                return Err(format!("{address} was launched {count} times"));
            }
        }
        Ok(())
    }

    /// Runs an apply with a fault, then one that completes it. If the stack was edited in between, a second one may be
    /// needed.
    fn in_trouble(&self, judge: &mut Judge, change: &Change, graph: &Graph, trouble: Trouble) -> Result<(), String> {
        let before = others_of(&judge.cloud.account.borrow(), graph.stack());
        judge.apply(graph, &change.options(), Some(trouble.fault))?;
        if let Some(known) = trouble.known {
            judge.state = self.applied.state(known);
        }
        let (edited, then) = trouble.edit.map_or((change, graph), |edit| {
            let (change, graph) = self.applied.change(edit);
            (change, graph)
        });
        judge.note(&format!("then `{}`", edited.name));
        judge.apply(then, &PlanOptions::default(), None)?;
        if judge.is_done(then, &PlanOptions::default()).is_err() && trouble.edit.is_some() {
            judge.apply(then, &PlanOptions::default(), None)?;
        }
        judge.is_done(then, &PlanOptions::default())?;
        judge.matches(then)?;
        if trouble.edit.is_none()
            && let Some((address, count)) = judge.cloud.launched.borrow().iter().find(|(_, count)| **count > 1)
        {
            return Err(format!("{address} was launched {count} times"));
        }
        if others_of(&judge.cloud.account.borrow(), graph.stack()) != before {
            return Err("the apply changed something that is not the stack's".to_owned());
        }
        Ok(())
    }
}

/// How many hosts exist for each address.
fn hosts(account: &Account, stack: &str) -> BTreeMap<Address, usize> {
    let mut hosts = BTreeMap::new();
    for (_, host) in account.of_kind(Instance::KIND).filter(|(_, host)| host.stack() == Some(stack)) {
        if let Some(address) = host.address() {
            *hosts.entry(address).or_default() += 1;
        }
    }
    hosts
}

/// Everything that does not belong to the stack.
fn others_of(account: &Account, stack: &str) -> BTreeMap<(String, String), Thing> {
    let is_others = |((kind, _), thing): &(&(String, String), &Thing)| !Account::is_of(kind, thing, stack);
    account.things.iter().filter(is_others).map(|(key, thing)| (key.clone(), thing.clone())).collect()
}
