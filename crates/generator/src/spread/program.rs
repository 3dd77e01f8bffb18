//! The program that the kernel runs at every `connect()`: it chooses the source address of a connection that has none.
//!
//! It never refuses a connection. It only binds an address to the socket, with port 0: the kernel chooses the port later, when
//! it knows the destination. In pseudocode:
//!
//! ```text
//! return unless the socket is TCP, of our network namespace and our user,
//!               not bound, and the destination is not an exception
//! turn := the counter of the destination; a new destination gets the value of a common counter, which is then increased
//! three times:
//!     source := sources[turn mod number of sources]; increase turn
//!     if the kernel binds the source: count the connection and return
//!     else count the refusal
//! return: the connection gets the normal source
//! ```
//!
//! Each destination has its own counter. With a single one, a client that connects to three destinations in a fixed order
//! would use the same one of three sources for each of them. New destinations start at a common counter, so that many
//! destinations with one connection each are spread evenly, too.

use super::{
    instructions::{
        Assembler, Code, Helper, Label, Register,
        Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10},
        Size::{Double, Half, Word},
    },
    maps::{MOST_SOURCES, Map, Settings},
};

/// The points at which the kernel runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// At `connect()` of an IPv4 socket.
    Connect4,
    /// At `connect()` of an IPv6 socket, including connections to IPv4 addresses in `::ffff:0:0/96`, which Java uses.
    Connect6,
}

impl Hook {
    pub(super) const ALL: [Self; 2] = [Self::Connect4, Self::Connect6];

    /// Its name in the object file, and the name of its pin.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
        }
    }
}

/// How many sources are tried for one connection.
const TRIES: usize = 3;

/// Fields of `struct bpf_sock_addr`.
mod context {
    pub(super) const USER_IP4: i16 = 4;
    pub(super) const USER_IP6: i16 = 8;
    pub(super) const USER_PORT: i16 = 24;
    pub(super) const TYPE: i16 = 32;
    pub(super) const PROTOCOL: i16 = 36;
    pub(super) const SOCKET: i16 = 64;
}

/// Fields of `struct bpf_sock`.
mod socket {
    pub(super) const BOUND_DEVICE: i16 = 0;
    pub(super) const SOURCE_IP4: i16 = 24;
    pub(super) const SOURCE_IP6: i16 = 28;
    pub(super) const SOURCE_PORT: i16 = 44;
}

/// Offsets on the stack, below `R10`.
mod stack {
    /// The key of an array.
    pub(super) const NUMBER: i16 = -4;
    /// The destination's address and port, the key of [`Map::Turns`](super::Map::Turns). With the prefix length before it,
    /// the address is the key of [`Map::Except`](super::Map::Except).
    pub(super) const DESTINATION: i16 = -24;
    pub(super) const DESTINATION_PORT: i16 = DESTINATION + 16;
    pub(super) const EXCEPT: i16 = DESTINATION - 4;
    /// The turn of a new destination.
    pub(super) const TURN: i16 = -40;
    /// The source's address: the key of [`Map::Taken`](super::Map::Taken).
    pub(super) const SOURCE: i16 = -56;
    /// A `struct sockaddr_in` or `sockaddr_in6`.
    pub(super) const SOCKADDR: i16 = -88;
}

const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const SOCK_STREAM: i32 = 1;
const IPPROTO_TCP: i32 = 6;
/// The third word of `::ffff:a.b.c.d`.
const MAPPED: i32 = i32::from_ne_bytes([0, 0, 0xff, 0xff]);
/// `BPF_NOEXIST`: of two concurrent first connections, one sets the counter.
const UNLESS_THERE: i32 = 1;

/// The program for `hook`; `None` if a jump leads nowhere, which the tests rule out.
pub(super) fn program(hook: Hook) -> Option<Code> {
    let mut code = Assembler::default();
    let leave = code.label();
    // R6: the context.
    code.copy(R6, R1);
    only_tcp(&mut code, leave);
    only_ours(&mut code, leave);
    only_unbound(&mut code, hook, leave);
    // R9: the family of the destination, 0 for IPv4, 1 for IPv6.
    read_destination(&mut code, hook);
    only_unexcepted(&mut code, leave);
    // R8: the number of sources.
    count_sources(&mut code, leave);
    // R7: a pointer to the counter.
    find_turn(&mut code, leave);
    for _ in 0..TRIES {
        let next = code.label();
        take_source(&mut code, next, leave);
        bind(&mut code, hook);
        count(&mut code, next, leave);
        code.place(next);
    }
    code.place(leave);
    // 1 allows the connection, 0 would refuse it.
    code.set(R0, 1);
    code.exit();
    code.finish()
}

fn only_tcp(code: &mut Assembler, leave: Label) {
    code.load(Word, R1, R6, context::TYPE);
    code.jump_unless(R1, SOCK_STREAM, leave);
    code.load(Word, R1, R6, context::PROTOCOL);
    code.jump_unless(R1, IPPROTO_TCP, leave);
}

fn only_ours(code: &mut Assembler, leave: Label) {
    let any = code.label();
    code.store_value(Word, R10, stack::NUMBER, 0);
    look_up(code, Map::Settings, stack::NUMBER);
    code.jump_if(R0, 0, leave);
    code.copy(R7, R0);
    code.load(Word, R1, R7, Settings::ANY_UID);
    code.jump_unless(R1, 0, any);
    code.call(Helper::GetCurrentUidGid);
    code.copy_word(R1, R0);
    code.load(Word, R2, R7, Settings::UID);
    code.jump_unless_same(R1, R2, leave);
    code.place(any);
    code.copy(R1, R6);
    code.call(Helper::GetNetnsCookie);
    code.load(Double, R1, R7, Settings::NETNS_COOKIE);
    code.jump_unless_same(R0, R1, leave);
}

/// Skips sockets that are bound to an address, a port or an interface.
fn only_unbound(code: &mut Assembler, hook: Hook, leave: Label) {
    code.load(Double, R7, R6, context::SOCKET);
    let addresses = match hook {
        Hook::Connect4 => &[socket::SOURCE_IP4][..],
        Hook::Connect6 => {
            &[socket::SOURCE_IP6, socket::SOURCE_IP6 + 4, socket::SOURCE_IP6 + 8, socket::SOURCE_IP6 + 12]
        }
    };
    for &field in [socket::BOUND_DEVICE, socket::SOURCE_PORT].iter().chain(addresses) {
        code.load(Word, R1, R7, field);
        code.jump_unless(R1, 0, leave);
    }
}

fn read_destination(code: &mut Assembler, hook: Hook) {
    code.set(R9, 0);
    match hook {
        Hook::Connect4 => {
            code.store_value(Double, R10, stack::DESTINATION, 0);
            code.store_value(Word, R10, stack::DESTINATION + 8, MAPPED);
            code.load(Word, R1, R6, context::USER_IP4);
            code.store(Word, R10, stack::DESTINATION + 12, R1);
        }
        Hook::Connect6 => {
            for word in [0, 4, 8, 12] {
                code.load(Word, R1, R6, context::USER_IP6 + word);
                code.store(Word, R10, stack::DESTINATION + word, R1);
            }
            let (ipv6, known) = (code.label(), code.label());
            code.load(Double, R1, R10, stack::DESTINATION);
            code.jump_unless(R1, 0, ipv6);
            code.load(Word, R1, R10, stack::DESTINATION + 8);
            code.jump_unless_word(R1, MAPPED, ipv6);
            code.jump(known);
            code.place(ipv6);
            code.set(R9, 1);
            code.place(known);
        }
    }
    code.load(Word, R1, R6, context::USER_PORT);
    code.store(Word, R10, stack::DESTINATION_PORT, R1);
}

fn only_unexcepted(code: &mut Assembler, leave: Label) {
    code.store_value(Word, R10, stack::EXCEPT, 128);
    look_up(code, Map::Except, stack::EXCEPT);
    code.jump_unless(R0, 0, leave);
}

fn count_sources(code: &mut Assembler, leave: Label) {
    code.store(Word, R10, stack::NUMBER, R9);
    look_up(code, Map::Counts, stack::NUMBER);
    code.jump_if(R0, 0, leave);
    code.load(Word, R8, R0, 0);
    code.jump_if(R8, 0, leave);
    // R9: from here on, the index of the family's first source.
    let ipv4 = code.label();
    code.jump_if(R9, 0, ipv4);
    code.set(R9, MOST_SOURCES.cast_signed());
    code.place(ipv4);
}

fn find_turn(code: &mut Assembler, leave: Label) {
    let found = code.label();
    look_up(code, Map::Turns, stack::DESTINATION);
    code.copy(R7, R0);
    code.jump_unless(R7, 0, found);
    // A new destination.
    code.store_value(Word, R10, stack::NUMBER, 0);
    look_up(code, Map::Start, stack::NUMBER);
    code.jump_if(R0, 0, leave);
    code.copy(R7, R0);
    code.set(R1, 1);
    code.fetch_and_add(R7, 0, R1);
    code.store(Double, R10, stack::TURN, R1);
    code.load_map(R1, Map::Turns);
    point_to(code, R2, stack::DESTINATION);
    point_to(code, R3, stack::TURN);
    code.set(R4, UNLESS_THERE);
    code.call(Helper::MapUpdate);
    // The counter that this connection or a concurrent one added.
    look_up(code, Map::Turns, stack::DESTINATION);
    // If it could not be added, the common counter is used.
    code.jump_if(R0, 0, found);
    code.copy(R7, R0);
    code.place(found);
}

fn take_source(code: &mut Assembler, next: Label, leave: Label) {
    code.set(R1, 1);
    code.fetch_and_add(R7, 0, R1);
    code.remainder(R1, R8);
    code.add_register(R1, R9);
    code.store(Word, R10, stack::NUMBER, R1);
    look_up(code, Map::Sources, stack::NUMBER);
    code.jump_if(R0, 0, leave);
    code.load(Double, R1, R0, 0);
    code.load(Double, R2, R0, 8);
    code.store(Double, R10, stack::SOURCE, R1);
    code.store(Double, R10, stack::SOURCE + 8, R2);
    // A slot that was cleared meanwhile.
    code.or(R1, R2);
    code.jump_if(R1, 0, next);
}

/// Binds the source. The result is in R0: 0 if the kernel accepted it.
fn bind(code: &mut Assembler, hook: Hook) {
    let length = match hook {
        Hook::Connect4 => {
            code.store_value(Half, R10, stack::SOCKADDR, AF_INET);
            code.store_value(Half, R10, stack::SOCKADDR + 2, 0);
            code.load(Word, R1, R10, stack::SOURCE + 12);
            code.store(Word, R10, stack::SOCKADDR + 4, R1);
            code.store_value(Double, R10, stack::SOCKADDR + 8, 0);
            16
        }
        Hook::Connect6 => {
            code.store_value(Half, R10, stack::SOCKADDR, AF_INET6);
            code.store_value(Half, R10, stack::SOCKADDR + 2, 0);
            code.store_value(Word, R10, stack::SOCKADDR + 4, 0);
            code.load(Double, R1, R10, stack::SOURCE);
            code.load(Double, R2, R10, stack::SOURCE + 8);
            code.store(Double, R10, stack::SOCKADDR + 8, R1);
            code.store(Double, R10, stack::SOCKADDR + 16, R2);
            code.store_value(Word, R10, stack::SOCKADDR + 24, 0);
            28
        }
    };
    code.copy(R1, R6);
    point_to(code, R2, stack::SOCKADDR);
    code.set(R3, length);
    code.call(Helper::Bind);
}

/// Counts the result in R0 for the source. After a refusal it continues at `next`, otherwise at `leave`.
fn count(code: &mut Assembler, next: Label, leave: Label) {
    let refused = code.label();
    code.jump_unless(R0, 0, refused);
    look_up(code, Map::Taken, stack::SOURCE);
    code.jump_if(R0, 0, leave);
    code.set(R1, 1);
    code.add_in_memory(R0, 0, R1);
    code.jump(leave);
    code.place(refused);
    look_up(code, Map::Taken, stack::SOURCE);
    code.jump_if(R0, 0, next);
    code.set(R1, 1);
    code.add_in_memory(R0, 8, R1);
}

/// `R0 = &map[the key on the stack]`, 0 if there is no entry.
fn look_up(code: &mut Assembler, map: Map, key: i16) {
    code.load_map(R1, map);
    point_to(code, R2, key);
    code.call(Helper::MapLookup);
}

/// `to = &stack[place]`
fn point_to(code: &mut Assembler, to: Register, place: i16) {
    code.copy(to, R10);
    code.add(to, i32::from(place));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_leads_somewhere_and_every_key_is_whole() {
        for hook in Hook::ALL {
            let code = program(hook).unwrap();
            // It runs at every connection, so it must stay small.
            assert!(code.bytes.len() / 8 < 300, "{}", code.bytes.len() / 8);
            for (_, map) in code.maps {
                assert_ne!(map, Map::Draining, "only this binary uses this map");
            }
        }
        assert_eq!(stack::DESTINATION_PORT + 4, stack::NUMBER);
        assert_eq!(Map::Turns.definition().key_bytes, 20);
        assert_eq!(Map::Except.definition().key_bytes, 20);
    }
}
