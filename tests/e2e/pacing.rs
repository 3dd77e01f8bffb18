//! Many hosts, with a sandbox that enforces the rate limits of AWS.

use trunnion_tests::{SandboxProcess, Stage};

fn hosts(stage: &Stage, count: u32) {
    stage.edit("zone: eu-west-3a }", &format!("zone: eu-west-3a, count: {count} }}"));
}

#[test]
fn many_hosts_are_applied_and_destroyed_without_a_refused_call() {
    let sandbox = SandboxProcess::start(&["--throttle=1"]);
    let stage = Stage::with("minimal").at(&sandbox);
    hosts(&stage, 40);
    stage.succeed(&["apply", "--yes"]);
    stage.succeed(&["destroy", "--yes"]);
    let calls = sandbox.calls();
    // One more for each answer that a template or a group is not known yet.
    assert!(calls["ec2:RunInstances"]["count"].as_u64().unwrap() >= 40, "{calls:#}");
    let (made, refused) = sandbox.made_and_refused();
    assert!(made > 100 && refused == 0, "{calls:#}");
}

#[test]
fn two_concurrent_applies_in_one_account_both_finish() {
    let sandbox = SandboxProcess::start(&["--throttle=1"]);
    let stages = ["minimal", "other"].map(|name| {
        let stage = Stage::with("minimal").at(&sandbox);
        stage.edit("stack: minimal", &format!("stack: {name}"));
        hosts(&stage, 15);
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
