//! Development tasks: `cargo xtask demo`, `live`, `replay`, `bench`, `pacing`, `catalog`, `generator`, `kernel`, `boot-vm`,
//! `capacity`, `gatling`, `model`, `killpoints`.

mod bench;
#[cfg(target_os = "linux")]
mod boot_vm;
#[cfg(target_os = "linux")]
mod capacity;
mod demo;
#[cfg(target_os = "linux")]
mod gatling;
mod generator;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(unix)]
mod killpoints;
mod live;
#[cfg(target_os = "linux")]
mod maven;
#[cfg(target_os = "linux")]
mod model;
mod pacing;
#[cfg(target_os = "linux")]
mod packages;
mod replay;
mod sandbox;
mod transcript;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Development tasks of this repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Build everything and apply `stacks/loadtest.yaml` to the sandbox
    Demo,
    /// Apply a small stack in your AWS account, check it, change it and destroy it, and keep a transcript; costs money
    Live(live::Arguments),
    /// Send the calls of a transcript to a sandbox, and list how its answers differ
    Replay(replay::Arguments),
    /// Time a plan that changes nothing, for the reference stack, 200 and 1,000 hosts, and `--help`
    Bench(bench::Arguments),
    /// Apply, change and destroy many hosts with AWS's rate limits, and print how long these alone take
    Pacing(pacing::Arguments),
    /// Kill `trunnion` and disturb it at every call that changes something, and apply again; takes hours without `--part`
    #[cfg(unix)]
    Killpoints(killpoints::Arguments),
    /// Rewrite the tables of instance types and prices from AWS's APIs; needs credentials, and changes nothing in AWS
    #[command(disable_help_flag = true)]
    Catalog {
        /// The arguments of the package `catalog-update`; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Build the generator as one static file in `dist/`
    Generator(generator::Arguments),
    /// Test the generator on this machine's kernel, in network namespaces; needs root
    #[cfg(target_os = "linux")]
    Kernel(kernel::Arguments),
    /// Boot a generator host in qemu, with systemd, cloud-init and sshd; needs root
    #[cfg(target_os = "linux")]
    BootVm,
    /// Measure how many connections a host holds, and the cost of spreading; needs root and some minutes
    #[cfg(target_os = "linux")]
    Capacity,
    /// Run simulations of the real Gatling on a host beside the service, and check that addresses are used evenly; needs root
    #[cfg(target_os = "linux")]
    Gatling(gatling::Arguments),
    /// Compare the capacity model with the kernel and with Gatling in settings that a seed draws; needs root and some minutes
    #[cfg(target_os = "linux")]
    Model(model::Arguments),
    /// Open connections and hold them (used by `capacity`)
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Hold(capacity::Holder),
    /// Accept connections and keep them (used by `capacity`)
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Listen {
        /// The address to listen on.
        address: std::net::SocketAddr,
    },
    /// Open connections and print their number (used by `kernel`)
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Connect(kernel::client::Arguments),
    /// Run a command once and print its cost as JSON (used by `bench`)
    #[command(hide = true)]
    Measure {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// The error of a task.
type Failure = Box<dyn std::error::Error>;

#[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Demo => demo::demo(),
        Chore::Live(arguments) => live::live(&arguments),
        Chore::Replay(arguments) => match replay::replay(&arguments) {
            Ok(false) => return ExitCode::FAILURE,
            result => result.map(drop),
        },
        Chore::Bench(arguments) => bench::bench(&arguments),
        Chore::Pacing(arguments) => pacing::pacing(&arguments),
        #[cfg(unix)]
        Chore::Killpoints(arguments) => match killpoints::killpoints(&arguments) {
            Ok(false) => return ExitCode::FAILURE,
            result => result.map(drop),
        },
        Chore::Catalog { arguments } => update_catalog(&arguments),
        Chore::Generator(arguments) => generator::generator(&arguments),
        #[cfg(target_os = "linux")]
        Chore::Kernel(arguments) => match kernel::kernel(&arguments) {
            Ok(false) => return ExitCode::FAILURE,
            result => result.map(drop),
        },
        #[cfg(target_os = "linux")]
        Chore::BootVm => match boot_vm::boot_vm() {
            Ok(false) => return ExitCode::FAILURE,
            result => result.map(drop),
        },
        #[cfg(target_os = "linux")]
        Chore::Capacity => capacity::capacity(),
        #[cfg(target_os = "linux")]
        Chore::Gatling(arguments) => match gatling::gatling(&arguments) {
            Ok(false) => return ExitCode::FAILURE,
            result => result.map(drop),
        },
        #[cfg(target_os = "linux")]
        Chore::Model(arguments) => model::model(&arguments),
        #[cfg(target_os = "linux")]
        Chore::Hold(arguments) => capacity::hold(&arguments),
        #[cfg(target_os = "linux")]
        Chore::Listen { address } => capacity::listen(address),
        #[cfg(target_os = "linux")]
        Chore::Connect(arguments) => {
            kernel::client::connect(arguments);
            Ok(())
        }
        Chore::Measure { command } => bench::measure(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// Cargo: the one that runs this, else the one in the search path. Started by its own path alone, it would let a dependency's
/// `rust-toolchain.toml` choose another compiler.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Builds the command and the generator, and returns their folder.
fn build(profile: &str) -> Result<PathBuf, Failure> {
    run(cargo().current_dir(root()).args([
        "build",
        "--package",
        "trunnion-cli",
        "--package",
        "trunnion-generator",
        "--profile",
        profile,
    ]))?;
    Ok(target_folder().join(if profile == "dev" { "debug" } else { profile }))
}

/// Runs the package that writes the catalog.
fn update_catalog(arguments: &[OsString]) -> Result<(), Failure> {
    let manifest = root().join("Cargo.toml");
    run(cargo().args(["run", "--package", "catalog-update", "--manifest-path"]).arg(manifest).arg("--").args(arguments))
}

/// Cargo's target folder.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Runs a command that must succeed.
fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| format!("{command:?} did not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}").into()) }
}
