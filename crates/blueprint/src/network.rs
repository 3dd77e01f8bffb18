//! The subnets of hosts and control plane, and the security groups.

use std::collections::BTreeSet;

use trunnion_engine::{Graph, Lookup, Map, Observed, Resource, Value, from_map, to_map};
use trunnion_kinds::{SecurityGroup, SecurityGroupRule, lookup};
use trunnion_stack::{Placement, Stack, Tracking, Vpc};

use crate::{
    BlueprintError,
    address::{self, CONTROL_PLANE, GENERATOR, LOAD, UNTRACKED, name, of, tags_with_name},
    lookup as one_lookup, resource,
};

const SSH: i32 = 22;
const DNS: i32 = 53;
const HTTPS: i32 = 443;
const ANYWHERE: &str = "0.0.0.0/0";
const ANYWHERE_IPV6: &str = "::/0";

/// The zones and subnets of the pools, each once.
pub(crate) fn pool_placements(stack: &Stack) -> Vec<Placement> {
    distinct(stack.pools.values().map(|pool| pool.placement.clone()))
}

/// The zones and subnets in which the control plane may run.
pub(crate) fn control_plane_placements(stack: &Stack) -> Vec<Placement> {
    if stack.control_plane.zones.is_empty() {
        return pool_placements(stack);
    }
    distinct(stack.control_plane.zones.iter().cloned().map(Placement::Zone))
}

fn distinct(placements: impl Iterator<Item = Placement>) -> Vec<Placement> {
    let mut seen = BTreeSet::new();
    placements.filter(|placement| seen.insert(address::subnet(placement))).collect()
}

/// The VPC and every subnet.
pub(crate) fn lookups(stack: &Stack) -> Result<Vec<Lookup>, BlueprintError> {
    let vpc = match &stack.network.vpc {
        // A query is a map, so the variant without content becomes a key with the value null.
        Vpc::Default => Lookup { address: address::vpc(), query: Map::from([("default".to_owned(), Value::Null)]) },
        Vpc::Id(id) => one_lookup(address::vpc(), &lookup::Vpc::Id(id.clone()))?,
        Vpc::Tag { key, value } => {
            one_lookup(address::vpc(), &lookup::Vpc::Tag { key: key.clone(), value: value.clone() })?
        }
    };
    let mut lookups = vec![vpc];
    let placements = pool_placements(stack).into_iter().chain(control_plane_placements(stack));
    for placement in distinct(placements) {
        let address = address::subnet(&placement);
        let (zone, id) = match placement {
            Placement::Zone(zone) => (Some(zone), None),
            Placement::Subnet(id) => (None, Some(id)),
        };
        lookups.push(one_lookup(address, &lookup::Subnet { vpc: of(address::vpc(), "id"), zone, id })?);
    }
    Ok(lookups)
}

/// The security groups. The control plane connects to the hosts' primary interfaces by SSH, and the ranges in
/// `generator.metrics_from` can read metrics there. No other connection is allowed in, except on the load interfaces of
/// untracked pools.
pub(crate) fn security_groups(stack: &Stack) -> Result<Vec<Resource>, BlueprintError> {
    let mut to_hosts = vec![rule(HTTPS, ANYWHERE.into(), "Gatling Enterprise, images, secrets and logs")];
    // The hosts' subnets, not their group: a rule in each direction would make the groups depend on each other.
    to_hosts.extend(
        pool_placements(stack)
            .iter()
            .map(|placement| rule(SSH, of(address::subnet(placement), "cidr"), "SSH to the generator hosts")),
    );
    to_hosts.extend(stack.network.dns_servers.iter().flat_map(|server| dns(&server.to_string())));
    let mut to_primary =
        vec![rule(SSH, of(address::security_group(CONTROL_PLANE), "id"), "SSH from the control plane")];
    let metrics = i32::from(stack.generator.metrics_port);
    to_primary.extend(
        stack.generator.metrics_from.iter().map(|from| rule(metrics, from.to_string().into(), "Health and metrics")),
    );
    let wanted = |tracking: Tracking| stack.pools.values().any(|pool| pool.tracking == tracking);
    let mut groups = vec![
        group(stack, CONTROL_PLANE, "Gatling control plane", vec![], to_hosts)?,
        group(stack, GENERATOR, "Primary interfaces of generator hosts", to_primary, vec![everything()])?,
    ];
    if wanted(Tracking::Tracked) {
        groups.push(group(stack, LOAD, "Further interfaces of generator hosts", vec![], vec![everything()])?);
    }
    if wanted(Tracking::Untracked) {
        let description = "Further interfaces of generator hosts, open so that AWS tracks no connection";
        groups.push(group(stack, UNTRACKED, description, vec![every_answer()], vec![everything()])?);
    }
    Ok(groups)
}

/// Adds rules that follow from the lookups. In a VPC with an IPv6 range, each rule for all IPv4 addresses gets a twin for all
/// IPv6 addresses. The control plane may also connect to the DNS servers in the VPC's DHCP options. The Amazon DNS server
/// needs no rule (VPC User Guide: security groups do not filter its traffic).
pub fn complete(desired: Graph, observed: &Observed) -> Result<Graph, BlueprintError> {
    let Some(vpc) = observed.lookups.get(&address::vpc()) else { return Ok(desired) };
    let has_ipv6 = vpc.get("ipv6") == Some(&Value::Bool(true));
    let servers = vpc.get("dns_servers").and_then(Value::as_list).unwrap_or_default();
    if !has_ipv6 && servers.is_empty() {
        return Ok(desired);
    }
    let mut resources: Vec<Resource> = desired.resources().values().cloned().collect();
    for resource in resources.iter_mut().filter(|resource| resource.kind().as_str() == SecurityGroup::KIND) {
        let broken = |source| BlueprintError::attributes(&resource.address, source);
        let mut group: SecurityGroup = from_map(&resource.attributes).map_err(broken)?;
        if resource.address == address::security_group(CONTROL_PLANE) {
            let rules = servers.iter().filter_map(Value::as_text).flat_map(dns);
            let missing: Vec<_> = rules.filter(|rule| !group.egress.contains(rule)).collect();
            group.egress.extend(missing);
        }
        if has_ipv6 {
            for rules in [&mut group.ingress, &mut group.egress] {
                let anywhere = rules.iter().filter(|rule| rule.peer == ANYWHERE.into());
                let by_ipv6 =
                    |rule: &SecurityGroupRule| SecurityGroupRule { peer: ANYWHERE_IPV6.into(), ..rule.clone() };
                let added: Vec<_> = anywhere.map(by_ipv6).collect();
                rules.extend(added);
            }
        }
        resource.attributes = to_map(&group).map_err(broken)?;
    }
    Ok(Graph::new(desired.stack(), resources, desired.lookups().values().cloned())?)
}

/// Answers that do not fit into a datagram use TCP.
fn dns(server: &str) -> [SecurityGroupRule; 2] {
    let range = format!("{server}/{}", if server.contains(':') { 128 } else { 32 });
    let rule = rule(DNS, range.into(), "A DNS server of the VPC");
    [SecurityGroupRule { protocol: "udp".to_owned(), ..rule.clone() }, rule]
}

fn group(
    stack: &Stack,
    which: &str,
    description: &str,
    ingress: Vec<SecurityGroupRule>,
    egress: Vec<SecurityGroupRule>,
) -> Result<Resource, BlueprintError> {
    let address = address::security_group(which);
    let name = name(stack, &which.replace('_', "-"));
    let tags = tags_with_name(stack, &address, &name);
    let description = format!("{description} of Trunnion stack {}", stack.name);
    let group = SecurityGroup { name, description, vpc: of(address::vpc(), "id"), ingress, egress, tags };
    resource(address, &group)
}

fn rule(port: i32, peer: Value, description: &str) -> SecurityGroupRule {
    SecurityGroupRule {
        protocol: "tcp".to_owned(),
        from_port: Some(port),
        to_port: Some(port),
        peer,
        description: description.to_owned(),
    }
}

/// AWS does not track a TCP flow if one rule allows all outbound traffic and another allows inbound traffic from
/// everywhere to the ports 0 to 65535 (EC2 User Guide, "Security group connection tracking", read August 2026). Load is
/// TCP, so other protocols stay closed.
fn every_answer() -> SecurityGroupRule {
    SecurityGroupRule {
        from_port: Some(0),
        ..rule(
            65_535,
            ANYWHERE.into(),
            "Everything, so that AWS tracks no connection; routes and network ACLs alone keep others out",
        )
    }
}

/// Simulations may send load to any address.
fn everything() -> SecurityGroupRule {
    SecurityGroupRule {
        protocol: "-1".to_owned(),
        from_port: None,
        to_port: None,
        peer: ANYWHERE.into(),
        description: "Load, and all the host needs".to_owned(),
    }
}
