//! `cargo xtask live`: applies a small stack with the real `trunnion`, checks it, changes it, and destroys it. Every call
//! is in a transcript, and the checks read AWS's own answers there.

mod checks;
mod cost;
mod steps;

use std::{
    fs,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use self::{
    cost::Cost,
    steps::{Ended, Steps},
};
use crate::{Failure, build};

/// The most hosts of a stack that is small.
const MOST_HOSTS: usize = 3;

/// The tag that the change adds.
const TAG: &str = "trunnion-live";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The stack file: at most 3 hosts, and nothing of it exists yet
    #[arg(long, value_name = "FILE")]
    stack: PathBuf,
    /// The new file for the transcript
    #[arg(long, value_name = "FILE", default_value = "live-transcript.jsonl")]
    transcript: PathBuf,
    /// Do not ask before money is spent
    #[arg(long)]
    yes: bool,
    /// The highest cost in US dollars that you accept, for a stack whose cost cannot be computed
    #[arg(long, value_name = "USD", value_parser = dollars)]
    most_cost: Option<f64>,
    /// After this time, in minutes, the run is interrupted and everything is destroyed
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=240))]
    limit: u32,
    /// Use a strict sandbox in real time instead of AWS; nobody is asked, because it costs nothing
    #[arg(long)]
    sandbox: bool,
    /// An existing build of `trunnion`; without it, one is built
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

fn dollars(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|cost: &f64| cost.is_finite() && *cost >= 0.0).ok_or("it is not an amount of dollars")
}

/// What the first plan shows.
struct Planned {
    stack: String,
    account: String,
    region: String,
    creates: usize,
    hosts: usize,
    cost: Cost,
}

/// The whole run.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
pub(crate) fn live(arguments: &Arguments) -> Result<(), Failure> {
    let transcript = std::path::absolute(&arguments.transcript)?;
    if transcript.exists() {
        return Err(format!("`{}` exists: name another file with `--transcript`", transcript.display()).into());
    }
    let text = fs::read_to_string(&arguments.stack)
        .map_err(|error| format!("`{}` cannot be read: {error}", arguments.stack.display()))?;
    let changed = with_tag(&text)?;
    let program = match &arguments.program {
        Some(program) => fs::canonicalize(program)?,
        None => build("dev")?.join("trunnion"),
    };
    let limit = Duration::from_secs(u64::from(arguments.limit) * 60);
    let mut steps = Steps::new(program, &arguments.stack, transcript, limit);
    let is_asked = !(arguments.yes || arguments.sandbox);
    if !is_asked {
        steps.begin()?;
    }
    let sandbox = if arguments.sandbox { Some(steps.in_sandbox()?) } else { None };
    steps.plain("validate the stack", &arguments.stack, &["validate"])?;
    let edited = Edited::beside(&arguments.stack, &changed)?;
    steps.plain("validate the changed stack", edited.path(), &["validate"])?;
    let planned = plan(&steps, arguments)?;
    print!("{}", planned.text(arguments.limit));
    if is_asked {
        // Until now nothing was created, so Ctrl-C ends the run at once.
        agree()?;
        steps.begin()?;
    }
    let result = change_and_check(&steps, &planned, &edited);
    // Whatever happened, nothing may stay that costs money.
    let destroyed = destroy(&steps);
    drop(sandbox);
    let shown = steps.transcript().display();
    match (result, destroyed) {
        (Ok(()), Ok(())) => {
            println!("\nEverything works, and nothing is left. The transcript is in `{shown}`:");
            println!("{}", latencies(&crate::transcript::read(steps.transcript())?));
            println!("Compare it with the sandbox: `cargo xtask replay {shown}`");
            Ok(())
        }
        (Err(failure), Ok(())) => {
            Err(format!("{failure}\nEverything was destroyed, and nothing is left. The transcript is in `{shown}`.")
                .into())
        }
        (Ok(()), Err(left)) => Err(left),
        (Err(failure), Err(left)) => Err(format!("{failure}\n{left}").into()),
    }
}

/// Reads AWS and refuses what is not a new, small stack.
fn plan(steps: &Steps, arguments: &Arguments) -> Result<Planned, Failure> {
    let ended = steps.run("plan", &arguments.stack, &["plan", "--json"])?;
    let document = ended.document()?;
    let compared = &document["compared"];
    let changes = compared["changes"].as_array().ok_or("the plan has no changes")?;
    if let Some(other) = changes.iter().find(|change| change["action"] != "create") {
        let address = other["address"].as_str().unwrap_or_default();
        return Err(format!(
            "plan: `{address}` exists already, and this run ends with a destroy of everything. Use a stack name that is \
             not in use"
        )
        .into());
    }
    let of_kind = |kind: &str| {
        let prefix = format!("{kind}.");
        changes.iter().filter(move |change| change["address"].as_str().is_some_and(|at| at.starts_with(&prefix)))
    };
    let hosts = of_kind("instance").count();
    if hosts > MOST_HOSTS {
        return Err(
            format!("the stack has {hosts} hosts, and this run allows {MOST_HOSTS}: use a smaller stack").into()
        );
    }
    let text = |at: &Value| at.as_str().unwrap_or_default().to_owned();
    let place = &compared["place"];
    let region = text(&place["region"]);
    let cost = cost::highest(changes, &region, arguments.limit, arguments.most_cost)?;
    Ok(Planned {
        stack: text(&compared["stack"]),
        account: text(&place["account"]),
        region,
        creates: changes.len(),
        hosts,
        cost,
    })
}

impl Planned {
    fn text(&self, limit: u32) -> String {
        let Self { stack, account, region, creates, hosts, cost } = self;
        let hosts = if *hosts == 1 { "1 host".to_owned() } else { format!("{hosts} hosts") };
        format!(
            "\nThis run creates the stack `{stack}` in the account {account}, {region}: {creates} resources with {hosts}.\n\
             It changes a tag, and destroys everything again. After {limit} minutes it is interrupted and destroyed.\n\
             {cost}"
        )
    }
}

/// Asks before anything is created.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
fn agree() -> Result<(), Failure> {
    let refused = "nobody agreed, so nothing was created";
    if !std::io::stdin().is_terminal() {
        return Err(format!("{refused}: answer in a terminal, or use `--yes`").into());
    }
    print!("Do you agree? Type `yes`: ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refused.into()) }
}

/// The steps between the question and the destroy.
fn change_and_check(steps: &Steps, planned: &Planned, edited: &Edited) -> Result<(), Failure> {
    let stack = steps.stack();
    steps.run("apply", stack, &["apply", "--yes"])?;
    check(steps, stack, planned, "check what was applied")?;
    steps.run("change", edited.path(), &["apply", "--yes"])?;
    check(steps, edited.path(), planned, "check the change")
}

/// A plan must be empty, and what AWS answers to it must be complete.
fn check(steps: &Steps, stack: &Path, planned: &Planned, step: &str) -> Result<(), Failure> {
    let from = steps.length();
    let ended = steps.run(step, stack, &["plan", "--json", "--detailed-exitcode"])?;
    let document = ended.document()?;
    let pending = pending(&document);
    if !pending.is_empty() {
        return Err(format!("{step}: the plan after the apply is not empty: {}", pending.join(", ")).into());
    }
    let outputs = steps.plain(step, stack, &["show", "--json"])?.document()?["outputs"].clone();
    checks::complete(steps.transcript(), from, &outputs, planned.hosts).map_err(|why| format!("{step}: {why}").into())
}

/// What a plan would change.
fn pending(document: &Value) -> Vec<String> {
    let changes = document["compared"]["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |at: &Value| at.as_str().unwrap_or_default().to_owned();
    let pending = changes.iter().filter(|change| change["action"] != "none");
    pending.map(|change| format!("{} {}", text(&change["action"]), text(&change["address"]))).collect()
}

/// Destroys until nothing with the stack's tag is left, at most three times.
fn destroy(steps: &Steps) -> Result<(), Failure> {
    const TIMES: u32 = 3;
    let stack = steps.stack();
    let mut last = Failure::from("");
    for time in 1..=TIMES {
        let destroyed = steps.always("destroy", stack, &["destroy", "--yes"]);
        let left = steps
            .always("look for what is left", stack, &["plan", "--destroy", "--json", "--detailed-exitcode"])
            .and_then(|ended: Ended| Ok(pending(&ended.document()?)));
        last = match (destroyed, left) {
            (Ok(_), Ok(left)) if left.is_empty() => return Ok(()),
            (Err(failure), Ok(left)) if left.is_empty() => failure,
            (_, Ok(left)) => {
                let addresses: Vec<&str> = left.iter().map(|line| line.trim_start_matches("delete ")).collect();
                format!("these resources are left, and some cost money: {}", addresses.join(", ")).into()
            }
            (_, Err(failure)) => format!("it is not known what is left. {failure}").into(),
        };
        if time == TIMES || steps.is_interrupted_again() {
            break;
        }
    }
    let shown = stack.display();
    Err(format!(
        "destroy: {last}\nRemove it with `trunnion destroy {shown}`. To see what is left: `trunnion plan --destroy {shown}`, or \
         search for the tag `trunnion:stack` in AWS's Tag Editor"
    )
    .into())
}

/// How many calls there were, and the slowest of them.
fn latencies(calls: &[crate::transcript::Call]) -> String {
    let mut by_time: Vec<_> = calls.iter().collect();
    by_time.sort_by(|one, other| other.latency_ms.total_cmp(&one.latency_ms));
    let median = by_time.get(calls.len() / 2).map(|call| call.latency_ms).unwrap_or_default();
    let slowest = by_time.first().map(|call| format!("{:.0} ms for {}", call.latency_ms, call.operation));
    format!("{} calls, {median:.0} ms in the median, at most {}.", calls.len(), slowest.unwrap_or_default())
}

/// The stack with one more tag.
fn with_tag(text: &str) -> Result<String, Failure> {
    if text.contains(TAG) {
        return Err(format!("the stack has a tag `{TAG}` already, which this run adds: remove it").into());
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    match lines.iter_mut().find(|line| line.starts_with("tags:")) {
        None => lines.push(format!("tags: {{ {TAG}: changed }}")),
        Some(line) => {
            let value = line.get("tags:".len()..).unwrap_or_default();
            let value = value.split(" #").next().unwrap_or_default().trim().to_owned();
            *line = match value.strip_prefix('{') {
                Some(rest) if rest.trim() == "}" => format!("tags: {{ {TAG}: changed }}"),
                Some(rest) => format!("tags: {{ {TAG}: changed, {}", rest.trim_start()),
                None if value.is_empty() => format!("tags:\n  {TAG}: changed"),
                None => return Err("`tags` of the stack has a form that this run cannot change".into()),
            };
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// The changed stack, in the same folder, so that it has the same home and the same state.
struct Edited(tempfile::NamedTempFile);

impl Edited {
    fn beside(stack: &Path, text: &str) -> Result<Self, Failure> {
        let folder = stack.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".live-").suffix(".yaml").tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.flush()?;
        Ok(Self(file))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_added_to_every_form() {
        let cases = [
            ("stack: a", "stack: a\ntags: { trunnion-live: changed }\n"),
            ("tags:\n  a: b\nx: y", "tags:\n  trunnion-live: changed\n  a: b\nx: y\n"),
            ("tags: # all\n  a: b", "tags:\n  trunnion-live: changed\n  a: b\n"),
            ("tags: { a: b }", "tags: { trunnion-live: changed, a: b }\n"),
            ("tags: {}", "tags: { trunnion-live: changed }\n"),
        ];
        for (from, to) in cases {
            assert_eq!(with_tag(from).unwrap(), to);
        }
        assert!(with_tag("tags: *anchor").is_err() && with_tag("tags: { trunnion-live: x }").is_err());
    }
}
