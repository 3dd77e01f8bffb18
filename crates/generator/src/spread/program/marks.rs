//! Marks of sources that are nearly or completely full towards a destination, a bit for each slot of a source.
//!
//! The marks only say where to look first: [`Map::Live`](super::Map::Live) has the counts. A run that gives a source its last
//! port sets the mark, and every connection that ends takes it away, so a mark that was set too late lasts until then.

use super::{
    super::{
        instructions::{
            Assembler, Helper, Label,
            Register::{R0, R1, R2, R3, R10},
            Size::{Double, Word},
        },
        maps::{Map, Marks},
    },
    frame::{UNLESS_THERE, look_up, stack, update},
};

/// Sets the marks that follow from [`stack::COUNT`], for the source in [`stack::SLOT`]. Continues behind them.
pub(super) fn set_by_count(code: &mut Assembler) {
    let behind = code.label();
    code.load(Double, R1, R10, stack::COUNT);
    code.load(Double, R2, R10, stack::NEARLY);
    let reached = code.label();
    code.jump_if_at_least_register(R1, R2, reached);
    code.jump(behind);
    code.place(reached);
    look_up_marks(code, behind);
    bit(code);
    code.or_in_memory(R0, Marks::NEARLY, R1);
    let full = code.label();
    code.load(Double, R2, R10, stack::COUNT);
    code.load(Double, R3, R10, stack::FULL);
    code.jump_if_at_least_register(R2, R3, full);
    code.jump(behind);
    code.place(full);
    code.or_in_memory(R0, Marks::FULL, R1);
    code.place(behind);
}

/// For how long a source counts as full that had no port although the program counted fewer connections than ports, in
/// nanoseconds from the first such source of its word on.
pub(super) const LEARNED_FOR: i64 = 10_000_000_000;

/// Sets the mark of a source that had no port left although it has fewer connections than ports: others use its ports.
pub(super) fn set_learned(code: &mut Assembler) {
    let (renewed, behind) = (code.label(), code.label());
    code.call(Helper::KtimeGetNs);
    code.store(Double, R10, stack::NEW, R0);
    look_up_marks(code, behind);
    bit(code);
    code.load(Double, R3, R10, stack::NEW);
    code.load(Double, R2, R0, Marks::LEARNED_AT);
    code.subtract(R3, R2);
    code.set_wide(R2, LEARNED_FOR);
    code.jump_if_at_least_register(R3, R2, renewed);
    code.or_in_memory(R0, Marks::LEARNED, R1);
    code.jump(behind);
    // The marks of an earlier time count no more.
    code.place(renewed);
    code.store(Double, R0, Marks::LEARNED, R1);
    code.load(Double, R2, R10, stack::NEW);
    code.store(Double, R0, Marks::LEARNED_AT, R2);
    code.place(behind);
}

/// Takes the marks away that no longer follow from [`stack::COUNT`], after a connection has ended.
pub(super) fn take_away(code: &mut Assembler) {
    let (behind, still) = (code.label(), code.label());
    find_word(code);
    look_up(code, Map::Full, stack::DESTINATION);
    code.jump_if(R0, 0, behind);
    bit(code);
    code.invert(R1);
    code.and_in_memory(R0, Marks::FULL, R1);
    code.and_in_memory(R0, Marks::LEARNED, R1);
    code.load(Double, R2, R10, stack::COUNT);
    code.load(Double, R3, R10, stack::NEARLY);
    code.jump_if_at_least_register(R2, R3, still);
    code.and_in_memory(R0, Marks::NEARLY, R1);
    code.place(still);
    code.place(behind);
}

/// `R0 = the marks of the slot's word`, with a new entry if there is none.
fn look_up_marks(code: &mut Assembler, behind: Label) {
    let found = code.label();
    find_word(code);
    look_up(code, Map::Full, stack::DESTINATION);
    code.jump_unless(R0, 0, found);
    for offset in (0..Marks::BYTES).step_by(8) {
        code.store_value(Double, R10, stack::MARKS + offset, 0);
    }
    update(code, Map::Full, stack::DESTINATION, stack::MARKS, UNLESS_THERE);
    look_up(code, Map::Full, stack::DESTINATION);
    code.jump_if(R0, 0, behind);
    code.place(found);
}

/// The key is the destination and the number of the slot's word.
fn find_word(code: &mut Assembler) {
    code.load(Double, R1, R10, stack::SLOT);
    code.shift_right(R1, 6);
    code.store(Word, R10, stack::NUMBER, R1);
}

/// `R1 = the bit of the slot in its word`. Changes R2.
fn bit(code: &mut Assembler) {
    code.load(Double, R2, R10, stack::SLOT);
    code.and_value(R2, 63);
    code.set(R1, 1);
    code.shift_left(R1, R2);
}
