//! The progress, the failures and the table at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    case::{Case, Outcome},
    order::{CallName, Disturbance},
};

/// What the cases so far showed.
#[derive(Debug)]
pub(super) struct Report {
    planned: usize,
    counts: BTreeMap<&'static str, Counts>,
}

/// The counts of a scenario.
#[derive(Debug, Default)]
struct Counts {
    calls: BTreeSet<CallName>,
    kills: usize,
    faults: usize,
    /// The cases that a second apply healed.
    by_two: usize,
    not_reached: usize,
    failed: usize,
}

impl Counts {
    fn cases(&self) -> usize {
        self.kills + self.faults + self.not_reached
    }
}

/// How often the progress is printed, in cases.
const PROGRESS: usize = 25;

impl Report {
    pub fn new(planned: usize) -> Self {
        Self { planned, counts: BTreeMap::new() }
    }

    /// Counts a case, and prints a failure at once.
    #[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
    pub fn add(&mut self, case: &Case, outcome: &Outcome) {
        let counts = self.counts.entry(case.scenario).or_default();
        match outcome {
            Outcome::NotReached => counts.not_reached += 1,
            Outcome::Healed(_) | Outcome::Failed(_) => {
                counts.calls.insert(case.call.clone());
                match case.what {
                    Disturbance::Kill(_) => counts.kills += 1,
                    Disturbance::Fault(_) => counts.faults += 1,
                }
            }
        }
        match outcome {
            Outcome::Healed(applies) => counts.by_two += usize::from(*applies > 1),
            Outcome::NotReached => {}
            Outcome::Failed(why) => {
                counts.failed += 1;
                println!("FAILED cargo xtask killpoints {case}");
                for line in why {
                    println!("    {line}");
                }
            }
        }
        if self.cases().is_multiple_of(PROGRESS) {
            println!("{} of {} cases", self.cases(), self.planned);
        }
    }

    pub fn cases(&self) -> usize {
        self.counts.values().map(Counts::cases).sum()
    }

    pub fn left_out(&self) -> usize {
        self.planned.saturating_sub(self.cases())
    }

    pub fn is_good(&self) -> bool {
        self.counts.values().all(|counts| counts.failed == 0)
    }

    /// The counts of every scenario, in Markdown.
    pub fn table(&self) -> String {
        let mut table = String::from(
            "| scenario | calls | kills | faults | healed by a second apply | call not reached | failed |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for (scenario, counts) in &self.counts {
            let Counts { calls, kills, faults, by_two, not_reached, failed } = counts;
            let calls = calls.len();
            let _ =
                writeln!(table, "| {scenario} | {calls} | {kills} | {faults} | {by_two} | {not_reached} | {failed} |");
        }
        table
    }
}
