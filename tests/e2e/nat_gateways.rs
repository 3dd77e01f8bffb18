//! What hosts behind NAT gateways hold and cost.

use std::fs;

use serde_json::Value;
use trunnion_tests::{SandboxProcess, Stage, root};

use super::ipv6::{client, dual_stack};

/// Two pools of two subnets, with users of one public target.
fn stack(vpc: &str, [first, second]: &[String; 2]) -> String {
    let minimal = fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap();
    let pools = format!(
        "  small: {{ instance_type: c7i.8xlarge, subnet: {first}, interfaces: 4 }}\n  other: {{ instance_type: c7i.8xlarge, subnet: \
         {second}, interfaces: 4 }}\n"
    );
    minimal.replace("  small: { instance_type: c7i.xlarge, zone: eu-west-3a }\n", &pools)
        + &format!("\nnetwork: {{ vpc: {vpc} }}\nworkload: {{ virtual_users: 10000, targets: {{ public: 1 }} }}\n")
}

/// How many virtual users all pools hold, and how many NAT gateways and addresses of these are paid.
fn behind(stage: &Stage) -> (u64, u64, u64) {
    let plan: Value = serde_json::from_str(&stage.succeed(&["plan", "--json"]).stdout).unwrap();
    let estimate = &plan["remarks"]["estimate"];
    let paid = |item: &str| {
        let is_it = |line: &&Value| line["of"] == "NAT gateway" && line["item"] == item;
        estimate["lines"].as_array().unwrap().iter().find(is_it).map_or(0, |line| line["count"].as_u64().unwrap())
    };
    (estimate["virtual_users"].as_u64().unwrap(), paid("nat_gateway_hour"), paid("public_ipv4_hour"))
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_share_a_nat_gateway_unless_each_has_its_own() {
    let sandbox = SandboxProcess::start_friendly(&["--vcpus", "1000"]);
    let ec2 = client(&sandbox);
    let (vpc, table, subnets) = dual_stack(&ec2).await;
    let stage = Stage::new(&stack(&vpc, &subnets)).at(&sandbox);
    let gateway = async |subnet: &str, allocation: Option<String>| {
        let kind = if allocation.is_some() { "public" } else { "private" };
        let create = ec2.create_nat_gateway().subnet_id(subnet).set_allocation_id(allocation);
        let created = create.connectivity_type(kind.into()).send().await.unwrap();
        created.nat_gateway.unwrap().nat_gateway_id.unwrap()
    };
    let first = gateway(&subnets[0], None).await;
    let route = |table: &str| ec2.create_route().route_table_id(table).destination_cidr_block("0.0.0.0/0");
    route(&table).nat_gateway_id(&first).send().await.unwrap();
    assert_eq!(behind(&stage), (55_000, 1, 0));

    let internet = ec2.create_internet_gateway().send().await.unwrap().internet_gateway.unwrap();
    let internet = internet.internet_gateway_id.unwrap();
    ec2.attach_internet_gateway().internet_gateway_id(&internet).vpc_id(&vpc).send().await.unwrap();
    let address = ec2.allocate_address().domain("vpc".into()).send().await.unwrap().allocation_id.unwrap();
    let second = gateway(&subnets[1], Some(address)).await;
    let own = ec2.create_route_table().vpc_id(&vpc).send().await.unwrap().route_table.unwrap();
    let own = own.route_table_id.unwrap();
    ec2.associate_route_table().route_table_id(&own).subnet_id(&subnets[1]).send().await.unwrap();
    route(&own).nat_gateway_id(&second).send().await.unwrap();
    assert_eq!(behind(&stage), (110_000, 2, 1));
}
