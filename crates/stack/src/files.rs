//! The files that a stack may name: those of its repository. Who writes a stack file may not be who runs the command, so that a
//! stack must not show what else the machine has, such as `/proc/self/environ`.

use std::{
    error::Error,
    fmt,
    fs::{self, File},
    io::{self, Seek as _, Write as _},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use cap_std::{ambient_authority, fs::Dir};

use crate::home::lexical;

/// The files of a repository as they were at another time, such as at a commit.
pub trait Revision: fmt::Debug + Send + Sync {
    /// The content of a regular file of at most this many bytes, by its path from the repository's root. Links are followed as long
    /// as they stay in the repository.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no such file; others when it is something else, too large or cannot be read.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;
}

/// The folder whose files a stack may name, and the files that the command line names beside them.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
    /// The stack's folder as it is written in the paths, and where it is.
    folder: (PathBuf, PathBuf),
    allowed: Vec<PathBuf>,
    revision: Option<Arc<dyn Revision>>,
}

impl PartialEq for Files {
    fn eq(&self, other: &Self) -> bool {
        let is_same = match (&self.revision, &other.revision) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        is_same && self.root == other.root && self.folder == other.folder && self.allowed == other.allowed
    }
}

impl Eq for Files {}

/// Why a file is not opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// It is in no folder whose files the stack may name.
    Outside {
        /// The folder whose files it may name.
        root: PathBuf,
    },
    /// It belongs to Git, whose configuration may have passwords.
    OfGit,
    /// It is a directory, a device or something else that is no regular file.
    NotRegular,
    /// The system does not open it.
    System(io::Error),
}

impl Files {
    /// Those of the repository that a stack's folder belongs to; of the folder itself where there is none. `allowed` are others.
    pub(crate) fn of(folder: &Path, allowed: &[PathBuf], revision: Option<Arc<dyn Revision>>) -> Self {
        let written = folder;
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let folder = whole(folder);
        let root = folder.ancestors().find(|root| fs::symlink_metadata(root.join(GIT)).is_ok()).unwrap_or(&folder);
        Self {
            root: root.to_path_buf(),
            allowed: allowed.iter().map(|path| whole(path)).collect(),
            folder: (written.to_path_buf(), folder.clone()),
            revision,
        }
    }

    /// The root of the repository, or the stack's folder where there is none.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether they are those of another time.
    pub fn are_of_revision(&self) -> bool {
        self.revision.is_some()
    }

    /// Whether a file is one that the command line names beside those of the repository.
    pub fn is_allowed_beside(&self, path: &Path) -> bool {
        self.allowed.contains(&whole(path)) || fs::canonicalize(path).is_ok_and(|found| self.allowed.contains(&found))
    }

    /// Opens a regular file. Links are followed as long as they stay in the repository.
    ///
    /// # Errors
    /// When the stack may not name the file, or the system does not open it.
    pub fn open(&self, path: &Path) -> Result<File, FileError> {
        if let Some(revision) = self.revision.as_ref().filter(|_| !self.allowed.contains(&whole(path))) {
            // What the folder has now must not matter.
            let (written, folder) = &self.folder;
            let path =
                lexical(&path.strip_prefix(written).map_or_else(|_| path.to_path_buf(), |path| folder.join(path)));
            let content = revision.read(self.inside(&path)?, LARGEST)?;
            let mut file = tempfile::tempfile()?;
            file.write_all(&content)?;
            file.rewind()?;
            return Ok(file);
        }
        // Without links, so that only its place counts.
        let found = fs::canonicalize(path).or_else(|error| self.not_found(path, error))?;
        let (folder, name) = if self.allowed.contains(&found) {
            (found.parent().unwrap_or(&found), Path::new(found.file_name().unwrap_or_default()))
        } else {
            (self.root.as_path(), self.inside(&found)?)
        };
        let folder = Dir::open_ambient_dir(folder, ambient_authority())?;
        // Opening a pipe would wait for its other end. Without a name, it is the folder.
        if name.as_os_str().is_empty() || !folder.metadata(name)?.is_file() {
            return Err(FileError::NotRegular);
        }
        let file = folder.open(name)?;
        if file.metadata()?.is_file() { Ok(file.into_std()) } else { Err(FileError::NotRegular) }
    }

    /// The path within the repository.
    fn inside<'p>(&self, path: &'p Path) -> Result<&'p Path, FileError> {
        let inside = path.strip_prefix(&self.root).map_err(|_| FileError::Outside { root: self.root.clone() })?;
        let is_of_git = |part: Component<'_>| matches!(part, Component::Normal(name) if name.eq_ignore_ascii_case(GIT));
        if inside.components().any(is_of_git) { Err(FileError::OfGit) } else { Ok(inside) }
    }

    /// A place outside is refused whether the file exists or not: the answer would show it.
    fn not_found(&self, path: &Path, error: io::Error) -> Result<PathBuf, FileError> {
        let path = whole(path);
        if !self.allowed.contains(&path) {
            self.inside(&path)?;
        }
        Err(FileError::System(error))
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::System(error) => error,
            other => Self::new(io::ErrorKind::PermissionDenied, other),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside { root } => write!(f, "it is outside of `{}`", root.display()),
            Self::OfGit => f.write_str("it belongs to Git"),
            Self::NotRegular => f.write_str("it is not a regular file"),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl Error for FileError {}

/// The largest file that is read from another revision, in bytes: a generator binary.
const LARGEST: u64 = 256 << 20;

/// The folder of a repository that Git keeps for itself.
const GIT: &str = ".git";

/// The absolute path without links, as far as it exists.
fn whole(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let existing =
        path.ancestors().find_map(|known| Some((fs::canonicalize(known).ok()?, path.strip_prefix(known).ok()?)));
    lexical(&existing.map_or_else(|| path.clone(), |(known, rest)| known.join(rest)))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of the tests")]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn text(files: &Files, path: &Path) -> String {
        let mut text = String::new();
        match files.open(path) {
            Ok(mut file) => drop(file.read_to_string(&mut text).unwrap()),
            Err(FileError::System(error)) => text = format!("{:?}", error.kind()),
            Err(FileError::Outside { .. }) => text = "outside".to_owned(),
            Err(other) => text = format!("{other:?}"),
        }
        text
    }

    #[test]
    fn only_regular_files_of_the_repository_are_opened() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("rep ö");
        let folder = root.join("stacks/a");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(root.join(".git/x")).unwrap();
        fs::write(place.path().join("secret"), "secret").unwrap();
        fs::write(root.join(".git/config"), "password").unwrap();
        fs::write(root.join("shared.tera"), "shared").unwrap();
        fs::write(folder.join("own.tera"), "own").unwrap();
        std::os::unix::fs::symlink("../../shared.tera", folder.join("inner")).unwrap();
        std::os::unix::fs::symlink("../../../secret", folder.join("outer")).unwrap();
        std::os::unix::fs::symlink("/proc/self", folder.join("proc")).unwrap();
        std::os::unix::fs::symlink("../../.git", folder.join("innocent")).unwrap();
        let files = Files::of(&folder, &[], None);
        for (path, expected) in [
            ("own.tera", "own"),
            ("./own.tera", "own"),
            ("../../shared.tera", "shared"),
            ("inner", "shared"),
            ("outer", "outside"),
            ("../../../secret", "outside"),
            ("../../../no-secret", "outside"),
            ("../missing/../../../../secret", "outside"),
            ("proc/environ", "outside"),
            ("/proc/self/environ", "outside"),
            ("/dev/zero", "outside"),
            ("/dev/fd/0", "outside"),
            ("../../.git/config", "OfGit"),
            ("../../.GIT/config", "OfGit"),
            ("../../.git/nothing", "OfGit"),
            ("innocent/config", "OfGit"),
            ("missing", "NotFound"),
            ("..", "NotRegular"),
            ("../..", "NotRegular"),
        ] {
            assert_eq!(text(&files, &folder.join(path)), expected, "{path}");
        }
        let secret = place.path().join("secret");
        let allowed = Files::of(&folder, &[folder.join("../../../secret"), "/dev/zero".into()], None);
        assert_eq!(text(&allowed, &secret), "secret");
        assert_eq!(text(&allowed, &folder.join("outer")), "secret");
        assert_eq!(text(&allowed, Path::new("/dev/zero")), "NotRegular");
        // Without a repository, it is the folder alone.
        fs::remove_dir_all(root.join(".git")).unwrap();
        let alone = Files::of(&folder, &[], None);
        assert_eq!(text(&alone, &folder.join("own.tera")), "own");
        assert_eq!(text(&alone, &folder.join("../../shared.tera")), "outside");
    }

    /// Every file has its path from the root as its content.
    #[derive(Debug)]
    struct Paths;

    impl Revision for Paths {
        fn read(&self, path: &Path, _: u64) -> io::Result<Vec<u8>> {
            Ok(path.display().to_string().into_bytes())
        }
    }

    #[test]
    fn files_of_another_revision_need_not_exist_now() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("stacks");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(place.path().join(".git")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
        fs::write(place.path().join("allowed"), "now").unwrap();
        let files = Files::of(&folder, &[place.path().join("allowed")], Some(Arc::new(Paths)));
        for (path, expected) in [
            ("boot.tera", "stacks/boot.tera"),
            ("../shared/boot.tera", "shared/boot.tera"),
            ("link", "stacks/link"),
            ("../allowed", "now"),
            ("../../elsewhere", "outside"),
            ("/etc/passwd", "outside"),
            ("../.git/config", "OfGit"),
        ] {
            assert_eq!(text(&files, &folder.join(path)), expected, "{path}");
        }
    }
}
