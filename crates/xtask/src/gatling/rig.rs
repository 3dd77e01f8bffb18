//! Gatling's libraries, and the stage on which it runs: a host with sixteen addresses, and a target that counts the connections
//! of each source address.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{Resource, getrlimit},
    signal::Signal,
};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use trunnion_host::{Connections, Ports};

use crate::{
    Failure,
    kernel::{
        check::listen,
        command::Service,
        ensure,
        stage::{Stage, StageOptions, target_ipv4},
    },
    maven, root, run, target_folder,
};

const INTERFACES: usize = 4;
const ADDRESSES_OF_EACH: u8 = 4;
pub(super) const ADDRESSES: u64 = 16;

/// The folder of Gatling on the host.
const FOLDER: &str = "/usr/local/share/gatling";
const USER: &str = "gatling";
const PATIENCE: Duration = Duration::from_mins(1);

/// How much longer than its simulation Gatling may run.
const GRACE: Duration = Duration::from_secs(90);

/// The password of a key that exists only for a test.
const PASSWORD: &str = "gatling";

/// Gatling's event loops have these thread names, and the target's those.
const LOOPS: [&str; 2] = ["gatling-1-", "target-"];

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on, Ctrl-C and SIGTERM do not end this process: [`interrupted`] returns an error, so that everything is removed.
#[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(crate) fn stop_at_signals() {
    thread::spawn(|| {
        let waiting = async {
            let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            Ok::<_, io::Error>(())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime.and_then(|runtime| runtime.block_on(waiting)) {
            Ok(()) => INTERRUPTED.store(true, Ordering::Relaxed),
            Err(error) => eprintln!("warning: signals are not handled: {error}"),
        }
    });
}

/// An error after Ctrl-C or SIGTERM.
pub(super) fn interrupted() -> Result<(), Failure> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}

/// Downloads the libraries unless they are there, compiles, and makes a key for TLS. Returns the folder.
#[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(super) fn prepare() -> Result<PathBuf, Failure> {
    let (sources, folder) = (root().join("tests/gatling"), target_folder().join("gatling"));
    let at = |name: &str| folder.join(name);
    let remove = |path: PathBuf| match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    maven::libraries(&sources.join("pom.xml"), &at("lib"))?;
    interrupted()?;
    eprintln!("Compiling the simulations and their target …");
    remove(at("classes"))?;
    let mut compiler = Command::new("javac");
    compiler.arg("-cp").arg(at("lib/*")).arg("-d").arg(at("classes"));
    run(compiler.args([sources.join("Simulations.java"), sources.join("Target.java")]))?;
    fs::copy(sources.join("logback.xml"), at("classes/logback.xml"))?;
    run(Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .arg(at("fdtables.so"))
        .arg(sources.join("fdtables.c")))?;
    if !at("key.p12").exists() {
        let options = "-genkeypair -alias target -keyalg EC -groupname secp256r1 -dname CN=target -validity 3650 -storetype PKCS12";
        let mut keytool = Command::new("keytool");
        keytool.args(options.split(' ')).args(["-storepass", PASSWORD, "-keystore"]).arg(at("key.p12"));
        run(keytool.stderr(Stdio::null()))?;
    }
    Ok(folder)
}

/// How many event loops Gatling and the target have, and how much heap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// More than 0 if each event loop needs a table of descriptors of its own.
    pub(super) tables: u64,
    pub(super) gatling_mib: u64,
    pub(super) target_mib: u64,
}

impl Sizes {
    /// For this number of users beyond 20,000.
    pub(super) fn of(users: u64) -> Result<Self, Failure> {
        let limit = getrlimit(Resource::RLIMIT_NOFILE)?.1;
        // The kernel distributes connections over the target's sockets by chance, so the tables are not filled completely.
        let of_each = limit / 5 * 4;
        let tables = if users < of_each { 0 } else { users.div_ceil(of_each) };
        Ok(Self { tables, gatling_mib: 512 + users * 7 / 1_024, target_mib: 256 + users * 4 / 1_024 })
    }
}

/// A simulation and its numbers. Times are in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load<'a> {
    pub(super) simulation: &'a str,
    pub(super) users: u64,
    pub(super) tls: bool,
    pub(super) ramp: u64,
    pub(super) hold: u64,
    pub(super) pause_millis: u64,
}

/// What a target counted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) websockets: u64,
    /// The largest number of connections that were open at once.
    pub(super) most: u64,
    /// The connections of each source: all, and those that are open.
    pub(super) sources: BTreeMap<Ipv4Addr, (u64, u64)>,
}

impl Counts {
    pub(super) fn open(&self) -> u64 {
        self.sources.values().map(|(_, open)| open).sum()
    }
}

/// A target, and Gatling that runs against it.
pub(super) struct Running {
    pub(super) gatling: Service,
    target: Service,
    port: u16,
}

/// A host on which Gatling runs as the SSH user.
pub(super) struct Rig {
    // Before the stage, so that they end first.
    service: Option<Service>,
    _sshd: Service,
    stage: Stage,
    files: PathBuf,
    sizes: Sizes,
    /// The port of the next target: no run meets connections of an earlier one.
    port: u16,
}

impl Rig {
    pub(super) fn new(files: &Path, ports: Ports, sizes: Sizes) -> Result<Self, Failure> {
        let options = StageOptions { targets: 1, ..StageOptions::one_subnet(INTERFACES, ADDRESSES_OF_EACH) };
        let stage = Stage::new(options)?;
        let sshd = listen(&stage)?;
        let connections = ADDRESSES * ports.count();
        stage.config(|config| {
            config.ports = ports;
            config.connections = Connections { per_destination: connections, total: connections };
        })?;
        stage.generator(&["setup"])?.succeeded()?;
        stage.target(0)?.sysctl(&["net.core.somaxconn=65535", "net.ipv4.tcp_max_syn_backlog=65535"])?;
        for folder in ["lib", "classes"] {
            stage.make_folder(&format!("{FOLDER}/{folder}"))?;
            for file in fs::read_dir(files.join(folder))? {
                let file = file?;
                fs::copy(file.path(), stage.path(FOLDER).join(folder).join(file.file_name()))?;
            }
        }
        fs::copy(files.join("fdtables.so"), stage.path(FOLDER).join("fdtables.so"))?;
        // There is no DNS server, and Gatling would wait for one.
        stage.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")?;
        Ok(Self { service: None, _sshd: sshd, stage, files: files.into(), sizes, port: 7_000 })
    }

    pub(super) fn start_service(&mut self) -> Result<(), Failure> {
        let with_parent = ["setpriv", "--pdeathsig", "KILL", crate::kernel::stage::GENERATOR, "run"];
        let mut service = self.stage.start(&with_parent)?;
        service.wait_for_notice("READY=1", PATIENCE)?;
        self.service = Some(service);
        Ok(())
    }

    /// Stops the service, and removes the program that it attached.
    pub(super) fn stop_service(&mut self) -> Result<(), Failure> {
        if let Some(service) = self.service.take() {
            service.signal(Signal::SIGTERM)?;
            service.wait(PATIENCE)?.succeeded()?;
            self.stage.generator(&["spread", "--detach"])?.succeeded()?;
        }
        Ok(())
    }

    /// Starts a new target, and Gatling.
    pub(super) fn start(&mut self, load: &Load) -> Result<Running, Failure> {
        let port = self.port;
        self.port += 3;
        let namespace = self.stage.target(0)?;
        let address = target_ipv4(0).to_string();
        let at = |name: &str| self.files.join(name).display().to_string();
        let loops = if self.sizes.tables > 0 { self.sizes.tables } else { 2 };
        let arguments = [&address, &port.to_string(), &loops.to_string(), &at("key.p12"), PASSWORD].map(str::to_owned);
        let mut command = java(LOOPS[1], self.sizes.tables, self.sizes.target_mib, &self.files.display().to_string());
        command.push("Target".into());
        command.extend(arguments);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut target = Service::start(namespace.command(&command), "the target".into(), namespace)?;
        let end = Instant::now() + PATIENCE;
        while self.counts(port).is_err() {
            interrupted()?;
            ensure!(target.is_running()? && Instant::now() < end, "the target does not start: {:?}", target.said()?);
            thread::sleep(Duration::from_millis(50));
        }

        let mut command = java(LOOPS[0], self.sizes.tables, self.sizes.gatling_mib, FOLDER);
        if self.sizes.tables > 0 {
            command.push(format!("-Dio.netty.eventLoopThreads={}", self.sizes.tables));
        }
        let destination = SocketAddr::from((target_ipv4(0), if load.tls { port + 1 } else { port }));
        command.push("--add-opens=java.base/java.lang=ALL-UNNAMED".into());
        command.push(format!("-Dtarget={destination}"));
        command.push(format!("-Dusers={}", load.users));
        command.push(format!("-Dramp={}", load.ramp));
        command.push(format!("-Dhold={}", load.hold));
        command.push(format!("-Dpause={}", load.pause_millis));
        let simulation = format!("Simulations${}", load.simulation);
        let run = ["io.gatling.app.Gatling", "-s", &simulation, "-nr", "-rf", "/tmp/results"];
        let command: Vec<&str> = command.iter().map(String::as_str).chain(run).collect();
        let gatling = self.stage.start_as_user(USER, &command)?;
        Ok(Running { gatling, target, port })
    }

    /// Runs a simulation to its end, and returns what the target counted.
    pub(super) fn run(&mut self, load: &Load) -> Result<Counts, Failure> {
        let mut running = self.start(load)?;
        let end = Instant::now() + Duration::from_secs(load.ramp + load.hold) + GRACE;
        while running.gatling.is_running()? {
            interrupted()?;
            ensure!(Instant::now() < end, "Gatling does not end: {}", complaint(&running.gatling.said()?.0));
            thread::sleep(Duration::from_millis(100));
        }
        let ended = running.gatling.wait(PATIENCE)?;
        // The last connections may still be in the target's queue.
        let mut counts = self.counts(running.port)?;
        loop {
            thread::sleep(Duration::from_millis(200));
            let now = self.counts(running.port)?;
            if now == counts {
                break;
            }
            counts = now;
        }
        drop(running.target);
        ensure!(ended.code == 0, "Gatling ended with {}: {}", ended.code, complaint(&ended.stdout));
        Ok(counts)
    }

    /// What the target counted so far.
    pub(super) fn counted(&self, running: &Running) -> Result<Counts, Failure> {
        self.counts(running.port)
    }

    /// Calls `jcmd` as Gatling's user.
    pub(super) fn ask_jvm(&self, arguments: &[&str]) -> Result<String, Failure> {
        Ok(self.stage.as_user(USER, &[&["jcmd"], arguments].concat())?.succeeded()?.stdout)
    }

    fn counts(&self, port: u16) -> Result<Counts, Failure> {
        let (_, body) = self.stage.router().get(target_ipv4(0), port + 2, "/")?;
        Ok(serde_json::from_str(&body)?)
    }

    /// Describes the connections of each address: an error unless the host's addresses have equally many.
    pub(super) fn evenness(&self, of: impl Iterator<Item = (Ipv4Addr, u64)>) -> Result<String, Failure> {
        let of: BTreeMap<Ipv4Addr, u64> = of.collect();
        let total: u64 = of.values().sum();
        let (least, most) = (of.values().min().unwrap_or(&0), of.values().max().unwrap_or(&0));
        let ideal = total / ADDRESSES..=total.div_ceil(ADDRESSES);
        let mut addresses = self.stage.addresses();
        addresses.sort_unstable();
        ensure!(
            of.keys().eq(&addresses) && ideal.contains(least) && ideal.contains(most),
            "{} of {ADDRESSES} addresses opened {total} connections, each {least} to {most}",
            of.len()
        );
        Ok(format!("{total} connections, {least} to {most} from each of {ADDRESSES} addresses"))
    }
}

/// The start of a command that runs a JVM, which ends with this process.
fn java(threads: &str, tables: u64, heap_mib: u64, folder: &str) -> Vec<String> {
    let mut command: Vec<String> = ["setpriv", "--pdeathsig", "KILL", "env"].map(str::to_owned).into();
    if tables > 0 {
        command.extend([format!("LD_PRELOAD={folder}/fdtables.so"), format!("FDTABLES={threads}")]);
    }
    command.extend([
        "java".into(),
        format!("-Xmx{heap_mib}m"),
        "-cp".into(),
        format!("{folder}/classes:{folder}/lib/*"),
    ]);
    command
}

/// The most telling line of what Gatling printed: its first error.
pub(super) fn complaint(said: &str) -> &str {
    let tells = |line: &&str| line.starts_with("> ") && line.contains("Exception") || line.contains(" : false");
    said.lines().find(tells).or_else(|| said.lines().last()).unwrap_or_default().trim()
}
