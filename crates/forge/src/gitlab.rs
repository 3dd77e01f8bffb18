//! Notes of GitLab's REST API (version 4).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    ForgeError, Kind,
    environment::{GitLabPlace, Lookup},
    http::{Answer, Client, Token},
    post::{Author, Me, Note, Wrote, pages, refused},
    talk::{Talk, Written},
};

/// A merge request.
#[derive(Debug)]
pub(crate) struct GitLab {
    pub place: GitLabPlace,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    body: Option<String>,
    author: Option<User>,
    #[serde(default)]
    system: bool,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    #[serde(default)]
    username: String,
}

impl From<Comment> for Note {
    fn from(comment: Comment) -> Self {
        Self {
            id: comment.id,
            // GitLab itself writes system notes in the name of users.
            author: comment.author.filter(|_| !comment.system).map(|user| Author { id: user.id, login: user.username }),
            body: comment.body.unwrap_or_default(),
            url: None,
        }
    }
}

impl GitLab {
    pub fn connect(place: GitLabPlace, lookup: &Lookup<'_>) -> Result<(Client, Self), ForgeError> {
        let help = "make a project access token with the scope `api` and the role Developer, and a masked CI/CD variable \
                    `GITLAB_TOKEN` with it; GitLab's `CI_JOB_TOKEN` cannot write notes";
        let token = lookup.needed("GITLAB_TOKEN", help)?;
        let token = Token::new(&token, HeaderName::from_static("private-token"), "");
        let token = token.ok_or_else(|| ForgeError::Variable {
            name: "GITLAB_TOKEN",
            problem: "is not a token".to_owned(),
            help: help.to_owned(),
        })?;
        let base = lookup.needed("CI_API_V4_URL", "GitLab CI sets it, such as to https://gitlab.com/api/v4")?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("trunnion/", env!("CARGO_PKG_VERSION"))));
        let client = Client::new(Kind::GitLab, ("CI_API_V4_URL", &base), token, headers, lookup)?;
        Ok((client, Self { place }))
    }

    pub fn request(&self) -> String {
        format!("merge request {} of project {}", self.place.number, self.place.project)
    }

    fn notes(&self, client: &Client) -> String {
        format!("{}/projects/{}/merge_requests/{}/notes", client.base, self.place.project, self.place.number)
    }

    /// The page of a note: the API does not say it.
    pub fn url(&self, id: u64) -> String {
        let project = self.place.project_url.as_deref().unwrap_or_default();
        format!("{}/-/merge_requests/{}#note_{id}", project.trim_end_matches('/'), self.place.number)
    }

    pub async fn list(
        &self,
        talk: &mut Talk<'_>,
        keep: &(dyn Fn(&Note) -> bool + Sync),
    ) -> Result<Vec<Note>, ForgeError> {
        let first = format!("{}?per_page=100&order_by=created_at&sort=asc", self.notes(talk.client));
        let refused = |client: &Client, answer: &Answer| self.refused(client, "list the notes of", answer);
        pages::<Comment>(talk, first, keep, &refused).await
    }

    pub async fn identity(&self, talk: &mut Talk<'_>) -> Result<Option<Me>, ForgeError> {
        let answer = talk.repeat(&Method::GET, &format!("{}/user", talk.client.base), None).await?;
        match answer.status.as_u16() {
            200 => Ok(answer.json::<User>(talk.client).ok().map(|user| Me::Id(user.id))),
            401 => Err(self.refused(talk.client, "name the user of the token for", &answer)),
            _ => Ok(None),
        }
    }

    pub async fn create(&self, talk: &mut Talk<'_>, body: &str) -> Result<Wrote, ForgeError> {
        match talk.write(&Method::POST, &self.notes(talk.client), &json!({ "body": body })).await? {
            Written::Answer(answer) if answer.status.is_success() => {
                Ok(Wrote::Done(answer.json::<Comment>(talk.client)?.into()))
            }
            Written::Answer(answer) => Err(self.refused(talk.client, "create the note on", &answer)),
            Written::ReadAgain { may_be_done } => Ok(Wrote::ReadAgain { may_be_done }),
        }
    }

    pub async fn update(&self, talk: &mut Talk<'_>, id: u64, body: &str) -> Result<Wrote, ForgeError> {
        let url = format!("{}/{id}", self.notes(talk.client));
        match talk.write(&Method::PUT, &url, &json!({ "body": body })).await? {
            Written::Answer(answer) if answer.status.is_success() => {
                Ok(Wrote::Done(answer.json::<Comment>(talk.client)?.into()))
            }
            Written::Answer(answer) if answer.status.as_u16() == 404 => Ok(Wrote::Gone),
            Written::Answer(answer) => Err(self.refused(talk.client, "update the note on", &answer)),
            Written::ReadAgain { may_be_done } => Ok(Wrote::ReadAgain { may_be_done }),
        }
    }

    /// Whether the note was there.
    pub async fn delete(&self, talk: &mut Talk<'_>, id: u64) -> Result<bool, ForgeError> {
        let url = format!("{}/{id}", self.notes(talk.client));
        let answer = talk.repeat(&Method::DELETE, &url, None).await?;
        match answer.status.as_u16() {
            200..=299 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refused(talk.client, "delete another note of the same key on", &answer)),
        }
    }

    fn refused(&self, client: &Client, what: &str, answer: &Answer) -> ForgeError {
        let help = match answer.status.as_u16() {
            401 => Some("`GITLAB_TOKEN` is wrong or has expired: make a new project access token with the scope `api`"),
            403 => Some("give `GITLAB_TOKEN` the scope `api` and the role Developer in the project"),
            404 => Some(
                "give `GITLAB_TOKEN` access to the project of the merge request; a protected variable is not set for \
                 unprotected branches",
            ),
            _ => None,
        };
        let what = format!("{what} {}", self.request());
        refused(client, what, answer.status.as_u16(), message(client, answer), help.map(str::to_owned))
    }
}

fn message(client: &Client, answer: &Answer) -> String {
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else { return String::new() };
    let said = ["message", "error_description", "error"].into_iter().find_map(|name| body.get(name));
    match said {
        Some(Value::String(said)) => client.said(said),
        Some(said) => client.said(&said.to_string()),
        None => String::new(),
    }
}

/// A text in which GitLab finds no quick action.
///
/// GitLab executes a line such as `/merge` with the rights of the token (`Gitlab::QuickActions::Extractor`: the slash is
/// the first character of a line). Outside of code, an HTML entity shows the same slash; in code, a space precedes it.
pub(crate) fn without_quick_actions(text: &str) -> Cow<'_, str> {
    // GitLab removes each carriage return before it looks for the start of a line.
    let starts = |line: &str| line.trim_start_matches('\r').starts_with('/');
    if !text.split('\n').any(starts) {
        return Cow::Borrowed(text);
    }
    let mut in_code = false;
    let mut lines = Vec::new();
    for line in text.split('\n') {
        if ["```", "~~~"].iter().any(|fence| line.trim_start().starts_with(fence)) {
            in_code = !in_code;
        }
        lines.push(match line.trim_start_matches('\r').strip_prefix('/') {
            Some(_) if in_code => format!(" {line}"),
            Some(rest) => format!("&#47;{rest}"),
            None => line.to_owned(),
        });
    }
    Cow::Owned(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_starts_with_a_slash() {
        let text = "/merge\n a /close\n```\n/label ~x\n```\n\r/approve\r\nend";
        assert_eq!(without_quick_actions(text), "&#47;merge\n a /close\n```\n /label ~x\n```\n&#47;approve\r\nend");
        assert!(matches!(without_quick_actions("a\n b/c"), Cow::Borrowed(_)));
        // GitLab removes carriage returns first.
        let code = without_quick_actions("```\n\r/merge\n```");
        assert!(code.replace('\r', "").lines().all(|line| !line.starts_with('/')), "{code:?}");
    }
}
