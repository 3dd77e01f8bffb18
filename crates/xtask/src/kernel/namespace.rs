//! A network namespace; for a host also a mount namespace and a cgroup. A small process holds it. That process ends
//! with this one, even if this one is killed, and then the kernel removes the namespace.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};

use super::{PATH, command::Ended};
use crate::Failure;

/// The first line of every holder: reads its process ID, as this process sees it.
const NAMED: &str = "read -r id rest < /proc/self/stat\n";

/// Turns the mount namespace into a separate machine: written files stay in memory and are removed with the namespace.
/// `$1` is the folder that becomes the machine's root.
const MACHINE: &str = r#"
set -e
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
cd /mnt/root
mkdir -p dev proc sys run mnt
mount -t tmpfs -o mode=755 tmpfs dev
for node in full null random tty urandom zero; do
  touch dev/$node
  mount --bind /dev/$node dev/$node
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs run
# What a boot creates for sshd, if it is installed: without this folder, it does not even check its configuration.
mkdir run/sshd
pivot_root . mnt
cd /
umount -l /mnt
"#;
/// Reports that the namespace is ready, and holds it until standard input is closed.
const HOLD: &str = "echo \"ready $id\"\nexec cat";
/// Also starts systemd, which ends when its control group is removed.
const BOOT: &str = "echo \"ready $id\"\nexec env -i container=trunnion /lib/systemd/systemd > /dev/null 2>&1";

/// A namespace and the process that holds it.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    holder: Child,
    /// A process in the namespace, by which `ip` and `nsenter` find it.
    id: u32,
    /// The namespaces that a command enters besides the network namespace.
    enters: &'static [&'static str],
    /// A machine's control group, as this process sees it.
    cgroup: Option<PathBuf>,
    /// The control group of commands that are started from outside.
    visitors: Option<PathBuf>,
}

impl Namespace {
    /// A network namespace alone.
    pub(crate) fn network(name: &str) -> Result<Self, Failure> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c"]).arg(format!("{NAMED}{HOLD}"));
        Self::hold(name, command, None, &[])
    }

    /// A machine: its own network, mounts and control group, with the files of `root`.
    pub(crate) fn machine(name: &str, root: &Path, cgroup: &Path) -> Result<Self, Failure> {
        fs::create_dir(cgroup).map_err(|error| format!("cannot make {}: {error}", cgroup.display()))?;
        let mut command = within(cgroup);
        command.args(["unshare", "--net", "--mount", "--cgroup", "sh", "-c"]);
        command.arg(format!("{NAMED}{MACHINE}{HOLD}")).arg("sh").arg(root);
        Self::hold(name, command, Some(cgroup), &["--mount", "--cgroup"])
    }

    /// A machine with systemd, but without its own kernel.
    pub(crate) fn booted_machine(name: &str, root: &Path, cgroup: &Path) -> Result<Self, Failure> {
        fs::create_dir(cgroup).map_err(|error| format!("cannot make {}: {error}", cgroup.display()))?;
        let mut command = Command::new("unshare");
        // The waiting process stays outside of the control group, which must be empty for systemd.
        command.args(["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "sh", "-c"]);
        command.arg(r#"echo 0 > "$1/cgroup.procs" && exec unshare --cgroup sh -c "$2" sh "$3""#);
        command.arg("sh").arg(cgroup).arg(format!("{NAMED}{MACHINE}{BOOT}")).arg(root);
        let enters = &["--mount", "--cgroup", "--pid", "--uts", "--ipc"];
        let mut machine = Self::hold(name, command, Some(cgroup), enters)?;
        let visitors = cgroup.join("visitors");
        fs::create_dir(&visitors)?;
        machine.visitors = Some(visitors);
        machine.wait_until_booted()?;
        Ok(machine)
    }

    fn wait_until_booted(&self) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            // systemd may not listen yet.
            let state = self.run(&["systemctl", "is-system-running", "--wait"])?;
            match state.stdout.trim() {
                "running" => return Ok(()),
                "degraded" => {
                    let failed = self.run(&["systemctl", "--failed", "--no-pager", "--plain"])?;
                    return Err(format!("not every service of the {} started: {failed}", self.name).into());
                }
                _ if Instant::now() > end => return Err(format!("the {} does not boot: {state}", self.name).into()),
                _ => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn hold(
        name: &str,
        mut command: Command,
        cgroup: Option<&Path>,
        enters: &'static [&'static str],
    ) -> Result<Self, Failure> {
        let mut holder =
            command.env("PATH", PATH).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut said = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        let Some(id) = said.strip_prefix("ready ").and_then(|id| id.trim().parse().ok()) else {
            let mut why = String::new();
            if let Some(mut stderr) = holder.stderr.take() {
                stderr.read_to_string(&mut why)?;
            }
            holder.wait()?;
            return Err(format!("the namespace of the {name} cannot be created: {why}").into());
        };
        let cgroup = cgroup.map(Path::to_owned);
        let visitors = cgroup.clone();
        let namespace = Self { name: name.to_owned(), holder, id, enters, cgroup, visitors };
        namespace.ip("link set lo up\n")?;
        Ok(namespace)
    }

    /// A process in the namespace, by which `ip` also finds it.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The path of a file of the machine, for this process.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.id())).join(path.trim_start_matches('/'))
    }

    /// A command in the namespace, with a clean environment. The started process becomes the program, except on a booted
    /// machine, which has its own process IDs.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.visitors {
            Some(cgroup) => {
                let mut command = within(cgroup);
                command.arg("nsenter");
                command
            }
            None => Command::new("nsenter"),
        };
        command.args(self.enters).args(["--net", "--target", &self.id.to_string(), "--"]).args(arguments);
        command.env_clear().env("PATH", PATH).env("HOME", "/root").env("LC_ALL", "C");
        command
    }

    /// Runs a command to its end, for at most two minutes.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Ended, Failure> {
        self.run_with(arguments, "")
    }

    /// As [`Namespace::run`], with this standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Result<Ended, Failure> {
        let bounded: Vec<_> = ["timeout", "--kill-after=5", "120"].iter().chain(arguments).copied().collect();
        Ended::of(self.command(&bounded), format!("{} ({})", arguments.join(" "), self.name), input)
    }

    /// Runs commands of `ip`, one per line.
    pub(crate) fn ip(&self, lines: &str) -> Result<(), Failure> {
        self.run_with(&["ip", "-batch", "-"], lines)?.succeeded().map_err(|error| format!("{error}\nof\n{lines}"))?;
        Ok(())
    }

    /// Sets kernel parameters, such as `net.ipv4.ip_forward=1`.
    pub(crate) fn sysctl(&self, values: &[&str]) -> Result<(), Failure> {
        let arguments: Vec<_> = ["sysctl", "-q", "-w"].iter().chain(values).copied().collect();
        self.run(&arguments)?.succeeded().map(drop)
    }

    /// Runs a function in a thread that has entered the namespace. Sockets that it creates stay in the namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
        let network = File::open(format!("/proc/{}/ns/net", self.id))?;
        let entered =
            thread::scope(|scope| scope.spawn(|| setns(network, CloneFlags::CLONE_NEWNET).map(|()| work())).join());
        Ok(entered.map_err(|_| "a thread in a namespace panicked")??)
    }

    /// Asks an address over HTTP, from this namespace: the status and the body.
    pub(crate) fn get(&self, address: Ipv4Addr, port: u16, path: &str) -> Result<(u16, String), Failure> {
        let answer = self.inside(|| -> io::Result<String> {
            let patience = Duration::from_secs(10);
            let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), patience)?;
            stream.set_read_timeout(Some(patience))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })??;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without an end of its head")?;
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("an answer without a status")?;
        Ok((status, body.to_owned()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The process may already have ended.
        if let Some(cgroup) = &self.cgroup {
            let _ = super::stage::remove_cgroup(cgroup);
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A command that first moves its process into a control group.
fn within(cgroup: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec \"$@\""]).arg(cgroup);
    command
}
