//! What all programs use: the layout of their stack, and access to maps.

use super::super::{
    instructions::{
        Assembler, Helper,
        Register::{self, R0, R1, R2, R3, R4, R10},
        Size::{Double, Word},
    },
    maps::Map,
};

/// Offsets on the stack, below `R10`, that all programs use.
pub(super) mod stack {
    /// The key of an array, or of [`Map::Full`](super::Map::Full) together with the destination before it.
    pub(crate) const NUMBER: i16 = -4;
    /// The destination's address and port, the key of [`Map::Turns`](super::Map::Turns). With the prefix length before it,
    /// the address is the key of [`Map::Destinations`](super::Map::Destinations).
    pub(crate) const DESTINATION: i16 = -24;
    pub(crate) const DESTINATION_PORT: i16 = DESTINATION + 16;
    pub(crate) const PREFIX: i16 = DESTINATION - 4;
    /// A new value of a map.
    pub(crate) const NEW: i16 = -40;
    /// The source's address, the key of [`Map::Taken`](super::Map::Taken) and [`Map::Slots`](super::Map::Slots). With the
    /// destination behind it, it is the key of [`Map::Live`](super::Map::Live).
    pub(crate) const SOURCE: i16 = -80;
    pub(crate) const LIVE_DESTINATION: i16 = SOURCE + 16;
    /// How many connections a source has with the one of this run.
    pub(crate) const COUNT: i16 = -88;
    /// The slot of the source.
    pub(crate) const SLOT: i16 = -96;
    /// How many connections of one source to one destination are nearly, and exactly, as many as it has ports.
    pub(crate) const NEARLY: i16 = -104;
    pub(crate) const FULL: i16 = -112;
    /// A socket's cookie, the key of [`Map::Pending`](super::Map::Pending).
    pub(crate) const COOKIE: i16 = -120;
    /// New marks.
    pub(crate) const MARKS: i16 = -152;
    /// What is below is free for one program alone.
    pub(crate) const OWN: i16 = MARKS;
}

/// The third word of `::ffff:a.b.c.d`.
pub(super) const MAPPED: i32 = i32::from_ne_bytes([0, 0, 0xff, 0xff]);
/// `BPF_NOEXIST`: of two concurrent first connections, one adds the entry.
pub(super) const UNLESS_THERE: i32 = 1;

/// `R0 = &map[the key on the stack]`, 0 if there is no entry.
pub(super) fn look_up(code: &mut Assembler, map: Map, key: i16) {
    code.load_map(R1, map);
    point_to(code, R2, key);
    code.call(Helper::MapLookup);
}

/// `map[the key on the stack] = the value on the stack`
pub(super) fn update(code: &mut Assembler, map: Map, key: i16, value: i16, flags: i32) {
    code.load_map(R1, map);
    point_to(code, R2, key);
    point_to(code, R3, value);
    code.set(R4, flags);
    code.call(Helper::MapUpdate);
}

pub(super) fn delete(code: &mut Assembler, map: Map, key: i16) {
    code.load_map(R1, map);
    point_to(code, R2, key);
    code.call(Helper::MapDelete);
}

/// `to = &stack[place]`
pub(super) fn point_to(code: &mut Assembler, to: Register, place: i16) {
    code.copy(to, R10);
    code.add(to, i32::from(place));
}

/// Copies the destination on the stack behind the source. Changes R1.
pub(super) fn join_destination(code: &mut Assembler) {
    for (size, offset) in [(Double, 0), (Double, 8), (Word, 16)] {
        code.load(size, R1, R10, stack::DESTINATION + offset);
        code.store(size, R10, stack::LIVE_DESTINATION + offset, R1);
    }
}

/// `R0 = &the treatment of the destination`, 0 if it has none.
pub(super) fn look_up_treatment(code: &mut Assembler) {
    code.store_value(Word, R10, stack::PREFIX, 128);
    look_up(code, Map::Destinations, stack::PREFIX);
}

/// `R0 = &the slot of the source among those for the destination`, 0 if the address is no source.
pub(super) fn look_up_slot(code: &mut Assembler) {
    let (all, found) = (code.label(), code.label());
    look_up_treatment(code);
    code.jump_unless(R0, 0, all);
    look_up(code, Map::PublicSlots, stack::SOURCE);
    code.jump_unless(R0, 0, found);
    code.place(all);
    look_up(code, Map::Slots, stack::SOURCE);
    code.place(found);
}

/// `R0 = &live[source and destination]`, with a new entry if there is none; 0 if there is no room for one.
pub(super) fn look_up_live(code: &mut Assembler) {
    let found = code.label();
    look_up(code, Map::Live, stack::SOURCE);
    code.jump_unless(R0, 0, found);
    code.store_value(Double, R10, stack::NEW, 0);
    update(code, Map::Live, stack::SOURCE, stack::NEW, UNLESS_THERE);
    look_up(code, Map::Live, stack::SOURCE);
    code.place(found);
}
