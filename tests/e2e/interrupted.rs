//! Kills, interruptions, refusals and lost connections: no resource is lost or created twice, and the next run
//! continues.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use serde_json::json;
use trunnion_tests::{SandboxProcess, Stage};

/// Starts an apply and waits until it has printed this number of lines about its steps.
fn apply_until(stage: &Stage, lines: usize) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = stage.command(&["apply", "--yes"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut steps = 0;
    let mut line = String::new();
    while steps < lines && said.read_line(&mut line).unwrap() > 0 {
        steps += usize::from(line.contains(": creating") || line.contains(": created"));
        line.clear();
    }
    (child, said)
}

#[test]
fn an_apply_killed_at_any_step_continues_without_loss_or_duplicates() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("loadtest").at(&sandbox);
    for lines in [1, 4, 9, 15, 21, 27, 33] {
        let (mut child, _said) = apply_until(&stage, lines);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    stage.converge(&[]);
    let runs = sandbox.calls();
    stage.succeed(&["destroy", "--yes"]);
    assert_eq!(stage.changes(&["--destroy"]), Vec::<String>::new(), "{runs:#}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_apply_finishes_running_steps_and_saves_the_state() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("loadtest").at(&sandbox);
    let (mut child, mut said) = apply_until(&stage, 3);
    let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("Interrupted.") && rest.contains(" Run the same command again to continue."), "{rest}");
    assert!(!rest.contains("Remove the cause"), "{rest}");
    assert!(stage.path(".trunnion/loadtest.json").exists());
    stage.converge(&[]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_destroy_has_no_failed_steps() {
    let sandbox = SandboxProcess::start_friendly(&["--speed", "20"]);
    let stage = Stage::with("minimal").at(&sandbox);
    stage.succeed(&["apply", "--yes", "--no-wait"]);
    let mut command = stage.command(&["destroy", "--yes"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("ecs_service.control_plane: deleting") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0);
    }
    let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("finishing the running steps") && rest.contains("0 failed, 0 skipped"), "{rest}");
    stage.succeed(&["destroy", "--yes"]);
    assert_eq!(stage.changes(&["--destroy"]), Vec::<String>::new());
}

#[test]
fn a_lost_response_creates_nothing_twice() {
    let calls = [
        "ec2:RunInstances",
        "ec2:CreateLaunchTemplate",
        "ec2:CreateSecurityGroup",
        "ecs:CreateService",
        "ecs:RegisterTaskDefinition",
        "ecs:CreateCluster",
        "iam:CreateRole",
        "iam:CreateInstanceProfile",
        "logs:CreateLogGroup",
        "s3:PutObject",
    ];
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    let rules: Vec<_> = calls.iter().map(|call| json!({"operation": call, "effect": "drop_after"})).collect();
    sandbox.faults(&json!(rules));
    // The SDK retries some calls. For the others, the next run must continue.
    let first = stage.run(&["apply", "--yes"]);
    sandbox.faults(&json!([]));
    stage.converge(&[]);
    // The bucket keeps every version of an object, also of the same content.
    let rows = sandbox.rows();
    assert_eq!(rows["s3.versions"].as_object().unwrap().len(), 1, "{:#}", rows["s3.versions"]);
    stage.succeed(&["destroy", "--yes"]);
    assert_eq!(stage.changes(&["--destroy"]), Vec::<String>::new(), "{}", first.stderr);
}

#[test]
fn a_failure_has_a_help_and_independent_steps_are_done() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    sandbox.faults(&json!([{
        "operation": "ec2:RunInstances",
        "effect": {"error": {"status": 403, "code": "UnauthorizedOperation", "message": "You are not authorized to perform this operation."}},
    }]));
    let ended = stage.run(&["apply", "--yes"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("instance.small[0]: failed"), "{}", ended.stderr);
    assert!(ended.stderr.contains("ec2:RunInstances"), "{}", ended.stderr);
    assert!(ended.stderr.contains("ecs_service.control_plane: skipped"), "{}", ended.stderr);
    assert!(ended.stderr.contains("1 failed, 2 skipped"), "{}", ended.stderr);
    sandbox.faults(&json!([]));
    assert_eq!(
        stage.changes(&[]),
        ["create ecs_service.control_plane", "create ecs_task_definition.control_plane", "create instance.small[0]"]
    );
    stage.converge(&[]);
}

#[test]
fn apply_waits_for_throttled_and_eventually_consistent_calls() {
    let sandbox = SandboxProcess::start(&["--consistency-lag", "400", "--throttle"]);
    let stage = Stage::with("minimal").at(&sandbox);
    // `trunnion` limits its own rate, so other callers in the account must empty the token bucket.
    let busy = json!({"error": {"status": 503, "code": "RequestLimitExceeded", "message": "Request limit exceeded."}});
    // A replica that does not know the new group yet.
    let unknown =
        json!({"error": {"status": 400, "code": "InvalidGroup.NotFound", "message": "The group does not exist"}});
    sandbox.faults(&json!([
        {"operation": "ec2:RunInstances", "times": 3, "effect": busy},
        {"operation": "ec2:CreateLaunchTemplate", "times": 2, "effect": unknown},
    ]));
    stage.converge(&[]);
    assert!(sandbox.calls()["ec2:RunInstances"]["count"].as_u64().unwrap() >= 4, "{:#}", sandbox.calls());
    stage.succeed(&["destroy", "--yes"]);
}

#[test]
fn two_control_planes_never_run_at_the_same_time() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    stage.converge(&[]);
    stage.edit("control-plane:2026.42.2", "control-plane:2026.43.0");
    // Failures before the service is updated, while its old task stops, and when the new one starts.
    for moment in ["ecs:RegisterTaskDefinition", "ecs:ListTasks", "ecs:DescribeTasks"] {
        sandbox.faults(
            &json!([{"operation": moment, "effect": {"error": {"status": 400, "code": "AccessDeniedException"}}}]),
        );
        assert_eq!(stage.run(&["apply", "--yes"]).code, 1, "{moment}");
    }
    sandbox.faults(&json!([{"operation": "ecs:UpdateService", "nth": 2, "effect": {"error": {"status": 400, "code": "AccessDeniedException"}}}]));
    assert_eq!(stage.run(&["apply", "--yes"]).code, 1);
    sandbox.faults(&json!([]));
    std::fs::remove_file(stage.path(".trunnion/minimal.json")).unwrap();
    stage.converge(&[]);
    stage.edit("  token:", "  public_ip: false\n  token:");
    stage.converge(&[]);
    stage.succeed(&["destroy", "--yes"]);
    stage.converge(&[]);
    stage.succeed(&["destroy", "--yes"]);
    assert_eq!(stage.changes(&["--destroy"]), Vec::<String>::new());
    assert_eq!(sandbox.most_tasks(), 1);
}

#[test]
fn the_next_run_deletes_a_deregistered_revision() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    stage.converge(&[]);
    let refused = json!([{"operation": "ecs:DeleteTaskDefinitions", "effect": {"error": {"status": 400, "code": "AccessDeniedException"}}}]);
    sandbox.faults(&refused);
    stage.edit("control-plane:2026.42.2", "control-plane:2026.43.0");
    assert_eq!(stage.run(&["apply", "--yes"]).code, 1);
    assert_eq!(stage.changes(&[]), ["delete ecs_task_definition.control_plane"]);
    stage.converge(&[]);
    // A destroy deregisters the only revision and is run again.
    sandbox.faults(&refused);
    assert_eq!(stage.run(&["destroy", "--yes"]).code, 1);
    let left = stage.changes(&["--destroy"]);
    assert!(left.contains(&"delete ecs_task_definition.control_plane".to_owned()), "{left:?}");
    let created = stage.changes(&[]);
    assert!(created.contains(&"create ecs_task_definition.control_plane".to_owned()), "{created:?}");
    stage.succeed(&["destroy", "--yes"]);
    assert_eq!(stage.changes(&["--destroy"]), Vec::<String>::new());
}
