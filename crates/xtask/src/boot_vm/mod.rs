//! `cargo xtask boot-vm`: boots one generator host twice in a virtual machine with its own kernel, systemd, cloud-init and
//! sshd. It uses the boot script that `trunnion` renders, and the binary in the bucket. All tests work from outside, over
//! a network that simulates the VPC.
//!
//! It is separate from `cargo xtask kernel` because it takes minutes and needs qemu. It needs root for the network
//! namespace and its taps.

mod holds;
mod image;
mod machine;
mod vpc;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use self::{
    holds::{Guest, Test},
    image::Image,
    machine::{Accelerator, Hardware, Machine},
    vpc::Vpc,
};
use crate::{Failure, build, generator, kernel, run, target_folder};

/// The programs that it calls, and their Debian packages.
const TOOLS: &[(&str, &str)] = &[
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("mcopy", "mtools"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.vfat", "dosfstools"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("python3", "python3"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("setpriv", "util-linux"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sysctl", "procps"),
    ("timeout", "coreutils"),
    ("unshare", "util-linux"),
];

/// The longest time for a boot if qemu emulates the processor.
const PATIENCE: Duration = Duration::from_mins(15);

/// Boots the machine twice and returns whether all tests passed.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(crate) fn boot_vm() -> Result<bool, Failure> {
    if !cfg!(target_arch = "x86_64") {
        return Err("`boot-vm` boots x86_64 machines with programs built here: run it on x86_64".into());
    }
    kernel::check_tools(TOOLS)?;
    let folder = target_folder().join("boot-vm");
    fs::create_dir_all(&folder)?;
    let image = Image::new(&folder)?;
    eprintln!("Building the command and the static generator …");
    let trunnion = build("dev")?.join("trunnion");
    let generator = generator::build_static("dev")?;
    // Not in memory, because it contains the machine's disk.
    let run = tempfile::tempdir_in(&folder)?;
    let stack = Stack::apply(run.path(), &trunnion, &generator)?;
    let vpc = Vpc::new(&trunnion, &stack.sandbox)?;
    let accelerator = Accelerator::find(&image)?;
    let disk = run.path().join("disk.ext4");
    image.copy_root(&disk)?;
    let seed = image::seed(run.path(), &stack.meta_data()?, &vpc.network_config()?, &stack.user_data)?;
    let guest = Guest { vpc: &vpc, key: &stack.key, config: &stack.config };
    let mut report = Report::default();

    let log = folder.join("console-1.log");
    eprintln!("Booting with {accelerator:?}; the console is {} …", log.display());
    let hardware = Hardware {
        image: &image,
        accelerator,
        disk: &disk,
        seed: Some(&seed),
        interfaces: vpc.taps(),
        kernel_arguments: "",
    };
    let machine = Machine::start(vpc.namespace(), &hardware, &log)?;
    report.test("cloud_init_ends_without_error", &log, || guest.cloud_init_ended(&machine));
    report.tests("first_boot", holds::ALWAYS, &guest, &log);
    report.tests("first_boot", holds::DAMAGE, &guest, &log);
    guest.keep_journal(&folder.join("journal-1.log"));

    let log = folder.join("console-2.log");
    eprintln!("Booting again, without cloud-init; the console is {} …", log.display());
    report.test("the_machine_shuts_down", &log, || machine.power_off(PATIENCE));
    let hardware = Hardware { seed: None, kernel_arguments: "cloud-init=disabled", ..hardware };
    let _machine = Machine::start(vpc.namespace(), &hardware, &log)?;
    report.test("second_boot_is_healthy", &log, || guest.becomes_healthy(PATIENCE));
    report.tests("second_boot", holds::ALWAYS, &guest, &log);
    guest.keep_journal(&folder.join("journal-2.log"));
    println!("{} passed, {} failed", report.passed, report.failed);
    Ok(report.failed == 0)
}

/// The numbers of passed and failed tests.
#[derive(Debug, Default)]
struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    #[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
    fn test(&mut self, name: &str, console: &Path, test: impl FnOnce() -> Result<(), Failure>) {
        match test() {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok");
            }
            Err(failure) => {
                self.failed += 1;
                println!("test {name} ... FAILED\n{failure}\nthe console is {}\n", console.display());
            }
        }
    }

    fn tests(&mut self, boot: &str, tests: &[Test], guest: &Guest<'_>, console: &Path) {
        for (name, test) in tests {
            self.test(&format!("{boot}::{name}"), console, || test(guest));
        }
    }
}

/// A stack of one host, applied to a sandbox.
#[derive(Debug)]
struct Stack {
    /// The data folder of the sandbox, with the generator in its bucket.
    sandbox: PathBuf,
    user_data: String,
    /// The config in the user data.
    config: trunnion_host::Config,
    key: PathBuf,
}

impl Stack {
    fn apply(folder: &Path, trunnion: &Path, generator: &Path) -> Result<Self, Failure> {
        let key = folder.join("key");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "gatling", "-f"]).arg(&key))?;
        let file = folder.join("stack.yaml");
        let text = format!(
            "stack: machine\n\
             region: eu-west-3\n\
             account: \"123456789012\"\n\
             generator: {{ java: 17, binary: {:?} }}\n\
             pools:\n\
             \x20 one: {{ instance_type: c7i.large, count: 1, zone: eu-west-3a, interfaces: 3, addresses: {} }}\n\
             control_plane:\n\
             \x20 image: gatlingcorp/control-plane:2026.42.2\n\
             \x20 token: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf\n\
             \x20 ssh:\n\
             \x20   user: gatling\n\
             \x20   private_key: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/ssh-AbCdEf\n\
             \x20   public_key: {}\n\
             locations:\n\
             \x20 prl_one: {{ pool: one }}\n",
            generator.display().to_string(),
            vpc::ADDRESSES,
            public(&key)?
        );
        write(&file, &text)?;
        let apply = Command::new(trunnion)
            .args(["apply", "--sandbox", "--yes", "--allow-file"])
            .args([generator, &file])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("`trunnion apply` does not start: {error}"))?;
        if !apply.status.success() {
            return Err(format!("`trunnion apply` fails: {}", String::from_utf8_lossy(&apply.stderr)).into());
        }
        let boot = Command::new(trunnion).args(["render", "boot"]).arg(&file).stderr(Stdio::inherit()).output()?;
        if !boot.status.success() {
            return Err("`trunnion render boot` fails".into());
        }
        let user_data = String::from_utf8(boot.stdout)?;
        let config = config(&user_data).ok_or("the user data has no config in it")?;
        let config = trunnion_host::Config::parse(&config)?;
        Ok(Self { sandbox: folder.join(".trunnion/sandbox"), user_data, config, key })
    }

    /// The instance and the key of its default user, in EC2's format.
    fn meta_data(&self) -> Result<String, Failure> {
        let document = serde_json::json!({
            "instance-id": "i-0123456789abcdef0",
            "local-hostname": "generator",
            "public-keys": [public(&self.key)?],
        });
        Ok(document.to_string())
    }
}

/// The config in the user data: it starts and ends with a line that contains only a brace.
fn config(user_data: &str) -> Option<String> {
    let lines: Vec<_> = user_data.lines().skip_while(|line| *line != "{").collect();
    let end = lines.iter().position(|line| *line == "}")?;
    Some(lines.get(..=end)?.join("\n"))
}

/// The public key of a key pair.
fn public(key: &Path) -> Result<String, Failure> {
    Ok(fs::read_to_string(key.with_extension("pub"))?.trim().to_owned())
}

#[expect(clippy::disallowed_methods, reason = "what the machine is made of, in the target folder")]
fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)
}
