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

fn failure(operation: &'static str, code: &str, message: &str) -> Failure {
    Failure { operation, class: classify(code, message), code: code.into(), message: message.into(), help: None }
}

#[test]
fn a_failure_names_the_call_the_address_and_the_missing_action() {
    let error = failure("s3:HeadBucket", "AccessDenied", "no").about("`s3_bucket.artifacts`");
    assert_eq!(error.message, "`s3:HeadBucket` for `s3_bucket.artifacts` failed: AccessDenied: no");
    assert!(error.help.is_some_and(|help| help.contains("`s3:ListBucket`")));
}

/// The messages are AWS's own (IAM User Guide, "Troubleshoot access denied error messages", read August 2026).
#[test]
fn the_help_after_a_denial_names_what_denies() {
    let who = "User: arn:aws:iam::123456789012:user/x is not authorized to perform: iam:CreateRole on resource: y";
    for (why, helps, does_not) in [
        (
            "because no identity-based policy allows the iam:CreateRole action",
            "allow the action `iam:CreateRole`",
            "deny",
        ),
        ("", "allow the action `iam:CreateRole` to the identity", "deny"),
        (
            "with an explicit deny in an identity-based policy",
            "statement that denies `iam:CreateRole`",
            "allow the action",
        ),
        (
            "with an explicit deny in a service control policy",
            "organization allow `iam:CreateRole`",
            "allow the action",
        ),
        ("because no service control policy allows the iam:CreateRole action", "organization", "allow the action"),
        ("with an explicit deny in a resource control policy", "organization", "allow the action"),
        (
            "because no permissions boundary allows the iam:CreateRole action",
            "permissions boundary",
            "allow the action",
        ),
        ("with an explicit deny in a permissions boundary", "permissions boundary", "allow the action"),
        ("with an explicit deny in a session policy", "session", "allow the action"),
        ("because no VPC endpoint policy allows the iam:CreateRole action", "VPC endpoint", "allow the action"),
        ("with an explicit deny in a resource-based policy", "policy of the resource", "allow the action"),
    ] {
        let help = failure("iam:CreateRole", "AccessDenied", &format!("{who} {why}")).about("").help.unwrap();
        assert!(help.contains(helps) && !help.contains(does_not), "{why}: {help}");
    }
}

#[test]
fn service_linked_roles_are_named_with_the_command_that_makes_them() {
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
fn an_image_that_is_gone_names_the_flag_that_takes_another() {
    let help = failure("ec2:RunInstances", "InvalidAMIID.NotFound", "The image id '[ami-1]' does not exist").about("");
    assert!(help.help.is_some_and(|help| help.contains("`--update-images`")));
}
