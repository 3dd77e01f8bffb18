//! Operations that `s3s` 0.14 does not know. Without this it takes them for others: it would read
//! `DELETE /BUCKET?metadataConfiguration` as `DeleteBucket`.

use std::sync::Arc;

use hyper::{HeaderMap, Method, Uri, http::Extensions};
use s3s::{Body, S3ErrorCode, S3Request, S3Response, S3Result, route::S3Route};

use super::error;
use crate::{control::Control, query::Params};

/// Method, name of the query parameter, whether the path has a key, and the operation (S3 API reference, read November
/// 2026).
const OPERATIONS: [(Method, &str, bool, &str); 9] = [
    (Method::POST, "metadataConfiguration", false, "CreateBucketMetadataConfiguration"),
    (Method::DELETE, "metadataConfiguration", false, "DeleteBucketMetadataConfiguration"),
    (Method::GET, "metadataConfiguration", false, "GetBucketMetadataConfiguration"),
    (Method::PUT, "metadataInventoryTable", false, "UpdateBucketMetadataInventoryTableConfiguration"),
    (Method::PUT, "metadataJournalTable", false, "UpdateBucketMetadataJournalTableConfiguration"),
    (Method::GET, "abac", false, "GetBucketAbac"),
    (Method::PUT, "abac", false, "PutBucketAbac"),
    (Method::PUT, "renameObject", true, "RenameObject"),
    (Method::PUT, "encryption", true, "UpdateObjectEncryption"),
];

/// Refuses these operations by their names.
pub(super) struct Unserved {
    pub control: Arc<Control>,
}

fn operation(method: &Method, uri: &Uri) -> Option<&'static str> {
    let has_key = uri.path().trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    let parameters = uri.query()?.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    let names: Vec<&str> = parameters.collect();
    let found =
        OPERATIONS.iter().find(|(of, name, of_key, _)| of == method && *of_key == has_key && names.contains(name));
    found.map(|(.., operation)| *operation)
}

#[async_trait::async_trait]
impl S3Route for Unserved {
    fn is_match(&self, method: &Method, uri: &Uri, _headers: &HeaderMap, _extensions: &mut Extensions) -> bool {
        operation(method, uri).is_some()
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let name = operation(&request.method, &request.uri).unwrap_or_default();
        // It is counted; no fault is needed for what is not served.
        let _ = self.control.admit(&request.headers, "s3", "", name, &Params::new(&[]));
        Err(error(S3ErrorCode::NotImplemented, format!("{name} is not implemented yet")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_operations_are_refused() {
        let named = |method: Method, uri: &'static str| operation(&method, &Uri::from_static(uri));
        assert_eq!(named(Method::DELETE, "/b?metadataConfiguration"), Some("DeleteBucketMetadataConfiguration"));
        assert_eq!(named(Method::DELETE, "/b/?x=1&metadataConfiguration="), Some("DeleteBucketMetadataConfiguration"));
        assert_eq!(named(Method::PUT, "/b/k?encryption"), Some("UpdateObjectEncryption"));
        assert_eq!(named(Method::PUT, "/b?encryption"), None, "PutBucketEncryption");
        assert_eq!(named(Method::DELETE, "/b"), None);
        assert_eq!(named(Method::DELETE, "/b?metadataConfigurations"), None);
    }
}
