//! `s3_object`. Its key contains the digest of its content, so uploading it twice changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_sdk_s3::{primitives::ByteStream, types::ChecksumMode};
use trunnion_engine::{Map, Remote, Rules, Token, hex};
use trunnion_kinds::{ADDRESS_TAG, HOME_TAG, S3Bucket, S3Object, STACK_TAG, Tags};

use super::{
    s3_bucket::{S3Buckets, is_artifact},
    s3_bucket::{delete_versions, versions},
    tagging::s3_tags,
};
use crate::{
    Aws, Connection,
    convert::{attribute, base64, from_base64, is_ours, remote, text},
    driver::{Driver, all},
    error::{Class, Failure, OfCall as _},
    reading::Reading,
};

/// The object's metadata that name its stack and address. They come in the same answer as the checksum; tags would need
/// another call.
const STACK_METADATA: &str = "trunnion-stack";
const ADDRESS_METADATA: &str = "trunnion-address";
const HOME_METADATA: &str = "trunnion-home";

/// S3's code where a condition does not hold.
const OCCUPIED: &str = "PreconditionFailed";

/// The key of an object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    key: String,
    /// The newest version, if only versions behind a delete marker are left. Reads do not see them, but they prevent
    /// the deletion of the bucket.
    version: Option<String>,
}

/// The keys with our prefix, including those hidden by a delete marker.
async fn list(aws: &Aws, bucket: &str) -> Result<Vec<Key>, Failure> {
    let versions = versions(aws, bucket, S3Object::PREFIX).await?;
    let mut keys: BTreeMap<String, Option<String>> = BTreeMap::new();
    for version in versions.into_iter().filter(|version| !version.is_marker) {
        let hidden = keys.entry(version.key).or_insert_with(|| version.id.clone());
        if version.is_current {
            *hidden = None;
        }
    }
    Ok(keys.into_iter().map(|(key, version)| Key { key, version }).collect())
}

fn as_remote(object: &S3Object) -> Result<Remote, Failure> {
    remote(format!("{}/{}", text(&object.bucket)?, object.key), object, [])
}

/// An object by its key, if it belongs to the stack. Its home is that of its bucket, because its own metadata cannot
/// change.
async fn read(aws: &Aws, bucket: &str, key: &Key) -> Result<Option<Remote>, Failure> {
    let Key { key, version } = key;
    let call = aws.clients.s3.head_object().bucket(bucket).key(key).set_version_id(version.clone());
    let call = call.checksum_mode(ChecksumMode::Enabled);
    let head = match call.send().await.of_call("s3:HeadObject") {
        Ok(head) => head,
        Err(failure) if failure.class == Class::NotFound => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let said = |name: &str| head.metadata.as_ref().and_then(|metadata| metadata.get(name)).cloned();
    let (Some(stack), Some(address)) = (said(STACK_METADATA), said(ADDRESS_METADATA)) else { return Ok(None) };
    let mut tags = Tags::from([(STACK_TAG.to_owned(), stack), (ADDRESS_TAG.to_owned(), address)]);
    tags.extend(said(HOME_METADATA).map(|home| (HOME_TAG.to_owned(), home)));
    if !is_ours(&tags, &aws.connection.stack) {
        return Ok(None);
    }
    let checksum = head.checksum_sha256.as_deref().and_then(from_base64).unwrap_or_default();
    let object =
        S3Object { bucket: bucket.into(), key: key.to_owned(), sha256: hex(&checksum), source: String::new(), tags };
    Ok(Some(Remote { is_spent: version.is_some(), ..as_remote(&object)? }))
}

/// The content to upload: the bytes that the plan was made with, which were read and hashed once, or else the file.
async fn body(aws: &Aws, object: &S3Object) -> Result<ByteStream, Failure> {
    let unreadable = |why: &str| {
        let message = format!("the generator binary `{}` cannot be read: {why}", object.source);
        Failure::own(message, "run a new plan on a machine that has the file".to_owned())
    };
    match aws.content(&object.sha256) {
        Some(content) => Ok(ByteStream::from(content.to_vec())),
        None if object.source.is_empty() => Err(unreadable("the plan did not need it")),
        None => ByteStream::from_path(&object.source).await.map_err(|error| unreadable(&error.to_string())),
    }
}

/// Uploads an object that does not exist yet. Each upload makes a version in the bucket, also one that repeats another
/// whose answer was lost. So the condition is that the key has no content; where it has the right one, nothing is left to
/// do. A condition `If-None-Match` needs no further permission (S3 User Guide, "How to prevent object overwrites with
/// conditional writes", read November 2026).
async fn put_new(aws: &Aws, object: S3Object) -> Result<Remote, Failure> {
    match put(aws, object.clone(), Some("*")).await {
        Err(failure) if failure.code == OCCUPIED => {
            let key = Key { key: object.key.clone(), version: None };
            match read(aws, text(&object.bucket)?, &key).await? {
                Some(found) if attribute(&found.attributes, "sha256") == object.sha256 => Ok(found),
                // Another content or another owner, as the plan saw it.
                _ => put(aws, object, None).await,
            }
        }
        uploaded => uploaded,
    }
}

/// Uploads an object.
async fn put(aws: &Aws, object: S3Object, unless: Option<&str>) -> Result<Remote, Failure> {
    let bucket = text(&object.bucket)?;
    let digest = from_hex(&object.sha256)
        .ok_or_else(|| Failure::own(format!("`{}` is not a SHA-256", object.sha256), "run a new plan".to_owned()))?;
    let sent = aws
        .patiently(&[Class::NotFound, Class::Precondition], || async {
            let call = aws.clients.s3.put_object().bucket(bucket).key(&object.key).body(body(aws, &object).await?);
            // S3 checks the content against this digest, so it refuses a file that has changed since the plan or
            // changes during the upload.
            let call = call.checksum_sha256(base64(&digest)).tagging(encoded(&object.tags));
            let tag = |name: &str| object.tags.get(name).cloned().unwrap_or_default();
            let call = call.metadata(STACK_METADATA, tag(STACK_TAG)).metadata(ADDRESS_METADATA, tag(ADDRESS_TAG));
            let call = match object.tags.get(HOME_TAG) {
                Some(home) => call.metadata(HOME_METADATA, home),
                None => call,
            };
            let sent = call.set_if_none_match(unless.map(str::to_owned)).send().await.of_call("s3:PutObject");
            // An occupied key stays so.
            if matches!(&sent, Err(failure) if failure.code == OCCUPIED) { Ok(sent) } else { sent.map(Ok) }
        })
        .await
        .and_then(|sent| sent);
    match sent {
        // S3's two codes for content that does not match its digest (its API reference, "Error responses").
        Err(failure) if ["BadDigest", "XAmzContentSHA256Mismatch"].contains(&&*failure.code) => {
            let message =
                format!("`{}` changed since the plan: its SHA-256 is not {} now", object.source, object.sha256);
            Err(Failure::own(message, "run a new plan".to_owned()))
        }
        sent => sent.and_then(|_| as_remote(&object)),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    is_digest.then(|| (0..64).step_by(2).map(pair).collect()).flatten()
}

/// Tags as a URL query string.
fn encoded(tags: &Tags) -> String {
    use std::fmt::Write as _;
    let escape = |text: &str| {
        text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                escaped.push(char::from(byte));
            } else {
                // Writing to a `String` cannot fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
            escaped
        })
    };
    let pairs: Vec<String> =
        s3_tags(tags).iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
    pairs.join("&")
}

/// Bytes that a plan was made with, found by their digest.
pub(crate) type Content = Arc<Vec<u8>>;

/// The stack's objects in its buckets.
pub(crate) struct S3Objects;

impl Driver for S3Objects {
    type Attributes = S3Object;
    const RULES: Rules = S3Object::RULES;
    const NOUN: &'static str = "the object";
    const NAME: &'static str = "key";
    const INSIDE: Option<&'static str> = Some(S3Bucket::KIND);
    const ROUNDS: u32 = 2;

    /// The name of the bucket and the key, which has a form of ours.
    fn can_exist(id: &str, connection: &Connection) -> bool {
        id.split_once('/').is_some_and(|(bucket, key)| S3Buckets::can_exist(bucket, connection) && is_artifact(key))
    }

    /// Each object is read as soon as it is listed. An object behind a delete marker is left out if the stack wants the
    /// same object: the upload makes it visible again.
    async fn detail(&self, reading: &Reading<'_>, buckets: Vec<Remote>) -> Result<Vec<Remote>, Failure> {
        let aws = reading.aws;
        let asked = buckets.into_iter().map(|bucket| async move {
            let keys = list(aws, &bucket.id).await?;
            all(keys.iter().map(|key| read(aws, &bucket.id, key))).await.map(Some)
        });
        let mut found: Vec<Remote> = all(asked).await?.into_iter().flatten().collect();
        let wanted: BTreeSet<String> = reading.names(S3Object::KIND, Self::NAME).map(|wanted| wanted.name).collect();
        found.retain(|one| !(one.is_spent && wanted.contains(attribute(&one.attributes, Self::NAME))));
        Ok(found)
    }

    /// The wanted object has the highest rank.
    fn rank(&self, wanted: Option<&Map>, remote: &Remote) -> u64 {
        let key = attribute(&remote.attributes, Self::NAME);
        u64::from(wanted.is_some_and(|wanted| attribute(wanted, Self::NAME) == key))
    }

    async fn create(&self, aws: &Aws, object: S3Object, _: &Token) -> Result<Remote, Failure> {
        put_new(aws, object).await
    }

    /// Only the content of an object can differ, so it is uploaded again.
    async fn update(&self, aws: &Aws, _: &Remote, object: S3Object, _: &[String]) -> Result<Remote, Failure> {
        put(aws, object, None).await
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        let (bucket, key) = (attribute(&remote.attributes, "bucket"), attribute(&remote.attributes, "key"));
        let mut versions = versions(aws, bucket, key).await?;
        // A prefix also matches longer keys.
        versions.retain(|version| version.key == key);
        delete_versions(aws, bucket, &versions).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_from_its_digits() {
        let digits = "9123dcbb0b42652b0e105956c68d3ca2ff34584f324fa41a29aedd32b883e131";
        assert_eq!(from_hex(digits).map(|bytes| hex(&bytes)).as_deref(), Some(digits));
        for odd in ["", "9123", "é".repeat(32).as_str(), "+1".repeat(32).as_str()] {
            assert_eq!(from_hex(odd), None, "{odd}");
        }
    }

    #[test]
    fn tags_are_a_query_string() {
        let tags = [("trunnion:stack", "a b"), ("team", "q&a")];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(encoded(&tags.into()), "team=q%26a&trunnion%3Astack=a%20b");
    }
}
