//! The permissions of S3's operations ("Required permissions for Amazon S3 API operations", S3 user guide, read November
//! 2026).

use std::borrow::Cow;

use hyper::{HeaderMap, Uri};
use s3s::dto::CopySource;

use super::{bucket::Bucket, object, route::CreateTags};
use crate::{
    authorize::{Asking, Need, Origin, Target, needs_of},
    call::{Fault, arn_of},
    cloud::Cloud,
    iam::{self, policy::Named},
};

/// A request as far as permissions go.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub cloud: &'a Cloud,
    /// The name of the operation, such as `PutObject`.
    pub operation: &'a str,
    pub bucket: Option<&'a str>,
    pub key: Option<&'a str>,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    /// The region of the signature.
    pub region: &'a str,
    /// `s3:authType`.
    pub auth_type: &'static str,
    /// The tags of a new bucket.
    pub create_tags: Vec<(String, String)>,
}

type Resolver = fn(&Asked<'_>) -> Vec<Target>;

/// An operation, and the actions that it needs.
pub(crate) type Row = (&'static str, &'static [(&'static str, Resolver)]);

/// One row per operation.
pub(crate) const PERMISSIONS: &[Row] = &[
    ("GetBucketAccelerateConfiguration", &[("s3:GetAccelerateConfiguration", bucket)]),
    ("GetBucketAcl", &[("s3:GetBucketAcl", bucket)]),
    ("GetBucketCors", &[("s3:GetBucketCORS", bucket)]),
    ("GetBucketLifecycleConfiguration", &[("s3:GetLifecycleConfiguration", bucket)]),
    ("GetBucketLogging", &[("s3:GetBucketLogging", bucket)]),
    ("GetBucketNotificationConfiguration", &[("s3:GetBucketNotification", bucket)]),
    ("GetBucketPolicyStatus", &[("s3:GetBucketPolicyStatus", bucket)]),
    ("GetBucketReplication", &[("s3:GetReplicationConfiguration", bucket)]),
    ("GetBucketRequestPayment", &[("s3:GetBucketRequestPayment", bucket)]),
    ("GetBucketWebsite", &[("s3:GetBucketWebsite", bucket)]),
    ("GetObjectLockConfiguration", &[("s3:GetBucketObjectLockConfiguration", bucket)]),
    ("ListBucketAnalyticsConfigurations", &[("s3:GetAnalyticsConfiguration", bucket)]),
    ("ListBucketIntelligentTieringConfigurations", &[("s3:GetIntelligentTieringConfiguration", bucket)]),
    ("ListBucketInventoryConfigurations", &[("s3:GetInventoryConfiguration", bucket)]),
    ("ListBucketMetricsConfigurations", &[("s3:GetMetricsConfiguration", bucket)]),
    (
        "GetObjectAcl",
        &[("s3:GetObjectAcl", |a| of_version(a, false)), ("s3:GetObjectVersionAcl", |a| of_version(a, true))],
    ),
    ("AbortMultipartUpload", &[("s3:AbortMultipartUpload", object)]),
    ("CompleteMultipartUpload", &[("s3:PutObject", written)]),
    (
        "CopyObject",
        &[
            ("s3:PutObject", written),
            ("s3:GetObject", |a| copied(a, false)),
            ("s3:GetObjectVersion", |a| copied(a, true)),
            ("s3:PutObjectTagging", object_tags),
        ],
    ),
    (
        "CreateBucket",
        &[
            ("s3:CreateBucket", new_bucket),
            ("s3:TagResource", new_bucket_tags),
            ("s3:PutBucketOwnershipControls", |a| bucket_with(a, "x-amz-object-ownership")),
        ],
    ),
    ("CreateMultipartUpload", &[("s3:PutObject", written), ("s3:PutObjectTagging", object_tags)]),
    ("DeleteBucket", &[("s3:DeleteBucket", bucket)]),
    ("DeleteBucketEncryption", &[("s3:PutEncryptionConfiguration", bucket)]),
    ("DeleteBucketOwnershipControls", &[("s3:PutBucketOwnershipControls", bucket)]),
    ("DeleteBucketPolicy", &[("s3:DeleteBucketPolicy", bucket)]),
    ("DeleteBucketTagging", &[("s3:PutBucketTagging", bucket)]),
    (
        "DeleteObject",
        &[("s3:DeleteObject", |a| of_version(a, false)), ("s3:DeleteObjectVersion", |a| of_version(a, true))],
    ),
    (
        "DeleteObjectTagging",
        &[
            ("s3:DeleteObjectTagging", |a| of_version(a, false)),
            ("s3:DeleteObjectVersionTagging", |a| of_version(a, true)),
        ],
    ),
    // Each key is refused for itself in the answer.
    ("DeleteObjects", &[]),
    ("DeletePublicAccessBlock", &[("s3:PutBucketPublicAccessBlock", bucket)]),
    ("GetBucketEncryption", &[("s3:GetEncryptionConfiguration", bucket)]),
    ("GetBucketLocation", &[("s3:GetBucketLocation", bucket)]),
    ("GetBucketOwnershipControls", &[("s3:GetBucketOwnershipControls", bucket)]),
    ("GetBucketPolicy", &[("s3:GetBucketPolicy", bucket)]),
    ("GetBucketTagging", &[("s3:GetBucketTagging", bucket)]),
    ("GetBucketVersioning", &[("s3:GetBucketVersioning", bucket)]),
    ("GetObject", &[("s3:GetObject", |a| of_version(a, false)), ("s3:GetObjectVersion", |a| of_version(a, true))]),
    (
        "GetObjectTagging",
        &[("s3:GetObjectTagging", |a| of_version(a, false)), ("s3:GetObjectVersionTagging", |a| of_version(a, true))],
    ),
    ("GetPublicAccessBlock", &[("s3:GetBucketPublicAccessBlock", bucket)]),
    ("HeadBucket", &[("s3:ListBucket", bucket)]),
    ("HeadObject", &[("s3:GetObject", |a| of_version(a, false)), ("s3:GetObjectVersion", |a| of_version(a, true))]),
    ("ListBuckets", &[("s3:ListAllMyBuckets", |_| vec![Target::any()])]),
    ("ListObjectVersions", &[("s3:ListBucketVersions", listed)]),
    ("ListObjects", &[("s3:ListBucket", listed)]),
    ("ListObjectsV2", &[("s3:ListBucket", listed)]),
    ("PutBucketEncryption", &[("s3:PutEncryptionConfiguration", bucket)]),
    ("PutBucketOwnershipControls", &[("s3:PutBucketOwnershipControls", bucket)]),
    ("PutBucketPolicy", &[("s3:PutBucketPolicy", bucket)]),
    ("PutBucketTagging", &[("s3:PutBucketTagging", bucket)]),
    ("PutBucketVersioning", &[("s3:PutBucketVersioning", bucket)]),
    ("PutObject", &[("s3:PutObject", written), ("s3:PutObjectTagging", object_tags)]),
    (
        "PutObjectTagging",
        &[("s3:PutObjectTagging", |a| of_version(a, false)), ("s3:PutObjectVersionTagging", |a| of_version(a, true))],
    ),
    ("PutPublicAccessBlock", &[("s3:PutBucketPublicAccessBlock", bucket)]),
    ("UploadPart", &[("s3:PutObject", written)]),
];

impl Asked<'_> {
    fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        query(self.uri.query().unwrap_or_default(), name)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn arn(&self, bucket: &str, key: Option<&str>) -> String {
        let arn = arn_of(self.region);
        match key {
            Some(key) => format!("{arn}:s3:::{bucket}/{key}"),
            None => format!("{arn}:s3:::{bucket}"),
        }
    }

    fn bucket_row(&self, bucket: &str) -> Option<&Bucket> {
        self.cloud.s3.buckets.get(bucket)
    }

    fn with_policy(&self, target: Target, bucket: &str) -> Target {
        Target { policy: self.cloud.s3.policy_of(bucket), ..target }
    }

    fn object(&self, bucket: &str, key: &str, version: Option<&str>) -> Target {
        let mut found = object::of_key(self.cloud, bucket, key).map(|(_, row)| row);
        let row = match version {
            Some(id) => found.find(|row| row.version_id == id),
            None => object::current(self.cloud, bucket, key),
        };
        let tags = row.into_iter().flat_map(|row| &row.tags);
        let target = Target::of("object", self.arn(bucket, Some(key)))
            .has_tags(&["s3:ExistingObjectTag/"], tags.map(|(key, value)| (key.as_str(), value.as_str())))
            .with_some("s3:versionid", version)
            .with("s3:signatureversion", "AWS4-HMAC-SHA256")
            .with("s3:authType", self.auth_type)
            .with_some("s3:x-amz-content-sha256", self.header("x-amz-content-sha256"))
            .with_some("s3:if-match", self.header("if-match"))
            .with_some("s3:if-none-match", self.header("if-none-match"));
        self.with_policy(target, bucket)
    }
}

impl super::State {
    /// The policy of a bucket.
    pub(crate) fn policy_of(&self, bucket: &str) -> Option<Named> {
        let document = self.buckets.get(bucket)?.policy.clone()?;
        Some(Named { name: format!("policy of {bucket}"), document })
    }
}

fn query<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let pairs: Vec<(Cow<'q, str>, Cow<'q, str>)> = serde_urlencoded::from_str(query).ok()?;
    pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// What a verified signature says besides its access key: it is in the header, or in the query of a presigned URL.
#[derive(Debug)]
pub(crate) struct Signed {
    pub region: String,
    /// `s3:authType` ("Amazon S3 Signature Version 4 Authentication Specific Policy Keys", S3 API reference, read November
    /// 2026).
    pub auth_type: &'static str,
    /// The token of temporary credentials.
    pub token: Option<String>,
}

impl Signed {
    /// Reads header or query. `s3s` takes a query with a signature before the header.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Result<Self, Fault> {
        let pairs = uri.query().unwrap_or_default();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_presigned = query(pairs, "X-Amz-Signature").is_some();
        let scope = if is_presigned {
            query(pairs, "X-Amz-Credential")
        } else {
            let fields = header("authorization").and_then(|text| text.split_once("Credential="));
            fields.map(|(_, fields)| Cow::Borrowed(fields))
        };
        let region = scope.as_deref().and_then(|scope| scope.split('/').nth(2)).map(str::to_owned);
        let Some(region) = region else {
            let text = "The authorization header is malformed; the region is missing.";
            return Err(Fault::new("AuthorizationHeaderMalformed", text));
        };
        let in_query = is_presigned.then(|| query(pairs, "X-Amz-Security-Token")).flatten().map(Cow::into_owned);
        let token = in_query.or_else(|| header("x-amz-security-token").map(str::to_owned));
        let auth_type = if is_presigned { "REST-QUERY-STRING" } else { "REST-HEADER" };
        Ok(Self { region, auth_type, token })
    }
}

fn common(asked: &Asked<'_>, target: Target) -> Target {
    target
        .with("s3:signatureversion", "AWS4-HMAC-SHA256")
        .with("s3:authType", asked.auth_type)
        .with_some("s3:x-amz-content-sha256", asked.header("x-amz-content-sha256"))
}

fn bucket(asked: &Asked<'_>) -> Vec<Target> {
    let Some(name) = asked.bucket else { return Vec::new() };
    let tags = asked.bucket_row(name).into_iter().flat_map(|row| &row.tags);
    let target = Target::of("bucket", asked.arn(name, None))
        .has_tags(&["aws:ResourceTag/", "s3:BucketTag/"], tags.map(|(key, value)| (key.as_str(), value.as_str())));
    vec![asked.with_policy(common(asked, target), name)]
}

/// The bucket, if the request has a header.
fn bucket_with(asked: &Asked<'_>, header: &str) -> Vec<Target> {
    if asked.header(header).is_some() { bucket(asked) } else { Vec::new() }
}

fn tagged(target: Target, tags: &[(String, String)]) -> Target {
    target.gets_tags(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

fn new_bucket(asked: &Asked<'_>) -> Vec<Target> {
    let with = |target: Target| {
        let target = target
            .with_some("s3:x-amz-object-ownership", asked.header("x-amz-object-ownership"))
            .with_some("s3:x-amz-acl", asked.header("x-amz-acl"))
            .with("s3:locationconstraint", asked.region);
        tagged(target, &asked.create_tags)
    };
    bucket(asked).into_iter().map(with).collect()
}

fn new_bucket_tags(asked: &Asked<'_>) -> Vec<Target> {
    if asked.create_tags.is_empty() {
        return Vec::new();
    }
    bucket(asked).into_iter().map(|target| tagged(target, &asked.create_tags)).collect()
}

fn listed(asked: &Asked<'_>) -> Vec<Target> {
    let text = |name: &str| asked.query(name).map(Cow::into_owned);
    let with = |target: Target| {
        target
            .with_some("s3:prefix", text("prefix"))
            .with_some("s3:delimiter", text("delimiter"))
            .with_some("s3:max-keys", text("max-keys"))
    };
    bucket(asked).into_iter().map(with).collect()
}

fn object(asked: &Asked<'_>) -> Vec<Target> {
    match (asked.bucket, asked.key) {
        (Some(bucket), Some(key)) => vec![asked.object(bucket, key, asked.query("versionId").as_deref())],
        _ => Vec::new(),
    }
}

/// The object, if the request names a version or if it does not.
fn of_version(asked: &Asked<'_>, with_version: bool) -> Vec<Target> {
    if asked.query("versionId").is_some() == with_version { object(asked) } else { Vec::new() }
}

/// The object with the headers of a write.
fn written(asked: &Asked<'_>) -> Vec<Target> {
    const HEADERS: &[(&str, &str)] = &[
        ("s3:x-amz-grant-full-control", "x-amz-grant-full-control"),
        ("s3:x-amz-grant-read", "x-amz-grant-read"),
        ("s3:x-amz-grant-read-acp", "x-amz-grant-read-acp"),
        ("s3:x-amz-grant-write", "x-amz-grant-write"),
        ("s3:x-amz-grant-write-acp", "x-amz-grant-write-acp"),
        ("s3:x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-customer-algorithm"),
        ("s3:x-amz-acl", "x-amz-acl"),
        ("s3:x-amz-storage-class", "x-amz-storage-class"),
        ("s3:x-amz-server-side-encryption", "x-amz-server-side-encryption"),
        ("s3:x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-aws-kms-key-id"),
        ("s3:x-amz-website-redirect-location", "x-amz-website-redirect-location"),
        ("s3:x-amz-copy-source", "x-amz-copy-source"),
        ("s3:x-amz-metadata-directive", "x-amz-metadata-directive"),
    ];
    let with = |target: Target| {
        let target = HEADERS.iter().fold(target, |target, (key, header)| target.with_some(key, asked.header(header)));
        let creates = matches!(asked.operation, "PutObject" | "CopyObject" | "CompleteMultipartUpload");
        request_tags(asked)
            .into_iter()
            .fold(target, |target, (key, value)| target.with(&format!("s3:RequestObjectTag/{key}"), value))
            .with("s3:ObjectCreationOperation", creates)
    };
    object(asked).into_iter().map(with).collect()
}

fn request_tags(asked: &Asked<'_>) -> Vec<(String, String)> {
    asked.header("x-amz-tagging").and_then(|tags| serde_urlencoded::from_str(tags).ok()).unwrap_or_default()
}

/// Tags in the request need a further permission.
fn object_tags(asked: &Asked<'_>) -> Vec<Target> {
    let tags = request_tags(asked);
    if tags.is_empty() {
        return Vec::new();
    }
    let keys: Vec<String> = tags.iter().map(|(key, _)| key.clone()).collect();
    let with = |target: Target| {
        let named = |target: Target, (key, value): &(String, String)| {
            target.with(&format!("s3:RequestObjectTag/{key}"), value.as_str())
        };
        tags.iter().fold(target, named).with("s3:RequestObjectTagKeys", keys.clone())
    };
    object(asked).into_iter().map(with).collect()
}

/// The source of a copy.
fn copied(asked: &Asked<'_>, with_version: bool) -> Vec<Target> {
    match copy_source(asked) {
        Ok(Some(CopySource::Bucket { bucket, key, version_id })) if version_id.is_some() == with_version => {
            vec![asked.object(&bucket, &key, version_id.as_deref())]
        }
        _ => Vec::new(),
    }
}

/// The source of a copy, read as the operation itself reads it; an error if it cannot be read.
fn copy_source(asked: &Asked<'_>) -> Result<Option<CopySource>, Fault> {
    let text = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey";
    let invalid = || Fault::new("InvalidArgument", text);
    let mut headers = asked.headers.get_all("x-amz-copy-source").iter();
    let Some(source) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(invalid());
    }
    let source = source.to_str().map_err(|_| invalid())?;
    match CopySource::parse(source).map_err(|_| invalid())? {
        source @ CopySource::Bucket { .. } => Ok(Some(source)),
        _ => Err(Fault::new("NotImplemented", "A copy from an access point is not implemented").with_status(501)),
    }
}

/// Refuses an operation that its caller may not do.
pub(crate) fn check(asked: &Asked<'_>, origin: &Origin, now: jiff::Timestamp) -> Result<(), Fault> {
    let region = asked.region;
    copy_source(asked)?;
    let Some(identity) = iam::identity(asked.cloud, &origin.access_key, region, now) else {
        let text = "The AWS Access Key Id you provided does not exist in our records.";
        return Err(Fault::new("InvalidAccessKeyId", text).with_status(403));
    };
    let asking = asking(asked.cloud, &identity, origin, asked.operation, region, now);
    let Some((_, actions)) = PERMISSIONS.iter().find(|(name, _)| *name == asked.operation) else {
        if identity.is_administrator() {
            return Ok(());
        }
        let message = format!("the sandbox does not know which permissions s3:{} needs", asked.operation);
        return Err(Fault::new("SandboxUnknownPermissions", message));
    };
    let needs = needs_of(actions.iter().map(|(action, resolve)| (*action, resolve(asked))));
    needs.iter().try_for_each(|need| asking.judge(need))?;
    match (asked.operation, asked.bucket, asked.key) {
        ("GetObject" | "HeadObject", Some(name), Some(key)) if !exists(asked.cloud, name, key) => {
            // Without the permission to list, a missing object cannot be distinguished from a forbidden one
            // (`HeadObject`, API reference, read November 2026).
            bucket(asked).into_iter().try_for_each(|target| asking.judge(&Need { action: "s3:ListBucket", target }))
        }
        _ => Ok(()),
    }
}

fn exists(cloud: &Cloud, bucket: &str, key: &str) -> bool {
    cloud.s3.buckets.get(bucket).is_none() || object::current(cloud, bucket, key).is_some_and(|row| !row.is_marker)
}

fn asking<'a>(
    cloud: &'a Cloud,
    identity: &'a iam::Identity,
    origin: &'a Origin,
    call: &'a str,
    region: &'a str,
    now: jiff::Timestamp,
) -> Asking<'a> {
    Asking { cloud, identity, origin, service: "s3", call, region, now }
}

/// The tags of a new bucket, which the route has put beside the request.
pub(crate) fn create_tags(extensions: &hyper::http::Extensions) -> Vec<(String, String)> {
    extensions.get::<CreateTags>().cloned().unwrap_or_default().0
}

/// Whether the caller may delete one of the keys of `DeleteObjects`; otherwise AWS's sentence.
pub(super) fn may_delete(
    cloud: &Cloud,
    context: &super::Context,
    bucket: &str,
    key: &str,
    version: Option<&str>,
) -> Result<(), Fault> {
    let Some(origin) = &context.origin else { return Ok(()) };
    let Some(identity) = iam::identity(cloud, &origin.access_key, &context.region, context.now) else {
        return Err(Fault::new("AccessDenied", "Access Denied"));
    };
    let action = if version.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
    let (uri, headers) = (Uri::default(), HeaderMap::new());
    let asked = Asked {
        cloud,
        operation: "DeleteObjects",
        bucket: Some(bucket),
        key: Some(key),
        uri: &uri,
        headers: &headers,
        region: &context.region,
        auth_type: context.auth_type,
        create_tags: Vec::new(),
    };
    let target = asked.object(bucket, key, version);
    let asking = asking(cloud, &identity, origin, "DeleteObjects", &context.region, context.now);
    asking.judge(&Need { action, target })
}

/// Whether a host's role may read an object, and whether the object is there: `None` if both are so, otherwise the error
/// with which S3 answers `HeadObject`.
pub(crate) fn read_by_role(
    cloud: &Cloud,
    identity: &iam::Identity,
    region: &str,
    bucket_name: &str,
    key: &str,
    now: jiff::Timestamp,
) -> Option<(u16, &'static str)> {
    let origin =
        Origin { access_key: String::new(), address: None, agent: Some("aws-cli".to_owned()), is_secure: true };
    let (uri, headers) = (Uri::default(), HeaderMap::new());
    let asked = Asked {
        cloud,
        operation: "HeadObject",
        bucket: Some(bucket_name),
        key: Some(key),
        uri: &uri,
        headers: &headers,
        region,
        auth_type: "REST-HEADER",
        create_tags: Vec::new(),
    };
    let asking = asking(cloud, identity, &origin, "HeadObject", region, now);
    let may =
        |action, targets: Vec<Target>| targets.into_iter().all(|target| asking.is_allowed(&Need { action, target }));
    if !may("s3:GetObject", object(&asked)) {
        return Some((403, "Forbidden"));
    }
    if exists(cloud, bucket_name, key) && cloud.s3.buckets.get(bucket_name).is_some() {
        return None;
    }
    Some(if may("s3:ListBucket", bucket(&asked)) { (404, "Not Found") } else { (403, "Forbidden") })
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, Uri};

    use super::{Asked, Signed, copied, copy_source};
    use crate::json::testing;

    fn with_header<T>(name: &'static str, value: &str, look: impl Fn(&Asked<'_>) -> T) -> T {
        let (cloud, uri, mut headers) = (testing::cloud(), Uri::from_static("/to/key"), HeaderMap::new());
        headers.insert(name, value.parse().unwrap());
        look(&Asked {
            cloud: &cloud,
            operation: "CopyObject",
            bucket: Some("to"),
            key: Some("key"),
            uri: &uri,
            headers: &headers,
            region: "eu-west-3",
            auth_type: "REST-HEADER",
            create_tags: Vec::new(),
        })
    }

    #[test]
    fn the_source_of_a_copy_is_judged_by_its_whole_key() {
        for (source, arn, with_version) in [
            ("from/open&secret", "arn:aws:s3:::from/open&secret", false),
            ("/from/a%26b+c=d", "arn:aws:s3:::from/a&b+c=d", false),
            ("from/k?versionId=1", "arn:aws:s3:::from/k", true),
        ] {
            let targets = with_header("x-amz-copy-source", source, |asked| copied(asked, with_version));
            assert_eq!(targets.iter().map(|target| target.arn.as_str()).collect::<Vec<_>>(), [arn]);
        }
        for unreadable in ["from", "from/%ff", "", "arn:aws:s3:eu-west-3:1:accesspoint/x"] {
            let refused = with_header("x-amz-copy-source", unreadable, |asked| copy_source(asked).unwrap_err().code);
            assert!(["InvalidArgument", "NotImplemented"].contains(&refused.as_str()), "{unreadable}: {refused}");
        }
    }

    #[test]
    fn region_token_and_kind_of_a_presigned_url_are_in_its_query() {
        let uri = "/b/k?X-Amz-Signature=0&X-Amz-Credential=AKIA%2F20261126%2Feu-west-3%2Fs3%2Faws4_request\
                   &X-Amz-Security-Token=a%2Bb";
        let signed = Signed::of(&Uri::from_static(uri), &HeaderMap::new()).unwrap();
        assert_eq!(
            (signed.region.as_str(), signed.auth_type, signed.token.as_deref()),
            ("eu-west-3", "REST-QUERY-STRING", Some("a+b"))
        );
        let mut headers = HeaderMap::new();
        let scope =
            "AWS4-HMAC-SHA256 Credential=AKIA/20261126/cn-north-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        headers.insert("authorization", scope.parse().unwrap());
        headers.insert("x-amz-security-token", "t".parse().unwrap());
        let signed = Signed::of(&Uri::from_static("/b/k?X-Amz-Security-Token=other"), &headers).unwrap();
        assert_eq!(
            (signed.region.as_str(), signed.auth_type, signed.token.as_deref()),
            ("cn-north-1", "REST-HEADER", Some("t"))
        );
        assert_eq!(Signed::of(&Uri::from_static("/b"), &HeaderMap::new()).unwrap_err().status, 400);
    }
}
