//! `s3_object`: a generator binary, named after the digest of its content. The engine counts it as created once the
//! upload has ended.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Replacement, Rules, Value};

use crate::Tags;

/// An object whose key contains the SHA-256 of its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Object {
    /// Name of the bucket.
    pub bucket: Value,
    /// `generator/<sha256>`.
    pub key: String,
    /// The content's SHA-256, in hexadecimal.
    pub sha256: String,
    /// Path of the local file that is uploaded.
    pub source: String,
    /// At most ten; the object's metadata has the same keys and values.
    pub tags: Tags,
}

impl S3Object {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "s3_object";
    /// The prefix of every key.
    pub const PREFIX: &str = "generator/";
    /// How the engine orders, compares and replaces resources of this kind.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["s3_bucket"],
        blocks: &["s3_bucket"],
        attributes: &[
            ("bucket", Attribute::IMMUTABLE),
            ("key", Attribute::IMMUTABLE),
            ("source", Attribute::CREATE_ONLY),
            ("tags", Attribute::CREATE_ONLY),
        ],
        computed: &[],
        replacement: Replacement::CreateFirst,
    };
}
