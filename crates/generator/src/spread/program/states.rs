//! The program that the kernel runs when a TCP socket has its port and when it gives it back: it counts how many connections
//! each source has to each destination, also those of other users and those that are not spread.
//!
//! The kernel chooses the port after [`connect`](super::connect) has run, and tells this program when it has one. A connection
//! that `connect` has counted is only noted as begun. The kernel reports the change to CLOSE, at which it frees the port,
//! only for sockets with a flag, which is set here. A port in `TIME_WAIT` counts as free: the kernel reuses it after a second.

use super::{
    super::{
        instructions::{
            Assembler, Helper, Label,
            Register::{R0, R1, R2, R6, R7, R10},
            Size::{Double, Word},
        },
        maps::{Map, Settings},
    },
    frame::{MAPPED, delete, join_destination, look_up, look_up_live, look_up_slot, stack},
    marks,
};

/// Fields of `struct bpf_sock_ops`.
mod context {
    pub(super) const OPERATION: i16 = 0;
    pub(super) const NEW_STATE: i16 = 8;
    pub(super) const FAMILY: i16 = 20;
    pub(super) const REMOTE_IP4: i16 = 24;
    pub(super) const LOCAL_IP4: i16 = 28;
    pub(super) const REMOTE_IP6: i16 = 32;
    pub(super) const LOCAL_IP6: i16 = 48;
    pub(super) const REMOTE_PORT: i16 = 64;
    pub(super) const FLAGS: i16 = 84;
}

/// `BPF_SOCK_OPS_TCP_CONNECT_CB`: the socket has its port, and nothing is sent yet.
const HAS_PORT: i32 = 3;
/// `BPF_SOCK_OPS_STATE_CB`
const STATE_CHANGES: i32 = 10;
/// `BPF_SOCK_OPS_STATE_CB_FLAG`
const TELL_STATES: i32 = 1 << 2;
/// `BPF_TCP_CLOSE`
const CLOSE: i32 = 7;
const AF_INET: i32 = 2;

pub(super) fn emit(code: &mut Assembler) {
    let (leave, begins, ends) = (code.label(), code.label(), code.label());
    // R6: the context; R7: the operation.
    code.copy(R6, R1);
    code.load(Word, R7, R6, context::OPERATION);
    code.jump_if(R7, HAS_PORT, begins);
    code.jump_unless(R7, STATE_CHANGES, leave);
    code.load(Word, R1, R6, context::NEW_STATE);
    code.jump_unless(R1, CLOSE, leave);
    code.place(begins);
    only_ours(code, leave);
    read_addresses(code);
    join_destination(code);
    only_sources(code, leave);
    code.jump_if(R7, STATE_CHANGES, ends);
    begin(code, leave);
    code.jump(leave);
    code.place(ends);
    end(code, leave);
    code.place(leave);
    code.set(R0, 1);
    code.exit();
}

fn only_ours(code: &mut Assembler, leave: Label) {
    code.store_value(Word, R10, stack::NUMBER, 0);
    look_up(code, Map::Settings, stack::NUMBER);
    code.jump_if(R0, 0, leave);
    for (field, place) in [(Settings::NEARLY, stack::NEARLY), (Settings::FULL, stack::FULL)] {
        code.load(Word, R1, R0, field);
        code.store(Double, R10, place, R1);
    }
    code.load(Double, R1, R0, Settings::NETNS_COOKIE);
    code.store(Double, R10, stack::COOKIE, R1);
    code.copy(R1, R6);
    code.call(Helper::GetNetnsCookie);
    code.load(Double, R1, R10, stack::COOKIE);
    code.jump_unless_same(R0, R1, leave);
}

/// Reads destination and source, in the notation of IPv6.
fn read_addresses(code: &mut Assembler) {
    let (ipv4, ipv6, read) = (code.label(), code.label(), code.label());
    code.load(Word, R1, R6, context::FAMILY);
    code.jump_if(R1, AF_INET, ipv4);
    for word in [0, 4, 8, 12] {
        code.load(Word, R1, R6, context::REMOTE_IP6 + word);
        code.store(Word, R10, stack::DESTINATION + word, R1);
        code.load(Word, R1, R6, context::LOCAL_IP6 + word);
        code.store(Word, R10, stack::SOURCE + word, R1);
    }
    code.load(Double, R1, R10, stack::DESTINATION);
    code.jump_unless(R1, 0, ipv6);
    code.load(Word, R1, R10, stack::DESTINATION + 8);
    code.jump_unless_word(R1, MAPPED, ipv6);
    code.place(ipv4);
    for (place, field) in [(stack::DESTINATION, context::REMOTE_IP4), (stack::SOURCE, context::LOCAL_IP4)] {
        code.store_value(Double, R10, place, 0);
        code.store_value(Word, R10, place + 8, MAPPED);
        code.load(Word, R1, R6, field);
        code.store(Word, R10, place + 12, R1);
    }
    code.place(ipv6);
    // The port is in the upper half here, and in the lower one at `connect()`.
    code.load(Word, R1, R6, context::REMOTE_PORT);
    code.shift_right(R1, 16);
    code.store(Word, R10, stack::DESTINATION_PORT, R1);
    code.place(read);
}

fn only_sources(code: &mut Assembler, leave: Label) {
    look_up_slot(code);
    code.jump_if(R0, 0, leave);
    code.load(Word, R1, R0, 0);
    code.store(Double, R10, stack::SLOT, R1);
}

/// Counts the connection if `connect` has not counted it, and asks for its end.
fn begin(code: &mut Assembler, leave: Label) {
    let (uncounted, counted) = (code.label(), code.label());
    code.copy(R1, R6);
    code.call(Helper::GetSocketCookie);
    code.store(Double, R10, stack::COOKIE, R0);
    look_up(code, Map::Pending, stack::COOKIE);
    code.jump_if(R0, 0, uncounted);
    delete(code, Map::Pending, stack::COOKIE);
    code.jump(counted);
    code.place(uncounted);
    look_up_live(code);
    code.jump_if(R0, 0, leave);
    code.set(R1, 1);
    code.fetch_and_add(R0, 0, R1);
    code.add(R1, 1);
    code.store(Double, R10, stack::COUNT, R1);
    marks::set_by_count(code);
    code.place(counted);
    code.load(Word, R2, R6, context::FLAGS);
    code.set(R1, TELL_STATES);
    code.or(R2, R1);
    code.copy(R1, R6);
    code.call(Helper::SockOpsCbFlagsSet);
}

/// Takes the connection off the count.
fn end(code: &mut Assembler, leave: Label) {
    let (some, left) = (code.label(), code.label());
    look_up(code, Map::Live, stack::SOURCE);
    code.jump_if(R0, 0, leave);
    code.set(R1, -1);
    code.fetch_and_add(R0, 0, R1);
    code.jump_unless(R1, 0, some);
    // It was never counted.
    code.set(R1, 1);
    code.add_in_memory(R0, 0, R1);
    code.jump(leave);
    code.place(some);
    code.add(R1, -1);
    code.store(Double, R10, stack::COUNT, R1);
    code.jump_unless(R1, 0, left);
    // One that begins at this moment is not counted then, which costs nothing: the source is empty.
    delete(code, Map::Live, stack::SOURCE);
    code.place(left);
    marks::take_away(code);
}
