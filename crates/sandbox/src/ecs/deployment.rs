//! Deployments: which tasks a service has, from the time that has passed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{start::Blocked, tag::Tag};
use crate::durations::{Clock, Delay};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Deployment {
    pub id: String,
    /// The ARN of the task definition.
    pub definition: String,
    pub started: Timestamp,
    pub desired: u64,
    /// When `desired` was last changed, and how many tasks ran at that time.
    pub scaled: Timestamp,
    pub running_before: u64,
    /// Why its tasks cannot run.
    pub blocked: Option<Blocked>,
    /// The number of its oldest task, which is how many tasks have been asked to stop.
    #[serde(default)]
    pub first: u64,
    /// Later tasks that have been asked to stop.
    #[serde(default)]
    pub gone: Vec<u64>,
    /// The tags of its tasks.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Its part of the service's members.
    #[serde(default)]
    pub settings: Map<String, Value>,
}

/// Tasks of a service or a deployment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub running: u64,
    pub pending: u64,
}

impl Deployment {
    /// A deployment whose tasks start now.
    pub(super) fn new(id: String, definition: String, desired: u64, now: Timestamp) -> Self {
        Self {
            id,
            definition,
            started: now,
            desired,
            scaled: now,
            running_before: 0,
            blocked: None,
            first: 0,
            gone: Vec::new(),
            tags: Vec::new(),
            settings: Map::new(),
        }
    }

    /// The numbers of its tasks that have not been asked to stop, the oldest first.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        let desired = usize::try_from(self.desired).unwrap_or(usize::MAX);
        (self.first..).filter(|number| !self.gone.contains(number)).take(desired)
    }

    /// When its task at this position was created.
    pub(super) fn created_at(&self, index: u64) -> Timestamp {
        if index < self.running_before { self.started } else { self.scaled }
    }

    /// Another task takes the place of this one.
    pub(super) fn replace(&mut self, number: u64, was_running: bool, now: Timestamp, clock: Clock) {
        let running = self.counts(now, clock).running;
        self.running_before = running.saturating_sub(u64::from(was_running));
        self.scaled = now;
        self.gone.push(number);
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        while let Some(index) = self.gone.iter().position(|gone| *gone == self.first) {
            self.gone.remove(index);
            self.first += 1;
        }
    }

    /// The oldest tasks have been asked to stop.
    pub(super) fn drop_oldest(&mut self, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let oldest: Vec<u64> = self.numbers().take(count).collect();
        self.gone.extend(oldest);
        self.forget_oldest();
    }

    pub(super) fn is_complete(&self, now: Timestamp, clock: Clock) -> bool {
        self.blocked.is_none() && clock.is_over(Delay::TaskStart, self.started, now)
    }

    pub(super) fn counts(&self, now: Timestamp, clock: Clock) -> Counts {
        let running = if self.blocked.is_some() {
            0
        } else if clock.is_over(Delay::TaskStart, self.scaled, now) {
            self.desired
        } else {
            self.running_before.min(self.desired)
        };
        Counts { running, pending: self.desired - running }
    }
}
