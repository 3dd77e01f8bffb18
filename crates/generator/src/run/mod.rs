//! `run`: the service. Sets up, spreads and checks, keeps it so, and serves `/health` and `/metrics`.

use std::process::ExitCode;

use clap::Args;

use crate::{cli::Failure, host};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
}

pub(crate) async fn command(_arguments: &Arguments) -> Result<ExitCode, Failure> {
    Err("not written yet".into())
}
