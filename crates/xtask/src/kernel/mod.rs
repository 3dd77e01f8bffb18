//! `cargo xtask kernel`: the generator on a real kernel. Every scene builds network namespaces that look like a VPC around
//! one host and runs the real binary on it. Needs root; what it makes, it takes away again.

mod boot;
mod check;
pub(crate) mod client;
pub(crate) mod command;
mod debian;
pub(crate) mod imds;
pub(crate) mod namespace;
mod proof;
mod run;
mod setup;
mod spread;
pub(crate) mod stage;
pub(crate) mod target;
mod ways;

use std::{
    panic::{self, AssertUnwindSafe},
    path::Path,
    process::{Command, Stdio},
};

use clap::Args;
use nix::unistd::geteuid;

use crate::{Failure, generator};

/// Ends a scene with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        // Not turned round: a comparison with what is no number must fail too.
        if $condition {
        } else {
            return Err(format!($($message)+).into());
        }
    };
}
pub(crate) use ensure;

/// A scene's name and what it does: it builds its stage, and fails with what it found.
type Test = (&'static str, fn() -> Result<(), Failure>);

/// Every scene there is; each file names its own.
const SCENES: &[&[Test]] =
    &[proof::SCENES, setup::SCENES, ways::SCENES, spread::SCENES, check::SCENES, run::SCENES, boot::SCENES];

/// What the scenes call, and the Debian package that brings it.
const TOOLS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("curl", "curl"),
    ("debootstrap", "debootstrap"),
    ("flock", "util-linux"),
    ("ip", "iproute2"),
    ("java", "openjdk-17-jdk-headless"),
    ("javac", "openjdk-17-jdk-headless"),
    ("jq", "jq"),
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

/// Where a host looks for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Which scenes.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only the scenes whose names have this in them
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// The Cargo profile to build the generator with
    #[arg(long, default_value = "dev", value_name = "NAME")]
    profile: String,
    /// Tell the names and run nothing
    #[arg(long)]
    list: bool,
}

/// Runs the scenes and says whether all of them passed.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(crate) fn kernel(arguments: &Arguments) -> Result<bool, Failure> {
    let scenes: Vec<_> =
        SCENES.iter().copied().flatten().filter(|(name, _)| name.contains(&arguments.filter)).collect();
    if scenes.is_empty() {
        return Err(format!("no scene has `{}` in its name; `--list` tells them all", arguments.filter).into());
    }
    if arguments.list {
        for (name, _) in scenes {
            println!("{name}");
        }
        return Ok(true);
    }
    check_tools(TOOLS)?;
    eprintln!("Building the static generator …");
    stage::set_binary(generator::build_static(&arguments.profile)?);
    let _alone = stage::alone()?;
    stage::clear_leftovers()?;
    let (mut passed, mut failed) = (0, 0);
    for (name, scene) in scenes {
        let result = panic::catch_unwind(AssertUnwindSafe(scene)).unwrap_or_else(|_| Err("it panicked".into()));
        match result {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(failure) => {
                failed += 1;
                println!("test {name} ... FAILED\n{failure}\n");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// Nothing is skipped: what is missing is told, all of it at once.
pub(crate) fn check_tools(tools: &[(&str, &str)]) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Err("this makes network namespaces, which only root can: run it as root".into());
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
