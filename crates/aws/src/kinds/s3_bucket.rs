//! `s3_bucket`. Its name is unique in the partition. A bucket of this account belongs to the stack if its tags say so.
//! It also does if it has neither tags nor objects: then an attempt was interrupted right after creating it.

use std::collections::BTreeSet;

use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, Delete, ObjectIdentifier,
    ObjectOwnership, OwnershipControls, OwnershipControlsRule, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule, Tag,
    VersioningConfiguration,
};
use serde::Serialize;
use trunnion_catalog::limits::OBJECTS_PER_CALL;
use trunnion_engine::{Remote, Rules, Token};
use trunnion_kinds::{S3Bucket, S3Object, Tags, bucket_name};

use super::tagging::{from_s3, to_s3};
use crate::{
    Aws, Connection,
    convert::{remote, tags_of, touches},
    driver::{Driver, Wanted, all},
    error::{Class, Failure, OfCall as _},
    reading::{Reading, Whose},
};

/// The tags of an existing bucket that belongs to the stack's account.
async fn find(aws: &Aws, name: &str) -> Result<Option<Tags>, Failure> {
    let call = aws.clients.s3.get_bucket_tagging().bucket(name).expected_bucket_owner(&aws.connection.account);
    match call.send().await.of_call("s3:GetBucketTagging") {
        Ok(answer) => Ok(Some(from_s3(answer.tag_set))),
        Err(failure) if failure.code == "NoSuchTagSet" => Ok(Some(Tags::new())),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) if failure.class == Class::Denied => Err(Failure {
            message: format!("the bucket `{name}` belongs to another account, or this identity may not read it"),
            ..failure
        }),
        Err(failure) => Err(failure),
    }
}

/// Turns "not found" into `None`.
fn maybe<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn as_remote(aws: &Aws, bucket: &S3Bucket) -> Result<Remote, Failure> {
    let arn = format!("arn:{}:s3:::{}", aws.partition(), bucket.name);
    remote(&bucket.name, bucket, [("arn", arn.into())])
}

/// Creates a bucket with its tags; without them if the partition does not accept tags in this call.
async fn make(aws: &Aws, bucket: &S3Bucket) -> Result<(), Failure> {
    let region = &aws.connection.region;
    let tags = to_s3(&bucket.tags)?.tag_set;
    let call = |tags: Option<Vec<Tag>>| async {
        let place = (region != "us-east-1").then(|| BucketLocationConstraint::from(region.as_str()));
        // S3 refuses an empty configuration as malformed.
        let configuration = (place.is_some() || tags.is_some())
            .then(|| CreateBucketConfiguration::builder().set_location_constraint(place).set_tags(tags).build());
        let call = aws.clients.s3.create_bucket().bucket(&bucket.name).set_create_bucket_configuration(configuration);
        call.object_ownership(ObjectOwnership::BucketOwnerEnforced).send().await.of_call("s3:CreateBucket").map(drop)
    };
    aws.very_patiently(&[Class::Precondition], || async {
        match call(Some(tags.clone())).await {
            Err(failure)
                if ["UnsupportedArgument", "MalformedXML", "NotImplemented"].contains(&failure.code.as_str()) =>
            {
                call(None).await
            }
            result => result,
        }
    })
    .await
}

/// Makes the bucket's owner the owner of all its objects, as our create call does.
async fn own(aws: &Aws, name: &str) -> Result<(), Failure> {
    let rule = OwnershipControlsRule::builder().object_ownership(ObjectOwnership::BucketOwnerEnforced).build();
    let ownership = rule.and_then(|rule| OwnershipControls::builder().rules(rule).build());
    let ownership = ownership.map_err(|error| Failure::own(error.to_string(), None))?;
    aws.patiently(&[Class::NotFound, Class::Precondition], || async {
        let call = aws.clients.s3.put_bucket_ownership_controls().bucket(name).ownership_controls(ownership.clone());
        call.send().await.of_call("s3:PutBucketOwnershipControls").map(drop)
    })
    .await
}

/// Fails if a bucket of this account belongs to somebody else.
async fn claim(aws: &Aws, name: &str) -> Result<(), Failure> {
    let tags = find(aws, name).await?.unwrap_or_default();
    if may_claim(aws, name, &tags).await? { Ok(()) } else { Err(S3Buckets::foreign(name)) }
}

/// Whether a bucket of this account with these tags belongs to the stack, or to an attempt that was interrupted right
/// after creating it.
async fn may_claim(aws: &Aws, name: &str, tags: &Tags) -> Result<bool, Failure> {
    Ok(aws.owns(tags) || (tags.is_empty() && versions(aws, name, "").await?.is_empty()))
}

async fn put(aws: &Aws, bucket: &S3Bucket, path: &str) -> Result<(), Failure> {
    let s3 = &aws.clients.s3;
    let name = &bucket.name;
    let built = |error: aws_sdk_s3::error::BuildError| Failure::own(error.to_string(), None);
    match path {
        "tags" => {
            let call = s3.put_bucket_tagging().bucket(name).tagging(to_s3(&bucket.tags)?);
            call.send().await.of_call("s3:PutBucketTagging").map(drop)
        }
        "public_access_blocked" => {
            let on = bucket.public_access_blocked;
            let blocked = PublicAccessBlockConfiguration::builder()
                .block_public_acls(on)
                .block_public_policy(on)
                .ignore_public_acls(on)
                .restrict_public_buckets(on)
                .build();
            let call = s3.put_public_access_block().bucket(name).public_access_block_configuration(blocked);
            call.send().await.of_call("s3:PutPublicAccessBlock").map(drop)
        }
        "encryption" => {
            let algorithm = ServerSideEncryption::from(bucket.encryption.as_str());
            let default = ServerSideEncryptionByDefault::builder().sse_algorithm(algorithm).build().map_err(built)?;
            let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default).build();
            let configuration = ServerSideEncryptionConfiguration::builder().rules(rule).build().map_err(built)?;
            let call = s3.put_bucket_encryption().bucket(name).server_side_encryption_configuration(configuration);
            call.send().await.of_call("s3:PutBucketEncryption").map(drop)
        }
        "versioning" => {
            let on =
                if bucket.versioning { BucketVersioningStatus::Enabled } else { BucketVersioningStatus::Suspended };
            let call = s3.put_bucket_versioning().bucket(name);
            let call = call.versioning_configuration(VersioningConfiguration::builder().status(on).build());
            call.send().await.of_call("s3:PutBucketVersioning").map(drop)
        }
        _ => {
            let call = s3.put_bucket_policy().bucket(name).policy(&bucket.policy);
            call.send().await.of_call("s3:PutBucketPolicy").map(drop)
        }
    }
}

/// Reads the settings of an existing bucket that has these tags.
async fn read(aws: &Aws, name: &str, tags: Tags) -> Result<Remote, Failure> {
    let s3 = &aws.clients.s3;
    let (versioning, encryption, access, policy) = futures::try_join!(
        Box::pin(async {
            maybe(s3.get_bucket_versioning().bucket(name).send().await.of_call("s3:GetBucketVersioning"))
        }),
        Box::pin(async {
            maybe(s3.get_bucket_encryption().bucket(name).send().await.of_call("s3:GetBucketEncryption"))
        }),
        Box::pin(async {
            maybe(s3.get_public_access_block().bucket(name).send().await.of_call("s3:GetPublicAccessBlock"))
        }),
        Box::pin(async { maybe(s3.get_bucket_policy().bucket(name).send().await.of_call("s3:GetBucketPolicy")) }),
    )?;
    let rule = encryption
        .and_then(|answer| answer.server_side_encryption_configuration)
        .and_then(|encryption| encryption.rules.into_iter().next());
    let algorithm = rule.and_then(|rule| rule.apply_server_side_encryption_by_default).map(|rule| rule.sse_algorithm);
    let blocked = access.and_then(|answer| answer.public_access_block_configuration).is_some_and(|access| {
        [
            access.block_public_acls,
            access.block_public_policy,
            access.ignore_public_acls,
            access.restrict_public_buckets,
        ]
        .iter()
        .all(|blocked| *blocked == Some(true))
    });
    let bucket = S3Bucket {
        name: name.to_owned(),
        versioning: versioning.and_then(|answer| answer.status) == Some(BucketVersioningStatus::Enabled),
        encryption: algorithm.map_or_else(String::new, |algorithm| algorithm.as_str().to_owned()),
        public_access_blocked: blocked,
        policy: policy.and_then(|answer| answer.policy).unwrap_or_default(),
        tags,
    };
    as_remote(aws, &bucket)
}

/// Writes the settings at these paths.
async fn change(aws: &Aws, bucket: S3Bucket, paths: &[String]) -> Result<Remote, Failure> {
    // S3 needs a moment until a new bucket is known everywhere, and refuses two changes of a bucket at the same time.
    for path in ["tags", "public_access_blocked", "encryption", "versioning", "policy"] {
        if touches(paths, path) {
            aws.patiently(&[Class::NotFound, Class::Precondition], || put(aws, &bucket, path)).await?;
        }
    }
    as_remote(aws, &bucket)
}

/// One version of an object, or a delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub key: String,
    pub id: Option<String>,
    /// Whether a read of the key returns this version.
    pub is_current: bool,
    /// Whether it is a delete marker, which has no content.
    pub is_marker: bool,
}

/// All versions and delete markers under a prefix.
pub(crate) async fn versions(aws: &Aws, bucket: &str, prefix: &str) -> Result<Vec<Version>, Failure> {
    let mut found = Vec::new();
    let (mut key_marker, mut version_marker) = (None, None);
    loop {
        let call = aws.clients.s3.list_object_versions().bucket(bucket).prefix(prefix);
        let call = call.set_key_marker(key_marker).set_version_id_marker(version_marker);
        let page = match call.send().await.of_call("s3:ListObjectVersions") {
            Ok(page) => page,
            Err(failure) if failure.class == Class::NotFound => return Ok(found),
            Err(failure) => return Err(failure),
        };
        found.extend(page.versions.into_iter().flatten().map(|version| Version {
            key: version.key.unwrap_or_default(),
            id: version.version_id,
            is_current: version.is_latest == Some(true),
            is_marker: false,
        }));
        found.extend(page.delete_markers.into_iter().flatten().map(|marker| Version {
            key: marker.key.unwrap_or_default(),
            id: marker.version_id,
            is_current: false,
            is_marker: true,
        }));
        if page.is_truncated != Some(true) {
            return Ok(found);
        }
        (key_marker, version_marker) = (page.next_key_marker, page.next_version_id_marker);
    }
}

/// Deletes versions and delete markers permanently.
pub(crate) async fn delete_versions(aws: &Aws, bucket: &str, versions: &[Version]) -> Result<(), Failure> {
    let built = |error: aws_sdk_s3::error::BuildError| Failure::own(error.to_string(), None);
    for versions in versions.chunks(OBJECTS_PER_CALL) {
        let ids = versions
            .iter()
            .map(|version| ObjectIdentifier::builder().key(&version.key).set_version_id(version.id.clone()).build())
            .collect::<Result<Vec<_>, _>>()
            .map_err(built)?;
        let delete = Delete::builder().set_objects(Some(ids)).quiet(true).build().map_err(built)?;
        let answer = aws
            .patiently(&[Class::Precondition], || async {
                let call = aws.clients.s3.delete_objects().bucket(bucket).delete(delete.clone());
                call.send().await.of_call("s3:DeleteObjects")
            })
            .await?;
        if let Some(error) = answer.errors.into_iter().flatten().next() {
            let (code, said) = (error.code.unwrap_or_default(), error.message.unwrap_or_default());
            let class = crate::error::classify(&code, &said);
            let message = format!("`{}`: {said}", error.key.unwrap_or_default());
            return Err(Failure { code, ..Failure::of_call("s3:DeleteObjects", class, message) });
        }
    }
    Ok(())
}

/// Whether a key has the form of our objects: `generator/` and a SHA-256.
pub(super) fn is_artifact(key: &str) -> bool {
    let digest = key.strip_prefix(S3Object::PREFIX).unwrap_or_default();
    digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The stack's bucket, with a name made of the stack's, and recorded buckets.
pub(crate) struct S3Buckets;

impl Driver for S3Buckets {
    type Attributes = S3Bucket;
    const RULES: Rules = S3Bucket::RULES;
    const NOUN: &'static str = "the bucket";
    const ROUNDS: u32 = 1;

    /// For other names, S3 answers `InvalidBucketName` or something that its clients cannot read.
    fn can_exist(name: &str, _: &Connection) -> bool {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        (3..=63).contains(&name.len()) && name.bytes().all(is_allowed)
    }

    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        let aws = reading.aws;
        let Connection { stack, account, region, .. } = &aws.connection;
        let mut names: BTreeSet<String> = reading.recorded_ids(S3Bucket::KIND).map(str::to_owned).collect();
        names.insert(bucket_name(stack, account, region));
        let asked = names.into_iter().map(|name| async move {
            let Some(tags) = find(aws, &name).await? else { return Ok(None) };
            remote(&name, &Listed { name: &name, tags }, []).map(Some)
        });
        all(asked).await
    }

    /// Only the settings of the stack's own buckets are read.
    async fn detail(&self, reading: &Reading<'_>, listed: Vec<Remote>) -> Result<Vec<Remote>, Failure> {
        let is_ours = |found: &Remote| self.whose(reading, found).is_ours();
        let ours = listed.into_iter().filter(is_ours);
        let asked =
            ours.map(|found| async move { read(reading.aws, &found.id, tags_of(&found.attributes)).await.map(Some) });
        all(asked).await
    }

    fn to_ask(&self, reading: &Reading<'_>, listed: &[Remote]) -> Vec<Wanted> {
        let is_other = |name: &str| listed.iter().any(|one| one.id == name && self.whose(reading, one) == Whose::Other);
        reading.names(S3Bucket::KIND, Self::NAME).filter(|wanted| is_other(&wanted.name)).collect()
    }

    /// A bucket of this account without the stack's tags may come from an attempt that was interrupted right after
    /// creating it.
    async fn taken(&self, reading: &Reading<'_>, names: Vec<Wanted>) -> Result<Vec<Wanted>, Failure> {
        let aws = reading.aws;
        let asked = names.into_iter().map(|wanted| async move {
            let tags = find(aws, &wanted.name).await?.unwrap_or_default();
            Ok((!may_claim(aws, &wanted.name, &tags).await?).then_some(wanted))
        });
        all(asked).await
    }

    async fn create(&self, aws: &Aws, bucket: S3Bucket, _: &Token) -> Result<Remote, Failure> {
        // In us-east-1, S3 answers a second create like the first one.
        let mut is_adopted = find(aws, &bucket.name).await?.is_some();
        if is_adopted {
            claim(aws, &bucket.name).await?;
        }
        match make(aws, &bucket).await {
            Ok(()) => {}
            Err(failure) if failure.code == "BucketAlreadyExists" => {
                return Err(Self::foreign(&bucket.name));
            }
            Err(failure) if failure.class == Class::AlreadyExists => {
                claim(aws, &bucket.name).await?;
                is_adopted = true;
            }
            Err(failure) if failure.class == Class::Precondition => {
                return Err(Failure {
                    message: format!("the name `{}` is still being freed: {}", bucket.name, failure.message),
                    help: Some(
                        "S3 frees the name of a deleted bucket within an hour: run the command again after that"
                            .to_owned(),
                    ),
                    ..failure
                });
            }
            Err(failure) => return Err(failure),
        }
        if is_adopted {
            own(aws, &bucket.name).await?;
        }
        let all = ["tags", "public_access_blocked", "encryption", "versioning", "policy"].map(str::to_owned);
        change(aws, bucket, &all).await
    }

    async fn update(&self, aws: &Aws, _: &Remote, bucket: S3Bucket, paths: &[String]) -> Result<Remote, Failure> {
        change(aws, bucket, paths).await
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        let name = &remote.id;
        let (ours, others): (Vec<_>, Vec<_>) =
            versions(aws, name, "").await?.into_iter().partition(|version| is_artifact(&version.key));
        if !others.is_empty() {
            let mut keys: Vec<&str> = others.iter().map(|version| version.key.as_str()).collect();
            keys.dedup();
            let count = keys.len();
            keys.truncate(3);
            let more = if count > keys.len() { format!(" and {} more", count - keys.len()) } else { String::new() };
            return Err(Failure::own(
                format!(
                    "the bucket `{name}` has objects that do not belong to this stack: `{}`{more}",
                    keys.join("`, `")
                ),
                "move them elsewhere with all their versions, and run the command again".to_owned(),
            ));
        }
        delete_versions(aws, name, &ours).await?;
        let deleted = aws
            .patiently(&[Class::Precondition], || async {
                aws.clients.s3.delete_bucket().bucket(name).send().await.of_call("s3:DeleteBucket")
            })
            .await;
        maybe(deleted).map(drop)
    }
}

/// What the list knows of a bucket, before its settings are read.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    tags: Tags,
}
