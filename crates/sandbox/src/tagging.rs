//! The Resource Groups Tagging API: resources of all services by their tags.
//!
//! It lists resources of EC2, ECS, `CloudWatch` Logs, Secrets Manager and S3, except for tasks. AWS lists resources of
//! more services.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    ec2,
    json::{input, page},
};

type Tags = BTreeMap<String, String>;

/// Answers one call.
pub fn handle(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    ec2::settle(cloud, call.now);
    match call.action.as_str() {
        "GetResources" => resources(cloud, call),
        "GetTagKeys" => keys(cloud, call),
        "GetTagValues" => values(cloud, call),
        other => Err(Fault::new("UnknownOperationException", format!("The operation {other} is not served here."))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    pagination_token: Option<String>,
    #[serde(default)]
    tag_filters: Vec<Filter>,
    resources_per_page: Option<usize>,
    tags_per_page: Option<usize>,
    #[serde(default)]
    resource_type_filters: Vec<String>,
    #[serde(default, rename = "ResourceARNList")]
    arns: Vec<String>,
    #[serde(default)]
    include_compliance_details: bool,
    key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

/// Every resource of the region that has tags, by ARN.
fn all(cloud: &Cloud, call: &Call) -> BTreeMap<String, Tags> {
    let arn = call.arn();
    let buckets = cloud.s3.tagged(&call.region).map(|(name, tags)| (format!("{arn}:s3:::{name}"), tags.clone()));
    let mut all: BTreeMap<String, Tags> = ec2::tagged(cloud, call).into_iter().collect();
    all.extend(cloud.ecs.tagged(&call.region));
    all.extend(cloud.logs.tagged(&call.region));
    all.extend(cloud.secrets.tagged(&call.region, &cloud.account));
    all.extend(buckets);
    all.retain(|_, tags| !tags.is_empty());
    all
}

fn resources(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let asked: Asked = input(call)?;
    if asked.include_compliance_details || asked.tags_per_page.is_some() {
        let what = if asked.include_compliance_details { "IncludeComplianceDetails" } else { "TagsPerPage" };
        return Err(invalid(format!("{what} of GetResources is not served here.")));
    }
    if !asked.arns.is_empty() && (!asked.tag_filters.is_empty() || !asked.resource_type_filters.is_empty()) {
        return Err(invalid("ResourceARNList cannot be used with TagFilters or ResourceTypeFilters."));
    }
    let size = asked.resources_per_page.unwrap_or(50);
    if !(1..=100).contains(&size) {
        return Err(invalid("ResourcesPerPage must be between 1 and 100."));
    }
    let found = all(cloud, call)
        .into_iter()
        .filter(|(arn, tags)| {
            asked.tag_filters.iter().all(|filter| filter.accepts(tags))
                && (asked.arns.is_empty() || asked.arns.contains(arn))
                && (asked.resource_type_filters.is_empty()
                    || asked.resource_type_filters.iter().any(|kind| is_of(arn, kind)))
        })
        .map(|(arn, tags)| {
            let shown = json!({ "ResourceARN": arn, "Tags": shown(&tags) });
            (arn, shown)
        })
        .collect();
    let (found, next) = page(found, size, asked.pagination_token.as_deref(), false)
        .ok_or_else(|| Fault::new("PaginationTokenExpiredException", "The pagination token is invalid."))?;
    Ok(Reply::Json(json!({
        "PaginationToken": next.unwrap_or_default(),
        "ResourceTagMappingList": found,
    })))
}

fn shown(tags: &Tags) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}

impl Filter {
    /// Whether the tag exists and has one of the values, if there are any.
    fn accepts(&self, tags: &Tags) -> bool {
        tags.get(&self.key).is_some_and(|value| self.values.is_empty() || self.values.contains(value))
    }
}

/// Whether an ARN is of a type such as `ec2` or `ec2:instance`.
fn is_of(arn: &str, kind: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, service, _, _, resource] = parts[..] else { return false };
    let (wanted, resource_type) = kind.split_once(':').unwrap_or((kind, ""));
    let own_type = resource.split(['/', ':']).next().unwrap_or_default();
    // A bucket's ARN names no type.
    let own_type = if service == "s3" { "bucket" } else { own_type };
    service == wanted && (resource_type.is_empty() || own_type == resource_type)
}

fn keys(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let asked: Asked = input(call)?;
    let keys: BTreeSet<String> = all(cloud, call).into_values().flat_map(Tags::into_keys).collect();
    paged(keys, &asked, "TagKeys")
}

fn values(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let asked: Asked = input(call)?;
    let key = asked.key.as_deref().ok_or_else(|| invalid("The request must contain Key."))?;
    let values: BTreeSet<String> = all(cloud, call).into_values().filter_map(|mut tags| tags.remove(key)).collect();
    paged(values, &asked, "TagValues")
}

fn paged(texts: BTreeSet<String>, asked: &Asked, member: &str) -> Result<Reply, Fault> {
    let rows = texts.into_iter().map(|text| (text.clone(), Value::from(text))).collect();
    let (rows, next) = page(rows, 1000, asked.pagination_token.as_deref(), false)
        .ok_or_else(|| Fault::new("PaginationTokenExpiredException", "The pagination token is invalid."))?;
    Ok(Reply::Json(json!({ "PaginationToken": next.unwrap_or_default(), member: rows })))
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("InvalidParameterException", message)
}
