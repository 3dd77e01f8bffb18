//! Every file in `tests/invalid` has one mistake, and its report is compared with a golden file.
//!
//! A first line `# environment: x` chooses an environment. The generator beside the executable is for `x86_64`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{fmt::Write as _, fs, path::Path};

use miette::{GraphicalReportHandler, GraphicalTheme};
use trunnion_stack::{Invalid, LoadOptions, Stack};

mod common;

/// The report without colours.
fn drawn(invalid: &Invalid) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(120);
    let mut text = format!("{invalid}\n\n");
    for found in invalid.diagnostics() {
        handler.render_report(&mut text, found).unwrap();
        writeln!(text).unwrap();
    }
    text
}

#[test]
fn every_mistake_is_reported_as_its_golden_file_shows() {
    let executable_dir = common::directory_with_generator(62);
    let options = LoadOptions::new().with_executable_dir(executable_dir.path());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/invalid");
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() > 80, "only {} files", files.len());

    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../tests/invalid/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _guard = settings.bind_to_scope();
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let environment = text.lines().find_map(|line| line.strip_prefix("# environment: "));
        let Err(invalid) = Stack::load(&path, environment, &options) else { panic!("{name} has no mistake") };
        // The file name without its folder, so that golden files do not depend on the machine.
        let shown = drawn(&invalid).replace(path.to_str().unwrap(), &format!("{name}.yaml"));
        insta::assert_snapshot!(name, shown);
        for secret in ["cpt_0123", "hunter2", "b3BlbnNzaC1rZXk"] {
            assert!(!shown.contains(secret), "{name} shows a secret");
        }
    }
}

#[test]
fn messages_contain_the_full_path_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("a".repeat(100)).join("b".repeat(100));
    fs::create_dir_all(&long).unwrap();
    let path = long.join("stack.yaml");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/invalid/region.yaml"), &path).unwrap();
    let shown = drawn(&Stack::load(&path, None, &LoadOptions::default()).unwrap_err());
    let path = path.to_str().unwrap();
    assert!(shown.starts_with(&format!("`{path}` has ")), "{shown}");
    assert!(shown.contains(&format!("\u{256d}\u{2500}[{path}:2:9]")), "{shown}");
}
