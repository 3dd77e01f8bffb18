//! From a [`Stack`] to the resources it becomes, as ARCHITECTURE.md says: a [`Graph`] of desired resources and lookups.
//!
//! [`blueprint`] makes the whole graph, [`boot`] the user data of one pool, [`control_plane_conf`] the conf of the
//! Gatling control plane, [`policies`] every IAM and bucket policy, and [`findings`] says what cannot work once the
//! lookups have been read. All of it is pure: the same stack and binaries give the same bytes. The only files that are
//! read are the generator binaries ([`Binaries::read`]) and a boot template of the user's own.
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
mod conf;
mod control_plane;
mod error;
mod findings;
mod hocon;
mod hosts;
mod network;
mod policy;
mod roles;
mod size;

use std::collections::BTreeMap;

use serde::Serialize;
use trunnion_engine::{Address, Graph, Lookup, Resource, to_map};
use trunnion_stack::Stack;

pub use crate::{
    binaries::{Binaries, Binary},
    boot::{USER_DATA_LIMIT, boot},
    conf::{control_plane_conf, with_placeholders},
    error::BlueprintError,
    findings::{Finding, Findings, findings, secrets_in_clear},
    network::complete,
};

/// Everything the stack asks for.
pub fn blueprint(stack: &Stack, binaries: &Binaries) -> Result<Graph, BlueprintError> {
    let mut resources = artifacts::resources(stack, binaries)?;
    resources.extend(network::security_groups(stack)?);
    resources.extend(roles::resources(stack)?);
    resources.extend(hosts::resources(stack, binaries)?);
    resources.extend(control_plane::resources(stack)?);
    let mut lookups = network::lookups(stack)?;
    lookups.extend(hosts::lookups(stack)?);
    lookups.extend(control_plane::lookups(stack)?);
    Ok(Graph::new(&stack.name, resources, lookups)?)
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
