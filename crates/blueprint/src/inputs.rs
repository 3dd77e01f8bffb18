//! One digest of all that a stack itself contributes to the boot of a pool's hosts. While the digest stays the same, hosts
//! keep their boot.
//!
//! What Trunnion contributes is not part of it: the built-in template, the config format, the capacity figures of instance
//! types, and the generator binary. Neither is what AWS contributes: the default routes of the subnet and the ranges of the
//! VPC. `generator.sha256` is not part of it either: it is compared with the binary that the
//! hosts boot.
//!
//! Launch templates contain the digest. Reordering or renaming fields would change the digest of every stack. A new field
//! must therefore be omitted from the serialised text while it has its default value.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use trunnion_engine::{Value, hex};
use trunnion_host::{Mode, Tracking};
use trunnion_stack::Stack;

use crate::{
    BlueprintError,
    address::bucket_of,
    boot::{Script, mode, runs_javascript, tracking},
};

#[expect(clippy::struct_excessive_bools, reason = "each is an option of the stack")]
#[derive(Serialize)]
struct Inputs<'a> {
    stack: &'a str,
    region: &'a str,
    bucket: String,
    pool: &'a str,
    instance_type: &'a str,
    interfaces: u32,
    addresses: u32,
    tracking: Tracking,
    java: u8,
    javascript: bool,
    spread: Mode,
    spread_except: BTreeSet<String>,
    metrics_port: u16,
    ssh_user: &'a str,
    ssh_public_key: &'a str,
    template: Option<&'a str>,
    variables: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    public_ip: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    reserved_ports: BTreeSet<u16>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    metadata_access: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dns_cache: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    private_ranges: BTreeSet<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ipv6: bool,
}

/// The digest of what the stack contributes to the boot of the hosts of a pool that had this name when they were launched.
pub(crate) fn digest(
    stack: &Stack,
    pool_name: &str,
    named: &str,
    script: &Script<'_>,
) -> Result<String, BlueprintError> {
    let pool = stack.pools.get(pool_name).ok_or_else(|| BlueprintError::NoPool { pool: pool_name.to_owned() })?;
    let (generator, ssh) = (&stack.generator, &stack.control_plane.ssh);
    let inputs = Inputs {
        stack: &stack.name,
        region: &stack.region,
        bucket: bucket_of(stack),
        pool: named,
        instance_type: pool.instance_type.name,
        interfaces: pool.interfaces,
        addresses: pool.addresses,
        tracking: tracking(pool),
        java: generator.java,
        javascript: runs_javascript(stack, pool_name),
        spread: mode(stack),
        spread_except: generator.spread_except.iter().map(ToString::to_string).collect(),
        metrics_port: generator.metrics_port,
        ssh_user: &ssh.user,
        ssh_public_key: &ssh.public_key,
        template: script.own(),
        variables: &generator.variables,
        public_ip: pool.public_ip,
        reserved_ports: generator.reserved_ports.iter().copied().collect(),
        metadata_access: generator.metadata_access,
        dns_cache: generator.dns_cache,
        private_ranges: if pool.public_ip || pool.ipv6 {
            generator.private_ranges.iter().map(ToString::to_string).collect()
        } else {
            BTreeSet::new()
        },
        ipv6: pool.ipv6,
    };
    Ok(Value::from_serialize(&inputs)?.digest())
}

/// How many hexadecimal digits a launch template stores: 128 bits, because a description is limited to 255 characters.
const KEPT: usize = 32;

/// A digest that proves that this user data was rendered from these inputs.
pub(crate) fn seal(inputs: &str, user_data: &str) -> String {
    let mut digest = hex(&Sha256::digest(format!("{inputs}\n{user_data}")));
    digest.truncate(KEPT);
    digest
}
