//! Finds the stack file of a command: from its argument, or from a plan document. Without either, the error suggests
//! stack files near the working directory.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Component, Path, PathBuf},
};

use trunnion::{LoadOptions, Stack};

use super::{
    arguments::{DEFAULT_STACK, Reading},
    failure::Failure,
    quoted,
};

/// The limits of the search for stack files below the working directory: the depth, the entries read, and the files named.
const DEPTH: usize = 3;
const ENTRIES: usize = 2_000;
const NAMED: usize = 8;

/// Reads a stack. `verb` is the command's name, for the suggestion of other stack files.
pub(crate) fn load(path: &Path, reading: &Reading, verb: &str) -> Result<Stack, Failure> {
    exists(path, verb)?;
    Ok(Stack::load(path, reading.env.as_deref(), &options(&reading.allow_file))?)
}

/// What this process knows, and the files that its command line allows.
pub(crate) fn options(allowed: &[PathBuf]) -> LoadOptions {
    let options = LoadOptions::of_this_process().with_allowed_files(allowed.iter().cloned());
    match std::env::current_exe() {
        Ok(program) => options.with_template_program(program),
        Err(_) => options,
    }
}

/// Whether a file is a plan document: its name ends in .json, or its content starts like one.
pub(crate) fn is_plan(path: &Path) -> bool {
    let begins = || {
        let mut text = String::new();
        let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        let file = fs::File::open(path).ok().filter(|_| is_file)?;
        file.take(100).read_to_string(&mut text).ok()?;
        let first_key = text.trim_start().strip_prefix('{')?.trim_start().strip_prefix("\"format\"")?;
        first_key.trim_start().starts_with(':').then_some(())
    };
    path.extension().is_some_and(|extension| extension == "json") || begins().is_some()
}

/// Fails if no stack file was given and there is no `stack.yaml`. The help suggests stack files in the folders below.
pub(crate) fn exists(path: &Path, verb: &str) -> Result<(), Failure> {
    if path != Path::new(DEFAULT_STACK) || fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let mut found = Vec::new();
    let mut budget = ENTRIES;
    look_below(Path::new(""), DEPTH, &mut budget, &mut found);
    found.sort_by_key(|path| (path.components().count(), path.clone()));
    let typed: Vec<String> =
        found.iter().take(NAMED).map(|path| format!("`trunnion {verb} {}`", quoted(path))).collect();
    let more = if found.len() > NAMED { format!(", or one of {} more", found.len() - NAMED) } else { String::new() };
    let help = match typed.as_slice() {
        [] => format!("name the stack file by its path: `trunnion {verb} FILE`"),
        [only] => format!("type {only}"),
        several => format!("type {}{more}", several.join(", or ")),
    };
    let message = format!("no stack file was given, and this folder has no `{DEFAULT_STACK}`");
    Err(Failure::with_help("stack::file", message, help))
}

/// Collects the stack files in a folder and the folders below it.
fn look_below(folder: &Path, depth: usize, budget: &mut usize, found: &mut Vec<PathBuf>) {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut entries: Vec<_> = fs::read_dir(here).into_iter().flatten().flatten().take(*budget).collect();
    *budget -= entries.len();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let is_hidden = name.to_string_lossy().starts_with('.') || name == "target" || name == "node_modules";
        let path = folder.join(&name);
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 1 && !is_hidden => look_below(&path, depth - 1, budget, found),
            Ok(kind) if kind.is_file() && is_stack(&path) => found.push(path),
            _ => {}
        }
    }
}

/// Whether a YAML file has a top-level key `stack` in its first 64 KiB.
fn is_stack(path: &Path) -> bool {
    const BEGINNING: u64 = 64 * 1024;
    let is_yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    let Some(file) = fs::File::open(path).ok().filter(|_| is_yaml) else { return false };
    let lines = BufReader::new(file.take(BEGINNING)).lines().map_while(Result::ok);
    let mut is_stack = false;
    for line in lines {
        is_stack |= line.trim_start_matches('\u{feff}').starts_with("stack:");
    }
    is_stack
}

/// The path of a stack file relative to the folder of the plan document `plan`.
pub(crate) fn named_from(plan: &Path, stack: &Path) -> PathBuf {
    let (Some(folder), Some(stack_folder), Some(name)) = (whole(plan), whole(stack), stack.file_name()) else {
        return stack.to_owned();
    };
    let shared = folder.components().zip(stack_folder.components()).take_while(|(one, other)| one == other).count();
    if shared == 0 {
        return stack_folder.join(name);
    }
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(stack_folder.components().skip(shared)).collect::<PathBuf>().join(name)
}

/// The absolute path of a file's folder. A link in place of the file itself is not followed.
fn whole(file: &Path) -> Option<PathBuf> {
    fs::canonicalize(folder_of(file)).ok()
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Finds the stack file of a plan document. First it tries the document's path, relative to the document's folder. If
/// the document was moved, it tries the last components of that path in this folder and in the working directory. The
/// file's content is compared with the document later.
pub(crate) fn of_plan(plan: &Path, named: &str) -> Result<PathBuf, Failure> {
    let folder = plan.parent().unwrap_or(Path::new(""));
    let named = Path::new(named);
    let parts: Vec<_> = named.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let ends = (0..parts.len()).map(|first| parts.iter().skip(first).collect::<PathBuf>());
    let seen_from_folder = ends.clone().map(|end| folder.join(end));
    let candidates = [folder.join(named), named.to_owned()].into_iter().chain(seen_from_folder).chain(ends);
    let mut candidates = candidates.filter(|path| path.is_file());
    candidates.next().ok_or_else(|| {
        let message = format!(
            "the stack file of `{}` was not found at `{}`, relative to the plan",
            plan.display(),
            trunnion::plain(&named.display().to_string())
        );
        Failure::with_help("plan::stack", message, "name the stack file with `--stack FILE`")
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and writes its own files")]
mod tests {
    use super::*;

    #[test]
    fn a_plan_finds_its_stack_file_by_the_relative_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("infra/plans")).unwrap();
        fs::write(at("infra/s.yaml"), "stack: s\n").unwrap();
        assert_eq!(named_from(&at("infra/p.json"), &at("infra/s.yaml")), Path::new("s.yaml"));
        assert_eq!(named_from(&at("infra/plans/p.json"), &at("infra/s.yaml")), Path::new("../s.yaml"));
        assert_eq!(named_from(&at("p.json"), &at("infra/s.yaml")), Path::new("infra/s.yaml"));
        for (plan, named) in [
            ("infra/p.json", "s.yaml"),
            ("infra/plans/p.json", "../s.yaml"),
            ("infra/p.json", "/another/workspace/infra/s.yaml"),
            ("p.json", "/another/workspace/infra/s.yaml"),
        ] {
            let found = of_plan(&at(plan), named).ok().unwrap();
            assert_eq!(fs::canonicalize(found).unwrap(), fs::canonicalize(at("infra/s.yaml")).unwrap(), "{plan}");
        }
        assert!(of_plan(&at("infra/p.json"), "t.yaml").is_err());
    }
}
