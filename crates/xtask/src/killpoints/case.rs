//! One case: a step is disturbed at one call, the state is kept or not, and applies without disturbance follow.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use super::{
    order::{CallName, Disturbance, Fate, Order},
    proxy::Recorded,
    scenario::{Command, Scenario},
    stage::{Bench, Ended, Reads, Stage},
    world::World,
};
use crate::Failure;

/// What a scenario begins with and ends with.
#[derive(Debug)]
pub(super) struct Prepared {
    pub scenario: Scenario,
    pub commands: Vec<Command>,
    /// A folder that every case copies.
    pub base: PathBuf,
    /// The state before the last apply; none before the second one.
    pub older: Option<Vec<u8>>,
    pub expected: Expected,
    /// The calls of an undisturbed step that change something, in order.
    pub calls: Vec<CallName>,
}

/// What an undisturbed step leaves.
#[derive(Debug)]
pub(super) struct Expected {
    /// Everything that exists after it.
    pub world: World,
    /// The ids of the hosts and Elastic IPs that it keeps.
    pub kept: BTreeSet<String>,
}

/// At this many times AWS's speed, a strict sandbox hides nothing for longer than the next apply takes to start.
const QUICK: u32 = 200;

/// One case of the matrix.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub scenario: &'static str,
    pub call: CallName,
    pub what: Disturbance,
    pub fate: Fate,
    pub reads: Reads,
}

/// How a case ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// After this many applies, everything was as after the undisturbed step.
    Healed(u32),
    /// The run did not make the call.
    NotReached,
    Failed(Vec<String>),
}

impl fmt::Display for Case {
    /// The options that repeat the case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, call, what, fate, reads } = self;
        write!(f, "--scenario {scenario} --call {call} --point {what} --state {fate} --seed {}", reads.seed)?;
        if reads.lag > 0 { write!(f, " --lag {}", reads.lag) } else { Ok(()) }
    }
}

impl Case {
    /// How many applies heal it: the first one can miss what the disturbed one made if reads hide it for seconds.
    fn applies(&self, bench: &Bench) -> u32 {
        if self.reads.lag > 0 || bench.speed < QUICK { 2 } else { 1 }
    }

    pub fn run(&self, bench: &Bench, prepared: &Prepared) -> Result<Outcome, Failure> {
        let scenario = &prepared.scenario;
        let stage = Stage::start(bench, Some(&prepared.base), self.reads)?;
        stage.write("stack.yaml", scenario.yaml())?;
        let order = Order { call: self.call.clone(), what: self.what };
        let Some((rest, disturbed)) = disturb(&stage, &prepared.commands, order)? else {
            return Ok(Outcome::NotReached);
        };
        if let (Disturbance::Fault(_), Some(101) | None) = (self.what, disturbed.code) {
            return Ok(Outcome::Failed(vec![format!("the disturbed run crashed: {}", last(&disturbed))]));
        }
        give(&stage, self.fate, prepared.older.as_deref(), disturbed.run.recorded.as_ref())?;
        if let [again @ .., _] = rest {
            let wrong = repeat(&stage, again)?;
            if !wrong.is_empty() {
                return Ok(Outcome::Failed(wrong));
            }
        }
        let mut wrong = Vec::new();
        for applies in 1..=self.applies(bench) {
            wrong = after_apply(&stage, scenario, &prepared.expected)?;
            if wrong.is_empty() {
                return Ok(Outcome::Healed(applies));
            }
        }
        Ok(Outcome::Failed(wrong))
    }
}

/// Runs the commands until one of them is disturbed. Returns it and those after it, and how it ended.
fn disturb<'c>(
    stage: &Stage,
    commands: &'c [Command],
    mut order: Order,
) -> Result<Option<(&'c [Command], Ended)>, Failure> {
    for (at, command) in commands.iter().enumerate() {
        let ended = stage.run(&command.arguments, Some(order.clone()))?;
        if ended.run.is_fired {
            return Ok(Some((commands.get(at..).unwrap_or_default(), ended)));
        }
        // The calls of all commands are counted together.
        let made = ended.run.done.iter().filter(|operation| order.concerns(operation)).count();
        order.call.nth = order.call.nth.saturating_sub(u32::try_from(made)?);
    }
    Ok(None)
}

/// Repeats the disturbed command, and runs those after it. Returns what is wrong with one of them.
fn repeat(stage: &Stage, commands: &[Command]) -> Result<Vec<String>, Failure> {
    for command in commands {
        let ended = stage.run(&command.arguments, None)?;
        // Messages are wrapped.
        let words: Vec<&str> = ended.said.split_whitespace().filter(|word| *word != "│").collect();
        let is_done = ended.code == Some(1) && command.done.is_some_and(|done| words.join(" ").contains(done));
        if ended.code != Some(0) && !is_done {
            return Ok(vec![format!("`{}` fails afterwards: {}", command.arguments.join(" "), last(&ended))]);
        }
    }
    Ok(Vec::new())
}

/// Makes the state what it is at the next command.
fn give(stage: &Stage, fate: Fate, older: Option<&[u8]>, recorded: Option<&Recorded>) -> Result<(), Failure> {
    match (fate, recorded) {
        (Fate::Kept, None) => Ok(()),
        (Fate::Kept, Some(Recorded(recorded))) => stage.give_state(recorded.as_deref()),
        (Fate::Deleted, _) => stage.give_state(None),
        (Fate::Older, _) => stage.give_state(older),
    }
}

/// Runs the step without a disturbance, and returns what is not as after an undisturbed one.
pub(super) fn after_apply(stage: &Stage, scenario: &Scenario, expected: &Expected) -> Result<Vec<String>, Failure> {
    let ended = stage.run(scenario.command(), None)?;
    if ended.code != Some(0) {
        return Ok(vec![format!("the next `{}` fails: {}", scenario.command().join(" "), last(&ended))]);
    }
    let mut wrong = stage.differences(&expected.world)?;
    let there = stage.hosts_and_addresses()?;
    wrong.extend(expected.kept.difference(&there).map(|id| format!("`{id}` is gone, which must stay")));
    let plan = stage.run(scenario.plan(), None)?;
    if plan.code != Some(0) {
        wrong.push(format!("the plan after it is not empty: {}", last(&plan)));
    }
    wrong.extend(stage.strays()?);
    Ok(wrong)
}

/// The end of what a run said.
pub(super) fn last(ended: &Ended) -> String {
    let lines: Vec<&str> = ended.said.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = lines.get(lines.len().saturating_sub(14)..).unwrap_or_default();
    format!(
        "exit {}\n      {}",
        ended.code.map_or("by a signal".to_owned(), |code| code.to_string()),
        end.join("\n      ")
    )
}
