//! The local ports that each address of this host has for outgoing connections.

use trunnion_host::{Config, Ports};

use crate::sysctl;

/// As the kernel is set now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LocalPorts {
    /// `None` if it could not be read.
    pub(crate) range: Option<Ports>,
    /// Ports of the range that outgoing connections do not use (`ip_local_reserved_ports`).
    pub(crate) reserved: u64,
}

impl LocalPorts {
    pub(crate) fn look(config: &Config) -> Self {
        let read = |name| sysctl::get(name).ok().flatten().unwrap_or_default();
        let range = range_of(&read("net/ipv4/ip_local_port_range"));
        // The service alternates between the two.
        let range = if range == Some(config.ports.alternate()) { Some(config.ports) } else { range };
        let reserved = read("net/ipv4/ip_local_reserved_ports");
        Self { range, reserved: range.map_or(0, |range| reserved_in(range, &reserved)) }
    }

    /// How many ports each address has; 0 if the range could not be read.
    pub(crate) fn count(self) -> u64 {
        self.range.map_or(0, |range| range.count().saturating_sub(self.reserved))
    }
}

fn range_of(text: &str) -> Option<Ports> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some(Ports { first: numbers.next()?.ok()?, last: numbers.next()?.ok()? })
}

/// How many ports of the range are in a list such as `8080,9000-9100`.
fn reserved_in(range: Ports, list: &str) -> u64 {
    let taken = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
        Some(Ports { first: low.max(range.first), last: high.min(range.last) }.count())
    };
    list.trim().split(',').filter_map(taken).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_two_ports() {
        assert_eq!(range_of("1024\t65535\n"), Some(Ports::WIDEST));
        assert_eq!(range_of("1024\n"), None);
        assert_eq!(range_of("1024 99999\n"), None);
    }

    #[test]
    fn reserved_ports_count_only_within_the_range() {
        let ports = Ports { first: 100, last: 199 };
        assert_eq!(reserved_in(ports, "\n"), 0);
        assert_eq!(reserved_in(ports, "99,100,150-159,190-300\n"), 1 + 10 + 10);
        assert_eq!(reserved_in(ports, "nonsense,150-\n"), 0);
    }
}
