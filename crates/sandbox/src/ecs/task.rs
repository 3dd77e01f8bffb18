//! Tasks that are stopping, and the number of tasks that exist at the same time.
//!
//! A running task is not stored, because it follows from its deployment. Once it is asked to stop it is stored, because
//! it can outlive its deployment and its service: it is STOPPING for the stop timeout of its containers, then its
//! network interface is deleted, and only then it is STOPPED. Until then it holds its security groups and its cluster.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{service::Service, tag::Tag};
use crate::{
    cloud::Cloud,
    consistency::has_passed,
    durations::{Clock, Delay},
};

/// The stop timeout of a container without `stopTimeout`, in seconds (Amazon ECS task definition parameters, read
/// November 2026).
const DEFAULT_STOP_SECONDS: i32 = 30;

/// A task that has been asked to stop, or will be once its successor is healthy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Leaving {
    pub cluster: String,
    pub service: String,
    /// The deployment that started it, and its number in that deployment.
    pub deployment: String,
    pub number: u64,
    pub definition: String,
    pub created: Timestamp,
    /// Its subnets and security groups.
    pub network: Vec<String>,
    /// When it was asked to stop; never later than now, unless the clock was set back.
    #[serde(rename = "told")]
    pub asked: Option<Timestamp>,
    /// How long its containers take to stop, in seconds.
    pub stop_seconds: i32,
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// The reason that a user gave for stopping it.
    #[serde(default)]
    pub by_user: Option<String>,
}

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Pending,
    Running,
    Stopping,
    Deprovisioning,
    Stopped,
}

impl Stage {
    /// The value of `lastStatus`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }

    /// The value of `desiredStatus`.
    pub(super) fn desired(self) -> &'static str {
        if matches!(self, Self::Pending | Self::Running) { "RUNNING" } else { "STOPPED" }
    }
}

impl Leaving {
    pub(super) fn stage(&self, now: Timestamp, clock: Clock) -> Stage {
        self.asked.map_or(Stage::Running, |asked| stage_of(asked, self.stop_seconds, now, clock))
    }

    pub(super) fn is_shown(&self, now: Timestamp, clock: Clock) -> bool {
        self.asked.is_none_or(|asked| is_shown(asked, self.stop_seconds, now, clock))
    }
}

/// Whether a task that was asked to stop is still listed. If the clock was set back, it is not.
pub(super) fn is_shown(asked: Timestamp, stop_seconds: i32, now: Timestamp, clock: Clock) -> bool {
    let stopping = clock.scaled(SignedDuration::from_secs(stop_seconds.into()));
    !has_passed(stopping + clock.takes(Delay::TaskDeprovision) + clock.takes(Delay::TaskForgotten), asked, now)
}

/// The stage of a task that was asked to stop. If the clock was set back, it is STOPPED.
pub(super) fn stage_of(asked: Timestamp, stop_seconds: i32, now: Timestamp, clock: Clock) -> Stage {
    let stopping = clock.scaled(SignedDuration::from_secs(stop_seconds.into()));
    match () {
        () if !has_passed(stopping, asked, now) => Stage::Stopping,
        () if !has_passed(stopping + clock.takes(Delay::TaskDeprovision), asked, now) => Stage::Deprovisioning,
        () => Stage::Stopped,
    }
}

/// Stores `count` tasks of a service's primary deployment, the oldest first, as tasks that stop now or once their
/// successors are healthy.
pub(super) fn send_stop(cloud: &mut Cloud, service: &Service, count: u64, asked: Option<Timestamp>, now: Timestamp) {
    let deployment = &service.primary;
    if deployment.blocked.is_some() {
        return;
    }
    let running = deployment.counts(now, cloud.clock()).running;
    let stop_seconds = stop_seconds(cloud, &deployment.definition);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    for (index, number) in (0..).zip(deployment.numbers()).take(count) {
        // A task that does not run yet has nothing to stop.
        let stop_seconds = if index < running { stop_seconds } else { 0 };
        let row = Leaving { asked, stop_seconds, ..leaving(service, number, index) };
        cloud.ecs.leaving.insert(format!("{}/{number}", deployment.id), row);
    }
}

/// Stores one task of a service's primary deployment as a task that a user stops.
pub(super) fn stop_for_user(
    cloud: &mut Cloud,
    service: &Service,
    number: u64,
    stage: Stage,
    reason: &str,
    now: Timestamp,
) {
    let deployment = &service.primary;
    let stop_seconds = if stage == Stage::Running { stop_seconds(cloud, &deployment.definition) } else { 0 };
    let index = (0..).zip(deployment.numbers()).find(|(_, other)| *other == number).map_or(0, |(index, _)| index);
    let by_user = Some(reason.to_owned());
    let row = Leaving { asked: Some(now), stop_seconds, by_user, ..leaving(service, number, index) };
    cloud.ecs.leaving.insert(format!("{}/{number}", deployment.id), row);
}

fn leaving(service: &Service, number: u64, index: u64) -> Leaving {
    let deployment = &service.primary;
    Leaving {
        cluster: service.cluster.clone(),
        service: service.name.clone(),
        deployment: deployment.id.clone(),
        number,
        definition: deployment.definition.clone(),
        created: deployment.created_at(index),
        network: service.network(),
        asked: None,
        stop_seconds: 0,
        tags: deployment.tags.clone(),
        by_user: None,
    }
}

/// How long the containers of a definition take to stop.
pub(super) fn stop_seconds(cloud: &Cloud, definition: &str) -> i32 {
    let definition = cloud.ecs.definitions.get(definition);
    let containers = definition.map_or(&[][..], |definition| definition.containers());
    let of = |container: &Value| container["stopTimeout"].as_i64().and_then(|seconds| i32::try_from(seconds).ok());
    containers.iter().map(|container| of(container).unwrap_or(DEFAULT_STOP_SECONDS)).max().unwrap_or(0)
}

/// Asks tasks to stop whose successors are healthy now, and deletes tasks that are no longer listed.
pub(super) fn settle(cloud: &mut Cloud, now: Timestamp) {
    let clock = cloud.clock();
    let mut asked = Vec::new();
    let mut over = Vec::new();
    for (id, task) in cloud.ecs.leaving.iter() {
        if !task.is_shown(now, clock) {
            over.push(id.to_owned());
        } else if task.asked.is_none() {
            let mut services = cloud.ecs.services.values();
            let service = services.find(|one| one.cluster == task.cluster && one.name == task.service);
            match service {
                Some(Service { deleted: None, primary, .. }) if primary.is_complete(now, clock) => {
                    asked.push((id.to_owned(), now.min(primary.started + clock.takes(Delay::TaskStart))));
                }
                Some(Service { deleted: None, .. }) => {}
                Some(Service { deleted: Some(deleted), .. }) => asked.push((id.to_owned(), now.min(*deleted))),
                None => asked.push((id.to_owned(), now)),
            }
        }
    }
    for (id, at) in asked {
        if let Some(task) = cloud.ecs.leaving.get_mut(&id) {
            task.asked = Some(at);
        }
    }
    for id in over {
        cloud.ecs.leaving.remove(&id);
    }
}

/// How many tasks are not STOPPED, of all services with this name in the cluster.
pub(super) fn unstopped(cloud: &Cloud, cluster: &str, name: &str, now: Timestamp) -> u64 {
    let clock = cloud.clock();
    let services = cloud.ecs.services.values().filter(|service| service.cluster == cluster && service.name == name);
    let live: u64 = services.filter(|service| service.deleted.is_none()).map(|service| service.primary.desired).sum();
    let leaving = cloud.ecs.leaving.values().filter(|task| task.cluster == cluster && task.service == name);
    live + leaving.filter(|task| task.stage(now, clock) != Stage::Stopped).map(|_| 1).sum::<u64>()
}

/// Updates the highest number of tasks of each service.
pub(super) fn count(cloud: &mut Cloud, now: Timestamp) {
    let mut most = std::mem::take(&mut cloud.ecs.most_tasks);
    for (arn, service) in cloud.ecs.services.iter() {
        let count = unstopped(cloud, &service.cluster, &service.name, now);
        let seen = most.entry(arn.to_owned()).or_default();
        *seen = (*seen).max(count);
    }
    cloud.ecs.most_tasks = most;
}

/// The highest number of tasks that were not STOPPED at the same time, by the ARN of their service.
pub(super) type MostTasks = BTreeMap<String, u64>;
