//! Many hosts, with a sandbox that enforces the rate limits of AWS.

use trunnion_tests::{SandboxProcess, Stage};

/// Changes the number of hosts.
fn hosts(stage: &Stage, from: u32, to: u32) {
    stage.edit(&format!("count: {from} }}"), &format!("count: {to} }}"));
}

/// A stack with one host. Further ones are launched singly.
fn stage(sandbox: &SandboxProcess) -> Stage {
    let stage = Stage::with("minimal").at(sandbox);
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 1 }");
    stage
}

#[test]
fn many_calls_are_made_without_a_refused_one() {
    let sandbox = SandboxProcess::start(&["--throttle=1"]);
    let stage = stage(&sandbox);
    stage.succeed(&["apply", "--yes"]);
    hosts(&stage, 1, 40);
    stage.succeed(&["apply", "--yes"]);
    stage.succeed(&["destroy", "--yes"]);
    let calls = sandbox.calls();
    // One more for each answer that a template or a group is not known yet.
    assert!(calls["ec2:RunInstances"]["count"].as_u64().unwrap() >= 40, "{calls:#}");
    let (made, refused) = sandbox.made_and_refused();
    assert!(made > 100 && refused == 0, "{calls:#}");
}

#[test]
fn many_new_hosts_are_few_calls() {
    let sandbox = SandboxProcess::start(&["--throttle=1"]);
    let stage = stage(&sandbox);
    hosts(&stage, 1, 250);
    stage.converge(&[]);
    let calls = sandbox.changing_calls();
    // A new template or group may not be known everywhere yet, so some calls are repeated.
    assert!((3..9).contains(&calls["ec2:RunInstances"]) && calls.values().sum::<u64>() < 60, "{calls:#?}");
    stage.succeed(&["destroy", "--yes"]);
    assert!((3..9).contains(&sandbox.changing_calls()["ec2:TerminateInstances"]));
    assert_eq!(sandbox.made_and_refused().1, 0, "{:#}", sandbox.calls());
}

#[test]
fn two_concurrent_applies_in_one_account_both_finish() {
    let sandbox = SandboxProcess::start(&["--throttle=1"]);
    let stages = ["minimal", "other"].map(|name| {
        let stage = stage(&sandbox);
        stage.edit("stack: minimal", &format!("stack: {name}"));
        stage.succeed(&["apply", "--yes"]);
        hosts(&stage, 1, 15);
        stage
    });
    for command in ["apply", "destroy"] {
        let running = stages.each_ref().map(|stage| {
            let mut command = stage.command(&[command, "--yes"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        });
        for child in running {
            let ended = trunnion_tests::Ended::of(&child.wait_with_output().unwrap());
            assert_eq!(ended.code, 0, "{}\n{}", ended.stderr, sandbox.calls());
        }
    }
    let calls = sandbox.calls();
    // A refused call shows that both ran at the same time.
    assert!(calls["ec2:RunInstances"]["refused"].as_u64().unwrap() > 0, "{calls:#}");
}
