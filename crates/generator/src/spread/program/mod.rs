//! The programs that the kernel runs: one chooses the source address of a connection that has none, and one counts the
//! connections of each source.
//!
//! | module | when the kernel runs it |
//! |---|---|
//! | `connect` | at every `connect()` |
//! | `states` | when a TCP socket has its port, and when it gives it back |
//! | `marks` | part of both: which sources are full |
//! | `frame` | part of all: the layout of the stack, and access to maps |

mod connect;
mod frame;
mod marks;
mod states;

#[cfg(test)]
mod patterns;

use self::connect::Family;
use super::instructions::{Assembler, Code};

/// The points at which the kernel runs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// When a TCP socket has its port, and when its state changes.
    States,
    /// At `connect()` of an IPv4 socket.
    Connect4,
    /// At `connect()` of an IPv6 socket, including connections to IPv4 addresses in `::ffff:0:0/96`, which Java uses.
    Connect6,
}

impl Hook {
    /// In the order in which they are attached: connections are counted before they are spread.
    pub(super) const ALL: [Self; 3] = [Self::States, Self::Connect4, Self::Connect6];

    /// Its name in the object file, and the name of its pin.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::States => "states",
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
        }
    }

    /// The name of its section in the object file, from which the loader knows the kind of program.
    pub(super) const fn section(self) -> &'static str {
        match self {
            Self::States => "sockops",
            Self::Connect4 => "cgroup/connect4",
            Self::Connect6 => "cgroup/connect6",
        }
    }
}

/// The program for `hook`; `None` if a jump leads nowhere, which the tests rule out.
pub(super) fn program(hook: Hook) -> Option<Code> {
    emit(hook, Assembler::default())
}

fn emit(hook: Hook, mut code: Assembler) -> Option<Code> {
    match hook {
        Hook::States => states::emit(&mut code),
        Hook::Connect4 => connect::emit(&mut code, Family::Ipv4),
        Hook::Connect6 => connect::emit(&mut code, Family::Ipv6),
    }
    code.finish()
}

#[cfg(test)]
mod tests {
    use super::{
        super::maps::{Group, Map},
        frame::stack,
        *,
    };

    #[test]
    fn every_jump_leads_somewhere_and_every_key_is_whole() {
        for hook in Hook::ALL {
            let code = program(hook).unwrap();
            // A quarter of it runs at a connection; the rest is for when sources are full or cannot be bound.
            assert!(code.bytes.len() / 8 < 1_250, "{}", code.bytes.len() / 8);
            for (_, map) in code.maps {
                assert_ne!(map, Map::Draining, "only this binary uses this map");
            }
        }
        assert_eq!(stack::DESTINATION_PORT + 4, stack::NUMBER);
        assert_eq!(Group::ALL.map(Group::number), [0, 1, 2]);
        assert_eq!((Map::Turns.definition().key_bytes, Map::Destinations.definition().key_bytes), (20, 20));
        assert_eq!((Map::Full.definition().key_bytes, Map::Live.definition().key_bytes), (24, 36));
        assert_eq!(Map::Pending.definition().value_bytes, Map::Live.definition().key_bytes);
    }
}
