//! One note on GitLab.

use trunnion_forge::{Action, Comment, ForgeError};
use trunnion_tests::{
    Fault, What,
    gitlab::{GitLab, User},
};

use crate::{forge, post, run, with};

const NOTES: &str = "/projects/42/merge_requests/7/notes";

fn texts(gitlab: &GitLab) -> Vec<String> {
    let text = |body: String| body.split_once('\n').map(|(_, text)| text.to_owned()).unwrap_or(body);
    gitlab.notes().into_iter().map(|note| text(note.body)).collect()
}

#[test]
fn a_note_is_created_updated_and_left_alone() {
    let gitlab = GitLab::default();
    for at in 0..250 {
        gitlab.add("mallory", &format!("note {at}"), false);
    }
    let first = post(&gitlab.variables("bot-token", 1, 1), "one").unwrap();
    assert_eq!(first.url, format!("{}/acme/load/-/merge_requests/7#note_{}", gitlab.url(), first.id));
    let copy = gitlab.notes().last().unwrap().body.clone();
    gitlab.add("mallory", &copy, false);
    gitlab.add("project_42_bot_1", &copy, true);
    let second = post(&gitlab.variables("bot-token", 2, 1), "two\n\n").unwrap();
    assert_eq!((first.action, second.action, second.id), (Action::Created, Action::Updated, first.id));
    assert_eq!(texts(&gitlab)[250..], ["two", "one", "one"]);
    // GitLab stores it without the space at its end.
    let asked = gitlab.asked().len();
    assert_eq!(post(&gitlab.variables("bot-token", 2, 1), "two\n\n").unwrap().action, Action::Unchanged);
    assert!(gitlab.asked()[asked..].iter().all(|asked| asked.method == "GET"));
    assert_eq!(post(&gitlab.variables("bot-token", 1, 9), "old").unwrap().action, Action::Outdated);
    assert_eq!(post(&gitlab.variables("bot-token", 2, 2), "retry").unwrap().action, Action::Updated);
}

#[test]
fn no_line_of_a_note_is_executed() {
    let gitlab = GitLab::default();
    for (run, text) in [(1, "/merge\n```\n/label ~a\n```\n/approve"), (2, "\r/close\n/reopen x")] {
        post(&gitlab.variables("bot-token", run, 1), text).unwrap();
        assert_eq!(post(&gitlab.variables("bot-token", run, 1), text).unwrap().action, Action::Unchanged);
    }
    assert_eq!(gitlab.executed(), Vec::<String>::new());
    assert_eq!(texts(&gitlab), ["&#47;close\n&#47;reopen x"]);
}

#[test]
fn a_create_without_an_answer_and_a_limit_leave_one_note() {
    let gitlab = GitLab::default();
    gitlab.fault(Fault::after("POST", NOTES, What::Close));
    gitlab.fault(Fault::before("GET", NOTES, What::Answer(429, vec![("retry-after", "0")], "Retry later\n")));
    let ended = ("ratelimit-reset", "NOW+0");
    gitlab.fault(Fault::before("GET", "/user", What::Answer(429, vec![("ratelimit-remaining", "0"), ended], "")));
    post(&gitlab.variables("bot-token", 1, 1), "one").unwrap();
    assert_eq!(texts(&gitlab), ["one"]);
}

#[test]
fn each_refusal_says_the_next_step() {
    let gitlab = GitLab::start(vec![User::new("bot-token", 5, "bot")]);
    let said = |error: ForgeError| format!("{error} help: {}", error.help().unwrap_or_default());
    let check = |text: String, parts: &[&str]| {
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} are not in {text}");
    };
    check(said(post(&gitlab.variables("wrong", 1, 1), "x").unwrap_err()), &["401: 401 Unauthorized", "scope `api`"]);
    let elsewhere = with(gitlab.variables("bot-token", 1, 1), "CI_PROJECT_ID", "43");
    check(said(post(&elsewhere, "x").unwrap_err()), &["404", "project 43", "protected variable"]);
    let mut without = gitlab.variables("bot-token", 1, 1);
    without.retain(|(name, _)| *name != "GITLAB_TOKEN");
    let without = with(without, "CI_JOB_TOKEN", "job");
    check(said(forge(&without).unwrap_err()), &["`GITLAB_TOKEN` is not set", "`CI_JOB_TOKEN` cannot write notes"]);
    let mut without = gitlab.variables("bot-token", 1, 1);
    without.retain(|(name, _)| *name != "CI_MERGE_REQUEST_IID");
    check(said(forge(&without).unwrap_err()), &["not for a merge request", "merge_request_event"]);
    gitlab.only_read();
    check(
        said(post(&gitlab.variables("bot-token", 1, 1), "x").unwrap_err()),
        &["403", "higher privileges", "role Developer"],
    );
    let forge = forge(&gitlab.variables("bot-token", 1, 1)).unwrap();
    let long = "x".repeat(1_000_000);
    let error = run(forge.post(&Comment { key: "preview", body: &long, run: None }, &|_| ())).unwrap_err();
    assert!(matches!(error, ForgeError::TooLong { most: 1_000_000, .. }), "{error}");
}

#[test]
fn the_note_belongs_to_the_project_of_the_merge_request() {
    let gitlab = GitLab::default();
    let variables = with(gitlab.variables("bot-token", 1, 1), "CI_PROJECT_ID", "4711");
    let variables = with(variables, "CI_MERGE_REQUEST_PROJECT_ID", "42");
    post(&variables, "one").unwrap();
    assert_eq!(texts(&gitlab), ["one"]);
}
