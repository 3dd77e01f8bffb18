//! The result of one check.

use serde::Serialize;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Ok,
    Warning,
    Failed,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) state: State,
    pub(crate) message: String,
    /// One line for each thing that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) details: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

impl Check {
    pub(super) fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, state: State::Ok, message: message.into(), details: Vec::new(), help: None }
    }

    pub(super) fn warning(name: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { state: State::Warning, help: Some(help.into()), ..Self::ok(name, message) }
    }

    pub(super) fn failed(name: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { state: State::Failed, help: Some(help.into()), ..Self::ok(name, message) }
    }

    pub(super) fn with(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }
}
