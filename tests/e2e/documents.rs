//! Checks the documents: links lead to existing files and headings, the commands shown exist, the plan shown is one
//! that `plan` shows, messages match the sources, and the diagram of the crates matches Cargo's metadata.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use trunnion_tests::{Stage, binary, packages, root};

fn documents() -> Vec<PathBuf> {
    let at_top = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "crates/README.md"].map(|name| root().join(name));
    let folder = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let documents: Vec<PathBuf> = at_top.into_iter().chain(folder).collect();
    assert!(documents.len() > 8, "{documents:?}");
    documents
}

/// The fragment of a link to a heading.
fn fragment(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars()
        .filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'))
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn every_link_has_a_target() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("http") {
                continue;
            }
            count += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            let leads = fs::read_to_string(&target).is_ok_and(|text| {
                heading.is_empty() || text.lines().any(|line| line.starts_with('#') && fragment(line) == heading)
            });
            if !leads {
                wrong.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(count > 10, "{count} links");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The text in backticks and in code blocks.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        } else if is_block {
            found.push(line.trim_start_matches("$ ").to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_command_in_the_documents_exists() {
    let mut wrong = Vec::new();
    let mut helps: BTreeMap<(String, String), Option<String>> = BTreeMap::new();
    let mut count = 0;
    for document in documents() {
        for shown in code(&fs::read_to_string(&document).unwrap()) {
            let words: Vec<&str> = shown.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
            let [program @ ("trunnion" | "trunnion-generator"), command, rest @ ..] = words.as_slice() else {
                continue;
            };
            // The name of a systemd unit, or a placeholder for any command.
            if !command.chars().all(|it| it.is_ascii_lowercase() || it == '-') || command.starts_with('-') {
                continue;
            }
            count += 1;
            let key = ((*program).to_owned(), (*command).to_owned());
            let help = helps.entry(key).or_insert_with(|| help(&binary(program), command));
            let has = |help: &String, flag: &str| {
                help.split(|it: char| !(it.is_alphanumeric() || it == '-')).any(|word| word == flag)
            };
            let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
            let unknown = |flag: &&&str| !help.as_ref().is_some_and(|help| has(help, &name(flag)));
            let flags = rest.iter().filter(|word| word.starts_with("--"));
            if help.is_none() || flags.filter(unknown).count() > 0 {
                wrong.push(format!("{}: {shown}", document.display()));
            }
        }
    }
    assert!(count > 20, "{count} commands");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn help(program: &Path, command: &str) -> Option<String> {
    let answer = Command::new(program).args([command, "--help"]).output().unwrap();
    answer.status.success().then(|| String::from_utf8(answer.stdout).unwrap())
}

/// The lines of a picture, without what differs from one sandbox to the next: the private addresses of hosts, and when the
/// stack was applied.
fn lines(picture: &str) -> Vec<String> {
    let without = |line: &str| {
        if let Some((_, by)) = line.strip_prefix("Last applied at ").and_then(|line| line.split_once(' ')) {
            return format!("Last applied {by}");
        }
        let mut parts = line.split("172.31.");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            text += "172.31.*";
            text += part.trim_start_matches(|it: char| it.is_ascii_digit() || it == '.');
        }
        text
    };
    picture.lines().map(without).collect()
}

#[test]
fn the_plan_in_the_readme_is_what_plan_shows() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown = readme.split("```").find_map(|block| block.trim_start().strip_prefix("$ trunnion ")).unwrap();
    let (command, picture) = shown.split_once('\n').unwrap();
    let arguments: Vec<&str> = command.split_whitespace().collect();
    let stage = Stage::with("loadtest");
    let file = arguments[1];
    fs::create_dir(stage.path(file).parent().unwrap()).unwrap();
    let stack = fs::read_to_string(stage.path("stack.yaml")).unwrap();
    stage.write(file, &stack);
    stage.succeed(&["apply", file, "--yes"]);
    let edited = stack.replacen("count: 4\n", "count: 5\n", 1);
    stage.write(file, edited.replacen("\"load.profile\": heavy", "\"load.profile\": light", 1));
    let planned = lines(&stage.run_with(&arguments, &[]).stdout);
    // It is shortened: what stands together in the picture stands together in the plan, and in the same order.
    let mut rest = planned.as_slice();
    for part in lines(picture).split(|line| matches!(line.trim(), "⋮" | "…")) {
        let at = rest.windows(part.len().max(1)).position(|lines| part.is_empty() || lines == part);
        let at = at.unwrap_or_else(|| panic!("{part:#?}\nis not in\n{planned:#?}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn cargo_run_starts_trunnion() {
    let defaults: Vec<Value> = packages().iter().map(|package| package["default_run"].clone()).collect();
    assert_eq!(defaults.iter().filter(|run| **run == "trunnion").count(), 1, "{defaults:?}");
}

/// The dependencies between the crates of the workspace, from `cargo metadata`, each as `crate --> dependency`.
fn arrows() -> BTreeSet<String> {
    let packages = packages();
    let short = |package: &Value| package["name"].as_str().unwrap().trim_start_matches("trunnion-").to_owned();
    let ours: BTreeSet<String> = packages.iter().map(short).collect();
    let uses = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter().filter(|used| used["kind"].is_null());
        all.filter(|used| used["path"].is_string()).map(short).filter(|name| ours.contains(name)).collect::<Vec<_>>()
    };
    let arrows = packages.iter().map(|package| (short(package), uses(package))).filter(|(_, used)| !used.is_empty());
    arrows.flat_map(|(name, used)| used.into_iter().map(move |used| format!("{name} --> {used}"))).collect()
}

#[test]
fn the_diagram_of_the_crates_matches_cargo() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let diagram = text.split("```mermaid\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let lines = diagram.lines().filter_map(|line| line.trim().split_once(" --> "));
    let drawn = lines.flat_map(|(name, used)| used.split(" & ").map(move |used| format!("{name} --> {used}")));
    assert_eq!(drawn.collect::<BTreeSet<_>>(), arrows());
}

#[test]
fn the_library_does_not_depend_on_clap_aya_or_a_server() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.args(["tree", "--offline", "--locked", "--package", "trunnion", "--edges", "normal", "--prefix", "none"]);
    let answer = tree.args(["--format", "{p} {f}"]).current_dir(root()).output().unwrap();
    let tree = String::from_utf8(answer.stdout).unwrap();
    assert!(tree.contains("trunnion-engine"), "{tree}");
    for (package, feature) in [("aya", ""), ("clap", ""), ("rtnetlink", ""), ("s3s", ""), ("hyper", "server")] {
        let is_it = |line: &&str| line.starts_with(&format!("{package} v")) && line.contains(feature);
        assert_eq!(tree.lines().find(is_it), None);
    }
}

/// Collects the text of all source files. String literals over several lines are joined.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = source.split("\\\n").collect();
            text.extend(lines.iter().enumerate().map(|(at, part)| if at == 0 { *part } else { part.trim_start() }));
        }
    }
}

#[test]
fn messages_in_troubleshooting_exist_in_the_sources() {
    const SHORTEST: usize = 8;
    let mut text = String::new();
    sources(&root().join("crates"), &mut text);
    let document = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let parts =
        rows.flat_map(|row| row.split(['…', '`'])).map(|part| part.trim().trim_end_matches([',', ':', ';', '(', ')']));
    let parts: Vec<&str> = parts.filter(|part| part.len() >= SHORTEST).collect();
    assert!(parts.len() > 20, "{parts:?}");
    let unknown: Vec<&&str> = parts.iter().filter(|part| !text.contains(**part)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}
