//! Why a call failed: AWS's error codes as sets with names, and the sentence a person reads.
//!
//! A [`Failure`] comes out of every SDK call through [`Told::told`]. Its [`Class`] decides what the code does next
//! (retry, adopt, go on); [`Failure::about`] turns it into the engine's error.

use std::error::Error as StdError;

use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use trunnion_engine::ProviderError;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It is not there.
    NotFound,
    /// One of that name is there already.
    AlreadyExists,
    /// Too many calls; the SDK's retries were used up.
    Throttled,
    /// AWS has not yet heard of what it just created.
    Lag,
    /// Something else still needs it.
    InUse,
    /// AWS has no room for it, or a quota is reached.
    Capacity,
    /// The identity may not do that.
    Denied,
    /// There is no identity, or it is no longer valid.
    Credentials,
    /// The endpoint did not answer.
    Unreachable,
    /// A condition on the object's version did not hold.
    Precondition,
    /// The person asked to stop.
    Interrupted,
    /// Everything else.
    Other,
}

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
    /// What to do next, where we know better than the class does.
    pub help: Option<String>,
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
    "OperationAbortedException",
    "ResourceInUseException",
    "UpdateInProgressException",
];

/// Error codes that say "no room", or "no more".
const CAPACITY: &[&str] = &[
    "InstanceLimitExceeded",
    "InsufficientAddressCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "MaxSpotInstanceCountExceeded",
    "SpotMaxPriceTooLow",
    "Unsupported",
    "VcpuLimitExceeded",
];

/// Error codes that say "you may not".
const DENIED: &[&str] =
    &["AccessDenied", "AccessDeniedException", "Forbidden", "UnauthorizedAccess", "UnauthorizedOperation"];

/// Error codes that say "I do not know you".
const CREDENTIALS: &[&str] = &[
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Error codes of S3's conditional requests, and of two changes of one thing at a time.
const PRECONDITION: &[&str] = &[
    "ConcurrentModification",
    "ConcurrentTagAccess",
    "ConditionalRequestConflict",
    "OperationAborted",
    "PreconditionFailed",
];

/// The class of an error code. The message decides where AWS uses one code for many things.
pub(crate) fn classify(code: &str, message: &str) -> Class {
    let says = |part: &str| message.to_ascii_lowercase().contains(part);
    let of = |set: &[&str]| set.contains(&code);
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
        () if of(DENIED) => Class::Denied,
        () if of(CREDENTIALS) => Class::Credentials,
        () if of(PRECONDITION) => Class::Precondition,
        // `InvalidInstanceID.NotFound` has many relatives.
        () if code.ends_with(".NotFound") || code.ends_with(".NotFoundException") => Class::NotFound,
        () => Class::Other,
    }
}

impl Failure {
    /// A failure that no call answered with.
    pub fn own(message: impl Into<String>, help: impl Into<Option<String>>) -> Self {
        Self { operation: "", class: Class::Other, code: String::new(), message: message.into(), help: help.into() }
    }

    /// A wait that the person ended.
    pub fn interrupted(what: impl Into<String>) -> Self {
        Self { class: Class::Interrupted, ..Self::own(what, "run it again: it continues".to_owned()) }
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
        let help = self.help.clone().or_else(|| self.class_help());
        let said = if self.code.is_empty() { self.message } else { format!("{}: {}", self.code, self.message) };
        let message = match (self.operation, subject) {
            ("", "") => said,
            ("", subject) => format!("{subject}: {said}"),
            (operation, "") => format!("`{operation}` failed: {said}"),
            (operation, subject) => format!("`{operation}` for {subject} failed: {said}"),
        };
        ProviderError { is_interruption: self.class == Class::Interrupted, ..ProviderError::new(message, help) }
    }

    fn class_help(&self) -> Option<String> {
        let help = match self.class {
            Class::Denied => {
                // Tags and roles in a call need permissions of their own; AWS says which.
                let named = self.message.split_once("not authorized to perform: ").map(|(_, rest)| rest);
                let named = named.and_then(|rest| rest.split_whitespace().next()).filter(|action| action.contains(':'));
                let action = named.unwrap_or_else(|| action_of(self.operation));
                format!("allow the action `{action}` to the identity that runs this")
            }
            Class::Credentials => match self.code.as_str() {
                "RequestTimeTooSkewed" | "RequestExpired" | "InvalidSignatureException" => {
                    "set this machine's clock: AWS accepts a few minutes of difference; otherwise check the secret key"
                }
                "ExpiredToken" | "ExpiredTokenException" => {
                    "the session has ended: run `aws sso login`, or fetch new temporary credentials"
                }
                _ => "check the credentials: set `AWS_PROFILE`, or run `aws sso login`",
            }
            .to_owned(),
            Class::Unreachable => "check the network, the region and `AWS_ENDPOINT_URL`".to_owned(),
            Class::Throttled => "AWS asks for fewer calls: wait a minute and run it again".to_owned(),
            Class::Capacity => {
                "try another zone or instance type, ask for fewer hosts, or have the quota raised".to_owned()
            }
            Class::Lag => "AWS is slow to learn of what was just created: run it again".to_owned(),
            Class::InUse => "something still uses it: run it again once that is gone".to_owned(),
            _ => return None,
        };
        Some(help)
    }
}

/// The IAM action behind a call; they differ in a few places.
fn action_of(operation: &str) -> &str {
    match operation {
        "s3:HeadBucket" | "s3:ListObjectVersions" => "s3:ListBucket",
        "s3:HeadObject" => "s3:GetObject",
        "s3:DeleteObjects" => "s3:DeleteObjectVersion",
        "s3:GetBucketEncryption" => "s3:GetEncryptionConfiguration",
        "s3:PutBucketEncryption" => "s3:PutEncryptionConfiguration",
        "s3:GetPublicAccessBlock" => "s3:GetBucketPublicAccessBlock",
        "s3:PutPublicAccessBlock" => "s3:PutBucketPublicAccessBlock",
        other => other,
    }
}

/// Names the call whose result this is.
pub(crate) trait Told<T> {
    /// The result, its error classified.
    fn told(self, operation: &'static str) -> Result<T, Failure>;
}

impl<T, E> Told<T> for Result<T, SdkError<E, Response>>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    fn told(self, operation: &'static str) -> Result<T, Failure> {
        self.map_err(|error| from_sdk(operation, &error))
    }
}

fn from_sdk<E>(operation: &'static str, error: &SdkError<E, Response>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let failure = |class, code: &str, message: String, help: Option<&str>| Failure {
        operation,
        class,
        code: code.to_owned(),
        message,
        help: help.map(str::to_owned),
    };
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            // HEAD answers have no body to hold a code.
            let code = answer.err().code().filter(|code| !code.is_empty()).unwrap_or(match status {
                301 => "PermanentRedirect",
                403 => "AccessDenied",
                404 => "NotFound",
                412 => "PreconditionFailed",
                _ => "Unknown",
            });
            let message =
                answer.err().message().map_or_else(|| format!("AWS answered with HTTP status {status}"), str::to_owned);
            failure(classify(code, &message), code, message, None)
        }
        SdkError::DispatchFailure(dispatch) => {
            let told = chain(error);
            if dispatch.as_connector_error().is_some_and(|error| error.is_io() || error.is_timeout()) {
                failure(Class::Unreachable, "", format!("the endpoint cannot be reached ({told})"), None)
            } else {
                let (message, help) = credentials(&told);
                failure(Class::Credentials, "", message, Some(help))
            }
        }
        SdkError::TimeoutError(_) => {
            failure(Class::Unreachable, "", "the endpoint did not answer in time".to_owned(), None)
        }
        SdkError::ResponseError(_) => {
            failure(Class::Unreachable, "", format!("the answer cannot be read ({})", chain(error)), None)
        }
        _ => failure(Class::Other, "", chain(error), None),
    }
}

/// What is wrong with the credentials, and what helps.
fn credentials(told: &str) -> (String, &'static str) {
    let lower = told.to_ascii_lowercase();
    let found_none = lower.contains("no credentials") || lower.contains("no providers in chain");
    if !found_none && (lower.contains("sso") || lower.contains("token")) {
        (
            format!("the session of the AWS profile is not valid ({told})"),
            "run `aws sso login` for the profile, or fetch new temporary credentials",
        )
    } else {
        (
            format!("no AWS credentials were found ({told})"),
            "set `AWS_PROFILE` to a profile of `~/.aws/config`, or run `aws configure`; `--sandbox` needs none",
        )
    }
}

/// An error with its causes, each said once.
fn chain(error: &dyn StdError) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.contains(&text) {
            said.push_str(": ");
            said.push_str(&text);
        }
        cause = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fall_into_classes() {
        for (code, message, class) in [
            ("InvalidInstanceID.NotFound", "", Class::NotFound),
            ("InvalidNetworkInterfaceID.NotFound", "", Class::NotFound),
            ("EntityAlreadyExists", "", Class::AlreadyExists),
            ("RequestLimitExceeded", "", Class::Throttled),
            ("DependencyViolation", "", Class::InUse),
            ("InsufficientInstanceCapacity", "", Class::Capacity),
            ("UnauthorizedOperation", "", Class::Denied),
            ("ExpiredToken", "", Class::Credentials),
            ("InvalidParameterValue", "Value (x) for parameter iamInstanceProfile.arn is invalid", Class::Lag),
            ("InvalidParameterValue", "Value (x) for parameter groupId is invalid", Class::Other),
            ("ClientException", "ECS was unable to assume the role 'x'", Class::Lag),
            ("ClientException", "Container name is missing", Class::Other),
        ] {
            assert_eq!(classify(code, message), class, "{code} {message}");
        }
    }

    #[test]
    fn a_failure_names_the_call_the_address_and_the_missing_action() {
        let failure = Failure {
            operation: "s3:HeadBucket",
            class: Class::Denied,
            code: "AccessDenied".into(),
            message: "no".into(),
            help: None,
        };
        let error = failure.about("`s3_bucket.artifacts`");
        assert_eq!(error.message, "`s3:HeadBucket` for `s3_bucket.artifacts` failed: AccessDenied: no");
        assert!(error.help.is_some_and(|help| help.contains("`s3:ListBucket`")));
    }
}
