//! Verdicts on requests that somebody else wrote down, as `/_sandbox/evaluate` gives them.

use serde::Deserialize;

use super::record::shown;
use crate::iam::policy::{Caller, Context, Policies, Request, evaluate};

/// A request with all that its verdict depends on, as a line of the record has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    action: String,
    resource: String,
    caller: Caller,
    policies: Policies,
    context: Context,
}

/// The verdict on each request, in the form of the record.
pub(crate) fn verdicts(requests: &[Written]) -> Vec<serde_json::Value> {
    let verdict = |written: &Written| {
        let Written { action, resource, caller, policies, context } = written;
        shown(&evaluate(&Request { caller, action, resource, context }, policies))
    };
    requests.iter().map(verdict).collect()
}
