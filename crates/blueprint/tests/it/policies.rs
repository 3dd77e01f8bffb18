//! What everyone may do, as a security reviewer reads it.

use std::fmt::Write as _;

use trunnion_blueprint::{blueprint, policies};

use crate::common;

fn told(stack: &trunnion_stack::Stack) -> String {
    let mut text = String::new();
    for (name, policy) in policies(stack).unwrap() {
        writeln!(text, "{name}\n{policy}\n").unwrap();
    }
    text
}

#[test]
fn the_reference_stack() {
    insta::assert_snapshot!(told(&common::stack("loadtest.yaml", None)));
}

#[test]
fn the_roles_have_these_policies_and_no_others() {
    let stack = common::stack("loadtest.yaml", None);
    let graph = blueprint(&stack, &common::binaries()).unwrap();
    let told = policies(&stack).unwrap();
    let mut seen = 0;
    for resource in graph.resources().values() {
        for name in ["policy", "trust_policy"] {
            let Some(text) = resource.attributes.get(name).and_then(trunnion_engine::Value::as_text) else { continue };
            let one: serde_json::Value = serde_json::from_str(text).unwrap();
            let other: serde_json::Value =
                serde_json::from_str(&told[&format!("{}.{name}", resource.address)]).unwrap();
            assert_eq!(one, other, "{}", resource.address);
            seen += 1;
        }
    }
    assert_eq!(seen, told.len());
}

#[test]
fn other_partitions_have_other_names() {
    let mut stack = common::stack("loadtest.yaml", None);
    stack.region = "cn-north-1".to_owned();
    let china = told(&stack);
    assert!(china.contains("arn:aws-cn:s3:::loadtest-123456789012-cn-north-1"));
    assert!(china.contains("\"ec2.amazonaws.com.cn\"") && china.contains("\"ecs-tasks.amazonaws.com\""));
    assert!(!china.contains("arn:aws:s3") && !china.contains("arn:aws:logs"));
    stack.region = "us-gov-west-1".to_owned();
    assert!(told(&stack).contains("arn:aws-us-gov:logs:us-gov-west-1:123456789012:log-group:"));
}

#[test]
fn an_image_of_ecr_is_pulled_from_its_repository_only() {
    let mut stack = common::stack("loadtest.yaml", None);
    assert!(!told(&stack).contains("ecr:"));
    stack.control_plane.image = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/team/control-plane:2026.42.2".to_owned();
    assert!(told(&stack).contains("\"arn:aws:ecr:eu-west-1:210987654321:repository/team/control-plane\""));
}
