//! Tasks that are on their way out, and how many there are at once.
//!
//! A task that runs is no row: it follows from its deployment. Once it is told to stop it becomes one, because it outlives
//! its deployment, and its service: it is STOPPING for as long as its containers may take, then its network interface
//! goes, and only then it is STOPPED. Until then it holds its security groups and its cluster.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::service::{Deployment, Service};
use crate::world::World;

/// What a container without `stopTimeout` may take, in seconds (Amazon ECS task definition parameters, read November 2026).
const DEFAULT_STOP_SECONDS: i32 = 30;

/// So many seconds of a `stopTimeout` pass in one pace: 120 take two.
const SECONDS_PER_PACE: i32 = 60;

/// A task that was told to stop, or that stops as soon as its successor is healthy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Leaving {
    pub cluster: String,
    pub service: String,
    /// The deployment that started it, and which one of its tasks it is.
    pub deployment: String,
    pub number: u64,
    pub definition: String,
    pub created: Timestamp,
    pub launch_type: Option<Value>,
    /// The subnets and security groups it stands in.
    pub network: Vec<String>,
    /// When it was told to stop.
    pub told: Option<Timestamp>,
    /// How long its containers take to stop.
    pub stop_seconds: i32,
}

/// How far a task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Pending,
    Running,
    Stopping,
    Deprovisioning,
    Stopped,
}

impl Stage {
    /// As `lastStatus` spells it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }

    /// As `desiredStatus` spells it.
    pub(super) fn desired(self) -> &'static str {
        if matches!(self, Self::Pending | Self::Running) { "RUNNING" } else { "STOPPED" }
    }
}

impl Leaving {
    pub(super) fn stage(&self, now: Timestamp, pace: SignedDuration) -> Stage {
        let Some(told) = self.told.filter(|told| now >= *told) else { return Stage::Running };
        let since = now.duration_since(told);
        let stopping = pace.saturating_mul(self.stop_seconds) / SECONDS_PER_PACE;
        match () {
            () if since < stopping => Stage::Stopping,
            () if since < stopping + pace / 2 => Stage::Deprovisioning,
            () => Stage::Stopped,
        }
    }

    /// Stopped tasks are shown for an hour (`ListTasks`, read November 2026).
    pub(super) fn is_shown(&self, now: Timestamp) -> bool {
        self.told.is_none_or(|told| now < told + 1.hour())
    }
}

/// Turns `count` tasks of a service's primary deployment, the oldest first, into rows that stop now, or once their
/// successors are healthy.
pub(super) fn send_away(world: &mut World, service: &Service, count: u64, told: Option<Timestamp>, now: Timestamp) {
    let deployment = &service.primary;
    if deployment.blocked.is_some() {
        return;
    }
    let running = deployment.counts(now, world.pace()).running;
    let stop_seconds = stop_seconds(world, deployment);
    for number in deployment.first..deployment.first + count {
        let row = Leaving {
            cluster: service.cluster.clone(),
            service: service.name.clone(),
            deployment: deployment.id.clone(),
            number,
            definition: deployment.definition.clone(),
            created: deployment.started,
            launch_type: service.body.get("launchType").cloned(),
            network: service.network(),
            told,
            // One that does not run yet has nothing to stop.
            stop_seconds: if number < deployment.first + running { stop_seconds } else { 0 },
        };
        world.ecs.leaving.insert(format!("{}/{number}", deployment.id), row);
    }
}

fn stop_seconds(world: &World, deployment: &Deployment) -> i32 {
    let definition = world.ecs.definitions.get(&deployment.definition);
    let containers = definition.map_or(&[][..], |definition| definition.containers());
    let of = |container: &Value| container["stopTimeout"].as_i64().and_then(|seconds| i32::try_from(seconds).ok());
    containers.iter().map(|container| of(container).unwrap_or(DEFAULT_STOP_SECONDS)).max().unwrap_or(0)
}

/// Tells tasks whose successors are healthy by now to stop, and forgets those that nobody is shown any more.
pub(super) fn settle(world: &mut World, now: Timestamp) {
    let pace = world.pace();
    let mut told = Vec::new();
    let mut over = Vec::new();
    for (id, task) in world.ecs.leaving.iter() {
        if !task.is_shown(now) {
            over.push(id.to_owned());
        } else if task.told.is_none() {
            let mut services = world.ecs.services.values();
            let service = services.find(|one| one.cluster == task.cluster && one.name == task.service);
            match service {
                Some(Service { deleted: None, primary, .. }) if primary.is_complete(now, pace) => {
                    told.push((id.to_owned(), primary.started + pace));
                }
                Some(Service { deleted: None, .. }) => {}
                Some(Service { deleted: Some(deleted), .. }) => told.push((id.to_owned(), *deleted)),
                None => told.push((id.to_owned(), now)),
            }
        }
    }
    for (id, at) in told {
        if let Some(task) = world.ecs.leaving.get_mut(&id) {
            task.told = Some(at);
        }
    }
    for id in over {
        world.ecs.leaving.remove(&id);
    }
}

/// How many tasks of a service's name in its cluster are not STOPPED.
pub(super) fn unstopped(world: &World, cluster: &str, name: &str, now: Timestamp) -> u64 {
    let pace = world.pace();
    let services = world.ecs.services.values().filter(|service| service.cluster == cluster && service.name == name);
    let live: u64 = services.filter(|service| service.deleted.is_none()).map(|service| service.primary.desired).sum();
    let leaving = world.ecs.leaving.values().filter(|task| task.cluster == cluster && task.service == name);
    live + leaving.filter(|task| task.stage(now, pace) != Stage::Stopped).map(|_| 1).sum::<u64>()
}

/// Keeps the most tasks that each service ever had at once.
pub(super) fn count(world: &mut World, now: Timestamp) {
    let mut most = std::mem::take(&mut world.ecs.most_tasks);
    for (arn, service) in world.ecs.services.iter() {
        let count = unstopped(world, &service.cluster, &service.name, now);
        let seen = most.entry(arn.to_owned()).or_default();
        *seen = (*seen).max(count);
    }
    world.ecs.most_tasks = most;
}

/// The most tasks that were not STOPPED at once, by the ARN of their service.
pub(super) type MostTasks = BTreeMap<String, u64>;
