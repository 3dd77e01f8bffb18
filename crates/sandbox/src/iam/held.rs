//! The policies of a user or a role, and what the rest of AWS still takes for them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{cloud::Cloud, durations::Delay};

/// The policies of a user or a role.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Held {
    /// Inline policies by name.
    pub inline: BTreeMap<String, String>,
    /// Managed policies by ARN, in the order in which they were attached.
    pub attached: Vec<String>,
    /// The ARN of the permissions boundary.
    #[serde(rename = "permissions_boundary")]
    pub boundary: Option<String>,
    /// Who may assume it; a role has one.
    #[serde(default)]
    pub trust: Option<String>,
    /// What was there before the last changes, and when they were made: IAM is eventually consistent.
    #[serde(default)]
    before: Option<Box<(Timestamp, Held)>>,
}

impl Held {
    /// Without policies.
    pub(super) fn new(trust: Option<String>, boundary: Option<String>) -> Self {
        Self { boundary, trust, ..Self::default() }
    }

    /// Keeps what the rest of AWS knows before a change. `is_known` says whether it knows of the change before this one.
    pub(super) fn begin_change(&mut self, has_lag: bool, is_known: bool, now: Timestamp) {
        let earlier = self.before.take().filter(|_| !is_known);
        let earlier = earlier.map_or_else(|| self.clone(), |earlier| earlier.1);
        self.before = has_lag.then(|| Box::new((now, Self { before: None, ..earlier })));
    }

    /// The trust policy of a role.
    pub(super) fn trust(&self) -> &str {
        self.trust.as_deref().unwrap_or_default()
    }

    /// When the policies were last changed.
    pub(super) fn changed(&self) -> Option<Timestamp> {
        self.before.as_ref().map(|before| before.0)
    }

    /// The policies that requests are evaluated with. `holder` is the ARN of whose policies they are.
    pub(super) fn effective(&self, cloud: &Cloud, holder: &str, now: Timestamp) -> &Self {
        match self.before.as_deref() {
            Some((at, before)) if !cloud.knows(Delay::IamLag, holder, *at, now) => before,
            _ => self,
        }
    }
}
