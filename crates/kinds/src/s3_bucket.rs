//! `s3_bucket`: the bucket of the generator binaries. The engine counts it as created once the bucket exists.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules};

use crate::Tags;

/// A private bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Bucket {
    /// Unique in its partition.
    pub name: String,
    /// Whether S3 keeps old versions of objects.
    pub versioning: bool,
    /// The server-side encryption of every object, in S3's spelling: `AES256`.
    pub encryption: String,
    /// Whether all four settings of "block public access" are on.
    pub public_access_blocked: bool,
    /// The bucket policy, as JSON.
    pub policy: String,
    /// All its tags, including those that Trunnion sets.
    pub tags: Tags,
}

/// The name of a stack's bucket. It is always computed the same way, so a bucket is found without any state.
pub fn bucket_name(stack: &str, account: &str, region: &str) -> String {
    format!("{}{region}", bucket_prefix(stack, account))
}

/// The prefix of the names of a stack's buckets; the region follows it.
pub fn bucket_prefix(stack: &str, account: &str) -> String {
    format!("{stack}-{account}-")
}

impl S3Bucket {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "s3_bucket";
    /// How the engine orders, compares and replaces resources of this kind.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &[],
        blocks: &[],
        attributes: &[("name", Attribute::IMMUTABLE), ("policy", Attribute::JSON)],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::CreateFirst,
    };
}
