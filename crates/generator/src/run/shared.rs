//! What the tasks of the service share: the facts about the host, and its health.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use trunnion_host::{Config, Connections};

use super::journal::say;
use crate::{
    check::{Capacity, Report, State},
    layout::Layout,
};

/// How late the next check can be before the last one no longer counts: the task that checks the host is stuck then.
const STALE: Duration = Duration::from_mins(5);

/// What the tasks of the service share. The lock is never held across an await.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// The longest time between two checks.
    refresh: Duration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    layout: Option<Arc<Layout>>,
    metadata_read: Option<Instant>,
    report: Option<(Report, Instant)>,
    /// Failures besides those of the checks, by what failed.
    troubles: BTreeMap<&'static str, String>,
    stopping: Option<String>,
    notice: Option<String>,
}

/// The health of the host, as `/health` serves it.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    pub(super) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<String>,
    failing: Vec<Failing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) capacity: Option<Capacity>,
    promised: Connections,
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_seconds_ago: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Healthy,
    Unhealthy,
    Draining,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
        }
    }
}

#[derive(Debug, Serialize)]
struct Failing {
    name: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Shared {
    pub(super) fn new(config: Config, refresh: Duration) -> Self {
        Self { config, refresh, known: Mutex::default() }
    }

    /// Ignores that a thread panicked with the lock: each field is replaced as a whole, so none is half-written.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn layout(&self) -> Option<Arc<Layout>> {
        self.known().layout.clone()
    }

    pub(super) fn set_layout(&self, layout: Layout) -> Arc<Layout> {
        let layout = Arc::new(layout);
        self.known().layout = Some(Arc::clone(&layout));
        layout
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.layout().map(|layout| layout.addresses().collect()).unwrap_or_default()
    }

    /// Notes that the metadata was read.
    pub(super) fn metadata_read(&self) {
        self.known().metadata_read = Some(Instant::now());
    }

    /// The time since the metadata was last read.
    pub(super) fn metadata_age(&self) -> Option<Duration> {
        Some(self.known().metadata_read?.elapsed())
    }

    /// Takes the report of a check, and logs what changed since the one before.
    pub(super) fn set_report(&self, report: Report) {
        let mut known = self.known();
        let before = known.report.take().map(|(report, _)| report);
        let state =
            |name: &str| before.as_ref()?.checks.iter().find(|check| check.name == name).map(|check| check.state);
        for check in &report.checks {
            match (state(check.name), check.state) {
                (before, now) if before == Some(now) => {}
                (None, State::Ok) => {}
                (Some(_), State::Ok) => say(format_args!("check {}: ok again: {}", check.name, check.message)),
                (_, State::Warning) => say(format_args!("check {}: warning: {}", check.name, check.message)),
                (_, State::Failed) => {
                    say(format_args!("check {}: failed: {}", check.name, check.message));
                    for detail in check.details.iter().take(10) {
                        say(format_args!("check {}: {detail}", check.name));
                    }
                }
            }
        }
        if before.is_none_or(|before| before.healthy != report.healthy) {
            say(format_args!(
                "this host {}",
                if report.healthy { "holds what it was promised" } else { "is not ready" }
            ));
        }
        known.report = Some((report, Instant::now()));
    }

    /// Notes and logs that something failed, or no longer fails.
    pub(super) fn trouble(&self, what: &'static str, why: Option<String>) {
        let mut known = self.known();
        match why {
            Some(why) if known.troubles.get(what) != Some(&why) => {
                say(format_args!("{what}: failed: {why}"));
                known.troubles.insert(what, why);
            }
            Some(_) => {}
            None => {
                if known.troubles.remove(what).is_some() {
                    say(format_args!("{what}: ok again"));
                }
            }
        }
    }

    /// Notes and logs that the service stops.
    pub(super) fn drain(&self, why: &str) {
        say(format_args!("draining: {why}"));
        self.known().stopping = Some(why.to_owned());
    }

    /// Notes and logs the notice of AWS, or that there is none any more.
    pub(super) fn notice(&self, notice: Option<String>) {
        let mut known = self.known();
        if known.notice != notice {
            match &notice {
                Some(notice) => say(format_args!("draining: {notice}")),
                None => say(format_args!("no longer draining: AWS withdrew its notice")),
            }
            known.notice = notice;
        }
    }

    pub(super) fn health(&self) -> Health {
        let known = self.known();
        let mut failing: Vec<Failing> = known
            .troubles
            .iter()
            .map(|(name, why)| Failing { name, message: why.clone(), details: Vec::new(), help: None })
            .collect();
        let failed =
            |name, message: &str| Failing { name, message: message.to_owned(), details: Vec::new(), help: None };
        match &known.report {
            None => failing.push(failed("start", "this host has not been checked yet")),
            Some((_, at)) if at.elapsed() > self.refresh + STALE => {
                failing.push(failed("stale", "the last check is too old: the service is stuck"));
            }
            Some((report, _)) => failing.extend(report.failing().map(|check| Failing {
                name: check.name,
                message: check.message.clone(),
                details: check.details.iter().take(10).cloned().collect(),
                help: check.help.clone(),
            })),
        }
        let draining = known.stopping.clone().or_else(|| known.notice.clone());
        let status = match (&draining, failing.is_empty()) {
            (Some(_), _) => Status::Draining,
            (None, true) => Status::Healthy,
            (None, false) => Status::Unhealthy,
        };
        Health {
            status,
            draining,
            failing,
            capacity: known.report.as_ref().map(|(report, _)| report.capacity),
            promised: self.config.connections,
            checked_seconds_ago: known.report.as_ref().map(|(_, at)| at.elapsed().as_secs()),
        }
    }
}

impl Health {
    /// Whether nothing fails, draining or not.
    pub(super) fn is_sound(&self) -> bool {
        self.failing.is_empty()
    }
}
