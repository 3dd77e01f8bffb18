//! Findings on quotas: those that a plan compares, too, Elastic IPs, and IAM's.

use std::collections::BTreeSet;

use aws_sdk_iam::types::SummaryKeyType;
use trunnion_engine::Finding;
use trunnion_kinds::{EcsTaskDefinition, ElasticIp, IamInstanceProfile, IamRole, iam_path, role_name};

use super::{Examination, failed};
use crate::{
    Aws,
    convert::is_ours,
    error::{Class, Failure, OfCall as _},
    kinds::tagging::from_ec2,
    quotas::{self, Compared, Pool, Quota, number},
};

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

/// The finding on a quota. What others use of it may be in no list.
fn judge(compared: &Compared) -> Finding {
    let Compared { quota, used, .. } = compared;
    let (subject, detail) = (format!("quota of {}", quota.name), compared.to_string());
    if compared.exceeds() {
        return Finding::missing(subject, detail, Some(compared.help()));
    }
    if used.is_some() {
        return Finding::ok(subject, detail);
    }
    let Quota { service, code, .. } = quota;
    let help = format!("no permission shows it: Service Quotas has the use of `{code}` of `{service}` as a graph");
    Finding::unknown(subject, format!("{detail}; what others use is in no list"), Some(help))
}

fn judged((quota, compared): (Quota, Result<Compared, Failure>)) -> Finding {
    compared.map_or_else(|failure| failed(format!("quota of {}", quota.name), failure), |compared| judge(&compared))
}

/// Those of the hosts, and the families whose quota is not known.
async fn of_hosts(examination: &Examination<'_>) -> Vec<Finding> {
    // The task of the control plane has an interface. It does not carry the tag of the stack, so it counts as another's once it runs.
    let of_tasks = wanted(examination, EcsTaskDefinition::KIND);
    let compared = quotas::of_hosts(examination.aws, &examination.pools, of_tasks).await;
    let mut findings: Vec<Finding> = compared.into_iter().map(judged).collect();
    let is_known = |pool: &&Pool| quotas::of_vcpus(pool).is_some();
    let others: BTreeSet<&str> =
        examination.pools.iter().filter(|pool| !is_known(pool)).map(|pool| pool.instance_type.as_str()).collect();
    findings.extend(others.into_iter().map(|name| {
        let help = "see `aws service-quotas list-service-quotas --service-code ec2`".to_owned();
        Finding::unknown(format!("quota of vCPUs of `{name}`"), "no quota is known that counts them", Some(help))
    }));
    findings
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
    let quota = Quota::elastic_ips();
    let compared = quota.compare(aws, needed, Some(number(others))).await;
    vec![judged((quota, compared))]
}

/// What other tasks use is in no list, only in a metric, so that a need below the quota stays open.
async fn fargate(examination: &Examination<'_>) -> Vec<Finding> {
    let definitions = examination.desired.resources().values();
    quotas::of_tasks(examination.aws, definitions).await.into_iter().map(judged).collect()
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
            let compared = Compared { quota: Quota::elastic_ips(), needed, used, most: 6.0, region: String::new() };
            assert_eq!(judge(&compared).verdict, verdict, "{needed} {used:?}");
        }
    }
}
