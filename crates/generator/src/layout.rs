//! What the host should look like: every address with its interface, routing table and gateway. Pure: from the metadata
//! and the links that are there.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::imds::Metadata;

/// A network interface as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: [u8; 6],
}

/// What the host should look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// By card and device; the first one is the primary interface.
    pub(crate) interfaces: Vec<Interface>,
    /// Interfaces that the metadata names and the kernel does not have, as `aa:bb:cc:dd:ee:ff`.
    pub(crate) missing: Vec<String>,
}

/// What one interface should look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) card: u32,
    pub(crate) device: u32,
    pub(crate) subnet: Ipv4Net,
    /// The VPC's router: the first address of the subnet.
    pub(crate) gateway: Ipv4Addr,
    /// The routing table of a secondary interface, `10000 + 100 * card + device`; none for the primary one, whose routes
    /// are those of the main table.
    pub(crate) table: Option<u32>,
    /// Every load address, those of prefixes included; the interface's primary IPv4 address first.
    pub(crate) addresses: Vec<IpAddr>,
}

/// Why no layout can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("not written yet")]
    NotYet,
}

impl Layout {
    pub(crate) fn new(_metadata: &Metadata, _links: &[Link]) -> Result<Self, LayoutError> {
        Err(LayoutError::NotYet)
    }

    /// Every load address of the host.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.interfaces.iter().flat_map(|interface| interface.addresses.iter().copied())
    }
}
