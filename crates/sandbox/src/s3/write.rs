//! Puts, copies, tags and deletes objects.

use base64::{Engine, engine::general_purpose::STANDARD};
use s3s::{
    S3ErrorCode, S3Result,
    dto::{
        CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput, DeleteObjectOutput,
        DeleteObjectTaggingInput, DeleteObjectTaggingOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
        ETag, ETagCondition, Error, GetObjectTaggingInput, GetObjectTaggingOutput, PutObjectInput, PutObjectOutput,
        PutObjectTaggingInput, PutObjectTaggingOutput, ServerSideEncryption, TaggingDirective,
    },
};

use super::{
    Context,
    blob::{Blobs, Received},
    bucket::{Bucket, Versioning, find},
    checksum::{Sums, put_sums},
    error, malformed_xml,
    object::{self, New, Stored, Version},
    read,
};
use crate::{cloud::Cloud, json::hex};

pub(super) fn put(
    cloud: &mut Cloud,
    blobs: &Blobs,
    context: &Context,
    input: PutObjectInput,
    received: &Received,
) -> S3Result<PutObjectOutput> {
    let bucket = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let versioning = bucket.versioning;
    check_conditions(cloud, &input.bucket, &input.key, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    check_md5(input.content_md5.as_ref(), received)?;
    let (encryption, kms_key) = encryption(bucket, input.server_side_encryption.as_ref(), input.ssekms_key_id);
    let stored = Stored {
        sha256: received.sha256.clone(),
        size: received.size,
        etag: hex(&received.md5),
        sums: received.sums.clone(),
        composite: false,
        metadata: input.metadata.unwrap_or_default().into_iter().collect(),
        content_type: input.content_type,
        content_encoding: stored_encoding(input.content_encoding),
        content_disposition: input.content_disposition,
        content_language: input.content_language,
        cache_control: input.cache_control,
        encryption,
        kms_key,
    };
    let tags = object::tags_of_header(input.tagging.as_ref())?;
    blobs.keep(received)?;
    let mut output = PutObjectOutput {
        e_tag: Some(ETag::Strong(stored.etag.clone())),
        checksum_type: Some(checksum_type(&stored)),
        server_side_encryption: Some(ServerSideEncryption::from(stored.encryption.clone())),
        ssekms_key_id: stored.kms_key.clone(),
        ..Default::default()
    };
    put_sums!(output, &stored.sums);
    let new = New { bucket: input.bucket, key: input.key, now: context.now, content: Some(stored), tags };
    output.version_id = object::add(cloud, blobs, versioning, new);
    Ok(output)
}

pub(super) fn copy(
    cloud: &mut Cloud,
    blobs: &Blobs,
    context: &Context,
    input: CopyObjectInput,
) -> S3Result<CopyObjectOutput> {
    let CopySource::Bucket { bucket: from, key: from_key, version_id } = &input.copy_source else {
        return Err(error(S3ErrorCode::NotImplemented, "Copies come from buckets only."));
    };
    let bucket = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let (versioning, chosen) = (bucket.versioning, encryption(bucket, input.server_side_encryption.as_ref(), None));
    find(cloud, context, from, input.expected_source_bucket_owner.as_ref())?;
    let source = read::version(cloud, from, from_key, version_id.as_deref())?.clone();
    let failed = |condition: Option<&ETagCondition>, wanted: bool| {
        condition.is_some_and(|condition| read::matches(condition, &source) != wanted)
    };
    if failed(input.copy_source_if_match.as_ref(), true) || failed(input.copy_source_if_none_match.as_ref(), false) {
        return Err(precondition_failed());
    }
    let replaces = input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == "REPLACE");
    if !replaces && version_id.is_none() && **from == *input.bucket && **from_key == *input.key {
        return Err(error(
            S3ErrorCode::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let mut stored = source.content.clone();
    (stored.encryption, stored.kms_key) = chosen;
    if replaces {
        stored.metadata = input.metadata.unwrap_or_default().into_iter().collect();
        stored.content_type = input.content_type;
        stored.content_encoding = stored_encoding(input.content_encoding);
        stored.content_disposition = input.content_disposition;
        stored.content_language = input.content_language;
        stored.cache_control = input.cache_control;
    }
    let tags = match input.tagging_directive.as_ref().map(TaggingDirective::as_str) {
        Some("REPLACE") => object::tags_of_header(input.tagging.as_ref())?,
        _ => source.tags.clone(),
    };
    let result = CopyObjectResult {
        e_tag: Some(ETag::Strong(stored.etag.clone())),
        last_modified: Some(object::moment(context.now)),
        ..Default::default()
    };
    let encryption = Some(ServerSideEncryption::from(stored.encryption.clone()));
    let new = New { bucket: input.bucket, key: input.key, now: context.now, content: Some(stored), tags };
    let version_id = object::add(cloud, blobs, versioning, new);
    Ok(CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: (source.version_id != object::NULL).then_some(source.version_id),
        server_side_encryption: encryption,
        version_id,
        ..Default::default()
    })
}

pub(super) fn delete(
    cloud: &mut Cloud,
    blobs: &Blobs,
    context: &Context,
    input: DeleteObjectInput,
) -> S3Result<DeleteObjectOutput> {
    let versioning = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?.versioning;
    if input.if_match.is_some() {
        check_conditions(cloud, &input.bucket, &input.key, input.if_match.as_ref(), None)?;
    }
    Ok(deleted(cloud, blobs, context, versioning, &input.bucket, &input.key, input.version_id.as_deref()))
}

pub(super) fn delete_many(
    cloud: &mut Cloud,
    blobs: &Blobs,
    context: &Context,
    input: DeleteObjectsInput,
) -> S3Result<DeleteObjectsOutput> {
    let versioning = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?.versioning;
    if input.delete.objects.is_empty() || input.delete.objects.len() > 1000 {
        return Err(malformed_xml());
    }
    let (mut gone, mut errors) = (Vec::new(), Vec::new());
    for asked in input.delete.objects {
        let may =
            super::permissions::may_delete(cloud, context, &input.bucket, &asked.key, asked.version_id.as_deref());
        if let Err(fault) = may {
            errors.push(Error {
                code: Some(fault.code),
                key: Some(asked.key),
                message: Some(fault.message),
                version_id: asked.version_id,
            });
            continue;
        }
        let condition = asked.e_tag.map(ETagCondition::ETag);
        if condition.is_some()
            && let Err(error) = check_conditions(cloud, &input.bucket, &asked.key, condition.as_ref(), None)
        {
            errors.push(Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(asked.key),
                message: error.message().map(str::to_owned),
                version_id: asked.version_id,
            });
            continue;
        }
        let done = deleted(cloud, blobs, context, versioning, &input.bucket, &asked.key, asked.version_id.as_deref());
        gone.push(DeletedObject {
            delete_marker: done.delete_marker,
            delete_marker_version_id: done.version_id.filter(|_| done.delete_marker == Some(true)),
            key: Some(asked.key),
            version_id: asked.version_id,
        });
    }
    let quiet = input.delete.quiet == Some(true);
    Ok(DeleteObjectsOutput { deleted: (!quiet).then_some(gone), errors: Some(errors), ..Default::default() })
}

/// Deletes a version permanently if one is given. Otherwise adds a delete marker, or removes the object if the bucket
/// has no versions. A missing object counts as deleted.
fn deleted(
    cloud: &mut Cloud,
    blobs: &Blobs,
    context: &Context,
    versioning: Versioning,
    bucket: &str,
    key: &str,
    version_id: Option<&str>,
) -> DeleteObjectOutput {
    let named = version_id.or((versioning == Versioning::Never).then_some(object::NULL));
    if let Some(named) = named {
        let found = object::of_key(cloud, bucket, key).find(|(_, version)| version.version_id == named);
        let found = found.map(|(id, version)| (id.to_owned(), version.is_marker));
        if let Some((id, _)) = &found {
            object::remove(cloud, blobs, id);
        }
        return DeleteObjectOutput {
            delete_marker: found.filter(|(_, is_marker)| *is_marker).map(|_| true),
            version_id: version_id.map(str::to_owned),
            ..Default::default()
        };
    }
    let new = New {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        now: context.now,
        content: None,
        tags: std::collections::BTreeMap::new(),
    };
    let version_id = object::add(cloud, blobs, versioning, new);
    DeleteObjectOutput { delete_marker: Some(true), version_id, ..Default::default() }
}

pub(super) fn tagging(
    cloud: &mut Cloud,
    context: &Context,
    input: GetObjectTaggingInput,
) -> S3Result<GetObjectTaggingOutput> {
    let versioning = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?.versioning;
    let version = read::version(cloud, &input.bucket, &input.key, input.version_id.as_deref())?;
    Ok(GetObjectTaggingOutput { tag_set: object::tag_set(&version.tags), version_id: version.id_in(versioning) })
}

pub(super) fn put_tagging(
    cloud: &mut Cloud,
    context: &Context,
    input: PutObjectTaggingInput,
) -> S3Result<PutObjectTaggingOutput> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let tags = object::checked_tags(object::pairs(input.tagging.tag_set), 10)?;
    let version_id = set_tags(cloud, &input.bucket, &input.key, input.version_id.as_deref(), tags)?;
    Ok(PutObjectTaggingOutput { version_id })
}

pub(super) fn delete_tagging(
    cloud: &mut Cloud,
    context: &Context,
    input: DeleteObjectTaggingInput,
) -> S3Result<DeleteObjectTaggingOutput> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let none = std::collections::BTreeMap::new();
    let version_id = set_tags(cloud, &input.bucket, &input.key, input.version_id.as_deref(), none)?;
    Ok(DeleteObjectTaggingOutput { version_id })
}

fn set_tags(
    cloud: &mut Cloud,
    bucket: &str,
    key: &str,
    version_id: Option<&str>,
    tags: std::collections::BTreeMap<String, String>,
) -> S3Result<Option<String>> {
    let sequence = read::version(cloud, bucket, key, version_id)?.sequence;
    let row = object::of_key(cloud, bucket, key).find(|(_, version)| version.sequence == sequence);
    let Some(id) = row.map(|(id, _)| id.to_owned()) else { return Ok(None) };
    let versioning = cloud.s3.buckets.get(bucket).map_or(Versioning::Never, |bucket| bucket.versioning);
    let Some(version) = cloud.s3.versions.get_mut(&id) else { return Ok(None) };
    version.tags = tags;
    Ok(version.id_in(versioning))
}

/// Checks the conditions of a write against the current version. A delete marker counts as missing.
pub(super) fn check_conditions(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    let current: Option<&Version> = object::current(cloud, bucket, key).filter(|version| !version.is_marker);
    match if_none_match {
        Some(ETagCondition::Any) if current.is_some() => return Err(precondition_failed()),
        Some(ETagCondition::Any) | None => {}
        Some(ETagCondition::ETag(_)) => {
            return Err(error(
                S3ErrorCode::NotImplemented,
                "A header you provided implies functionality that is not implemented",
            ));
        }
    }
    if let Some(condition) = if_match {
        let Some(current) = current else {
            return Err(error(S3ErrorCode::NoSuchKey, "The specified key does not exist."));
        };
        if !read::matches(condition, current) {
            return Err(precondition_failed());
        }
    }
    Ok(())
}

pub(super) fn precondition_failed() -> s3s::S3Error {
    error(S3ErrorCode::PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

pub(super) fn check_md5(sent: Option<&String>, received: &Received) -> S3Result<()> {
    let Some(sent) = sent else { return Ok(()) };
    match STANDARD.decode(sent) {
        Ok(bytes) if bytes == received.md5 => Ok(()),
        Ok(bytes) if bytes.len() == received.md5.len() => {
            Err(error(S3ErrorCode::BadDigest, "The Content-MD5 you specified did not match what we received."))
        }
        _ => Err(error(S3ErrorCode::InvalidDigest, "The Content-MD5 you specified was invalid.")),
    }
}

/// The encryption in the request, or else the bucket's default.
pub(super) fn encryption(
    bucket: &Bucket,
    asked: Option<&ServerSideEncryption>,
    key: Option<String>,
) -> (String, Option<String>) {
    match asked {
        Some(asked) => (asked.as_str().to_owned(), key),
        None => bucket.encryption.clone(),
    }
}

/// Removes `aws-chunked`, which is about the transfer and not about the object.
pub(super) fn stored_encoding(encoding: Option<String>) -> Option<String> {
    let encoding = encoding?;
    let kept: Vec<&str> =
        encoding.split(',').map(str::trim).filter(|one| *one != "aws-chunked" && !one.is_empty()).collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

pub(super) fn checksum_type(stored: &Stored) -> s3s::dto::ChecksumType {
    s3s::dto::ChecksumType::from_static(if stored.composite { "COMPOSITE" } else { "FULL_OBJECT" })
}

/// The checksum of an object with several parts: the digest of the parts' digests, with the number of parts.
pub(super) fn of_parts(name: &str, parts: &[&Sums]) -> Option<String> {
    let mut bytes = Vec::new();
    for sums in parts {
        bytes.extend(STANDARD.decode(sums.get(name)?).ok()?);
    }
    Some(format!("{}-{}", super::checksum::digest(name, &bytes)?, parts.len()))
}
