//! Roles: their trust policies, and what is attached to them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use trunnion_catalog::limits::{ROLE_NAME, TRUST_POLICY};

use super::{
    answer, check_name, check_path, conflict, delay, done, exists,
    held::Held,
    held_policy::{self, Whose},
    limit, moment, no_such, path_prefix, policy,
    tag::{self, Tag},
    unique_id, validation,
    wire::{Members, paged, parameter, percent_encoded, required},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Role {
    pub name: String,
    pub path: String,
    pub id: String,
    pub arn: String,
    pub created: Timestamp,
    pub tags: Vec<Tag>,
    #[serde(flatten)]
    pub held: Held,
    pub description: Option<String>,
    pub max_session_seconds: u32,
}

/// A role in an answer; members that a call omits are `None`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shown {
    path: String,
    role_name: String,
    role_id: String,
    arn: String,
    create_date: String,
    assume_role_policy_document: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_session_duration: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions_boundary: Option<Boundary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Members<Tag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_last_used: Option<Nothing>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Boundary {
    permissions_boundary_type: &'static str,
    permissions_boundary_arn: String,
}

/// An empty element.
#[derive(Serialize)]
pub(super) struct Nothing {}

impl Role {
    /// The role in `ListRoles` and in instance profiles: without tags, boundary and last use.
    pub(super) fn shown_in_list(&self) -> Shown {
        Shown {
            path: self.path.clone(),
            role_name: self.name.clone(),
            role_id: self.id.clone(),
            arn: self.arn.clone(),
            create_date: moment(self.created),
            assume_role_policy_document: percent_encoded(self.held.trust()),
            description: self.description.clone(),
            max_session_duration: Some(self.max_session_seconds),
            permissions_boundary: None,
            tags: None,
            role_last_used: None,
        }
    }

    fn shown(&self) -> Shown {
        let tags = (!self.tags.is_empty()).then(|| self.tags.iter().cloned().collect());
        Shown { permissions_boundary: self.boundary(), tags, role_last_used: Some(Nothing {}), ..self.shown_in_list() }
    }

    pub(super) fn boundary(&self) -> Option<Boundary> {
        Boundary::of(&self.held)
    }
}

impl Boundary {
    pub(super) fn of(held: &Held) -> Option<Self> {
        let arn = held.boundary.clone()?;
        Some(Self { permissions_boundary_type: "Policy", permissions_boundary_arn: arn })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    role: Shown,
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let name = required(call, "RoleName")?.to_owned();
    let trust = required(call, "AssumeRolePolicyDocument")?.to_owned();
    let path = parameter(call, "Path").unwrap_or("/").to_owned();
    check_name(&name, "roleName", ROLE_NAME)?;
    check_path(&path)?;
    let tags = tag::given(call)?;
    check_trust(cloud, call, &trust)?;
    let max_session_seconds = session(call)?.unwrap_or(3_600);
    let boundary = parameter(call, "PermissionsBoundary");
    held_policy::check_boundary(cloud, call, boundary)?;
    if cloud.iam.roles.get(&name.to_lowercase()).is_some() {
        return Err(exists(format!("Role with name {name} already exists.")));
    }
    let role = Role {
        arn: format!("{}:iam::{}:role{path}{name}", call.arn(), cloud.account),
        id: unique_id(cloud, "AROA"),
        path,
        created: call.now,
        tags,
        held: Held::new(Some(trust), boundary.map(str::to_owned)),
        description: parameter(call, "Description").map(str::to_owned),
        max_session_seconds,
        name,
    };
    let shown = One { role: Shown { role_last_used: None, ..role.shown() } };
    cloud.iam.roles.insert(role.name.to_lowercase(), role);
    answer(call, &shown)
}

/// The services that are simulated and have a service-linked role, and its name.
const SERVICE_ROLES: [(&str, &str); 2] =
    [("ecs.amazonaws.com", "AWSServiceRoleForECS"), ("spot.amazonaws.com", "AWSServiceRoleForEC2Spot")];

pub(super) fn name_for_service(service: &str) -> Option<&'static str> {
    SERVICE_ROLES.iter().find(|(other, _)| *other == service).map(|(_, name)| *name)
}

/// What AWS does itself with the first cluster and the first spot instance of an account, if the caller may.
pub(super) fn create_service_role(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let service = required(call, "AWSServiceName")?;
    let Some(name) = name_for_service(service) else {
        let message = format!("CreateServiceLinkedRole is not served here for {service}.");
        return Err(Fault::new("InvalidAction", message));
    };
    if parameter(call, "CustomSuffix").is_some() {
        return Err(Fault::new("InvalidInput", format!("Custom suffix is not allowed for {service}")));
    }
    if cloud.iam.service_role_since(name).is_some() {
        let message =
            format!("Service role name {name} has been taken in this account, please try a different suffix.");
        return Err(Fault::new("InvalidInput", message));
    }
    make_service_role(cloud, name, service, call);
    let role = find_mut(cloud, name)?;
    role.description = parameter(call, "Description").map(str::to_owned);
    answer(call, &One { role: Shown { role_last_used: None, ..role.shown() } })
}

/// A service-linked role; only its service can change it.
pub(super) fn make_service_role(cloud: &mut Cloud, name: &str, service: &str, call: &Call) {
    let path = format!("/aws-service-role/{service}/");
    let role = Role {
        arn: format!("{}:iam::{}:role{path}{name}", call.arn(), cloud.account),
        id: unique_id(cloud, "AROA"),
        path,
        created: call.now,
        held: Held::new(
            Some(format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Service":"{service}"}},"Action":"sts:AssumeRole"}}]}}"#
            )),
            None,
        ),
        tags: Vec::new(),
        description: None,
        max_session_seconds: 3_600,
        name: name.to_owned(),
    };
    cloud.iam.roles.insert(role.name.to_lowercase(), role);
}

pub(super) fn get(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let name = required(call, "RoleName")?;
    let role = delay::seen(cloud, call).find(|role| role.name == name).ok_or_else(|| unknown(name))?;
    answer(call, &One { role: role.shown() })
}

pub(super) fn list(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        roles: Members<Shown>,
        is_truncated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
    }
    let prefix = path_prefix(call)?;
    let roles = delay::seen(cloud, call)
        .filter(|role| format!("{}{}", role.path, role.name).starts_with(prefix))
        .map(|role| (role.name.clone(), role.shown_in_list()))
        .collect();
    let (roles, is_truncated, marker) = paged(call, roles)?;
    answer(call, &List { roles, is_truncated, marker })
}

pub(super) fn update(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let (session, description) = (session(call)?, parameter(call, "Description").map(str::to_owned));
    let role = find_mut(cloud, required(call, "RoleName")?)?;
    role.description = description.or(role.description.take());
    role.max_session_seconds = session.unwrap_or(role.max_session_seconds);
    answer(call, &Nothing {})
}

pub(super) fn update_trust(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let trust = required(call, "PolicyDocument")?;
    find(cloud, required(call, "RoleName")?)?;
    check_trust(cloud, call, trust)?;
    Whose::Role.held_mut(cloud, call)?.trust = Some(trust.to_owned());
    done(call)
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let role = find(cloud, required(call, "RoleName")?)?;
    if cloud.iam.profiles.values().any(|profile| profile.role.as_ref() == Some(&role.name)) {
        return Err(conflict("Cannot delete entity, must remove roles from instance profile first."));
    }
    if !role.held.inline.is_empty() {
        return Err(conflict("Cannot delete entity, must delete policies first."));
    }
    if !role.held.attached.is_empty() {
        return Err(conflict("Cannot delete entity, must detach all policies first."));
    }
    let key = role.name.to_lowercase();
    cloud.iam.roles.remove(&key);
    done(call)
}

pub(super) fn find<'w>(cloud: &'w Cloud, name: &str) -> Result<&'w Role, Fault> {
    cloud.iam.roles.get(&name.to_lowercase()).filter(|role| role.name == name).ok_or_else(|| unknown(name))
}

pub(super) fn find_mut<'w>(cloud: &'w mut Cloud, name: &str) -> Result<&'w mut Role, Fault> {
    find(cloud, name)?;
    cloud.iam.roles.get_mut(&name.to_lowercase()).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Fault {
    no_such(format!("The role with name {name} cannot be found."))
}

fn check_trust(cloud: &Cloud, call: &Call, document: &str) -> Result<(), Fault> {
    policy::check_trust(document)?;
    policy::check_principals(document, &call.region)?;
    if let Some(arn) = super::unknown_principal(cloud, document, &call.region, call.now) {
        return Err(Fault::new("MalformedPolicyDocument", format!("Invalid principal in policy: \"AWS\":\"{arn}\"")));
    }
    if document.chars().filter(|c| !c.is_whitespace()).count() > TRUST_POLICY {
        return Err(limit(format!("Cannot exceed quota for ACLSizePerRole: {TRUST_POLICY}")));
    }
    Ok(())
}

fn session(call: &Call) -> Result<Option<u32>, Fault> {
    let Some(text) = parameter(call, "MaxSessionDuration") else { return Ok(None) };
    match text.parse() {
        Ok(seconds) if (3_600..=43_200).contains(&seconds) => Ok(Some(seconds)),
        _ => Err(validation(format!(
            "1 validation error detected: Value '{text}' at 'maxSessionDuration' failed to satisfy constraint: Member \
             must have value between 3600 and 43200"
        ))),
    }
}
