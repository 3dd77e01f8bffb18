//! Random histories: edits of the stack, changes from outside, applies that are killed or disturbed, lost and swapped
//! states. At the end, at most two applies must leave what the stack asks for.
//!
//! Every event of a history has an effect: one that has none, such as a kill at a call that was not made, is left out,
//! and another one follows. A history that fails is repeated with events left out, as long as it still fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    Random,
    case::{Expected, after_apply, last},
    order::{CallName, Disturbance, Fault, Order, Point},
    outside::{self, Outside},
    proxy::Recorded,
    scenario::{BASE, Scenario, Shape},
    stage::{Bench, Reads, Stage},
    world::Past,
};
use crate::Failure;

/// How many events a history has.
const EVENTS: usize = 9;

/// How many events are tried to find those with an effect.
const TRIES: usize = 40;

/// How often a failing history is repeated to find a shorter one.
const SHRINKING: usize = 24;

/// The highest number of the call of an apply that is disturbed. A first apply has more.
const MOST_CALLS: usize = 30;

/// Something that happens to a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Edit(Shape),
    Outside(Outside),
    /// An apply, which can be disturbed at one of its calls.
    Apply(Option<(u32, Disturbance)>),
    /// The state is deleted.
    Delete,
    /// The state is replaced by the one that an apply left, counted from the first one.
    Swap(usize),
}

/// A history, or what is left of one.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub reads: Reads,
    /// Whether the state is in S3.
    pub is_remote: bool,
    pub events: Vec<Event>,
}

/// How a history ended.
#[derive(Debug)]
pub(super) struct Lived {
    /// The events that had an effect.
    pub history: History,
    /// After how many applies everything was as the stack asks for.
    pub applies: u32,
    pub wrong: Vec<String>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edit(shape) => write!(f, "edit the stack: {shape:?}"),
            Self::Outside(change) => write!(f, "change from outside: {change}"),
            Self::Apply(None) => f.write_str("apply"),
            Self::Apply(Some((nth, what))) => write!(f, "apply, {what} at changing call {nth}"),
            Self::Delete => f.write_str("delete the state"),
            Self::Swap(number) => write!(f, "replace the state by that after apply {number}"),
        }
    }
}

impl Event {
    /// The kind of the event, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Edit(_) => "edits of the stack",
            Self::Outside(_) => "changes from outside",
            Self::Apply(None) => "applies",
            Self::Apply(Some((_, Disturbance::Kill(_)))) => "kills",
            Self::Apply(Some((_, Disturbance::Fault(_)))) => "faults",
            Self::Delete => "state deletions",
            Self::Swap(_) => "state swaps",
        }
    }

    /// A random event. Kills are the most frequent ones.
    fn random(random: &mut Random, shape: &Shape) -> Self {
        match random.below(16) {
            0..=3 => Self::Edit(edited(random, shape)),
            4..=5 => Self::Outside(Outside::random(random)),
            6 => Self::Apply(None),
            7..=11 => Self::Apply(Some((call(random), Disturbance::Kill(random.pick(Point::ALL))))),
            12..=13 => {
                let faults = [
                    Fault::Throttled,
                    Fault::InternalAfter,
                    Fault::ResetAfter,
                    Fault::CutAnswer,
                    Fault::Expired,
                    Fault::Denied,
                ];
                Self::Apply(Some((call(random), Disturbance::Fault(random.pick(faults)))))
            }
            14 => Self::Delete,
            _ => Self::Swap(random.below(4)),
        }
    }
}

/// The number of a call: a small one more often, because most steps have few.
fn call(random: &mut Random) -> u32 {
    let most = random.pick([4, 8, MOST_CALLS]);
    u32::try_from(random.below(most)).unwrap_or_default() + 1
}

/// The stack with one difference. A renamed pool keeps hosts that boot with its earlier name, unlike those of a new account.
fn edited(random: &mut Random, shape: &Shape) -> Shape {
    let shape = shape.clone();
    match random.below(9) {
        0 => Shape { heavy: u32::try_from(random.below(4)).unwrap_or_default() + 1, ..shape },
        1 => Shape { heavy_type: random.pick(["c7i.xlarge", "c7i.2xlarge"]), ..shape },
        2 => Shape { tracking: random.pick(["tracked", "untracked"]), ..shape },
        3 => Shape { public_ip: !shape.public_ip, ..shape },
        4 => Shape { probe: random.pick([None, Some(1), Some(2)]), ..shape },
        5 => Shape { version: u32::try_from(random.below(3)).unwrap_or_default() + 1, ..shape },
        6 => Shape { team: random.pick([None, Some("performance"), Some("quality")]), ..shape },
        7 => Shape { second_vpc: !shape.second_vpc, ..shape },
        _ => Shape { build: random.pick(['a', 'b']), ..shape },
    }
}

/// A stack on its way through a history.
struct Life {
    stage: Stage,
    shape: Shape,
    /// The state after each apply that left one.
    states: Vec<Vec<u8>>,
}

impl Life {
    fn begin(bench: &Bench, empty: &std::path::Path, reads: Reads, is_remote: bool) -> Result<Self, Failure> {
        let stage = Stage::start(bench, Some(empty), reads)?;
        let shape = Shape { is_remote, ..BASE };
        stage.write("stack.yaml", shape.yaml())?;
        Ok(Self { stage, shape, states: Vec::new() })
    }

    /// Lets an event happen, and returns whether it had an effect.
    fn live(&mut self, event: &Event) -> Result<bool, Failure> {
        match event {
            Event::Edit(shape) => {
                let is_other = *shape != self.shape;
                self.shape = shape.clone();
                self.stage.write("stack.yaml", shape.yaml())?;
                Ok(is_other)
            }
            Event::Outside(change) => outside::make(*change, &self.stage),
            Event::Apply(disturbance) => self.apply(*disturbance),
            Event::Delete => {
                let is_there = self.stage.state()?.is_some();
                self.stage.give_state(None)?;
                Ok(is_there)
            }
            Event::Swap(number) => {
                let Some(state) = self.states.get(*number) else { return Ok(false) };
                let is_other = self.stage.state()?.as_ref() != Some(state);
                self.stage.give_state(Some(state))?;
                Ok(is_other)
            }
        }
    }

    fn apply(&mut self, disturbance: Option<(u32, Disturbance)>) -> Result<bool, Failure> {
        let order =
            disturbance.map(|(nth, what)| Order { call: CallName { operation: CallName::ANY.to_owned(), nth }, what });
        let ended = self.stage.run(step(&self.shape).command(), order)?;
        if ended.code == Some(101) {
            return Err(format!("trunnion crashed: {}", last(&ended)).into());
        }
        if let Some(Recorded(recorded)) = &ended.run.recorded {
            self.stage.give_state(recorded.as_deref())?;
        }
        self.states.extend(self.stage.state()?.filter(|state| self.states.last() != Some(state)));
        Ok(if disturbance.is_some() { ended.run.is_fired } else { !ended.run.done.is_empty() })
    }
}

/// The step to a shape.
fn step(shape: &Shape) -> Scenario {
    Scenario::step("history", None, Some(shape.clone()))
}

/// Makes a history from a seed, and lives it.
pub(super) fn random(bench: &Bench, empty: &std::path::Path, seed: u64) -> Result<Lived, Failure> {
    let mut random = Random::new(seed);
    let lag = random.pick([0, 0, super::LAG]);
    let reads = Reads { seed, lag };
    let is_remote = random.pick([false, false, true]);
    let mut life = Life::begin(bench, empty, reads, is_remote)?;
    let mut events = Vec::new();
    for _ in 0..TRIES {
        if events.len() == EVENTS {
            break;
        }
        let event = Event::random(&mut random, &life.shape);
        if life.live(&event)? {
            events.push(event);
        }
    }
    end(bench, empty, &life, History { reads, is_remote, events })
}

/// Lives the events of a history.
fn again(bench: &Bench, empty: &std::path::Path, history: &History) -> Result<Lived, Failure> {
    let mut life = Life::begin(bench, empty, history.reads, history.is_remote)?;
    for event in &history.events {
        life.live(event)?;
    }
    end(bench, empty, &life, history.clone())
}

/// Applies at most twice, and compares with a new account to which only the last stack was applied.
fn end(bench: &Bench, empty: &std::path::Path, life: &Life, history: History) -> Result<Lived, Failure> {
    let expected = alone(bench, empty, &life.shape)?;
    let mut wrong = Vec::new();
    for applies in 1..=2 {
        wrong = after_apply(&life.stage, &step(&life.shape), &expected)?;
        if wrong.is_empty() {
            return Ok(Lived { history, applies, wrong });
        }
    }
    Ok(Lived { history, applies: 2, wrong })
}

/// What one apply of this shape leaves in a new account.
fn alone(bench: &Bench, empty: &std::path::Path, shape: &Shape) -> Result<Expected, Failure> {
    let stage = Stage::start(bench, Some(empty), Reads { seed: 1, lag: 0 })?;
    stage.write("stack.yaml", shape.yaml())?;
    let ended = stage.run(step(shape).command(), None)?;
    if ended.code != Some(0) {
        return Err(format!("an apply to a new account fails: {}", last(&ended)).into());
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    Ok(Expected { world: stage.world(Past::Ignored)?, kept: BTreeSet::new() })
}

/// A history that fails too, with as few events as a limited number of attempts finds.
pub(super) fn shrunk(bench: &Bench, empty: &std::path::Path, failed: Lived) -> Result<Lived, Failure> {
    let mut smallest = failed;
    let mut at = 0;
    for _ in 0..SHRINKING {
        if at >= smallest.history.events.len() {
            break;
        }
        let mut shorter = smallest.history.clone();
        shorter.events.remove(at);
        let lived = again(bench, empty, &shorter)?;
        if lived.wrong.is_empty() {
            at += 1;
        } else {
            smallest = lived;
        }
    }
    Ok(smallest)
}

/// What many histories showed.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub histories: usize,
    pub failed: usize,
    by_two: usize,
    with_lag: usize,
    remote: usize,
    events: BTreeMap<&'static str, usize>,
}

impl Summary {
    /// Counts a history.
    pub fn add(&mut self, lived: &Lived) {
        self.histories += 1;
        self.failed += usize::from(!lived.wrong.is_empty());
        self.by_two += usize::from(lived.wrong.is_empty() && lived.applies == 2);
        self.with_lag += usize::from(lived.history.reads.lag > 0);
        self.remote += usize::from(lived.history.is_remote);
        for event in &lived.history.events {
            *self.events.entry(event.kind()).or_default() += 1;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { histories, failed, by_two, with_lag, remote, events } = self;
        let events: Vec<String> = events.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        write!(
            f,
            "{histories} histories, {with_lag} of them with lag and {remote} with the state in S3: {}. {by_two} needed a second apply, {failed} failed",
            events.join(", ")
        )
    }
}
