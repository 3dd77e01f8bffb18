//! What is read from the variables of a job.

use std::{fs::OpenOptions, io::Write as _};

use trunnion_forge::{ForgeError, Kind, Run};

use crate::{forge, with};

fn github() -> Vec<(&'static str, String)> {
    let variables = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "acme/load"),
        ("GITHUB_API_URL", "http://127.0.0.1:1"),
        ("GITHUB_TOKEN", "hush-hush"),
        ("GITHUB_RUN_ID", "12"),
        ("GITHUB_RUN_ATTEMPT", "3"),
        ("GITHUB_SERVER_URL", "https://ghe.test/"),
    ];
    variables.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// With the document of an event.
fn request(event: &str, reference: &str) -> Result<String, ForgeError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("event.json");
    OpenOptions::new().create_new(true).write(true).open(&path).unwrap().write_all(event.as_bytes()).unwrap();
    let variables = with(github(), "GITHUB_EVENT_PATH", path.to_str().unwrap());
    forge(&with(variables, "GITHUB_REF", reference)).map(|forge| forge.request())
}

#[test]
fn the_pull_request_comes_from_the_event_or_the_reference() {
    for (event, reference, expected) in [
        (r#"{"pull_request":{"number":8},"number":8}"#, "refs/heads/main", 8),
        (r#"{"pull_request":{"number":8}}"#, "refs/pull/9/merge", 8),
        (r#"{"issue":{"number":4,"pull_request":{"url":"x"}}}"#, "refs/heads/main", 4),
        (r#"{"workflow_run":{"pull_requests":[{"number":5}]}}"#, "refs/heads/main", 5),
        (
            r#"{"repository":{"id":1},"workflow_run":{"pull_requests":[
                {"number":5,"base":{"repo":{"id":2}}},{"number":6,"base":{"repo":{"id":1}}}]}}"#,
            "refs/heads/main",
            6,
        ),
        ("{}", "refs/pull/9/merge", 9),
        ("{}", "refs/pull/9/head", 9),
        ("no JSON", "refs/pull/9/merge", 9),
    ] {
        assert_eq!(request(event, reference).unwrap(), format!("pull request {expected} of acme/load"), "{event}");
    }
    for (event, reference, says) in [
        ("{}", "refs/heads/main", "`GITHUB_REF` is `refs/heads/main`"),
        ("{}", "refs/pull/x/merge", "`GITHUB_REF` is `refs/pull/x/merge`"),
        (r#"{"issue":{"number":4}}"#, "refs/heads/main", "`GITHUB_REF`"),
        (r#"{"workflow_run":{"pull_requests":[]}}"#, "refs/heads/main", "fork"),
        (r#"{"workflow_run":{"pull_requests":[{"number":1},{"number":2}]}}"#, "refs/heads/main", "several"),
    ] {
        let error = request(event, reference).unwrap_err();
        assert!(matches!(error, ForgeError::NoRequest { kind: Kind::GitHub, .. }), "{error}");
        assert!(error.to_string().contains(says) && error.help().is_some(), "{error}");
    }
}

#[test]
fn the_run_and_its_page_are_those_of_the_job() {
    let forge = forge(&with(github(), "GITHUB_REF", "refs/pull/1/merge")).unwrap();
    assert_eq!(forge.run(), Some(Run { id: 12, attempt: 3 }));
    assert_eq!(forge.run_url(), Some("https://ghe.test/acme/load/actions/runs/12/attempts/3"));
    assert!(!format!("{forge:?}").contains("hush"), "{forge:?}");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let base = with(github(), "GITHUB_REF", "refs/pull/1/merge");
    for (name, value, says) in [
        ("GITHUB_TOKEN", "", "`GITHUB_TOKEN` is not set, nor is `GH_TOKEN`"),
        ("GITHUB_TOKEN", "hush hush", "`GITHUB_TOKEN` is not a token"),
        ("GITHUB_REPOSITORY", "", "`GITHUB_REPOSITORY` is not set"),
        ("GITHUB_REPOSITORY", "../x", "`GITHUB_REPOSITORY` is not of the form owner/name"),
        ("GITHUB_REPOSITORY", "acme/load/x", "owner/name"),
        (
            "GITHUB_API_URL",
            "http://ghe.test/api/v3",
            "`GITHUB_API_URL` is `http://ghe.test`, but the token is only sent over https",
        ),
        ("GITHUB_API_URL", "http://127.0.0.1.evil.test", "only sent over https"),
        ("GITHUB_API_URL", "https://me:hush@ghe.test", "not the URL of an API"),
        ("GITHUB_API_URL", "ghe.test", "not the URL of an API"),
        ("GITHUB_API_URL", "ftp://ghe.test", "not the URL of an API"),
    ] {
        let error = forge(&with(base.clone(), name, value)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.help().is_some() && !format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
    let other = with(with(base.clone(), "GITHUB_TOKEN", ""), "GH_TOKEN", "hush");
    forge(&other).unwrap();
    for url in ["http://localhost:1", "http://[::1]:1/api/v3", "http://127.3.2.1:9/"] {
        forge(&with(base.clone(), "GITHUB_API_URL", url)).unwrap();
    }
    assert_eq!(forge(&[]).unwrap_err(), ForgeError::NotInCi);
    let error = forge(&with(with(base, "GITHUB_API_URL", "https://ghe.test"), "HTTPS_PROXY", "socks5://me:hush@p:1"));
    assert_eq!(error.unwrap_err(), ForgeError::Proxy { variable: "HTTPS_PROXY" });
}
