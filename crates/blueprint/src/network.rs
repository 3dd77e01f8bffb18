//! Where hosts and control plane stand, and who may reach whom.

use std::collections::BTreeSet;

use trunnion_engine::{Lookup, Map, Resource, Value};
use trunnion_kinds::{SecurityGroup, SecurityGroupRule, lookup};
use trunnion_stack::{Placement, Stack, Vpc};

use crate::{
    BlueprintError,
    address::{self, CONTROL_PLANE, GENERATOR, LOAD, name, of, tags_with_name},
    lookup as one_lookup, resource,
};

const SSH: i32 = 22;
const HTTPS: i32 = 443;
const ANYWHERE: &str = "0.0.0.0/0";

/// Where the pools' hosts stand, each place once.
pub(crate) fn pool_placements(stack: &Stack) -> Vec<Placement> {
    distinct(stack.pools.values().map(|pool| pool.placement.clone()))
}

/// Where the control plane may stand.
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
        // A query is a map, so the variant without content is spelled with none.
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

/// The three groups: SSH goes from the control plane to the hosts' primary interface, and nothing else comes in.
pub(crate) fn security_groups(stack: &Stack) -> Result<[Resource; 3], BlueprintError> {
    let mut to_hosts = vec![rule(HTTPS, ANYWHERE.into(), "Gatling Enterprise, images, secrets and logs")];
    // The hosts' subnets and not their group: the groups would wait for each other.
    to_hosts.extend(
        pool_placements(stack)
            .iter()
            .map(|placement| rule(SSH, of(address::subnet(placement), "cidr"), "SSH to the generator hosts")),
    );
    let from_control_plane = rule(SSH, of(address::security_group(CONTROL_PLANE), "id"), "SSH from the control plane");
    Ok([
        group(stack, CONTROL_PLANE, "Gatling control plane", vec![], to_hosts)?,
        group(stack, GENERATOR, "Primary interfaces of generator hosts", vec![from_control_plane], vec![everything()])?,
        group(stack, LOAD, "Further interfaces of generator hosts", vec![], vec![everything()])?,
    ])
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

/// Load goes wherever a simulation sends it.
fn everything() -> SecurityGroupRule {
    SecurityGroupRule {
        protocol: "-1".to_owned(),
        from_port: None,
        to_port: None,
        peer: ANYWHERE.into(),
        description: "Load, and all the host needs".to_owned(),
    }
}
