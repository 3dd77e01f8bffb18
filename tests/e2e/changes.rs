//! Ordinary changes of a stack: the plan has exactly the expected changes, and apply leaves nothing to do.

use std::fs;

use trunnion_tests::{Stage, binary};

/// The reference stack, applied.
fn applied() -> Stage {
    let stage = Stage::with("loadtest");
    stage.succeed(&["apply", "--yes"]);
    stage
}

fn heavy(action: &str, hosts: std::ops::Range<u32>) -> Vec<String> {
    hosts.map(|host| format!("{action} instance.heavy[{host}]")).collect()
}

const NEW_CONF: [&str; 2] = ["replace ecs_task_definition.control_plane", "update ecs_service.control_plane"];

fn expect(stage: &Stage, expected: &[&[String]]) {
    let mut expected: Vec<String> = expected.concat();
    let mut found = stage.changes(&[]);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    stage.converge(&[]);
}

fn own(changes: &[&str]) -> Vec<String> {
    changes.iter().map(|&change| change.to_owned()).collect()
}

#[test]
fn a_pool_grows_and_shrinks() {
    let stage = applied();
    stage.edit("count: 4", "count: 5");
    expect(&stage, &[&heavy("create", 4..5), &own(&NEW_CONF)]);
    stage.edit("count: 5", "count: 3");
    expect(&stage, &[&heavy("delete", 3..5), &own(&NEW_CONF)]);
}

#[test]
fn another_instance_type_replaces_the_hosts_of_the_pool() {
    let stage = applied();
    stage.edit("instance_type: c6in.32xlarge", "instance_type: c5n.18xlarge");
    expect(&stage, &[&heavy("replace", 0..4), &own(&["update launch_template.heavy"]), &own(&NEW_CONF)]);
}

#[test]
fn another_generator_binary_replaces_hosts_with_update_generator() {
    let stage = applied();
    let mut bytes = fs::read(binary("trunnion-generator")).unwrap();
    bytes.extend_from_slice(b"another build");
    stage.write("other-generator", &bytes);
    stage.edit("generator:\n", "generator:\n  binary: other-generator\n");
    let others = [
        "replace s3_object.generator[x86_64]",
        "update launch_template.heavy",
        "update launch_template.probe",
        "replace instance.probe[0]",
    ];
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    let mut expected = [heavy("replace", 0..4), own(&others), own(&NEW_CONF)].concat();
    let mut found = stage.changes(&["--update-generator"]);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    stage.converge(&["--update-generator"]);
}

#[test]
fn tracking_moves_the_load_interfaces_to_another_group() {
    let stage = applied();
    stage.edit("tracking: untracked", "tracking: tracked");
    let template = own(&["update launch_template.heavy"]);
    expect(&stage, &[&heavy("replace", 0..4), &template, &own(&["delete security_group.untracked"]), &own(&NEW_CONF)]);
    stage.edit("tracking: tracked", "tracking: untracked");
    expect(&stage, &[&heavy("replace", 0..4), &template, &own(&["create security_group.untracked"]), &own(&NEW_CONF)]);
    stage.edit("    zone: eu-west-3b\n", "    zone: eu-west-3b\n    tracking: untracked\n");
    let last = ["delete security_group.load", "update launch_template.probe", "replace instance.probe[0]"];
    expect(&stage, &[&own(&last), &own(&NEW_CONF)]);
}

#[test]
fn another_metrics_range_changes_one_group_and_no_host() {
    let stage = applied();
    stage.edit("metrics_from: [10.30.0.0/16]", "metrics_from: [10.30.0.0/16, 10.31.7.0/24]");
    expect(&stage, &[&own(&["update security_group.generator"])]);
    stage.edit("metrics_from: [10.30.0.0/16, 10.31.7.0/24]", "metrics_from: []");
    expect(&stage, &[&own(&["update security_group.generator"])]);
}

#[test]
fn another_system_property_changes_only_the_conf() {
    let stage = applied();
    stage.edit("\"load.profile\": heavy", "\"load.profile\": light");
    expect(&stage, &[&own(&NEW_CONF)]);
}

#[test]
fn a_pool_is_added_and_removed_with_its_location() {
    let stage = applied();
    stage.edit(
        "\ncontrol_plane:",
        "  extra:\n    instance_type: c7i.xlarge\n    count: 2\n    zone: eu-west-3c\n\ncontrol_plane:",
    );
    stage.edit("\nlocations:\n", "\nlocations:\n  prl_extra: { pool: extra }\n");
    let stage_changes = ["create launch_template.extra", "create instance.extra[0]", "create instance.extra[1]"];
    // The control plane's group gets a rule for the new subnet.
    let way = "update security_group.control_plane";
    expect(&stage, &[&own(&stage_changes), &own(&[way]), &own(&NEW_CONF)]);
    stage.edit("  extra:\n    instance_type: c7i.xlarge\n    count: 2\n    zone: eu-west-3c\n\n", "\n");
    stage.edit("  prl_extra: { pool: extra }\n", "");
    let gone = ["delete launch_template.extra", "delete instance.extra[0]", "delete instance.extra[1]"];
    expect(&stage, &[&own(&gone), &own(&[way]), &own(&NEW_CONF)]);
}

#[test]
fn another_tag_replaces_no_resource() {
    let stage = applied();
    stage.edit("cost-center: quality", "cost-center: platform");
    let changes = stage.changes(&[]);
    assert!(changes.iter().all(|change| change.starts_with("update ")), "{changes:?}");
    let touched = |change: &str| changes.contains(&format!("update {change}"));
    assert!(touched("instance.heavy[0]") && touched("iam_role.generator") && touched("s3_bucket.artifacts"));
    stage.converge(&[]);
}

#[test]
fn an_environment_is_independent_of_the_base() {
    let stage = applied();
    let dr = ["--env", "dr"];
    let changes = stage.changes(&dr);
    assert!(changes.iter().all(|change| change.starts_with("create ")), "{changes:?}");
    stage.converge(&dr);
    assert_eq!(stage.changes(&[]), Vec::<String>::new(), "the base is unchanged");
    stage.succeed(&["destroy", "--yes", "--env", "dr"]);
    assert_eq!(stage.changes(&[]), Vec::<String>::new(), "the base is unchanged");
}

#[test]
fn a_subnet_by_zone_and_by_id_is_the_same() {
    let stage = applied();
    let shown: serde_json::Value = serde_json::from_str(&stage.succeed(&["show", "--json"]).stdout).unwrap();
    let interfaces = &shown["state"]["resources"]["launch_template.heavy"]["attributes"]["data"]["interfaces"];
    let id = interfaces[0]["subnet"].as_str().unwrap();
    stage.edit(
        "    instance_type: c7i.xlarge\n    count: 1\n    zone: eu-west-3b",
        &format!("    instance_type: c7i.xlarge\n    count: 1\n    subnet: {id}"),
    );
    stage.converge(&[]);
}
