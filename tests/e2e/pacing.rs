//! Many hosts against a server that counts as AWS does.

use trunnion_tests::{SandboxProcess, Stage};

fn hosts(stage: &Stage, count: u32) {
    stage.edit("zone: eu-west-3a }", &format!("zone: eu-west-3a, count: {count} }}"));
}

#[test]
fn many_hosts_come_and_go_and_no_call_is_refused() {
    let sandbox = SandboxProcess::start(&["--throttle"]);
    let stage = Stage::with("minimal").at(&sandbox);
    hosts(&stage, 40);
    stage.succeed(&["apply", "--yes"]);
    stage.succeed(&["destroy", "--yes"]);
    let calls = sandbox.calls();
    assert_eq!(calls["ec2:RunInstances"]["count"], 40, "{calls:#}");
    let (made, refused) = sandbox.made_and_refused();
    assert!(made > 100 && refused == 0, "{calls:#}");
}

#[test]
fn two_that_each_think_the_rates_are_theirs_finish_both() {
    let sandbox = SandboxProcess::start(&["--throttle"]);
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
    // Otherwise they were not at it at the same time.
    assert!(calls["ec2:RunInstances"]["refused"].as_u64().unwrap() > 0, "{calls:#}");
}
