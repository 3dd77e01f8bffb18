//! Why a call failed: AWS's error codes in named groups, and the sentence a person reads.
//!
//! [`OfCall::of_call`] turns the error of every SDK call into a [`Failure`]. The failure's [`Class`] decides what the
//! code does next (retry, adopt, continue); [`Failure::about`] turns it into the engine's error. `error/sdk.rs` reads
//! the SDK's errors; `error/help.rs` has the next steps for cases where AWS's code or message says more than the class.

mod denial;
mod help;
mod sdk;
#[cfg(test)]
mod tests;

use std::{error::Error, sync::Arc};

use trunnion_engine::ProviderError;

pub(crate) use self::{
    denial::{Denial, by_boundary, by_organization},
    help::{MFA, clock, is_about_mfa},
    sdk::OfCall,
};
pub(crate) use trunnion_engine::ErrorClass as Class;

/// A call that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// The IAM action name of the call, such as `ec2:RunInstances`; empty if no call was made.
    pub operation: &'static str,
    /// What kind of failure it is.
    pub class: Class,
    /// AWS's error code.
    pub code: String,
    /// AWS's message, or our own.
    pub message: String,
    /// What is left behind: a text before the message that names the resulting state, and one after it that says how it
    /// ends.
    pub leaves: Option<[&'static str; 2]>,
    /// The next step, if it is more specific than that of the class.
    pub help: Option<String>,
    /// The id by which AWS's support finds the call.
    pub request_id: Option<String>,
    /// The SDK's error.
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

/// Error codes for a resource that does not exist.
const NOT_FOUND: &[&str] = &[
    "ClusterNotFoundException",
    "InvalidAMIID.NotFound",
    "InvalidAMIID.Unavailable",
    "InvalidGroup.NotFound",
    "InvalidGroupId.NotFound",
    "InvalidInstanceID.NotFound",
    "InvalidLaunchTemplateId.NotFound",
    "InvalidLaunchTemplateId.NotFoundException",
    "InvalidLaunchTemplateId.VersionNotFound",
    "InvalidLaunchTemplateName.NotFoundException",
    "InvalidPermission.NotFound",
    "InvalidSubnetID.NotFound",
    "InvalidVpcID.NotFound",
    "NoSuchBucket",
    "NoSuchBucketPolicy",
    "NoSuchEntity",
    "NoSuchKey",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchResourceException",
    "NoSuchTagSet",
    "NotFound",
    "ParameterNotFound",
    "ResourceNotFoundException",
    "ServerSideEncryptionConfigurationNotFoundError",
    "ServiceNotActiveException",
    "ServiceNotFoundException",
];

/// Error codes for a resource that already exists.
const ALREADY_EXISTS: &[&str] = &[
    "BucketAlreadyOwnedByYou",
    "EntityAlreadyExists",
    "InvalidGroup.Duplicate",
    "InvalidLaunchTemplateName.AlreadyExistsException",
    "InvalidPermission.Duplicate",
    "ResourceAlreadyExistsException",
];

/// Error codes for too many requests.
const THROTTLED: &[&str] = &[
    "LimitExceededException.Throttling",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Error codes for a resource that another one still uses.
const IN_USE: &[&str] = &[
    "BucketNotEmpty",
    "ClusterContainsServicesException",
    "ClusterContainsTasksException",
    "DeleteConflict",
    "DependencyViolation",
    "InvalidGroup.InUse",
    "InvalidIPAddress.InUse",
    "OperationAbortedException",
    "ResourceInUseException",
    "UpdateInProgressException",
];

/// Error codes for a lack of capacity at AWS.
const CAPACITY: &[&str] = &[
    "InsufficientAddressCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "SpotMaxPriceTooLow",
    "Unsupported",
];

/// ECS and CloudWatch Logs use this code for a quota, but the SDK treats it as throttling.
pub(crate) const LIMIT_EXCEEDED: &str = "LimitExceededException";

/// Error codes for an exhausted quota of the account.
const QUOTA: &[&str] = &[
    "AddressLimitExceeded",
    "InstanceLimitExceeded",
    LIMIT_EXCEEDED,
    "LimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "NetworkInterfaceLimitExceeded",
    "RulesPerSecurityGroupLimitExceeded",
    "SecurityGroupLimitExceeded",
    "SecurityGroupsPerInterfaceLimitExceeded",
    "ServiceQuotaExceededException",
    "TooManyBuckets",
    "VcpuLimitExceeded",
    "VolumeLimitExceeded",
];

/// Error codes for a missing permission.
const DENIED: &[&str] =
    &["AccessDenied", "AccessDeniedException", "Forbidden", "UnauthorizedAccess", "UnauthorizedOperation"];

/// Error codes for unknown or invalid credentials.
const CREDENTIALS: &[&str] = &[
    "AuthFailure",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "OptInRequired",
    "RegionDisabledException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Error codes for expired credentials.
const EXPIRED_CREDENTIALS: &[&str] = &["ExpiredToken", "ExpiredTokenException"];

/// Error codes of S3's conditional requests, and of concurrent changes of the same resource.
const PRECONDITION: &[&str] = &[
    "ConcurrentModification",
    "ConcurrentTagAccess",
    "ConditionalRequestConflict",
    "OperationAborted",
    "PreconditionFailed",
];

/// Whether it is not known if AWS executed a call that failed in this way: no answer came, or an error inside the service.
pub(crate) fn is_unknown_end(failure: &Failure) -> bool {
    const INSIDE: [&str; 6] =
        ["InternalError", "InternalFailure", "ServerException", "ServiceUnavailable", "Unavailable", "Unknown"];
    failure.class == Class::Unreachable
        || (failure.class == Class::Other && (failure.code.is_empty() || INSIDE.contains(&failure.code.as_str())))
}

/// Turns "not found" into success: a resource that does not exist counts as deleted.
pub(crate) fn unless_gone<T>(deleted: Result<T, Failure>) -> Result<(), Failure> {
    match deleted {
        Err(failure) if failure.class != Class::NotFound => Err(failure),
        _ => Ok(()),
    }
}

/// The class of an error code. The message decides if AWS uses one code for several causes.
pub(crate) fn classify(code: &str, message: &str) -> Class {
    let says = |part: &str| message.to_ascii_lowercase().contains(part);
    let of = |set: &[&str]| set.contains(&code);
    // EC2 appends the cause to `AuthFailure`. This one is about a missing permission, that to create the role of spot
    // instances.
    if code == "AuthFailure.ServiceLinkedRoleCreationNotPermitted" {
        return Class::Denied;
    }
    // EC2 accepts a new instance profile only after some seconds; the same is true of ECS and a new role.
    if code == "InvalidParameterValue" && (says("iaminstanceprofile") || says("iam instance profile")) {
        return Class::Lag;
    }
    if matches!(code, "ClientException" | "InvalidParameterException")
        && (says("unable to assume") || says("role is not valid") || says("service linked role"))
    {
        return Class::Lag;
    }
    match () {
        () if of(NOT_FOUND) => Class::NotFound,
        () if of(ALREADY_EXISTS) => Class::AlreadyExists,
        () if of(THROTTLED) => Class::Throttled,
        () if of(IN_USE) => Class::InUse,
        () if of(CAPACITY) => Class::Capacity,
        () if of(QUOTA) => Class::Quota,
        () if of(DENIED) => Class::Denied,
        () if of(CREDENTIALS) => Class::Credentials,
        () if of(EXPIRED_CREDENTIALS) => Class::ExpiredCredentials,
        () if of(PRECONDITION) => Class::Precondition,
        // Many EC2 codes have this form, such as `InvalidInstanceID.NotFound`.
        () if code.ends_with(".NotFound") || code.ends_with(".NotFoundException") => Class::NotFound,
        () => Class::Other,
    }
}

impl Failure {
    /// A failure that did not come from a call.
    pub fn own(message: impl Into<String>, help: impl Into<Option<String>>) -> Self {
        Self {
            operation: "",
            class: Class::Other,
            code: String::new(),
            message: message.into(),
            leaves: None,
            help: help.into(),
            request_id: None,
            source: None,
        }
    }

    /// A call without an answer from AWS.
    pub fn of_call(operation: &'static str, class: Class, message: impl Into<String>) -> Self {
        Self { operation, class, ..Self::own(message, None) }
    }

    /// A wait that the user interrupted.
    pub fn interrupted(what: impl Into<String>) -> Self {
        Self { class: Class::Interrupted, ..Self::own(what, None) }
    }

    /// A resource with that name already exists and belongs to somebody else.
    pub fn foreign(what: &str, name: &str) -> Self {
        Self::own(
            format!("{what} `{name}` already exists and does not belong to this stack"),
            "choose another stack name, or delete it if nobody needs it".to_owned(),
        )
    }

    /// Whether it is of one of these classes.
    pub fn is(&self, classes: &[Class]) -> bool {
        classes.contains(&self.class)
    }

    /// The engine's error about a subject, which is an address in backticks.
    pub fn about(self, subject: &str) -> ProviderError {
        let help = self.help.clone().or_else(|| help::of(&self));
        // Some of AWS's messages end with a full stop, but our sentence may continue.
        let message = self.message.trim_end_matches('.');
        let said = if self.code.is_empty() { message.to_owned() } else { format!("{}: {message}", self.code) };
        let message = match (self.operation, subject) {
            ("", "") => said,
            ("", subject) => format!("{subject}: {said}"),
            (operation, "") => format!("`{operation}` failed: {said}"),
            (operation, subject) => format!("`{operation}` for {subject} failed: {said}"),
        };
        let message = match self.leaves {
            Some([state, end]) => format!("{state}: {message}; {end}"),
            None => message,
        };
        let mut error = ProviderError::new(message, help).with_class(self.class);
        if !self.operation.is_empty() {
            error = error.with_operation(self.operation);
        }
        if !self.code.is_empty() {
            error = error.with_code(self.code);
        }
        error.request_id = self.request_id;
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}
