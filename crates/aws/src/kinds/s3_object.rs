//! `s3_object`. Its key says what it holds, so uploading it twice changes nothing.

use std::io::{self, Read as _};

use aws_sdk_s3::{primitives::ByteStream, types::ChecksumMode};
use sha2::{Digest as _, Sha256};
use trunnion_engine::{Remote, hex};
use trunnion_kinds::{S3Object, Tags};

use super::{
    s3_bucket::{delete_versions, versions},
    tagging::{from_s3, to_s3},
};
use crate::{
    Aws,
    convert::{attribute, base64, from_base64, is_ours, remote, text, touches},
    error::{Class, Failure, Told as _},
};

/// The keys under the prefix of our objects.
pub(crate) async fn list(aws: &Aws, bucket: &str) -> Result<Vec<String>, Failure> {
    let versions = versions(aws, bucket, S3Object::PREFIX).await?;
    Ok(versions.into_iter().filter(|version| version.is_current).map(|version| version.key).collect())
}

fn as_remote(object: &S3Object) -> Result<Remote, Failure> {
    remote(format!("{}/{}", text(&object.bucket)?, object.key), object, [])
}

/// An object by its key, if it is ours.
pub(crate) async fn read(aws: &Aws, bucket: &str, key: &str) -> Result<Option<Remote>, Failure> {
    let s3 = &aws.clients.s3;
    let read = futures::try_join!(
        Box::pin(async { s3.get_object_tagging().bucket(bucket).key(key).send().await.told("s3:GetObjectTagging") }),
        Box::pin(async {
            let call = s3.head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled);
            call.send().await.told("s3:HeadObject")
        }),
    );
    let (tagging, head) = match read {
        Ok(read) => read,
        Err(failure) if failure.class == Class::NotFound => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let tags = from_s3(tagging.tag_set);
    if !is_ours(&tags, &aws.connection.stack) {
        return Ok(None);
    }
    let checksum = head.checksum_sha256.as_deref().and_then(from_base64).unwrap_or_default();
    let object =
        S3Object { bucket: bucket.into(), key: key.to_owned(), sha256: hex(&checksum), source: String::new(), tags };
    as_remote(&object).map(Some)
}

/// The SHA-256 of a file, read piece by piece.
fn digest(path: &str) -> io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finalize().to_vec()),
            length => hasher.update(&piece[..length]),
        }
    }
}

pub(crate) async fn create(aws: &Aws, object: S3Object) -> Result<Remote, Failure> {
    let bucket = text(&object.bucket)?;
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::own(format!("`{}` cannot be read: {error}", object.source), "check the path and plan again".to_owned())
    };
    let source = object.source.clone();
    let found = tokio::task::spawn_blocking(move || digest(&source)).await;
    let found = found.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))?;
    if hex(&found) != object.sha256 {
        return Err(Failure::own(
            format!("`{}` changed since the plan: its SHA-256 is {} now", object.source, hex(&found)),
            "plan again".to_owned(),
        ));
    }
    aws.patiently(&[Class::NotFound], async || {
        let body = ByteStream::from_path(&object.source).await.map_err(|error| unreadable(&error))?;
        let call = aws.clients.s3.put_object().bucket(bucket).key(&object.key).body(body);
        // S3 checks the content against it: a file that changes while it is sent is refused.
        let call = call.checksum_sha256(base64(&found)).tagging(encoded(&object.tags));
        call.send().await.told("s3:PutObject")
    })
    .await?;
    as_remote(&object)
}

/// Tags as a query string.
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
    let pairs: Vec<String> = tags.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
    pairs.join("&")
}

pub(crate) async fn update(aws: &Aws, object: S3Object, paths: &[String]) -> Result<Remote, Failure> {
    if touches(paths, "sha256") {
        return create(aws, object).await;
    }
    let call = aws.clients.s3.put_object_tagging().bucket(text(&object.bucket)?).key(&object.key);
    call.tagging(to_s3(&object.tags)?).send().await.told("s3:PutObjectTagging")?;
    as_remote(&object)
}

pub(crate) async fn delete(aws: &Aws, remote: &Remote) -> Result<(), Failure> {
    let (bucket, key) = (attribute(&remote.attributes, "bucket"), attribute(&remote.attributes, "key"));
    let mut versions = versions(aws, bucket, key).await?;
    // The prefix also matches longer keys.
    versions.retain(|version| version.key == key);
    delete_versions(aws, bucket, &versions).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_query_string() {
        let tags = [("trunnion:stack", "a b"), ("team", "q&a")];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(encoded(&tags.into()), "team=q%26a&trunnion%3Astack=a%20b");
    }
}
