//! Makes what the cases of each scenario begin with, and what they must end with.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use super::{
    case::{Prepared, after_apply, last},
    order::CallName,
    scenario::{Scenario, Shape},
    stage::{Bench, REGION, Reads, Stage},
    world::Past,
};
use crate::{Failure, replay::Client};

/// A folder with what a shape leaves, and the state before its last apply.
#[derive(Debug, Clone)]
struct Base {
    folder: PathBuf,
    older: Option<Vec<u8>>,
}

/// Prepares the scenarios, some at the same time.
pub(super) fn all(
    bench: &Bench,
    scenarios: &[Scenario],
    folder: &Path,
    seed: u64,
    jobs: u8,
) -> Result<Vec<Prepared>, Failure> {
    let mut bases: Vec<(Option<Shape>, Base)> = Vec::new();
    for scenario in scenarios {
        if bases.iter().all(|(shape, _)| *shape != scenario.before) {
            let at = folder.join(bases.len().to_string());
            bases.push((scenario.before.clone(), base(bench, scenario.before.as_ref(), at, seed)?));
        }
    }
    let next = AtomicUsize::new(0);
    let prepared = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scenario) = scenarios.get(number) else { break };
                    let Some((_, base)) = bases.iter().find(|(shape, _)| *shape == scenario.before) else { break };
                    let done = prepare(bench, scenario, base, seed).map_err(|failure| failure.to_string());
                    prepared.lock().unwrap_or_else(PoisonError::into_inner).insert(number, done);
                }
            });
        }
    });
    let prepared = prepared.into_inner().unwrap_or_else(PoisonError::into_inner);
    prepared.into_values().map(|done| done.map_err(Failure::from)).collect()
}

/// A folder with an account in which nothing was applied.
pub(super) fn empty(bench: &Bench, folder: &Path, seed: u64) -> Result<PathBuf, Failure> {
    Ok(base(bench, None, folder.join("empty"), seed)?.folder)
}

/// Applies a shape, and before it a smaller one, so that there is an older state.
fn base(bench: &Bench, shape: Option<&Shape>, folder: PathBuf, seed: u64) -> Result<Base, Failure> {
    let stage = Stage::start(bench, None, Reads { seed, lag: 0 })?;
    second_network(&stage.client()?)?;
    let mut older = None;
    if let Some(shape) = shape {
        let smaller = Shape { heavy: 1, retention: 14, version: 1, ..shape.clone() };
        for shape in [&smaller, shape] {
            older = fs::read(stage.document()).ok();
            stage.write("stack.yaml", shape.yaml())?;
            let ended = stage.run(&["apply", "--yes"], None)?;
            if ended.code != Some(0) {
                return Err(format!("the first apply fails: {}", last(&ended)).into());
            }
        }
    }
    // What AWS does later must not be undone by a copy that begins in the middle of it.
    std::thread::sleep(Duration::from_millis(500));
    stage.world(Past::Counted)?;
    stage.keep(&folder)?;
    Ok(Base { folder, older })
}

/// Runs the undisturbed step twice with different reads, which must leave the same.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
fn prepare(bench: &Bench, scenario: &Scenario, base: &Base, seed: u64) -> Result<Prepared, Failure> {
    let name = scenario.name;
    let wrong = |why: &dyn std::fmt::Display| Failure::from(format!("{name}, undisturbed: {why}"));
    let stage = Stage::start(bench, Some(&base.folder), Reads { seed, lag: 0 })?;
    stage.write("stack.yaml", scenario.yaml())?;
    let ended = stage.run(scenario.command(), None)?;
    if ended.code != Some(0) {
        return Err(wrong(&last(&ended)));
    }
    check_calls(&stage, &ended.run.done).map_err(|why| wrong(&why))?;
    std::thread::sleep(Duration::from_millis(500));
    let expected = stage.world(Past::Counted)?;
    drop(stage);
    let other = Stage::start(bench, Some(&base.folder), Reads { seed: seed.wrapping_add(1), lag: 0 })?;
    other.write("stack.yaml", scenario.yaml())?;
    let differences = after_apply(&other, scenario, &expected)?;
    if !differences.is_empty() {
        return Err(wrong(&format_args!("two runs leave different things:\n    {}", differences.join("\n    "))));
    }
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let number = |operation: String| {
        let nth = counts.entry(operation.clone()).or_default();
        *nth += 1;
        CallName { nth: *nth, operation }
    };
    let calls: Vec<CallName> = ended.run.done.into_iter().map(number).collect();
    println!("{name}: {} calls change something", calls.len());
    Ok(Prepared { scenario: scenario.clone(), base: base.folder.clone(), older: base.older.clone(), expected, calls })
}

/// The proxy must have seen every call that changed something, by the sandbox's count.
fn check_calls(stage: &Stage, done: &[String]) -> Result<(), Failure> {
    for (operation, count) in stage.changing_calls()? {
        let seen = done.iter().filter(|seen| **seen == operation).count() as u64;
        if seen == 0 && count > 0 {
            return Err(format!("the proxy did not see {operation}").into());
        }
    }
    Ok(())
}

/// A network besides the account's default one, with a subnet and a way to the internet.
fn second_network(client: &Client) -> Result<(), Failure> {
    let ec2 = |pairs: &[(&str, &str)]| -> Result<Value, Failure> {
        let answer = client.ec2(REGION, pairs)?;
        if answer.is_success() { Ok(answer.tree) } else { Err(format!("{pairs:?}: {}", answer.tree).into()) }
    };
    let text = |tree: &Value, at: &str| tree.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let created = ec2(&[
        ("Action", "CreateVpc"),
        ("CidrBlock", "10.7.0.0/16"),
        ("TagSpecification.1.ResourceType", "vpc"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "second"),
    ])?;
    let vpc = text(&created, "/vpc/vpcId");
    let vpc = vpc.as_str();
    until_known(|| {
        ec2(&[
            ("Action", "CreateSubnet"),
            ("VpcId", vpc),
            ("CidrBlock", "10.7.0.0/20"),
            ("AvailabilityZone", "eu-west-3a"),
        ])
    })?;
    let gateway = text(&ec2(&[("Action", "CreateInternetGateway")])?, "/internetGateway/internetGatewayId");
    until_known(|| {
        ec2(&[("Action", "AttachInternetGateway"), ("InternetGatewayId", gateway.as_str()), ("VpcId", vpc)])
    })?;
    until_known(|| {
        let tables = ec2(&[("Action", "DescribeRouteTables"), ("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc)])?;
        let table = text(&tables, "/routeTableSet/0/routeTableId");
        ec2(&[
            ("Action", "CreateRoute"),
            ("RouteTableId", table.as_str()),
            ("DestinationCidrBlock", "0.0.0.0/0"),
            ("GatewayId", gateway.as_str()),
        ])
    })?;
    Ok(())
}

/// Repeats a call while the sandbox does not know everywhere what was just made.
fn until_known(call: impl Fn() -> Result<Value, Failure>) -> Result<Value, Failure> {
    for _ in 0..50 {
        if let Ok(answer) = call() {
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    call()
}
