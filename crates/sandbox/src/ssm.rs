//! Systems Manager's parameter store: parameters that were put, and the public ones with the current AL2023 images.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunnion_catalog::limits;

use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    ec2,
    json::{epoch, input},
    table::{AnyTable, Table},
};

const AL2023: &str = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-";

/// The parameters that were put.
#[derive(Debug, Default)]
pub struct State {
    /// By ARN.
    parameters: Table<Parameter>,
}

impl State {
    /// Whether a parameter with this ARN exists, or, without an account, a public one.
    pub(crate) fn has(&self, arn: &str) -> bool {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let &[_, _, _, region, account, resource] = &parts[..] else { return false };
        let public = resource.strip_prefix("parameter").and_then(|name| name.strip_prefix(AL2023));
        self.parameters.get(arn).is_some()
            || account.is_empty() && public.is_some_and(|name| ec2::seeded_image(region, name).is_some())
    }

    /// Every table, for the journal.
    pub fn tables(&mut self) -> Vec<(&'static str, &mut dyn AnyTable)> {
        vec![("ssm.parameters", &mut self.parameters)]
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Parameter {
    name: String,
    kind: String,
    value: String,
    version: u64,
    data_type: String,
    modified: jiff::Timestamp,
}

/// Answers one call.
pub fn handle(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    match call.action.as_str() {
        "GetParameter" => get_parameter(cloud, call),
        "GetParameters" => get_parameters(cloud, call),
        "PutParameter" => put_parameter(cloud, call),
        "DeleteParameter" => delete_parameter(cloud, call),
        other => Err(Fault::new("UnknownOperationException", format!("The operation {other} is not served here."))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Names {
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    name: String,
    value: String,
    #[serde(rename = "Type")]
    kind: Option<String>,
    data_type: Option<String>,
    #[serde(default)]
    overwrite: bool,
}

fn get_parameter(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let Named { name } = input(call)?;
    let parameter = find(cloud, call, &name).ok_or_else(|| Fault::new("ParameterNotFound", ""))?;
    Ok(Reply::Json(json!({ "Parameter": parameter })))
}

fn get_parameters(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let Names { names } = input(call)?;
    if names.is_empty() || names.len() > limits::PARAMETERS_PER_CALL {
        return Err(Fault::new(
            "ValidationException",
            format!(
                "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length less \
                 than or equal to {}",
                limits::PARAMETERS_PER_CALL
            ),
        ));
    }
    let (mut found, mut invalid) = (Vec::new(), Vec::new());
    for name in names {
        match find(cloud, call, &name) {
            Some(parameter) => found.push(parameter),
            None => invalid.push(name),
        }
    }
    Ok(Reply::Json(json!({ "Parameters": found, "InvalidParameters": invalid })))
}

fn put_parameter(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let put: Put = input(call)?;
    let id = arn(call, &cloud.account, &put.name);
    check_name(&put.name, &id)?;
    let before = cloud.ssm.parameters.get(&id);
    if before.is_some() && !put.overwrite {
        return Err(Fault::new(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
        ));
    }
    let Some(kind) = put.kind.or_else(|| before.map(|before| before.kind.clone())) else {
        return Err(Fault::new("ValidationException", "A parameter type is required when you create a parameter."));
    };
    let version = before.map_or(1, |before| before.version + 1);
    let data_type = put.data_type.unwrap_or_else(|| "text".to_owned());
    let row = Parameter { name: put.name, kind, value: put.value, version, data_type, modified: call.now };
    cloud.ssm.parameters.insert(id, row);
    Ok(Reply::Json(json!({ "Version": version, "Tier": "Standard" })))
}

/// Refuses a name that is too long with the ARN before it, or has too many levels.
fn check_name(name: &str, arn: &str) -> Result<(), Fault> {
    if arn.len() > limits::PARAMETER_ARN {
        let message = format!(
            "1 validation error detected: Value '{name}' at 'name' failed to satisfy constraint: Member must have length less \
             than or equal to {}",
            limits::PARAMETER_ARN
        );
        return Err(Fault::new("ValidationException", message));
    }
    if name.matches('/').count() > limits::PARAMETER_LEVELS {
        let message = format!("Parameter hierarchies are limited to a maximum of {} levels.", limits::PARAMETER_LEVELS);
        return Err(Fault::new("HierarchyLevelLimitExceededException", message));
    }
    Ok(())
}

fn delete_parameter(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let Named { name } = input(call)?;
    let id = arn(call, &cloud.account, &name);
    match cloud.ssm.parameters.remove(&id) {
        Some(_) => Ok(Reply::Json(json!({}))),
        None => Err(Fault::new("ParameterNotFound", "")),
    }
}

/// A parameter that was put has priority over a public one, so that tests can publish a newer image.
fn find(cloud: &Cloud, call: &Call, name: &str) -> Option<Value> {
    let id = arn(call, &cloud.account, name);
    if let Some(parameter) = cloud.ssm.parameters.get(&id) {
        return Some(json!({
            "Name": parameter.name,
            "Type": parameter.kind,
            "Value": parameter.value,
            "Version": parameter.version,
            "LastModifiedDate": epoch(parameter.modified),
            "ARN": id,
            "DataType": parameter.data_type,
        }));
    }
    let image = ec2::seeded_image(&call.region, name.strip_prefix(AL2023)?)?;
    Some(json!({
        "Name": name,
        "Type": "String",
        "Value": image,
        "Version": 1,
        "LastModifiedDate": 1_767_225_600.0,
        "ARN": format!("{}:ssm:{}::parameter{name}", call.arn(), call.region),
        "DataType": "text",
    }))
}

fn arn(call: &Call, account: &str, name: &str) -> String {
    format!("{}:ssm:{}:{account}:parameter/{}", call.arn(), call.region, name.trim_start_matches('/'))
}
