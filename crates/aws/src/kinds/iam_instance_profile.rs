//! `iam_instance_profile`. Its name is unique in the account and contains the region. A profile belongs to the stack if
//! its path and tags say so.

use std::collections::BTreeSet;

use trunnion_engine::{Remote, Rules, Token};
use trunnion_kinds::{
    IamInstanceProfile, IamRole, Tags, Value, former_iam_path, former_instance_profile_name, iam_path,
    instance_profile_name,
};

use super::{
    iam_role::{change, remove},
    tagging::{from_iam, to_iam},
};
use crate::{
    Aws, Connection,
    convert::{attribute, remote, tag_changes, texts, values},
    driver::{Driver, all},
    error::{Class, Failure, OfCall as _},
    reading::{Reading, Whose},
    recorded::is_iam_name,
};

async fn find(aws: &Aws, name: &str) -> Result<Option<(String, IamInstanceProfile)>, Failure> {
    let call = aws.clients.iam.get_instance_profile().instance_profile_name(name);
    match call.send().await.of_call("iam:GetInstanceProfile") {
        Ok(answer) => Ok(answer.instance_profile.map(|profile| {
            let mut roles: Vec<String> = profile.roles.into_iter().map(|role| role.role_name).collect();
            roles.sort();
            let found = IamInstanceProfile {
                name: profile.instance_profile_name,
                path: profile.path,
                roles: values(roles),
                tags: from_iam(profile.tags),
            };
            (profile.arn, found)
        })),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn as_remote(arn: &str, profile: &IamInstanceProfile) -> Result<Remote, Failure> {
    remote(&profile.name, profile, [("arn", arn.into())])
}

/// Removes the wrong roles, then adds the missing ones, because a profile can hold only one role.
async fn converge(aws: &Aws, from: &[Value], profile: &IamInstanceProfile) -> Result<(), Failure> {
    let iam = &aws.clients.iam;
    let from: BTreeSet<String> = texts(from)?.into_iter().collect();
    let to: BTreeSet<String> = texts(&profile.roles)?.into_iter().collect();
    for role in from.difference(&to) {
        remove_role(aws, &profile.name, role).await?;
    }
    for role in to.difference(&from) {
        let added = aws.patiently(&[Class::NotFound, Class::Precondition], || async {
            let call = iam.add_role_to_instance_profile().instance_profile_name(&profile.name).role_name(role);
            call.send().await.of_call("iam:AddRoleToInstanceProfile")
        });
        match added.await {
            // The profile may be full because an earlier call added this same role and its answer was lost. IAM may not
            // show it yet.
            Err(failure) if failure.code == "LimitExceeded" => {
                let roles = aws.until_seen(|| async {
                    let roles = find(aws, &profile.name).await?.map(|(_, found)| texts(&found.roles)).transpose()?;
                    Ok(roles.filter(|roles| !roles.is_empty()))
                });
                if !roles.await?.is_some_and(|roles| roles.contains(role)) {
                    return Err(failure);
                }
            }
            added => drop(added?),
        }
    }
    Ok(())
}

/// Removes a role from a profile.
pub(super) async fn remove_role(aws: &Aws, profile: &str, role: &str) -> Result<(), Failure> {
    remove(aws, || async {
        let call = aws.clients.iam.remove_role_from_instance_profile().instance_profile_name(profile).role_name(role);
        call.send().await.of_call("iam:RemoveRoleFromInstanceProfile")
    })
    .await
}

async fn change_tags(aws: &Aws, name: &str, from: &Tags, to: &Tags) -> Result<(), Failure> {
    let (set, removed) = tag_changes(from, to);
    let iam = &aws.clients.iam;
    if !set.is_empty() {
        let set = to_iam(&set)?;
        change(aws, || async {
            let call = iam.tag_instance_profile().instance_profile_name(name).set_tags(Some(set.clone()));
            call.send().await.of_call("iam:TagInstanceProfile")
        })
        .await?;
    }
    if !removed.is_empty() {
        change(aws, || async {
            let call = iam.untag_instance_profile().instance_profile_name(name).set_tag_keys(Some(removed.clone()));
            call.send().await.of_call("iam:UntagInstanceProfile")
        })
        .await?;
    }
    Ok(())
}

/// The names to read first: the recorded ones, or else the name of a new profile.
fn names(reading: &Reading<'_>) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = reading.recorded_ids(IamInstanceProfile::KIND).map(str::to_owned).collect();
    if names.is_empty() {
        names.insert(instance_profile_name(&reading.aws.connection.stack, &reading.aws.connection.region));
    }
    names
}

/// The stack's only instance profile, with a name made of the stack's and the region's.
pub(crate) struct IamInstanceProfiles;

impl Driver for IamInstanceProfiles {
    type Attributes = IamInstanceProfile;
    const RULES: Rules = IamInstanceProfile::RULES;
    const NOUN: &'static str = "the instance profile";
    const READS_BACK: bool = true;

    fn can_exist(name: &str, _: &Connection) -> bool {
        is_iam_name(name)
    }

    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        self.by_ids(reading.aws, names(reading).into_iter().collect()).await
    }

    async fn by_ids(&self, aws: &Aws, names: Vec<String>) -> Result<Vec<Remote>, Failure> {
        let asked = names.iter().map(|name| async move {
            find(aws, name).await?.map(|(arn, profile)| as_remote(&arn, &profile)).transpose()
        });
        all(asked).await
    }

    /// If none of the first names is the stack's profile: the name of a new profile and that of earlier versions. A
    /// profile of an earlier version exists only together with its role.
    fn further(&self, reading: &Reading<'_>) -> Vec<String> {
        if reading.seen(IamInstanceProfile::KIND).next().is_some() {
            return Vec::new();
        }
        let Connection { stack, region, .. } = &reading.aws.connection;
        let former_path = former_iam_path(stack);
        let mut roles = reading.seen(IamRole::KIND);
        let has_former_role = roles.any(|role| attribute(&role.attributes, "path") == former_path);
        let former = has_former_role.then(|| former_instance_profile_name(stack));
        let asked = names(reading);
        let names = [instance_profile_name(stack, region)].into_iter().chain(former);
        names.filter(|name| !asked.contains(name)).collect()
    }

    /// The path decides. A path of earlier versions has no region; then the profile belongs to the region of its role
    /// or, if it holds no role of the stack, to the state that has its name.
    fn whose(&self, reading: &Reading<'_>, profile: &Remote) -> Whose {
        let Connection { stack, region, .. } = &reading.aws.connection;
        let path = attribute(&profile.attributes, "path");
        let is_ours = if path == former_iam_path(stack) {
            let inside = profile.attributes.get("roles").and_then(Value::as_list).unwrap_or_default();
            let inside: Vec<&str> = inside.iter().filter_map(Value::as_text).collect();
            // Earlier versions gave role and profile the same name.
            let former = former_instance_profile_name(stack);
            reading.seen(IamRole::KIND).any(|role| inside.contains(&role.id.as_str()))
                || (reading.is_recorded(IamInstanceProfile::KIND, &profile.id) && !inside.contains(&former.as_str()))
        } else {
            path == iam_path(stack, region)
        };
        if is_ours { Whose::Ours(reading.address(IamInstanceProfile::KIND, profile)) } else { Whose::Other }
    }

    async fn create(&self, aws: &Aws, profile: IamInstanceProfile, _: &Token) -> Result<Remote, Failure> {
        let tags = to_iam(&profile.tags)?;
        let made = change(aws, || async {
            let call =
                aws.clients.iam.create_instance_profile().instance_profile_name(&profile.name).path(&profile.path);
            call.set_tags(Some(tags.clone())).send().await.of_call("iam:CreateInstanceProfile")
        });
        let (arn, found) = match made.await {
            Ok(answer) => {
                let arn = answer.instance_profile.map(|made| made.arn).unwrap_or_default();
                (arn, IamInstanceProfile { roles: Vec::new(), ..profile.clone() })
            }
            Err(failure) if failure.class == Class::AlreadyExists => {
                match aws.until_seen(|| find(aws, &profile.name)).await? {
                    Some((arn, found)) if found.path == profile.path && aws.owns(&found.tags) => (arn, found),
                    _ => return Err(Self::foreign(&profile.name)),
                }
            }
            Err(failure) => return Err(failure),
        };
        self.adopt(aws, &as_remote(&arn, &found)?, profile).await
    }

    async fn update(
        &self,
        aws: &Aws,
        remote: &Remote,
        profile: IamInstanceProfile,
        _: &[String],
    ) -> Result<Remote, Failure> {
        let from: IamInstanceProfile = crate::convert::typed(&remote.attributes)?;
        converge(aws, &from.roles, &profile).await?;
        change_tags(aws, &profile.name, &from.tags, &profile.tags).await?;
        as_remote(attribute(&remote.attributes, "arn"), &profile)
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        let Some((_, found)) = aws.if_shown(|| find(aws, &remote.id)).await? else { return Ok(()) };
        for role in texts(&found.roles)? {
            remove_role(aws, &remote.id, &role).await?;
        }
        remove(aws, || async {
            let call = aws.clients.iam.delete_instance_profile().instance_profile_name(&remote.id);
            call.send().await.of_call("iam:DeleteInstanceProfile")
        })
        .await
    }
}
