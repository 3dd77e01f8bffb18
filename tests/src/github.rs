//! A look-alike of GitHub's REST API, as far as comments on pull requests need it.
//!
//! It has the repository `acme/load` with the pull request 7. What it answers follows GitHub's `OpenAPI` description; the
//! conformance tests let GitHub's clients talk to it. A comment can be changed by every user who can write, as on GitHub.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::forge::{Asked, Fault, Reply, Server, Turns, now, page, time};

/// The longest comment. GitHub names this number, and takes four times as many bytes.
const LONGEST: usize = 65_536;

/// A user who has a token.
#[derive(Debug, Clone)]
pub struct User {
    /// The token.
    pub token: String,
    /// The id.
    pub id: u64,
    /// The login. That of an app ends with `[bot]`.
    pub login: String,
    /// Whether the token is that of an installation of an app, as in GitHub Actions.
    pub is_app: bool,
    /// Whether the token can only read, as for a fork.
    pub reads_only: bool,
}

/// A comment.
#[derive(Debug, Clone)]
pub struct Comment {
    /// The id.
    pub id: u64,
    /// The login of its author.
    pub login: String,
    /// The text.
    pub body: String,
    created: u64,
    updated: u64,
}

#[derive(Debug, Default)]
struct State {
    users: Vec<User>,
    comments: Vec<Comment>,
    last_id: u64,
    tick: u64,
    is_locked: bool,
    has_graphql: bool,
    moved_to: Option<String>,
    /// How many of the newest comments the lists do not show yet.
    lag: usize,
}

/// A running look-alike.
#[derive(Debug)]
pub struct GitHub {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl User {
    /// A person with a personal token.
    pub fn person(token: &str, id: u64, login: &str) -> Self {
        Self { token: token.to_owned(), id, login: login.to_owned(), is_app: false, reads_only: false }
    }

    /// An app with the token of an installation.
    pub fn app(token: &str, id: u64, login: &str) -> Self {
        Self { is_app: true, ..Self::person(token, id, login) }
    }
}

impl Default for GitHub {
    fn default() -> Self {
        Self::start(vec![User::app("actions-token", 41_898_282, "github-actions[bot]")])
    }
}

impl GitHub {
    /// Starts a look-alike with these users.
    pub fn start(users: Vec<User>) -> Self {
        let state = Arc::new(Mutex::new(State { users, has_graphql: true, last_id: 1000, ..State::default() }));
        let shared = Arc::clone(&state);
        let server = Server::start(move |asked| shared.lock().unwrap().answer(asked));
        Self { server, state }
    }

    /// The URL of the API.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// The variables of a job of GitHub Actions for the pull request, with this token.
    pub fn variables(&self, token: &str, run: u64, attempt: u64) -> Vec<(&'static str, String)> {
        vec![
            ("GITHUB_ACTIONS", "true".to_owned()),
            ("GITHUB_API_URL", self.url()),
            ("GITHUB_GRAPHQL_URL", format!("{}/graphql", self.url())),
            ("GITHUB_SERVER_URL", self.url()),
            ("GITHUB_REPOSITORY", "acme/load".to_owned()),
            ("GITHUB_REF", "refs/pull/7/merge".to_owned()),
            ("GITHUB_EVENT_NAME", "pull_request".to_owned()),
            ("GITHUB_RUN_ID", run.to_string()),
            ("GITHUB_RUN_ATTEMPT", attempt.to_string()),
            ("GITHUB_TOKEN", token.to_owned()),
        ]
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.server.asked()
    }

    /// The requests so far that change something, such as `PATCH /repos/…`.
    pub fn writes(&self) -> Vec<String> {
        let writes = self.asked().into_iter().filter(|asked| asked.method != "GET" && asked.path != "/graphql");
        writes.map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }

    /// Adds a fault.
    pub fn fault(&self, fault: Fault) {
        self.server.fault(fault);
    }

    /// Makes each request wait for its turn.
    pub fn take_turns(&self, turns: Option<Arc<Turns>>) {
        self.server.take_turns(turns);
    }

    /// The comments of the pull request.
    pub fn comments(&self) -> Vec<Comment> {
        self.state.lock().unwrap().comments.clone()
    }

    /// Adds a comment of this user.
    pub fn add(&self, login: &str, body: &str) -> u64 {
        self.state.lock().unwrap().add(login, body).id
    }

    /// Removes a comment.
    pub fn remove(&self, id: u64) {
        self.state.lock().unwrap().comments.retain(|comment| comment.id != id);
    }

    /// Locks the conversation.
    pub fn lock(&self) {
        self.state.lock().unwrap().is_locked = true;
    }

    /// Makes all tokens able only to read.
    pub fn only_read(&self) {
        self.state.lock().unwrap().users.iter_mut().for_each(|user| user.reads_only = true);
    }

    /// Answers no question in GraphQL.
    pub fn without_graphql(&self) {
        self.state.lock().unwrap().has_graphql = false;
    }

    /// Redirects requests for the repository to its number, at this URL.
    pub fn move_to(&self, url: &str) {
        self.state.lock().unwrap().moved_to = Some(url.to_owned());
    }

    /// The lists do not show this many of the newest comments.
    pub fn lag(&self, comments: usize) {
        self.state.lock().unwrap().lag = comments;
    }
}

fn failed(status: u16, message: &str) -> Reply {
    let status_text = status.to_string();
    Reply::json(
        status,
        &json!({ "message": message, "documentation_url": "https://docs.github.com/rest", "status": status_text }),
    )
}

fn invalid(message: &str) -> Reply {
    let error = json!({ "resource": "IssueComment", "code": "unprocessable", "field": "data", "message": message });
    Reply::json(
        422,
        &json!({
            "message": "Validation Failed",
            "errors": [error],
            "documentation_url": "https://docs.github.com/rest/issues/comments",
            "status": "422",
        }),
    )
}

impl State {
    fn add(&mut self, login: &str, body: &str) -> Comment {
        self.last_id += 1;
        self.tick += 1;
        let (login, body) = (login.to_owned(), body.to_owned());
        let comment = Comment { id: self.last_id, login, body, created: self.tick, updated: self.tick };
        self.comments.push(comment.clone());
        comment
    }

    fn answer(&mut self, asked: &Asked) -> Reply {
        let reply = self.route(asked);
        reply
            .with("x-ratelimit-limit", &5000)
            .with("x-ratelimit-remaining", &4999)
            .with("x-ratelimit-used", &1)
            .with("x-ratelimit-reset", &(now() + 3600))
            .with("x-ratelimit-resource", &"core")
            .with("x-github-request-id", &"0000:0000:0000")
    }

    fn route(&mut self, asked: &Asked) -> Reply {
        if asked.header("user-agent").is_none_or(str::is_empty) {
            return Reply {
                status: 403,
                headers: vec![("content-type".to_owned(), "text/html".to_owned())],
                body:
                    "Request forbidden by administrative rules. Please make sure your request has a User-Agent header"
                        .to_owned(),
            };
        }
        let token = asked.header("authorization").and_then(|value| value.split_once(' '));
        let token = token.filter(|(kind, _)| ["bearer", "token"].contains(&kind.to_ascii_lowercase().as_str()));
        let user = token.and_then(|(_, token)| self.users.iter().find(|user| user.token == token.trim())).cloned();
        let Some(user) = user else {
            return if asked.header("authorization").is_some() {
                failed(401, "Bad credentials")
            } else {
                failed(401, "Requires authentication")
            };
        };
        let base = format!("http://{}", asked.header("host").unwrap_or_default());
        let parts: Vec<&str> = asked.path.split('/').skip(1).collect();
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["user"]) if user.is_app => failed(403, "Resource not accessible by integration"),
            ("GET", ["user"]) => Reply::json(200, &whole(&base, &user)),
            ("POST", ["graphql"]) if self.has_graphql => graphql(asked, &user),
            ("GET" | "POST", ["repos", owner, name, "issues", _, "comments"])
            | ("GET" | "PATCH" | "DELETE", ["repos", owner, name, "issues", "comments", _])
                if self.moved_to.is_some() && is_load(owner, name) =>
            {
                let moved = self.moved_to.clone().unwrap_or_default();
                let rest = parts.get(3..).unwrap_or_default().join("/");
                let query = if asked.query.is_empty() { String::new() } else { format!("?{}", asked.query) };
                let url = format!("{moved}/repositories/99/{rest}{query}");
                let kind = if asked.method == "GET" { 301 } else { 307 };
                Reply::json(kind, &json!({ "message": "Moved Permanently", "url": url })).with("location", &url)
            }
            (method, ["repos", owner, name, rest @ ..]) if is_load(owner, name) => {
                self.of_repository(&base, asked, &user, method, rest)
            }
            (method, ["repositories", "99", rest @ ..]) => self.of_repository(&base, asked, &user, method, rest),
            _ => failed(404, "Not Found"),
        }
    }

    fn of_repository(&mut self, base: &str, asked: &Asked, user: &User, method: &str, rest: &[&str]) -> Reply {
        let refused = || failed(403, "Resource not accessible by integration");
        match (method, rest) {
            ("GET", ["issues", "7"]) => Reply::json(
                200,
                &json!({
                    "id": 1, "number": 7, "title": "Change the load", "state": "open", "locked": self.is_locked,
                    "url": format!("{base}/repos/acme/load/issues/7"),
                    "comments": self.comments.len(), "user": simple(base, user),
                }),
            ),
            ("GET", ["issues", "7", "comments"]) => {
                let shown = self.comments.len().saturating_sub(self.lag);
                page(asked, base, 30, &self.comments[..shown], |comment| self.json(base, comment))
            }
            ("POST", ["issues", "7", "comments"]) => {
                if user.reads_only {
                    return refused();
                }
                if self.is_locked {
                    return failed(403, "Unable to create comment because issue is locked.");
                }
                match body(asked) {
                    Ok(body) => {
                        let comment = self.add(&user.login, &body);
                        let at = format!("{base}/repos/acme/load/issues/comments/{}", comment.id);
                        Reply::json(201, &self.json(base, &comment)).with("location", &at)
                    }
                    Err(reply) => reply,
                }
            }
            ("GET" | "PATCH" | "DELETE", ["issues", "comments", id]) => {
                let id: Option<u64> = id.parse().ok();
                let Some(at) = self.comments.iter().position(|comment| Some(comment.id) == id) else {
                    return failed(404, "Not Found");
                };
                if method == "GET" {
                    return Reply::json(200, &self.json(base, &self.comments[at]));
                }
                if user.reads_only {
                    return refused();
                }
                if method == "DELETE" {
                    self.comments.remove(at);
                    return Reply::empty(204);
                }
                match body(asked) {
                    Ok(body) => {
                        self.tick += 1;
                        self.comments[at].body = body;
                        self.comments[at].updated = self.tick;
                        Reply::json(200, &self.json(base, &self.comments[at]))
                    }
                    Err(reply) => reply,
                }
            }
            _ => failed(404, "Not Found"),
        }
    }

    fn json(&self, base: &str, comment: &Comment) -> Value {
        let Comment { id, login, body, created, updated } = comment;
        let user = self.users.iter().find(|user| user.login == *login).cloned();
        // Others have ids that no token has.
        let user = user.unwrap_or_else(|| User::person("", 500_000 + login.len() as u64, login));
        json!({
            "id": id,
            "node_id": format!("IC_{id}"),
            "url": format!("{base}/repos/acme/load/issues/comments/{id}"),
            "html_url": format!("{base}/acme/load/pull/7#issuecomment-{id}"),
            "issue_url": format!("{base}/repos/acme/load/issues/7"),
            "body": body,
            "user": simple(base, &user),
            "created_at": time(*created),
            "updated_at": time(*updated),
            "author_association": "CONTRIBUTOR",
            "performed_via_github_app": null,
        })
    }
}

fn is_load(owner: &str, name: &str) -> bool {
    owner.eq_ignore_ascii_case("acme") && name.eq_ignore_ascii_case("load")
}

/// The text of a comment in a request.
fn body(asked: &Asked) -> Result<String, Reply> {
    let Some(json) = asked.json() else { return Err(failed(400, "Problems parsing JSON")) };
    let Some(body) = json.get("body") else { return Err(failed(422, "Invalid request.\n\n\"body\" wasn't supplied.")) };
    let Some(body) = body.as_str() else {
        return Err(failed(422, &format!("Invalid request.\n\nFor 'properties/body', {body} is not a string.")));
    };
    if body.trim().is_empty() {
        return Err(invalid("Body cannot be blank"));
    }
    if body.chars().count() > LONGEST {
        return Err(invalid("Body is too long (maximum is 65536 characters)"));
    }
    Ok(body.to_owned())
}

fn graphql(asked: &Asked, user: &User) -> Reply {
    let query = asked.json().and_then(|json| Some(json.get("query")?.as_str()?.to_owned())).unwrap_or_default();
    let plain: String = query.chars().filter(|character| !character.is_whitespace()).collect();
    if plain.trim_start_matches("query") == "{viewer{login}}" {
        return Reply::json(200, &json!({ "data": { "viewer": { "login": user.login } } }));
    }
    Reply::json(200, &json!({ "errors": [{ "type": "parseError", "message": "this look-alike cannot answer it" }] }))
}

fn simple(base: &str, user: &User) -> Value {
    let User { id, login, .. } = user;
    let url = format!("{base}/users/{login}");
    json!({
        "login": login,
        "id": id,
        "node_id": format!("U_{id}"),
        "avatar_url": format!("{base}/avatars/{id}"),
        "gravatar_id": "",
        "url": url,
        "html_url": format!("{base}/{login}"),
        "followers_url": format!("{url}/followers"),
        "following_url": format!("{url}/following{{/other_user}}"),
        "gists_url": format!("{url}/gists{{/gist_id}}"),
        "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{url}/subscriptions"),
        "organizations_url": format!("{url}/orgs"),
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events{{/privacy}}"),
        "received_events_url": format!("{url}/received_events"),
        "type": if login.ends_with("[bot]") { "Bot" } else { "User" },
        "site_admin": false,
        "user_view_type": "public",
    })
}

/// The answer about the token's own user.
fn whole(base: &str, user: &User) -> Value {
    let mut json = simple(base, user);
    let more = json!({
        "name": null, "company": null, "blog": "", "location": null, "email": null, "hireable": null, "bio": null,
        "public_repos": 0, "public_gists": 0, "followers": 0, "following": 0,
        "created_at": time(0), "updated_at": time(0),
    });
    if let (Some(json), Value::Object(more)) = (json.as_object_mut(), more) {
        json.extend(more);
    }
    json
}
