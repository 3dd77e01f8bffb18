//! Whether Gatling runs: a process of the SSH user whose name is `java`, or contains `gatling`. The control plane starts load
//! generators by SSH, so there is no service to ask.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The processes of Gatling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Gatling {
    pub(super) processes: u64,
    /// Open files of the process that has most of them, and its soft limit.
    pub(super) open_files: u64,
    pub(super) open_files_limit: Option<u64>,
}

/// Looks for processes of this user in `/proc`.
pub(super) fn look(proc: &Path, uid: u32) -> Gatling {
    let mut gatling = Gatling::default();
    let Ok(entries) = fs::read_dir(proc) else { return gatling };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let is_process = path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        if !is_process || fs::metadata(&path).map(|metadata| metadata.uid()).ok() != Some(uid) || !is_gatling(&path) {
            continue;
        }
        gatling.processes += 1;
        let open_files = open_files(&path);
        if open_files >= gatling.open_files {
            gatling.open_files = open_files;
            gatling.open_files_limit = limit(&fs::read_to_string(path.join("limits")).unwrap_or_default());
        }
    }
    gatling
}

/// By the short name only. The command line of the user's sshd contains the name of the user, which is often `gatling`.
fn is_gatling(process: &Path) -> bool {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let name = name.trim_end();
    name == "java" || name.contains("gatling")
}

/// The number of open files of a process. From Linux 6.2 on, it is the size of the folder; before, the folder must be listed.
fn open_files(process: &Path) -> u64 {
    let folder: PathBuf = process.join("fd");
    match fs::metadata(&folder).map(|metadata| metadata.len()) {
        Ok(0) => fs::read_dir(&folder).map_or(0, |entries| entries.count() as u64),
        Ok(count) => count,
        Err(_) => 0,
    }
}

/// The soft limit of open files in `/proc/<pid>/limits`.
fn limit(text: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max cpu time              unlimited            unlimited            seconds   \n\
            Max open files            1024                 1048576              files     \n";
        assert_eq!(limit(text), Some(1024));
        assert_eq!(limit(""), None);
    }

    #[test]
    fn without_processes_gatling_does_not_run() {
        assert_eq!(look(Path::new("/nonexistent"), 0), Gatling::default());
    }
}
