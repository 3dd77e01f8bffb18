//! `s3_object`: a generator binary under the digest of its content. It counts as created once its upload ended.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Replacement, Rules, Value};

use crate::Tags;

/// An object whose key says what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Object {
    /// The bucket's name.
    pub bucket: Value,
    /// `generator/<sha256>`.
    pub key: String,
    /// The content's SHA-256, in hexadecimal.
    pub sha256: String,
    /// The local file that is uploaded.
    pub source: String,
    /// Its tags, at most ten; its metadata say the same.
    pub tags: Tags,
}

impl S3Object {
    /// The kind's name.
    pub const KIND: &str = "s3_object";
    /// The prefix of every key.
    pub const PREFIX: &str = "generator/";
    /// The kind's rules.
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
