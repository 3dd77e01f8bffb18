//! The command line: dispatches to the commands and reports their errors.

use std::{
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use trunnion_host::ConfigError;

use crate::{
    check,
    failure::{Failure, causes},
    imds::ImdsError,
    report, run, setup,
    spread::{self, SpreadError},
};

const ENDS: &str = "\
The service does all of this: `systemctl status trunnion-generator`, `journalctl --unit trunnion-generator`.
Exit codes: 0 success, and `check` found that the host holds what it was promised; 1 error, or it does not; 2 wrong arguments.";

/// Makes a host with many addresses a load generator, and keeps it one
#[derive(Debug, Parser)]
#[command(name = "trunnion-generator", version, arg_required_else_help = true, after_help = ENDS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what this host was promised when it was launched
    Report(report::Arguments),
    /// Give this host all of its addresses, routes and limits
    Setup(setup::Arguments),
    /// Spread outgoing connections over all addresses
    Spread(spread::Arguments),
    /// Check whether this host holds what it was promised
    Check(check::Arguments),
    /// Run as a service: set up, spread and check again and again, and serve /health and /metrics
    Run(run::Arguments),
}

pub(crate) fn main() -> ExitCode {
    let command = Cli::parse().command;
    let result =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::from).and_then(|runtime| {
            runtime.block_on(async {
                match command {
                    Command::Report(arguments) => report::command(&arguments).map(|()| ExitCode::SUCCESS),
                    Command::Setup(arguments) => setup::command(&arguments).await,
                    Command::Spread(arguments) => spread::command(&arguments).await.map(|()| ExitCode::SUCCESS),
                    Command::Check(arguments) => check::command(&arguments).await,
                    Command::Run(arguments) => run::command(&arguments).await,
                }
            })
        });
    result.unwrap_or_else(|error| {
        let help = help(&*error).map(|help| format!("\nhelp: {help}")).unwrap_or_default();
        // Where stderr is closed, the exit code still reports the error.
        let _ = writeln!(io::stderr(), "error: {error}{}{help}", causes(&*error));
        ExitCode::FAILURE
    })
}

/// What to do next, for errors that a user can resolve.
fn help(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let of_spread = || error.downcast_ref().and_then(SpreadError::help);
    let of_imds = || error.downcast_ref().and_then(ImdsError::help);
    error.downcast_ref().and_then(ConfigError::help).or_else(of_spread).or_else(of_imds)
}
