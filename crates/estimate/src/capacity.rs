//! How many virtual users a pool holds, which limit binds, and what would raise it.
//!
//! Counts of connections come from the promise of the host itself ([`trunnion_host::Ceiling`]). Memory and CPU come from runs of
//! the real Gatling.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunnion_catalog::InstanceType;
use trunnion_host::{Ceiling, Mode, Route, Tracking, visible_memory};

use crate::workload::Workload;

/// Kernel memory of an idle connection at one end, in bytes: half of 8,408 B, which both ends took on one machine (640,000
/// connections, Linux 6.18, November 2026).
pub const KERNEL_BYTES_PER_CONNECTION: u64 = 4_204;
/// Memory of Gatling without users, in bytes: 160 to 180 MiB resident (Gatling 3.15.1, Java 17, November 2026).
pub const GATLING_BYTES: u64 = 180 << 20;
/// Memory of the operating system and the service, in bytes. An assumption: the service itself takes 20 MiB.
pub const SYSTEM_BYTES: u64 = 256 << 20;
/// File descriptors of Gatling beside those of its connections (same run).
pub const GATLING_DESCRIPTORS: u64 = 130;
/// CPU time of a request over a kept connection, in microseconds: 33 s for 1,000,000 requests (same run; other runs took 22 to
/// 28 µs).
pub const CPU_MICROS_PER_REQUEST: u64 = 33;
/// Ports of each address that are not counted: while the service alternates the port range, its first and its last port are free
/// only half of the time (Linux 6.18, `cargo xtask model`, November 2026).
pub const UNSTEADY_PORTS: u64 = 2;
/// Ports of a host that its own connections take, such as those to the metadata: up to 2 were seen (same runs).
pub const OWN_PORTS: u64 = 4;
/// How much of the vCPUs the model uses, in percent. The rest is for the kernel's work on packets, which the figure of a
/// request does not contain, for the scripts' own work, and for response times that one can trust.
pub const CPU_PERCENT: u64 = 50;
/// How much of the type's baseline bandwidth the model uses for payload, in percent. The rest is for headers.
pub const BANDWIDTH_PERCENT: u64 = 90;
/// Payload of a full packet towards the internet, in bytes: 1,500 without 52 of IPv4 and TCP headers.
pub const BYTES_PER_PACKET: u64 = 1_448;
/// Connections that one address of a NAT gateway holds to one destination (AWS's user guide, "NAT gateway basics", read
/// August 2026).
pub const NAT_CONNECTIONS: u64 = 55_000;
/// From how many vCPUs on a host has half of its bandwidth through an internet gateway; with fewer, it has at most
/// [`INTERNET_MBPS`] (AWS's user guide, "EC2 instance network bandwidth", read August 2026).
pub const HALF_BANDWIDTH_VCPU: u32 = 32;
/// See [`HALF_BANDWIDTH_VCPU`].
pub const INTERNET_MBPS: u64 = 5_000;

/// A generator host, as far as its capacity depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its type.
    pub instance_type: &'static InstanceType,
    /// Network interfaces.
    pub interfaces: u32,
    /// Private IPv4 addresses of each interface.
    pub addresses: u32,
    /// How many of these addresses have a public one.
    pub public_addresses: u32,
    /// Who picks the source addresses.
    pub mode: Mode,
    /// Whether EC2 tracks the connections of its load interfaces.
    pub tracking: Tracking,
    /// Local ports of each address for outgoing connections.
    pub ports: u64,
    /// Where the default route of its subnet leads.
    pub route: Route,
    /// The NAT gateway, if the route leads to one that is known.
    pub nat_gateway: Option<NatGateway>,
}

/// A NAT gateway, which hosts of several pools may share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatGateway {
    /// `nat-…`
    pub id: String,
    /// From how many addresses it sends.
    pub addresses: u32,
    /// How many of these are public.
    pub public_addresses: u32,
}

/// The part of the model that a limit belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Local ports of all source addresses, towards one destination.
    SourcePorts,
    /// The same of the addresses that reach the internet.
    PublicSourcePorts,
    /// The kernel's memory for connections, as the host promises it.
    ConnectionMemory,
    /// What EC2 is known to track.
    ConnectionTracking,
    /// Connections through the NAT gateway.
    NatGateway,
    /// Memory of Gatling and the kernel together.
    Memory,
    /// The JVM's heap.
    Heap,
    /// File descriptors of one JVM.
    Descriptors,
    /// CPU time of the requests.
    Cpu,
    /// The instance type's bandwidth.
    Bandwidth,
    /// There is no way to the targets.
    Route,
}

/// How many virtual users one limit allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bound {
    /// Which limit.
    pub limit: Limit,
    /// How many virtual users of the workload it allows on all hosts together.
    pub virtual_users: u64,
}

/// What hosts hold of a workload, for all tests together that run on them at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// Concurrent virtual users.
    pub virtual_users: u64,
    /// Requests that these users send a second.
    pub requests_per_second: u64,
    /// Packets of these requests and responses a second, without acknowledgements. AWS publishes no allowance.
    pub packets_per_second: u64,
    /// The limit that binds; nothing without hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binds: Option<Limit>,
    /// What would raise it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted_by: Option<String>,
    /// Every limit, the lowest first.
    pub bounds: Vec<Bound>,
}

impl Host {
    /// What this many hosts hold of a workload. `heap` is the size of the JVM's heap in bytes.
    pub fn capacity(&self, hosts: u32, workload: &Workload, heap: Option<u64>) -> Capacity {
        let mut bounds = if hosts == 0 { Vec::new() } else { self.bounds(hosts, workload, heap) };
        bounds.sort_by_key(|bound| (bound.virtual_users, bound.limit));
        let virtual_users = bounds.first().map_or(0, |bound| bound.virtual_users);
        let binds = bounds.first().map(|bound| bound.limit);
        let requests_per_second = requests_per_second(virtual_users, workload);
        Capacity {
            virtual_users,
            requests_per_second,
            packets_per_second: requests_per_second.saturating_mul(packets(workload)),
            binds,
            lifted_by: binds.map(|limit| self.lifted_by(limit, workload)),
            bounds,
        }
    }

    /// How many virtual users each limit allows, in the order of [`Limit`].
    fn bounds(&self, hosts: u32, workload: &Workload, heap: Option<u64>) -> Vec<Bound> {
        let mut bounds = Vec::new();
        let mut add = |limit, virtual_users| bounds.push(Bound { limit, virtual_users });
        let hosts = u64::from(hosts);
        let each_user = u64::from(workload.connections_per_user.max(1));
        let of_users = |connections: u64| connections / each_user;
        // Users are spread evenly over all targets, so the fullest one binds.
        let of_targets = |each: u64| of_users(each.saturating_mul(workload.targets.all()));
        let targets = workload.targets;
        let each = self.reachable(self.sources());
        if targets.private > 0 {
            // A simulation that names its addresses takes a local port towards all destinations.
            let users = if self.mode == Mode::Simulation { of_users(each) } else { of_targets(each) };
            add(Limit::SourcePorts, users.saturating_mul(hosts));
        }
        if targets.public > 0 {
            match self.public_sources() {
                Some(0) => add(Limit::Route, 0),
                Some(sources) => {
                    add(Limit::PublicSourcePorts, of_targets(self.reachable(sources)).saturating_mul(hosts));
                }
                None => add(Limit::SourcePorts, of_targets(each).saturating_mul(hosts)),
            }
            if self.route == Route::Nat {
                add(Limit::NatGateway, of_targets(self.connections_of_nat()));
            }
        }
        let ceiling = Ceiling::new(self.instance_type.memory_mib << 20, self.tracking);
        add(Limit::ConnectionMemory, of_users(ceiling.by_memory).saturating_mul(hosts));
        if let Some(tracked) = ceiling.by_tracking {
            add(Limit::ConnectionTracking, of_users(tracked).saturating_mul(hosts));
        }
        if let Some(tracked) = self.tracked_of_primary() {
            // The part of the connections that public targets have.
            let all = u128::from(tracked) * u128::from(targets.all());
            if let Some(all) = all.checked_div(targets.public.into()) {
                add(Limit::ConnectionTracking, of_users(clamped(all)).saturating_mul(hosts));
            }
        }
        let memory = visible_memory(self.instance_type.memory_mib << 20);
        add(Limit::Memory, users_in(memory, workload).saturating_mul(hosts));
        if let Some(heap) = heap {
            add(Limit::Heap, users_in_heap(heap, workload).saturating_mul(hosts));
        }
        let descriptors =
            trunnion_host::descriptors(self.sources().saturating_mul(self.ports)).saturating_sub(GATLING_DESCRIPTORS);
        add(Limit::Descriptors, of_users(descriptors).saturating_mul(hosts));
        let rate = rate_in_millionths(workload);
        if rate > 0 {
            let micros = u128::from(self.instance_type.vcpu) * 1_000_000 * u128::from(CPU_PERCENT) / 100;
            let users = micros * 1_000_000 / (u128::from(CPU_MICROS_PER_REQUEST) * rate);
            add(Limit::Cpu, clamped(users).saturating_mul(hosts));
            let bits = u128::from(workload.bytes_per_request.larger()) * 8 * rate;
            let bandwidth = u128::from(self.mbps(workload)) * 1_000_000 * u128::from(BANDWIDTH_PERCENT) / 100;
            if let Some(users) = (bandwidth * 1_000_000).checked_div(bits) {
                add(Limit::Bandwidth, clamped(users).saturating_mul(hosts));
            }
        }
        bounds
    }

    /// How many connections to one destination the NAT gateway holds.
    fn connections_of_nat(&self) -> u64 {
        let addresses = self.nat_gateway.as_ref().map_or(1, |gateway| gateway.addresses.max(1));
        NAT_CONNECTIONS.saturating_mul(addresses.into())
    }

    /// How many connections to one destination are surely possible from this many of its addresses.
    fn reachable(&self, sources: u64) -> u64 {
        sources.saturating_mul(self.ports.saturating_sub(UNSTEADY_PORTS)).saturating_sub(OWN_PORTS)
    }

    /// Over how many addresses connections are spread.
    pub fn sources(&self) -> u64 {
        self.mode.sources(self.interfaces, self.addresses, self.tracking)
    }

    /// From how many addresses connections reach the internet; `None` if from all that connections are spread over.
    fn public_sources(&self) -> Option<u64> {
        match (self.mode, self.route) {
            // Gatling does not connect to a public address from a private one that a simulation names.
            (Mode::Simulation, _) | (_, Route::None) => Some(0),
            (Mode::Off, Route::InternetGateway) => Some(u64::from(self.public_addresses.min(1))),
            (Mode::Kernel, Route::InternetGateway) => Some(u64::from(self.public_addresses)),
            _ => None,
        }
    }

    /// How many connections to the internet an untracked host holds until EC2 tracks as many as it is known to: those of the public
    /// addresses on its primary interface, which get their part of all.
    fn tracked_of_primary(&self) -> Option<u64> {
        let is_public =
            self.tracking == Tracking::Untracked && self.public_sources().is_some_and(|sources| sources > 0);
        let tracked = Ceiling::new(0, Tracking::Tracked).by_tracking.filter(|_| is_public)?;
        let on_primary = self.public_addresses.div_ceil(self.interfaces.max(1)).max(1);
        Some(tracked.saturating_mul(self.public_addresses.into()) / u64::from(on_primary))
    }

    /// Whether the ports of public addresses are enough for these users.
    pub(crate) fn has_ports(&self, hosts: u32, virtual_users: u64, workload: &Workload) -> bool {
        let bounds = self.bounds(hosts, workload, None);
        let ports = bounds.iter().find(|bound| bound.limit == Limit::PublicSourcePorts);
        ports.is_none_or(|bound| bound.virtual_users >= virtual_users)
    }

    /// The bandwidth that the targets can use, in Mbit/s.
    fn mbps(&self, workload: &Workload) -> u64 {
        let baseline = u64::from(self.instance_type.baseline_mbps);
        match self.route {
            Route::InternetGateway if workload.targets.public == 0 => baseline,
            Route::InternetGateway if self.instance_type.vcpu >= HALF_BANDWIDTH_VCPU => baseline / 2,
            Route::InternetGateway => baseline.min(INTERNET_MBPS),
            _ => baseline,
        }
    }

    /// The next step that raises a limit.
    fn lifted_by(&self, limit: Limit, workload: &Workload) -> String {
        let kind = self.instance_type;
        let has_room = self.interfaces < kind.max_interfaces() || self.addresses < kind.ipv4_per_interface;
        match limit {
            Limit::SourcePorts if self.mode == Mode::Off => "`generator.spread: kernel`".to_owned(),
            Limit::SourcePorts if self.mode == Mode::Simulation && workload.targets.private > 1 => {
                "`generator.spread: kernel`".to_owned()
            }
            Limit::SourcePorts if has_room => format!(
                "more `addresses` or `interfaces` ({} allows {} with {} addresses each), or more hosts",
                kind.name,
                kind.max_interfaces(),
                kind.ipv4_per_interface
            ),
            Limit::SourcePorts => "more hosts".to_owned(),
            Limit::PublicSourcePorts => "more `public_addresses`, or more hosts".to_owned(),
            Limit::ConnectionMemory | Limit::Memory => {
                "an instance type with more memory, or more hosts".to_owned()
            }
            Limit::ConnectionTracking if self.interfaces > 1 => "`tracking: untracked`".to_owned(),
            Limit::ConnectionTracking => "`tracking: untracked` with more `interfaces`, or more hosts".to_owned(),
            Limit::NatGateway => {
                "`public_addresses` in a subnet that routes to an internet gateway, or more addresses of the NAT gateway"
                    .to_owned()
            }
            Limit::Heap => "a larger `-Xmx` in the location's `jvm_options`".to_owned(),
            Limit::Descriptors => "several tests at once, or more hosts".to_owned(),
            Limit::Cpu => "an instance type with more vCPUs, or more hosts".to_owned(),
            Limit::Bandwidth => "an instance type with more bandwidth, or more hosts".to_owned(),
            Limit::Route if self.mode == Mode::Simulation => "`generator.spread: kernel`".to_owned(),
            Limit::Route if self.route == Route::InternetGateway => "`public_ip: true` or `public_addresses`".to_owned(),
            Limit::Route => "a subnet with a route to the internet".to_owned(),
        }
    }
}

impl Limit {
    /// The limit in a few words, after a number of users.
    pub const fn words(self) -> &'static str {
        match self {
            Self::SourcePorts => "the local ports of its addresses",
            Self::PublicSourcePorts => "the local ports of its public addresses",
            Self::ConnectionMemory => "the kernel's memory for connections",
            Self::ConnectionTracking => "EC2's connection tracking",
            Self::NatGateway => "the NAT gateway, 55,000 connections of an address to each target",
            Self::Memory => "memory",
            Self::Heap => "the JVM's heap",
            Self::Descriptors => "file descriptors of one JVM",
            Self::Cpu => "CPU",
            Self::Bandwidth => "bandwidth",
            Self::Route => "no way to the public targets",
        }
    }
}

/// Memory of one user with the margin, in bytes.
fn gatling_bytes(workload: &Workload) -> u128 {
    u128::from(workload.memory_per_user) * (100 + u128::from(workload.memory_margin_percent)) / 100
}

/// How many users fit into this much memory, beside the operating system and Gatling itself.
pub fn users_in(memory: u64, workload: &Workload) -> u64 {
    let kernel = u128::from(workload.connections_per_user) * u128::from(KERNEL_BYTES_PER_CONNECTION);
    let each = (gatling_bytes(workload) + kernel).max(1);
    clamped(u128::from(memory.saturating_sub(SYSTEM_BYTES + GATLING_BYTES)) / each)
}

/// How many users fit into a heap: each takes what it takes of memory. Heaps of 6,100 B for each user held 66,000 to 120,000
/// WebSocket users (Gatling 3.15.1, Java 17, November 2026).
pub fn users_in_heap(heap: u64, workload: &Workload) -> u64 {
    clamped(u128::from(heap) / gatling_bytes(workload).max(1))
}

/// The heap that these users need, in bytes: the inverse of [`users_in_heap`].
pub fn heap_for(users: u64, workload: &Workload) -> u64 {
    clamped(u128::from(users).saturating_mul(gatling_bytes(workload)))
}

/// How many virtual users hosts of several pools hold together. Those behind the same NAT gateway share it.
pub fn held_by<'a>(pools: impl IntoIterator<Item = (&'a Host, u32)>, workload: &Workload) -> u64 {
    let mut others = 0_u64;
    // Of each gateway: what its hosts hold, and what it holds.
    let mut of_nat: BTreeMap<Option<&str>, (u64, u64)> = BTreeMap::new();
    for (host, hosts) in pools {
        let capacity = host.capacity(hosts, workload, None);
        let sum = match capacity.bounds.iter().find(|bound| bound.limit == Limit::NatGateway) {
            Some(bound) => {
                let id = host.nat_gateway.as_ref().map(|gateway| gateway.id.as_str());
                &mut of_nat.entry(id).or_insert((0, bound.virtual_users)).0
            }
            None => &mut others,
        };
        *sum = sum.saturating_add(capacity.virtual_users);
    }
    of_nat.into_values().fold(others, |sum, (hosts, gateway)| sum.saturating_add(hosts.min(gateway)))
}

/// Requests of a user a second, in millionths.
pub(crate) fn rate_in_millionths(workload: &Workload) -> u128 {
    (workload.requests_per_second_per_user * Decimal::from(1_000_000)).trunc().to_u128().unwrap_or_default()
}

/// Requests a second of these users, rounded down.
pub fn requests_per_second(users: u64, workload: &Workload) -> u64 {
    clamped(u128::from(users).saturating_mul(rate_in_millionths(workload)) / 1_000_000)
}

/// Packets of a request and its response, without acknowledgements.
fn packets(workload: &Workload) -> u64 {
    let of = |bytes: u64| bytes.div_ceil(BYTES_PER_PACKET).max(1);
    match workload.bytes_per_request {
        crate::Bytes::Together(bytes) => of(bytes).saturating_add(1),
        crate::Bytes::Each { sent, received } => of(sent).saturating_add(of(received)),
    }
}

fn clamped(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
