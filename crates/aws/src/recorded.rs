//! Ids in a state. A state may be damaged, so an id that AWS cannot have given is not asked for: it counts as deleted,
//! and the real resource is found by its tags.

use std::borrow::Cow;

use trunnion_engine::{Address, Note, Recorded, State, plain};

use crate::{Connection, kinds::driver};

/// How many impossible ids a note names.
const NAMED: usize = 3;

/// The state without resources whose ids are impossible, and a note that names these.
pub(crate) fn credible<'a>(connection: &Connection, recorded: &'a State) -> (Cow<'a, State>, Option<Note>) {
    let can_exist = |address: &Address, found: &Recorded| {
        driver(&address.kind).is_none_or(|driver| driver.can_exist(&found.id, connection))
    };
    let impossible: Vec<_> = recorded.resources.iter().filter(|(address, found)| !can_exist(address, found)).collect();
    if impossible.is_empty() {
        return (Cow::Borrowed(recorded), None);
    }
    let named: Vec<String> = impossible
        .iter()
        .take(NAMED)
        .map(|(address, found)| format!("`{}` of `{address}`", shortened(&found.id)))
        .collect();
    let more = match impossible.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let note = Note {
        code: "state::impossible_id".to_owned(),
        message: format!("the state has IDs that AWS cannot have given: {}{more}", named.join(", ")),
        help: Some(
            "the plan finds these resources by their tags; the state may be deleted, and the next apply writes it again"
                .to_owned(),
        ),
    };
    let mut credible = recorded.clone();
    credible.resources.retain(|address, found| can_exist(address, found));
    (Cow::Owned(credible), Some(note))
}

/// An id as a message shows it: a damaged one may have any length and any characters.
fn shortened(id: &str) -> String {
    const LONGEST: usize = 60;
    let shown: String = plain(id).chars().map(|letter| if letter.is_whitespace() { ' ' } else { letter }).collect();
    let end = if shown.chars().count() > LONGEST { "…" } else { "" };
    shown.chars().take(LONGEST).collect::<String>() + end
}

/// Whether an ARN is that of a cluster or a service in the connection's region and account. `what` is the part before its
/// names, such as `cluster/`.
pub(crate) fn is_ecs(arn: &str, what: &str, connection: &Connection) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "ecs", region, account, resource] = parts.as_slice() else { return false };
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/".contains(&byte);
    let name = resource.strip_prefix(what);
    *region == connection.region
        && *account == connection.account
        && name.is_some_and(|name| !name.is_empty() && name.bytes().all(is_allowed))
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
