//! A pool gets another name with `moved`: its hosts keep running.

use std::{collections::BTreeMap, fs, process::Stdio};

use serde_json::{Value, json};
use trunnion_tests::{SandboxProcess, Stage, root};

const MOVED: &str = "moved: [{ from: small, to: large }]\n";

/// The minimal stack with three hosts with Elastic IPs, in a pool of this name, and this line.
fn text(pool: &str, moved: &str) -> String {
    let minimal = fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap();
    let minimal = minimal.replace("zone: eu-west-3a }", "zone: eu-west-3a, count: 3, public_ip: true }");
    minimal
        .replace("  small: {", &format!("  {pool}: {{"))
        .replace("pool: small", &format!("pool: {pool}, description: hosts"))
        + "\n"
        + moved
}

/// The ids of all hosts, Elastic IPs and launch templates, by address.
fn ids(stage: &Stage) -> BTreeMap<String, String> {
    let shown: Value = serde_json::from_str(&stage.succeed(&["show", "--json"]).stdout).unwrap();
    let resources = shown["state"]["resources"].as_object().unwrap();
    let is_of_pool =
        |address: &str| ["instance.", "elastic_ip.", "launch_template."].iter().any(|it| address.starts_with(it));
    let of_pool = resources.iter().filter(|(address, _)| is_of_pool(address));
    of_pool.map(|(address, found)| (address.clone(), found["id"].as_str().unwrap().to_owned())).collect()
}

/// The same after the move: hosts and addresses are the same, the template is another one.
fn is_moved(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    assert_eq!(after.len(), before.len(), "{after:?}");
    for (address, id) in before {
        let now = &after[&address.replace(".small", ".large")];
        assert_eq!(now == id, !address.starts_with("launch_template."), "{address} was {id} and is {now}");
    }
}

fn applied(sandbox: &SandboxProcess) -> (Stage, BTreeMap<String, String>) {
    let stage = Stage::new(&text("small", "")).at(sandbox);
    stage.converge(&[]);
    let ids = ids(&stage);
    (stage, ids)
}

#[test]
fn the_hosts_of_a_renamed_pool_keep_running() {
    let sandbox = SandboxProcess::start(&[]);
    let (stage, before) = applied(&sandbox);
    let launched = sandbox.calls()["ec2:RunInstances"].clone();
    stage.write("stack.yaml", text("large", MOVED));
    let mut changes = stage.changes(&[]);
    changes.sort();
    let hosts = |kind: &str| [0, 1, 2].map(|number| format!("update {kind}.large[{number}]")).to_vec();
    let mut expected = [hosts("elastic_ip"), hosts("instance")].concat();
    expected.insert(0, "delete launch_template.small".to_owned());
    expected.insert(0, "create launch_template.large".to_owned());
    assert_eq!(changes, expected);
    // The generator is the newest already.
    let mut changes = stage.changes(&["--update-generator"]);
    changes.sort();
    assert_eq!(changes, expected);
    let plan = stage.succeed(&["plan"]);
    assert!(plan.stdout.contains("`small` is `large` now: 6 resources of it stay"), "{}", plan.stdout);
    assert!(plan.stdout.contains("`launch_template.large` takes its place"), "{}", plan.stdout);
    stage.converge(&[]);
    is_moved(&before, &ids(&stage));
    assert_eq!(sandbox.calls()["ec2:RunInstances"], launched);
    assert!(sandbox.calls()["ec2:TerminateInstances"].is_null());

    // The item may stay or go. Later changes replace the hosts as usual.
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    assert_eq!(stage.changes(&["--update-generator"]), Vec::<String>::new());
    stage.write("stack.yaml", text("large", ""));
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    stage.edit("count: 3", "count: 4");
    let changes = stage.changes(&[]);
    assert!(!changes.iter().any(|change| change.starts_with("replace instance.")), "{changes:?}");
    stage.converge(&[]);
    stage.edit("c7i.xlarge", "c7i.2xlarge");
    stage.converge(&[]);
    assert_ne!(ids(&stage)["instance.large[0]"], before["instance.small[0]"]);

    // The old name is free for another pool, whose hosts are others.
    stage.edit("  large: {", "  small: { instance_type: c7i.xlarge, zone: eu-west-3a }\n  large: {");
    let changes = stage.changes(&[]);
    assert!(changes.contains(&"create launch_template.small".to_owned()), "{changes:?}");
    stage.converge(&[]);
}

#[test]
fn a_move_that_fails_in_the_middle_is_continued_without_the_state_too() {
    for without_state in [false, true] {
        let sandbox = SandboxProcess::start(&[]);
        let (stage, before) = applied(&sandbox);
        stage.write("stack.yaml", text("large", MOVED));
        let effect = json!({"error": {"status": 403, "code": "UnauthorizedOperation", "message": "No."}});
        sandbox.faults(&json!([{"operation": "ec2:CreateTags", "nth": 3, "times": 100, "effect": effect}]));
        assert_eq!(stage.run(&["apply", "--yes"]).code, 1);
        sandbox.faults(&json!([]));
        if without_state {
            fs::remove_file(stage.path(".trunnion/minimal.json")).unwrap();
        }
        let changes = stage.changes(&[]);
        let updates = changes.iter().filter(|change| change.starts_with("update ")).count();
        assert!((1..6).contains(&updates), "some are moved: {changes:?}");
        assert!(!changes.iter().any(|change| change.contains("instance.small")), "{changes:?}");
        stage.converge(&[]);
        is_moved(&before, &ids(&stage));
        assert!(sandbox.calls()["ec2:TerminateInstances"].is_null());
    }
}

#[test]
fn a_move_killed_at_its_calls_is_continued() {
    for call in ["ec2:CreateLaunchTemplate", "ec2:CreateTags", "ec2:DeleteLaunchTemplate"] {
        let sandbox = SandboxProcess::start(&[]);
        let (stage, before) = applied(&sandbox);
        stage.write("stack.yaml", text("large", MOVED));
        let calls = || sandbox.calls()[call]["count"].as_u64().unwrap_or_default();
        let so_far = calls();
        sandbox.faults(&json!([{"operation": call, "times": 100, "effect": "drop_after"}]));
        let mut child = stage.command(&["apply", "--yes"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while calls() == so_far && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        sandbox.faults(&json!([]));
        stage.converge(&[]);
        is_moved(&before, &ids(&stage));
        assert!(sandbox.calls()["ec2:TerminateInstances"].is_null(), "{call}");
    }
}

#[test]
fn a_protected_pool_can_be_renamed_and_stays_protected() {
    let sandbox = SandboxProcess::start(&[]);
    let protected = |pool: &str, moved: &str| text(pool, moved).replace("count: 3,", "count: 3, protect: true,");
    let stage = Stage::new(&protected("small", "")).at(&sandbox);
    stage.converge(&[]);
    let before = ids(&stage);
    stage.write("stack.yaml", protected("large", ""));
    let refused = stage.run(&["plan"]);
    assert!(refused.code == 1 && refused.said().contains("tag `trunnion:protect`"), "{}", refused.stderr);
    stage.write("stack.yaml", protected("large", MOVED));
    stage.converge(&[]);
    is_moved(&before, &ids(&stage));
    let refused = stage.run(&["destroy", "--yes"]);
    assert!(refused.code == 1 && refused.said().contains("`instance.large[0]`"), "{}", refused.stderr);
}

#[test]
fn a_protected_host_does_not_go_because_its_pool_moves_onto_another_one() {
    let sandbox = SandboxProcess::start(&[]);
    let minimal = fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap();
    let pool = "{ instance_type: c7i.xlarge, zone: eu-west-3a, protect: true }";
    let line = minimal.lines().find(|line| line.starts_with("  small: {")).unwrap();
    let (both, one) = (format!("  small: {pool}\n  large: {pool}"), format!("  large: {pool}"));
    let stage = Stage::new(&minimal.replace(line, &both)).at(&sandbox);
    stage.converge(&[]);
    let text = format!("{}\n{MOVED}", minimal.replace(line, &one).replace("pool: small", "pool: large"));
    stage.write("stack.yaml", text);
    for command in [&["plan"][..], &["apply", "--yes"]] {
        let refused = stage.run(command);
        assert_eq!(refused.code, 1, "{}\n{}", refused.stdout, refused.stderr);
        for part in ["`instance.small[0]`", "tag `trunnion:protect`", "the stack does not ask for it any more"] {
            assert!(refused.said().contains(part), "{part} is not in\n{}", refused.stderr);
        }
    }
    assert!(sandbox.calls()["ec2:TerminateInstances"].is_null());
}

#[test]
fn a_pool_moves_through_several_names_and_not_onto_another_pool() {
    let sandbox = SandboxProcess::start(&[]);
    let (stage, before) = applied(&sandbox);
    stage.write("stack.yaml", text("large", "moved: [{ from: small, to: medium }, { from: medium, to: large }]\n"));
    stage.converge(&["--exclude", "instance.large[1]"]);
    let after = ids(&stage);
    assert_eq!(after["instance.large[1]"], before["instance.small[1]"]);
    stage.converge(&[]);
    is_moved(&before, &ids(&stage));

    // A host that is there already is not overwritten.
    stage.edit("  large: {", "  small: { instance_type: c7i.xlarge, zone: eu-west-3a }\n  large: {");
    stage.edit("moved: [{ from: small, to: medium }, { from: medium, to: large }]\n", "");
    stage.converge(&[]);
    let before = ids(&stage);
    stage.write("stack.yaml", text("large", MOVED));
    let plan = stage.succeed(&["plan"]);
    assert!(
        plan.stdout.contains("`instance.small[0]` cannot become `instance.large[0]`, which exists"),
        "{}",
        plan.stdout
    );
    stage.converge(&[]);
    assert_eq!(ids(&stage)["instance.large[0]"], before["instance.large[0]"]);
}
