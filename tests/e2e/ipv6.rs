//! Pools with IPv6, in a VPC with IPv6, and what a plan says of default routes.

use std::fs;

use aws_sdk_ec2::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::IpPermission,
};
use serde_json::Value;
use trunnion_tests::{SandboxProcess, Stage, root};

const REGION: &str = "eu-west-3";

pub(crate) fn client(sandbox: &SandboxProcess) -> Client {
    let config = aws_sdk_ec2::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(&sandbox.endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new("sandbox", "sandbox", None, None, "test"));
    Client::from_conf(config.build())
}

/// A VPC with IPv6 and two subnets: the first one has a range of IPv6 addresses, the second one has none. Gives the ids of
/// the VPC, its main route table and the subnets.
pub(crate) async fn dual_stack(ec2: &Client) -> (String, String, [String; 2]) {
    let vpc = ec2.create_vpc().cidr_block("10.9.0.0/16").amazon_provided_ipv6_cidr_block(true).send().await.unwrap();
    let vpc = vpc.vpc.unwrap();
    let range = vpc.ipv6_cidr_block_association_set()[0].ipv6_cidr_block.clone().unwrap();
    let vpc = vpc.vpc_id.unwrap();
    let subnet = |range: &str| ec2.create_subnet().vpc_id(&vpc).cidr_block(range).availability_zone("eu-west-3a");
    let dual = subnet("10.9.0.0/24").ipv6_cidr_block(range.replace("::/56", "::/64")).send().await.unwrap();
    let single = subnet("10.9.1.0/24").send().await.unwrap();
    let id =
        |created: aws_sdk_ec2::operation::create_subnet::CreateSubnetOutput| created.subnet.unwrap().subnet_id.unwrap();
    let of_vpc = aws_sdk_ec2::types::Filter::builder().name("vpc-id").values(&vpc).build();
    let tables = ec2.describe_route_tables().filters(of_vpc).send().await.unwrap();
    let table = tables.route_tables()[0].route_table_id.clone().unwrap();
    (vpc, table, [id(dual), id(single)])
}

fn stack(vpc: &str, subnet: &str, keys: &str) -> String {
    let minimal = fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap();
    let pool = format!("subnet: {subnet}{keys} }}");
    minimal.replace("zone: eu-west-3a }", &pool).replace("pools:", &format!("network: {{ vpc: {vpc} }}\n\npools:"))
}

/// The codes and messages of a plan's notes.
fn notes(stage: &Stage) -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&stage.succeed(&["plan", "--json"]).stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let notes = document["remarks"]["notes"].as_array().unwrap().iter();
    notes.map(|note| (text(&note["code"]), text(&note["message"]))).collect()
}

fn has(stage: &Stage, code: &str) -> bool {
    notes(stage).iter().any(|(found, _)| found.ends_with(code))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_with_ipv6_has_a_prefix_on_each_interface() {
    let sandbox = SandboxProcess::start_friendly(&[]);
    let ec2 = client(&sandbox);
    let (vpc, table, [dual, single]) = dual_stack(&ec2).await;
    let pool = ", interfaces: 3, tracking: untracked, ipv6: true";

    let stage = Stage::new(&stack(&vpc, &single, pool)).at(&sandbox);
    let refused = stage.run(&["plan"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains(&format!("`pools.small.ipv6` is true, but {single} has no range")),
        "{}",
        refused.stderr
    );

    stage.write("stack.yaml", stack(&vpc, &dual, pool));
    assert!(has(&stage, "ipv6_unreachable"), "{:?}", notes(&stage));
    let route = || ec2.create_route().route_table_id(&table);
    route().destination_ipv6_cidr_block("::/0").egress_only_internet_gateway_id("eigw-1").send().await.unwrap();
    assert!(!has(&stage, "ipv6_unreachable"), "{:?}", notes(&stage));
    stage.converge(&[]);

    let interfaces = ec2.describe_network_interfaces().send().await.unwrap();
    let of_hosts = interfaces
        .network_interfaces()
        .iter()
        .filter(|one| one.attachment.as_ref().is_some_and(|by| by.instance_id.is_some()));
    let prefixes: Vec<usize> = of_hosts.map(|one| one.ipv6_prefixes().len()).collect();
    assert_eq!(prefixes, [1, 1, 1]);

    // AWS does not track a connection only if both directions are open in its family.
    let groups = ec2.describe_security_groups().send().await.unwrap();
    let untracked =
        groups.security_groups().iter().find(|group| group.group_name() == Some("minimal-untracked")).unwrap();
    for rules in [untracked.ip_permissions(), untracked.ip_permissions_egress()] {
        assert!(rules.iter().flat_map(IpPermission::ipv6_ranges).any(|range| range.cidr_ipv6() == Some("::/0")));
    }

    stage.write("stack.yaml", stack(&vpc, &dual, ", interfaces: 3, tracking: untracked"));
    assert!(stage.changes(&[]).iter().any(|change| change == "replace instance.small[0]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_default_routes_mean() {
    let sandbox = SandboxProcess::start_friendly(&[]);
    let ec2 = client(&sandbox);
    let (vpc, table, [dual, _]) = dual_stack(&ec2).await;
    let stage = Stage::new(&stack(&vpc, &dual, ", interfaces: 2")).at(&sandbox);
    assert!(has(&stage, "pool_unreachable") && !has(&stage, "nat_gateway"), "{:?}", notes(&stage));

    let nat = ec2.create_nat_gateway().subnet_id(&dual).connectivity_type("private".into()).send().await.unwrap();
    let nat = nat.nat_gateway.unwrap().nat_gateway_id.unwrap();
    let route = || ec2.create_route().route_table_id(&table).destination_cidr_block("0.0.0.0/0");
    route().nat_gateway_id(&nat).send().await.unwrap();
    assert!(!has(&stage, "pool_unreachable") && has(&stage, "nat_gateway"), "{:?}", notes(&stage));

    let gateway = ec2.create_internet_gateway().send().await.unwrap().internet_gateway.unwrap();
    let gateway = gateway.internet_gateway_id.unwrap();
    ec2.attach_internet_gateway().internet_gateway_id(&gateway).vpc_id(&vpc).send().await.unwrap();
    let replace = ec2.replace_route().route_table_id(&table).destination_cidr_block("0.0.0.0/0");
    replace.gateway_id(&gateway).send().await.unwrap();
    assert!(has(&stage, "pool_unreachable") && !has(&stage, "nat_gateway"), "{:?}", notes(&stage));
    stage.write("stack.yaml", stack(&vpc, &dual, ", interfaces: 2, public_addresses: 2"));
    assert_eq!(
        notes(&stage).iter().filter(|(code, _)| code.ends_with("unreachable")).count(),
        0,
        "{:?}",
        notes(&stage)
    );
}
