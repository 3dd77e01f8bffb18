//! The program that the kernel runs at every `connect()`: it chooses the source address of a connection that has none.
//!
//! It only binds an address to the socket, with port 0: the kernel chooses the port later, when it knows the destination. In
//! pseudocode:
//!
//! ```text
//! return unless the socket is TCP, of our network namespace and our user,
//!               not bound, and the destination is not an exception
//! the sources are all of the family, or those that reach the internet if the destination is there
//! if the last connection of this thread got no port: its source is full for a while
//! turn := the counter of the destination, which is then increased
//! begin := the value that a common counter had for the first connection to the destination
//! first := (begin + turn + mixed(turn / number of sources)) mod number of sources
//! for the sources that are not nearly full, then twice for those that are not full:
//!     source := the first of them from `first` on, in a circle
//!     count the connection for the source and the destination; if they are more than the source has ports, take it back
//!     if the kernel binds the source: return; else count the refusal, take the connection back, and go on behind the source
//! if the kernel bound none of three sources: return, the connection gets the normal source
//! refuse with EADDRNOTAVAIL: all sources are full
//! ```
//!
//! Each destination has its own counter. With a single one, a client that connects to three destinations in a fixed order
//! would use the same one of three sources for each of them. The first connection to a destination has the next turn of a common
//! counter, so that many destinations with one connection each are spread evenly, too.
//!
//! In each round every source has its turn once, and each round begins elsewhere. If all began at the same source, a client
//! that repeats a fixed sequence of long and short connections would give all the long ones to the same sources.
//!
//! The kernel's search for a port in a full source takes milliseconds, so no source is tried that has no port, and one that
//! is nearly full only when all are. A connection is counted before the kernel has chosen its port, so that two at once
//! cannot get the same last port. [`states`](super::states) takes the count away when the connection has ended.

use super::{
    super::{
        instructions::{
            Assembler, Helper, Label,
            Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10},
            Size::{Double, Half, Word},
        },
        maps::{Counter, Group, MOST_SOURCES, Map, Marks, Settings, Treatment, Turn, WORDS},
    },
    frame::{
        MAPPED, UNLESS_THERE, delete, join_destination, look_up, look_up_live, look_up_slot, look_up_treatment,
        point_to, stack, update,
    },
    marks,
};

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

/// More offsets on the stack.
mod own {
    use super::stack::OWN;

    /// A `struct sockaddr_in` or `sockaddr_in6`.
    pub(super) const SOCKADDR: i16 = OWN - 32;
    /// The source that comes first.
    pub(super) const FIRST: i16 = OWN - 40;
    /// The number of the word in which the search is.
    pub(super) const WORD: i16 = OWN - 48;
    /// Whether the connection is counted.
    pub(super) const IS_COUNTED: i16 = OWN - 56;
    /// The id of this thread, the key of [`Map::Last`](super::Map::Last).
    pub(super) const THREAD: i16 = OWN - 64;
}

const EADDRNOTAVAIL: i32 = 99;

const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const SOCK_STREAM: i32 = 1;
const IPPROTO_TCP: i32 = 6;
/// The family of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

/// The program for sockets of this family.
pub(super) fn emit(code: &mut Assembler, family: Family) {
    let (leave, normal) = (code.label(), code.label());
    // R6: the context.
    code.copy(R6, R1);
    only_ours(code, leave);
    let [not_tcp, bound, excepted] = Counter::LEFT.map(|_| code.label());
    only_tcp(code, not_tcp);
    only_unbound(code, family, bound);
    // R9: the family of the destination, 0 for IPv4, 1 for IPv6.
    read_destination(code, family);
    // R9: the number of the group of sources.
    choose_group(code, excepted);
    learn(code);
    join_destination(code);
    // R8: the number of sources.
    count_sources(code, leave);
    // R7: a pointer to the counter.
    find_turn(code, leave);
    choose_first(code);
    let attempts = [Marks::NEARLY, Marks::FULL, Marks::FULL];
    for (number, level) in (1..).zip(attempts) {
        let (bound, passed, next) = (code.label(), code.label(), code.label());
        search(code, level, next);
        take_source(code, passed);
        reserve(code, next);
        bind(code, family);
        code.jump_if(R0, 0, bound);
        refused(code);
        code.place(passed);
        if number == attempts.len() {
            code.jump(normal);
        } else {
            // The search goes on behind this source.
            code.load(Double, R1, R10, stack::SLOT);
            code.subtract(R1, R9);
            code.add(R1, 1);
            code.remainder(R1, R8);
            code.store(Double, R10, own::FIRST, R1);
            code.jump(next);
        }
        code.place(bound);
        keep(code);
        code.jump(normal);
        code.place(next);
    }
    // 1 allows the connection, 0 refuses it with this error.
    code.set(R1, -EADDRNOTAVAIL);
    code.call(Helper::SetRetval);
    code.set(R0, 0);
    code.exit();
    for (label, (counter, _)) in [not_tcp, bound, excepted].into_iter().zip(Counter::LEFT) {
        code.place(label);
        count(code, counter);
        code.jump(normal);
    }
    code.place(normal);
    code.place(leave);
    code.set(R0, 1);
    code.exit();
}

/// Counts one more in [`Map::Counters`].
fn count(code: &mut Assembler, counter: Counter) {
    let behind = code.label();
    code.store_value(Word, R10, stack::NUMBER, counter as i32);
    look_up(code, Map::Counters, stack::NUMBER);
    code.jump_if(R0, 0, behind);
    code.set(R1, 1);
    code.add_in_memory(R0, 0, R1);
    code.place(behind);
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
    for (field, place) in [(Settings::NEARLY, stack::NEARLY), (Settings::FULL, stack::FULL)] {
        code.load(Word, R1, R7, field);
        code.store(Double, R10, place, R1);
    }
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
fn only_unbound(code: &mut Assembler, family: Family, leave: Label) {
    code.load(Double, R7, R6, context::SOCKET);
    let addresses = match family {
        Family::Ipv4 => &[socket::SOURCE_IP4][..],
        Family::Ipv6 => &[socket::SOURCE_IP6, socket::SOURCE_IP6 + 4, socket::SOURCE_IP6 + 8, socket::SOURCE_IP6 + 12],
    };
    for &field in [socket::BOUND_DEVICE, socket::SOURCE_PORT].iter().chain(addresses) {
        code.load(Word, R1, R7, field);
        code.jump_unless(R1, 0, leave);
    }
}

fn read_destination(code: &mut Assembler, family: Family) {
    code.set(R9, 0);
    match family {
        Family::Ipv4 => {
            code.store_value(Double, R10, stack::DESTINATION, 0);
            code.store_value(Word, R10, stack::DESTINATION + 8, MAPPED);
            code.load(Word, R1, R6, context::USER_IP4);
            code.store(Word, R10, stack::DESTINATION + 12, R1);
        }
        Family::Ipv6 => {
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

/// The numbers of the families are those of their groups. Only destinations of IPv4 have one more.
fn choose_group(code: &mut Assembler, leave: Label) {
    let (known, chosen) = (code.label(), code.label());
    look_up_treatment(code);
    code.jump_unless(R0, 0, known);
    code.jump_unless(R9, Group::Ipv4.number().cast_signed(), chosen);
    code.set(R9, Group::Public.number().cast_signed());
    code.jump(chosen);
    code.place(known);
    code.load(Word, R1, R0, 0);
    code.jump_if(R1, Treatment::Except as i32, leave);
    code.place(chosen);
}

fn count_sources(code: &mut Assembler, leave: Label) {
    code.store(Word, R10, stack::NUMBER, R9);
    look_up(code, Map::Counts, stack::NUMBER);
    code.jump_if(R0, 0, leave);
    code.load(Word, R8, R0, 0);
    code.jump_if(R8, 0, leave);
    // R9: from here on, the first slot of the group.
    code.multiply_word(R9, MOST_SOURCES.cast_signed());
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
    code.store_value(Double, R10, own::SOCKADDR + Turn::NUMBER, 0);
    code.store(Double, R10, own::SOCKADDR + Turn::BEGIN, R1);
    update(code, Map::Turns, stack::DESTINATION, own::SOCKADDR, UNLESS_THERE);
    // The counter that this connection or a concurrent one added.
    look_up(code, Map::Turns, stack::DESTINATION);
    // If it could not be added, the common counter is used.
    code.jump_if(R0, 0, found);
    code.copy(R7, R0);
    code.place(found);
}

/// If the last connection of this thread was counted and never got a port, takes its count back and marks its source.
fn learn(code: &mut Assembler) {
    let (nothing, is_last) = (code.label(), code.label());
    code.call(Helper::GetCurrentPidTgid);
    code.store(Double, R10, own::THREAD, R0);
    look_up(code, Map::Last, own::THREAD);
    code.jump_if(R0, 0, nothing);
    code.load(Double, R1, R0, 0);
    code.store(Double, R10, stack::COOKIE, R1);
    look_up(code, Map::Pending, stack::COOKIE);
    code.jump_if(R0, 0, nothing);
    // The source and the destination of that connection.
    for (size, offset) in [(Double, 0), (Double, 8), (Double, 16), (Double, 24), (Word, 32)] {
        code.load(size, R1, R0, offset);
        code.store(size, R10, stack::SOURCE + offset, R1);
    }
    delete(code, Map::Pending, stack::COOKIE);
    look_up(code, Map::Live, stack::SOURCE);
    code.jump_if(R0, 0, nothing);
    take_back(code);
    // A source of which half of the ports is free has failed for another reason.
    code.load(Double, R2, R10, stack::FULL);
    code.shift_right(R2, 1);
    code.jump_if_at_least_register(R1, R2, is_last);
    code.jump(nothing);
    code.place(is_last);
    count(code, Counter::WithoutPort);
    // The slot and the marks are those of its destination, which may be another one.
    for (size, offset) in [(Double, 0), (Double, 8), (Word, 16)] {
        code.load(size, R1, R10, stack::DESTINATION + offset);
        code.store(size, R10, own::SOCKADDR + offset, R1);
        code.load(size, R1, R10, stack::LIVE_DESTINATION + offset);
        code.store(size, R10, stack::DESTINATION + offset, R1);
    }
    let restore = code.label();
    look_up_slot(code);
    code.jump_if(R0, 0, restore);
    code.load(Word, R1, R0, 0);
    code.store(Double, R10, stack::SLOT, R1);
    marks::set_learned(code);
    code.place(restore);
    for (size, offset) in [(Double, 0), (Double, 8), (Word, 16)] {
        code.load(size, R1, R10, own::SOCKADDR + offset);
        code.store(size, R10, stack::DESTINATION + offset, R1);
    }
    code.place(nothing);
}

/// Takes one off the count to which R0 points. R1 is the count before that.
fn take_back(code: &mut Assembler) {
    code.set(R1, -1);
    code.fetch_and_add(R0, 0, R1);
}

/// The place of the first source: `(begin + turn + mixed(turn / sources)) mod sources`.
fn choose_first(code: &mut Assembler) {
    code.set(R1, 1);
    code.fetch_and_add(R7, Turn::NUMBER, R1);
    code.copy(R2, R1);
    code.divide(R2, R8);
    // The finalizer of MurmurHash3: rounds that follow each other begin at places that do not.
    let mix = |code: &mut Assembler, bits: i32, factor: u32| {
        code.copy_word(R3, R2);
        code.shift_right(R3, bits);
        code.exclusive_or(R2, R3);
        code.multiply_word(R2, factor.cast_signed());
    };
    mix(code, 16, 0x85eb_ca6b);
    mix(code, 13, 0xc2b2_ae35);
    code.copy_word(R3, R2);
    code.shift_right(R3, 16);
    code.exclusive_or(R2, R3);
    code.copy_word(R2, R2);
    code.add_register(R1, R2);
    code.load(Double, R2, R7, Turn::BEGIN);
    code.add_register(R1, R2);
    code.remainder(R1, R8);
    code.store(Double, R10, own::FIRST, R1);
}

/// Finds the first source without the mark of this level, from [`own::FIRST`] on in a circle, and puts its slot into
/// [`stack::SLOT`]. Continues at `none` if all have the mark.
fn search(code: &mut Assembler, level: i16, none: Label) {
    let found = code.label();
    // R7: how many words were searched. The first one is searched twice: from the first source on, and at the end up to it.
    code.set(R7, 0);
    let again = code.here();
    code.jump_if_at_least(R7, WORDS + 1, none);
    // R1: the number of words; R3: the number of the word.
    code.copy(R1, R8);
    code.add(R1, 63);
    code.shift_right(R1, 6);
    code.copy(R2, R1);
    code.add(R2, 1);
    code.jump_if_at_least_register(R7, R2, none);
    code.load(Double, R3, R10, own::FIRST);
    code.shift_right(R3, 6);
    code.add_register(R3, R7);
    code.remainder(R3, R1);
    code.store(Double, R10, own::WORD, R3);
    code.copy(R1, R9);
    code.shift_right(R1, 6);
    code.add_register(R1, R3);
    code.store(Word, R10, stack::NUMBER, R1);
    look_up(code, Map::Full, stack::DESTINATION);
    // R1: the sources of the word that have no mark.
    let (unmarked, marked, is_old) = (code.label(), code.label(), code.label());
    code.set(R1, 0);
    code.jump_if(R0, 0, unmarked);
    code.load(Double, R1, R0, level);
    code.load(Double, R2, R0, Marks::LEARNED);
    code.jump_if(R2, 0, marked);
    code.store(Double, R10, stack::COUNT, R1);
    code.store(Double, R10, stack::NEW, R2);
    code.load(Double, R2, R0, Marks::LEARNED_AT);
    code.store(Double, R10, stack::MARKS, R2);
    code.call(Helper::KtimeGetNs);
    code.load(Double, R1, R10, stack::COUNT);
    code.load(Double, R2, R10, stack::MARKS);
    code.subtract(R0, R2);
    code.set_wide(R2, marks::LEARNED_FOR);
    code.jump_if_at_least_register(R0, R2, is_old);
    code.load(Double, R2, R10, stack::NEW);
    code.or(R1, R2);
    code.place(is_old);
    code.place(marked);
    code.place(unmarked);
    code.invert(R1);
    // Not more sources than there are.
    let whole = code.label();
    code.load(Double, R3, R10, own::WORD);
    code.copy(R2, R3);
    code.set(R4, 6);
    code.shift_left(R2, R4);
    code.copy(R3, R8);
    code.subtract(R3, R2);
    code.jump_if_at_least(R3, 64, whole);
    code.set(R2, -1);
    code.shift_left(R2, R3);
    code.invert(R2);
    code.and(R1, R2);
    code.place(whole);
    // In the first word those from the first source on, and at the end the others.
    let (begin, all, ready) = (code.label(), code.label(), code.label());
    code.load(Double, R3, R10, own::FIRST);
    code.and_value(R3, 63);
    code.set(R2, -1);
    code.shift_left(R2, R3);
    code.jump_if(R7, 0, begin);
    code.copy(R3, R8);
    code.add(R3, 63);
    code.shift_right(R3, 6);
    code.jump_unless_same(R7, R3, all);
    code.invert(R2);
    code.place(begin);
    code.and(R1, R2);
    code.jump(ready);
    code.place(all);
    code.place(ready);
    code.jump_unless(R1, 0, found);
    code.add(R7, 1);
    code.repeat(again);
    code.place(found);
    // R2: the lowest bit; R1: the slot.
    code.copy(R2, R1);
    code.set(R3, 0);
    code.subtract(R3, R2);
    code.and(R2, R3);
    code.load(Double, R1, R10, own::WORD);
    code.set(R4, 6);
    code.shift_left(R1, R4);
    code.add_register(R1, R9);
    for bits in [32, 16, 8, 4, 2, 1] {
        let lower = code.label();
        code.copy(R3, R2);
        code.shift_right(R3, bits);
        code.jump_if(R3, 0, lower);
        code.copy(R2, R3);
        code.add(R1, bits);
        code.place(lower);
    }
    code.store(Double, R10, stack::SLOT, R1);
}

/// Reads the source. Continues at `passed` if its slot was cleared meanwhile.
fn take_source(code: &mut Assembler, passed: Label) {
    code.load(Double, R1, R10, stack::SLOT);
    code.store(Word, R10, stack::NUMBER, R1);
    look_up(code, Map::Sources, stack::NUMBER);
    code.jump_if(R0, 0, passed);
    code.load(Double, R1, R0, 0);
    code.load(Double, R2, R0, 8);
    code.store(Double, R10, stack::SOURCE, R1);
    code.store(Double, R10, stack::SOURCE + 8, R2);
    code.or(R1, R2);
    code.jump_if(R1, 0, passed);
}

/// Counts the connection for its source and destination. Continues at `next` if the source has no port for it.
fn reserve(code: &mut Assembler, next: Label) {
    let (counted, uncounted) = (code.label(), code.label());
    code.store_value(Double, R10, own::IS_COUNTED, 0);
    look_up_live(code);
    // Without room for a count, the source counts as free.
    code.jump_if(R0, 0, uncounted);
    code.copy(R7, R0);
    code.set(R1, 1);
    code.fetch_and_add(R7, 0, R1);
    code.add(R1, 1);
    code.store(Double, R10, stack::COUNT, R1);
    marks::set_by_count(code);
    code.load(Double, R1, R10, stack::COUNT);
    code.load(Double, R2, R10, stack::FULL);
    code.jump_if_at_least_register(R2, R1, counted);
    code.copy(R0, R7);
    take_back(code);
    code.jump(next);
    code.place(counted);
    code.store_value(Double, R10, own::IS_COUNTED, 1);
    code.place(uncounted);
}

/// The connection has its source. Whether it also gets a port is known when this thread makes its next connection.
fn keep(code: &mut Assembler) {
    let (uncounted, leave) = (code.label(), code.label());
    look_up(code, Map::Taken, stack::SOURCE);
    code.jump_if(R0, 0, leave);
    code.set(R1, 1);
    code.add_in_memory(R0, 0, R1);
    code.place(leave);
    code.load(Double, R1, R10, own::IS_COUNTED);
    code.jump_if(R1, 0, uncounted);
    code.copy(R1, R6);
    code.call(Helper::GetSocketCookie);
    code.store(Double, R10, stack::COOKIE, R0);
    update(code, Map::Pending, stack::COOKIE, stack::SOURCE, 0);
    update(code, Map::Last, own::THREAD, stack::COOKIE, 0);
    code.place(uncounted);
}

/// The kernel refused to bind the source: the connection is not counted for it.
fn refused(code: &mut Assembler) {
    let (uncounted, behind) = (code.label(), code.label());
    code.load(Double, R1, R10, own::IS_COUNTED);
    code.jump_if(R1, 0, uncounted);
    look_up(code, Map::Live, stack::SOURCE);
    code.jump_if(R0, 0, uncounted);
    take_back(code);
    code.place(uncounted);
    look_up(code, Map::Taken, stack::SOURCE);
    code.jump_if(R0, 0, behind);
    code.set(R1, 1);
    code.add_in_memory(R0, 8, R1);
    code.place(behind);
}

/// Binds the source. The result is in R0: 0 if the kernel accepted it.
fn bind(code: &mut Assembler, family: Family) {
    let length = match family {
        Family::Ipv4 => {
            code.store_value(Half, R10, own::SOCKADDR, AF_INET);
            code.store_value(Half, R10, own::SOCKADDR + 2, 0);
            code.load(Word, R1, R10, stack::SOURCE + 12);
            code.store(Word, R10, own::SOCKADDR + 4, R1);
            code.store_value(Double, R10, own::SOCKADDR + 8, 0);
            16
        }
        Family::Ipv6 => {
            code.store_value(Half, R10, own::SOCKADDR, AF_INET6);
            code.store_value(Half, R10, own::SOCKADDR + 2, 0);
            code.store_value(Word, R10, own::SOCKADDR + 4, 0);
            code.load(Double, R1, R10, stack::SOURCE);
            code.load(Double, R2, R10, stack::SOURCE + 8);
            code.store(Double, R10, own::SOCKADDR + 8, R1);
            code.store(Double, R10, own::SOCKADDR + 16, R2);
            code.store_value(Word, R10, own::SOCKADDR + 24, 0);
            28
        }
    };
    code.copy(R1, R6);
    point_to(code, R2, own::SOCKADDR);
    code.set(R3, length);
    code.call(Helper::Bind);
}
