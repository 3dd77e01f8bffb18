//! `check`: whether the host holds what it was promised, and what limits its connections.
//!
//! It reads first, into [`Facts`], and judges then: [`Report::new`] is pure. If a check fails, such as that of the capacity,
//! the host is unhealthy and the exit code is 1. A warning changes neither. Warnings are about what does not affect
//! connections: the clock, an sshd that listens on more addresses, allowances of EC2 that were exceeded since boot.

mod capacity;
pub(crate) mod dns;
mod ena;
mod facts;
pub(crate) mod kernel;
pub(crate) mod limits;
mod network;
mod probe;
mod report;
mod session;
mod spread;
mod sshd;
mod text;
mod tuning;
mod verdict;
mod ways;

use std::{net::SocketAddr, process::ExitCode};

use clap::Args;

use self::probe::Probes;
pub(crate) use self::{
    capacity::Capacity,
    ena::Ena,
    facts::Facts,
    network::{Network, primary_of_kernel},
    report::Report,
    session::Session,
    spread::Spreading,
    verdict::State,
};
use crate::{
    failure::{Failure, causes},
    host::{self, Host},
    output::data,
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
    /// Also connect to this address and port from every address of the host
    #[arg(long, value_name = "IP:PORT")]
    probe: Option<SocketAddr>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn command(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let host = Host::new(&arguments.host)?;
    let config = &host.config;
    let layout = host.layout().await.map_err(|error| format!("{error}{}", causes(&*error)));
    let layout = layout.as_ref().map_err(String::as_str);
    let session = Session::look(config).await;
    let network = match layout {
        Ok(layout) => Network::look(&host.config, layout).await.map_err(|error| error.to_string()),
        Err(why) => Err(why.to_owned()),
    };
    let mut facts = Facts::look(config, layout, network, session, Spreading::look(config));
    if let (Some(target), Ok(layout), Ok(network)) = (arguments.probe, layout, &facts.network) {
        facts.probes = Some(Probes::look(target, network.usable(&layout.interfaces)).await);
    }
    let report = Report::new(config, layout, &facts);
    if arguments.json {
        data(&serde_json::to_string_pretty(&report)?)?;
    } else {
        data(text::render(config, &report).trim_end())?;
    }
    Ok(if report.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
