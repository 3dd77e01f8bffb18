//! Tests S3 over a socket with the SDK that the engine uses.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{path::Path, time::Duration};

use aws_sdk_s3::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
    error::{ProvideErrorMetadata, SdkError},
    operation::put_bucket_versioning::{PutBucketVersioningError, PutBucketVersioningOutput},
    primitives::ByteStream,
    types::{
        BucketLocationConstraint, BucketVersioningStatus, ChecksumMode, CompletedMultipartUpload, CompletedPart,
        CreateBucketConfiguration, Tag, VersioningConfiguration,
    },
};
use tokio::net::TcpListener;
use trunnion_sandbox::{ACCESS_KEY_ID, Delay, Options, Running, SECRET_ACCESS_KEY, Sandbox};

const BUCKET: &str = "artifacts";

async fn serve(data: Option<&Path>) -> Running {
    serve_with(data.map_or_else(Options::new, |data| Options::new().with_data(data))).await
}

async fn serve_with(options: Options) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Sandbox::open(options).unwrap().serve(listener).unwrap()
}

fn client(running: &Running, region: &str, secret: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(running.endpoint())
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new(ACCESS_KEY_ID, secret, None, None, "test"))
        .build();
    Client::from_conf(config)
}

/// A sandbox in memory with a versioned bucket.
async fn with_bucket(data: Option<&Path>) -> (Running, Client) {
    let running = serve(data).await;
    let s3 = client(&running, "eu-west-3", SECRET_ACCESS_KEY);
    let configuration = CreateBucketConfiguration::builder()
        .location_constraint(BucketLocationConstraint::from("eu-west-3"))
        .tags(Tag::builder().key("trunnion:stack").value("loadtest + more").build().unwrap())
        .build();
    s3.create_bucket().bucket(BUCKET).create_bucket_configuration(configuration).send().await.unwrap();
    // S3 may refuse the first change of a new bucket.
    if set_versioning(&s3).await.is_err() {
        set_versioning(&s3).await.unwrap();
    }
    (running, s3)
}

async fn set_versioning(s3: &Client) -> Result<PutBucketVersioningOutput, SdkError<PutBucketVersioningError>> {
    let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    s3.put_bucket_versioning().bucket(BUCKET).versioning_configuration(versioning).send().await
}

#[tokio::test]
async fn a_new_bucket_refuses_its_first_change_and_a_freed_name_stays_in_use() {
    let running =
        serve_with(Options::new().with_speed(1.0).with_delay(Delay::BucketNameRest, Duration::from_hours(1))).await;
    let s3 = client(&running, "eu-west-3", SECRET_ACCESS_KEY);
    let create = || {
        let place = BucketLocationConstraint::from("eu-west-3");
        let configuration = CreateBucketConfiguration::builder().location_constraint(place).build();
        s3.create_bucket().bucket(BUCKET).create_bucket_configuration(configuration).send()
    };
    create().await.unwrap();
    assert_eq!(refusal(set_versioning(&s3).await), is(409, "OperationAborted"));
    set_versioning(&s3).await.unwrap();
    s3.delete_bucket().bucket(BUCKET).send().await.unwrap();
    assert_eq!(refusal(create().await), is(409, "OperationAborted"));
}

#[tokio::test]
async fn only_the_commercial_partition_accepts_tags_for_a_new_bucket() {
    let running = serve(None).await;
    let s3 = client(&running, "cn-north-1", SECRET_ACCESS_KEY);
    let place = BucketLocationConstraint::from("cn-north-1");
    let plain = CreateBucketConfiguration::builder().location_constraint(place);
    let tagged = plain.clone().tags(Tag::builder().key("team").value("a").build().unwrap()).build();
    let create = |configuration| s3.create_bucket().bucket(BUCKET).create_bucket_configuration(configuration).send();
    assert_eq!(refusal(create(tagged).await), is(400, "UnsupportedArgument"));
    create(plain.build()).await.unwrap();
}

async fn put(s3: &Client, key: &str, text: &'static str) -> String {
    let body = ByteStream::from_static(text.as_bytes());
    s3.put_object().bucket(BUCKET).key(key).body(body).send().await.unwrap().e_tag.unwrap()
}

async fn text(s3: &Client, key: &str) -> String {
    let object = s3.get_object().bucket(BUCKET).key(key).send().await.unwrap();
    String::from_utf8(object.body.collect().await.unwrap().to_vec()).unwrap()
}

/// Status and code of an error.
fn refusal<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E>>,
) -> (u16, String) {
    let error = result.unwrap_err();
    let status = error.raw_response().unwrap().status().as_u16();
    (status, error.code().unwrap_or_default().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn the_create_call_of_a_bucket_sets_its_tags() {
    let (_running, s3) = with_bucket(None).await;
    let tags = s3.get_bucket_tagging().bucket(BUCKET).send().await.unwrap().tag_set;
    assert_eq!((tags[0].key(), tags[0].value()), ("trunnion:stack", "loadtest + more"));
}

#[tokio::test]
async fn a_conditional_write_fails_if_the_object_differs() {
    let (_running, s3) = with_bucket(None).await;
    let etag = put(&s3, "state", "one").await;
    let write = || s3.put_object().bucket(BUCKET).key("state").body(ByteStream::from_static(b"two"));
    assert_eq!(refusal(write().if_none_match("*").send().await), is(412, "PreconditionFailed"));
    assert_eq!(refusal(write().if_match("\"other\"").send().await), is(412, "PreconditionFailed"));
    let absent = s3.put_object().bucket(BUCKET).key("absent").if_match(&etag).body(ByteStream::from_static(b"x"));
    assert_eq!(refusal(absent.send().await), is(404, "NoSuchKey"));
    write().if_match(etag).send().await.unwrap();
    assert_eq!(text(&s3, "state").await, "two");
    s3.delete_object().bucket(BUCKET).key("state").send().await.unwrap();
    write().if_none_match("*").send().await.unwrap();
}

#[tokio::test]
async fn only_one_of_two_concurrent_creators_succeeds() {
    let (_running, s3) = with_bucket(None).await;
    let write = |text: &'static [u8]| {
        s3.put_object().bucket(BUCKET).key("lock").if_none_match("*").body(ByteStream::from_static(text)).send()
    };
    let (one, other) = tokio::join!(write(b"one"), write(b"other"));
    assert_ne!(one.is_ok(), other.is_ok(), "{one:?} {other:?}");
}

#[tokio::test]
async fn a_checksum_is_stored_and_returned_and_a_wrong_one_refused() {
    let (_running, s3) = with_bucket(None).await;
    let put = |sum: &str| {
        let body = ByteStream::from_static(b"generator");
        s3.put_object().bucket(BUCKET).key("generator").checksum_sha256(sum).body(body).send()
    };
    let wrong = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(refusal(put(wrong).await), is(400, "BadDigest"));
    let right = "kSPcuwtCZSsOEFlWxo08ov80WE8yT6QaKa7dMriD4TE=";
    let sum = put(right).await.map(|put| put.checksum_sha256);
    let head = s3.head_object().bucket(BUCKET).key("generator").checksum_mode(ChecksumMode::Enabled).send().await;
    assert_eq!(head.unwrap().checksum_sha256.as_deref(), Some(right));
    assert_eq!(sum.unwrap().as_deref(), Some(right));
}

#[tokio::test]
async fn a_deleted_object_stays_behind_a_marker_and_blocks_the_bucket() {
    let (_running, s3) = with_bucket(None).await;
    put(&s3, "a/key", "text").await;
    let marker = s3.delete_object().bucket(BUCKET).key("a/key").send().await.unwrap();
    assert_eq!(marker.delete_marker, Some(true));
    assert_eq!(refusal(s3.get_object().bucket(BUCKET).key("a/key").send().await), is(404, "NoSuchKey"));
    assert!(s3.list_objects_v2().bucket(BUCKET).send().await.unwrap().contents().is_empty());
    assert_eq!(refusal(s3.delete_bucket().bucket(BUCKET).send().await), is(409, "BucketNotEmpty"));
    let all = s3.list_object_versions().bucket(BUCKET).send().await.unwrap();
    assert_eq!((all.versions().len(), all.delete_markers().len()), (1, 1));
    let version = all.versions()[0].version_id().unwrap();
    for version in [version, marker.version_id().unwrap()] {
        s3.delete_object().bucket(BUCKET).key("a/key").version_id(version).send().await.unwrap();
    }
    s3.delete_bucket().bucket(BUCKET).send().await.unwrap();
    assert_eq!(refusal(s3.head_bucket().bucket(BUCKET).send().await).0, 404);
}

#[tokio::test]
async fn a_bucket_answers_its_own_region_and_redirects_others() {
    let (running, _s3) = with_bucket(None).await;
    let elsewhere = client(&running, "eu-west-1", SECRET_ACCESS_KEY);
    assert_eq!(refusal(elsewhere.list_objects_v2().bucket(BUCKET).send().await), is(301, "PermanentRedirect"));
    let location = elsewhere.get_bucket_location().bucket(BUCKET).send().await.unwrap();
    assert_eq!(location.location_constraint, Some(BucketLocationConstraint::from("eu-west-3")));
    let owner = client(&running, "eu-west-3", SECRET_ACCESS_KEY).head_bucket().bucket(BUCKET);
    assert_eq!(refusal(owner.expected_bucket_owner("999999999999").send().await).0, 403);
}

#[tokio::test]
async fn parts_are_joined_into_one_object() {
    let (_running, s3) = with_bucket(None).await;
    let upload = s3.create_multipart_upload().bucket(BUCKET).key("big").send().await.unwrap().upload_id.unwrap();
    let mut parts = CompletedMultipartUpload::builder();
    for (number, size) in [(1, 5 * 1024 * 1024), (2, 1)] {
        let part = s3.upload_part().bucket(BUCKET).key("big").upload_id(&upload).part_number(number);
        let part = part.body(vec![b'x'; size].into()).send().await.unwrap();
        let named = CompletedPart::builder().part_number(number).e_tag(part.e_tag().unwrap());
        parts = parts.parts(named.set_checksum_crc32(part.checksum_crc32).build());
    }
    let complete = s3.complete_multipart_upload().bucket(BUCKET).key("big").upload_id(&upload);
    let done = complete.multipart_upload(parts.build()).send().await.unwrap();
    assert!(done.e_tag().unwrap().ends_with("-2\""));
    let head = s3.head_object().bucket(BUCKET).key("big").send().await.unwrap();
    assert_eq!(head.content_length, Some(5 * 1024 * 1024 + 1));
    let abort = s3.abort_multipart_upload().bucket(BUCKET).key("big").upload_id(upload);
    assert_eq!(refusal(abort.send().await), is(404, "NoSuchUpload"));
}

#[tokio::test]
async fn objects_survive_the_process_and_their_bytes_are_deleted_with_the_last_version() {
    let directory = tempfile::tempdir().unwrap();
    let (running, s3) = with_bucket(Some(directory.path())).await;
    put(&s3, "one", "same").await;
    put(&s3, "two", "same").await;
    drop(s3);
    running.shutdown().await;

    let running = serve(Some(directory.path())).await;
    let s3 = client(&running, "eu-west-3", SECRET_ACCESS_KEY);
    assert_eq!(text(&s3, "two").await, "same");
    let files = || std::fs::read_dir(directory.path().join("objects")).unwrap().count();
    let versions = s3.list_object_versions().bucket(BUCKET).send().await.unwrap();
    for (left, version) in [(1, &versions.versions()[0]), (0, &versions.versions()[1])] {
        let delete = s3.delete_object().bucket(BUCKET).key(version.key().unwrap());
        delete.version_id(version.version_id().unwrap()).send().await.unwrap();
        assert_eq!(files(), left);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let running = serve(None).await;
    let listed = client(&running, "eu-west-3", "wrong").list_buckets().send().await;
    assert_eq!(refusal(listed), is(403, "SignatureDoesNotMatch"));
}
