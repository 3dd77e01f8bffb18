//! `spread`: gives every outgoing connection of the SSH user's processes a source address in turn.

use std::{net::IpAddr, process::ExitCode};

use clap::Args;
use ipnet::IpNet;

use crate::{cli::Failure, host};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
}

/// What the kernel counted for one source address since the program was attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Source {
    pub(crate) address: IpAddr,
    /// Whether no new connection takes it.
    pub(crate) draining: bool,
    /// Connections that were given this source.
    pub(crate) connections: u64,
    /// Connections that the kernel did not let take it.
    pub(crate) refused: u64,
}

/// The program in the kernel.
#[derive(Debug)]
pub(crate) struct Spreader {}

impl Spreader {
    /// Loads and attaches the program, or takes over what an earlier process left attached.
    pub(crate) fn attach(_uid: Option<u32>) -> Result<Self, Failure> {
        Err("not written yet".into())
    }

    /// Makes these the sources and exceptions; what was drained by hand stays drained.
    pub(crate) fn sync(&mut self, _sources: &[IpAddr], _except: &[IpNet]) -> Result<(), Failure> {
        Err("not written yet".into())
    }

    /// Every source and what was counted for it.
    pub(crate) fn sources(&self) -> Result<Vec<Source>, Failure> {
        Err("not written yet".into())
    }
}

pub(crate) async fn command(_arguments: &Arguments) -> Result<ExitCode, Failure> {
    Err("not written yet".into())
}
