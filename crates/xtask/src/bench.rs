//! Measures a plan without changes, and the preview of many stacks: CPU time, elapsed time and peak memory. Each command runs in its
//! own process. For a plan, the sandbox runs in the same process, so the figures include it. With `--against`, runs of another build alternate with
//! runs of this one.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{Failure, build, root, run, sandbox::Sandbox};

/// The number of runs of each command. The median is printed.
const TIMES: usize = 9;

/// The cost of one run.
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

/// The builds to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Another release build of `trunnion` with its generator beside it; its runs alternate with those of this build, each
    /// with its own sandbox
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
}

/// A build of `trunnion`, with a folder in which every stack is applied.
struct Contender {
    program: PathBuf,
    folder: TempDir,
}

/// The measured stacks: a name, and the number of hosts of the minimal stack; `None` for the reference stack.
const STACKS: [(&str, Option<u32>); 3] = [("reference", None), ("hosts-200", Some(200)), ("hosts-1000", Some(1000))];

impl Contender {
    fn new(program: PathBuf) -> Result<Self, Failure> {
        let contender = Self { program, folder: tempfile::tempdir()? };
        for (name, hosts) in STACKS {
            let stack = contender.stack(name);
            fs::create_dir_all(stack.parent().unwrap_or(&stack))?;
            match hosts {
                None => drop(fs::copy(root().join("stacks/loadtest.yaml"), &stack)?),
                Some(hosts) => write(&stack, &many_hosts(hosts)?)?,
            }
            let mut apply = Command::new(&contender.program);
            apply.arg("apply").arg(&stack).args(["--sandbox", "--yes", "--quiet"]).stdout(Stdio::null());
            run(&mut apply)?;
        }
        Ok(contender)
    }

    fn stack(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).join("stack.yaml")
    }

    fn plan(&self, name: &str) -> Vec<String> {
        ["plan".to_owned(), self.stack(name).display().to_string(), "--sandbox".to_owned()].to_vec()
    }

    /// The line about AWS calls of a plan.
    fn calls(&self, name: &str) -> Result<String, Failure> {
        let planned = Command::new(&self.program).args(self.plan(name)).arg("-v").output()?;
        let said = String::from_utf8_lossy(&planned.stderr).into_owned();
        let line = said
            .lines()
            .find_map(|line| line.split_once("AWS calls: "))
            .ok_or("`plan -v` prints no number of calls")?;
        Ok(line.1.to_owned())
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore prints for the person who runs it")]
pub(crate) fn bench(arguments: &Arguments) -> Result<(), Failure> {
    eprintln!("Building in release …");
    let programs = build("release")?;
    let others = arguments.against.iter().cloned();
    let contenders = others.chain([programs.join("trunnion")]).map(|program| {
        eprintln!("Applying with {} …", program.display());
        Contender::new(program)
    });
    let contenders = contenders.collect::<Result<Vec<_>, _>>()?;
    println!("| what | program | CPU | on the clock | peak memory |\n|---|---|---|---|---|");
    let help = |_: &Contender| vec!["--help".to_owned()];
    compare("`--help`", &contenders, help)?;
    for (name, _) in STACKS {
        compare(&format!("no-op plan, {name}"), &contenders, |contender| contender.plan(name))?;
    }
    for (name, _) in STACKS {
        for contender in &contenders {
            println!("{name}, {}: {}", contender.program.display(), contender.calls(name)?);
        }
    }
    for contender in &contenders {
        preview(&contender.program)?;
    }
    Ok(())
}

/// How many stacks a preview has, all of one account and region.
const PREVIEWED: usize = 100;

/// Measures the preview of a pull request that changes a pool of each stack. Its sandbox is a process of its own.
#[expect(clippy::print_stdout, reason = "a chore prints for the person who runs it")]
fn preview(program: &Path) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let sandbox = Sandbox::start(program, &["--vcpus".to_owned(), "100000".to_owned()])?;
    let command = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("AWS_ENDPOINT_URL", format!("http://{}", sandbox.address)).env_remove("AWS_PROFILE");
        command.envs([("AWS_ACCESS_KEY_ID", "sandbox"), ("AWS_SECRET_ACCESS_KEY", "sandbox")]);
        command
    };
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"];
        run(&mut command(Path::new("git"), &[&identity, arguments].concat()))
    };
    let minimal = fs::read_to_string(root().join("stacks/minimal.yaml"))?;
    let files: Vec<String> = (0..PREVIEWED).map(|number| format!("stack{number}.yaml")).collect();
    let write_all = |count: usize| {
        files.iter().enumerate().try_for_each(|(number, file)| {
            let text = minimal.replace("stack: minimal", &format!("stack: number{number}"));
            let pool = format!("zone: eu-west-3a, count: {count} }}");
            write(&folder.path().join(file), &text.replace("zone: eu-west-3a }", &pool))
        })
    };
    write_all(1)?;
    write(&folder.path().join(".gitignore"), ".trunnion\n")?;
    git(&["init", "--initial-branch=main"])?;
    git(&["add", "."])?;
    git(&["commit", "--message", "before"])?;
    for file in &files {
        run(&mut command(program, &["apply", file, "--yes"]))?;
    }
    write_all(2)?;
    git(&["commit", "--all", "--message", "after"])?;
    let (before, _) = sandbox.calls()?;
    let arguments = ["preview", "--base", "main~"].into_iter().chain(files.iter().map(String::as_str));
    let program_path = program.display().to_string();
    let measured = [&["measure", &program_path], arguments.collect::<Vec<_>>().as_slice()].concat();
    let output = command(&std::env::current_exe()?, &measured).stdout(Stdio::piped()).output()?;
    let cost: Cost = serde_json::from_slice(&output.stdout)?;
    let (after, _) = sandbox.calls()?;
    println!(
        "| preview of {PREVIEWED} stacks, {} calls | {} | {} ms | {:.0} ms | {} MiB |",
        after - before,
        program.display(),
        cost.cpu_ms,
        cost.wall_ms,
        cost.peak_mib
    );
    Ok(())
}

/// Alternates runs of a command of each contender. Prints the medians, and the ratio of the last contender to the
/// first.
#[expect(clippy::print_stdout, reason = "a chore prints for the person who runs it")]
fn compare(what: &str, contenders: &[Contender], arguments: impl Fn(&Contender) -> Vec<String>) -> Result<(), Failure> {
    let mut costs = vec![Vec::new(); contenders.len()];
    for _ in 0..TIMES {
        for (contender, costs) in contenders.iter().zip(&mut costs) {
            costs.push(once(&contender.program, &arguments(contender))?);
        }
    }
    let medians: Vec<Cost> = costs.into_iter().map(median).collect();
    for (contender, cost) in contenders.iter().zip(&medians) {
        let program = contender.program.display();
        println!("| {what} | {program} | {} ms | {:.0} ms | {} MiB |", cost.cpu_ms, cost.wall_ms, cost.peak_mib);
    }
    if let [first, .., last] = medians[..] {
        println!("| {what} | last to first | | {:.2} times | |", last.wall_ms / first.wall_ms);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a stack file made for this run, in a temporary folder")]
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(fs::write(path, text)?)
}

fn once(trunnion: &Path, arguments: &[String]) -> Result<Cost, Failure> {
    let measured = Command::new(std::env::current_exe()?).arg("measure").arg(trunnion).args(arguments).output()?;
    if !measured.status.success() {
        return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&measured.stderr)).into());
    }
    Ok(serde_json::from_slice(&measured.stdout)?)
}

fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|a, b| a.wall_ms.total_cmp(&b.wall_ms));
    costs[costs.len() / 2]
}

/// The minimal stack with many hosts over three zones. The default subnets have addresses for 1,000 hosts.
fn many_hosts(hosts: u32) -> Result<String, Failure> {
    let minimal = fs::read_to_string(root().join("stacks/minimal.yaml"))?;
    let (before, rest) = minimal.split_once("\npools:").ok_or("stacks/minimal.yaml has no pools")?;
    let after =
        rest.find("\ncontrol_plane:").map(|at| &rest[at..]).ok_or("stacks/minimal.yaml has no control plane")?;
    let after = after.split("\nlocations:").next().unwrap_or(after);
    let mut text = format!("{before}\npools:");
    for (zone, before) in [("a", 0), ("b", 1), ("c", 2)] {
        let count = (hosts + 2 - before) / 3;
        write!(
            text,
            "\n  zone-{zone}: {{ instance_type: c6in.32xlarge, count: {count}, zone: eu-west-3{zone}, interfaces: 4, addresses: 3 }}"
        )?;
    }
    Ok(text + after + "\n")
}
