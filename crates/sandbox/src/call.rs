//! A request as the services see it, and its answer.

use jiff::Timestamp;
use trunnion_catalog::Partition;

use crate::{authorize::Origin, query::Params};

/// A request whose signature, service and action have been read.
#[derive(Debug)]
pub(crate) struct Call {
    /// The service of the credential scope: `ec2`, `iam`, `sts`, `ecs`, `ssm`, `logs`, `secretsmanager`, `servicequotas`, `tagging`.
    pub service: String,
    /// The region of the credential scope.
    pub region: String,
    /// `Action` of a query request, or the part of `X-Amz-Target` after the dot.
    pub action: String,
    /// The body of the request.
    pub input: Input,
    /// When the call arrived. States that change with time are computed from it.
    pub now: Timestamp,
    /// The request id, which XML answers repeat.
    pub request_id: String,
    /// Who sent it, and from where.
    pub origin: Origin,
}

impl Call {
    /// The prefix of ARNs in the call's region, such as `arn:aws-cn`.
    pub fn arn(&self) -> String {
        arn_of(&self.region)
    }

    /// The form parameters; none if the request is a JSON document.
    pub fn params(&self) -> Params<'_> {
        match &self.input {
            Input::Query(pairs) => Params::new(pairs),
            Input::Json(_) => Params::new(&[]),
        }
    }
}

/// The prefix of ARNs in a region: `arn` and the region's partition.
pub fn arn_of(region: &str) -> String {
    format!("arn:{}", Partition::of(region).id)
}

/// The body of a request.
#[derive(Debug)]
pub enum Input {
    /// Form parameters of EC2, IAM and STS, sorted by their names ([`Input::query`]).
    Query(Vec<(String, String)>),
    /// The JSON document of ECS, SSM, Logs, Secrets Manager, Service Quotas and the Tagging API.
    Json(serde_json::Value),
}

impl Input {
    /// Form parameters; those with the same name keep their order.
    pub fn query(mut pairs: Vec<(String, String)>) -> Self {
        pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self::Query(pairs)
    }
}

/// The body of a successful answer.
#[derive(Debug)]
pub enum Reply {
    /// A complete XML document.
    Xml(String),
    /// A JSON document (`application/x-amz-json-1.1`).
    Json(serde_json::Value),
}

/// The error code of the sandbox itself if it cannot write its data.
pub const CANNOT_KEEP: &str = "SandboxCannotKeepItsData";

/// An error in AWS's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// HTTP status.
    pub status: u16,
    /// AWS's error code, such as `InvalidParameterValue`.
    pub code: String,
    /// AWS's message.
    pub message: String,
}

impl Fault {
    /// A client error (400) with AWS's code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: 400, code: code.into(), message: message.into() }
    }

    /// The sandbox cannot write its data, for example because the disk is full. The status is not 500, because clients
    /// retry that many times.
    pub fn not_kept(error: &dyn std::error::Error) -> Self {
        let why = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::new(CANNOT_KEEP, format!("the sandbox cannot keep its data: {error}{why}")).with_status(507)
    }

    /// The same error with another HTTP status (IAM uses 404 and 409).
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}
