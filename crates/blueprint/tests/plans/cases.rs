//! The cases: which world, under which change, with which state, in which order.

use std::{collections::BTreeMap, fmt, sync::Arc};

use trunnion_engine::{Address, Graph, PlanOptions, State};
use trunnion_kinds::Instance;

use crate::{
    cloud::{Cloud, Fault, Thing, World},
    judge::Judge,
    stacks::{self, Base, Change, Hosts},
    turns::Pace,
    worlds::{self, Event},
};

/// A stack that was applied twice, the second time as it is now.
pub struct Applied {
    base: Base,
    world: World,
    kept: State,
    old: State,
    pub changes: BTreeMap<&'static str, (Change, Graph)>,
}

/// What is known of earlier applies.
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
        let world = World::starting_at(0x1234_5000);
        let mut judge = Judge::new(Cloud::new(world, 0, Pace::Oldest, true), State::empty(now.stack()));
        let mut states = Vec::new();
        for graph in [&earlier, &now] {
            let applied = judge.apply(graph, &PlanOptions::default(), None);
            let applied = applied.and_then(|()| judge.is_done(graph, &PlanOptions::default()));
            if let Err(why) = applied.and_then(|()| judge.stands(graph)) {
                panic!("{base:?} cannot be applied: {why}\n{}", judge.story());
            }
            states.push(judge.state.clone());
        }
        let mut world = judge.cloud.world.into_inner();
        worlds::others(&mut world, now.stack());
        let [old, kept] = states.try_into().unwrap_or_else(|_| panic!("two states"));
        let all = changes.iter().copied().flatten();
        let changes = all.map(|change| (change.name, (*change, stacks::graph(base, change)))).collect();
        Self { base, world, kept, old, changes }
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

/// What goes wrong in a case, and what comes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    pub fault: Fault,
    /// To what the stack was edited before the next run.
    pub edit: Option<&'static str>,
    /// What is known in the next run; what was saved, where that is nothing.
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

/// How a case does not hold.
pub struct Wrong {
    pub why: String,
    /// The case, and everything that was done.
    pub story: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { applied, events, change, known, order, pace, trouble } = self;
        write!(f, "{:?}, {events:?}, then `{change}`, state {known:?}, order {order}, pace {pace:?}", applied.base)?;
        trouble.map_or(Ok(()), |trouble| write!(f, ", {trouble:?}"))
    }
}

impl Case {
    /// Runs the case, and once more to tell the story where it does not hold.
    pub fn run(&self) -> Result<(), Wrong> {
        match self.attempt(false) {
            (Ok(()), _) => Ok(()),
            (Err(why), _) => {
                let (_, story) = self.attempt(true);
                Err(Wrong { story: format!("{self}\n  {why}\n{story}"), why })
            }
        }
    }

    fn attempt(&self, is_telling: bool) -> (Result<(), String>, String) {
        let (change, graph) = self.applied.change(self.change);
        let mut world = self.applied.world.clone();
        let is_another = graph.stack() != self.applied.kept.stack;
        worlds::happen(&mut world, &self.applied.kept.stack, &self.events);
        world.newest_image += u32::from(change.is_image_published);
        let state = if is_another { State::empty(graph.stack()) } else { self.applied.state(self.known) };
        let mut judge = Judge::new(Cloud::new(world, self.order, self.pace, is_telling), state);
        let result = match self.trouble {
            None => self.apply(&mut judge, change, graph),
            Some(trouble) => self.in_trouble(&mut judge, change, graph, trouble),
        };
        (result, judge.story())
    }

    /// How many calls the change takes where nothing goes wrong.
    pub fn calls(&self) -> usize {
        let (change, graph) = self.applied.change(self.change);
        let cloud = Cloud::new(self.applied.world.clone(), 0, self.pace, false);
        let mut judge = Judge::new(cloud, self.applied.kept.clone());
        judge.apply(graph, &change.options(), None).unwrap();
        judge.calls()
    }

    /// One apply, and nothing is left to do.
    fn apply(&self, judge: &mut Judge, change: &Change, graph: &Graph) -> Result<(), String> {
        let before = others_of(&judge.cloud.world.borrow(), graph.stack());
        let hosts = hosts(&judge.cloud.world.borrow(), graph.stack());
        judge.apply(graph, &change.options(), None)?;
        if change.is_partial() {
            judge.is_done(graph, &change.options())?;
            judge.apply(graph, &PlanOptions::default(), None)?;
        }
        let again = if change.is_asked() { PlanOptions::default() } else { change.options() };
        judge.is_done(graph, &if change.is_partial() { PlanOptions::default() } else { again })?;
        judge.stands(graph)?;
        self.only_what_changed(judge, change, &hosts)?;
        if others_of(&judge.cloud.world.borrow(), graph.stack()) != before {
            return Err("something of others was changed".to_owned());
        }
        Ok(())
    }

    /// Hosts of which nothing changed are those that stood before, and none was launched twice.
    fn only_what_changed(
        &self,
        judge: &Judge,
        change: &Change,
        before: &BTreeMap<Address, usize>,
    ) -> Result<(), String> {
        let mut concerned = vec![change.hosts, worlds::hosts_of(&self.events)];
        // A template that is gone told which image its hosts have.
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
                return Err(format!("{address} was replaced, and nothing of it changed"));
            }
            if *count > 1 {
                return Err(format!("{address} was launched {count} times"));
            }
        }
        Ok(())
    }

    /// An apply in which something goes wrong; then one that ends it, or two where the stack was edited in between.
    fn in_trouble(&self, judge: &mut Judge, change: &Change, graph: &Graph, trouble: Trouble) -> Result<(), String> {
        let before = others_of(&judge.cloud.world.borrow(), graph.stack());
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
        judge.stands(then)?;
        if trouble.edit.is_none()
            && let Some((address, count)) = judge.cloud.launched.borrow().iter().find(|(_, count)| **count > 1)
        {
            return Err(format!("{address} was launched {count} times"));
        }
        if others_of(&judge.cloud.world.borrow(), graph.stack()) != before {
            return Err("something of others was changed".to_owned());
        }
        Ok(())
    }
}

/// How many hosts stand at each address.
fn hosts(world: &World, stack: &str) -> BTreeMap<Address, usize> {
    let mut hosts = BTreeMap::new();
    for (_, host) in world.of_kind(Instance::KIND).filter(|(_, host)| host.stack() == Some(stack)) {
        if let Some(address) = host.address() {
            *hosts.entry(address).or_default() += 1;
        }
    }
    hosts
}

/// Everything that is not the stack's.
fn others_of(world: &World, stack: &str) -> BTreeMap<(String, String), Thing> {
    let is_others = |((kind, _), thing): &(&(String, String), &Thing)| !World::is_of(kind, thing, stack);
    world.things.iter().filter(is_others).map(|(key, thing)| (key.clone(), thing.clone())).collect()
}
