//! Counts the connections of each address, and the ports that they use.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    io,
    net::IpAddr,
};

use netlink_packet_sock_diag::{
    constants::{TCP_ESTABLISHED, TCP_TIME_WAIT},
    inet::{InetResponseHeader, SocketId, StateFlags},
};
use trunnion_host::Ports;

use crate::sockets::each_tcp;

/// How many pairs of address and destination are counted, to limit the memory. With more pairs, the busiest destination can be
/// missed, but then no single destination is near its limit.
const MOST_PAIRS: usize = 65_536;

/// The TCP sockets of one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) established: u64,
    pub(super) time_wait: u64,
    /// In all other states: opening or closing.
    pub(super) other: u64,
    /// Local ports of the range that a socket uses.
    pub(super) ports: u64,
    /// Local ports of the range that connections to the busiest destination use.
    pub(super) busiest: u64,
}

/// Counts the sockets of these addresses.
pub(super) fn count(addresses: &[IpAddr], ports: Ports) -> io::Result<BTreeMap<IpAddr, Counts>> {
    let mut tally = Tally::new(addresses, ports);
    each_tcp(&StateFlags::all().difference(StateFlags::LISTEN | StateFlags::CLOSE), |socket| tally.add(socket))?;
    Ok(tally.finish())
}

struct Tally {
    ports: Ports,
    hasher: RandomState,
    addresses: HashMap<IpAddr, Entry>,
    /// By the hash of address and destination. Two pairs with the same hash count as one, which is rare and harmless.
    pairs: HashMap<u64, u64>,
}

#[derive(Default)]
struct Entry {
    counts: Counts,
    /// One bit for each port, 8 KiB. Empty for addresses without sockets.
    ports: Vec<u64>,
}

impl Tally {
    fn new(addresses: &[IpAddr], ports: Ports) -> Self {
        let addresses = addresses.iter().map(|&address| (address, Entry::default())).collect();
        Self { ports, hasher: RandomState::new(), addresses, pairs: HashMap::new() }
    }

    fn add(&mut self, socket: &InetResponseHeader) {
        let SocketId { source_port, source_address, destination_port, destination_address, .. } = socket.socket_id;
        // Java's sockets are IPv6 sockets with IPv4 addresses mapped to IPv6.
        let source = source_address.to_canonical();
        let Some(Entry { counts, ports }) = self.addresses.get_mut(&source) else { return };
        match socket.state {
            TCP_ESTABLISHED => counts.established += 1,
            TCP_TIME_WAIT => counts.time_wait += 1,
            _ => counts.other += 1,
        }
        if !(self.ports.first..=self.ports.last).contains(&source_port) {
            return;
        }
        ports.resize(1 << 10, 0);
        let (word, bit) = (usize::from(source_port >> 6), 1 << (source_port & 63));
        if let Some(word) = ports.get_mut(word).filter(|word| **word & bit == 0) {
            *word |= bit;
            counts.ports += 1;
        }
        let pair = self.hasher.hash_one((source, destination_address.to_canonical(), destination_port));
        let has_space = self.pairs.len() < MOST_PAIRS;
        let used = match self.pairs.get_mut(&pair) {
            Some(used) => used,
            None if has_space => self.pairs.entry(pair).or_default(),
            None => return,
        };
        *used += 1;
        counts.busiest = counts.busiest.max(*used);
    }

    fn finish(self) -> BTreeMap<IpAddr, Counts> {
        self.addresses.into_iter().map(|(address, entry)| (address, entry.counts)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(state: u8, from: &str, port: u16, to: &str) -> InetResponseHeader {
        let mut socket_id = SocketId::new_v4();
        socket_id.source_address = from.parse().unwrap();
        socket_id.source_port = port;
        socket_id.destination_address = to.parse().unwrap();
        socket_id.destination_port = 443;
        InetResponseHeader { family: 2, state, timer: None, socket_id, recv_queue: 0, send_queue: 0, uid: 0, inode: 0 }
    }

    #[test]
    fn a_port_counts_once_and_for_each_destination() {
        let own: IpAddr = "10.0.1.4".parse().unwrap();
        let mut tally = Tally::new(&[own], Ports { first: 100, last: 199 });
        tally.add(&socket(TCP_ESTABLISHED, "10.0.1.4", 100, "10.9.0.1"));
        tally.add(&socket(TCP_ESTABLISHED, "::ffff:10.0.1.4", 100, "::ffff:10.9.0.2"));
        tally.add(&socket(TCP_TIME_WAIT, "10.0.1.4", 199, "10.9.0.2"));
        tally.add(&socket(2, "10.0.1.4", 200, "10.9.0.2"));
        tally.add(&socket(TCP_ESTABLISHED, "127.0.0.1", 100, "127.0.0.1"));
        let expected = Counts { established: 2, time_wait: 1, other: 1, ports: 2, busiest: 2 };
        assert_eq!(tally.finish(), BTreeMap::from([(own, expected)]));
    }

    #[test]
    fn a_reversed_range_has_no_ports() {
        let own: IpAddr = "10.0.1.4".parse().unwrap();
        let mut tally = Tally::new(&[own], Ports { first: 200, last: 100 });
        tally.add(&socket(TCP_ESTABLISHED, "10.0.1.4", 150, "10.9.0.1"));
        assert_eq!(tally.finish()[&own], Counts { established: 1, ..Counts::default() });
    }
}
