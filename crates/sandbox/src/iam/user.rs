//! Users and their access keys.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    answer, check_name, check_path, conflict, done, exists,
    held::Held,
    held_policy, limit, moment, no_such, path_prefix,
    role::Boundary,
    tag::{self, Tag},
    unique_id, validation,
    wire::{Members, paged, parameter, required},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    durations::Delay,
    json::hex_id,
    sts,
};

/// Quota `AccessKeysPerUser`.
const MAX_KEYS: usize = 2;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct User {
    pub name: String,
    pub path: String,
    pub id: String,
    pub arn: String,
    pub created: Timestamp,
    pub tags: Vec<Tag>,
    #[serde(flatten)]
    pub held: Held,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AccessKey {
    pub user: String,
    pub secret: String,
    pub active: bool,
    pub created: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    path: String,
    user_name: String,
    user_id: String,
    arn: String,
    create_date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions_boundary: Option<Boundary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Members<Tag>>,
}

impl User {
    fn shown_in_list(&self) -> Shown {
        Shown {
            path: self.path.clone(),
            user_name: self.name.clone(),
            user_id: self.id.clone(),
            arn: self.arn.clone(),
            create_date: moment(self.created),
            permissions_boundary: None,
            tags: None,
        }
    }

    fn shown(&self) -> Shown {
        let tags = (!self.tags.is_empty()).then(|| self.tags.iter().cloned().collect());
        Shown { permissions_boundary: Boundary::of(&self.held), tags, ..self.shown_in_list() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    user: Shown,
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let name = required(call, "UserName")?.to_owned();
    let path = parameter(call, "Path").unwrap_or("/").to_owned();
    check_name(&name, "userName", 64)?;
    check_path(&path)?;
    let tags = tag::given(call)?;
    let boundary = parameter(call, "PermissionsBoundary");
    held_policy::check_boundary(cloud, call, boundary)?;
    if cloud.iam.users.get(&name.to_lowercase()).is_some() || name.eq_ignore_ascii_case(sts::USER) {
        return Err(exists(format!("User with name {name} already exists.")));
    }
    let user = User {
        arn: format!("{}:iam::{}:user{path}{name}", call.arn(), cloud.account),
        id: unique_id(cloud, "AIDA"),
        path,
        created: call.now,
        tags,
        held: Held::new(None, boundary.map(str::to_owned)),
        name,
    };
    let one = One { user: user.shown() };
    cloud.iam.users.insert(user.name.to_lowercase(), user);
    answer(call, &one)
}

/// The administrator, who is always there and has no row.
fn administrator(cloud: &Cloud, call: &Call) -> Shown {
    Shown {
        path: "/".to_owned(),
        user_name: sts::USER.to_owned(),
        user_id: sts::USER_ID.to_owned(),
        arn: sts::user_arn(cloud, &call.region),
        create_date: "2026-01-01T00:00:00Z".to_owned(),
        permissions_boundary: None,
        tags: None,
    }
}

/// Without a name, the user who asks.
pub(super) fn get(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let own = || cloud.iam.keys.get(&call.origin.access_key).map_or(sts::USER, |key| key.user.as_str());
    let name = parameter(call, "UserName").unwrap_or_else(own);
    if name == sts::USER {
        return answer(call, &One { user: administrator(cloud, call) });
    }
    let user = find(cloud, name)?;
    if !cloud.knows(Delay::IamLag, &user.id, user.created, call.now) {
        return Err(unknown(&user.name));
    }
    answer(call, &One { user: user.shown() })
}

pub(super) fn list(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        users: Members<Shown>,
        is_truncated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
    }
    let prefix = path_prefix(call)?;
    let own = "/".starts_with(prefix).then(|| (sts::USER.to_owned(), administrator(cloud, call)));
    let users = cloud
        .iam
        .users
        .values()
        .filter(|user| format!("{}{}", user.path, user.name).starts_with(prefix))
        .filter(|user| cloud.knows(Delay::IamLag, &user.id, user.created, call.now))
        .map(|user| (user.name.clone(), user.shown_in_list()))
        .chain(own)
        .collect();
    let (users, is_truncated, marker) = paged(call, users)?;
    answer(call, &List { users, is_truncated, marker })
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let user = find(cloud, required(call, "UserName")?)?;
    if cloud.iam.keys.values().any(|key| key.user == user.name) {
        return Err(conflict("Cannot delete entity, must delete access keys first."));
    }
    if !user.held.inline.is_empty() {
        return Err(conflict("Cannot delete entity, must delete policies first."));
    }
    if !user.held.attached.is_empty() {
        return Err(conflict("Cannot delete entity, must detach all policies first."));
    }
    let key = user.name.to_lowercase();
    cloud.iam.users.remove(&key);
    done(call)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownKey {
    user_name: String,
    access_key_id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_access_key: Option<String>,
    create_date: String,
}

fn shown_key(id: &str, key: &AccessKey, secret: bool) -> ShownKey {
    ShownKey {
        user_name: key.user.clone(),
        access_key_id: id.to_owned(),
        status: if key.active { "Active" } else { "Inactive" },
        secret_access_key: secret.then(|| key.secret.clone()),
        create_date: moment(key.created),
    }
}

pub(super) fn create_key(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        access_key: ShownKey,
    }
    let user = find(cloud, required(call, "UserName")?)?.name.clone();
    if cloud.iam.keys.values().filter(|key| key.user == user).count() >= MAX_KEYS {
        return Err(limit(format!("Cannot exceed quota for AccessKeysPerUser: {MAX_KEYS}")));
    }
    let id: String = unique_id(cloud, "AKIA").chars().take(20).collect();
    let secret = hex_id(&format!("secret {id}"), 40);
    let key = AccessKey { user, secret, active: true, created: call.now };
    let access_key = shown_key(&id, &key, true);
    cloud.iam.keys.insert(id, key);
    answer(call, &Answer { access_key })
}

pub(super) fn list_keys(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        access_key_metadata: Members<ShownKey>,
        is_truncated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
    }
    let user = find(cloud, required(call, "UserName")?)?;
    let keys = cloud.iam.keys.iter().filter(|(_, key)| key.user == user.name);
    let keys = keys.map(|(id, key)| (id.to_owned(), shown_key(id, key, false))).collect();
    let (access_key_metadata, is_truncated, marker) = paged(call, keys)?;
    answer(call, &List { access_key_metadata, is_truncated, marker })
}

pub(super) fn update_key(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let active = match required(call, "Status")? {
        "Active" => true,
        "Inactive" => false,
        other => {
            return Err(validation(format!(
                "1 validation error detected: Value '{other}' at 'status' failed to satisfy constraint: Member must \
                 satisfy enum value set: [Active, Inactive]"
            )));
        }
    };
    let id = key_of(cloud, call)?;
    if let Some(key) = cloud.iam.keys.get_mut(&id) {
        key.active = active;
    }
    done(call)
}

pub(super) fn delete_key(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let id = key_of(cloud, call)?;
    cloud.iam.keys.remove(&id);
    done(call)
}

fn key_of(cloud: &Cloud, call: &Call) -> Result<String, Fault> {
    let user = find(cloud, required(call, "UserName")?)?;
    let id = required(call, "AccessKeyId")?;
    let is_theirs = cloud.iam.keys.get(id).is_some_and(|key| key.user == user.name);
    if is_theirs { Ok(id.to_owned()) } else { Err(no_such(format!("The Access Key with id {id} cannot be found."))) }
}

pub(super) fn find<'c>(cloud: &'c Cloud, name: &str) -> Result<&'c User, Fault> {
    cloud.iam.users.get(&name.to_lowercase()).filter(|user| user.name == name).ok_or_else(|| unknown(name))
}

pub(super) fn find_mut<'c>(cloud: &'c mut Cloud, name: &str) -> Result<&'c mut User, Fault> {
    find(cloud, name)?;
    cloud.iam.users.get_mut(&name.to_lowercase()).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Fault {
    no_such(format!("The user with name {name} cannot be found."))
}
