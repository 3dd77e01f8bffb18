//! The machine: qemu, its console and its power button.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::image::Image;
use crate::{Failure, kernel::namespace::Namespace};

/// The memory and processors of the instance type `c7i.large`.
const MEMORY_MIB: &str = "4096";
const PROCESSORS: &str = "2";

const KERNEL_ARGUMENTS: &str = "root=/dev/vda rw console=ttyS0 panic=-1 systemd.log_color=0 systemd.show_status=error";

/// qemu ends with this process, even if this one is killed.
const QEMU: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"];

/// How qemu runs the machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// By KVM, on this machine's processor.
    Kvm,
    /// By emulation.
    Tcg,
}

impl Accelerator {
    /// The first one with which a kernel prints its first line. The file `/dev/kvm` is not enough: on some virtual
    /// hosts it exists but machines hang.
    pub(super) fn find(image: &Image) -> Result<Self, Failure> {
        if !Path::new("/dev/kvm").exists() {
            return Ok(Self::Tcg);
        }
        // Without a root file system the kernel panics, and qemu ends instead of restarting.
        let tried = Command::new("timeout")
            .args(["--signal=KILL", "15", "qemu-system-x86_64", "-m", "512", "-kernel"])
            .arg(&image.kernel)
            .args(Self::Kvm.arguments())
            .args(["-append", "console=ttyS0 panic=-1", "-serial", "stdio"])
            .args(["-display", "none", "-monitor", "none", "-net", "none", "-no-reboot"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        let boots = tried.status.success() && String::from_utf8_lossy(&tried.stdout).contains("Linux version");
        Ok(if boots { Self::Kvm } else { Self::Tcg })
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            // A nested host may offer this feature although it does not work.
            Self::Kvm => &["-accel", "kvm", "-cpu", "max,-arch-capabilities"],
            Self::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

/// A running machine. Dropping it ends qemu.
#[derive(Debug)]
pub(super) struct Machine {
    qemu: Child,
    console: Arc<Console>,
    log: PathBuf,
    monitor: PathBuf,
}

/// The hardware of a machine.
#[derive(Debug)]
pub(super) struct Hardware<'a> {
    pub(super) image: &'a Image,
    pub(super) accelerator: Accelerator,
    /// The root file system.
    pub(super) disk: &'a Path,
    /// `NoCloud`'s disk.
    pub(super) seed: Option<&'a Path>,
    /// The tap of each network interface and its MAC address.
    pub(super) interfaces: Vec<(String, String)>,
    /// Additional kernel arguments.
    pub(super) kernel_arguments: &'a str,
}

#[derive(Debug, Default)]
struct Console {
    /// The lines so far, and whether the output has ended.
    said: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

impl Console {
    fn said(&self) -> MutexGuard<'_, (Vec<String>, bool)> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine {
    /// Starts a machine in the namespace with its taps. The console is also written to `log`.
    #[expect(clippy::disallowed_methods, reason = "the console's log, in the target folder")]
    pub(super) fn start(namespace: &Namespace, hardware: &Hardware<'_>, log: &Path) -> Result<Self, Failure> {
        let monitor = hardware.disk.with_extension("monitor");
        let mut command = namespace.command(&QEMU);
        command
            .args(hardware.accelerator.arguments())
            .args(["-m", MEMORY_MIB, "-smp", PROCESSORS, "-display", "none", "-serial", "stdio", "-no-reboot"])
            .arg("-monitor")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .arg("-kernel")
            .arg(&hardware.image.kernel)
            .arg("-initrd")
            .arg(&hardware.image.initrd)
            .args(["-append", &format!("{KERNEL_ARGUMENTS} {}", hardware.kernel_arguments)])
            .arg("-drive")
            .arg(format!("file={},format=raw,if=virtio,cache=unsafe", hardware.disk.display()))
            // sshd's keys need entropy, which nothing else provides.
            .args(["-device", "virtio-rng-pci"]);
        if let Some(seed) = hardware.seed {
            command.arg("-drive").arg(format!("file={},format=raw,if=virtio,readonly=on", seed.display()));
        }
        for (number, (tap, mac)) in hardware.interfaces.iter().enumerate() {
            command.args(["-netdev", &format!("tap,id=net{number},ifname={tap},script=no,downscript=no")]);
            command.args(["-device", &format!("virtio-net-pci,netdev=net{number},mac={mac}")]);
        }
        let mut written = File::create(log)?;
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(written.try_clone()?)
            .spawn()
            .map_err(|error| format!("qemu does not start: {error}"))?;
        let console = Arc::new(Console::default());
        let stdout = qemu.stdout.take().ok_or("qemu has no console")?;
        let listening = Arc::clone(&console);
        thread::spawn(move || {
            // Ends with qemu. If the log cannot be written, the lines are still available.
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let _ = written.write_all(&line).and_then(|()| written.write_all(b"\n"));
                listening.said().0.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                listening.more.notify_all();
            }
            listening.said().1 = true;
            listening.more.notify_all();
        });
        Ok(Self { qemu, console, log: log.to_owned(), monitor })
    }

    /// Waits for a console line that contains one of these texts, and returns the lines up to it.
    pub(super) fn wait_for(&self, any: &[&str], patience: Duration) -> Result<Vec<String>, Failure> {
        let end = Instant::now() + patience;
        let mut said = self.console.said();
        loop {
            let is_it = |line: &String| any.iter().any(|text| line.contains(text));
            if let Some(until) = said.0.iter().position(is_it) {
                return Ok(said.0.iter().take(until + 1).cloned().collect());
            }
            let left = end.saturating_duration_since(Instant::now());
            if said.1 || left.is_zero() {
                let why = if said.1 { "the machine ended" } else { "time is up" };
                return Err(format!("{why} before its console said `{}`", any.join("` or `")).into());
            }
            said = self.console.more.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Presses the power button and waits until the machine is off.
    pub(super) fn power_off(mut self, patience: Duration) -> Result<(), Failure> {
        // Held until the machine is off: qemu ignores commands that it has not read when the connection ends.
        let mut monitor = UnixStream::connect(&self.monitor)?;
        monitor.write_all(b"system_powerdown\n")?;
        let end = Instant::now() + patience;
        let mut said = self.console.said();
        while !said.1 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("the machine does not shut down: see {}", self.log.display()).into());
            }
            said = self.console.more.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(said);
        let status = self.qemu.wait()?;
        if status.success() { Ok(()) } else { Err(format!("qemu ended with {status}").into()) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The machine may already be off.
        let _: io::Result<()> = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
