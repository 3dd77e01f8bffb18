//! A folder without the tables.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

#[test]
fn a_table_that_is_not_there_is_named_before_any_call() {
    let folder = tempfile::tempdir().unwrap();
    let mut update = Command::new(env!("CARGO_BIN_EXE_catalog-update"));
    update.args(["--only", "on-demand", "--folder"]).arg(folder.path());
    // Nothing answers there, and nobody waits for it.
    update.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let ended = update.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") && said.contains("instance-types.csv"), "{said}");
}
