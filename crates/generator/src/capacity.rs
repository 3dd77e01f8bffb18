//! How many connections a host can hold: what the plan promises by it, and what the host's own check compares with.

use serde::{Deserialize, Serialize};

use crate::Mode;

/// Kernel memory of one established and idle TCP connection, in bytes: 5.4 KB, as measured for 5,000,000 connections of
/// one client host with 128 GB (published figure, read August 2026).
pub const BYTES_PER_CONNECTION: u64 = 5_400;

/// The local ports that outgoing connections take, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl Ports {
    /// What Gatling's operations page asks for (read August 2026): all but the ports of the system.
    pub const WIDEST: Self = Self { first: 1024, last: 65_535 };

    /// How many ports that is.
    pub fn count(self) -> u64 {
        (u64::from(self.last) + 1).saturating_sub(u64::from(self.first))
    }
}

/// How many connections a host can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// To one destination address and port: one for every local port of every address that connections come from.
    pub per_destination: u64,
    /// To all destinations together, as far as memory bears them.
    pub total: u64,
}

impl Connections {
    /// What a host whose connections come from this many addresses ([`Mode::sources`]), and whose instance type has this
    /// much memory, is promised to hold. The total is never more than what the ports hold towards one destination. An
    /// operating system sees somewhat less than the memory of its instance type, so a tenth of it does not count.
    pub fn promised(sources: u64, memory_bytes: u64) -> Self {
        let per_destination = sources.saturating_mul(Ports::WIDEST.count());
        Self { per_destination, total: per_destination.min(most_by_memory(memory_bytes / 10 * 9)) }
    }
}

impl Mode {
    /// How many of a host's addresses connections come from.
    pub fn sources(self, addresses: u64) -> u64 {
        match self {
            Self::Kernel | Self::Simulation => addresses,
            Self::Off => addresses.min(1),
        }
    }
}

/// How many connections fit into half of the memory; the other half is for the simulations.
pub fn most_by_memory(memory_bytes: u64) -> u64 {
    memory_bytes / 2 / BYTES_PER_CONNECTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_bind_on_large_hosts_and_memory_on_small_ones() {
        let large = Connections::promised(240, 256 << 30);
        assert_eq!((large.per_destination, large.total), (15_482_880, 15_482_880));
        let small = Connections::promised(60, 8 << 30);
        assert_eq!((small.per_destination, small.total), (3_870_720, 715_827));
    }

    #[test]
    fn without_spreading_one_address_is_all_there_is() {
        let of = |mode: Mode| Connections::promised(mode.sources(240), 256 << 30).per_destination;
        assert_eq!((of(Mode::Kernel), of(Mode::Simulation), of(Mode::Off)), (15_482_880, 15_482_880, 64_512));
    }

    #[test]
    fn a_range_that_is_turned_round_holds_nothing() {
        assert_eq!(Ports::WIDEST.count(), 64_512);
        assert_eq!(Ports { first: 2, last: 1 }.count(), 0);
    }
}
