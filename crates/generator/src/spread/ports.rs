//! Which half of its local ports a connection looks at first.
//!
//! Linux gives an outgoing connection a port of the same parity as the first one of `ip_local_port_range`, and looks at all
//! of those before the first of the other parity. Once an address has used up one half towards a destination, every further
//! connection looks at 32,000 ports in vain: what took 30 microseconds takes milliseconds. With the range moved by one port
//! the other half comes first. So the range is moved to and fro, several times a second: both halves fill alike, and a free
//! port is near until almost the last one is taken. Nothing else depends on it, and it costs two ports of 64,512.

use std::time::Duration;

use trunnion_generator::Ports;

use crate::setup::files::{FileError, set_sysctl};

/// Lets the two halves of the local ports come first by turns.
#[derive(Debug)]
pub(crate) struct PortTurns {
    ports: Ports,
    moved: bool,
}

impl PortTurns {
    /// How long a half comes first: too short for a host to use it up.
    pub(crate) const PERIOD: Duration = Duration::from_millis(250);
    const RANGE: &str = "net/ipv4/ip_local_port_range";

    pub(crate) fn new(ports: Ports) -> Self {
        Self { ports, moved: false }
    }

    /// The other half's turn.
    pub(crate) fn turn(&mut self) -> Result<(), FileError> {
        self.moved = !self.moved;
        set_sysctl(Self::RANGE, &range(self.ports, self.moved))
    }

    /// The range as it was promised.
    pub(crate) fn end(self) -> Result<(), FileError> {
        set_sysctl(Self::RANGE, &range(self.ports, false))
    }
}

/// Both ends move, for the kernel wants them to differ in parity. A range with nothing between its ends stays.
fn range(ports: Ports, moved: bool) -> String {
    let Ports { first, last } = ports;
    let by = u16::from(moved && last > first.saturating_add(1));
    format!("{}\t{}", first.saturating_add(by), last.saturating_sub(by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_move_by_one_port_at_both_ends() {
        assert_eq!(range(Ports::WIDEST, false), "1024\t65535");
        assert_eq!(range(Ports::WIDEST, true), "1025\t65534");
        assert_eq!(range(Ports { first: 65_534, last: 65_535 }, true), "65534\t65535");
    }
}
