//! How a command fails: the error type that all commands share, and its text.

use std::{
    error::Error,
    io, iter,
    path::{Path, PathBuf},
};

/// Why a command failed.
pub(crate) type Failure = Box<dyn Error>;

/// A file or folder of the host that could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{path}`")]
pub(crate) struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// For `map_err`: `action` is a verb such as `read`.
    pub(crate) fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

/// The causes of an error, each after `: `, from the nearest to the first.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut causes = String::new();
    for cause in iter::successors(error.source(), |&cause| cause.source()) {
        causes.push_str(": ");
        causes.push_str(&cause.to_string());
    }
    causes
}
