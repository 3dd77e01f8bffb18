//! Reads a transcript of `trunnion --transcript` (`crates/aws/src/transcript.rs` writes it).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Failure;

/// The format that is read.
const FORMAT: &str = "trunnion-transcript/";
const MAJOR: &str = "1";

/// The longest line, in bytes. A body in it has 4 MiB at most, before JSON's escapes.
const LONGEST: usize = 32 * 1024 * 1024;

/// The first line of a section.
#[derive(Deserialize)]
struct Header {
    format: String,
}

/// One attempt of a call.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Call {
    /// `service:Operation`.
    pub operation: String,
    pub region: String,
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: BTreeMap<String, String>,
    pub request: Body,
    /// The status of the answer; none if there was none.
    pub status: Option<u16>,
    #[serde(default)]
    pub answer_headers: BTreeMap<String, String>,
    pub answer: Option<Body>,
    pub failure: Option<String>,
    pub latency_ms: f64,
    /// The line in the file, counted from one.
    #[serde(skip)]
    pub line: usize,
}

/// A body without what must not be written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Body {
    Empty,
    Form(Vec<(String, String)>),
    Json(Value),
    Text(String),
    Content { length: u64 },
}

impl Call {
    /// The service, as signatures spell it.
    pub fn service(&self) -> &str {
        self.operation.split(':').next().unwrap_or_default()
    }

    /// Whether the operation only reads, by its name.
    pub fn is_read(&self) -> bool {
        let name = self.operation.split(':').nth(1).unwrap_or_default();
        ["Describe", "Get", "List", "Head"].iter().any(|verb| name.starts_with(verb))
    }

    /// Whether the operation takes something away, by its name.
    pub fn is_deletion(&self) -> bool {
        let name = self.operation.split(':').nth(1).unwrap_or_default();
        ["Delete", "Deregister", "Disassociate", "Release", "Remove", "Revoke", "Terminate", "Untag"]
            .iter()
            .any(|verb| name.starts_with(verb))
    }

    /// Whether AWS answered that it did what was asked for.
    pub fn is_success(&self) -> bool {
        self.failure.is_none() && self.status.is_some_and(|status| status < 300)
    }

    /// Whether two calls ask for the same.
    pub fn is_same_request(&self, other: &Self) -> bool {
        self.operation == other.operation
            && self.path == other.path
            && self.query == other.query
            && self.request == other.request
    }
}

/// All calls, in the order of the file.
pub(crate) fn read(path: &Path) -> Result<Vec<Call>, Failure> {
    read_from(path, 0)
}

/// The calls from a position on, where a section begins.
pub(crate) fn read_from(path: &Path, position: u64) -> Result<Vec<Call>, Failure> {
    let shown = path.display();
    let failed = |error| format!("`{shown}` cannot be read: {error}");
    let mut file = File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(position)).map_err(failed)?;
    let mut reader = BufReader::new(file);
    let mut calls = Vec::new();
    let mut has_header = false;
    for number in 1.. {
        let mut bytes = Vec::new();
        std::io::Read::take(&mut reader, LONGEST as u64 + 1).read_until(b'\n', &mut bytes).map_err(failed)?;
        if bytes.is_empty() {
            break;
        }
        let wrong = |why: &dyn std::fmt::Display| format!("line {number} of `{shown}` {why}");
        if bytes.len() > LONGEST {
            return Err(wrong(&format_args!("is longer than {LONGEST} bytes")).into());
        }
        if !bytes.ends_with(b"\n") {
            return Err(wrong(&"is cut off: the run that wrote it was killed, or the disk was full").into());
        }
        if let Ok(Header { format }) = serde_json::from_slice(&bytes) {
            let version = format.strip_prefix(FORMAT).map(|version| version.split('.').next().unwrap_or_default());
            if version != Some(MAJOR) {
                return Err(wrong(&format_args!(
                    "has the format `{format}`, but this version reads `{FORMAT}{MAJOR}`"
                ))
                .into());
            }
            has_header = true;
            continue;
        }
        if !has_header {
            return Err(wrong(&"does not start a transcript: write one with `trunnion apply --transcript FILE`").into());
        }
        let call =
            serde_json::from_slice::<Call>(&bytes).map_err(|error| wrong(&format_args!("is no call: {error}")))?;
        calls.push(Call { line: number, ..call });
    }
    if calls.is_empty() {
        return Err(format!("`{shown}` has no calls").into());
    }
    Ok(calls)
}
