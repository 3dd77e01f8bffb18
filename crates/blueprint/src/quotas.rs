//! Quotas of the account, compared with what a stack asks for. A quota that is read and too low is an error. One that
//! cannot be read is a warning.

use trunnion_catalog::limits::{NETWORK_INTERFACES, SECURITY_GROUP_RULES, VCPUS};
use trunnion_engine::{Graph, Map, Observed, Resource, Value, from_map};
use trunnion_kinds::{ElasticIp, SecurityGroup, SecurityGroupRule, lookup::ElasticIpQuota};
use trunnion_stack::{Market, Pool, Stack};

use crate::{
    address,
    findings::{Finding, Findings, number},
};

/// Adds what exceeds a quota.
pub(crate) fn check(stack: &Stack, desired: &Graph, observed: &Observed, found: &mut Findings) {
    if let Some(quota) = observed.lookups.get(&address::elastic_ip_quota()) {
        let finding = missing_elastic_ips(quota, desired, observed);
        if is_default(quota) { found.warnings.extend(finding) } else { found.errors.extend(finding) }
    }
    found.errors.extend(desired.resources().values().filter_map(too_many_rules));
    found.warnings.extend(unread(stack, observed));
}

/// Counts the rules of a group as AWS does: those for IPv4 and IPv6 apart, and a rule that names a group for both. Rules that
/// follow from the lookups, such as those for DNS servers, are included.
fn too_many_rules(resource: &Resource) -> Option<Finding> {
    if resource.kind().as_str() != SecurityGroup::KIND {
        return None;
    }
    let group: SecurityGroup = from_map(&resource.attributes).ok()?;
    let names_group = |rule: &SecurityGroupRule| matches!(&rule.peer, Value::Reference(to) if to.address.kind.as_str() == SecurityGroup::KIND);
    let is_ipv6 = |rule: &SecurityGroupRule| rule.peer.as_text().is_some_and(|peer| peer.contains(':'));
    let most = |rules: &[SecurityGroupRule]| {
        let of_family = |ipv6: bool| rules.iter().filter(|rule| names_group(rule) || is_ipv6(rule) == ipv6).count();
        of_family(false).max(of_family(true))
    };
    let rules = most(&group.ingress).max(most(&group.egress));
    (rules > SECURITY_GROUP_RULES).then(|| Finding {
        code: "too_many_rules",
        message: format!(
            "the security group `{}` needs {rules} rules in one direction, but AWS allows {SECURITY_GROUP_RULES}",
            group.name
        ),
        help: Some(
            "place the pools in fewer subnets, or split the stack: each subnet with hosts is a rule, and each DNS server two"
                .to_owned(),
        ),
        path: "pools".to_owned(),
    })
}

/// Compares the stack's own hosts with quotas that a plan cannot read, if some of them are new.
fn unread(stack: &Stack, observed: &Observed) -> Vec<Finding> {
    let is_new = |name: &str, pool: &Pool| {
        let mut hosts = (0..pool.count).map(|number| address::instance(name, number));
        hosts.any(|host| observed.remotes.get(&host).is_none_or(Vec::is_empty))
    };
    if !stack.pools.iter().any(|(name, pool)| is_new(name, pool)) {
        return Vec::new();
    }
    let sum = |of: fn(&Pool) -> u32| -> u64 {
        stack.pools.values().map(|pool| u64::from(pool.count) * u64::from(of(pool))).sum()
    };
    [
        (sum(|pool| pool.interfaces), NETWORK_INTERFACES as u64, "network interfaces", "Network interfaces per Region"),
        (
            sum(|pool| vcpus_of(pool, Market::OnDemand)),
            u64::from(VCPUS),
            "vCPUs of standard types on demand",
            "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
        ),
        (
            sum(|pool| vcpus_of(pool, Market::Spot)),
            u64::from(VCPUS),
            "vCPUs of standard types on spot",
            "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
        ),
    ]
    .into_iter()
    .filter(|(needed, most, ..)| needed > most)
    .map(|(needed, most, what, quota)| Finding {
        code: "unread_quota",
        message: format!(
            "the hosts have {needed} {what}, but the quota of a new account is {most}, and a plan cannot read the quota of this one"
        ),
        help: Some(format!("compare it with `{quota}` in Service Quotas")),
        path: "pools".to_owned(),
    })
    .collect()
}

/// The vCPUs of a host, if it is of a standard family and paid like this.
fn vcpus_of(pool: &Pool, market: Market) -> u32 {
    let letters: String = pool.instance_type.name.chars().take_while(char::is_ascii_alphabetic).collect();
    // Other families, such as `g`, `inf` and `hpc`, have quotas of their own (Amazon EC2 service quotas, read November 2026).
    let is_standard = ["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"].contains(&letters.as_str());
    if is_standard && pool.market == market { pool.instance_type.vcpu } else { 0 }
}

/// Whether the quota could not be read.
fn is_default(quota: &Map) -> bool {
    quota.get(ElasticIpQuota::IS_DEFAULT) == Some(&Value::Bool(true))
}

/// AWS limits the Elastic IPs of an account in each region, other stacks' included.
fn missing_elastic_ips(quota: &Map, desired: &Graph, observed: &Observed) -> Option<Finding> {
    let (most, used) = (number(quota, "most")?, number(quota, "used")?);
    let is = if is_default(quota) { "this identity may not read its quota, by default" } else { "its quota is" };
    let wanted = desired.resources().keys().filter(|address| address.kind.as_str() == ElasticIp::KIND);
    let new = wanted.filter(|address| observed.remotes.get(*address).is_none_or(Vec::is_empty)).count();
    let needed = used.saturating_add(i64::try_from(new).unwrap_or(i64::MAX));
    (new > 0 && needed > most).then(|| Finding {
        code: "too_few_elastic_ips",
        message: format!(
            "the stack needs {new} more Elastic IPs, but the account has {used} in this region and {is} {most}"
        ),
        help: Some(
            "request a higher quota `EC2-VPC Elastic IPs` (L-0263D0A3) in Service Quotas, or release unused addresses"
                .to_owned(),
        ),
        path: "pools".to_owned(),
    })
}
