//! Checks the number of subnets of a stack against the limits of ECS services and security groups.

use std::collections::BTreeSet;

use trunnion_catalog::limits::{SECURITY_GROUP_RULES, SERVICE_SUBNETS};

use super::{Around, Network};
use crate::{
    diagnostic::{Diagnostic, Findings},
    field::Map,
    model::Placement,
};

/// Finds stacks that exceed a limit whatever the lookups find. Two zones are two subnets, and so are two IDs. A zone and an
/// ID may be the same subnet.
pub(super) fn check(
    top: &Map,
    around: &Around,
    zones: Option<usize>,
    network: Option<&Network>,
    findings: &mut Findings,
) -> Option<()> {
    let (mut by_zone, mut by_id) = (BTreeSet::new(), BTreeSet::new());
    for pool in around.pools.iter().flat_map(|pools| pools.valid.values()) {
        match &pool.placement {
            Placement::Zone(zone) => by_zone.insert(zone),
            Placement::Subnet(id) => by_id.insert(id),
        };
    }
    let subnets = by_zone.len().max(by_id.len());
    let field = top.get("pools")?;
    if zones == Some(0) && subnets > SERVICE_SUBNETS {
        let message = format!(
            "the control plane uses the {subnets} subnets of the pools, but an ECS service allows at most \
             {SERVICE_SUBNETS}"
        );
        let help = format!("set `control_plane.zones` to at most {SERVICE_SUBNETS} zones");
        findings.push(Diagnostic::new("stack::subnets", Some(field.place), message).with_help(help));
        return None;
    }
    // One rule for HTTPS, one for each subnet with hosts, two for each DNS server. Rules for IPv6 count apart.
    let servers = network.iter().flat_map(|network| &network.dns_servers).filter(|server| server.is_ipv4()).count();
    let rules = 1 + subnets + 2 * servers;
    if rules > SECURITY_GROUP_RULES {
        let says = format!(
            "are in {subnets} subnets, so the control plane's security group needs {rules} rules, but AWS allows \
             {SECURITY_GROUP_RULES}"
        );
        findings.about(&field, "stack::subnets", says, "place the pools in fewer subnets, or split the stack");
        return None;
    }
    Some(())
}
