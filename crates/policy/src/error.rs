//! Why policies cannot be evaluated.

use regorus::LimitError;

use crate::steps;

/// The next step where a policy is not valid Rego.
pub(crate) const SYNTAX: &str =
    "policies are written in Rego version 1; `opa check --strict FILE` finds such mistakes, too";

/// A policy that is wrong: nothing is known of the plan then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}", line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct PolicyError {
    /// The name of the file.
    pub file: String,
    /// The line, counted from 1, where it is known.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub help: String,
}

impl PolicyError {
    /// An error of the evaluation.
    pub(crate) fn evaluated(
        error: &(impl std::ops::Deref<Target = dyn std::error::Error + Send + Sync> + ToString),
        file: &str,
    ) -> Self {
        if matches!(error.downcast_ref::<LimitError>(), Some(LimitError::TimeLimitExceeded { .. })) {
            return Self {
                file: file.to_owned(),
                line: None,
                message: format!("the policy takes more than {} steps", steps::AT_MOST),
                help: "look for loops over the same list within each other".into(),
            };
        }
        Self::located(
            &error.to_string(),
            file,
            "`opa eval --strict-builtin-errors` with the same plan helps to find the cause",
        )
    }

    /// An error of the evaluator, whose text holds the place: `--> FILE:LINE:COLUMN`, the line, and `error: MESSAGE`.
    pub(crate) fn located(text: &str, file: &str, help: &str) -> Self {
        let place = text.split_once("--> ").and_then(|(_, rest)| {
            let mut parts = rest.lines().next()?.rsplitn(3, ':');
            let (_column, line, file) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
            Some((file.to_owned(), line))
        });
        let message = text.split_once("\nerror: ").map_or(text, |(_, message)| message);
        let (file, line) = place.map_or_else(|| (file.to_owned(), None), |(file, line)| (file, Some(line)));
        // What follows is the place of each rule that takes part.
        let message = message.split("\n--> ").next().unwrap_or(message).trim().to_owned();
        Self { file, line, message, help: help.to_owned() }
    }
}
