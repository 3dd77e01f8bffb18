//! Every ordinary change of a stack: exactly the expected changes, and apply converges.

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
fn more_hosts_and_then_fewer() {
    let stage = applied();
    stage.edit("count: 4", "count: 5");
    expect(&stage, &[&heavy("create", 4..5), &own(&NEW_CONF)]);
    stage.edit("count: 5", "count: 3");
    expect(&stage, &[&heavy("delete", 3..5), &own(&NEW_CONF)]);
}

#[test]
fn another_instance_type_rolls_the_pool() {
    let stage = applied();
    stage.edit("instance_type: c6in.32xlarge", "instance_type: c5n.18xlarge");
    expect(&stage, &[&heavy("replace", 0..4), &own(&["update launch_template.heavy"]), &own(&NEW_CONF)]);
}

#[test]
fn another_generator_binary_rolls_every_pool_once_it_is_asked_for() {
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
fn who_reads_metrics_changes_one_group_and_no_host() {
    let stage = applied();
    stage.edit("metrics_from: [10.30.0.0/16]", "metrics_from: [10.30.0.0/16, 10.31.7.0/24]");
    expect(&stage, &[&own(&["update security_group.generator"])]);
    stage.edit("metrics_from: [10.30.0.0/16, 10.31.7.0/24]", "metrics_from: []");
    expect(&stage, &[&own(&["update security_group.generator"])]);
}

#[test]
fn another_system_property_changes_the_conf_alone() {
    let stage = applied();
    stage.edit("\"load.profile\": heavy", "\"load.profile\": light");
    expect(&stage, &[&own(&NEW_CONF)]);
}

#[test]
fn a_pool_comes_and_goes_with_its_location() {
    let stage = applied();
    stage.edit(
        "\ncontrol_plane:",
        "  extra:\n    instance_type: c7i.xlarge\n    count: 2\n    zone: eu-west-3c\n\ncontrol_plane:",
    );
    stage.edit("\nlocations:\n", "\nlocations:\n  prl_extra: { pool: extra }\n");
    let stage_changes = ["create launch_template.extra", "create instance.extra[0]", "create instance.extra[1]"];
    // The control plane's way to the hosts opens towards their subnet.
    let way = "update security_group.control_plane";
    expect(&stage, &[&own(&stage_changes), &own(&[way]), &own(&NEW_CONF)]);
    stage.edit("  extra:\n    instance_type: c7i.xlarge\n    count: 2\n    zone: eu-west-3c\n\n", "\n");
    stage.edit("  prl_extra: { pool: extra }\n", "");
    let gone = ["delete launch_template.extra", "delete instance.extra[0]", "delete instance.extra[1]"];
    expect(&stage, &[&own(&gone), &own(&[way]), &own(&NEW_CONF)]);
}

#[test]
fn another_tag_replaces_nothing() {
    let stage = applied();
    stage.edit("cost-center: quality", "cost-center: platform");
    let changes = stage.changes(&[]);
    assert!(changes.iter().all(|change| change.starts_with("update ")), "{changes:?}");
    let touched = |change: &str| changes.contains(&format!("update {change}"));
    assert!(touched("instance.heavy[0]") && touched("iam_role.generator") && touched("s3_bucket.artifacts"));
    stage.converge(&[]);
}

#[test]
fn an_environment_stands_beside_the_base() {
    let stage = applied();
    let dr = ["--env", "dr"];
    let changes = stage.changes(&dr);
    assert!(changes.iter().all(|change| change.starts_with("create ")), "{changes:?}");
    stage.converge(&dr);
    assert_eq!(stage.changes(&[]), Vec::<String>::new(), "the base is as it was");
    stage.succeed(&["destroy", "--yes", "--env", "dr"]);
    assert_eq!(stage.changes(&[]), Vec::<String>::new(), "the base is as it was");
}

#[test]
fn a_subnet_asked_for_by_zone_and_by_id_is_one() {
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
