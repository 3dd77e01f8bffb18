//! Names that belong to somebody else are found when the stack is read.

use trunnion_aws::{Aws, Connection};
use trunnion_engine::{Adoption, Context, Graph, Observed, Provider as _, Resolved, State};

use crate::common::{
    self, at, bucket, cloud, cluster, connect, definition, group, log_group, profile, resolved, role, service, strict,
    template, text,
};

/// One resource of every kind with a name, as the stack wants them.
fn wanted(observed: &Observed, arn: &str) -> Vec<Resolved> {
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");
    let role_arn = "arn:aws:iam::123456789012:role/trunnion/another/eu-west-3/loadtest.eu-west-3.control_plane".into();
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
    aws.observe(desired, &State::empty(common::STACK), &Context::default()).await.unwrap()
}

#[tokio::test]
async fn all_names_of_another_stack_are_reported_at_once() {
    let cloud = cloud(strict()).await;
    let observed = cloud.observe().await;
    let another = common::connect_with(&cloud.running, |connection| connection.stack = "another".into()).await;
    let mut arns: std::collections::BTreeMap<String, trunnion_engine::Value> = std::collections::BTreeMap::new();
    let path = |attributes: &mut trunnion_engine::Map| {
        if attributes.contains_key("path") {
            attributes.insert("path".into(), "/trunnion/another/eu-west-3/".into());
        }
    };
    let group_id =
        |made: &std::collections::BTreeMap<String, trunnion_engine::Value>| made["security_group.generator"].clone();
    for mut resource in wanted(&observed, "") {
        let address = resource.address.to_string();
        resource.attributes.insert(
            "tags".into(),
            trunnion_engine::Value::Map(
                [("trunnion:stack".to_owned(), "another".into()), ("trunnion:home".to_owned(), common::HOME.into())]
                    .into(),
            ),
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
        let made =
            another.create(&resource, &common::token_of("another", &resource), &Context::default()).await.unwrap();
        let known = if address.starts_with("security_group") { "id" } else { "arn" };
        if let Some(found) = made.attributes.get(known) {
            arns.insert(address, found.clone());
        }
    }

    let resources = wanted(&observed, "arn:aws:ecs:eu-west-3:123456789012:cluster/loadtest");
    let addresses: Vec<String> = resources.iter().map(|resource| resource.address.to_string()).collect();
    let desired = common::desired(resources);
    let found = observe(&cloud.aws, &desired).await;
    let mut taken: Vec<String> = found.taken.keys().map(ToString::to_string).collect();
    let mut expected = addresses;
    taken.sort();
    expected.sort();
    assert_eq!(taken, expected);
    let error = &found.taken[&at("iam_role.control_plane")];
    assert_eq!(
        error.message,
        "`iam_role.control_plane`: the IAM role `loadtest.eu-west-3.control_plane` already exists and does not belong to this stack"
    );
    assert!(error.help.as_ref().is_some_and(|help| help.contains("another stack name")));
    for (address, error) in &found.taken {
        let imports = ["launch_template", "log_group", "security_group"].contains(&address.kind.as_str());
        let help = error.help.as_deref().unwrap_or_default();
        assert_eq!(help.contains("`trunnion import`"), imports, "{address}: {help}");
    }
    assert!(found.remotes.is_empty(), "{:?}", found.remotes);
}

#[tokio::test]
async fn names_are_checked_only_for_resources_to_create() {
    let cloud = cloud(strict()).await;
    let observed = cloud.observe().await;
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");
    let asked = [
        resolved("security_group.generator", &group("generator", &vpc, vec![])),
        resolved("iam_role.control_plane", &role("control_plane", "ecs-tasks.amazonaws.com")),
    ];
    let desired = common::desired(asked.clone());
    let first = connect(&cloud.running).await;
    assert!(observe(&first, &desired).await.taken.is_empty());
    assert_eq!(first.calls().by_operation["ec2:DescribeSecurityGroups"], 2);
    assert_eq!(first.calls().by_operation["iam:GetRole"], 1);
    for resource in &asked {
        cloud.aws.create(resource, &common::token(resource), &Context::default()).await.unwrap();
    }
    cloud.running.until_consistent().await;
    let again = connect(&cloud.running).await;
    assert_eq!(observe(&again, &desired).await.remotes.len(), 2);
    assert_eq!(again.calls().by_operation["ec2:DescribeSecurityGroups"], 1);
    assert_eq!(again.calls().by_operation["iam:GetRole"], 1, "the role itself");
}

/// One resource of every kind that is found by its name, created by this connection with this home.
async fn create_all(
    aws: &Aws,
    observed: &Observed,
    home: &str,
    context: &Context,
) -> Vec<(String, Result<String, String>)> {
    let mut made: std::collections::BTreeMap<String, trunnion_engine::Remote> = std::collections::BTreeMap::new();
    let mut ends = Vec::new();
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");
    let arn = |made: &std::collections::BTreeMap<String, trunnion_engine::Remote>, address: &str, name: &str| {
        made.get(address).map_or_else(|| "none".into(), |remote| text(&remote.attributes, name))
    };
    let nothing = || trunnion_engine::Remote::new("", [("arn".to_owned(), "none".into())].into());
    for address in [
        "s3_bucket.artifacts",
        "security_group.generator",
        "iam_role.generator",
        "iam_instance_profile.generator",
        "launch_template.heavy",
        "log_group.control_plane",
        "ecs_cluster.main",
        "iam_role.control_plane",
        "ecs_task_definition.control_plane",
        "ecs_service.control_plane",
    ] {
        let found = |address: &str| made.get(address).cloned().unwrap_or_else(nothing);
        let group_id = arn(&made, "security_group.generator", "id");
        let mut resource = match address {
            "s3_bucket.artifacts" => resolved(address, &bucket()),
            "security_group.generator" => resolved(address, &group("generator", &vpc, vec![])),
            "iam_role.generator" => resolved(address, &role("generator", "ec2.amazonaws.com")),
            "iam_instance_profile.generator" => resolved(address, &profile()),
            "launch_template.heavy" => {
                resolved(address, &template(observed, &group_id, &arn(&made, "iam_instance_profile.generator", "arn")))
            }
            "log_group.control_plane" => resolved(address, &log_group()),
            "ecs_cluster.main" => resolved(address, &cluster()),
            "iam_role.control_plane" => resolved(address, &role("control_plane", "ecs-tasks.amazonaws.com")),
            "ecs_task_definition.control_plane" => {
                resolved(address, &definition(&arn(&made, "iam_role.control_plane", "arn")))
            }
            _ => resolved(
                address,
                &service(&found("ecs_cluster.main"), &found("ecs_task_definition.control_plane"), observed, &group_id),
            ),
        };
        if let Some(trunnion_engine::Value::Map(tags)) = resource.attributes.get_mut("tags") {
            tags.insert("trunnion:home".to_owned(), home.into());
        }
        let end = aws.create(&resource, &common::token_of(home, &resource), context).await;
        ends.push((
            address.to_owned(),
            end.as_ref().map(|remote| remote.id.clone()).map_err(|error| error.message.clone()),
        ));
        if let Ok(remote) = end {
            made.insert(address.to_owned(), remote);
        }
    }
    ends
}

#[tokio::test]
async fn a_create_adopts_resources_of_another_home_only_in_a_takeover() {
    let cloud = cloud(strict()).await;
    let observed = cloud.observe().await;
    let elsewhere = |connection: &mut Connection| connection.home = "github.com/acme/other".into();
    let other = common::connect_with(&cloud.running, elsewhere).await;
    let theirs = create_all(&other, &observed, "github.com/acme/other", &Context::default()).await;
    assert!(theirs.iter().all(|(_, end)| end.is_ok()), "{theirs:?}");
    // The same home continues with the existing resources.
    assert_eq!(create_all(&other, &observed, "github.com/acme/other", &Context::default()).await, theirs);

    let before = cloud.running.calls();
    for (address, end) in create_all(&cloud.aws, &observed, common::HOME, &Context::default()).await {
        match (address.as_str(), end) {
            // Their role belongs to the other home.
            ("ecs_task_definition.control_plane" | "ecs_service.control_plane", Err(_)) => {}
            (_, Err(message)) => assert!(message.contains("does not belong to this stack"), "{address}: {message}"),
            (_, Ok(id)) => panic!("{address}: adopted {id}"),
        }
    }
    let changed = |operation: &str| cloud.running.calls().get(operation) != before.get(operation);
    for tagging in ["ec2:CreateTags", "iam:TagRole", "iam:TagInstanceProfile", "logs:TagResource", "ecs:TagResource"] {
        assert!(!changed(tagging), "{tagging}");
    }

    let former = Some("github.com/acme/other".to_owned());
    for adoption in
        [Adoption { former_home: former, take_over: false }, Adoption { former_home: None, take_over: true }]
    {
        let aws = connect(&cloud.running).await;
        let context = Context::default().with_adoption(adoption);
        assert_eq!(create_all(&aws, &observed, "github.com/acme/other", &context).await, theirs);
    }
}
