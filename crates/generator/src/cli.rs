//! The command line: what can be asked for, and how it ends.

use std::{
    error::Error,
    io::{self, Write as _},
    iter,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{check, report, run, setup, spread};

/// Why a command failed.
pub(crate) type Failure = Box<dyn Error>;

/// Turns a host with many addresses into a load generator, and keeps it one
#[derive(Debug, Parser)]
#[command(name = "trunnion-generator", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell what this host was promised when it was launched
    Report(report::Arguments),
    /// Give this host all of its addresses, routes and limits
    Setup(setup::Arguments),
    /// Spread outgoing connections over all addresses
    Spread(spread::Arguments),
    /// Tell whether this host holds what it was promised
    Check(check::Arguments),
    /// Set up, spread and check, keep it so, and serve /health and /metrics
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
                    Command::Spread(arguments) => spread::command(&arguments).await,
                    Command::Check(arguments) => check::command(&arguments).await,
                    Command::Run(arguments) => run::command(&arguments).await,
                }
            })
        });
    result.unwrap_or_else(|error| {
        // Where stderr is closed, the exit code says it alone.
        let _ = writeln!(io::stderr(), "error: {error}{}", causes(&*error));
        ExitCode::FAILURE
    })
}

/// Why it came to this error, from the nearest cause to the first one.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut causes = String::new();
    for cause in iter::successors(error.source(), |&cause| cause.source()) {
        causes.push_str(": ");
        causes.push_str(&cause.to_string());
    }
    causes
}
