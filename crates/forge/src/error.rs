//! What can go wrong, and the next step.

use crate::Kind;

/// Why a comment was not posted.
///
/// No variant has the token, and [`ForgeError::help`] says the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForgeError {
    /// No variable of GitHub Actions or GitLab CI is set.
    #[error("this is no run of GitHub Actions or GitLab CI: neither `GITHUB_ACTIONS` nor `GITLAB_CI` is set")]
    NotInCi,
    /// A variable is missing or cannot be used.
    #[error("`{name}` {problem}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
        /// The next step.
        help: String,
    },
    /// The run has no pull request or merge request.
    #[error("this run is not for a {}: {why}", kind.request())]
    NoRequest {
        /// Where it runs.
        kind: Kind,
        /// How that was determined.
        why: String,
        /// The next step.
        help: String,
    },
    /// The API is not encrypted, and not on this machine.
    #[error("`{name}` is `{origin}`, but the token is only sent over https")]
    Plain {
        /// The variable with the URL.
        name: &'static str,
        /// Scheme, host and port.
        origin: String,
    },
    /// The variable of a proxy has no usable URL.
    #[error("`{variable}` is not the URL of a proxy")]
    Proxy {
        /// Its name.
        variable: &'static str,
    },
    /// The certificate authorities cannot be read.
    #[error("no certificate authorities can be read from {source_of}: {why}")]
    Authorities {
        /// The variable or the machine.
        source_of: String,
        /// Why not.
        why: String,
    },
    /// The key of a comment is empty or too long.
    #[error("a comment's key has 1 to 200 bytes, but this one has {bytes}")]
    Key {
        /// Its length.
        bytes: usize,
    },
    /// The comment is longer than the forge allows.
    #[error("the comment has {characters} characters, but {kind} allows {most}")]
    TooLong {
        /// Where it is posted.
        kind: Kind,
        /// The length of the comment in Unicode characters, its hidden first line included.
        characters: usize,
        /// The highest number.
        most: usize,
    },
    /// The forge refused a request.
    #[error("{kind} refused to {what} ({status}{}{message})", if message.is_empty() { "" } else { ": " })]
    Refused {
        /// Who refused it.
        kind: Kind,
        /// What was asked, such as `create the comment on pull request 7 of acme/load`.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The forge's own words; may be empty.
        message: String,
        /// The next step.
        help: Option<String>,
    },
    /// The forge asks for a longer wait than allowed.
    #[error("{kind}'s rate limit ends in {seconds} s, which is longer than the {longest} s that this command waits")]
    RateLimited {
        /// Whose limit it is.
        kind: Kind,
        /// The wait that it asks for.
        seconds: u64,
        /// The longest wait, over all requests.
        longest: u64,
    },
    /// The forge did not answer.
    #[error("{kind} at `{origin}` did not answer after {tries} tries: {why}")]
    Unanswered {
        /// Who did not answer.
        kind: Kind,
        /// Scheme, host and port.
        origin: String,
        /// How often it was asked.
        tries: u32,
        /// The last failure.
        why: String,
    },
    /// An answer leads to another server, which must not get the token.
    #[error("{kind} at `{from}` leads to `{to}`, but the token is only sent to `{from}`")]
    Elsewhere {
        /// Who leads there.
        kind: Kind,
        /// The origin of the API.
        from: String,
        /// The other origin.
        to: String,
    },
    /// An answer is not what the API's documentation says.
    #[error("{kind} at `{origin}` gave an answer that is not its API's: {why}")]
    Unexpected {
        /// Who answered.
        kind: Kind,
        /// Scheme, host and port.
        origin: String,
        /// What is wrong with it.
        why: String,
    },
    /// Others change the comment all the time.
    #[error("other jobs changed the comment each time it was written")]
    Unsettled,
}

impl ForgeError {
    /// The next step.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::NotInCi => {
                "run it in a job of GitHub Actions or GitLab CI, or print the comment instead of posting it"
            }
            Self::Variable { help, .. } | Self::NoRequest { help, .. } => help,
            Self::Plain { .. } => "use the https URL of the API",
            Self::Proxy { .. } => "set it to a URL such as http://proxy.example:3128",
            Self::Authorities { .. } => "set `SSL_CERT_FILE` to a file with certificates in PEM form",
            Self::Key { .. } => "use a short key, such as `preview`",
            Self::TooLong { .. } => "preview fewer stacks in one comment, or use the job's summary",
            Self::Refused { help, .. } => return help.clone(),
            Self::RateLimited { .. } => "run the job again later",
            Self::Unanswered { .. } => {
                "run the job again; if it fails again, check `HTTPS_PROXY`, `NO_PROXY` and `SSL_CERT_FILE`"
            }
            Self::Elsewhere { .. } => "if the repository or the server was moved, use its new address",
            Self::Unexpected { .. } => "check the URL of the API and the proxies in between",
            Self::Unsettled => {
                "give each job a key of its own, or let the workflow run one job at a time (`concurrency`)"
            }
        };
        Some(text.to_owned())
    }
}
