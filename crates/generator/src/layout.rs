//! The network that the host should have: every address with its interface, routing table and router. Pure: from the
//! metadata and the links of the kernel.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use trunnion_host::{Config, Mode, Tracking};

use crate::imds::{self, Metadata};

/// The number of the primary interface's routing table. Those of the others follow, as amazon-ec2-net-utils numbers them.
const TABLES: u32 = 10_000;
const TABLES_PER_CARD: u32 = 100;

/// Shorter delegated prefixes are an error. AWS delegates /28.
const SHORTEST_PREFIX: u8 = 24;

/// A network interface of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: [u8; 6],
}

/// The network that the host should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// By card and device; the first is the primary interface.
    pub(crate) interfaces: Vec<Interface>,
    /// MAC addresses of interfaces that are in the metadata but not in the kernel, as `aa:bb:cc:dd:ee:ff`.
    pub(crate) missing: Vec<String>,
}

/// The network that one interface should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) card: u32,
    pub(crate) device: u32,
    pub(crate) subnet: Ipv4Net,
    /// The VPC's router: the first address of the subnet.
    pub(crate) gateway: Ipv4Addr,
    /// The IPv6 range of the subnet, if it has one, and the VPC's router: the first address of that range.
    pub(crate) ipv6: Option<(Ipv6Net, Ipv6Addr)>,
    /// The routing table of its addresses, `10000 + 100 * card + device`.
    pub(crate) table: u32,
    /// All addresses, with those of prefixes; the primary IPv4 address is the first.
    pub(crate) addresses: Vec<IpAddr>,
    /// Those of IPv4 that have a public address.
    pub(crate) public: Vec<IpAddr>,
    /// The same addresses as ranges for source rules: one for each prefix and one for each other address.
    pub(crate) sources: Vec<IpNet>,
}

/// Why the metadata makes no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("the metadata has no interface that is device 0 of network card 0")]
    NoPrimary,
    #[error("the kernel has no link for the primary interface {mac}")]
    PrimaryMissing { mac: String },
    #[error("the metadata has two interfaces that are device {device} of network card {card}")]
    SameDevice { card: u32, device: u32 },
    #[error("the metadata has device {device} of network card {card}, more than any host has")]
    ManyDevices { card: u32, device: u32 },
    #[error("the metadata has the address {address} twice")]
    SameAddress { address: IpAddr },
    #[error("the metadata has {range} on an interface in subnet {subnet}, which does not contain it")]
    OutsideSubnet { range: IpNet, subnet: IpNet },
    #[error("the metadata has the delegated prefix {prefix}, which has too many addresses to configure")]
    LargePrefix { prefix: Ipv4Net },
}

impl Layout {
    /// The layout of this metadata on these links.
    pub(crate) fn new(metadata: &Metadata, links: &[Link]) -> Result<Self, LayoutError> {
        let mut given: Vec<&imds::Interface> = metadata.interfaces.iter().collect();
        given.sort_by_key(|interface| (interface.card, interface.device));
        let first = given.first().filter(|first| (first.card, first.device) == (0, 0)).ok_or(LayoutError::NoPrimary)?;
        let mut layout = Self { interfaces: Vec::new(), missing: Vec::new() };
        let mut seen = BTreeSet::new();
        let mut devices = BTreeSet::new();
        for interface in &given {
            let &imds::Interface { card, device, .. } = *interface;
            if !devices.insert((card, device)) {
                return Err(LayoutError::SameDevice { card, device });
            }
            let addresses = addresses(interface)?;
            if let Some(&address) = addresses.iter().find(|&&address| !seen.insert(address)) {
                return Err(LayoutError::SameAddress { address });
            }
            // A bridge or VLAN on top of an interface can have its MAC, too. It has a higher index.
            match links.iter().filter(|link| link.mac == interface.mac).min_by_key(|link| link.index) {
                Some(link) => layout.interfaces.push(Interface::new(interface, link, addresses)?),
                None if interface.mac == first.mac => {
                    return Err(LayoutError::PrimaryMissing { mac: mac(interface.mac) });
                }
                None => layout.missing.push(mac(interface.mac)),
            }
        }
        Ok(layout)
    }

    /// The interfaces whose addresses are sources of connections: all; without the primary one if the others are untracked;
    /// the primary one alone if connections are not spread.
    pub(crate) fn load_interfaces(&self, config: &Config) -> &[Interface] {
        let load = match (config.spread.mode, config.tracking) {
            (Mode::Off, _) => self.interfaces.get(..1),
            (_, Tracking::Untracked) if config.interfaces > 1 => self.interfaces.get(1..),
            (_, Tracking::Tracked | Tracking::Untracked) => Some(&*self.interfaces),
        };
        load.unwrap_or_default()
    }

    /// The primary address of the primary interface.
    pub(crate) fn primary_address(&self) -> Option<IpAddr> {
        self.interfaces.first()?.addresses.first().copied()
    }

    /// Every address of the host.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.interfaces.iter().flat_map(|interface| interface.addresses.iter().copied())
    }
}

impl Interface {
    /// Whether it is the host's primary interface.
    pub(crate) fn is_primary(&self) -> bool {
        (self.card, self.device) == (0, 0)
    }

    /// The subnet of each family that the interface has addresses of, with the VPC's router in it.
    pub(crate) fn subnets(&self) -> impl Iterator<Item = (IpNet, IpAddr)> + '_ {
        let ipv6 = self.ipv6.filter(|_| self.addresses.iter().any(IpAddr::is_ipv6));
        let ipv6 = ipv6.map(|(subnet, gateway)| (IpNet::from(subnet), IpAddr::from(gateway)));
        std::iter::once((self.subnet.into(), self.gateway.into())).chain(ipv6)
    }

    fn new(given: &imds::Interface, link: &Link, addresses: Vec<IpAddr>) -> Result<Self, LayoutError> {
        let &imds::Interface { card, device, .. } = given;
        if device >= TABLES_PER_CARD || card >= TABLES / TABLES_PER_CARD {
            return Err(LayoutError::ManyDevices { card, device });
        }
        let prefixes = given.prefixes.iter().map(|prefix| IpNet::from(prefix.trunc()));
        let prefixes = prefixes.chain(given.ipv6_prefixes.iter().map(|prefix| prefix.trunc().into()));
        let prefixes: Vec<IpNet> = prefixes.collect();
        let alone = addresses.iter().filter(|address| !prefixes.iter().any(|prefix| prefix.contains(*address)));
        Ok(Self {
            index: link.index,
            name: link.name.clone(),
            card,
            device,
            subnet: given.subnet.trunc(),
            gateway: Ipv4Addr::from_bits(given.subnet.network().to_bits().saturating_add(1)),
            ipv6: given
                .ipv6_subnets
                .first()
                .map(|subnet| (subnet.trunc(), Ipv6Addr::from_bits(subnet.network().to_bits().saturating_add(1)))),
            table: TABLES + TABLES_PER_CARD * card + device,
            public: addresses
                .iter()
                .copied()
                .filter(|address| given.public.iter().any(|public| public == address))
                .collect(),
            sources: alone.map(|&address| address.into()).chain(prefixes.iter().copied()).collect(),
            addresses,
        })
    }
}

/// All addresses of the interface, with those of its prefixes.
///
/// A delegated IPv6 prefix is a /80 with 2^48 addresses. As many of them are configured as the interface needs to have as many
/// addresses of IPv6 as of IPv4. The first one of a prefix is left out: it stands for every router (RFC 4291, section 2.6.1).
fn addresses(given: &imds::Interface) -> Result<Vec<IpAddr>, LayoutError> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for &address in &given.addresses {
        within(Ipv4Net::from(address).into(), given.subnet.into())?;
        addresses.push(address.into());
    }
    for &prefix in &given.prefixes {
        if prefix.prefix_len() < SHORTEST_PREFIX {
            return Err(LayoutError::LargePrefix { prefix });
        }
        within(prefix.into(), given.subnet.into())?;
        // All addresses: a delegated prefix is not a subnet, so it has no network or broadcast address.
        let first = prefix.network().to_bits();
        let last = prefix.broadcast().to_bits();
        addresses.extend((first..=last).map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))));
    }
    for &address in &given.ipv6_addresses {
        if !given.ipv6_subnets.iter().any(|subnet| subnet.contains(&address)) {
            let subnet = given.ipv6_subnets.first().map_or(IpNet::from(given.subnet), |&subnet| subnet.into());
            return Err(LayoutError::OutsideSubnet { range: IpNet::from(IpAddr::from(address)), subnet });
        }
        addresses.push(address.into());
    }
    for &prefix in &given.ipv6_prefixes {
        let subnet = given.ipv6_subnets.first().map_or(IpNet::from(given.subnet), |&subnet| subnet.into());
        if !given.ipv6_subnets.iter().any(|subnet| subnet.contains(&prefix)) {
            return Err(LayoutError::OutsideSubnet { range: prefix.into(), subnet });
        }
    }
    let (ipv4, ipv6) = (addresses.iter().filter(|address| address.is_ipv4()).count(), given.ipv6_addresses.len());
    let of_prefixes = given.ipv6_prefixes.iter().flat_map(|prefix| {
        let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
        (first.saturating_add(1)..=last).map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)))
    });
    addresses.extend(of_prefixes.take(ipv4.saturating_sub(ipv6)));
    Ok(addresses)
}

fn within(range: IpNet, subnet: IpNet) -> Result<(), LayoutError> {
    if subnet.contains(&range) { Ok(()) } else { Err(LayoutError::OutsideSubnet { range, subnet }) }
}

/// The usual notation of a MAC address.
pub(crate) fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(mac: u8, card: u32, device: u32) -> imds::Interface {
        let third = card * 50 + device;
        imds::Interface {
            mac: [2, 0, 0, 0, 0, mac],
            card,
            device,
            subnet: format!("10.0.{third}.0/24").parse().unwrap(),
            addresses: vec![format!("10.0.{third}.5").parse().unwrap(), format!("10.0.{third}.6").parse().unwrap()],
            prefixes: Vec::new(),
            public: Vec::new(),
            ipv6_subnets: Vec::new(),
            ipv6_addresses: Vec::new(),
            ipv6_prefixes: Vec::new(),
        }
    }

    fn link(index: u32, mac: u8) -> Link {
        Link { index, name: format!("ens{index}"), mac: [2, 0, 0, 0, 0, mac] }
    }

    fn layout(interfaces: Vec<imds::Interface>, links: &[Link]) -> Result<Layout, LayoutError> {
        Layout::new(&Metadata { interfaces }, links)
    }

    #[test]
    fn tables_and_gateways() {
        let given = vec![interface(3, 1, 1), interface(2, 0, 1), interface(1, 0, 0)];
        let links = [link(9, 2), link(5, 1), link(6, 2), link(7, 3)];
        let layout = layout(given, &links).unwrap();
        let found: Vec<_> = layout
            .interfaces
            .iter()
            .map(|interface| (interface.name.as_str(), interface.table, interface.gateway.to_string()))
            .collect();
        let expected = [
            ("ens5", 10_000, "10.0.0.1".to_owned()),
            ("ens6", 10_001, "10.0.1.1".to_owned()),
            ("ens7", 10_101, "10.0.51.1".to_owned()),
        ];
        assert_eq!(found, expected);
        assert_eq!(layout.addresses().count(), 6);
    }

    #[test]
    fn a_prefix_is_expanded_and_has_one_rule() {
        let mut second = interface(2, 0, 1);
        second.prefixes = vec!["10.0.1.16/28".parse().unwrap()];
        second.ipv6_subnets = vec!["2001:db8::/64".parse().unwrap()];
        second.ipv6_addresses = vec!["2001:db8::5".parse().unwrap()];
        second.ipv6_prefixes = vec!["2001:db8::1:0:0:0/80".parse().unwrap()];
        let layout = layout(vec![interface(1, 0, 0), second], &[link(1, 1), link(2, 2)]).unwrap();
        let second = &layout.interfaces[1];
        assert_eq!(second.addresses.len(), 2 + 16 + 1 + 17);
        assert_eq!(second.addresses[19].to_string(), "2001:db8::1:0:0:1");
        assert_eq!(second.addresses[35].to_string(), "2001:db8::1:0:0:11");
        assert_eq!(second.addresses[0].to_string(), "10.0.1.5");
        assert_eq!(
            (second.addresses[2].to_string(), second.addresses[17].to_string()),
            ("10.0.1.16".into(), "10.0.1.31".into())
        );
        let sources: Vec<_> = second.sources.iter().map(ToString::to_string).collect();
        assert_eq!(sources, ["10.0.1.5/32", "10.0.1.6/32", "2001:db8::5/128", "10.0.1.16/28", "2001:db8:0:0:1::/80"]);
        assert_eq!(second.ipv6.unwrap().1.to_string(), "2001:db8::1");
    }

    #[test]
    fn a_missing_link_is_reported() {
        let given = vec![interface(1, 0, 0), interface(2, 0, 1)];
        let found = layout(given.clone(), &[link(1, 1)]).unwrap();
        assert_eq!((found.interfaces.len(), found.missing), (1, vec!["02:00:00:00:00:02".to_owned()]));
        let error = layout(given, &[link(2, 2)]).unwrap_err();
        assert_eq!(error, LayoutError::PrimaryMissing { mac: "02:00:00:00:00:01".into() });
    }

    #[test]
    fn impossible_metadata_is_refused() {
        let links = [link(1, 1), link(2, 2)];
        let refused = |interfaces| layout(interfaces, &links).unwrap_err().to_string();
        assert!(refused(vec![interface(2, 0, 1)]).contains("device 0 of network card 0"));
        assert!(refused(vec![interface(1, 0, 0), interface(2, 0, 0)]).contains("two interfaces"));
        assert!(refused(vec![interface(1, 0, 0), interface(2, 0, 100)]).contains("more than any host"));
        let mut second = interface(2, 0, 1);
        second.addresses.push("10.0.2.1".parse().unwrap());
        assert!(refused(vec![interface(1, 0, 0), second.clone()]).contains("does not contain it"));
        second.addresses = vec!["10.0.1.5".parse().unwrap(); 2];
        assert!(refused(vec![interface(1, 0, 0), second.clone()]).contains("twice"));
        second.addresses.truncate(1);
        second.prefixes = vec!["10.0.0.0/16".parse().unwrap()];
        assert!(refused(vec![interface(1, 0, 0), second]).contains("too many addresses"));
    }
}
