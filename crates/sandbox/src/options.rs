//! How a sandbox is to behave, and what can go wrong opening one.

use std::{io, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// How a sandbox behaves. Without anything said, it keeps its data in memory, does not throttle, and shows everything at
/// once.
///
/// ```
/// use std::time::Duration;
/// use trunnion_sandbox::{Effect, FaultRule, Options};
///
/// // The second `RunInstances` finds no capacity.
/// let effect = Effect::Error { code: "InsufficientInstanceCapacity".into(), status: 500, message: String::new() };
/// let fault = FaultRule { operation: "ec2:RunInstances".into(), nth: 2, times: 1, effect };
/// let options = Options::new().with_pace(Duration::ZERO).with_faults([fault]);
/// assert_eq!(options.account, "123456789012");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The directory that keeps the sandbox's data; without one it is kept in memory.
    pub data: Option<PathBuf>,
    /// The account that everything belongs to, twelve digits.
    pub account: String,
    /// How long a change of state takes (pending to running, draining to inactive): 300 ms by default.
    pub pace: Duration,
    /// Whether calls are throttled by AWS's documented token buckets.
    pub throttle: bool,
    /// For how long a new resource is not found, and a new instance profile not accepted by `RunInstances`.
    pub consistency_lag: Duration,
    /// How long every call takes at least.
    pub latency: Duration,
    /// Whether the identity may have service-linked roles made, as AWS does with the first cluster and the first spot host
    /// of an account.
    pub makes_service_roles: bool,
    /// The account's quota of Elastic IPs for each region: 5 by default, as on AWS.
    pub elastic_ips: usize,
    /// Calls that go wrong.
    pub faults: Vec<FaultRule>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: None,
            account: "123456789012".to_owned(),
            pace: Duration::from_millis(300),
            throttle: false,
            consistency_lag: Duration::ZERO,
            latency: Duration::ZERO,
            makes_service_roles: true,
            elastic_ips: 5,
            faults: Vec::new(),
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
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

    /// The same, and a change of state takes this long.
    #[must_use]
    pub fn with_pace(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    /// The same, and calls are throttled, or not.
    #[must_use]
    pub fn with_throttling(self, throttle: bool) -> Self {
        Self { throttle, ..self }
    }

    /// The same, and a new resource is not found for this long.
    #[must_use]
    pub fn with_consistency_lag(self, consistency_lag: Duration) -> Self {
        Self { consistency_lag, ..self }
    }

    /// The same, and every call takes at least this long.
    #[must_use]
    pub fn with_latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// The same for an identity that may not have service-linked roles made.
    #[must_use]
    pub fn without_service_roles(self) -> Self {
        Self { makes_service_roles: false, ..self }
    }

    /// The same with this quota of Elastic IPs.
    #[must_use]
    pub fn with_elastic_ips(self, elastic_ips: usize) -> Self {
        Self { elastic_ips, ..self }
    }

    /// The same, and these calls go wrong, too.
    #[must_use]
    pub fn with_faults(mut self, faults: impl IntoIterator<Item = FaultRule>) -> Self {
        self.faults.extend(faults);
        self
    }
}

/// Makes certain calls of an operation go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// `service:Action`, such as `ec2:RunInstances`; `ec2:*` is every call of the service.
    pub operation: String,
    /// The first call that goes wrong, counted from one since the rule was given.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many calls go wrong from there.
    #[serde(default = "one")]
    pub times: u64,
    /// What happens to them.
    pub effect: Effect,
}

fn one() -> u64 {
    1
}

/// What happens to a call that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is not executed and answers this error.
    Error {
        /// AWS's error code.
        code: String,
        /// HTTP status.
        status: u16,
        /// AWS's text.
        #[serde(default)]
        message: String,
    },
    /// It is not executed, and the connection is closed without an answer.
    DropBefore,
    /// It is executed, and the connection is closed without an answer.
    DropAfter,
}

/// Why a sandbox cannot be opened or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// Another process has the data directory.
    #[error("the data directory `{directory}` is in use by {holder}", directory = .directory.display())]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// Who has it, such as `process 4711`.
        holder: String,
    },
    /// A file of the data directory cannot be read or written.
    #[error("cannot read or write `{path}`", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal holds something that this version does not understand.
    #[error("line {line} of `{path}` is not a line of a world's journal: {reason}", path = .path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The line, counted from one.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The data directory keeps the world of another account.
    #[error("the data directory keeps the account {kept}, not {asked}")]
    OtherAccount {
        /// The account kept.
        kept: String,
        /// The account asked for.
        asked: String,
    },
    /// A row cannot be written as JSON.
    #[error("cannot write a row as JSON")]
    Encoding {
        /// What the serialiser said.
        source: serde_json::Error,
    },
    /// The listener has no address.
    #[error("cannot read the address of the listener")]
    Listener {
        /// What the system said.
        source: io::Error,
    },
}
