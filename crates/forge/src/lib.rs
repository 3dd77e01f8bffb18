//! Keeps one comment on the pull request (GitHub, GitHub Enterprise Server) or merge request (GitLab) of a CI job, and
//! writes the outputs of a step of GitHub Actions.
//!
//! A comment starts with a hidden line that has its key and the run that wrote it. Only a comment of the token's own user
//! that starts with this line is changed or deleted.
//!
//! What holds when several jobs post a comment with one key at the same time:
//!
//! - One comment remains: the one with the lowest id. Every job that finds several deletes the others.
//! - The comment keeps the text of the highest run and attempt that was found. A job of an earlier run writes nothing, and
//!   reports [`Action::Outdated`].
//! - A create whose answer is lost is never repeated before the comments are listed again.
//! - GitHub and GitLab cannot make a change conditional. A job of an earlier run that has listed the comments, and whose
//!   change arrives after a later run has written *and* checked its own, wins: only one job at a time per pull request
//!   (`concurrency` of a workflow) excludes this.

mod environment;
mod error;
mod github;
mod gitlab;
mod http;
mod marker;
mod outputs;
mod post;
mod talk;

use std::{fmt, time::Duration};

use self::{
    environment::{GitHubPlace, GitLabPlace, Lookup},
    github::GitHub,
    gitlab::GitLab,
    http::Client,
    post::Api,
};
pub use self::{
    error::ForgeError,
    outputs::{LONGEST_OUTPUT, LONGEST_SUMMARY, OutputError, Outputs},
};

/// A kind of forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// GitHub or GitHub Enterprise Server.
    GitHub,
    /// GitLab.
    GitLab,
}

/// A run of a workflow or pipeline. Later runs are greater, and so are later attempts of the same run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// `GITHUB_RUN_ID`, or `CI_PIPELINE_ID`.
    pub id: u64,
    /// `GITHUB_RUN_ATTEMPT`, or `CI_JOB_ID`.
    pub attempt: u64,
}

/// A comment to post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comment<'a> {
    /// Distinguishes the comments of several workflows on one pull request.
    pub key: &'a str,
    /// Its text, in Markdown.
    pub body: &'a str,
    /// The run that made the text; [`Forge::run`] is the one of the environment. Without one, the text is always written.
    pub run: Option<Run>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The comment is new.
    Created,
    /// The comment has a new text.
    Updated,
    /// The comment had this text already.
    Unchanged,
    /// The comment has the text of a later run, and keeps it.
    Outdated,
}

/// The comment after [`Forge::post`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// Where people read it.
    pub url: String,
    /// Its id.
    pub id: u64,
    /// What was done.
    pub action: Action,
    /// How many other comments of the same key were deleted.
    pub removed: usize,
}

/// How long to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The longest time that all rate limits together may take.
    pub longest_wait: Duration,
    /// How often a request without an answer is sent altogether; at least 1.
    pub tries: u32,
    /// The pause before the second try. Each further pause is twice as long, and each has jitter.
    pub pause: Duration,
    /// The longest time of one request.
    pub answer: Duration,
}

/// A pull request or merge request, and the token that can comment on it.
#[derive(Debug)]
pub struct Forge {
    client: Client,
    api: Api,
    patience: Patience,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
        })
    }
}

impl Kind {
    /// What a proposed change is called there.
    pub fn request(self) -> &'static str {
        match self {
            Self::GitHub => "pull request",
            Self::GitLab => "merge request",
        }
    }

    /// The most characters of a comment, counted as Unicode code points.
    ///
    /// GitHub's error message says 65,536 characters. What GitHub measures is 262,144 bytes (2026-09), which so many
    /// characters never exceed; older Enterprise Servers may count. GitLab's documentation (2026-11) says 1,000,000.
    pub fn longest_comment(self) -> usize {
        match self {
            Self::GitHub => 65_536,
            Self::GitLab => 1_000_000,
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            longest_wait: Duration::from_mins(3),
            tries: 5,
            pause: Duration::from_secs(1),
            answer: Duration::from_secs(30),
        }
    }
}

impl Forge {
    /// The pull request or merge request that the environment of a CI job names. It reads the files of `GITHUB_EVENT_PATH`
    /// and `SSL_CERT_FILE`, and sends nothing.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ForgeError> {
        let lookup = Lookup(lookup);
        let (client, api) = match lookup.kind()? {
            Kind::GitHub => {
                let place = GitHubPlace::of(&lookup)?;
                let (client, github) = GitHub::connect(place, &lookup)?;
                (client, Api::GitHub(github))
            }
            Kind::GitLab => {
                let place = GitLabPlace::of(&lookup)?;
                let (client, gitlab) = GitLab::connect(place, &lookup)?;
                (client, Api::GitLab(gitlab))
            }
        };
        Ok(Self { client, api, patience: Patience::default() }.with_patience(Patience::default()))
    }

    /// The same for the pull request or merge request with this number, whatever the job runs for.
    pub fn of_request(number: u64, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ForgeError> {
        Self::from_environment(&|name| match name {
            "GITHUB_EVENT_PATH" => None,
            "GITHUB_REF" => Some(format!("refs/pull/{number}/merge")),
            "CI_MERGE_REQUEST_IID" => Some(number.to_string()),
            name => lookup(name),
        })
    }

    /// The same with other times.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.client.set_answer(patience.answer);
        self.patience = Patience { tries: patience.tries.max(1), ..patience };
        self
    }

    /// Where comments are posted.
    pub fn kind(&self) -> Kind {
        self.client.kind
    }

    /// The run of the environment.
    pub fn run(&self) -> Option<Run> {
        match &self.api {
            Api::GitHub(github) => github.place.run,
            Api::GitLab(gitlab) => gitlab.place.run,
        }
    }

    /// The page of the run of the environment.
    pub fn run_url(&self) -> Option<&str> {
        match &self.api {
            Api::GitHub(github) => github.place.run_url.as_deref(),
            Api::GitLab(gitlab) => gitlab.place.run_url.as_deref(),
        }
    }

    /// The pull request or merge request, such as `pull request 7 of acme/load`.
    pub fn request(&self) -> String {
        self.api.request()
    }

    /// Whether the pull request is known to come from a fork, whose token usually cannot comment.
    pub fn is_fork(&self) -> bool {
        match &self.api {
            Api::GitHub(github) => github.place.is_fork == Some(true),
            Api::GitLab(_) => false,
        }
    }

    /// The most characters of [`Comment::body`] with this key: the hidden first line counts, too.
    pub fn longest_body(&self, key: &str) -> usize {
        post::longest_body(self.kind(), key)
    }

    /// Makes the comment of this key have this text. `say` gets a line about each wait.
    pub async fn post(&self, comment: &Comment<'_>, say: &(dyn Fn(&str) + Send + Sync)) -> Result<Posted, ForgeError> {
        post::post(&self.client, &self.api, self.patience, comment, say).await
    }
}
