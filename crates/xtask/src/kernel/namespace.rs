//! A network namespace, and for a host also mounts and a cgroup of its own. A small process holds it; that process ends
//! with this one, whatever ends this one, and the kernel takes away the rest.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::{PATH, command::Ended};
use crate::Failure;

/// Turns the namespace of mounts into a machine of its own: what is written stays in memory and leaves with the namespace.
/// `$1` is the folder that the machine's root shows.
const MACHINE: &str = r#"
set -e
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
cd /mnt/root
mkdir -p dev proc sys run mnt
mount --rbind /dev dev
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs run
pivot_root . mnt
cd /
umount -l /mnt
"#;
/// Says that it stands, and then holds it until the other end of its standard input is closed.
const HOLD: &str = "echo ready\nexec cat";

/// A namespace and the process that holds it.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    holder: Child,
    /// The host's control group, as this process sees it.
    cgroup: Option<PathBuf>,
}

impl Namespace {
    /// A network namespace alone.
    pub(crate) fn network(name: &str) -> Result<Self, Failure> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", HOLD]);
        Self::hold(name, command, None)
    }

    /// A machine: network, mounts and control group of its own, on the files of `root`.
    pub(crate) fn machine(name: &str, root: &Path, cgroup: PathBuf) -> Result<Self, Failure> {
        std::fs::create_dir(&cgroup).map_err(|error| format!("cannot make {}: {error}", cgroup.display()))?;
        let mut command = within(&cgroup);
        command.args(["unshare", "--net", "--mount", "--cgroup", "sh", "-c"]);
        command.arg(format!("{MACHINE}{HOLD}")).arg("sh").arg(root);
        Self::hold(name, command, Some(cgroup))
    }

    fn hold(name: &str, mut command: Command, cgroup: Option<PathBuf>) -> Result<Self, Failure> {
        let mut holder =
            command.env("PATH", PATH).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut ready = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut ready)?;
        }
        if ready != "ready\n" {
            let mut why = String::new();
            if let Some(mut stderr) = holder.stderr.take() {
                stderr.read_to_string(&mut why)?;
            }
            holder.wait()?;
            return Err(format!("the namespace of the {name} does not come about: {why}").into());
        }
        let namespace = Self { name: name.to_owned(), holder, cgroup };
        namespace.ip("link set lo up\n")?;
        Ok(namespace)
    }

    /// The holder's process id, by which `ip` knows the namespace too.
    pub(crate) fn id(&self) -> u32 {
        self.holder.id()
    }

    /// Where this process sees a file of the machine.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.id())).join(path.trim_start_matches('/'))
    }

    /// A command in the namespace, with an environment of its own. The process that is started becomes the program.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.cgroup {
            Some(cgroup) => {
                let mut command = within(cgroup);
                command.args(["nsenter", "--mount", "--cgroup"]);
                command
            }
            None => Command::new("nsenter"),
        };
        command.arg("--net").arg("--target").arg(self.id().to_string()).arg("--").args(arguments);
        command.env_clear().env("PATH", PATH).env("HOME", "/root").env("LC_ALL", "C");
        command
    }

    /// Runs a command to its end, which it must come to within two minutes.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Ended, Failure> {
        self.run_with(arguments, "")
    }

    /// The same, with this on its standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Result<Ended, Failure> {
        let bounded: Vec<_> = ["timeout", "--kill-after=5", "120"].iter().chain(arguments).copied().collect();
        Ended::of(self.command(&bounded), format!("{} ({})", arguments.join(" "), self.name), input)
    }

    /// Commands for `ip`, one in a line.
    pub(crate) fn ip(&self, lines: &str) -> Result<(), Failure> {
        self.run_with(&["ip", "-batch", "-"], lines)?.succeeded().map_err(|error| format!("{error}\nof\n{lines}"))?;
        Ok(())
    }

    /// Sets kernel values, as in `net.ipv4.ip_forward=1`.
    pub(crate) fn sysctl(&self, values: &[&str]) -> Result<(), Failure> {
        let arguments: Vec<_> = ["sysctl", "-q", "-w"].iter().chain(values).copied().collect();
        self.run(&arguments)?.succeeded().map(drop)
    }

    /// Does something in a thread that is in the namespace: a socket made there stays in it.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
        let network = File::open(format!("/proc/{}/ns/net", self.id()))?;
        let entered =
            thread::scope(|scope| scope.spawn(|| setns(network, CloneFlags::CLONE_NEWNET).map(|()| work())).join());
        Ok(entered.map_err(|_| "a thread in a namespace panicked")??)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // All of this may have ended by itself.
        if let Some(cgroup) = &self.cgroup {
            let _ = super::stage::remove_cgroup(cgroup);
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The beginning of a command whose process moves into a control group first.
fn within(cgroup: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec \"$@\""]).arg(cgroup);
    command
}
