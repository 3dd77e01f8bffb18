//! The one place that writes files on the host: whole or not at all, and never before the journal knows what was there.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use super::journal::{Journal, Saved};

/// Why a file could not be brought about.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{path}`")]
pub(crate) struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    pub(crate) fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

/// A file as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
    pub(crate) mode: u32,
    /// Its user and group.
    pub(crate) owner: (u32, u32),
}

impl<'a> Wanted<'a> {
    /// A file of the system's: everybody reads, root writes.
    pub(crate) fn system(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, mode: 0o644, owner: (0, 0) }
    }

    /// Whether the file is so already.
    pub(crate) fn is_there(&self) -> Result<bool, FileError> {
        let found = match fs::symlink_metadata(self.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(FileError::new("read", self.path)(error)),
        };
        let same = found.is_file()
            && found.mode() & 0o7777 == self.mode
            && (found.uid(), found.gid()) == self.owner
            && fs::read(self.path).map_err(FileError::new("read", self.path))? == self.text.as_bytes();
        Ok(same)
    }

    /// Makes it so and says whether it was not.
    pub(crate) fn put(&self, journal: &mut Journal) -> Result<bool, FileError> {
        // What a killed run left.
        let _ = fs::remove_file(temporary(self.path));
        if self.is_there()? {
            return Ok(false);
        }
        if let Some(folder) = self.path.parent() {
            folders(journal, folder)?;
        }
        journal.remember_file(self.path)?;
        self.write()?;
        Ok(true)
    }

    /// Replaces the file in one step, whatever it was.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that writes files on the host")]
    pub(super) fn write(&self) -> Result<(), FileError> {
        let temporary = temporary(self.path);
        let failed = || FileError::new("write", self.path);
        let _ = fs::remove_file(&temporary);
        // It must be new: where others may write, they must not lead root elsewhere.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed())?;
        file.write_all(self.text.as_bytes()).map_err(failed())?;
        fchown(&file, Some(self.owner.0), Some(self.owner.1)).map_err(failed())?;
        file.set_permissions(Permissions::from_mode(self.mode)).map_err(failed())?;
        file.sync_all().map_err(failed())?;
        fs::rename(&temporary, self.path).map_err(failed())?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed())
    }
}

/// Makes the folder and those above it, as the system's.
pub(crate) fn folders(journal: &mut Journal, folder: &Path) -> Result<(), FileError> {
    let missing: Vec<PathBuf> = folder.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
    if missing.is_empty() {
        return Ok(());
    }
    journal.remember_folders(missing.iter().rev())?;
    for folder in missing.iter().rev() {
        fs::create_dir(folder).map_err(FileError::new("create", folder))?;
        fs::set_permissions(folder, Permissions::from_mode(0o755)).map_err(FileError::new("create", folder))?;
    }
    Ok(())
}

/// Removes the file, and what a killed run left beside it.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    let _ = fs::remove_file(temporary(path));
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Whether a file is as it was found.
pub(super) fn is_as_found(path: &Path, saved: Option<&Saved>) -> Result<bool, FileError> {
    match saved {
        Some(saved) => saved.wanted(path).is_there(),
        None => Ok(fs::symlink_metadata(path).is_err()),
    }
}

/// Puts a file back as it was found.
pub(super) fn restore(path: &Path, saved: Option<&Saved>) -> Result<(), FileError> {
    match saved {
        Some(saved) => saved.wanted(path).write(),
        None => remove(path),
    }
}

/// Beside the file, and not read by who reads `*.conf`.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.trunnion"))
}

/// A kernel parameter such as `net/ipv4/tcp_tw_reuse`, its words with one space between them; none where the kernel has
/// no such parameter.
pub(crate) fn sysctl(name: &str) -> Result<Option<String>, FileError> {
    let path = Path::new("/proc/sys").join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.split_whitespace().collect::<Vec<_>>().join(" "))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", &path)(error)),
    }
}

/// Sets a kernel parameter.
pub(crate) fn set_sysctl(name: &str, value: &str) -> Result<(), FileError> {
    let path = Path::new("/proc/sys").join(name);
    let opened = OpenOptions::new().write(true).truncate(true).open(&path);
    opened.and_then(|mut file| file.write_all(value.as_bytes())).map_err(FileError::new("write", &path))
}
