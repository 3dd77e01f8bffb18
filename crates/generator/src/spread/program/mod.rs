//! The programs that the kernel runs: one chooses the source address of a connection that has none, and one counts the
//! connections of each source.
//!
//! | module | when the kernel runs it |
//! |---|---|
//! | `connect` | at every `connect()` |
//! | `states` | when a TCP socket has its port, and when it gives it back |
//! | `marks` | part of both: which sources are full |

mod connect;
mod marks;
mod states;

#[cfg(test)]
mod patterns;

use self::connect::Family;
use super::{
    instructions::{
        Assembler, Code, Helper,
        Register::{self, R0, R1, R2, R3, R4, R10},
        Size::{Double, Word},
    },
    maps::Map,
};

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

/// Offsets on the stack, below `R10`, that all programs use.
mod stack {
    /// The key of an array, or of [`Map::Full`](super::Map::Full) together with the destination before it.
    pub(super) const NUMBER: i16 = -4;
    /// The destination's address and port, the key of [`Map::Turns`](super::Map::Turns). With the prefix length before it,
    /// the address is the key of [`Map::Except`](super::Map::Except).
    pub(super) const DESTINATION: i16 = -24;
    pub(super) const DESTINATION_PORT: i16 = DESTINATION + 16;
    pub(super) const EXCEPT: i16 = DESTINATION - 4;
    /// A new value of a map.
    pub(super) const NEW: i16 = -40;
    /// The source's address, the key of [`Map::Taken`](super::Map::Taken) and [`Map::Slots`](super::Map::Slots). With the
    /// destination behind it, it is the key of [`Map::Live`](super::Map::Live).
    pub(super) const SOURCE: i16 = -80;
    pub(super) const LIVE_DESTINATION: i16 = SOURCE + 16;
    /// How many connections a source has with the one of this run.
    pub(super) const COUNT: i16 = -88;
    /// The slot of the source.
    pub(super) const SLOT: i16 = -96;
    /// How many connections of one source to one destination are nearly, and exactly, as many as it has ports.
    pub(super) const NEARLY: i16 = -104;
    pub(super) const FULL: i16 = -112;
    /// A socket's cookie, the key of [`Map::Pending`](super::Map::Pending).
    pub(super) const COOKIE: i16 = -120;
    /// New marks.
    pub(super) const MARKS: i16 = -152;
    /// What is below is free for one program alone.
    pub(super) const OWN: i16 = MARKS;
}

/// The third word of `::ffff:a.b.c.d`.
const MAPPED: i32 = i32::from_ne_bytes([0, 0, 0xff, 0xff]);
/// `BPF_NOEXIST`: of two concurrent first connections, one adds the entry.
const UNLESS_THERE: i32 = 1;

/// `R0 = &map[the key on the stack]`, 0 if there is no entry.
fn look_up(code: &mut Assembler, map: Map, key: i16) {
    code.load_map(R1, map);
    point_to(code, R2, key);
    code.call(Helper::MapLookup);
}

/// `map[the key on the stack] = the value on the stack`
fn update(code: &mut Assembler, map: Map, key: i16, value: i16, flags: i32) {
    code.load_map(R1, map);
    point_to(code, R2, key);
    point_to(code, R3, value);
    code.set(R4, flags);
    code.call(Helper::MapUpdate);
}

fn delete(code: &mut Assembler, map: Map, key: i16) {
    code.load_map(R1, map);
    point_to(code, R2, key);
    code.call(Helper::MapDelete);
}

/// `to = &stack[place]`
fn point_to(code: &mut Assembler, to: Register, place: i16) {
    code.copy(to, R10);
    code.add(to, i32::from(place));
}

/// Copies the destination on the stack behind the source. Changes R1.
fn join_destination(code: &mut Assembler) {
    for (size, offset) in [(Double, 0), (Double, 8), (Word, 16)] {
        code.load(size, R1, R10, stack::DESTINATION + offset);
        code.store(size, R10, stack::LIVE_DESTINATION + offset, R1);
    }
}

/// `R0 = &live[source and destination]`, with a new entry if there is none; 0 if there is no room for one.
fn look_up_live(code: &mut Assembler) {
    let found = code.label();
    look_up(code, Map::Live, stack::SOURCE);
    code.jump_unless(R0, 0, found);
    code.store_value(Double, R10, stack::NEW, 0);
    update(code, Map::Live, stack::SOURCE, stack::NEW, UNLESS_THERE);
    look_up(code, Map::Live, stack::SOURCE);
    code.place(found);
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((Map::Turns.definition().key_bytes, Map::Except.definition().key_bytes), (20, 20));
        assert_eq!((Map::Full.definition().key_bytes, Map::Live.definition().key_bytes), (24, 36));
        assert_eq!(Map::Pending.definition().value_bytes, Map::Live.definition().key_bytes);
    }
}
