//! The command at a terminal: where a plan applies, mistyped commands, partial plans, saved plans, and the progress of an
//! apply.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    process::Stdio,
};

use serde_json::{Value, json};
use trunnion_tests::{Ended, SandboxProcess, Stage, binary};

fn refused(stage: &Stage, arguments: &[&str], expected: &[&str]) -> Ended {
    let ended = stage.run(arguments);
    assert_eq!(ended.code, 1, "{arguments:?}\n{}\n{}", ended.stdout, ended.stderr);
    for expected in expected {
        assert!(ended.said().contains(expected), "`{expected}` in\n{}", ended.stderr);
    }
    ended
}

#[test]
fn commands_of_other_tools_suggest_the_command_to_type() {
    let stage = Stage::with("minimal");
    for (typed, instead) in [
        ("deploy", "`trunnion apply`"),
        ("up", "`trunnion apply`"),
        ("init", "`trunnion plan`"),
        ("diff", "`trunnion plan`"),
        ("refresh", "`trunnion plan`"),
        ("output", "`trunnion show`"),
        ("down", "`trunnion destroy`"),
        ("version", "`trunnion --version`"),
        ("taint", "`trunnion apply --replace ADDRESS`"),
        ("workspace", "`trunnion plan --env NAME`"),
        ("fmt", "`trunnion validate`"),
        ("state", "`trunnion state something` does not exist: the state is only a cache"),
        ("force-unlock", "`trunnion unlock`"),
    ] {
        let ended = refused(&stage, &[typed, "something"], &[instead]);
        assert_eq!((ended.stderr.lines().count(), ended.stdout.as_str()), (1, ""), "{}", ended.stderr);
        assert!(typed == "down" || !ended.stderr.contains("destroy"), "{}", ended.stderr);
    }
}

#[test]
fn one_dash_and_auto_approve_are_accepted() {
    let stage = Stage::with("minimal");
    stage.succeed(&["plan", "-target=instance.small", "-out=plan.json"]);
    stage.succeed(&["apply", "-auto-approve", "plan.json"]);
    stage.succeed(&["apply", "--auto-approve"]);
    assert_eq!(stage.changes(&["-destroy"]).len(), 15);
    let help = stage.run(&["destroy", "-help"]).stdout;
    assert!(help.contains("--auto-approve") && !help.contains("--no-wait"), "{help}");
    stage.succeed(&["destroy", "-auto-approve"]);
}

#[test]
fn color_applies_to_help_and_usage_errors() {
    let stage = Stage::with("minimal");
    for (arguments, is_coloured) in [
        (vec!["--help", "--color", "always"], true),
        (vec!["plan", "--color=always", "--nonsense"], true),
        (vec!["--help", "--color=never"], false),
        (vec!["--color", "never", "plan", "--nonsense"], false),
    ] {
        let ended = stage.run(&arguments);
        assert_eq!((ended.stdout + &ended.stderr).contains('\u{1b}'), is_coloured, "{arguments:?}");
    }
}

#[test]
fn without_a_stack_file_the_error_suggests_files_nearby() {
    let stage = Stage::with("minimal");
    fs::create_dir_all(stage.path("a/b/c/d")).unwrap();
    fs::create_dir_all(stage.path("target")).unwrap();
    for name in ["a/load test.yaml", "a/b/c/deep.yml", "a/b/c/d/too-deep.yaml", "target/built.yaml"] {
        fs::copy(stage.path("stack.yaml"), stage.path(name)).unwrap();
    }
    stage.write("a/values.yaml", "replicas: 1\n");
    fs::remove_file(stage.path("stack.yaml")).unwrap();
    let ended = refused(&stage, &["plan"], &["`trunnion plan 'a/load test.yaml'`"]);
    for other in ["values.yaml", "too-deep", "built.yaml"] {
        assert!(!ended.stderr.contains(other), "{}", ended.stderr);
    }
    refused(&stage, &["validate"], &["`trunnion validate 'a/load test.yaml'`"]);
    refused(&stage, &["render", "conf"], &["`trunnion render conf 'a/load test.yaml'`"]);
    fs::remove_dir_all(stage.path("a")).unwrap();
    refused(&stage, &["show"], &["`trunnion show FILE`"]);
}

#[test]
fn every_plan_starts_with_its_account_region_and_identity() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    let head = format!(
        "Stack minimal · no environment · account 123456789012 · eu-west-3 · {} \
         · as arn:aws:iam::123456789012:user/sandbox",
        sandbox.endpoint
    );
    assert_eq!(stage.succeed(&["plan"]).stdout.lines().next(), Some(head.as_str()));
    let applied = stage.succeed(&["apply", "--yes"]);
    assert_eq!(applied.stderr.lines().next(), Some(head.as_str()));
    let document: Value = serde_json::from_str(&stage.succeed(&["plan", "--json"]).stdout).unwrap();
    assert_eq!(document["compared"]["place"]["endpoint"], "url");
    assert_eq!(document["remarks"]["endpoint"], json!(sandbox.endpoint));
    assert_eq!(document["remarks"]["identity"], "arn:aws:iam::123456789012:user/sandbox");
}

#[test]
fn resources_of_another_endpoint_are_not_shown_as_those_of_aws() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    stage.succeed(&["apply", "--yes"]);
    let place = format!("account 123456789012 · eu-west-3 · {}", sandbox.endpoint);
    let shown = stage.succeed(&["show"]).stdout;
    assert_eq!(shown.lines().next(), Some(format!("Stack minimal · applied to {place}").as_str()));

    let mut command = stage.command(&["show"]);
    let output = command.env_remove("AWS_ENDPOINT_URL").output().unwrap();
    let (shown, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(shown, "", "no resource exists on AWS");
    assert!(said.contains(&format!("The recorded resources were applied to {place}.")), "{said}");
    assert!(said.contains("account 123456789012 · eu-west-3 · AWS"), "{said}");
}

#[test]
fn a_state_of_an_earlier_version_belongs_to_this_endpoint() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    stage.converge(&[]);
    let saved = fs::read_to_string(stage.path(".trunnion/minimal.json")).unwrap();
    let earlier = saved.replace(&format!("{}/", sandbox.endpoint), "aws/");
    assert_ne!(saved, earlier);
    stage.write(".trunnion/minimal.json", earlier);
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, volume_gib: 60 }");
    let document: Value = serde_json::from_str(&stage.succeed(&["plan", "--json"]).stdout).unwrap();
    let causes = document["compared"]["changes"].to_string();
    assert!(causes.contains("\"cause\":\"stack\"") && !causes.contains("unrecorded"), "{causes}");
}

#[test]
fn a_partial_plan_counts_what_it_does_not_cover() {
    let stage = Stage::with("loadtest");
    stage.succeed(&["apply", "--yes"]);
    stage.edit("count: 4", "count: 5");
    let ended = stage.succeed(&["plan", "--target", "instance.probe"]);
    assert!(ended.stdout.contains("! This plan is partial: it covers `instance.probe`"), "{}", ended.stdout);
    assert!(ended.stdout.contains("No changes to the targets: all "), "{}", ended.stdout);
    assert!(!ended.stdout.contains("No changes:"), "{}", ended.stdout);
    let document: Value =
        serde_json::from_str(&stage.succeed(&["plan", "--target", "instance.probe", "--json"]).stdout).unwrap();
    assert_eq!(document["compared"]["partial"], true);
    let summary = &document["compared"]["summary"];
    let (covered, others) = (summary["unchanged"].as_u64().unwrap(), summary["not_covered"].as_u64().unwrap());
    assert_eq!(covered + others, 22, "of 22 addresses: {summary}");
    assert!(ended.stdout.contains(&format!("{others} other resources were not compared")), "{}", ended.stdout);
}

#[test]
fn replace_creates_one_host_again() {
    let stage = Stage::with("loadtest");
    stage.succeed(&["apply", "--yes"]);
    let ids = || -> Vec<String> {
        let shown: Value = serde_json::from_str(&stage.succeed(&["show", "--json"]).stdout).unwrap();
        let hosts = shown["outputs"]["hosts"].as_array().unwrap().clone();
        hosts.iter().map(|host| host["id"].to_string()).collect()
    };
    let before = ids();
    let plan = stage.succeed(&["plan", "--replace", "instance.heavy[2]", "--out", "plan.json"]).stdout;
    assert!(plan.contains("-/+ instance.heavy[2]") && plan.contains("asked for with `--replace`"), "{plan}");
    stage.succeed(&["apply", "--yes", "plan.json"]);
    let after = ids();
    let moved: Vec<usize> = (0..5).filter(|&host| before[host] != after[host]).collect();
    assert_eq!(moved, [2], "{before:?} {after:?}");
    stage.succeed(&["apply", "--yes", "-replace=instance.probe[0]", "--target", "iam_role.generator"]);
    assert_ne!(ids()[4], before[4], "`--replace` also counts as a target");
    assert_eq!(stage.changes(&[]), Vec::<String>::new());

    refused(&stage, &["plan", "--replace", "instance.heavy[7]"], &["`instance.heavy[7]`", "similar: `instance.heavy["]);
    refused(&stage, &["plan", "--target", "instance.havy"], &["`instance.havy`", "similar: `instance.heavy["]);
    refused(&stage, &["plan", "--target", "instance.heavy[3"], &["is not an address", "similar: `instance.heavy[3]`"]);
    refused(&stage, &["plan", "--replace", "ecs_service.control_plane", "--destroy"], &["cannot be used with"]);
}

/// The same stack in two clones of one repository.
fn two_clones(sandbox: &SandboxProcess) -> [Stage; 2] {
    [(), ()].map(|()| {
        let stage = Stage::with("minimal").at(sandbox);
        fs::create_dir(stage.path(".git")).unwrap();
        stage.write(".git/config", "[remote \"origin\"]\n\turl = https://example.org/acme/stacks.git\n");
        stage
    })
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a file in the test's own folder")]
fn a_saved_plan_applies_from_any_folder() {
    let stage = Stage::with("minimal");
    fs::create_dir(stage.path("infra")).unwrap();
    fs::rename(stage.path("stack.yaml"), stage.path("infra/stack one.yaml")).unwrap();
    let hint = stage.succeed(&["plan", "infra/stack one.yaml", "--out", "infra/plan 1.json"]).stderr;
    assert!(hint.contains("`trunnion apply 'infra/plan 1.json' --sandbox`"), "{hint}");
    let run = |folder: &str, arguments: &[&str]| {
        let mut command = stage.command(arguments);
        let output = command.current_dir(stage.path(folder)).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let whole = stage.path("infra/plan 1.json");
    let (code, said) = run("/", &["apply", whole.to_str().unwrap(), "--sandbox"]);
    assert!(code == Some(1) && said.contains("no terminal to ask for confirmation"), "{said}");
    let (code, said) = run("infra", &["apply", "plan 1.json", "--yes", "--sandbox"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(stage.path("infra/.trunnion/minimal.json").exists());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a file in the test's own folder")]
fn a_saved_plan_finds_its_stack_file_in_another_workspace() {
    let sandbox = SandboxProcess::start(&[]);
    let [first, second] = two_clones(&sandbox);
    // A plan beside its stack file, with absolute paths as in a script.
    let (stack, plan) = (first.path("stack.yaml"), first.path("plan.json"));
    first.succeed(&["plan", stack.to_str().unwrap(), "--out", plan.to_str().unwrap()]);
    fs::copy(&plan, second.path("plan.json")).unwrap();
    fs::create_dir(second.path("plans")).unwrap();
    fs::copy(&plan, second.path("plans/plan.json")).unwrap();
    fs::rename(second.path("stack.yaml"), second.path("renamed.yaml")).unwrap();
    refused(&second, &["apply", "--yes", "plans/plan.json"], &["stack file", "`stack.yaml`", "`--stack FILE`"]);
    second.succeed(&["apply", "--yes", "plans/plan.json", "--stack", "renamed.yaml"]);
    refused(&second, &["apply", "--yes", "renamed.yaml", "--stack", "x.yaml"], &["is not a plan"]);
}

#[test]
fn unknown_fields_and_formats_of_a_plan_are_refused() {
    let stage = Stage::with("minimal");
    stage.succeed(&["plan", "--out", "plan.json"]);
    let mut document: Value = serde_json::from_slice(&fs::read(stage.path("plan.json")).unwrap()).unwrap();
    document["compared"]["changes"][0]["approved"] = json!(true);
    stage.write("plan.json", document.to_string());
    refused(&stage, &["apply", "--yes", "plan.json"], &["unknown field `approved`"]);
    for (format, expected) in [
        (json!(1), ["has format 1, which only an earlier version of trunnion reads", "make a new plan with"]),
        (json!("2.9"), ["has format 2.9 of a later version", "use the version of trunnion that wrote it"]),
        (json!("3.0"), ["has format 3.0 of a later version", "use the version of trunnion that wrote it"]),
    ] {
        document["format"] = format;
        stage.write("plan.json", document.to_string());
        for verb in ["apply", "show"] {
            refused(&stage, &[verb, "plan.json"], &expected);
        }
    }
}

/// Runs `trunnion` with a limit on the size of files, in blocks of 512 bytes.
#[cfg(unix)]
fn with_file_size_limit(stage: &Stage, blocks: u32, arguments: &[&str]) -> Ended {
    let script = format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$0\" \"$@\"");
    let mut command = stage.command(&[]);
    let environment: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
    let folder = command.get_current_dir().unwrap().to_owned();
    command = std::process::Command::new("sh");
    command.env_clear().envs(environment).current_dir(folder).stdin(Stdio::null());
    let output = command.arg("-c").arg(script).arg(binary("trunnion")).args(arguments).output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[cfg(unix)]
#[test]
fn a_failed_write_keeps_the_earlier_plan() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    stage.succeed(&["plan", "--out", "plan.json"]);
    let before = fs::read(stage.path("plan.json")).unwrap();
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2 }");
    let ended = with_file_size_limit(&stage, 1, &["plan", "--out", "plan.json"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.said().contains("free some space"), "{}", ended.stderr);
    assert_eq!(fs::read(stage.path("plan.json")).unwrap(), before);
    let names: Vec<_> = fs::read_dir(stage.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().ends_with(".tmp")), "{names:?}");
}

#[cfg(unix)]
#[test]
fn an_unsaved_state_is_reported() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    let ended = with_file_size_limit(&stage, 1, &["apply", "--yes", "--json"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let said = ended.said();
    assert!(said.contains("The state could not be saved: writing `"), "{said}");
    assert!(!said.contains("..") && said.contains("not started"), "{said}");
    let events = ended.events();
    let outcome = &events.last().unwrap()["outcome"];
    assert_eq!((&outcome["result"], &outcome["failed"]), (&json!("unsaved"), &json!([])), "{outcome:#}");
    assert!(outcome["unsaved"].as_str().is_some_and(|why| why.starts_with("writing `")), "{outcome:#}");
    assert!(outcome["not_started"].as_u64().is_some_and(|count| count > 0), "{outcome:#}");
    stage.converge(&[]);
}

#[cfg(unix)]
#[test]
fn a_sandbox_on_a_full_disk_reports_it_and_continues_later() {
    let stage = Stage::with("minimal");
    // Enough space for some calls only.
    for blocks in [1, 16, 64] {
        let ended = with_file_size_limit(&stage, blocks, &["apply", "--yes", "--sandbox"]);
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        let said = ended.said();
        assert!(said.contains("File too large") && !said.contains("HTTP status 500"), "{said}");
    }
    stage.converge(&[]);
}

#[cfg(unix)]
#[test]
fn a_call_that_is_refused_on_a_full_disk_has_no_effect() {
    let data = tempfile::tempdir().unwrap();
    let options = ["--data", data.path().to_str().unwrap()];
    let mut stage = Stage::with("minimal");
    for blocks in [20, 40, 60] {
        let full = SandboxProcess::start_with_file_size_limit(blocks, &options);
        stage = stage.at(&full);
        let ended = stage.run(&["apply", "--yes"]);
        assert!(ended.code == 1 && ended.said().contains("File too large"), "{}", ended.stderr);
        let shown = stage.changes(&[]);
        assert!(!shown.is_empty());
        drop(full);
        let again = SandboxProcess::start_friendly(&options);
        stage = stage.at(&again);
        assert_eq!(stage.changes(&[]), shown, "after {blocks} blocks");
    }
    let room = SandboxProcess::start_friendly(&options);
    stage = stage.at(&room);
    stage.converge(&[]);
}

#[test]
fn one_folder_keeps_the_data_of_several_accounts() {
    let stage = Stage::with("minimal");
    let stack = fs::read_to_string(stage.path("stack.yaml")).unwrap();
    stage.write(
        "stack.yaml",
        format!(
            "{stack}\nenvironments:\n  prod:\n    account: \"999999999999\"\n    control_plane:\n      \
             token: arn:aws:secretsmanager:eu-west-3:999999999999:secret:gatling/token-AbCdEf\n      \
             ssh: {{ private_key: arn:aws:secretsmanager:eu-west-3:999999999999:secret:gatling/ssh-AbCdEf }}\n"
        ),
    );
    stage.converge(&[]);
    stage.converge(&["--env", "prod"]);
    assert_eq!(stage.changes(&[]), Vec::<String>::new(), "the first account is unchanged");
    let plan = stage.succeed(&["plan", "--env", "prod"]).stdout;
    assert!(plan.contains("account 999999999999 · eu-west-3 · sandbox in .trunnion/sandbox/999999999999"), "{plan}");
}

#[test]
fn equal_failures_are_reported_once() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 12 }");
    let denied = json!({"error": {"status": 403, "code": "UnauthorizedOperation", "message": "You are not authorized to perform this operation."}});
    sandbox.faults(&json!([{"operation": "ec2:RunInstances", "times": 1000, "effect": denied}]));
    let ended = stage.run(&["apply", "--yes"]);
    assert_eq!(ended.code, 1);
    let lines = |with: &str| ended.stderr.lines().filter(|line| line.contains(with)).count();
    assert_eq!((lines("✗"), lines("help: instance.")), (2, 1), "{}", ended.stderr);
    assert!(ended.stderr.contains("11 more failed in the same way as `instance.small["), "{}", ended.stderr);
    assert_eq!(lines("instance.small[0…11]: "), 1, "one help for all: {}", ended.stderr);
    assert!(ended.stderr.contains("12 failed, 2 skipped"), "{}", ended.stderr);
}

/// Starts an apply, and reads its output until it waits for a host.
#[cfg(target_os = "linux")]
fn waiting_apply(stage: &Stage, hangup: &str) -> (std::process::Child, BufReader<std::process::ChildStderr>) {
    let inner = stage.command(&["apply", "--yes"]);
    let mut command = std::process::Command::new("env");
    command.arg(hangup).arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(inner.get_current_dir().unwrap()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("instance.small[0]: creating") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0);
    }
    (child, said)
}

#[cfg(target_os = "linux")]
fn hang_up(child: &std::process::Child) {
    let status = std::process::Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_terminal_interrupts_like_ctrl_c() {
    let sandbox = SandboxProcess::start_friendly(&["--speed", "0.1"]);
    let stage = Stage::with("minimal").at(&sandbox);
    let (mut child, mut said) = waiting_apply(&stage, "--default-signal=HUP");
    // The shell and the kernel both send the signal.
    hang_up(&child);
    hang_up(&child);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("Interrupted.") && rest.contains("1 interrupted while waiting"), "{rest}");
    let saved: Value = serde_json::from_slice(&fs::read(stage.path(".trunnion/minimal.json")).unwrap()).unwrap();
    assert!(!saved["resources"].as_object().unwrap().is_empty());
    assert_eq!(fs::read(stage.path(".trunnion/minimal.lock")).unwrap(), b"", "the lock is released");
}

#[cfg(target_os = "linux")]
#[test]
fn nohup_ignores_the_closed_terminal() {
    let sandbox = SandboxProcess::start_friendly(&["--speed", "30"]);
    let stage = Stage::with("minimal").at(&sandbox);
    let (mut child, mut said) = waiting_apply(&stage, "--ignore-signal=HUP");
    hang_up(&child);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
}

#[test]
fn a_wait_for_a_silent_endpoint_is_shown() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let stage = Stage::with("minimal");
    let mut command = stage.command(&["plan"]);
    command.env("AWS_ENDPOINT_URL", &endpoint).env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line, format!("Still reading account 123456789012 · eu-west-3 · {endpoint}: 5 s\n"));
}

#[test]
fn a_plan_repairs_a_damaged_state() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("loadtest").at(&sandbox);
    stage.converge(&[]);
    let path = stage.path(".trunnion/loadtest.json");
    let saved: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for address in saved["resources"].as_object().unwrap().keys() {
        for damage in ["", "%"] {
            let mut damaged = saved.clone();
            let id = damaged["resources"][address]["id"].as_str().unwrap().to_owned();
            damaged["resources"][address]["id"] = json!(format!("{damage}{}", id.get(1..).unwrap()));
            stage.write(".trunnion/loadtest.json", damaged.to_string());
            assert_eq!(stage.changes(&[]), Vec::<String>::new(), "{address} with `{damage}`");
        }
    }
}

#[test]
fn a_state_of_a_newer_version_asks_for_an_update() {
    let stage = Stage::with("minimal");
    fs::create_dir(stage.path(".trunnion")).unwrap();
    stage.write(".trunnion/minimal.json", "{\"format\": 7}");
    refused(&stage, &["plan"], &["format 7", "update trunnion"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_lock_names_its_holder_without_environment_variables() {
    let sandbox = SandboxProcess::start_friendly(&["--speed", "0.1"]);
    let stage = Stage::with("minimal").at(&sandbox);
    let (mut child, _said) = waiting_apply(&stage, "--default-signal=HUP");
    let lock: Value = serde_json::from_slice(&fs::read(stage.path(".trunnion/minimal.lock")).unwrap()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let uid = std::process::Command::new("id").arg("-un").output().unwrap();
    assert_eq!(lock["owner"], String::from_utf8(uid.stdout).unwrap().trim());
}

/// The output of a command on a terminal with this number of columns, without styles.
#[cfg(target_os = "linux")]
fn on_a_terminal(stage: &Stage, columns: u32, command: &str) -> Vec<String> {
    let mut script = stage.command(&[]);
    let environment: Vec<_> =
        script.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    script = std::process::Command::new("script");
    script.env_clear().envs(environment).current_dir(stage.path("")).stdin(Stdio::null());
    script.env("TRUNNION", binary("trunnion"));
    let line = format!("stty cols {columns} rows 24; exec \"$TRUNNION\" {command} --color never");
    let output = script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shown}");
    shown.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn only_output_on_a_terminal_is_wrapped() {
    let stage = Stage::with("minimal");
    stage.succeed(&["apply", "--yes"]);
    for command in ["plan --sandbox", "show --sandbox", "plan --sandbox --destroy"] {
        let shown = on_a_terminal(&stage, 60, command);
        let widest = shown.iter().map(|line| line.chars().count()).max();
        assert!(widest <= Some(60), "{shown:#?}");
        assert!(shown.iter().any(|line| line.starts_with("    ")), "{shown:#?}");
    }
    let piped = stage.succeed(&["plan"]).stdout;
    assert!(piped.lines().any(|line| line.chars().count() > 100), "{piped}");
    let data = on_a_terminal(&stage, 60, "plan --sandbox --json");
    assert!(serde_json::from_str::<Value>(&data.join("\n")).is_ok(), "{data:#?}");
}
