//! The calls of S3, for the artifacts and for the state.
//!
//! Facts of the S3 API reference, read November 2026: without `ListBucket`, S3 answers 403 instead of 404 for a missing
//! object. A create with tags needs `TagResource`, and one with an ownership setting `PutBucketOwnershipControls`.
//! `DeleteObjects` always needs `DeleteObject`, and `DeleteObjectVersion` for versions. `PutObject` with tags needs
//! `PutObjectTagging`; with `If-Match`, it needs `GetObject`.

use super::table::calls;

calls! {
    /// The calls of S3.
    CALLS:
    read "s3:GetBucketEncryption" S3 { "s3:GetEncryptionConfiguration" BUCKET ALL }
    read "s3:GetBucketPolicy" S3 { "s3:GetBucketPolicy" BUCKET ALL }
    read "s3:GetBucketTagging" S3 { "s3:GetBucketTagging" BUCKET ALL }
    read "s3:GetBucketVersioning" S3 { "s3:GetBucketVersioning" BUCKET ALL }
    read "s3:GetPublicAccessBlock" S3 { "s3:GetBucketPublicAccessBlock" BUCKET ALL }
    read "s3:ListObjectVersions" S3 {
        "s3:ListBucketVersions" BUCKET ALL
        "s3:ListBucketVersions" STATE_BUCKET STATE
    }
    read "s3:HeadBucket" S3 { "s3:ListBucket" STATE_BUCKET DOCTOR }
    read "s3:HeadObject" S3 {
        "s3:GetObject" OBJECTS ALL
        "s3:GetObjectVersion" OBJECTS ALL
        "s3:ListBucket" BUCKET ALL
    }
    read "s3:GetObject" S3 {
        "s3:GetObject" STATE READ_STATE
        "s3:GetObjectVersion" STATE STATE
        "s3:ListBucket" STATE_BUCKET READ_STATE
    }

    change "s3:CreateBucket" S3 {
        "s3:CreateBucket" BUCKET APPLY
        "s3:TagResource" BUCKET APPLY
        "s3:PutBucketOwnershipControls" BUCKET APPLY
    }
    change "s3:PutBucketEncryption" S3 { "s3:PutEncryptionConfiguration" BUCKET APPLY }
    change "s3:PutBucketOwnershipControls" S3 { "s3:PutBucketOwnershipControls" BUCKET APPLY }
    change "s3:PutBucketPolicy" S3 { "s3:PutBucketPolicy" BUCKET APPLY }
    change "s3:PutBucketTagging" S3 { "s3:PutBucketTagging" BUCKET UNMARK }
    change "s3:PutBucketVersioning" S3 { "s3:PutBucketVersioning" BUCKET APPLY }
    change "s3:PutPublicAccessBlock" S3 { "s3:PutBucketPublicAccessBlock" BUCKET APPLY }
    change "s3:DeleteBucket" S3 { "s3:DeleteBucket" BUCKET DESTROY }

    change "s3:PutObject" S3 {
        "s3:PutObject" OBJECTS APPLY
        "s3:PutObjectTagging" OBJECTS APPLY
        "s3:PutObject" STATE WRITE_STATE
    }
    change "s3:DeleteObjects" S3 {
        "s3:DeleteObject" OBJECTS CHANGE
        "s3:DeleteObjectVersion" OBJECTS CHANGE
    }
    change "s3:DeleteObject" S3 { "s3:DeleteObject" STATE WRITE_STATE }
}
