//! One case: a step is disturbed at one call, the state is kept or not, and applies without disturbance follow.

use std::{fmt, fs, path::PathBuf};

use super::{
    order::{CallName, Disturbance, Fate, Order},
    proxy::Recorded,
    scenario::Scenario,
    stage::{Bench, Ended, Reads, Stage},
    world::World,
};
use crate::Failure;

/// What a scenario begins with and ends with.
#[derive(Debug)]
pub(super) struct Prepared {
    pub scenario: Scenario,
    /// A folder that every case copies.
    pub base: PathBuf,
    /// The state before the last apply; none before the second one.
    pub older: Option<Vec<u8>>,
    /// Everything that exists after an undisturbed step.
    pub expected: World,
    /// The calls of an undisturbed step that change something, in order.
    pub calls: Vec<CallName>,
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
        let disturbed = stage.run(scenario.command(), Some(order))?;
        if !disturbed.run.is_fired {
            return Ok(Outcome::NotReached);
        }
        if let (Disturbance::Fault(_), Some(101) | None) = (self.what, disturbed.code) {
            return Ok(Outcome::Failed(vec![format!("the disturbed run crashed: {}", last(&disturbed))]));
        }
        give(&stage, self.fate, prepared.older.as_deref(), disturbed.run.recorded.as_ref())?;
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

/// Makes the state what it is at the next apply.
fn give(stage: &Stage, fate: Fate, older: Option<&[u8]>, recorded: Option<&Recorded>) -> Result<(), Failure> {
    let document = stage.document();
    let content = match (fate, recorded) {
        (Fate::Kept, None) => return Ok(()),
        (Fate::Kept, Some(Recorded(recorded))) => recorded.as_deref(),
        (Fate::Deleted, _) => None,
        (Fate::Older, _) => older,
    };
    match content {
        Some(content) => super::stage::write(&document, content),
        None if document.exists() => Ok(fs::remove_file(&document)?),
        None => Ok(()),
    }
}

/// Runs the step without a disturbance, and returns what is not as after an undisturbed one.
pub(super) fn after_apply(stage: &Stage, scenario: &Scenario, expected: &World) -> Result<Vec<String>, Failure> {
    let ended = stage.run(scenario.command(), None)?;
    if ended.code != Some(0) {
        return Ok(vec![format!("the next `{}` fails: {}", scenario.command().join(" "), last(&ended))]);
    }
    let mut wrong = stage.differences(expected)?;
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
