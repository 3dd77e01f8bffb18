//! The maps that the program in the kernel and this binary share, and the bytes in them.
//!
//! Every address is one of IPv6, an IPv4 address as `::ffff:a.b.c.d`: so one map serves both families, and a socket of
//! either family that connects to an IPv4 address is treated alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The most source addresses of one family.
pub(super) const MOST_SOURCES: u32 = 16_384;

/// A map by its purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Map {
    /// Whom the program serves: one [`Settings`].
    Settings,
    /// How many sources there are: of IPv4 at 0, of IPv6 at 1. It is raised after a source was written and lowered before
    /// one is cleared, so that no connection finds an empty place.
    Counts,
    /// The sources: of IPv4 from 0 on, of IPv6 from [`MOST_SOURCES`] on.
    Sources,
    /// For each source, how many connections took it and how many could not.
    Taken,
    /// Sources that were drained by hand. The program does not look here.
    Draining,
    /// Destinations that keep the host's normal source, by prefix.
    Except,
    /// For each destination, whose turn it is. Old destinations make room for new ones.
    Turns,
    /// Whose turn it is at the next new destination.
    Start,
}

/// What the kernel must know to make a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Definition {
    /// As in `enum bpf_map_type`.
    pub(super) kind: u32,
    pub(super) key_bytes: u32,
    pub(super) value_bytes: u32,
    pub(super) entries: u32,
    pub(super) flags: u32,
}

/// An address as the maps hold it.
pub(super) type Key = [u8; 16];

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;
/// `BPF_F_NO_PREALLOC`: memory for an entry only when there is one.
const GROWING: u32 = 1;

impl Map {
    pub(super) const ALL: [Self; 8] = [
        Self::Settings,
        Self::Counts,
        Self::Sources,
        Self::Taken,
        Self::Draining,
        Self::Except,
        Self::Turns,
        Self::Start,
    ];

    /// Its name in the object and among the pins.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Counts => "counts",
            Self::Sources => "sources",
            Self::Taken => "taken",
            Self::Draining => "draining",
            Self::Except => "except",
            Self::Turns => "turns",
            Self::Start => "start",
        }
    }

    pub(super) const fn definition(self) -> Definition {
        let (kind, key_bytes, value_bytes, entries, flags) = match self {
            Self::Settings => (ARRAY, 4, 16, 1, 0),
            Self::Counts => (ARRAY, 4, 4, 2, 0),
            Self::Sources => (ARRAY, 4, 16, 2 * MOST_SOURCES, 0),
            Self::Taken => (HASH, 16, 16, 2 * MOST_SOURCES, GROWING),
            Self::Draining => (HASH, 16, 4, 2 * MOST_SOURCES, GROWING),
            Self::Except => (LPM_TRIE, 20, 4, 16_384, GROWING),
            Self::Turns => (LRU_HASH, 20, 8, 65_536, 0),
            Self::Start => (ARRAY, 4, 8, 1, 0),
        };
        Definition { kind, key_bytes, value_bytes, entries, flags }
    }
}

/// Whom the program serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// The user whose connections are spread; everybody's if there is none.
    pub(super) uid: Option<u32>,
    /// The network namespace in which connections are spread.
    pub(super) netns_cookie: u64,
}

impl Settings {
    // Where the program finds it.
    pub(super) const UID: i16 = 0;
    pub(super) const ANY_UID: i16 = 4;
    pub(super) const NETNS_COOKIE: i16 = 8;

    pub(super) fn bytes(self) -> Key {
        let any = u64::from(self.uid.is_none());
        let who = u64::from(self.uid.unwrap_or_default()) | any << 32;
        (u128::from(who) | u128::from(self.netns_cookie) << 64).to_le_bytes()
    }
}

/// Where the sources of a family begin, and where their number stands: 0 for IPv4, 1 for IPv6.
pub(super) fn family(address: IpAddr) -> u32 {
    u32::from(address.is_ipv6())
}

pub(super) fn key(address: IpAddr) -> Key {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

pub(super) fn address(key: Key) -> IpAddr {
    Ipv6Addr::from(key).to_canonical()
}

/// The length of a prefix among IPv6 addresses, and its first address.
pub(super) fn prefix(range: IpNet) -> (u32, Key) {
    let before = if range.addr().is_ipv4() { 96 } else { 0 };
    (before + u32::from(range.prefix_len()), key(range.network()))
}

/// The destinations that never get another source: the host itself, its links and the services of AWS on them, and what is
/// no single host.
pub(super) fn always_except() -> Vec<IpNet> {
    let v4 = |a, b, length| IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), length);
    let v6 = |a, b, length| IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), length);
    vec![
        v4(0, 0, 8),
        v4(127, 0, 8),
        v4(169, 254, 16),
        v4(224, 0, 3),
        // `::` and `::1`.
        v6(0, 0, 127),
        // The metadata service, DNS and time of EC2.
        v6(0xfd00, 0xec2, 32),
        v6(0xfe80, 0, 10),
        v6(0xff00, 0, 8),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_went_in() {
        for text in ["10.0.1.7", "2001:db8::7"] {
            let one: IpAddr = text.parse().unwrap();
            assert_eq!(address(key(one)), one);
        }
        assert_eq!(key("1.2.3.4".parse().unwrap()), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4]);
    }

    #[test]
    fn prefixes_of_ipv4_lie_below_the_mapped_one() {
        let (length, first) = prefix("18.98.64.243/29".parse().unwrap());
        assert_eq!((length, address(first)), (125, "18.98.64.240".parse().unwrap()));
        assert_eq!(prefix("fd00:ec2::/32".parse().unwrap()).0, 32);
    }

    #[test]
    fn settings_lie_where_the_program_reads_them() {
        let bytes = Settings { uid: Some(0x0403_0201), netns_cookie: 0x0807_0605 }.bytes();
        assert_eq!(bytes, [1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0]);
        assert_eq!(Settings { uid: None, netns_cookie: 0 }.bytes()[..8], [0, 0, 0, 0, 1, 0, 0, 0]);
    }
}
