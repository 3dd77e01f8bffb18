//! The earlier documents of a state file, in a folder beside it: `minimal.history/12-3f2a9c1e.json` beside `minimal.json`.
//!
//! Each command that changes the state keeps the document that it found, the last [`MOST`] of them. They only explain: if one
//! cannot be kept, the command goes on.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::State;

/// How many earlier documents are kept.
const MOST: usize = 10;

/// The folder of the earlier documents of the one at this path.
fn folder(path: &Path) -> PathBuf {
    path.with_extension("history")
}

/// What names a document: its number and the beginning of its lineage.
pub(super) fn id_of(state: &State) -> String {
    let lineage: String = state.lineage.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("{}-{lineage}", state.serial)
}

/// Keeps the document at this path under a name of its own. Without a readable document, the name is the time.
pub(super) fn keep(path: &Path, found: Option<&State>) -> io::Result<()> {
    let id = match found {
        Some(state) => id_of(state),
        None if path.exists() => format!("unreadable-{}", jiff::Timestamp::now().as_second()),
        None => return Ok(()),
    };
    let folder = folder(path);
    fs::create_dir_all(&folder)?;
    let kept = folder.join(format!("{id}.json"));
    // The state is replaced by another file and never written to, so a second name is as good as a copy.
    let linked = fs::hard_link(path, &kept).or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => fs::copy(path, &kept).map(|_| ()),
    });
    let all = documents(path)?;
    for (_, old, _) in all.iter().skip(MOST) {
        fs::remove_file(old)?;
    }
    linked
}

/// Name, path and time of each earlier document, the newest first.
pub(super) fn documents(path: &Path) -> io::Result<Vec<(String, PathBuf, SystemTime)>> {
    let entries = match fs::read_dir(folder(path)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let id = path.extension().is_some_and(|end| end == "json").then(|| path.file_stem()).flatten();
        let Some(id) = id.map(|id| id.to_string_lossy().into_owned()) else { continue };
        let written = fs::metadata(&path)?.modified()?;
        found.push((id, path, written));
    }
    found.sort_by(|one, other| other.2.cmp(&one.2).then_with(|| number(&other.0).cmp(&number(&one.0))));
    Ok(found)
}

/// The number at the beginning of a name: files of the same time are in its order.
fn number(id: &str) -> Option<u64> {
    id.split_once('-')?.0.parse().ok()
}
