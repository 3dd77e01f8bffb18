//! Lists of objects and versions: with a prefix, grouped by a delimiter, in pages.

use base64::{Engine, engine::general_purpose::URL_SAFE};
use s3s::{
    S3ErrorCode, S3Result,
    dto::{
        CommonPrefix, DeleteMarkerEntry, EncodingType, ListObjectVersionsInput, ListObjectVersionsOutput,
        ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass,
        ObjectVersion, ObjectVersionStorageClass,
    },
};

use super::{
    Context,
    bucket::{find, owner},
    error,
    object::{self, Version},
};
use crate::{cloud::Cloud, iam::wire::percent_encoded};

/// An entry of a list.
enum Entry<'w> {
    /// A version, and whether it is the current one of its key.
    Version(&'w Version, bool),
    /// A common prefix of several keys.
    Prefix(String),
}

impl Entry<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Version(version, _) => &version.key,
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// The parameters of a list.
struct Asked<'i> {
    prefix: &'i str,
    delimiter: &'i str,
    /// The last name on the previous page.
    after: &'i str,
    /// The last version of that name on the previous page; `None` if the page had all of them.
    after_version: Option<&'i str>,
    limit: usize,
    all_versions: bool,
}

/// The entries of one page, and whether there are more.
fn walk<'w>(cloud: &'w Cloud, bucket: &str, asked: &Asked<'_>) -> (Vec<Entry<'w>>, bool) {
    let mut entries: Vec<Entry<'w>> = Vec::new();
    let (mut key, mut skipping) = ("", asked.after_version.is_some());
    for (_, version) in object::of_bucket(cloud, bucket, asked.prefix) {
        let is_current = version.key != key;
        key = &version.key;
        if !asked.all_versions && (!is_current || version.is_marker) {
            continue;
        }
        if *key == *asked.after && skipping {
            skipping = asked.after_version != Some(&version.version_id);
            continue;
        }
        let seen = if asked.after_version.is_some() { key < asked.after } else { key <= asked.after };
        if seen && !asked.after.is_empty() {
            continue;
        }
        let rest = key.get(asked.prefix.len()..).unwrap_or_default();
        let rolled = (!asked.delimiter.is_empty()).then(|| rest.split_once(asked.delimiter)).flatten();
        let entry = match rolled {
            Some((first, _)) => {
                let prefix = format!("{}{first}{}", asked.prefix, asked.delimiter);
                if prefix == asked.after || entries.last().is_some_and(|last| last.name() == prefix) {
                    continue;
                }
                Entry::Prefix(prefix)
            }
            None => Entry::Version(version, is_current),
        };
        if entries.len() == asked.limit {
            return (entries, true);
        }
        entries.push(entry);
    }
    (entries, false)
}

/// The encoding of names that the client asked for.
struct Encoding(Option<EncodingType>);

impl Encoding {
    fn of(&self, text: &str) -> String {
        match &self.0 {
            Some(_) => percent_encoded(text).replace("%2F", "/"),
            None => text.to_owned(),
        }
    }

    fn optional(&self, text: Option<&String>) -> Option<String> {
        text.map(|text| self.of(text))
    }

    fn prefixes(&self, entries: &[Entry<'_>]) -> Vec<CommonPrefix> {
        entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Prefix(prefix) => Some(CommonPrefix { prefix: Some(self.of(prefix)) }),
                Entry::Version(..) => None,
            })
            .collect()
    }

    fn objects(&self, entries: &[Entry<'_>]) -> Vec<Object> {
        entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Version(version, _) => Some(Object {
                    e_tag: Some(version.e_tag()),
                    key: Some(self.of(&version.key)),
                    last_modified: Some(object::moment(version.modified)),
                    size: i64::try_from(version.content.size).ok(),
                    storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                    ..Default::default()
                }),
                Entry::Prefix(_) => None,
            })
            .collect()
    }
}

/// `max-keys`: 1,000 by default and at most.
fn limit(asked: Option<i32>) -> S3Result<usize> {
    match usize::try_from(asked.unwrap_or(1000)) {
        Ok(limit) => Ok(limit.min(1000)),
        Err(_) => {
            Err(error(S3ErrorCode::InvalidArgument, "Argument max-keys must be an integer between 0 and 2147483647"))
        }
    }
}

pub(super) fn objects_v2(
    cloud: &mut Cloud,
    context: &Context,
    input: ListObjectsV2Input,
) -> S3Result<ListObjectsV2Output> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let after = match &input.continuation_token {
        Some(token) => URL_SAFE
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| error(S3ErrorCode::InvalidArgument, "The continuation token provided is incorrect"))?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    let limit = limit(input.max_keys)?;
    let asked = Asked {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref().unwrap_or_default(),
        after: &after,
        after_version: None,
        limit,
        all_versions: false,
    };
    let (entries, more) = if limit == 0 { (Vec::new(), false) } else { walk(cloud, &input.bucket, &asked) };
    let encoding = Encoding(input.encoding_type);
    let mut contents = encoding.objects(&entries);
    if input.fetch_owner == Some(true) {
        for object in &mut contents {
            object.owner = Some(owner(cloud));
        }
    }
    Ok(ListObjectsV2Output {
        key_count: i32::try_from(entries.len()).ok(),
        max_keys: i32::try_from(limit).ok(),
        is_truncated: Some(more),
        next_continuation_token: entries.last().filter(|_| more).map(|last| URL_SAFE.encode(last.name())),
        continuation_token: input.continuation_token,
        contents: Some(contents),
        common_prefixes: Some(encoding.prefixes(&entries)),
        prefix: Some(encoding.of(input.prefix.as_deref().unwrap_or_default())),
        delimiter: encoding.optional(input.delimiter.as_ref()),
        start_after: encoding.optional(input.start_after.as_ref()),
        encoding_type: encoding.0,
        name: Some(input.bucket),
        ..Default::default()
    })
}

pub(super) fn objects(cloud: &mut Cloud, context: &Context, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    let limit = limit(input.max_keys)?;
    let asked = Asked {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref().unwrap_or_default(),
        after: input.marker.as_deref().unwrap_or_default(),
        after_version: None,
        limit,
        all_versions: false,
    };
    let (entries, more) = if limit == 0 { (Vec::new(), false) } else { walk(cloud, &input.bucket, &asked) };
    let encoding = Encoding(input.encoding_type);
    let mut contents = encoding.objects(&entries);
    for object in &mut contents {
        object.owner = Some(owner(cloud));
    }
    Ok(ListObjectsOutput {
        max_keys: i32::try_from(limit).ok(),
        is_truncated: Some(more),
        next_marker: entries.last().filter(|_| more).map(|last| encoding.of(last.name())),
        contents: Some(contents),
        common_prefixes: Some(encoding.prefixes(&entries)),
        prefix: Some(encoding.of(input.prefix.as_deref().unwrap_or_default())),
        delimiter: encoding.optional(input.delimiter.as_ref()),
        marker: Some(encoding.of(input.marker.as_deref().unwrap_or_default())),
        encoding_type: encoding.0,
        name: Some(input.bucket),
        ..Default::default()
    })
}

pub(super) fn versions(
    cloud: &mut Cloud,
    context: &Context,
    input: ListObjectVersionsInput,
) -> S3Result<ListObjectVersionsOutput> {
    find(cloud, context, &input.bucket, input.expected_bucket_owner.as_ref())?;
    if input.version_id_marker.is_some() && input.key_marker.is_none() {
        return Err(error(
            S3ErrorCode::InvalidArgument,
            "A version-id marker cannot be specified without a key marker.",
        ));
    }
    let limit = limit(input.max_keys)?;
    let asked = Asked {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref().unwrap_or_default(),
        after: input.key_marker.as_deref().unwrap_or_default(),
        after_version: input.version_id_marker.as_deref().filter(|marker| !marker.is_empty()),
        limit,
        all_versions: true,
    };
    let (entries, more) = if limit == 0 { (Vec::new(), false) } else { walk(cloud, &input.bucket, &asked) };
    let encoding = Encoding(input.encoding_type.clone());
    let (mut versions, mut markers) = (Vec::new(), Vec::new());
    for entry in &entries {
        let Entry::Version(version, is_latest) = entry else { continue };
        let key = Some(encoding.of(&version.key));
        let (last_modified, version_id) = (Some(object::moment(version.modified)), Some(version.version_id.clone()));
        if version.is_marker {
            markers.push(DeleteMarkerEntry {
                is_latest: Some(*is_latest),
                key,
                last_modified,
                owner: Some(owner(cloud)),
                version_id,
            });
        } else {
            versions.push(ObjectVersion {
                e_tag: Some(version.e_tag()),
                is_latest: Some(*is_latest),
                key,
                last_modified,
                owner: Some(owner(cloud)),
                size: i64::try_from(version.content.size).ok(),
                storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
                version_id,
                ..Default::default()
            });
        }
    }
    let last = entries.last().filter(|_| more);
    Ok(ListObjectVersionsOutput {
        common_prefixes: Some(encoding.prefixes(&entries)),
        delete_markers: Some(markers),
        delimiter: encoding.optional(input.delimiter.as_ref()),
        is_truncated: Some(more),
        key_marker: Some(encoding.of(input.key_marker.as_deref().unwrap_or_default())),
        max_keys: i32::try_from(limit).ok(),
        next_key_marker: last.map(|last| encoding.of(last.name())),
        next_version_id_marker: last.and_then(|last| match last {
            Entry::Version(version, _) => Some(version.version_id.clone()),
            Entry::Prefix(_) => None,
        }),
        prefix: Some(encoding.of(input.prefix.as_deref().unwrap_or_default())),
        version_id_marker: input.version_id_marker,
        versions: Some(versions),
        encoding_type: encoding.0,
        name: Some(input.bucket),
        ..Default::default()
    })
}
