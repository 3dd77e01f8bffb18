//! Names of a stack in IAM. IAM is global, so each name and path contains the stack's region.
//!
//! The parts are separated by dots, because no part contains one. So `a.eu-west-3.generator` is never the name of
//! another stack's role, nor a name that an earlier version gave: those had no region and no dots (`a-generator` in
//! `/trunnion/a/`). A role or profile with such a name keeps it, because hosts were launched with it; [`region_of`]
//! finds the region where it is in use.

use sha2::{Digest as _, Sha256};
use trunnion_catalog::limits::ROLE_NAME;
use trunnion_engine::hex;

/// How many characters of the digest a shortened name ends with.
const DIGEST: usize = 8;

/// The prefix of all IAM paths of a stack, in every region.
pub fn iam_prefix(stack: &str) -> String {
    format!("/trunnion/{stack}/")
}

/// The path of a stack's roles and instance profiles in a region.
pub fn iam_path(stack: &str, region: &str) -> String {
    format!("{}{region}/", iam_prefix(stack))
}

/// The IAM path that earlier versions used, in every region.
pub fn former_iam_path(stack: &str) -> String {
    iam_prefix(stack)
}

/// The name of a stack's role in a region, such as `loadtest.eu-west-3.control-plane`. A name over the limit is cut and
/// ends with a digest of the whole.
pub fn role_name(stack: &str, region: &str, which: &str) -> String {
    let name = format!("{stack}.{region}.{which}");
    if name.len() <= ROLE_NAME {
        return name;
    }
    let digest = hex(&Sha256::digest(&name));
    let kept: String = name.chars().take(ROLE_NAME - 1 - DIGEST).collect();
    format!("{kept}.{}", digest.get(..DIGEST).unwrap_or_default())
}

/// The name of a stack's only instance profile in a region.
pub fn instance_profile_name(stack: &str, region: &str) -> String {
    role_name(stack, region, "generator")
}

/// The name that earlier versions gave to a stack's role, in every region.
pub fn former_role_name(stack: &str, which: &str) -> String {
    format!("{stack}-{which}")
}

/// The name that earlier versions gave to a stack's only instance profile, in every region.
pub fn former_instance_profile_name(stack: &str) -> String {
    former_role_name(stack, "generator")
}

/// The region in which a role with a former name is in use, read from its policies: the region of the ECS tasks that
/// may assume it, or of the stack's bucket that it reads. Other ARNs, such as that of an image's repository, may be of
/// another region.
pub fn region_of<'p>(policies: &[&'p str], bucket_prefix: &str) -> Option<&'p str> {
    let bucket = format!(":::{bucket_prefix}");
    policies.iter().find_map(|policy| {
        let after = [":ecs:", &bucket].into_iter().find_map(|before| policy.split_once(before));
        let (_, rest) = after?;
        let end = rest.find(|next: char| !next.is_ascii_alphanumeric() && next != '-').unwrap_or(rest.len());
        rest.get(..end).filter(|region| !region.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_distinct() {
        let stack = "abcdefghijklmnopqrstuvwxyz--abcd";
        assert_eq!(role_name(stack, "ap-southeast-1", "control-plane").len(), 61);
        let long = role_name(stack, "ap-southeast-and-further-1", "control-plane");
        assert_eq!(long.len(), ROLE_NAME);
        assert_ne!(long, role_name(stack, "ap-southeast-and-further-1", "control-plant"));
        assert_eq!(role_name("loadtest", "eu-west-3", "execution"), "loadtest.eu-west-3.execution");
    }

    #[test]
    fn the_region_is_read_from_a_policy() {
        let region = |policies: &[&'static str]| region_of(policies, "loadtest-123456789012-");
        assert_eq!(region(&[r#"{"aws:SourceArn":"arn:aws:ecs:eu-west-3:123456789012:*"}"#]), Some("eu-west-3"));
        let bucket = r#"{"Resource":["arn:aws:s3:::loadtest-123456789012-us-gov-east-1/generator/*"]}"#;
        assert_eq!(region(&[r#"{"Service":"ec2.amazonaws.com"}"#, bucket]), Some("us-gov-east-1"));
        assert_eq!(region(&[r#"{"Resource":"arn:aws:ecr:eu-west-1:123456789012:repository/x"}"#]), None);
        assert_eq!(region(&[r#"{"Resource":"arn:aws:s3:::another-123456789012-eu-west-3"}"#]), None);
        assert_eq!(region(&[]), None);
    }
}
