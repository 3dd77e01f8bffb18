//! Quotas of the account, compared with what a stack asks for. A quota that is read and too low is an error. One that
//! cannot be read is a warning.

use trunnion_catalog::limits::SECURITY_GROUP_RULES;
use trunnion_engine::{Graph, Map, Observed, Resource, Value, from_map};
use trunnion_kinds::{ElasticIp, SecurityGroup, SecurityGroupRule, lookup::ElasticIpQuota};

use crate::{
    address,
    findings::{Finding, Findings, number},
};

/// Adds what exceeds a quota.
pub(crate) fn check(desired: &Graph, observed: &Observed, found: &mut Findings) {
    if let Some(quota) = observed.lookups.get(&address::elastic_ip_quota()) {
        let finding = missing_elastic_ips(quota, desired, observed);
        if is_default(quota) { found.warnings.extend(finding) } else { found.errors.extend(finding) }
    }
    found.errors.extend(desired.resources().values().filter_map(too_many_rules));
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
