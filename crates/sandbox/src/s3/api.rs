//! The S3 operations that are supported, each with the module that implements it.

use std::pin::Pin;

use jiff::Timestamp;
use s3s::{S3, S3Request, S3Response, S3Result, dto};

use super::{
    Context, Store, blob, bucket, bucket_absent, bucket_settings, checksum::Asked, listing, multipart,
    permissions::Signed, read, route::CreateTags, write,
};
use crate::{authorize::Origin, cloud::Cloud};

impl<T> From<&S3Request<T>> for Context {
    fn from(request: &S3Request<T>) -> Self {
        let region = request.region.as_ref().map_or("us-east-1", |region| region.as_str()).to_owned();
        let create_tags = request.extensions.get::<CreateTags>().cloned().unwrap_or_default().0;
        let origin = request.extensions.get::<Origin>().cloned();
        let signed = Signed::of(&request.uri, &request.headers);
        let auth_type = signed.map_or("REST-HEADER", |signed| signed.auth_type);
        Self { region, now: Timestamp::now(), create_tags, auth_type, origin }
    }
}

/// Operations that only read and change rows.
macro_rules! plain {
    ($($name:ident($input:ident) -> $output:ident = $run:path;)*) => {$(
        fn $name<'s, 'f>(
            &'s self,
            request: S3Request<dto::$input>,
        ) -> Pin<Box<dyn Future<Output = S3Result<S3Response<dto::$output>>> + Send + 'f>>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(async move {
                let context = Context::from(&request);
                self.run(|cloud: &mut Cloud| $run(cloud, &context, request.input)).map(S3Response::new)
            })
        }
    )*};
}

/// Operations that also store or delete the bytes of objects.
macro_rules! with_blobs {
    ($($name:ident($input:ident) -> $output:ident = $run:path;)*) => {$(
        fn $name<'s, 'f>(
            &'s self,
            request: S3Request<dto::$input>,
        ) -> Pin<Box<dyn Future<Output = S3Result<S3Response<dto::$output>>> + Send + 'f>>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(async move {
                let context = Context::from(&request);
                self.run(|cloud: &mut Cloud| $run(cloud, &self.blobs, &context, request.input)).map(S3Response::new)
            })
        }
    )*};
}

#[async_trait::async_trait]
impl S3 for Store {
    plain! {
        create_bucket(CreateBucketInput) -> CreateBucketOutput = bucket::create;
        delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = bucket::delete;
        head_bucket(HeadBucketInput) -> HeadBucketOutput = bucket::head;
        list_buckets(ListBucketsInput) -> ListBucketsOutput = bucket::list;
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = bucket::location;
        put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput = bucket_settings::put_versioning;
        get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput = bucket_settings::versioning;
        put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput = bucket_settings::put_tagging;
        get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput = bucket_settings::tagging;
        delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput = bucket_settings::delete_tagging;
        put_bucket_encryption(PutBucketEncryptionInput) -> PutBucketEncryptionOutput = bucket_settings::put_encryption;
        get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput = bucket_settings::encryption;
        delete_bucket_encryption(DeleteBucketEncryptionInput) -> DeleteBucketEncryptionOutput =
            bucket_settings::delete_encryption;
        put_public_access_block(PutPublicAccessBlockInput) -> PutPublicAccessBlockOutput =
            bucket_settings::put_public_access_block;
        get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput =
            bucket_settings::public_access_block;
        delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput =
            bucket_settings::delete_public_access_block;
        put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput = bucket_settings::put_policy;
        get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput = bucket_settings::policy;
        delete_bucket_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput = bucket_settings::delete_policy;
        put_bucket_ownership_controls(PutBucketOwnershipControlsInput) -> PutBucketOwnershipControlsOutput =
            bucket_settings::put_ownership;
        get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput =
            bucket_settings::ownership;
        delete_bucket_ownership_controls(DeleteBucketOwnershipControlsInput) -> DeleteBucketOwnershipControlsOutput =
            bucket_settings::delete_ownership;
        get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput) ->
            GetBucketAccelerateConfigurationOutput = bucket_absent::accelerate;
        get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput = bucket_absent::acl;
        get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput = bucket_absent::cors;
        get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput) ->
            GetBucketLifecycleConfigurationOutput = bucket_absent::lifecycle;
        get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput = bucket_absent::logging;
        get_bucket_notification_configuration(GetBucketNotificationConfigurationInput) ->
            GetBucketNotificationConfigurationOutput = bucket_absent::notification;
        get_bucket_policy_status(GetBucketPolicyStatusInput) -> GetBucketPolicyStatusOutput =
            bucket_absent::policy_status;
        get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput = bucket_absent::replication;
        get_bucket_request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput =
            bucket_absent::request_payment;
        get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput = bucket_absent::website;
        get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput =
            bucket_absent::object_lock;
        list_bucket_analytics_configurations(ListBucketAnalyticsConfigurationsInput) ->
            ListBucketAnalyticsConfigurationsOutput = bucket_absent::analytics;
        list_bucket_intelligent_tiering_configurations(ListBucketIntelligentTieringConfigurationsInput) ->
            ListBucketIntelligentTieringConfigurationsOutput = bucket_absent::tiering;
        list_bucket_inventory_configurations(ListBucketInventoryConfigurationsInput) ->
            ListBucketInventoryConfigurationsOutput = bucket_absent::inventory;
        list_bucket_metrics_configurations(ListBucketMetricsConfigurationsInput) ->
            ListBucketMetricsConfigurationsOutput = bucket_absent::metrics;
        get_object_acl(GetObjectAclInput) -> GetObjectAclOutput = bucket_absent::object_acl;
        head_object(HeadObjectInput) -> HeadObjectOutput = read::head;
        get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput = write::tagging;
        put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput = write::put_tagging;
        delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput = write::delete_tagging;
        list_objects(ListObjectsInput) -> ListObjectsOutput = listing::objects;
        list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = listing::objects_v2;
        list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = listing::versions;
        create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = multipart::create;
    }

    with_blobs! {
        copy_object(CopyObjectInput) -> CopyObjectOutput = write::copy;
        delete_object(DeleteObjectInput) -> DeleteObjectOutput = write::delete;
        delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = write::delete_many;
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = multipart::abort;
    }

    async fn put_object(
        &self,
        mut request: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        let context = Context::from(&request);
        let (bucket, owner) = (&request.input.bucket, request.input.expected_bucket_owner.as_ref());
        self.run(|cloud| bucket::find(cloud, &context, bucket, owner).map(|_| ()))?;
        let asked = Asked::of(&request.headers);
        let received = self.blobs.receive(request.input.body.take(), &asked).await?;
        let trailer = request.trailing_headers.and_then(|trailer| trailer.take());
        asked.check(&received.sums, trailer.as_ref())?;
        self.run(|cloud| write::put(cloud, &self.blobs, &context, request.input, &received)).map(S3Response::new)
    }

    async fn get_object(&self, request: S3Request<dto::GetObjectInput>) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let context = Context::from(&request);
        let found = self.run(|cloud| read::get(cloud, &self.blobs, &context, request.input))?;
        let body = found.opened.stream(found.start, found.length).await?;
        Ok(S3Response::new(dto::GetObjectOutput { body: Some(body), ..found.output }))
    }

    async fn upload_part(
        &self,
        mut request: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        let context = Context::from(&request);
        let asked = Asked::of(&request.headers);
        let received = self.blobs.receive(request.input.body.take(), &asked).await?;
        let trailer = request.trailing_headers.and_then(|trailer| trailer.take());
        asked.check(&received.sums, trailer.as_ref())?;
        let input = request.input;
        self.run(|cloud| multipart::upload_part(cloud, &self.blobs, &context, &input, &received)).map(S3Response::new)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        let context = Context::from(&request);
        let input = request.input;
        let joining = self.run(|cloud| multipart::begin_complete(cloud, &self.blobs, &context, &input))?;
        let asked = Asked::for_algorithm(&joining.algorithm);
        let whole = blob::joined(joining.parts).await?;
        let received = self.blobs.receive(Some(whole), &asked).await?;
        self.run(|cloud| multipart::complete(cloud, &self.blobs, &context, input, &received)).map(S3Response::new)
    }
}
