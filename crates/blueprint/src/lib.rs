//! Turns a [`Stack`] into a [`Graph`] of desired resources and lookups, as described in ARCHITECTURE.md.
//!
//! [`blueprint`] makes the whole graph of a stack without any resource yet. For an existing stack, [`Boots`] decides what hosts
//! keep booting, and [`blueprint_with`] makes the graph. [`outline`] makes a graph that is enough to observe the cloud.
//! [`boot`] returns the user data of one pool, [`control_plane_conf`] the conf of the Gatling control plane, and [`policies`]
//! every IAM and bucket policy. [`findings`] lists problems that show after the lookups were read. All functions are pure: the
//! same stack and binaries give the same bytes. The only files that are read are the generator binaries ([`Binaries::of`]) and
//! the user's boot template.
//!
//! A value that only AWS can provide, such as an address, is a reference until apply resolves it, and is shown as one:
//!
//! ```
//! use trunnion_blueprint::with_placeholders;
//! use trunnion_engine::Value;
//! let host = Value::reference("instance.heavy[0]".parse()?, "private_ip");
//! assert_eq!(with_placeholders(&host), "<instance.heavy[0].private_ip>");
//! # Ok::<(), trunnion_engine::InvalidAddress>(())
//! ```

mod address;
mod artifacts;
mod binaries;
mod boot;
mod boots;
mod conf;
mod control_plane;
mod error;
mod estimate;
mod findings;
mod hocon;
mod hosts;
mod inputs;
mod keys;
mod moves;
mod network;
mod policy;
mod protection;
mod quotas;
mod roles;
mod size;
mod template;

use std::collections::BTreeMap;

use serde::Serialize;
use trunnion_engine::{Address, Graph, Lookup, Resource, to_map};
use trunnion_stack::Stack;

pub use crate::{
    binaries::{Binaries, Binary, Unusable},
    boot::{USER_DATA_LIMIT, boot, boot_for_review},
    boots::{Boots, Standing},
    conf::{control_plane_conf, with_placeholders},
    error::BlueprintError,
    estimate::{budget, estimate, estimate_of_state, prices, sources_of, workload},
    findings::{Finding, Findings, associated_later, doubts, findings, secrets_in_clear},
    moves::moves,
    network::complete,
    protection::{is_protected, key_of as protecting_key, protection},
    template::{RENDER, render_apart},
};

/// The graph of a stack without any resource yet.
pub fn blueprint(stack: &Stack, binaries: &Binaries) -> Result<Graph, BlueprintError> {
    blueprint_with(stack, &Boots::newest(stack, binaries)?)
}

/// The graph of a stack with these boots.
pub fn blueprint_with(stack: &Stack, boots: &Boots) -> Result<Graph, BlueprintError> {
    let mut resources = artifacts::resources(stack, boots)?;
    resources.extend(network::security_groups(stack)?);
    resources.extend(roles::resources(stack)?);
    resources.extend(hosts::resources(stack, boots)?);
    resources.extend(control_plane::resources(stack)?);
    Ok(Graph::new(&stack.name, resources, lookups(stack)?)?)
}

/// The graph as far as it is known before the cloud was observed: without what hosts boot. Names, lookups and dependencies
/// are those of [`blueprint_with`]. Unless `is_whole`, each pool has one host at most.
pub fn outline(stack: &Stack, is_whole: bool) -> Result<Graph, BlueprintError> {
    let mut outlined = stack.clone();
    if !is_whole {
        outlined.pools.values_mut().for_each(|pool| pool.count = pool.count.min(1));
    }
    blueprint_with(&outlined, &Boots::without_binaries(stack)?)
}

/// Checks what shows only when everything is rendered, such as a too long boot script. It reads no binary.
pub fn check(stack: &Stack) -> Result<(), BlueprintError> {
    blueprint_with(stack, &Boots::without_binaries(stack)?).map(|_| ())
}

fn lookups(stack: &Stack) -> Result<Vec<Lookup>, BlueprintError> {
    let mut lookups = network::lookups(stack)?;
    lookups.extend(hosts::lookups(stack)?);
    lookups.extend(control_plane::lookups(stack)?);
    Ok(lookups)
}

/// Every policy of the stack as indented JSON, by names such as `iam_role.generator.policy`,
/// `iam_role.generator.trust_policy` and `s3_bucket.artifacts.policy`.
pub fn policies(stack: &Stack) -> Result<BTreeMap<String, String>, BlueprintError> {
    let mut found = BTreeMap::new();
    for (name, policy) in roles::policies(stack).into_iter().chain(artifacts::policies(stack)) {
        found.insert(name, policy.pretty()?);
    }
    Ok(found)
}

fn resource(address: Address, attributes: &impl Serialize) -> Result<Resource, BlueprintError> {
    let attributes = to_map(attributes).map_err(|source| BlueprintError::attributes(&address, source))?;
    Ok(Resource::new(address, attributes))
}

fn lookup(address: Address, query: &impl Serialize) -> Result<Lookup, BlueprintError> {
    let query = to_map(query).map_err(|source| BlueprintError::attributes(&address, source))?;
    Ok(Lookup { address, query })
}
