//! Applies, changes and destroys many hosts in a standalone sandbox with AWS's rate limits. The sandbox counts refused
//! calls. `RunInstances` allows two calls per second, so 300 hosts take two and a half minutes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::Value;

use crate::{Failure, build, root, run};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The number of hosts
    #[arg(long, default_value_t = 300)]
    hosts: u32,
    /// An existing build of `trunnion`; without it, a release build is made
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

/// A sandbox process that ends when this is dropped.
struct Sandbox {
    process: Child,
    address: String,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Sandbox {
    fn start(program: &Path) -> Result<Self, Failure> {
        let mut process = Command::new(program)
            .args(["sandbox", "--listen", "127.0.0.1:0", "--throttle", "--quiet"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().ok_or("the sandbox has no output")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("export AWS_ENDPOINT_URL=http://").ok_or("the sandbox did not start")?;
        Ok(Self { address: address.to_owned(), process })
    }

    /// The number of calls so far, and the refused calls by name.
    fn calls(&self) -> Result<(u64, Vec<String>), Failure> {
        let mut stream = TcpStream::connect(&self.address)?;
        let host = &self.address;
        write!(stream, "GET /_sandbox/calls HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("the sandbox answers with no body")?;
        let calls: Value = serde_json::from_str(body)?;
        let calls = calls.as_object().ok_or("the sandbox names no calls")?;
        let number = |call: &Value, key: &str| call[key].as_u64().unwrap_or_default();
        let refused = calls.iter().filter(|(_, call)| number(call, "refused") > 0);
        Ok((
            calls.values().map(|call| number(call, "count")).sum(),
            refused.map(|(name, call)| format!("{name}: {}", number(call, "refused"))).collect(),
        ))
    }
}

/// Applies, changes and destroys, and prints the calls and the time.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
pub(crate) fn pacing(arguments: &Arguments) -> Result<(), Failure> {
    let program = match &arguments.program {
        Some(program) => fs::canonicalize(program)?,
        None => build("release")?.join("trunnion"),
    };
    let folder = tempfile::tempdir()?;
    let sandbox = Sandbox::start(&program)?;
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
