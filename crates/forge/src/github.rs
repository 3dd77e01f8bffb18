//! Comments of GitHub's REST API (version 2022-11-28).

use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    ForgeError, Kind,
    environment::{GitHubPlace, Lookup},
    http::{Answer, Client, Token},
    post::{Author, Me, Note, Wrote, pages, refused},
    talk::{Talk, Written},
};

/// A pull request.
#[derive(Debug)]
pub(crate) struct GitHub {
    pub place: GitHubPlace,
    graphql: String,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    body: Option<String>,
    html_url: Option<String>,
    // `null` if the account is gone.
    user: Option<User>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
}

impl From<Comment> for Note {
    fn from(comment: Comment) -> Self {
        Self {
            id: comment.id,
            author: comment.user.map(|user| Author { id: user.id, login: user.login }),
            body: comment.body.unwrap_or_default(),
            url: comment.html_url,
        }
    }
}

impl GitHub {
    pub fn connect(place: GitHubPlace, lookup: &Lookup<'_>) -> Result<(Client, Self), ForgeError> {
        let help = "add it to the step: `env:` with `GITHUB_TOKEN: ${{ github.token }}`";
        let set = ["GITHUB_TOKEN", "GH_TOKEN"].into_iter().find_map(|name| Some((name, lookup.get(name)?)));
        let (name, token) = set.ok_or_else(|| ForgeError::Variable {
            name: "GITHUB_TOKEN",
            problem: "is not set, nor is `GH_TOKEN`".to_owned(),
            help: help.to_owned(),
        })?;
        let token = Token::new(&token, header::AUTHORIZATION, "Bearer ").ok_or_else(|| ForgeError::Variable {
            name,
            problem: "is not a token".to_owned(),
            help: help.to_owned(),
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("trunnion/", env!("CARGO_PKG_VERSION"))));
        let base = lookup.get("GITHUB_API_URL").unwrap_or_else(|| "https://api.github.com".to_owned());
        let client = Client::new(Kind::GitHub, ("GITHUB_API_URL", &base), token, headers, lookup)?;
        let graphql = lookup.get("GITHUB_GRAPHQL_URL").unwrap_or_else(|| match client.base.strip_suffix("/api/v3") {
            Some(server) => format!("{server}/api/graphql"),
            None => format!("{}/graphql", client.base),
        });
        Ok((client, Self { place, graphql }))
    }

    pub fn request(&self) -> String {
        format!("pull request {} of {}", self.place.number, self.place.repository)
    }

    fn comments(&self, client: &Client) -> String {
        format!("{}/repos/{}/issues/{}/comments", client.base, self.place.repository, self.place.number)
    }

    fn comment(&self, client: &Client, id: u64) -> String {
        format!("{}/repos/{}/issues/comments/{id}", client.base, self.place.repository)
    }

    pub async fn list(
        &self,
        talk: &mut Talk<'_>,
        keep: &(dyn Fn(&Note) -> bool + Sync),
    ) -> Result<Vec<Note>, ForgeError> {
        let first = format!("{}?per_page=100", self.comments(talk.client));
        let refused = |client: &Client, answer: &Answer| self.refused(client, "list the comments of", answer);
        pages::<Comment>(talk, first, keep, &refused).await
    }

    /// Who the token is, if that is certain.
    ///
    /// `GET /user` knows the owner of a personal token. The token of an installation, which the token of GitHub Actions is,
    /// may not ask that; GraphQL's `viewer` has its login, to which REST adds `[bot]`.
    pub async fn identity(&self, talk: &mut Talk<'_>) -> Result<Option<Me>, ForgeError> {
        let answer = talk.repeat(&Method::GET, &format!("{}/user", talk.client.base), None).await?;
        if answer.status.is_success() {
            return Ok(answer.json::<User>(talk.client).ok().map(|user| Me::Id(user.id)));
        }
        if answer.status.as_u16() == 401 {
            return Err(self.refused(talk.client, "name the user of the token for", &answer));
        }
        let message = answer.json::<Value>(talk.client).ok();
        let message = message.as_ref().and_then(|answer| answer.get("message")?.as_str()).unwrap_or_default();
        if !message.contains("accessible by integration") || talk.client.checked(&self.graphql).is_err() {
            return Ok(None);
        }
        let query = json!({ "query": "query { viewer { login } }" });
        let answer = match talk.repeat(&Method::POST, &self.graphql, Some(&query)).await {
            Ok(answer) => answer,
            Err(ForgeError::Unanswered { .. } | ForgeError::Elsewhere { .. } | ForgeError::Unexpected { .. }) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let answer = answer.json::<Value>(talk.client).unwrap_or_default();
        let login = answer.pointer("/data/viewer/login").and_then(Value::as_str).filter(|login| !login.is_empty());
        // No person's login can have brackets.
        Ok(login.map(|login| Me::Login(format!("{}[bot]", login.strip_suffix("[bot]").unwrap_or(login)))))
    }

    pub async fn create(&self, talk: &mut Talk<'_>, body: &str) -> Result<Wrote, ForgeError> {
        let url = self.comments(talk.client);
        match talk.write(&Method::POST, &url, &json!({ "body": body })).await? {
            Written::Answer(answer) if answer.status.is_success() => {
                Ok(Wrote::Done(answer.json::<Comment>(talk.client)?.into()))
            }
            Written::Answer(answer) => Err(self.refused(talk.client, "create the comment on", &answer)),
            Written::ReadAgain { may_be_done } => Ok(Wrote::ReadAgain { may_be_done }),
        }
    }

    pub async fn update(&self, talk: &mut Talk<'_>, id: u64, body: &str) -> Result<Wrote, ForgeError> {
        let url = self.comment(talk.client, id);
        match talk.write(&Method::PATCH, &url, &json!({ "body": body })).await? {
            Written::Answer(answer) if answer.status.is_success() => {
                Ok(Wrote::Done(answer.json::<Comment>(talk.client)?.into()))
            }
            Written::Answer(answer) if answer.status.as_u16() == 404 => Ok(Wrote::Gone),
            Written::Answer(answer) => Err(self.refused(talk.client, "update the comment on", &answer)),
            Written::ReadAgain { may_be_done } => Ok(Wrote::ReadAgain { may_be_done }),
        }
    }

    /// Whether the comment was there.
    pub async fn delete(&self, talk: &mut Talk<'_>, id: u64) -> Result<bool, ForgeError> {
        let answer = talk.repeat(&Method::DELETE, &self.comment(talk.client, id), None).await?;
        match answer.status.as_u16() {
            200..=299 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refused(talk.client, "delete another comment of the same key on", &answer)),
        }
    }

    fn refused(&self, client: &Client, what: &str, answer: &Answer) -> ForgeError {
        const SUMMARY: &str = "use the job's summary there, or post from a workflow that starts on `workflow_run`";
        let message = message(client, answer);
        let help = match answer.status.as_u16() {
            401 => Some(
                "the token is wrong or has expired: pass `GITHUB_TOKEN: ${{ github.token }}` in the step's `env:`"
                    .to_owned(),
            ),
            403 if message.contains("locked") => Some("unlock the conversation of the pull request".to_owned()),
            403 | 404 if self.place.is_fork == Some(true) => {
                Some(format!("the token of a pull request from a fork can only read: {SUMMARY}"))
            }
            403 | 404 => Some(format!(
                "give the job `permissions:` with `pull-requests: write`; the token of a pull request from a fork can only \
                 read: {SUMMARY}"
            )),
            _ => None,
        };
        refused(client, format!("{what} {}", self.request()), answer.status.as_u16(), message, help)
    }
}

fn message(client: &Client, answer: &Answer) -> String {
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else { return String::new() };
    let text = |value: &Value| value.get("message").and_then(Value::as_str).map(str::to_owned);
    let errors = body.get("errors").and_then(Value::as_array).into_iter().flatten().filter_map(text);
    client.said(&text(&body).into_iter().chain(errors).collect::<Vec<_>>().join(": "))
}
