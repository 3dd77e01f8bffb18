//! Ids in a state. A state may be damaged, so an id that AWS cannot have given is not asked for: it counts as deleted,
//! and the real resource is found by its tags.

use std::borrow::Cow;

use trunnion_engine::{KindName, State};

use crate::{Connection, kinds::driver};

/// The state without resources whose ids are impossible.
pub(crate) fn credible<'a>(connection: &Connection, recorded: &'a State) -> Cow<'a, State> {
    let can_exist = |kind: &KindName, id: &str| driver(kind).is_none_or(|driver| driver.can_exist(id, connection));
    if recorded.resources.iter().all(|(address, found)| can_exist(&address.kind, &found.id)) {
        return Cow::Borrowed(recorded);
    }
    let mut credible = recorded.clone();
    credible.resources.retain(|address, found| can_exist(&address.kind, &found.id));
    Cow::Owned(credible)
}

/// Whether an id has EC2's format. EC2 answers `…ID.Malformed` for others; old ids have 8 digits
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html>, read in 2026).
pub(crate) fn is_ec2(id: &str, prefix: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    id.strip_prefix(prefix).is_some_and(|digits| matches!(digits.len(), 8 | 17) && digits.bytes().all(is_digit))
}

/// Whether a name is valid in IAM, which answers `ValidationError` for others.
pub(crate) fn is_iam_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// Whether an ARN is that of a task definition's revision in this region and account.
pub(crate) fn is_revision(arn: &str, region: &str, account: &str) -> bool {
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
        let definition = |arn| is_revision(arn, "eu-west-3", "123456789012");
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
