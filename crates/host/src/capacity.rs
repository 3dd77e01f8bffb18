//! How many connections a host can hold: the figures that a plan promises, and that the host's own check compares with.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Mode, Tracking};

/// Kernel memory of one established and idle TCP connection, in bytes: 5.4 KB, as measured for 5,000,000 connections of
/// one client host with 128 GB (published figure, read August 2026).
pub const BYTES_PER_CONNECTION: u64 = 5_400;

/// How many connections a host is promised to hold while EC2 tracks them. Its allowance is not published; AWS shows one
/// instance with 136,812 ("Monitor network performance for ENA settings on your EC2 instance", read August 2026).
const TRACKED_CONNECTIONS: u64 = 100_000;

/// The range of local ports for outgoing connections, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl Ports {
    /// The range that Gatling's operations page asks for (read August 2026): all but the system ports.
    pub const WIDEST: Self = Self { first: 1024, last: 65_535 };

    /// Whether the range has this port.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// The number of ports; 0 if `last` is below `first`.
    pub fn count(self) -> u64 {
        (u64::from(self.last) + 1).saturating_sub(u64::from(self.first))
    }

    /// The range without its first and its last port. Linux prefers ports of the parity of the first port, so this range
    /// prefers the other half of the ports; the service alternates between the two.
    #[must_use]
    pub fn alternate(self) -> Self {
        // A range of three ports or fewer stays as it is.
        let by = u16::from(self.last > self.first.saturating_add(2));
        Self { first: self.first.saturating_add(by), last: self.last.saturating_sub(by) }
    }

    /// The number of ports for outgoing connections while these are reserved for services.
    pub fn count_without(self, listeners: impl IntoIterator<Item = u16>) -> u64 {
        let taken: BTreeSet<u16> = listeners.into_iter().filter(|port| self.contains(*port)).collect();
        self.count().saturating_sub(taken.len() as u64)
    }
}

/// How many connections a host can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// To one destination address and port: one for each local port of each source address.
    pub per_destination: u64,
    /// To all destinations together: limited by memory, and by EC2 where it tracks connections.
    pub total: u64,
}

impl Connections {
    /// The promise for a host with this many source addresses ([`Mode::sources`]), this many local ports for each
    /// ([`crate::Config::ports_per_address`]) and an instance type with this much memory.
    ///
    /// The total is at most what the ports hold to one destination, and at most the [`Ceiling`].
    pub fn promised(sources: u64, ports: u64, memory_bytes: u64, tracking: Tracking) -> Self {
        let per_destination = sources.saturating_mul(ports);
        let Ceiling { by_memory, by_tracking } = Ceiling::new(memory_bytes, tracking);
        Self { per_destination, total: per_destination.min(by_memory).min(by_tracking.unwrap_or(u64::MAX)) }
    }
}

/// How many connections to all destinations together a host is promised to hold, if it has enough ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// By its memory.
    pub by_memory: u64,
    /// By EC2's connection tracking, if EC2 tracks them.
    pub by_tracking: Option<u64>,
}

impl Ceiling {
    /// The ceiling for an instance type with this much memory.
    pub fn new(memory_bytes: u64, tracking: Tracking) -> Self {
        Self {
            by_memory: most_by_memory(visible_memory(memory_bytes)),
            by_tracking: (tracking == Tracking::Tracked).then_some(TRACKED_CONNECTIONS),
        }
    }
}

/// The memory that the operating system sees of an instance type's: 10 % less.
pub fn visible_memory(memory_bytes: u64) -> u64 {
    memory_bytes / 10 * 9
}

/// The limit of open files of one process that Gatling's operations page recommends.
const DESCRIPTORS: u64 = 1_048_576;
/// The value of `fs.nr_open` that the same page recommends.
const MOST_DESCRIPTORS: u64 = 1_073_741_816;

/// The limit of open files of one process on a host with this many connections to one destination.
pub fn descriptors(per_destination: u64) -> u64 {
    per_destination.clamp(DESCRIPTORS, MOST_DESCRIPTORS)
}

impl Mode {
    /// The number of source addresses of a host: all, without those of the primary interface if the other interfaces are
    /// untracked. EC2 tracks every connection of the primary interface, because its security group is closed.
    pub fn sources(self, interfaces: u32, addresses: u32, tracking: Tracking) -> u64 {
        let interfaces = match (self, tracking) {
            (Self::Off, _) => return 1,
            (_, Tracking::Untracked) => interfaces.saturating_sub(1).max(1),
            (_, Tracking::Tracked) => interfaces,
        };
        u64::from(interfaces) * u64::from(addresses)
    }
}

/// The number of connections that half of the memory holds. The other half is for the simulations.
pub fn most_by_memory(memory_bytes: u64) -> u64 {
    memory_bytes / 2 / BYTES_PER_CONNECTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_limit_large_hosts_and_memory_limits_small_ones() {
        let large = Connections::promised(240, 64_511, 256 << 30, Tracking::Untracked);
        assert_eq!((large.per_destination, large.total), (15_482_640, 15_482_640));
        let small = Connections::promised(60, 64_511, 8 << 30, Tracking::Untracked);
        assert_eq!((small.per_destination, small.total), (3_870_660, 715_827));
    }

    #[test]
    fn a_tracked_host_is_promised_what_ec2_is_known_to_track() {
        let tracked = Connections::promised(240, 64_511, 256 << 30, Tracking::Tracked);
        assert_eq!((tracked.per_destination, tracked.total), (15_482_640, 100_000));
        assert_eq!(Connections::promised(1, 64_511, 256 << 30, Tracking::Tracked).total, 64_511);
    }

    #[test]
    fn the_sources_are_the_addresses_that_connections_are_spread_over() {
        let tracked = |mode: Mode| mode.sources(8, 30, Tracking::Tracked);
        assert_eq!((tracked(Mode::Kernel), tracked(Mode::Simulation), tracked(Mode::Off)), (240, 240, 1));
        let untracked = |interfaces| Mode::Kernel.sources(interfaces, 30, Tracking::Untracked);
        assert_eq!((untracked(8), untracked(2), untracked(1)), (210, 30, 30));
    }

    #[test]
    fn a_reversed_range_has_no_ports() {
        assert_eq!((Ports::WIDEST.count(), Ports::WIDEST.count_without([9_464, 9_464])), (64_512, 64_511));
        assert_eq!(Ports { first: 2_000, last: 2_099 }.count_without([9_464, 2_000, 2_099, 2_100]), 98);
        assert_eq!(Ports::WIDEST.alternate(), Ports { first: 1_025, last: 65_534 });
        let narrow = Ports { first: 65_533, last: 65_535 };
        assert_eq!(narrow.alternate(), narrow);
        assert_eq!(Ports { first: 2, last: 1 }.count(), 0);
    }
}
