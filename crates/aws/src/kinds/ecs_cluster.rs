//! `ecs_cluster`. ECS answers a create call for an existing name with the existing cluster.

use aws_sdk_ecs::types::ClusterField;
use trunnion_engine::{Applied, Remote, Rules, Token};
use trunnion_kinds::{APPLIED_TAG, EcsCluster, Tags};

use super::tagging::{change_ecs, from_ecs, to_ecs};
use crate::{
    Aws, Connection,
    convert::{is_ours, remote, tags_of},
    driver::Driver,
    error::{Class, Failure, OfCall as _, unless_gone},
    reading::Reading,
    recorded::is_ecs,
};

/// The attribute with the remark on who applied last. It is taken out before anything is compared.
pub(crate) const APPLIED: &str = "applied";

fn as_remote(arn: &str, cluster: &EcsCluster) -> Result<Remote, Failure> {
    remote(arn, cluster, [("arn", arn.into())])
}

/// The tags that are compared, and the one that says who applied last.
fn compared(tags: Option<Vec<aws_sdk_ecs::types::Tag>>) -> (Tags, Option<String>) {
    let mut tags = from_ecs(tags);
    let applied = tags.remove(APPLIED_TAG);
    (tags, applied)
}

/// Says in the cluster who applied last.
pub(crate) async fn sign(aws: &Aws, arn: &str, applied: &Applied) -> Result<(), Failure> {
    let tags = to_ecs(&Tags::from([(APPLIED_TAG.to_owned(), applied.to_string())]));
    aws.if_known(|| async {
        let call = aws.clients.ecs.tag_resource().resource_arn(arn).set_tags(Some(tags.clone()));
        call.send().await.of_call("ecs:TagResource").map(drop)
    })
    .await
}

/// The active cluster with this name, of any owner, and who applied last.
async fn find(aws: &Aws, name: &str) -> Result<Option<(String, EcsCluster, Option<String>)>, Failure> {
    let call = aws.clients.ecs.describe_clusters().clusters(name).include(ClusterField::Tags);
    let answer = call.send().await.of_call("ecs:DescribeClusters")?;
    let active = |cluster: &aws_sdk_ecs::types::Cluster| cluster.status.as_deref() != Some("INACTIVE");
    Ok(answer.clusters.into_iter().flatten().find(active).map(|cluster| {
        let name = cluster.cluster_name.unwrap_or_default();
        let (tags, applied) = compared(cluster.tags);
        (cluster.cluster_arn.unwrap_or_default(), EcsCluster { name, tags }, applied)
    }))
}

/// The stack's only cluster, which has the stack's name.
pub(crate) struct EcsClusters;

impl Driver for EcsClusters {
    type Attributes = EcsCluster;
    const RULES: Rules = EcsCluster::RULES;
    const NOUN: &'static str = "the ECS cluster";

    fn can_exist(arn: &str, connection: &Connection) -> bool {
        is_ecs(arn, "cluster/", connection)
    }

    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        let found = find(reading.aws, &reading.aws.connection.stack).await?;
        let with_remark = |(arn, cluster, applied): &(String, EcsCluster, Option<String>)| {
            let applied = applied.as_deref().map(|applied| (APPLIED, applied.into()));
            remote(arn, cluster, [("arn", arn.as_str().into())].into_iter().chain(applied))
        };
        found.iter().map(with_remark).collect()
    }

    async fn create(&self, aws: &Aws, cluster: EcsCluster, _: &Token) -> Result<Remote, Failure> {
        if let Some((arn, found, _)) = find(aws, &cluster.name).await? {
            if !aws.owns(&found.tags) {
                return Err(Self::foreign(&cluster.name));
            }
            return self.adopt(aws, &as_remote(&arn, &found)?, cluster).await;
        }
        // For the first cluster of an account, ECS creates its service-linked role, which takes a moment.
        let answer = aws
            .patiently(&[Class::Lag], || async {
                let call = aws.clients.ecs.create_cluster().cluster_name(&cluster.name);
                call.set_tags(Some(to_ecs(&cluster.tags))).send().await.of_call("ecs:CreateCluster")
            })
            .await?;
        let made = answer.cluster;
        let (tags, _) = compared(made.as_ref().and_then(|made| made.tags.clone()));
        let arn = made.and_then(|made| made.cluster_arn).unwrap_or_default();
        // An existing cluster that AWS did not show before is returned with its own tags.
        if !tags.is_empty() {
            if !is_ours(&tags, &aws.connection.stack) {
                return Err(Self::foreign(&cluster.name));
            }
            change_ecs(aws, &arn, &tags, &cluster.tags).await?;
        }
        as_remote(&arn, &cluster)
    }

    async fn update(&self, aws: &Aws, remote: &Remote, cluster: EcsCluster, _: &[String]) -> Result<Remote, Failure> {
        change_ecs(aws, &remote.id, &tags_of(&remote.attributes), &cluster.tags).await?;
        as_remote(&remote.id, &cluster)
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        // Tasks of a deleted service take some minutes to stop.
        let deleted = aws
            .very_patiently(&[Class::InUse], || async {
                aws.clients.ecs.delete_cluster().cluster(&remote.id).send().await.of_call("ecs:DeleteCluster")
            })
            .await;
        unless_gone(deleted)
    }
}
