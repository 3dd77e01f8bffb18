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
        let mut length = 0;
        loop {
            let read = file.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            length += read as u64;
            hash.update(buffer.get(..read).unwrap_or_default());
        }
        if length > LONGEST {
            return Err(BlueprintError::BinaryTooLong { path: path.to_owned(), limit: LONGEST });
        }
        Ok(Self { path: path.to_owned(), sha256: hex(&hash.finalize()) })
    }

    /// The key of its object: what it is called says what it is.
    pub(crate) fn key(&self) -> String {
        format!("{}{}", trunnion_kinds::S3Object::PREFIX, self.sha256)
    }
}
