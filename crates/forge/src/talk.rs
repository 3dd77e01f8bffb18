//! Repeats what can be repeated, and waits for rate limits, within bounds.

use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use serde_json::Value;

use crate::{
    ForgeError, Patience,
    http::{Answer, Client, Lost},
};

/// Who hears what is waited for.
pub(crate) type Say<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// GitHub's documentation (2026-11) asks for at least one minute if an answer about a secondary limit has no header.
const UNKNOWN_LIMIT: u64 = 60;

/// The requests of one command.
pub(crate) struct Talk<'a> {
    pub client: &'a Client,
    patience: Patience,
    say: Say<'a>,
    waited: Duration,
    limits: u32,
    lost_writes: u32,
}

/// What became of a request that changes something.
pub(crate) enum Written {
    /// It was answered.
    Answer(Answer),
    /// Nobody knows whether it took effect, or it did not and time has passed: read again before the next write.
    ReadAgain {
        /// Whether it may have taken effect.
        may_be_done: bool,
    },
}

impl<'a> Talk<'a> {
    pub fn new(client: &'a Client, patience: Patience, say: Say<'a>) -> Self {
        Self { client, patience, say, waited: Duration::ZERO, limits: 0, lost_writes: 0 }
    }

    /// Sends a request that can be repeated.
    pub async fn repeat(&mut self, method: &Method, url: &str, body: Option<&Value>) -> Result<Answer, ForgeError> {
        let mut tries = 0;
        loop {
            let why = match self.client.send(method, url, body).await {
                Ok(answer) if is_down(answer.status) => self.down(&answer),
                Ok(answer) => match limit(&answer) {
                    Some(wait) => {
                        self.wait(wait).await?;
                        continue;
                    }
                    None => return Ok(answer),
                },
                Err(Lost::Error(error)) => return Err(error),
                Err(Lost::Unanswered(why)) => why,
            };
            tries += 1;
            self.pause(tries, why).await?;
        }
    }

    /// Sends a request once.
    pub async fn write(&mut self, method: &Method, url: &str, body: &Value) -> Result<Written, ForgeError> {
        let why = match self.client.send(method, url, Some(body)).await {
            Ok(answer) if is_down(answer.status) => self.down(&answer),
            Ok(answer) => match limit(&answer) {
                Some(wait) => {
                    self.wait(wait).await?;
                    return Ok(Written::ReadAgain { may_be_done: false });
                }
                None => return Ok(Written::Answer(answer)),
            },
            Err(Lost::Error(error)) => return Err(error),
            Err(Lost::Unanswered(why)) => why,
        };
        self.lost_writes += 1;
        self.pause(self.lost_writes, why).await?;
        Ok(Written::ReadAgain { may_be_done: true })
    }

    fn down(&self, answer: &Answer) -> String {
        format!("{} answered {}", self.client.origin, answer.status)
    }

    async fn pause(&self, tries: u32, why: String) -> Result<(), ForgeError> {
        if tries >= self.patience.tries {
            let (kind, origin) = (self.client.kind, self.client.origin.clone());
            return Err(ForgeError::Unanswered { kind, origin, tries, why });
        }
        let most = self.patience.pause.saturating_mul(2_u32.saturating_pow(tries - 1));
        let pause = most.mul_f64(0.5 + fastrand::f64() / 2.0);
        (self.say)(&format!("{} did not answer ({why}): trying again", self.client.kind));
        tokio::time::sleep(pause).await;
        Ok(())
    }

    async fn wait(&mut self, seconds: u64) -> Result<(), ForgeError> {
        let wait = Duration::from_secs(seconds);
        let longest = self.patience.longest_wait;
        self.limits += 1;
        if self.waited.saturating_add(wait) > longest || self.limits > self.patience.tries.saturating_mul(2) {
            return Err(ForgeError::RateLimited { kind: self.client.kind, seconds, longest: longest.as_secs() });
        }
        self.waited += wait;
        (self.say)(&format!("{}'s rate limit is reached: waiting {seconds} s", self.client.kind));
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// The seconds that an answer about a rate limit asks to wait.
fn limit(answer: &Answer) -> Option<u64> {
    if !matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
        return None;
    }
    let date = |value: Option<&str>| value.and_then(|value| httpdate::parse_http_date(value).ok());
    // The clock of this machine may be wrong; the forge's is the one that its times are by.
    let now = date(answer.header("date")).unwrap_or_else(SystemTime::now);
    let until = |time: SystemTime| time.duration_since(now).map_or(0, |wait| wait.as_secs());
    if let Some(after) = answer.header("retry-after") {
        let seconds = after.parse().ok().or_else(|| date(Some(after)).map(until));
        return Some(seconds.unwrap_or(UNKNOWN_LIMIT));
    }
    let either = |names: [&str; 2]| names.into_iter().find_map(|name| answer.header(name));
    if either(["x-ratelimit-remaining", "ratelimit-remaining"]) == Some("0") {
        let reset = either(["x-ratelimit-reset", "ratelimit-reset"]).and_then(|reset| reset.parse().ok());
        let reset = reset.and_then(|reset| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(reset)));
        // The limit ends within the second that the header names.
        return Some(reset.map_or(UNKNOWN_LIMIT, |reset| until(reset).saturating_add(1)));
    }
    let text = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
    let is_limit = answer.status == StatusCode::TOO_MANY_REQUESTS || text.contains("rate limit");
    is_limit.then_some(UNKNOWN_LIMIT)
}

fn is_down(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
}
