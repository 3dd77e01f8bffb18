//! The options of a sandbox, and its errors.

use std::{io, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// The options of a sandbox.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory for the data; without one it is kept in memory.
    pub data: Option<PathBuf>,
    /// The twelve digits of the account that all resources belong to.
    pub account: String,
    /// How long gradual state changes take, such as pending to running or draining to inactive.
    pub pace: Duration,
    /// Whether calls are throttled with AWS's documented token buckets.
    pub throttle: bool,
    /// How long Describe calls do not show a new resource, and `RunInstances` does not accept a new instance profile.
    pub consistency_lag: Duration,
    /// The shortest duration of a call.
    pub latency: Duration,
    /// Whether the identity may create service-linked roles, which AWS does with the first cluster and the first spot
    /// instance of an account.
    pub makes_service_roles: bool,
    /// The quota of Elastic IPs in each region.
    pub elastic_ips: usize,
    /// Rules for calls that fail.
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
