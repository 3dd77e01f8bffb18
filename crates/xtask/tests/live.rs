//! `cargo xtask live` against a sandbox process, and `cargo xtask replay` of what it wrote.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use trunnion_tests::{Ended, SandboxProcess, Stage};

/// The only account whose sandbox the tests use, so that it is recognised in a transcript.
const ACCOUNT: &str = "987654321098";

/// Values that identify a person, an account or a machine, as they come in a stack.
const PLANTED: [&str; 5] =
    [ACCOUNT, "alice", "git.example.org", "AAAAC3NzaC1lZDI1NTE5AAAAIEV4YW1wbGVLZXlOb3RG", "52.47.9.9"];

/// A stack on a machine whose generator is small, and a sandbox for it.
fn stage(sandbox: &SandboxProcess) -> Stage {
    let text = fs::read_to_string(trunnion_tests::root().join("stacks/minimal.yaml")).unwrap();
    let text = text.replace("123456789012", ACCOUNT).replace("1Njc4 gatling", "1Njc4 alice@laptop");
    let text =
        text.replace("\npools:", "\ntags: { owner: alice }\ngenerator: { metrics_from: [52.47.9.9/32] }\n\npools:");
    Stage::new(&text).on_a_machine_with(Some(&generator())).at(sandbox)
}

/// The start of a static Linux program for x86-64.
fn generator() -> Vec<u8> {
    let mut bytes = vec![0; 256];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16..20].copy_from_slice(&[2, 0, 62, 0]);
    bytes
}

fn sandbox(more: &[&str]) -> SandboxProcess {
    SandboxProcess::start(&[&["--account", ACCOUNT], more].concat())
}

/// A task in the folder of a stage, with the stage's variables and its build of `trunnion`.
fn xtask(stage: &Stage, arguments: &[&str]) -> Command {
    let trunnion = stage.command(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.current_dir(stage.path("")).env_clear().args(arguments).stdin(Stdio::null());
    command.arg("--program").arg(trunnion.get_program());
    for (name, value) in trunnion.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}

fn live(stage: &Stage, more: &[&str]) -> Ended {
    let arguments = ["live", "--stack", "stack.yaml", "--transcript", "live.jsonl"];
    Ended::of(&xtask(stage, &[&arguments, more].concat()).output().unwrap())
}

fn replay(stage: &Stage, transcript: &str, more: &[&str]) -> Ended {
    Ended::of(&xtask(stage, &[&["replay", transcript], more].concat()).output().unwrap())
}

/// Whether nothing of the stack is left.
fn is_empty(stage: &Stage) -> bool {
    stage.changes(&["--destroy"]).is_empty()
}

#[test]
fn a_live_run_leaves_nothing_and_its_transcript_has_no_secrets_and_replays() {
    let sandbox = sandbox(&[]);
    let stage = stage(&sandbox);
    let ended = live(&stage, &["--yes"]);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("It costs at most ") && ended.stdout.contains("1 host"), "{}", ended.stdout);
    assert!(is_empty(&stage));
    let text = fs::read_to_string(stage.path("live.jsonl")).unwrap();
    for planted in PLANTED {
        let found = text.lines().find(|line| line.contains(planted));
        assert_eq!(found, None, "`{planted}` is in the transcript");
    }
    // What is encoded must be clean, too: user data, and policies in IAM's answers.
    let mut opened = 0;
    for word in text.split(|character: char| !(character.is_ascii_alphanumeric() || "+/=".contains(character))) {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let decoded = BASE64_STANDARD.decode(word).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(decoded) = decoded.filter(|_| word.len() > 100) {
            opened += 1;
            assert!(!PLANTED.iter().any(|planted| decoded.contains(planted)), "{decoded}");
        }
    }
    assert!(opened > 0, "no user data was found");
    assert!(text.contains("111122223333") && text.contains("example.test/home"));

    let same = replay(&stage, "live.jsonl", &[]);
    assert_eq!(same.code, 0, "{}\n{}", same.stdout, same.stderr);
    assert!(same.stdout.contains("no difference"), "{}", same.stdout);
    a_late_end_is_no_difference(&stage, &text);
    differences_are_listed(&stage, &text);
    bad_transcripts_are_refused(&stage, &text);
}

/// The last reads still show roles that were deleted.
fn a_late_end_is_no_difference(stage: &Stage, text: &str) {
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for operation in ["iam:ListRoles", "iam:GetRole"] {
        let is_shown = |line: &&Value| line["operation"] == operation && line["status"] == 200;
        let shows_role = |line: &&Value| line["answer"]["text"].as_str().unwrap().contains("<RoleName>");
        let shown = lines.iter().filter(is_shown).find(shows_role).unwrap().clone();
        lines.push(shown);
    }
    let late: Vec<String> = lines.iter().map(Value::to_string).collect();
    stage.write("late.jsonl", late.join("\n") + "\n");
    let ended = replay(stage, "late.jsonl", &[]);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("because AWS still showed what it showed before"), "{}", ended.stdout);
}

/// Changes the answer to the first successful call of an operation, as text or as a document.
fn plant(lines: &mut [Value], operation: &str, change: impl Fn(&mut Value)) {
    let call = lines.iter_mut().find(|line| line["operation"] == operation && line["status"] == 200);
    change(call.unwrap_or_else(|| panic!("there is no {operation}")));
}

fn in_text(from: &'static str, to: &'static str) -> impl Fn(&mut Value) {
    move |call| {
        let text = call["answer"]["text"].as_str().unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        call["answer"]["text"] = Value::from(text.replacen(from, to, 1));
    }
}

fn differences_are_listed(stage: &Stage, text: &str) {
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    plant(&mut lines, "ec2:DescribeVpcs", in_text("<state>available</state>", "<state>broken</state>"));
    plant(&mut lines, "ec2:CreateSecurityGroup", in_text("<return>true</return>", "<return>false</return>"));
    plant(&mut lines, "ec2:DescribeImages", in_text("<architecture>x86_64</architecture>", ""));
    plant(&mut lines, "iam:CreateRole", in_text("<RoleName>", "<Planted>1</Planted><RoleName>"));
    plant(&mut lines, "sts:GetCallerIdentity", in_text("<Account>111122223333</Account>", "<Account>x</Account>"));
    plant(&mut lines, "ecs:CreateService", |call| {
        call["answer"]["json"]["service"]["launchType"] = json!("EXTERNAL");
    });
    plant(&mut lines, "ecs:RegisterTaskDefinition", |call| {
        call["answer"]["json"]["taskDefinition"]["revision"] = json!("one");
    });
    // In one answer alone, AWS would only be late.
    for call in lines.iter_mut().filter(|line| line["operation"] == "ssm:GetParameters") {
        call["answer"]["json"]["Parameters"].as_array_mut().unwrap().clear();
    }
    plant(&mut lines, "s3:PutBucketEncryption", |call| call["status"] = json!(204));
    plant(&mut lines, "s3:PutObject", |call| {
        call["answer_headers"]["x-amz-planted"] = json!("1");
    });
    let missing = lines.iter_mut().find(|line| line["operation"] == "iam:GetRole" && line["status"] == 404).unwrap();
    in_text("NoSuchEntity", "NoSuchRole")(missing);
    let planted: Vec<String> = lines.iter().map(Value::to_string).collect();
    stage.write("planted.jsonl", planted.join("\n") + "\n");
    let ended = replay(stage, "planted.jsonl", &["--json", "--patience", "2000"]);
    assert_eq!(ended.code, 1, "{}\n{}", ended.stdout, ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let mut found: Vec<String> = report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            let text = |name: &str| found[name].as_str().unwrap();
            format!("{} {} {} {} / {}", text("operation"), text("kind"), text("path"), text("aws"), text("sandbox"))
        })
        .collect();
    found.sort();
    let expected = [
        "ec2:CreateSecurityGroup value return false / true",
        "ec2:DescribeImages member imagesSet[].architecture does not send it / does",
        "ec2:DescribeVpcs value vpcSet[].state broken / available",
        "ecs:CreateService value service.launchType EXTERNAL / FARGATE",
        "ecs:RegisterTaskDefinition type taskDefinition.revision a text / a number",
        "iam:CreateRole member CreateRoleResult.Role.Planted sends it / does not",
        "iam:GetRole error  NoSuchRole / NoSuchEntity",
        "s3:PutBucketEncryption status  204 / 200",
        "s3:PutObject header x-amz-planted sends it / does not",
        "ssm:GetParameters items Parameters[] no item / 1 item",
        "sts:GetCallerIdentity type GetCallerIdentityResult.Account a text / a number in a text",
    ];
    assert_eq!(found, expected);
}

/// The same call with another path.
fn with_path(call: &str, path: &str) -> String {
    let mut call: Value = serde_json::from_str(call).unwrap();
    call["path"] = json!(path);
    call.to_string()
}

fn bad_transcripts_are_refused(stage: &Stage, text: &str) {
    let header = text.lines().next().unwrap();
    let call = text.lines().nth(1).unwrap();
    let cases = [
        (String::new(), "has no calls"),
        (format!("{header}\n"), "has no calls"),
        (format!("{call}\n"), "line 1 of `bad.jsonl` does not start a transcript"),
        (format!("{header}\n{}", call.get(..call.len() / 2).unwrap()), "line 2 of `bad.jsonl` is cut off"),
        (format!("{header}\n{{}}\n"), "line 2 of `bad.jsonl` is no call: missing field"),
        (
            format!("{}\n{call}\n", header.replace("transcript/1", "transcript/2")),
            "has the format `trunnion-transcript/2`",
        ),
        (format!("{header}\n☃ {call}\n"), "line 2 of `bad.jsonl` is no call"),
        (format!("{header}\n{}\n", with_path(call, "/a b\u{7f}")), "line 2 of `bad.jsonl`: "),
    ];
    for (text, expected) in cases {
        stage.write("bad.jsonl", text);
        let ended = replay(stage, "bad.jsonl", &[]);
        assert_eq!(ended.code, 1, "{expected}");
        assert!(ended.said().contains(expected), "{expected}: {}", ended.stderr);
    }
    // Bytes that are not UTF-8, and a huge line.
    stage.write("bad.jsonl", [header.as_bytes(), b"\n\xff\xfe\n"].concat());
    assert!(replay(stage, "bad.jsonl", &[]).said().contains("line 2 of `bad.jsonl` is no call"));
    stage.write("bad.jsonl", format!("{header}\n{}\n", "x".repeat(33 * 1024 * 1024)));
    assert!(replay(stage, "bad.jsonl", &[]).said().contains("line 2 of `bad.jsonl` is longer than"));
    assert!(replay(stage, "absent.jsonl", &[]).said().contains("`absent.jsonl` cannot be read"));
}

#[test]
fn nothing_is_created_without_consent_or_for_a_stack_that_is_not_small_and_new() {
    let sandbox = sandbox(&[]);
    let stage = stage(&sandbox);
    let refused = |more: &[&str], expected: &str| {
        let _ = fs::remove_file(stage.path("live.jsonl"));
        let ended = live(&stage, more);
        assert_eq!(ended.code, 1, "{}", ended.stdout);
        assert!(ended.said().contains(expected), "{}", ended.stderr);
        ended
    };
    assert!(refused(&[], "nobody agreed, so nothing was created").stdout.contains("It costs at most"));
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 4 }");
    refused(&["--yes"], "the stack has 4 hosts, and this run allows 3");
    stage.edit("zone: eu-west-3a, count: 4 }", "zone: eu-west-3a }");
    stage.edit("c7i.xlarge", "m5a.xlarge");
    refused(&["--yes"], "the price of `m5a.xlarge` is not known");
    stage.edit("m5a.xlarge", "c7i.xlarge");
    stage.edit("owner: alice", "trunnion-live: here");
    refused(&["--yes"], "has a tag `trunnion-live` already");
    stage.edit("trunnion-live: here", "owner: alice");
    assert_eq!(sandbox.changing_calls(), BTreeMap::new());
    let folder: Vec<_> = fs::read_dir(stage.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!folder.iter().any(|name| name.to_string_lossy().starts_with(".live-")), "{folder:?}");

    stage.succeed(&["apply", "--yes", "--no-wait"]);
    refused(&["--yes"], "exists already, and this run ends with a destroy");
    assert!(!is_empty(&stage));
    // The transcript of that run stays.
    let again = live(&stage, &["--yes"]);
    assert!(again.said().contains("live.jsonl` exists: name another file"), "{}", again.stderr);
}

#[test]
fn a_failed_apply_is_destroyed_and_the_step_is_named() {
    let sandbox = sandbox(&[]);
    let stage = stage(&sandbox);
    let error = json!({"error": {"code": "InsufficientInstanceCapacity", "status": 500}});
    sandbox.faults(&json!([{"operation": "ec2:RunInstances", "times": 100, "effect": error}]));
    let ended = live(&stage, &["--yes"]);
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    assert!(ended.said().contains("apply: `trunnion apply --yes` ended with exit code 1"), "{}", ended.stderr);
    assert!(ended.said().contains("Everything was destroyed, and nothing is left"), "{}", ended.stderr);
    assert!(is_empty(&stage));
}

#[test]
fn what_cannot_be_destroyed_is_named() {
    let sandbox = sandbox(&[]);
    let stage = stage(&sandbox);
    let error = json!({"error": {"code": "UnauthorizedOperation", "status": 403}});
    sandbox.faults(&json!([{"operation": "ec2:DeleteSecurityGroup", "times": 1000, "effect": error}]));
    let ended = live(&stage, &["--yes"]);
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    for expected in ["destroy: these resources are left", "security_group.generator", "trunnion destroy stack.yaml"] {
        assert!(ended.said().contains(expected), "{}", ended.stderr);
    }
    sandbox.faults(&json!([]));
    stage.succeed(&["destroy", "--yes"]);
}

/// Sends a signal to a process.
fn signal(name: &str, id: u32) {
    assert!(Command::new("kill").args([name, &id.to_string()]).status().unwrap().success());
}

/// The ids of the processes whose parent is this one.
fn children(parent: u32) -> Vec<u32> {
    let list = fs::read_to_string(Path::new("/proc").join(parent.to_string()).join(format!("task/{parent}/children")));
    list.unwrap().split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn an_interrupted_run_and_a_killed_step_are_destroyed() {
    for kill in [false, true] {
        let sandbox = sandbox(&[]);
        let stage = stage(&sandbox);
        let arguments = ["live", "--stack", "stack.yaml", "--transcript", "live.jsonl", "--yes"];
        let mut command = xtask(&stage, &arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(": created") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0);
        }
        if kill {
            for step in children(child.id()) {
                signal("-KILL", step);
            }
        } else {
            signal("-TERM", child.id());
        }
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
        let why = if kill { "`trunnion apply --yes` was killed" } else { "apply: interrupted" };
        assert!(rest.contains(why), "{rest}");
        assert!(rest.contains("Everything was destroyed, and nothing is left"), "{rest}");
        assert!(is_empty(&stage));
    }
}
