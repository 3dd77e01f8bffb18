//! Reads from a request what `s3s` does not: the tags of a new bucket.

use hyper::Method;
use quick_xml::de::from_str;
use s3s::{Body, HttpError, HttpRequest};
use serde::Deserialize;

/// The longest body of `CreateBucket` that is read, in bytes; 50 tags are much shorter.
const MAX_CREATE_BODY: usize = 1024 * 1024;

/// The tags in a `CreateBucket` request.
#[derive(Debug, Clone, Default)]
pub(super) struct CreateTags(pub Vec<(String, String)>);

/// Adds the tags of a `CreateBucket` to the request's extensions, because the input type of `s3s` 0.14 has no member
/// for them.
pub(super) async fn with_create_tags(request: HttpRequest) -> Result<HttpRequest, HttpError> {
    #[derive(Deserialize)]
    struct Configuration {
        #[serde(rename = "Tags")]
        tags: Option<Tags>,
    }
    #[derive(Deserialize)]
    struct Tags {
        #[serde(rename = "Tag", default)]
        tag: Vec<Tag>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Tag {
        key: String,
        #[serde(default)]
        value: String,
    }
    if !creates_bucket(&request) {
        return Ok(request);
    }
    let (mut parts, mut body) = request.into_parts();
    let bytes = body.store_all_limited(MAX_CREATE_BODY).await.map_err(HttpError::new)?;
    // s3s refuses bodies that are not a configuration.
    let configuration = std::str::from_utf8(&bytes).ok().and_then(|text| from_str::<Configuration>(text).ok());
    if let Some(tags) = configuration.and_then(|configuration| configuration.tags) {
        let tags = tags.tag.into_iter().map(|tag| (tag.key, tag.value)).collect();
        parts.extensions.insert(CreateTags(tags));
    }
    Ok(HttpRequest::from_parts(parts, Body::from(bytes)))
}

fn creates_bucket(request: &HttpRequest) -> bool {
    let bucket = request.uri().path().trim_matches('/');
    let query = request.uri().query().unwrap_or_default();
    let is_plain = query.is_empty() || query == "x-id=CreateBucket";
    *request.method() == Method::PUT && is_plain && !bucket.is_empty() && !bucket.contains('/')
}
