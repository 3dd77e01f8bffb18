//! `cargo xtask gatling`: runs unmodified simulations of the real Gatling on a host of the kernel tests, beside the generator's
//! service, and checks at the target that every source address opened equally many connections. Maven downloads Gatling's
//! libraries to `target/gatling`. The simulations and their target are in `tests/gatling`.
//!
//! With `--long`, one JVM holds a million users, and the figures of it and of the service's cost are printed. For these, run
//! nothing else on the machine.

mod long;
mod rig;

pub(crate) use rig::stop_at_signals;

use std::time::{Duration, Instant};

use clap::Args;
use trunnion_host::Ports;

use crate::{
    Failure, generator,
    kernel::{check_tools, ensure, stage},
};
use rig::{Counts, Load, Rig, Sizes};

/// The arguments of `cargo xtask gatling`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Measure one JVM with very many users, and the cost of the service; takes about twenty minutes
    #[arg(long)]
    long: bool,
    /// How many users to hold
    #[arg(long, requires = "long", default_value_t = 1_000_000, value_name = "COUNT")]
    users: u64,
    /// How many users arrive per second
    #[arg(long, requires = "long", default_value_t = 2_000, value_name = "COUNT")]
    rate: u64,
    /// How many pairs of runs without and with the service to measure its cost by
    #[arg(long, requires = "long", default_value_t = 5, value_name = "COUNT")]
    pairs: usize,
    /// Run the simulations without the service, and succeed if every check fails
    #[arg(long, conflicts_with = "long")]
    without_service: bool,
}

/// The programs that are called, and their Debian packages.
const TOOLS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("cc", "gcc"),
    ("ip", "iproute2"),
    ("java", "openjdk-17-jdk-headless"),
    ("javac", "openjdk-17-jdk-headless"),
    ("jcmd", "openjdk-17-jdk-headless"),
    ("keytool", "openjdk-17-jdk-headless"),
    ("mvn", "maven"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("sysctl", "procps"),
    ("timeout", "coreutils"),
    ("unshare", "util-linux"),
    ("useradd", "passwd"),
];

/// The local ports of an address: fewer than any simulation has users.
const PORTS: Ports = Ports { first: 20_000, last: 20_499 };

/// A simulation and the number of its users.
struct Case {
    load: Load<'static>,
    /// Whether every user keeps one connection until the end.
    stay: bool,
}

impl Case {
    const fn new(simulation: &'static str, users: u64, tls: bool, stay: bool) -> Self {
        // Gatling ends at this time even if users still connect. Five seconds were too short for 1,600 TLS handshakes of HTTP/2 on two
        // busy cores (1,139 and 1,498 of them, November 2026).
        let hold = if tls { 26 } else { 5 };
        Self { load: Load { simulation, users, tls, ramp: 4, hold, pause_millis: 1_000 }, stay }
    }
}

/// The users divide by the number of addresses.
const CASES: &[Case] = &[
    Case::new("OpenOnce", 4_800, false, false),
    Case::new("OpenStay", 6_400, false, true),
    Case {
        // Twice the time from the first request to its answer. Its users leave earlier.
        load: Load { simulation: "SharedConnections", users: 6_400, tls: false, ramp: 4, hold: 16, pause_millis: 0 },
        stay: true,
    },
    Case::new("ClosedKeepAlive", 3_200, false, true),
    Case::new("ClosedNewConnections", 640, false, false),
    Case::new("WebSocket", 6_400, false, true),
    Case::new("TlsClosed", 1_600, true, true),
    Case::new("Http2", 1_600, true, true),
];

/// Memory of one JVM with this many WebSocket users, as [`long::memory`] measures it. The stage must be free.
pub(crate) fn memory_of(users: u64) -> Result<u64, Failure> {
    check_tools(TOOLS)?;
    long::memory(&rig::prepare()?, users)
}

/// Runs the simulations, and returns whether all went as expected.
#[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(crate) fn gatling(arguments: &Arguments) -> Result<bool, Failure> {
    check_tools(TOOLS)?;
    rig::stop_at_signals();
    let files = rig::prepare()?;
    eprintln!("Building the static generator …");
    stage::set_binary(generator::build_static(if arguments.long { "release" } else { "dev" })?);
    let _alone = stage::alone()?;
    stage::clear_leftovers()?;
    if arguments.long {
        long::measure(&files, &long::Aim { users: arguments.users, rate: arguments.rate, pairs: arguments.pairs })?;
        return Ok(true);
    }
    let mut rig = Rig::new(&files, PORTS, Sizes::of(0)?)?;
    if !arguments.without_service {
        rig.start_service()?;
    }
    let mut expected = true;
    for case in CASES {
        let begin = Instant::now();
        let name = case.load.simulation;
        eprint!("{name}, {} users … ", case.load.users);
        let checked = rig.run(&case.load).and_then(|counts| check(&rig, case, &counts));
        rig::interrupted()?;
        let time = begin.elapsed();
        match &checked {
            Ok(shown) => eprintln!("ok in {time:.0?}: {shown}"),
            Err(why) => eprintln!("failed in {time:.0?}: {why}"),
        }
        expected &= checked.is_ok() != arguments.without_service;
    }
    Ok(expected)
}

/// Checks what the target counted: that the addresses have equally many connections, and that every user had one.
fn check(rig: &Rig, case: &Case, counts: &Counts) -> Result<String, Failure> {
    let users = case.load.users;
    let accepted: u64 = counts.sources.values().map(|(accepted, _)| accepted).sum();
    let shown = rig.evenness(counts.sources.iter().map(|(source, (accepted, _))| (*source, *accepted)))?;
    if case.stay {
        ensure!(
            accepted == users && counts.most == users,
            "{users} users opened {accepted} connections, and at most {} were open at once",
            counts.most
        );
    } else {
        ensure!(accepted >= users, "{users} users opened only {accepted} connections");
    }
    Ok(shown)
}

/// A duration for people.
fn seconds(duration: Duration) -> String {
    format!("{:.0} s", duration.as_secs_f64())
}
