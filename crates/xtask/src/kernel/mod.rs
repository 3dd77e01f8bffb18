//! `cargo xtask kernel`: tests of the generator on a real kernel. Each test builds network namespaces that look like a VPC
//! around one host, and runs the binary there. It needs root, and removes everything that it created.

mod boot;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod command;
mod debian;
pub(crate) mod imds;
mod internet;
mod login;
mod metadata;
mod metrics;
pub(crate) mod namespace;
mod proof;
mod queues;
mod resolver;
mod run;
mod setup;
mod spread;
pub(crate) mod stage;
pub(crate) mod target;
mod ways;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use clap::Args;
use libtest_mimic::{Failed, FormatSetting, Trial};
use nix::unistd::geteuid;

use crate::{Failure, generator};

/// Fails a test with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        // The condition is not negated, because a comparison with NaN must also fail.
        if $condition {
        } else {
            return Err(format!($($message)+).into());
        }
    };
}
pub(crate) use ensure;

/// The name of a test, and its function, which builds a stage and returns an error if the test fails.
type Test = (&'static str, fn() -> Result<(), Failure>);

/// All tests; each file lists its own.
const TESTS: &[&[Test]] = &[
    proof::TESTS,
    setup::TESTS,
    ways::TESTS,
    internet::TESTS,
    metadata::TESTS,
    spread::TESTS,
    check::TESTS,
    queues::TESTS,
    resolver::TESTS,
    run::TESTS,
    login::TESTS,
    boot::TESTS,
];

/// The programs that the tests call, and their Debian packages.
const TOOLS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("curl", "curl"),
    ("debootstrap", "debootstrap"),
    ("flock", "util-linux"),
    ("ip", "iproute2"),
    ("java", "openjdk-17-jdk-headless"),
    ("javac", "openjdk-17-jdk-headless"),
    ("jq", "jq"),
    ("mvn", "maven"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("ping", "iputils-ping"),
    ("pivot_root", "util-linux"),
    ("prometheus_client for python3", "python3-prometheus-client"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("ss", "iproute2"),
    ("sysctl", "procps"),
    ("timeout", "coreutils"),
    ("unshare", "util-linux"),
    ("useradd", "passwd"),
];

/// The search path of a host.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The arguments of `cargo xtask kernel`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only the tests whose names contain this text
    filter: Option<String>,
    /// Run only the test with exactly this name
    #[arg(long, requires = "filter")]
    exact: bool,
    /// Skip the tests whose names contain this text; can be repeated
    #[arg(long, value_name = "TEXT")]
    skip: Vec<String>,
    /// List the names of the tests, and run none
    #[arg(long)]
    list: bool,
    /// How to print the results
    #[arg(long)]
    format: Option<FormatSetting>,
    /// The Cargo profile to build the generator with
    #[arg(long, default_value = "dev", value_name = "NAME")]
    profile: String,
}

impl Arguments {
    fn harness(&self) -> libtest_mimic::Arguments {
        libtest_mimic::Arguments {
            filter: self.filter.clone(),
            exact: self.exact,
            skip: self.skip.clone(),
            list: self.list,
            format: self.format,
            // Tests change kernel parameters of the whole machine, so they run one after the other.
            test_threads: Some(1),
            ..libtest_mimic::Arguments::default()
        }
    }
}

/// Runs the tests, and returns whether all passed.
#[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(crate) fn kernel(arguments: &Arguments) -> Result<bool, Failure> {
    let harness = arguments.harness();
    let tests = TESTS.iter().copied().flatten();
    let tests: Vec<_> = tests.map(|&(name, test)| Trial::test(name, move || test().map_err(Failed::from))).collect();
    if tests.iter().all(|test| harness.is_filtered_out(test)) {
        return Err("no test is left to run; `--list` lists all".into());
    }
    if arguments.list {
        return Ok(!libtest_mimic::run(&harness, tests).has_failed());
    }
    check_tools(TOOLS)?;
    eprintln!("Building the static generator …");
    stage::set_binary(generator::build_static(&arguments.profile)?);
    let _alone = stage::alone()?;
    stage::clear_leftovers()?;
    Ok(!libtest_mimic::run(&harness, tests).has_failed())
}

/// An error that lists all missing tools at once: no test is skipped.
pub(crate) fn check_tools(tools: &[(&str, &str)]) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Err("only root can create network namespaces: run this as root".into());
    }
    let is_there = |tool: &str| match tool.strip_suffix(" for python3") {
        Some(module) => {
            let mut import = Command::new("/usr/bin/python3");
            import.args(["-c", &format!("import {module}")]).stderr(Stdio::null());
            import.status().is_ok_and(|status| status.success())
        }
        None => PATH.split(':').any(|folder| Path::new(folder).join(tool).exists()),
    };
    let missing: Vec<_> = tools.iter().filter(|(tool, _)| !is_there(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let tools: Vec<_> = missing.iter().map(|(tool, _)| format!("`{tool}`")).collect();
    let mut packages: Vec<_> = missing.iter().map(|&&(_, package)| package).collect();
    packages.dedup();
    Err(format!("{} missing\nhelp: apt-get install {}", tools.join(", "), packages.join(" ")).into())
}
