//! `trunnion-generator`: makes a host with many addresses a load generator, and keeps it one.
//!
//! | module | what is in it |
//! |---|---|
//! | `cli` | the command line |
//! | `report`, `setup`, `spread`, `check`, `run` | the commands |
//! | `host`, `imds`, `layout` | the config, the metadata and the network that the host should have |
//! | `netlink`, `sockets`, `local_ports`, `tcp_limits`, `sysctl`, `accounts` | the network, sockets, ports, limits, parameters and users that the host has |
//! | `failure`, `output` | errors and stdout |
//!
//! Modules do not import each other in a cycle; a test checks this.
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

#[cfg(target_os = "linux")]
mod accounts;
#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
mod cli;
#[cfg(target_os = "linux")]
mod failure;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod imds;
#[cfg(target_os = "linux")]
mod layout;
#[cfg(target_os = "linux")]
mod local_ports;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
mod output;
#[cfg(target_os = "linux")]
mod queues;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod setup;
#[cfg(target_os = "linux")]
mod sockets;
#[cfg(target_os = "linux")]
mod spread;
#[cfg(target_os = "linux")]
mod sysctl;
#[cfg(target_os = "linux")]
mod tcp_limits;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    cli::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use std::io::{self, Write as _};
    let _ = writeln!(io::stderr(), "error: trunnion-generator runs on Linux only");
    ExitCode::FAILURE
}
