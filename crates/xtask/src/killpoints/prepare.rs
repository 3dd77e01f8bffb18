//! Makes what the cases of each scenario begin with, and what they must end with.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use super::{
    case::{Expected, Prepared, after_apply, last},
    hosts::address,
    order::CallName,
    scenario::{BUCKET, Command, Ground, Others, Scenario, Shape},
    stage::{Bench, REGION, Reads, Stage},
    world::Past,
};
use crate::{Failure, replay::Client};

/// A folder with a ground, and the state before its last apply.
#[derive(Debug, Clone)]
struct Base {
    folder: PathBuf,
    older: Option<Vec<u8>>,
    others: Others,
    /// The hosts and Elastic IPs in it.
    there: BTreeSet<String>,
}

/// Prepares the scenarios, some at the same time.
pub(super) fn all(
    bench: &Bench,
    scenarios: &[Scenario],
    folder: &Path,
    seed: u64,
    jobs: u8,
) -> Result<Vec<Prepared>, Failure> {
    let mut bases: Vec<(Ground, Base)> = Vec::new();
    for scenario in scenarios {
        if bases.iter().all(|(ground, _)| *ground != scenario.ground) {
            let at = folder.join(bases.len().to_string());
            bases.push((scenario.ground.clone(), base(bench, &scenario.ground, at, seed)?));
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
                    let Some((_, base)) = bases.iter().find(|(ground, _)| *ground == scenario.ground) else { break };
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
    let ground = Ground { shape: None, has_others: false };
    Ok(base(bench, &ground, folder.join("empty"), seed)?.folder)
}

/// Applies a shape, and before it a smaller one, so that there is an older state.
fn base(bench: &Bench, ground: &Ground, folder: PathBuf, seed: u64) -> Result<Base, Failure> {
    let stage = Stage::start(bench, None, Reads { seed, lag: 0 })?;
    second_network(&stage.client()?)?;
    bucket(&stage.client()?)?;
    let mut older = None;
    if let Some(shape) = &ground.shape {
        let smaller = Shape { heavy: 1, retention: 14, version: 1, ..shape.clone() };
        for shape in [&smaller, shape] {
            stage.write("stack.yaml", shape.yaml())?;
            older = stage.state()?;
            let ended = stage.run(&["apply", "--yes"], None)?;
            if ended.code != Some(0) {
                return Err(format!("the first apply fails: {}", last(&ended)).into());
            }
        }
    }
    let others = if ground.has_others { others(&stage)? } else { Others::default() };
    // What AWS does later must not be undone by a copy that begins in the middle of it.
    std::thread::sleep(Duration::from_millis(500));
    stage.world(Past::Counted)?;
    let there = stage.hosts_and_addresses()?;
    stage.keep(&folder)?;
    Ok(Base { folder, older, others, there })
}

/// Runs the undisturbed step twice with different reads, which must leave the same.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
fn prepare(bench: &Bench, scenario: &Scenario, base: &Base, seed: u64) -> Result<Prepared, Failure> {
    let name = scenario.name;
    let wrong = |why: &dyn std::fmt::Display| Failure::from(format!("{name}, undisturbed: {why}"));
    let stage = Stage::start(bench, Some(&base.folder), Reads { seed, lag: 0 })?;
    stage.write("stack.yaml", scenario.yaml())?;
    let commands = scenario.commands(&base.others);
    let done = undisturbed(&stage, &commands).map_err(|why| wrong(&why))?;
    check_calls(&stage, &done).map_err(|why| wrong(&why))?;
    std::thread::sleep(Duration::from_millis(500));
    let there = stage.hosts_and_addresses()?;
    let kept = base.there.intersection(&there).cloned().collect();
    let expected = Expected { world: stage.world(Past::Counted)?, kept };
    if scenario.keeps_all && expected.kept != base.there {
        return Err(wrong(&"not all hosts and Elastic IPs are kept"));
    }
    drop(stage);
    let other = Stage::start(bench, Some(&base.folder), Reads { seed: seed.wrapping_add(1), lag: 0 })?;
    other.write("stack.yaml", scenario.yaml())?;
    if let [first @ .., _] = commands.as_slice() {
        undisturbed(&other, first).map_err(|why| wrong(&why))?;
    }
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
    let calls: Vec<CallName> = done.into_iter().map(number).collect();
    println!("{name}: {} calls change something", calls.len());
    Ok(Prepared {
        scenario: scenario.clone(),
        commands,
        base: base.folder.clone(),
        older: base.older.clone(),
        expected,
        calls,
    })
}

/// Runs the commands of a step, which must succeed. Returns their calls that changed something.
fn undisturbed(stage: &Stage, commands: &[Command]) -> Result<Vec<String>, Failure> {
    let mut done = Vec::new();
    for command in commands {
        let ended = stage.run(&command.arguments, None)?;
        if ended.code != Some(0) {
            return Err(format!("`{}` fails: {}", command.arguments.join(" "), last(&ended)).into());
        }
        done.extend(ended.run.done);
    }
    Ok(done)
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

/// Makes a host as those of the large pool are, and an Elastic IP. Neither has tags of the stack.
fn others(stage: &Stage) -> Result<Others, Failure> {
    let (client, rows) = (stage.client()?, stage.rows()?);
    let of = |table: &str| rows[table].as_object().into_iter().flatten();
    let host = of("ec2.instances").find(|(_, row)| address(row).as_deref() == Some("instance.heavy[0]"));
    let digest = host.and_then(|(_, host)| host["tags"]["trunnion:template"].as_str()).ok_or("there is no host")?;
    let template = of("ec2.templates").find(|(_, row)| row["tags"]["trunnion:address"] == "launch_template.heavy");
    let (template, _) = template.ok_or("there is no launch template")?;
    let launched = client.ec2(
        REGION,
        &[
            ("Action", "RunInstances"),
            ("LaunchTemplate.LaunchTemplateId", template.as_str()),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "trunnion:template"),
            ("TagSpecification.1.Tag.1.Value", digest),
        ],
    )?;
    let allocated = client.ec2(REGION, &[("Action", "AllocateAddress"), ("Domain", "vpc")])?;
    let id = |tree: &Value, at: &str| {
        let id = tree.pointer(at).and_then(Value::as_str).map(str::to_owned);
        id.ok_or_else(|| Failure::from(format!("there is no `{at}` in {tree}")))
    };
    Ok(Others {
        host: id(&launched.tree, "/instancesSet/0/instanceId")?,
        address: id(&allocated.tree, "/allocationId")?,
    })
}

/// The bucket of states, with versioning.
fn bucket(client: &Client) -> Result<(), Failure> {
    let space = "http://s3.amazonaws.com/doc/2006-03-01/";
    let place = format!("<LocationConstraint>{REGION}</LocationConstraint>");
    let create = format!(r#"<CreateBucketConfiguration xmlns="{space}">{place}</CreateBucketConfiguration>"#);
    let versioning =
        format!(r#"<VersioningConfiguration xmlns="{space}"><Status>Enabled</Status></VersioningConfiguration>"#);
    for (path, body) in [(format!("/{BUCKET}"), create), (format!("/{BUCKET}?versioning"), versioning)] {
        until_known(|| {
            let answer = client.s3(REGION, "PUT", &path, body.clone().into_bytes())?;
            if answer.is_success() { Ok(answer.tree) } else { Err(format!("{path}: {}", answer.tree).into()) }
        })?;
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
