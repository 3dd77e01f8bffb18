//! How many subnets a stack has: a service and a security group each take a limited number.

use std::collections::BTreeSet;

use trunnion_catalog::limits::{SECURITY_GROUP_RULES, SERVICE_SUBNETS};

use super::{Around, Network};
use crate::{
    diagnostic::{Diagnostic, Findings},
    field::Map,
    model::Placement,
};

/// Finds what is too much, whatever the lookups find. Two zones are two subnets, and so are two ids; a zone and an id may be
/// the same one.
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
            "the control plane runs in the pools' subnets, which are {subnets}, but an ECS service allows \
             {SERVICE_SUBNETS} at most"
        );
        let help = format!("name at most {SERVICE_SUBNETS} zones for it in `control_plane.zones`");
        findings.push(Diagnostic::new("stack::subnets", Some(field.place), message).with_help(help));
        return None;
    }
    // One for HTTPS, one for each subnet with hosts, two for each DNS server.
    let rules = 1 + subnets + 2 * network.map_or(0, |network| network.dns_servers.len());
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
