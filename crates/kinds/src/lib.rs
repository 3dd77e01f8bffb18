//! The kinds of resources in a stack: their attributes as plain structs, and the rules for changing them.
//!
//! A struct's fields are the attributes by name. A field of type [`Value`] may refer to another resource that does not
//! exist yet. [`rule_book`] collects the rules of all kinds for the engine; [`lookup`] has the queries for what is only
//! read.
//!
//! ```
//! use trunnion_kinds::{LogGroup, rule_book};
//! let group = LogGroup { name: "/trunnion/loadtest/control-plane".into(), retention_days: 30, tags: Default::default() };
//! let attributes = trunnion_engine::to_map(&group)?;
//! assert_eq!(attributes["retention_days"].as_number(), Some(30));
//! assert!(rule_book().get(&LogGroup::KIND.into()).is_some());
//! # Ok::<(), serde_json::Error>(())
//! ```

pub mod lookup;

mod ecs_cluster;
mod ecs_service;
mod ecs_task_definition;
mod elastic_ip;
mod iam_instance_profile;
mod iam_names;
mod iam_role;
mod instance;
mod launch_template;
mod log_group;
mod s3_bucket;
mod s3_object;
mod security_group;

use std::collections::BTreeMap;

pub use trunnion_engine::Value;
use trunnion_engine::{HomeRule, RuleBook};

pub use crate::{
    ecs_cluster::EcsCluster,
    ecs_service::{Deployment, EcsService, ServiceNetwork, control_plane_name},
    ecs_task_definition::{Container, EcsTaskDefinition, HealthCheck, LogConfiguration, Mount, conf_without_options},
    elastic_ip::ElasticIp,
    iam_instance_profile::IamInstanceProfile,
    iam_names::{
        former_iam_path, former_instance_profile_name, former_role_name, iam_path, iam_prefix, instance_profile_name,
        region_of, role_name,
    },
    iam_role::IamRole,
    instance::{Instance, InstanceInterface, STATE_RUNNING},
    launch_template::{
        Boot, Interface, LATEST, LaunchTemplate, LaunchTemplateData, Market, Metadata, Volume, shortened_source,
        stands_for,
    },
    log_group::LogGroup,
    s3_bucket::{S3Bucket, bucket_name, bucket_prefix},
    s3_object::S3Object,
    security_group::{SecurityGroup, SecurityGroupRule},
};

/// Values by key.
pub type Tags = BTreeMap<String, String>;

/// With what the keys of all tags of Trunnion begin, except `Name`.
pub const TAG_PREFIX: &str = "trunnion:";

/// The tag with the name of the stack that a resource belongs to.
pub const STACK_TAG: &str = "trunnion:stack";

/// The tag with a resource's address in its stack.
pub const ADDRESS_TAG: &str = "trunnion:address";

/// The tag with the home of a resource's stack: it distinguishes two stacks of the same name.
pub const HOME_TAG: &str = "trunnion:home";

/// The tag of the cluster that says who applied the stack last. It is a remark: no plan compares it.
pub const APPLIED_TAG: &str = "trunnion:applied";

/// The tag, with the value `true`, of a resource that no plan may delete or replace.
pub const PROTECT_TAG: &str = "trunnion:protect";

/// The tag of an instance with the `digest` of the launch template it was launched from.
pub const TEMPLATE_TAG: &str = "trunnion:template";

/// The tag of instances that one call was to launch, such as `instance.heavy[0-99]`. The number of an instance is the first
/// one plus its launch index. The address of an instance without the tag [`ADDRESS_TAG`] follows from it.
pub const LAUNCH_TAG: &str = "trunnion:launch";

/// The rules of all kinds.
pub fn rule_book() -> RuleBook {
    RuleBook::new([
        EcsCluster::RULES,
        EcsService::RULES,
        EcsTaskDefinition::RULES,
        ElasticIp::RULES,
        IamInstanceProfile::RULES,
        IamRole::RULES,
        Instance::RULES,
        LaunchTemplate::RULES,
        LogGroup::RULES,
        S3Bucket::RULES,
        S3Object::RULES,
        SecurityGroup::RULES,
    ])
    .with_home(HomeRule { tag: HOME_TAG, last: S3Bucket::KIND })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_deleted_after_those_that_depend_on_it() {
        let book = rule_book();
        let may = |kind: &str, other: &str| book.may_depend(&kind.into(), &other.into());
        assert!(may("ecs_service", "iam_role"), "through the task definition");
        assert!(may("instance", "security_group"));
        assert!(!may("security_group", "instance"));
    }
}
