//! The allowances of the Elastic Network Adapter: EC2 limits bandwidth, packets and tracked connections of an instance, and
//! the driver counts the packets that exceeded a limit (EC2 User Guide, "Monitor network performance for ENA settings on your
//! EC2 instance").

use trunnion_host::{Config, Tracking};

use super::{
    kernel::{self, Driver},
    verdict::Check,
};
use crate::layout::Layout;

const AVAILABLE: &str = "conntrack_allowance_available";
const EXCEEDED: &str = "_allowance_exceeded";
pub(super) const UNTRACKED: &str = "set `tracking: untracked` for the pool, or use a larger instance type";

/// The allowances of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ena {
    pub(crate) interface: String,
    pub(crate) driver: String,
    /// Packets that were queued or dropped, by allowance: `bw_in`, `bw_out`, `pps`, `conntrack`, `linklocal`.
    pub(crate) exceeded: Vec<(String, u64)>,
    /// How many further connections EC2 can track. It is a figure of the instance, the same on all interfaces.
    pub(crate) conntrack_available: Option<u64>,
}

impl Ena {
    /// Asks the driver of each interface. Other drivers than ENA have no allowances.
    pub(crate) fn look(layout: &Layout) -> Vec<Self> {
        let names = layout.interfaces.iter().map(|interface| interface.name.as_str());
        names.filter_map(|name| Some(read(name, kernel::driver(name).ok()?))).collect()
    }
}

fn read(interface: &str, driver: Driver) -> Ena {
    let mut ena =
        Ena { interface: interface.to_owned(), driver: driver.name, exceeded: Vec::new(), conntrack_available: None };
    for (name, value) in driver.statistics {
        if name == AVAILABLE {
            ena.conntrack_available = Some(value);
        } else if let Some(allowance) = name.strip_suffix(EXCEEDED) {
            ena.exceeded.push((allowance.to_owned(), value));
        }
    }
    ena
}

/// How many connections EC2 can track for the instance: those that its allowance leaves, plus those that exist.
pub(super) fn trackable(ena: &[Ena], connections: u64) -> Option<u64> {
    let available = ena.iter().filter_map(|interface| interface.conntrack_available).min()?;
    Some(available.saturating_add(connections))
}

/// A warning at most: an allowance that was exceeded in the past says nothing about now. The tracked connections are part of
/// the capacity.
pub(super) fn judge(config: &Config, ena: &[Ena]) -> Check {
    const NAME: &str = "ena";
    let adapters = ena.iter().filter(|interface| interface.driver == "ena").count();
    let mut details = Vec::new();
    for interface in ena {
        for (allowance, count) in interface.exceeded.iter().filter(|(_, count)| *count > 0) {
            details.push(format!("`{}`: {count} packets since boot exceeded `{allowance}`", interface.interface));
        }
    }
    if !details.is_empty() {
        let help = match config.tracking {
            Tracking::Tracked => UNTRACKED,
            Tracking::Untracked => "use a larger instance type",
        };
        return Check::warning(NAME, "this host exceeded allowances of EC2", help).with(details);
    }
    if adapters == 0 {
        return Check::ok(NAME, "no ENA interface, so there are no allowances to read");
    }
    Check::ok(NAME, format!("{adapters} ENA interfaces, no allowance exceeded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_statistics_are_no_allowances() {
        let statistics = [("tx_timeout", 1), ("bw_in_allowance_exceeded", 2), (AVAILABLE, 136_812)];
        let statistics = statistics.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let ena = read("ens5", Driver { name: "ena".into(), statistics });
        assert_eq!(ena.exceeded, [("bw_in".to_owned(), 2)]);
        assert_eq!(ena.conntrack_available, Some(136_812));
        assert_eq!(trackable(&[ena], 188), Some(137_000));
        assert_eq!(trackable(&[], 188), None);
    }
}
