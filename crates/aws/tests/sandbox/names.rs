//! Names that somebody else has are found by reading.

use trunnion_aws::{Aws, Connection};
use trunnion_engine::{Graph, Observed, Provider as _, Resolved, State, Token};
use trunnion_sandbox::Options;

use crate::common::{
    self, at, bucket, cluster, connect, definition, group, log_group, profile, resolved, role, service, template, text,
    world,
};

/// One of every kind that has a name, as the stack wants them.
fn wanted(observed: &Observed, arn: &str) -> Vec<Resolved> {
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");
    let role_arn = "arn:aws:iam::123456789012:role/trunnion/another/loadtest-control_plane".into();
    let remote = |arn: &str| trunnion_engine::Remote::new(arn, [("arn".to_owned(), arn.into())].into());
    vec![
        resolved("s3_bucket.artifacts", &bucket()),
        resolved("security_group.generator", &group("generator", &vpc, vec![])),
        resolved("iam_role.control_plane", &role("control_plane", "ecs-tasks.amazonaws.com")),
        resolved("iam_instance_profile.generator", &profile()),
        resolved(
            "launch_template.heavy",
            &template(observed, &vpc, &"arn:aws:iam::123456789012:instance-profile/x".into()),
        ),
        resolved("log_group.control_plane", &log_group()),
        resolved("ecs_cluster.main", &cluster()),
        resolved("ecs_task_definition.control_plane", &definition(&role_arn)),
        resolved("ecs_service.control_plane", &service(&remote(arn), &remote(arn), observed, &vpc)),
    ]
}

async fn observe(aws: &Aws, desired: &Graph) -> Observed {
    aws.observe(desired, &State::empty(common::STACK)).await.unwrap()
}

#[tokio::test]
async fn every_name_that_another_stack_has_is_told_at_once() {
    let world = world(Options::default()).await;
    let observed = world.observe().await;
    let connection = Connection { stack: "another".into(), ..common::connection(&world.running) };
    let another = Aws::connect(connection).await.unwrap();
    let mut arns: std::collections::BTreeMap<String, trunnion_engine::Value> = std::collections::BTreeMap::new();
    let path = |attributes: &mut trunnion_engine::Map| {
        if attributes.contains_key("path") {
            attributes.insert("path".into(), "/trunnion/another/".into());
        }
    };
    let group_id =
        |made: &std::collections::BTreeMap<String, trunnion_engine::Value>| made["security_group.generator"].clone();
    for mut resource in wanted(&observed, "") {
        let address = resource.address.to_string();
        resource.attributes.insert(
            "tags".into(),
            trunnion_engine::Value::Map([("trunnion:stack".to_owned(), "another".into())].into()),
        );
        path(&mut resource.attributes);
        match address.as_str() {
            "iam_instance_profile.generator" => {
                resource.attributes.insert("roles".into(), trunnion_engine::Value::List(vec![]));
            }
            "ecs_service.control_plane" => {
                resource.attributes.insert("cluster".into(), arns["ecs_cluster.main"].clone());
                resource.attributes.insert("task_definition".into(), arns["ecs_task_definition.control_plane"].clone());
                let network = trunnion_kinds::ServiceNetwork {
                    subnets: vec![text(&observed.lookups[&at("subnet.heavy")], "id")],
                    security_groups: vec![group_id(&arns)],
                    public_ip: false,
                };
                let network = trunnion_engine::to_map(&network).unwrap();
                resource.attributes.insert("network".into(), trunnion_engine::Value::Map(network));
            }
            "launch_template.heavy" => {
                let asked = template(&observed, &group_id(&arns), &arns["iam_instance_profile.generator"]);
                let data = trunnion_engine::to_map(&asked.data).unwrap();
                resource.attributes.insert("data".into(), trunnion_engine::Value::Map(data));
            }
            _ => {}
        }
        let made = another.create(&resource, &Token::new("another", &resource)).await.unwrap();
        let known = if address.starts_with("security_group") { "id" } else { "arn" };
        if let Some(found) = made.attributes.get(known) {
            arns.insert(address, found.clone());
        }
    }

    let resources = wanted(&observed, "arn:aws:ecs:eu-west-3:123456789012:cluster/loadtest");
    let addresses: Vec<String> = resources.iter().map(|resource| resource.address.to_string()).collect();
    let desired = common::desired(resources);
    let found = observe(&world.aws, &desired).await;
    let mut taken: Vec<String> = found.taken.keys().map(ToString::to_string).collect();
    let mut expected = addresses;
    taken.sort();
    expected.sort();
    assert_eq!(taken, expected);
    let error = &found.taken[&at("iam_role.control_plane")];
    assert_eq!(
        error.message,
        "`iam_role.control_plane`: the IAM role `loadtest-control_plane` is there already and does not belong to this stack"
    );
    assert!(error.help.as_ref().is_some_and(|help| help.contains("another stack name")));
    assert!(found.remotes.is_empty(), "{:?}", found.remotes);
}

#[tokio::test]
async fn names_are_asked_for_only_where_they_are_to_be_created() {
    let world = world(Options::default()).await;
    let observed = world.observe().await;
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");
    let asked = [
        resolved("security_group.generator", &group("generator", &vpc, vec![])),
        resolved("iam_role.control_plane", &role("control_plane", "ecs-tasks.amazonaws.com")),
    ];
    let desired = common::desired(asked.clone());
    let first = connect(&world.running).await;
    assert!(observe(&first, &desired).await.taken.is_empty());
    assert_eq!(first.calls().by_operation["ec2:DescribeSecurityGroups"], 2);
    assert_eq!(first.calls().by_operation["iam:GetRole"], 1);
    for resource in &asked {
        world.aws.create(resource, &Token::new(common::STACK, resource)).await.unwrap();
    }
    let again = connect(&world.running).await;
    assert_eq!(observe(&again, &desired).await.remotes.len(), 2);
    assert_eq!(again.calls().by_operation["ec2:DescribeSecurityGroups"], 1);
    assert_eq!(again.calls().by_operation["iam:GetRole"], 1, "the role itself");
}
