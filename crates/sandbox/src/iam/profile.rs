//! Instance profiles, which give an instance its role; a profile has at most one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use trunnion_catalog::limits::PROFILE_NAME;

use super::{
    answer, check_name, check_path, conflict, done, exists, limit, moment, no_such, path_prefix, role,
    tag::{self, Tag},
    unique_id,
    wire::{Members, paged, parameter, required},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    durations::Delay,
};

/// An instance profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InstanceProfile {
    /// Unique in the account, regardless of case and path.
    pub name: String,
    /// `/` or `/…/`.
    pub path: String,
    /// Unique id (`AIPA…`).
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// When it was created; `RunInstances` accepts it only some seconds later.
    pub created: Timestamp,
    /// The name of its role, if it has one.
    pub role: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shown {
    path: String,
    instance_profile_name: String,
    instance_profile_id: String,
    arn: String,
    create_date: String,
    roles: Members<role::Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Members<Tag>>,
}

impl InstanceProfile {
    /// The profile in list calls: with its role, without tags.
    pub(super) fn shown_in_list(&self, cloud: &Cloud) -> Shown {
        let role = self.role.as_ref().and_then(|name| role::find(cloud, name).ok());
        Shown {
            path: self.path.clone(),
            instance_profile_name: self.name.clone(),
            instance_profile_id: self.id.clone(),
            arn: self.arn.clone(),
            create_date: moment(self.created),
            roles: role.map(role::Role::shown_in_list).into_iter().collect(),
            tags: None,
        }
    }

    fn shown(&self, cloud: &Cloud) -> Shown {
        Shown { tags: Some(self.tags.iter().cloned().collect()), ..self.shown_in_list(cloud) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    instance_profile: Shown,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    instance_profiles: Members<Shown>,
    is_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    marker: Option<String>,
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let name = required(call, "InstanceProfileName")?.to_owned();
    let path = parameter(call, "Path").unwrap_or("/").to_owned();
    check_name(&name, "instanceProfileName", PROFILE_NAME)?;
    check_path(&path)?;
    let tags = tag::given(call)?;
    if cloud.iam.profiles.get(&name.to_lowercase()).is_some() {
        return Err(exists(format!("Instance Profile {name} already exists.")));
    }
    let profile = InstanceProfile {
        arn: format!("{}:iam::{}:instance-profile{path}{name}", call.arn(), cloud.account),
        id: unique_id(cloud, "AIPA"),
        path,
        created: call.now,
        role: None,
        tags,
        name,
    };
    let shown = One { instance_profile: profile.shown(cloud) };
    cloud.iam.profiles.insert(profile.name.to_lowercase(), profile);
    answer(call, &shown)
}

pub(super) fn get(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let profile = find(cloud, required(call, "InstanceProfileName")?)?;
    if !cloud.knows(Delay::IamLag, &profile.arn, profile.created, call.now) {
        return Err(unknown(&profile.name));
    }
    answer(call, &One { instance_profile: profile.shown(cloud) })
}

pub(super) fn list(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let prefix = path_prefix(call)?;
    listed(cloud, call, |profile| format!("{}{}", profile.path, profile.name).starts_with(prefix))
}

pub(super) fn list_for_role(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let role = role::find(cloud, required(call, "RoleName")?)?;
    listed(cloud, call, |profile| profile.role.as_ref() == Some(&role.name))
}

fn listed(cloud: &Cloud, call: &Call, wanted: impl Fn(&InstanceProfile) -> bool) -> Result<Reply, Fault> {
    let profiles = cloud
        .iam
        .profiles
        .values()
        .filter(|profile| wanted(profile) && cloud.knows(Delay::IamLag, &profile.arn, profile.created, call.now))
        .map(|profile| (profile.name.clone(), profile.shown_in_list(cloud)))
        .collect();
    let (instance_profiles, is_truncated, marker) = paged(call, profiles)?;
    answer(call, &List { instance_profiles, is_truncated, marker })
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let profile = find(cloud, required(call, "InstanceProfileName")?)?;
    if profile.role.is_some() {
        return Err(conflict("Cannot delete entity, must remove roles from instance profile first."));
    }
    let key = profile.name.to_lowercase();
    cloud.iam.profiles.remove(&key);
    done(call)
}

pub(super) fn add_role(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let role = role::find(cloud, required(call, "RoleName")?)?.name.clone();
    let profile = find_mut(cloud, required(call, "InstanceProfileName")?)?;
    if profile.role.is_some() {
        return Err(limit("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"));
    }
    profile.role = Some(role);
    done(call)
}

pub(super) fn remove_role(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let role = required(call, "RoleName")?;
    let profile = find_mut(cloud, required(call, "InstanceProfileName")?)?;
    if profile.role.as_deref() != Some(role) {
        return Err(no_such(format!("The role with name {role} is not in the instance profile {}.", profile.name)));
    }
    profile.role = None;
    done(call)
}

pub(super) fn find<'w>(cloud: &'w Cloud, name: &str) -> Result<&'w InstanceProfile, Fault> {
    cloud.iam.profiles.get(&name.to_lowercase()).filter(|profile| profile.name == name).ok_or_else(|| unknown(name))
}

pub(super) fn find_mut<'w>(cloud: &'w mut Cloud, name: &str) -> Result<&'w mut InstanceProfile, Fault> {
    find(cloud, name)?;
    cloud.iam.profiles.get_mut(&name.to_lowercase()).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Fault {
    no_such(format!("Instance Profile {name} cannot be found."))
}
