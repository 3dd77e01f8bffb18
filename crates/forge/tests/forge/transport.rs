//! TLS with a private authority, and proxies.

use std::{fs::OpenOptions, io::Write as _};

use tempfile::TempDir;
use trunnion_forge::{Action, ForgeError};
use trunnion_tests::{
    Authority, Network,
    github::{GitHub, User},
};

use crate::{post, with};

const LOGIN: &str = "Basic bWU6cEBzcw==";

struct Place {
    github: GitHub,
    network: Network,
    authority: Authority,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let github = GitHub::start(vec![User::person("pat", 11, "octocat")]);
        let place = Self {
            github,
            network: Network::default(),
            authority: Authority::default(),
            folder: tempfile::tempdir().unwrap(),
        };
        let path = place.folder.path().join("ca.pem");
        let mut file = OpenOptions::new().create_new(true).write(true).open(path).unwrap();
        file.write_all(place.authority.pem().as_bytes()).unwrap();
        place
    }

    /// The variables with a URL at which the look-alike is reached with TLS.
    fn variables(&self, url: &str, trusts: bool) -> Vec<(&'static str, String)> {
        let variables = with(self.github.variables("pat", 1, 1), "GITHUB_API_URL", url);
        let variables = with(variables, "GITHUB_GRAPHQL_URL", "");
        let path = self.folder.path().join("ca.pem").display().to_string();
        if trusts { with(variables, "SSL_CERT_FILE", &path) } else { variables }
    }
}

fn address(github: &GitHub) -> String {
    github.url().trim_start_matches("http://").to_owned()
}

#[test]
fn a_private_authority_is_trusted_only_if_it_is_named() {
    let place = Place::new();
    let tls = place.network.tls(&place.authority, "localhost", &address(&place.github));
    let url = format!("https://localhost:{}", tls.port());
    let error = post(&place.variables(&url, false), "one").unwrap_err();
    assert!(matches!(&error, ForgeError::Unanswered { .. } | ForgeError::Authorities { .. }), "{error}");
    assert!(place.github.asked().is_empty());
    assert_eq!(post(&place.variables(&url, true), "one").unwrap().action, Action::Created);
    let none = with(place.variables(&url, true), "SSL_CERT_FILE", "/nonexistent.pem");
    let error = crate::forge(&none).unwrap_err();
    assert!(error.to_string().contains("`SSL_CERT_FILE`"), "{error}");
}

#[test]
fn requests_go_through_the_proxy_unless_the_host_is_excepted() {
    let place = Place::new();
    let tls = place.network.tls(&place.authority, "ghe.test", &address(&place.github));
    let proxy = place.network.proxy(&tls.to_string(), Some(LOGIN));
    let url = format!("http://me:p%40ss@{}", proxy.address);
    let through = with(place.variables("https://ghe.test/", true), "HTTPS_PROXY", &url);
    assert_eq!(post(&through, "one").unwrap().action, Action::Created);
    let seen = proxy.seen();
    assert!(!seen.is_empty() && seen.iter().all(|line| line.starts_with("CONNECT ghe.test:443 ")), "{seen:?}");

    let error = post(&with(through.clone(), "NO_PROXY", "ghe.test"), "two").unwrap_err();
    assert!(matches!(error, ForgeError::Unanswered { .. }), "{error}");
    assert_eq!(proxy.seen().len(), seen.len());

    let wrong = with(through, "HTTPS_PROXY", &format!("http://me:hush@{}", proxy.address));
    let error = post(&wrong, "two").unwrap_err();
    assert!(
        matches!(error, ForgeError::Unanswered { .. }) && !format!("{error} {error:?}").contains("hush"),
        "{error}"
    );
}

#[test]
fn a_proxy_can_itself_need_tls() {
    let place = Place::new();
    let tls = place.network.tls(&place.authority, "ghe.test", &address(&place.github));
    let proxy = place.network.proxy(&tls.to_string(), None);
    let outer = place.network.tls(&place.authority, "localhost", &proxy.address.to_string());
    let through =
        with(place.variables("https://ghe.test", true), "https_proxy", &format!("https://localhost:{}", outer.port()));
    assert_eq!(post(&through, "one").unwrap().action, Action::Created);
    assert!(!proxy.seen().is_empty());
}

#[test]
fn loopback_uses_no_proxy() {
    let place = Place::new();
    let proxy = place.network.proxy("127.0.0.1:1", None);
    let mut variables = place.github.variables("pat", 1, 1);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        variables = with(variables, name, &format!("http://{}", proxy.address));
    }
    post(&variables, "one").unwrap();
    assert!(proxy.seen().is_empty());
}
