//! Buckets: creation, location, deletion.

use std::collections::BTreeMap;

use jiff::Timestamp;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    dto::{
        BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput,
        GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
        ListBucketsOutput, Owner,
    },
};
use serde::{Deserialize, Serialize};
use trunnion_catalog::limits;

use super::{Context, custom, error, header, in_progress, object};
use crate::{
    cloud::Cloud,
    durations::Delay,
    json::{hex_id, page},
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Bucket {
    pub region: String,
    pub created: Timestamp,
    pub versioning: Versioning,
    /// S3 does not distinguish between no tag set and an empty one.
    pub tags: BTreeMap<String, String>,
    /// `AES256` or `aws:kms`, and the id of the key.
    pub encryption: (String, Option<String>),
    pub keeps_kms_key: bool,
    pub public_access_block: Option<[bool; 4]>,
    pub ownership: Option<String>,
    pub policy: Option<String>,
    /// Whether it has not been changed yet. S3 may refuse the first change while it still creates the bucket
    /// (hashicorp/terraform-provider-aws issue 7628).
    #[serde(default)]
    pub is_new: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Versioning {
    Never,
    Enabled,
    Suspended,
}

/// The bucket, if the request comes to its own region and expects its owner.
pub(super) fn find<'w>(
    cloud: &'w Cloud,
    context: &Context,
    name: &str,
    expected_owner: Option<&String>,
) -> S3Result<&'w Bucket> {
    let known = cloud.s3.buckets.get(name);
    let known = known.filter(|bucket| cloud.knows(Delay::S3Lag, name, bucket.created, context.now));
    let Some(bucket) = known else {
        return Err(error(S3ErrorCode::NoSuchBucket, "The specified bucket does not exist"));
    };
    check_owner(cloud, expected_owner)?;
    if bucket.region != context.region {
        let mut error = error(
            S3ErrorCode::PermanentRedirect,
            "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all \
             future requests to this endpoint.",
        );
        if let Some(region) = header(&bucket.region) {
            error.set_headers([(BUCKET_REGION, region)].into_iter().collect());
        }
        return Err(error);
    }
    Ok(bucket)
}

const BUCKET_REGION: hyper::header::HeaderName = hyper::header::HeaderName::from_static("x-amz-bucket-region");

/// The same for changes.
pub(super) fn find_mut<'w>(
    cloud: &'w mut Cloud,
    context: &Context,
    name: &str,
    expected_owner: Option<&String>,
) -> S3Result<&'w mut Bucket> {
    let Bucket { is_new, created, .. } = *find(cloud, context, name, expected_owner)?;
    let is_refused = is_new && !cloud.settled(Delay::BucketSettle, created, context.now);
    let missing = || S3Error::new(S3ErrorCode::NoSuchBucket);
    cloud.s3.buckets.get_mut(name).ok_or_else(missing)?.is_new = false;
    if is_refused {
        // The second change succeeds.
        cloud.keep();
        return Err(in_progress());
    }
    cloud.s3.buckets.get_mut(name).ok_or_else(missing)
}

pub(super) fn check_owner(cloud: &Cloud, expected: Option<&String>) -> S3Result<()> {
    match expected {
        Some(expected) if *expected != cloud.account => Err(error(S3ErrorCode::AccessDenied, "Access Denied")),
        _ => Ok(()),
    }
}

pub(super) fn owner(cloud: &Cloud) -> Owner {
    Owner { display_name: None, id: Some(hex_id(&cloud.account, 64)) }
}

pub(super) fn create(cloud: &mut Cloud, context: &Context, input: CreateBucketInput) -> S3Result<CreateBucketOutput> {
    let constraint = input.create_bucket_configuration.and_then(|configuration| configuration.location_constraint);
    let constraint = constraint.as_ref().map(BucketLocationConstraint::as_str).filter(|text| !text.is_empty());
    let region = match (context.region.as_str(), constraint) {
        (_, Some("us-east-1")) => {
            return Err(error(
                S3ErrorCode::InvalidLocationConstraint,
                "The specified location-constraint is not valid",
            ));
        }
        ("us-east-1", constraint) => constraint.unwrap_or("us-east-1"),
        (here, Some(constraint)) if here == constraint => here,
        (_, Some(other)) => {
            return Err(error(
                S3ErrorCode::IllegalLocationConstraintException,
                format!(
                    "The {other} location constraint is incompatible for the region specific endpoint this request \
                     was sent to."
                ),
            ));
        }
        (_, None) => {
            return Err(error(
                S3ErrorCode::IllegalLocationConstraintException,
                "The unspecified location constraint is incompatible for the region specific endpoint this request \
                 was sent to.",
            ));
        }
    };
    if let Some(reserved) = limits::reserved_in_bucket(&input.bucket) {
        let message = format!("The specified bucket is not valid: S3 keeps {reserved} for itself.");
        return Err(error(S3ErrorCode::InvalidBucketName, message));
    }
    let location = Some(format!("/{}", input.bucket));
    if let Some(bucket) = cloud.s3.buckets.get(&input.bucket) {
        if bucket.region == "us-east-1" && region == "us-east-1" {
            // In us-east-1, S3 answers as if it had created the bucket, but changes nothing.
            return Ok(CreateBucketOutput { location });
        }
        return Err(error(
            S3ErrorCode::BucketAlreadyOwnedByYou,
            "Your previous request to create the named bucket succeeded and you already own it.",
        ));
    }
    // A name stays in use for some time after its bucket was deleted.
    let freed = cloud.s3.freed.get(&input.bucket);
    if freed.is_some_and(|freed| !cloud.settled(Delay::BucketNameRest, *freed, context.now)) {
        return Err(in_progress());
    }
    // Only the commercial partition accepts tags in this call (hashicorp/terraform-provider-aws issues 45566, 45684 and
    // 45784).
    let is_commercial = !["cn-", "us-gov-", "eusc-", "us-iso", "eu-iso"].iter().any(|start| region.starts_with(start));
    if !is_commercial && !context.create_tags.is_empty() {
        return Err(custom("UnsupportedArgument", 400, "The request contained an unsupported argument."));
    }
    cloud.s3.freed.remove(&input.bucket);
    let tags = object::checked_tags(context.create_tags.clone(), limits::MOST_TAGS)?;
    let bucket = Bucket {
        region: region.to_owned(),
        created: context.now,
        versioning: if input.object_lock_enabled_for_bucket == Some(true) {
            Versioning::Enabled
        } else {
            Versioning::Never
        },
        tags,
        encryption: ("AES256".to_owned(), None),
        keeps_kms_key: false,
        // The default of new buckets since April 2023.
        public_access_block: Some([true; 4]),
        ownership: Some(input.object_ownership.map_or("BucketOwnerEnforced".to_owned(), |it| it.as_str().to_owned())),
        policy: None,
        is_new: true,
    };
    cloud.s3.buckets.insert(input.bucket, bucket);
    Ok(CreateBucketOutput { location })
}

pub(super) fn delete(cloud: &mut Cloud, context: &Context, input: DeleteBucketInput) -> S3Result<DeleteBucketOutput> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    if let Some((_, version)) = object::of_bucket(cloud, &input.bucket, "").first() {
        let text = if version.version_id == object::NULL && !version.is_marker {
            "The bucket you tried to delete is not empty"
        } else {
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket."
        };
        return Err(error(S3ErrorCode::BucketNotEmpty, text));
    }
    cloud.s3.buckets.remove(&input.bucket);
    cloud.s3.freed.insert(input.bucket, context.now);
    Ok(DeleteBucketOutput {})
}

pub(super) fn head(cloud: &mut Cloud, context: &Context, input: HeadBucketInput) -> S3Result<HeadBucketOutput> {
    let bucket = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    Ok(HeadBucketOutput {
        bucket_region: Some(bucket.region.clone()),
        access_point_alias: Some(false),
        ..Default::default()
    })
}

/// Clients use this call to find a bucket's region, so it works from every region.
pub(super) fn location(
    cloud: &mut Cloud,
    _: &Context,
    input: GetBucketLocationInput,
) -> S3Result<GetBucketLocationOutput> {
    let Some(bucket) = cloud.s3.buckets.get(&input.bucket) else {
        return Err(error(S3ErrorCode::NoSuchBucket, "The specified bucket does not exist"));
    };
    check_owner(cloud, input.expected_bucket_owner.as_ref())?;
    let constraint = (bucket.region != "us-east-1").then(|| BucketLocationConstraint::from(bucket.region.clone()));
    Ok(GetBucketLocationOutput { location_constraint: constraint })
}

pub(super) fn list(cloud: &mut Cloud, context: &Context, input: ListBucketsInput) -> S3Result<ListBucketsOutput> {
    let prefix = input.prefix.clone().unwrap_or_default();
    let buckets = cloud
        .s3
        .buckets
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix))
        .filter(|(name, bucket)| cloud.knows(Delay::S3Lag, name, bucket.created, context.now))
        .filter(|(_, bucket)| input.bucket_region.as_ref().is_none_or(|region| *region == bucket.region))
        .map(|(name, bucket)| {
            let shown = s3s::dto::Bucket {
                bucket_region: Some(bucket.region.clone()),
                creation_date: Some(object::moment(bucket.created)),
                name: Some(name.to_owned()),
            };
            (name.to_owned(), shown)
        })
        .collect();
    let limit = usize::try_from(input.max_buckets.unwrap_or(10_000)).unwrap_or(10_000).clamp(1, 10_000);
    let (buckets, next) = page(buckets, limit, input.continuation_token.as_deref(), false)
        .ok_or_else(|| custom("InvalidArgument", 400, "The continuation token provided is incorrect"))?;
    Ok(ListBucketsOutput {
        buckets: Some(buckets),
        continuation_token: next,
        owner: Some(owner(cloud)),
        prefix: input.prefix,
    })
}
