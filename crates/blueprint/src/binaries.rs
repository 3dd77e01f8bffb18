//! The generator binaries: read once and hashed, so that everything after goes by their content.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use trunnion_catalog::Architecture;
use trunnion_engine::hex;
use trunnion_stack::Stack;

use crate::BlueprintError;

/// No generator binary is this long; it bounds the time that a wrong file name can cost.
const LONGEST: u64 = 256 * 1024 * 1024;

/// Program headers lie within the first bytes of whatever a linker makes.
const HEAD: usize = 64 * 1024;

/// The generator binaries of a stack, by architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries(BTreeMap<Architecture, Binary>);

/// One generator binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Where it lies on this machine.
    pub path: PathBuf,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// Whether it is linked dynamically: whether it starts depends on the host's C library, then.
    pub is_dynamic: bool,
}

impl Binaries {
    /// Reads and hashes the binary of every architecture that a pool of the stack has.
    pub fn read(stack: &Stack) -> Result<Self, BlueprintError> {
        let read = |(&architecture, path): (&Architecture, &PathBuf)| Ok((architecture, Binary::read(path)?));
        stack.generator.binaries.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Binaries that were hashed elsewhere.
    pub fn new(binaries: impl IntoIterator<Item = (Architecture, Binary)>) -> Self {
        Self(binaries.into_iter().collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Architecture, &Binary)> {
        self.0.iter().map(|(&architecture, binary)| (architecture, binary))
    }

    pub(crate) fn of_pool(&self, pool: &str, architecture: Architecture) -> Result<&Binary, BlueprintError> {
        self.0.get(&architecture).ok_or_else(|| BlueprintError::NoBinary { pool: pool.to_owned(), architecture })
    }
}

impl Binary {
    fn read(path: &Path) -> Result<Self, BlueprintError> {
        let unreadable = |source: io::Error| BlueprintError::Binary { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?.take(LONGEST + 1);
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut head = Vec::new();
        let mut length = 0;
        loop {
            let read = file.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            length += read as u64;
            let part = buffer.get(..read).unwrap_or_default();
            hash.update(part);
            if head.len() < HEAD {
                head.extend_from_slice(part);
            }
        }
        if length > LONGEST {
            return Err(BlueprintError::BinaryTooLong { path: path.to_owned(), limit: LONGEST });
        }
        Ok(Self { path: path.to_owned(), sha256: hex(&hash.finalize()), is_dynamic: names_a_loader(&head) })
    }

    /// The key of its object: what it is called says what it is.
    pub(crate) fn key(&self) -> String {
        format!("{}{}", trunnion_kinds::S3Object::PREFIX, self.sha256)
    }
}

/// Whether an ELF file of 64 bits names the program that loads it (`PT_INTERP`), as those do that are linked dynamically.
fn names_a_loader(head: &[u8]) -> bool {
    const PT_INTERP: usize = 3;
    let number = |at: usize, bytes: usize| {
        let field = head.get(at..at.checked_add(bytes)?)?;
        field.iter().rev().try_fold(0_usize, |number, &byte| number.checked_mul(256)?.checked_add(byte.into()))
    };
    // e_phoff, e_phentsize and e_phnum; a program header begins with its type.
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else { return false };
    let kind = |index: usize| number(table.checked_add(index.checked_mul(size)?)?, 4);
    (0..count).any(|index| kind(index) == Some(PT_INTERP))
}
