//! `trunnion-generator`: turns a bare host with many addresses into a load generator, and keeps it one.
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
mod cli;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod imds;
#[cfg(target_os = "linux")]
mod layout;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod setup;
#[cfg(target_os = "linux")]
mod spread;

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
