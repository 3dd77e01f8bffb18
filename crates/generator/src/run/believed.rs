//! Decides which metadata to believe. Additions are believed at once. Addresses that are gone are believed once two reads in
//! a row agree: a metadata service with problems can leave out interfaces and addresses, and connections depend on them.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::imds::Metadata;

/// The metadata that is believed.
#[derive(Debug, Default)]
pub(super) struct Believed {
    current: Option<Metadata>,
    /// The metadata of the last read, if addresses of `current` were gone from it.
    doubted: Option<Metadata>,
}

/// What a read means for the believed metadata.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the believed metadata.
    Same,
    /// It is the first metadata, and now believed.
    First,
    /// It differs, and is now believed.
    Changed,
    /// These are gone from it. It is not believed unless the next read agrees.
    Doubted(Vec<IpNet>),
}

impl Believed {
    pub(super) fn current(&self) -> Option<&Metadata> {
        self.current.as_ref()
    }

    /// Takes the metadata of a read.
    pub(super) fn read(&mut self, metadata: Metadata) -> Verdict {
        let doubted = self.doubted.take();
        let Some(current) = &self.current else {
            self.current = Some(metadata);
            return Verdict::First;
        };
        if *current == metadata {
            return Verdict::Same;
        }
        let named = given(&metadata);
        let gone: Vec<IpNet> = given(current).difference(&named).copied().collect();
        if gone.is_empty() || doubted.as_ref() == Some(&metadata) {
            self.current = Some(metadata);
            return Verdict::Changed;
        }
        self.doubted = Some(metadata);
        Verdict::Doubted(gone)
    }

    /// A read failed: the reads before and after it are not in a row.
    pub(super) fn failed(&mut self) {
        self.doubted = None;
    }
}

/// All addresses and prefixes.
fn given(metadata: &Metadata) -> BTreeSet<IpNet> {
    let mut given = BTreeSet::new();
    for interface in &metadata.interfaces {
        given.extend(interface.addresses.iter().map(|&address| IpNet::from(std::net::IpAddr::V4(address))));
        given.extend(interface.prefixes.iter().copied().map(IpNet::V4));
        given.extend(interface.ipv6_addresses.iter().map(|&address| IpNet::from(std::net::IpAddr::V6(address))));
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imds::Interface;

    fn metadata(addresses: &[&str]) -> Metadata {
        Metadata {
            interfaces: vec![Interface {
                mac: [2, 0, 0, 0, 0, 1],
                card: 0,
                device: 0,
                subnet: "10.0.1.0/24".parse().unwrap(),
                addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                prefixes: Vec::new(),
                public: Vec::new(),
                ipv6_subnets: Vec::new(),
                ipv6_addresses: Vec::new(),
                ipv6_prefixes: Vec::new(),
            }],
        }
    }

    #[test]
    fn a_gone_address_is_believed_once_two_reads_agree() {
        let (two, one) = (metadata(&["10.0.1.4", "10.0.1.5"]), metadata(&["10.0.1.4"]));
        let mut believed = Believed::default();
        assert_eq!(believed.read(two.clone()), Verdict::First);
        assert_eq!(believed.read(two.clone()), Verdict::Same);
        assert_eq!(believed.read(one.clone()), Verdict::Doubted(vec!["10.0.1.5/32".parse().unwrap()]));
        assert_eq!(believed.current(), Some(&two));
        assert_eq!(believed.read(one.clone()), Verdict::Changed);
        assert_eq!(believed.current(), Some(&one));
    }

    #[test]
    fn anything_between_two_reads_starts_over() {
        let (two, one) = (metadata(&["10.0.1.4", "10.0.1.5"]), metadata(&["10.0.1.4"]));
        let none = metadata(&[]);
        let mut believed = Believed::default();
        believed.read(two.clone());
        believed.read(one.clone());
        believed.failed();
        assert!(matches!(believed.read(one.clone()), Verdict::Doubted(_)));
        assert_eq!(believed.read(two.clone()), Verdict::Same);
        assert!(matches!(believed.read(one.clone()), Verdict::Doubted(_)));
        assert!(matches!(believed.read(none), Verdict::Doubted(_)));
        assert_eq!(believed.current(), Some(&two));
    }

    #[test]
    fn an_additional_address_is_believed_at_once() {
        let mut believed = Believed::default();
        believed.read(metadata(&["10.0.1.4"]));
        assert_eq!(believed.read(metadata(&["10.0.1.4", "10.0.1.5"])), Verdict::Changed);
    }
}
