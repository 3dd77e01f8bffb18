//! The registry: which file reads, creates, changes and deletes which kind.

pub(crate) mod ecs_cluster;
pub(crate) mod ecs_service;
pub(crate) mod ecs_task_definition;
pub(crate) mod ecs_tasks;
pub(crate) mod iam_instance_profile;
pub(crate) mod iam_role;
pub(crate) mod instance;
pub(crate) mod launch_template;
pub(crate) mod launch_template_data;
pub(crate) mod log_group;
pub(crate) mod s3_bucket;
pub(crate) mod s3_object;
pub(crate) mod security_group;
pub(crate) mod tagging;

use trunnion_engine::{Address, Remote, Resolved, Token};
use trunnion_kinds::{
    EcsCluster, EcsService, EcsTaskDefinition, IamInstanceProfile, IamRole, Instance, LaunchTemplate, LogGroup,
    S3Bucket, S3Object, SecurityGroup,
};

use crate::{Aws, convert::typed, error::Failure};

/// Creates a resource, or finds the one an earlier try created and makes it as asked.
pub(crate) async fn create(aws: &Aws, resource: &Resolved, token: &Token) -> Result<Remote, Failure> {
    let attributes = &resource.attributes;
    match resource.address.kind.as_str() {
        EcsCluster::KIND => Box::pin(ecs_cluster::create(aws, typed(attributes)?)).await,
        EcsService::KIND => Box::pin(ecs_service::create(aws, typed(attributes)?, token)).await,
        EcsTaskDefinition::KIND => Box::pin(ecs_task_definition::create(aws, typed(attributes)?)).await,
        IamInstanceProfile::KIND => Box::pin(iam_instance_profile::create(aws, typed(attributes)?)).await,
        IamRole::KIND => Box::pin(iam_role::create(aws, typed(attributes)?)).await,
        Instance::KIND => Box::pin(instance::create(aws, typed(attributes)?, token)).await,
        LaunchTemplate::KIND => Box::pin(launch_template::create(aws, typed(attributes)?, token)).await,
        LogGroup::KIND => Box::pin(log_group::create(aws, typed(attributes)?)).await,
        S3Bucket::KIND => Box::pin(s3_bucket::create(aws, typed(attributes)?)).await,
        S3Object::KIND => Box::pin(s3_object::create(aws, typed(attributes)?)).await,
        SecurityGroup::KIND => Box::pin(security_group::create(aws, typed(attributes)?)).await,
        kind => Err(unknown(kind)),
    }
}

/// Changes the attributes at `paths` in place.
pub(crate) async fn update(
    aws: &Aws,
    remote: &Remote,
    resource: &Resolved,
    paths: &[String],
) -> Result<Remote, Failure> {
    let attributes = &resource.attributes;
    match resource.address.kind.as_str() {
        EcsCluster::KIND => Box::pin(ecs_cluster::update(aws, remote, typed(attributes)?)).await,
        EcsService::KIND => Box::pin(ecs_service::update(aws, remote, typed(attributes)?, paths)).await,
        EcsTaskDefinition::KIND => Box::pin(ecs_task_definition::update(aws, remote, typed(attributes)?)).await,
        IamInstanceProfile::KIND => Box::pin(iam_instance_profile::update(aws, remote, typed(attributes)?)).await,
        IamRole::KIND => Box::pin(iam_role::update(aws, remote, typed(attributes)?, paths)).await,
        Instance::KIND => Box::pin(instance::update(aws, remote, typed(attributes)?, paths)).await,
        LaunchTemplate::KIND => Box::pin(launch_template::update(aws, remote, typed(attributes)?, paths)).await,
        LogGroup::KIND => Box::pin(log_group::update(aws, remote, typed(attributes)?, paths)).await,
        S3Bucket::KIND => Box::pin(s3_bucket::update(aws, typed(attributes)?, paths)).await,
        S3Object::KIND => Box::pin(s3_object::update(aws, typed(attributes)?)).await,
        SecurityGroup::KIND => Box::pin(security_group::update(aws, remote, typed(attributes)?)).await,
        kind => Err(unknown(kind)),
    }
}

/// Deletes a resource; one that is gone already counts as deleted.
pub(crate) async fn delete(aws: &Aws, address: &Address, remote: &Remote) -> Result<(), Failure> {
    match address.kind.as_str() {
        EcsCluster::KIND => Box::pin(ecs_cluster::delete(aws, remote)).await,
        EcsService::KIND => Box::pin(ecs_service::delete(aws, remote)).await,
        EcsTaskDefinition::KIND => Box::pin(ecs_task_definition::delete(aws, remote)).await,
        IamInstanceProfile::KIND => Box::pin(iam_instance_profile::delete(aws, remote)).await,
        IamRole::KIND => Box::pin(iam_role::delete(aws, remote)).await,
        Instance::KIND => Box::pin(instance::delete(aws, remote)).await,
        LaunchTemplate::KIND => Box::pin(launch_template::delete(aws, remote)).await,
        LogGroup::KIND => Box::pin(log_group::delete(aws, remote)).await,
        S3Bucket::KIND => Box::pin(s3_bucket::delete(aws, remote)).await,
        S3Object::KIND => Box::pin(s3_object::delete(aws, remote)).await,
        SecurityGroup::KIND => Box::pin(security_group::delete(aws, remote)).await,
        kind => Err(unknown(kind)),
    }
}

fn unknown(kind: &str) -> Failure {
    Failure::own(format!("`{kind}` is no kind of resource"), None)
}
