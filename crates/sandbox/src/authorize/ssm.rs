//! The permissions of Systems Manager's calls.

use super::{Row, Scene, Target};

pub(super) const PERMISSIONS: &[Row] = &[
    ("GetParameter", &[("ssm:GetParameter", named)]),
    ("GetParameters", &[("ssm:GetParameters", names)]),
    ("PutParameter", &[("ssm:PutParameter", put)]),
    ("DeleteParameter", &[("ssm:DeleteParameter", named)]),
];

fn named(scene: &Scene<'_>) -> Vec<Target> {
    scene.text("Name").map(|name| parameter(scene, name)).into_iter().collect()
}

fn names(scene: &Scene<'_>) -> Vec<Target> {
    scene.texts("Names").into_iter().map(|name| parameter(scene, name)).collect()
}

fn put(scene: &Scene<'_>) -> Vec<Target> {
    let overwrites = scene.json()["Overwrite"].as_bool().unwrap_or(false);
    let tags = scene.tags("Tags");
    named(scene)
        .into_iter()
        .map(|target| target.with("ssm:Overwrite", overwrites).gets_tags(tags.iter().copied()))
        .collect()
}

/// Public parameters belong to no account.
fn parameter(scene: &Scene<'_>, name: &str) -> Target {
    let resource = format!("parameter/{}", name.trim_start_matches('/'));
    let arn = scene.arn("ssm", &resource);
    let is_public = name.starts_with("/aws/");
    Target::of("parameter", if is_public { arn.replace(&format!(":{}:", scene.cloud.account), "::") } else { arn })
}
