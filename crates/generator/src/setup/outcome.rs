//! How a setup or an undo ended, and how that is printed.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use super::{files::Wanted, journal::Journal};
use crate::{
    failure::{Failure, FileError, causes},
    output::data,
};

/// One thing that setup changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Change {
    /// Such as `address 10.0.1.7/32 on ens6`.
    pub(crate) what: String,
    /// Such as `added`.
    pub(crate) how: String,
}

/// How a setup or an undo ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    pub(crate) changes: Vec<Change>,
    /// What was left as it is, and does not affect the host's promise.
    pub(crate) warnings: Vec<String>,
    /// What breaks the host's promise, and either failed to change or is not ours to change.
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    pub(super) fn changed(&mut self, what: impl Into<String>, how: impl Into<String>) {
        self.changes.push(Change { what: what.into(), how: how.into() });
    }

    /// Writes the file unless it is already as wanted; whether it wrote.
    pub(super) fn put(&mut self, wanted: &Wanted<'_>, journal: &mut Journal) -> Result<bool, FileError> {
        let written = journal.put(wanted)?;
        if written {
            self.changed(format!("`{}`", wanted.path.display()), "written");
        }
        Ok(written)
    }

    /// Records the failure of one step; the other steps still run.
    pub(super) fn take(&mut self, step: Result<(), Failure>) {
        if let Err(error) = step {
            self.problems.push(format!("{error}{}", causes(&*error)));
        }
    }

    /// Prints changes to stdout, warnings and problems to stderr.
    pub(super) fn print(&self, json: bool) -> Result<ExitCode, Failure> {
        if json {
            data(&serde_json::to_string_pretty(&self.changes)?)?;
        } else if self.changes.is_empty() {
            if self.problems.is_empty() {
                data("nothing to change")?;
            }
        } else {
            let lines: Vec<String> = self.changes.iter().map(|Change { what, how }| format!("{what}: {how}")).collect();
            data(&lines.join("\n"))?;
        }
        let mut stderr = io::stderr().lock();
        // Where stderr is closed, the exit code still reports the problems.
        for warning in &self.warnings {
            let _ = writeln!(stderr, "warning: {warning}");
        }
        for problem in &self.problems {
            let _ = writeln!(stderr, "error: {problem}");
        }
        Ok(if self.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
