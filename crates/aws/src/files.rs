//! Files that the environment names.

use std::{fs, io, path::Path};

/// The bytes of a file. What is no regular file, such as a pipe, might never end and is refused; `/dev/null` is empty.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?;
    // That a folder is none, the system says itself.
    if kind.is_file() || kind.is_dir() {
        return fs::read(path);
    }
    if fs::canonicalize(path)? == Path::new("/dev/null") {
        return Ok(Vec::new());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(read(&pipe).is_err_and(|error| error.to_string().contains("not a regular file")));
        assert!(read(Path::new("/dev/zero")).is_err());
        assert!(read(folder.path()).is_err());
        assert_eq!(read(Path::new("/dev/null")).unwrap(), Vec::<u8>::new());
    }
}
