//! `cargo xtask killpoints`: runs the real `trunnion` against a strict sandbox through a proxy that kills it, refuses its
//! calls or loses the answers, at every call that changes something. Then it applies again without a disturbance, and
//! compares everything that exists with what an undisturbed run leaves.

mod call;
mod case;
mod history;
mod hosts;
mod order;
mod outside;
mod prepare;
mod proxy;
mod report;
mod scenario;
mod stage;
mod world;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use self::{
    case::{Case, Outcome, Prepared},
    history::{Lived, Summary},
    order::{CallName, Disturbance, Fate, Fault, Point},
    report::Report,
    scenario::Scenario,
    stage::{Bench, Reads},
};
use crate::{Failure, build};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only this scenario (repeatable)
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// Only this call, such as `ec2:RunInstances#2`
    #[arg(long, value_name = "CALL")]
    call: Option<CallName>,
    /// Only this kill or fault, such as `after-effect` or `throttled` (repeatable)
    #[arg(long = "point", value_name = "POINT")]
    points: Vec<Disturbance>,
    /// Only this fate of the state (repeatable)
    #[arg(long = "state", value_name = "FATE")]
    fates: Vec<Fate>,
    /// Only with this lag of all reads, in milliseconds
    #[arg(long, value_name = "MS")]
    lag: Option<u64>,
    /// Decides what reads show when, and what a part consists of
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// At most this many cases of each scenario, which the seed chooses
    #[arg(long, value_name = "NUMBER")]
    sample: Option<usize>,
    /// One disturbance, which the seed chooses, at each call of every scenario, in at most four minutes
    #[arg(long, conflicts_with_all = ["scenarios", "call", "sample"])]
    part: bool,
    /// Random histories instead of the cases; the seed of the first one is `--seed`
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["scenarios", "call", "sample", "part", "list"])]
    histories: Option<u64>,
    /// How many cases run at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// How many times faster than AWS the sandboxes are
    #[arg(long, value_name = "FACTOR", default_value_t = 500)]
    speed: u32,
    /// An existing build of `trunnion`; without it, one is built
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// Print the cases instead of running them
    #[arg(long)]
    list: bool,
}

/// How long new resources stay hidden in the cases with lag, in milliseconds.
const LAG: u64 = 1500;

/// When a part starts no more cases, so that there is time for histories.
const CASES_OF_PART: Duration = Duration::from_mins(2);

/// When a part starts no more histories, so that it ends within four minutes.
const PART: Duration = Duration::from_mins(3);

/// How many histories a part has, if there is time.
const HISTORIES_OF_PART: u64 = 8;

/// How often the progress of histories is printed.
const PROGRESS: usize = 10;

/// Runs the cases, and returns whether all of them were healed.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
pub(crate) fn killpoints(arguments: &Arguments) -> Result<bool, Failure> {
    let program = match &arguments.program {
        Some(program) => fs::canonicalize(program)?,
        None => build("dev")?.join("trunnion"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let bench = Bench { program, runtime: runtime.handle().clone(), speed: arguments.speed };
    println!("seed {}", arguments.seed);
    let begin = Instant::now();
    if let Some(number) = arguments.histories {
        return histories(&bench, arguments, number, None);
    }
    let folder = tempfile::Builder::new().prefix("killpoints-").tempdir()?;
    let prepared = prepare::all(&bench, &chosen(arguments)?, folder.path(), arguments.seed, arguments.jobs)?;
    let mut cases: Vec<(Case, &Prepared)> = prepared
        .iter()
        .flat_map(|prepared| {
            let cases = sample(cases(prepared, arguments), arguments);
            cases.into_iter().map(move |case| (case, prepared))
        })
        .collect();
    if cases.is_empty() {
        return Err("no case has all of these properties".into());
    }
    if arguments.list {
        for (case, _) in &cases {
            println!("{case}");
        }
        return Ok(true);
    }
    if arguments.part {
        // What has no time today is another time's.
        cases = Random::new(arguments.seed).choose(cases, usize::MAX);
    }
    let report = run(&bench, &cases, arguments.jobs, arguments.part.then(|| begin + CASES_OF_PART));
    println!("\n{}\n{} cases in {:.0} s", report.table(), report.cases(), begin.elapsed().as_secs_f64());
    if report.left_out() > 0 {
        println!("{} more cases had no time", report.left_out());
    }
    let are_good = !arguments.part || histories(&bench, arguments, HISTORIES_OF_PART, Some(begin + PART))?;
    Ok(are_good && report.is_good())
}

/// Lives random histories, some of them at the same time, and returns whether all of them converge.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
fn histories(bench: &Bench, arguments: &Arguments, number: u64, deadline: Option<Instant>) -> Result<bool, Failure> {
    let folder = tempfile::Builder::new().prefix("killpoints-").tempdir()?;
    let empty = prepare::empty(bench, folder.path(), arguments.seed)?;
    let next = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= number || deadline.is_some_and(|deadline| Instant::now() > deadline) {
                        break;
                    }
                    let seed = arguments.seed.wrapping_add(at);
                    let lived = history::random(bench, &empty, seed);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    match &lived {
                        Ok(lived) => summary.add(lived),
                        Err(_) => summary.failed += 1,
                    }
                    if summary.histories.is_multiple_of(PROGRESS) {
                        println!("{summary}");
                    }
                    drop(summary);
                    report_history(bench, &empty, seed, lived);
                }
            });
        }
    });
    let summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("\n{summary}");
    Ok(summary.failed == 0)
}

/// Prints a history that failed, in its shortest form.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
fn report_history(bench: &Bench, empty: &Path, seed: u64, lived: Result<Lived, Failure>) {
    let command = format!("cargo xtask killpoints --histories 1 --seed {seed}");
    let shrunk =
        lived.and_then(|lived| if lived.wrong.is_empty() { Ok(lived) } else { history::shrunk(bench, empty, lived) });
    match shrunk {
        Ok(lived) if lived.wrong.is_empty() => {}
        Ok(lived) => {
            let lag = lived.history.reads.lag;
            let place = if lived.history.is_remote { "S3" } else { "a file" };
            let events: Vec<String> = lived.history.events.iter().map(|event| format!("    - {event}")).collect();
            println!(
                "FAILED {command}\n  with a lag of {lag} ms and the state in {place}, these events suffice:\n{}",
                events.join("\n")
            );
            for line in &lived.wrong {
                println!("    {line}");
            }
        }
        Err(failure) => println!("FAILED {command}\n    the history could not be lived: {failure}"),
    }
}

/// Runs every case, some of them at the same time.
fn run(bench: &Bench, cases: &[(Case, &Prepared)], jobs: u8, deadline: Option<Instant>) -> Report {
    let next = AtomicUsize::new(0);
    let report = Mutex::new(Report::new(cases.len()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((case, prepared)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                        break;
                    }
                    let outcome = case.run(bench, prepared).unwrap_or_else(|failure| {
                        Outcome::Failed(vec![format!("the case could not be run: {failure}")])
                    });
                    report.lock().unwrap_or_else(PoisonError::into_inner).add(case, &outcome);
                }
            });
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The scenarios that the arguments ask for.
fn chosen(arguments: &Arguments) -> Result<Vec<Scenario>, Failure> {
    let all = scenario::all();
    if let Some(unknown) = arguments.scenarios.iter().find(|name| all.iter().all(|scenario| scenario.name != **name)) {
        let names: Vec<&str> = all.iter().map(|scenario| scenario.name).collect();
        return Err(format!("there is no scenario `{unknown}`: use one of {}", names.join(", ")).into());
    }
    let is_asked = |scenario: &Scenario| match arguments.scenarios.as_slice() {
        [] => !scenario.is_large,
        names => names.iter().any(|name| name == scenario.name),
    };
    Ok(all.into_iter().filter(is_asked).collect())
}

/// Every case of a scenario that the arguments ask for.
fn cases(prepared: &Prepared, arguments: &Arguments) -> Vec<Case> {
    let calls = match &arguments.call {
        Some(call) => vec![call.clone()],
        None => prepared.calls.clone(),
    };
    let fates: Vec<Fate> = match arguments.fates.as_slice() {
        [] => [Fate::Kept, Fate::Deleted, Fate::Older]
            .into_iter()
            .filter(|fate| *fate != Fate::Older || prepared.older.is_some())
            .collect(),
        fates => fates.to_vec(),
    };
    let mut cases = Vec::new();
    for call in calls {
        let case = |what, fate, lag| Case {
            scenario: prepared.scenario.name,
            call: call.clone(),
            what,
            fate,
            reads: Reads { seed: arguments.seed, lag },
        };
        let points = Point::ALL.map(Disturbance::Kill);
        let faults: Vec<Disturbance> = Fault::of(&call.operation).map(Disturbance::Fault).collect();
        let of_kills = points.iter().flat_map(|&what| {
            let lags = arguments.lag.map_or(vec![0, LAG], |lag| vec![lag]);
            fates.iter().flat_map(move |&fate| lags.clone().into_iter().map(move |lag| (what, fate, lag)))
        });
        // A fault leaves the state as it is.
        let lag = arguments.lag.unwrap_or_default();
        let of_faults = faults.iter().map(|&what| (what, fates.first().copied().unwrap_or(Fate::Kept), lag));
        let is_asked = |what: Disturbance| arguments.points.is_empty() || arguments.points.contains(&what);
        cases.extend(
            of_kills
                .chain(of_faults)
                .filter(|(what, ..)| is_asked(*what))
                .map(|(what, fate, lag)| case(what, fate, lag)),
        );
    }
    cases
}

/// The cases of a part, or at most as many as asked for.
fn sample(cases: Vec<Case>, arguments: &Arguments) -> Vec<Case> {
    let mut random = Random::new(arguments.seed);
    if arguments.part {
        // The lag and the silence cost time, and the whole form has them.
        let quick =
            cases.into_iter().filter(|case| case.reads.lag == 0 && case.what != Disturbance::Fault(Fault::Silent));
        let mut by_call: std::collections::BTreeMap<CallName, Vec<Case>> = std::collections::BTreeMap::new();
        for case in quick {
            by_call.entry(case.call.clone()).or_default().push(case);
        }
        return by_call.into_values().flat_map(|cases| random.choose(cases, 1)).collect();
    }
    match arguments.sample {
        Some(most) => random.choose(cases, most),
        None => cases,
    }
}

/// Random numbers that follow from a seed (`SplitMix64`).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or_default()
    }

    /// One of the items.
    fn pick<T: Copy, const N: usize>(&mut self, items: [T; N]) -> T {
        const { assert!(N > 0) };
        let at = self.below(N);
        items.get(at).copied().unwrap_or(items[0])
    }

    /// This many of the items, in random order.
    fn choose<T>(&mut self, mut items: Vec<T>, most: usize) -> Vec<T> {
        let mut chosen = Vec::new();
        while chosen.len() < most && !items.is_empty() {
            let at = self.below(items.len());
            chosen.push(items.swap_remove(at));
        }
        chosen
    }
}
