//! Checks a task definition before it is registered, and fills in AWS's defaults.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use trunnion_catalog::limits;

use super::client;
use crate::call::Fault;

/// Refuses a definition as AWS does. `arn` is the prefix of ARNs in its region.
pub(super) fn check(body: &Map<String, Value>, arn: &str) -> Result<(), Fault> {
    let containers = body.get("containerDefinitions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if containers.is_empty() {
        return Err(client("Container.list cannot be empty."));
    }
    let fargate = body
        .get("requiresCompatibilities")
        .and_then(Value::as_array)
        .is_some_and(|all| all.contains(&json!("FARGATE")));
    check_roles(body, containers, fargate, arn)?;
    if fargate {
        check_fargate(body)?;
    }
    let names: Vec<&str> = containers.iter().map(|container| text(container, "name")).collect();
    if names.iter().collect::<BTreeSet<_>>().len() != names.len() {
        return Err(client("Container name must be unique within a task definition."));
    }
    if !containers.iter().any(|container| container["essential"].as_bool().unwrap_or(true)) {
        return Err(client("Invalid setting for container. At least one container should be essential."));
    }
    let volumes: Vec<&str> = items(body.get("volumes")).map(|volume| text(volume, "name")).collect();
    containers.iter().try_for_each(|container| check_container(container, body, fargate, &names, &volumes))
}

fn check_roles(body: &Map<String, Value>, containers: &[Value], fargate: bool, arn: &str) -> Result<(), Fault> {
    for member in ["taskRoleArn", "executionRoleArn"] {
        let role = body.get(member).and_then(Value::as_str).unwrap_or_default();
        let is_role = role.starts_with(&format!("{arn}:iam::")) && role.contains(":role/");
        if !role.is_empty() && !is_role {
            return Err(client("Role is not valid"));
        }
    }
    if body.get("executionRoleArn").and_then(Value::as_str).is_some_and(|role| !role.is_empty()) {
        return Ok(());
    }
    if containers.iter().any(|container| secrets(container).next().is_some()) {
        return Err(client(
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
        ));
    }
    if fargate && containers.iter().any(|container| container["logConfiguration"]["logDriver"] == "awslogs") {
        return Err(client(
            "Fargate requires task definition to have execution role ARN to support log driver awslogs.",
        ));
    }
    Ok(())
}

fn check_fargate(body: &Map<String, Value>) -> Result<(), Fault> {
    if body.get("networkMode").and_then(Value::as_str) != Some("awsvpc") {
        return Err(client("Fargate only supports network mode ‘awsvpc’."));
    }
    let number = |member: &str| body.get(member).and_then(Value::as_str).and_then(|text| text.parse::<u32>().ok());
    let Some(cpu) = number("cpu") else {
        return Err(client("Fargate requires that 'cpu' be defined at the task level."));
    };
    let Some(memory) = number("memory") else {
        return Err(client("Fargate requires that 'memory' be defined at the task level."));
    };
    if !limits::is_fargate_size(cpu, memory) {
        return Err(client(
            "No Fargate configuration exists for given values: \
             check the supported combinations of task CPU and memory in the documentation.",
        ));
    }
    let ephemeral = body.get("ephemeralStorage").and_then(|storage| storage["sizeInGiB"].as_u64());
    if ephemeral.is_some_and(|gib| !(21..=200).contains(&gib)) {
        return Err(client("Ephemeral storage must be between 21 and 200 GiB."));
    }
    Ok(())
}

fn check_container(
    container: &Value,
    body: &Map<String, Value>,
    fargate: bool,
    names: &[&str],
    volumes: &[&str],
) -> Result<(), Fault> {
    let name = text(container, "name");
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() {
        return Err(client("Container.name should not be null or empty."));
    }
    if name.len() > limits::ECS_NAME || !name.chars().all(allowed) {
        return Err(client("Container.name contains invalid characters."));
    }
    if text(container, "image").is_empty() {
        return Err(client("Container.image should not be null or empty."));
    }
    // hashicorp/terraform-provider-aws issue 22629, read November 2026.
    let (characters, most) = (limits::image_characters(text(container, "image")), limits::CONTAINER_IMAGE);
    if characters > most {
        return Err(client(format!("Container.image should be {most} characters or less")));
    }
    let sized = container["memory"].is_u64() || container["memoryReservation"].is_u64() || body.contains_key("memory");
    if !sized {
        return Err(client(format!(
            "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified."
        )));
    }
    for dependency in items(container.get("dependsOn")) {
        let on = text(dependency, "containerName");
        if on == name || !names.contains(&on) {
            return Err(client(format!("Container {name} depends on the container {on}, which is not in the task.")));
        }
        if !matches!(text(dependency, "condition"), "START" | "COMPLETE" | "SUCCESS" | "HEALTHY") {
            return Err(client(format!("Invalid dependency condition of container {name}.")));
        }
    }
    for mount in items(container.get("mountPoints")) {
        let volume = text(mount, "sourceVolume");
        if !volumes.contains(&volume) {
            return Err(client(format!("Unknown volume '{volume}'.")));
        }
    }
    for member in ["environmentFiles", "repositoryCredentials"] {
        if container.get(member).is_some_and(|value| !value.is_null() && *value != json!([])) {
            return Err(client(format!("The member {member} of container {name} is not served here.")));
        }
    }
    for secret in secrets(container) {
        let (secret, from) = (text(secret, "name"), text(secret, "valueFrom"));
        if secret.is_empty() || from.is_empty() {
            return Err(client(
                "The secret name must be unique and not shared with any new or existing environment variables.",
            ));
        }
        if !is_source(from) {
            return Err(client(format!(
                "The Systems Manager parameter name specified for secret {secret} is invalid. The parameter name can be up \
                 to 2048 characters and include the following letters and symbols: a-zA-Z0-9_.-,"
            )));
        }
    }
    for mapping in items(container.get("portMappings")) {
        let (inside, outside) = (mapping["containerPort"].as_u64(), mapping["hostPort"].as_u64());
        if body.get("networkMode").and_then(Value::as_str) == Some("awsvpc") && outside.is_some() && outside != inside {
            return Err(client(
                "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
            ));
        }
    }
    let longest = u64::from(limits::FARGATE_STOP_SECONDS.unsigned_abs());
    if fargate && container["stopTimeout"].as_u64().is_some_and(|seconds| seconds > longest) {
        return Err(client(format!("stopTimeout must be between 2 and {longest} seconds on Fargate.")));
    }
    Ok(())
}

/// The secrets of a container and of its log driver.
fn secrets(container: &Value) -> impl Iterator<Item = &Value> {
    items(container.get("secrets")).chain(items(container["logConfiguration"].get("secretOptions")))
}

/// Whether a secret comes from a place that ECS reads: Secrets Manager, or a parameter of Systems Manager by its ARN or
/// its name (`Secret`, ECS API reference, read November 2026).
fn is_source(from: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.len() <= 2048 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c))
    };
    let parts: Vec<&str> = from.splitn(6, ':').collect();
    match &parts[..] {
        ["arn", _, "secretsmanager", ..] => true,
        ["arn", _, "ssm", _, _, resource] => resource.strip_prefix("parameter/").is_some_and(is_name),
        [name] => is_name(name),
        _ => false,
    }
}

/// Fills in the members that AWS returns with a default.
pub(super) fn fill_defaults(body: &mut Map<String, Value>) {
    let awsvpc = body.get("networkMode").and_then(Value::as_str) == Some("awsvpc");
    let Some(Value::Array(containers)) = body.get_mut("containerDefinitions") else { return };
    for container in containers.iter_mut().filter_map(Value::as_object_mut) {
        container.entry("cpu").or_insert_with(|| json!(0));
        container.entry("essential").or_insert_with(|| json!(true));
        for list in ["portMappings", "environment", "mountPoints", "volumesFrom", "systemControls"] {
            container.entry(list).or_insert_with(|| json!([]));
        }
        if let Some(Value::Array(mappings)) = container.get_mut("portMappings") {
            for mapping in mappings.iter_mut().filter_map(Value::as_object_mut) {
                mapping.entry("protocol").or_insert_with(|| json!("tcp"));
                let inside = mapping.get("containerPort").cloned().unwrap_or_default();
                mapping.entry("hostPort").or_insert_with(|| if awsvpc { inside } else { json!(0) });
            }
        }
        if let Some(Value::Object(check)) = container.get_mut("healthCheck") {
            for (member, seconds_or_times) in [("interval", 30), ("timeout", 5), ("retries", 3)] {
                check.entry(member).or_insert_with(|| json!(seconds_or_times));
            }
        }
    }
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}
