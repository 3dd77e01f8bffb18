//! Judges what was found. Pure: from the config, the layout and the facts.

use std::net::IpAddr;

use serde::Serialize;
use trunnion_host::Config;

use super::{
    capacity::{self, Capacity},
    dns, ena,
    facts::Facts,
    limits, network, probe, session, spread, sshd, tuning,
    verdict::{Check, State},
};
use crate::{imds::ImdsError, layout::Layout, spread::Rules};

/// The results of all checks, and the capacity of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Whether the host holds what it was promised: no check failed.
    pub(crate) healthy: bool,
    pub(crate) checks: Vec<Check>,
    pub(crate) capacity: Capacity,
}

impl Report {
    /// Judges the facts.
    pub(crate) fn new(config: &Config, layout: Result<&Layout, &str>, facts: &Facts) -> Self {
        let mut checks = Vec::new();
        let (mut usable, mut rules) = (Vec::new(), Rules::default());
        let failed = |address: &IpAddr| facts.probes.as_ref().is_some_and(|probes| probes.failed.contains_key(address));
        match layout {
            Err(why) => checks.push(Check::failed(
                "metadata",
                format!("cannot read from the metadata which addresses this host should have: {why}"),
                ImdsError::OUT_OF_REACH,
            )),
            Ok(layout) => {
                checks.push(network::metadata(config, layout));
                match &facts.network {
                    Err(why) => checks.push(Check::failed(
                        "interfaces",
                        format!("cannot read interfaces, addresses and routes from the kernel: {why}"),
                        "run `trunnion-generator check` as root",
                    )),
                    Ok(network) => {
                        checks.push(network::interfaces(layout, network));
                        checks.push(network::addresses(layout, network));
                        checks.push(network::routes(layout, network));
                        checks.push(network::metadata_access(config, network));
                        usable = network.usable(layout.load_interfaces(config));
                        usable.retain(|address| !failed(address));
                        let mut all = network.usable(&layout.interfaces);
                        all.retain(|address| !failed(address));
                        rules = Rules::new(config, layout, &all);
                    }
                }
            }
        }
        if let Some(probes) = &facts.probes {
            checks.push(probe::judge(probes));
        }
        checks.push(spread::judge(config, &rules, &facts.spreading));
        let sources = spread::sources(config, &usable, &facts.spreading);
        checks.push(limits::ports(config, &facts.limits));
        checks.extend(session::judge(config, &facts.limits, &facts.session));
        checks.push(limits::judge_memory(config, &facts.limits));
        checks.extend(limits::judge_tcp(config, &facts.limits));
        checks.push(limits::judge_conntrack(config, &facts.limits));
        checks.push(ena::judge(config, &facts.ena));
        checks.extend(tuning::judge(&facts.machine));
        checks.push(dns::judge(config, &facts.resolver));
        checks.push(limits::clock(&facts.limits));
        let primary = layout.ok().and_then(Layout::primary_address);
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
