//! AWS's token buckets, kept on our side so that a large apply is paced instead of refused.
//!
//! One bucket per EC2 API, per category of ECS calls, and one per other service. Capacities and refills are the defaults
//! of AWS's API guides (read August 2026); IAM publishes none, about 15 calls a second are commonly seen.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How many calls at once, and how many each second after that.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Size {
    capacity: f64,
    per_second: f64,
}

const fn size(capacity: f64, per_second: f64) -> Size {
    Size { capacity, per_second }
}

/// The bucket a call takes from, and its size.
fn bucket_of(operation: &str) -> (String, Size) {
    let (service, name) = operation.split_once(':').unwrap_or(("", operation));
    match service {
        "ec2" => (operation.to_owned(), ec2(name)),
        "ecs" => {
            let (category, size) = ecs(name);
            (format!("ecs:{category}"), size)
        }
        "iam" => ("iam".to_owned(), size(15.0, 15.0)),
        other => (other.to_owned(), size(100.0, 40.0)),
    }
}

fn ec2(name: &str) -> Size {
    match name {
        "RunInstances" => size(5.0, 2.0),
        "TerminateInstances" | "CreateLaunchTemplateVersion" | "CreateNetworkInterface" => size(100.0, 5.0),
        "CreateTags" => size(100.0, 10.0),
        _ if crate::calls::is_read(name) => size(100.0, 20.0),
        _ => size(50.0, 5.0),
    }
}

fn ecs(name: &str) -> (&'static str, Size) {
    let reads = crate::calls::is_read(name);
    match name {
        "TagResource" | "UntagResource" => ("tag-modify", size(20.0, 10.0)),
        _ if name.contains("TaskDefinition") && reads => ("task-definition-read", size(50.0, 20.0)),
        _ if name.contains("TaskDefinition") => ("task-definition-modify", size(20.0, 1.0)),
        _ if name.contains("Cluster") && reads => ("cluster-read", size(50.0, 20.0)),
        _ if name.contains("Cluster") => ("cluster-modify", size(20.0, 1.0)),
        _ if reads => ("service-read", size(100.0, 20.0)),
        _ => ("service-modify", size(50.0, 5.0)),
    }
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    at: Instant,
}

/// The buckets of one account and region.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<HashMap<String, Level>>);

impl Buckets {
    /// Takes a token for a call and says how long to wait until it is there. Callers are served in order.
    pub fn take(&self, operation: &str, now: Instant) -> Duration {
        let (name, size) = bucket_of(operation);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let level = buckets.entry(name).or_insert(Level { tokens: size.capacity, at: now });
        let refill = now.saturating_duration_since(level.at).as_secs_f64() * size.per_second;
        level.tokens = (level.tokens + refill).min(size.capacity) - 1.0;
        level.at = now;
        if level.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-level.tokens / size.per_second) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_wait_once_the_bucket_is_empty() {
        let buckets = Buckets::default();
        let now = Instant::now();
        for _ in 0..5 {
            assert_eq!(buckets.take("ec2:RunInstances", now), Duration::ZERO);
        }
        assert_eq!(buckets.take("ec2:RunInstances", now), Duration::from_millis(500));
        assert_eq!(buckets.take("ec2:RunInstances", now), Duration::from_secs(1));
        assert_eq!(buckets.take("ec2:DescribeInstances", now), Duration::ZERO);
        assert_eq!(buckets.take("ec2:RunInstances", now + Duration::from_mins(1)), Duration::ZERO);
    }

    #[test]
    fn ecs_calls_share_the_bucket_of_their_category() {
        assert_eq!(bucket_of("ecs:RegisterTaskDefinition"), bucket_of("ecs:DeregisterTaskDefinition"));
        assert_ne!(bucket_of("ecs:RegisterTaskDefinition").0, bucket_of("ecs:CreateCluster").0);
    }
}
