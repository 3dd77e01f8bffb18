//! The S3 bucket and the generator binaries in it.

use trunnion_engine::Resource;
use trunnion_kinds::{S3Bucket, S3Object};
use trunnion_stack::Stack;

use crate::{
    BlueprintError, Boots,
    address::{self, bucket_of, own_tags, tags},
    binaries::key,
    policy::{Policy, Statement, partition},
    resource,
};

/// The bucket, and one object for each generator binary that hosts boot.
pub(crate) fn resources(stack: &Stack, boots: &Boots) -> Result<Vec<Resource>, BlueprintError> {
    let bucket = S3Bucket {
        name: bucket_of(stack),
        versioning: true,
        encryption: "AES256".to_owned(),
        public_access_blocked: true,
        policy: bucket_policy(stack).compact()?,
        tags: tags(stack, &address::bucket()),
    };
    let mut resources = vec![resource(address::bucket(), &bucket)?];
    for (address, artifact) in boots.objects() {
        let object = S3Object {
            bucket: bucket.name.clone().into(),
            key: key(&artifact.sha256),
            sha256: artifact.sha256.clone(),
            source: artifact.source.clone(),
            tags: own_tags(stack, address),
        };
        resources.push(resource(address.clone(), &object)?.after([address::bucket()]));
    }
    Ok(resources)
}

/// The bucket's policy, with the path that `trunnion render policy` prints it under.
pub(crate) fn policies(stack: &Stack) -> [(String, Policy); 1] {
    [(format!("{}.policy", address::bucket()), bucket_policy(stack))]
}

fn bucket_policy(stack: &Stack) -> Policy {
    let arn = format!("arn:{}:s3:::{}", partition(&stack.region), bucket_of(stack));
    let insecure = ("Bool", "aws:SecureTransport", "false".to_owned());
    Policy::new([Statement::deny("TlsOnly", "s3:*", vec![arn.clone(), format!("{arn}/*")], insecure)])
}
