//! A small assembler for BPF. It encodes instructions in the order of the calls, and lists those that name a map.
//!
//! The encodings are those of the kernel's `Documentation/bpf/standardization/instruction-set.rst`. The only jumps back are
//! those of [`Assembler::repeat`], whose counter the kernel's verifier follows, so every program ends.

use super::maps::Map;

/// A register. `R10` points past the end of the stack and is read-only. A call takes its arguments in `R1` to `R5`, returns its
/// result in `R0` and preserves `R6` to `R9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    #[cfg(test)]
    R5,
    R6 = 6,
    R7,
    R8,
    R9,
    R10,
}

/// How many bytes a load or a store moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Two bytes.
    Half = 0x08,
    /// Four bytes.
    Word = 0x00,
    /// Eight bytes.
    Double = 0x18,
}

/// A function of the kernel, by its number in `enum bpf_func_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Helper {
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    KtimeGetNs = 5,
    GetCurrentPidTgid = 14,
    GetCurrentUidGid = 15,
    GetSocketCookie = 46,
    SockOpsCbFlagsSet = 59,
    Bind = 64,
    GetNetnsCookie = 122,
    SetRetval = 187,
}

/// The target of jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// An earlier place in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Here(usize);

/// A finished program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Code {
    /// Its instructions, eight bytes each.
    pub(super) bytes: Vec<u8>,
    /// The offsets of instructions that name a map, and the map.
    pub(super) maps: Vec<(u64, Map)>,
}

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    maps: Vec<(u64, Map)>,
    labels: usize,
    /// Indices of jumps to labels that are not placed yet.
    jumps: Vec<(usize, Label)>,
    /// Whether three instructions stand for an atomic one: the interpreter of the tests has none, and no threads either.
    #[cfg(test)]
    is_without_atomics: bool,
}

#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u8,
    destination: u8,
    source: u8,
    offset: i16,
    value: i32,
}

// Classes of instructions, and operations.
const LOAD_MEMORY: u8 = 0x61;
const STORE_VALUE: u8 = 0x62;
const STORE_REGISTER: u8 = 0x63;
const STORE_ATOMIC: u8 = 0xc3;
const LOAD_MAP: u8 = 0x18;
const CALCULATE: u8 = 0x07;
const CALCULATE_32: u8 = 0x04;
const JUMP: u8 = 0x05;
const JUMP_32: u8 = 0x06;
// The second operand is a register instead of a value.
const BY_REGISTER: u8 = 0x08;
const ADD: u8 = 0x00;
const SUBTRACT: u8 = 0x10;
const MULTIPLY: u8 = 0x20;
const DIVIDE: u8 = 0x30;
const OR: u8 = 0x40;
const AND: u8 = 0x50;
const SHIFT_LEFT: u8 = 0x60;
const SHIFT_RIGHT: u8 = 0x70;
const REMAINDER: u8 = 0x90;
const EXCLUSIVE_OR: u8 = 0xa0;
const MOVE: u8 = 0xb0;
const IF_EQUAL: u8 = 0x10;
const IF_AT_LEAST: u8 = 0x30;
const IF_NOT_EQUAL: u8 = 0x50;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
const ATOMIC_ADD: i32 = 0x00;
const ATOMIC_OR: i32 = 0x40;
const ATOMIC_AND: i32 = 0x50;
const ATOMIC_FETCH: i32 = 0x01;
const ATOMIC_FETCH_ADD: i32 = ATOMIC_ADD | ATOMIC_FETCH;

impl Assembler {
    /// Writes three instructions in place of an atomic one.
    #[cfg(test)]
    pub(super) fn without_atomics() -> Self {
        Self { is_without_atomics: true, ..Self::default() }
    }

    /// A new label, not placed yet.
    pub(super) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels)
    }

    /// Places `label` before the next instruction.
    pub(super) fn place(&mut self, label: Label) {
        let here = self.instructions.len();
        let instructions = &mut self.instructions;
        self.jumps.retain(|&(from, to)| {
            if to == label
                && let Some(jump) = instructions.get_mut(from)
                && let Ok(distance) = i16::try_from(here - from - 1)
            {
                jump.offset = distance;
                return false;
            }
            true
        });
    }

    /// `to = from`
    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.push(CALCULATE | MOVE | BY_REGISTER, to as u8, from as u8, 0, 0);
    }

    /// `to = the lower 32 bits of from`
    pub(super) fn copy_word(&mut self, to: Register, from: Register) {
        self.push(CALCULATE_32 | MOVE | BY_REGISTER, to as u8, from as u8, 0, 0);
    }

    /// `to = value`
    pub(super) fn set(&mut self, to: Register, value: i32) {
        self.push(CALCULATE | MOVE, to as u8, 0, 0, value);
    }

    /// `to = value`, 64 bits; two instructions
    pub(super) fn set_wide(&mut self, to: Register, value: i64) {
        let [low, high] = [value, value >> 32].map(|half| half << 32 >> 32);
        // Both are within the bounds of 32 bits now.
        self.push(LOAD_MAP, to as u8, 0, 0, i32::try_from(low).unwrap_or_default());
        self.push(0, 0, 0, 0, i32::try_from(high).unwrap_or_default());
    }

    /// `to += value`
    pub(super) fn add(&mut self, to: Register, value: i32) {
        self.push(CALCULATE | ADD, to as u8, 0, 0, value);
    }

    /// `to += by`
    pub(super) fn add_register(&mut self, to: Register, by: Register) {
        self.push(CALCULATE | ADD | BY_REGISTER, to as u8, by as u8, 0, 0);
    }

    /// `to -= by`
    pub(super) fn subtract(&mut self, to: Register, by: Register) {
        self.push(CALCULATE | SUBTRACT | BY_REGISTER, to as u8, by as u8, 0, 0);
    }

    /// `to = to * value`, as 32 bits
    pub(super) fn multiply_word(&mut self, to: Register, value: i32) {
        self.push(CALCULATE_32 | MULTIPLY, to as u8, 0, 0, value);
    }

    /// `to /= by`, unsigned
    pub(super) fn divide(&mut self, to: Register, by: Register) {
        self.push(CALCULATE | DIVIDE | BY_REGISTER, to as u8, by as u8, 0, 0);
    }

    /// `to &= by`
    pub(super) fn and(&mut self, to: Register, by: Register) {
        self.push(CALCULATE | AND | BY_REGISTER, to as u8, by as u8, 0, 0);
    }

    /// `to &= value`
    pub(super) fn and_value(&mut self, to: Register, value: i32) {
        self.push(CALCULATE | AND, to as u8, 0, 0, value);
    }

    /// `to = !to`
    pub(super) fn invert(&mut self, to: Register) {
        self.push(CALCULATE | EXCLUSIVE_OR, to as u8, 0, 0, -1);
    }

    /// `to ^= by`
    pub(super) fn exclusive_or(&mut self, to: Register, by: Register) {
        self.push(CALCULATE | EXCLUSIVE_OR | BY_REGISTER, to as u8, by as u8, 0, 0);
    }

    /// `to <<= by`
    pub(super) fn shift_left(&mut self, to: Register, by: Register) {
        self.push(CALCULATE | SHIFT_LEFT | BY_REGISTER, to as u8, by as u8, 0, 0);
    }

    /// `to >>= bits`, unsigned
    pub(super) fn shift_right(&mut self, to: Register, bits: i32) {
        self.push(CALCULATE | SHIFT_RIGHT, to as u8, 0, 0, bits);
    }

    /// `to |= by`
    pub(super) fn or(&mut self, to: Register, by: Register) {
        self.push(CALCULATE | OR | BY_REGISTER, to as u8, by as u8, 0, 0);
    }

    /// `to %= by`, unsigned
    pub(super) fn remainder(&mut self, to: Register, by: Register) {
        self.push(CALCULATE | REMAINDER | BY_REGISTER, to as u8, by as u8, 0, 0);
    }

    /// `to = base[offset]`
    pub(super) fn load(&mut self, size: Size, to: Register, base: Register, offset: i16) {
        self.push(LOAD_MEMORY | size as u8, to as u8, base as u8, offset, 0);
    }

    /// `base[offset] = from`
    pub(super) fn store(&mut self, size: Size, base: Register, offset: i16, from: Register) {
        self.push(STORE_REGISTER | size as u8, base as u8, from as u8, offset, 0);
    }

    /// `base[offset] = value`
    pub(super) fn store_value(&mut self, size: Size, base: Register, offset: i16, value: i32) {
        self.push(STORE_VALUE | size as u8, base as u8, 0, offset, value);
    }

    /// `base[offset] += by`, eight bytes, atomically
    pub(super) fn add_in_memory(&mut self, base: Register, offset: i16, by: Register) {
        self.atomic(base, offset, by, ATOMIC_ADD, ADD);
    }

    /// `base[offset] |= by`, eight bytes, atomically
    pub(super) fn or_in_memory(&mut self, base: Register, offset: i16, by: Register) {
        self.atomic(base, offset, by, ATOMIC_OR, OR);
    }

    /// `base[offset] &= by`, eight bytes, atomically
    pub(super) fn and_in_memory(&mut self, base: Register, offset: i16, by: Register) {
        self.atomic(base, offset, by, ATOMIC_AND, AND);
    }

    /// `base[offset] += by`, eight bytes, atomically; `by` becomes the earlier value
    pub(super) fn fetch_and_add(&mut self, base: Register, offset: i16, by: Register) {
        self.atomic(base, offset, by, ATOMIC_FETCH_ADD, ADD);
    }

    /// `to = the map`; two instructions, into which the loader writes the map's descriptor
    pub(super) fn load_map(&mut self, to: Register, map: Map) {
        self.maps.push((self.instructions.len() as u64 * 8, map));
        self.push(LOAD_MAP, to as u8, 0, 0, 0);
        self.push(0, 0, 0, 0, 0);
    }

    /// `goto label`
    pub(super) fn jump(&mut self, label: Label) {
        self.push_jump(JUMP, 0, 0, 0, label);
    }

    /// `if left == value goto label`
    pub(super) fn jump_if(&mut self, left: Register, value: i32, label: Label) {
        self.push_jump(JUMP | IF_EQUAL, left as u8, 0, value, label);
    }

    /// `if left != value goto label`
    pub(super) fn jump_unless(&mut self, left: Register, value: i32, label: Label) {
        self.push_jump(JUMP | IF_NOT_EQUAL, left as u8, 0, value, label);
    }

    /// `if the lower 32 bits of left != value goto label`
    pub(super) fn jump_unless_word(&mut self, left: Register, value: i32, label: Label) {
        self.push_jump(JUMP_32 | IF_NOT_EQUAL, left as u8, 0, value, label);
    }

    /// `if left != right goto label`
    pub(super) fn jump_unless_same(&mut self, left: Register, right: Register, label: Label) {
        self.push_jump(JUMP | IF_NOT_EQUAL | BY_REGISTER, left as u8, right as u8, 0, label);
    }

    /// `if left >= value goto label`, unsigned
    pub(super) fn jump_if_at_least(&mut self, left: Register, value: i32, label: Label) {
        self.push_jump(JUMP | IF_AT_LEAST, left as u8, 0, value, label);
    }

    /// `if left >= right goto label`, unsigned
    pub(super) fn jump_if_at_least_register(&mut self, left: Register, right: Register, label: Label) {
        self.push_jump(JUMP | IF_AT_LEAST | BY_REGISTER, left as u8, right as u8, 0, label);
    }

    /// The place of the next instruction, for [`Assembler::repeat`].
    pub(super) fn here(&self) -> Here {
        Here(self.instructions.len())
    }

    /// `goto from`, a place before this one
    pub(super) fn repeat(&mut self, from: Here) {
        let distance = self.instructions.len() + 1 - from.0;
        // A program is far shorter than the farthest jump.
        let offset = i16::try_from(distance).map_or(0, |distance| -distance);
        self.push(JUMP, 0, 0, offset, 0);
    }

    /// `R0 = helper(R1, …)`
    pub(super) fn call(&mut self, helper: Helper) {
        self.push(JUMP | CALL, 0, 0, 0, helper as i32);
    }

    /// `return R0`
    pub(super) fn exit(&mut self) {
        self.push(JUMP | EXIT, 0, 0, 0, 0);
    }

    /// The program; `None` if a label was not placed.
    pub(super) fn finish(self) -> Option<Code> {
        let bytes = self.instructions.iter().flat_map(|instruction| instruction.bytes()).collect();
        self.jumps.is_empty().then_some(Code { bytes, maps: self.maps })
    }

    fn atomic(&mut self, base: Register, offset: i16, by: Register, atomic: i32, operation: u8) {
        #[cfg(test)]
        if self.is_without_atomics {
            let value = Register::R5;
            self.load(Size::Double, value, base, offset);
            self.push(CALCULATE | operation | BY_REGISTER, value as u8, by as u8, 0, 0);
            self.store(Size::Double, base, offset, value);
            if atomic == ATOMIC_FETCH_ADD {
                self.subtract(value, by);
                self.copy(by, value);
            }
            return;
        }
        // The operation is also that of the atomic instruction.
        debug_assert_eq!(i32::from(operation), atomic & !ATOMIC_FETCH, "one operation, two encodings");
        self.push(STORE_ATOMIC | Size::Double as u8, base as u8, by as u8, offset, atomic);
    }

    fn push(&mut self, code: u8, destination: u8, source: u8, offset: i16, value: i32) {
        self.instructions.push(Instruction { code, destination, source, offset, value });
    }

    fn push_jump(&mut self, code: u8, left: u8, right: u8, value: i32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(code, left, right, 0, value);
    }
}

impl Instruction {
    fn bytes(self) -> [u8; 8] {
        let [low, high] = self.offset.to_le_bytes();
        let [a, b, c, d] = self.value.to_le_bytes();
        [self.code, self.destination | self.source << 4, low, high, a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes are those of `llvm-mc -triple bpfel -mcpu=v3 -show-encoding`.
    #[test]
    fn instructions_are_encoded_as_llvm_encodes_them() {
        use Register::{R0, R1, R2, R3, R6, R7, R8, R9, R10};
        let mut code = Assembler::default();
        let end = code.label();
        code.copy(R6, R1);
        code.copy_word(R1, R0);
        code.set(R9, -2);
        code.add(R2, -24);
        code.add_register(R1, R9);
        code.or(R1, R2);
        code.remainder(R1, R8);
        code.load(Size::Word, R1, R6, 32);
        code.load(Size::Double, R7, R6, 64);
        code.store(Size::Double, R10, -56, R1);
        code.store_value(Size::Half, R10, -72, 2);
        code.store_value(Size::Word, R10, -28, 128);
        code.add_in_memory(R0, 8, R1);
        code.fetch_and_add(R7, 0, R3);
        code.load_map(R1, Map::Settings);
        code.jump(end);
        code.jump_if(R0, 0, end);
        code.jump_unless(R1, 6, end);
        code.jump_unless_word(R1, -65_536, end);
        code.jump_unless_same(R0, R1, end);
        code.call(Helper::Bind);
        code.place(end);
        code.exit();
        let code = code.finish().unwrap();
        let lines: Vec<_> = code.bytes.chunks(8).map(|bytes| format!("{bytes:02x?}")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        [bf, 16, 00, 00, 00, 00, 00, 00]
        [bc, 01, 00, 00, 00, 00, 00, 00]
        [b7, 09, 00, 00, fe, ff, ff, ff]
        [07, 02, 00, 00, e8, ff, ff, ff]
        [0f, 91, 00, 00, 00, 00, 00, 00]
        [4f, 21, 00, 00, 00, 00, 00, 00]
        [9f, 81, 00, 00, 00, 00, 00, 00]
        [61, 61, 20, 00, 00, 00, 00, 00]
        [79, 67, 40, 00, 00, 00, 00, 00]
        [7b, 1a, c8, ff, 00, 00, 00, 00]
        [6a, 0a, b8, ff, 02, 00, 00, 00]
        [62, 0a, e4, ff, 80, 00, 00, 00]
        [db, 10, 08, 00, 00, 00, 00, 00]
        [db, 37, 00, 00, 01, 00, 00, 00]
        [18, 01, 00, 00, 00, 00, 00, 00]
        [00, 00, 00, 00, 00, 00, 00, 00]
        [05, 00, 05, 00, 00, 00, 00, 00]
        [15, 00, 04, 00, 00, 00, 00, 00]
        [55, 01, 03, 00, 06, 00, 00, 00]
        [56, 01, 02, 00, 00, 00, ff, ff]
        [5d, 10, 01, 00, 00, 00, 00, 00]
        [85, 00, 00, 00, 40, 00, 00, 00]
        [95, 00, 00, 00, 00, 00, 00, 00]
        ");
        assert_eq!(code.maps, [(14 * 8, Map::Settings)]);
    }

    /// The same for what the search and the marks need.
    #[test]
    fn calculations_and_jumps_back_are_encoded_as_llvm_encodes_them() {
        use Register::{R0, R1, R2, R3, R7, R8};
        let mut code = Assembler::default();
        code.subtract(R1, R2);
        code.multiply_word(R2, 0x85eb_ca6b_u32.cast_signed());
        code.divide(R2, R8);
        code.and(R1, R2);
        code.and_value(R3, 63);
        code.invert(R1);
        code.exclusive_or(R2, R3);
        code.shift_left(R1, R2);
        code.shift_right(R3, 6);
        code.set_wide(R2, 10_000_000_000);
        code.or_in_memory(R0, 8, R1);
        code.and_in_memory(R0, 16, R1);
        let (end, again) = (code.label(), code.here());
        code.jump_if_at_least(R7, 257, end);
        code.jump_if_at_least_register(R1, R2, end);
        code.repeat(again);
        code.place(end);
        let code = code.finish().unwrap();
        let lines: Vec<_> = code.bytes.chunks(8).map(|bytes| format!("{bytes:02x?}")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        [1f, 21, 00, 00, 00, 00, 00, 00]
        [24, 02, 00, 00, 6b, ca, eb, 85]
        [3f, 82, 00, 00, 00, 00, 00, 00]
        [5f, 21, 00, 00, 00, 00, 00, 00]
        [57, 03, 00, 00, 3f, 00, 00, 00]
        [a7, 01, 00, 00, ff, ff, ff, ff]
        [af, 32, 00, 00, 00, 00, 00, 00]
        [6f, 21, 00, 00, 00, 00, 00, 00]
        [77, 03, 00, 00, 06, 00, 00, 00]
        [18, 02, 00, 00, 00, e4, 0b, 54]
        [00, 00, 00, 00, 02, 00, 00, 00]
        [db, 10, 08, 00, 40, 00, 00, 00]
        [db, 10, 10, 00, 50, 00, 00, 00]
        [35, 07, 02, 00, 01, 01, 00, 00]
        [3d, 21, 01, 00, 00, 00, 00, 00]
        [05, 00, fd, ff, 00, 00, 00, 00]
        ");
    }

    #[test]
    fn a_jump_to_nowhere_is_no_program() {
        let mut code = Assembler::default();
        let nowhere = code.label();
        code.jump(nowhere);
        assert_eq!(code.finish(), None);
    }
}
