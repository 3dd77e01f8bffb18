//! Runs `trunnion` step by step, and passes an interruption on to the running step.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{Failure, sandbox::Sandbox};

/// How often a running step is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// All steps of a run use the same stack and the same transcript.
pub(super) struct Steps {
    program: PathBuf,
    stack: PathBuf,
    transcript: PathBuf,
    /// The variables that lead to a sandbox.
    variables: Vec<(&'static str, String)>,
    /// How often the person, or another program, asked the run to stop.
    interrupted: Arc<AtomicU32>,
    limit: Duration,
    /// Counted from the answer of the person.
    deadline: Instant,
}

/// A step that ended well.
pub(super) struct Ended {
    stdout: Vec<u8>,
}

impl Ended {
    /// The JSON document on its stdout.
    pub fn document(&self) -> Result<Value, Failure> {
        Ok(serde_json::from_slice(&self.stdout)?)
    }
}

/// How a step can end early.
#[derive(Clone, Copy)]
struct Limits {
    /// How many interruptions do not concern it.
    allowed: u32,
    deadline: Option<Instant>,
}

impl Limits {
    fn is_over(self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl Steps {
    pub fn new(program: PathBuf, stack: &Path, transcript: PathBuf, limit: Duration) -> Self {
        let interrupted = Arc::new(AtomicU32::new(0));
        let stack = stack.to_owned();
        Self { program, stack, transcript, variables: Vec::new(), interrupted, limit, deadline: Instant::now() + limit }
    }

    /// Counts the time and interruptions from now on. Before, an interruption ends this process at once.
    pub fn begin(&mut self) -> Result<(), Failure> {
        self.deadline = Instant::now() + self.limit;
        listen(&self.interrupted)
    }

    /// Starts a sandbox that is as slow and as strict as AWS, for all further steps.
    pub fn in_sandbox(&mut self) -> Result<Sandbox, Failure> {
        let sandbox = Sandbox::start(&self.program, &["--strict", "--speed", "1"].map(str::to_owned))?;
        let key = "sandbox".to_owned();
        self.variables = vec![
            ("AWS_ENDPOINT_URL", format!("http://{}", sandbox.address)),
            ("AWS_ACCESS_KEY_ID", key.clone()),
            ("AWS_SECRET_ACCESS_KEY", key),
            ("AWS_SESSION_TOKEN", String::new()),
            ("AWS_PROFILE", String::new()),
        ];
        Ok(sandbox)
    }

    pub fn stack(&self) -> &Path {
        &self.stack
    }

    pub fn transcript(&self) -> &Path {
        &self.transcript
    }

    /// The length of the transcript in bytes.
    pub fn length(&self) -> u64 {
        fs::metadata(&self.transcript).map_or(0, |file| file.len())
    }

    /// Whether the run was asked to stop more than once.
    pub fn is_interrupted_again(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst) > 1
    }

    /// A step with the transcript. An interruption ends it, and so does the end of the time.
    pub fn run(&self, step: &str, stack: &Path, arguments: &[&str]) -> Result<Ended, Failure> {
        self.step(step, stack, arguments, true, Limits { allowed: 0, deadline: Some(self.deadline) })
    }

    /// The same without the transcript.
    pub fn plain(&self, step: &str, stack: &Path, arguments: &[&str]) -> Result<Ended, Failure> {
        self.step(step, stack, arguments, false, Limits { allowed: 0, deadline: Some(self.deadline) })
    }

    /// A step that runs after an interruption, too. Only a further one ends it.
    pub fn always(&self, step: &str, stack: &Path, arguments: &[&str]) -> Result<Ended, Failure> {
        let allowed = self.interrupted.load(Ordering::SeqCst);
        self.step(step, stack, arguments, true, Limits { allowed, deadline: None })
    }

    #[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
    fn step(
        &self,
        step: &str,
        stack: &Path,
        arguments: &[&str],
        is_recorded: bool,
        limits: Limits,
    ) -> Result<Ended, Failure> {
        if self.interrupted.load(Ordering::SeqCst) > limits.allowed {
            return Err(format!("{step}: interrupted before it began").into());
        }
        println!("{step} …");
        let mut command = Command::new(&self.program);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(arguments).arg(stack).stdin(Stdio::null()).stdout(Stdio::piped());
        // Ctrl-C in the terminal reaches this process only, which passes it on once.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        if is_recorded {
            command.arg("--transcript").arg(&self.transcript);
        }
        let begin = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("{step}: `trunnion` did not start: {error}"))?;
        let output = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = output.map(|mut output| std::io::Read::read_to_end(&mut output, &mut bytes));
            read.transpose().map(|_| bytes)
        });
        let status = self.wait(&mut child, limits)?;
        let stdout = reader.join().map_err(|_| "the output of a step was lost")??;
        let code = status.code();
        // With `--detailed-exitcode`, 2 means that the plan has changes.
        if code == Some(0) || (code == Some(2) && arguments.contains(&"--detailed-exitcode")) {
            println!("{step}: done in {:.1} s", begin.elapsed().as_secs_f64());
            return Ok(Ended { stdout });
        }
        let typed = arguments.join(" ");
        let why = match code {
            _ if limits.is_over() => "the time of this run is over".to_owned(),
            Some(130) => "interrupted".to_owned(),
            Some(code) => format!("`trunnion {typed}` ended with exit code {code}"),
            None => format!("`trunnion {typed}` was killed"),
        };
        Err(format!("{step}: {why}").into())
    }

    fn wait(&self, child: &mut Child, limits: Limits) -> Result<ExitStatus, Failure> {
        let mut passed = limits.allowed;
        let mut is_late = false;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            let asked = self.interrupted.load(Ordering::SeqCst);
            let ends_now = limits.is_over() && !is_late;
            if asked > passed || ends_now {
                passed = passed.max(asked);
                is_late |= ends_now;
                // It finishes its running steps and saves the state. A second signal ends it at once.
                let _ = kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT);
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Counts Ctrl-C, SIGTERM and SIGHUP from now on.
#[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
fn listen(interrupted: &Arc<AtomicU32>) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(entered);
    let interrupted = Arc::clone(interrupted);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                interrupted.fetch_add(1, Ordering::SeqCst);
                eprintln!("Interrupted: the running step ends, then everything is destroyed. Wait for the end.");
            }
        });
    });
    Ok(())
}
