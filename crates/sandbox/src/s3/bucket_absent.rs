//! Settings that no bucket has here, because nothing sets them: S3's answer for a bucket without them. And ACLs, which
//! are always the owner's.

use s3s::{
    S3Result,
    dto::{
        GetBucketAccelerateConfigurationInput, GetBucketAccelerateConfigurationOutput, GetBucketAclInput,
        GetBucketAclOutput, GetBucketCorsInput, GetBucketCorsOutput, GetBucketLifecycleConfigurationInput,
        GetBucketLifecycleConfigurationOutput, GetBucketLoggingInput, GetBucketLoggingOutput,
        GetBucketNotificationConfigurationInput, GetBucketNotificationConfigurationOutput, GetBucketPolicyStatusInput,
        GetBucketPolicyStatusOutput, GetBucketReplicationInput, GetBucketReplicationOutput,
        GetBucketRequestPaymentInput, GetBucketRequestPaymentOutput, GetBucketWebsiteInput, GetBucketWebsiteOutput,
        GetObjectAclInput, GetObjectAclOutput, GetObjectLockConfigurationInput, GetObjectLockConfigurationOutput,
        Grant, Grantee, ListBucketAnalyticsConfigurationsInput, ListBucketAnalyticsConfigurationsOutput,
        ListBucketIntelligentTieringConfigurationsInput, ListBucketIntelligentTieringConfigurationsOutput,
        ListBucketInventoryConfigurationsInput, ListBucketInventoryConfigurationsOutput,
        ListBucketMetricsConfigurationsInput, ListBucketMetricsConfigurationsOutput, Payer, Permission, PolicyStatus,
        Type,
    },
};

use super::{
    Context,
    bucket::{find, owner},
    bucket_settings::check_policy,
    custom, read,
};
use crate::{call::arn_of, cloud::Cloud};

/// Calls that fail for a bucket without the setting: the error code and the message.
macro_rules! not_found {
    ($($name:ident($input:ident) -> $output:ident = $code:literal, $message:literal;)*) => {$(
        pub(super) fn $name(cloud: &mut Cloud, context: &Context, input: $input) -> S3Result<$output> {
            find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
            Err(custom($code, 404, $message))
        }
    )*};
}

/// Calls that answer nothing for a bucket without the setting.
macro_rules! empty {
    ($($name:ident($input:ident) -> $output:ident;)*) => {$(
        pub(super) fn $name(cloud: &mut Cloud, context: &Context, input: $input) -> S3Result<$output> {
            find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
            Ok($output::default())
        }
    )*};
}

/// Lists that are empty.
macro_rules! no_items {
    ($($name:ident($input:ident) -> $output:ident;)*) => {$(
        pub(super) fn $name(cloud: &mut Cloud, context: &Context, input: $input) -> S3Result<$output> {
            find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
            Ok($output { is_truncated: Some(false), ..Default::default() })
        }
    )*};
}

not_found! {
    cors(GetBucketCorsInput) -> GetBucketCorsOutput =
        "NoSuchCORSConfiguration", "The CORS configuration does not exist";
    lifecycle(GetBucketLifecycleConfigurationInput) -> GetBucketLifecycleConfigurationOutput =
        "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist";
    object_lock(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput =
        "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket";
    replication(GetBucketReplicationInput) -> GetBucketReplicationOutput =
        "ReplicationConfigurationNotFoundError", "The replication configuration was not found";
    website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput =
        "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration";
}

empty! {
    accelerate(GetBucketAccelerateConfigurationInput) -> GetBucketAccelerateConfigurationOutput;
    logging(GetBucketLoggingInput) -> GetBucketLoggingOutput;
    notification(GetBucketNotificationConfigurationInput) -> GetBucketNotificationConfigurationOutput;
}

no_items! {
    inventory(ListBucketInventoryConfigurationsInput) -> ListBucketInventoryConfigurationsOutput;
    metrics(ListBucketMetricsConfigurationsInput) -> ListBucketMetricsConfigurationsOutput;
    analytics(ListBucketAnalyticsConfigurationsInput) -> ListBucketAnalyticsConfigurationsOutput;
}

pub(super) fn tiering(
    cloud: &mut Cloud,
    context: &Context,
    input: ListBucketIntelligentTieringConfigurationsInput,
) -> S3Result<ListBucketIntelligentTieringConfigurationsOutput> {
    find(cloud, context, &input.bucket, None)?;
    Ok(ListBucketIntelligentTieringConfigurationsOutput { is_truncated: Some(false), ..Default::default() })
}

pub(super) fn request_payment(
    cloud: &mut Cloud,
    context: &Context,
    input: GetBucketRequestPaymentInput,
) -> S3Result<GetBucketRequestPaymentOutput> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    Ok(GetBucketRequestPaymentOutput { payer: Some(Payer::from_static(Payer::BUCKET_OWNER)) })
}

fn grants(cloud: &Cloud) -> Vec<Grant> {
    let grantee = Grantee {
        display_name: None,
        email_address: None,
        id: owner(cloud).id,
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    let permission = Some(Permission::from_static(Permission::FULL_CONTROL));
    vec![Grant { grantee: Some(grantee), permission }]
}

pub(super) fn acl(cloud: &mut Cloud, context: &Context, input: GetBucketAclInput) -> S3Result<GetBucketAclOutput> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    Ok(GetBucketAclOutput { grants: Some(grants(cloud)), owner: Some(owner(cloud)) })
}

pub(super) fn object_acl(
    cloud: &mut Cloud,
    context: &Context,
    input: GetObjectAclInput,
) -> S3Result<GetObjectAclOutput> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    read::version(cloud, &input.bucket, &input.key, input.version_id.as_deref())?;
    Ok(GetObjectAclOutput { grants: Some(grants(cloud)), owner: Some(owner(cloud)), request_charged: None })
}

pub(super) fn policy_status(
    cloud: &mut Cloud,
    context: &Context,
    input: GetBucketPolicyStatusInput,
) -> S3Result<GetBucketPolicyStatusOutput> {
    let bucket = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let Some(policy) = &bucket.policy else {
        return Err(custom("NoSuchBucketPolicy", 404, "The bucket policy does not exist"));
    };
    let is_public = check_policy(&input.bucket, &arn_of(&context.region), policy)?;
    Ok(GetBucketPolicyStatusOutput { policy_status: Some(PolicyStatus { is_public: Some(is_public) }) })
}
