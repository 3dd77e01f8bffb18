//! Versions of objects: their order, and how they are found, added and removed.

use std::{collections::BTreeMap, time::SystemTime};

use jiff::Timestamp;
use s3s::{
    S3ErrorCode, S3Result,
    dto::{self, ETag, Tag, TagSet},
};
use serde::{Deserialize, Serialize};
use trunnion_catalog::limits;

use super::{blob::Blobs, bucket::Versioning, checksum::Sums, error};
use crate::{cloud::Cloud, json::hex_id};

/// The version id of objects that were written while versioning was off.
pub(super) const NULL: &str = "null";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "S3's own name of it")]
pub(super) struct Version {
    pub bucket: String,
    pub key: String,
    pub version_id: String,
    /// Increases with every version of a key.
    pub sequence: u64,
    pub modified: Timestamp,
    /// Whether it is a delete marker.
    pub is_marker: bool,
    pub content: Stored,
    pub tags: BTreeMap<String, String>,
}

/// The content of an object and how it is served.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Stored {
    /// The name of the stored bytes.
    pub sha256: String,
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub sums: Sums,
    /// Whether the checksums are computed over the parts' checksums instead of the bytes.
    pub composite: bool,
    pub metadata: BTreeMap<String, String>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_disposition: Option<String>,
    pub content_language: Option<String>,
    pub cache_control: Option<String>,
    pub encryption: String,
    pub kms_key: Option<String>,
}

impl Version {
    pub(super) fn e_tag(&self) -> ETag {
        ETag::Strong(self.content.etag.clone())
    }

    /// The version id in answers; `None` in a bucket that never had versioning.
    pub(super) fn id_in(&self, versioning: Versioning) -> Option<String> {
        (versioning != Versioning::Never).then(|| self.version_id.clone())
    }
}

/// All versions in a bucket whose key has this prefix, by key, the newest first.
pub(super) fn of_bucket<'w>(cloud: &'w Cloud, bucket: &str, prefix: &str) -> Vec<(&'w str, &'w Version)> {
    let start = format!("{bucket}/{prefix}");
    cloud.s3.versions.iter().filter(|(id, _)| id.starts_with(&start)).collect()
}

/// All versions of a key, the newest first.
pub(super) fn of_key<'w>(
    cloud: &'w Cloud,
    bucket: &str,
    key: &str,
) -> impl Iterator<Item = (&'w str, &'w Version)> + use<'w> {
    of_bucket(cloud, bucket, &format!("{key}\0")).into_iter()
}

/// The current version of a key, which may be a delete marker.
pub(super) fn current<'w>(cloud: &'w Cloud, bucket: &str, key: &str) -> Option<&'w Version> {
    of_key(cloud, bucket, key).next().map(|(_, version)| version)
}

/// A new version; its id, sequence and position depend on the bucket.
pub(super) struct New {
    pub bucket: String,
    pub key: String,
    pub now: Timestamp,
    /// `None` makes a delete marker.
    pub content: Option<Stored>,
    pub tags: BTreeMap<String, String>,
}

/// Adds a version. It replaces the `null` version if the bucket keeps only that. Returns the id for the answer.
pub(super) fn add(cloud: &mut Cloud, blobs: &Blobs, versioning: Versioning, new: New) -> Option<String> {
    let latest = current(cloud, &new.bucket, &new.key).map_or(0, |version| version.sequence);
    let clock = u64::try_from(new.now.as_nanosecond()).unwrap_or_default();
    let version_id = match versioning {
        Versioning::Enabled => hex_id(&cloud.new_id("version-"), 32),
        Versioning::Never | Versioning::Suspended => NULL.to_owned(),
    };
    let overwritten = of_key(cloud, &new.bucket, &new.key)
        .find(|(_, version)| version_id == NULL && version.version_id == NULL)
        .map(|(id, _)| id.to_owned());
    let version = Version {
        bucket: new.bucket,
        key: new.key,
        version_id,
        sequence: clock.max(latest + 1),
        modified: new.now,
        is_marker: new.content.is_none(),
        content: new.content.unwrap_or_default(),
        tags: new.tags,
    };
    let shown = version.id_in(versioning);
    cloud.s3.versions.insert(row_id(&version), version);
    if let Some(id) = overwritten {
        remove(cloud, blobs, &id);
    }
    shown
}

/// Removes a version permanently.
pub(super) fn remove(cloud: &mut Cloud, blobs: &Blobs, id: &str) {
    if let Some(version) = cloud.s3.versions.remove(id) {
        blobs.release(&version.content.sha256);
    }
}

/// Deletes released bytes that no version and no part uses.
pub(super) fn sweep(cloud: &Cloud, blobs: &Blobs) {
    for sha256 in blobs.take_released() {
        let in_version = cloud.s3.versions.values().any(|version| version.content.sha256 == sha256);
        let in_part = cloud.s3.parts.values().any(|part| part.sha256 == sha256);
        if !sha256.is_empty() && !in_version && !in_part {
            blobs.remove(&sha256);
        }
    }
}

/// Rows are sorted by bucket, then key, then newest first. Keys cannot contain the separator after the key.
fn row_id(version: &Version) -> String {
    format!("{}/{}\0{:016x}", version.bucket, version.key, u64::MAX - version.sequence)
}

/// Tags by key, at most `most`; duplicate keys are refused.
pub(super) fn checked_tags(pairs: Vec<(String, String)>, most: usize) -> S3Result<BTreeMap<String, String>> {
    if pairs.len() > most {
        let text = format!("Object tags cannot be greater than {most}");
        return Err(error(S3ErrorCode::Custom("BadRequest".into()), text));
    }
    let mut tags = BTreeMap::new();
    for (key, value) in pairs {
        if key.is_empty() || key.chars().count() > limits::LONGEST_TAG_KEY || !limits::is_s3_tag_text(&key) {
            return Err(error(S3ErrorCode::InvalidTag, "The TagKey you have provided is invalid"));
        }
        if value.chars().count() > limits::LONGEST_TAG_VALUE || !limits::is_s3_tag_text(&value) {
            return Err(error(S3ErrorCode::InvalidTag, "The TagValue you have provided is invalid"));
        }
        if limits::is_tag_of_aws(&key) {
            return Err(error(S3ErrorCode::InvalidTag, "System tags cannot be added/updated by requester"));
        }
        if tags.insert(key, value).is_some() {
            return Err(error(S3ErrorCode::InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

/// The tags in an `x-amz-tagging` header.
pub(super) fn tags_of_header(header: Option<&String>) -> S3Result<BTreeMap<String, String>> {
    let Some(header) = header else { return Ok(BTreeMap::new()) };
    let pairs = serde_urlencoded::from_str(header).map_err(|_| {
        error(
            S3ErrorCode::InvalidArgument,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then \
            URLEncoded URL query parameters without tag name duplicates.",
        )
    })?;
    checked_tags(pairs, limits::S3_OBJECT_TAGS)
}

pub(super) fn pairs(tags: TagSet) -> Vec<(String, String)> {
    tags.into_iter().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect()
}

pub(super) fn tag_set(tags: &BTreeMap<String, String>) -> TagSet {
    tags.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

pub(super) fn moment(at: Timestamp) -> dto::Timestamp {
    dto::Timestamp::from(SystemTime::from(at))
}
