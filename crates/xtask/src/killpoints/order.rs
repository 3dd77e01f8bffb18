//! What disturbs a run, and at which call.

use std::{fmt, str::FromStr};

use clap::ValueEnum;

use super::call::Refusal;

/// A call of a run: the `nth` one of its operation that AWS does not refuse, counted from one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallName {
    pub operation: String,
    pub nth: u32,
}

impl CallName {
    /// In place of an operation: any call that changes something.
    pub const ANY: &str = "*";
}

impl fmt::Display for CallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.operation, self.nth)
    }
}

impl FromStr for CallName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a call is written as `ec2:RunInstances#2`";
        let (operation, nth) = text.split_once('#').ok_or(wrong)?;
        let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or(wrong)?;
        Ok(Self { operation: operation.to_owned(), nth })
    }
}

/// What happens at a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub call: CallName,
    pub what: Disturbance,
}

impl Order {
    pub fn concerns(&self, operation: &str) -> bool {
        [operation, CallName::ANY].contains(&self.call.operation.as_str())
    }
}

/// A kill or a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Disturbance {
    Kill(Point),
    Fault(Fault),
}

/// When `trunnion` is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Point {
    /// Before the request is sent on
    Before,
    /// After the effect, before the answer
    AfterEffect,
    /// After the answer, before anything is recorded
    AfterAnswer,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Fault {
    /// Refused five times because of the rate limit
    Throttled,
    /// Refused three times with status 503
    Unavailable,
    /// Refused once with status 500
    Internal,
    /// Status 500 after the effect
    InternalAfter,
    /// The connection is closed before the effect
    ResetBefore,
    /// The connection is closed after the effect
    ResetAfter,
    /// The answer ends in the middle
    CutAnswer,
    /// There is no answer until the client gives up; the effect is done
    Silent,
    /// No capacity for instances during the whole run
    NoCapacity,
    /// No free addresses during the whole run
    NoAddresses,
    /// The credentials expire at this call
    Expired,
    /// The call is denied during the whole run
    Denied,
}

impl Point {
    pub const ALL: [Self; 3] = [Self::Before, Self::AfterEffect, Self::AfterAnswer];
}

impl Fault {
    /// The faults that a call can have.
    pub fn of(operation: &str) -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied().filter(move |fault| match fault {
            Self::NoCapacity => operation == "ec2:RunInstances",
            Self::NoAddresses => ["ec2:RunInstances", "ec2:AllocateAddress"].contains(&operation),
            _ => true,
        })
    }

    /// How many calls of the operation fail.
    pub fn times(self) -> u32 {
        match self {
            Self::Throttled => 5,
            Self::Unavailable => 3,
            Self::NoCapacity | Self::NoAddresses | Self::Denied | Self::Expired => u32::MAX,
            _ => 1,
        }
    }

    /// The error that is answered instead of executing the call; `None` if the connection is closed.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Throttled => Some(Refusal::Throttled),
            Self::Unavailable => Some(Refusal::Unavailable),
            Self::Internal | Self::InternalAfter => Some(Refusal::Internal),
            Self::NoCapacity => Some(Refusal::NoCapacity),
            Self::NoAddresses => Some(Refusal::NoAddresses),
            Self::Expired => Some(Refusal::Expired),
            Self::Denied => Some(Refusal::Denied),
            Self::ResetBefore | Self::ResetAfter | Self::CutAnswer | Self::Silent => None,
        }
    }
}

fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(point) => f.write_str(&name(point)),
            Self::Fault(fault) => f.write_str(&name(fault)),
        }
    }
}

impl FromStr for Disturbance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let point = Point::from_str(text, false).map(Self::Kill);
        point.or_else(|_| Fault::from_str(text, false).map(Self::Fault)).map_err(|_| {
            let points = Point::value_variants().iter().map(name);
            let all: Vec<String> = points.chain(Fault::value_variants().iter().map(name)).collect();
            format!("use one of {}", all.join(", "))
        })
    }
}

/// What becomes of the state before the next apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Fate {
    /// It stays as it is
    Kept,
    /// It is deleted
    Deleted,
    /// It is replaced by that of an earlier apply
    Older,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(self))
    }
}
