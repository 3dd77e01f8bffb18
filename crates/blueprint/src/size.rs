//! Computes the size in bytes that ECS will count for the control plane's task definition, before anything is created.

use serde_json::{Value as Json, json};
use trunnion_catalog::limits::TASK_DEFINITION_BYTES;
use trunnion_engine::{Reference, Value};
use trunnion_kinds::{Container, EcsTaskDefinition, lookup::Secret};

use crate::BlueprintError;

/// The longest text of an IPv4 address.
const LONGEST_ADDRESS: &str = "255.255.255.255";
/// The longest ARN of a role of a stack, in characters: partition, account, path and a name of 64 characters.
const LONGEST_ROLE: usize = 160;
/// What Secrets Manager appends to the name in a secret's ARN.
const APPENDED_TO_SECRETS: &str = "-AbCdEf";

/// Refuses a definition that ECS would refuse. ECS gets it only after every host runs.
pub(crate) fn check(definition: &EcsTaskDefinition, longest_secret: &str) -> Result<(), BlueprintError> {
    let known = |value: &Value| {
        let value = value.resolve(&|reference| Some(stand_in(reference, longest_secret)));
        value.as_text().unwrap_or_default().to_owned()
    };
    let size = registered(definition, &known).to_string().len();
    if size <= TASK_DEFINITION_BYTES {
        return Ok(());
    }
    let environment = definition.containers.values().flat_map(|container| container.environment.values());
    let conf = environment.map(|value| known(value).len()).max().unwrap_or(0);
    Err(BlueprintError::TaskDefinitionTooLong { size, conf, limit: TASK_DEFINITION_BYTES })
}

/// A text as long as the longest value that a reference can have.
fn stand_in(reference: &Reference, longest_secret: &str) -> Value {
    match reference.attribute.as_str() {
        "private_ip" => LONGEST_ADDRESS.into(),
        _ if reference.address.kind.as_str() == Secret::KIND => format!("{longest_secret}{APPENDED_TO_SECRETS}").into(),
        _ => "x".repeat(LONGEST_ROLE).into(),
    }
}

/// The definition as in a request of `RegisterTaskDefinition`, with the fields that ECS adds in the response of
/// `DescribeTaskDefinition`.
fn registered(definition: &EcsTaskDefinition, known: &impl Fn(&Value) -> String) -> Json {
    let containers = definition.containers.iter().map(|(name, container)| registered_container(name, container, known));
    json!({
        "family": definition.family,
        "taskRoleArn": known(&definition.task_role),
        "executionRoleArn": known(&definition.execution_role),
        "networkMode": "awsvpc",
        "containerDefinitions": containers.collect::<Vec<_>>(),
        "volumes": definition.volumes.iter().map(|name| json!({ "name": name, "host": {} })).collect::<Vec<_>>(),
        "placementConstraints": [],
        "requiresCompatibilities": ["FARGATE"],
        "cpu": definition.cpu.to_string(),
        "memory": definition.memory.to_string(),
        "runtimePlatform": { "cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX" },
    })
}

fn registered_container(name: &str, container: &Container, known: &impl Fn(&Value) -> String) -> Json {
    let environment = container.environment.iter().map(|(name, value)| json!({ "name": name, "value": known(value) }));
    let secrets = container.secrets.iter().map(|(name, from)| json!({ "name": name, "valueFrom": known(from) }));
    let mounts = container
        .mounts
        .iter()
        .map(|mount| json!({ "sourceVolume": mount.volume, "containerPath": mount.path, "readOnly": mount.read_only }));
    let depends_on =
        container.depends_on.iter().map(|(name, condition)| json!({ "containerName": name, "condition": condition }));
    let ports =
        container.ports.iter().map(|port| json!({ "containerPort": port, "hostPort": port, "protocol": "tcp" }));
    let health_check = container.health_check.as_ref().map(|check| {
        json!({
            "command": check.command,
            "interval": check.interval_seconds,
            "timeout": check.timeout_seconds,
            "retries": check.retries,
            "startPeriod": check.start_period_seconds,
        })
    });
    json!({
        "name": name,
        "image": container.image,
        "cpu": 0,
        "essential": container.essential,
        "entryPoint": container.entry_point,
        "command": container.command,
        "user": container.user,
        "environment": environment.collect::<Vec<_>>(),
        "secrets": secrets.collect::<Vec<_>>(),
        "mountPoints": mounts.collect::<Vec<_>>(),
        "readonlyRootFilesystem": container.read_only_root,
        "dependsOn": depends_on.collect::<Vec<_>>(),
        "portMappings": ports.collect::<Vec<_>>(),
        "healthCheck": health_check,
        "stopTimeout": container.stop_timeout_seconds,
        "volumesFrom": [],
        "systemControls": [],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": container.log.group,
                "awslogs-region": container.log.region,
                "awslogs-stream-prefix": container.log.stream_prefix,
            },
        },
    })
}
