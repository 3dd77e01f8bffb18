//! The folder of a BPF file system to which the program is pinned, and the cgroup to which it is attached.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs, statfs},
};

use super::error::SpreadError;

/// The usual mount point of the BPF file system.
const BPFFS: &str = "/sys/fs/bpf";

/// The folder of the pins, locked: one process at a time can change the pins.
#[derive(Debug)]
pub(super) struct Pins {
    path: PathBuf,
    /// The lock ends when this is closed.
    _lock: File,
}

impl Pins {
    /// Creates the folder. Mounts the BPF file system at its usual place if it is not mounted, as systemd does.
    pub(super) fn make(path: &Path) -> Result<Self, SpreadError> {
        if path.starts_with(BPFFS) && !is_bpffs(Path::new(BPFFS)) {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
            mount(Some("bpf"), BPFFS, Some("bpf"), flags, Some("mode=700")).map_err(|error| match error.into() {
                refused if io::Error::kind(&refused) == io::ErrorKind::PermissionDenied => {
                    SpreadError::Refused(refused)
                }
                source => SpreadError::Mount { path: BPFFS.into(), source },
            })?;
        }
        // A process that can open the folder can lock it and block others, so only root may open it.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => SpreadError::Refused(source),
            _ => SpreadError::Pins { path: path.to_owned(), source },
        })?;
        if !is_bpffs(path) {
            return Err(SpreadError::NotBpffs { path: path.to_owned() });
        }
        Self::lock(path)
    }

    /// Opens the folder that an earlier process created.
    pub(super) fn find(path: &Path) -> Result<Self, SpreadError> {
        Self::lock(path).map_err(|error| match error {
            SpreadError::Pins { path, source } if source.kind() == io::ErrorKind::NotFound => {
                SpreadError::NotAttached { path }
            }
            other => other,
        })
    }

    fn lock(path: &Path) -> Result<Self, SpreadError> {
        let lock = || {
            let folder = File::open(path)?;
            folder.lock()?;
            Ok(folder)
        };
        let folder = lock().map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => SpreadError::Refused(source),
            _ => SpreadError::Pins { path: path.to_owned(), source },
        })?;
        Ok(Self { path: path.to_owned(), _lock: folder })
    }

    /// The path of the pin `name`.
    pub(super) fn pin(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes a pin, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<(), SpreadError> {
        match fs::remove_file(self.pin(name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(SpreadError::failed("remove a pin", source)),
            _ => Ok(()),
        }
    }

    /// Renames the pin `from` to `to`, and replaces a pin of that name, in one step.
    #[expect(clippy::disallowed_methods, reason = "a pin is an object of the kernel, not a file")]
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), SpreadError> {
        fs::rename(self.pin(from), self.pin(to)).map_err(|source| SpreadError::failed("rename a pin", source))
    }
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Opens a folder of a cgroup2 file system.
pub(super) fn open_cgroup(path: &Path) -> Result<File, SpreadError> {
    let cgroup = File::open(path).map_err(|source| SpreadError::Cgroup { path: path.to_owned(), source })?;
    let is_cgroup2 = fstatfs(&cgroup).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC);
    is_cgroup2.then_some(cgroup).ok_or_else(|| SpreadError::NotCgroup2 { path: path.to_owned() })
}

/// The mount point of the cgroup2 hierarchy. On hosts with both hierarchies, it is below that of the first.
pub(super) fn root_cgroup() -> Result<PathBuf, SpreadError> {
    fs::read_to_string("/proc/self/mountinfo").ok().and_then(|text| cgroup2(&text)).ok_or(SpreadError::NoCgroup2)
}

/// The first cgroup2 mount in `/proc/self/mountinfo`, preferably one of the whole hierarchy.
fn cgroup2(mountinfo: &str) -> Option<PathBuf> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup2 ").then(|| (root != "/", unescaped(place)))
    });
    mounts.min_by_key(|&(part, _)| part).map(|(_, place)| place.into())
}

/// Decodes spaces, tabs, line ends and backslashes, which are three octal digits after a backslash.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if let Some(byte) = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            plain.push(char::from(byte));
            plain.push_str(part.get(3..).unwrap_or_default());
        } else {
            plain.push('\\');
            plain.push_str(part);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_hierarchy_is_found_at_any_mount_point() {
        let unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(cgroup2(unified), Some("/sys/fs/cgroup".into()));
        let mixed = "25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                     26 25 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     27 25 0:24 /part /over\\040there rw - cgroup2 cgroup2 rw\n\
                     28 25 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2(mixed), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2(mixed.split("28 25").next().unwrap()), Some("/over there".into()));
        assert_eq!(cgroup2("25 20 0:22 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu\n"), None);
    }

    #[test]
    fn a_backslash_that_escapes_nothing_stays() {
        assert_eq!(unescaped(r"a\134b\0"), r"a\b\0");
    }
}
