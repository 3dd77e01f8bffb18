//! What a person wants to keep as it is: `--exclude` and `protect`.

use serde_json::Value;
use trunnion_tests::{SandboxProcess, Stage, root};

/// The minimal stack with three hosts.
fn three() -> Stage {
    let minimal = std::fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap();
    let stage = Stage::new(&minimal.replace("zone: eu-west-3a }", "zone: eu-west-3a, count: 3 }"));
    stage.succeed(&["apply", "--yes"]);
    stage
}

fn state(stage: &Stage) -> Value {
    let shown: Value = serde_json::from_str(&stage.succeed(&["show", "--json"]).stdout).unwrap();
    shown["state"]["resources"].clone()
}

fn id(stage: &Stage, address: &str) -> String {
    state(stage)[address]["id"].as_str().unwrap_or_else(|| panic!("{address} is not recorded")).to_owned()
}

fn refused(stage: &Stage, arguments: &[&str], parts: &[&str]) {
    let before = state(stage);
    let ended = stage.run(arguments);
    assert_eq!(ended.code, 1, "{arguments:?}\n{}\n{}", ended.stdout, ended.stderr);
    for part in parts {
        assert!(ended.said().contains(part), "{part} is not in\n{}", ended.stderr);
    }
    assert_eq!(state(stage), before, "{arguments:?}");
}

#[test]
fn an_excluded_host_stays_while_the_others_are_replaced() {
    let stage = three();
    let ids = || [0, 1, 2].map(|number| id(&stage, &format!("instance.small[{number}]")));
    let before = ids();
    stage.edit("c7i.xlarge", "c7i.2xlarge");
    let plan = stage.succeed(&["plan", "--exclude", "instance.small[1]"]);
    assert!(plan.stdout.contains("This plan is partial: it leaves out `instance.small[1]`."), "{}", plan.stdout);
    let said = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("without `--exclude`, `instance.small[1]` would be replaced"), "{}", plan.stdout);
    let because =
        "`ecs_task_definition.control_plane` would be replaced to other values, because of `instance.small[1]`";
    assert!(said.contains(because), "{}", plan.stdout);

    stage.succeed(&["plan", "--exclude", "instance.small[1]", "--out", "plan.json"]);
    stage.succeed(&["apply", "plan.json", "--yes"]);
    let after = ids();
    assert_eq!(after[1], before[1]);
    assert!(after[0] != before[0] && after[2] != before[2], "{before:?} {after:?}");
    assert_eq!(stage.changes(&["--exclude", "instance.small[1]"]), Vec::<String>::new());
    let changes = stage.changes(&[]);
    assert!(changes.contains(&"replace instance.small[1]".to_owned()), "{changes:?}");
    assert!(!changes.iter().any(|change| change.contains("small[0]")), "{changes:?}");
    stage.converge(&[]);
}

#[test]
fn an_excluded_pool_is_not_deleted_and_keeps_what_it_needs() {
    let stage = Stage::with("loadtest");
    stage.succeed(&["apply", "--yes"]);
    let heavy = id(&stage, "instance.heavy[3]");
    stage.edit("count: 4", "count: 2");
    let changes = stage.changes(&["--exclude", "instance.heavy"]);
    assert!(!changes.iter().any(|change| change.contains("heavy")), "{changes:?}");
    stage.succeed(&["apply", "--yes", "--exclude", "instance.heavy[3]"]);
    assert_eq!(id(&stage, "instance.heavy[3]"), heavy);
    assert_eq!(state(&stage)["instance.heavy[2]"], Value::Null);
    // A template that an excluded pool keeps gives its hosts no reason to be replaced.
    stage.edit("volume_gib: 100", "volume_gib: 110");
    let changes = stage.changes(&["--exclude", "launch_template.heavy", "--exclude", "instance.heavy[3]"]);
    assert_eq!(changes, Vec::<String>::new());
    stage.converge(&[]);
}

#[test]
fn what_cannot_be_made_without_an_excluded_host_stays_too() {
    let stage = three();
    stage.edit("count: 3", "count: 4");
    assert_eq!(stage.changes(&["--exclude", "instance.small[3]"]), Vec::<String>::new());
    let plan = stage.succeed(&["plan", "--exclude", "instance.small[3]"]);
    let said = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("without `--exclude`, `instance.small[3]` would be created"), "{said}");
    assert!(
        said.contains("`ecs_task_definition.control_plane` would be replaced, because of `instance.small[3]`"),
        "{said}"
    );
    stage.converge(&[]);
}

#[test]
fn exclusions_that_make_no_sense_are_refused() {
    let stage = three();
    refused(&stage, &["plan", "--exclude", "instance.smal"], &["`instance.smal`", "similar: `instance.small["]);
    refused(&stage, &["plan", "--exclude", "nonsense"], &["`nonsense` is not an address"]);
    let both = ["apply", "--yes", "--target", "instance.small[1]", "--exclude", "instance.small"];
    refused(&stage, &both, &["`instance.small[1]` is asked for and excluded at the same time", "but not with both"]);
    let both = ["apply", "--yes", "--replace", "instance.small[1]", "--exclude", "instance.small[1]"];
    refused(&stage, &both, &["`instance.small[1]` is asked for and excluded"]);
    refused(&stage, &["plan", "--destroy", "--exclude", "instance.small"], &["cannot be used with"]);
    stage.succeed(&["plan", "--out", "plan.json"]);
    refused(&stage, &["apply", "plan.json", "--exclude", "instance.small"], &["already contains these options"]);
    let rest = ["apply", "--yes", "--replace", "instance.small", "--exclude", "instance.small[1]"];
    let before = id(&stage, "instance.small[1]");
    stage.succeed(&rest);
    assert_eq!(id(&stage, "instance.small[1]"), before);
}

const PROTECTED: &str = "count: 3, protect: true }";

/// The same, with a protected pool.
fn protected() -> Stage {
    let stage = three();
    stage.edit("count: 3 }", PROTECTED);
    let changes = stage.changes(&[]);
    assert!(!changes.is_empty() && changes.iter().all(|change| change.starts_with("update ")), "{changes:?}");
    stage.converge(&[]);
    stage
}

#[test]
fn a_plan_that_replaces_or_deletes_a_protected_host_is_refused() {
    let stage = protected();
    stage.edit("c7i.xlarge", "c7i.2xlarge");
    let because = "its `template` differs because `launch_template.small` changes `data.instance_type`";
    let parts = ["`instance.small[0]`", "are protected and would be replaced", because, "remove `pools.small.protect`"];
    refused(&stage, &["plan"], &parts);
    refused(&stage, &["apply", "--yes"], &parts);
    assert_eq!(stage.changes(&["--exclude", "instance.small"]), ["update launch_template.small"]);
    stage.edit("c7i.2xlarge", "c7i.xlarge");

    let parts = ["`instance.small[1]`", "its replacement was asked for", "leave out its `--replace`"];
    refused(&stage, &["plan", "--replace", "instance.small[1]"], &parts);
    stage.edit("count: 3", "count: 2");
    refused(&stage, &["plan"], &["`instance.small[2]`", "the stack does not ask for it any more"]);
    stage.edit("count: 2", "count: 4");
    stage.converge(&[]);
    let only = ["`instance.small[0]`", "remove `pools.small.protect` from the stack file to allow it"];
    refused(&stage, &["destroy", "--yes"], &only);
    refused(&stage, &["plan", "--destroy"], &only);

    // Without the key, everything is allowed at once.
    stage.edit("count: 4, protect: true }", "count: 2 }");
    assert!(stage.changes(&[]).contains(&"delete instance.small[3]".to_owned()));
    stage.succeed(&["destroy", "--yes"]);
}

#[test]
fn a_protected_pool_that_the_stack_file_no_longer_has_stays_protected() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("loadtest").at(&sandbox);
    stage.edit("    zone: eu-west-3b\n", "    zone: eu-west-3b\n    protect: true\n");
    stage.converge(&[]);
    let with = std::fs::read_to_string(stage.path("stack.yaml")).unwrap();
    let (start, rest) = with.split_once("  probe:\n").unwrap();
    let (_, rest) = rest.split_once("control_plane:\n").unwrap();
    let (rest, _) = rest.split_once("  prl_probe_paris:\n").unwrap();
    let without = format!("{start}\ncontrol_plane:\n{rest}");
    stage.write("stack.yaml", &without);
    let parts = ["`instance.probe[0]`", "the stack does not ask for it any more", "tag `trunnion:protect`"];
    refused(&stage, &["plan"], &parts);
    // The tag says it, and not the state.
    std::fs::remove_file(stage.path(".trunnion/loadtest.json")).unwrap();
    let ended = stage.run(&["apply", "--yes"]);
    assert!(ended.code == 1 && ended.said().contains("`instance.probe[0]`"), "{}", ended.stderr);
    stage.write("stack.yaml", with.replace("    protect: true\n", ""));
    stage.converge(&[]);
    stage.write("stack.yaml", without);
    stage.converge(&[]);
}

#[test]
fn the_whole_stack_can_be_protected() {
    let stage = Stage::with("loadtest");
    stage.edit("stack: loadtest\n", "stack: loadtest\nprotect: true\n");
    stage.edit("    zone: eu-west-3b\n", "    zone: eu-west-3b\n    protect: false\n");
    stage.converge(&[]);
    refused(&stage, &["destroy", "--yes"], &["`ecs_service.control_plane`", "`instance.heavy[0]`", "remove `protect`"]);
    stage.edit("c7i.xlarge", "c7i.2xlarge");
    stage.converge(&[]);
    stage.edit("log_retention_days: 30", "log_retention_days: 60");
    stage.edit("gatlingcorp/control-plane:2026.42.2", "gatlingcorp/control-plane:2026.42.3");
    stage.converge(&[]);
    stage.edit("protect: true\n", "");
    stage.succeed(&["destroy", "--yes"]);
}
