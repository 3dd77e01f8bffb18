//! Ids that a state holds: a state may be damaged, and what no id of AWS can be is not asked for. It is gone, as far as the
//! state goes, and the real one is found by its tags.

use std::borrow::Cow;

use trunnion_engine::State;
use trunnion_kinds::{
    EcsTaskDefinition, IamInstanceProfile, IamRole, Instance, LaunchTemplate, S3Bucket, SecurityGroup,
};

use crate::Aws;

/// The state without what has an id that cannot be one.
pub(crate) fn credible<'a>(aws: &Aws, recorded: &'a State) -> Cow<'a, State> {
    let can_exist = |kind: &str, id: &str| can_exist(kind, id, &aws.connection.region, &aws.connection.account);
    if recorded.resources.iter().all(|(address, found)| can_exist(address.kind.as_str(), &found.id)) {
        return Cow::Borrowed(recorded);
    }
    let mut credible = recorded.clone();
    credible.resources.retain(|address, found| can_exist(address.kind.as_str(), &found.id));
    Cow::Owned(credible)
}

/// Whether AWS can have given this id to something of this kind, in the account and region of the connection.
fn can_exist(kind: &str, id: &str, region: &str, account: &str) -> bool {
    match kind {
        Instance::KIND => is_ec2(id, "i-"),
        LaunchTemplate::KIND => is_ec2(id, "lt-"),
        SecurityGroup::KIND => is_ec2(id, "sg-"),
        IamRole::KIND | IamInstanceProfile::KIND => is_iam_name(id),
        S3Bucket::KIND => is_bucket_name(id),
        EcsTaskDefinition::KIND => is_task_definition(id, region, account),
        _ => true,
    }
}

/// EC2 answers `…ID.Malformed` for other ids; old ones have 8 digits
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html>, read in 2026).
fn is_ec2(id: &str, prefix: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    id.strip_prefix(prefix).is_some_and(|digits| matches!(digits.len(), 8 | 17) && digits.bytes().all(is_digit))
}

/// IAM answers `ValidationError` for other names.
fn is_iam_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// S3 answers `InvalidBucketName`, or nothing that its clients can read, for other names.
fn is_bucket_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    (3..=63).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// ECS answers `AccessDeniedException` for another account's.
fn is_task_definition(arn: &str, region: &str, account: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "ecs", in_region, of_account, definition] = parts.as_slice() else { return false };
    let revision = definition.strip_prefix("task-definition/").and_then(|definition| definition.split_once(':'));
    *in_region == region
        && *of_account == account
        && revision.is_some_and(|(family, revision)| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            !family.is_empty() && family.bytes().all(is_allowed) && revision.parse::<u32>().is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_ids_cannot_exist() {
        assert!(is_ec2("i-04c8201a44a1edde7", "i-") && is_ec2("lt-04c8201a", "lt-"));
        for id in ["i-04c8201a44a1edde", "i-04c8201a44a1eddeG", "i-04C8201a44a1edde7", "j-04c8201a44a1edde7", "", "i-é"]
        {
            assert!(!is_ec2(id, "i-"), "{id}");
        }
        assert!(is_iam_name("loadtest-generator") && !is_iam_name("loadtest generator") && !is_iam_name(""));
        assert!(
            is_bucket_name("loadtest-123456789012-eu-west-3") && !is_bucket_name("loadTest") && !is_bucket_name("")
        );
        let definition = |arn| is_task_definition(arn, "eu-west-3", "123456789012");
        assert!(definition("arn:aws:ecs:eu-west-3:123456789012:task-definition/loadtest-control-plane:12"));
        for arn in [
            "arn:aws:ecs:eu-west-3:123456789013:task-definition/loadtest-control-plane:12",
            "arn:aws:ecs:eu-west-4:123456789012:task-definition/loadtest-control-plane:12",
            "arn:aws:ecs:eu-west-3:123456789012:task-definition/loadtest-control-plane",
            "arn:aws:ecs:eu-west-3:123456789012:task-definition/load test:12",
        ] {
            assert!(!definition(arn), "{arn}");
        }
    }
}
