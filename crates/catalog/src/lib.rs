//! Facts of EC2 instance types (interfaces per network card, addresses, vCPU, memory, bandwidth), [list prices](prices),
//! AWS's partitions, [quotas of vCPUs](VcpuQuota), and the limits of AWS services that a stack can reach.
//!
//! The facts come from dated files that are part of the program (`data/*.csv`; their headers name the sources). This
//! crate makes no AWS calls.
//!
//! ```
//! let big = trunnion_catalog::instance_type("c6in.32xlarge").unwrap();
//! assert_eq!(big.cards, [8, 8]);
//! assert_eq!(big.interfaces_in_words(), "16 (8 on each of 2 network cards)");
//! ```
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod file;
pub mod limits;
mod partition;
pub mod prices;
mod vcpu_quotas;

use std::{cmp::Reverse, fmt, sync::LazyLock};

use serde::{Deserialize, Serialize};

pub use crate::{
    partition::{COMMERCIAL, PARTITIONS, Partition},
    prices::Usd,
    vcpu_quotas::VcpuQuota,
};

/// Processor architecture, with AWS's spelling.
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
    /// Every architecture.
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

/// The region with the most known prices.
const MOST_PRICES: &str = "us-east-1";

/// The facts of one instance type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceType {
    /// AWS's name, such as `c6in.32xlarge`.
    pub name: &'static str,
    /// The architecture of its processors.
    pub architecture: Architecture,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Sustained bandwidth of all its network cards together, in Mbit/s.
    pub baseline_mbps: u32,
    /// Burst bandwidth of all its network cards together, in Mbit/s; equal to the baseline where the type does not
    /// burst.
    pub peak_mbps: u32,
    /// How many interfaces each network card allows, card 0 first.
    pub cards: Vec<u32>,
    /// How many private IPv4 addresses one interface allows, the primary one included.
    pub ipv4_per_interface: u32,
}

impl InstanceType {
    /// How many network interfaces the type allows on all its cards together.
    pub fn max_interfaces(&self) -> u32 {
        self.cards.iter().sum()
    }

    /// Whether the type allows this many interfaces with this many IPv4 addresses on each.
    pub fn fits(&self, interfaces: u32, addresses: u32) -> bool {
        interfaces <= self.max_interfaces() && addresses <= self.ipv4_per_interface
    }

    /// How many interfaces the type allows, for a message: `16 (8 on each of 2 network cards)`, or `15` with a single
    /// card.
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

    /// The type to suggest instead of this one when it has too few interfaces or addresses.
    ///
    /// Only general purpose, compute and memory types that are not bare metal are suggested. The order of preference:
    /// the same architecture; at least the same bandwidth; a known price (prices are known for the types made for
    /// networking); the fewest vCPUs; the least memory; the highest bandwidth.
    pub fn larger(&self, interfaces: u32, addresses: u32) -> Option<&'static InstanceType> {
        instance_types().filter(|other| other.fits(interfaces, addresses) && other.is_general()).min_by_key(|other| {
            (
                other.architecture != self.architecture,
                other.baseline_mbps < self.baseline_mbps,
                prices::on_demand(other.name, MOST_PRICES).is_none(),
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

/// The known name that is most similar to this one, if one is similar enough to be a likely typing error.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    // A text longer than any name is not a typing error, and the cost of a comparison grows with its length.
    if name.len() > 40 {
        return None;
    }
    instance_types()
        .map(|known| (strsim::damerau_levenshtein(&name, known.name), known.name))
        .filter(|(distance, known)| distance * 3 <= known.len())
        .min_by_key(|&(distance, known)| {
            // Of two equally similar names, prefer the one with the size that was typed.
            (distance, size(known) != size(&name), known)
        })
        .map(|(_, known)| known)
}

fn size(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, size)| size)
}

#[cfg(test)]
mod tests;
