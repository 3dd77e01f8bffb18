//! The policy that `trunnion permissions` prints, and the help after a denied call.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use trunnion_tests::{SandboxProcess, Stage, root};

/// The rows of the table of calls, by operation.
fn table() -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(root().join("tests/conformance/authorization/calls.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.into_iter().map(|row| (row["operation"].as_str().unwrap().to_owned(), row)).collect()
}

/// The policies for a command.
fn policies(stage: &Stage, purpose: &str) -> Vec<Value> {
    let printed = stage.succeed(&["permissions", "--for", purpose]).stdout;
    match serde_json::from_str(&printed).unwrap() {
        Value::Array(parts) => parts,
        one => vec![one],
    }
}

fn actions(policies: &[Value]) -> BTreeSet<String> {
    let statements = policies.iter().flat_map(|policy| policy["Statement"].as_array().unwrap());
    let actions = statements.flat_map(|statement| statement["Action"].as_array().unwrap());
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// The operations that were called since the earlier count.
fn called(sandbox: &SandboxProcess, before: &Value) -> BTreeSet<String> {
    let calls = sandbox.calls();
    let is_new = |operation: &str| calls[operation]["count"] != before[operation]["count"];
    calls.as_object().unwrap().keys().filter(|operation| is_new(operation)).cloned().collect()
}

#[test]
fn the_policy_of_a_command_has_an_action_for_each_of_its_calls() {
    let table = table();
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("loadtest").at(&sandbox);
    let runs = |stage: &Stage, purpose: &str, arguments: &[&str]| {
        let before = sandbox.calls();
        stage.succeed(arguments);
        let allowed = actions(&policies(stage, purpose));
        for operation in called(&sandbox, &before) {
            let row = &table[&operation];
            let needs = row["needs"].as_array().unwrap();
            let is_covered = needs.iter().any(|need| allowed.contains(need["action"].as_str().unwrap()));
            assert!(is_covered || needs.is_empty(), "{purpose}: {operation}");
            assert!(purpose != "plan" || row["changes"] == false, "{operation}");
        }
    };
    let commands: [(&str, &[&str]); 4] =
        [("plan", &["plan"]), ("apply", &["apply", "--yes"]), ("plan", &["plan"]), ("destroy", &["destroy", "--yes"])];
    for (purpose, arguments) in commands {
        runs(&stage, purpose, arguments);
    }

    let stage = Stage::with("minimal").at(&sandbox);
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2, public_ip: true }");
    stage.converge(&[]);
    let shown: Value = serde_json::from_str(&stage.succeed(&["show", "--json"]).stdout).unwrap();
    let id = shown["state"]["resources"]["elastic_ip.small[1]"]["id"].as_str().unwrap();
    stage.edit("count: 2", "count: 1");
    runs(&stage, "forget", &["forget", "elastic_ip.small[1]", "--yes"]);
    stage.edit("count: 1", "count: 2");
    runs(&stage, "import", &["import", "elastic_ip.small[1]", id, "--yes"]);
}

#[test]
fn a_policy_fits_into_managed_policies() {
    for stack in ["minimal", "loadtest"] {
        let stage = Stage::with(stack);
        for purpose in ["plan", "apply", "destroy"] {
            let policies = policies(&stage, purpose);
            let most = if purpose == "apply" { 2 } else { 1 };
            assert!(policies.len() <= most, "{stack}: {purpose} has {} parts", policies.len());
            for (part, policy) in (1..).zip(&policies) {
                assert!(policy.to_string().len() <= 6144);
                assert_eq!(policy["Version"], "2012-10-17");
                let printed = stage.succeed(&["permissions", "--for", purpose, "--part", &format!("{part}")]).stdout;
                assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), *policy);
            }
            let beyond = stage.run(&["permissions", "--for", purpose, "--part", "9"]);
            assert!(beyond.code == 1 && beyond.said().contains("`--part 9` does not exist"), "{}", beyond.stderr);
        }
    }
}

#[test]
fn what_a_stack_names_limits_its_policy() {
    let stage = Stage::with("minimal");
    stage.edit("stack: minimal\n", "stack: minimal\nstate: s3://states/team/\n");
    let text = stage.succeed(&["permissions", "--for", "apply"]).stdout;
    for part in [
        "arn:aws:s3:::states/team/minimal.json\"",
        "arn:aws:s3:::states/team/minimal.lock.json\"",
        "secret:gatling/token-AbCdEf\"",
        "secret:gatling/token-AbCdEf-??????\"",
        "arn:aws:ssm:eu-west-3::parameter/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64\"",
        "role/trunnion/minimal/eu-west-3/minimal.eu-west-3.execution\"",
        "log-group:/trunnion/minimal/*\"",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("spot"), "{text}");
    stage.edit("zone: eu-west-3a", "subnet: subnet-0123456789abcdef0, market: spot");
    let text = stage.succeed(&["permissions", "--for", "apply"]).stdout;
    for part in ["subnet/subnet-0123456789abcdef0\"", "spot-instances-request/*\"", "\"spot.amazonaws.com\""] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("subnet/*"), "{text}");
}

#[test]
fn a_denied_call_names_the_statement_that_allows_it() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    let message = "You are not authorized to perform this operation.";
    let effect = json!({"error": {"code": "UnauthorizedOperation", "status": 403, "message": message}});
    sandbox.faults(&json!([{"operation": "ec2:CreateLaunchTemplate", "nth": 1, "times": 9, "effect": effect}]));
    let refused = stage.run(&["apply", "--yes"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    let said = format!("{} {}", refused.stdout, refused.stderr).split_whitespace().collect::<String>();
    assert!(said.contains("thepermission`ec2:CreateLaunchTemplate`"), "{said}");
    assert!(said.contains(r#""Action":["ec2:CreateLaunchTemplate"],"Resource":["#), "{said}");
    assert!(said.contains(r#""aws:RequestTag/trunnion:stack":["minimal"]"#), "{said}");
}
