//! Applies, changes and destroys many hosts in a standalone sandbox with AWS's rate limits. The sandbox counts refused calls
//! and what each call takes from AWS's token buckets, from which follows how long the calls must take at least.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde::Deserialize;

use crate::{Failure, build, root, run, sandbox::Sandbox};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The numbers of hosts; one shows what a stack takes without many
    #[arg(long, value_delimiter = ',', default_values_t = [1, 200, 500])]
    hosts: Vec<u32>,
    /// An existing build of `trunnion`; without it, a release build is made
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

/// What was taken from a token bucket.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Spent {
    tokens: f64,
    capacity: f64,
    per_second: f64,
}

type Buckets = BTreeMap<String, Spent>;

/// Applies, changes and destroys, and prints the calls and the times.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
pub(crate) fn pacing(arguments: &Arguments) -> Result<(), Failure> {
    let program = match &arguments.program {
        Some(program) => fs::canonicalize(program)?,
        None => build("release")?.join("trunnion"),
    };
    println!("| what | calls | slowest bucket | at its rate | on the clock | refused |\n|---|---|---|---|---|---|");
    let mut are_refused = false;
    for &hosts in &arguments.hosts {
        are_refused |= life(&program, hosts)?;
    }
    if are_refused { Err("calls were refused".into()) } else { Ok(()) }
}

/// One life of a stack with this many hosts. Returns whether calls were refused.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
fn life(program: &Path, hosts: u32) -> Result<bool, Failure> {
    let folder = tempfile::tempdir()?;
    let sandbox = Sandbox::start(program, &["--throttle=1".to_owned()])?;
    let minimal = fs::read_to_string(root().join("stacks/minimal.yaml"))?;
    let stack = minimal.replace("zone: eu-west-3a }", &format!("zone: eu-west-3a, count: {hosts} }}"));
    // A tag changes every instance, volume and interface; the retention needs one call.
    let changed = stack.replace("\npools:", "\ntags: { team: performance }\n\npools:");
    let changed = changed.replace("\ncontrol_plane:", "\ncontrol_plane:\n  log_retention_days: 7");
    for (what, stack, command) in
        [("apply", &stack, "apply"), ("change", &changed, "apply"), ("destroy", &changed, "destroy")]
    {
        write_stack(&folder.path().join("stack.yaml"), stack)?;
        let (before, earlier) = (sandbox.calls()?.0, buckets(&sandbox)?);
        let begin = Instant::now();
        run(Command::new(program)
            .args([command, "--yes", "--quiet"])
            .current_dir(folder.path())
            .env_remove("AWS_PROFILE")
            .env("AWS_ENDPOINT_URL", format!("http://{}", sandbox.address))
            .env("AWS_ACCESS_KEY_ID", "sandbox")
            .env("AWS_SECRET_ACCESS_KEY", "sandbox")
            .stdout(Stdio::null()))?;
        let took = begin.elapsed().as_secs_f64();
        let (after, refused) = sandbox.calls()?;
        let refused = if refused.is_empty() { "none".to_owned() } else { refused.join(", ") };
        let (slowest, least) = slowest(&earlier, &buckets(&sandbox)?);
        let calls = after - before;
        println!("| {what}, {hosts} hosts | {calls} | {slowest} | {least:.1} s | {took:.1} s | {refused} |");
    }
    Ok(!sandbox.calls()?.1.is_empty())
}

fn buckets(sandbox: &Sandbox) -> Result<Buckets, Failure> {
    Ok(serde_json::from_str(&sandbox.get("/_sandbox/buckets")?)?)
}

/// The bucket that takes longest to give the tokens that were taken between two reads, if it was full before, and how many
/// seconds it takes.
fn slowest(before: &Buckets, after: &Buckets) -> (String, f64) {
    let least = |(name, spent): (&String, &Spent)| {
        let taken = spent.tokens - before.get(name).map_or(0.0, |before| before.tokens);
        (name.clone(), ((taken - spent.capacity) / spent.per_second).max(0.0))
    };
    let none = ("none".to_owned(), 0.0);
    after.iter().map(least).fold(none, |slowest, one| if one.1 > slowest.1 { one } else { slowest })
}

#[expect(clippy::disallowed_methods, reason = "a stack file made for this run, in a temporary folder")]
fn write_stack(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(fs::write(path, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_bucket_is_the_one_that_takes_longest_to_fill() {
        let spent = |tokens, capacity, per_second| Spent { tokens, capacity, per_second };
        let before = Buckets::from([("run".to_owned(), spent(5.0, 5.0, 2.0))]);
        let after = Buckets::from([
            ("run".to_owned(), spent(16.0, 5.0, 2.0)),
            ("tag".to_owned(), spent(50.0, 100.0, 10.0)),
            ("iam".to_owned(), spent(30.0, 15.0, 15.0)),
        ]);
        assert_eq!(slowest(&before, &after), ("run".to_owned(), 3.0));
        assert_eq!(slowest(&after, &after), ("none".to_owned(), 0.0));
    }
}
