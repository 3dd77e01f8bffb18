//! What the parts of the service share: what is known of the host, and how it is.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use trunnion_host::{Config, Connections};

use super::say;
use crate::{
    check::{Capacity, Report, State},
    layout::Layout,
};

/// A check that should have been followed by another one so long ago is none: the part of the service that keeps the host
/// is stuck.
const STALE: Duration = Duration::from_mins(5);

/// What the parts of the service share. The lock is held for a moment only, and never across an await.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// Between two checks where nothing happens.
    refresh: Duration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    layout: Option<Arc<Layout>>,
    metadata_read: Option<Instant>,
    report: Option<(Report, Instant)>,
    /// What went wrong besides the checks, by what was tried.
    troubles: BTreeMap<&'static str, String>,
    stopping: Option<String>,
    notice: Option<String>,
}

/// How the host is, for `/health`.
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

    /// Taken although a thread panicked with it: each of its fields is replaced as a whole.
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

    /// The metadata was read as a whole.
    pub(super) fn metadata_read(&self) {
        self.known().metadata_read = Some(Instant::now());
    }

    /// How long ago the metadata was read as a whole.
    pub(super) fn metadata_age(&self) -> Option<Duration> {
        Some(self.known().metadata_read?.elapsed())
    }

    /// Says what has changed since the last check.
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

    /// Something went wrong, or no longer does.
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

    /// The service ends.
    pub(super) fn drain(&self, why: &str) {
        say(format_args!("draining: {why}"));
        self.known().stopping = Some(why.to_owned());
    }

    /// AWS said what it is about to do, or that it is about to do nothing.
    pub(super) fn notice(&self, notice: Option<String>) {
        let mut known = self.known();
        if known.notice != notice {
            match &notice {
                Some(notice) => say(format_args!("draining: {notice}")),
                None => say(format_args!("no longer draining: AWS took its notice back")),
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
            None => failing.push(failed("start", "this host was not checked yet")),
            Some((_, at)) if at.elapsed() > self.refresh + STALE => {
                failing.push(failed("stale", "the last check is too old"));
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
    /// Whether nothing is wrong with the host, draining or not.
    pub(super) fn is_sound(&self) -> bool {
        self.failing.is_empty()
    }
}
