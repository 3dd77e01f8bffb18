//! Multipart uploads.

use std::collections::BTreeMap;

use jiff::Timestamp;
use s3s::{
    S3ErrorCode, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
        CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, CreateMultipartUploadInput,
        CreateMultipartUploadOutput, ETag, ServerSideEncryption, UploadPartInput, UploadPartOutput,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    Context,
    blob::{Blobs, Opened, Received},
    bucket::find,
    checksum::{Sums, put_sums},
    error, malformed_xml,
    object::{self, New, Stored},
    write,
};
use crate::{
    cloud::Cloud,
    json::{hex, hex_id},
};

/// The minimum size of all parts but the last is 5 MiB (Amazon S3 user guide, read August 2026).
const MIN_PART: u64 = 5 * 1024 * 1024;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Upload {
    bucket: String,
    key: String,
    initiated: Timestamp,
    /// What the object will have besides its bytes.
    content: Stored,
    tags: BTreeMap<String, String>,
    algorithm: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Part {
    upload: String,
    size: u64,
    md5: String,
    pub sha256: String,
    sums: Sums,
}

pub(super) fn create(
    cloud: &mut Cloud,
    context: &Context,
    input: CreateMultipartUploadInput,
) -> S3Result<CreateMultipartUploadOutput> {
    let bucket = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let (encryption, kms_key) = write::encryption(bucket, input.server_side_encryption.as_ref(), input.ssekms_key_id);
    let algorithm = input.checksum_algorithm.as_ref().map(|algorithm| algorithm.as_str().to_owned());
    let asked = input.checksum_type.as_ref().map(ChecksumType::as_str);
    let composite = match (asked, algorithm.as_deref()) {
        (Some("FULL_OBJECT"), Some("SHA1" | "SHA256")) => {
            return Err(error(
                S3ErrorCode::InvalidRequest,
                "The FULL_OBJECT checksum type cannot be used with the sha256 or sha1 checksum algorithm.",
            ));
        }
        (Some(asked), _) => asked == "COMPOSITE",
        (None, None | Some("CRC64NVME")) => false,
        (None, Some(_)) => true,
    };
    let tags = object::tags_of_header(input.tagging.as_ref())?;
    let id = hex_id(&cloud.new_id("upload-"), 64);
    let output = CreateMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        upload_id: Some(id.clone()),
        server_side_encryption: Some(ServerSideEncryption::from(encryption.clone())),
        checksum_type: algorithm
            .is_some()
            .then(|| ChecksumType::from_static(if composite { "COMPOSITE" } else { "FULL_OBJECT" })),
        checksum_algorithm: algorithm.clone().map(ChecksumAlgorithm::from),
        ..Default::default()
    };
    let stored = Stored {
        composite,
        metadata: input.metadata.unwrap_or_default().into_iter().collect(),
        content_type: input.content_type,
        content_encoding: write::stored_encoding(input.content_encoding),
        content_disposition: input.content_disposition,
        content_language: input.content_language,
        cache_control: input.cache_control,
        encryption,
        kms_key,
        ..Stored::default()
    };
    let row = Upload { bucket: input.bucket, key: input.key, initiated: context.now, content: stored, tags, algorithm };
    cloud.s3.uploads.insert(id, row);
    Ok(output)
}

pub(super) fn upload_part(
    cloud: &mut Cloud,
    blobs: &Blobs,
    context: &Context,
    input: &UploadPartInput,
    received: &Received,
) -> S3Result<UploadPartOutput> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let upload = find_upload(cloud, &input.bucket, &input.key, &input.upload_id)?;
    if !(1..=10_000).contains(&input.part_number) {
        return Err(error(
            S3ErrorCode::InvalidArgument,
            "Part number must be an integer between 1 and 10000, inclusive",
        ));
    }
    write::check_md5(input.content_md5.as_ref(), received)?;
    let encryption = upload.content.encryption.clone();
    blobs.keep(received)?;
    let id = part_id(&input.upload_id, input.part_number);
    let part = Part {
        upload: input.upload_id.clone(),
        size: received.size,
        md5: hex(&received.md5),
        sha256: received.sha256.clone(),
        sums: received.sums.clone(),
    };
    let before = cloud.s3.parts.remove(&id);
    cloud.s3.parts.insert(id, part);
    if let Some(before) = before {
        blobs.release(&before.sha256);
    }
    let mut output = UploadPartOutput {
        e_tag: Some(ETag::Strong(hex(&received.md5))),
        server_side_encryption: Some(ServerSideEncryption::from(encryption)),
        ..Default::default()
    };
    put_sums!(output, &received.sums);
    Ok(output)
}

/// The opened parts to join, with the checksum algorithm of the whole object.
pub(super) struct Joining {
    pub parts: Vec<(Opened, u64)>,
    pub algorithm: String,
}

/// Checks the parts in a completion, and opens them.
pub(super) fn begin_complete(
    cloud: &Cloud,
    blobs: &Blobs,
    context: &Context,
    input: &CompleteMultipartUploadInput,
) -> S3Result<Joining> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let upload = find_upload(cloud, &input.bucket, &input.key, &input.upload_id)?;
    let chosen = chosen_parts(cloud, input)?;
    let opened = chosen.iter().map(|part| Ok((blobs.open_kept(&part.sha256)?, part.size))).collect::<S3Result<_>>()?;
    Ok(Joining { parts: opened, algorithm: upload.algorithm.clone().unwrap_or_else(|| "CRC64NVME".to_owned()) })
}

/// Creates the object from its joined parts, if nothing has changed since they were opened.
pub(super) fn complete(
    cloud: &mut Cloud,
    blobs: &Blobs,
    context: &Context,
    input: CompleteMultipartUploadInput,
    received: &Received,
) -> S3Result<CompleteMultipartUploadOutput> {
    let versioning = find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?.versioning;
    let upload = find_upload(cloud, &input.bucket, &input.key, &input.upload_id)?.clone();
    let chosen = chosen_parts(cloud, &input)?;
    if chosen.iter().map(|part| part.size).sum::<u64>() != received.size {
        return Err(error(S3ErrorCode::InvalidPart, "One or more of the specified parts changed meanwhile."));
    }
    write::check_conditions(cloud, &input.bucket, &input.key, input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let mut sums = received.sums.clone();
    if upload.content.composite {
        let name = upload.algorithm.clone().unwrap_or_default();
        let of_parts: Vec<&Sums> = chosen.iter().map(|part| &part.sums).collect();
        sums = write::of_parts(&name, &of_parts).map(|sum| (name, sum)).into_iter().collect();
    }
    let digests: Vec<u8> = chosen.iter().flat_map(|part| bytes_of_hex(&part.md5)).collect();
    let etag = format!("{}-{}", md5_hex(&digests), chosen.len());
    let stored = Stored { sha256: received.sha256.clone(), size: received.size, etag, sums, ..upload.content };
    blobs.keep(received)?;
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        e_tag: Some(ETag::Strong(stored.etag.clone())),
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        checksum_type: Some(write::checksum_type(&stored)),
        server_side_encryption: Some(ServerSideEncryption::from(stored.encryption.clone())),
        ..Default::default()
    };
    put_sums!(output, &stored.sums);
    let (bucket, key) = (input.bucket, input.key);
    let new = New { bucket, key, now: context.now, content: Some(stored), tags: upload.tags };
    output.version_id = object::add(cloud, blobs, versioning, new);
    forget(cloud, blobs, &input.upload_id);
    Ok(output)
}

pub(super) fn abort(
    cloud: &mut Cloud,
    blobs: &Blobs,
    context: &Context,
    input: AbortMultipartUploadInput,
) -> S3Result<AbortMultipartUploadOutput> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    find_upload(cloud, &input.bucket, &input.key, &input.upload_id)?;
    forget(cloud, blobs, &input.upload_id);
    Ok(AbortMultipartUploadOutput::default())
}

/// The parts in a completion, which must be sorted by number.
fn chosen_parts(cloud: &Cloud, input: &CompleteMultipartUploadInput) -> S3Result<Vec<Part>> {
    let named = input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_deref()).unwrap_or_default();
    if named.is_empty() {
        return Err(malformed_xml());
    }
    if !named.is_sorted_by(|one, next| one.part_number < next.part_number) {
        return Err(error(
            S3ErrorCode::InvalidPartOrder,
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
        ));
    }
    let mut chosen: Vec<Part> = Vec::with_capacity(named.len());
    for (index, asked) in named.iter().enumerate() {
        let number = asked.part_number.unwrap_or_default();
        let part = cloud.s3.parts.get(&part_id(&input.upload_id, number)).filter(|part| is_named(asked, part));
        let Some(part) = part else {
            return Err(error(
                S3ErrorCode::InvalidPart,
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the \
                 specified entity tag may not match the part's entity tag.",
            ));
        };
        if part.size < MIN_PART && index + 1 < named.len() {
            return Err(error(
                S3ErrorCode::EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size",
            ));
        }
        chosen.push(part.clone());
    }
    Ok(chosen)
}

/// Whether the `ETag` and the checksums in a completion match the part.
fn is_named(asked: &CompletedPart, part: &Part) -> bool {
    let sums = [
        ("CRC32", &asked.checksum_crc32),
        ("CRC32C", &asked.checksum_crc32c),
        ("CRC64NVME", &asked.checksum_crc64nvme),
        ("SHA1", &asked.checksum_sha1),
        ("SHA256", &asked.checksum_sha256),
    ];
    asked.e_tag.as_ref().is_some_and(|etag| etag.value() == part.md5)
        && sums.iter().all(|(name, asked)| match asked {
            Some(asked) => part.sums.get(*name) == Some(asked),
            None => true,
        })
}

fn find_upload<'w>(cloud: &'w Cloud, bucket: &str, key: &str, id: &str) -> S3Result<&'w Upload> {
    cloud.s3.uploads.get(id).filter(|upload| upload.bucket == bucket && upload.key == key).ok_or_else(|| {
        error(
            S3ErrorCode::NoSuchUpload,
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted \
             or completed.",
        )
    })
}

/// Deletes an upload with its parts.
fn forget(cloud: &mut Cloud, blobs: &Blobs, id: &str) {
    cloud.s3.uploads.remove(id);
    let parts: Vec<String> =
        cloud.s3.parts.iter().filter(|(_, part)| part.upload == id).map(|(id, _)| id.to_owned()).collect();
    for part in parts {
        if let Some(part) = cloud.s3.parts.remove(&part) {
            blobs.release(&part.sha256);
        }
    }
}

fn part_id(upload: &str, number: i32) -> String {
    format!("{upload}/{number:05}")
}

fn bytes_of_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).filter_map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

fn md5_hex(bytes: &[u8]) -> String {
    use s3s::crypto::Checksum as _;
    hex(s3s::crypto::Md5::checksum(bytes).as_ref())
}
