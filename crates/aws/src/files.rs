//! Files that environment variables or profiles name.

use std::{fs, io, path::Path};

/// The bytes of a file. Anything that is not a regular file, such as a pipe, might never end, so it is refused;
/// `/dev/null` counts as empty.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?;
    // For a folder, the operating system's own error is clear.
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
