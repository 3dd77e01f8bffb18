//! `ecs_task_definition`: what the control plane runs. The engine counts it as created once its revision is registered.
//!
//! Revisions never change. A change of tags keeps the revision; every other change registers a new revision and then
//! deregisters the old one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Map, Replacement, Rules, Value};

use crate::Tags;

/// A revision of a task definition: Fargate, `awsvpc`, Linux on `x86_64`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcsTaskDefinition {
    /// The name that all its revisions share.
    pub family: String,
    /// In Fargate CPU units: 1,024 are one vCPU.
    pub cpu: u32,
    /// In MiB.
    pub memory: u32,
    /// ARN of the role that ECS uses to start the task: to read the secrets and write the logs.
    pub execution_role: Value,
    /// ARN of the role that the task's own processes have.
    pub task_role: Value,
    /// Names of the empty volumes that its containers share.
    pub volumes: Vec<String>,
    /// By the container's name.
    pub containers: BTreeMap<String, Container>,
    /// All its tags, including those that Trunnion sets.
    pub tags: Tags,
}

/// One container of the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Image reference with its tag.
    pub image: String,
    /// Whether the whole task stops when this container stops.
    pub essential: bool,
    /// Entry point and its arguments; empty for the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entry_point: Vec<String>,
    /// Arguments; empty for the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The user it runs as; `None` for the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Plain environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Value>,
    /// Names of environment variables with the ARN of the secret that has the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Value>,
    /// Volumes that are mounted in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Names of containers it waits for, with the condition (`SUCCESS`, `HEALTHY`, …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<String, String>,
    /// TCP ports it listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<i32>,
    /// How ECS checks its health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Seconds between SIGTERM and SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout_seconds: Option<i32>,
    /// Where its output goes.
    pub log: LogConfiguration,
}

/// A volume mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The volume's name.
    pub volume: String,
    /// Path in the container.
    pub path: String,
    /// Whether the container cannot write to it.
    pub read_only: bool,
}

/// How ECS checks a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `CMD-SHELL` and a command line, or `CMD` and a command with its arguments.
    pub command: Vec<String>,
    /// Seconds between two checks.
    pub interval_seconds: i32,
    /// Seconds until a check without an answer counts as failed.
    pub timeout_seconds: i32,
    /// How many failed checks in a row make the container unhealthy.
    pub retries: i32,
    /// Seconds after the start in which failed checks do not count.
    pub start_period_seconds: i32,
}

/// The `awslogs` log driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfiguration {
    /// The log group's name.
    pub group: String,
    /// The log group's region.
    pub region: String,
    /// Prefix of the log stream.
    pub stream_prefix: String,
}

impl EcsTaskDefinition {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "ecs_task_definition";
    /// How the engine orders, compares and replaces resources of this kind.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        // An Elastic IP is released only once the control plane no longer lists its host.
        depends_on: &["iam_role", "log_group", "instance", "elastic_ip"],
        blocks: &[],
        attributes: &[
            ("family", Attribute::IMMUTABLE),
            ("cpu", Attribute::IMMUTABLE),
            ("memory", Attribute::IMMUTABLE),
            ("execution_role", Attribute::IMMUTABLE),
            ("task_role", Attribute::IMMUTABLE),
            ("volumes", Attribute::IMMUTABLE),
            ("containers", Attribute::IMMUTABLE.accepting(differs_in_writer)),
        ],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::CreateFirst,
    };
}

/// The images that write the configuration file: the present default, and the former default from Docker Hub.
const WRITERS: [&str; 2] = ["public.ecr.aws/docker/library/busybox:1.37.0", "busybox:1.37.0"];

/// Whether the containers differ only in the registry of the image that writes the configuration file. No task is
/// stopped for that difference alone; when the containers differ in something else too, they get the present default.
fn differs_in_writer(desired: &Value, observed: &Value) -> bool {
    const WRITER: &str = "conf";
    let [today, once] = WRITERS;
    let image = |containers: &Map, is: &str| {
        let image = containers.get(WRITER).and_then(Value::as_map).and_then(|container| container.get("image"));
        image.and_then(Value::as_text) == Some(is)
    };
    let (Value::Map(desired), Value::Map(observed)) = (desired, observed) else { return false };
    if !image(desired, today) || !image(observed, once) {
        return false;
    }
    let mut moved = observed.clone();
    if let Some(Value::Map(container)) = moved.get_mut(WRITER) {
        container.insert("image".to_owned(), today.into());
    }
    moved == *desired
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_writer_image_from_docker_hub_is_accepted() {
        let containers = |writer: &str, main: &str| -> Value {
            json!({ "conf": { "image": writer }, "control-plane": { "image": main } }).into()
        };
        let [today, once] = WRITERS;
        let wanted = containers(today, "a");
        assert!(differs_in_writer(&wanted, &containers(once, "a")));
        assert!(!differs_in_writer(&wanted, &containers(once, "b")), "another difference registers a new revision");
        assert!(!differs_in_writer(&wanted, &containers("busybox:1.36.0", "a")));
        assert!(!differs_in_writer(&containers("mirror/busybox:1", "a"), &containers(once, "a")));
    }
}
