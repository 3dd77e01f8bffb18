//! Commands and services of a stage, with their exit codes and output.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::namespace::Namespace;
use crate::Failure;

/// The result of a command.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// The command, for messages.
    pub(crate) command: String,
    /// Its exit code; 128 and more if a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Runs a command to its end, with this standard input.
    pub(crate) fn of(mut command: Command, what: String, input: &str) -> Result<Self, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`{what}` did not start: {error}"))?;
        if let Some(mut stdin) = child.stdin.take()
            && let Err(error) = stdin.write_all(input.as_bytes())
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(error.into());
        }
        let output = child.wait_with_output()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self { command: what, code: code(output.status), stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    /// Itself if the exit code is 0, otherwise an error.
    pub(crate) fn succeeded(self) -> Result<Self, Failure> {
        self.ended_with(0)
    }

    /// Itself if the exit code is this one, otherwise an error.
    pub(crate) fn ended_with(self, code: i32) -> Result<Self, Failure> {
        if self.code == code { Ok(self) } else { Err(self.to_string().into()) }
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Result<serde_json::Value, Failure> {
        Ok(serde_json::from_str(&self.stdout).map_err(|error| format!("{self}\nis no JSON: {error}"))?)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, stdout, stderr } = self;
        write!(f, "`{command}` ended with {code}\nstdout: {stdout}\nstderr: {stderr}")
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// A command that keeps running, with its output in files and a socket for its notifications, as a service manager provides.
#[derive(Debug)]
pub(crate) struct Service {
    command: String,
    child: Child,
    output: TempDir,
    notices: UnixDatagram,
    /// The notifications so far.
    notified: Vec<String>,
}

impl Service {
    pub(crate) fn start(mut command: Command, what: String, host: &Namespace) -> Result<Self, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("trunnion-notify-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // An abstract socket: no mount hides it, and its name belongs to the network namespace.
        let notices = host.inside(|| UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?))??;
        let output = tempfile::tempdir()?;
        let child = command
            .env("NOTIFY_SOCKET", format!("@{name}"))
            .stdin(Stdio::null())
            .stdout(file(output.path().join("stdout"))?)
            .stderr(file(output.path().join("stderr"))?)
            .spawn()
            .map_err(|error| format!("`{what}` did not start: {error}"))?;
        Ok(Self { command: what, child, output, notices, notified: Vec::new() })
    }

    /// The process id of the program itself.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a notification such as `READY=1`, which may already have arrived.
    pub(crate) fn wait_for_notice(&mut self, line: &str, patience: Duration) -> Result<(), Failure> {
        let end = Instant::now() + patience;
        let mut buffer = [0; 4096];
        while !self.notified.iter().any(|notified| notified.starts_with(line)) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.is_running()? {
                return Err(format!("{} has not notified {line}", self.output()?).into());
            }
            // A short timeout, so that the end of the process is noticed.
            self.notices.set_read_timeout(Some(left.min(Duration::from_millis(100))))?;
            match self.notices.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                    self.notified.extend(text.lines().map(str::to_owned));
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn is_running(&mut self) -> Result<bool, Failure> {
        Ok(self.child.try_wait()?.is_none())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self, patience: Duration) -> Result<Ended, Failure> {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let (stdout, stderr) = self.said()?;
                return Ok(Ended { command: self.command.clone(), code: code(status), stdout, stderr });
            }
            if Instant::now() > end {
                return Err(format!("{} does not end", self.output()?).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its standard output and error so far.
    pub(crate) fn said(&self) -> Result<(String, String), Failure> {
        let read = |name: &str| fs::read(self.output.path().join(name));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((text(read("stdout")?), text(read("stderr")?)))
    }

    fn output(&self) -> Result<String, Failure> {
        let (stdout, stderr) = self.said()?;
        Ok(format!("`{}`\nstdout: {stdout}\nstderr: {stderr}\n", self.command))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The process may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "what a service says, kept in a temporary folder")]
fn file(path: PathBuf) -> io::Result<File> {
    File::create(path)
}
