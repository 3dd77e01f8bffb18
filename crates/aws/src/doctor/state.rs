//! The bucket of a state in S3.

use trunnion_engine::Finding;

use super::failed;
use crate::{
    Aws,
    error::{Class, OfCall as _},
};

pub(super) async fn examine(aws: &Aws, state: Option<(&str, &str)>) -> Vec<Finding> {
    let Some((bucket, _)) = state else { return Vec::new() };
    let subject = format!("state bucket {bucket}");
    let answer = aws.clients.s3.head_bucket().bucket(bucket).send().await.of_call("s3:HeadBucket");
    vec![match answer {
        Ok(_) => Finding::ok(subject, "exists"),
        Err(failure) if failure.class == Class::NotFound => {
            let region = &aws.connection.region;
            let help = format!(
                "create it with versioning: `aws s3 mb s3://{bucket} --region {region}` and `aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled`"
            );
            Finding::missing(subject, "the bucket does not exist", Some(help))
        }
        Err(failure) => failed(subject, failure),
    }]
}
