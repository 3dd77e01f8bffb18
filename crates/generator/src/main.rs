//! `trunnion-generator`: the binary on every generator host. It tells what the host was promised.

use std::{
    error::Error,
    io::{self, Write as _},
    iter,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use trunnion_generator::{CONFIG_PATH, Config};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs on every generator host of a Trunnion stack
#[derive(Debug, Parser)]
#[command(name = "trunnion-generator", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell what this host was promised when it was launched
    Report(Report),
}

#[derive(Debug, Args)]
struct Report {
    /// The config that the boot template wrote
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH)]
    config: PathBuf,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

/// The report as JSON.
#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    config: &'a Config,
    all_addresses: u64,
}

fn main() -> ExitCode {
    let Cli { command: Command::Report(report) } = Cli::parse();
    match tell(&report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is closed, the exit code says it alone.
            let _ = writeln!(io::stderr(), "error: {error}{}", causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn tell(report: &Report) -> Result<(), Box<dyn Error>> {
    let config = Config::load(&report.config)?;
    let mut stdout = io::stdout().lock();
    if report.json {
        let document = Document { version: VERSION, config: &config, all_addresses: config.all_addresses() };
        writeln!(stdout, "{}", serde_json::to_string_pretty(&document)?)?;
    } else {
        writeln!(stdout, "trunnion-generator {VERSION}\n{config}")?;
    }
    Ok(())
}

/// Why it came to this error, from the nearest cause to the first one.
fn causes(error: &dyn Error) -> String {
    let mut causes = String::new();
    for cause in iter::successors(error.source(), |&cause| cause.source()) {
        causes.push_str(": ");
        causes.push_str(&cause.to_string());
    }
    causes
}
