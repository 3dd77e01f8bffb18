//! Whole previews of common changes, as a reviewer sees them: `tests/previews/`.

use std::{fmt::Write as _, fs};

use serde_json::Value;
use trunnion_tests::{Stage, root};

fn stack(name: &str) -> String {
    fs::read_to_string(root().join(format!("stacks/{name}.yaml"))).unwrap()
}

/// The reference stack without its environments.
fn reference() -> String {
    stack("loadtest").split_once("\nenvironments:").unwrap().0.to_owned()
}

/// A repository whose branch `main` has these files, and whose working tree has others.
fn changed(before: &[(&str, String)], after: &[(&str, String)]) -> Stage {
    let stage = Stage::new("no: stack\n");
    fs::remove_file(stage.path("stack.yaml")).unwrap();
    stage.git(&["init", "--initial-branch=main"]);
    stage.write(".gitignore", "*-generator\n");
    let write = |files: &[(&str, String)]| {
        for (name, text) in files {
            fs::create_dir_all(stage.path(name).parent().unwrap()).unwrap();
            stage.write(name, text);
        }
    };
    write(before);
    stage.commit();
    write(after);
    stage
}

/// The preview as Markdown and as JSON, and the exit code. Each deletion and replacement of the JSON is in the Markdown.
fn preview(stage: &Stage, more: &[&str]) -> (String, Value, i32) {
    let mut names: Vec<String> =
        fs::read_dir(stage.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| std::path::Path::new(name).extension().is_some_and(|end| end == "yaml"));
    names.sort();
    let mut arguments = vec!["preview"];
    arguments.extend(names.iter().map(String::as_str));
    if !more.contains(&"--base") {
        arguments.extend(["--base", "main"]);
    }
    arguments.push("--offline");
    arguments.extend(more);
    let text = stage.run(&arguments);
    arguments.extend(["--format", "json"]);
    let json = stage.run(&arguments);
    let json: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|_| panic!("{}", json.stderr));
    for stack in json["stacks"].as_array().unwrap() {
        for change in stack["plan"]["compared"]["changes"].as_array().into_iter().flatten() {
            if change["action"] == "delete" || change["action"] == "replace" {
                has_address(&text.stdout, change["address"].as_str().unwrap());
            }
        }
    }
    assert!(text.stdout.chars().count() < 65_536, "{} characters", text.stdout.chars().count());
    (text.stdout, json, text.code)
}

/// Whether an address is in a text by itself, or in a range such as `instance.heavy[2…5]`.
#[track_caller]
fn has_address(text: &str, address: &str) {
    if text.contains(&format!("`{address}`")) {
        return;
    }
    let ranges = || -> Option<bool> {
        let (name, index) = address.strip_suffix(']')?.split_once('[')?;
        let index: usize = index.parse().ok()?;
        let start = format!("{name}[");
        let mut parts = text.split(&start);
        parts.next();
        Some(parts.any(|rest| {
            let inside = rest.split(']').next().unwrap_or_default();
            inside.split(", ").any(|part| match part.split_once('…') {
                Some((from, to)) => {
                    from.parse().is_ok_and(|from: usize| from <= index) && to.parse().is_ok_and(|to: usize| index <= to)
                }
                None => part.parse() == Ok(index),
            })
        }))
    };
    assert_eq!(ranges(), Some(true), "{address} is not in\n{text}");
}

/// Compares with the file of this name. What differs between machines and versions is replaced.
#[track_caller]
pub(crate) fn golden(name: &str, text: &str) {
    let mut shown = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let is_digit = |letter: char| letter.is_ascii_digit() || ('a'..='f').contains(&letter);
        let length = rest.find(|letter| !is_digit(letter)).unwrap_or(rest.len());
        let (digits, other) = rest.split_at(length);
        let is_digest = digits.len() >= 12 && digits.contains(|letter: char| letter.is_ascii_digit());
        shown += if is_digest && digits != "123456789012" { "DIGEST" } else { digits };
        let next = other.chars().next().map_or(0, char::len_utf8);
        shown += &other[..next];
        rest = &other[next..];
    }
    // The generator of a development build is linked dynamically, and lies somewhere else each time.
    let shown: String =
        shown.lines().filter(|line| !line.contains("is linked dynamically")).flat_map(|line| [line, "\n"]).collect();
    let path = root().join(format!("tests/previews/{name}.md"));
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        update(&path, &shown);
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differs = expected.lines().zip(shown.lines()).find(|(one, other)| one != other);
    assert!(expected == shown, "{name}: {differs:?} in\n{shown}\n`INSTA_UPDATE=always` writes {}", path.display());
}

#[expect(clippy::disallowed_methods, reason = "the files are for people to read and to commit")]
fn update(path: &std::path::Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn one(before: &str, after: &str) -> Stage {
    changed(&[("stack.yaml", before.to_owned())], &[("stack.yaml", after.to_owned())])
}

#[test]
fn common_changes() {
    let reference = reference();
    let edited = |from: &str, to: &str| {
        assert_eq!(reference.matches(from).count(), 1, "{from}");
        reference.replace(from, to)
    };
    let without_probe = {
        let (head, rest) = reference.split_once("  probe:\n    instance_type").unwrap();
        let (_, rest) = rest.split_once("\ncontrol_plane:").unwrap();
        let (middle, _) = rest.split_once("  prl_probe_paris:").unwrap();
        format!("{head}\ncontrol_plane:{middle}")
    };
    let budget = "\nbudget: { hourly: 40 }\n";
    let cases = [
        ("no-change", reference.clone(), 0),
        ("scale-up", edited("count: 4", "count: 6"), 0),
        ("type-change", edited("instance_type: c7i.xlarge", "instance_type: c7i.2xlarge"), 0),
        ("new-java", edited("java: 21", "java: 25"), 0),
        ("pool-removed", without_probe, 0),
        ("tags", edited("cost-center: quality", "cost-center: platform"), 0),
    ];
    for (name, after, code) in cases {
        let (text, _, found) = preview(&one(&reference, &after), &[]);
        assert_eq!(found, code, "{name}: {text}");
        golden(name, &text);
    }
    // The budget is that of the base, whatever the change says.
    let before = reference.clone() + budget;
    let stage = one(&before, &edited("count: 4", "count: 6"));
    let (text, _, code) = preview(&stage, &[]);
    assert_eq!(code, 1, "{text}");
    golden("over-budget", &text);
}

#[test]
fn policies_and_generators() {
    let minimal = stack("minimal");
    let policy = fs::read_to_string(root().join("policies/instances.rego")).unwrap();
    let files = [("stack.yaml", minimal.clone()), ("policies/instances.rego", policy)];
    let stage = changed(&files, &[("stack.yaml", minimal.replace("c7i.xlarge", "t3.xlarge"))]);
    let (text, _, code) = preview(&stage, &[]);
    assert_eq!(code, 1, "{text}");
    golden("policy-denied", &text);

    // Another generator binary, which the stack names.
    let mut program = vec![0_u8; 4096];
    program[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    program[18] = 62;
    let named = minimal.clone() + "\ngenerator: { binary: gatling-host }\n";
    let stage = changed(&[("stack.yaml", named)], &[]);
    stage.write("gatling-host", &program);
    stage.commit();
    program[4000] = 1;
    stage.write("gatling-host", &program);
    let (text, ..) = preview(&stage, &[]);
    golden("new-generator", &text);
}

#[test]
fn where_little_is_known() {
    let minimal = stack("minimal");
    let (text, json, code) = preview(&changed(&[], &[("stack.yaml", minimal.clone())]), &[]);
    assert_eq!((code, &json["stacks"][0]["base"]), (0, &Value::from("missing")));
    golden("first-stack", &text);
    let unpriced = |text: &str| text.replace("eu-west-3", "mx-central-1");
    let (text, ..) =
        preview(&one(&unpriced(&minimal), &unpriced(&minimal).replace("c7i.xlarge,", "c7i.xlarge, count: 2,")), &[]);
    assert!(text.contains("unpriced"), "{text}");
    golden("unpriced-region", &text);
    let stage = one(&minimal, &minimal.replace("c7i.xlarge,", "c7i.xlarge, count: 2,"));
    let (text, _, code) = preview(&stage, &["--base", "release"]);
    assert_eq!(code, 1, "{text}");
    golden("base-unreadable", &text);
    let stage = one("stack: [broken\n", &minimal);
    let (text, _, code) = preview(&stage, &[]);
    assert_eq!(code, 1, "{text}");
    golden("base-invalid", &text);
}

#[test]
fn a_hundred_stacks_of_which_sixty_changed() {
    let reference = reference();
    let stack_of = |number: usize| reference.replace("stack: loadtest", &format!("stack: team{number}"));
    let names: Vec<String> = (0..100).map(|number| format!("team{number:03}.yaml")).collect();
    let before: Vec<(&str, String)> =
        names.iter().enumerate().map(|(at, name)| (name.as_str(), stack_of(at))).collect();
    let after: Vec<(&str, String)> = before[..60]
        .iter()
        .enumerate()
        .map(|(at, (name, text))| {
            let change = [("count: 4", "count: 5"), ("c7i.xlarge", "c7i.2xlarge"), ("interfaces: 8", "interfaces: 7")];
            let (from, to) = change[at % 3];
            (*name, text.replace(from, to))
        })
        .collect();
    let (text, json, code) = preview(&changed(&before, &after), &[]);
    assert_eq!((code, json["stacks"].as_array().unwrap().len(), &json["unchanged"]), (0, 60, &Value::from(40)));
    assert!(text.contains("**60 stacks change") && text.contains("40 stacks are the same"), "{}", &text[..500]);
}

#[test]
fn a_stack_of_five_thousand_resources() {
    let mut large = stack("minimal");
    large.truncate(large.find("  small:").unwrap());
    for pool in 0..5 {
        let _ = writeln!(large, "  pool{pool}: {{ instance_type: c7i.xlarge, zone: eu-west-3a, count: 1000 }}");
    }
    large += stack("minimal").split_once("zone: eu-west-3a }\n").unwrap().1.split("locations:").next().unwrap();
    let stage = one(&large, &large.replacen("count: 1000", "count: 400", 3).replace("c7i.xlarge", "c7i.2xlarge"));
    let (text, json, _) = preview(&stage, &[]);
    let changes = json["stacks"][0]["plan"]["compared"]["changes"].as_array().unwrap();
    assert!(changes.len() > 5_000, "{}", changes.len());
    for expected in ["1800 to delete", "3200 to replace"] {
        assert!(text.contains(expected), "{expected} in {}", &text[..800]);
    }
}
