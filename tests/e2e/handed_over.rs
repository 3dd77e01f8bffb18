//! Resources that leave the stack and stay as they are, and resources that come into it: `forget` and `import`.

use std::fs;

use serde_json::{Value, json};
use trunnion_tests::{SandboxProcess, Stage, root};

/// The minimal stack with this many hosts with Elastic IPs.
fn text(count: u32) -> String {
    let minimal = fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap();
    minimal.replace("zone: eu-west-3a }", &format!("zone: eu-west-3a, count: {count}, public_ip: true }}"))
}

fn applied(sandbox: &SandboxProcess, count: u32) -> Stage {
    let stage = Stage::new(&text(count)).at(sandbox);
    stage.converge(&[]);
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
fn a_forgotten_host_is_left_running() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = applied(&sandbox, 3);
    let still = ["the stack still asks for `instance.small[2]`", "remove it from the stack file first"];
    refused(&stage, &["forget", "instance.small[2]", "--yes"], &still);
    refused(&stage, &["forget", "iam_role.nobody", "--yes"], &["`iam_role.nobody` is neither in the stack"]);
    stage.write("stack.yaml", text(2));
    refused(&stage, &["forget", "instance.small[2]"], &["no terminal to ask for confirmation"]);
    refused(&stage, &["forget", "instance.small", "--yes"], &["the stack still asks for `instance.small[0]`"]);

    let ended = stage.succeed(&["forget", "instance.small[2]", "--yes"]);
    let said = ended.said();
    for part in ["trunnion:stack", "trunnion:address", "trunnion:home", "forgotten: it stays as it is"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(said.contains("`elastic_ip.small[2]` uses"), "{said}");
    assert!(said.contains("is deleted by the next apply") && said.contains("may still use"), "{said}");
    assert_eq!(state(&stage)["instance.small[2]"], Value::Null);
    stage.succeed(&["forget", "elastic_ip.small[2]", "--yes"]);
    let changes = stage.changes(&[]);
    assert!(!changes.iter().any(|change| change.contains("small[2]")), "{changes:?}");
    stage.converge(&[]);
    refused(&stage, &["forget", "elastic_ip.small[2]", "--yes"], &["`elastic_ip.small[2]` is neither in the stack"]);
    assert!(sandbox.calls()["ec2:TerminateInstances"].is_null());
    assert!(sandbox.calls()["ec2:ReleaseAddress"].is_null());
}

#[test]
fn what_is_forgotten_is_not_taken_back_by_the_state() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = applied(&sandbox, 2);
    stage.write("stack.yaml", text(1));
    // The tags go after the state: a host without tags belongs to the stack whose state knows its id.
    sandbox.faults(&json!([{"operation": "ec2:DeleteTags", "times": 100, "effect": "drop_after"}]));
    let ended = stage.run(&["forget", "instance.small[1]", "--yes"]);
    sandbox.faults(&json!([]));
    assert_eq!(state(&stage)["instance.small[1]"], Value::Null, "{}", ended.stderr);
    let changes = stage.changes(&[]);
    assert!(!changes.contains(&"delete instance.small[1]".to_owned()), "{changes:?}");

    // A refused call leaves it the stack's.
    stage.write("stack.yaml", text(0));
    let effect = json!({"error": {"status": 403, "code": "UnauthorizedOperation", "message": "No."}});
    sandbox.faults(&json!([{"operation": "ec2:DeleteTags", "times": 100, "effect": effect}]));
    assert_eq!(stage.run(&["forget", "instance.small[0]", "--yes"]).code, 1);
    sandbox.faults(&json!([]));
    assert!(stage.changes(&[]).contains(&"delete instance.small[0]".to_owned()));
    stage.succeed(&["forget", "instance.small[0]", "--yes"]);
    assert!(!stage.changes(&[]).contains(&"delete instance.small[0]".to_owned()));
}

/// The minimal stack with this many hosts of a type.
fn hosts(count: u32, instance_type: &str) -> String {
    let pool = format!("instance_type: {instance_type}, zone: eu-west-3a, count: {count} }}");
    text(count)
        .replace(&format!("instance_type: c7i.xlarge, zone: eu-west-3a, count: {count}, public_ip: true }}"), &pool)
}

/// The state of a host that is forgotten, from before that, becomes the state.
fn bring_back(stage: &Stage, id: &str) {
    let versions: Value = serde_json::from_str(&stage.succeed(&["state", "list", "--json"]).stdout).unwrap();
    let versions = versions.as_array().unwrap().iter().map(|version| version["version"].as_str().unwrap());
    let has_it = |version: &&str| stage.succeed(&["state", "show", version]).stdout.contains(id);
    let version = versions.clone().find(has_it).unwrap();
    stage.succeed(&["state", "restore", version, "--yes"]);
    assert_eq!(state(stage)["instance.small[2]"]["id"], id);
}

#[test]
fn an_old_state_takes_no_forgotten_host_back() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::new(&hosts(3, "c7i.xlarge")).at(&sandbox);
    stage.converge(&[]);
    let given_away = id(&stage, "instance.small[2]");
    stage.write("stack.yaml", hosts(2, "c7i.xlarge"));
    stage.succeed(&["forget", "instance.small[2]", "--yes"]);
    bring_back(&stage, &given_away);
    let note = format!("`{given_away}`, which the state has at `instance.small[2]`, has no tags of the stack");
    let is_left = |stage: &Stage, arguments: &[&str]| {
        let plan: Value = serde_json::from_str(&stage.run(&[arguments, &["--json"]].concat()).stdout).unwrap();
        assert!(!plan["compared"].to_string().contains(&given_away), "{plan:#}");
        assert!(plan["remarks"]["notes"].to_string().contains(&note), "{plan:#}");
    };
    is_left(&stage, &["plan"]);
    is_left(&stage, &["plan", "--destroy"]);
    assert!(stage.run(&["drift"]).stdout.contains(&note));
    let not_there = ["`instance.small[2]` is neither in the stack"];
    refused(&stage, &["forget", "instance.small[2]", "--yes"], &not_there);

    // Another host is at its address.
    stage.write("stack.yaml", hosts(3, "c7i.xlarge"));
    stage.converge(&[]);
    let other = id(&stage, "instance.small[2]");
    assert!(other != given_away && sandbox.calls()["ec2:TerminateInstances"].is_null());
    bring_back(&stage, &given_away);
    is_left(&stage, &["plan"]);
    stage.write("stack.yaml", hosts(3, "c7i.2xlarge"));
    is_left(&stage, &["plan"]);
    stage.converge(&[]);
    // The host that was given away still uses a security group of the stack.
    let ended = stage.run(&["destroy", "--yes"]);
    assert!(ended.code == 1 && ended.said().contains(&format!("`{given_away}`")), "{}", ended.stderr);
}

#[test]
fn a_forgotten_address_comes_back_by_import() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = applied(&sandbox, 2);
    let (host, address) = (id(&stage, "instance.small[1]"), id(&stage, "elastic_ip.small[1]"));
    let import = ["import", "elastic_ip.small[1]", &address, "--yes"];
    let other = id(&stage, "elastic_ip.small[0]");
    refused(
        &stage,
        &["import", "elastic_ip.small[1]", &other, "--yes"],
        &["is there already", "import it at another address"],
    );
    // The same command continues after an import that did not end.
    assert!(stage.succeed(&import).said().contains("No changes"));
    stage.write("stack.yaml", text(1));
    refused(&stage, &import, &["the stack does not ask for `elastic_ip.small[1]`"]);
    stage.succeed(&["forget", "elastic_ip.small[1]", "--yes"]);
    stage.succeed(&["forget", "instance.small[1]", "--yes"]);
    stage.converge(&[]);

    stage.write("stack.yaml", text(2));
    refused(
        &stage,
        &import,
        &["it needs `instance.small[1]`, which does not exist yet", "create `instance.small[1]` first"],
    );
    let back = ["import", "instance.small[1]", &host, "--yes"];
    let differs = ["cannot become `instance.small[1]`", "its `template` differs and cannot change in place"];
    refused(
        &stage,
        &back,
        &[&differs[..], &["forces replacement", "give it the tag `trunnion:template` with the value"]].concat(),
    );
    let pool = ["import", "instance.small", &host, "--yes"];
    refused(&stage, &pool, &["does not ask for `instance.small`", "such as `instance.small[0]`"]);
    stage.succeed(&["apply", "--yes", "--exclude", "elastic_ip.small[1]"]);
    refused(&stage, &["import", "elastic_ip.small[1]", &address], &["no terminal to ask for confirmation"]);
    refused(
        &stage,
        &["import", "elastic_ip.small[1]", "eipalloc-0123456789abcdef0", "--yes"],
        &["it does not exist", "check the id"],
    );
    refused(&stage, &["import", "elastic_ip.small[1]", &host, "--yes"], &["is not an id of the kind `elastic_ip`"]);
    refused(&stage, &["import", "ecs_cluster.main", "minimal", "--yes"], &["cannot be imported", "launch_template"]);
    refused(&stage, &["import", "elastic_ip.smal[1]", &address, "--yes"], &["similar: `elastic_ip.small[1]`"]);
    let ended = stage.succeed(&import);
    assert!(ended.said().contains("trunnion:address"), "{}", ended.stderr);
    assert_eq!(id(&stage, "elastic_ip.small[1]"), address);
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
}
