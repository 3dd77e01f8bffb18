//! Reads objects: the whole content, a range, or only the metadata.

use hyper::header::{HeaderName, HeaderValue};
use s3s::{
    S3ErrorCode, S3Result,
    dto::{
        ETag, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ServerSideEncryption,
    },
};

use super::{
    Context,
    blob::{Blobs, Opened},
    bucket::find,
    checksum::put_sums,
    error,
    object::{self, Version},
    write::{checksum_type, precondition_failed},
};
use crate::cloud::Cloud;

/// The given version of a key, or the current one; a delete marker counts as missing.
pub(super) fn version<'w>(cloud: &'w Cloud, bucket: &str, key: &str, id: Option<&str>) -> S3Result<&'w Version> {
    let Some(id) = id else {
        let missing = || error(S3ErrorCode::NoSuchKey, "The specified key does not exist.");
        let version = object::current(cloud, bucket, key).ok_or_else(missing)?;
        if version.is_marker {
            let mut error = missing();
            error.set_headers(marker_headers(version));
            return Err(error);
        }
        return Ok(version);
    };
    let version = object::of_key(cloud, bucket, key)
        .map(|(_, version)| version)
        .find(|version| version.version_id == id)
        .ok_or_else(|| error(S3ErrorCode::NoSuchVersion, "The specified version does not exist."))?;
    if version.is_marker {
        let mut error =
            error(S3ErrorCode::MethodNotAllowed, "The specified method is not allowed against this resource.");
        error.set_headers(marker_headers(version));
        return Err(error);
    }
    Ok(version)
}

fn marker_headers(version: &Version) -> hyper::HeaderMap {
    let mut headers = hyper::HeaderMap::new();
    headers.insert(HeaderName::from_static("x-amz-delete-marker"), HeaderValue::from_static("true"));
    if let Some(id) = super::header(&version.version_id) {
        headers.insert(HeaderName::from_static("x-amz-version-id"), id);
    }
    headers
}

/// Whether a condition matches this version.
pub(super) fn matches(condition: &ETagCondition, version: &Version) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(ETag::Strong(etag) | ETag::Weak(etag)) => *etag == version.content.etag,
    }
}

fn check_conditions(
    version: &Version,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    if if_match.is_some_and(|condition| !matches(condition, version)) {
        return Err(precondition_failed());
    }
    if if_none_match.is_some_and(|condition| matches(condition, version)) {
        return Err(error(S3ErrorCode::NotModified, "Not Modified"));
    }
    Ok(())
}

/// The content to read: its bytes, the start, and the length.
pub(super) struct Found {
    pub opened: Opened,
    pub start: u64,
    pub length: u64,
    pub output: GetObjectOutput,
}

pub(super) fn get(cloud: &mut Cloud, blobs: &Blobs, context: &Context, input: GetObjectInput) -> S3Result<Found> {
    let versioning = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?.versioning;
    let version = version(cloud, &input.bucket, &input.key, input.version_id.as_deref())?;
    check_conditions(version, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let stored = &version.content;
    let (start, end) = match &input.range {
        Some(range) => {
            let range = range.check(stored.size)?;
            (range.start, range.end)
        }
        None => (0, stored.size),
    };
    let length = end - start;
    let part = input.range.is_some();
    let tags = i32::try_from(version.tags.len()).unwrap_or(i32::MAX);
    let mut output = GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: i64::try_from(length).ok(),
        content_range: part.then(|| format!("bytes {start}-{}/{}", end - 1, stored.size)),
        content_type: input.response_content_type.or(stored.content_type.clone()).or_else(default_type),
        content_encoding: input.response_content_encoding.or(stored.content_encoding.clone()),
        content_disposition: input.response_content_disposition.or(stored.content_disposition.clone()),
        content_language: input.response_content_language.or(stored.content_language.clone()),
        cache_control: input.response_cache_control.or(stored.cache_control.clone()),
        e_tag: Some(version.e_tag()),
        last_modified: Some(object::moment(version.modified)),
        metadata: Some(stored.metadata.clone().into_iter().collect()),
        server_side_encryption: Some(ServerSideEncryption::from(stored.encryption.clone())),
        ssekms_key_id: stored.kms_key.clone(),
        tag_count: (tags > 0).then_some(tags),
        version_id: version.id_in(versioning),
        ..Default::default()
    };
    // The checksum of the whole object is useless for a range.
    if input.checksum_mode.is_some() && !part {
        output.checksum_type = Some(checksum_type(stored));
        put_sums!(output, &stored.sums);
    }
    let opened = blobs.open_kept(&stored.sha256)?;
    Ok(Found { opened, start, length, output })
}

pub(super) fn head(cloud: &mut Cloud, context: &Context, input: HeadObjectInput) -> S3Result<HeadObjectOutput> {
    let versioning = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?.versioning;
    let version = version(cloud, &input.bucket, &input.key, input.version_id.as_deref())?;
    check_conditions(version, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let stored = &version.content;
    let mut output = HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: i64::try_from(stored.size).ok(),
        content_type: stored.content_type.clone().or_else(default_type),
        content_encoding: stored.content_encoding.clone(),
        content_disposition: stored.content_disposition.clone(),
        content_language: stored.content_language.clone(),
        cache_control: stored.cache_control.clone(),
        e_tag: Some(version.e_tag()),
        last_modified: Some(object::moment(version.modified)),
        metadata: Some(stored.metadata.clone().into_iter().collect()),
        server_side_encryption: Some(ServerSideEncryption::from(stored.encryption.clone())),
        ssekms_key_id: stored.kms_key.clone(),
        version_id: version.id_in(versioning),
        ..Default::default()
    };
    if input.checksum_mode.is_some() {
        output.checksum_type = Some(checksum_type(stored));
        put_sums!(output, &stored.sums);
    }
    Ok(output)
}

#[expect(clippy::unnecessary_wraps, reason = "it is the last step in a chain of options")]
fn default_type() -> Option<String> {
    Some("binary/octet-stream".to_owned())
}
