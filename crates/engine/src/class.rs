//! What kind of failure it is, and what follows from that: whether to try again, the exit code, the next step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of a failure. What depends on the kind alone, such as the exit code, is decided by the methods of this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorClass {
    /// The cloud does not have what the call names.
    NotFound,
    /// The cloud has something of this name already.
    AlreadyExists,
    /// The cloud refused the call because there were too many in a short time.
    Throttled,
    /// The cloud does not yet show what it just created.
    Lag,
    /// Something else still uses it, so the cloud does not delete or change it.
    InUse,
    /// The cloud has no more of it at the moment, such as hosts of an instance type in a zone.
    Capacity,
    /// The account's quota does not allow more of it.
    Quota,
    /// The identity that makes the calls has no permission for this one.
    Denied,
    /// There is no identity, or the cloud does not accept it.
    Credentials,
    /// The credentials were accepted once, and their time is over.
    ExpiredCredentials,
    /// The endpoint did not answer.
    Unreachable,
    /// Somebody else changed it at the same time.
    Precondition,
    /// Nothing failed: a wait was ended because the person asked to stop.
    Interrupted,
    /// Any other failure.
    Other,
}

impl ErrorClass {
    /// Whether the same call may succeed later although nobody changes anything, so that trying again makes sense.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Throttled | Self::Lag | Self::InUse | Self::Capacity | Self::Unreachable)
    }

    /// The exit code of a command that ends because of it.
    pub const fn exit_code(self) -> ExitCode {
        match self {
            Self::Interrupted => ExitCode::Interrupted,
            _ => ExitCode::Error,
        }
    }

    /// The next step, as far as it follows from the class alone; nothing where it does not.
    pub const fn help(self) -> Option<&'static str> {
        Some(match self {
            Self::Throttled => "too many calls at a time: wait a minute and run it again",
            Self::Lag => "what was just created is not visible everywhere yet: run it again",
            Self::InUse => "something still uses it: run it again once that is gone",
            Self::Capacity => "try another zone or instance type, reduce `count`, or try again later",
            Self::Quota => {
                "reduce `count` or use a smaller instance type, or request a higher quota (Service Quotas, EC2)"
            }
            Self::Denied => "give the AWS identity of this command the permission for this action",
            Self::Credentials => "check the credentials",
            Self::ExpiredCredentials => "fetch new credentials and run it again",
            Self::Unreachable => "check the network and the endpoint",
            Self::Precondition => "somebody else changes the same thing: plan again once that is done",
            Self::Interrupted => "run it again: it continues",
            Self::NotFound | Self::AlreadyExists | Self::Other => return None,
        })
    }
}

/// How a command ends. The numbers are part of the public interface and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum ExitCode {
    /// All of it is done, or there was nothing to do.
    Done = 0,
    /// An error. What was done until then is reported and recorded.
    Error = 1,
    /// Changes are pending: only `plan --detailed-exitcode` ends with it.
    Pending = 2,
    /// Interrupted. What was done until then is reported and recorded.
    Interrupted = 130,
}

impl ExitCode {
    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_keep_their_numbers() {
        let codes = [ExitCode::Done, ExitCode::Error, ExitCode::Pending, ExitCode::Interrupted].map(ExitCode::code);
        assert_eq!(codes, [0, 1, 2, 130]);
    }

    #[test]
    fn what_the_person_asked_for_is_no_error() {
        assert_eq!(ErrorClass::Interrupted.exit_code(), ExitCode::Interrupted);
        assert_eq!(ErrorClass::Denied.exit_code(), ExitCode::Error);
        assert!(ErrorClass::Throttled.is_retryable() && !ErrorClass::Denied.is_retryable());
    }
}
