//! Where the state document is kept, and the lock that tells people who is working.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{State, StateError};

/// Keeps one stack's state document.
pub trait StateStore {
    /// What frees the lock when it is dropped, or at the latest when the process ends.
    type Guard: LockGuard;

    /// The document, or an empty one where none was written yet.
    fn load(&self) -> impl Future<Output = Result<State, StoreError>>;

    /// Replaces the document; refuses when somebody else replaced it since it was loaded.
    fn save(&self, state: &State) -> impl Future<Output = Result<(), StoreError>>;

    /// Takes the lock, or says who has it.
    fn lock(&self, info: &LockInfo) -> impl Future<Output = Result<Self::Guard, StoreError>>;
}

/// A lock that is held.
pub trait LockGuard {
    /// Gives the lock back.
    fn release(self) -> impl Future<Output = Result<(), StoreError>>;
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInfo {
    /// User name.
    pub owner: String,
    /// Host name.
    pub host: String,
    /// Process id.
    pub process: u32,
    /// What is being done: `apply`, `destroy`.
    pub operation: String,
    /// Since when, RFC 3339 in UTC.
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
pub enum StoreError {
    /// The file system said no.
    #[error("{action} `{place}` failed")]
    Io {
        /// What was tried, as in `reading`.
        action: &'static str,
        /// Where.
        place: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The document is no state of this stack.
    #[error("`{place}` is of no use")]
    Document {
        /// Where it lies.
        place: String,
        /// What is wrong with it.
        source: StateError,
    },
    /// Somebody else is working.
    #[error("`{place}` is locked{}", holder.as_deref().map(describe).unwrap_or_default())]
    Locked {
        /// Where the lock lies.
        place: String,
        /// Who holds it, where that could be read.
        holder: Option<Box<LockInfo>>,
    },
    /// Somebody else wrote the document since it was loaded.
    #[error("`{place}` was changed by somebody else since it was read")]
    Moved {
        /// Where it lies.
        place: String,
    },
    /// The cloud's store said no.
    #[error("{message}")]
    Remote {
        /// One sentence.
        message: String,
        /// What to do next.
        help: Option<String>,
    },
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
    /// The document of a stack at a path; its folder is made when first needed.
    pub fn new(path: impl Into<PathBuf>, stack: impl Into<String>) -> Self {
        Self { path: path.into(), stack: stack.into() }
    }

    /// Where the document lies.
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
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Self::failed("reading", &self.path)(error)),
        };
        State::parse(&bytes, &self.stack)
            .map(Some)
            .map_err(|source| StoreError::Document { place: self.path.display().to_string(), source })
    }
}

impl StateStore for FileStore {
    type Guard = FileLock;

    async fn load(&self) -> Result<State, StoreError> {
        Ok(self.read()?.unwrap_or_else(|| State::empty(&self.stack)))
    }

    async fn save(&self, state: &State) -> Result<(), StoreError> {
        let document = state
            .to_document()
            .map_err(|error| StoreError::Document { place: self.path.display().to_string(), source: error.into() })?;
        fs::create_dir_all(self.folder()).map_err(Self::failed("making", self.folder()))?;
        replace_file(&self.path, &document).map_err(Self::failed("writing", &self.path))
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
        Ok(FileLock { file })
    }
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
}

impl LockGuard for FileLock {
    async fn release(self) -> Result<(), StoreError> {
        // The file stays: taking it away would let two others lock two different files of its name.
        let _ = self.file.set_len(0);
        drop(self.file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_document_reads_back_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::new(folder.path().join("deep/test.json"), "test");
        assert_eq!(store.load().await.unwrap(), State::empty("test"));
        let mut state = State::empty("test");
        state.advance();
        store.save(&state).await.unwrap();
        assert_eq!(store.load().await.unwrap(), state);
        let names: Vec<_> =
            fs::read_dir(folder.path().join("deep")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["test.json"], "no temporary file stays");

        let other = FileStore::new(store.path(), "other");
        assert!(matches!(other.load().await, Err(StoreError::Document { source: StateError::Stack { .. }, .. })));
        for (text, expected) in [("{\"format\": 9}", "format 9"), ("not json", "damaged"), ("", "damaged")] {
            #[expect(clippy::disallowed_methods, reason = "damage is made by hand")]
            fs::write(store.path(), text).unwrap();
            let Err(StoreError::Document { source, .. }) = store.load().await else { panic!("{text}") };
            assert!(source.to_string().contains(expected), "{source}");
        }
    }

    #[tokio::test]
    async fn what_a_killed_process_left_goes_with_the_next_lock() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::new(folder.path().join("test.json"), "test");
        store.save(&State::empty("test")).await.unwrap();
        let others = ["other.json.1.tmp", "test.json", "test.json.notes.tmp"];
        for name in others.into_iter().chain(["test.json.4711.tmp"]) {
            #[expect(clippy::disallowed_methods, reason = "what a kill leaves is made by hand")]
            fs::write(folder.path().join(name), "half a").unwrap();
        }
        let _held = store.lock(&LockInfo::of_this_process("apply")).await.unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter(|name| name != "test.lock")
            .collect();
        names.sort();
        assert_eq!(names, others);
    }

    #[cfg(unix)]
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the file that is replaced is made by hand")]
    fn a_replaced_file_keeps_its_permissions_and_its_links() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("plan.json"), folder.path().join("link.json"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("plan.json", &link).unwrap();
        replace_file(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_lock_names_its_holder_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::new(folder.path().join("test.json"), "test");
        let info = LockInfo::of_this_process("apply");
        let guard = store.lock(&info).await.unwrap();
        let Err(StoreError::Locked { holder, .. }) = store.lock(&info).await else { panic!("locked twice") };
        assert_eq!(holder.as_deref(), Some(&info));
        guard.release().await.unwrap();
        let _held = store.lock(&info).await.unwrap();
    }
}
