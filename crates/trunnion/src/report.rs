//! What `apply --json` and `destroy --json` write: one [`Line`] for each event, with a heartbeat, and the [`Report`] of the
//! outcome in the last one. Both have published schemas; see [`Line::json_schema`] and [`Report::json_schema`].
//!
//! A minor version of a format only adds: a reader ignores the fields and events that it does not know.
//!
//! A library user gets the same lines from [`Lines`]:
//!
//! ```
//! use std::time::Instant;
//! use trunnion::{Event, Operation, report::Lines};
//!
//! let (mut lines, begun) = Lines::begin("loadtest", 15);
//! let event = Event::Started { address: "instance.heavy[0]".parse()?, operation: Operation::Create };
//! let started = lines.line(&event, Instant::now());
//! let text = serde_json::to_string(&started)?;
//! assert!(text.contains(r#""event":"started","address":"instance.heavy[0]","operation":"create""#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::{Timestamp, Unit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use trunnion_engine::Ending;
use trunnion_engine::{Address, ErrorClass, Event, Format, Operation, Outcome, ProviderError};

use crate::Outputs;

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Trunnion event")]
pub struct Line {
    /// When it was written, RFC 3339 in UTC.
    pub at: String,
    /// What happened.
    #[serde(flatten)]
    pub happened: Happened,
}

/// What a line of the stream is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Happened {
    /// Apply begins. The first line.
    Begun {
        /// Version of the format of every line.
        #[schemars(extend("pattern" = r"^1\.[0-9]+$"))]
        format: Format,
        /// The stack's name.
        stack: String,
        /// How many steps the plan has.
        steps: usize,
    },
    /// A step began.
    Started(Step),
    /// A step succeeded.
    Finished {
        /// What it is about.
        address: Address,
        /// What was done.
        operation: Operation,
        /// What the cloud calls it.
        id: String,
        /// How long it took.
        seconds: f64,
    },
    /// A step failed.
    Failed {
        /// What it is about.
        address: Address,
        /// What was tried.
        operation: Operation,
        /// Why it failed.
        error: Problem,
        /// How long it took.
        seconds: f64,
    },
    /// A step was not tried, because another one failed.
    Skipped(Skipped),
    /// The wait for a step was ended because of an interruption: the cloud goes on with it.
    Interrupted {
        /// What it is about.
        address: Address,
        /// What is being done.
        operation: Operation,
        /// How long it took until then.
        seconds: f64,
    },
    /// There was an interruption: no further step is started.
    Stopping,
    /// Apply is still at work. Written at regular intervals, also where nothing happens for long.
    Heartbeat {
        /// How many steps have ended in one way or another.
        settled: usize,
        /// How many steps the plan has.
        steps: usize,
        /// The steps that run.
        running: Vec<Running>,
    },
    /// Apply ended. The last line.
    Ended {
        /// How it ended.
        outcome: Box<Report>,
    },
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// What it is about.
    pub address: Address,
    /// What is done.
    pub operation: Operation,
}

/// A step that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Running {
    /// What it is about.
    pub address: Address,
    /// What is being done.
    pub operation: Operation,
    /// How long it has been running.
    pub seconds: f64,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// What it is about.
    pub address: Address,
    /// What was tried.
    pub operation: Operation,
    /// Why it failed.
    pub error: Problem,
}

/// A step that was not tried because another one failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// What it is about.
    pub address: Address,
    /// What would have been done.
    pub operation: Operation,
    /// The address of the step that failed.
    pub because: Address,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What kind of failure it is.
    pub class: ErrorClass,
    /// One sentence.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The call that failed, as AWS's permissions name it: `ec2:RunInstances`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// AWS's code: `InsufficientInstanceCapacity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What AWS's support finds the call by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl From<&ProviderError> for Problem {
    fn from(error: &ProviderError) -> Self {
        Self {
            class: error.class,
            message: error.message.clone(),
            help: error.help.clone(),
            call: error.operation.clone(),
            code: error.code.clone(),
            request_id: error.request_id.clone(),
        }
    }
}

/// How an apply ended, and what stands since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Trunnion outcome")]
pub struct Report {
    /// Version of this format.
    #[schemars(extend("pattern" = r"^1\.[0-9]+$"))]
    pub format: Format,
    /// How it ended.
    pub result: Ending,
    /// Steps that succeeded.
    pub done: Vec<Step>,
    /// Steps that failed.
    pub failed: Vec<Failed>,
    /// Steps that were not tried because of a failure.
    pub skipped: Vec<Skipped>,
    /// Steps whose wait was ended because of an interruption: the cloud goes on with them.
    pub interrupted: Vec<Step>,
    /// How many steps were not started, because of an interruption or because the state could not be saved.
    pub not_started: usize,
    /// Why the state could not be saved; absent where it was. The next plan finds everything by its tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaved: Option<String>,
    /// What stands now.
    pub outputs: Outputs,
}

impl Report {
    /// The format that this version writes.
    pub const FORMAT: Format = Format { major: 1, minor: 0 };

    /// The report of an outcome.
    pub fn new(outcome: &Outcome, outputs: Outputs) -> Self {
        let steps = |list: &[(Address, Operation)]| -> Vec<Step> {
            list.iter().map(|(address, operation)| Step { address: address.clone(), operation: *operation }).collect()
        };
        let failed = |(address, operation, error): &(Address, Operation, ProviderError)| Failed {
            address: address.clone(),
            operation: *operation,
            error: error.into(),
        };
        let skipped = |(address, operation, because): &(Address, Operation, Address)| Skipped {
            address: address.clone(),
            operation: *operation,
            because: because.clone(),
        };
        Self {
            format: Self::FORMAT,
            result: outcome.ending(),
            done: steps(&outcome.done),
            failed: outcome.failed.iter().map(failed).collect(),
            skipped: outcome.skipped.iter().map(skipped).collect(),
            interrupted: steps(&outcome.interrupted),
            not_started: outcome.not_started,
            unsaved: outcome.unsaved.as_ref().map(|error| causes(error)),
            outputs,
        }
    }

    /// The schema of the outcome.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Report).to_value()
    }
}

/// An error and what caused it, without a full stop at the end.
pub fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |cause| cause.source());
    let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    text.trim_end_matches('.').to_owned()
}

impl Line {
    /// The format that this version writes.
    pub const FORMAT: Format = Format { major: 1, minor: 0 };

    /// A line of this moment.
    pub fn now(happened: Happened) -> Self {
        let now = Timestamp::now();
        Self { at: now.round(Unit::Millisecond).unwrap_or(now).to_string(), happened }
    }

    /// The schema of every line.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Line).to_value()
    }
}

/// Makes the lines of one apply out of its events.
#[derive(Debug)]
pub struct Lines {
    steps: usize,
    settled: usize,
    running: BTreeMap<(Address, Operation), Instant>,
}

impl Lines {
    /// An apply of so many steps begins: its lines, and the first one of them.
    pub fn begin(stack: impl Into<String>, steps: usize) -> (Self, Line) {
        let lines = Self { steps, settled: 0, running: BTreeMap::new() };
        (lines, Line::now(Happened::Begun { format: Line::FORMAT, stack: stack.into(), steps }))
    }

    /// The line of an event that happened now.
    pub fn line(&mut self, event: &Event, now: Instant) -> Line {
        Line::now(match event.clone() {
            Event::Started { address, operation } => {
                self.running.insert((address.clone(), operation), now);
                Happened::Started(Step { address, operation })
            }
            Event::Finished { address, operation, id } => {
                let seconds = self.settle(&address, operation, now);
                Happened::Finished { address, operation, id, seconds }
            }
            Event::Failed { address, operation, error } => {
                let seconds = self.settle(&address, operation, now);
                Happened::Failed { address, operation, error: (&error).into(), seconds }
            }
            Event::Skipped { address, operation, because } => {
                self.settled += 1;
                Happened::Skipped(Skipped { address, operation, because })
            }
            Event::Interrupted { address, operation } => {
                let seconds = self.settle(&address, operation, now);
                Happened::Interrupted { address, operation, seconds }
            }
            Event::Stopping => Happened::Stopping,
        })
    }

    /// The line that says what still runs.
    pub fn heartbeat(&self, now: Instant) -> Line {
        let running = self.running.iter().map(|((address, operation), since)| Running {
            address: address.clone(),
            operation: *operation,
            seconds: seconds(now.saturating_duration_since(*since)),
        });
        Line::now(Happened::Heartbeat { settled: self.settled, steps: self.steps, running: running.collect() })
    }

    fn settle(&mut self, address: &Address, operation: Operation, now: Instant) -> f64 {
        self.settled += 1;
        let since = self.running.remove(&(address.clone(), operation));
        seconds(since.map(|since| now.saturating_duration_since(since)).unwrap_or_default())
    }
}

/// Seconds with one digit behind the point.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::{Value, json};
    use trunnion_engine::{State, StoreError};

    use super::*;

    fn host(number: u32) -> Address {
        Address::numbered("instance", "heavy", number)
    }

    const CREATE: Operation = Operation::Create;

    /// A line as a reader gets it, without its time.
    fn read(line: &Line) -> Value {
        let text = serde_json::to_string(line).unwrap();
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(&serde_json::from_str::<Line>(&text).unwrap(), line);
        let mut json: Value = serde_json::from_str(&text).unwrap();
        let at = json.as_object_mut().unwrap().remove("at").unwrap();
        assert!(at.as_str().unwrap().parse::<Timestamp>().is_ok(), "{at}");
        json
    }

    #[test]
    fn every_event_is_a_line_and_the_heartbeat_says_what_runs() {
        let start = Instant::now();
        let after = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let (mut lines, begun) = Lines::begin("loadtest", 4);
        assert_eq!(read(&begun), json!({"event": "begun", "format": "1.0", "stack": "loadtest", "steps": 4}));
        let of = |event: &str, more: Value| {
            let mut line = json!({"event": event, "address": "instance.heavy[0]", "operation": "create"});
            line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            line
        };
        let (address, operation) = (host(0), CREATE);
        let started = Event::Started { address: address.clone(), operation };
        assert_eq!(read(&lines.line(&started, start)), of("started", json!({})));
        let running = json!([{"address": "instance.heavy[0]", "operation": "create", "seconds": 20.0}]);
        let beat = |settled: usize, running: Value| json!({"event": "heartbeat", "settled": settled, "steps": 4, "running": running});
        assert_eq!(read(&lines.heartbeat(after(200))), beat(0, running));
        let finished = Event::Finished { address: address.clone(), operation, id: "i-1".to_owned() };
        assert_eq!(read(&lines.line(&finished, after(254))), of("finished", json!({"id": "i-1", "seconds": 25.4})));
        assert_eq!(read(&lines.heartbeat(after(300))), beat(1, json!([])));
        lines.line(&started, start);
        let error = ProviderError::new("no", "ask again".to_owned()).with_class(ErrorClass::Denied);
        let error = error.with_operation("ec2:RunInstances").with_code("UnauthorizedOperation").with_request_id("1-2");
        let failed = Event::Failed { address: address.clone(), operation, error };
        let call = json!({
            "class": "denied", "message": "no", "help": "ask again",
            "call": "ec2:RunInstances", "code": "UnauthorizedOperation", "request_id": "1-2"
        });
        let expected = json!({"error": call, "seconds": 1.0});
        assert_eq!(read(&lines.line(&failed, after(10))), of("failed", expected));
        let skipped = Event::Skipped { address: address.clone(), operation, because: host(1) };
        assert_eq!(read(&lines.line(&skipped, start)), of("skipped", json!({"because": "instance.heavy[1]"})));
        let interrupted = Event::Interrupted { address, operation };
        assert_eq!(read(&lines.line(&interrupted, start)), of("interrupted", json!({"seconds": 0.0})));
        assert_eq!(read(&lines.line(&Event::Stopping, start)), json!({"event": "stopping"}));
        assert_eq!(read(&lines.heartbeat(start)), beat(4, json!([])));
    }

    fn outcome() -> Outcome {
        Outcome { done: vec![(host(0), CREATE)], ..Outcome::new(State::empty("test")) }
    }

    #[test]
    fn the_report_says_how_it_ended() {
        let moved = || Some(StoreError::Moved { place: "x".to_owned() });
        let failed = || vec![(host(1), CREATE, ProviderError::new("no", None))];
        let cases = [
            (outcome(), "complete"),
            (Outcome { unsaved: moved(), ..outcome() }, "unsaved"),
            (Outcome { unsaved: moved(), not_started: 3, ..outcome() }, "unsaved"),
            (Outcome { not_started: 3, ..outcome() }, "interrupted"),
            (Outcome { interrupted: vec![(host(1), CREATE)], ..outcome() }, "interrupted"),
            (Outcome { failed: failed(), not_started: 3, unsaved: moved(), ..outcome() }, "failed"),
        ];
        let outputs =
            Outputs { stack: "test".into(), region: "eu-west-3".into(), hosts: Vec::new(), control_plane: None };
        for (outcome, expected) in cases {
            let report = Report::new(&outcome, outputs.clone());
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!(json["result"], expected, "{outcome:?}");
            assert_eq!(json.get("unsaved").is_some(), outcome.unsaved.is_some(), "{json}");
            let line = Line::now(Happened::Ended { outcome: Box::new(report) });
            assert_eq!(read(&line), json!({"event": "ended", "outcome": json}));
        }
    }
}
