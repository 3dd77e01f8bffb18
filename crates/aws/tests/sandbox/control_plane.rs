//! At most one control plane runs at a time, whatever changes and whatever is killed in between. The sandbox counts.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trunnion_aws::Aws;
use trunnion_engine::{Context, Provider as _, ProviderError, Remote};
use trunnion_kinds::EcsService;

use crate::common::{self, Cloud, ControlPlane, DEFINITION, SERVICE, at, cloud, refused, resolved, strict};

/// The highest number of the service's tasks that were not STOPPED at the same time.
fn most(cloud: &Cloud) -> Vec<u64> {
    cloud.running.most_tasks().into_values().collect()
}

fn count(cloud: &Cloud, operation: &str) -> u64 {
    cloud.running.calls().get(operation).map_or(0, |calls| calls.count)
}

/// The context of an interrupted process: its waits end at once.
fn interrupted() -> Context {
    let interrupt = CancellationToken::new();
    interrupt.cancel();
    Context::new(interrupt)
}

async fn update(
    aws: &Aws,
    remote: &Remote,
    asked: &EcsService,
    paths: &[&str],
    context: &Context,
) -> Result<Remote, ProviderError> {
    let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
    aws.update(remote, &resolved(SERVICE, asked), &paths, context).await
}

#[tokio::test]
async fn no_change_starts_a_second_one() {
    let cloud = cloud(strict()).await;
    let mut plane = ControlPlane::start(&cloud).await;
    plane.asked.task_definition = plane.next_revision(&cloud, "2").await;
    cloud.update(SERVICE, &plane.service, &plane.asked, &["task_definition"]).await;
    plane.asked.network.public_ip = false;
    cloud.update(SERVICE, &plane.service, &plane.asked, &["network.public_ip"]).await;
    plane.asked.deployment.maximum_percent = 200;
    cloud.update(SERVICE, &plane.service, &plane.asked, &["deployment.maximum_percent"]).await;
    plane.asked.deployment.maximum_percent = 100;
    plane.asked.task_definition = plane.next_revision(&cloud, "3").await;
    cloud.update(SERVICE, &plane.service, &plane.asked, &["deployment.maximum_percent", "task_definition"]).await;
    let before = cloud.one(SERVICE).await;
    assert_eq!(before.attributes["task_definition"], plane.asked.task_definition);

    cloud.aws.delete(&at(SERVICE), &before, &Context::default()).await.unwrap();
    cloud.create(SERVICE, &plane.asked).await;
    assert_eq!(most(&cloud), [1]);
}

#[tokio::test]
async fn an_interrupted_change_continues_with_one_task() {
    let cloud = cloud(strict()).await;
    let mut plane = ControlPlane::start(&cloud).await;
    plane.asked.task_definition = plane.next_revision(&cloud, "2").await;

    // Killed while the old task stops.
    let killed =
        update(&cloud.aws, &plane.service, &plane.asked, &["task_definition"], &interrupted()).await.unwrap_err();
    assert!(killed.is_interruption() && killed.message.contains(" is still "), "{killed}");
    let seen = cloud.one(SERVICE).await;
    assert_eq!(seen.attributes["desired_count"].as_number(), Some(0), "the next plan sees a difference");
    // The call that starts the new one is refused.
    cloud.running.set_faults(vec![trunnion_sandbox::FaultRule {
        nth: 2,
        ..refused("ecs:UpdateService", 1, 403, "AccessDeniedException")
    }]);
    let paths = ["desired_count", "task_definition"];
    let failed = update(&cloud.aws, &seen, &plane.asked, &paths, &Context::default()).await.unwrap_err();
    assert!(failed.message.starts_with("the control plane is stopped: `ecs:UpdateService` "), "{failed}");
    let seen = cloud.one(SERVICE).await;
    assert_eq!(seen.attributes["desired_count"].as_number(), Some(0));
    // A process that does not know that the service exists.
    let adopted = cloud.create(SERVICE, &plane.asked).await;
    assert_eq!(cloud.one(SERVICE).await, adopted);
    assert_eq!(most(&cloud), [1]);

    // Killed right after the deletion: the name is in use until the last task has stopped.
    let killed = cloud.aws.delete(&at(SERVICE), &adopted, &interrupted()).await.unwrap_err();
    assert!(killed.is_interruption(), "{killed}");
    cloud.create(SERVICE, &plane.asked).await;
    assert_eq!(most(&cloud), [1]);
}

#[tokio::test]
async fn one_that_somebody_starts_again_while_it_stops_is_not_waited_for() {
    // An old task takes seconds to stop.
    let cloud = cloud(strict().with_speed(20.0)).await;
    let lag = Duration::from_millis(200);
    let aws = common::connect_with(&cloud.running, |connection| connection.lag = lag).await;
    let mut plane = ControlPlane::start(&cloud).await;
    plane.asked.task_definition = plane.next_revision(&cloud, "2").await;
    let other = async {
        while count(&cloud, "ecs:UpdateService") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (cluster, name) = (&plane.service.attributes["cluster"], &plane.service.attributes["name"]);
        let call = aws_sdk_ecs::Client::new(&common::sdk(&cloud.running)).update_service();
        let call = call.cluster(cluster.as_text().unwrap()).service(name.as_text().unwrap());
        call.desired_count(1).send().await.unwrap();
    };
    let context = Context::default();
    let (failed, ()) = tokio::join!(update(&aws, &plane.service, &plane.asked, &["task_definition"], &context), other);
    let failed = failed.unwrap_err();
    assert!(failed.message.contains("somebody started the service"), "{failed}");
}

#[tokio::test]
async fn an_adopted_one_with_another_network_is_stopped_first() {
    let cloud = cloud(strict()).await;
    let mut plane = ControlPlane::start(&cloud).await;
    let vpc = common::text(&cloud.observe().await.lookups[&at("vpc.main")], "id");
    let other = cloud.create("security_group.other", &common::group("other", &vpc, vec![])).await;
    plane.asked.network.security_groups = vec![common::text(&other.attributes, "id")];
    let adopted = cloud.create(SERVICE, &plane.asked).await;
    assert_eq!(cloud.one(SERVICE).await.attributes["network"], adopted.attributes["network"]);
    assert_eq!(most(&cloud), [1]);
}

#[tokio::test]
async fn a_tag_changes_while_it_runs() {
    let cloud = cloud(strict()).await;
    let mut plane = ControlPlane::start(&cloud).await;
    plane.asked.tags.insert("team".into(), "quality".into());
    let before = count(&cloud, "ecs:UpdateService");
    cloud.update(SERVICE, &plane.service, &plane.asked, &["tags.team"]).await;
    // An adopted service that already matches is not changed.
    cloud.create(SERVICE, &plane.asked).await;
    assert_eq!(count(&cloud, "ecs:UpdateService"), before);
    // A new deployment configuration starts no task: one call, and no scaling.
    plane.asked.deployment.maximum_percent = 200;
    cloud.update(SERVICE, &plane.service, &plane.asked, &["deployment.maximum_percent"]).await;
    assert_eq!(count(&cloud, "ecs:UpdateService"), before + 1);
}

#[tokio::test]
async fn after_a_delete_the_cluster_and_the_groups_are_free() {
    let cloud = cloud(strict()).await;
    let plane = ControlPlane::start(&cloud).await;
    cloud.aws.delete(&at(SERVICE), &plane.service, &Context::default()).await.unwrap();
    cloud.aws.delete(&at("ecs_cluster.main"), &plane.cluster, &Context::default()).await.unwrap();
    cloud.aws.delete(&at("security_group.control_plane"), &plane.group, &Context::default()).await.unwrap();
    let calls = cloud.running.calls();
    assert_eq!((calls["ecs:DeleteCluster"].count, calls["ec2:DeleteSecurityGroup"].count), (1, 1));
}

#[tokio::test]
async fn deletes_wait_for_a_stopping_task() {
    let cloud = cloud(strict()).await;
    let plane = ControlPlane::start(&cloud).await;
    cloud.aws.delete(&at(SERVICE), &plane.service, &interrupted()).await.unwrap_err();
    // The service may be deleted by now, but its task still runs, and the short patience alone is not enough.
    let patience = Duration::from_millis(300);
    let aws = common::connect_with(&cloud.running, |connection| connection.patience = patience).await;
    aws.delete(&at("ecs_cluster.main"), &plane.cluster, &Context::default()).await.unwrap();
    aws.delete(&at("security_group.control_plane"), &plane.group, &Context::default()).await.unwrap();
    assert!(cloud.running.calls()["ecs:DeleteCluster"].count > 1);
}

#[tokio::test]
async fn a_missing_service_linked_role_is_named() {
    let cloud = cloud(strict().without_service_roles()).await;
    let patience = Duration::from_millis(300);
    let aws = common::connect_with(&cloud.running, |connection| connection.patience = patience).await;
    let cloud = Cloud { aws, ..cloud };
    let observed = cloud.observe().await;
    let vpc = common::text(&observed.lookups[&at("vpc.main")], "id");
    let group = cloud.create("security_group.control_plane", &common::group("control_plane", &vpc, vec![])).await;
    let role = cloud.create("iam_role.control_plane", &common::role("control_plane", "ecs-tasks.amazonaws.com")).await;
    let cluster = cloud.create("ecs_cluster.main", &common::cluster()).await;
    let definition = cloud.create(DEFINITION, &common::definition(&common::text(&role.attributes, "arn"))).await;
    let asked = common::service(&cluster, &definition, &observed, &common::text(&group.attributes, "id"));
    let resource = resolved(SERVICE, &asked);
    let error = cloud.aws.create(&resource, &common::token(&resource), &Context::default()).await.unwrap_err();
    assert!(error.message.contains("service linked role"), "{error}");
}
