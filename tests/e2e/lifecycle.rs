//! The life of a stack, from the first apply to destroy.

use std::fs;

use serde_json::Value;
use trunnion_tests::{SandboxProcess, Stage};

#[test]
fn a_stack_is_applied_once_and_destroyed() {
    let stage = Stage::with("loadtest");
    let first = stage.succeed(&["apply", "--yes"]);
    for expected in ["instance.heavy[3]", "8 interfaces", "240 addresses", "prl_heavy_paris", "instance.probe[0]"] {
        assert!(first.stdout.contains(expected), "{expected} in {}", first.stdout);
    }

    let again = stage.succeed(&["apply", "--yes", "-v"]);
    assert!(again.stderr.contains("No changes"), "{}", again.stderr);
    // The README names these figures.
    assert_eq!(again.calls(), (42, 0, 3), "{}", again.stderr);

    let shown: Value = serde_json::from_str(&stage.succeed(&["show", "--json"]).stdout).unwrap();
    let hosts = shown["outputs"]["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 5);
    assert_eq!(hosts[0]["interfaces"].as_array().unwrap().len(), 8);
    let addresses: std::collections::BTreeSet<&str> =
        hosts.iter().map(|host| host["private_ip"].as_str().unwrap()).collect();
    assert_eq!(addresses.len(), 5, "every host has a different address");

    stage.succeed(&["destroy", "--yes"]);
    let changes = stage.changes(&[]);
    assert!(changes.iter().all(|change| change.starts_with("create ")), "{changes:?}");
    assert_eq!(stage.changes(&["--destroy"]), Vec::<String>::new(), "no resource has the stack's tags");
}

#[test]
fn the_number_of_reads_does_not_depend_on_the_number_of_hosts() {
    let few = Stage::with("minimal");
    let many = Stage::with("minimal");
    many.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 40 }");
    let calls = |stage: &Stage| {
        stage.succeed(&["apply", "--yes"]);
        stage.succeed(&["plan", "-v"]).calls()
    };
    assert_eq!(calls(&few), calls(&many));
}

#[test]
fn the_next_plan_finds_everything_without_the_state() {
    let stage = Stage::with("minimal");
    stage.converge(&[]);
    let document = stage.path(".trunnion/minimal.json");
    let before: Value = serde_json::from_slice(&fs::read(&document).unwrap()).unwrap();
    fs::remove_file(&document).unwrap();
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    let ended = stage.succeed(&["apply", "--yes", "-v"]);
    assert_eq!(ended.calls().1, 0, "adopting writes nothing to AWS");
    let after: Value = serde_json::from_slice(&fs::read(&document).unwrap()).unwrap();
    let ids = |state: &Value| -> Vec<(String, String)> {
        let resources = state["resources"].as_object().unwrap();
        resources.iter().map(|(address, one)| (address.clone(), one["id"].to_string())).collect()
    };
    assert_eq!(ids(&before), ids(&after));
    fs::remove_file(&document).unwrap();
    stage.succeed(&["destroy", "--yes"]);
    assert_eq!(stage.changes(&["--destroy"]), Vec::<String>::new());
}

#[test]
fn two_plans_have_the_same_bytes() {
    let stage = Stage::with("loadtest");
    let plan = |stage: &Stage| stage.succeed(&["plan", "--json"]).stdout;
    assert_eq!(plan(&stage), plan(&stage));
    stage.succeed(&["apply", "--yes"]);
    stage.edit("count: 4", "count: 5");
    assert_eq!(plan(&stage), plan(&stage));
}

#[test]
fn a_saved_plan_is_executed_or_refused() {
    let stage = Stage::with("minimal");
    let hint = stage.succeed(&["plan", "--out", "first.json"]).stderr;
    assert!(hint.contains("`trunnion apply first.json --sandbox`"), "{hint}");
    let elsewhere = stage.command(&["apply", "first.json", "--yes"]).output().unwrap();
    assert_eq!(elsewhere.status.code(), Some(1), "a plan for the sandbox is not for AWS");
    // Remarks may differ, and later versions may add some.
    let mut document: Value = serde_json::from_slice(&fs::read(stage.path("first.json")).unwrap()).unwrap();
    document["format"] = "2.9".into();
    document["remarks"] = serde_json::json!({"identity": "somebody else", "cost": {"per_hour": 3}});
    stage.write("first.json", document.to_string());
    stage.succeed(&["apply", "first.json", "--yes"]);
    assert_eq!(stage.changes(&[]), Vec::<String>::new());

    let again = stage.run(&["apply", "first.json", "--yes"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("`first.json` is out of date"), "{}", again.stderr);
    assert!(
        again.stderr.contains("`ecs_cluster.main`: the plan says create, a new plan says no change"),
        "{}",
        again.stderr
    );
    assert!(again.stderr.contains("make a new plan"), "{}", again.stderr);

    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2 }");
    stage.succeed(&["plan", "--out", "second.json"]);
    stage.edit("count: 2", "count: 3");
    let other_stack = stage.run(&["apply", "second.json", "--yes"]);
    assert_eq!(other_stack.code, 1);
    assert!(other_stack.stderr.contains("what the stack asks for has changed"), "{}", other_stack.stderr);
    assert_eq!(stage.succeed(&["plan", "-v"]).calls().1, 0);
}

#[test]
fn a_target_includes_only_its_dependencies() {
    let stage = Stage::with("loadtest");
    stage.succeed(&["apply", "--yes", "--target", "instance.probe"]);
    let shown: Value = serde_json::from_str(&stage.succeed(&["show", "--json"]).stdout).unwrap();
    let hosts = shown["outputs"]["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 1, "{shown:#}");
    let unknown = stage.run(&["plan", "--target", "instance.nobody"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("`instance.nobody`"), "{}", unknown.stderr);
    stage.converge(&[]);
}

#[test]
fn no_wait_still_lists_the_hosts() {
    let stage = Stage::with("minimal");
    let ended = stage.succeed(&["apply", "--yes", "--no-wait"]);
    assert!(ended.stdout.contains("instance.small[0]"), "{}", ended.stdout);
    stage.converge(&[]);
}

#[test]
fn apply_with_json_prints_events_and_the_outcome() {
    let stage = Stage::with("minimal");
    let events = stage.succeed(&["apply", "--yes", "--json"]).events();
    assert_eq!((&events[0]["event"], &events[0]["format"]), (&"begun".into(), &"1.0".into()), "{events:?}");
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).count() as u64;
    assert_eq!([of("started"), of("finished")], [events[0]["steps"].as_u64().unwrap(); 2], "{events:?}");
    let Some((ended, before)) = events.split_last() else { panic!("expected events") };
    assert!(before.iter().all(|event| event["event"] != "ended") && ended["event"] == "ended", "{events:?}");
    let outcome = &ended["outcome"];
    assert_eq!((&outcome["result"], &outcome["failed"]), (&"complete".into(), &serde_json::json!([])));
    assert_eq!(outcome["outputs"]["hosts"][0]["location"], "prl_small");

    let again = stage.succeed(&["apply", "--yes", "--json"]).events();
    assert_eq!(again.len(), 2, "{again:?}");
}

#[test]
fn show_prints_a_saved_plan_unchanged() {
    let stage = Stage::with("minimal");
    let planned = stage.succeed(&["plan", "--out", "plan.json"]).stdout;
    let written = fs::read_to_string(stage.path("plan.json")).unwrap();
    stage.converge(&[]);
    fs::remove_file(stage.path("stack.yaml")).unwrap();
    // Without a stack file, a state or a connection.
    assert_eq!(stage.run(&["show", "plan.json"]).stdout, planned);
    assert_eq!(stage.run(&["show", "plan.json", "--json"]).stdout, written);
    let refused = stage.run(&["show", "plan.json", "--env", "prod"]);
    assert!(refused.code == 1 && refused.stderr.contains("remove `--env`"), "{}", refused.stderr);
}

#[test]
fn a_sandbox_does_not_overwrite_the_state_of_aws() {
    // For the command, a sandbox in another process is the same as AWS.
    let aws = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&aws);
    stage.converge(&[]);
    let document = || fs::read(stage.path(".trunnion/minimal.json")).unwrap();
    let before = document();
    stage.succeed(&["apply", "--yes", "--sandbox"]);
    assert_eq!(document(), before);
    assert!(stage.path(".trunnion/sandbox/minimal.json").exists());
    assert_eq!(stage.changes(&["--sandbox"]), Vec::<String>::new());
}

#[test]
fn the_sandbox_works_with_a_state_in_a_bucket() {
    let stage = Stage::with("minimal");
    stage.edit("\npools:", "\nstate: s3://acme-trunnion/state\n\npools:");
    stage.converge(&[]);
}

#[test]
fn another_region_is_refused_while_resources_exist_in_the_first() {
    let stage = Stage::with("minimal");
    stage.converge(&[]);
    let text = fs::read_to_string(stage.path("stack.yaml")).unwrap();
    stage.write("stack.yaml", text.replace("eu-west-3", "eu-west-1"));
    let refused = stage.run(&["plan"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("are recorded in `sandbox/123456789012/eu-west-3`"), "{}", refused.stderr);
    assert!(refused.stderr.contains("help: destroy it there first"), "{}", refused.stderr);
    stage.write("stack.yaml", text);
    stage.succeed(&["destroy", "--yes"]);
}
