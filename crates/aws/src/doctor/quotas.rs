//! Quotas, with what is in use and what the stack needs.
//!
//! What the stack has already counts as in use by itself, so that an applied stack needs nothing more.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{Instance, InstanceLifecycleType};
use aws_sdk_iam::types::SummaryKeyType;
use trunnion_engine::Finding;
use trunnion_kinds::{EcsTaskDefinition, ElasticIp, IamInstanceProfile, IamRole, iam_path, role_name};

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
        let Self { service, code, .. } = self;
        if f64::from(needed.saturating_add(used.unwrap_or(0))) <= most {
            if used.is_some() {
                return Finding::ok(subject, detail);
            }
            let help =
                format!("no permission shows it: Service Quotas has the use of `{code}` of `{service}` as a graph");
            return Finding::unknown(subject, format!("{detail}; what others use is in no list"), Some(help));
        }
        let least = needed.saturating_add(used.unwrap_or(0));
        let command = format!(
            "aws service-quotas request-service-quota-increase --service-code {service} --quota-code {code} --desired-value {least}"
        );
        Finding::missing(subject, detail, Some(format!("request more: `{command}`")))
    }
}

/// What running instances of others use: vCPUs on demand, vCPUs of spot instances.
#[derive(Default)]
struct Used {
    on_demand: u32,
    spot: u32,
}

async fn of_hosts(examination: &Examination<'_>) -> Vec<Finding> {
    let aws = examination.aws;
    let (used, interfaces_used) = futures::join!(Box::pin(used(aws)), Box::pin(interfaces_of_others(aws)));
    let vcpus = |is_spot: bool| -> u32 {
        let pools = examination.pools.iter().filter(|pool| pool.is_spot == is_spot && is_standard(&pool.instance_type));
        pools.map(|pool| vcpus_of(&pool.instance_type).saturating_mul(pool.count)).sum()
    };
    let interfaces: u32 = examination.pools.iter().map(|pool| pool.interfaces.saturating_mul(pool.count)).sum();
    // The task of the control plane has one. It does not carry the tag of the stack, so it counts as another's once it runs.
    let interfaces = interfaces.saturating_add(wanted(examination, EcsTaskDefinition::KIND));
    let asked = [
        (&ON_DEMAND, vcpus(false), used.as_ref().map(|used| used.on_demand)),
        (&SPOT, vcpus(true), used.as_ref().map(|used| used.spot)),
        (&INTERFACES, interfaces, interfaces_used.as_ref().copied()),
    ];
    let needed = asked.into_iter().filter(|(_, needed, _)| *needed > 0);
    let judged = needed.map(|(quota, needed, used)| async move {
        match used {
            Ok(used) => quota.judge(needed, Some(used), most(aws, quota).await),
            Err(failure) => failed(format!("quota of {}", quota.name), failure.clone()),
        }
    });
    let mut findings = futures::future::join_all(judged).await;
    let types = examination.pools.iter().map(|pool| pool.instance_type.as_str());
    let others: BTreeSet<&str> = types.filter(|name| !is_standard(name)).map(family).collect();
    findings.extend(others.into_iter().map(|family| {
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
    // `hpc`, `inf`, `trn`, `mac` and `dl` begin with letters of other families and have their own quotas.
    let family = family(instance_type);
    !["hpc", "inf", "dl", "mac", "trn"].contains(&family) && STANDARD.iter().any(|letter| family.starts_with(letter))
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
    let name = instance.instance_type.map(|name| name.as_str().to_owned()).unwrap_or_default();
    if !is_standard(&name) {
        return;
    }
    let cores = instance
        .cpu_options
        .map(|options| options.core_count.unwrap_or(0).saturating_mul(options.threads_per_core.unwrap_or(0)));
    let vcpus = cores.and_then(|cores| u32::try_from(cores).ok()).filter(|cores| *cores > 0);
    let vcpus = vcpus.unwrap_or_else(|| vcpus_of(&name));
    match instance.instance_lifecycle {
        Some(InstanceLifecycleType::Spot) => used.spot = used.spot.saturating_add(vcpus),
        _ => used.on_demand = used.on_demand.saturating_add(vcpus),
    }
}

/// Every interface of the region that is not the stack's, also those of no instance.
async fn interfaces_of_others(aws: &Aws) -> Result<u32, Failure> {
    let mut pages = aws.clients.ec2.describe_network_interfaces().into_paginator().page_size(1000).send();
    let mut count: u32 = 0;
    while let Some(page) = pages.next().await {
        let interfaces = page.of_call("ec2:DescribeNetworkInterfaces")?.network_interfaces.into_iter().flatten();
        let others = interfaces.filter(|one| !is_ours(&from_ec2(one.tag_set.clone()), &aws.connection.stack));
        count = count.saturating_add(number(others.count()));
    }
    Ok(count)
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

/// What other tasks use is in no list, only in a metric, so that a need below the quota stays open.
async fn fargate(examination: &Examination<'_>) -> Vec<Finding> {
    let definitions = examination.desired.resources().values();
    let definitions = definitions.filter(|resource| resource.kind().as_str() == EcsTaskDefinition::KIND);
    let tasks = definitions.filter_map(|resource| typed::<EcsTaskDefinition>(&resource.attributes).ok());
    // In units of a thousandth: 1,024 are one vCPU.
    let needed = tasks.map(|task| task.cpu.div_ceil(1024)).sum();
    vec![FARGATE.judge(needed, None, most(examination.aws, &FARGATE).await)]
}

/// How many roles and instance profiles the stack has in its region.
async fn own_of_iam(aws: &Aws) -> [Result<u32, Failure>; 2] {
    let (stack, region) = (&aws.connection.stack, &aws.connection.region);
    let roles = async {
        let mut pages = aws.clients.iam.list_roles().path_prefix(iam_path(stack, region)).into_paginator().send();
        let mut count: u32 = 0;
        while let Some(page) = pages.next().await {
            count = count.saturating_add(number(page.of_call("iam:ListRoles")?.roles.len()));
        }
        Ok(count)
    };
    let profile = async {
        let name = role_name(stack, region, "generator");
        let answer = aws.clients.iam.get_instance_profile().instance_profile_name(name).send().await;
        match answer.of_call("iam:GetInstanceProfile") {
            Ok(_) => Ok(1),
            Err(failure) if failure.class == Class::NotFound => Ok(0),
            Err(failure) => Err(failure),
        }
    };
    futures::join!(Box::pin(roles), Box::pin(profile)).into()
}

/// IAM counts for itself, and includes what the stack has already.
async fn of_iam(examination: &Examination<'_>) -> Vec<Finding> {
    let roles = wanted(examination, IamRole::KIND);
    let profiles = wanted(examination, IamInstanceProfile::KIND);
    let kinds = [
        ("roles", roles, SummaryKeyType::Roles, "RolesQuota"),
        ("instance profiles", profiles, SummaryKeyType::from("InstanceProfiles"), "InstanceProfilesQuota"),
    ];
    let aws = examination.aws;
    let summary = async { aws.clients.iam.get_account_summary().send().await.of_call("iam:GetAccountSummary") };
    let (answer, own) = futures::join!(Box::pin(summary), Box::pin(own_of_iam(aws)));
    let map = match answer {
        Ok(answer) => answer.summary_map.unwrap_or_default(),
        Err(failure) => {
            return kinds.iter().map(|(name, ..)| failed(format!("quota of IAM {name}"), failure.clone())).collect();
        }
    };
    let finding = |((name, needed, used, most), own): ((&str, u32, SummaryKeyType, &str), Result<u32, Failure>)| {
        let (used, most) = (map.get(&used), map.get(&SummaryKeyType::from(most)));
        of_summary(format!("quota of IAM {name}"), needed, used.copied().zip(most.copied()), own)
    };
    kinds.into_iter().zip(own).map(finding).collect()
}

/// Compares a need with IAM's own count and quota. `own` are those that the stack has already.
fn of_summary(subject: String, needed: u32, counted: Option<(i32, i32)>, own: Result<u32, Failure>) -> Finding {
    let Some((used, most)) = counted else {
        return Finding::unknown(subject, "IAM's summary does not have it", None);
    };
    let (used, most, needed) = (i64::from(used), i64::from(most), i64::from(needed));
    let (own, failure) = match own {
        Ok(own) => (i64::from(own), None),
        Err(failure) => (0, Some(failure)),
    };
    let others = used.saturating_sub(own).max(0);
    let detail = format!("the stack needs {needed}, {others} are in use by others, and the quota is {most}");
    match failure {
        _ if others.saturating_add(needed) <= most => Finding::ok(subject, detail),
        // Some of those in use can be the stack's.
        Some(failure) => failed(subject, failure),
        None => {
            let help = "delete unused ones, or request more in Service Quotas for `iam`".to_owned();
            Finding::missing(subject, detail, Some(help))
        }
    }
}

#[cfg(test)]
mod tests {
    use trunnion_engine::Verdict;

    use super::*;

    #[test]
    fn what_the_stack_has_already_does_not_count_twice() {
        let denied = || Failure::of_call("iam:ListRoles", Class::Denied, "");
        for (counted, own, verdict) in [
            (Some((997, 1000)), Ok(0), Verdict::Ok),
            (Some((998, 1000)), Ok(0), Verdict::Missing),
            (Some((1000, 1000)), Ok(3), Verdict::Ok),
            (Some((1000, 1000)), Err(denied()), Verdict::Unknown),
            (Some((10, 1000)), Err(denied()), Verdict::Ok),
            (None, Ok(0), Verdict::Unknown),
        ] {
            let found = of_summary("roles".to_owned(), 3, counted, own);
            assert_eq!(found.verdict, verdict, "{counted:?}");
        }
    }

    #[test]
    fn a_need_below_a_quota_whose_use_is_not_known_stays_open() {
        for (needed, used, verdict) in [
            (1, None, Verdict::Unknown),
            (7, None, Verdict::Missing),
            (1, Some(5), Verdict::Ok),
            (2, Some(5), Verdict::Missing),
        ] {
            assert_eq!(FARGATE.judge(needed, used, Ok(6.0)).verdict, verdict, "{needed} {used:?}");
        }
    }

    #[test]
    fn families_with_quotas_of_their_own_are_not_standard() {
        for (name, expected) in
            [("m7i.xlarge", true), ("mac2.metal", false), ("im4gn.large", true), ("inf2.xlarge", false)]
        {
            assert_eq!(is_standard(name), expected, "{name}");
        }
    }
}
