//! The maps that the program in the kernel and this binary share, and the layout of their keys and values.
//!
//! All addresses are stored as IPv6 addresses, an IPv4 address as `::ffff:a.b.c.d`. So one map serves both families, and
//! connections to IPv4 addresses are treated the same on sockets of both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_sock_diag::inet::SocketId;

/// The most source addresses of one family.
pub(super) const MOST_SOURCES: u32 = 16_384;

/// The number of groups.
pub(super) const GROUPS: u32 = 3;

/// The most words of marks of one family, with a bit for each source.
pub(super) const WORDS: i32 = MOST_SOURCES.div_ceil(64).cast_signed();

/// A map by its purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Map {
    /// Whose connections are spread: one [`Settings`].
    Settings,
    /// The numbers of sources, by [`Group`]. A number is raised after a source was written, and lowered before one is cleared,
    /// so that no connection finds an empty slot.
    Counts,
    /// The sources: [`MOST_SOURCES`] slots for each [`Group`].
    Sources,
    /// By source, how many connections got it, and for how many the kernel refused it.
    Taken,
    /// Sources that were drained by hand, with the groups to which they belong. Only this binary uses this map.
    Draining,
    /// By prefix, the [`Treatment`] of destinations. Those of IPv4 without an entry are on the internet, and only the sources
    /// with a public address reach them.
    Destinations,
    /// By destination, its [`Turn`]. The least recently used destinations are evicted.
    Turns,
    /// The [`Turn`] of new destinations, and of those for which [`Map::Turns`] has no room.
    Start,
    /// The slot of each source in [`Map::Sources`].
    Slots,
    /// The slot of each source in the group [`Group::Public`].
    PublicSlots,
    /// By source and destination, how many connections there are. An entry goes with its last connection.
    Live,
    /// By destination and number of a word of 64 slots, the [`Marks`] of the sources in them. Without an entry, none is set.
    Full,
    /// By the cookie of its socket, a connection that was counted and has no port yet: its key in [`Map::Live`].
    Pending,
    /// By thread, the cookie of the socket that it connected last.
    Last,
    /// By [`Counter`], a number since the program was first attached.
    Counters,
}

/// The definition from which the kernel creates a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Definition {
    /// A value of `enum bpf_map_type`.
    pub(super) kind: u32,
    pub(super) key_bytes: u32,
    pub(super) value_bytes: u32,
    pub(super) entries: u32,
    pub(super) flags: u32,
}

/// An address in the maps.
pub(super) type Key = [u8; 16];

/// A source and a destination in [`Map::Live`].
pub(super) type LiveKey = [u8; 36];

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;
/// `BPF_F_NO_PREALLOC`: memory is allocated for each entry when it is added.
const GROWING: u32 = 1;

impl Map {
    pub(super) const ALL: [Self; 15] = [
        Self::Settings,
        Self::Counts,
        Self::Sources,
        Self::Taken,
        Self::Draining,
        Self::Destinations,
        Self::Turns,
        Self::Start,
        Self::Slots,
        Self::PublicSlots,
        Self::Live,
        Self::Full,
        Self::Pending,
        Self::Last,
        Self::Counters,
    ];

    /// Its name in the object file, and the name of its pin.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Counts => "counts",
            Self::Sources => "sources",
            Self::Taken => "taken",
            Self::Draining => "draining",
            Self::Destinations => "destinations",
            Self::Turns => "turns",
            Self::Start => "start",
            Self::Slots => "slots",
            Self::PublicSlots => "public_slots",
            Self::Live => "live",
            Self::Full => "full",
            Self::Pending => "pending",
            Self::Last => "last",
            Self::Counters => "counters",
        }
    }

    pub(super) const fn definition(self) -> Definition {
        let (kind, key_bytes, value_bytes, entries, flags) = match self {
            Self::Settings => (ARRAY, 4, 24, 1, 0),
            Self::Counts => (ARRAY, 4, 4, GROUPS, 0),
            Self::Sources => (ARRAY, 4, 16, GROUPS * MOST_SOURCES, 0),
            Self::Taken => (HASH, 16, 16, 2 * MOST_SOURCES, GROWING),
            Self::Draining | Self::Slots | Self::PublicSlots => (HASH, 16, 4, 2 * MOST_SOURCES, GROWING),
            Self::Destinations => (LPM_TRIE, 20, 4, 16_384, GROWING),
            Self::Turns => (LRU_HASH, 20, 16, 65_536, 0),
            Self::Start => (ARRAY, 4, 16, 1, 0),
            Self::Live => (HASH, 36, 8, 1 << 20, GROWING),
            Self::Full => (HASH, 24, 32, 65_536, GROWING),
            Self::Pending => (LRU_HASH, 8, 36, 16_384, 0),
            Self::Last => (LRU_HASH, 8, 8, 16_384, 0),
            Self::Counters => (ARRAY, 4, 8, 4, 0),
        };
        Definition { kind, key_bytes, value_bytes, entries, flags }
    }
}

/// Offsets in a value of [`Map::Turns`] and [`Map::Start`].
pub(super) struct Turn;

impl Turn {
    /// How many turns there were.
    pub(super) const NUMBER: i16 = 0;
    /// The place of the source that had the first one.
    pub(super) const BEGIN: i16 = 8;
}

/// Offsets in a value of [`Map::Full`]: words with a bit for each slot.
pub(super) struct Marks;

impl Marks {
    /// The sources with nearly as many connections to the destination as they have ports.
    pub(super) const NEARLY: i16 = 0;
    /// The sources without a free port.
    pub(super) const FULL: i16 = 8;
    /// The sources that had no port although they had fewer connections than ports.
    pub(super) const LEARNED: i16 = 16;
    /// When the first of them was learned, in nanoseconds of the monotonic clock.
    pub(super) const LEARNED_AT: i16 = 24;
    pub(super) const BYTES: i16 = 32;
}

/// Whose connections are spread, and how many each source can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// The user whose connections are spread; `None` for all users.
    pub(super) uid: Option<u32>,
    /// The network namespace in which connections are spread.
    pub(super) netns_cookie: u64,
    /// The number of local ports of each source.
    pub(super) ports: u32,
}

impl Settings {
    // The offsets that the programs read.
    pub(super) const UID: i16 = 0;
    pub(super) const ANY_UID: i16 = 4;
    pub(super) const NETNS_COOKIE: i16 = 8;
    pub(super) const FULL: i16 = 16;
    pub(super) const NEARLY: i16 = 20;

    pub(super) fn bytes(self) -> [u8; 24] {
        // With 2 % of the ports free, the kernel finds one of them in some 50 tries.
        let nearly = self.ports - self.ports / 50;
        let mut bytes = [0; 24];
        let any = u32::from(self.uid.is_none());
        let who = [self.uid.unwrap_or_default(), any].map(u32::to_le_bytes);
        let most = [self.ports, nearly].map(u32::to_le_bytes);
        let whole = [who.as_flattened(), &self.netns_cookie.to_le_bytes(), most.as_flattened()].concat();
        bytes.copy_from_slice(&whole);
        bytes
    }
}

/// The sources among which connections to one kind of destination are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// All sources of IPv4.
    Ipv4 = 0,
    /// All sources of IPv6.
    Ipv6 = 1,
    /// The sources of IPv4 that reach the internet.
    Public = 2,
}

impl Group {
    pub(super) const ALL: [Self; GROUPS as usize] = [Self::Ipv4, Self::Ipv6, Self::Public];

    /// Its number in [`Map::Counts`].
    pub(super) const fn number(self) -> u32 {
        self as u32
    }

    /// Its first slot in [`Map::Sources`].
    pub(super) const fn first(self) -> u32 {
        self.number() * MOST_SOURCES
    }

    /// The group of all sources of this address's family.
    pub(super) const fn all(address: IpAddr) -> Self {
        if address.is_ipv6() { Self::Ipv6 } else { Self::Ipv4 }
    }

    /// The map with the slots of its sources.
    pub(super) const fn slots(self) -> Map {
        match self {
            Self::Ipv4 | Self::Ipv6 => Map::Slots,
            Self::Public => Map::PublicSlots,
        }
    }
}

/// What the programs count besides the connections of each source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Sockets of the SSH user that kept their source, because they are not of TCP.
    NotTcp = 0,
    /// The same, because the client bound them.
    Bound = 1,
    /// The same, because their destination is an exception.
    Excepted = 2,
    /// Connections that got a source and no port.
    WithoutPort = 3,
}

impl Counter {
    pub(super) const ALL: [Self; 4] = [Self::NotTcp, Self::Bound, Self::Excepted, Self::WithoutPort];

    /// Why sockets kept their source.
    pub(crate) const LEFT: [(Self, &str); 3] =
        [(Self::NotTcp, "not_tcp"), (Self::Bound, "bound"), (Self::Excepted, "excepted")];

    /// Its place in [`Map::Counters`].
    pub(crate) const fn place(self) -> usize {
        self as usize
    }
}

/// How connections to destinations with an entry in [`Map::Destinations`] are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Treatment {
    /// They keep the host's normal source.
    Except = 1,
    /// Over all sources.
    All = 2,
}

pub(super) fn key(address: IpAddr) -> Key {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The key of a connection: its source, its destination, and the port of that.
pub(super) fn live_key(socket: &SocketId) -> LiveKey {
    let mut bytes = [0; 36];
    bytes[..16].copy_from_slice(&key(socket.source_address.to_canonical()));
    bytes[16..32].copy_from_slice(&key(socket.destination_address.to_canonical()));
    bytes[32..34].copy_from_slice(&socket.destination_port.to_be_bytes());
    bytes
}

pub(super) fn address(key: Key) -> IpAddr {
    Ipv6Addr::from(key).to_canonical()
}

/// The length and first address of a prefix, in IPv6 notation.
pub(super) fn prefix(range: IpNet) -> (u32, Key) {
    let before = if range.addr().is_ipv4() { 96 } else { 0 };
    (before + u32::from(range.prefix_len()), key(range.network()))
}

/// The destinations to which connections are never spread: the host itself, link-local addresses with the services of AWS on
/// them, and multicast and broadcast addresses.
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
    fn a_key_has_the_address_that_it_was_made_of() {
        for text in ["10.0.1.7", "2001:db8::7"] {
            let one: IpAddr = text.parse().unwrap();
            assert_eq!(address(key(one)), one);
        }
        assert_eq!(key("1.2.3.4".parse().unwrap()), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4]);
    }

    #[test]
    fn a_prefix_of_ipv4_is_below_the_prefix_of_mapped_addresses() {
        let (length, first) = prefix("18.98.64.243/29".parse().unwrap());
        assert_eq!((length, address(first)), (125, "18.98.64.240".parse().unwrap()));
        assert_eq!(prefix("fd00:ec2::/32".parse().unwrap()).0, 32);
    }

    #[test]
    fn settings_are_at_the_offsets_that_the_program_reads() {
        let bytes = Settings { uid: Some(0x0403_0201), netns_cookie: 0x0807_0605, ports: 500 }.bytes();
        assert_eq!(bytes, [1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0, 244, 1, 0, 0, 234, 1, 0, 0]);
        assert_eq!(Settings { uid: None, netns_cookie: 0, ports: 1 }.bytes()[..8], [0, 0, 0, 0, 1, 0, 0, 0]);
    }
}
