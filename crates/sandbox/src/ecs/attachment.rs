//! The network interfaces of tasks: made when a task is created, deleted before it is STOPPED.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    task::Stage,
    task_view::{self, Task},
};
use crate::{cloud::Cloud, ec2, json::uuid_id};

/// The interface of a task. It is known as long as the task is listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Attachment {
    #[serde(flatten)]
    pub plugged: ec2::Plugged,
    pub is_deleted: bool,
    /// Whether the containers have their log streams.
    pub has_streams: bool,
}

/// The id of the attachment of a task.
pub(super) fn id(task: &str) -> String {
    uuid_id(&format!("attachment {task}"))
}

impl Attachment {
    /// As `DescribeTasks` shows it.
    pub(super) fn shown(&self, task: &str) -> Value {
        let ec2::Plugged { interface, subnet, address, mac, name, .. } = &self.plugged;
        let detail = |name: &str, value: &str| json!({ "name": name, "value": value });
        json!({
            "id": id(task),
            "type": "ElasticNetworkInterface",
            "status": if self.is_deleted { "DELETED" } else { "ATTACHED" },
            "details": [
                detail("subnetId", subnet),
                detail("networkInterfaceId", interface),
                detail("macAddress", mac),
                detail("privateDnsName", name),
                detail("privateIPv4Address", &address.to_string()),
            ],
        })
    }
}

/// Creates the interfaces that are missing, and deletes those of tasks that are gone.
pub(super) fn settle(cloud: &mut Cloud, now: Timestamp) {
    let tasks: BTreeMap<String, Task> =
        task_view::all(cloud, None, now).into_iter().map(|task| (task.arn.clone(), task)).collect();
    let mut full = BTreeSet::new();
    for (arn, task) in &tasks {
        let has = cloud.ecs.attachments.get(arn).is_some();
        if task.holds_interface() && !has && !full.contains(&task.network) && !create(cloud, task, now) {
            full.insert(&task.network);
        }
        if task.stage != Stage::Pending && cloud.ecs.attachments.get(arn).is_some_and(|row| !row.has_streams) {
            open_streams(cloud, task, now);
            if let Some(row) = cloud.ecs.attachments.get_mut(arn) {
                row.has_streams = true;
            }
        }
    }
    let rows = cloud.ecs.attachments.iter().map(|(arn, row)| (arn.to_owned(), row.clone()));
    for (arn, row) in rows.collect::<Vec<_>>() {
        let task = tasks.get(&arn);
        if !row.is_deleted && !task.is_some_and(Task::holds_interface) {
            ec2::unplug(cloud, &row.plugged.interface);
            if let Some(row) = cloud.ecs.attachments.get_mut(&arn) {
                row.is_deleted = true;
            }
        }
        if task.is_none() {
            cloud.ecs.attachments.remove(&arn);
        }
    }
}

/// Whether one of the task's subnets had a free address.
fn create(cloud: &mut Cloud, task: &Task, now: Timestamp) -> bool {
    let mut subnets: Vec<&str> = task.network_ids("subnet-").collect();
    if subnets.is_empty() {
        return false;
    }
    // The tasks of a service are spread over its subnets.
    let preferred = usize::try_from(task.number).unwrap_or_default() % subnets.len();
    subnets.rotate_left(preferred);
    let managed = task.tags.iter().filter(|tag| tag.key.starts_with("aws:ecs:"));
    let prefix = task.arn.split(":task/").next().unwrap_or_default();
    let wanted = ec2::Wanted {
        task: &task.arn,
        subnets,
        groups: task.network_ids("sg-").collect(),
        is_public: task.is_public,
        description: format!("{prefix}:attachment/{}", id(&task.arn)),
        tags: managed.map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
    };
    let Some(plugged) = ec2::plug(cloud, wanted, now) else { return false };
    let row = Attachment { plugged, is_deleted: false, has_streams: false };
    cloud.ecs.attachments.insert(task.arn.clone(), row);
    true
}

/// Every container with the driver `awslogs` opens a stream `prefix/container/task` when it starts.
fn open_streams(cloud: &mut Cloud, task: &Task, now: Timestamp) {
    let definition = cloud.ecs.definitions.get(&task.definition);
    let containers = definition.map_or_else(Vec::new, |definition| definition.containers().to_vec());
    let id = task.arn.rsplit('/').next().unwrap_or_default();
    let region = task.arn.split(':').nth(3).unwrap_or_default();
    for container in containers {
        let options = &container["logConfiguration"]["options"];
        let name = container["name"].as_str().unwrap_or_default();
        if let (Some(group), Some(prefix)) =
            (options["awslogs-group"].as_str(), options["awslogs-stream-prefix"].as_str())
        {
            let region = options["awslogs-region"].as_str().unwrap_or(region);
            crate::logs::open_stream(cloud, region, group, &format!("{prefix}/{name}/{id}"), now);
        }
    }
}
