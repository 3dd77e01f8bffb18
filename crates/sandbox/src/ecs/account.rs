//! The settings of the account, which cannot be changed here, and what it has none of.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{cluster, invalid};
use crate::{
    call::{Call, Fault},
    cloud::Cloud,
    json::input,
};

/// The settings with AWS's defaults (Amazon ECS developer guide, "Access Amazon ECS features with account settings",
/// read November 2026).
const SETTINGS: [(&str, &str, &str); 10] = [
    ("awsvpcTrunking", "disabled", "user"),
    ("containerInsights", "disabled", "user"),
    ("containerInstanceLongArnFormat", "enabled", "user"),
    ("defaultLogDriverMode", "non-blocking", "user"),
    ("fargateFIPSMode", "disabled", "user"),
    ("fargateTaskRetirementWaitPeriod", "7", "user"),
    ("guardDutyActivate", "off", "aws_managed"),
    ("serviceLongArnFormat", "enabled", "user"),
    ("tagResourceAuthorization", "on", "user"),
    ("taskLongArnFormat", "enabled", "user"),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    name: Option<String>,
    value: Option<String>,
    #[serde(default)]
    effective_settings: bool,
}

/// Only effective settings have values: nobody has set one.
pub(super) fn list_settings(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let list: List = input(call)?;
    if list.name.as_ref().is_some_and(|name| SETTINGS.iter().all(|(known, _, _)| known != name)) {
        return Err(invalid("Invalid account setting name."));
    }
    let principal = format!("{}:iam::{}:root", call.arn(), cloud.account);
    let settings: Vec<Value> = SETTINGS
        .iter()
        .filter(|_| list.effective_settings)
        .filter(|(name, _, _)| list.name.as_ref().is_none_or(|wanted| wanted == name))
        .filter(|(_, value, _)| list.value.as_ref().is_none_or(|wanted| wanted == value))
        .map(|(name, value, kind)| json!({ "name": name, "value": value, "principalArn": principal, "type": kind }))
        .collect();
    Ok(json!({ "settings": settings }))
}

#[derive(Deserialize)]
struct Named {
    cluster: Option<String>,
}

/// No cluster here has EC2 instances of its own.
pub(super) fn list_container_instances(cloud: &Cloud, call: &Call) -> Result<Value, Fault> {
    let Named { cluster } = input(call)?;
    cluster::active(cloud, call, cluster.as_deref())?;
    Ok(json!({ "containerInstanceArns": [] }))
}
