//! Wrong input: a clear message, exit code 1, and no changes.

use std::fs;

use serde_json::json;
use trunnion_engine::{FileStore, LockInfo, StateStore as _};
use trunnion_tests::{SandboxProcess, Stage};

fn refused(stage: &Stage, arguments: &[&str], expected: &[&str]) {
    let ended = stage.run(arguments);
    assert_eq!(ended.code, 1, "{arguments:?}\n{}\n{}", ended.stdout, ended.stderr);
    for expected in expected {
        assert!(ended.stderr.contains(expected), "`{expected}` in\n{}", ended.stderr);
    }
}

#[test]
fn without_a_terminal_apply_and_destroy_change_nothing() {
    let stage = Stage::with("minimal");
    refused(&stage, &["apply"], &["no terminal", "--yes"]);
    assert!(!stage.path(".trunnion/minimal.json").exists());
    stage.converge(&[]);
    refused(&stage, &["destroy"], &["no terminal", "--yes"]);
    assert_eq!(stage.changes(&[]), Vec::<String>::new(), "all resources still exist");
}

#[test]
fn mistakes_are_shown_in_the_stack_file() {
    let stage = Stage::with("minimal");
    stage.edit("instance_type: c7i.xlarge", "instanse_type: c7i.xlarge");
    refused(&stage, &["plan"], &["instanse_type", "instance_type", "stack.yaml:9"]);
    refused(&stage, &["validate"], &["instanse_type"]);
}

#[test]
fn validate_lists_the_mistakes_of_all_environments_once() {
    let stage = Stage::with("minimal");
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, intrefaces: 1 }");
    let base = std::fs::read_to_string(stage.path("stack.yaml")).unwrap();
    let environments =
        "environments:\n  one: { pools: { small: { volume_gib: 1 } } }\n  two: { control_plane: { cpu: 1 } }\n";
    stage.write("stack.yaml", base + environments);
    let ended = stage.run(&["validate"]);
    assert_eq!(ended.code, 1);
    for expected in ["intrefaces", "`pools.small.volume_gib`", "`control_plane.cpu`"] {
        assert!(ended.stderr.contains(expected), "{expected} in {}", ended.stderr);
    }
    assert_eq!(ended.stderr.matches("stack::unknown_key").count(), 1, "{}", ended.stderr);
}

#[test]
fn validate_notes_a_key_with_which_a_library_does_not_log_in() {
    let stage = Stage::with("minimal");
    let key = "`control_plane.ssh.public_key`";
    let noted = stage.succeed(&["validate"]).stderr;
    for expected in [key, "ed25519", "Apache MINA SSHD", "ssh-keygen -t ecdsa"] {
        assert!(noted.contains(expected), "{expected} in {noted}");
    }
    let ed25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEV4YW1wbGVLZXlOb3RGb3JSZWFsVXNlMDEyMzQ1Njc4";
    let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGRfYiL8Q7RxZLNXJvQka2IgwKmeXEcZ\
                 JdC2CysMDEjttfzT0MV6N7VIgATNcxMJR24cUsATVWQDFYXXZvnQPi0=";
    stage.edit(ed25519, ecdsa);
    let noted = stage.succeed(&["validate"]).stderr;
    assert!(!noted.contains(key), "{noted}");
}

#[cfg(target_os = "linux")]
#[test]
fn data_that_cannot_be_written_is_an_error() {
    let stage = Stage::with("minimal");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = stage.command(&["plan", "--json", "--sandbox"]).stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("stdout"), "{said}");
}

#[test]
fn mistyped_arguments_are_errors() {
    let stage = Stage::with("minimal");
    refused(&stage, &["plann"], &["did you mean `trunnion plan`?"]);
    refused(&stage, &["plan", "--env", "prod"], &["prod"]);
    refused(&stage, &["plan", "nowhere.yaml"], &["nowhere.yaml"]);
    refused(&stage, &["apply", "nowhere.json", "--yes"], &["nowhere.json"]);
    stage.write("broken.json", "{");
    refused(&stage, &["apply", "broken.json", "--yes"], &["is not a plan document", "--out"]);
    refused(&stage, &["plan", "--target", "nonsense"], &["`nonsense`"]);
    refused(&stage, &["plan", "--out", "stack.yaml"], &["does not end in .json"]);
    refused(&stage, &["sandbox", "--account", "12"], &["12 digits"]);
}

#[test]
fn a_pool_that_does_not_fit_its_subnet_is_refused() {
    let stage = Stage::with("loadtest");
    stage.edit("count: 4", "count: 40");
    refused(&stage, &["plan"], &["40", "free", "stack.yaml:"]);
}

#[test]
fn another_account_is_refused_before_the_first_change() {
    let sandbox = trunnion_tests::SandboxProcess::start(&["--account", "210987654321"]);
    let stage = Stage::with("minimal").at(&sandbox);
    refused(&stage, &["apply", "--yes"], &["210987654321", "123456789012"]);
    assert!(!sandbox.calls().to_string().contains("Create"), "{}", sandbox.calls());
}

#[test]
fn a_missing_secret_is_named() {
    let stage = Stage::with("minimal");
    stage.edit("secret:gatling/token-AbCdEf", "secret:gatling/other-AbCdEf");
    refused(&stage, &["plan"], &["secret.token", "gatling/other-AbCdEf"]);
}

#[test]
fn a_closed_endpoint_is_an_error_with_help() {
    let mut sandbox = trunnion_tests::SandboxProcess::start(&[]);
    sandbox.endpoint = "http://127.0.0.1:9".to_owned();
    let stage = Stage::with("minimal").at(&sandbox);
    refused(&stage, &["plan"], &["refuses the connection", "127.0.0.1:9", "AWS_ENDPOINT_URL"]);
}

#[tokio::test]
async fn a_locked_state_names_its_holder() {
    let stage = Stage::with("minimal");
    let store = FileStore::new(stage.path(".trunnion/minimal.json"), "minimal");
    let _lock = store.lock(&LockInfo::of_this_process("a test")).await.unwrap();
    refused(&stage, &["apply", "--yes"], &["locked", "a test"]);
    assert_eq!(stage.run(&["plan"]).code, 0, "reading needs no lock");
}

#[test]
fn a_damaged_state_is_an_error_and_not_changed() {
    let stage = Stage::with("minimal");
    stage.converge(&[]);
    stage.write(".trunnion/minimal.json", "{ not json");
    refused(&stage, &["apply", "--yes"], &["minimal.json", "only a cache"]);
}

#[test]
fn a_plan_is_not_written_over_the_state() {
    let stage = Stage::with("minimal");
    stage.succeed(&["apply", "--yes"]);
    let before = fs::read(stage.path(".trunnion/minimal.json")).unwrap();
    for out in [".trunnion/minimal.json", "./.trunnion/../.trunnion/minimal.json"] {
        let ended = stage.run(&["plan", "--out", out]);
        assert_eq!(ended.code, 1);
        assert!(ended.stderr.contains("is the file of the stack's state"), "{}", ended.stderr);
    }
    assert_eq!(fs::read(stage.path(".trunnion/minimal.json")).unwrap(), before);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a file in the test's own folder")]
fn a_plan_is_recognised_by_its_content() {
    let stage = Stage::with("minimal");
    stage.succeed(&["plan", "--out", "plan.json"]);
    fs::rename(stage.path("plan.json"), stage.path("reviewed.txt")).unwrap();
    let shown = stage.succeed(&["show", "reviewed.txt"]);
    assert!(shown.stdout.contains("15 to create"), "{}", shown.stdout);
    let applied = stage.succeed(&["apply", "reviewed.txt", "--yes"]);
    assert!(applied.stderr.contains("15 of 15 steps done"), "{}", applied.stderr);
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_state_or_a_plan_is_an_error() {
    let stage = Stage::with("minimal");
    fs::create_dir(stage.path(".trunnion")).unwrap();
    for pipe in [".trunnion/minimal.json", "plan.json"] {
        let path = stage.path(pipe);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let arguments: &[&str] = if pipe == "plan.json" { &["apply", pipe] } else { &["plan"] };
        let ended = stage.run(arguments);
        assert_eq!(ended.code, 1);
        assert!(ended.stderr.contains("not a regular file"), "{}", ended.stderr);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn after_a_failure_the_next_step_depends_on_the_command() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    let denied = json!({"error": {"status": 403, "code": "UnauthorizedOperation", "message": "no"}});
    let deny = |operation: &str| {
        sandbox.faults(&json!([{"operation": operation, "times": 1, "effect": denied}]));
    };
    stage.succeed(&["plan", "--out", "plan.json"]);
    deny("ec2:RunInstances");
    let written = stage.run(&["apply", "plan.json", "--yes"]);
    assert!(written.stderr.contains("Make a new plan and apply it"), "{}", written.stderr);
    deny("ec2:RunInstances");
    let whole = stage.run(&["apply", "--yes"]);
    assert!(
        whole.stderr.contains("Remove the cause, then run the same command again: it continues from here."),
        "{}",
        whole.stderr
    );
    stage.succeed(&["apply", "--yes"]);
    // The same command would replace the new host again.
    deny("ec2:RunInstances");
    let replaced = stage.run(&["apply", "--replace", "instance.small[0]", "--yes"]);
    assert!(replaced.stderr.contains("run it without `--replace`"), "{}", replaced.stderr);
    let ended = stage.succeed(&["apply", "--yes"]);
    assert!(ended.stderr.contains("instance.small[0]: created"), "{}", ended.stderr);
}
