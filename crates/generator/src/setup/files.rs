//! The one place that writes files on the host. A file is replaced as a whole, in one step.
//!
//! Some files are in the home of the SSH user, who runs the simulations of many teams and is not trusted: a link that it
//! puts in place of a file or folder, at any moment, must not redirect what root does. So a folder is opened first, and
//! from there no link is followed.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat, renameat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, symlinkat, unlinkat},
};

use serde::{Deserialize, Serialize};

use crate::failure::FileError;

/// Longer files are an error. Setup replaces none that is this long.
const LONGEST: u64 = 1 << 20;

/// A file as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
    pub(crate) mode: u32,
    /// User and group.
    pub(crate) owner: (u32, u32),
}

impl<'a> Wanted<'a> {
    /// A file of the system: everybody can read it, root can write it.
    pub(crate) fn system(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, mode: 0o644, owner: (0, 0) }
    }

    /// Whether the file is as wanted.
    pub(crate) fn is_there(&self) -> Result<bool, FileError> {
        let failed = || FileError::new("read", self.path);
        let folder = match Folder::above(self.path) {
            Ok(folder) => folder,
            Err(error) if is_no_folder(&error) => return Ok(false),
            Err(error) => return Err(failed()(error)),
        };
        let Found::File(file, found) = folder.find(name(self.path)).map_err(failed())? else { return Ok(false) };
        let same = found.mode() & 0o7777 == self.mode
            && (found.uid(), found.gid()) == self.owner
            && found.len() == self.text.len() as u64
            && read(file).map_err(failed())? == self.text.as_bytes();
        Ok(same)
    }

    /// Removes what a killed run left beside the file.
    pub(super) fn clean(&self) {
        let _ = Folder::above(self.path).and_then(|folder| folder.remove(&temporary(self.path)));
    }

    /// Replaces the file in one step, whatever is in its place.
    pub(super) fn write(&self) -> Result<(), FileError> {
        self.replace().map_err(FileError::new("write", self.path))
    }

    fn replace(&self) -> io::Result<()> {
        let Folder(folder) = &Folder::above(self.path)?;
        let temporary = &*temporary(self.path);
        let _ = unlinkat(folder, temporary, UnlinkatFlags::NoRemoveDir);
        // With O_EXCL, a link that somebody else put there is an error.
        let new = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(folder, temporary, new, Mode::S_IRUSR | Mode::S_IWUSR)?);
        file.write_all(self.text.as_bytes())?;
        fchown(&file, Some(self.owner.0), Some(self.owner.1))?;
        file.set_permissions(Permissions::from_mode(self.mode))?;
        file.sync_all()?;
        renameat(folder, temporary, folder, name(self.path))?;
        folder.sync_all()
    }
}

/// The target of the symbolic link at this path; `None` if there is none.
pub(super) fn link(path: &Path) -> Option<PathBuf> {
    fs::read_link(path).ok()
}

/// Puts a symbolic link at this path in one step, whatever is in its place.
pub(super) fn put_link(path: &Path, target: &Path) -> Result<(), FileError> {
    let put = || {
        let Folder(folder) = &Folder::above(path)?;
        let temporary = &*temporary(path);
        let _ = unlinkat(folder, temporary, UnlinkatFlags::NoRemoveDir);
        symlinkat(target, folder, temporary)?;
        renameat(folder, temporary, folder, name(path))?;
        folder.sync_all()
    };
    put().map_err(FileError::new("write", path))
}

/// A file as setup found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) text: String,
    pub(super) owned: Owned,
}

/// Mode, user and group of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owned {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Saved {
    /// The same file, to be written to this path.
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

/// An open folder. Operations act on it even if its path leads elsewhere by now.
#[derive(Debug)]
pub(super) struct Folder(File);

/// What a folder has under a name.
enum Found {
    Nothing,
    File(File, Metadata),
    /// A link, a folder or anything else.
    Other,
}

impl Folder {
    /// Opens the folder at this path. A link in its place is an error, see [`is_no_folder`].
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        OpenOptions::new().read(true).custom_flags(flags).open(path).map(Self)
    }

    /// Opens the folder that contains this path.
    fn above(path: &Path) -> io::Result<Self> {
        Self::open(path.parent().unwrap_or(Path::new("/")))
    }

    pub(super) fn owned(&self) -> io::Result<Owned> {
        Ok(Owned::of(&self.0.metadata()?))
    }

    pub(super) fn give(&self, Owned { mode, uid, gid }: Owned) -> io::Result<()> {
        fchown(&self.0, Some(uid), Some(gid))?;
        self.0.set_permissions(Permissions::from_mode(mode))
    }

    fn find(&self, name: &OsStr) -> io::Result<Found> {
        // Without O_NONBLOCK, opening a pipe waits for its writer.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        match openat(&self.0, name, flags, Mode::empty()) {
            Ok(file) => {
                let file = File::from(file);
                let found = file.metadata()?;
                Ok(if found.is_file() { Found::File(file, found) } else { Found::Other })
            }
            Err(Errno::ENOENT) => Ok(Found::Nothing),
            // A link; a socket.
            Err(Errno::ELOOP | Errno::ENXIO) => Ok(Found::Other),
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir)?)
    }
}

/// Whether a folder could not be opened because its place is empty, or has a file or a link.
pub(super) fn is_no_folder(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(libc::ELOOP)
}

fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("it has more than {LONGEST} bytes")));
    }
    Ok(bytes)
}

/// Reads a file with its mode and owner, if there is one.
pub(super) fn save(path: &Path) -> Result<Option<Saved>, FileError> {
    let failed = || FileError::new("read", path);
    match Folder::above(path).and_then(|folder| folder.find(name(path))).map_err(failed())? {
        Found::Nothing => Ok(None),
        Found::Other => Err(failed()(io::Error::other("it is not a regular file"))),
        Found::File(file, found) => {
            let text = read(file).and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
            Ok(Some(Saved { text: text.map_err(failed())?, owned: Owned::of(&found) }))
        }
    }
}

/// The folders of this path that do not exist, the outermost first.
pub(super) fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<_> = path.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

/// Makes one folder that belongs to root and that everybody can read.
pub(super) fn make_folder(path: &Path) -> Result<(), FileError> {
    let created = fs::create_dir(path).and_then(|()| Folder::open(path));
    let created = created.and_then(|Folder(folder)| folder.set_permissions(Permissions::from_mode(0o755)));
    created.map_err(FileError::new("create", path))
}

/// Removes the file, and what a killed run left beside it.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    let removed = Folder::above(path).and_then(|folder| {
        let _ = folder.remove(&temporary(path));
        folder.remove(name(path))
    });
    match removed {
        Err(error) if !is_no_folder(&error) => Err(FileError::new("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Whether a file is as setup found it.
pub(super) fn is_as_found(path: &Path, saved: Option<&Saved>) -> Result<bool, FileError> {
    match saved {
        Some(saved) => saved.wanted(path).is_there(),
        // Without the folder, or with a link in its place, the file is gone, too.
        None => Ok(match Folder::above(path).and_then(|folder| folder.find(name(path))) {
            Ok(Found::Nothing) => true,
            Ok(Found::File(..) | Found::Other) => false,
            Err(error) => is_no_folder(&error),
        }),
    }
}

/// Restores a file to what setup found.
pub(super) fn restore(path: &Path, saved: Option<&Saved>) -> Result<(), FileError> {
    match saved {
        Some(saved) => saved.wanted(path).write(),
        None => remove(path),
    }
}

/// A name in the same folder that programs which read `*.conf` ignore.
fn temporary(path: &Path) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name(path));
    temporary.push(".trunnion");
    temporary
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    /// The path of a file in one folder, and a file of the same name in another folder, which must not change.
    fn scene() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let base = tempfile::tempdir().unwrap();
        let (own, other) = (base.path().join("own"), base.path().join("other"));
        for folder in [&own, &other] {
            fs::create_dir(folder).unwrap();
        }
        let other = other.join("keys");
        wanted(&other, "theirs").write().unwrap();
        (base, own.join("keys"), other)
    }

    fn wanted<'a>(path: &'a Path, text: &'a str) -> Wanted<'a> {
        let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        Wanted { path, text, mode: 0o600, owner }
    }

    #[test]
    fn a_written_file_is_found_again() {
        let (_base, path, _) = scene();
        let ours = wanted(&path, "ours");
        assert!(!ours.is_there().unwrap());
        assert_eq!(save(&path).unwrap(), None);
        ours.write().unwrap();
        assert!(ours.is_there().unwrap());
        assert_eq!(save(&path).unwrap().unwrap().text, "ours");
        remove(&path).unwrap();
        assert!(is_as_found(&path, None).unwrap());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_in_place_of_a_folder_is_not_followed() {
        let (_base, path, other) = scene();
        fs::remove_dir(path.parent().unwrap()).unwrap();
        symlink(other.parent().unwrap(), path.parent().unwrap()).unwrap();
        assert!(!wanted(&path, "theirs").is_there().unwrap());
        wanted(&path, "ours").write().unwrap_err();
        save(&path).unwrap_err();
        assert!(is_as_found(&path, None).unwrap());
        remove(&path).unwrap();
        assert_eq!(fs::read_to_string(other).unwrap(), "theirs");
        assert!(is_no_folder(&Folder::open(path.parent().unwrap()).unwrap_err()));
    }

    #[test]
    fn a_link_or_pipe_in_place_of_a_file_is_not_read() {
        let (_base, path, other) = scene();
        symlink(&other, &path).unwrap();
        assert!(!wanted(&path, "theirs").is_there().unwrap());
        save(&path).unwrap_err();
        wanted(&path, "ours").write().unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
        remove(&path).unwrap();
        mkfifo(&path, Mode::S_IRUSR).unwrap();
        assert!(!wanted(&path, "ours").is_there().unwrap());
        save(&path).unwrap_err();
    }

    #[test]
    fn a_file_as_large_as_the_disk_is_not_read() {
        let (_base, path, _) = scene();
        wanted(&path, "ours").write().unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(!wanted(&path, "ours").is_there().unwrap());
        save(&path).unwrap_err();
    }
}
