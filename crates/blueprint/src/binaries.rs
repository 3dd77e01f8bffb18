//! The generator binaries. Each file is digested once, on first use. From then on its SHA-256 identifies it. Its bytes are kept
//! only for an upload.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    fs::{File, Metadata},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};
use trunnion_catalog::Architecture;
use trunnion_engine::hex;
use trunnion_kinds::S3Object;
use trunnion_stack::{Files, Stack, built_for};

/// More bytes than any generator binary has. The limit bounds the time that a wrong file name can cost.
const LONGEST: u64 = 256 * 1024 * 1024;

/// Linkers put the program headers within the first 64 KiB.
const HEAD: usize = 64 * 1024;

/// The generator binaries of a stack, by architecture.
#[derive(Debug, Default)]
pub struct Binaries(BTreeMap<Architecture, Source>);

/// One generator binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// The file on this machine.
    pub path: PathBuf,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// Whether it is linked dynamically. If so, whether it starts depends on the host's C library.
    pub is_dynamic: bool,
}

/// Why no generator binary can be used for an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    path: Option<PathBuf>,
    says: String,
}

/// The configured file and digest of one architecture's binary.
#[derive(Debug)]
struct Source {
    architecture: Architecture,
    path: Option<PathBuf>,
    /// The files that the stack may name; none where the binary is known already.
    files: Option<Files>,
    /// `generator.sha256` of the stack.
    named: Option<String>,
    read: OnceLock<Result<Binary, Unusable>>,
}

/// What is known of a file's content.
#[derive(Debug, Clone)]
struct Content {
    sha256: String,
    /// Its first [`HEAD`] bytes at most.
    head: Vec<u8>,
}

/// What tells a file with one content from all others: its device, its number there, its size, and when it and its number were
/// last changed, in seconds and nanoseconds.
type Identity = ([u64; 3], [i64; 4]);

/// The files that this process digested: many stacks have the same binary.
static DIGESTED: LazyLock<Mutex<HashMap<Identity, Content>>> = LazyLock::new(Mutex::default);

/// A file that was changed less than this ago may change once more without a later time. The second in which it changed is a part
/// of it.
const SETTLED: Duration = Duration::from_secs(3);

impl Binaries {
    /// The binaries for all architectures of the stack's pools. No file is read yet.
    pub fn of(stack: &Stack) -> Self {
        let architectures = stack.pools.values().map(|pool| pool.instance_type.architecture);
        let source = |architecture| Source {
            architecture,
            path: stack.generator.binaries.get(&architecture).cloned(),
            files: Some(stack.files.clone()),
            named: stack.generator.sha256.get(&architecture).cloned(),
            read: OnceLock::new(),
        };
        Self(architectures.map(|architecture| (architecture, source(architecture))).collect())
    }

    /// Binaries whose digests are already known. Their content is not available: [`Binaries::content`] returns `None`.
    pub fn new(binaries: impl IntoIterator<Item = (Architecture, Binary)>) -> Self {
        let source = |(architecture, binary): (Architecture, Binary)| {
            let path = Some(binary.path.clone());
            let read = OnceLock::from(Ok(binary));
            (architecture, Source { architecture, path, files: None, named: None, read })
        };
        Self(binaries.into_iter().map(source).collect())
    }

    /// Digests every binary for which the stack sets no digest. Reading blocks: run it beside other work.
    pub fn read(&self) {
        for source in self.0.values().filter(|source| source.named.is_none()) {
            let _ = source.read();
        }
    }

    /// The problems that the first bytes of the files show, each with its architecture.
    pub fn doubts(&self) -> Vec<(Architecture, Unusable)> {
        let doubt = |source: &Source| Some((source.architecture, source.look().err()?));
        self.0.values().filter_map(doubt).collect()
    }

    /// The digest of the newest binary: the one that the stack sets, else that of the file.
    pub(crate) fn newest(&self, architecture: Architecture) -> Result<&str, Unusable> {
        match self.0.get(&architecture) {
            Some(Source { named: Some(named), .. }) => Ok(named),
            _ => Ok(&self.get(architecture)?.sha256),
        }
    }

    /// The binary in the configured file.
    pub(crate) fn get(&self, architecture: Architecture) -> Result<&Binary, Unusable> {
        let source = self.0.get(&architecture).ok_or_else(Unusable::nowhere)?;
        source.read().as_ref().map_err(Clone::clone)
    }

    /// The binaries that were read so far.
    pub(crate) fn known(&self) -> impl Iterator<Item = (Architecture, &Binary)> {
        self.0.values().filter_map(|source| Some((source.architecture, source.read.get()?.as_ref().ok()?)))
    }

    /// The bytes of a binary that was digested, by its SHA-256 in hexadecimal; nothing where its file changed since. Reading blocks.
    pub fn content(&self, sha256: &str) -> Option<Arc<Vec<u8>>> {
        let has_it = |source: &&Source| matches!(source.read.get(), Some(Ok(binary)) if binary.sha256 == sha256);
        let source = self.0.values().find(has_it)?;
        let mut content = Vec::new();
        source.open(source.path.as_ref()?).ok()?.take(LONGEST).read_to_end(&mut content).ok()?;
        (hex(&Sha256::digest(&content)) == sha256).then(|| Arc::new(content))
    }
}

impl Source {
    fn path(&self) -> Result<&Path, Unusable> {
        self.path.as_deref().ok_or_else(Unusable::nowhere)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        match &self.files {
            Some(files) => Ok(files.open(path)?),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read(&self) -> &Result<Binary, Unusable> {
        self.read.get_or_init(|| {
            let path = self.path()?;
            let unusable = |says: String| Unusable { path: Some(path.to_owned()), says };
            let content = self.open(path).and_then(Content::of).map_err(|error| unusable(unreadable(&error)))?;
            let Content { sha256, head } = content.ok_or_else(|| unusable(format!("has more than {LONGEST} bytes")))?;
            self.fits(&head).map_err(unusable)?;
            Ok(Binary { path: path.to_owned(), sha256, is_dynamic: names_a_loader(&head) })
        })
    }

    /// Checks the first [`HEAD`] bytes only.
    fn look(&self) -> Result<(), Unusable> {
        let path = self.path()?;
        let unusable = |says: String| Unusable { path: Some(path.to_owned()), says };
        let mut head = Vec::new();
        let read = self.open(path).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head));
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

impl Content {
    /// That of a file; nothing where it has more than [`LONGEST`] bytes.
    fn of(mut file: File) -> io::Result<Option<Self>> {
        let identity = identity(&file.metadata()?);
        let known = || DIGESTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = identity.and_then(|identity| known().get(&identity).cloned()) {
            return Ok(Some(content));
        }
        let (mut digest, mut head, mut length) = (Sha256::new(), Vec::new(), 0);
        let mut block = vec![0; HEAD];
        loop {
            let read = match file.read(&mut block) {
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let bytes = &block[..read];
            digest.update(bytes);
            head.extend_from_slice(&bytes[..read.min(HEAD - head.len())]);
            length += read as u64;
            if length > LONGEST {
                return Ok(None);
            }
        }
        let content = Self { sha256: hex(&digest.finalize()), head };
        if let Some(identity) = identity
            && self::identity(&file.metadata()?) == Some(identity)
        {
            known().insert(identity, content.clone());
        }
        Ok(Some(content))
    }
}

/// Nothing for a file that may just be written, and on systems that do not number files.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
    let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(metadata.ctime()).ok()?))?;
    let is_settled = SystemTime::now().duration_since(changed).is_ok_and(|age| age > SETTLED);
    is_settled.then(|| ([metadata.dev(), metadata.ino(), metadata.size()], times))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<Identity> {
    None
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "cannot be read: permission is denied".to_owned(),
        kind => format!("cannot be read: {kind}"),
    }
}

impl Unusable {
    fn nowhere() -> Self {
        Self { path: None, says: "is not set".to_owned() }
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

/// The key of a binary's object. It contains the digest, so other content always has another key.
pub(crate) fn key(sha256: &str) -> String {
    format!("{}{sha256}", S3Object::PREFIX)
}

/// Whether a 64-bit ELF file has a `PT_INTERP` header, as dynamically linked programs do.
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
