//! Checks that every plan can be executed and leaves nothing to do. Each case varies what else exists in the account,
//! what changes in the stack, and how an earlier apply was interrupted.
//!
//! The stacks, their graphs and the rules of kinds are the real ones. The cloud is a model that refuses what AWS refuses.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and writes its own files")]
#![expect(
    clippy::unit_arg,
    clippy::struct_excessive_bools,
    clippy::format_push_string,
    reason = "keeps the model short"
)]
#![expect(clippy::print_stdout, reason = "a test prints how many cases it ran")]

mod cases;
mod cloud;
mod judge;
mod shared;
mod situations;
mod stacks;
mod turns;

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
    situations::Event,
    stacks::{BEFORE, Base, CHANGES, Change, REFERENCE_BEFORE, REFERENCE_CHANGES, TARGETED},
    turns::Pace,
};

/// Runs cases on all cores. On failure, it reports one failed case for each different error message.
fn run(what: &str, cases: &[Case], at_least: usize) {
    let next = AtomicUsize::new(0);
    let wrong: Mutex<BTreeMap<String, (usize, String)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(Wrong { why, transcript }) = case.run() {
                        let alike: String = why.chars().filter(|character| !character.is_ascii_digit()).collect();
                        wrong.lock().unwrap().entry(alike).or_insert((0, transcript)).0 += 1;
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
        let each: Vec<String> =
            wrong.values().map(|(count, transcript)| format!("{count} times: {transcript}")).collect();
        panic!("{what}: {count} of {} cases failed.\n\n{}", cases.len(), each.join("\n\n"));
    }
}

fn small() -> Arc<Applied> {
    Arc::new(Applied::new(Base::Small, &BEFORE, &[CHANGES, TARGETED]))
}

/// One case for each combination of situation, change and state. Order and pace rotate from case to case.
fn each(applied: &Arc<Applied>, situations: &[Vec<Event>], changes: &[Change], known: &[Known]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, events) in situations.iter().enumerate() {
        for (change_at, change) in changes.iter().enumerate() {
            for (known_at, &known) in known.iter().enumerate() {
                let n = at + change_at + known_at;
                let pace = Pace::ALL[n % Pace::ALL.len()];
                let (applied, events, change) = (applied.clone(), events.clone(), change.name);
                cases.push(Case {
                    applied,
                    events,
                    change,
                    known,
                    order: at + change_at / 2 + known_at,
                    pace,
                    trouble: None,
                });
            }
        }
    }
    cases
}

/// Every n-th case.
fn every(n: usize, cases: Vec<Case>) -> Vec<Case> {
    cases.into_iter().enumerate().filter(|(at, _)| at % n == 0).map(|(_, case)| case).collect()
}

#[test]
fn plans_with_one_duplicate_succeed() {
    let cases = each(&small(), &situations::duplicates(), CHANGES, &[Known::Kept, Known::Deleted]);
    run("with one duplicate", &every(2, cases), 2_500);
}

#[test]
fn plans_with_two_duplicates_succeed() {
    let pairs = situations::pairs();
    let cases = each(&small(), &pairs, CHANGES, &[Known::Kept, Known::Deleted]);
    run("with two duplicates", &every(3, cases), 1_700);
}

#[test]
fn plans_after_accidents_succeed() {
    let cases = each(&small(), &situations::accidents(), CHANGES, &Known::ALL);
    run("after accidents", &every(2, cases), 2_000);
}

#[test]
fn plans_with_targets_succeed() {
    let mut situations = situations::duplicates();
    situations.push(Vec::new());
    let cases = each(&small(), &situations, TARGETED, &Known::ALL);
    run("with targets", &every(4, cases), 800);
}

#[test]
fn plans_in_every_pace_succeed() {
    let cases = each(&small(), &[Vec::new()], CHANGES, &Known::ALL[..1]);
    let paces = |case: &Case| Pace::ALL.map(|pace| Case { pace, ..case.clone() });
    let cases: Vec<Case> = cases.iter().flat_map(paces).collect();
    run("in every pace", &cases, 200);
}

/// The changes of the stack between two runs.
const EDITS: [&str; 4] = ["nothing", "instance type", "VPC", "destroy"];

#[test]
fn plans_after_an_interrupted_apply_succeed() {
    let applied = small();
    let mut cases = Vec::new();
    for case in each(&applied, &[Vec::new()], CHANGES, &[Known::Kept]) {
        for at in 1..=case.calls() {
            for (n, fault) in [Fault::Killed, Fault::Offline, Fault::Lost, Fault::Refused].into_iter().enumerate() {
                let edit =
                    Some(EDITS[at % EDITS.len()]).filter(|_| (at + n) % 2 == 0 && case.change != "another stack");
                let known = [None, Some(Known::Deleted), Some(Known::Kept), Some(Known::Old)][(at / 2 + n) % 4];
                let pace = Pace::ALL[(at + n) % Pace::ALL.len()];
                let trouble = Some(Trouble { fault: fault(at), edit, known });
                cases.push(Case { order: at % 2, pace, trouble, ..case.clone() });
            }
        }
    }
    run("after an interrupted apply", &cases, 1_500);
}

#[test]
fn plans_of_the_reference_stack_succeed() {
    let applied = Arc::new(Applied::new(Base::Reference, &REFERENCE_BEFORE, &[REFERENCE_CHANGES]));
    let cases = each(&applied, &situations::duplicates(), REFERENCE_CHANGES, &Known::ALL[..1]);
    run("with the reference stack", &every(5, cases), 80);
}
