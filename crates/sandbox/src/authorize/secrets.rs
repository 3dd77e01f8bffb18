//! The permissions of Secrets Manager's calls.

use super::{Row, Scene, Target, any};

pub(super) const PERMISSIONS: &[Row] = &[
    ("CreateSecret", &[("secretsmanager:CreateSecret", created), ("secretsmanager:TagResource", tagged)]),
    ("DeleteSecret", &[("secretsmanager:DeleteSecret", deleted)]),
    ("DescribeSecret", &[("secretsmanager:DescribeSecret", identified)]),
    ("GetSecretValue", &[("secretsmanager:GetSecretValue", read)]),
    ("GetResourcePolicy", &[("secretsmanager:GetResourcePolicy", identified)]),
    ("ListSecrets", &[("secretsmanager:ListSecrets", any)]),
];

/// The secret by its whole ARN; one that does not exist by its name, as far as it is known.
fn identified(scene: &Scene<'_>) -> Vec<Target> {
    let id = scene.text("SecretId").unwrap_or_default();
    let found = scene.cloud.secrets.permitted(&scene.call.region, &scene.cloud.account, id);
    let (arn, tags) = found.unwrap_or_else(|| {
        let arn =
            if id.starts_with("arn:") { id.to_owned() } else { scene.arn("secretsmanager", &format!("secret:{id}")) };
        (arn, Vec::new())
    });
    vec![secret(arn, &scene.call.region, &tags)]
}

/// A secret with its condition keys.
pub(crate) fn secret(arn: String, region: &str, tags: &[(String, String)]) -> Target {
    Target::of("Secret", arn.clone())
        .with("secretsmanager:SecretId", arn)
        .with("secretsmanager:SecretPrimaryRegion", region)
        .has_tags(
            &["aws:ResourceTag/", "secretsmanager:ResourceTag/"],
            tags.iter().map(|(key, value)| (key.as_str(), value.as_str())),
        )
}

fn read(scene: &Scene<'_>) -> Vec<Target> {
    let stage = scene.text("VersionStage").or_else(|| scene.text("VersionId").is_none().then_some("AWSCURRENT"));
    let with = |target: Target| {
        target
            .with_some("secretsmanager:VersionId", scene.text("VersionId"))
            .with_some("secretsmanager:VersionStage", stage)
    };
    identified(scene).into_iter().map(with).collect()
}

fn deleted(scene: &Scene<'_>) -> Vec<Target> {
    let forced = scene.json()["ForceDeleteWithoutRecovery"].as_bool();
    let window = scene.json()["RecoveryWindowInDays"].as_i64().map(|days| days.to_string());
    let with = |target: Target| {
        target
            .with_some("secretsmanager:ForceDeleteWithoutRecovery", forced)
            .with_some("secretsmanager:RecoveryWindowInDays", window.clone())
    };
    identified(scene).into_iter().map(with).collect()
}

/// A new secret has no suffix yet.
fn created(scene: &Scene<'_>) -> Vec<Target> {
    let name = scene.text("Name").unwrap_or_default();
    let target = Target::of("Secret", scene.arn("secretsmanager", &format!("secret:{name}")))
        .with("secretsmanager:Name", name)
        .with_some("secretsmanager:Description", scene.text("Description"))
        .with_some("secretsmanager:KmsKeyId", scene.text("KmsKeyId"));
    vec![target.gets_tags(scene.tags("Tags"))]
}

fn tagged(scene: &Scene<'_>) -> Vec<Target> {
    if scene.tags("Tags").is_empty() { Vec::new() } else { created(scene) }
}
