//! Converts an SDK's error into a [`Failure`].

use std::{error::Error as StdError, sync::Arc};

use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId as _;

use super::{Class, Failure, classify, help};
use crate::{
    credentials::NoCredentials,
    pace::{Interrupted, LockLost},
    unanswered::{Unanswered, chain, find},
};

/// Adds the name of the call to its result.
pub(crate) trait OfCall<T> {
    /// The result with its error classified. `operation` is the IAM action name.
    fn of_call(self, operation: &'static str) -> Result<T, Failure>;
}

impl<T, E> OfCall<T> for Result<T, SdkError<E, Response>>
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    fn of_call(self, operation: &'static str) -> Result<T, Failure> {
        self.map_err(|error| {
            let failure = from_sdk(operation, &error);
            Failure { source: Some(Arc::new(error)), ..failure }
        })
    }
}

fn from_sdk<E>(operation: &'static str, error: &SdkError<E, Response>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    if let SdkError::ServiceError(answer) = error {
        // The SDK takes an answer that it cannot read for an error of the service.
        if answer.raw().status().is_success() && answer.err().code().is_none() {
            let message = format!("the answer cannot be read ({})", chain(error));
            return Failure::of_call(operation, Class::Unreachable, message);
        }
        return from_answer(operation, answer.err(), answer.raw());
    }
    let failure =
        |class, message: String, help: Option<String>| Failure { help, ..Failure::of_call(operation, class, message) };
    if find::<Interrupted>(error).is_some() {
        return Failure { operation, ..Failure::interrupted("the call was interrupted before it was sent") };
    }
    // The step ends as by an interruption: nothing failed, and the next command continues.
    if find::<LockLost>(error).is_some() {
        return Failure { operation, ..Failure::interrupted(LockLost.to_string()) };
    }
    if let Some(none) = find::<NoCredentials>(error) {
        return failure(none.class, none.message.clone(), Some(none.help.clone()));
    }
    if let Some(unanswered) = find::<Unanswered>(error) {
        return failure(Class::Unreachable, unanswered.message(), Some(unanswered.help()));
    }
    match error {
        SdkError::DispatchFailure(_) => {
            failure(Class::Unreachable, format!("the endpoint cannot be reached ({})", chain(error)), None)
        }
        SdkError::TimeoutError(_) => {
            failure(Class::Unreachable, "the endpoint did not answer in time".to_owned(), None)
        }
        SdkError::ResponseError(_) => {
            failure(Class::Unreachable, format!("the answer cannot be read ({})", chain(error)), None)
        }
        _ => failure(Class::Other, chain(error), None),
    }
}

pub(super) fn from_answer<E: ProvideErrorMetadata>(operation: &'static str, error: &E, answer: &Response) -> Failure {
    let status = answer.status().as_u16();
    // Answers to HEAD requests have no body that could contain a code.
    let code = error.code().filter(|code| !code.is_empty()).unwrap_or(match status {
        301 => "PermanentRedirect",
        403 => "AccessDenied",
        404 => "NotFound",
        412 => "PreconditionFailed",
        _ => "Unknown",
    });
    let message = error.message().map_or_else(|| format!("AWS answered with HTTP status {status}"), str::to_owned);
    let class = classify(code, &message);
    let help = match class {
        Class::Credentials | Class::ExpiredCredentials => help::credentials(answer, code, &message),
        Class::Denied => help::denied_by(answer, operation, &message),
        _ => None,
    };
    let request_id = error.meta().request_id().map(str::to_owned);
    Failure { code: code.to_owned(), help, request_id, ..Failure::of_call(operation, class, message) }
}
