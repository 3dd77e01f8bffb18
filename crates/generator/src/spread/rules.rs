//! Which sources connections to a destination have: pure, from the config, the layout and the usable addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net};
use trunnion_host::{Config, Except, Route};

use super::maps::{Group, Key, Treatment, always_except, prefix};
use crate::layout::Layout;

/// Every address of IPv4.
const ANYWHERE: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));

/// Which sources connections to a destination have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The sources of connections to private destinations, and to all others of which `all` says so.
    pub(crate) sources: Vec<IpAddr>,
    /// The sources of IPv4 that have a public address, which those to other destinations have.
    pub(crate) public: Vec<IpAddr>,
    /// Destinations to which connections are not spread, in addition to those to which they never are.
    pub(crate) except: Vec<IpNet>,
    /// Destinations that all sources reach.
    pub(crate) all: Vec<IpNet>,
}

impl Rules {
    /// These sources for every destination.
    pub(crate) fn everywhere(sources: Vec<IpAddr>, except: Vec<IpNet>) -> Self {
        Self { sources, public: Vec::new(), except, all: vec![ANYWHERE] }
    }

    /// The rules for a host of this config. `usable` are the addresses that the kernel can bind.
    ///
    /// If the default route leads to an internet gateway, only addresses that have a public one reach the internet. The
    /// primary interface's count among them even if it is none of the load interfaces. Every address of IPv6 is public.
    pub(crate) fn new(config: &Config, layout: &Layout, usable: &[IpAddr]) -> Self {
        let load: BTreeSet<IpAddr> =
            layout.load_interfaces(config).iter().flat_map(|interface| interface.addresses.iter().copied()).collect();
        let sources = usable.iter().copied().filter(|address| load.contains(address)).collect();
        let rules = Self::everywhere(sources, except(config, Some(layout)));
        match &config.network {
            Some(network) if network.default_routes.ipv4 == Route::InternetGateway => {
                let public: BTreeSet<IpAddr> =
                    layout.interfaces.iter().flat_map(|interface| interface.public.iter().copied()).collect();
                let public = usable.iter().copied().filter(|address| public.contains(address)).collect();
                Self { public, all: network.private_ranges.clone(), ..rules }
            }
            _ => rules,
        }
    }

    /// Every source.
    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.sources.iter().chain(&self.public).map(IpAddr::to_canonical).collect()
    }

    pub(super) fn groups(&self) -> BTreeMap<Group, BTreeSet<IpAddr>> {
        let mut groups: BTreeMap<Group, BTreeSet<IpAddr>> = Group::ALL.map(|group| (group, BTreeSet::new())).into();
        let all = self.sources.iter().map(IpAddr::to_canonical).map(|address| (Group::all(address), address));
        let public = self.public.iter().map(IpAddr::to_canonical).map(|address| (Group::Public, address));
        for (group, address) in all.chain(public) {
            groups.entry(group).or_default().insert(address);
        }
        groups
    }

    /// The treatment of prefixes. The longest prefix of a destination counts, so a range within an exception is left out.
    pub(super) fn destinations(&self) -> BTreeMap<(u32, Key), Treatment> {
        let except: Vec<IpNet> = always_except().into_iter().chain(self.except.iter().copied()).collect();
        let all = self.all.iter().filter(|range| !except.iter().any(|wider| wider.contains(*range)));
        let all = all.map(|&range| (prefix(range), Treatment::All));
        all.chain(except.iter().map(|&range| (prefix(range), Treatment::Except))).collect()
    }
}

/// The destinations to which connections are not spread, by the config.
pub(super) fn except(config: &Config, layout: Option<&Layout>) -> Vec<IpNet> {
    let subnets = || {
        layout.iter().flat_map(|layout| &layout.interfaces).flat_map(|interface| {
            let ipv6 = interface.ipv6.map(|(subnet, _)| IpNet::V6(subnet));
            [IpNet::V4(interface.subnet)].into_iter().chain(ipv6)
        })
    };
    let mut ranges = Vec::new();
    for except in &config.spread.except {
        match except {
            Except::OwnSubnets => ranges.extend(subnets()),
            Except::Range(range) => ranges.push(*range),
        }
    }
    ranges
}
