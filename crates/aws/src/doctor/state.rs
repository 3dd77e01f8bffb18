//! The bucket of a state in S3.

use aws_sdk_s3::Client;
use trunnion_engine::Finding;

use super::failed;
use crate::{
    Aws,
    error::{Class, OfCall as _},
    store::in_region_of_bucket,
};

pub(super) async fn examine(aws: &Aws, state: Option<(&str, &str)>) -> Vec<Finding> {
    let Some((bucket, _)) = state else { return Vec::new() };
    let subject = format!("state bucket {bucket}");
    let head = |s3: Client| s3.head_bucket().bucket(bucket).send();
    let (answer, moved) = in_region_of_bucket(aws.clients.s3.clone(), head).await;
    let elsewhere = moved.as_ref().and_then(|s3| s3.config().region());
    vec![match answer.of_call("s3:HeadBucket") {
        Ok(_) => Finding::ok(subject, elsewhere.map_or("exists".to_owned(), |region| format!("exists, in {region}"))),
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
