//! What hosts boot: machines with different generators beside `trunnion`, and stacks applied by earlier versions.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;
use trunnion_tests::{Ended, SandboxProcess, Stage, root};

/// A file that `trunnion` accepts as a generator binary: the start of an ELF file for `x86_64`, and the name of the
/// build.
fn generator(build: &str) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (bytes[16], bytes[18]) = (3, 62);
    [&bytes, build.as_bytes()].concat()
}

/// `sha256sum` of [`generator`] `a` and `b`.
const A: &str = "95c2cb8cf640b7313101c0944aeeea2aa4df87433493a31fdbc2e2cfab53ada5";
const B: &str = "076bb60886fd588f2344892a38d69a97299b8c61f544aeca5c89c591aa6a528a";

/// The reference stack on a separate machine.
fn machine(generator: Option<&str>) -> Stage {
    let bytes = generator.map(self::generator);
    Stage::with("loadtest").on_a_machine_with(bytes.as_deref())
}

fn laptop(data: &TempDir, generator: Option<&str>) -> Stage {
    machine(generator).with_sandbox_data(data.path())
}

/// The data of a sandbox to which the machine with generator `a` applied the reference stack, and that machine.
fn applied() -> (TempDir, Stage) {
    let data = tempfile::tempdir().unwrap();
    let first = laptop(&data, Some("a"));
    first.converge(&[]);
    (data, first)
}

const NEW_CONF: [&str; 2] = ["replace ecs_task_definition.control_plane", "update ecs_service.control_plane"];

fn heavy(action: &str) -> Vec<String> {
    (0..4).map(|host| format!("{action} instance.heavy[{host}]")).collect()
}

fn expect(stage: &Stage, more: &[&str], expected: &[&[&str]], hosts: &[String]) {
    let mut expected: Vec<String> = expected.concat().into_iter().map(str::to_owned).chain(hosts.to_vec()).collect();
    let mut found = stage.changes(more);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

const NOTHING: &[&[&str]] = &[];

/// The messages of a plan's notes about generators.
fn notes(stage: &Stage) -> Vec<String> {
    let document: Value = serde_json::from_str(&stage.succeed(&["plan", "--json"]).stdout).unwrap();
    let notes = document["remarks"]["notes"].as_array().unwrap().iter();
    let ours = notes.filter(|note| note["code"] == "plan::generator");
    ours.map(|note| note["message"].as_str().unwrap().to_owned()).collect()
}

/// The record of an address in the state.
fn recorded(stage: &Stage, address: &str) -> Value {
    let shown: Value = serde_json::from_str(&stage.succeed(&["show", "--json"]).stdout).unwrap();
    shown["state"]["resources"][address].clone()
}

fn refused(stage: &Stage, arguments: &[&str], expected: &[&str]) {
    let Ended { code, stdout, stderr } = stage.run(arguments);
    assert_eq!(code, 1, "{arguments:?}\n{stdout}\n{stderr}");
    // The message may be broken into lines.
    let said = stderr.replace("\n  │", "").split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in expected {
        assert!(said.contains(expected), "`{expected}` in\n{stderr}");
    }
}

#[test]
fn another_machine_changes_nothing_and_notes_its_newer_generator() {
    let (data, first) = applied();
    assert_eq!(notes(&first), Vec::<String>::new());
    let second = laptop(&data, Some("b"));
    expect(&second, &[], NOTHING, &[]);
    let [note] = &notes(&second)[..] else { panic!("expected one note") };
    for expected in ["`heavy`", "`probe`", &A[..12], &B[..12]] {
        assert!(note.contains(expected), "{expected} in {note}");
    }
    let plan = second.succeed(&["plan"]).stdout;
    assert!(plan.contains("--update-generator") && plan.contains("No changes"), "{plan}");
    assert!(!plan.contains("dynamic"), "{plan}");

    // An apply changes nothing either, with a state and without one.
    let again = second.succeed(&["apply", "--yes", "-v"]);
    assert_eq!(again.calls().1, 0, "{}", again.stderr);
    expect(&second, &[], NOTHING, &[]);

    let taken = [
        "replace s3_object.generator[x86_64]",
        "update launch_template.heavy",
        "update launch_template.probe",
        "replace instance.probe[0]",
    ];
    expect(&second, &["--update-generator"], &[&taken, &NEW_CONF], &heavy("replace"));
    second.converge(&["--update-generator"]);
    assert_eq!(notes(&second), Vec::<String>::new());
    assert_eq!(notes(&first).len(), 1, "now the first machine has the other generator");
    expect(&first, &[], NOTHING, &[]);
}

#[test]
fn machines_share_a_state_in_a_bucket() {
    let sandbox = SandboxProcess::start(&[]);
    // This stack creates the bucket, in which the other stack keeps its state.
    Stage::with("minimal").at(&sandbox).on_a_machine_with(Some(&generator("a"))).converge(&[]);
    let with_state = |build| {
        let stage = machine(Some(build)).at(&sandbox);
        stage.edit("\npools:", "\nstate: s3://minimal-123456789012-eu-west-3/state\n\npools:");
        stage
    };
    let (first, second) = (with_state("a"), with_state("b"));
    first.converge(&[]);
    expect(&second, &[], NOTHING, &[]);
    let before = recorded(&first, "launch_template.heavy");
    second.succeed(&["apply", "--yes"]);
    assert_eq!(recorded(&first, "launch_template.heavy"), before, "the second machine does not rewrite the state");
}

#[test]
fn a_new_host_boots_the_generator_of_its_pool() {
    let (data, _first) = applied();
    for generator in [Some("b"), None] {
        let second = laptop(&data, generator);
        let from = if generator.is_some() { "count: 5" } else { "count: 6" };
        second.edit("count: 4", from);
        let host = if generator.is_some() { "instance.heavy[4]" } else { "instance.heavy[5]" };
        expect(&second, &[], &[&[&format!("create {host}")], &NEW_CONF], &[]);
        second.converge(&[]);
        let of = |address: &str| recorded(&second, address)["attributes"].clone();
        assert_eq!(of("launch_template.heavy")["version"], "1", "no new version was created");
        assert_eq!(of(host)["template"], of("instance.heavy[0]")["template"]);
        assert_eq!(of("launch_template.heavy")["boot"]["generator"], A);
    }
}

#[test]
fn a_changed_input_updates_only_its_pool() {
    let (data, first) = applied();
    let second = laptop(&data, Some("b"));
    second.edit("addresses: 15", "addresses: 14");
    let own = format!("create s3_object.generator[x86_64-{}]", &B[..12]);
    let probe = ["update launch_template.probe", "replace instance.probe[0]"];
    expect(&second, &[], &[&probe, &NEW_CONF, &[&own]], &[]);
    second.converge(&[]);
    let [note] = &notes(&second)[..] else { panic!("expected one note") };
    assert!(note.contains("`heavy`") && !note.contains("`probe`"), "{note}");

    // The first machine agrees after the same edit.
    first.edit("addresses: 15", "addresses: 14");
    expect(&first, &[], NOTHING, &[]);

    let rest = ["update launch_template.heavy", "delete s3_object.generator[x86_64]"];
    expect(&second, &["--update-generator"], &[&rest, &NEW_CONF], &heavy("replace"));
    second.converge(&["--update-generator"]);
    expect(&first, &[], NOTHING, &[]);

    // An edit that does not affect the boot changes no boot.
    second.edit("volume_gib: 100", "volume_gib: 101");
    second.succeed(&["apply", "--yes"]);
    first.edit("volume_gib: 100", "volume_gib: 101");
    expect(&first, &[], NOTHING, &[]);
    first.edit("java: 21", "java: 25");
    let all = [
        "replace s3_object.generator[x86_64]",
        "update launch_template.heavy",
        "update launch_template.probe",
        "replace instance.probe[0]",
    ];
    let found = first.changes(&[]);
    assert!(found.contains(&"update launch_template.heavy".to_owned()), "{found:?} and not only {all:?}");
    first.converge(&[]);
    assert_eq!(recorded(&first, "launch_template.heavy")["attributes"]["boot"]["generator"], A);
}

#[test]
fn a_new_pool_boots_the_newest_and_other_pools_keep_theirs() {
    let (data, _first) = applied();
    let second = laptop(&data, Some("b"));
    second.edit("\ncontrol_plane:", "  extra:\n    instance_type: c7i.xlarge\n    zone: eu-west-3c\n\ncontrol_plane:");
    second.edit("\nlocations:\n", "\nlocations:\n  prl_extra: { pool: extra }\n");
    let own = format!("create s3_object.generator[x86_64-{}]", &B[..12]);
    let extra =
        ["create launch_template.extra", "create instance.extra[0]", "update security_group.control_plane", &own];
    expect(&second, &[], &[&extra, &NEW_CONF], &[]);
    second.converge(&[]);
    let boot = |pool: &str| recorded(&second, &format!("launch_template.{pool}"))["attributes"]["boot"].clone();
    assert_eq!((boot("extra")["generator"].as_str(), boot("heavy")["generator"].as_str()), (Some(B), Some(A)));
}

#[test]
fn no_binary_is_needed_after_the_first_apply() {
    let data = tempfile::tempdir().unwrap();
    let none = laptop(&data, None);
    let valid = none.succeed(&["validate"]);
    assert!(
        valid.stderr.contains("does not exist") && valid.stderr.contains("cargo xtask generator"),
        "{}",
        valid.stderr
    );
    refused(&none, &["plan"], &["`heavy`", "does not exist", "cargo xtask generator"]);
    laptop(&data, Some("a")).converge(&[]);
    expect(&none, &[], NOTHING, &[]);
    assert_eq!(notes(&none), Vec::<String>::new());
    none.succeed(&["apply", "--yes"]);
    none.edit("generator:\n", "generator:\n  binary: dist/nowhere\n");
    expect(&none, &[], NOTHING, &[]);
    refused(&none, &["plan", "--update-generator"], &["`heavy`", "dist/nowhere` does not exist"]);
    none.edit("java: 21", "java: 25");
    refused(&none, &["apply", "--yes"], &["`heavy`", "dist/nowhere` does not exist", "cargo xtask generator"]);
    none.write("wrong", generator("x").into_iter().map(|byte| if byte == 62 { 183 } else { byte }).collect::<Vec<_>>());
    none.edit("dist/nowhere", "wrong");
    refused(&none, &["validate"], &["is built for arm64"]);
    none.edit("wrong", "nowhere");
    none.succeed(&["destroy", "--yes"]);
}

#[test]
fn a_stack_can_set_the_digest_of_its_generator() {
    let (data, first) = applied();
    let name = |stage: &Stage, sha256: &str| stage.edit("generator:\n", &format!("generator:\n  sha256: {sha256}\n"));
    // The stack can name the running binary, which the bucket holds.
    let none = laptop(&data, None);
    name(&none, A);
    expect(&none, &[], NOTHING, &[]);
    none.edit("addresses: 15", "addresses: 14");
    expect(&none, &[], &[&["update launch_template.probe", "replace instance.probe[0]"], &NEW_CONF], &[]);
    none.converge(&[]);

    // A machine that has the bytes of another binary uses it. Machines without them refuse it.
    first.edit("addresses: 15", "addresses: 14");
    name(&first, B);
    refused(&first, &["plan"], &["`heavy`", A, B, "generator.sha256"]);
    let second = laptop(&data, Some("b"));
    second.edit("addresses: 15", "addresses: 14");
    name(&second, B);
    second.converge(&[]);
    expect(&first, &[], NOTHING, &[]);
    assert_eq!(recorded(&second, "launch_template.probe")["attributes"]["boot"]["generator"], B);
}

#[test]
fn a_target_keeps_the_binary_of_the_other_pools() {
    let (data, _first) = applied();
    let second = laptop(&data, Some("b"));
    let more = ["--update-generator", "--target", "launch_template.heavy"];
    let own = format!("create s3_object.generator[x86_64-{}]", &B[..12]);
    expect(&second, &more, &[&[&own, "update launch_template.heavy"]], &[]);
    second.succeed(&[&["apply", "--yes"][..], &more].concat());
    expect(&second, &[], &[&NEW_CONF], &heavy("replace"));
    second.converge(&[]);
    assert_eq!(recorded(&second, "s3_object.generator[x86_64]")["attributes"]["sha256"], A);
    expect(&second, &["--target", "s3_object.generator"], NOTHING, &[]);
}

#[test]
fn an_interrupted_update_keeps_both_binaries_until_the_next_run() {
    let sandbox = SandboxProcess::start(&[]);
    let on = |build| {
        let stage = machine(Some(build)).at(&sandbox);
        stage.edit("count: 4", "count: 1");
        stage
    };
    on("a").converge(&[]);
    let second = on("b");
    // Both binaries then have the same address, and each pool names one of them.
    let fault = serde_json::json!([{
        "operation": "ec2:CreateLaunchTemplateVersion", "nth": 2,
        "effect": {"error": {"status": 403, "code": "UnauthorizedOperation"}},
    }]);
    sandbox.faults(&fault);
    let ended = second.run(&["apply", "--yes", "--update-generator"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    sandbox.faults(&serde_json::json!([]));
    let both = second.changes(&[]);
    assert!(both.iter().all(|change| !change.contains("s3_object")), "{both:?}");
    second.converge(&[]);
    second.converge(&["--update-generator"]);
    assert_eq!(notes(&second), Vec::<String>::new());
}

#[test]
fn a_saved_plan_needs_the_generator_that_it_was_made_with() {
    let (data, first) = applied();
    let second = laptop(&data, Some("b"));
    second.succeed(&["plan", "--update-generator", "--out", "update.json"]);
    first.write("update.json", fs::read(second.path("update.json")).unwrap());
    refused(&first, &["apply", "update.json", "--yes"], &["is out of date", "its generator binary"]);
    refused(&second, &["apply", "update.json", "--yes", "--update-generator"], &["already contains"]);
    second.succeed(&["apply", "update.json", "--yes"]);
    expect(&second, &[], NOTHING, &[]);
}

/// A sandbox with the data of the first version of Trunnion, and a stage with its stack file and, optionally, its
/// state.
fn upgraded(with_state: bool) -> (SandboxProcess, Stage, tempfile::TempDir) {
    let kept = root().join("tests/upgrade");
    let data = tempfile::tempdir().unwrap();
    copy(&kept.join("sandbox"), data.path());
    let sandbox = SandboxProcess::start(&["--data", data.path().to_str().unwrap()]);
    let stage = Stage::new(&fs::read_to_string(kept.join("stack.yaml")).unwrap()).at(&sandbox);
    if with_state {
        fs::create_dir(stage.path(".trunnion")).unwrap();
        stage.write(".trunnion/loadtest.json", fs::read(kept.join("state.json")).unwrap());
    }
    (sandbox, stage, data)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_stack_of_the_first_version_gets_a_home_and_a_conf_and_can_grow() {
    for with_state in [true, false] {
        let (_sandbox, stage, _data) = upgraded(with_state);
        // One location has JVM options, to which the conf adds one. All other changes are of tags: no host is replaced.
        let (conf, tags): (Vec<_>, Vec<_>) =
            stage.changes(&[]).into_iter().partition(|change| NEW_CONF.contains(&change.as_str()));
        assert_eq!(conf.iter().collect::<BTreeSet<_>>().len(), NEW_CONF.len(), "{conf:?}");
        assert!(tags.iter().all(|change| change.starts_with("update ")), "{tags:?}");
        // Without a state, nothing says whose the stack is: it is asked for once.
        if !with_state {
            assert_eq!(stage.run(&["apply", "--yes"]).code, 1);
        }
        stage.succeed(&[&["apply", "--yes"][..], if with_state { &[] } else { &["--take-over"] }].concat());
        expect(&stage, &[], NOTHING, &[]);
        assert_eq!(notes(&stage).len(), 1, "its generator is another one");
        let adopted = stage.succeed(&["apply", "--yes", "-v"]);
        assert_eq!(adopted.calls().1, 0, "{}", adopted.stderr);
        stage.edit("count: 4", "count: 5");
        expect(&stage, &[], &[&["create instance.heavy[4]"], &NEW_CONF], &[]);
        stage.converge(&[]);
        let of = |address: &str| recorded(&stage, address)["attributes"]["template"].clone();
        assert_eq!(of("instance.heavy[4]"), of("instance.heavy[0]"));
        let version = recorded(&stage, "launch_template.heavy")["attributes"]["version"].clone();
        assert_eq!(version, "1", "no new version was created");
        // One host of it takes the newest, and what the others boot stays.
        let own = ["--update-generator", "--target", "instance.probe"];
        stage.succeed(&[&["apply", "--yes"][..], &own].concat());
        // Its address may be another one by now.
        let changes = stage.changes(&[]);
        assert!(changes.iter().all(|change| NEW_CONF.contains(&change.as_str())), "{changes:?}");
        let [note] = &notes(&stage)[..] else { panic!("expected one note") };
        assert!(note.contains("`heavy`") && !note.contains("`probe`"), "{note}");
    }
}
