//! The generator binaries: each is read once, when it is first asked for, and known by the digest of its content from then on.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use sha2::{Digest as _, Sha256};
use trunnion_catalog::Architecture;
use trunnion_engine::hex;
use trunnion_kinds::S3Object;
use trunnion_stack::{Stack, built_for};

/// No generator binary is this long; it bounds the time that a wrong file name can cost.
const LONGEST: u64 = 256 * 1024 * 1024;

/// Program headers lie within the first bytes of whatever a linker makes.
const HEAD: usize = 64 * 1024;

/// The generator binaries of a stack, by architecture.
#[derive(Debug, Default)]
pub struct Binaries(BTreeMap<Architecture, Source>);

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

/// Why there is no generator binary to boot hosts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    path: Option<PathBuf>,
    says: String,
}

/// Where a binary of an architecture comes from.
#[derive(Debug)]
struct Source {
    architecture: Architecture,
    path: Option<PathBuf>,
    /// The digest that the stack names.
    named: Option<String>,
    read: OnceLock<Read>,
}

/// The binary with its bytes, or why it cannot be used.
type Read = Result<(Binary, Arc<Vec<u8>>), Unusable>;

impl Binaries {
    /// The binary of every architecture that a pool of the stack has. No file is read yet.
    pub fn of(stack: &Stack) -> Self {
        let architectures = stack.pools.values().map(|pool| pool.instance_type.architecture);
        let source = |architecture| Source {
            architecture,
            path: stack.generator.binaries.get(&architecture).cloned(),
            named: stack.generator.sha256.get(&architecture).cloned(),
            read: OnceLock::new(),
        };
        Self(architectures.map(|architecture| (architecture, source(architecture))).collect())
    }

    /// Binaries that were hashed elsewhere.
    pub fn new(binaries: impl IntoIterator<Item = (Architecture, Binary)>) -> Self {
        let source = |(architecture, binary): (Architecture, Binary)| {
            let path = Some(binary.path.clone());
            let read = OnceLock::from(Ok((binary, Arc::default())));
            (architecture, Source { architecture, path, named: None, read })
        };
        Self(binaries.into_iter().map(source).collect())
    }

    /// Reads and hashes every binary whose digest the stack does not name. It takes a moment, so let it run while something
    /// else is waited for.
    pub fn read(&self) {
        for source in self.0.values().filter(|source| source.named.is_none()) {
            let _ = source.read();
        }
    }

    /// What is wrong with the files as far as a look at their first bytes tells, each with its architecture.
    pub fn doubts(&self) -> Vec<(Architecture, Unusable)> {
        let doubt = |source: &Source| Some((source.architecture, source.look().err()?));
        self.0.values().filter_map(doubt).collect()
    }

    /// The digest of the newest one: what the stack names, else what its file holds.
    pub(crate) fn newest(&self, architecture: Architecture) -> Result<&str, Unusable> {
        match self.0.get(&architecture) {
            Some(Source { named: Some(named), .. }) => Ok(named),
            _ => Ok(&self.get(architecture)?.sha256),
        }
    }

    /// The binary that its file holds.
    pub(crate) fn get(&self, architecture: Architecture) -> Result<&Binary, Unusable> {
        let source = self.0.get(&architecture).ok_or_else(Unusable::nowhere)?;
        source.read().as_ref().map(|(binary, _)| binary).map_err(Clone::clone)
    }

    /// The binaries that were read so far.
    pub(crate) fn known(&self) -> impl Iterator<Item = (Architecture, &Binary)> {
        self.0.values().filter_map(|source| Some((source.architecture, &source.read.get()?.as_ref().ok()?.0)))
    }

    /// The content that was read, by its digest.
    pub fn content(&self, sha256: &str) -> Option<Arc<Vec<u8>>> {
        let read = self.0.values().filter_map(|source| source.read.get()?.as_ref().ok());
        read.filter(|(_, content)| !content.is_empty())
            .find(|(binary, _)| binary.sha256 == sha256)
            .map(|(_, content)| Arc::clone(content))
    }
}

impl Source {
    fn path(&self) -> Result<&Path, Unusable> {
        self.path.as_deref().ok_or_else(Unusable::nowhere)
    }

    fn read(&self) -> &Result<(Binary, Arc<Vec<u8>>), Unusable> {
        self.read.get_or_init(|| {
            let path = self.path()?;
            let unusable = |says: String| Unusable { path: Some(path.to_owned()), says };
            let mut content = Vec::new();
            let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut content));
            read.map_err(|error| unusable(unreadable(&error)))?;
            if content.len() as u64 > LONGEST {
                return Err(unusable(format!("has more than {LONGEST} bytes")));
            }
            self.fits(&content).map_err(unusable)?;
            let head = content.get(..HEAD).unwrap_or(&content);
            let (sha256, is_dynamic) = (hex(&Sha256::digest(&content)), names_a_loader(head));
            Ok((Binary { path: path.to_owned(), sha256, is_dynamic }, Arc::new(content)))
        })
    }

    /// Reads no more than the first bytes.
    fn look(&self) -> Result<(), Unusable> {
        let path = self.path()?;
        let unusable = |says: String| Unusable { path: Some(path.to_owned()), says };
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head));
        read.map_err(|error| unusable(unreadable(&error)))?;
        self.fits(&head).map_err(unusable)
    }

    fn fits(&self, head: &[u8]) -> Result<(), String> {
        match built_for(head)? {
            built_for if built_for == self.architecture => Ok(()),
            built_for => Err(format!("is built for {built_for}")),
        }
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is not there".to_owned(),
        io::ErrorKind::PermissionDenied => "cannot be read: permission is denied".to_owned(),
        kind => format!("cannot be read: {kind}"),
    }
}

impl Unusable {
    fn nowhere() -> Self {
        Self { path: None, says: "is named nowhere".to_owned() }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "`{}` {}", path.display(), self.says),
            None => write!(f, "it {}", self.says),
        }
    }
}

/// The key of a binary's object: what it is called says what it is.
pub(crate) fn key(sha256: &str) -> String {
    format!("{}{sha256}", S3Object::PREFIX)
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
