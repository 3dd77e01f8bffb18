//! What a plan that changes nothing takes: own CPU time, time on the clock, and peak memory, each command in a process of
//! its own. The sandbox runs inside the same process, so its share is in the figures.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use serde::{Deserialize, Serialize};

use crate::{Failure, build, root, run};

/// How often each command is measured; the median counts.
const TIMES: usize = 9;

/// What one run of a command took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Cost {
    cpu_ms: i64,
    wall_ms: f64,
    peak_mib: i64,
}

/// Runs a command once and prints its cost as JSON.
#[expect(clippy::print_stdout, reason = "this is what `measure` is for")]
pub(crate) fn measure(command: &[String]) -> Result<(), Failure> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let begin = Instant::now();
    run(Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()))?;
    let wall_ms = begin.elapsed().as_secs_f64() * 1000.0;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cost = Cost {
        cpu_ms: usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds(),
        wall_ms,
        peak_mib: usage.max_rss() / 1024,
    };
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(crate) fn bench() -> Result<(), Failure> {
    eprintln!("Building in release …");
    let programs = build("release")?;
    let trunnion = programs.join("trunnion");
    let folder = tempfile::tempdir()?;
    let reference = folder.path().join("reference.yaml");
    fs::copy(root().join("stacks/loadtest.yaml"), &reference)?;
    let thousand = folder.path().join("thousand/thousand.yaml");
    fs::create_dir_all(folder.path().join("thousand"))?;
    fs::copy(write(&folder.path().join("draft.yaml"), &thousand_hosts()?)?, &thousand)?;
    for stack in [&reference, &thousand] {
        eprintln!("Applying {} …", stack.display());
        let mut apply = Command::new(&trunnion);
        apply.arg("apply").arg(stack).args(["--sandbox", "--yes", "--quiet"]).stdout(Stdio::null());
        run(&mut apply)?;
    }
    let text = |path: &Path| path.display().to_string();
    let plan = |stack: &Path| ["plan".to_owned(), text(stack), "--sandbox".to_owned()].to_vec();
    println!("| what | CPU | on the clock | peak memory |\n|---|---|---|---|");
    let mut costs = Vec::new();
    for (what, arguments) in [
        ("`--help`", vec!["--help".to_owned()]),
        ("no-op plan, reference stack", plan(&reference)),
        ("no-op plan, 1,000 hosts", plan(&thousand)),
    ] {
        let cost = median(&trunnion, &arguments)?;
        println!("| {what} | {} ms | {:.0} ms | {} MiB |", cost.cpu_ms, cost.wall_ms, cost.peak_mib);
        costs.push(cost);
    }
    if let [help, small, large] = costs[..] {
        println!(
            "\nThe reference plan takes {:.1} times as long as `--help`, that of 1,000 hosts {:.1} times as long as the reference plan.",
            small.wall_ms / help.wall_ms,
            large.wall_ms / small.wall_ms
        );
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a stack file made for this run, in a temporary folder")]
fn write<'a>(path: &'a Path, text: &str) -> Result<&'a Path, Failure> {
    fs::write(path, text)?;
    Ok(path)
}

fn median(trunnion: &Path, arguments: &[String]) -> Result<Cost, Failure> {
    let mut costs = Vec::new();
    for _ in 0..TIMES {
        let measured = Command::new(std::env::current_exe()?).arg("measure").arg(trunnion).args(arguments).output()?;
        if !measured.status.success() {
            return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&measured.stderr)).into());
        }
        costs.push(serde_json::from_slice::<Cost>(&measured.stdout)?);
    }
    costs.sort_by(|a, b| a.wall_ms.total_cmp(&b.wall_ms));
    Ok(costs[costs.len() / 2])
}

/// The minimal stack with 1,000 hosts: as many addresses as the three default subnets of a region hold.
fn thousand_hosts() -> Result<String, Failure> {
    let minimal = fs::read_to_string(root().join("stacks/minimal.yaml"))?;
    let (before, rest) = minimal.split_once("\npools:").ok_or("stacks/minimal.yaml has no pools")?;
    let after =
        rest.find("\ncontrol_plane:").map(|at| &rest[at..]).ok_or("stacks/minimal.yaml has no control plane")?;
    let after = after.split("\nlocations:").next().unwrap_or(after);
    let mut text = format!("{before}\npools:");
    for (zone, count) in [("a", 334), ("b", 333), ("c", 333)] {
        write!(
            text,
            "\n  zone-{zone}: {{ instance_type: c6in.32xlarge, count: {count}, zone: eu-west-3{zone}, interfaces: 4, addresses: 3 }}"
        )?;
    }
    Ok(text + after + "\n")
}
