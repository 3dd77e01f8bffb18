//! Secrets Manager: the existence of secrets, and their values.
//!
//! Every region starts with the two secrets of the reference stack, whose values are obviously not real. They are not
//! stored as rows; instead, their deletion is.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunnion_catalog::limits;

use crate::{
    call::{Call, Fault, Reply, arn_of},
    cloud::Cloud,
    json::{epoch, hex_id, input, page, uuid_id},
    table::{AnyTable, Table},
};

/// The secrets of the reference stack: name, the six characters that Secrets Manager appends, value.
const SEEDED: [(&str, &str, &str); 2] = [
    ("gatling/token", "AbCdEf", "cpt_sandbox"),
    (
        "gatling/ssh",
        "AbCdEf",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nsandbox: not a key\n-----END OPENSSH PRIVATE KEY-----\n",
    ),
];

/// The secrets of every region.
#[derive(Debug, Default)]
pub struct State {
    /// By ARN.
    secrets: Table<Secret>,
}

impl State {
    /// Every table, for the journal.
    pub fn tables(&mut self) -> Vec<(&'static str, &mut dyn AnyTable)> {
        vec![("secrets.secrets", &mut self.secrets)]
    }

    /// The complete ARN of the secret for a container, or why it cannot be read. The reference can continue after the
    /// secret's ARN (`…:json-key:version-stage:version-id`); then the ARN must be the complete one.
    pub(crate) fn readable(&self, from: &str, account: &str) -> Result<String, String> {
        let parts: Vec<&str> = from.split(':').collect();
        let (bare, further) = parts.split_at(parts.len().min(7));
        let (bare, region) = (bare.join(":"), parts.get(3).copied().unwrap_or_default());
        let not_found = || "ResourceNotFoundException: Secrets Manager can't find the specified secret.".to_owned();
        let (arn, secret) = self.find(region, account, &bare).ok_or_else(not_found)?;
        if secret.deleted.is_some() {
            return Err("InvalidRequestException: the secret was marked for deletion.".to_owned());
        }
        if !secret.has_value() {
            let message = "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT";
            return Err(format!("ResourceNotFoundException: {message}"));
        }
        if further.is_empty() {
            return Ok(arn);
        }
        let &[key, stage, version] = further else {
            return Err(format!("invalid ARN: {from} has not exactly three fields behind the secret's name."));
        };
        if arn != bare {
            return Err(format!("unexpected ARN format with parameters when trying to retrieve ASM secret: {from}"));
        }
        let is_other_version =
            !matches!(stage, "" | "AWSCURRENT") || !(version.is_empty() || version == secret.version);
        if is_other_version {
            return Err(
                "ResourceNotFoundException: Secrets Manager can't find the specified secret version.".to_owned()
            );
        }
        let json = secret.text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        if !key.is_empty() && json.is_none_or(|json| json.get(key).is_none()) {
            return Err(format!("retrieved secret from Secrets Manager did not contain json key {key}"));
        }
        Ok(arn)
    }

    /// The whole ARN of a secret that a call names, and its tags.
    pub(crate) fn permitted(&self, region: &str, account: &str, id: &str) -> Option<(String, Vec<(String, String)>)> {
        let (arn, secret) = self.find(region, account, id)?;
        let text = |tag: &Value, member: &str| tag[member].as_str().unwrap_or_default().to_owned();
        Some((arn, secret.tags.iter().map(|tag| (text(tag, "Key"), text(tag, "Value"))).collect()))
    }

    /// By ARN, by ARN without its last seven characters, or by name.
    fn find(&self, region: &str, account: &str, id: &str) -> Option<(String, Secret)> {
        self.all(region, account).into_iter().find(|(arn, secret)| {
            let partial = arn.len().checked_sub(7).and_then(|end| arn.get(..end));
            arn == id || secret.name == id || partial == Some(id)
        })
    }

    /// ARNs and tags of the secrets of a region that are not scheduled for deletion.
    pub(crate) fn tagged(&self, region: &str, account: &str) -> Vec<(String, BTreeMap<String, String>)> {
        let all = self.all(region, account).into_iter().filter(|(_, secret)| secret.deleted.is_none());
        all.map(|(arn, secret)| {
            let pair = |tag: &Value| Some((tag["Key"].as_str()?.to_owned(), tag["Value"].as_str()?.to_owned()));
            (arn, secret.tags.iter().filter_map(pair).collect())
        })
        .collect()
    }

    fn all(&self, region: &str, account: &str) -> Vec<(String, Secret)> {
        let mut all: BTreeMap<String, Secret> = SEEDED
            .iter()
            .map(|(name, suffix, value)| (arn(region, account, name, suffix), Secret::seeded(region, name, value)))
            .collect();
        let rows = self.secrets.iter().filter(|(_, secret)| secret.region == region);
        all.extend(rows.map(|(arn, secret)| (arn.to_owned(), secret.clone())));
        all.into_iter().filter(|(_, secret)| !secret.purged).collect()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Secret {
    region: String,
    name: String,
    description: Option<String>,
    kms_key_id: Option<String>,
    text: Option<String>,
    /// In base64, as in requests and answers.
    binary: Option<String>,
    version: String,
    tags: Vec<Value>,
    created: Timestamp,
    /// When it will be deleted; set by `DeleteSecret`.
    deleted: Option<Timestamp>,
    /// Deleted without recovery: kept only so that a default secret does not return.
    purged: bool,
}

impl Secret {
    /// A secret can be created without a value, and then has no version.
    fn has_value(&self) -> bool {
        self.text.is_some() || self.binary.is_some()
    }

    fn seeded(region: &str, name: &str, value: &str) -> Self {
        Self {
            region: region.to_owned(),
            name: name.to_owned(),
            description: None,
            kms_key_id: None,
            text: Some(value.to_owned()),
            binary: None,
            version: uuid_id(&format!("{region} {name}")),
            tags: Vec::new(),
            created: Timestamp::UNIX_EPOCH,
            deleted: None,
            purged: false,
        }
    }
}

/// Answers one call.
pub fn handle(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    match call.action.as_str() {
        "DescribeSecret" => describe(cloud, call),
        "GetSecretValue" => value(cloud, call),
        "CreateSecret" => create(cloud, call),
        "DeleteSecret" => delete(cloud, call),
        "ListSecrets" => list(cloud, call),
        "GetResourcePolicy" => resource_policy(cloud, call),
        other => Err(Fault::new("UnknownOperationException", format!("The operation {other} is not served here."))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Identified {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
    recovery_window_in_days: Option<i64>,
    #[serde(default)]
    force_delete_without_recovery: bool,
}

fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let Identified { secret_id, .. } = input(call)?;
    let (arn, secret) = found(cloud, call, &secret_id)?;
    let mut shown = shown(&arn, &secret);
    if secret.has_value() {
        shown["VersionIdsToStages"] = json!({ secret.version: ["AWSCURRENT"] });
    }
    Ok(Reply::Json(shown))
}

fn value(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let Identified { secret_id, version_id, version_stage, .. } = input(call)?;
    let bounded = [
        ("versionStage", &version_stage, (1, limits::SECRET_STAGE)),
        ("versionId", &version_id, limits::SECRET_VERSION),
    ];
    for (member, text, (least, most)) in bounded {
        let length = text.as_ref().map(|text| text.chars().count());
        if let Some(length) = length.filter(|length| !(least..=most).contains(length)) {
            return Err(bad_length(member, (least, most), length));
        }
    }
    let (arn, secret) = found(cloud, call, &secret_id)?;
    let is_other_stage = version_stage.as_ref().is_some_and(|stage| stage != "AWSCURRENT");
    if is_other_stage || version_id.as_ref().is_some_and(|id| *id != secret.version) {
        return Err(Fault::new(
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for the version asked for.",
        ));
    }
    if secret.deleted.is_some() {
        return Err(Fault::new(
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
        ));
    }
    if !secret.has_value() {
        let message = "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT";
        return Err(Fault::new("ResourceNotFoundException", message));
    }
    let mut answer = json!({
        "ARN": arn,
        "Name": secret.name,
        "VersionId": secret.version,
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": epoch(secret.created),
    });
    if let Some(text) = secret.text {
        answer["SecretString"] = text.into();
    }
    if let Some(binary) = secret.binary {
        answer["SecretBinary"] = binary.into();
    }
    Ok(Reply::Json(answer))
}

/// No secret has a resource policy: nothing puts one.
fn resource_policy(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let Identified { secret_id, .. } = input(call)?;
    let (arn, secret) = found(cloud, call, &secret_id)?;
    Ok(Reply::Json(json!({ "ARN": arn, "Name": secret.name })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    name: String,
    client_request_token: Option<String>,
    description: Option<String>,
    kms_key_id: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    #[serde(default)]
    tags: Vec<Value>,
}

/// The words of every JSON service for a text whose length its model refuses.
fn bad_length(member: &str, (least, most): (usize, usize), length: usize) -> Fault {
    let (bound, limit) = if length < least { ("greater", least) } else { ("less", most) };
    let message = format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length {bound} than \
         or equal to {limit}"
    );
    Fault::new("ValidationException", message)
}

fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let create: Create = input(call)?;
    if create.name.is_empty() || create.name.len() > limits::SECRET_NAME {
        return Err(bad_length("name", (1, limits::SECRET_NAME), create.name.len()));
    }
    if let Some((arn, before)) = cloud.secrets.find(&call.region, &cloud.account, &create.name) {
        if before.deleted.is_some() {
            return Err(Fault::new(
                "InvalidRequestException",
                "You can't create this secret because a secret with this name is already scheduled for deletion.",
            ));
        }
        let same = create.secret_string == before.text && create.secret_binary == before.binary;
        if same && create.client_request_token.as_ref() == Some(&before.version) {
            return Ok(Reply::Json(json!({ "ARN": arn, "Name": before.name, "VersionId": before.version })));
        }
        return Err(Fault::new(
            "ResourceExistsException",
            format!("The operation failed because the secret {} already exists.", create.name),
        ));
    }
    let suffix = hex_id(&cloud.new_id("secret-"), 6);
    let arn = arn(&call.region, &cloud.account, &create.name, &suffix);
    let version = create.client_request_token.unwrap_or_else(|| uuid_id(&arn));
    let has_value = create.secret_string.is_some() || create.secret_binary.is_some();
    let mut answer = json!({ "ARN": arn, "Name": create.name });
    if has_value {
        answer["VersionId"] = version.as_str().into();
    }
    let row = Secret {
        region: call.region.clone(),
        name: create.name,
        description: create.description,
        kms_key_id: create.kms_key_id,
        text: create.secret_string,
        binary: create.secret_binary,
        version,
        tags: create.tags,
        created: call.now,
        deleted: None,
        purged: false,
    };
    cloud.secrets.secrets.insert(arn, row);
    Ok(Reply::Json(answer))
}

fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let delete: Identified = input(call)?;
    let days = delete.recovery_window_in_days.unwrap_or(30);
    if !(7..=30).contains(&days) {
        return Err(Fault::new(
            "InvalidParameterException",
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
        ));
    }
    let (arn, mut secret) = found(cloud, call, &delete.secret_id)?;
    let at = if delete.force_delete_without_recovery {
        secret.purged = true;
        call.now
    } else {
        call.now + (days * 24).hours()
    };
    secret.deleted = Some(at);
    let answer = json!({ "ARN": arn, "Name": secret.name, "DeletionDate": epoch(at) });
    cloud.secrets.secrets.insert(arn, secret);
    Ok(Reply::Json(answer))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    next_token: Option<String>,
    max_results: Option<usize>,
    #[serde(default)]
    include_planned_deletion: bool,
    #[serde(default)]
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

fn list(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let list: List = input(call)?;
    for filter in &list.filters {
        if !matches!(filter.key.as_str(), "name" | "tag-key" | "tag-value") {
            return Err(Fault::new(
                "InvalidParameterException",
                format!("The filter {} is not served here.", filter.key),
            ));
        }
    }
    let secrets = cloud
        .secrets
        .all(&call.region, &cloud.account)
        .into_iter()
        .filter(|(_, secret)| list.include_planned_deletion || secret.deleted.is_none())
        .filter(|(_, secret)| list.filters.iter().all(|filter| filter.accepts(secret)))
        .map(|(arn, secret)| {
            let mut shown = shown(&arn, &secret);
            if secret.has_value() {
                shown["SecretVersionsToStages"] = json!({ secret.version: ["AWSCURRENT"] });
            }
            (arn, shown)
        })
        .collect();
    let limit = list.max_results.unwrap_or(100).clamp(1, 100);
    let (secrets, next) = page(secrets, limit, list.next_token.as_deref(), false)
        .ok_or_else(|| Fault::new("InvalidNextTokenException", "The NextToken value is invalid."))?;
    let mut answer = json!({ "SecretList": secrets });
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(Reply::Json(answer))
}

impl Filter {
    fn accepts(&self, secret: &Secret) -> bool {
        let of_tags = |member: &str| secret.tags.iter().filter_map(|tag| tag[member].as_str()).collect();
        let have: Vec<&str> = match self.key.as_str() {
            "tag-key" => of_tags("Key"),
            "tag-value" => of_tags("Value"),
            _ => vec![&secret.name],
        };
        self.values.iter().any(|value| have.iter().any(|have| have.starts_with(value.as_str())))
    }
}

fn shown(arn: &str, secret: &Secret) -> Value {
    let mut shown = json!({
        "ARN": arn,
        "Name": secret.name,
        "CreatedDate": epoch(secret.created),
        "LastChangedDate": epoch(secret.created),
        "Tags": secret.tags,
    });
    if let Some(description) = &secret.description {
        shown["Description"] = description.as_str().into();
    }
    if let Some(key) = &secret.kms_key_id {
        shown["KmsKeyId"] = key.as_str().into();
    }
    if let Some(deleted) = secret.deleted {
        shown["DeletedDate"] = epoch(deleted);
    }
    shown
}

fn found(cloud: &Cloud, call: &Call, id: &str) -> Result<(String, Secret), Fault> {
    cloud
        .secrets
        .find(&call.region, &cloud.account, id)
        .ok_or_else(|| Fault::new("ResourceNotFoundException", "Secrets Manager can't find the specified secret."))
}

fn arn(region: &str, account: &str, name: &str, suffix: &str) -> String {
    format!("{}:secretsmanager:{region}:{account}:secret:{name}-{suffix}", arn_of(region))
}
