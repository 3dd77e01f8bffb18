//! All orders in which the requests of two jobs can arrive.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use trunnion_forge::{Action, ForgeError, Posted};
use trunnion_tests::{
    Fault, Turns, What,
    github::{GitHub, User},
};

use crate::post;

/// What two jobs do, and what is there before.
struct Case {
    /// The run and the text of each job.
    jobs: [(u64, &'static str); 2],
    /// The run and the text of each comment before.
    before: &'static [(u64, &'static str)],
    fault: Option<Fault>,
}

/// One schedule and its end.
struct Ended {
    /// Which job's request arrived at each step.
    steps: Vec<usize>,
    texts: Vec<String>,
    posted: Vec<Outcome>,
    /// The requests in their order, each with its job.
    asked: Vec<(usize, String)>,
}

type Outcome = Result<Posted, ForgeError>;

const TOKENS: [&str; 2] = ["job-0", "job-1"];

fn body(run: u64, text: &str) -> String {
    format!("<!-- trunnion key=preview run={run}.1 -->\n{text}")
}

/// Runs a schedule: first these steps, then always the first job that asks. Also returns which steps had a choice.
fn follow(case: &Case, first: &[usize]) -> (Ended, Vec<Vec<usize>>) {
    let github = GitHub::start(TOKENS.iter().map(|token| User::person(token, 11, "octocat")).collect());
    for (run, text) in case.before {
        github.add("octocat", &body(*run, text));
    }
    if let Some(fault) = &case.fault {
        github.fault(fault.clone());
    }
    let turns = Arc::new(Turns::default());
    github.take_turns(Some(Arc::clone(&turns)));
    let results: Arc<Mutex<[Option<Outcome>; 2]>> = Arc::default();
    let jobs: Vec<_> = (0..2)
        .map(|at| {
            let (run, text) = case.jobs[at];
            let variables = github.variables(TOKENS[at], run, 1);
            let (turns, results) = (Arc::clone(&turns), Arc::clone(&results));
            thread::spawn(move || {
                let posted = post(&variables, text);
                results.lock().unwrap()[at] = Some(posted);
                turns.changed();
            })
        })
        .collect();
    let (mut steps, mut choices) = (Vec::new(), Vec::new());
    loop {
        // Each job either asks or has ended.
        let asking = turns.until(|asking| {
            let ended = results.lock().unwrap().iter().filter(|result| result.is_some()).count();
            asking.len() + ended == 2
        });
        let asking: Vec<usize> = (0..2).filter(|at| asking.iter().any(|token| token == TOKENS[*at])).collect();
        let Some(usual) = asking.first() else { break };
        let chosen = first.get(steps.len()).copied().unwrap_or(*usual);
        assert!(asking.contains(&chosen) && steps.len() < 60, "{steps:?}");
        steps.push(chosen);
        choices.push(asking);
        turns.pass(TOKENS[chosen]);
    }
    for job in jobs {
        job.join().unwrap();
    }
    let text = |body: String| body.split_once('\n').unwrap().1.to_owned();
    let asked = github.asked().into_iter().map(|asked| {
        (usize::from(asked.headers["authorization"].ends_with('1')), format!("{} {}", asked.method, asked.path))
    });
    let ended = Ended {
        steps,
        texts: github.comments().into_iter().map(|comment| text(comment.body)).collect(),
        asked: asked.collect(),
        posted: results.lock().unwrap().iter().map(|result| result.clone().unwrap()).collect(),
    };
    (ended, choices)
}

/// Runs all schedules, depth first.
fn all(case: &Case, check: impl Fn(&Ended)) -> usize {
    let mut number = 0;
    let mut first = Vec::new();
    loop {
        let (ended, choices) = follow(case, &first);
        number += 1;
        check(&ended);
        // The last step at which the second job could have been chosen instead of the first.
        let Some(at) = (0..choices.len()).rev().find(|at| choices[*at].len() == 2 && ended.steps[*at] == 0) else {
            return number;
        };
        first = ended.steps[..at].to_vec();
        first.push(1);
    }
}

fn actions(ended: &Ended) -> Vec<Action> {
    ended.posted.iter().map(|posted| posted.as_ref().unwrap().action).collect()
}

#[test]
fn two_jobs_that_both_create_leave_one_comment_with_the_text_of_the_later_run() {
    let jobs = [(5, "five"), (6, "six")];
    let number = all(&Case { jobs, before: &[], fault: None }, |ended| {
        assert_eq!(ended.texts.len(), 1, "{:?} {:?}", ended.steps, ended.asked);
        let lost = is_overtaken(ended, jobs);
        assert!(lost || ended.texts == ["six"], "{:?} {:?}", ended.texts, ended.asked);
        let later = usize::from(jobs[1].0 == 6);
        assert_ne!(actions(ended)[later], Action::Outdated);
    });
    assert!(number > 50, "only {number} schedules");
}

#[test]
fn two_jobs_of_one_run_leave_one_comment() {
    for before in [&[][..], &[(4, "four")], &[(5, "a")], &[(5, "a"), (4, "four")]] {
        let number = all(&Case { jobs: [(5, "a"), (5, "b")], before, fault: None }, |ended| {
            assert_eq!(ended.texts.len(), 1, "{:?} {:?}", ended.steps, ended.asked);
            assert!(["a", "b"].contains(&ended.texts[0].as_str()), "{:?}", ended.texts);
            assert!(ended.posted.iter().all(Result::is_ok), "{:?}", ended.posted);
        });
        assert!(number > 5, "only {number} schedules");
    }
}

#[test]
fn two_jobs_that_both_update_keep_the_text_of_the_later_run() {
    for before in [&[(4, "four")][..], &[(4, "four"), (3, "three")], &[(3, "three"), (4, "four"), (4, "more")]] {
        for jobs in [[(5, "five"), (6, "six")], [(3, "old"), (6, "six")]] {
            let number = all(&Case { jobs, before, fault: None }, |ended| {
                assert_eq!(ended.texts.len(), 1, "{:?} {:?}", ended.steps, ended.asked);
                let lost = is_overtaken(ended, jobs);
                assert!(lost || ended.texts == ["six"], "{:?} {:?}", ended.texts, ended.asked);
            });
            assert!(number > 3, "only {number} schedules");
        }
    }
}

#[test]
fn a_lost_answer_in_between_leaves_one_comment() {
    const COMMENTS: &str = "/issues/7/comments";
    for fault in [Fault::after("POST", COMMENTS, What::Close), Fault::before("POST", COMMENTS, What::Close)] {
        let jobs = [(5, "five"), (6, "six")];
        let number = all(&Case { jobs, before: &[], fault: Some(fault) }, |ended| {
            assert_eq!(ended.texts.len(), 1, "{:?} {:?}", ended.steps, ended.asked);
            let lost = is_overtaken(ended, jobs);
            assert!(lost || ended.texts == ["six"], "{:?} {:?}", ended.texts, ended.asked);
        });
        assert!(number > 50, "only {number} schedules");
    }
}

/// Whether the earlier job's last write arrived after the later job's last request, from a list made before the later
/// job's last write: a forge without conditional writes cannot exclude this.
fn is_overtaken(ended: &Ended, jobs: [(u64, &str); 2]) -> bool {
    let later = usize::from(jobs[1].0 > jobs[0].0);
    let is_write = |(_, what): &&(usize, String)| what.starts_with("PATCH") || what.starts_with("POST");
    let at = |found: Option<usize>| found.map_or(-1, |at| i64::try_from(at).unwrap());
    let last = |job: usize, write: bool| {
        at(ended.asked.iter().rposition(|asked| asked.0 == job && (!write || is_write(&asked))))
    };
    let write = last(1 - later, true);
    let listed = ended.asked.iter().take(usize::try_from(write).unwrap_or(0));
    let read = at(listed
        .collect::<Vec<_>>()
        .iter()
        .rposition(|asked| asked.0 != later && asked.1.starts_with("GET") && asked.1.ends_with("/comments")));
    write > last(later, false) && read < last(later, true)
}
