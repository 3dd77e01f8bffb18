//! The earlier documents of a state file, in a folder beside it: `minimal.history/12-3f2a9c1e.json` beside `minimal.json`.
//!
//! Each command that changes the state keeps the document that it found, the last [`MOST`] of them. They only explain: if one
//! cannot be kept, the command goes on.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{read_file, remove_temporaries, replace_file};
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
    only_for_owner(&folder)?;
    let content = read_file(path)?;
    let kept = folder.join(format!("{}.json", name_of(path, &id, &content)));
    if !kept.exists() {
        replace_file(&kept, &content)?;
        fs::File::options().write(true).open(&kept)?.set_modified(fs::metadata(path)?.modified()?)?;
    }
    let all = documents(path)?;
    for (_, old, _) in all.iter().skip(MOST) {
        fs::remove_file(old)?;
    }
    Ok(())
}

/// Removes what a process left that was killed while it kept a document.
pub(super) fn remove_temporaries_of(path: &Path) {
    remove_temporaries(&folder(path), |replaced| replaced.strip_suffix(".json").is_some());
}

/// The name of a document with this content: the first of `12-3f2a9c1e`, `12-3f2a9c1e-2`, … that has this content or is free. A
/// number repeats where a person put an older file back.
pub(super) fn name_of(path: &Path, id: &str, content: &[u8]) -> String {
    let folder = folder(path);
    let names = std::iter::once(id.to_owned()).chain((2_u32..).map(|count| format!("{id}-{count}")));
    let is_it = |name: &String| match read_file(&folder.join(format!("{name}.json"))) {
        Ok(found) => found == content,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    names.take(2 * MOST).find(is_it).unwrap_or_else(|| id.to_owned())
}

#[cfg(unix)]
fn only_for_owner(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))
}

/// Other systems have no such mode.
#[cfg(not(unix))]
fn only_for_owner(_: &Path) -> io::Result<()> {
    Ok(())
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
