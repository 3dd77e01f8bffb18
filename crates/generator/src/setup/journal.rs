//! The journal of setup: values, files and folders as they were before setup changed them. An entry is on disk before the
//! change, and `setup --undo` reads it. The first entry stays: what a later run finds is what an earlier run made.
//!
//! Addresses, rules and routes are not in it: those that setup adds carry its protocol number in the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::files::{Owned, Saved, Wanted, make_folder, missing_folders, remove, save};
use crate::failure::FileError;

const FOLDER: &str = "/var/lib/trunnion";
const FILE: &str = "/var/lib/trunnion/before.json";

/// How long to wait for another process that has the journal, and the pause between two attempts. Setup and undo take less.
const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(50);

/// The host as setup found it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Before {
    /// Kernel parameters by their path below `/proc/sys`.
    pub(super) sysctls: BTreeMap<String, String>,
    /// The processors of receive queues, by the path of their file.
    pub(super) steering: BTreeMap<PathBuf, String>,
    /// Names of interfaces that were down.
    pub(super) down: BTreeSet<String>,
    /// Files by path; `None` where there was no file.
    pub(super) files: BTreeMap<PathBuf, Option<Saved>>,
    /// Targets of symbolic links by their path.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    /// Folders that setup made, the outer ones first.
    pub(super) folders: Vec<PathBuf>,
    /// Mode and owner of folders whose mode or owner setup changed.
    pub(super) owned: BTreeMap<PathBuf, Owned>,
    /// The user that setup created.
    pub(super) user: Option<String>,
    /// The home of that user, once undo removes it.
    pub(super) home: Option<PathBuf>,
    /// Units that setup masked.
    pub(super) masked: BTreeSet<String>,
    /// Arguments of `systemctl` that are still to be run.
    pub(super) pending: BTreeSet<String>,
}

/// The journal. One process has it at a time.
#[derive(Debug)]
pub(crate) struct Journal {
    before: Before,
    /// The folder of the journal; its lock ends with this value.
    lock: File,
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("another setup or undo has been running for {} s", PATIENCE.as_secs())]
    Busy,
    #[error("`{FILE}` is damaged: it is not the journal that an earlier setup wrote")]
    Invalid(#[from] serde_json::Error),
}

impl Journal {
    /// Opens the journal, and waits while another process has it. It does not block the thread, because the service does
    /// other things meanwhile.
    pub(super) async fn open() -> Result<Self, JournalError> {
        let failed = || FileError::new("open", Path::new(FOLDER));
        let begun = Instant::now();
        let lock = loop {
            // A process that can open the folder can lock it, so only root may open it.
            DirBuilder::new().recursive(true).mode(0o700).create(FOLDER).map_err(failed())?;
            let folder = File::open(FOLDER).map_err(failed())?;
            match folder.try_lock() {
                Ok(()) => {
                    // The process that had the lock may have removed the folder.
                    let had = folder.metadata().map_err(failed())?.ino();
                    if fs::metadata(FOLDER).is_ok_and(|now| had == now.ino()) {
                        break folder;
                    }
                }
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => sleep(PAUSE).await,
                Err(TryLockError::WouldBlock) => return Err(JournalError::Busy),
                Err(TryLockError::Error(error)) => return Err(failed()(error).into()),
            }
        };
        lock.set_permissions(Permissions::from_mode(0o700)).map_err(failed())?;
        let before = match fs::read_to_string(FILE) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Before::default(),
            Err(error) => return Err(FileError::new("read", Path::new(FILE))(error).into()),
        };
        Ok(Self { before, lock })
    }

    pub(super) fn before(&self) -> &Before {
        &self.before
    }

    /// Adds to the journal. The entry is on disk when this returns.
    pub(super) fn remember(&mut self, add: impl FnOnce(&mut Before)) -> Result<(), FileError> {
        let mut before = self.before.clone();
        add(&mut before);
        if before != self.before {
            let text = serde_json::to_string_pretty(&before)
                .map_err(|error| FileError::new("write", Path::new(FILE))(error.into()))?;
            Wanted { path: Path::new(FILE), text: &text, mode: 0o600, owner: (0, 0) }.write()?;
            self.before = before;
        }
        Ok(())
    }

    /// Writes a file unless it is already as wanted; whether it wrote.
    pub(super) fn put(&mut self, wanted: &Wanted<'_>) -> Result<bool, FileError> {
        wanted.clean();
        if wanted.is_there()? {
            return Ok(false);
        }
        if let Some(folder) = wanted.path.parent() {
            self.make_folders(folder)?;
        }
        self.remember_file(wanted.path)?;
        wanted.write()?;
        Ok(true)
    }

    /// Makes the folder and those above it.
    pub(super) fn make_folders(&mut self, folder: &Path) -> Result<(), FileError> {
        let missing = missing_folders(folder);
        self.remember(|before| {
            for path in &missing {
                if !before.folders.contains(path) {
                    before.folders.push(path.clone());
                }
            }
        })?;
        missing.iter().try_for_each(|folder| make_folder(folder))
    }

    fn remember_file(&mut self, path: &Path) -> Result<(), FileError> {
        if self.before.files.contains_key(path) {
            return Ok(());
        }
        let saved = save(path)?;
        self.remember(|before| {
            before.files.insert(path.to_owned(), saved);
        })
    }

    /// Notes arguments of `systemctl`, to be run once all files are in place.
    pub(super) fn pend(&mut self, arguments: &str) -> Result<(), FileError> {
        self.remember(|before| {
            before.pending.insert(arguments.to_owned());
        })
    }

    pub(super) fn is_pending(&self, arguments: &str) -> bool {
        self.before.pending.contains(arguments)
    }

    /// Removes arguments from those to be run.
    pub(super) fn done(&mut self, arguments: &str) -> Result<(), FileError> {
        self.remember(|before| {
            before.pending.remove(arguments);
        })
    }

    /// Removes the journal: nothing is left to undo.
    pub(super) fn end(self) -> Result<(), FileError> {
        let Self { lock, .. } = self;
        remove(Path::new(FILE))?;
        // It stays if others put something into it.
        let _ = fs::remove_dir(FOLDER);
        drop(lock);
        Ok(())
    }
}
