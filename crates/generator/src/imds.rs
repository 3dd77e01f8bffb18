//! The instance metadata service, IMDSv2 only: the truth about the host's interfaces, and AWS's notices to it.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// A way to the metadata service.
#[derive(Debug)]
pub(crate) struct Imds {}

/// Everything the metadata service says of the host's interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// By card and device; the first one is the primary interface.
    pub(crate) interfaces: Vec<Interface>,
}

/// What the metadata service says of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) mac: [u8; 6],
    pub(crate) card: u32,
    pub(crate) device: u32,
    pub(crate) subnet: Ipv4Net,
    /// Private IPv4 addresses, the primary one first; addresses of prefixes are not among them.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// Delegated prefixes.
    pub(crate) prefixes: Vec<Ipv4Net>,
    pub(crate) ipv6_subnets: Vec<Ipv6Net>,
    pub(crate) ipv6_addresses: Vec<Ipv6Addr>,
    pub(crate) ipv6_prefixes: Vec<Ipv6Net>,
}

/// What AWS is about to do with the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A spot instance will be stopped, terminated or hibernated.
    Interruption { action: String, time: String },
    /// A spot instance is likely to be interrupted soon.
    Rebalance { time: String },
}

/// Why the metadata service gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImdsError {
    #[error("not written yet")]
    NotYet,
}

impl Imds {
    /// Where EC2 serves it.
    pub(crate) const ADDRESS: &str = "http://169.254.169.254";

    pub(crate) fn new(_address: &str) -> Result<Self, ImdsError> {
        Err(ImdsError::NotYet)
    }

    /// Everything it says of the host's interfaces; an error unless every answer was whole.
    pub(crate) async fn metadata(&self) -> Result<Metadata, ImdsError> {
        Err(ImdsError::NotYet)
    }

    /// What AWS is about to do with the host, if anything.
    pub(crate) async fn notice(&self) -> Result<Option<Notice>, ImdsError> {
        Err(ImdsError::NotYet)
    }
}
