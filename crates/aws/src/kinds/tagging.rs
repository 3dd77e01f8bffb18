//! Tags of EC2, ECS, IAM and S3 resources: reads them, sets them at creation and changes them.

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use trunnion_kinds::{ADDRESS_TAG, STACK_TAG, Tags};

use crate::{
    Aws,
    convert::{tag_changes, tags},
    error::{Class, Failure, OfCall as _},
};

/// EC2's tags by key.
pub(crate) fn from_ec2(list: Option<Vec<Tag>>) -> Tags {
    tags(list.into_iter().flatten().map(|tag| (tag.key, tag.value)))
}

/// Tags as EC2's type.
pub(crate) fn to_ec2(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// An EC2 filter: the resources with one of these values.
pub(crate) fn filter(name: impl Into<String>, values: Vec<String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// A filter for the resources with the stack's tag.
pub(crate) fn of_stack(aws: &Aws) -> Filter {
    filter(format!("tag:{STACK_TAG}"), vec![aws.connection.stack.clone()])
}

/// The tags of a resource that a create call creates.
pub(crate) fn specification(resource: ResourceType, tags: &Tags) -> TagSpecification {
    TagSpecification::builder().resource_type(resource).set_tags(Some(to_ec2(tags))).build()
}

/// Changes the tags of several EC2 resources that have the same tags.
pub(crate) async fn change_ec2(aws: &Aws, ids: &[String], from: &Tags, to: &Tags) -> Result<(), Failure> {
    let (set, removed) = tag_changes(from, to);
    for ids in ids.chunks(IDS_PER_CALL) {
        put_ec2(aws, ids, &set, &removed).await?;
    }
    Ok(())
}

/// How many resources one call tags (EC2 API reference, `CreateTags`, read November 2026).
const IDS_PER_CALL: usize = 1000;

async fn put_ec2(aws: &Aws, ids: &[String], set: &Tags, removed: &[String]) -> Result<(), Failure> {
    let ec2 = &aws.clients.ec2;
    if !set.is_empty() {
        aws.patiently(&[Class::NotFound, Class::Precondition], || async {
            let call = ec2.create_tags().set_resources(Some(ids.to_vec())).set_tags(Some(to_ec2(set)));
            call.send().await.of_call("ec2:CreateTags")
        })
        .await?;
    }
    if !removed.is_empty() {
        let keys: Vec<Tag> = removed.iter().map(|key| Tag::builder().key(key).build()).collect();
        aws.patiently(&[Class::Precondition], || async {
            let call = ec2.delete_tags().set_resources(Some(ids.to_vec())).set_tags(Some(keys.clone()));
            call.send().await.of_call("ec2:DeleteTags")
        })
        .await?;
    }
    Ok(())
}

/// ECS's tags by key.
pub(crate) fn from_ecs(list: Option<Vec<aws_sdk_ecs::types::Tag>>) -> Tags {
    tags(list.into_iter().flatten().map(|tag| (tag.key, tag.value)))
}

/// Tags as ECS's type.
pub(crate) fn to_ecs(tags: &Tags) -> Vec<aws_sdk_ecs::types::Tag> {
    tags.iter().map(|(key, value)| aws_sdk_ecs::types::Tag::builder().key(key).value(value).build()).collect()
}

/// Changes the tags of an ECS resource.
pub(crate) async fn change_ecs(aws: &Aws, arn: &str, from: &Tags, to: &Tags) -> Result<(), Failure> {
    let (set, removed) = tag_changes(from, to);
    let ecs = &aws.clients.ecs;
    if !set.is_empty() {
        let call = ecs.tag_resource().resource_arn(arn).set_tags(Some(to_ecs(&set)));
        call.send().await.of_call("ecs:TagResource")?;
    }
    if !removed.is_empty() {
        let call = ecs.untag_resource().resource_arn(arn).set_tag_keys(Some(removed));
        call.send().await.of_call("ecs:UntagResource")?;
    }
    Ok(())
}

/// Tags as IAM's type.
pub(crate) fn to_iam(tags: &Tags) -> Result<Vec<aws_sdk_iam::types::Tag>, Failure> {
    tags.iter()
        .map(|(key, value)| aws_sdk_iam::types::Tag::builder().key(key).value(value).build())
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::own(error.to_string(), None))
}

/// IAM's tags by key.
pub(crate) fn from_iam(list: Option<Vec<aws_sdk_iam::types::Tag>>) -> Tags {
    tags(list.into_iter().flatten().map(|tag| (Some(tag.key), Some(tag.value))))
}

/// Tags with an address that S3 accepts. S3 refuses brackets, so the address becomes `s3_object.generator/x86_64`.
pub(crate) fn s3_tags(tags: &Tags) -> Tags {
    let mut tags = tags.clone();
    if let Some(address) = tags.get_mut(ADDRESS_TAG) {
        *address = address.replace('[', "/").replace(']', "");
    }
    tags
}

/// Tags as S3's type.
pub(crate) fn to_s3(tags: &Tags) -> Result<aws_sdk_s3::types::Tagging, Failure> {
    let own = |error: aws_sdk_s3::error::BuildError| Failure::own(error.to_string(), None);
    let list = s3_tags(tags)
        .iter()
        .map(|(key, value)| aws_sdk_s3::types::Tag::builder().key(key).value(value).build())
        .collect::<Result<Vec<_>, _>>()
        .map_err(own)?;
    aws_sdk_s3::types::Tagging::builder().set_tag_set(Some(list)).build().map_err(own)
}

/// S3's tags by key, with the address in its usual form.
pub(crate) fn from_s3(list: Vec<aws_sdk_s3::types::Tag>) -> Tags {
    let mut tags = tags(list.into_iter().map(|tag| (Some(tag.key), Some(tag.value))));
    if let Some(address) = tags.get_mut(ADDRESS_TAG)
        && let Some((resource, index)) = address.split_once('/')
    {
        *address = format!("{resource}[{index}]");
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_no_brackets_in_s3_and_regain_them_when_read() {
        for (address, in_s3) in [
            ("s3_object.generator[x86_64]", "s3_object.generator/x86_64"),
            ("s3_bucket.artifacts", "s3_bucket.artifacts"),
        ] {
            let ours =
                Tags::from([(ADDRESS_TAG.to_owned(), address.to_owned()), ("team".to_owned(), "a/b".to_owned())]);
            let tagging = to_s3(&ours).unwrap();
            let written = tagging.tag_set.iter().find(|tag| tag.key == ADDRESS_TAG).unwrap();
            assert_eq!(written.value, in_s3);
            assert_eq!(from_s3(tagging.tag_set.clone()), ours);
        }
    }
}
