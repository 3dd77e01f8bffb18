//! The registry of drivers: one line for each kind.

pub(crate) mod ecs_cluster;
mod ecs_service;
mod ecs_task_definition;
mod ecs_tasks;
mod elastic_ip;
mod iam_instance_profile;
mod iam_role;
pub(crate) mod instance;
mod instance_chunk;
mod instance_launch;
pub(crate) mod launch_template;
mod launch_template_data;
mod log_group;
mod s3_bucket;
pub(crate) mod s3_object;
mod security_group;
pub(crate) mod tagging;

use trunnion_engine::KindName;

use crate::{driver::AnyDriver, error::Failure};

/// Every kind's driver. A driver comes after those of the kinds that its own kind may depend on.
pub(crate) static DRIVERS: [&dyn AnyDriver; 12] = [
    &iam_role::IamRoles,
    &iam_instance_profile::IamInstanceProfiles,
    &s3_bucket::S3Buckets,
    &s3_object::S3Objects,
    &security_group::SecurityGroups,
    &launch_template::LaunchTemplates,
    &instance::Instances,
    &elastic_ip::ElasticIps,
    &log_group::LogGroups,
    &ecs_cluster::EcsClusters,
    &ecs_task_definition::EcsTaskDefinitions,
    &ecs_service::EcsServices,
];

/// The driver of a kind, if there is one.
pub(crate) fn driver(kind: &KindName) -> Option<&'static dyn AnyDriver> {
    DRIVERS.into_iter().find(|driver| driver.rules().kind == kind.as_str())
}

/// The driver of a kind, or an error.
pub(crate) fn needed(kind: &KindName) -> Result<&'static dyn AnyDriver, Failure> {
    driver(kind).ok_or_else(|| Failure::own(format!("`{kind}` is not a kind of resource"), None))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use trunnion_kinds::rule_book;

    use super::*;

    #[test]
    fn drivers_and_rules_have_the_same_kinds() {
        let names: BTreeSet<&str> = DRIVERS.into_iter().map(|driver| driver.rules().kind).collect();
        let book = rule_book();
        assert_eq!(names, book.kinds().map(KindName::as_str).collect());
        assert_eq!(names.len(), DRIVERS.len(), "a kind has two drivers");
    }

    #[test]
    fn a_driver_comes_after_those_its_kind_depends_on() {
        let kinds: Vec<&str> = DRIVERS.into_iter().map(|driver| driver.rules().kind).collect();
        for (place, driver) in DRIVERS.into_iter().enumerate() {
            let rules = driver.rules();
            let needed = rules.depends_on.iter().copied().chain(driver.inside());
            for needed in needed.filter(|needed| *needed != rules.kind) {
                let place_of_needed = kinds.iter().position(|kind| *kind == needed);
                assert!(place_of_needed.is_some_and(|needed| needed < place), "{} needs {needed}", rules.kind);
            }
        }
    }
}
