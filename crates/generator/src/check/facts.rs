//! What a check found on the host, before it is judged.

use std::net::IpAddr;

use trunnion_host::Config;

use super::{
    dns::Resolver, ena::Ena, limits::Limits, network::Network, probe::Probes, session::Session, spread::Spreading,
    sshd, tuning::Machine,
};
use crate::layout::Layout;

/// What was found. An error is the reason why a fact could not be read.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) network: Result<Network, String>,
    pub(crate) limits: Limits,
    pub(crate) session: Result<Session, String>,
    pub(crate) ena: Vec<Ena>,
    pub(crate) sshd: Result<Vec<IpAddr>, String>,
    pub(crate) spreading: Spreading,
    pub(crate) resolver: Resolver,
    pub(crate) machine: Machine,
    pub(crate) probes: Option<Probes>,
}

impl Facts {
    /// Reads the facts that are not passed in. The service reads `network` before it spreads connections, reuses `session`
    /// because it is slow to get, and knows `spreading` from the program that it attached.
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
            resolver: Resolver::look(),
            machine: layout.map(Machine::look).unwrap_or_default(),
            probes: None,
        }
    }
}
