//! Every plan can be executed, and leaves nothing to do: whatever stands beside a stack, whatever changes in it, and
//! whatever ended an apply before.
//!
//! The stacks, their graphs and the rules of kinds are the real ones; the cloud is a model that refuses what AWS refuses.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and writes its own files")]
#![expect(clippy::print_stdout, reason = "a test says how many cases it ran")]

mod cases;
mod cloud;
mod judge;
mod stacks;
mod turns;
mod worlds;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    cases::{Applied, Case, Known, Trouble, Wrong},
    cloud::Fault,
    stacks::{BEFORE, Base, CHANGES, Change, REFERENCE_BEFORE, REFERENCE_CHANGES, TARGETED},
    turns::Pace,
    worlds::Event,
};

/// Runs cases on all cores, and fails with one case of each kind that does not hold.
fn run(what: &str, cases: &[Case], at_least: usize) {
    let next = AtomicUsize::new(0);
    let wrong: Mutex<BTreeMap<String, (usize, String)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(Wrong { why, story }) = case.run() {
                        let alike: String = why.chars().filter(|character| !character.is_ascii_digit()).collect();
                        wrong.lock().unwrap().entry(alike).or_insert((0, story)).0 += 1;
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    println!("{what}: {} cases", cases.len());
    assert!(cases.len() >= at_least, "{} cases instead of {at_least}", cases.len());
    if !wrong.is_empty() {
        let count: usize = wrong.values().map(|(count, _)| count).sum();
        let each: Vec<String> = wrong.values().map(|(count, story)| format!("{count} times: {story}")).collect();
        panic!("{what}: {count} of {} cases do not hold.\n\n{}", cases.len(), each.join("\n\n"));
    }
}

fn small() -> Arc<Applied> {
    Arc::new(Applied::new(Base::Small, &BEFORE, &[CHANGES, TARGETED]))
}

/// A case for each world and change; what else varies goes round from one to the next.
fn each(applied: &Arc<Applied>, worlds: &[Vec<Event>], changes: &[Change], known: &[Known]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, events) in worlds.iter().enumerate() {
        for (change_at, change) in changes.iter().enumerate() {
            for (known_at, &known) in known.iter().enumerate() {
                let n = at + change_at + known_at;
                let pace = Pace::ALL[n % Pace::ALL.len()];
                let (applied, events, change) = (applied.clone(), events.clone(), change.name);
                cases.push(Case { applied, events, change, known, order: n / 2, pace, trouble: None });
            }
        }
    }
    cases
}

#[test]
fn beside_one_duplicate() {
    let applied = small();
    let mut cases = each(&applied, &worlds::duplicates(), CHANGES, &Known::ALL);
    // Whichever is listed first.
    let others: Vec<Case> = cases.iter().map(|case| Case { order: case.order + 1, ..case.clone() }).collect();
    cases.extend(others);
    run("beside one duplicate", &cases, 1);
}

#[test]
fn beside_two_duplicates() {
    let cases = each(&small(), &worlds::pairs(), CHANGES, &[Known::Kept, Known::Deleted]);
    run("beside two duplicates", &cases, 1);
}

#[test]
fn after_accidents() {
    let cases = each(&small(), &worlds::accidents(), CHANGES, &Known::ALL);
    run("after accidents", &cases, 1);
}

#[test]
fn in_parts() {
    let mut worlds = worlds::duplicates();
    worlds.push(Vec::new());
    run("in parts", &each(&small(), &worlds, TARGETED, &Known::ALL), 1);
}

#[test]
fn in_every_pace() {
    let applied = small();
    let mut cases = each(&applied, &[Vec::new()], CHANGES, &Known::ALL);
    let paces = |case: &Case| Pace::ALL.map(|pace| Case { pace, ..case.clone() });
    cases = cases.iter().flat_map(paces).collect();
    run("in every pace", &cases, 1);
}

/// What the stack is edited to between two runs.
const EDITS: [&str; 4] = ["nothing", "instance type", "VPC", "destroy"];

#[test]
fn after_an_apply_that_was_ended() {
    let applied = small();
    let mut cases = Vec::new();
    for change in CHANGES {
        let pace = Pace::Oldest;
        let case = Case {
            applied: applied.clone(),
            events: vec![],
            change: change.name,
            known: Known::Kept,
            order: 0,
            pace,
            trouble: None,
        };
        let calls = case.calls();
        for at in 1..=calls {
            for (n, fault) in [Fault::Killed, Fault::Offline, Fault::Lost, Fault::Refused].into_iter().enumerate() {
                let is_another = change.name == "another stack";
                let edits = [None, Some(EDITS[(at + n) % EDITS.len()])];
                let edits = edits.into_iter().filter(|edit| edit.is_none() || !is_another);
                for (m, edit) in edits.enumerate() {
                    let known = [None, Some(Known::Deleted), Some(Known::Kept), Some(Known::Old)][(at + n + m) % 4];
                    let pace = Pace::ALL[(at + n + m) % Pace::ALL.len()];
                    let trouble = Some(Trouble { fault: fault(at), edit, known });
                    cases.push(Case { order: at % 2, pace, trouble, ..case.clone() });
                }
            }
        }
    }
    run("after an apply that was ended", &cases, 1);
}

#[test]
fn with_the_reference_stack() {
    let applied = Arc::new(Applied::new(Base::Reference, &REFERENCE_BEFORE, &[REFERENCE_CHANGES]));
    run("with the reference stack", &each(&applied, &worlds::duplicates(), REFERENCE_CHANGES, &Known::ALL[..1]), 1);
}
