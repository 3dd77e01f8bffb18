//! The command line: what can be asked for, and how it ends.

use std::{
    error::Error,
    io::{self, Write as _},
    iter,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use trunnion_host::ConfigError;

use crate::{check, imds::ImdsError, report, run, setup, spread, spread::SpreadError};

/// Why a command failed.
pub(crate) type Failure = Box<dyn Error>;

const ENDS: &str = "\
The service does all of it by itself: `systemctl status trunnion-generator`, `journalctl --unit trunnion-generator`.
Exit codes: 0 done, and for `check` the host holds what it was promised; 1 error, or it does not; 2 wrong arguments.";

/// Turns a host with many addresses into a load generator, and keeps it one
#[derive(Debug, Parser)]
#[command(name = "trunnion-generator", version, arg_required_else_help = true, after_help = ENDS)]
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
                    Command::Spread(arguments) => spread::command(&arguments).await.map(|()| ExitCode::SUCCESS),
                    Command::Check(arguments) => check::command(&arguments).await,
                    Command::Run(arguments) => run::command(&arguments).await,
                }
            })
        });
    result.unwrap_or_else(|error| {
        let help = help(&*error).map(|help| format!("\nhelp: {help}")).unwrap_or_default();
        // Where stderr is closed, the exit code says it alone.
        let _ = writeln!(io::stderr(), "error: {error}{}{help}", causes(&*error));
        ExitCode::FAILURE
    })
}

/// Data: this and a line end, on stdout. A reader that went away is no error; anything else that loses it is.
pub(crate) fn data(text: &str) -> io::Result<()> {
    // Without a terminal, or with `NO_COLOR`, colours are left out.
    let mut stdout = anstream::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// What to do about it, where there is something to do.
fn help(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let of_spread = || error.downcast_ref().and_then(SpreadError::help);
    let of_imds = || error.downcast_ref().and_then(ImdsError::help);
    error.downcast_ref().and_then(ConfigError::help).or_else(of_spread).or_else(of_imds)
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
