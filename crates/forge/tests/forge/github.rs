//! One comment on GitHub.

use std::time::Duration;

use trunnion_forge::{Action, Comment, ForgeError};
use trunnion_tests::{
    Asked, Fault, What,
    github::{GitHub, User},
};

use crate::{PATIENCE, forge, post, post_and_hear, run, with};

const COMMENTS: &str = "/repos/acme/load/issues/7/comments";
const ONE: &str = "/issues/comments/";

/// A look-alike, with the token of a person, for whom REST is enough.
fn of_a_person() -> GitHub {
    let github = GitHub::start(vec![User::person("pat", 11, "octocat")]);
    github.without_graphql();
    github
}

fn bodies(github: &GitHub) -> Vec<String> {
    github.comments().into_iter().map(|comment| comment.body).collect()
}

/// The texts of the comments, without hidden lines.
fn texts(github: &GitHub) -> Vec<String> {
    let text = |body: String| body.split_once('\n').map(|(_, text)| text.to_owned()).unwrap_or(body);
    bodies(github).into_iter().map(text).collect()
}

/// The methods of the requests.
fn methods(github: &GitHub) -> Vec<String> {
    github.asked().into_iter().map(|asked| asked.method).collect()
}

#[test]
fn a_comment_is_created_updated_and_left_alone() {
    let github = of_a_person();
    let first = post(&github.variables("pat", 1, 1), "one").unwrap();
    assert_eq!((first.action, first.removed), (Action::Created, 0));
    assert_eq!(first.url, format!("{}/acme/load/pull/7#issuecomment-{}", github.url(), first.id));
    assert_eq!(methods(&github), ["GET", "GET", "POST", "GET"]);

    let second = post(&github.variables("pat", 2, 1), "two").unwrap();
    assert_eq!((second.action, second.id, second.url), (Action::Updated, first.id, first.url.clone()));
    assert_eq!(texts(&github), ["two"]);

    let before = github.writes();
    let third = post(&github.variables("pat", 2, 2), "two").unwrap();
    assert_eq!((third.action, third.id, third.url), (Action::Unchanged, first.id, first.url));
    let later = post(&github.variables("pat", 3, 1), "two").unwrap();
    assert_eq!(later.action, Action::Unchanged);
    assert_eq!(github.writes(), before);
}

#[test]
fn each_key_has_a_comment_of_its_own() {
    let github = of_a_person();
    let forge = forge(&github.variables("pat", 1, 1)).unwrap();
    for (key, body) in [("one", "a"), ("two", "b"), ("one", "c"), ("two-->", "d"), ("two-->", "e")] {
        run(forge.post(&Comment { key, body, run: forge.run() }, &|_| ())).unwrap();
    }
    assert_eq!(texts(&github), ["c", "b", "e"]);
    for key in ["", &"k".repeat(201)] {
        let error = run(forge.post(&Comment { key, body: "x", run: None }, &|_| ())).unwrap_err();
        assert_eq!(error, ForgeError::Key { bytes: key.len() });
    }
}

#[test]
fn an_earlier_run_writes_nothing_and_a_rerun_does() {
    let github = of_a_person();
    post(&github.variables("pat", 20, 1), "twenty").unwrap();
    let before = github.writes();
    let old = post(&github.variables("pat", 9, 3), "nine").unwrap();
    assert_eq!(old.action, Action::Outdated);
    assert_eq!((texts(&github), github.writes()), (vec!["twenty".to_owned()], before));
    assert_eq!(post(&github.variables("pat", 20, 2), "again").unwrap().action, Action::Updated);
    assert_eq!(post(&github.variables("pat", 20, 1), "twenty").unwrap().action, Action::Outdated);
    assert_eq!(texts(&github), ["again"]);
}

#[test]
fn a_marker_that_others_copied_changes_nothing_of_theirs() {
    let users = vec![
        User::person("pat", 11, "octocat"),
        User::person("mallory", 12, "mallory"),
        User::app("app", 13, "octocat[bot]"),
        User::app("actions-token", 41_898_282, "github-actions[bot]"),
        User::person("human", 14, "github-actions"),
    ];
    for token in ["pat", "actions-token"] {
        let github = GitHub::start(users.clone());
        let made = post(&github.variables("pat", 1, 1), "mine").unwrap();
        let copy = bodies(&github).remove(0);
        github.remove(made.id);
        let own = if token == "pat" { "octocat" } else { "github-actions[bot]" };
        let others = ["mallory", "octocat[bot]", "github-actions", "dependabot[bot]", "github-actions[bot]", "octocat"];
        for login in others.into_iter().filter(|login| *login != own) {
            github.add(login, &copy);
        }
        // Not at the start: quoted, in the middle, and behind a space.
        for body in [format!("> {copy}"), format!("look:\n{copy}"), format!(" {copy}"), format!("\n{copy}")] {
            github.add(own, &body);
        }
        let before = bodies(&github);
        for (at, action) in [(2, Action::Created), (3, Action::Updated)] {
            let posted = post(&github.variables(token, at, 1), &format!("text {at}")).unwrap();
            assert_eq!((posted.action, posted.removed), (action, 0));
        }
        let after = bodies(&github);
        assert_eq!(after[..before.len()], before);
        assert_eq!(after.len(), before.len() + 1);
        assert!(after[before.len()].ends_with("\ntext 3"), "{after:?}");
    }
}

#[test]
fn the_token_of_actions_is_known_by_graphql_and_by_the_answer_to_a_create() {
    for has_graphql in [true, false] {
        let github = GitHub::default();
        if !has_graphql {
            github.without_graphql();
        }
        let first = post(&github.variables("actions-token", 1, 1), "one").unwrap();
        github.add("mallory", &bodies(&github)[0]);
        let second = post(&github.variables("actions-token", 2, 1), "two").unwrap();
        assert_eq!((second.action, second.id), (Action::Updated, first.id));
        assert_eq!(texts(&github), ["two", "one"]);
        assert_eq!(second.removed, usize::from(!has_graphql));
        // Without GraphQL, a comment with the same text is made and deleted.
        let third = post(&github.variables("actions-token", 2, 1), "two").unwrap();
        assert_eq!((third.action, third.id), (Action::Unchanged, first.id));
        assert_eq!(texts(&github), ["two", "one"]);
    }
}

#[test]
fn a_create_without_an_answer_is_found_even_if_nobody_says_who_the_token_is() {
    for token in ["pat", "actions-token"] {
        let users =
            vec![User::person("pat", 11, "octocat"), User::app("actions-token", 41_898_282, "github-actions[bot]")];
        for (fault, made) in [
            (Fault::after("POST", COMMENTS, What::Close), 1),
            (Fault::before("POST", COMMENTS, What::Close), 2),
            (Fault::after("POST", COMMENTS, What::Answer(502, vec![], "<html>")), 1),
            (Fault::before("POST", COMMENTS, What::Answer(503, vec![("retry-after", "0")], "")), 2),
        ] {
            let github = GitHub::start(users.clone());
            github.without_graphql();
            github.fault(fault.clone());
            let (posted, said) = post_and_hear(&github.variables(token, 1, 1), "one");
            assert_eq!(texts(&github), ["one"], "{fault:?}");
            assert_eq!(posted.unwrap().id, github.comments()[0].id);
            assert_eq!(github.writes().len(), made, "{fault:?} {:?}", github.writes());
            assert_eq!(said.len(), 1, "{said:?}");
        }
    }
}

#[test]
fn a_change_without_an_answer_is_only_repeated_after_a_list() {
    let github = of_a_person();
    post(&github.variables("pat", 1, 1), "one").unwrap();
    github.fault(Fault::after("PATCH", ONE, What::Close));
    let asked = github.asked().len();
    post(&github.variables("pat", 2, 1), "two").unwrap();
    assert_eq!(methods(&github)[asked..], ["GET", "GET", "PATCH", "GET"]);
    github.fault(Fault::before("PATCH", ONE, What::Close));
    let asked = github.asked().len();
    post(&github.variables("pat", 3, 1), "three").unwrap();
    assert_eq!(methods(&github)[asked..], ["GET", "GET", "PATCH", "GET", "PATCH", "GET"]);
    assert_eq!(texts(&github), ["three"]);
}

#[test]
fn a_forge_that_is_down_is_asked_a_bounded_number_of_times() {
    let github = of_a_person();
    github.fault(Fault::before("GET", COMMENTS, What::Answer(502, vec![], "<html>")).times(3));
    let (posted, said) = post_and_hear(&github.variables("pat", 1, 1), "one");
    assert_eq!((posted.unwrap().action, said.len()), (Action::Created, 3));
    for (method, what) in [
        ("GET", What::Close),
        ("GET", What::Answer(500, vec![], "")),
        ("PATCH", What::Close),
        ("PATCH", What::Answer(504, vec![], "")),
    ] {
        let github = of_a_person();
        post(&github.variables("pat", 1, 1), "one").unwrap();
        github.fault(Fault::before(method, "/issues/", what).times(1000));
        let number = || {
            let of_comments = |asked: &&Asked| asked.method == method && asked.path.contains("/issues/");
            github.asked().iter().filter(of_comments).count()
        };
        let asked = number();
        let error = post(&github.variables("pat", 2, 1), "two").unwrap_err();
        assert!(matches!(error, ForgeError::Unanswered { tries: 4, .. }), "{error}");
        let more = number() - asked;
        assert_eq!(more, 4, "{error}");
        assert!(error.to_string().contains(&github.url()), "{error}");
    }
}

#[test]
fn rate_limits_are_waited_for_within_the_bound() {
    let secondary = r#"{"message":"You have exceeded a secondary rate limit. Please wait"}"#;
    let primary = r#"{"message":"API rate limit exceeded for installation ID 1."}"#;
    for (status, headers, body, waits) in [
        (403, vec![("retry-after", "0")], secondary, true),
        (429, vec![("retry-after", "0")], secondary, true),
        (403, vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "NOW+0")], primary, true),
        (429, vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "NOW+0")], primary, true),
        (403, vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "NOW+3000")], primary, false),
        (403, vec![("retry-after", "60")], secondary, false),
        (403, vec![], secondary, false),
        (429, vec![], "", false),
    ] {
        for method in ["GET", "POST"] {
            let github = of_a_person();
            github.fault(Fault::before(method, COMMENTS, What::Answer(status, headers.clone(), body)));
            let (posted, said) = post_and_hear(&github.variables("pat", 1, 1), "one");
            if waits {
                assert_eq!(posted.unwrap().action, Action::Created);
                assert!(said.len() == 1 && said[0].starts_with("GitHub's rate limit is reached: waiting "), "{said:?}");
                assert_eq!(texts(&github), ["one"]);
            } else {
                let error = posted.unwrap_err();
                assert!(matches!(error, ForgeError::RateLimited { longest: 5, .. }), "{error}");
                assert!(said.is_empty() && github.comments().is_empty(), "{said:?}");
            }
        }
    }
    // A forge that always asks for no wait is not asked for ever.
    let github = of_a_person();
    github.fault(Fault::before("GET", COMMENTS, What::Answer(429, vec![("retry-after", "0")], "")).times(1000));
    assert!(matches!(post(&github.variables("pat", 1, 1), "one"), Err(ForgeError::RateLimited { .. })));
}

#[test]
fn a_comment_is_found_on_every_page() {
    let github = of_a_person();
    for at in 0..1234 {
        github.add("mallory", &format!("comment {at}"));
    }
    let first = post(&github.variables("pat", 1, 1), "one").unwrap();
    for at in 0..300 {
        github.add("mallory", &format!("comment {at}"));
    }
    let second = post(&github.variables("pat", 2, 1), "two").unwrap();
    assert_eq!((second.action, second.id), (Action::Updated, first.id));
    let queries: Vec<String> = github.asked().into_iter().map(|asked| asked.query).collect();
    assert!(queries.contains(&"per_page=100&page=13".to_owned()), "{queries:?}");
}

#[test]
fn pages_without_an_end_and_pages_elsewhere_are_refused() {
    let github = of_a_person();
    let other = GitHub::start(vec![User::person("pat", 11, "octocat")]);
    let to = format!("<{}{COMMENTS}?page=2>; rel=\"next\"", other.url());
    let to: &'static str = Box::leak(to.into_boxed_str());
    github.fault(Fault::before("GET", COMMENTS, What::Answer(200, vec![("link", to)], "[]")));
    let error = post(&github.variables("pat", 1, 1), "one").unwrap_err();
    assert_eq!(
        error,
        ForgeError::Elsewhere { kind: trunnion_forge::Kind::GitHub, from: github.url(), to: other.url() }
    );
    let to = format!("<{}{COMMENTS}?per_page=100>; rel=\"next\"", github.url());
    let to: &'static str = Box::leak(to.into_boxed_str());
    github.fault(Fault::before("GET", COMMENTS, What::Answer(200, vec![("link", to)], "[]")).times(1000));
    let error = post(&github.variables("pat", 1, 1), "one").unwrap_err();
    assert!(matches!(error, ForgeError::Unexpected { .. }), "{error}");
    assert!(other.asked().is_empty() && github.comments().is_empty());
}

#[test]
fn a_moved_repository_is_followed_only_on_the_same_server() {
    let github = of_a_person();
    github.move_to(&github.url());
    for (run, action) in [(1, Action::Created), (2, Action::Updated)] {
        assert_eq!(post(&github.variables("pat", run, 1), &format!("text {run}")).unwrap().action, action);
    }
    assert_eq!(texts(&github), ["text 2"]);
    let other = GitHub::start(vec![User::person("pat", 11, "octocat")]);
    github.move_to(&other.url());
    let error = post(&github.variables("pat", 3, 1), "three").unwrap_err();
    assert!(matches!(&error, ForgeError::Elsewhere { to, .. } if *to == other.url()), "{error}");
    assert!(other.asked().is_empty());
}

#[test]
fn a_comment_that_was_deleted_meanwhile_is_made_again() {
    let github = of_a_person();
    let first = post(&github.variables("pat", 1, 1), "one").unwrap();
    github.fault(Fault::before("PATCH", ONE, What::Answer(404, vec![], r#"{"message":"Not Found"}"#)));
    let listed = github.comments();
    github.fault(Fault::before("GET", COMMENTS, What::Answer(200, vec![], "[]")).skip(1));
    let second = post(&github.variables("pat", 2, 1), "two").unwrap();
    // The look-alike still has the first one, so it is the one that stays.
    assert_eq!((second.id, second.removed), (first.id, 1));
    assert_eq!((texts(&github), listed.len()), (vec!["two".to_owned()], 1));
    github.remove(first.id);
    assert_eq!(post(&github.variables("pat", 3, 1), "three").unwrap().action, Action::Created);
    assert_eq!(texts(&github), ["three"]);
}

#[test]
fn lists_that_are_late_make_no_second_comment() {
    let github = of_a_person();
    github.lag(1);
    let posted = post(&github.variables("pat", 1, 1), "one").unwrap();
    assert_eq!((posted.action, texts(&github)), (Action::Created, vec!["one".to_owned()]));
}

#[test]
fn of_several_comments_of_ours_the_first_stays_with_the_text_of_the_latest_run() {
    let github = of_a_person();
    let mut saved = Vec::new();
    for (run, body) in [(5, "five"), (9, "nine"), (7, "seven")] {
        let made = post(&github.variables("pat", run, 1), body).unwrap();
        saved.push(bodies(&github).remove(0));
        github.remove(made.id);
    }
    for (run, expected, action) in
        [(6, "nine", Action::Outdated), (9, "again", Action::Updated), (12, "twelve", Action::Updated)]
    {
        let ids: Vec<u64> = saved.iter().map(|body| github.add("octocat", body)).collect();
        let text = if expected == "nine" { "six" } else { expected };
        let posted = post(&github.variables("pat", run, 1), text).unwrap();
        assert_eq!((posted.action, posted.id, posted.removed), (action, ids[0], 2));
        assert_eq!(texts(&github), [expected]);
        github.remove(ids[0]);
    }
}

#[test]
fn the_limit_is_checked_before_anything_is_sent() {
    let github = of_a_person();
    let forge = forge(&github.variables("pat", 1, 1)).unwrap();
    let longest = forge.longest_body("preview");
    let comment = |body: String| run(forge.post(&Comment { key: "preview", body: &body, run: forge.run() }, &|_| ()));
    let error = comment("é".repeat(65_536)).unwrap_err();
    assert!(matches!(error, ForgeError::TooLong { most: 65_536, characters: 65_537.., .. }), "{error}");
    assert!(error.to_string().contains("65536"), "{error}");
    assert!(github.asked().is_empty());
    // Characters count, not bytes.
    comment("🌈".repeat(longest)).unwrap();
    assert_eq!(texts(&github)[0].chars().count(), longest);
}

#[test]
fn each_refusal_says_the_next_step() {
    let check = |github: &GitHub, token: &str, variables: &[(&'static str, String)], says: &[&str]| {
        let error = post(variables, "one").unwrap_err();
        let said = format!("{error} help: {}", error.help().unwrap_or_default());
        for part in says {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        assert!(!format!("{said} {error:?}").contains(token), "{said}");
        assert!(github.comments().is_empty());
    };
    let github = GitHub::default();
    let variables = github.variables("secret-wrong", 1, 1);
    check(
        &github,
        "secret-wrong",
        &variables,
        &["401: Bad credentials", "pull request 7 of acme/load", "github.token"],
    );
    github.only_read();
    let variables = github.variables("actions-token", 1, 1);
    check(
        &github,
        "actions-token",
        &variables,
        &["403: Resource not accessible by integration", "`pull-requests: write`", "fork", "summary"],
    );
    let folder = tempfile::tempdir().unwrap();
    let event = folder.path().join("event.json");
    let text =
        r#"{"pull_request":{"number":7,"head":{"repo":{"id":2}},"base":{"repo":{"id":1}}},"repository":{"id":1}}"#;
    std::io::Write::write_all(
        &mut std::fs::OpenOptions::new().create_new(true).write(true).open(&event).unwrap(),
        text.as_bytes(),
    )
    .unwrap();
    let of_fork = with(variables, "GITHUB_EVENT_PATH", event.to_str().unwrap());
    assert!(forge(&of_fork).unwrap().is_fork());
    check(&github, "actions-token", &of_fork, &["from a fork can only read", "summary", "workflow_run"]);
    let github = of_a_person();
    github.lock();
    check(&github, "pat", &github.variables("pat", 1, 1), &["issue is locked", "unlock"]);
    let github = of_a_person();
    let elsewhere = with(github.variables("pat", 1, 1), "GITHUB_REPOSITORY", "acme/none");
    check(&github, "pat", &elsewhere, &["404: Not Found", "acme/none"]);
}

#[test]
fn an_answer_that_echoes_the_token_does_not_show_it() {
    let github = of_a_person();
    let echo = r#"{"message":"no Bearer pat\u0007 for you"}"#;
    github.fault(Fault::before("POST", COMMENTS, What::Answer(400, vec![], echo)));
    let error = post(&github.variables("pat", 1, 1), "one").unwrap_err();
    assert!(error.to_string().contains("no Bearer *** for you"), "{error}");
}

#[test]
fn a_slow_answer_counts_as_none() {
    let github = of_a_person();
    github.fault(Fault::before("POST", COMMENTS, What::Slow(Duration::from_millis(300))));
    let forge = forge(&github.variables("pat", 1, 1)).unwrap();
    let forge = forge.with_patience(trunnion_forge::Patience { answer: Duration::from_millis(100), ..PATIENCE });
    run(forge.post(&Comment { key: "preview", body: "one", run: forge.run() }, &|_| ())).unwrap();
    assert_eq!((texts(&github), github.writes().len()), (vec!["one".to_owned()], 1));
}

#[test]
fn each_request_has_what_github_asks_for() {
    let github = of_a_person();
    post(&github.variables("pat", 1, 1), "one").unwrap();
    for asked in github.asked() {
        let header = |name: &str| asked.headers.get(name).map(String::as_str).unwrap_or_default().to_owned();
        assert_eq!(header("authorization"), "Bearer pat");
        assert_eq!(header("accept"), "application/vnd.github+json");
        assert_eq!(header("x-github-api-version"), "2022-11-28");
        assert!(header("user-agent").starts_with("trunnion/"));
    }
}
