//! The permissions of STS's calls.

use super::{Row, Scene, Target};
use crate::iam;

/// `GetCallerIdentity` and `GetSessionToken` need no permission, and none can be denied them (their API references, read
/// November 2026).
pub(super) const PERMISSIONS: &[Row] = &[
    (
        "AssumeRole",
        &[
            ("sts:AssumeRole", iam::assumed_role),
            ("sts:SetSourceIdentity", iam::role_with_source),
            ("sts:TagSession", tagged_session),
        ],
    ),
    ("GetCallerIdentity", &[]),
    ("GetSessionToken", &[]),
];

fn tagged_session(scene: &Scene<'_>) -> Vec<Target> {
    if scene.call.params().items("Tags.member").is_empty() { Vec::new() } else { iam::assumed_role(scene) }
}
