//! The policies of the folder `policies`, over plan documents of the reference stack and changes of them.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "files of this repository")]

use std::{fs, path::Path};

use serde_json::Value as Json;
use trunnion_engine::Document;
use trunnion_policy::{Policies, Severity, Verdict};

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn shipped() -> Policies {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let rego = names.filter(|name| Path::new(name).extension().is_some_and(|it| it == "rego"));
    Policies::parse(rego.map(|name| (format!("policies/{name}"), file(&format!("../../policies/{name}"))))).unwrap()
}

fn document(name: &str) -> Json {
    serde_json::from_str(&file(&format!("tests/documents/{name}.json"))).unwrap()
}

/// A document with values replaced: in one change, or in the whole document. `null` removes.
fn edited(case: &Json) -> Json {
    let mut document = document(case["document"].as_str().unwrap());
    for edit in case["edits"].as_array().unwrap() {
        let (of, at) = (edit["of"].as_str().unwrap(), edit["at"].as_str().unwrap());
        let changes = document["compared"]["changes"].as_array().unwrap();
        let position = changes.iter().position(|change| change["address"] == of);
        let at = if of.is_empty() { at.to_owned() } else { format!("/compared/changes/{}{at}", position.expect(of)) };
        let (parent, key) = at.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).expect(&at);
        match (parent, &edit["to"]) {
            (Json::Object(map), Json::Null) => drop(map.remove(key)),
            (Json::Object(map), to) => drop(map.insert(key.to_owned(), to.clone())),
            (Json::Array(list), to) => list[key.parse::<usize>().unwrap()] = to.clone(),
            other => panic!("{other:?}"),
        }
    }
    document
}

fn shown(verdict: &Verdict) -> String {
    let severity = match verdict.severity {
        Severity::Deny => "deny",
        Severity::Warn => "warn",
    };
    format!("{severity} {}", verdict.message)
}

#[test]
fn each_policy_says_what_its_cases_say() {
    let policies = shipped();
    assert_eq!(policies.count(), 5);
    let cases: Vec<Json> = serde_json::from_str(&file("tests/cases.json")).unwrap();
    for case in &cases {
        let code = format!("policy::{}", case["policy"].as_str().unwrap());
        let verdicts = policies.verdicts(&edited(case)).unwrap();
        let found: Vec<String> = verdicts.iter().filter(|verdict| verdict.code == code).map(shown).collect();
        let wanted: Vec<&str> = case["verdicts"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        assert_eq!(found, wanted, "{}: {}", case["policy"], case["name"]);
    }
    for name in ["ssh", "images", "tags", "instances", "replacement"] {
        let of_it = || cases.iter().filter(|case| case["policy"] == name);
        assert!(of_it().any(|case| case["verdicts"] == Json::Array(vec![])), "no case passes `{name}`");
        assert!(of_it().any(|case| case["verdicts"] != Json::Array(vec![])), "no case fails `{name}`");
    }
}

#[test]
fn the_policies_of_the_documentation_are_policies() {
    let text = file("../../docs/operating.md");
    let blocks = text.split("```rego\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let files: Vec<(String, String)> = blocks.enumerate().map(|(number, text)| (number.to_string(), text)).collect();
    assert_eq!(files.len(), 2);
    let mut document = document("created");
    assert_eq!(Policies::parse(files.clone()).unwrap().verdicts(&document).unwrap(), []);
    for change in document["compared"]["changes"].as_array_mut().unwrap() {
        if let Some(size) = change.pointer_mut("/desired/data/volume/size_gib") {
            *size = 501.into();
        }
    }
    let verdicts: Vec<String> =
        Policies::parse(files).unwrap().verdicts(&document).unwrap().iter().map(shown).collect();
    assert_eq!(
        verdicts,
        ["deny `launch_template.heavy` has volumes of 501 GiB", "deny `launch_template.probe` has volumes of 501 GiB"]
    );
}

#[test]
fn a_plan_of_thousands_of_hosts_takes_few_of_the_steps() {
    let mut document = document("updated");
    let changes = document["compared"]["changes"].as_array_mut().unwrap();
    let host = changes.iter().find(|change| change["address"] == "instance.heavy[0]").unwrap().clone();
    for number in 4..3_000 {
        let mut host = host.clone();
        host["address"] = format!("instance.heavy[{number}]").into();
        changes.push(host);
    }
    let verdicts = shipped().verdicts(&document).unwrap();
    assert!(verdicts.iter().any(|verdict| verdict.message.starts_with("3000 of 3000 hosts")));
}

#[test]
fn the_documents_are_plan_documents() {
    for name in ["created", "updated", "shrunk", "destroyed"] {
        let bytes = serde_json::to_vec(&document(name)).unwrap();
        Document::parse(&bytes).unwrap();
    }
}

#[test]
fn every_policy_begins_with_what_it_does_and_how_to_adapt_it() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (comment, _) = text.split_once("\npackage ").unwrap();
        assert!(comment.lines().all(|line| line.starts_with('#')), "{}", path.display());
        assert!(comment.contains("\n# To adapt it: "), "{}", path.display());
    }
}
