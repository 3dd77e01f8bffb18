//! `ecs_task_definition`: what the control plane runs. The engine counts it as created once its revision is registered.
//!
//! Revisions never change. A change of tags keeps the revision; every other change registers a new revision and then
//! deregisters the old one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Map, Replacement, Rules, Value};

use crate::Tags;

mod conf;

pub use self::conf::conf_without_options;

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
    /// Whether it can write only to what is mounted in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only_root: bool,
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
            ("containers", Attribute::IMMUTABLE.accepting(has_earlier_writer).redacting(conf::without_secrets)),
        ],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::CreateFirst,
    };
}

/// The images that write the configuration file: the present default, and the former default from Docker Hub.
const WRITERS: [&str; 2] = ["public.ecr.aws/docker/library/busybox:1.37.0", "busybox:1.37.0"];

/// Whether the containers differ only in what an earlier version chose for the one that writes the configuration file:
/// the registry of its image, and a root file system that it could write to. No task is stopped for that alone; when the
/// containers differ in something else too, they get what is chosen today.
fn has_earlier_writer(desired: &Value, observed: &Value) -> bool {
    const WRITER: &str = "conf";
    const READ_ONLY: &str = "read_only_root";
    let [today, once] = WRITERS;
    let (Value::Map(desired), Value::Map(observed)) = (desired, observed) else { return false };
    let writer = |containers: &Map| containers.get(WRITER).and_then(Value::as_map).cloned();
    let (Some(wanted), Some(mut found)) = (writer(desired), writer(observed)) else { return false };
    let image = |container: &Map| container.get("image").and_then(Value::as_text).map(str::to_owned);
    if image(&wanted).as_deref() == Some(today) && image(&found).as_deref() == Some(once) {
        found.insert("image".to_owned(), today.into());
    }
    if let (Some(value), None) = (wanted.get(READ_ONLY), found.get(READ_ONLY)) {
        found.insert(READ_ONLY.to_owned(), value.clone());
    }
    let mut moved = observed.clone();
    moved.insert(WRITER.to_owned(), Value::Map(found));
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
        assert!(has_earlier_writer(&wanted, &containers(once, "a")));
        assert!(!has_earlier_writer(&wanted, &containers(once, "b")), "another difference registers a new revision");
        assert!(!has_earlier_writer(&wanted, &containers("busybox:1.36.0", "a")));
        assert!(!has_earlier_writer(&containers("mirror/busybox:1", "a"), &containers(once, "a")));
    }

    #[test]
    fn a_writer_that_could_write_to_its_root_is_accepted() {
        let containers = |writer: serde_json::Value, main: serde_json::Value| -> Value {
            json!({ "conf": writer, "control-plane": main }).into()
        };
        let [today, once] = WRITERS;
        let main = json!({ "image": "a" });
        let wanted = containers(json!({ "image": today, "read_only_root": true }), main.clone());
        for image in [today, once] {
            assert!(has_earlier_writer(&wanted, &containers(json!({ "image": image }), main.clone())), "{image}");
        }
        let writable = containers(json!({ "image": today }), main.clone());
        assert!(!has_earlier_writer(&writable, &wanted), "a protection that is not asked for is a difference");
        let own = containers(json!({ "image": today }), json!({ "image": "a", "read_only_root": true }));
        assert!(!has_earlier_writer(&wanted, &own), "only the writer may differ");
    }
}
