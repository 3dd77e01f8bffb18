//! Policy documents: read strictly, and evaluated as IAM does.

mod check;
mod condition;
pub(crate) mod context;
mod document;
mod evaluate;
mod pattern;
#[cfg(test)]
mod tests;

pub(crate) use check::malformed_bucket_policy;
pub(super) use check::{check_identity, check_principals, check_trust};
pub(crate) use context::{Context, Values};
pub(crate) use document::Policy;
pub(crate) use evaluate::{Basis, Caller, Decision, Denial, Named, Policies, Request, evaluate};

/// The version of the policy language. 2008-10-17 has no variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V2008,
    V2012,
}

/// What the evaluator does not know, so that it gives no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    /// A condition key of which the sandbox does not know whether AWS would set it.
    #[error("the sandbox does not know the condition key `{0}` of this request")]
    Key(String),
    /// A key with several values in an operator for single values; AWS does not say what it does.
    #[error("the condition key `{0}` has several values, so its operator needs `ForAllValues:` or `ForAnyValue:`")]
    Several(String),
    /// A policy that cannot be read.
    #[error("the policy `{policy}` cannot be evaluated: {reason}")]
    Policy {
        /// Its name or ARN.
        policy: String,
        /// Why not.
        reason: String,
    },
}
