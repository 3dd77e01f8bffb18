//! The roles that AWS's services own. The first cluster of an account and its first spot instance create them.

use trunnion_engine::Finding;

use super::{Examination, failed, permissions::Permissions};
use crate::{
    calls::Commands,
    error::{Class, Failure, OfCall as _},
};

/// The name of a role and the service that owns it.
const ECS: (&str, &str) = ("AWSServiceRoleForECS", "ecs.amazonaws.com");
const SPOT: (&str, &str) = ("AWSServiceRoleForEC2Spot", "spot.amazonaws.com");

/// The action that creates them.
pub(super) const CREATE: &str = "iam:CreateServiceLinkedRole";

/// Whether IAM knows each role.
pub(super) type Read = Vec<((&'static str, &'static str), Result<(), Failure>)>;

/// Apply alone needs them.
pub(super) async fn read(examination: &Examination<'_>, commands: Commands) -> Read {
    if !commands.meets(Commands::APPLY) {
        return Vec::new();
    }
    let iam = &examination.aws.clients.iam;
    let needed = [ECS].into_iter().chain(examination.pools.iter().any(|pool| pool.is_spot).then_some(SPOT));
    let asked = needed.map(|role| async move {
        (role, iam.get_role().role_name(role.0).send().await.of_call("iam:GetRole").map(drop))
    });
    futures::future::join_all(asked).await
}

/// A role that does not exist is missing only if the identity cannot create it.
pub(super) fn judge(roles: Read, permissions: &Permissions) -> Vec<Finding> {
    let judged = |((name, service), role): ((&'static str, &'static str), Result<(), Failure>)| {
        let subject = format!("service-linked role {name}");
        let command = format!("aws iam create-service-linked-role --aws-service-name {service}");
        match role {
            Ok(()) => Finding::ok(subject, "exists"),
            Err(failure) if failure.class == Class::NotFound => match permissions.of(CREATE) {
                Some(true) => Finding::ok(subject, "apply creates it"),
                Some(false) => {
                    let detail = format!("it does not exist, and the identity lacks `{CREATE}`");
                    Finding::missing(subject, detail, Some(format!("let an administrator create it: `{command}`")))
                }
                None => {
                    let detail = format!("it does not exist, and whether the identity has `{CREATE}` is not known");
                    let help = format!("`iam:SimulatePrincipalPolicy` would answer it; or create it: `{command}`");
                    Finding::unknown(subject, detail, Some(help))
                }
            },
            Err(failure) => failed(subject, failure),
        }
    };
    roles.into_iter().map(judged).collect()
}
