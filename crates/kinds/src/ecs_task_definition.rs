//! `ecs_task_definition`: what the control plane runs. It counts as created once its revision is registered.
//!
//! Revisions never change: every change but one of tags registers a new one and then deregisters the old one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Map, Replacement, Rules, Value};

use crate::Tags;

/// A revision of a task definition: Fargate, `awsvpc`, Linux on `x86_64`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcsTaskDefinition {
    /// The name that all its revisions share.
    pub family: String,
    /// Fargate CPU units.
    pub cpu: u32,
    /// Fargate memory in MiB.
    pub memory: u32,
    /// ARN of the role that starts the task.
    pub execution_role: Value,
    /// ARN of the role the task has.
    pub task_role: Value,
    /// Names of empty volumes that its containers share.
    pub volumes: Vec<String>,
    /// Its containers by name.
    pub containers: BTreeMap<String, Container>,
    /// Its tags.
    pub tags: Tags,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Image with its tag.
    pub image: String,
    /// Whether the task ends with it.
    pub essential: bool,
    /// Entry point and its arguments; empty for the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entry_point: Vec<String>,
    /// Arguments; empty for the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The user it runs as; the image's own without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Plain environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Value>,
    /// Environment variables by the ARN of the secret that holds them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Value>,
    /// Volumes it sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Containers it waits for, with the condition (`SUCCESS`, `HEALTHY`, …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<String, String>,
    /// TCP ports it listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<i32>,
    /// How ECS asks whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Seconds between SIGTERM and SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout_seconds: Option<i32>,
    /// Where it logs to.
    pub log: LogConfiguration,
}

/// A volume in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The volume's name.
    pub volume: String,
    /// Where the container sees it.
    pub path: String,
    /// Whether it can only read it.
    pub read_only: bool,
}

/// How ECS asks a container whether it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `CMD-SHELL` and a line, or `CMD` and words.
    pub command: Vec<String>,
    /// Seconds between two questions.
    pub interval_seconds: i32,
    /// Seconds until a question counts as unanswered.
    pub timeout_seconds: i32,
    /// How many bad answers make it unhealthy.
    pub retries: i32,
    /// Seconds at the start in which bad answers do not count.
    pub start_period_seconds: i32,
}

/// The `awslogs` driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfiguration {
    /// The log group's name.
    pub group: String,
    /// Its region.
    pub region: String,
    /// Prefix of the log stream.
    pub stream_prefix: String,
}

impl EcsTaskDefinition {
    /// The kind's name.
    pub const KIND: &str = "ecs_task_definition";
    /// The kind's rules.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        // An address stays until the control plane no longer lists its host.
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

/// The image that writes the conf by default, and the same one of Docker Hub, which was the default once.
const WRITERS: [&str; 2] = ["public.ecr.aws/docker/library/busybox:1.37.0", "busybox:1.37.0"];

/// Whether containers differ in nothing but where the image comes from that writes the conf: no task is stopped for that
/// alone. Containers that change otherwise take the default of today.
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
    fn the_writer_may_still_come_from_docker_hub() {
        let containers = |writer: &str, main: &str| -> Value {
            json!({ "conf": { "image": writer }, "control-plane": { "image": main } }).into()
        };
        let [today, once] = WRITERS;
        let wanted = containers(today, "a");
        assert!(differs_in_writer(&wanted, &containers(once, "a")));
        assert!(!differs_in_writer(&wanted, &containers(once, "b")), "it is registered anew anyway");
        assert!(!differs_in_writer(&wanted, &containers("busybox:1.36.0", "a")));
        assert!(!differs_in_writer(&containers("mirror/busybox:1", "a"), &containers(once, "a")));
    }
}
