//! Where the state document is kept, and the lock that shows who is working.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{ProviderError, State, StateError};

/// Keeps one stack's state document, which is written under its lock only. [`FileStore`] is one.
pub trait StateStore: Send + Sync {
    /// The lock that [`StateStore::lock`] takes. Only it can write the document.
    type Lock: StateLock;

    /// The document, or [`State::empty`] where none was written yet. It needs no lock.
    fn load(&self) -> impl Future<Output = Result<State, StoreError>> + Send;

    /// Takes the lock without waiting: [`StoreError::Locked`] says who holds it.
    fn lock(&self, info: &LockInfo) -> impl Future<Output = Result<Self::Lock, StoreError>> + Send;

    /// Where the document is kept, for messages: a path, a URL.
    fn location(&self) -> String;
}

/// A lock that is held. Dropping it gives it back, too, at the latest when the process ends.
pub trait StateLock: Send + Sync {
    /// Replaces the document, but only the one that [`State::follows`]: [`StoreError::Moved`] where somebody else
    /// replaced it, [`StoreError::Lost`] where the lock is not held any more.
    fn save(&self, state: &State) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether the lock is still held, as far as is known without waiting: nothing is begun without it.
    fn is_held(&self) -> bool;

    /// Waits until the lock is lost.
    fn lost(&self) -> impl Future<Output = ()> + Send {
        async {
            while self.is_held() {
                tokio::time::sleep(LOOK_AT_LOCK).await;
            }
        }
    }

    /// Gives the lock back, and waits for that. One that was lost is no error.
    fn release(self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// How often a lock is looked at while a step runs.
const LOOK_AT_LOCK: Duration = Duration::from_millis(250);

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInfo {
    /// The user's name: `USER`, `LOGNAME` or `USERNAME` of the environment, else that of the system.
    pub owner: String,
    /// The machine's name; `unknown` where neither Linux nor `HOSTNAME` says it.
    pub host: String,
    /// The process id on that machine.
    pub process: u32,
    /// What is being done: `apply`, `destroy`.
    pub operation: String,
    /// When it was taken, RFC 3339 in UTC, to the second.
    pub since: String,
}

impl LockInfo {
    /// Describes this process.
    pub fn of_this_process(operation: impl Into<String>) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let owner = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(variable).or_else(user_of_this_process);
        let host = fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
        Self {
            owner: owner.unwrap_or_else(|| "unknown".to_owned()),
            host: host.or_else(|| variable("HOSTNAME")).unwrap_or_else(|| "unknown".to_owned()),
            process: std::process::id(),
            operation: operation.into(),
            since: jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default().to_string(),
        }
    }
}

/// The name of the user that the process runs as, or its number where it has no name, as in containers.
#[cfg_attr(unix, expect(clippy::unnecessary_wraps, reason = "other systems have no such number"))]
fn user_of_this_process() -> Option<String> {
    #[cfg(unix)]
    {
        let id = nix::unistd::geteuid();
        let user = nix::unistd::User::from_uid(id).ok().flatten();
        Some(user.map_or_else(|| format!("user {id}"), |user| user.name))
    }
    #[cfg(not(unix))]
    None
}

/// Why the state could not be read, written or locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A call to the file system failed.
    #[error("{action} `{place}` failed")]
    Io {
        /// What was tried: `reading`, `writing`, `making`, `opening` or `locking`.
        action: &'static str,
        /// The path that it was tried at.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The document cannot be read as a state of this stack.
    #[error("`{place}` cannot be used")]
    Document {
        /// The path or URL of the document.
        place: String,
        /// What is wrong with it.
        source: StateError,
    },
    /// Another process holds the lock.
    #[error("`{place}` is locked{}", holder.as_deref().map(describe).unwrap_or_default())]
    Locked {
        /// The path or URL of the lock.
        place: String,
        /// Who holds it, where that could be read.
        holder: Option<Box<LockInfo>>,
    },
    /// Somebody else wrote the document since it was loaded.
    #[error("`{place}` was changed by somebody else since it was read")]
    Moved {
        /// The path or URL of the document.
        place: String,
    },
    /// The lock is not held any more: somebody else may be at work.
    #[error("the lock of `{place}` was lost: somebody else took it over, or it was deleted")]
    Lost {
        /// The path or URL of the document.
        place: String,
    },
    /// A call to a store in the cloud failed.
    #[error("{0}")]
    Remote(ProviderError),
}

fn describe(holder: &LockInfo) -> String {
    format!(
        " by {}@{} (process {}), who runs `{}` since {}",
        holder.owner, holder.host, holder.process, holder.operation, holder.since
    )
}

/// A state document in a file, locked by a file beside it.
#[derive(Debug, Clone)]
pub struct FileStore {
    path: PathBuf,
    stack: String,
}

impl FileStore {
    /// The document of a stack at a path. Its folder is made when the lock is taken.
    pub fn new(path: impl Into<PathBuf>, stack: impl Into<String>) -> Self {
        Self { path: path.into(), stack: stack.into() }
    }

    /// The path of the document.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn folder(&self) -> &Path {
        folder_of(&self.path)
    }

    fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
        move |source| StoreError::Io { action, place: path.display().to_string(), source }
    }

    fn read(&self) -> Result<Option<State>, StoreError> {
        let bytes = match read_file(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Self::failed("reading", &self.path)(error)),
        };
        State::parse(&bytes, &self.stack)
            .map(Some)
            .map_err(|source| StoreError::Document { place: self.location(), source })
    }

    /// Replaces the document. The caller holds the lock, so nobody who asks for it writes in between.
    fn replace(&self, state: &State) -> Result<(), StoreError> {
        let kept = self.read()?;
        if kept.as_ref() == Some(state) {
            return Ok(());
        }
        if !state.follows(kept.as_ref().map(State::version)) {
            return Err(StoreError::Moved { place: self.location() });
        }
        let document = state
            .to_document()
            .map_err(|error| StoreError::Document { place: self.location(), source: error.into() })?;
        fs::create_dir_all(self.folder()).map_err(Self::failed("making", self.folder()))?;
        replace_file(&self.path, &document).map_err(Self::failed("writing", &self.path))
    }
}

impl StateStore for FileStore {
    type Lock = FileLock;

    async fn load(&self) -> Result<State, StoreError> {
        Ok(self.read()?.unwrap_or_else(|| State::empty(&self.stack)))
    }

    async fn lock(&self, info: &LockInfo) -> Result<FileLock, StoreError> {
        let path = self.path.with_extension("lock");
        fs::create_dir_all(self.folder()).map_err(Self::failed("making", self.folder()))?;
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Self::failed("opening", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
                return Err(StoreError::Locked { place: path.display().to_string(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(Self::failed("locking", &path)(error)),
        }
        let mut write = || {
            file.set_len(0)?;
            serde_json::to_writer(&mut file, info)?;
            file.flush()
        };
        write().map_err(Self::failed("writing", &path))?;
        remove_temporaries(&self.path);
        Ok(FileLock { file, path, store: self.clone() })
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

/// Reads a regular file. A directory, a pipe or a device is an error, because reading it could wait for ever.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() {
        return fs::read(path);
    }
    let what = if metadata.is_dir() { "it is a directory" } else { "it is not a regular file" };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// Replaces a file as a whole or not at all: after an error, or a kill at any moment, it is the old one or the new one.
///
/// A new file gets the permissions that the process gives to new files, an old one keeps its own. What is no regular file,
/// such as a pipe, is written to directly; of a symbolic link, what it points to is replaced.
#[expect(clippy::disallowed_methods, reason = "the one place that replaces files")]
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let (path, permissions) = match fs::metadata(path) {
        Ok(found) if !found.is_file() => return fs::write(path, content),
        Ok(found) => (fs::canonicalize(path)?, Some(found.permissions())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
        Err(error) => return Err(error),
    };
    let temporary = temporary(&path, std::process::id())?;
    let write = || {
        let mut file = File::create(&temporary)?;
        if let Some(permissions) = permissions {
            file.set_permissions(permissions)?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(folder_of(&path))?.sync_all()
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// `name.json.4711.tmp` beside `name.json`.
fn temporary(path: &Path, process: u32) -> io::Result<PathBuf> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
    name.push(format!(".{process}.tmp"));
    Ok(path.with_file_name(name))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes what processes left that were killed while they replaced this file. The caller holds its lock.
fn remove_temporaries(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    for entry in fs::read_dir(folder_of(path)).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let process =
            found.to_str().and_then(|found| found.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp"));
        if process.is_some_and(|process| process.parse::<u32>().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A lock on a file. The operating system frees it with the process.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
    store: FileStore,
}

impl StateLock for FileLock {
    async fn save(&self, state: &State) -> Result<(), StoreError> {
        if !self.is_held() {
            return Err(StoreError::Lost { place: self.store.location() });
        }
        self.store.replace(state)
    }

    /// Nobody can take it over, but somebody can delete or replace the file: then two hold two files of one name.
    fn is_held(&self) -> bool {
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(held), Ok(there)) => is_same_file(&held, &there),
            _ => false,
        }
    }

    async fn release(self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // The file stays: taking it away would let two others lock two different files of its name.
        let _ = self.file.set_len(0);
    }
}

#[cfg(unix)]
fn is_same_file(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// A file that is open cannot be deleted there.
#[cfg(not(unix))]
fn is_same_file(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests;
