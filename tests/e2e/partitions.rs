//! The reference stack in the other partitions of AWS.

use std::fs;

use serde_json::Value;
use trunnion_tests::Stage;

/// Applies the reference stack in a region, and checks that all ARNs have the region's partition.
fn applies_in(region: &str, partition: &str, host: &str) {
    let stage = Stage::with("loadtest");
    let text = fs::read_to_string(stage.path("stack.yaml")).unwrap();
    let text = text.replace("eu-west-3", region).replace("arn:aws:", &format!("arn:{partition}:"));
    let text = text.split("environments:").next().unwrap().to_owned();
    stage.write("stack.yaml", text);
    stage.converge(&[]);
    let shown: Value = serde_json::from_str(&stage.succeed(&["show", "--json"]).stdout).unwrap();
    let resources = &shown["state"]["resources"];
    let arns: Vec<String> =
        resources.to_string().split("arn:").skip(1).map(|rest| rest.chars().take(20).collect()).collect();
    assert!(arns.len() > 20, "{arns:?}");
    for arn in arns {
        assert!(arn.starts_with(&format!("{partition}:")), "arn:{arn} in {region}");
    }
    let trust = resources["iam_role.generator"]["attributes"]["trust_policy"].as_str().unwrap();
    assert!(trust.contains(&format!("\"{host}\"")), "{trust}");
    stage.succeed(&["destroy", "--yes"]);
    assert_eq!(stage.changes(&["--destroy"]), Vec::<String>::new());
}

#[test]
fn a_stack_is_applied_in_china() {
    applies_in("cn-north-1", "aws-cn", "ec2.amazonaws.com.cn");
}

#[test]
fn a_stack_is_applied_in_gov_cloud() {
    applies_in("us-gov-west-1", "aws-us-gov", "ec2.amazonaws.com");
}

#[test]
fn a_stack_is_applied_in_the_european_sovereign_cloud() {
    applies_in("eusc-de-east-1", "aws-eusc", "ec2.amazonaws.com");
}
