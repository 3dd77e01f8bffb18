//! `check`: whether the host holds what it was promised, and which limit binds.
//!
//! Looking and judging are apart: [`Facts`] is what was found, [`Report::new`] judges it and is pure. A failed check, or a
//! capacity below the promise, makes the host unhealthy and the exit code 1. A warning does not: an unsynchronised clock,
//! an sshd that listens on more than the primary address and allowances of the ENA driver that were exceeded some time
//! since boot leave the connections what they are.

mod capacity;
mod ena;
pub(crate) mod kernel;
pub(crate) mod limits;
mod network;
mod probe;
mod session;
pub(crate) mod sockets;
mod spread;
mod sshd;
mod text;
mod ways;

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use clap::Args;
use serde::Serialize;
use trunnion_host::Config;

pub(crate) use self::{
    capacity::Capacity,
    ena::Ena,
    network::{Network, primary_of_kernel},
    session::Session,
    spread::Spreading,
};
use self::{limits::Limits, probe::Probes};
use crate::{
    cli::{Failure, causes, data},
    host::{self, Host},
    imds::ImdsError,
    layout::Layout,
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
    /// Connect to this address and port from every address of the host
    #[arg(long, value_name = "IP:PORT")]
    probe: Option<SocketAddr>,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Ok,
    Warning,
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) state: State,
    pub(crate) message: String,
    /// One line for each thing that is not as it should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) details: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

impl Check {
    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, state: State::Ok, message: message.into(), details: Vec::new(), help: None }
    }

    fn warning(name: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { state: State::Warning, help: Some(help.into()), ..Self::ok(name, message) }
    }

    fn failed(name: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { state: State::Failed, help: Some(help.into()), ..Self::ok(name, message) }
    }

    fn with(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }
}

/// What was looked at and found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Whether the host holds what it was promised.
    pub(crate) healthy: bool,
    pub(crate) checks: Vec<Check>,
    pub(crate) capacity: Capacity,
}

/// What was found, not judged yet. A text in place of a fact is why it could not be had.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) network: Result<Network, String>,
    pub(crate) limits: Limits,
    pub(crate) session: Result<Session, String>,
    pub(crate) ena: Vec<Ena>,
    pub(crate) sshd: Result<Vec<IpAddr>, String>,
    pub(crate) spreading: Spreading,
    pub(crate) probes: Option<Probes>,
}

impl Facts {
    /// Looks at the rest: the service reads the network before it spreads, opens a session of the SSH user, which is dear,
    /// not every time, and holds the program in the kernel itself.
    pub(crate) fn look(
        config: &Config,
        layout: Result<&Layout, &str>,
        network: Result<Network, String>,
        session: Result<Session, String>,
        spreading: Spreading,
    ) -> Self {
        Self {
            network,
            limits: Limits::look(config),
            session,
            ena: layout.map(Ena::look).unwrap_or_default(),
            sshd: sshd::look(),
            spreading,
            probes: None,
        }
    }
}

impl Report {
    /// Judges what was found.
    pub(crate) fn new(config: &Config, layout: Result<&Layout, &str>, facts: &Facts) -> Self {
        let mut checks = Vec::new();
        let mut usable = Vec::new();
        match layout {
            Err(why) => checks.push(Check::failed(
                "metadata",
                format!("the metadata service does not say what this host should look like: {why}"),
                ImdsError::OUT_OF_REACH,
            )),
            Ok(layout) => {
                checks.push(network::metadata(config, layout));
                match &facts.network {
                    Err(why) => checks.push(Check::failed(
                        "interfaces",
                        format!("the kernel does not tell its interfaces, addresses and routes: {why}"),
                        "run this as root",
                    )),
                    Ok(network) => {
                        checks.push(network::interfaces(layout, network));
                        checks.push(network::addresses(layout, network));
                        checks.push(network::routes(layout, network));
                        usable = network.usable(layout.load_interfaces(config));
                    }
                }
            }
        }
        if let Some(probes) = &facts.probes {
            checks.push(probe::judge(probes));
            usable.retain(|address| !probes.failed.contains_key(address));
        }
        checks.push(spread::judge(config, &usable, &facts.spreading));
        let sources = spread::sources(config, &usable, &facts.spreading);
        checks.push(limits::ports(config, &facts.limits));
        checks.extend(session::judge(config, &facts.limits, &facts.session));
        checks.push(limits::judge_memory(config, &facts.limits));
        checks.push(limits::judge_conntrack(config, &facts.limits));
        checks.push(ena::judge(config, &facts.ena));
        checks.push(limits::clock(&facts.limits));
        let primary = layout.ok().and_then(primary);
        checks.push(sshd::judge(primary, &facts.sshd));
        let capacity = Capacity::new(config, sources, facts);
        checks.push(capacity::judge(config, &capacity));
        Self { healthy: checks.iter().all(|check| check.state != State::Failed), checks, capacity }
    }

    /// The checks that failed.
    pub(crate) fn failing(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.state == State::Failed)
    }
}

/// The primary address of the primary interface.
pub(crate) fn primary(layout: &Layout) -> Option<IpAddr> {
    layout.interfaces.first()?.addresses.first().copied()
}

pub(crate) async fn command(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let host = Host::new(&arguments.host)?;
    let config = &host.config;
    let layout = host.layout().await.map_err(|error| format!("{error}{}", causes(&*error)));
    let layout = layout.as_ref().map_err(String::as_str);
    let session = Session::look(config).await;
    let network = match layout {
        Ok(layout) => Network::look(layout).await.map_err(|error| error.to_string()),
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
