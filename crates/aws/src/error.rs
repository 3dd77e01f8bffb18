//! Why a call failed: AWS's error codes as sets with names, and the sentence a person reads.
//!
//! A [`Failure`] comes out of every SDK call through [`Told::told`]. Its [`Class`] decides what the code does next
//! (retry, adopt, go on); [`Failure::about`] turns it into the engine's error. `error/sdk.rs` reads the SDK's errors,
//! `error/help.rs` knows the next steps where AWS's code or message says more than the class.

mod help;
mod sdk;
#[cfg(test)]
mod tests;

use std::{error::Error, sync::Arc};

use trunnion_engine::ProviderError;

pub(crate) use self::{
    help::{MFA, clock, is_about_mfa},
    sdk::Told,
};
pub(crate) use trunnion_engine::ErrorClass as Class;

/// A call that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// The call as IAM names it: `ec2:RunInstances`; empty where no call was made.
    pub operation: &'static str,
    /// What kind of failure it is.
    pub class: Class,
    /// AWS's code.
    pub code: String,
    /// AWS's message, or our own.
    pub message: String,
    /// The state that it leaves, said before the failure, and how that ends, said after it.
    pub leaves: Option<[&'static str; 2]>,
    /// What to do next, where we know better than the class does.
    pub help: Option<String>,
    /// What AWS's support finds the call by.
    pub request_id: Option<String>,
    /// The SDK's error.
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

/// Error codes that say "not there".
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
    "NoSuchTagSet",
    "NotFound",
    "ParameterNotFound",
    "ResourceNotFoundException",
    "ServerSideEncryptionConfigurationNotFoundError",
    "ServiceNotActiveException",
    "ServiceNotFoundException",
];

/// Error codes that say "there already".
const ALREADY_EXISTS: &[&str] = &[
    "BucketAlreadyOwnedByYou",
    "EntityAlreadyExists",
    "InvalidGroup.Duplicate",
    "InvalidLaunchTemplateName.AlreadyExistsException",
    "InvalidPermission.Duplicate",
    "ResourceAlreadyExistsException",
];

/// Error codes that say "slower".
const THROTTLED: &[&str] = &[
    "LimitExceededException.Throttling",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Error codes that say "something else needs it".
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

/// Error codes that say "none left at the moment".
const CAPACITY: &[&str] = &[
    "InsufficientAddressCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "SpotMaxPriceTooLow",
    "Unsupported",
];

/// ECS and CloudWatch Logs say so of a quota, and the SDK takes it for a refusal because of rates.
pub(crate) const LIMIT_EXCEEDED: &str = "LimitExceededException";

/// Error codes that say "the account may not have more".
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

/// Error codes that say "you may not".
const DENIED: &[&str] =
    &["AccessDenied", "AccessDeniedException", "Forbidden", "UnauthorizedAccess", "UnauthorizedOperation"];

/// Error codes that say "I do not know you".
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

/// Error codes that say "I knew you until lately".
const EXPIRED_CREDENTIALS: &[&str] = &["ExpiredToken", "ExpiredTokenException"];

/// Error codes of S3's conditional requests, and of two changes of one thing at a time.
const PRECONDITION: &[&str] = &[
    "ConcurrentModification",
    "ConcurrentTagAccess",
    "ConditionalRequestConflict",
    "OperationAborted",
    "PreconditionFailed",
];

/// What is gone already counts as deleted.
pub(crate) fn unless_gone<T>(deleted: Result<T, Failure>) -> Result<(), Failure> {
    match deleted {
        Err(failure) if failure.class != Class::NotFound => Err(failure),
        _ => Ok(()),
    }
}

/// The class of an error code. The message decides where AWS uses one code for many things.
pub(crate) fn classify(code: &str, message: &str) -> Class {
    let says = |part: &str| message.to_ascii_lowercase().contains(part);
    let of = |set: &[&str]| set.contains(&code);
    // EC2 writes what its authentication found as a suffix; the role of spot instances is a permission.
    if code == "AuthFailure.ServiceLinkedRoleCreationNotPermitted" {
        return Class::Denied;
    }
    // A new instance profile takes some seconds until EC2 accepts it, a new role until ECS can assume it.
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
        // `InvalidInstanceID.NotFound` has many relatives.
        () if code.ends_with(".NotFound") || code.ends_with(".NotFoundException") => Class::NotFound,
        () => Class::Other,
    }
}

impl Failure {
    /// A failure that no call answered with.
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

    /// A call that got no answer of AWS.
    pub fn of_call(operation: &'static str, class: Class, message: impl Into<String>) -> Self {
        Self { operation, class, ..Self::own(message, None) }
    }

    /// A wait that the person ended.
    pub fn interrupted(what: impl Into<String>) -> Self {
        Self { class: Class::Interrupted, ..Self::own(what, None) }
    }

    /// Something of that name is there and is not ours.
    pub fn foreign(what: &str, name: &str) -> Self {
        Self::own(
            format!("{what} `{name}` is there already and does not belong to this stack"),
            "choose another stack name, or remove it if nobody needs it".to_owned(),
        )
    }

    /// Whether it is of one of these classes.
    pub fn is(&self, classes: &[Class]) -> bool {
        classes.contains(&self.class)
    }

    /// The engine's error, naming what it is about: an address in backticks.
    pub fn about(self, subject: &str) -> ProviderError {
        let help = self.help.clone().or_else(|| help::of(&self));
        // AWS ends some of its messages with a full stop, and a sentence of ours may go on.
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
