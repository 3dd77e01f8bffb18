//! The tables against the calls that are served, and against the Service Authorization Reference.

use std::collections::BTreeSet;

use super::{
    context::{COMPUTED, NEVER, NEVER_HERE, UNKNOWN},
    reference::reference,
    rows,
};
use crate::s3::permissions::PERMISSIONS as S3;

/// The sources that dispatch calls, by service.
const DISPATCH: [(&str, &str); 9] = [
    ("ec2", include_str!("../ec2/mod.rs")),
    ("ecs", include_str!("../ecs/mod.rs")),
    ("iam", include_str!("../iam/mod.rs")),
    ("sts", include_str!("../sts.rs")),
    ("ssm", include_str!("../ssm.rs")),
    ("logs", include_str!("../logs.rs")),
    ("secretsmanager", include_str!("../secrets.rs")),
    ("servicequotas", include_str!("../service_quotas.rs")),
    ("tagging", include_str!("../tagging.rs")),
];

/// The names in the match that dispatches calls: `"Name" =>` and `"Name" | "Other" =>`.
fn served(source: &str) -> BTreeSet<&str> {
    let dispatch = source.split("match call.action.as_str() {").nth(1).unwrap();
    let dispatch = dispatch.split("other =>").next().unwrap();
    let arms = dispatch.lines().filter_map(|line| line.split_once("=>"));
    arms.flat_map(|(names, _)| names.split('|').map(|name| name.trim().trim_matches('"'))).collect()
}

/// The calls that are served from tables, because nothing of theirs is ever here.
fn in_tables(service: &str) -> Vec<&'static str> {
    match service {
        "ec2" => crate::ec2::from_tables(),
        "iam" => crate::iam::from_tables(),
        _ => Vec::new(),
    }
}

#[test]
fn each_served_call_has_exactly_one_row() {
    for (service, source) in DISPATCH {
        let names: Vec<&str> = rows(service).iter().map(|(name, _)| *name).collect();
        let unique: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), unique.len(), "{service} has a call twice");
        let mut served = served(source);
        served.extend(in_tables(service));
        assert_eq!(unique, served, "{service}");
    }
}

#[test]
fn each_served_operation_of_s3_has_exactly_one_row() {
    let source = include_str!("../s3/api.rs");
    let plain = source.lines().filter_map(|line| line.trim().split_once('('));
    let plain = plain.filter(|(name, rest)| rest.contains("Input) ->") && !name.contains(' ')).map(|(name, _)| name);
    let asynchronous = source.lines().filter_map(|line| line.trim().strip_prefix("async fn ")?.split('(').next());
    let served: BTreeSet<String> = plain.chain(asynchronous).map(camel).collect();
    let names: Vec<&str> = S3.iter().map(|(name, _)| *name).collect();
    let unique: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names.len(), unique.len());
    assert_eq!(unique, served);
}

fn camel(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>()
    };
    name.split('_').map(word).collect()
}

#[test]
fn each_action_is_in_the_reference() {
    let of_services = DISPATCH.iter().flat_map(|(service, _)| rows(service));
    let actions = of_services.flat_map(|(_, actions)| actions.iter().map(|(action, _)| *action));
    let of_s3 = S3.iter().flat_map(|(_, actions)| actions.iter().map(|(action, _)| *action));
    for action in actions.chain(of_s3) {
        assert!(reference().actions.contains_key(action), "{action}");
    }
}

#[test]
fn the_reference_is_kept_for_the_resource_types_of_ec2() {
    let of_ec2 = reference().actions.iter().filter(|(name, _)| name.starts_with("ec2:"));
    let kinds: BTreeSet<&str> = of_ec2.flat_map(|(_, action)| action.kinds.keys().copied()).collect();
    assert_eq!(kinds, crate::ec2::KINDS.iter().copied().collect());
}

#[test]
fn each_condition_key_is_computed_or_said_to_be_absent_or_unknown() {
    let mut missing = BTreeSet::new();
    for action in reference().actions.values() {
        for key in action.keys.iter().chain(action.kinds.values().flatten()) {
            let is_in = |keys: &[&str]| keys.contains(key);
            if !is_in(COMPUTED) && !is_in(NEVER) && !is_in(NEVER_HERE) && !is_in(UNKNOWN) {
                missing.insert(*key);
            }
        }
    }
    missing.extend(reference().types.values().flatten().filter(|key| !COMPUTED.contains(key) && !NEVER.contains(key)));
    assert!(missing.is_empty(), "{missing:#?}");
}
