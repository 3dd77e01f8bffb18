//! Where the state document is kept, and the lock that shows who is working.

mod history;

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{Hold, LockInfo, ProviderError, State, StateError};

/// Keeps one stack's state document, which is written under its lock only. [`FileStore`] is one.
pub trait StateStore: Send + Sync {
    /// The lock that [`StateStore::lock`] takes. Only it can write the document.
    type Lock: StateLock;

    /// The document, or [`State::empty`] where none was written yet. It needs no lock.
    fn load(&self) -> impl Future<Output = Result<State, StoreError>> + Send;

    /// Takes the lock without waiting: [`StoreError::Locked`] says who holds it.
    fn lock(&self, info: &LockInfo) -> impl Future<Output = Result<Self::Lock, StoreError>> + Send;

    /// The lock that somebody holds now; nothing where it is free. By default, a store does not say it.
    fn found_lock(&self) -> impl Future<Output = Result<Option<FoundLock>, StoreError>> + Send {
        async { Ok(None) }
    }

    /// Takes a lock away from its holder, if it is still this one: its holder makes no further change once it notices.
    /// Returns whether it was.
    fn take_away(&self, found: &FoundLock) -> impl Future<Output = Result<bool, StoreError>> + Send {
        let _ = found;
        async { Ok(false) }
    }

    /// The documents that the store still has, the newest first, and no more than `most`. By default, there is none.
    fn versions(&self, most: usize) -> impl Future<Output = Result<Vec<Version>, StoreError>> + Send {
        let _ = most;
        async { Ok(Vec::new()) }
    }

    /// The document that the store calls so, or nothing. By default, there is none.
    fn version(&self, id: &str) -> impl Future<Output = Result<Option<State>, StoreError>> + Send {
        let _ = id;
        async { Ok(None) }
    }

    /// Where the document is kept, for messages: a path, a URL.
    fn location(&self) -> String;
}

/// A document that a store has, or had.
#[derive(Debug)]
pub struct Version {
    /// What the store calls it.
    pub id: String,
    /// When it was written, RFC 3339 in UTC.
    pub written: String,
    /// Whether it is the present document.
    pub is_current: bool,
    /// Its content, or why it is no state of this stack.
    pub content: Result<State, StateError>,
}

/// A lock that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLock {
    /// The path or URL of the lock.
    pub place: String,
    /// Who holds it, where that could be read.
    pub holder: Option<Box<LockInfo>>,
    /// What distinguishes it from another lock at the same place: the store's version of it.
    pub version: String,
}

impl fmt::Display for FoundLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Some(holder) => holder.fmt(f),
            None => f.write_str("somebody whose name cannot be read"),
        }
    }
}

/// A lock that is held. Dropping it gives it back, too, at the latest when the process ends.
pub trait StateLock: Send + Sync {
    /// Replaces the document, but only the one that [`State::follows`]: [`StoreError::Moved`] where somebody else
    /// replaced it, [`StoreError::Lost`] where the lock is not held any more.
    fn save(&self, state: &State) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes a first document of a line where the present one cannot be read. By default, this is a save.
    fn replace_damaged(&self, state: &State) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.save(state)
    }

    /// What says whether the lock is still held. Once it is not, it never is again.
    fn hold(&self) -> Hold;

    /// Whether the lock is still held, as far as is known without waiting: nothing is begun without it.
    fn is_held(&self) -> bool {
        self.hold().is_held()
    }

    /// Waits until the lock is lost.
    fn lost(&self) -> impl Future<Output = ()> + Send {
        async {
            while self.is_held() {
                tokio::time::sleep(LOOK_AT_LOCK).await;
            }
        }
    }

    /// Gives the lock back, and waits for that. One whose loss nothing noticed before is [`StoreError::Lost`].
    fn release(self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// How often a lock is looked at while a step runs.
const LOOK_AT_LOCK: Duration = Duration::from_millis(250);

/// Why the state could not be read, written or locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A call to the file system failed.
    #[error("{action} `{place}` failed")]
    Io {
        /// What was tried: `reading`, `writing`, `making`, `opening`, `deleting` or `locking`.
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
    #[error("`{place}` is locked{}", holder.as_deref().map(|holder| format!(" by {holder}")).unwrap_or_default())]
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

    fn lock_path(&self) -> PathBuf {
        self.path.with_extension("lock")
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
        self.parse(&bytes, &self.path).map(Some)
    }

    fn parse(&self, bytes: &[u8], place: &Path) -> Result<State, StoreError> {
        let place = || place.display().to_string();
        State::parse(bytes, &self.stack).map_err(|source| StoreError::Document { place: place(), source })
    }

    /// Replaces the document. The caller holds the lock, so nobody who asks for it writes in between. The document that
    /// was there is kept if `keeps`.
    fn replace(&self, state: &State, keeps: bool) -> Result<(), StoreError> {
        let found = self.read()?;
        if found.as_ref() == Some(state) {
            return Ok(());
        }
        if !state.follows(found.as_ref().map(State::version)) {
            return Err(StoreError::Moved { place: self.location() });
        }
        if keeps {
            // It only explains.
            let _ = history::keep(&self.path, found.as_ref());
        }
        self.write(state)
    }

    fn write(&self, state: &State) -> Result<(), StoreError> {
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
        let path = self.lock_path();
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
                let holder = named_in(&fs::read(&path).unwrap_or_default());
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
        remove_temporaries_of(&self.path);
        history::remove_temporaries_of(&self.path);
        Ok(FileLock { file: Arc::new(file), path, store: self.clone(), has_kept: AtomicBool::new(false) })
    }

    async fn found_lock(&self) -> Result<Option<FoundLock>, StoreError> {
        let path = self.lock_path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Self::failed("opening", &path)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(Self::failed("locking", &path)(error)),
        }
        let bytes = fs::read(&path).unwrap_or_default();
        let version = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Some(FoundLock { place: path.display().to_string(), holder: named_in(&bytes), version }))
    }

    /// Deletes the file: its holder sees that it is not there any more, and others lock a new one.
    async fn take_away(&self, found: &FoundLock) -> Result<bool, StoreError> {
        if self.found_lock().await?.as_ref() != Some(found) {
            return Ok(false);
        }
        let path = self.lock_path();
        fs::remove_file(&path).map_err(Self::failed("deleting", &path))?;
        Ok(true)
    }

    async fn versions(&self, most: usize) -> Result<Vec<Version>, StoreError> {
        let failed = |error| Self::failed("reading", &self.path)(error);
        let mut found = history::documents(&self.path).map_err(failed)?;
        match fs::metadata(&self.path).and_then(|metadata| metadata.modified()) {
            Ok(written) => found.insert(0, (String::new(), self.path.clone(), written)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let mut versions = Vec::new();
        for (id, path, written) in found.into_iter().take(most) {
            let bytes = read_file(&path).map_err(Self::failed("reading", &path))?;
            let content = State::parse(&bytes, &self.stack);
            let is_current = path == self.path;
            let id = match (&content, is_current) {
                (Ok(state), true) => history::name_of(&self.path, &history::id_of(state), &bytes),
                (Err(_), true) => CURRENT.to_owned(),
                (_, false) => id,
            };
            let written = jiff::Timestamp::try_from(written).unwrap_or_default();
            let written = jiff::Timestamp::from_second(written.as_second()).unwrap_or_default().to_string();
            versions.push(Version { id, written, is_current, content });
        }
        Ok(versions)
    }

    async fn version(&self, id: &str) -> Result<Option<State>, StoreError> {
        let earlier = history::documents(&self.path).map_err(Self::failed("reading", &self.path))?;
        if let Some((_, path, _)) = earlier.iter().find(|(name, _, _)| name == id) {
            let bytes = read_file(path).map_err(Self::failed("reading", path))?;
            return self.parse(&bytes, path).map(Some);
        }
        if id == CURRENT {
            return self.read();
        }
        let Some(state) = self.read()? else { return Ok(None) };
        let bytes = read_file(&self.path).map_err(Self::failed("reading", &self.path))?;
        Ok(Some(state).filter(|state| history::name_of(&self.path, &history::id_of(state), &bytes) == id))
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

/// What a present document is called that cannot be read.
const CURRENT: &str = "current";

/// Who is named in a lock file.
fn named_in(bytes: &[u8]) -> Option<Box<LockInfo>> {
    serde_json::from_slice(bytes).ok()
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

/// Replaces a file as a whole or not at all: after an error, or a kill at any moment, it is the old one or the new one. What
/// a killed process left beside it is removed.
///
/// Only its owner can read a new file. An old one keeps its permissions, unless everybody could read or write it. What is no
/// regular file, such as a pipe, is written to directly; of a symbolic link, what it points to is replaced.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let (path, permissions) = match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            #[expect(clippy::disallowed_methods, reason = "the one place that replaces files")]
            return fs::write(path, content);
        }
        Ok(found) => (fs::canonicalize(path)?, Some(found.permissions())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
        Err(error) => return Err(error),
    };
    remove_temporaries_of(&path);
    let temporary = temporary(&path, std::process::id())?;
    let mut file = create_private(&temporary)?;
    let write = || {
        // Until the file has its name, this lock shows that somebody still writes it. Not every file system has locks.
        let _ = file.lock();
        if let Some(permissions) = permissions.filter(is_chosen) {
            file.set_permissions(permissions)?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        #[expect(clippy::disallowed_methods, reason = "the one place that replaces files")]
        fs::rename(&temporary, &path)?;
        File::open(folder_of(&path))?.sync_all()
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// A new file that only its owner can read.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Whether somebody chose the permissions of a file: by default, the files of most systems can be read by everybody.
#[cfg(unix)]
fn is_chosen(permissions: &fs::Permissions) -> bool {
    const OTHERS: u32 = 0o007;
    std::os::unix::fs::PermissionsExt::mode(permissions) & OTHERS == 0
}

/// Other systems say only whether a file can be written.
#[cfg(not(unix))]
fn is_chosen(_: &fs::Permissions) -> bool {
    true
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

fn remove_temporaries_of(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    remove_temporaries(folder_of(path), |replaced| replaced == name);
}

/// Removes what processes left in a folder that were killed while they replaced such files. A process that still runs has
/// locked its own.
fn remove_temporaries(folder: &Path, is_such: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let parts = found.to_str().and_then(|found| found.strip_suffix(".tmp")?.rsplit_once('.'));
        let is_temporary = parts.is_some_and(|(name, process)| is_such(name) && process.parse::<u32>().is_ok());
        let is_left = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_temporary && is_left() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A lock on a file. The operating system frees it with the process.
#[derive(Debug)]
pub struct FileLock {
    file: Arc<File>,
    path: PathBuf,
    store: FileStore,
    /// Whether the document was kept that was there when the lock was taken.
    has_kept: AtomicBool,
}

impl StateLock for FileLock {
    async fn save(&self, state: &State) -> Result<(), StoreError> {
        if !self.is_held() {
            return Err(StoreError::Lost { place: self.store.location() });
        }
        let is_first = !self.has_kept.swap(true, Ordering::Relaxed);
        self.store.replace(state, is_first)
    }

    async fn replace_damaged(&self, state: &State) -> Result<(), StoreError> {
        if !self.is_held() {
            return Err(StoreError::Lost { place: self.store.location() });
        }
        let _ = history::keep(&self.store.path, None);
        self.store.write(state)
    }

    /// Nobody can take it over, but somebody can delete or replace the file: then two hold two files of one name.
    fn hold(&self) -> Hold {
        let (file, path) = (Arc::downgrade(&self.file), self.path.clone());
        Hold::new(move || {
            let held = file.upgrade().and_then(|file| file.metadata().ok());
            held.zip(fs::metadata(&path).ok()).is_some_and(|(held, there)| is_same_file(&held, &there))
        })
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
