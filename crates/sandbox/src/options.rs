//! The options of a sandbox, and its errors.

use std::{io, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use trunnion_catalog::limits;

use crate::{Consistency, Delay};

/// How a sandbox behaves. By default, it keeps its data in memory, does not throttle, and shows everything at once;
/// [`Options::strict`] is at least as strict as AWS.
///
/// ```
/// use trunnion_sandbox::{Effect, FaultRule, Options};
///
/// // The second `RunInstances` finds no capacity.
/// let effect = Effect::Error { code: "InsufficientInstanceCapacity".into(), status: 500, message: String::new() };
/// let fault = FaultRule { operation: "ec2:RunInstances".into(), nth: 2, times: 1, effect };
/// let options = Options::strict(7).with_speed(1000.0).with_faults([fault]);
/// assert_eq!(options.account, "123456789012");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The directory that keeps the sandbox's data; without one it is kept in memory.
    pub data: Option<PathBuf>,
    /// The twelve digits of the account that all resources belong to.
    pub account: String,
    /// How many times faster than on AWS everything happens that takes time there: 200 by default, so that a minute
    /// takes 300 ms; 1 is real time.
    pub speed: f64,
    /// Delays that take this long at any speed.
    pub delays: Vec<(Delay, Duration)>,
    /// Whether calls are throttled with AWS's documented token buckets, and how many times faster these are refilled.
    pub throttle: Option<f64>,
    /// Which reads show what is new.
    pub consistency: Consistency,
    /// The shortest duration of a call.
    pub latency: Duration,
    /// Whether the identity may create service-linked roles, which AWS does with the first cluster and the first spot
    /// instance of an account.
    pub makes_service_roles: bool,
    /// The account's quota of Elastic IPs for each region: 5 by default, as on AWS.
    pub elastic_ips: usize,
    /// The account's quota of vCPUs of running instances for each region; none by default.
    pub vcpus: Option<u32>,
    /// Rules for calls that fail.
    pub faults: Vec<FaultRule>,
    /// The file to which every verdict on a permission is written, one JSON document per line.
    pub authorizations: Option<PathBuf>,
}

/// The range of speeds.
const SLOWEST: f64 = 0.001;
const FASTEST: f64 = 1_000_000.0;

impl Default for Options {
    fn default() -> Self {
        Self {
            data: None,
            account: "123456789012".to_owned(),
            speed: 200.0,
            // An hour on AWS; people try out more than one sandbox in that time.
            delays: vec![(Delay::BucketNameRest, Duration::from_millis(600))],
            throttle: None,
            consistency: Consistency::Immediate,
            latency: Duration::ZERO,
            makes_service_roles: true,
            elastic_ips: limits::ELASTIC_IPS,
            vcpus: None,
            faults: Vec::new(),
            authorizations: None,
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// A sandbox that is at least as strict as AWS with a new account: reads are eventually consistent, deletions take
    /// their time, calls are throttled, and the quotas are those of a new account. What is consistent when follows from
    /// the seed.
    pub fn strict(seed: u64) -> Self {
        Self {
            delays: Vec::new(),
            throttle: Some(Self::default().speed),
            consistency: Consistency::Replicas(seed),
            vcpus: Some(limits::VCPUS),
            ..Self::default()
        }
    }

    /// The same, and the data is kept in this directory.
    #[must_use]
    pub fn with_data(self, directory: impl Into<PathBuf>) -> Self {
        Self { data: Some(directory.into()), ..self }
    }

    /// The same for another account, twelve digits.
    #[must_use]
    pub fn with_account(self, account: impl Into<String>) -> Self {
        Self { account: account.into(), ..self }
    }

    /// The same, and this many times faster than AWS, token buckets included.
    #[must_use]
    pub fn with_speed(self, speed: f64) -> Self {
        let speed = if speed.is_finite() { speed.clamp(SLOWEST, FASTEST) } else { FASTEST };
        Self { speed, throttle: self.throttle.map(|_| speed), ..self }
    }

    /// The same, and this delay takes this long at any speed.
    #[must_use]
    pub fn with_delay(mut self, delay: Delay, duration: Duration) -> Self {
        self.delays.push((delay, duration));
        self
    }

    /// The same, and calls are throttled. The token buckets are refilled this many times faster than on AWS, whatever
    /// the sandbox's speed is.
    #[must_use]
    pub fn with_throttling(self, speed: f64) -> Self {
        Self { throttle: Some(speed), ..self }
    }

    /// The same with this consistency of reads.
    #[must_use]
    pub fn with_consistency(self, consistency: Consistency) -> Self {
        Self { consistency, ..self }
    }

    /// The same, and every call takes at least this long.
    #[must_use]
    pub fn with_latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// The same for an identity that may not create service-linked roles.
    #[must_use]
    pub fn without_service_roles(self) -> Self {
        Self { makes_service_roles: false, ..self }
    }

    /// The same with this quota of Elastic IPs.
    #[must_use]
    pub fn with_elastic_ips(self, elastic_ips: usize) -> Self {
        Self { elastic_ips, ..self }
    }

    /// The same with this quota of vCPUs.
    #[must_use]
    pub fn with_vcpus(self, vcpus: u32) -> Self {
        Self { vcpus: Some(vcpus), ..self }
    }

    /// The same, and every verdict on a permission is written to this file.
    #[must_use]
    pub fn with_authorizations(self, file: impl Into<PathBuf>) -> Self {
        Self { authorizations: Some(file.into()), ..self }
    }

    /// The same, and these calls go wrong, too.
    #[must_use]
    pub fn with_faults(mut self, faults: impl IntoIterator<Item = FaultRule>) -> Self {
        self.faults.extend(faults);
        self
    }
}

/// Makes some calls of an operation fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// `service:Action`, such as `ec2:RunInstances`; `ec2:*` matches all calls of the service.
    pub operation: String,
    /// The first call that fails, counted from one since the rule was set.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many calls in a row fail.
    #[serde(default = "one")]
    pub times: u64,
    /// How they fail.
    pub effect: Effect,
}

fn one() -> u64 {
    1
}

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The call is not executed and answers this error.
    Error {
        /// AWS's error code.
        code: String,
        /// HTTP status.
        status: u16,
        /// AWS's message.
        #[serde(default)]
        message: String,
    },
    /// The call is not executed, and the connection is closed without an answer.
    DropBefore,
    /// The call is executed, and the connection is closed without an answer.
    DropAfter,
}

/// Why a sandbox cannot be opened or cannot continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// Another process uses the data directory.
    #[error("the data directory `{directory}` is in use by {holder}", directory = .directory.display())]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// The other process, such as `process 4711`.
        holder: String,
    },
    /// A file of the data directory cannot be read or written.
    #[error("cannot read or write `{path}`", path = .path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The journal has a line that this version cannot read.
    #[error("line {line} of `{path}` is not a valid line of a sandbox's journal: {reason}", path = .path.display())]
    Journal {
        /// Path of the journal.
        path: PathBuf,
        /// Number of the line, counted from one.
        line: usize,
        /// Why the line is invalid.
        reason: String,
    },
    /// The data directory has the data of another account.
    #[error("the data directory belongs to the account {kept}, not {asked}")]
    OtherAccount {
        /// The account of the data.
        kept: String,
        /// The account in the options.
        asked: String,
    },
    /// A row cannot be written as JSON.
    #[error("cannot write a row as JSON")]
    Encoding {
        /// The serialiser's error.
        source: serde_json::Error,
    },
    /// The listener has no address.
    #[error("cannot read the address of the listener")]
    Listener {
        /// The system's error.
        source: io::Error,
    },
}
