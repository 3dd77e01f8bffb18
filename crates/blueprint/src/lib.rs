//! From a [`Stack`] to the resources it becomes, as ARCHITECTURE.md says: a [`Graph`] of desired resources and lookups.
//!
//! [`blueprint`] makes the whole graph where nothing stands yet; where something does, [`Boots`] says first what hosts keep
//! booting, and [`blueprint_with`] makes the graph. [`outline`] is enough to look at the cloud by. [`boot`] the user data of one pool, [`control_plane_conf`] the conf of the
//! Gatling control plane, [`policies`] every IAM and bucket policy, and [`findings`] says what cannot work once the
//! lookups have been read. All of it is pure: the same stack and binaries give the same bytes. The only files that are
//! read are the generator binaries ([`Binaries::of`]) and a boot template of the user's own.
//!
//! What only AWS can tell is a reference until apply, and is shown as one:
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
mod findings;
mod hocon;
mod hosts;
mod inputs;
mod network;
mod policy;
mod roles;
mod size;

use std::collections::BTreeMap;

use serde::Serialize;
use trunnion_engine::{Address, Graph, Lookup, Resource, to_map};
use trunnion_stack::Stack;

pub use crate::{
    binaries::{Binaries, Binary, Unusable},
    boot::{USER_DATA_LIMIT, boot},
    boots::{Boots, Standing},
    conf::{control_plane_conf, with_placeholders},
    error::BlueprintError,
    findings::{Finding, Findings, associated_later, doubts, findings, secrets_in_clear},
    network::complete,
};

/// Everything the stack asks for where nothing of it stands.
pub fn blueprint(stack: &Stack, binaries: &Binaries) -> Result<Graph, BlueprintError> {
    blueprint_with(stack, &Boots::newest(stack, binaries)?)
}

/// Everything the stack asks for, with hosts that boot this.
pub fn blueprint_with(stack: &Stack, boots: &Boots) -> Result<Graph, BlueprintError> {
    let mut resources = artifacts::resources(stack, boots)?;
    resources.extend(network::security_groups(stack)?);
    resources.extend(roles::resources(stack)?);
    resources.extend(hosts::resources(stack, boots)?);
    resources.extend(control_plane::resources(stack)?);
    Ok(Graph::new(&stack.name, resources, lookups(stack)?)?)
}

/// What the stack asks for as far as it is known before the cloud was read: without what hosts boot. Names, lookups and what
/// depends on what are those of [`blueprint_with`]; unless `is_whole`, one host stands for all of its pool.
pub fn outline(stack: &Stack, is_whole: bool) -> Result<Graph, BlueprintError> {
    let mut outlined = stack.clone();
    if !is_whole {
        outlined.pools.values_mut().for_each(|pool| pool.count = pool.count.min(1));
    }
    blueprint_with(&outlined, &Boots::without_binaries(stack)?)
}

/// What is wrong with a stack that only shows once everything is rendered. No binary is read for it.
pub fn check(stack: &Stack) -> Result<(), BlueprintError> {
    blueprint_with(stack, &Boots::without_binaries(stack)?).map(|_| ())
}

fn lookups(stack: &Stack) -> Result<Vec<Lookup>, BlueprintError> {
    let mut lookups = network::lookups(stack)?;
    lookups.extend(hosts::lookups(stack)?);
    lookups.extend(control_plane::lookups(stack)?);
    Ok(lookups)
}

/// Every policy of the stack as JSON to read: `iam_role.generator.policy`, `iam_role.generator.trust_policy`,
/// `s3_bucket.artifacts.policy`.
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
