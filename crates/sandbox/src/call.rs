//! One request as the services see it, and what they answer.

use jiff::Timestamp;
use trunnion_catalog::Partition;

use crate::query::Params;

/// A request after its signature, service and action were read.
#[derive(Debug)]
pub struct Call {
    /// The service of the credential scope: `ec2`, `iam`, `sts`, `ecs`, `ssm`, `logs`, `secretsmanager`.
    pub service: String,
    /// The region of the credential scope.
    pub region: String,
    /// `Action` of a query request, or what follows the dot of `X-Amz-Target`.
    pub action: String,
    /// What was sent.
    pub input: Input,
    /// When the call arrived; every state that takes a moment is worked out from it.
    pub now: Timestamp,
    /// The id of this request, which answers in XML repeat.
    pub request_id: String,
}

impl Call {
    /// How the ARNs of the call's region begin, such as `arn:aws-cn`.
    pub fn arn(&self) -> String {
        arn_of(&self.region)
    }

    /// The form parameters; none when the request is a JSON document.
    pub fn params(&self) -> Params<'_> {
        match &self.input {
            Input::Query(pairs) => Params::new(pairs),
            Input::Json(_) => Params::new(&[]),
        }
    }
}

/// How the ARNs of a region begin: `arn` and the region's partition.
pub fn arn_of(region: &str) -> String {
    format!("arn:{}", Partition::of(region).id)
}

/// The body of a request.
#[derive(Debug)]
pub enum Input {
    /// Form parameters of EC2, IAM and STS, in the order sent.
    Query(Vec<(String, String)>),
    /// The JSON document of ECS, SSM, Logs and Secrets Manager.
    Json(serde_json::Value),
}

/// The body of a successful answer.
#[derive(Debug)]
pub enum Reply {
    /// A whole XML document.
    Xml(String),
    /// A JSON document (`application/x-amz-json-1.1`).
    Json(serde_json::Value),
}

/// The code of the sandbox's own error: its data cannot be written.
pub const CANNOT_KEEP: &str = "SandboxCannotKeepItsData";

/// An error as AWS answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// HTTP status.
    pub status: u16,
    /// AWS's error code, such as `InvalidParameterValue`.
    pub code: String,
    /// AWS's text.
    pub message: String,
}

impl Fault {
    /// A client error (400) with AWS's code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: 400, code: code.into(), message: message.into() }
    }

    /// The data of the sandbox cannot be written, for want of room say. Not a 500, which clients try again and again.
    pub fn not_kept(error: &dyn std::error::Error) -> Self {
        let why = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::new(CANNOT_KEEP, format!("the sandbox cannot keep its data: {error}{why}")).with_status(507)
    }

    /// The same fault under another HTTP status (IAM answers 404 and 409).
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}
