use std::collections::BTreeSet;

use super::{KINDS, PERMISSIONS, PREFIXES};
use crate::{
    authorize::{Scene, Target},
    call::{Call, Input, Reply},
    cloud::Cloud,
    ec2::{self, tag},
    json::testing,
};

fn call(action: &str, pairs: &[(&str, &str)]) -> Call {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Call { service: "ec2".to_owned(), ..testing::call(action, 0, Input::Query(pairs)) }
}

fn ask(cloud: &mut Cloud, action: &str, pairs: &[(&str, &str)]) -> String {
    match ec2::handle(cloud, &call(action, pairs)).unwrap() {
        Reply::Xml(text) => text,
        Reply::Json(document) => panic!("{document}"),
    }
}

fn first(text: &str, element: &str) -> String {
    text.split(&format!("<{element}>")).nth(1).unwrap().split('<').next().unwrap().to_owned()
}

/// The ARNs of the first action of a call.
fn judged(cloud: &Cloud, action: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let call = call(action, pairs);
    let (_, actions) = PERMISSIONS.iter().find(|(name, _)| *name == action).unwrap();
    let targets: Vec<Target> = actions[0].1(&Scene { cloud, call: &call });
    targets.into_iter().map(|target| target.arn).collect()
}

#[test]
fn each_resource_that_can_be_tagged_has_a_type() {
    let prefixes: BTreeSet<&str> = PREFIXES.iter().map(|(prefix, _)| *prefix).collect();
    assert_eq!(prefixes, tag::prefixes().into_iter().collect());
    assert!(PREFIXES.iter().all(|(_, kind)| KINDS.contains(kind)));
}

#[test]
fn a_resource_of_an_unknown_type_is_judged() {
    let cloud = testing::cloud();
    let ids = [("ResourceId.1", "sir-1"), ("ResourceId.2", "cgw-1"), ("Tag.1.Key", "a")];
    for action in ["CreateTags", "DeleteTags"] {
        let spot = "arn:aws:ec2:eu-west-3:123456789012:spot-instances-request/sir-1";
        assert_eq!(judged(&cloud, action, &ids), [spot, "*"]);
    }
}

#[test]
fn a_group_that_a_launch_names_is_judged() {
    let mut cloud = testing::cloud();
    let now = call("", &[]).now;
    cloud.enter("eu-west-3", now);
    let subnet = first(&ask(&mut cloud, "DescribeSubnets", &[]), "subnetId");
    let made = ask(&mut cloud, "CreateSecurityGroup", &[("GroupName", "open"), ("GroupDescription", "x")]);
    let group = format!("arn:aws:ec2:eu-west-3:123456789012:security-group/{}", first(&made, "groupId"));
    let groups = |more: &[(&str, &str)]| {
        let pairs = [&[("ImageId", "ami-1"), ("SubnetId", subnet.as_str())], more].concat();
        let mut arns = judged(&cloud, "RunInstances", &pairs);
        arns.retain(|arn| arn.contains(":security-group/"));
        arns
    };
    assert_eq!(groups(&[("SecurityGroup.1", "open")]), std::slice::from_ref(&group));
    assert_eq!(groups(&[("SecurityGroup.1", "none")]), ["arn:aws:ec2:eu-west-3:123456789012:security-group/*"]);
    let by_default = groups(&[]);
    assert!(by_default.len() == 1 && by_default[0] != group, "{by_default:?}");
}
