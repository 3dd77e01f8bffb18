//! What the examination of an account found: one finding for each subject, in a stable order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether an account has what a stack needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The account has it.
    Ok,
    /// The account does not have it.
    Missing,
    /// It cannot be seen. The finding says what would show it.
    Unknown,
}

/// One subject of an examination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What was examined, such as `iam:PassRole` or `secret.token`.
    pub subject: String,
    /// The result.
    pub verdict: Verdict,
    /// One sentence on the result.
    pub detail: String,
    /// The next step, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Finding {
    /// The account has it.
    pub fn ok(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { subject: subject.into(), verdict: Verdict::Ok, detail: detail.into(), help: None }
    }

    /// The account does not have it.
    pub fn missing(subject: impl Into<String>, detail: impl Into<String>, help: Option<String>) -> Self {
        Self { subject: subject.into(), verdict: Verdict::Missing, detail: detail.into(), help }
    }

    /// It cannot be seen.
    pub fn unknown(subject: impl Into<String>, detail: impl Into<String>, help: Option<String>) -> Self {
        Self { subject: subject.into(), verdict: Verdict::Unknown, detail: detail.into(), help }
    }
}

/// The examination of an account for a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Trunnion examination")]
pub struct Examination {
    /// Version of the format.
    #[schemars(extend("pattern" = r"^1\.[0-9]+$"))]
    pub format: crate::Format,
    /// The stack's name.
    pub stack: String,
    /// The account, the region and the endpoint, such as `aws/123456789012/eu-west-3`.
    pub place: String,
    /// Every finding.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// How many findings have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// The JSON Schema of the document.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}
