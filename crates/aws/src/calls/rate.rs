//! The rate limits of AWS's APIs.
//!
//! Capacities and refill rates are the defaults of AWS's API guides (read August 2026). IAM publishes none; about 15
//! calls per second are commonly observed.

/// A token bucket as AWS documents it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// The name of the bucket that several operations share; `None` if an operation has its own.
    pub shared: Option<&'static str>,
    /// How many calls can be made at once.
    pub capacity: f64,
    /// How many calls per second are added.
    pub per_second: f64,
}

const fn own(capacity: f64, per_second: f64) -> Rate {
    Rate { shared: None, capacity, per_second }
}

const fn shared(bucket: &'static str, capacity: f64, per_second: f64) -> Rate {
    Rate { shared: Some(bucket), capacity, per_second }
}

pub(crate) const EC2_READ: Rate = own(100.0, 20.0);
/// For these, calls with neither a filter nor pages have a smaller bucket, and ids do not count as a filter.
pub(crate) const EC2_LARGE_READ: Rate = own(50.0, 10.0);
pub(crate) const EC2_CHANGE: Rate = own(50.0, 5.0);
pub(crate) const EC2_RUN: Rate = own(5.0, 2.0);
pub(crate) const EC2_FREQUENT: Rate = own(100.0, 5.0);
pub(crate) const EC2_TAG: Rate = own(100.0, 10.0);

/// The bucket of instances of an operation that has one beside its bucket of calls: each instance takes a token ("Request
/// throttling for the Amazon EC2 API", resource token buckets, EC2 developer guide, read November 2026).
pub(crate) fn of_instances(operation: &str) -> Option<Rate> {
    match operation {
        "ec2:RunInstances" => Some(shared("ec2:RunInstances of instances", 1000.0, 2.0)),
        "ec2:StartInstances" => Some(shared("ec2:StartInstances of instances", 1000.0, 2.0)),
        "ec2:TerminateInstances" => Some(shared("ec2:TerminateInstances of instances", 1000.0, 20.0)),
        _ => None,
    }
}

pub(crate) const CLUSTER_READ: Rate = shared("ecs:cluster-read", 50.0, 20.0);
pub(crate) const CLUSTER_CHANGE: Rate = shared("ecs:cluster-modify", 20.0, 1.0);
pub(crate) const SERVICE_READ: Rate = shared("ecs:service-read", 100.0, 20.0);
pub(crate) const SERVICE_CHANGE: Rate = shared("ecs:service-modify", 50.0, 5.0);
pub(crate) const DEFINITION_READ: Rate = shared("ecs:task-definition-read", 50.0, 20.0);
pub(crate) const DEFINITION_CHANGE: Rate = shared("ecs:task-definition-modify", 20.0, 1.0);
pub(crate) const ECS_TAG: Rate = shared("ecs:tag-modify", 20.0, 10.0);

pub(crate) const IAM: Rate = shared("iam", 15.0, 15.0);
/// Each operation has its own bucket ("CloudWatch Logs quotas", user guide, read November 2026). The editions differ; this is
/// the lowest rate.
pub(crate) const LOGS: Rate = own(5.0, 5.0);
/// Each operation has its own bucket (Service Quotas endpoints and quotas, AWS General Reference, read November 2026).
pub(crate) const QUOTAS: Rate = own(10.0, 10.0);
pub(crate) const S3: Rate = shared("s3", 100.0, 40.0);
pub(crate) const SECRETS: Rate = shared("secretsmanager", 100.0, 40.0);
/// All reads of parameters together, by default (dev.classmethod.jp, September 2022, quotes the AWS General Reference; read
/// November 2026).
pub(crate) const SSM: Rate = shared("ssm", 40.0, 40.0);
pub(crate) const STS: Rate = shared("sts", 100.0, 40.0);
