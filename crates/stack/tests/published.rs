//! Checks that the files generated from the declarations of the keys are up to date. `INSTA_UPDATE=always` writes them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "it writes the published files where that is asked for")]

use std::{env, fs, path::Path};

use trunnion_stack::{LoadOptions, Stack, json_schema, reference};

fn is_fresh(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    if env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(&path, text).unwrap();
    }
    let published = fs::read_to_string(&path).unwrap_or_default();
    assert!(published == text, "{file} is old: write it with `INSTA_UPDATE=always cargo test -p trunnion-stack`");
}

#[test]
fn the_published_schema_is_up_to_date() {
    is_fresh("schemas/stack.schema.json", &format!("{:#}\n", json_schema()));
}

#[test]
fn the_published_reference_is_up_to_date() {
    is_fresh("docs/stack.md", &reference());
}

#[test]
fn the_examples_of_the_reference_are_valid_stacks() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("boot.sh.tera"), "#!/bin/sh").unwrap();
    let path = folder.path().join("stack.yaml");
    let reference = reference();
    let mut examples = reference.split("```yaml\n").skip(1).map(|text| text.split("```").next().unwrap());
    let (smallest, everything, environments) =
        (examples.next().unwrap(), examples.next().unwrap(), examples.next().unwrap());
    let parse = |text: &str, environment| Stack::parse(text, &path, environment, &LoadOptions::default());
    let base = parse(smallest, None).unwrap();
    assert_eq!((base.pools["heavy"].count, base.locations.len()), (1, 0));
    let full = parse(everything, None).unwrap();
    assert_eq!((full.pools["heavy"].count, full.locations.len()), (4, 1));
    let text = format!("{everything}{environments}");
    let staging = parse(&text, Some("staging")).unwrap();
    assert_eq!((staging.name.as_str(), staging.pools["heavy"].count), ("loadtest-staging", 1));
    assert!(staging.generator.metrics_from.is_empty());
    assert_eq!(parse(&text, Some("same-again")).unwrap().name, "loadtest--same-again");
    assert_eq!(examples.next(), None);
}
