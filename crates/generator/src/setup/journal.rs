//! What setup found before it changed it, as far as file or kernel would forget: written before the change, read by
//! `setup --undo`. What later runs find is what an earlier one made, so no entry is ever written over.
//!
//! Addresses, rules and routes are not in it: ours carry our protocol number in the kernel.

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

use super::files::{FileError, Wanted, remove, save};

const FOLDER: &str = "/var/lib/trunnion";
const FILE: &str = "/var/lib/trunnion/before.json";

/// How long another process may have it, and how often it is tried. Nothing that setup or undo waits for takes longer.
const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(50);

/// The host as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Before {
    /// Kernel parameters by their path below `/proc/sys`.
    pub(super) sysctls: BTreeMap<String, String>,
    /// Interfaces that were down.
    pub(super) down: BTreeSet<String>,
    /// Files, or none where there was no file.
    pub(super) files: BTreeMap<PathBuf, Option<Saved>>,
    /// Folders that were not there, the outer ones first.
    pub(super) folders: Vec<PathBuf>,
    /// Folders that had another owner or mode.
    pub(super) owned: BTreeMap<PathBuf, Owned>,
    /// A user that was not there.
    pub(super) user: Option<String>,
    /// Its home, once it is being removed.
    pub(super) home: Option<PathBuf>,
    /// Units that were not masked.
    pub(super) masked: BTreeSet<String>,
    /// What systemd is still to be told: arguments of `systemctl`.
    pub(super) pending: BTreeSet<String>,
}

/// A file as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) text: String,
    pub(super) owned: Owned,
}

/// Whose something was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owned {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The journal, which one process at a time has.
#[derive(Debug)]
pub(crate) struct Journal {
    before: Before,
    /// The folder; locked for as long as this lives.
    lock: File,
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("another setup or undo is at work, and has been for {} s", PATIENCE.as_secs())]
    Busy,
    #[error("`{FILE}` is not what an earlier setup wrote")]
    Invalid(#[from] serde_json::Error),
}

impl Journal {
    /// Waits until no other process has it. The service has more to do than to wait, so this does not block.
    pub(super) async fn open() -> Result<Self, JournalError> {
        let failed = || FileError::new("open", Path::new(FOLDER));
        let begun = Instant::now();
        let lock = loop {
            // Whoever can open it can lock it: root alone.
            DirBuilder::new().recursive(true).mode(0o700).create(FOLDER).map_err(failed())?;
            let folder = File::open(FOLDER).map_err(failed())?;
            match folder.try_lock() {
                Ok(()) => {
                    // The one before may have removed it.
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

    /// Adds to it; on disk when this returns.
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

    pub(super) fn remember_file(&mut self, path: &Path) -> Result<(), FileError> {
        if self.before.files.contains_key(path) {
            return Ok(());
        }
        let saved = save(path)?;
        self.remember(|before| {
            before.files.insert(path.to_owned(), saved);
        })
    }

    pub(super) fn remember_folders<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf>) -> Result<(), FileError> {
        self.remember(|before| {
            for path in paths {
                if !before.folders.contains(path) {
                    before.folders.push(path.clone());
                }
            }
        })
    }

    /// What `systemctl` is to be told once all is in place.
    pub(super) fn pend(&mut self, arguments: &str) -> Result<(), FileError> {
        self.remember(|before| {
            before.pending.insert(arguments.to_owned());
        })
    }

    pub(super) fn is_pending(&self, arguments: &str) -> bool {
        self.before.pending.contains(arguments)
    }

    pub(super) fn told(&mut self, arguments: &str) -> Result<(), FileError> {
        self.remember(|before| {
            before.pending.remove(arguments);
        })
    }

    /// Nothing is left to undo.
    pub(super) fn end(self) -> Result<(), FileError> {
        let Self { lock, .. } = self;
        remove(Path::new(FILE))?;
        // The config's neighbours may have put something here.
        let _ = fs::remove_dir(FOLDER);
        drop(lock);
        Ok(())
    }
}

impl Saved {
    /// The file as it was at this path.
    pub(super) fn wanted<'a>(&'a self, path: &'a Path) -> Wanted<'a> {
        let Owned { mode, uid, gid } = self.owned;
        Wanted { path, text: &self.text, mode, owner: (uid, gid) }
    }
}

impl Owned {
    pub(super) fn of(found: &fs::Metadata) -> Self {
        Self { mode: found.mode() & 0o7777, uid: found.uid(), gid: found.gid() }
    }
}
