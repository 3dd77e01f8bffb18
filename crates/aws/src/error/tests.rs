use std::sync::Arc;

use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};

use super::*;
use crate::{
    calls::Subject,
    credentials::{Origin, Source},
    http::Peer,
};

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
        ("ExpiredToken", "", Class::ExpiredCredentials),
        ("InvalidClientTokenId", "", Class::Credentials),
        ("VcpuLimitExceeded", "", Class::Quota),
        ("LimitExceededException", "", Class::Quota),
        ("InvalidParameterValue", "Value (x) for parameter iamInstanceProfile.arn is invalid", Class::Lag),
        ("InvalidParameterValue", "Value (x) for parameter groupId is invalid", Class::Other),
        ("ClientException", "ECS was unable to assume the role 'x'", Class::Lag),
        ("ClientException", "Container name is missing", Class::Other),
    ] {
        assert_eq!(classify(code, message), class, "{code} {message}");
    }
}

fn failure(operation: &'static str, code: &str, message: &str) -> Failure {
    Failure { code: code.into(), ..Failure::of_call(operation, classify(code, message), message) }
}

#[test]
fn a_failure_names_the_call_the_address_and_the_missing_action() {
    let error = failure("s3:ListObjectVersions", "AccessDenied", "no").about("`s3_bucket.artifacts`");
    assert_eq!(error.message, "`s3:ListObjectVersions` for `s3_bucket.artifacts` failed: AccessDenied: no");
    assert!(error.help.is_some_and(|help| help.contains("`s3:ListBucketVersions`")));
}

/// The messages are AWS's own (IAM User Guide, "Troubleshoot access denied error messages", read August 2026).
#[test]
fn the_help_after_a_denial_names_what_denies() {
    let who = "User: arn:aws:iam::123456789012:user/x is not authorized to perform: iam:CreateRole on resource: y";
    for (why, helps, does_not) in [
        (
            "because no identity-based policy allows the iam:CreateRole action",
            "give the AWS identity of this command the permission `iam:CreateRole`",
            "deny",
        ),
        ("", "give the AWS identity of this command the permission `iam:CreateRole`", "deny"),
        (
            "with an explicit deny in an identity-based policy",
            "statement that denies `iam:CreateRole`",
            "give the AWS identity",
        ),
        (
            "with an explicit deny in a service control policy",
            "organization to remove the deny on `iam:CreateRole`",
            "give the AWS identity",
        ),
        ("because no service control policy allows the iam:CreateRole action", "organization", "give the AWS identity"),
        ("with an explicit deny in a resource control policy", "organization", "give the AWS identity"),
        (
            "because no permissions boundary allows the iam:CreateRole action",
            "permissions boundary",
            "give the AWS identity",
        ),
        ("with an explicit deny in a permissions boundary", "permissions boundary", "give the AWS identity"),
        ("with an explicit deny in a session policy", "session", "give the AWS identity"),
        ("because no VPC endpoint policy allows the iam:CreateRole action", "VPC endpoint", "give the AWS identity"),
        ("with an explicit deny in a resource-based policy", "policy of the resource", "give the AWS identity"),
    ] {
        let help = failure("iam:CreateRole", "AccessDenied", &format!("{who} {why}")).about("").help.unwrap();
        assert!(help.contains(helps) && !help.contains(does_not), "{why}: {help}");
    }
}

/// The help of a call that AWS denies, for the stack `a`.
fn denied(operation: &str, message: &str) -> String {
    let subject = Subject::somewhere("a", "123456789012", "eu-west-3");
    Denial::new(operation, message).help(Some(&subject))
}

#[test]
fn a_denial_names_the_statement_that_would_allow_the_call() {
    let who = "User: arn:aws:iam::123456789012:user/x is not authorized to perform:";
    let arn = "arn:aws:ec2:eu-west-3:123456789012";
    // EC2 appends its message to a sentence of its own, and an encoded text to that.
    let launch = format!(
        "You are not authorized to perform this operation. {who} ec2:RunInstances on resource: {arn}:subnet/subnet-1 because no identity-based policy allows the ec2:RunInstances action. Encoded authorization failure message: AbCd"
    );
    let help = denied("ec2:RunInstances", &launch);
    assert!(help.contains(&format!("the permission `ec2:RunInstances` on `{arn}:subnet/subnet-1`")), "{help}");
    assert!(help.contains(r#"{"Sid":"UseNetworkAndImages","Effect":"Allow","Action":["ec2:RunInstances"]"#), "{help}");
    assert!(!help.contains("LaunchHosts") && help.contains("aws sts decode-authorization-message"), "{help}");

    // The table knows what EC2 leaves out.
    let help = denied("ec2:RunInstances", "You are not authorized to perform this operation.");
    for sid in ["UseNetworkAndImages", "LaunchHosts", "ChangeInEc2"] {
        assert!(help.contains(sid), "{help}");
    }

    let passed = format!(
        "{who} iam:PassRole on resource: arn:aws:iam::123456789012:role/trunnion/a/eu-west-3/a.eu-west-3.generator because no identity-based policy allows the iam:PassRole action"
    );
    let help = denied("iam:AddRoleToInstanceProfile", &passed);
    assert!(help.contains("PassRoleToHosts") && !help.contains("PassRolesToTasks"), "{help}");
    assert!(help.contains(r#""iam:PassedToService":["ec2.amazonaws.com"]"#), "{help}");

    // IAM does not know the path of a role that does not exist.
    let help = denied(
        "iam:GetRole",
        &format!(
            "{who} iam:GetRole on resource: role a.eu-west-3.generator because no identity-based policy allows the iam:GetRole action"
        ),
    );
    assert!(
        help.contains("`iam:GetRole` on `role a.eu-west-3.generator`") && help.contains("RolesOfTheStack"),
        "{help}"
    );
}

#[test]
fn a_denied_change_of_a_tag_explains_the_lost_tag() {
    for operation in ["ec2:CreateTags", "ec2:TerminateInstances"] {
        let help = denied(operation, "You are not authorized to perform this operation.");
        assert!(help.contains("--tags Key=trunnion:stack,Value=a"), "{help}");
        assert!(help.contains("let an administrator restore it"), "{help}");
    }
    let help = denied("ecs:TagResource", "User: x is not authorized to perform: ecs:TagResource on resource: y");
    assert!(!help.contains("Key=trunnion:stack"), "{help}");
}

#[test]
fn service_linked_roles_are_named_with_the_command_that_creates_them() {
    for (code, message, service) in [
        (
            "InvalidParameterException",
            "Unable to assume the service linked role. Please verify that the ECS service linked role exists.",
            "ecs.amazonaws.com",
        ),
        (
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.",
            "spot.amazonaws.com",
        ),
    ] {
        let help = failure("", code, message).about("").help.unwrap();
        assert!(help.contains(&format!("--aws-service-name {service}`")), "{help}");
        assert!(help.contains("iam:CreateServiceLinkedRole"), "{help}");
    }
}

#[test]
fn a_missing_image_names_the_flag_that_updates_it() {
    let help = failure("ec2:RunInstances", "InvalidAMIID.NotFound", "The image id '[ami-1]' does not exist").about("");
    assert!(help.help.is_some_and(|help| help.contains("`--update-images`")));
}

/// The help of a call that AWS answered with this code and message, for credentials of this origin.
fn answered(region: &str, origin: Origin, code: &str, message: &str, date: Option<&str>) -> String {
    let mut answer = Response::new(400.try_into().unwrap(), SdkBody::empty());
    if let Some(date) = date {
        answer.headers_mut().insert("date", date.to_owned());
    }
    let source = Source { profile: "deploy".into(), base: "keys".into(), origin, role: None };
    let subject = Arc::new(Subject::somewhere("a", "123456789012", region));
    answer.add_extension(Peer { region: region.into(), subject, source: Arc::new(source), named_by: Arc::default() });
    let metadata = ErrorMetadata::builder().code(code).message(message).build();
    sdk::from_answer("sts:GetCallerIdentity", &metadata, &answer).about("").help.unwrap()
}

#[test]
fn refused_credentials_have_a_next_step_for_each_cause() {
    let long_ago = Some("Tue, 29 Oct 2019 16:56:32 GMT");
    for (region, origin, code, message, date, helps) in [
        ("eu-west-3", Origin::Sso, "ExpiredToken", "expired", None, "aws sso login --profile keys"),
        ("eu-west-3", Origin::Environment, "ExpiredToken", "expired", None, "export `AWS_ACCESS_KEY_ID`"),
        ("eu-west-3", Origin::Keys, "ExpiredTokenException", "expired", None, "the profile `keys`"),
        ("eu-west-3", Origin::Process, "ExpiredToken", "expired", None, "`credential_process`"),
        ("eu-west-3", Origin::Keys, "InvalidClientTokenId", "invalid", None, "check the access key"),
        ("eu-south-1", Origin::Keys, "InvalidClientTokenId", "invalid", None, "enable-region --region-name eu-south-1"),
        ("eu-south-1", Origin::Keys, "AuthFailure", "not able to validate", None, "enable-region"),
        ("eu-south-1", Origin::Keys, "OptInRequired", "You are not subscribed", None, "enable-region"),
        (
            "eu-west-3",
            Origin::Environment,
            "MissingAuthenticationToken",
            "missing",
            None,
            "signature (`AWS_ACCESS_KEY_ID` in",
        ),
        ("eu-south-1", Origin::Keys, "RegionDisabledException", "STS is not activated", None, "enable-region"),
        ("eu-west-3", Origin::Keys, "AccessDenied", "MultiFactorAuthentication failed", None, "sign in with MFA"),
        ("eu-west-3", Origin::Keys, "ServiceUnavailable", "later", None, "in a few minutes"),
        ("eu-west-3", Origin::Keys, "SignatureDoesNotMatch", "does not match", None, "secret access key"),
        ("eu-west-3", Origin::Keys, "SignatureDoesNotMatch", "Signature expired: 2026 is now earlier", None, "clock"),
        ("eu-west-3", Origin::Keys, "SignatureDoesNotMatch", "Signature not yet current: 2026", None, "clock"),
        ("eu-west-3", Origin::Keys, "RequestTimeTooSkewed", "The difference", None, "clock"),
        ("eu-west-3", Origin::Keys, "AuthFailure", "not able to validate", long_ago, "minutes ahead of AWS's"),
        ("eu-west-3", Origin::Keys, "RequestTimeTooSkewed", "The difference", long_ago, "minutes ahead of AWS's"),
    ] {
        let help = answered(region, origin, code, message, date);
        assert!(help.contains(helps), "{region} {code} {message}: {help}");
        let is_foreign = region == "eu-west-3" && help.contains("enable-region");
        assert!(!is_foreign, "{help}");
    }
}

#[test]
fn the_full_stop_of_an_aws_message_is_left_out() {
    let error = failure("s3:PutObject", "ExpiredToken", "The provided token has expired.").about("`s3://b/k`");
    assert_eq!(error.message, "`s3:PutObject` for `s3://b/k` failed: ExpiredToken: The provided token has expired");
}
