//! Quotas, with what is in use and what the stack needs.
//!
//! What the stack has already counts as in use by itself, so that an applied stack needs nothing more.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Instance, InstanceLifecycleType};
use aws_sdk_iam::types::SummaryKeyType;
use trunnion_engine::Finding;
use trunnion_kinds::{EcsTaskDefinition, ElasticIp, IamInstanceProfile, IamRole};

use super::{Examination, failed, number};
use crate::{
    Aws,
    convert::{is_ours, typed},
    error::{Class, Failure, OfCall as _},
    kinds::tagging::{filter, from_ec2},
};

/// A quota of Service Quotas (Amazon EC2, Amazon VPC and AWS Fargate service quotas, read November 2026).
struct Quota {
    service: &'static str,
    code: &'static str,
    name: &'static str,
}

const ON_DEMAND: Quota = Quota { service: "ec2", code: "L-1216C47A", name: "vCPUs of On-Demand Standard instances" };
const SPOT: Quota = Quota { service: "ec2", code: "L-34B43A08", name: "vCPUs of Standard spot requests" };
const ELASTIC_IPS: Quota = Quota { service: "ec2", code: "L-0263D0A3", name: "Elastic IPs" };
const FARGATE: Quota = Quota { service: "fargate", code: "L-3032A538", name: "vCPUs of Fargate tasks" };
const INTERFACES: Quota = Quota { service: "vpc", code: "L-DF5E4CA3", name: "network interfaces" };

/// The families of instance types that share the quotas of Standard instances, by the first letters of their names.
const STANDARD: [&str; 9] = ["a", "c", "d", "h", "i", "m", "r", "t", "z"];

pub(super) async fn examine(examination: &Examination<'_>) -> Vec<Finding> {
    let (hosts, others, roles) = futures::join!(
        Box::pin(of_hosts(examination)),
        Box::pin(futures::future::join_all([
            Box::pin(elastic_ips(examination)) as futures::future::BoxFuture<'_, Vec<Finding>>,
            Box::pin(fargate(examination)),
        ])),
        Box::pin(of_iam(examination)),
    );
    [hosts, others.into_iter().flatten().collect(), roles].concat()
}

/// The account's quota; AWS's default if the account has none of its own.
async fn most(aws: &Aws, quota: &Quota) -> Result<f64, Failure> {
    let quotas = &aws.clients.quotas;
    let own = quotas.get_service_quota().service_code(quota.service).quota_code(quota.code);
    let found = match own.send().await.of_call("servicequotas:GetServiceQuota") {
        Ok(answer) => answer.quota,
        Err(failure) if failure.class == Class::NotFound => {
            let default = quotas.get_aws_default_service_quota().service_code(quota.service).quota_code(quota.code);
            default.send().await.of_call("servicequotas:GetAWSDefaultServiceQuota")?.quota
        }
        Err(failure) => return Err(failure),
    };
    let value = found.and_then(|quota| quota.value);
    value.ok_or_else(|| Failure::own(format!("Service Quotas has no value for {}", quota.code), None))
}

impl Quota {
    /// `used` is what others use, or nothing if that cannot be seen.
    fn judge(&self, needed: u32, used: Option<u32>, most: Result<f64, Failure>) -> Finding {
        let subject = format!("quota of {}", self.name);
        let most = match most {
            Ok(most) => most,
            Err(failure) => return failed(subject, failure),
        };
        let others = used.map(|used| format!(", {used} are in use by others")).unwrap_or_default();
        let detail = format!("the stack needs {needed}{others}, and the quota is {most}");
        if f64::from(needed.saturating_add(used.unwrap_or(0))) <= most {
            return Finding::ok(subject, detail);
        }
        let Self { service, code, .. } = self;
        let least = needed.saturating_add(used.unwrap_or(0));
        let command = format!(
            "aws service-quotas request-service-quota-increase --service-code {service} --quota-code {code} --desired-value {least}"
        );
        Finding::missing(subject, detail, Some(format!("request more: `{command}`")))
    }
}

/// What running instances of others use: vCPUs on demand, vCPUs of spot instances, interfaces.
#[derive(Default)]
struct Used {
    on_demand: u32,
    spot: u32,
    interfaces: u32,
}

async fn of_hosts(examination: &Examination<'_>) -> Vec<Finding> {
    let aws = examination.aws;
    let used = used(aws).await;
    let vcpus = |is_spot: bool| -> u32 {
        let pools = examination.pools.iter().filter(|pool| pool.is_spot == is_spot && is_standard(&pool.instance_type));
        pools.map(|pool| vcpus_of(&pool.instance_type).saturating_mul(pool.count)).sum()
    };
    let interfaces = examination.pools.iter().map(|pool| pool.interfaces.saturating_mul(pool.count)).sum();
    let asked = [
        (&ON_DEMAND, vcpus(false), used.as_ref().map(|used| used.on_demand)),
        (&SPOT, vcpus(true), used.as_ref().map(|used| used.spot)),
        (&INTERFACES, interfaces, used.as_ref().map(|used| used.interfaces)),
    ];
    let needed = asked.into_iter().filter(|(_, needed, _)| *needed > 0);
    let judged = needed.map(|(quota, needed, used)| async move {
        match used {
            Ok(used) => quota.judge(needed, Some(used), most(aws, quota).await),
            Err(failure) => failed(format!("quota of {}", quota.name), failure.clone()),
        }
    });
    let mut findings = futures::future::join_all(judged).await;
    let mut others: BTreeMap<&str, u32> = BTreeMap::new();
    for pool in examination.pools.iter().filter(|pool| !is_standard(&pool.instance_type)) {
        *others.entry(family(&pool.instance_type)).or_default() += pool.count;
    }
    findings.extend(others.into_keys().map(|family| {
        let detail = format!("instances of the family `{family}` have a quota of their own, which is not read");
        let help = "see `aws service-quotas list-service-quotas --service-code ec2`".to_owned();
        Finding::unknown(format!("quota of vCPUs of {family} instances"), detail, Some(help))
    }));
    findings
}

fn family(instance_type: &str) -> &str {
    instance_type.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default()
}

fn is_standard(instance_type: &str) -> bool {
    // `hpc`, `inf`, `trn` and `dl` begin with letters of other families and have their own quotas.
    let family = family(instance_type);
    !["hpc", "inf", "dl", "trn"].contains(&family) && STANDARD.iter().any(|letter| family.starts_with(letter))
}

fn vcpus_of(instance_type: &str) -> u32 {
    trunnion_catalog::instance_type(instance_type).map_or(0, |found| found.vcpu)
}

async fn used(aws: &Aws) -> Result<Used, Failure> {
    let states = ["pending", "running", "shutting-down", "stopping"].map(str::to_owned).to_vec();
    let call = aws.clients.ec2.describe_instances().filters(filter("instance-state-name", states));
    let mut pages = call.into_paginator().page_size(1000).send();
    let mut used = Used::default();
    while let Some(page) = pages.next().await {
        let reservations = page.of_call("ec2:DescribeInstances")?.reservations.into_iter().flatten();
        for instance in reservations.flat_map(|reservation| reservation.instances.unwrap_or_default()) {
            count(&mut used, instance, &aws.connection.stack);
        }
    }
    Ok(used)
}

fn count(used: &mut Used, instance: Instance, stack: &str) {
    if is_ours(&from_ec2(instance.tags), stack) {
        return;
    }
    used.interfaces += number(instance.network_interfaces.map_or(0, |all| all.len()));
    let name = instance.instance_type.map(|name| name.as_str().to_owned()).unwrap_or_default();
    if !is_standard(&name) {
        return;
    }
    let cores =
        instance.cpu_options.map(|options| options.core_count.unwrap_or(0) * options.threads_per_core.unwrap_or(0));
    let vcpus = cores.and_then(|cores| u32::try_from(cores).ok()).filter(|cores| *cores > 0);
    let vcpus = vcpus.unwrap_or_else(|| vcpus_of(&name));
    match instance.instance_lifecycle {
        Some(InstanceLifecycleType::Spot) => used.spot += vcpus,
        _ => used.on_demand += vcpus,
    }
}

fn wanted(examination: &Examination<'_>, kind: &str) -> u32 {
    number(examination.desired.resources().keys().filter(|address| address.kind.as_str() == kind).count())
}

async fn elastic_ips(examination: &Examination<'_>) -> Vec<Finding> {
    let needed = wanted(examination, ElasticIp::KIND);
    if needed == 0 {
        return Vec::new();
    }
    let aws = examination.aws;
    let answer = aws.clients.ec2.describe_addresses().send().await.of_call("ec2:DescribeAddresses");
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return vec![failed("quota of Elastic IPs", failure)],
    };
    let all = answer.addresses.into_iter().flatten();
    let others = all.filter(|address| !is_ours(&from_ec2(address.tags.clone()), &aws.connection.stack)).count();
    vec![ELASTIC_IPS.judge(needed, Some(number(others)), most(aws, &ELASTIC_IPS).await)]
}

/// What other tasks use is in no list, only in a metric.
async fn fargate(examination: &Examination<'_>) -> Vec<Finding> {
    let definitions = examination.desired.resources().values();
    let definitions = definitions.filter(|resource| resource.kind().as_str() == EcsTaskDefinition::KIND);
    let tasks = definitions.filter_map(|resource| typed::<EcsTaskDefinition>(&resource.attributes).ok());
    // In units of a thousandth: 1,024 are one vCPU.
    let needed = tasks.map(|task| task.cpu.div_ceil(1024)).sum();
    vec![FARGATE.judge(needed, None, most(examination.aws, &FARGATE).await)]
}

/// IAM counts for itself.
async fn of_iam(examination: &Examination<'_>) -> Vec<Finding> {
    let roles = wanted(examination, IamRole::KIND);
    let profiles = wanted(examination, IamInstanceProfile::KIND);
    let kinds = [
        ("roles", roles, SummaryKeyType::Roles, "RolesQuota"),
        ("instance profiles", profiles, SummaryKeyType::from("InstanceProfiles"), "InstanceProfilesQuota"),
    ];
    let answer = examination.aws.clients.iam.get_account_summary().send().await.of_call("iam:GetAccountSummary");
    let map = match answer {
        Ok(answer) => answer.summary_map.unwrap_or_default(),
        Err(failure) => {
            return kinds.iter().map(|(name, ..)| failed(format!("quota of IAM {name}"), failure.clone())).collect();
        }
    };
    let finding = |(name, needed, used, most): (&str, u32, SummaryKeyType, &str)| {
        let subject = format!("quota of IAM {name}");
        let (used, most) = (map.get(&used), map.get(&SummaryKeyType::from(most)));
        let (Some(used), Some(most)) = (used, most) else {
            return Finding::unknown(subject, "IAM's summary does not have it", None);
        };
        let detail = format!("the stack needs {needed}, the account has {used}, and the quota is {most}");
        // The account's number includes those of an applied stack, so a nearly full account looks fuller than it is.
        if i64::from(*used) + i64::from(needed) <= i64::from(*most) {
            return Finding::ok(subject, detail);
        }
        let help = "delete unused ones, or request more in Service Quotas for `iam`".to_owned();
        Finding::missing(subject, detail, Some(help))
    };
    kinds.into_iter().map(finding).collect()
}
