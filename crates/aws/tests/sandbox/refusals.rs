//! AWS's errors for changes that are too early, concurrent or already done.

use std::time::Duration;

use trunnion_engine::{Context, ErrorClass, Provider as _};
use trunnion_sandbox::{Delay, Effect, FaultRule};

use crate::{
    common::{self, Cloud, at, bucket, cloud, group, profile, refused, resolved, role, strict, text},
    lifecycle::{create_all, delete_all},
};

/// Creates, changes and deletes everything while calls fail.
async fn run_whole_life(cloud: &Cloud) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"a generator").unwrap();
    let made = create_all(cloud, file.path(), b"a generator").await;
    let observed = cloud.observe().await;
    assert_eq!(observed.remotes.len(), made.len());
    assert!(observed.remotes.values().all(|remotes| remotes.len() == 1), "{:?}", observed.remotes);
    let mut changed = role("generator", "ec2.amazonaws.com");
    changed.description = "changed".into();
    changed.trust_policy = changed.trust_policy.replace("ec2.", "ssm.");
    changed.policy = None;
    changed.attached_policies = vec!["arn:aws:iam::aws:policy/ReadOnlyAccess".into()];
    changed.tags.remove("team");
    changed.tags.insert("cost".into(), "1".into());
    let remote = &observed.remotes[&at("iam_role.generator")][0];
    cloud.update("iam_role.generator", remote, &changed, &["description", "trust_policy", "policy", "tags"]).await;
    let mut changed = profile();
    changed.tags.remove("team");
    changed.tags.insert("cost".into(), "1".into());
    let remote = &observed.remotes[&at("iam_instance_profile.generator")][0];
    cloud.update("iam_instance_profile.generator", remote, &changed, &["tags"]).await;
    delete_all(&cloud.aws, &made).await;
    let left = cloud.observe().await.remotes;
    assert!(left.is_empty(), "{left:?}");
}

/// The calls of a whole life that change something.
async fn mutating() -> Vec<String> {
    let cloud = cloud(strict()).await;
    run_whole_life(&cloud).await;
    let calls = cloud.running.calls().into_iter().filter(|(_, calls)| calls.mutating);
    calls.map(|(operation, _)| operation).collect()
}

#[tokio::test]
async fn every_call_may_lose_its_answer() {
    let calls = mutating().await;
    assert!(calls.len() > 35, "{calls:?}");
    let cloud = cloud(strict()).await;
    let rule = |call: &String| FaultRule { operation: call.clone(), nth: 1, times: 1, effect: Effect::DropAfter };
    cloud.running.set_faults(calls.iter().map(rule).collect());
    run_whole_life(&cloud).await;
}

#[tokio::test]
async fn a_refused_concurrent_change_is_repeated() {
    let cloud = cloud(strict()).await;
    let rules = mutating().await.into_iter().filter_map(|call| match call.split_once(':')? {
        ("iam", _) => Some(refused(&call, 2, 409, "ConcurrentModification")),
        ("s3", _) => Some(refused(&call, 2, 409, "OperationAborted")),
        ("logs", name) if name != "TagResource" => Some(refused(&call, 2, 400, "OperationAbortedException")),
        _ => None,
    });
    cloud.running.set_faults(rules.collect());
    run_whole_life(&cloud).await;
}

#[tokio::test]
async fn a_role_is_deleted_once_iam_reports_its_policies_as_removed() {
    let cloud = cloud(strict()).await;
    let rules = ["iam:DeleteRole", "iam:DeleteInstanceProfile"].map(|call| refused(call, 2, 409, "DeleteConflict"));
    cloud.running.set_faults(rules.into());
    run_whole_life(&cloud).await;
}

#[tokio::test]
async fn what_ec2_does_not_know_yet_is_deleted_all_the_same() {
    let cloud = cloud(strict()).await;
    let refused = |(call, times, code)| refused(call, times, 400, code);
    let unknown = [
        // A host costs money, so it is asked for until the longest lag has passed.
        ("ec2:TerminateInstances", 20, "InvalidInstanceID.NotFound"),
        ("ec2:DeleteLaunchTemplate", 2, "InvalidLaunchTemplateId.NotFound"),
        ("ec2:DeleteSecurityGroup", 2, "InvalidGroup.NotFound"),
        ("ec2:RevokeSecurityGroupIngress", 2, "InvalidGroup.NotFound"),
    ];
    cloud.running.set_faults(unknown.map(refused).into());
    run_whole_life(&cloud).await;
}

#[tokio::test]
async fn the_default_rule_of_a_group_that_ec2_does_not_know_yet_is_replaced() {
    let cloud = cloud(strict()).await;
    cloud.running.set_faults(vec![refused("ec2:RevokeSecurityGroupEgress", 2, 400, "InvalidGroup.NotFound")]);
    let vpc = cloud.observe().await.lookups[&at("vpc.main")]["id"].clone();
    let mut wanted = group("generator", &vpc, Vec::new());
    wanted.egress = vec![common::rule("-1", None, "0.0.0.0/0".into(), "everything")];
    let made = cloud.create("security_group.generator", &wanted).await;
    assert_eq!(cloud.one("security_group.generator").await.attributes, made.attributes);
}

#[tokio::test]
async fn an_error_has_its_class_and_names_its_call() {
    let cloud = cloud(strict()).await;
    for (code, status, class) in [
        ("UnauthorizedOperation", 403, ErrorClass::Denied),
        ("SecurityGroupLimitExceeded", 400, ErrorClass::Quota),
        ("InvalidVpcID.NotFound", 400, ErrorClass::NotFound),
        ("ExpiredToken", 400, ErrorClass::ExpiredCredentials),
        ("AuthFailure", 401, ErrorClass::Credentials),
    ] {
        cloud.running.set_faults(vec![refused("ec2:CreateSecurityGroup", 9, status, code)]);
        let resource = resolved("security_group.generator", &group("generator", &"vpc-1".into(), Vec::new()));
        let token = common::token(&resource);
        let error = cloud.aws.create(&resource, &token, &Context::default()).await.unwrap_err();
        assert_eq!((error.class, error.code.as_deref()), (class, Some(code)), "{error:?}");
        assert_eq!(error.operation.as_deref(), Some("ec2:CreateSecurityGroup"));
        assert!(error.request_id.is_some() && std::error::Error::source(&error).is_some(), "{error:?}");
        assert!(error.help.is_some() || class == ErrorClass::NotFound, "{error:?}");
    }
}

#[tokio::test]
async fn a_profile_with_another_role_is_not_accepted() {
    let cloud = cloud(strict()).await;
    cloud.create("iam_role.generator", &role("generator", "ec2.amazonaws.com")).await;
    cloud.running.set_faults(vec![refused("iam:AddRoleToInstanceProfile", 1, 409, "LimitExceeded")]);
    let resource = resolved("iam_instance_profile.generator", &profile());
    let patience = Duration::from_millis(300);
    let aws = common::connect_with(&cloud.running, |connection| connection.patience = patience).await;
    let error = aws.create(&resource, &common::token(&resource), &Context::default()).await.unwrap_err();
    assert!(error.message.contains("LimitExceeded"), "{error}");
}

#[tokio::test]
async fn a_bucket_gets_its_tags_later_if_its_partition_needs_that() {
    let cloud = cloud(strict()).await;
    let no_tags = || refused("s3:CreateBucket", 1, 400, "UnsupportedArgument");
    cloud.running.set_faults(vec![no_tags(), refused("s3:PutBucketTagging", 9, 403, "AccessDenied")]);
    let resource = resolved("s3_bucket.artifacts", &bucket());
    let token = common::token(&resource);
    cloud.aws.create(&resource, &token, &Context::default()).await.unwrap_err();
    let owned = || cloud.running.calls().contains_key("s3:PutBucketOwnershipControls");
    assert!(!owned(), "the create call sets the ownership");
    // The bucket exists without tags: the next attempt finds it by its name.
    cloud.running.set_faults(vec![]);
    let made = cloud.aws.create(&resource, &token, &Context::default()).await.unwrap();
    assert_eq!(cloud.one("s3_bucket.artifacts").await, made);
    assert!(owned(), "an existing bucket may have been created without it");
}

#[tokio::test]
async fn a_name_that_is_not_free_in_time_is_reported() {
    let cloud = cloud(
        strict().with_delay(Delay::BucketNameRest, Duration::from_hours(1)).with_delay(Delay::S3Lag, Duration::ZERO),
    )
    .await;
    let patience = Duration::from_millis(100);
    let aws = common::connect_with(&cloud.running, |connection| connection.patience = patience).await;
    let resource = resolved("s3_bucket.artifacts", &bucket());
    let token = common::token(&resource);
    let made = aws.create(&resource, &token, &Context::default()).await.unwrap();
    aws.delete(&resource.address, &made, &Context::default()).await.unwrap();
    let error = aws.create(&resource, &token, &Context::default()).await.unwrap_err();
    assert!(error.message.contains("is still being freed"), "{error}");
    assert!(error.help.is_some_and(|help| help.contains("within an hour")));
}

#[tokio::test]
async fn a_group_that_a_live_host_uses_names_the_host_and_leaves_it_alone() {
    let cloud = cloud(strict()).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"a generator").unwrap();
    let made = create_all(&cloud, file.path(), b"a generator").await;
    // It is not waited for as long as a host that ends.
    let aws = common::connect_with(&cloud.running, |connection| {
        (connection.patience, connection.lag) = (Duration::from_hours(1), Duration::from_millis(50));
    })
    .await;
    let of = |address: &str| &made.iter().find(|(made, _)| *made == at(address)).unwrap().1;
    let address = at("security_group.generator");
    let error = aws.delete(&address, of("security_group.generator"), &Context::default()).await.unwrap_err();
    let help = error.help.unwrap();
    assert!(help.contains(&of("instance.heavy[0]").id) && help.contains("leave them as they are"), "{help}");
    assert!(help.contains("put them back first"), "{help}");
}

#[tokio::test]
async fn the_wait_for_a_group_covers_the_stop_timeout_of_a_task() {
    let cloud = cloud(strict()).await;
    let vpc = text(&cloud.observe().await.lookups[&at("vpc.main")], "id");
    let made = cloud.create("security_group.generator", &group("generator", &vpc, vec![])).await;
    cloud.running.set_faults(vec![refused("ec2:DeleteSecurityGroup", 20, 400, "DependencyViolation")]);
    // Twenty polls of 50 ms take longer than this, and less than the five times as much that a task gets.
    let patience = Duration::from_millis(500);
    let aws = common::connect_with(&cloud.running, |connection| connection.patience = patience).await;
    aws.delete(&at("security_group.generator"), &made, &Context::default()).await.unwrap();
}

#[tokio::test]
async fn a_missing_service_linked_role_of_spot_is_named() {
    let cloud = cloud(strict().without_service_roles()).await;
    let observed = cloud.observe().await;
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");
    let hosts = cloud.create("security_group.generator", &group("generator", &vpc, vec![])).await;
    cloud.create("iam_role.generator", &role("generator", "ec2.amazonaws.com")).await;
    let profile = cloud.create("iam_instance_profile.generator", &profile()).await;
    let (hosts, profile) = (text(&hosts.attributes, "id"), text(&profile.attributes, "arn"));
    let mut asked = common::template(&observed, &hosts, &profile);
    asked.data.market = trunnion_kinds::Market::Spot;
    let template = cloud.create("launch_template.heavy", &asked).await;
    let resource = resolved("instance.heavy[0]", &common::instance(&template, 0));
    let error = cloud.aws.create(&resource, &common::token(&resource), &Context::default()).await.unwrap_err();
    assert!(error.message.contains("AuthFailure.ServiceLinkedRoleCreationNotPermitted"), "{error}");
}
