//! The outputs and the summary of a step of GitHub Actions.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::environment::Lookup;

/// The most bytes of a step's summary.
///
/// GitHub's documentation (2026-11) says 1 MiB, but GitHub silently drops summaries that are a few bytes shorter (issue 4337
/// of `actions/runner`), so 1 KiB is left free.
pub const LONGEST_SUMMARY: u64 = 1024 * 1024 - 1024;

/// The most bytes of one output. GitHub's documentation (2026-11) says that the outputs of a job have 1 MB at most,
/// counted as UTF-16.
pub const LONGEST_OUTPUT: usize = 1_000_000;

/// The files in which a step of GitHub Actions leaves its outputs and its summary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    output: Option<PathBuf>,
    summary: Option<PathBuf>,
}

/// Why an output or a summary was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The variable with the path of the file is not set.
    #[error("`{variable}` is not set, so there is no file for it")]
    Missing {
        /// Its name.
        variable: &'static str,
    },
    /// The name of an output has other characters than GitHub allows.
    #[error(
        "`{name}` is not the name of an output: it starts with a letter or `_`, and has letters, digits, `-` and `_`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The text does not fit.
    #[error("the {what} has {bytes} bytes, but GitHub allows {most}")]
    TooLong {
        /// The summary or the output.
        what: String,
        /// The bytes that it would have, with what earlier commands of the step wrote.
        bytes: u64,
        /// The highest number.
        most: u64,
    },
    /// The file cannot be written.
    #[error("the file of `{variable}` cannot be written: {error}")]
    File {
        /// The variable with its path.
        variable: &'static str,
        /// The cause.
        #[source]
        error: io::Error,
    },
}

const OUTPUT: &str = "GITHUB_OUTPUT";
const SUMMARY: &str = "GITHUB_STEP_SUMMARY";

impl OutputError {
    /// The next step.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Missing { .. } => "run it in a step of GitHub Actions",
            Self::TooLong { .. } => "preview fewer stacks, or upload the text as an artifact",
            Self::Name { .. } | Self::File { .. } => return None,
        };
        Some(text.to_owned())
    }
}

impl Outputs {
    /// The files that the environment names.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let lookup = Lookup(lookup);
        let path = |name| lookup.get(name).map(PathBuf::from);
        Self { output: path(OUTPUT), summary: path(SUMMARY) }
    }

    /// Whether the environment names a file for outputs.
    pub fn has_outputs(&self) -> bool {
        self.output.is_some()
    }

    /// Whether the environment names a file for the summary.
    pub fn has_summary(&self) -> bool {
        self.summary.is_some()
    }

    /// Adds outputs to the step, all or none of them. A value can be any text.
    pub fn set(&self, outputs: &[(&str, &str)]) -> Result<(), OutputError> {
        let path = self.output.as_deref().ok_or(OutputError::Missing { variable: OUTPUT })?;
        let mut text = String::new();
        for (name, value) in outputs {
            if !is_name(name) {
                return Err(OutputError::Name { name: (*name).to_owned() });
            }
            let bytes = value.encode_utf16().count().saturating_mul(2);
            if bytes > LONGEST_OUTPUT {
                let (bytes, most) = (bytes as u64, LONGEST_OUTPUT as u64);
                return Err(OutputError::TooLong { what: format!("output `{name}`"), bytes, most });
            }
            text.push_str(&assignment(name, value));
        }
        append(path, &text, None).map_err(|error| error.of(OUTPUT))
    }

    /// Adds Markdown to the step's summary. The summary also has what earlier commands of the step wrote.
    pub fn summarize(&self, markdown: &str) -> Result<(), OutputError> {
        let path = self.summary.as_deref().ok_or(OutputError::Missing { variable: SUMMARY })?;
        let mut text = markdown.to_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        append(path, &text, Some(LONGEST_SUMMARY)).map_err(|error| error.of(SUMMARY))
    }
}

enum Failed {
    Io(io::Error),
    TooLong(u64),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failed {
    fn of(self, variable: &'static str) -> OutputError {
        match self {
            Self::Io(error) => OutputError::File { variable, error },
            Self::TooLong(bytes) => {
                OutputError::TooLong { what: "step's summary".to_owned(), bytes, most: LONGEST_SUMMARY }
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|character| character.is_ascii_alphanumeric() || "-_".contains(character))
}

/// One output. The runner ends a value of several lines at the line that equals the word after `<<`: nobody can guess it.
fn assignment(name: &str, value: &str) -> String {
    if !value.contains(['\n', '\r']) {
        return format!("{name}={value}\n");
    }
    loop {
        let end = format!("end_{}", Uuid::new_v4().simple());
        if !value.contains(&end) {
            return format!("{name}<<{end}\n{value}\n{end}\n");
        }
    }
}

/// Appends to a file with one write, on a new line.
fn append(path: &Path, text: &str, most: Option<u64>) -> Result<(), Failed> {
    let mut file: File = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let text = if last == *b"\n" { text.to_owned() } else { format!("\n{text}") };
    let total = length.saturating_add(text.len() as u64);
    if most.is_some_and(|most| total > most) {
        return Err(Failed::TooLong(total));
    }
    file.write_all(text.as_bytes())?;
    Ok(())
}
