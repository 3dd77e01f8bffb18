//! The lock that keeps a second service from running on the same host: both would alternate the port range and set up the host.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::failure::{Failure, FileError};

/// Locked while the service runs. It contains the id of the process.
const LOCK: &str = "/run/trunnion-generator.lock";

/// Locks this host until the file is dropped. An error if another service runs.
pub(super) fn lock() -> Result<File, Failure> {
    let path = Path::new(LOCK);
    let failed = || FileError::new("lock", path);
    // A process that can open the file can lock it, so only root may open it.
    let flags = libc::O_NOFOLLOW;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path);
    let mut file = opened.map_err(failed())?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            let _ = file.read_to_string(&mut process);
            // Empty while the other service starts.
            let process = if process.is_empty() { String::new() } else { format!(", as process {}", process.trim()) };
            return Err(format!(
                "`trunnion-generator run` already runs on this host{process}: stop that one first, with \
                 `systemctl stop trunnion-generator` if systemd started it"
            )
            .into());
        }
        Err(TryLockError::Error(error)) => return Err(failed()(error).into()),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed())?;
    Ok(file)
}
