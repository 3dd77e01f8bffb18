//! Hostile files: every one gives a mistake, never a panic or an endless wait.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "a test writes the files it reads")]

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use proptest::prelude::*;
use trunnion_stack::{Invalid, LoadOptions, Stack};

const STACK: &str = r#"stack: loadtest
region: eu-west-3
account: "123456789012"
generator: { spread: simulation, spread_except: [own-subnets, 10.0.0.0/8], metrics_port: 9464, metrics_from: [10.0.0.0/8] }
tags: &tags { team: performance, cost-center: "42" }
pools:
  heavy: { instance_type: c6in.32xlarge, zone: eu-west-3a, count: 4, interfaces: 8, addresses: 30, tracking: untracked }
control_plane:
  image: gatlingcorp/control-plane:2026.42.2
  token: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf
  ssh:
    private_key: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/ssh-AbCdEf
    public_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMGVH7KsOWsGmhAFfFG3n0Tz6F5O47qcMX94zGVJZA1E gatling
  zones: [eu-west-3a, eu-west-3b]
locations:
  prl_heavy_paris:
    pool: heavy
    description: |-
      Paris
environments:
  staging: { pools: { heavy: { count: 1 } }, tags: { <<: *tags } }
"#;

fn parse(text: &str, environment: Option<&str>) -> Result<Stack, Invalid> {
    Stack::parse(text, Path::new("loadtest.yaml"), environment, &LoadOptions::default())
}

fn load(path: &Path) -> Invalid {
    Stack::load(path, None, &LoadOptions::default()).unwrap_err()
}

#[track_caller]
fn only(invalid: &Invalid, code: &str) {
    let codes: Vec<_> = invalid.diagnostics().iter().map(|found| found.code).collect();
    assert_eq!(codes, [code], "{invalid:?}");
}

#[test]
fn pipes_and_directories_are_refused_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    only(&load(directory.path()), "stack::file");
    only(&load(&directory.path().join("missing.yaml")), "stack::file");
    only(&load(Path::new("/dev/zero")), "stack::file");
    let pipe = directory.path().join("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    only(&load(&pipe), "stack::file");
}

#[test]
fn a_huge_file_is_refused_before_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge.yaml");
    // A sparse terabyte: reading it would not end.
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    only(&load(&path), "stack::file");
}

#[test]
fn bytes_that_are_not_utf_8_are_reported_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("latin1.yaml");
    fs::write(&path, b"stack: loadtest\nregion: Z\xfcrich\n").unwrap();
    let invalid = load(&path);
    only(&invalid, "stack::not_utf8");
    assert_eq!(invalid.diagnostics()[0].line_and_column(), Some((2, 10)));
}

#[test]
fn a_thousand_mistakes_are_cut_off() {
    let keys: Vec<String> = (0..5000).map(|at| format!("key{at}: 1")).collect();
    let text = keys.join("\n");
    let invalid = parse(&text, None).unwrap_err();
    assert_eq!(invalid.diagnostics().len(), 100);
    assert_eq!(invalid.to_string(), "`loadtest.yaml` has 100 mistakes or more");
}

#[test]
fn large_files_are_read_in_linear_time() {
    let many = |line: &dyn Fn(usize) -> String| (0..20_000).map(line).collect::<Vec<_>>().join("\n");
    for text in [
        format!("stack: {}", "cpt_".repeat(200_000)),
        format!("stack: {}", "-----BEGIN ".repeat(90_000)),
        format!("stack: {}", "token: ".repeat(140_000)),
        format!("pools:\n{}", many(&|at| format!("  pool{at}: {{instance_type: c6in.{at}}}"))),
        format!("locations:\n{}", many(&|at| format!("  prl_{at}: {{pool: pool{at}}}"))),
        format!("pools: {{\"{}\": {{\n{}\n}}}}", "k".repeat(250), many(&|at| format!("k{at}: 1,"))),
        format!("{}: {{\n{}\n}}", "k".repeat(500_000), many(&|at| format!("k{at}: 1,"))),
        format!(
            "tags:\n{}\nenvironments:\n  staging:\n    tags:\n{}",
            many(&|at| format!("  t{at}: 1")),
            many(&|at| format!("      t{at}: 2"))
        ),
    ] {
        assert!(text.len() < 1 << 20);
        assert!(!parse(&text, Some("staging")).unwrap_err().diagnostics().is_empty());
    }
}

#[test]
fn no_control_character_of_a_file_reaches_the_terminal() {
    let text = "stack: \"a\\e[2J\"\nregion: x\u{202e}y\n\u{7}bell: \u{1b}[31m\n";
    let invalid = parse(text, None).unwrap_err();
    let mut drawn = String::new();
    for found in invalid.diagnostics() {
        let theme = miette::GraphicalTheme::unicode_nocolor();
        miette::GraphicalReportHandler::new_themed(theme).render_report(&mut drawn, found).unwrap();
    }
    assert!(!drawn.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{drawn}");
}

#[test]
fn the_unchanged_stack_has_no_mistake() {
    assert!(parse(STACK, None).is_ok() && parse(STACK, Some("staging")).is_ok());
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(text in "\\PC*", environment in proptest::option::of("[a-z]{0,3}")) {
        let _ = parse(&text, environment.as_deref());
    }

    #[test]
    fn no_yaml_like_text_causes_a_panic(text in "[-a-c:&*!<>|'\"{}\\[\\],#?%@` \t\r\n0-9.~é\u{feff}]{0,200}") {
        let _ = parse(&text, None);
    }

    #[test]
    fn no_change_of_a_stack_causes_a_panic(
        cuts in proptest::collection::vec((any::<proptest::sample::Index>(), 0..20_usize, "[-a-z:&*!<>|'\"{}\\[\\] \n\t0-9é]{0,6}"), 1..4),
        environment in proptest::option::of(Just("staging")),
    ) {
        let mut letters: Vec<char> = STACK.chars().collect();
        for (at, length, put) in cuts {
            let at = at.index(letters.len() + 1);
            let end = (at + length).min(letters.len());
            letters.splice(at..end, put.chars());
        }
        let text: String = letters.into_iter().collect();
        // Every mistake can be printed.
        let Err(invalid) = parse(&text, environment) else { return Ok(()) };
        prop_assert!(!invalid.diagnostics().is_empty());
        for found in invalid.diagnostics() {
            prop_assert!(found.help.is_some(), "{} has no help", found);
            let mut drawn = String::new();
            let theme = miette::GraphicalTheme::unicode_nocolor();
            prop_assert!(miette::GraphicalReportHandler::new_themed(theme).render_report(&mut drawn, found).is_ok());
        }
    }
}

#[test]
fn every_cut_and_every_changed_byte_gives_a_stack_or_a_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stack.yaml");
    let whole = STACK.as_bytes();
    let cuts = (0..whole.len()).map(|length| whole[..length].to_vec());
    let flips = (0..whole.len()).flat_map(|at| {
        [0x01, 0x20, 0x80].map(|bit| {
            let mut changed = whole.to_vec();
            changed[at] ^= bit;
            changed
        })
    });
    let mut valid = 0;
    for bytes in cuts.chain(flips) {
        let result = if let Ok(text) = std::str::from_utf8(&bytes) {
            parse(text, None)
        } else {
            // Only a file can hold it.
            fs::write(&path, &bytes).unwrap();
            Stack::load(&path, None, &LoadOptions::default())
        };
        match result {
            Ok(_) => valid += 1,
            Err(invalid) => assert!(!invalid.diagnostics().is_empty()),
        }
    }
    assert!(valid > 100, "{valid}");
}

#[test]
fn utf_16_is_named_in_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stack.yaml");
    let little: Vec<u8> = STACK.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = STACK.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for bytes in [[b"\xff\xfe".as_slice(), &little].concat(), [b"\xfe\xff".as_slice(), &big].concat(), little, big] {
        fs::write(&path, bytes).unwrap();
        let invalid = load(&path);
        only(&invalid, "stack::not_utf8");
        assert!(invalid.diagnostics()[0].message.ends_with("is UTF-16, but a stack file is UTF-8"), "{invalid:?}");
    }
    fs::write(&path, b"stack: \xfcber").unwrap();
    let invalid = load(&path);
    assert!(invalid.diagnostics()[0].help.as_ref().unwrap().contains("Latin-1"), "{invalid:?}");
}

#[test]
fn a_very_long_line_is_shown_around_its_mistake() {
    let long = "x".repeat(100_000);
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor()).with_width(100);
    for (name, text) in [
        ("a value", STACK.replace("team: performance", &format!("team: {long}"))),
        ("after it", STACK.replace("team: performance, cost-center", &format!("\"{long}\": y, cost-center"))),
        ("next to it", STACK.replace("count: 4,", &format!("count: four, # {long}\n    "))),
        ("in front", STACK.replace("count: 4,", &format!("image: {long}, count: four,"))),
    ] {
        let invalid = parse(&text, None).unwrap_err();
        for found in invalid.diagnostics() {
            let mut shown = String::new();
            handler.render_report(&mut shown, found).unwrap();
            assert!(shown.len() < 4_000, "{name}: {} bytes", shown.len());
            let (line, column) = found.line_and_column().unwrap();
            assert!(shown.contains(&format!("loadtest.yaml:{line}:{column}]")), "{name}: {line}:{column} in {shown}");
        }
    }
}
