//! `iam_role`. Its name is unique in the account and contains the region. A role belongs to the stack if its path and
//! tags say so. Roles of earlier versions have no region in name and path; it is read from their policies.

use std::collections::BTreeSet;

use trunnion_engine::{Address, Map, Remote, Rules, Token};
use trunnion_kinds::{
    IamRole, Tags, Value, bucket_prefix, former_iam_path, former_role_name, iam_path, iam_prefix, region_of,
};

use super::{
    iam_instance_profile::remove_role,
    tagging::{from_iam, to_iam},
};
use crate::{
    Aws, Connection,
    convert::{attribute, percent_decoded, remote, tag_changes, text, touches, typed},
    driver::{Driver, Wanted, all},
    error::{Class, Failure, OfCall as _, unless_gone},
    reading::{Reading, Whose},
    recorded::is_iam_name,
};

/// The region that the policies of a role from an earlier version name.
fn region<'p>(aws: &Aws, policies: &[&'p str]) -> Option<&'p str> {
    region_of(policies, &bucket_prefix(&aws.connection.stack, &aws.connection.account))
}

/// The path of the role with this name, of any owner.
async fn path_of(aws: &Aws, name: &str) -> Result<Option<String>, Failure> {
    match aws.clients.iam.get_role().role_name(name).send().await.of_call("iam:GetRole") {
        Ok(answer) => Ok(answer.role.map(|role| role.path)),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn as_remote(arn: &str, role: &IamRole) -> Result<Remote, Failure> {
    remote(&role.name, role, [("arn", arn.into())])
}

async fn find(aws: &Aws, name: &str) -> Result<Option<(String, IamRole)>, Failure> {
    let inline = async {
        let names = inline_policies(aws, name).await?;
        let policy = if names.iter().any(|name| name == IamRole::POLICY) { policy(aws, name).await? } else { None };
        Ok((names, policy))
    };
    let read = futures::try_join!(
        Box::pin(async { aws.clients.iam.get_role().role_name(name).send().await.of_call("iam:GetRole") }),
        Box::pin(inline),
        Box::pin(attached_policies(aws, name)),
    );
    let (role, (mut inline, policy), attached) = match read {
        Ok(read) => read,
        Err(failure) if failure.class == Class::NotFound => return Ok(None),
        Err(failure) => return Err(failure),
    };
    inline.retain(|name| name != IamRole::POLICY);
    Ok(role.role.map(|role| {
        let found = IamRole {
            name: role.role_name,
            path: role.path,
            description: role.description.unwrap_or_default(),
            trust_policy: percent_decoded(&role.assume_role_policy_document.unwrap_or_default()),
            policy,
            other_policies: inline,
            attached_policies: attached,
            tags: from_iam(role.tags),
        };
        (role.arn, found)
    }))
}

async fn policy(aws: &Aws, role: &str) -> Result<Option<Value>, Failure> {
    let call = aws.clients.iam.get_role_policy().role_name(role).policy_name(IamRole::POLICY);
    match call.send().await.of_call("iam:GetRolePolicy") {
        Ok(answer) => Ok(Some(percent_decoded(&answer.policy_document).into())),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn inline_policies(aws: &Aws, role: &str) -> Result<Vec<String>, Failure> {
    let mut pages = aws.clients.iam.list_role_policies().role_name(role).into_paginator().send();
    let mut names = Vec::new();
    while let Some(page) = pages.next().await {
        names.extend(page.of_call("iam:ListRolePolicies")?.policy_names);
    }
    names.sort();
    Ok(names)
}

async fn attached_policies(aws: &Aws, role: &str) -> Result<Vec<String>, Failure> {
    let mut pages = aws.clients.iam.list_attached_role_policies().role_name(role).into_paginator().send();
    let mut arns = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.of_call("iam:ListAttachedRolePolicies")?;
        arns.extend(page.attached_policies.into_iter().flatten().filter_map(|policy| policy.policy_arn));
    }
    arns.sort();
    Ok(arns)
}

/// Makes a role match: the description and the trust policy if `paths` name them, policies and tags if they differ.
async fn converge(aws: &Aws, from: &IamRole, to: &IamRole, paths: &[String]) -> Result<(), Failure> {
    let iam = &aws.clients.iam;
    let name = &to.name;
    if touches(paths, "description") {
        change(aws, || async {
            iam.update_role().role_name(name).description(&to.description).send().await.of_call("iam:UpdateRole")
        })
        .await?;
    }
    if touches(paths, "trust_policy") {
        change(aws, || async {
            let call = iam.update_assume_role_policy().role_name(name).policy_document(&to.trust_policy);
            call.send().await.of_call("iam:UpdateAssumeRolePolicy")
        })
        .await?;
    }
    if from.policy != to.policy {
        if let Some(policy) = &to.policy {
            let policy = text(policy)?;
            aws.patiently(&[Class::NotFound, Class::Precondition], || async {
                let call = iam.put_role_policy().role_name(name).policy_name(IamRole::POLICY).policy_document(policy);
                call.send().await.of_call("iam:PutRolePolicy")
            })
            .await?;
        } else {
            delete_inline(aws, name, IamRole::POLICY).await?;
        }
    }
    for policy in from.other_policies.iter().filter(|policy| !to.other_policies.contains(policy)) {
        delete_inline(aws, name, policy).await?;
    }
    for policy in from.attached_policies.iter().filter(|policy| !to.attached_policies.contains(policy)) {
        detach(aws, name, policy).await?;
    }
    for policy in to.attached_policies.iter().filter(|policy| !from.attached_policies.contains(policy)) {
        change(aws, || async {
            iam.attach_role_policy().role_name(name).policy_arn(policy).send().await.of_call("iam:AttachRolePolicy")
        })
        .await?;
    }
    change_tags(aws, name, &from.tags, &to.tags).await
}

async fn change_tags(aws: &Aws, name: &str, from: &Tags, to: &Tags) -> Result<(), Failure> {
    let (set, removed) = tag_changes(from, to);
    let iam = &aws.clients.iam;
    if !set.is_empty() {
        let set = to_iam(&set)?;
        change(aws, || async {
            iam.tag_role().role_name(name).set_tags(Some(set.clone())).send().await.of_call("iam:TagRole")
        })
        .await?;
    }
    if !removed.is_empty() {
        change(aws, || async {
            iam.untag_role().role_name(name).set_tag_keys(Some(removed.clone())).send().await.of_call("iam:UntagRole")
        })
        .await?;
    }
    Ok(())
}

async fn delete_inline(aws: &Aws, role: &str, policy: &str) -> Result<(), Failure> {
    remove(aws, || async {
        let call = aws.clients.iam.delete_role_policy().role_name(role).policy_name(policy);
        call.send().await.of_call("iam:DeleteRolePolicy")
    })
    .await
}

async fn detach(aws: &Aws, role: &str, policy: &str) -> Result<(), Failure> {
    remove(aws, || async {
        let call = aws.clients.iam.detach_role_policy().role_name(role).policy_arn(policy);
        call.send().await.of_call("iam:DetachRolePolicy")
    })
    .await
}

/// A change in IAM, which refuses two changes of the same thing at a time.
pub(super) async fn change<T, F>(aws: &Aws, call: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>> + Send,
{
    aws.patiently(&[Class::Precondition], call).await
}

/// A removal. Something that does not exist counts as removed; IAM may still report as attached what was removed a
/// moment ago.
pub(super) async fn remove<T, F>(aws: &Aws, call: impl FnMut() -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<T, Failure>> + Send,
{
    unless_gone(aws.patiently(&[Class::InUse, Class::Precondition], call).await)
}

/// The roles in the stack's paths: the path with the region, and the path of earlier versions without it.
pub(crate) struct IamRoles;

impl Driver for IamRoles {
    type Attributes = IamRole;
    const RULES: Rules = IamRole::RULES;
    const NOUN: &'static str = "the IAM role";
    const READS_BACK: bool = true;
    const ROUNDS: u32 = 2;
    const LIST_MISSES: bool = true;

    fn can_exist(name: &str, _: &Connection) -> bool {
        is_iam_name(name)
    }

    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        let aws = reading.aws;
        let connection = &aws.connection;
        let (ours, former) = (iam_path(&connection.stack, &connection.region), former_iam_path(&connection.stack));
        // The common prefix of both paths.
        let mut pages = aws.clients.iam.list_roles().path_prefix(iam_prefix(&connection.stack)).into_paginator().send();
        let mut listed = Vec::new();
        while let Some(page) = pages.next().await {
            let found = page.of_call("iam:ListRoles")?.roles.into_iter().filter(|role| {
                let trust = percent_decoded(role.assume_role_policy_document.as_deref().unwrap_or_default());
                role.path == ours
                    || (role.path == former && region(aws, &[&trust]).is_none_or(|found| found == connection.region))
            });
            listed.extend(found.map(|role| Remote::new(role.role_name, Map::new())));
        }
        Ok(listed)
    }

    async fn detail(&self, reading: &Reading<'_>, listed: Vec<Remote>) -> Result<Vec<Remote>, Failure> {
        self.by_ids(reading.aws, listed.into_iter().map(|role| role.id).collect()).await
    }

    async fn by_ids(&self, aws: &Aws, names: Vec<String>) -> Result<Vec<Remote>, Failure> {
        let asked = names
            .iter()
            .map(|name| async move { find(aws, name).await?.map(|(arn, role)| as_remote(&arn, &role)).transpose() });
        all(asked).await
    }

    /// The path decides. For a role in the path of earlier versions, its policies or the state decide whether it is of
    /// this region.
    fn whose(&self, reading: &Reading<'_>, role: &Remote) -> Whose {
        let connection = &reading.aws.connection;
        let path = attribute(&role.attributes, "path");
        let policies = ["trust_policy", "policy"].map(|name| attribute(&role.attributes, name));
        let is_recorded = || reading.is_recorded(IamRole::KIND, &role.id);
        let is_ours = path == iam_path(&connection.stack, &connection.region)
            || (path == former_iam_path(&connection.stack)
                && region(reading.aws, &policies).map_or_else(is_recorded, |found| found == connection.region));
        if is_ours { Whose::Ours(reading.address(IamRole::KIND, role)) } else { Whose::Other }
    }

    /// A role of an earlier version keeps its name.
    fn to_ask(&self, reading: &Reading<'_>, listed: &[Remote]) -> Vec<Wanted> {
        let listed: BTreeSet<&str> = listed.iter().map(|role| role.id.as_str()).collect();
        let former = |address: &Address| former_role_name(reading.desired.stack(), &address.name.replace('_', "-"));
        let is_there = |wanted: &Wanted| {
            listed.contains(wanted.name.as_str()) || listed.contains(former(&wanted.address).as_str())
        };
        reading.names(IamRole::KIND, Self::NAME).filter(|wanted| !is_there(wanted)).collect()
    }

    async fn taken(&self, reading: &Reading<'_>, names: Vec<Wanted>) -> Result<Vec<Wanted>, Failure> {
        let aws = reading.aws;
        let path = &iam_path(&aws.connection.stack, &aws.connection.region);
        let asked = names.into_iter().map(|wanted| async move {
            let found = path_of(aws, &wanted.name).await?;
            Ok(found.filter(|found| found != path).map(|_| wanted))
        });
        all(asked).await
    }

    async fn create(&self, aws: &Aws, role: IamRole, _: &Token) -> Result<Remote, Failure> {
        let tags = to_iam(&role.tags)?;
        let made = change(aws, || async {
            let call = aws.clients.iam.create_role().role_name(&role.name).path(&role.path);
            let call = call.assume_role_policy_document(&role.trust_policy).set_tags(Some(tags.clone()));
            let call = call.set_description(Some(role.description.clone()).filter(|text| !text.is_empty()));
            call.send().await.of_call("iam:CreateRole")
        });
        let (arn, found) = match made.await {
            Ok(answer) => {
                let arn = answer.role.map(|made| made.arn).unwrap_or_default();
                let made =
                    IamRole { policy: None, other_policies: Vec::new(), attached_policies: Vec::new(), ..role.clone() };
                (arn, made)
            }
            Err(failure) if failure.class == Class::AlreadyExists => {
                match aws.until_seen(|| find(aws, &role.name)).await? {
                    Some((arn, found)) if found.path == role.path && aws.owns(&found.tags) => (arn, found),
                    _ => return Err(Self::foreign(&role.name)),
                }
            }
            Err(failure) => return Err(failure),
        };
        self.adopt(aws, &as_remote(&arn, &found)?, role).await
    }

    async fn update(&self, aws: &Aws, remote: &Remote, role: IamRole, paths: &[String]) -> Result<Remote, Failure> {
        converge(aws, &typed(&remote.attributes)?, &role, paths).await?;
        as_remote(attribute(&remote.attributes, "arn"), &role)
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        let name = &remote.id;
        let Some((_, role)) = find(aws, name).await? else { return Ok(()) };
        for policy in &role.attached_policies {
            detach(aws, name, policy).await?;
        }
        for policy in
            role.other_policies.iter().map(String::as_str).chain(role.policy.as_ref().map(|_| IamRole::POLICY))
        {
            delete_inline(aws, name, policy).await?;
        }
        let mut pages = aws.clients.iam.list_instance_profiles_for_role().role_name(name).into_paginator().send();
        while let Some(page) = pages.next().await {
            for profile in page.of_call("iam:ListInstanceProfilesForRole")?.instance_profiles {
                remove_role(aws, &profile.instance_profile_name, name).await?;
            }
        }
        remove(aws, || async { aws.clients.iam.delete_role().role_name(name).send().await.of_call("iam:DeleteRole") })
            .await
    }
}
