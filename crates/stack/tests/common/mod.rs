//! Helpers: a generator file that the reader accepts.

#![expect(clippy::disallowed_methods, reason = "a test writes the files it reads")]

use std::fs;

/// A directory that holds the first bytes of an ELF program for this machine: 62 is `x86_64`, 183 is arm64.
pub fn directory_with_generator(machine: u8) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("trunnion-generator"), elf(machine)).unwrap();
    directory
}

/// The first bytes of a 64-bit little-endian ELF program for this machine.
pub fn elf(machine: u8) -> Vec<u8> {
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    header[16] = 3;
    header[18] = machine;
    header
}
