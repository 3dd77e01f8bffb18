//! Tests of help, schemas and completions, and of the library without the command.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    path::PathBuf,
    process::{Command, Output},
};

fn trunnion(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trunnion")).env_clear().env("COLUMNS", "100").args(arguments).output().unwrap()
}

fn text(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_help_of_every_command() {
    let mut help = text(trunnion(&["--help"]));
    for command in [
        "validate",
        "plan",
        "preview",
        "apply",
        "destroy",
        "forget",
        "import",
        "show",
        "render",
        "permissions",
        "doctor",
        "drift",
        "sandbox",
        "schema",
        "completions",
    ] {
        help += "\n════ trunnion ";
        help += command;
        help += " --help\n\n";
        help += &text(trunnion(&[command, "--help"]));
    }
    insta::assert_snapshot!(help);
}

#[test]
fn the_schemas_in_the_repository_are_those_of_the_command() {
    for name in ["stack", "plan", "preview", "outcome", "event", "examination", "drift"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../schemas/{name}.schema.json"));
        let stored = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text(trunnion(&["schema", name])),
            stored,
            "update it: cargo run -- schema {name} > schemas/{name}.schema.json"
        );
    }
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(text(trunnion(&["completions", shell])).contains("trunnion"), "{shell}");
    }
}

#[test]
fn the_library_alone_plans_and_applies() {
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_trunnion"));
    let example = programs.with_file_name("examples").join("plan_and_apply");
    let folder = tempfile::tempdir().unwrap();
    let stack = folder.path().join("minimal.yaml");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../../stacks/minimal.yaml"), &stack).unwrap();
    let run = || Command::new(&example).arg(&stack).arg(folder.path().join("sandbox")).output().unwrap();
    let first = run();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let again = String::from_utf8(run().stderr).unwrap();
    assert!(again.contains("create: 0, update: 0, replace: 0, delete: 0"), "{again}");
    let source = include_str!("../../trunnion/examples/plan_and_apply.rs");
    assert!(source.lines().count() <= 40, "the example stays short");
}
