//! Every kind is created, found, changed and deleted in a sandbox.

use std::collections::BTreeMap;

use crate::common::{
    self, at, bucket, cloud, cluster, connect, definition, group, instance, log_group, object, profile, role, rule,
    service, strict, template, text,
};
use trunnion_aws::Aws;
use trunnion_engine::{Address, Context, Map, Provider as _, Recorded, Remote, State};
use trunnion_sandbox::{Consistency, Effect, FaultRule};

/// The attributes without those that only a create call needs.
fn comparable(kind: &str, attributes: &Map) -> Map {
    let left_out: &[&str] = match kind {
        "instance" => &["launch_template", "version"],
        "s3_object" => &["source"],
        _ => &[],
    };
    attributes
        .iter()
        .filter(|(name, _)| !left_out.contains(&name.as_str()))
        .map(|(a, b)| (a.clone(), b.clone()))
        .collect()
}

/// Creates one resource of every kind, each with two calls as after a kill.
pub async fn create_all(cloud: &common::Cloud, file: &std::path::Path, content: &[u8]) -> Vec<(Address, Remote)> {
    let observed = cloud.observe().await;
    assert!(observed.missing.is_empty(), "{:?}", observed.missing);
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");
    let mut made: Vec<(Address, Remote)> = Vec::new();
    macro_rules! twice {
        ($address:expr, $attributes:expr) => {{
            let attributes = $attributes;
            let first = cloud.create($address, &attributes).await;
            let again = cloud.create($address, &attributes).await;
            assert_eq!(first.id, again.id, "{}", $address);
            made.push((at($address), again.clone()));
            again
        }};
    }
    twice!("s3_bucket.artifacts", bucket());
    twice!("s3_object.generator[x86_64]", object(file, content));
    let control = twice!("security_group.control_plane", group("control_plane", &vpc, vec![]));
    let control = text(&control.attributes, "id");
    let ssh = vec![rule("tcp", Some(22), control.clone(), "from the control plane")];
    let hosts = twice!("security_group.generator", group("generator", &vpc, ssh));
    twice!("iam_role.generator", role("generator", "ec2.amazonaws.com"));
    let profile = twice!("iam_instance_profile.generator", profile());
    let task_role = twice!("iam_role.control_plane", role("control_plane", "ecs-tasks.amazonaws.com"));
    let task_role = text(&task_role.attributes, "arn");
    let (hosts, profile) = (text(&hosts.attributes, "id"), text(&profile.attributes, "arn"));
    let template = twice!("launch_template.heavy", template(&observed, &hosts, &profile));
    for number in 0..2 {
        let address = format!("instance.heavy[{number}]");
        twice!(&address, instance(&template, number));
    }
    twice!("log_group.control_plane", log_group());
    let cluster = twice!("ecs_cluster.main", cluster());
    let definition = twice!("ecs_task_definition.control_plane", definition(&task_role));
    twice!("ecs_service.control_plane", service(&cluster, &definition, &observed, &control));
    made
}

pub async fn delete_all(aws: &Aws, made: &[(Address, Remote)]) {
    for (address, remote) in made.iter().rev() {
        aws.delete(address, remote, &Context::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_repeated_create_makes_one_resource_that_matches_and_can_be_deleted() {
    let cloud = cloud(strict()).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let content = b"a generator";
    std::io::Write::write_all(&mut file, content).unwrap();
    let made = create_all(&cloud, file.path(), content).await;

    let observed = cloud.observe().await;
    let addresses: Vec<String> = observed.remotes.keys().map(ToString::to_string).collect();
    let mut expected: Vec<&Address> = made.iter().map(|(address, _)| address).collect();
    expected.sort();
    assert_eq!(addresses, expected.iter().map(ToString::to_string).collect::<Vec<_>>());
    for (address, remote) in &made {
        let found = &observed.remotes[address];
        assert_eq!(found.len(), 1, "{address}");
        let kind = address.kind.as_str();
        assert_eq!(comparable(kind, &found[0].attributes), comparable(kind, &remote.attributes), "{address}");
        assert_eq!(found[0].id, remote.id, "{address}");
    }
    assert_eq!(cloud.aws.calls().round_trips, 3);

    // Everything is found without a state, also by another process.
    let again = connect(&cloud.running)
        .await
        .observe(&common::lookups(), &State::empty(common::STACK), &Context::default())
        .await
        .unwrap();
    assert_eq!(again, observed);

    delete_all(&cloud.aws, &made).await;
    let observed = cloud.observe().await;
    assert!(observed.remotes.is_empty(), "{:?}", observed.remotes);
    // A resource that does not exist counts as deleted.
    delete_all(&cloud.aws, &made).await;
}

#[tokio::test]
async fn slow_resources_are_awaited() {
    let lag = std::time::Duration::from_millis(400);
    let cloud = cloud(strict().with_consistency(Consistency::After(lag))).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"a generator").unwrap();
    let made = create_all(&cloud, file.path(), b"a generator").await;
    delete_all(&cloud.aws, &made).await;
}

#[tokio::test]
async fn a_lost_answer_creates_nothing_twice() {
    let cloud = cloud(strict()).await;
    let operations = [
        "ec2:RunInstances",
        "ec2:CreateLaunchTemplate",
        "ec2:CreateSecurityGroup",
        "iam:CreateRole",
        "iam:CreateInstanceProfile",
        "ecs:CreateCluster",
        "ecs:CreateService",
        "logs:CreateLogGroup",
        "s3:CreateBucket",
    ];
    let rule = |operation: &str| FaultRule { operation: operation.into(), nth: 1, times: 1, effect: Effect::DropAfter };
    cloud.running.set_faults(operations.iter().map(|operation| rule(operation)).collect());
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"a generator").unwrap();
    let made = create_all(&cloud, file.path(), b"a generator").await;
    let observed = cloud.observe().await;
    assert_eq!(observed.remotes.len(), made.len());
    assert!(observed.remotes.values().all(|remotes| remotes.len() == 1));
    delete_all(&cloud.aws, &made).await;
}

#[tokio::test]
async fn changes_in_place_read_back() {
    let cloud = cloud(strict()).await;
    let observed = cloud.observe().await;
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");

    let asked = group("generator", &vpc, vec![rule("tcp", Some(22), "10.0.0.0/8".into(), "old")]);
    let remote = cloud.create("security_group.generator", &asked).await;
    let mut changed = asked.clone();
    changed.ingress =
        vec![rule("tcp", Some(22), "10.0.0.0/8".into(), "new"), rule("udp", Some(53), "10.1.0.0/16".into(), "")];
    changed.egress = vec![rule("-1", None, "0.0.0.0/0".into(), "")];
    changed.tags.insert("team".into(), "quality".into());
    changed.tags.insert("cost".into(), "1".into());
    let updated = cloud.update("security_group.generator", &remote, &changed, &["ingress", "egress", "tags"]).await;
    assert_eq!(cloud.one("security_group.generator").await, updated);

    let remote = cloud.create("iam_role.generator", &role("generator", "ec2.amazonaws.com")).await;
    let mut changed = role("generator", "ecs-tasks.amazonaws.com");
    changed.policy = None;
    changed.description = "another".into();
    changed.tags.remove("team");
    let paths = ["trust_policy", "policy", "description", "tags.team"];
    let updated = cloud.update("iam_role.generator", &remote, &changed, &paths).await;
    assert_eq!(cloud.one("iam_role.generator").await, updated);

    let remote = cloud.create("log_group.control_plane", &log_group()).await;
    let mut changed = log_group();
    changed.retention_days = 0;
    let updated = cloud.update("log_group.control_plane", &remote, &changed, &["retention_days"]).await;
    assert_eq!(cloud.one("log_group.control_plane").await, updated);

    let remote = cloud.create("s3_bucket.artifacts", &bucket()).await;
    let mut changed = bucket();
    changed.tags.remove("team");
    changed.policy = changed.policy.replace("s3:*", "s3:PutObject");
    let updated = cloud.update("s3_bucket.artifacts", &remote, &changed, &["policy", "tags"]).await;
    assert_eq!(cloud.one("s3_bucket.artifacts").await, updated);
}

#[tokio::test]
async fn a_template_gets_a_new_default_version_and_hosts_are_launched_from_it() {
    let cloud = cloud(strict()).await;
    let observed = cloud.observe().await;
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");
    let hosts = cloud.create("security_group.generator", &group("generator", &vpc, vec![])).await;
    cloud.create("iam_role.generator", &role("generator", "ec2.amazonaws.com")).await;
    let profile = cloud.create("iam_instance_profile.generator", &profile()).await;
    let asked = template(&observed, &text(&hosts.attributes, "id"), &text(&profile.attributes, "arn"));
    let first = cloud.create("launch_template.heavy", &asked).await;
    let mut changed = asked.clone();
    changed.data.user_data.push_str("echo again\n");
    let second = cloud.update("launch_template.heavy", &first, &changed, &["data.user_data"]).await;
    assert_eq!(second.attributes["version"].as_text(), Some("2"));
    assert_eq!(cloud.one("launch_template.heavy").await, second);
    // The same change again, as after a kill, adds no third version.
    cloud.update("launch_template.heavy", &first, &changed, &["data.user_data"]).await;
    assert_eq!(cloud.one("launch_template.heavy").await, second);

    let asked = instance(&second, 0);
    let host = cloud.create("instance.heavy[0]", &asked).await;
    let interfaces = host.attributes["network_interfaces"].as_list().unwrap();
    assert_eq!(interfaces.len(), 2);
    assert!(interfaces.iter().all(|interface| interface.as_map().unwrap()["addresses"].as_number() == Some(3)));
    let mut changed = asked.clone();
    changed.tags.insert("team".into(), "quality".into());
    let updated = cloud.update("instance.heavy[0]", &host, &changed, &["tags.team"]).await;
    let seen = cloud.one("instance.heavy[0]").await;
    assert_eq!(comparable("instance", &seen.attributes), comparable("instance", &updated.attributes));

    // After a termination, a create with the same content makes another host.
    cloud.aws.delete(&at("instance.heavy[0]"), &host, &Context::default()).await.unwrap();
    let next = cloud.create("instance.heavy[0]", &asked).await;
    assert_ne!(next.id, host.id);
    assert_eq!(cloud.one("instance.heavy[0]").await.id, next.id);
}

#[tokio::test]
async fn reading_more_hosts_needs_no_more_calls() {
    let cloud = cloud(strict()).await;
    let observed = cloud.observe().await;
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");
    let hosts = cloud.create("security_group.generator", &group("generator", &vpc, vec![])).await;
    cloud.create("iam_role.generator", &role("generator", "ec2.amazonaws.com")).await;
    let profile = cloud.create("iam_instance_profile.generator", &profile()).await;
    let asked = template(&observed, &text(&hosts.attributes, "id"), &text(&profile.attributes, "arn"));
    let template = cloud.create("launch_template.heavy", &asked).await;
    let mut costs = Vec::new();
    for count in [1, 4] {
        for number in 0..count {
            cloud.create(&format!("instance.heavy[{number}]"), &instance(&template, number)).await;
        }
        cloud.running.until_consistent().await;
        let reader = connect(&cloud.running).await;
        let observed =
            reader.observe(&common::lookups(), &State::empty(common::STACK), &Context::default()).await.unwrap();
        assert_eq!(
            observed.remotes.keys().filter(|address| address.kind.as_str() == "instance").count(),
            count as usize
        );
        let calls = reader.calls();
        assert_eq!((calls.writes(), calls.round_trips, calls.by_operation["ec2:DescribeInstances"]), (0, 3, 1));
        costs.push(calls.reads());
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn resources_of_others_are_not_touched() {
    let cloud = cloud(strict()).await;
    let mut other = bucket();
    other.tags.insert("trunnion:stack".into(), "another".into());
    let another = common::connect_with(&cloud.running, |connection| connection.stack = "another".into()).await;
    let resource = common::resolved("s3_bucket.artifacts", &other);
    let token = common::token_of("another", &resource);
    another.create(&resource, &token, &Context::default()).await.unwrap();

    assert!(!cloud.observe().await.remotes.contains_key(&at("s3_bucket.artifacts")));
    let resource = common::resolved("s3_bucket.artifacts", &bucket());
    let error = cloud.aws.create(&resource, &token, &Context::default()).await.unwrap_err();
    assert!(error.message.contains("does not belong to this stack"), "{error}");
    assert!(error.message.starts_with("`s3_bucket.artifacts`: "), "{error}");
}

#[tokio::test]
async fn lookups_that_find_nothing_are_reported_together() {
    use trunnion_engine::{Graph, Lookup, to_map};
    use trunnion_kinds::lookup;
    let cloud = cloud(strict()).await;
    let of = |address: &str, query: Map| Lookup { address: at(address), query };
    let image = lookup::Image { parameter: Some(common::PARAMETER.into()), id: None, architecture: "arm64".into() };
    let secret = lookup::Secret { arn: common::TOKEN_SECRET.replace("token", "nothing") };
    let graph = Graph::new(
        common::STACK,
        [],
        [
            of("vpc.main", to_map(&lookup::Vpc::Id("vpc-00000000000000000".into())).unwrap()),
            of("image.al2023", to_map(&image).unwrap()),
            of("instance_type.heavy", to_map(&lookup::InstanceType { name: "c6in.77xlarge".into() }).unwrap()),
            of("secret.token", to_map(&secret).unwrap()),
        ],
    )
    .unwrap();
    let observed = cloud.aws.observe(&graph, &State::empty(common::STACK), &Context::default()).await.unwrap();
    let missing: Vec<String> = observed.missing.keys().map(ToString::to_string).collect();
    assert_eq!(missing, ["image.al2023", "instance_type.heavy", "secret.token", "vpc.main"]);
    assert!(observed.missing[&at("image.al2023")].message.contains("is for x86_64"));
    assert!(observed.lookups.is_empty());
}

#[tokio::test]
async fn another_account_is_refused() {
    let cloud = cloud(strict()).await;
    let aws = common::connect_with(&cloud.running, |connection| connection.account = "999999999999".into()).await;
    let error = aws.observe(&common::lookups(), &State::empty(common::STACK), &Context::default()).await.unwrap_err();
    assert_eq!(error.message, "the credentials are of account 123456789012, but the stack is of account 999999999999");
}

#[tokio::test]
async fn a_recorded_resource_without_its_tags_is_found_by_its_id() {
    let cloud = cloud(strict()).await;
    let observed = cloud.observe().await;
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");
    let asked = group("generator", &vpc, vec![]);
    let remote = cloud.create("security_group.generator", &asked).await;
    let mut bare = asked.clone();
    bare.tags = BTreeMap::new();
    cloud.update("security_group.generator", &remote, &bare, &["tags"]).await;
    assert!(cloud.observe().await.remotes.is_empty());

    let mut state = State::empty(common::STACK);
    let gone = |id: &str| Recorded { id: id.into(), applied_at: String::new(), attributes: Map::new() };
    state.resources.insert(at("security_group.generator"), gone(&remote.id));
    state.resources.insert(at("instance.heavy[0]"), gone("i-00000000000000000"));
    state.resources.insert(at("launch_template.heavy"), gone("lt-00000000000000000"));
    state.resources.insert(at("iam_role.generator"), gone("loadtest.eu-west-3.generator"));
    let observed = cloud.aws.observe(&common::lookups(), &state, &Context::default()).await.unwrap();
    let found: Vec<String> = observed.remotes.keys().map(ToString::to_string).collect();
    assert_eq!(found, ["security_group.generator"]);
}

/// A client of the test's own, for resources that a stack never creates.
pub fn ec2(running: &trunnion_sandbox::Running) -> aws_sdk_ec2::Client {
    aws_sdk_ec2::Client::new(&common::sdk(running))
}

#[tokio::test]
async fn the_lookup_of_a_vpc_finds_its_ipv6_range_and_dns_servers() {
    use aws_sdk_ec2::types::NewDhcpConfiguration;
    use trunnion_engine::{Graph, Lookup, Value, to_map};
    use trunnion_kinds::lookup;
    let cloud = cloud(strict()).await;
    let ec2 = ec2(&cloud.running);
    let vpc = ec2.create_vpc().cidr_block("10.0.0.0/16").amazon_provided_ipv6_cidr_block(true).send().await.unwrap();
    let vpc = vpc.vpc.unwrap().vpc_id.unwrap();
    let look = async |query: Map| {
        cloud.running.until_consistent().await;
        let graph = Graph::new(common::STACK, [], [Lookup { address: at("vpc.main"), query }]).unwrap();
        let before = cloud.running.calls();
        let found = cloud.aws.observe(&graph, &State::empty(common::STACK), &Context::default()).await.unwrap().lookups
            [&at("vpc.main")]
            .clone();
        let asked =
            |calls: &trunnion_sandbox::Calls| calls.get("ec2:DescribeDhcpOptions").map_or(0, |calls| calls.count);
        (found, asked(&cloud.running.calls()) - asked(&before))
    };
    let of_vpc = to_map(&lookup::Vpc::Id(vpc.clone())).unwrap();
    let (found, asked) = look(of_vpc.clone()).await;
    assert_eq!((found.get("ipv6"), found.get("dns_servers"), asked), (Some(&Value::Bool(true)), None, 1));

    let servers = NewDhcpConfiguration::builder().key("domain-name-servers").values("10.0.0.2").values("10.0.0.3");
    let options = ec2.create_dhcp_options().dhcp_configurations(servers.build()).send().await.unwrap();
    let options = options.dhcp_options.unwrap().dhcp_options_id.unwrap();
    cloud.running.until_consistent().await;
    ec2.associate_dhcp_options().dhcp_options_id(&options).vpc_id(&vpc).send().await.unwrap();
    let (found, _) = look(of_vpc.clone()).await;
    assert_eq!(found["dns_servers"], Value::List(vec!["10.0.0.2".into(), "10.0.0.3".into()]));

    // An identity without the permission to read them can still plan; a default VPC needs no call.
    let denied = Effect::Error { code: "UnauthorizedOperation".into(), status: 403, message: String::new() };
    cloud.running.set_faults(vec![FaultRule {
        operation: "ec2:DescribeDhcpOptions".into(),
        nth: 1,
        times: 1,
        effect: denied,
    }]);
    assert_eq!(look(of_vpc).await.0.get("dns_servers"), None);
    let (found, asked) = look(Map::from([("default".to_owned(), Value::Null)])).await;
    assert_eq!((found.get("ipv6"), found.get("dns_servers"), asked), (None, None, 0));

    // A new group allows all outgoing traffic by IPv6 too, until it matches the wanted rules.
    let made = cloud.create("security_group.generator", &group("generator", &vpc.as_str().into(), vec![])).await;
    cloud.running.until_consistent().await;
    let shown = ec2.describe_security_groups().group_ids(&made.id).send().await.unwrap();
    let egress = shown.security_groups()[0].ip_permissions_egress();
    assert!(egress.iter().all(|rule| rule.ipv6_ranges().is_empty()), "{egress:?}");
}
