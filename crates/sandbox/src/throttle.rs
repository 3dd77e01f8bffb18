//! AWS's token buckets, per account and region.
//!
//! Capacities and refill rates are from the EC2 and ECS guides on API throttling (August 2026). IAM publishes none;
//! about 15 calls per second are commonly observed. The other services publish rates and no capacity, so theirs is the
//! calls of one second (all read November 2026):
//!
//! - CloudWatch Logs: "CloudWatch Logs quotas" of the user guide. Its editions differ: the French one has the lowest rates,
//!   which are 5 per second for nearly every operation.
//! - Systems Manager: 40 per second for all reads of parameters together (a report of September 2022 on
//!   dev.classmethod.jp that quotes the AWS General Reference).
//! - STS: 600 per second for all calls together (awslabs/mountpoint-s3 issue 1358).
//! - S3: 3,500 changes and 5,500 reads per second for each prefix (AWS knowledge center, "How can I scale my request rate
//!   to S3"); here for all prefixes together.
//! - Secrets Manager: "AWS Secrets Manager quotas" of the user guide.
//! - Service Quotas: 10 per second for each operation ("Service Quotas endpoints and quotas", AWS General Reference).

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use crate::{call::Fault, control::is_mutating, query::Params};

/// The buckets in use, by region and name. A bucket is full at its first use.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// How many times faster than on AWS they are refilled.
    speed: f64,
    levels: HashMap<(String, String), Level>,
    /// What was taken from each bucket so far, by region and name.
    spent: BTreeMap<String, Spent>,
}

/// What was taken from a bucket.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Spent {
    tokens: f64,
    capacity: f64,
    per_second: f64,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    tokens: f64,
    at: Instant,
}

/// One bucket: its name, its capacity, and its refill per second.
struct Bucket {
    name: String,
    capacity: f64,
    refill: f64,
}

fn bucket(name: impl Into<String>, capacity: f64, refill: f64) -> Bucket {
    Bucket { name: name.into(), capacity, refill }
}

impl Buckets {
    pub(crate) fn new(speed: f64) -> Self {
        Self { speed, levels: HashMap::new(), spent: BTreeMap::new() }
    }

    /// What was taken from each bucket.
    pub(crate) fn spent(&self) -> &BTreeMap<String, Spent> {
        &self.spent
    }

    /// Takes a token from every bucket of a call, or from none if one of them has too few.
    pub(crate) fn take(
        &mut self,
        service: &str,
        region: &str,
        action: &str,
        params: &Params<'_>,
        now: Instant,
    ) -> bool {
        let costs = costs(service, action, params);
        let mut after = Vec::with_capacity(costs.len());
        for (bucket, cost) in costs {
            let key = (region.to_owned(), bucket.name.clone());
            let level = self.levels.get(&key).copied().unwrap_or(Level { tokens: bucket.capacity, at: now });
            let refilled = level.tokens + now.duration_since(level.at).as_secs_f64() * bucket.refill * self.speed;
            let tokens = refilled.min(bucket.capacity) - cost;
            if tokens < 0.0 {
                return false;
            }
            after.push((key, Level { tokens, at: now }, bucket, cost));
        }
        for (key, level, bucket, cost) in after {
            let first = Spent { tokens: 0.0, capacity: bucket.capacity, per_second: bucket.refill * self.speed };
            self.spent.entry(format!("{region} {}", key.1)).or_insert(first).tokens += cost;
            self.levels.insert(key, level);
        }
        true
    }
}

fn costs(service: &str, action: &str, params: &Params<'_>) -> Vec<(Bucket, f64)> {
    match service {
        "ec2" => ec2(action, params),
        "ecs" => vec![(ecs(action), 1.0)],
        "iam" => vec![(bucket("iam", 15.0, 15.0), 1.0)],
        "logs" => vec![(logs(action), 1.0)],
        "s3" => vec![(s3(action), 1.0)],
        "secretsmanager" => vec![(secrets(action), 1.0)],
        "servicequotas" => vec![(second(format!("servicequotas:{action}"), 10.0), 1.0)],
        "ssm" => vec![(ssm(action), 1.0)],
        "sts" => vec![(second("sts", 600.0), 1.0)],
        _ => Vec::new(),
    }
}

/// A bucket with the calls of one second.
fn second(name: impl Into<String>, calls: f64) -> Bucket {
    bucket(name, calls, calls)
}

fn logs(action: &str) -> Bucket {
    let calls = if action == "CreateLogStream" { 50.0 } else { 5.0 };
    second(format!("logs:{action}"), calls)
}

fn s3(action: &str) -> Bucket {
    if is_mutating(action) { second("s3:change", 3500.0) } else { second("s3:read", 5500.0) }
}

fn secrets(action: &str) -> Bucket {
    let (name, calls) = match action {
        "DescribeSecret" | "GetSecretValue" => ("read", 10_000.0),
        "DeleteResourcePolicy" | "GetResourcePolicy" | "PutResourcePolicy" | "ValidateResourcePolicy" => {
            ("policy", 50.0)
        }
        "PutSecretValue" | "UpdateSecret" | "UpdateSecretVersionStage" => ("value", 50.0),
        // Not all of these are published; those that are have this rate.
        _ => (action, 50.0),
    };
    second(format!("secretsmanager:{name}"), calls)
}

fn ssm(action: &str) -> Bucket {
    match action {
        "GetParameter" | "GetParameters" | "GetParametersByPath" => second("ssm:read", 40.0),
        // Not published in numbers.
        _ => second(format!("ssm:{action}"), 5.0),
    }
}

fn ec2(action: &str, params: &Params<'_>) -> Vec<(Bucket, f64)> {
    let name = |what: &str| format!("ec2:{what}");
    let requests = match action {
        "RunInstances" => bucket(name(action), 5.0, 2.0),
        "CreateLaunchTemplateVersion" | "CreateNetworkInterface" | "TerminateInstances" => {
            bucket(name(action), 100.0, 5.0)
        }
        "CreateTags" => bucket(name(action), 100.0, 10.0),
        _ if is_mutating(action) => bucket(name(action), 50.0, 5.0),
        "DescribeInstances" | "DescribeNetworkInterfaces" | "DescribeSecurityGroups" | "DescribeVolumes"
            if params.get("MaxResults").is_none()
                // AWS does not document whether ids count as a filter; the smaller bucket is the stricter assumption.
                && !params.pairs().any(|(name, _)| name.starts_with("Filter.")) =>
        {
            bucket(name(&format!("{action} of everything")), 50.0, 10.0)
        }
        _ => bucket(name(action), 100.0, 20.0),
    };
    let mut costs = vec![(requests, 1.0)];
    match action {
        "RunInstances" => {
            let instances = params.get("MaxCount").and_then(|count| count.parse::<u32>().ok()).unwrap_or(1);
            costs.push((bucket(name("instances run"), 1000.0, 2.0), f64::from(instances)));
        }
        "StartInstances" => {
            let instances = u32::try_from(params.list("InstanceId").len()).unwrap_or(u32::MAX);
            costs.push((bucket(name("instances started"), 1000.0, 2.0), f64::from(instances)));
        }
        "TerminateInstances" => {
            let instances = u32::try_from(params.list("InstanceId").len()).unwrap_or(u32::MAX);
            costs.push((bucket(name("instances terminated"), 1000.0, 20.0), f64::from(instances)));
        }
        _ => {}
    }
    costs
}

fn ecs(action: &str) -> Bucket {
    let what = if action.contains("TaskDefinition") {
        "task definition"
    } else if action.contains("Service") {
        "service"
    } else if action.contains("Tag") || action.contains("Untag") {
        "tag"
    } else {
        "cluster"
    };
    match (what, !is_mutating(action)) {
        ("task definition", true) => bucket("ecs:task definition read", 50.0, 20.0),
        ("task definition", false) => bucket("ecs:task definition modify", 20.0, 1.0),
        ("service", true) => bucket("ecs:service read", 100.0, 20.0),
        ("service", false) => bucket("ecs:service modify", 50.0, 5.0),
        ("tag", false) => bucket("ecs:tag modify", 20.0, 10.0),
        (_, true) => bucket("ecs:cluster read", 50.0, 20.0),
        (_, false) => bucket("ecs:cluster modify", 20.0, 1.0),
    }
}

/// The error of a throttled call.
pub(crate) fn refusal(service: &str) -> Fault {
    match service {
        "ec2" => Fault::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503),
        "iam" | "sts" => Fault::new("Throttling", "Rate exceeded"),
        "s3" => Fault::new("SlowDown", "Please reduce your request rate.").with_status(503),
        // botocore's model of Service Quotas, read November 2026.
        "servicequotas" => Fault::new("TooManyRequestsException", "Rate exceeded"),
        _ => Fault::new("ThrottlingException", "Rate exceeded"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Buckets;
    use crate::query::Params;

    #[test]
    fn every_service_has_a_rate() {
        for (service, action, calls) in [
            ("logs", "DescribeLogGroups", 5),
            ("servicequotas", "GetServiceQuota", 10),
            ("ssm", "GetParameters", 40),
            ("sts", "GetCallerIdentity", 600),
            ("s3", "PutObject", 3500),
            ("secretsmanager", "DescribeSecret", 10_000),
        ] {
            let mut buckets = Buckets::new(1.0);
            let now = Instant::now();
            let mut take = || buckets.take(service, "eu-west-3", action, &Params::new(&[]), now);
            assert_eq!((0..=calls).filter(|_| take()).count(), calls, "{service}:{action}");
        }
    }

    #[test]
    fn no_number_of_instances_fills_the_bucket() {
        for count in ["-900", "NaN", "-inf", "1e9"] {
            let mut buckets = Buckets::new(1.0);
            let now = Instant::now();
            let mut take = |count: &str, now| {
                let pairs = [("MaxCount".to_owned(), count.to_owned())];
                buckets.take("ec2", "eu-west-3", "RunInstances", &Params::new(&pairs), now)
            };
            assert!(take("1000", now) && !take("1", now), "{count}");
            let later = now + Duration::from_millis(500);
            assert!(take(count, later), "{count}");
            assert!(!take("2", later), "{count}");
        }
    }

    #[test]
    fn run_instances_takes_five_and_then_two_a_second() {
        let mut buckets = Buckets::new(1.0);
        let start = Instant::now();
        let mut take = |now| buckets.take("ec2", "eu-west-3", "RunInstances", &Params::new(&[]), now);
        assert_eq!((0..7).filter(|_| take(start)).count(), 5);
        assert_eq!((0..7).filter(|_| take(start + Duration::from_secs(1))).count(), 2);
    }
}
