//! `setup`: brings the host to its layout, and everything else that many connections need. Says what it changed; what is
//! already so is left alone.

use std::process::ExitCode;

use clap::Args;

use trunnion_generator::Config;

use crate::{
    cli::Failure,
    host::{self, Host},
    layout::{Layout, Link},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
    /// Take back what earlier setups changed
    #[arg(long)]
    undo: bool,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

/// One thing that setup changed: what, and to what.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Change {
    /// Such as `address 10.0.1.7/32 on ens6`.
    pub(crate) what: String,
    /// Such as `added`.
    pub(crate) how: String,
}

/// How a setup ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    pub(crate) changes: Vec<Change>,
    /// What was left as it is for a reason that harms nobody.
    pub(crate) warnings: Vec<String>,
    /// What stands in the way of the host's promise and is not ours to change.
    pub(crate) problems: Vec<String>,
}

pub(crate) async fn command(_arguments: &Arguments) -> Result<ExitCode, Failure> {
    Err("not written yet".into())
}

/// The interfaces that the kernel has, but for the loopback.
pub(crate) async fn links() -> Result<Vec<Link>, Failure> {
    Err("not written yet".into())
}

/// Everything: network, limits, user and sshd.
pub(crate) async fn setup(_host: &Host, _layout: &Layout) -> Result<Outcome, Failure> {
    Err("not written yet".into())
}

/// The network alone: links, addresses, rules and routes.
pub(crate) async fn network(_config: &Config, _layout: &Layout) -> Result<Outcome, Failure> {
    Err("not written yet".into())
}
