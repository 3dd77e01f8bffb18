//! How many connections the host can hold now, and which limit decides that.

use serde::Serialize;
use trunnion_host::{Config, Tracking};

use super::{
    ena::{self, UNTRACKED},
    facts::Facts,
    limits,
    verdict::Check,
};

/// How many connections the host can hold now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Capacity {
    /// Source addresses of connections to one IPv4 destination.
    pub(crate) addresses: u64,
    /// To one destination address and port: one for each local port of each of these addresses.
    pub(crate) per_destination: u64,
    /// To all destinations together: at most `per_destination`, as in the promise.
    pub(crate) total: u64,
    /// What limits the total.
    pub(crate) limit: Limit,
}

/// What limits the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Limit {
    Addresses,
    Ports,
    Descriptors,
    Memory,
    Conntrack,
    Tracking,
}

impl Limit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Ports => "ports",
            Self::Descriptors => "descriptors",
            Self::Memory => "memory",
            Self::Conntrack => "conntrack",
            Self::Tracking => "tracking",
        }
    }
}

impl Capacity {
    /// The capacity with this many source addresses. A limit that could not be read does not count.
    pub(super) fn new(config: &Config, addresses: u64, facts: &Facts) -> Self {
        let per_destination = addresses.saturating_mul(facts.limits.ports.count());
        let descriptors = facts.session.as_ref().ok().and_then(|session| session.descriptors(&facts.limits));
        let conntrack = facts.limits.conntrack.and_then(|conntrack| conntrack.most);
        let tracking = match config.tracking {
            Tracking::Tracked => ena::trackable(&facts.ena, facts.limits.connections),
            Tracking::Untracked => None,
        };
        let limit = if addresses == 0 { Limit::Addresses } else { Limit::Ports };
        let mut capacity = Self { addresses, per_destination, total: per_destination, limit };
        for (limit, most) in [
            (Limit::Descriptors, descriptors),
            (Limit::Memory, limits::memory_of(&facts.limits)),
            (Limit::Conntrack, conntrack),
            (Limit::Tracking, tracking),
        ] {
            if let Some(most) = most.filter(|&most| most < capacity.total) {
                (capacity.total, capacity.limit) = (most, limit);
            }
        }
        capacity
    }
}

pub(super) fn judge(config: &Config, capacity: &Capacity) -> Check {
    const NAME: &str = "capacity";
    let Capacity { addresses, per_destination, total, limit, .. } = *capacity;
    let promised = config.connections;
    let message = format!(
        "{per_destination} connections to one destination, from {addresses} addresses, and {total} in all: {}",
        match limit {
            Limit::Addresses => "no address can be used",
            Limit::Ports => "limited by the local ports",
            Limit::Descriptors => "limited by the open files of one process",
            Limit::Memory => "limited by the memory",
            Limit::Conntrack => "limited by the connections that the kernel can track",
            Limit::Tracking => "limited by the connections that EC2 can track",
        }
    );
    if per_destination >= promised.per_destination && total >= promised.total {
        return Check::ok(NAME, message);
    }
    let help = if per_destination < promised.per_destination {
        "resolve the failed checks of addresses, routes, spread and ports above"
    } else if limit == Limit::Tracking {
        UNTRACKED
    } else {
        "raise that limit"
    };
    let promise = format!("{} and {} were promised", promised.per_destination, promised.total);
    Check::failed(NAME, format!("{message}; {promise}"), help)
}

#[cfg(test)]
mod tests {
    use trunnion_host::{Connections, Mode, Ports, Spread, Ssh};

    use super::*;
    use crate::{
        check::{
            ena::Ena,
            limits::{Conntrack, Limits},
            session::Session,
            spread::Spreading,
            verdict::State,
        },
        local_ports::LocalPorts,
    };

    fn facts(hard: u64, memory_bytes: u64, most: Option<u64>) -> Facts {
        Facts {
            resolver: crate::check::dns::Resolver::default(),
            machine: crate::check::tuning::Machine::default(),
            network: Err(String::new()),
            limits: Limits {
                ports: LocalPorts { range: Some(Ports { first: 1, last: 100 }), reserved: 0 },
                memory_bytes: Some(memory_bytes),
                conntrack: Some(Conntrack { entries: 1, most }),
                ..Limits::default()
            },
            session: Ok(Session::parse(&format!("hard {hard}\n"))),
            ena: vec![Ena {
                interface: "ens5".into(),
                driver: "ena".into(),
                exceeded: Vec::new(),
                conntrack_available: Some(50),
            }],
            sshd: Ok(Vec::new()),
            spreading: Spreading::Unwanted,
            probes: None,
        }
    }

    fn config(tracking: Tracking) -> Config {
        Config {
            format: Config::FORMAT,
            stack: String::new(),
            pool: String::new(),
            instance_type: String::new(),
            java: 21,
            interfaces: 1,
            addresses: 3,
            tracking,
            ports: Ports { first: 1, last: 100 },
            reserved_ports: Vec::new(),
            connections: Connections { per_destination: 300, total: 300 },
            descriptors: 300,
            spread: Spread { mode: Mode::Kernel, except: Vec::new() },
            network: None,
            ipv6: false,
            metrics_port: Config::METRICS_PORT,
            executable_dir: "/".into(),
            ssh: Ssh { user: String::new(), authorized_keys: Vec::new() },
            metadata_access: false,
            dns_cache: false,
        }
    }

    #[test]
    fn the_smallest_limit_counts() {
        let found = |tracking, facts: &Facts| {
            let Capacity { per_destination, total, limit, .. } = Capacity::new(&config(tracking), 3, facts);
            (per_destination, total, limit)
        };
        let untracked = |facts: &Facts| found(Tracking::Untracked, facts);
        assert_eq!(untracked(&facts(1_000, 1 << 30, None)), (300, 300, Limit::Ports));
        assert_eq!(untracked(&facts(200, 1 << 30, Some(250))), (300, 200, Limit::Descriptors));
        assert_eq!(untracked(&facts(1_000, 1 << 30, Some(250))), (300, 250, Limit::Conntrack));
        assert_eq!(untracked(&facts(1_000, 108_000, None)), (300, 10, Limit::Memory));
        assert_eq!(found(Tracking::Tracked, &facts(1_000, 1 << 30, None)), (300, 50, Limit::Tracking));
    }

    #[test]
    fn the_help_for_too_few_tracked_connections_is_an_untracked_pool() {
        let config = config(Tracking::Tracked);
        let check = judge(&config, &Capacity::new(&config, 3, &facts(1_000, 1 << 30, None)));
        assert_eq!((check.state, check.help.as_deref()), (State::Failed, Some(UNTRACKED)));
    }
}
