//! The owner of a stack: the same name in another home or region, names that join to the same text, and stacks of an
//! earlier version.

use std::{fs, path::Path};

use serde_json::{Value, json};
use trunnion_tests::{Ended, SandboxProcess, Stage, root};

const INFRA: &str = "git@github.com:acme/infra.git";
const OTHER: &str = "https://ann:s3cret@example.com/acme/other.git";

/// A stack in a repository of this address.
fn in_repository(stack: &str, origin: &str, sandbox: &SandboxProcess) -> Stage {
    let stage = Stage::new(stack).at(sandbox);
    fs::create_dir(stage.path(".git")).unwrap();
    stage.write(".git/config", format!("[remote \"origin\"]\n\turl = {origin}\n"));
    stage
}

fn minimal() -> String {
    fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap()
}

fn forget(stage: &Stage, stack: &str) {
    fs::remove_file(stage.path(&format!(".trunnion/{stack}.json"))).unwrap();
}

/// The messages in one line.
fn said(ended: &Ended) -> String {
    ended.stderr.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn refused(ended: &Ended, expected: &[&str]) {
    assert_eq!(ended.code, 1, "{}\n{}", ended.stdout, ended.stderr);
    for expected in expected.iter().chain(&["`--take-over`", "Nothing was changed"]) {
        assert!(said(ended).contains(expected), "`{expected}` in\n{}", ended.stderr);
    }
}

/// The other homes in a plan, each with its number of resources.
fn homes(stage: &Stage, more: &[&str]) -> Vec<(Option<String>, u64)> {
    let ended = stage.run(&[&["plan", "--json"], more].concat());
    let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    let homes = document["compared"]["other_homes"].as_array().cloned().unwrap_or_default();
    let home = |other: &Value| (other["home"].as_str().map(str::to_owned), other["count"].as_u64().unwrap());
    homes.iter().map(home).collect()
}

/// The number of calls of an operation.
fn count(sandbox: &SandboxProcess, operation: &str) -> u64 {
    sandbox.calls()[operation]["count"].as_u64().unwrap_or_default()
}

/// Makes the sandbox refuse an operation from the n-th call on.
fn refuse(sandbox: &SandboxProcess, operation: &str, nth: u64) {
    let effect = json!({"error": {"code": "AccessDenied", "status": 403, "message": "no"}});
    sandbox.faults(&json!([{"operation": operation, "nth": nth, "times": 99, "effect": effect}]));
}

#[test]
fn a_stack_of_another_repository_is_taken_over_only_on_request() {
    let sandbox = SandboxProcess::start(&[]);
    let first = in_repository(&minimal(), INFRA, &sandbox);
    first.converge(&[]);
    let second = in_repository(&minimal(), OTHER, &sandbox);
    second.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2 }");
    let before = sandbox.changing_calls();

    let plan = second.succeed(&["plan"]).stdout;
    assert!(
        plan.contains("a stack of this name was applied from another home, `github.com/acme/infra` (14 resources)"),
        "{plan}"
    );
    assert!(!plan.contains("s3cret"), "{plan}");
    for command in [&["apply", "--yes"][..], &["destroy", "--yes"]] {
        refused(&second.run(command), &["14 resources", "`github.com/acme/infra`"]);
    }
    second.succeed(&["plan", "--out", "plan.json"]);
    refused(&second.run(&["apply", "plan.json", "--yes"]), &["`github.com/acme/infra`"]);
    assert!(second.run(&["apply"]).stderr.contains("no terminal"));
    assert_eq!(sandbox.changing_calls(), before);
    assert_eq!(first.changes(&[]), Vec::<String>::new());
    assert!(!second.path(".trunnion/minimal.json").exists());

    second.succeed(&["apply", "plan.json", "--yes", "--take-over"]);
    assert_eq!(second.changes(&[]), Vec::<String>::new());
    assert_eq!(homes(&second, &[]), []);
    let lost = Some("example.com/acme/other".to_owned());
    assert_eq!(homes(&first, &[]), [(lost.clone(), 15)]);
    refused(&first.run(&["apply", "--yes"]), &["15 resources", "`example.com/acme/other`"]);
    refused(&first.run(&["destroy", "--yes"]), &["`example.com/acme/other`"]);

    second.succeed(&["destroy", "--yes"]);
    assert_eq!(second.changes(&["--destroy"]), Vec::<String>::new());
    first.converge(&[]);
}

#[test]
fn the_same_home_needs_no_take_over_with_or_without_state() {
    let sandbox = SandboxProcess::start(&[]);
    let first = in_repository(&minimal(), INFRA, &sandbox);
    first.converge(&[]);
    let clone = in_repository(&minimal(), "https://token@github.com:443/acme/infra", &sandbox);
    assert_eq!(clone.changes(&[]), Vec::<String>::new());
    forget(&first, "minimal");
    for stage in [&clone, &first] {
        stage.converge(&[]);
        assert_eq!(homes(stage, &[]), []);
    }
    // Another folder in the repository is another home.
    fs::create_dir(clone.path("deep")).unwrap();
    clone.write("deep/stack.yaml", minimal());
    assert_eq!(homes(&clone, &["deep/stack.yaml"]), [(Some("github.com/acme/infra".to_owned()), 14)]);
}

#[test]
fn an_interrupted_take_over_must_be_confirmed_again() {
    let sandbox = SandboxProcess::start(&[]);
    let first = in_repository(&minimal(), INFRA, &sandbox);
    first.converge(&[]);
    let second = in_repository(&minimal(), OTHER, &sandbox);
    refuse(&sandbox, "iam:TagInstanceProfile", 1);
    let bucket = |sandbox: &SandboxProcess| count(sandbox, "s3:PutBucketTagging");
    let before = bucket(&sandbox);
    assert_eq!(second.run(&["apply", "--yes", "--take-over"]).code, 1);
    assert_eq!(bucket(&sandbox), before, "the bucket is tagged last");
    sandbox.faults(&json!([]));

    let left = homes(&second, &[]);
    assert!(matches!(left.as_slice(), [(Some(home), 2..14)] if home == "github.com/acme/infra"), "{left:?}");
    refused(&second.run(&["apply", "--yes"]), &["`github.com/acme/infra`"]);
    second.succeed(&["apply", "--yes", "--take-over"]);
    assert_eq!(second.changes(&[]), Vec::<String>::new());
    assert_ne!(bucket(&sandbox), before);
}

#[test]
fn a_stack_whose_state_moves_to_s3_keeps_its_home_after_a_failure() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = in_repository(&minimal(), INFRA, &sandbox);
    stage.converge(&[]);
    stage.edit("\npools:", "\nstate: s3://minimal-123456789012-eu-west-3/state\n\npools:");
    assert_eq!(homes(&stage, &[]), []);
    refuse(&sandbox, "iam:TagRole", 2);
    assert_eq!(stage.run(&["apply", "--yes"]).code, 1);
    sandbox.faults(&json!([]));
    assert_eq!(homes(&stage, &[]), [], "the former home is still accepted");
    stage.succeed(&["apply", "--yes"]);
    forget(&stage, "minimal");
    assert_eq!(stage.changes(&[]), Vec::<String>::new());

    // A machine with the same state has the same stack. Without that state, it is another stack.
    let elsewhere = Stage::new(&fs::read_to_string(stage.path("stack.yaml")).unwrap()).at(&sandbox);
    assert_eq!(elsewhere.changes(&[]), Vec::<String>::new());
    let without = in_repository(&minimal(), INFRA, &sandbox);
    assert_eq!(homes(&without, &[]), [(Some("s3://minimal-123456789012-eu-west-3/state".to_owned()), 14)]);
}

#[test]
fn a_repository_that_cannot_be_read_is_an_error() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = in_repository(&minimal(), "ann:s3cret@github.com:acme/infra.git", &sandbox);
    for config in [fs::read_to_string(stage.path(".git/config")).unwrap(), "[remote \"origin".to_owned()] {
        stage.write(".git/config", config);
        for command in [&["plan"][..], &["apply", "--yes"], &["validate"]] {
            let ended = stage.run(command);
            assert_eq!(ended.code, 1, "{}", ended.stdout);
            for expected in ["stack::home", ".git/config", "which repository", "`state: s3://"] {
                assert!(said(&ended).contains(expected), "`{expected}` in\n{}", ended.stderr);
            }
            assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
        }
    }
    assert_eq!(sandbox.calls(), json!({}));
}

#[test]
fn one_name_in_two_regions_makes_two_stacks() {
    let sandbox = SandboxProcess::start(&[]);
    let paris = in_repository(&minimal(), INFRA, &sandbox);
    let dublin = in_repository(&minimal().replace("eu-west-3", "eu-west-1"), OTHER, &sandbox);
    paris.converge(&[]);
    assert_eq!(homes(&dublin, &[]), []);
    dublin.converge(&[]);
    assert_eq!(paris.changes(&[]), Vec::<String>::new());
    for stage in [&paris, &dublin] {
        forget(stage, "minimal");
        assert_eq!(stage.changes(&[]), Vec::<String>::new());
    }
    dublin.succeed(&["destroy", "--yes"]);
    assert_eq!(dublin.changes(&["--destroy"]), Vec::<String>::new());
    assert_eq!(paris.changes(&[]), Vec::<String>::new());
}

#[test]
fn names_that_join_to_the_same_text_make_different_stacks() {
    let sandbox = SandboxProcess::start(&[]);
    let named = |stack: &str, pool: &str| {
        let text = minimal().replace("stack: minimal", &format!("stack: {stack}"));
        let text =
            text.replace("  small: {", &format!("  {pool}: {{")).replace("pool: small", &format!("pool: {pool}"));
        text + "\nenvironments: { b-c: {}, c: {} }\n"
    };
    let stages = [
        (in_repository(&named("aa", "b-c"), INFRA, &sandbox), &[][..]),
        (in_repository(&named("aa-b", "c"), INFRA, &sandbox), &[]),
        (in_repository(&named("aa", "small"), INFRA, &sandbox), &["--env", "b-c"][..]),
        (in_repository(&named("aa-b", "small"), INFRA, &sandbox), &["--env", "c"]),
    ];
    for (stage, environment) in &stages {
        assert_eq!(homes(stage, environment), []);
        stage.converge(environment);
    }
    for (stage, environment) in &stages {
        assert_eq!(stage.changes(environment), Vec::<String>::new());
    }
    let (last, environment) = &stages[3];
    last.succeed(&[&["destroy", "--yes"], *environment].concat());
    for (stage, environment) in &stages[..3] {
        assert_eq!(stage.changes(environment), Vec::<String>::new());
    }
}

/// A sandbox with the data of an earlier version, and stages with its stack files and states.
fn earlier(name: &str, stacks: &[(&str, &str)]) -> (tempfile::TempDir, SandboxProcess, Vec<Stage>) {
    let from = root().join("tests/earlier").join(name);
    let data = tempfile::tempdir().unwrap();
    copy(&from.join("sandbox"), data.path());
    let sandbox = SandboxProcess::start(&["--data", data.path().to_str().unwrap()]);
    let stages = stacks.iter().map(|(folder, name)| {
        let folder = from.join(folder);
        let stage = in_repository(&fs::read_to_string(folder.join("stack.yaml")).unwrap(), INFRA, &sandbox);
        stage.write("generator", fs::read(folder.join("generator")).unwrap());
        fs::create_dir(stage.path(".trunnion")).unwrap();
        stage.write(&format!(".trunnion/{name}.json"), fs::read(folder.join("state.json")).unwrap());
        stage
    });
    let stages = stages.collect();
    (data, sandbox, stages)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(&path, &copied).unwrap();
        }
    }
}

const PROD: [&str; 2] = ["--env", "prod"];

/// Checks that a plan only adds the tag with the home, and gives hosts the name of their pool.
fn adds_the_home(stage: &Stage, more: &[&str]) {
    let document: Value = serde_json::from_str(&stage.succeed(&[&["plan", "--json"], more].concat()).stdout).unwrap();
    let changes = document["compared"]["changes"].as_array().unwrap();
    let mut count = 0;
    for change in changes.iter().filter(|change| change["action"] != "none") {
        count += 1;
        let paths: Vec<&str> =
            change["differences"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
        let is_host = change["address"].as_str().unwrap().starts_with("instance.");
        let expected: &[&str] =
            if is_host { &["tags.Name", "tags[\"trunnion:home\"]"] } else { &["tags[\"trunnion:home\"]"] };
        assert_eq!((change["action"].as_str(), paths.as_slice()), (Some("update"), expected));
    }
    assert_eq!(count, 14, "an object has the home of its bucket");
}

#[test]
fn a_stack_of_an_earlier_version_only_gets_a_home_and_can_grow() {
    let (_data, sandbox, stages) = earlier("environment", &[("", "load-test-prod")]);
    let stage = &stages[0];
    adds_the_home(stage, &PROD);
    assert_eq!(homes(stage, &PROD), []);
    let launched = count(&sandbox, "ec2:RunInstances");
    stage.converge(&PROD);
    assert_eq!(count(&sandbox, "ec2:RunInstances"), launched);
    assert!(!stage.path(".trunnion/load-test--prod.json").exists());
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2 }");
    let mut changes = stage.changes(&PROD);
    changes.sort();
    let grown =
        ["create instance.small[1]", "replace ecs_task_definition.control_plane", "update ecs_service.control_plane"];
    assert_eq!(changes, grown);
    stage.converge(&PROD);
    stage.succeed(&[&["destroy", "--yes"], &PROD[..]].concat());
    assert_eq!(stage.changes(&["--destroy", "--env", "prod"]), Vec::<String>::new());
    // After the old name is free, the next apply uses the new one.
    stage.converge(&PROD);
    assert!(stage.path(".trunnion/load-test--prod.json").exists());
}

#[test]
fn a_stack_of_an_earlier_version_needs_one_take_over_without_its_state() {
    let (_data, sandbox, stages) = earlier("environment", &[("", "load-test-prod")]);
    let stage = &stages[0];
    forget(stage, "load-test-prod");
    assert_eq!(homes(stage, &PROD), [(None, 14)]);
    let before = sandbox.changing_calls();
    refused(&stage.run(&[&["apply", "--yes"], &PROD[..]].concat()), &["14 resources", "no home yet"]);
    assert_eq!(sandbox.changing_calls(), before);
    adds_the_home(stage, &PROD);
    stage.succeed(&[&["apply", "--yes", "--take-over"], &PROD[..]].concat());
    forget(stage, "load-test-prod");
    assert_eq!(stage.changes(&PROD), Vec::<String>::new());
    assert_eq!(homes(stage, &PROD), []);
}

#[test]
fn roles_shared_by_two_regions_stay_with_their_last_owner() {
    let (_data, sandbox, stages) = earlier("clobbered", &[("eu-west-3", "minimal"), ("eu-west-1", "minimal")]);
    let [paris, dublin] = stages.as_slice() else { panic!("two") };
    adds_the_home(dublin, &[]);
    let mut changes = paris.changes(&[]);
    changes.retain(|change| change.contains("iam_"));
    let own = [
        "create iam_instance_profile.generator",
        "create iam_role.control_plane",
        "create iam_role.execution",
        "create iam_role.generator",
    ];
    changes.sort();
    assert_eq!(changes, own);
    assert_eq!(homes(paris, &[]), []);
    paris.converge(&[]);
    for never in ["iam:DeleteRole", "iam:DeleteInstanceProfile", "iam:UpdateAssumeRolePolicy", "iam:TagRole"] {
        assert_eq!(count(&sandbox, never), 0, "{never}");
    }
    adds_the_home(dublin, &[]);
    paris.succeed(&["destroy", "--yes"]);
    adds_the_home(dublin, &[]);
    forget(dublin, "minimal");
    assert_eq!(homes(dublin, &[]), [(None, 14)], "all resources still exist");
}
