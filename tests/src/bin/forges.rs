//! Serves the look-alikes of GitHub and GitLab until standard input ends.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of tests may panic, and prints where it serves"
)]

use std::io::{Read as _, stdin};

use trunnion_tests::{github, gitlab};

fn main() {
    let github = github::GitHub::start(vec![
        github::User::person("person", 11, "octocat"),
        github::User::app("app", 41_898_282, "github-actions[bot]"),
    ]);
    let gitlab = gitlab::GitLab::start(vec![
        gitlab::User::new("bot", 5, "project_42_bot_1"),
        gitlab::User::new("other", 6, "other"),
    ]);
    println!("{}", serde_json::json!({ "github": github.url(), "gitlab": gitlab.url() }));
    stdin().read_to_end(&mut Vec::new()).unwrap();
}
