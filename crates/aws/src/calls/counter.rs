//! Counts AWS calls, so that tests can check what a plan costs and the CLI can report it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::table::{expected, row};

/// The calls made so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    /// How often each call was made, by its IAM action name (`ec2:DescribeInstances`), sorted by name. A call counts
    /// once, however often the SDK retries it.
    pub by_operation: BTreeMap<String, u64>,
    /// How many round trips the last observation took.
    pub round_trips: u32,
}

impl Calls {
    /// How many of the calls only read.
    pub fn reads(&self) -> u64 {
        self.count(true)
    }

    /// How many of the calls may have changed something.
    pub fn writes(&self) -> u64 {
        self.count(false)
    }

    fn count(&self, reads: bool) -> u64 {
        let is_read = |operation: &str| row(operation).is_some_and(|call| !call.changes);
        self.by_operation.iter().filter(|(operation, _)| is_read(operation) == reads).map(|(_, count)| count).sum()
    }
}

/// Counts calls when they are made.
#[derive(Debug, Default)]
pub(crate) struct Counter(Mutex<Calls>);

impl Counter {
    pub fn count(&self, operation: &str) {
        expected(operation);
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = calls.by_operation.get_mut(operation) {
            *count += 1;
        } else {
            calls.by_operation.insert(operation.to_owned(), 1);
        }
    }

    pub fn set_round_trips(&self, count: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).round_trips = count;
    }

    pub fn snapshot(&self) -> Calls {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_are_counted_separately() {
        let counter = Counter::default();
        for operation in ["ec2:DescribeInstances", "ec2:RunInstances", "s3:HeadObject", "ec2:DescribeInstances"] {
            counter.count(operation);
        }
        let calls = counter.snapshot();
        assert_eq!((calls.reads(), calls.writes()), (3, 1));
        assert_eq!(calls.by_operation["ec2:DescribeInstances"], 2);
    }
}
