//! Policies of a repository: `policies/*.rego` of the base, or of a folder that is named.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use trunnion_engine::preview::{Problem, Severity, Verdict};
use trunnion_policy::Policies;
use trunnion_stack::Revision as _;

use crate::Commit;

/// The folder of policies, from the root of the repository.
pub const FOLDER: &str = "policies";

/// The largest policy.
const LARGEST: u64 = 1 << 20;

/// The policies of a commit: the files that end in `.rego` in its folder [`FOLDER`], without those beneath it. Without such a folder,
/// there are none.
///
/// # Errors
/// A file that cannot be read, or is no valid policy.
pub fn of_commit(commit: &Commit) -> Result<Policies, Problem> {
    let is_one = |path: &PathBuf| path.parent() == Some(Path::new(FOLDER)) && is_policy(path);
    let read = |path: PathBuf| {
        let text = commit.read(&path, LARGEST).and_then(text);
        named(path.display().to_string(), text)
    };
    parsed(commit.paths().into_iter().filter(is_one).map(read))
}

/// The policies of a folder: the files in it that end in `.rego`.
///
/// # Errors
/// A folder without policies, a file that cannot be read, or one that is no valid policy.
pub fn of_folder(folder: &Path) -> Result<Policies, Problem> {
    let cannot = |error: io::Error| problem(format!("the policies in `{}` cannot be read: {error}", folder.display()));
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(cannot)?;
    let paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).filter(|path| is_policy(path)).collect();
    if paths.is_empty() {
        return Err(problem(format!("`{}` has no file that ends in `.rego`", folder.display())));
    }
    let read = |path: PathBuf| {
        let text = fs::read(&path).and_then(text);
        named(path.display().to_string(), text)
    };
    parsed(paths.into_iter().map(read))
}

fn is_policy(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "rego")
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

fn named(name: String, text: io::Result<String>) -> Result<(String, String), Problem> {
    match text {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(problem(format!("the policy `{name}` cannot be read: {error}"))),
    }
}

fn parsed(files: impl Iterator<Item = Result<(String, String), Problem>>) -> Result<Policies, Problem> {
    let files: Vec<(String, String)> = files.collect::<Result<_, _>>()?;
    Policies::parse(files).map_err(|error| Problem { message: error.to_string(), help: Some(error.help) })
}

fn problem(message: String) -> Problem {
    Problem { message, help: None }
}

/// What policies say of a plan document. Policies that cannot be evaluated forbid every plan: what they would say is not known.
pub(crate) fn verdicts(policies: &Result<Policies, Problem>, plan: &trunnion_engine::Document) -> Vec<Verdict> {
    let said = policies.as_ref().map_err(Clone::clone).and_then(|policies| {
        let unwritten = |error: serde_json::Error| problem(format!("the plan cannot be written as JSON: {error}"));
        let plan = serde_json::to_value(plan).map_err(unwritten)?;
        let failed =
            |error: trunnion_policy::PolicyError| Problem { message: error.to_string(), help: Some(error.help) };
        policies.verdicts(&plan).map_err(failed)
    });
    said.unwrap_or_else(|Problem { message, help }| {
        vec![Verdict { severity: Severity::Deny, code: "policy::invalid".to_owned(), message, help }]
    })
}
