//! Applies, changes and destroys many hosts in a standalone sandbox with AWS's rate limits. The sandbox counts refused
//! calls. `RunInstances` allows two calls per second, so 300 hosts take two and a half minutes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{Failure, build, root, run, sandbox::Sandbox};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The number of hosts
    #[arg(long, default_value_t = 300)]
    hosts: u32,
    /// An existing build of `trunnion`; without it, a release build is made
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

/// Applies, changes and destroys, and prints the calls and the time.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
pub(crate) fn pacing(arguments: &Arguments) -> Result<(), Failure> {
    let program = match &arguments.program {
        Some(program) => fs::canonicalize(program)?,
        None => build("release")?.join("trunnion"),
    };
    let folder = tempfile::tempdir()?;
    let sandbox = Sandbox::start(&program, &["--throttle=1".to_owned()])?;
    let minimal = fs::read_to_string(root().join("stacks/minimal.yaml"))?;
    let count = format!("zone: eu-west-3a, count: {} }}", arguments.hosts);
    let stack = minimal.replace("zone: eu-west-3a }", &count);
    // A tag changes every instance, volume and interface; the retention needs one call.
    let changed = stack.replace("\npools:", "\ntags: { team: performance }\n\npools:");
    let changed = changed.replace("\ncontrol_plane:", "\ncontrol_plane:\n  log_retention_days: 7");
    println!("| what | calls | on the clock | refused |\n|---|---|---|---|");
    for (what, stack, command) in
        [("apply", &stack, "apply"), ("change", &changed, "apply"), ("destroy", &changed, "destroy")]
    {
        write_stack(&folder.path().join("stack.yaml"), stack)?;
        let (before, _) = sandbox.calls()?;
        let begin = Instant::now();
        run(Command::new(&program)
            .args([command, "--yes", "--quiet"])
            .current_dir(folder.path())
            .env_remove("AWS_PROFILE")
            .env("AWS_ENDPOINT_URL", format!("http://{}", sandbox.address))
            .env("AWS_ACCESS_KEY_ID", "sandbox")
            .env("AWS_SECRET_ACCESS_KEY", "sandbox")
            .stdout(Stdio::null()))?;
        let took = begin.elapsed().as_secs();
        let (after, refused) = sandbox.calls()?;
        let refused = if refused.is_empty() { "none".to_owned() } else { refused.join(", ") };
        println!("| {what}, {} hosts | {} | {took} s | {refused} |", arguments.hosts, after - before);
    }
    let (_, refused) = sandbox.calls()?;
    if refused.is_empty() { Ok(()) } else { Err("calls were refused".into()) }
}

#[expect(clippy::disallowed_methods, reason = "a stack file made for this run, in a temporary folder")]
fn write_stack(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(fs::write(path, text)?)
}
