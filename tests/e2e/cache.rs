//! The state is a cache: without it, with an old one or a damaged one, plans are the same. It explains, and drift is what it
//! explains.

use std::fs;

use serde_json::{Value, json};
use trunnion_tests::{Ended, SandboxProcess, Stage, root};

const STATE: &str = ".trunnion/minimal.json";

fn minimal() -> String {
    fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap() + "\ntags: { cost-center: quality }\n"
}

/// A clone of one repository, in a folder of its own: a job, or a colleague.
fn clone(stack: &str, sandbox: &SandboxProcess) -> Stage {
    let stage = Stage::new(stack).at(sandbox);
    fs::create_dir(stage.path(".git")).unwrap();
    stage.write(".git/config", "[remote \"origin\"]\n\turl = https://git.example.org/acme/load.git\n");
    stage
}

fn read(stage: &Stage, name: &str) -> String {
    fs::read_to_string(stage.path(name)).unwrap()
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}\n{}", ended.stdout, ended.stderr))
}

/// What a plan says without what the state explains.
fn agreed(stage: &Stage) -> Value {
    let mut compared = json(&stage.succeed(&["plan", "--json"]))["compared"].take();
    compared["state"] = Value::Null;
    for change in compared["changes"].as_array_mut().unwrap() {
        if change["reason"]["gone"].is_object() {
            change["reason"] = json!("new");
        }
        for difference in change["differences"].as_array_mut().into_iter().flatten() {
            difference["cause"] = Value::Null;
        }
    }
    compared
}

/// A state with other texts and numbers everywhere below its resources. `which` says which ids change, and how.
fn damaged(state: &Value, which: usize) -> Value {
    fn scramble(value: &mut Value) {
        match value {
            Value::String(text) => text.push('x'),
            Value::Number(number) => *value = json!(number.as_i64().unwrap_or_default() + 1),
            Value::Bool(truth) => *truth = !*truth,
            Value::Array(list) => list.iter_mut().for_each(scramble),
            Value::Object(map) => map.values_mut().for_each(scramble),
            Value::Null => {}
        }
    }
    let mut damaged = state.clone();
    for (number, recorded) in damaged["resources"].as_object_mut().unwrap().values_mut().enumerate() {
        scramble(&mut recorded["attributes"]);
        recorded["applied_at"] = json!("2020-01-01T00:00:00Z");
        match (number + which) % 3 {
            0 => recorded["id"] = json!("none of AWS's\u{1b}[2J"),
            1 => {
                let id = recorded["id"].as_str().unwrap().to_owned();
                recorded["id"] = json!(id[..id.len() - 1].to_owned() + "0");
            }
            _ => {}
        }
    }
    damaged
}

#[test]
fn no_state_changes_a_plan() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = clone(&minimal(), &sandbox);
    stage.converge(&[]);
    let old = read(&stage, STATE);
    // A colleague changes everything that a host depends on.
    let other = clone(&minimal(), &sandbox);
    other.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2, interfaces: 2 }");
    other.edit("cost-center: quality", "cost-center: platform");
    other.converge(&[]);
    let right = read(&other, STATE);
    let states = |right: &str| {
        let parsed: Value = serde_json::from_str(right).unwrap();
        let damaged = (0..3).map(|which| damaged(&parsed, which).to_string());
        [right.to_owned(), old.clone()].into_iter().chain(damaged).collect::<Vec<String>>()
    };
    for stack in
        [read(&other, "stack.yaml"), minimal(), read(&other, "stack.yaml").replace("c7i.xlarge", "c7i.2xlarge")]
    {
        stage.write("stack.yaml", stack);
        fs::remove_file(stage.path(STATE)).unwrap();
        let expected = agreed(&stage);
        for state in states(&right) {
            stage.write(STATE, &state);
            assert_eq!(agreed(&stage), expected, "{state}");
        }
    }
    let said = json(&stage.succeed(&["plan", "--json"]))["remarks"]["notes"].to_string();
    assert!(said.contains("state::impossible_id") && said.contains("the state may be deleted"), "{said}");
    // An apply with a damaged state ends where one with a right state does, and writes a right one.
    stage.converge(&[]);
    assert_eq!(stage.run(&["drift"]).code, 0);
}

#[test]
fn a_plan_of_one_job_is_applied_by_another_without_the_state() {
    let sandbox = SandboxProcess::start(&[]);
    let first = clone(&minimal(), &sandbox);
    first.converge(&[]);
    first.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2 }");
    first.succeed(&["plan", "--out", "plan.json"]);
    let second = clone(&read(&first, "stack.yaml"), &sandbox);
    second.write("plan.json", read(&first, "plan.json"));

    // What differs is still named.
    second.edit("count: 2", "count: 3");
    let refused = second.run(&["apply", "plan.json", "--yes"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.said().contains("out of date") && refused.said().contains("`instance.small[2]`"),
        "{}",
        refused.stderr
    );
    second.edit("count: 3", "count: 2");

    second.succeed(&["apply", "plan.json", "--yes"]);
    assert_eq!(second.changes(&[]), Vec::<String>::new());
    assert_eq!(first.changes(&[]), Vec::<String>::new());
    // A plan without a state is applied by a job with one.
    first.edit("count: 2", "count: 1");
    let third = clone(&read(&first, "stack.yaml"), &sandbox);
    third.succeed(&["plan", "--out", "plan.json"]);
    first.write("plan.json", read(&third, "plan.json"));
    first.succeed(&["apply", "plan.json", "--yes"]);
    assert_eq!(first.changes(&[]), Vec::<String>::new());
}

#[test]
fn an_apply_says_who_applied_later_before_it_changes_anything() {
    let sandbox = SandboxProcess::start(&[]);
    let first = clone(&minimal(), &sandbox);
    first.converge(&[]);
    let tagged = || sandbox.calls()["ecs:TagResource"]["count"].as_u64().unwrap_or_default();
    let before = tagged();
    first.succeed(&["apply", "--yes"]);
    assert_eq!(tagged(), before, "a plan without changes writes nothing");
    let second = clone(&minimal(), &sandbox);
    second.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2 }");
    // It has no state.
    let later = "`arn:aws:iam::123456789012:user/sandbox` applied this stack at ";
    let applied = second.succeed(&["apply", "--yes"]).said();
    assert!(
        applied.contains(later) && applied.contains("(apply number 1), and the state here knows no apply"),
        "{applied}"
    );
    assert!(!second.succeed(&["plan"]).stdout.contains(later));

    let changing = sandbox.changing_calls();
    let plan = first.run(&["plan"]).stdout;
    let known = "(apply number 2), and the state here knows apply number 1";
    assert!(plan.contains(later) && plan.replace('\n', " ").contains(known), "{plan}");
    let asked = first.run(&["apply"]);
    assert_eq!(asked.code, 1);
    assert!(asked.said().contains(known), "{}", asked.stderr);
    assert_eq!(sandbox.changing_calls(), changing);
    let said = first.succeed(&["apply", "--yes"]).said();
    assert!(said.find(known).unwrap() < said.find("Done.").unwrap(), "{said}");
    assert!(!first.succeed(&["plan"]).stdout.contains(later));
    let drift = json(&first.run(&["drift", "--json"]));
    assert_eq!((&drift["applied"]["number"], &drift["resources"]), (&json!(3), &json!([])));
}

#[test]
fn drift_is_what_changed_outside_and_not_what_the_stack_asks_for() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = clone(&minimal(), &sandbox);
    assert_eq!(stage.succeed(&["drift"]).stdout.lines().last(), Some("No drift: there are no resources."));
    stage.converge(&[]);
    let changing = sandbox.changing_calls();
    let same = "No drift: all 15 resources are as they were applied.";
    assert_eq!(stage.succeed(&["drift"]).stdout.lines().last(), Some(same));
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2 }");
    assert!(!stage.changes(&[]).is_empty());
    let ended = stage.succeed(&["drift"]);
    assert_eq!(ended.stdout.lines().last(), Some(same), "what the stack asks for newly is no drift");
    assert_eq!(sandbox.changing_calls(), changing);

    let other = clone(&minimal(), &sandbox);
    other.edit("cost-center: quality", "cost-center: platform");
    other.converge(&[]);
    let ended = stage.run(&["drift"]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    let expected =
        ["  tags.cost-center", "    desired   \"quality\"", "    recorded  \"quality\"", "    observed  \"platform\""];
    assert!(ended.stdout.contains(&expected.join("\n")), "{}", ended.stdout);
    assert!(ended.stdout.contains("instance.small[0] changed\n"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("instance.small[1]"), "{}", ended.stdout);
    let drift = json(&stage.run(&["drift", "--json"]));
    let host = drift["resources"].as_array().unwrap().iter().find(|one| one["address"] == "instance.small[0]").unwrap();
    assert_eq!(host["kind"], "changed");
    let cost = json!({"path": "tags.cost-center", "desired": "quality", "recorded": "quality", "observed": "platform"});
    assert_eq!(host["attributes"], json!([cost]));

    // Without a state, what differs from the stack is shown, and nobody knows why.
    fs::remove_file(stage.path(STATE)).unwrap();
    let ended = stage.run(&["drift"]);
    assert_eq!(ended.code, 2);
    for expected in ["instance.small[0] not recorded", "recorded  (unknown)", "nobody applied yet"] {
        assert!(ended.stdout.contains(expected), "{expected} in {}", ended.stdout);
    }
    let broken = Stage::new("stack: x\n").at(&sandbox);
    assert_eq!(broken.run(&["drift"]).code, 1);
    assert_eq!(json(&stage.run(&["schema", "drift"]))["title"], "Trunnion drift");
}

/// Texts that may be secrets and do not look like any, and the places in a stack where they are shown to nobody but AWS.
const CANARIES: [&str; 3] = ["canary-of-the-mine", "canary-on-the-roof", "canary-in-the-cage"];

#[test]
fn what_may_be_a_secret_is_in_no_plan_state_or_message() {
    let sandbox = SandboxProcess::start(&[]);
    let [variable, option, property] = CANARIES;
    let stack = minimal().replace(
        "prl_small: { pool: small }",
        &format!(
            "prl_small: {{ pool: small, jvm_options: [\"-Dx={option}\"], system_properties: {{ y: {property} }} }}"
        ),
    ) + &format!("generator:\n  template: boot.tera\n  variables: {{ z: {variable} }}\n");
    let stage = clone(&stack, &sandbox);
    stage.write("boot.tera", "#!/bin/bash\necho {{ variables.z }} {{ generator.sha256 }}\n");
    let rendered = stage.succeed(&["render", "boot"]).stdout + &stage.succeed(&["render", "conf"]).stdout;
    assert!(CANARIES.iter().all(|canary| rendered.contains(canary)), "{rendered}");

    let no_canary = |what: &str, text: &str| {
        for canary in CANARIES {
            assert!(!text.contains(canary), "{canary} in {what}:\n{text}");
        }
    };
    let all = |commands: &[&[&str]]| {
        for command in commands {
            let ended = stage.run(command);
            no_canary(&command.join(" "), &(ended.stdout + &ended.stderr));
        }
        for file in ["plan.json", STATE] {
            no_canary(file, &fs::read_to_string(stage.path(file)).unwrap_or_default());
        }
    };
    let reads: [&[&str]; 6] = [
        &["plan", "-vvv"],
        &["plan", "--json"],
        &["plan", "--out", "plan.json"],
        &["show", "plan.json"],
        &["show", "--json"],
        &["drift", "--json"],
    ];
    all(&reads);
    all(&[&["apply", "--yes", "--json", "-vvv", "--transcript", "calls.jsonl"]]);
    all(&[&["plan", "--transcript", "calls.jsonl"]]);
    no_canary("the transcript", &read(&stage, "calls.jsonl"));
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    // A change of them is visible, and they are not.
    for canary in CANARIES {
        let text = read(&stage, "stack.yaml").replace(canary, &format!("{canary}-2"));
        stage.write("stack.yaml", text);
    }
    assert!(!stage.changes(&[]).is_empty());
    all(&reads);
    assert_eq!(stage.run(&["drift"]).code, 0);
    // Somebody else applies it: that is drift of attributes that are digests.
    clone(&read(&stage, "stack.yaml"), &sandbox).write("boot.tera", read(&stage, "boot.tera"));
    all(&reads);
}

#[test]
fn a_secret_in_a_malformed_file_is_not_shown() {
    let canary = CANARIES[0];
    let token = "token: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf";
    for (from, to) in [
        (token, format!("token:\n    {canary}")),
        (token, format!("token:\n    {canary}\n  - x: [")),
        (token, format!("token:\n  {canary}\n  x: [")),
        (token, format!("token: |\n    {canary}\n  x: [")),
        (token, format!("{token}\n  unknown: {canary}")),
        (token, format!("{token}\n  unknown: {{ a: [{canary}] }}")),
        (token, format!("tokn: {canary}")),
        ("count: 2", format!("db_password: {canary}\n    cuont: 2")),
    ] {
        let text = minimal().replace("zone: eu-west-3a }", "zone: eu-west-3a,\n    count: 2 }");
        assert!(text.contains(from), "{from}");
        let stage = Stage::new(&text.replace(from, &to));
        let ended = stage.run(&["validate"]);
        assert_eq!(ended.code, 1, "{to}\n{}", ended.stdout);
        assert!(!(ended.stdout + &ended.stderr).contains(canary), "{to}\n{}", ended.stderr);
    }
}
