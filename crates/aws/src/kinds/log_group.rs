//! `log_group`. Its name is unique in account and region. A group belongs to the stack if its tags say so.

use trunnion_engine::{Remote, Rules, Token};
use trunnion_kinds::{LogGroup, Tags};

use crate::{
    Aws, Connection,
    convert::{remote, tag_changes, tags, tags_of, touches, typed},
    driver::{Driver, all},
    error::{Class, Failure, OfCall as _, unless_gone},
    reading::Reading,
};

/// A group's ARN as resource calls take it: without the `:*` at the end.
fn arn(aws: &Aws, name: &str) -> String {
    format!("arn:{}:logs:{}:{}:log-group:{name}", aws.partition(), aws.connection.region, aws.connection.account)
}

fn as_remote(aws: &Aws, group: &LogGroup) -> Result<Remote, Failure> {
    remote(&group.name, group, [("arn", arn(aws, &group.name).into())])
}

async fn read_tags(aws: &Aws, name: &str) -> Result<Option<Tags>, Failure> {
    match aws
        .clients
        .logs
        .list_tags_for_resource()
        .resource_arn(arn(aws, name))
        .send()
        .await
        .of_call("logs:ListTagsForResource")
    {
        Ok(answer) => Ok(Some(tags(answer.tags.into_iter().flatten().map(|(key, value)| (Some(key), Some(value)))))),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn put_retention(aws: &Aws, group: &LogGroup) -> Result<(), Failure> {
    let logs = &aws.clients.logs;
    aws.patiently(&[Class::NotFound, Class::InUse], || async {
        if group.retention_days == 0 {
            let call = logs.delete_retention_policy().log_group_name(&group.name);
            return call.send().await.of_call("logs:DeleteRetentionPolicy").map(drop);
        }
        let call = logs.put_retention_policy().log_group_name(&group.name).retention_in_days(group.retention_days);
        call.send().await.of_call("logs:PutRetentionPolicy").map(drop)
    })
    .await
}

async fn change_tags(aws: &Aws, name: &str, from: &Tags, to: &Tags) -> Result<(), Failure> {
    let (set, removed) = tag_changes(from, to);
    let logs = &aws.clients.logs;
    if !set.is_empty() {
        let call = logs.tag_resource().resource_arn(arn(aws, name)).set_tags(Some(set.into_iter().collect()));
        call.send().await.of_call("logs:TagResource")?;
    }
    if !removed.is_empty() {
        let call = logs.untag_resource().resource_arn(arn(aws, name)).set_tag_keys(Some(removed));
        call.send().await.of_call("logs:UntagResource")?;
    }
    Ok(())
}

/// The log groups whose names begin like this, without their tags.
async fn list(aws: &Aws, prefix: String) -> Result<Vec<Remote>, Failure> {
    let call = aws.clients.logs.describe_log_groups().log_group_name_prefix(prefix);
    let mut pages = call.into_paginator().send();
    let mut groups = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.of_call("logs:DescribeLogGroups")?;
        groups.extend(page.log_groups.into_iter().flatten().map(|group| LogGroup {
            name: group.log_group_name.unwrap_or_default(),
            retention_days: group.retention_in_days.unwrap_or(0),
            tags: Tags::new(),
        }));
    }
    groups.iter().map(|group| as_remote(aws, group)).collect()
}

/// The same group with its tags; `None` if it was deleted.
async fn with_tags(aws: &Aws, found: Remote) -> Result<Option<Remote>, Failure> {
    let mut group: LogGroup = typed(&found.attributes)?;
    let Some(tags) = read_tags(aws, &group.name).await? else { return Ok(None) };
    group.tags = tags;
    as_remote(aws, &group).map(Some)
}

/// The log groups whose names have the stack's prefix.
pub(crate) struct LogGroups;

impl Driver for LogGroups {
    type Attributes = LogGroup;
    const RULES: Rules = LogGroup::RULES;
    const NOUN: &'static str = "the log group";
    const READS_BACK: bool = true;
    const ROUNDS: u32 = 1;
    const IMPORTS: bool = true;

    fn can_exist(name: &str, _: &Connection) -> bool {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/.#".contains(&byte);
        (1..=512).contains(&name.len()) && name.bytes().all(is_allowed)
    }

    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        list(reading.aws, LogGroup::prefix(&reading.aws.connection.stack)).await
    }

    async fn by_ids(&self, aws: &Aws, ids: Vec<String>) -> Result<Vec<Remote>, Failure> {
        let found = ids.into_iter().map(|id| async move {
            let named = list(aws, id.clone()).await?.into_iter().find(|found| found.id == id);
            match named {
                Some(found) => with_tags(aws, found).await,
                None => Ok(None),
            }
        });
        all(found).await
    }

    /// The list has no tags.
    async fn detail(&self, reading: &Reading<'_>, listed: Vec<Remote>) -> Result<Vec<Remote>, Failure> {
        let aws = reading.aws;
        all(listed.into_iter().map(|found| with_tags(aws, found))).await
    }

    async fn create(&self, aws: &Aws, group: LogGroup, _: &Token) -> Result<Remote, Failure> {
        // CloudWatch refuses two changes of one group at a time.
        let made = aws.patiently(&[Class::InUse], || async {
            let call = aws.clients.logs.create_log_group().log_group_name(&group.name);
            call.set_tags(Some(group.tags.clone().into_iter().collect())).send().await.of_call("logs:CreateLogGroup")
        });
        match made.await {
            Ok(_) => {}
            Err(failure) if failure.class == Class::AlreadyExists => {
                let found = aws.until_seen(|| read_tags(aws, &group.name)).await?.unwrap_or_default();
                if !aws.owns(&found) {
                    return Err(Self::foreign(&group.name));
                }
                change_tags(aws, &group.name, &found, &group.tags).await?;
            }
            Err(failure) => return Err(failure),
        }
        put_retention(aws, &group).await?;
        as_remote(aws, &group)
    }

    async fn update(&self, aws: &Aws, remote: &Remote, group: LogGroup, paths: &[String]) -> Result<Remote, Failure> {
        if touches(paths, "retention_days") {
            put_retention(aws, &group).await?;
        }
        change_tags(aws, &group.name, &tags_of(&remote.attributes), &group.tags).await?;
        as_remote(aws, &group)
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        let deleted = aws.patiently(&[Class::InUse], || async {
            aws.clients.logs.delete_log_group().log_group_name(&remote.id).send().await.of_call("logs:DeleteLogGroup")
        });
        unless_gone(deleted.await)
    }
}
