//! The record of verdicts: one JSON document per line, for judges outside.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;
use serde_json::json;

use super::{Asking, Need};
use crate::iam::policy::{Caller, Context, Decision, Policies, Unknown};

/// Writes verdicts to a file, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    file: Option<Mutex<File>>,
}

/// One verdict with all it depends on.
#[derive(Serialize)]
struct Line<'l> {
    /// The call, such as `ec2:RunInstances`.
    call: String,
    action: &'l str,
    kind: &'l str,
    resource: &'l str,
    caller: &'l Caller,
    policies: &'l Policies,
    context: &'l Context,
    verdict: serde_json::Value,
}

impl Recorder {
    /// Writes to a new file.
    #[expect(clippy::disallowed_methods, reason = "the record is a file that the caller names")]
    pub(crate) fn to(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Some(Mutex::new(File::create(path)?)) })
    }

    /// Whether verdicts are recorded.
    pub(crate) fn is_on(&self) -> bool {
        self.file.is_some()
    }

    /// Writes a verdict.
    pub(super) fn write(
        &self,
        asking: &Asking<'_>,
        need: &Need,
        policies: &Policies,
        context: &Context,
        verdict: &Result<Decision, Unknown>,
    ) {
        let Some(file) = &self.file else { return };
        let line = Line {
            call: format!("{}:{}", asking.service, asking.call),
            action: need.action,
            kind: need.target.kind,
            resource: &need.target.arn,
            caller: &asking.identity.caller,
            policies,
            context,
            verdict: shown(verdict),
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_string(&line).map_err(io::Error::other);
        if let Err(error) = text.and_then(|text| writeln!(file, "{text}")) {
            tracing::error!(%error, "a verdict cannot be recorded");
        }
    }
}

/// A verdict as JSON: `allowed`, `denied` or `unknown` with what decided.
pub(super) fn shown(verdict: &Result<Decision, Unknown>) -> serde_json::Value {
    match verdict {
        Ok(decision) => json!(decision),
        Err(unknown) => json!({ "unknown": unknown.to_string() }),
    }
}
