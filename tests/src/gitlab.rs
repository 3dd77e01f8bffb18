//! A look-alike of GitLab's REST API, as far as notes on merge requests need it.
//!
//! It has the project 42 with the merge request 7. A note is changed only by its author; a maintainer can delete each one.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::forge::{Asked, Fault, Reply, Server, Turns, page, time};

const LONGEST: usize = 1_000_000;

/// A user who has a token.
#[derive(Debug, Clone)]
pub struct User {
    /// The token.
    pub token: String,
    /// The id.
    pub id: u64,
    /// The name.
    pub username: String,
    /// Whether the token has the scope `api`, and not only `read_api`.
    pub can_write: bool,
}

/// A note.
#[derive(Debug, Clone)]
pub struct Note {
    /// The id.
    pub id: u64,
    /// The name of its author.
    pub username: String,
    /// The text.
    pub body: String,
    /// Whether GitLab itself wrote it.
    pub system: bool,
    created: u64,
    updated: u64,
}

#[derive(Debug)]
struct State {
    users: Vec<User>,
    notes: Vec<Note>,
    last_id: u64,
    tick: u64,
    /// The quick actions that were executed.
    executed: Vec<String>,
}

/// A running look-alike.
#[derive(Debug)]
pub struct GitLab {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl User {
    /// A user whose token has the scope `api`.
    pub fn new(token: &str, id: u64, username: &str) -> Self {
        Self { token: token.to_owned(), id, username: username.to_owned(), can_write: true }
    }
}

impl Default for GitLab {
    fn default() -> Self {
        Self::start(vec![User::new("bot-token", 5, "project_42_bot_1")])
    }
}

impl GitLab {
    /// Starts a look-alike with these users.
    pub fn start(users: Vec<User>) -> Self {
        let state = State { users, notes: Vec::new(), last_id: 1000, tick: 0, executed: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let server = Server::start(move |asked| shared.lock().unwrap().route(asked));
        Self { server, state }
    }

    /// The URL of the server.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// The variables of a job of GitLab CI for the merge request, with this token.
    pub fn variables(&self, token: &str, pipeline: u64, job: u64) -> Vec<(&'static str, String)> {
        vec![
            ("GITLAB_CI", "true".to_owned()),
            ("CI_API_V4_URL", format!("{}/api/v4", self.url())),
            ("CI_PROJECT_ID", "42".to_owned()),
            ("CI_PROJECT_URL", format!("{}/acme/load", self.url())),
            ("CI_MERGE_REQUEST_IID", "7".to_owned()),
            ("CI_PIPELINE_ID", pipeline.to_string()),
            ("CI_JOB_ID", job.to_string()),
            ("GITLAB_TOKEN", token.to_owned()),
        ]
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.server.asked()
    }

    /// Adds a fault.
    pub fn fault(&self, fault: Fault) {
        self.server.fault(fault);
    }

    /// Makes each request wait for its turn.
    pub fn take_turns(&self, turns: Option<Arc<Turns>>) {
        self.server.take_turns(turns);
    }

    /// The notes of the merge request.
    pub fn notes(&self) -> Vec<Note> {
        self.state.lock().unwrap().notes.clone()
    }

    /// Adds a note of this user.
    pub fn add(&self, username: &str, body: &str, system: bool) -> u64 {
        self.state.lock().unwrap().add(username, body, system).id
    }

    /// The quick actions that were executed.
    pub fn executed(&self) -> Vec<String> {
        self.state.lock().unwrap().executed.clone()
    }

    /// Makes all tokens able only to read.
    pub fn only_read(&self) {
        self.state.lock().unwrap().users.iter_mut().for_each(|user| user.can_write = false);
    }
}

impl State {
    fn add(&mut self, username: &str, body: &str, system: bool) -> Note {
        self.last_id += 1;
        self.tick += 1;
        let (username, body) = (username.to_owned(), body.to_owned());
        let note = Note { id: self.last_id, username, body, system, created: self.tick, updated: self.tick };
        self.notes.push(note.clone());
        note
    }

    fn route(&mut self, asked: &Asked) -> Reply {
        let bearer = asked.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let token = asked.header("private-token").or(bearer);
        let user = token.and_then(|token| self.users.iter().find(|user| user.token == token)).cloned();
        let Some(user) = user else { return Reply::json(401, &json!({ "message": "401 Unauthorized" })) };
        let base = format!("http://{}", asked.header("host").unwrap_or_default());
        let Some(path) = asked.path.strip_prefix("/api/v4/") else {
            return Reply::json(404, &json!({ "error": "404 Not Found" }));
        };
        let parts: Vec<&str> = path.split('/').collect();
        let is_write = asked.method != "GET";
        if is_write && !user.can_write {
            return Reply::json(
                403,
                &json!({
                    "error": "insufficient_scope",
                    "error_description": "The request requires higher privileges than provided by the access token.",
                    "scope": "api",
                }),
            );
        }
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["user"]) => Reply::json(200, &person(&base, &user)),
            (method, ["projects", "42", "merge_requests", "7", "notes", rest @ ..]) => {
                self.of_request(&base, asked, &user, method, rest)
            }
            (_, ["projects", "42", ..]) => Reply::json(404, &json!({ "message": "404 Not found" })),
            _ => Reply::json(404, &json!({ "message": "404 Project Not Found" })),
        }
    }

    fn of_request(&mut self, base: &str, asked: &Asked, user: &User, method: &str, rest: &[&str]) -> Reply {
        match (method, rest) {
            ("GET", []) => {
                let mut shown: Vec<&Note> = self.notes.iter().collect();
                // GitLab shows the newest note first, unless it is asked for another order.
                if asked.parameter("sort") != Some("asc") {
                    shown.reverse();
                }
                page(asked, base, 20, &shown, |note| self.json(base, note))
            }
            ("POST", []) => match body(asked) {
                Ok(body) => {
                    let body = self.execute(&body);
                    if body.is_empty() {
                        return Reply::json(202, &json!({ "commands_changes": {}, "summary": ["Applied."] }));
                    }
                    let note = self.add(&user.username, &body, false);
                    Reply::json(201, &self.json(base, &note))
                }
                Err(reply) => reply,
            },
            (_, [id]) => {
                let id: Option<u64> = id.parse().ok();
                let Some(at) = self.notes.iter().position(|note| Some(note.id) == id) else {
                    return Reply::json(404, &json!({ "message": "404 Not found" }));
                };
                let is_own = self.notes[at].username == user.username;
                match method {
                    "GET" => Reply::json(200, &self.json(base, &self.notes[at])),
                    _ if !is_own => Reply::json(403, &json!({ "message": "403 Forbidden" })),
                    "DELETE" => {
                        self.notes.remove(at);
                        Reply::empty(204)
                    }
                    "PUT" => match body(asked) {
                        Ok(body) => {
                            self.tick += 1;
                            self.notes[at].body = self.execute(&body);
                            self.notes[at].updated = self.tick;
                            Reply::json(200, &self.json(base, &self.notes[at]))
                        }
                        Err(reply) => reply,
                    },
                    _ => Reply::json(405, &json!({ "error": "405 Not Allowed" })),
                }
            }
            _ => Reply::json(404, &json!({ "error": "404 Not Found" })),
        }
    }

    /// Executes each line outside of code that starts with a slash, and returns the rest.
    fn execute(&mut self, body: &str) -> String {
        let mut in_code = false;
        let mut rest = Vec::new();
        for line in body.replace('\r', "").lines() {
            if line.starts_with("```") {
                in_code = !in_code;
            }
            if !in_code && line.starts_with('/') {
                self.executed.push(line.to_owned());
            } else {
                rest.push(line.to_owned());
            }
        }
        rest.join("\n").trim_end().to_owned()
    }

    fn json(&self, base: &str, note: &Note) -> Value {
        let user = self.users.iter().find(|user| user.username == note.username).cloned();
        let user = user.unwrap_or_else(|| User::new("", 500_000 + note.username.len() as u64, &note.username));
        json!({
            "id": note.id,
            "type": null,
            "body": note.body,
            "author": person(base, &user),
            "created_at": time(note.created),
            "updated_at": time(note.updated),
            "system": note.system,
            "noteable_id": 300,
            "noteable_type": "MergeRequest",
            "project_id": 42,
            "resolvable": false,
            "confidential": false,
            "internal": false,
            "imported": false,
            "noteable_iid": 7,
            "commands_changes": {},
        })
    }
}

/// The text of a note in a request: as JSON, or as a form.
fn body(asked: &Asked) -> Result<String, Reply> {
    let json = asked.json().and_then(|json| Some(json.get("body")?.as_str()?.to_owned()));
    let Some(body) = json else { return Err(Reply::json(400, &json!({ "error": "body is missing" }))) };
    if body.trim().is_empty() {
        return Err(Reply::json(400, &json!({ "message": "400 Bad request - Note {:note=>[\"can't be blank\"]}" })));
    }
    if body.chars().count() > LONGEST {
        let why = "400 Bad request - Note {:note=>[\"is too long (maximum is 1000000 characters)\"]}";
        return Err(Reply::json(400, &json!({ "message": why })));
    }
    Ok(body)
}

fn person(base: &str, user: &User) -> Value {
    let User { id, username, .. } = user;
    json!({
        "id": id,
        "username": username,
        "name": username,
        "state": "active",
        "locked": false,
        "avatar_url": null,
        "web_url": format!("{base}/{username}"),
    })
}
