//! The one place that writes files on the host: whole or not at all, and never before the journal knows what was there.
//!
//! Some of them lie in the SSH user's home, and that user runs whatever teams send it: what it puts in the place of a file
//! or a folder, at whatever moment, must not lead root elsewhere. So a folder is opened first, and no link is followed from
//! there.

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
    unistd::{UnlinkatFlags, unlinkat},
};

use super::journal::{Journal, Owned, Saved};

/// No file that setup replaces is this long.
const LONGEST: u64 = 1 << 20;

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

    /// Makes it so and says whether it was not.
    pub(crate) fn put(&self, journal: &mut Journal) -> Result<bool, FileError> {
        // What a killed run left.
        let _ = Folder::above(self.path).and_then(|folder| folder.remove(&temporary(self.path)));
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
    pub(super) fn write(&self) -> Result<(), FileError> {
        self.replace().map_err(FileError::new("write", self.path))
    }

    fn replace(&self) -> io::Result<()> {
        let Folder(folder) = &Folder::above(self.path)?;
        let temporary = &*temporary(self.path);
        let _ = unlinkat(folder, temporary, UnlinkatFlags::NoRemoveDir);
        // It must be new: where others may write, they must not lead root elsewhere.
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

/// An open folder: whatever its path leads to by now, what is done to it is done to this one.
#[derive(Debug)]
pub(super) struct Folder(File);

/// What a name stands for in a folder.
enum Found {
    Nothing,
    File(File, Metadata),
    /// A link, a folder or anything else.
    Other,
}

impl Folder {
    /// The folder of this path. A link in its place is an error, see [`is_no_folder`].
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        OpenOptions::new().read(true).custom_flags(flags).open(path).map(Self)
    }

    /// The folder that this path lies in.
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
        // A pipe must not keep us waiting.
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

/// Whether a folder could not be opened because there is none: nothing, a file or a link.
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
        return Err(io::Error::other(format!("it is longer than {LONGEST} bytes")));
    }
    Ok(bytes)
}

/// The file as it is, if there is one.
pub(super) fn save(path: &Path) -> Result<Option<Saved>, FileError> {
    let failed = || FileError::new("read", path);
    match Folder::above(path).and_then(|folder| folder.find(name(path))).map_err(failed())? {
        Found::Nothing => Ok(None),
        Found::Other => Err(failed()(io::Error::other("it is no regular file"))),
        Found::File(file, found) => {
            let text = read(file).and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
            Ok(Some(Saved { text: text.map_err(failed())?, owned: Owned::of(&found) }))
        }
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
        let created = fs::create_dir(folder).and_then(|()| Folder::open(folder));
        let created = created.and_then(|Folder(folder)| folder.set_permissions(Permissions::from_mode(0o755)));
        created.map_err(FileError::new("create", folder))?;
    }
    Ok(())
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

/// Whether a file is as it was found.
pub(super) fn is_as_found(path: &Path, saved: Option<&Saved>) -> Result<bool, FileError> {
    match saved {
        Some(saved) => saved.wanted(path).is_there(),
        // Where its folder is gone, or a link, so is the file.
        None => Ok(match Folder::above(path).and_then(|folder| folder.find(name(path))) {
            Ok(Found::Nothing) => true,
            Ok(Found::File(..) | Found::Other) => false,
            Err(error) => is_no_folder(&error),
        }),
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
fn temporary(path: &Path) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name(path));
    temporary.push(".trunnion");
    temporary
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    /// A file of ours in a folder of somebody's, and a folder of somebody else's with a file of the same name.
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
    fn a_file_is_written_whole_and_found_again() {
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
    fn a_folder_that_became_a_link_leads_nowhere() {
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
    fn what_stands_in_the_place_of_a_file_is_not_read() {
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
