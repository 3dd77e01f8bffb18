//! Kernel parameters, named by their path below `/proc/sys`, such as `net/ipv4/tcp_tw_reuse`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use crate::failure::FileError;

/// The value, with one space between its words; `None` if the kernel has no such parameter.
pub(crate) fn get(name: &str) -> Result<Option<String>, FileError> {
    let path = Path::new("/proc/sys").join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.split_whitespace().collect::<Vec<_>>().join(" "))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", &path)(error)),
    }
}

/// Sets the value, which can be empty.
pub(crate) fn set(name: &str, value: &str) -> Result<(), FileError> {
    let path = Path::new("/proc/sys").join(name);
    let opened = OpenOptions::new().write(true).truncate(true).open(&path);
    // The kernel does not notice a write of no bytes.
    opened.and_then(|mut file| file.write_all(format!("{value}\n").as_bytes())).map_err(FileError::new("write", &path))
}
