//! What a stack protects from being deleted or replaced.
//!
//! A pool's `protect` covers its hosts, its launch template and its Elastic IPs. That of the control plane covers its
//! service, its cluster and its log. Revisions of the task definition are its configuration and are never protected.
//! Each protected resource has a tag, so it stays protected if the stack file no longer has its pool.

use std::collections::BTreeMap;

use trunnion_engine::{Address, KindName, Protection};
use trunnion_kinds::{EcsCluster, EcsService, ElasticIp, Instance, LaunchTemplate, LogGroup, PROTECT_TAG};
use trunnion_stack::Stack;

use crate::address;

/// What the stack file says of each kind and name.
pub fn protection(stack: &Stack) -> Protection {
    let mut said = BTreeMap::new();
    for (pool, protect) in stack.pools.iter().map(|(name, pool)| (name, pool.protect)) {
        for kind in [Instance::KIND, LaunchTemplate::KIND, ElasticIp::KIND] {
            said.insert((KindName::new(kind), pool.clone()), protect);
        }
    }
    for (kind, address) in [
        (EcsCluster::KIND, address::cluster()),
        (EcsService::KIND, address::service()),
        (LogGroup::KIND, address::log_group()),
    ] {
        said.insert((KindName::new(kind), address.name), stack.control_plane.protect);
    }
    Protection::new(PROTECT_TAG, said)
}

/// Whether the stack file protects what is at an address.
pub fn is_protected(stack: &Stack, address: &Address) -> bool {
    match address.kind.as_str() {
        Instance::KIND | LaunchTemplate::KIND | ElasticIp::KIND => {
            stack.pools.get(&address.name).is_some_and(|pool| pool.protect)
        }
        EcsCluster::KIND | EcsService::KIND | LogGroup::KIND => stack.control_plane.protect,
        _ => false,
    }
}

/// The key of the stack file that protects what is at an address.
pub fn key_of(address: &Address) -> String {
    match address.kind.as_str() {
        Instance::KIND | LaunchTemplate::KIND | ElasticIp::KIND => format!("pools.{}.protect", address.name),
        _ => "control_plane.protect".to_owned(),
    }
}
