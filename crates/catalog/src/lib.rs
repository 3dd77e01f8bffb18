//! What an EC2 instance type can do: interfaces per network card, addresses, vCPU, memory, bandwidth, price. Beside them,
//! AWS's partitions, and the limits of its services that a stack can meet.
//!
//! In: the name of an instance type. Out: its facts, from a dated file that is part of the program
//! (`data/instance-types.csv`, whose header names its sources). Nothing here asks AWS.
//!
//! ```
//! let big = trunnion_catalog::instance_type("c6in.32xlarge").unwrap();
//! assert_eq!(big.cards, [8, 8]);
//! assert_eq!(big.interfaces_in_words(), "16 (8 on each of 2 network cards)");
//! ```
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod file;
pub mod limits;
mod money;
mod partition;

use std::{cmp::Reverse, fmt, sync::LazyLock};

use serde::{Deserialize, Serialize};

pub use crate::{
    money::UsdPerHour,
    partition::{COMMERCIAL, PARTITIONS, Partition},
};

/// The day of the prices and of the bandwidth figures, and the region the prices are of.
pub const PRICES_AS_OF: &str = "us-east-1, 2026-07-20";

/// Processor architecture, spelled as AWS does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Architecture {
    /// Intel and AMD.
    #[serde(rename = "x86_64")]
    X86_64,
    /// AWS Graviton.
    #[serde(rename = "arm64")]
    Arm64,
}

impl Architecture {
    /// Every architecture, in order.
    pub const ALL: [Architecture; 2] = [Architecture::X86_64, Architecture::Arm64];

    /// AWS's spelling: `x86_64` or `arm64`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The facts of one instance type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceType {
    /// AWS's name, such as `c6in.32xlarge`.
    pub name: &'static str,
    /// What its processors run.
    pub architecture: Architecture,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Bandwidth in Mbit/s that all its network cards hold together for any time.
    pub baseline_mbps: u32,
    /// Bandwidth in Mbit/s that all its network cards reach together for a while; the baseline where there is no burst.
    pub peak_mbps: u32,
    /// How many interfaces each network card takes at most, card 0 first.
    pub cards: Vec<u32>,
    /// How many private IPv4 addresses one interface takes, the primary one included.
    pub ipv4_per_interface: u32,
    /// On-demand price of Linux as of [`PRICES_AS_OF`], where it is known.
    pub on_demand: Option<UsdPerHour>,
}

impl InstanceType {
    /// How many network interfaces it takes over all cards.
    pub fn max_interfaces(&self) -> u32 {
        self.cards.iter().sum()
    }

    /// Whether it takes this many interfaces with this many IPv4 addresses on each.
    pub fn fits(&self, interfaces: u32, addresses: u32) -> bool {
        interfaces <= self.max_interfaces() && addresses <= self.ipv4_per_interface
    }

    /// How many interfaces it takes, for a message: `16 (8 on each of 2 network cards)`, or `15` with a single card.
    pub fn interfaces_in_words(&self) -> String {
        let total = self.max_interfaces();
        match self.cards.as_slice() {
            [] | [_] => total.to_string(),
            [first, rest @ ..] if rest.iter().all(|card| card == first) => {
                format!("{total} ({first} on each of {} network cards)", self.cards.len())
            }
            cards => {
                let each: Vec<String> = cards.iter().map(u32::to_string).collect();
                format!("{total} ({} on its network cards)", each.join(" + "))
            }
        }
    }

    /// The type to take instead of this one for more interfaces or addresses than it has.
    ///
    /// One for general, compute or memory work that is no bare metal; with the same architecture before another, with
    /// no less bandwidth before less, with a known price before none (those are the ones made for networking), then the
    /// smallest and the fastest.
    pub fn larger(&self, interfaces: u32, addresses: u32) -> Option<&'static InstanceType> {
        instance_types().filter(|other| other.fits(interfaces, addresses) && other.is_general()).min_by_key(|other| {
            (
                other.architecture != self.architecture,
                other.baseline_mbps < self.baseline_mbps,
                other.on_demand.is_none(),
                other.vcpu,
                other.memory_mib,
                Reverse(other.baseline_mbps),
                other.name,
            )
        })
    }

    fn is_general(&self) -> bool {
        let mut letters = self.name.chars();
        matches!(letters.next(), Some('c' | 'm' | 'r'))
            && letters.next().is_some_and(|second| second.is_ascii_digit())
            && !self.name.contains("metal")
    }
}

static TYPES: LazyLock<Vec<InstanceType>> = LazyLock::new(|| file::read(include_str!("../data/instance-types.csv")));

/// The facts of the instance type with this name.
pub fn instance_type(name: &str) -> Option<&'static InstanceType> {
    let at = TYPES.binary_search_by(|known| known.name.cmp(name)).ok()?;
    TYPES.get(at)
}

/// Every known instance type, sorted by name.
pub fn instance_types() -> impl Iterator<Item = &'static InstanceType> {
    TYPES.iter()
}

/// The known name that is most like this one, if any is near enough to be what was meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    // A longer text than any name is no slip of the pen, and comparing it would cost its length each time.
    if name.len() > 40 {
        return None;
    }
    instance_types()
        .map(|known| (strsim::damerau_levenshtein(&name, known.name), known.name))
        .filter(|(distance, known)| distance * 3 <= known.len())
        .min_by_key(|&(distance, known)| {
            // Among equally near ones the size that was typed is the more likely to be meant.
            (distance, size(known) != size(&name), known)
        })
        .map(|(_, known)| known)
}

fn size(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, size)| size)
}

#[cfg(test)]
mod tests;
