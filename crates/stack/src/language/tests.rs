//! Checks that every declared key has an effect, and that mistakes are reported at their place. New keys are covered
//! automatically.

#![expect(clippy::disallowed_methods, reason = "a test writes the files it reads")]

use std::{collections::BTreeMap, fmt::Write as _, fs};

use super::{Absent, Below, Description, Entry, STACK};
use crate::{LoadOptions, decoded, diagnostic::Findings, environment::ENVIRONMENTS, sources};

/// A key path with a name in place of each placeholder.
type Path = Vec<String>;

/// Every key of the language, each with its path.
fn every_key() -> Vec<(Path, &'static Entry)> {
    fn below(section: &'static Description, path: &Path, found: &mut Vec<(Path, &'static Entry)>) {
        for entry in &section.keys {
            let path = join(path, &[entry.name]);
            match &entry.kind.below {
                Below::Anything => {}
                Below::Keys(section) => below(section, &path, found),
                Below::Named(named) => below(&named.each, &join(&path, &[named.example]), found),
            }
            found.push((path, entry));
        }
    }
    let mut found = Vec::new();
    below(&STACK, &Vec::new(), &mut found);
    found
}

fn join(path: &[String], more: &[&str]) -> Path {
    path.iter().cloned().chain(more.iter().map(|&key| key.to_owned())).collect()
}

/// A stack file: the values of its keys.
#[derive(Debug, Clone)]
struct File(BTreeMap<Path, String>);

impl File {
    /// The required keys, and a pool of the other architecture, so that both architectures are needed.
    fn smallest() -> Self {
        let mut file = File(BTreeMap::new());
        let mut neighbours: Vec<Path> = Vec::new();
        for (path, entry) in every_key() {
            let other = match entry.absent {
                Absent::Required => None,
                Absent::Either(other) => Some(join(&path[..path.len() - 1], &[other])),
                Absent::Value(_) | Absent::Otherwise(_) => continue,
            };
            if let (Some(example), false) = (entry.examples.first(), neighbours.contains(&path)) {
                file.0.insert(path, (*example).to_owned());
                neighbours.extend(other);
            }
        }
        let arm = ["pools", "arm"].map(str::to_owned);
        file.0.insert(join(&arm, &["instance_type"]), "c7gn.4xlarge".to_owned());
        file.0.insert(join(&arm, &["zone"]), "eu-west-3a".to_owned());
        file
    }

    /// The file without a key and everything below it.
    fn without(&self, path: &[String]) -> Self {
        let mut file = self.clone();
        file.0.retain(|found, _| !found.starts_with(path));
        file
    }

    /// The file with a value at a key.
    fn with(&self, path: &[String], value: &str) -> Self {
        let mut file = self.without(path);
        file.0.insert(path.to_vec(), value.to_owned());
        file
    }

    /// The text, with the line of each key.
    fn text(&self) -> (String, BTreeMap<Path, usize>) {
        let (mut text, mut lines): (String, BTreeMap<Path, usize>) = Default::default();
        for (path, value) in &self.0 {
            for depth in 1..=path.len() {
                let key = path[..depth].to_vec();
                if !lines.contains_key(&key) {
                    let value = if depth == path.len() { value } else { "" };
                    let _ = writeln!(text, "{}{}: {value}", "  ".repeat(depth - 1), path[depth - 1]);
                    lines.insert(key, lines.len() + 1);
                }
            }
        }
        (text, lines)
    }
}

/// The result of a file: its model, or its mistakes, each with its line.
#[derive(Debug, PartialEq)]
struct Outcome {
    model: Option<String>,
    mistakes: Vec<(usize, String)>,
}

fn outcome(file: &File, environment: Option<&str>) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("boot.sh.tera"), "#!/bin/sh").unwrap();
    let path = folder.path().join("stack.yaml");
    let (text, _) = file.text();
    let mut findings = Findings::default();
    let options = LoadOptions::new().with_executable_dir("bin");
    let files = options.files(folder.path());
    let found = decoded(&text, &path, environment, (&options, &files), &mut findings);
    let folder = folder.path().display().to_string();
    let model = found.filter(|_| findings.is_empty()).map(|(model, ..)| format!("{model:?}").replace(&folder, ""));
    let shown = sources::shown_source(&path, &text, &[]);
    let mistakes = findings.into_invalid(&shown);
    let line = |found: &crate::Diagnostic| found.line_and_column().map_or(0, |(line, _)| line);
    let mistakes = mistakes.diagnostics().iter().map(|found| (line(found), found.message.clone())).collect();
    Outcome { model, mistakes }
}

/// Expects a mistake at one of these keys.
#[track_caller]
fn has_mistake_at(keys: &[&[String]], file: &File, outcome: &Outcome) {
    let (text, lines) = file.text();
    let is_here = |(line, _): &(usize, String)| keys.iter().any(|key| lines.get(*key) == Some(line));
    assert!(outcome.mistakes.iter().any(is_here), "no line of {:?} is that of {keys:?} in\n{text}", outcome.mistakes);
}

#[test]
fn every_key_has_an_effect() {
    let smallest = File::smallest();
    assert_eq!(outcome(&smallest, None).mistakes, []);
    for (path, entry) in every_key() {
        let without = smallest.without(&path);
        if entry.examples.is_empty() {
            // A section: the keys below it have an effect.
            let has_keys = smallest.0.keys().any(|found| found.starts_with(&path));
            assert!(!has_keys || outcome(&smallest, None) != outcome(&without, None), "{path:?} has no effect");
        }
        for example in entry.examples {
            let without = match entry.absent {
                Absent::Either(other) => without.without(&join(&path[..path.len() - 1], &[other])),
                _ => without.clone(),
            };
            let with = without.with(&path, example);
            let found = outcome(&with, None);
            assert_ne!(found, outcome(&without, None), "{path:?} has no effect");
            if found.model.is_none() {
                // A key that needs another one beside it: the missing key is reported at the map around them.
                has_mistake_at(&[&path, &path[..path.len() - 1]], &with, &found);
            }
        }
    }
}

#[test]
fn a_value_of_a_wrong_type_is_reported_at_every_key() {
    let smallest = File::smallest();
    for (path, _) in every_key() {
        let wrong = smallest.with(&path, "[[]]");
        let found = outcome(&wrong, None);
        assert_eq!(found.model, None, "{path:?} takes a list of lists");
        has_mistake_at(&[&path], &wrong, &found);
    }
}

#[test]
fn every_key_has_an_effect_in_an_environment() {
    let place = [ENVIRONMENTS, "other"].map(str::to_owned);
    let smallest = File::smallest().with(&place, "");
    let unchanged = outcome(&smallest, Some("other"));
    assert_eq!(unchanged.mistakes, []);
    for (path, entry) in every_key() {
        let is_written = smallest.0.keys().any(|found| found.starts_with(&path));
        let value = if is_written { Some("null") } else { entry.examples.first().copied() };
        let Some(value) = value else { continue };
        let path: Path = place.iter().chain(&path).cloned().collect();
        let changed = outcome(&File::smallest().with(&path, value), Some("other"));
        assert_ne!(changed, unchanged, "{path:?} has no effect");
    }
}

#[test]
fn every_key_says_what_it_is_for_and_shows_a_value() {
    for (path, entry) in every_key() {
        assert!(entry.about.ends_with('.') && !entry.about.contains('\n'), "{path:?}: {}", entry.about);
        let has_section = matches!(&entry.kind.below, Below::Keys(_) | Below::Named(_));
        assert!(has_section || !entry.examples.is_empty(), "{path:?} has no example");
        assert!(has_section || !entry.kind.forms.is_empty(), "{path:?} has no schema");
    }
}
