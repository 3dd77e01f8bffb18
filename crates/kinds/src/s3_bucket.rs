//! `s3_bucket`: where the generator binaries lie. It counts as created once the bucket is there.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules};

use crate::Tags;

/// A private bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Bucket {
    /// Its name, unique in the world.
    pub name: String,
    /// Whether old versions of objects are kept.
    pub versioning: bool,
    /// The server-side encryption of every object, as S3 spells it: `AES256`.
    pub encryption: String,
    /// Whether all four kinds of public access are blocked.
    pub public_access_blocked: bool,
    /// The bucket policy, as JSON.
    pub policy: String,
    /// Its tags.
    pub tags: Tags,
}

/// The name of a stack's bucket: the same wherever it is computed, so a bucket is found without any state.
pub fn bucket_name(stack: &str, account: &str, region: &str) -> String {
    format!("{}{region}", bucket_prefix(stack, account))
}

/// The beginning of the names of a stack's buckets: the region follows.
pub fn bucket_prefix(stack: &str, account: &str) -> String {
    format!("{stack}-{account}-")
}

impl S3Bucket {
    /// The kind's name.
    pub const KIND: &str = "s3_bucket";
    /// The kind's rules.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &[],
        blocks: &[],
        attributes: &[("name", Attribute::IMMUTABLE), ("policy", Attribute::JSON)],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::CreateFirst,
    };
}
