//! The next step after a failure, chosen by AWS's code and message.

use std::time::SystemTime;

use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::{DateTime, date_time::Format};

use super::{Class, Failure, denial::Denial};
use crate::http::Peer;

/// Regions that are enabled in every account; the other ones must be enabled first (AWS General Reference, "AWS
/// Regions", read August 2026). Other partitions have no such choice.
const ENABLED_REGIONS: &[&str] = &[
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// In seconds. AWS accepts a signature for five minutes, so a difference below four minutes is not the cause of its
/// error.
const CLOCK_DIFFERENCE: u64 = 4 * 60;

/// The next step after a failure if AWS's code, message or operation says more than the class.
pub(super) fn of(failure: &Failure) -> Option<String> {
    if let Some(help) = service_linked_role(failure) {
        return Some(help);
    }
    let help = match failure.class {
        Class::Denied => Denial::new(failure.operation, &failure.message).help(None),
        Class::Credentials | Class::ExpiredCredentials => "check the credentials: set `AWS_PROFILE`, or run `aws sso login`".to_owned(),
        Class::Unreachable => "check the network, `region` in the stack file and `AWS_ENDPOINT_URL`".to_owned(),
        Class::Other if UNAVAILABLE.contains(&failure.code.as_str()) => {
            "the AWS service has a problem: run the command again in a few minutes".to_owned()
        }
        Class::Quota if failure.code == "AddressLimitExceeded" => {
            "release Elastic IPs that are not needed, or request a higher quota `EC2-VPC Elastic IPs` (L-0263D0A3)".to_owned()
        }
        Class::NotFound if failure.code.starts_with("InvalidAMIID.") => {
            "the image no longer exists: use the newest one with `--update-images`, or name another as `image` in the stack file"
                .to_owned()
        }
        _ => return None,
    };
    Some(help)
}

/// Error codes of a service that has a problem.
const UNAVAILABLE: &[&str] = &[
    "InternalError",
    "InternalFailure",
    "InternalServiceError",
    "ServerException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "Unavailable",
];

/// The next step if an MFA code is wrong or missing: Trunnion cannot ask for one.
pub(crate) const MFA: &str = "sign in with MFA first: `aws sts get-session-token --serial-number DEVICE --token-code CODE` prints keys to export";

/// Whether AWS denies the call because of a missing or wrong MFA code.
pub(crate) fn is_about_mfa(message: &str) -> bool {
    message.to_ascii_lowercase().contains("multifactorauthentication")
}

/// The next step if AWS may not create a service-linked role with this identity.
fn service_linked_role(failure: &Failure) -> Option<String> {
    let says = |part: &str| failure.message.to_ascii_lowercase().contains(part);
    let service = if failure.code == "AuthFailure.ServiceLinkedRoleCreationNotPermitted" {
        "spot.amazonaws.com"
    } else if says("service linked role") || says("service-linked role") {
        if says("spot") { "spot.amazonaws.com" } else { "ecs.amazonaws.com" }
    } else {
        return None;
    };
    Some(format!(
        "run `aws iam create-service-linked-role --aws-service-name {service}` once in this account; or give the AWS identity of this command the permission `iam:CreateServiceLinkedRole`"
    ))
}

/// The next step after a denial, for the stack that the call was for.
pub(super) fn denied_by(answer: &Response, operation: &str, message: &str) -> Option<String> {
    let peer = answer.extension::<Peer>()?;
    Some(Denial::new(operation, message).help(Some(&peer.subject)))
}

/// The next step if AWS refuses the credentials, by its answer and by their source.
pub(super) fn credentials(answer: &Response, code: &str, message: &str) -> Option<String> {
    if let Some(help) = clock(answer, code, message) {
        return Some(help);
    }
    let peer = answer.extension::<Peer>()?;
    if matches!(code, "ExpiredToken" | "ExpiredTokenException" | "RequestExpired") {
        return Some(peer.source.renewal());
    }
    if code == "OptInRequired" {
        return Some(format!("sign this account up for the service, and {}", enable(&peer.region)));
    }
    if code == "RegionDisabledException" {
        return Some(enable(&peer.region));
    }
    let check = match code {
        "MissingAuthenticationToken" => {
            let place = peer.source.place();
            return Some(format!(
                "check the proxies between this machine and AWS: the signed request arrived without its signature ({place})"
            ));
        }
        "InvalidClientTokenId" | "InvalidAccessKeyId" | "UnrecognizedClientException" | "AuthFailure" => {
            format!("check the access key and its session token ({})", peer.source.place())
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature" => {
            format!("check the secret access key ({})", peer.source.place())
        }
        _ => return None,
    };
    let has_a_choice = !ENABLED_REGIONS.contains(&peer.region.as_str())
        && !["cn-", "us-gov-", "eusc-", "us-iso"].iter().any(|start| peer.region.starts_with(start));
    Some(if has_a_choice { format!("{check}, or {}", enable(&peer.region)) } else { check })
}

fn enable(region: &str) -> String {
    format!("enable the region in this account: `aws account enable-region --region-name {region}`")
}

/// The next step if AWS refuses a signature because of its time.
pub(crate) fn clock(answer: &Response, code: &str, message: &str) -> Option<String> {
    let date = answer.headers().get("date").and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
    let theirs = date.and_then(|date| SystemTime::try_from(date).ok());
    let difference = theirs.and_then(|theirs| {
        let ours = SystemTime::now();
        let (side, difference) = match ours.duration_since(theirs) {
            Ok(ahead) => ("ahead of", ahead),
            Err(behind) => ("behind", behind.duration()),
        };
        (difference.as_secs() >= CLOCK_DIFFERENCE)
            .then(|| format!("it is {} minutes {side} AWS's", difference.as_secs().div_ceil(60)))
    });
    let lower = message.to_ascii_lowercase();
    let is_about_time = matches!(code, "RequestTimeTooSkewed" | "RequestInTheFuture")
        || lower.contains("signature expired")
        || lower.contains("signature not yet current");
    // EC2 answers `RequestExpired` to old temporary credentials, too.
    let is_about_signature = matches!(
        code,
        "AuthFailure"
            | "IncompleteSignature"
            | "InvalidSignatureException"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
    );
    match difference {
        Some(difference) if is_about_time || is_about_signature => {
            Some(format!("set this machine's clock: {difference}"))
        }
        None if is_about_time => Some("set this machine's clock: AWS accepts a difference of five minutes".to_owned()),
        _ => None,
    }
}
