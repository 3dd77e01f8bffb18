//! The source of credentials, and why there are none: each way to fail has its own message and next step.
//!
//! [`Explained`] wraps the SDK's chain of providers and turns their errors into [`NoCredentials`], which is found again
//! inside the error of the call that needed credentials.

use std::{
    error::Error as StdError,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_config::{
    imds::client::error::ImdsError,
    meta::{ProviderAttempt, ProviderChainError},
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError, future},
};
use aws_sdk_sso::operation::get_role_credentials::GetRoleCredentialsError;
use aws_sdk_sts::operation::{
    assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};
use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::Instant;

use crate::{
    error::{Class, MFA, is_about_mfa},
    unanswered::{Unanswered, chain, find},
};

/// The kind of source that credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    Environment,
    /// Keys in a profile.
    Keys,
    /// A session of IAM Identity Center.
    Sso,
    /// A session of `aws login`.
    Login,
    /// A program that a profile names.
    Process,
    /// A token file that a profile names.
    WebIdentity,
    /// A token file that the environment names, as on Kubernetes.
    EnvironmentToken,
    /// The credentials of a container, whose address is in this variable.
    Container(&'static str),
    /// The credentials of this machine (its instance role), or none at all.
    Elsewhere,
    /// Credentials that a program using this library provides.
    Given,
}

/// The selected profile, and where its credentials come from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The selected profile.
    pub profile: String,
    /// The profile with the credentials; it differs from `profile` if that one assumes a role with another profile's
    /// credentials.
    pub base: String,
    /// The source of those credentials.
    pub origin: Origin,
    /// The role that is assumed with them.
    pub role: Option<String>,
}

impl Source {
    /// The source of credentials that a program provides.
    pub fn given() -> Self {
        Self { profile: String::new(), base: String::new(), origin: Origin::Given, role: None }
    }

    /// Where a person finds the keys.
    pub fn place(&self) -> String {
        match self.origin {
            Origin::Environment => "`AWS_ACCESS_KEY_ID` in the environment".to_owned(),
            Origin::Elsewhere => "this machine's own".to_owned(),
            Origin::Given => "those that the program provides".to_owned(),
            Origin::Container(variable) => format!("this container's own, from `{variable}`"),
            Origin::EnvironmentToken => "the web identity in `AWS_WEB_IDENTITY_TOKEN_FILE`".to_owned(),
            _ => format!("profile `{}`", self.base),
        }
    }

    /// The credentials as the subject of a sentence, such as "the credentials of the profile `x`".
    pub fn named(&self) -> String {
        match self.origin {
            Origin::Elsewhere | Origin::Container(_) if self.role.is_some() => {
                format!("the credentials of the profile `{}`", self.profile)
            }
            Origin::Environment => "the credentials in the environment".to_owned(),
            Origin::Elsewhere => "this machine's own credentials".to_owned(),
            Origin::Container(variable) => format!("the credentials of this container (`{variable}`)"),
            Origin::EnvironmentToken => {
                "the credentials of the web identity in `AWS_WEB_IDENTITY_TOKEN_FILE`".to_owned()
            }
            _ => format!("the credentials of the profile `{}`", self.profile),
        }
    }

    /// The next step if the credentials cannot be used.
    fn correction(&self) -> String {
        match self.origin {
            Origin::Container(variable) => format!("correct or unset `{variable}`"),
            Origin::EnvironmentToken => "correct `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`".to_owned(),
            _ => format!(
                "correct the profile `{}` in `~/.aws/config` or `~/.aws/credentials`; `aws sts get-caller-identity` tries it",
                self.base
            ),
        }
    }

    /// The next step if the credentials have expired.
    pub fn renewal(&self) -> String {
        let base = &self.base;
        match self.origin {
            Origin::Environment => {
                "fetch new temporary credentials and export `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` again".to_owned()
            }
            Origin::Keys => format!("fetch new temporary credentials and write them into the profile `{base}`"),
            Origin::Sso => format!("run `aws sso login --profile {base}`"),
            Origin::Login => format!("run `aws login --profile {base}`"),
            Origin::Process => format!("run the program that `credential_process` of the profile `{base}` names, and sign in"),
            Origin::WebIdentity => {
                format!("renew the token in the file that `web_identity_token_file` of the profile `{base}` names")
            }
            Origin::EnvironmentToken => {
                "renew the token in the file that `AWS_WEB_IDENTITY_TOKEN_FILE` names".to_owned()
            }
            Origin::Container(_) => "run the command again: this container fetches new credentials by itself".to_owned(),
            Origin::Elsewhere => "run the command again: this machine fetches new credentials by itself".to_owned(),
            Origin::Given => "give the program new credentials".to_owned(),
        }
    }
}

/// Why there are no credentials.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct NoCredentials {
    /// The error message.
    pub message: String,
    /// The next step, for the line `help:`.
    pub help: String,
    /// What kind of failure it is.
    pub class: Class,
}

/// How long a failure is reused. Many calls ask at the same time, and the SDK would ask the providers again for each of
/// them, one after the other.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// A chain of providers with explained errors.
#[derive(Debug)]
pub(crate) struct Explained<P> {
    inner: P,
    source: Arc<Source>,
    failed: Mutex<Option<(Instant, NoCredentials)>>,
}

impl<P> Explained<P> {
    /// Wraps the chain that gives the credentials of this source.
    pub fn new(inner: P, source: Arc<Source>) -> Self {
        Self { inner, source, failed: Mutex::new(None) }
    }

    fn failed(&self) -> MutexGuard<'_, Option<(Instant, NoCredentials)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: ProvideCredentials> ProvideCredentials for Explained<P> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            if let Some((at, failure)) = &*self.failed()
                && at.elapsed() < AGAIN_AFTER
            {
                return Err(CredentialsError::provider_error(failure.clone()));
            }
            let credentials = self.inner.provide_credentials().await;
            credentials.map_err(|error| {
                tracing::debug!(error = chain(&error), "no credentials");
                let failure = explain(&error, &self.source);
                *self.failed() = Some((Instant::now(), failure.clone()));
                CredentialsError::provider_error(failure)
            })
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.inner.fallback_on_interrupt()
    }
}

/// Translates an error of the providers.
fn explain(error: &CredentialsError, source: &Source) -> NoCredentials {
    let profile = &source.profile;
    if let Some(unanswered) = find::<Unanswered>(error) {
        return NoCredentials {
            message: format!("{} cannot be fetched: {}", source.named(), unanswered.message()),
            help: unanswered.help(),
            class: Class::Unreachable,
        };
    }
    let of = |message: String, help: String| NoCredentials { message, help, class: Class::Credentials };
    if let Some(refused) = of_sts::<AssumeRoleError>(error, source) {
        return refused;
    }
    if let Some(refused) = of_sts::<AssumeRoleWithWebIdentityError>(error, source) {
        return refused;
    }
    if let Some(SdkError::ServiceError(answer)) = find::<SdkError<GetRoleCredentialsError, Response>>(error)
        && !answer.err().is_unauthorized_exception()
    {
        let said = answer.err().message().unwrap_or("no reason given").trim_end_matches('.').to_owned();
        return of(
            format!("IAM Identity Center gives no credentials for the profile `{profile}`: {said}"),
            format!(
                "check `sso_account_id` and `sso_role_name` of the profile `{}`, and whether that role is assigned to you",
                source.base
            ),
        );
    }
    if let CredentialsError::ProviderTimedOut(waited) = error {
        let seconds = waited.timeout_duration().as_secs();
        return of(format!("{} were not available within {seconds} s", source.named()), source.renewal());
    }
    match source.origin {
        Origin::Sso => NoCredentials {
            class: Class::ExpiredCredentials,
            ..of(
                format!(
                    "the IAM Identity Center session of the profile `{}` has expired or does not exist",
                    source.base
                ),
                source.renewal(),
            )
        },
        Origin::Process => of_process(error, source),
        _ if find::<ImdsError>(error).is_some() || matches!(error, CredentialsError::CredentialsNotLoaded(_)) => {
            nowhere(error)
        }
        _ => of(format!("{} cannot be used: {}", source.named(), in_one_line(error)), source.correction()),
    }
}

/// Translates an error of STS when a role is assumed.
fn of_sts<E>(error: &CredentialsError, source: &Source) -> Option<NoCredentials>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let SdkError::ServiceError(answer) = find::<SdkError<E, Response>>(error)? else { return None };
    let code = answer.err().code().unwrap_or("Unknown");
    let said = answer.err().message().unwrap_or("no reason given").trim_end_matches('.');
    let role = source.role.as_deref().unwrap_or("of the web identity");
    let is_token = matches!(source.origin, Origin::WebIdentity | Origin::EnvironmentToken);
    let help = match code {
        "AccessDenied" | "AccessDeniedException" if is_about_mfa(said) => MFA.to_owned(),
        "AccessDenied" | "AccessDeniedException" if is_token => {
            "let the role's trust policy accept the token's issuer, audience and subject".to_owned()
        }
        "AccessDenied" | "AccessDeniedException" => format!(
            "allow `sts:AssumeRole` to the identity of the profile `{}`, and name that identity in the role's trust policy (which may also ask for an external id or MFA)",
            source.base
        ),
        "ExpiredToken" | "ExpiredTokenException" | "ExpiredIdToken" => source.renewal(),
        "InvalidIdentityToken" | "InvalidIdentityTokenException" => {
            format!("{}, and check that IAM has an identity provider for its issuer and audience", source.renewal())
        }
        "RegionDisabledException" => {
            "enable the region for STS in this account (IAM console, account settings)".to_owned()
        }
        _ => match crate::error::clock(answer.raw(), code, said) {
            Some(help) => help,
            None if matches!(
                code,
                "InvalidClientTokenId" | "SignatureDoesNotMatch" | "UnrecognizedClientException"
            ) =>
            {
                format!("check the access key and its secret in the profile `{}`", source.base)
            }
            None if source.origin == Origin::EnvironmentToken => source.correction(),
            None => format!("correct the profile `{}`", source.profile),
        },
    };
    Some(NoCredentials {
        message: match source.origin {
            Origin::EnvironmentToken => {
                format!("the role `{role}` in `AWS_ROLE_ARN` cannot be assumed: {code}: {said}")
            }
            _ => format!("the role `{role}` of the profile `{}` cannot be assumed: {code}: {said}", source.profile),
        },
        help,
        class: if code.starts_with("Expired") { Class::ExpiredCredentials } else { Class::Credentials },
    })
}

/// How the program in `credential_process` failed. Its stdout contains secrets and is never shown.
fn of_process(error: &CredentialsError, source: &Source) -> NoCredentials {
    // The SDK's error has this only as text.
    let text = chain(error);
    let ended = text.split_once("exited with code ").map(|(_, rest)| rest);
    let how = match ended.map(|rest| rest.split_once(". Stderr: ").unwrap_or((rest, ""))) {
        Some((status, stderr)) => {
            let status = status.trim_start_matches("exit status: ");
            let mut words = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            if let Some((end, _)) = words.char_indices().nth(300) {
                words.truncate(end);
            }
            if words.is_empty() {
                format!("ends with exit code {status} and says nothing on stderr")
            } else {
                format!("ends with exit code {status}: {words}")
            }
        }
        None if text.contains("could not parse response") || text.contains("UTF-8") => {
            "prints no document with `Version` 1, `AccessKeyId` and `SecretAccessKey`".to_owned()
        }
        None => "cannot be started".to_owned(),
    };
    NoCredentials {
        message: format!("the program in `credential_process` of the profile `{}` {how}", source.base),
        help: format!("run it by hand and fix the problem that it reports, or correct the profile `{}`", source.base),
        class: Class::Credentials,
    }
}

/// No source has credentials.
fn nowhere(error: &CredentialsError) -> NoCredentials {
    // If the machine's metadata service answered, its answer is reported. Other sources are just not configured.
    let status = match find::<ImdsError>(error) {
        Some(ImdsError::ErrorResponse(answer)) => Some(answer.response().status().as_u16()),
        Some(ImdsError::FailedToLoadToken(_)) => chain(error).contains("forbidden").then_some(403),
        _ => None,
    };
    // A variable can switch the metadata service off; then the machine was not asked.
    let asked_machine = find::<ProviderChainError<CredentialsError>>(error).is_some_and(|tried| {
        let is_asked = |attempt: &ProviderAttempt<CredentialsError>| {
            attempt.name() == "Ec2InstanceMetadata" && !chain(attempt.error()).contains("AWS_EC2_METADATA_DISABLED")
        };
        tried.attempts().iter().any(is_asked)
    });
    let metadata = match status {
        Some(status) => format!("; this machine's metadata service answers with HTTP status {status}"),
        None if asked_machine => ", and this machine has no instance role".to_owned(),
        None => String::new(),
    };
    NoCredentials {
        message: format!("no AWS credentials were found in the environment or in a profile{metadata}"),
        help: "set `AWS_PROFILE` to a profile of `~/.aws/config`, or run `aws configure`; `--sandbox` needs no credentials"
            .to_owned(),
        class: Class::Credentials,
    }
}

/// An error with its causes on one line.
fn in_one_line(error: &CredentialsError) -> String {
    chain(error).split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}
