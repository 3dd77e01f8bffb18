//! The binary as a host runs it.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and writes its own files")]

use std::{
    path::Path,
    process::{Command, Output},
};

const CONFIG: &str = r#"{
  "format": 2,
  "stack": "loadtest",
  "pool": "heavy",
  "instance_type": "c6in.32xlarge",
  "java": 21,
  "interfaces": 8,
  "addresses": 30,
  "tracking": "untracked",
  "ports": { "first": 1024, "last": 65535 },
  "connections": { "per_destination": 15482880, "total": 15482880 },
  "descriptors": 15482880,
  "spread": { "mode": "kernel", "except": ["own-subnets", "18.98.64.240/29"] },
  "metrics_port": 9464,
  "executable_dir": "/var/lib/gatling",
  "ssh": { "user": "gatling", "authorized_keys": ["ssh-ed25519 AAAA gatling"] },
  "reserved_ports": [9100]
}"#;

fn run(arguments: &[&str], config: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunnion-generator"));
    command.args(arguments);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8], directory: &Path) -> String {
    String::from_utf8(bytes.to_vec())
        .unwrap()
        .replace(env!("CARGO_PKG_VERSION"), "<version>")
        .replace(&directory.display().to_string(), "<directory>")
}

#[test]
fn the_promise_is_printed_as_text() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("generator.json");
    std::fs::write(&config, CONFIG).unwrap();
    let output = run(&["report"], Some(&config));
    assert!(output.status.success());
    insta::assert_snapshot!(text(&output.stdout, directory.path()), @r"
    trunnion-generator <version>
    stack       loadtest
    pool        heavy, c6in.32xlarge
    interfaces  8
    addresses   30 on each interface, 240 in all
    tracking    untracked
    ports       1024 to 65535 of each address, without 9100
    connections 15482880 to one destination, 15482880 in all
    spread      kernel
    metrics     port 9464
    metadata    closed to simulations
    java        21
    ssh         user gatling, 1 authorised key
    ");
}

#[test]
fn the_promise_is_printed_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("generator.json");
    std::fs::write(&config, CONFIG).unwrap();
    let output = run(&["report", "--json"], Some(&config));
    assert!(output.status.success());
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["config"], serde_json::from_str::<serde_json::Value>(CONFIG).unwrap());
    assert_eq!(document["all_addresses"], 240);
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn an_invalid_config_is_an_error_with_its_cause() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("generator.json");
    let missing = run(&["report"], Some(&config));
    std::fs::write(&config, CONFIG.replace("\"java\"", "\"jva\"")).unwrap();
    let misspelt = run(&["report"], Some(&config));
    std::fs::write(&config, CONFIG.replace("own-subnets", "own_subnets")).unwrap();
    let no_range = run(&["report"], Some(&config));
    std::fs::write(&config, " ".repeat(70_000)).unwrap();
    let endless = run(&["report"], Some(&config));
    for output in [&missing, &misspelt, &no_range, &endless] {
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
    }
    assert!(text(&missing.stderr, directory.path()).starts_with("error: cannot read `<directory>/generator.json`: "));
    insta::assert_snapshot!(text(&misspelt.stderr, directory.path()), @"error: `<directory>/generator.json` is not a valid config: unknown field `jva`, expected one of `format`, `stack`, `pool`, `instance_type`, `java`, `interfaces`, `addresses`, `tracking`, `ports`, `reserved_ports`, `connections`, `descriptors`, `spread`, `network`, `ipv6`, `metrics_port`, `executable_dir`, `ssh`, `metadata_access` at line 6 column 7");
    insta::assert_snapshot!(text(&no_range.stderr, directory.path()), @"error: `<directory>/generator.json` is not a valid config: invalid IP address syntax at line 13 column 58");
    insta::assert_snapshot!(text(&endless.stderr, directory.path()), @"error: `<directory>/generator.json` has more than 65536 bytes, which is too long for a config");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("generator.json");
    std::fs::write(&config, CONFIG).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut report = Command::new(env!("CARGO_BIN_EXE_trunnion-generator"));
    let output = report.args(["report", "--config"]).arg(&config).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}

#[test]
fn a_missing_config_is_an_error_with_help() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("generator.json");
    let missing = run(&["check"], Some(&config));
    std::fs::write(&config, CONFIG.replace("\"format\": 2", "\"format\": 1")).unwrap();
    let earlier = run(&["check"], Some(&config));
    insta::assert_snapshot!(text(&missing.stderr, directory.path()), @r"
    error: cannot read `<directory>/generator.json`: No such file or directory (os error 2)
    help: the boot template writes it: see /var/log/trunnion-boot.log, or name another file with --config
    ");
    insta::assert_snapshot!(text(&earlier.stderr, directory.path()), @r"
    error: the config has format 1, this binary reads format 2
    help: use the binary that the boot template downloaded: config and binary have the same version
    ");
}

#[test]
fn the_version_is_printed() {
    let output = run(&["--version"], None);
    assert_eq!(text(&output.stdout, Path::new("/nowhere")), "trunnion-generator <version>\n");
}
