//! The addresses, names and tags of a stack's resources, in one place so that all modules agree on them.

use trunnion_engine::{Address, Value};
use trunnion_kinds::{
    ADDRESS_TAG, EcsCluster, EcsService, EcsTaskDefinition, ElasticIp, HOME_TAG, IamInstanceProfile, IamRole, Instance,
    LaunchTemplate, LogGroup, PROTECT_TAG, S3Bucket, S3Object, STACK_TAG, SecurityGroup, Tags, bucket_name, lookup,
};
use trunnion_stack::{Placement, Stack};

use crate::protection::is_protected;

pub(crate) const GENERATOR: &str = "generator";
pub(crate) const CONTROL_PLANE: &str = "control_plane";
pub(crate) const LOAD: &str = "load";
pub(crate) const UNTRACKED: &str = "untracked";
pub(crate) const EXECUTION: &str = "execution";
const MAIN: &str = "main";

pub(crate) fn bucket() -> Address {
    Address::new(S3Bucket::KIND, "artifacts")
}

/// A generator binary. Its key is the architecture, such as `x86_64`. If pools of one architecture boot several
/// binaries, the further ones add the start of their digest: `x86_64-0123456789ab`.
pub(crate) fn object(key: &str) -> Address {
    Address::keyed(S3Object::KIND, GENERATOR, key)
}

pub(crate) fn security_group(name: &str) -> Address {
    Address::new(SecurityGroup::KIND, name)
}

pub(crate) fn role(name: &str) -> Address {
    Address::new(IamRole::KIND, name)
}

pub(crate) fn instance_profile() -> Address {
    Address::new(IamInstanceProfile::KIND, GENERATOR)
}

pub(crate) fn launch_template(pool: &str) -> Address {
    Address::new(LaunchTemplate::KIND, pool)
}

pub(crate) fn instance(pool: &str, number: u32) -> Address {
    Address::numbered(Instance::KIND, pool, number)
}

/// The public address of a host with this number: `elastic_ip.heavy[2]` is the first one, `elastic_ip.heavy[2.7]` the eighth.
pub(crate) fn elastic_ip(pool: &str, number: u32, which: u32) -> Address {
    match which {
        0 => Address::numbered(ElasticIp::KIND, pool, number),
        which => Address::keyed(ElasticIp::KIND, pool, format!("{number}.{which}")),
    }
}

pub(crate) fn elastic_ip_quota() -> Address {
    Address::new(lookup::ElasticIpQuota::KIND, MAIN)
}

pub(crate) fn log_group() -> Address {
    Address::new(LogGroup::KIND, CONTROL_PLANE)
}

pub(crate) fn cluster() -> Address {
    Address::new(EcsCluster::KIND, MAIN)
}

pub(crate) fn task_definition() -> Address {
    Address::new(EcsTaskDefinition::KIND, CONTROL_PLANE)
}

pub(crate) fn service() -> Address {
    Address::new(EcsService::KIND, CONTROL_PLANE)
}

pub(crate) fn vpc() -> Address {
    Address::new(lookup::Vpc::KIND, MAIN)
}

/// Hosts and control plane in the same zone or subnet share one lookup.
pub(crate) fn subnet(placement: &Placement) -> Address {
    let (Placement::Zone(key) | Placement::Subnet(key)) = placement;
    Address::keyed(lookup::Subnet::KIND, MAIN, key)
}

pub(crate) fn image(pool: &str) -> Address {
    Address::new(lookup::Image::KIND, pool)
}

pub(crate) fn instance_type(name: &str) -> Address {
    Address::keyed(lookup::InstanceType::KIND, MAIN, name)
}

pub(crate) fn secret(name: &str) -> Address {
    Address::new(lookup::Secret::KIND, name)
}

/// A reference to another resource's attribute; apply resolves it.
pub(crate) fn of(address: Address, attribute: &str) -> Value {
    Value::reference(address, attribute)
}

/// The name of a resource in AWS: `<stack>-<suffix>`.
pub(crate) fn name(stack: &Stack, suffix: &str) -> String {
    format!("{}-{suffix}", stack.name)
}

pub(crate) fn bucket_of(stack: &Stack) -> String {
    bucket_name(&stack.name, &stack.account, &stack.region)
}

pub(crate) fn log_group_of(stack: &Stack) -> String {
    format!("{}control-plane", LogGroup::prefix(&stack.name))
}

/// The user's tags and ours; ours win.
pub(crate) fn tags(stack: &Stack, address: &Address) -> Tags {
    let mut tags = stack.tags.clone();
    tags.extend(own_tags(stack, address));
    if is_protected(stack, address) {
        tags.insert(PROTECT_TAG.to_owned(), "true".to_owned());
    }
    tags
}

/// Only the tags that name the owner: S3 allows ten tags on an object, and the user's own may be more than that.
pub(crate) fn own_tags(stack: &Stack, address: &Address) -> Tags {
    let tags = [(STACK_TAG, stack.name.clone()), (ADDRESS_TAG, address.to_string()), (HOME_TAG, stack.home.clone())];
    tags.map(|(key, value)| (key.to_owned(), value)).into()
}

/// As [`tags`], with the tag `Name`, which the AWS console shows in its lists.
pub(crate) fn tags_with_name(stack: &Stack, address: &Address, name: &str) -> Tags {
    let mut tags = tags(stack, address);
    tags.insert("Name".to_owned(), name.to_owned());
    tags
}
