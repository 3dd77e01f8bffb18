//! Managed policies: the account's own, and those of AWS that the sandbox has the documents of.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use trunnion_catalog::limits::{MANAGED_POLICY, POLICY_NAME};

use super::{
    answer, check_name, check_path, conflict, done, exists, limit, moment, no_such, path_prefix,
    policy::{self, Named},
    tag::{self, Tag},
    unique_id,
    wire::{Members, paged, parameter, percent_encoded, required},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    durations::Delay,
};

/// Documents of AWS's policies by name (AWS Managed Policy Reference Guide, read November 2026).
const OF_AWS: [(&str, &str); 3] = [
    ("AdministratorAccess", r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#),
    (
        "PowerUserAccess",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":["iam:*","organizations:*","account:*"],"Resource":"*"},{"Effect":"Allow","Action":["account:GetAccountInformation","account:GetGovCloudAccountInformation","account:GetPrimaryEmail","account:ListRegions","iam:CreateServiceLinkedRole","iam:DeleteServiceLinkedRole","iam:ListRoles","organizations:DescribeEffectivePolicy","organizations:DescribeOrganization"],"Resource":"*"}]}"#,
    ),
    (
        "service-role/AmazonECSTaskExecutionRolePolicy",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr:GetAuthorizationToken","ecr:BatchCheckLayerAvailability","ecr:GetDownloadUrlForLayer","ecr:BatchGetImage","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"}]}"#,
    ),
];

/// A policy of the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Managed {
    pub name: String,
    pub path: String,
    pub id: String,
    pub document: String,
    pub description: Option<String>,
    pub created: Timestamp,
    pub tags: Vec<Tag>,
}

/// The documents of inline and attached policies.
pub(super) fn documents(cloud: &Cloud, inline: &BTreeMap<String, String>, attached: &[String]) -> Vec<Named> {
    let inline = inline.iter().map(|(name, document)| Named { name: name.clone(), document: document.clone() });
    inline.chain(attached.iter().map(|arn| document(cloud, arn))).collect()
}

/// The document of a managed policy; empty if the sandbox does not have it, which no request can be evaluated with.
pub(super) fn document(cloud: &Cloud, arn: &str) -> Named {
    let own = || cloud.iam.policies.get(arn).map(|policy| policy.document.clone());
    let of_aws = || {
        let (_, name) = arn.split_once(":iam::aws:policy/")?;
        OF_AWS.iter().find(|(known, _)| *known == name).map(|(_, document)| (*document).to_owned())
    };
    Named { name: arn.to_owned(), document: own().or_else(of_aws).unwrap_or_default() }
}

/// Refuses a policy that cannot be attached. AWS has many more policies than the sandbox has documents of.
pub(super) fn check_attachable(cloud: &Cloud, call: &Call, arn: &str) -> Result<(), Fault> {
    if arn.starts_with(&format!("{}:iam::aws:policy/", call.arn())) || cloud.iam.policies.get(arn).is_some() {
        return Ok(());
    }
    Err(no_such(format!("Policy {arn} does not exist or is not attachable.")))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    policy_name: String,
    policy_id: String,
    arn: String,
    path: String,
    default_version_id: &'static str,
    attachment_count: usize,
    permissions_boundary_usage_count: usize,
    is_attachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    create_date: String,
    update_date: String,
    tags: Members<Tag>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    policy: Shown,
}

fn shown(cloud: &Cloud, arn: &str, policy: &Managed) -> Shown {
    let holders = || cloud.iam.held();
    Shown {
        policy_name: policy.name.clone(),
        policy_id: policy.id.clone(),
        arn: arn.to_owned(),
        path: policy.path.clone(),
        default_version_id: "v1",
        attachment_count: holders().filter(|held| held.attached.iter().any(|one| one == arn)).count(),
        permissions_boundary_usage_count: holders().filter(|held| held.boundary.as_deref() == Some(arn)).count(),
        is_attachable: true,
        description: policy.description.clone(),
        create_date: moment(policy.created),
        update_date: moment(policy.created),
        tags: policy.tags.iter().cloned().collect(),
    }
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let name = required(call, "PolicyName")?.to_owned();
    let document = required(call, "PolicyDocument")?.to_owned();
    let path = parameter(call, "Path").unwrap_or("/").to_owned();
    check_name(&name, "policyName", POLICY_NAME)?;
    check_path(&path)?;
    let tags = tag::given(call)?;
    policy::check_identity(&document)?;
    check_size(&document)?;
    let taken = cloud.iam.policies.values().any(|policy| policy.name.eq_ignore_ascii_case(&name));
    if taken {
        return Err(exists(format!("A policy called {name} already exists. Duplicate names are not allowed.")));
    }
    let arn = format!("{}:iam::{}:policy{path}{name}", call.arn(), cloud.account);
    let row = Managed {
        name,
        path,
        id: unique_id(cloud, "ANPA"),
        document,
        description: parameter(call, "Description").map(str::to_owned),
        created: call.now,
        tags,
    };
    let one = One { policy: shown(cloud, &arn, &row) };
    cloud.iam.policies.insert(arn, row);
    answer(call, &one)
}

/// Refuses a document that is longer than AWS's quota, in which white space does not count.
fn check_size(document: &str) -> Result<(), Fault> {
    if document.chars().filter(|c| !c.is_whitespace()).count() > MANAGED_POLICY {
        return Err(limit(format!("Cannot exceed quota for PolicySize: {MANAGED_POLICY}")));
    }
    Ok(())
}

fn find<'c>(cloud: &'c Cloud, call: &'c Call) -> Result<(&'c str, &'c Managed), Fault> {
    let arn = required(call, "PolicyArn")?;
    if arn.contains(":iam::aws:policy/") {
        let message = format!("{} is not served here for a policy of AWS's own: {arn}", call.action);
        return Err(Fault::new("InvalidAction", message));
    }
    let found = cloud.iam.policies.get(arn);
    let found = found.filter(|policy| cloud.knows(Delay::IamLag, arn, policy.created, call.now));
    found.map(|policy| (arn, policy)).ok_or_else(|| no_such(format!("Policy {arn} was not found.")))
}

pub(super) fn get(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (arn, policy) = find(cloud, call)?;
    answer(call, &One { policy: shown(cloud, arn, policy) })
}

/// The first version is the only one.
pub(super) fn version(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        policy_version: Content,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Content {
        document: String,
        version_id: &'static str,
        is_default_version: bool,
        create_date: String,
    }
    let (arn, policy) = find(cloud, call)?;
    let wanted = required(call, "VersionId")?;
    if wanted != "v1" {
        return Err(no_such(format!("Policy {arn} version {wanted} does not exist or is not attachable.")));
    }
    let policy_version = Content {
        document: percent_encoded(&policy.document),
        version_id: "v1",
        is_default_version: true,
        create_date: moment(policy.created),
    };
    answer(call, &Answer { policy_version })
}

pub(super) fn list(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        policies: Members<Shown>,
        is_truncated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
    }
    if parameter(call, "Scope") != Some("Local") {
        return Err(Fault::new("InvalidAction", "ListPolicies is served here with the scope Local only."));
    }
    let prefix = path_prefix(call)?;
    let policies = cloud
        .iam
        .policies
        .iter()
        .filter(|(_, policy)| policy.path.starts_with(prefix))
        .filter(|(arn, policy)| cloud.knows(Delay::IamLag, arn, policy.created, call.now))
        .map(|(arn, policy)| (policy.name.clone(), shown(cloud, arn, policy)))
        .collect();
    let (policies, is_truncated, marker) = paged(call, policies)?;
    answer(call, &List { policies, is_truncated, marker })
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let arn = find(cloud, call)?.0.to_owned();
    let is_used = |held: &super::held::Held| held.attached.contains(&arn) || held.boundary.as_ref() == Some(&arn);
    if cloud.iam.held().any(is_used) {
        return Err(conflict("Cannot delete a policy attached to entities."));
    }
    cloud.iam.policies.remove(&arn);
    done(call)
}
