//! When a call is sent: each attempt takes one token before it is signed, and whether another attempt follows.
//!
//! The SDK asks its identity cache once in each attempt, a retry too, before it signs the request and before it hands it
//! to the HTTP client with its time-outs. So the [`Turnstile`] stands around that cache: once the credentials are
//! there, it waits for the token. Nothing is signed yet and no time-out of the SDK runs (none is set for an attempt:
//! `http.rs` bounds what comes after), so the wait counts towards nothing. A retry strategy of our own, the other place
//! to wait at, cannot be given to the SDK's clients.
//!
//! [`Patience`] bounds the retries of the SDK's standard strategy:
//! - What AWS refuses because of its rates is sent again for ten minutes: two processes can be at work in one account.
//! - What gets no answer at all is sent again for half a minute; a host that never answered and refuses the connection gets
//!   three tries.
//! - Everything else gets nine, out of the quota of the standard strategy.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        identity::{IdentityFuture, ResolveCachedIdentity, SharedIdentityCache, SharedIdentityResolver},
        interceptors::context::InterceptorContext,
        result::ConnectorError,
        retries::{
            RequestAttempts,
            classifiers::{ClassifyRetry, RetryAction, RetryClassifierPriority, RetryReason},
        },
        runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
    },
};
use aws_smithy_types::{
    config_bag::{ConfigBag, Storable, StoreReplace},
    retry::ErrorKind,
};
use tokio::time::Instant;

use crate::{
    context::{interrupted, is_interrupted},
    error::LIMIT_EXCEEDED,
    throttle::{Buckets, Ticket},
    unanswered::Unanswered,
};

/// How long a call is sent again that AWS refuses because of its rates.
const PATIENCE_WITH_RATES: Duration = Duration::from_mins(10);

/// After this time, a call that got no answer at all is not sent again.
const PATIENCE_WITH_SILENCE: Duration = Duration::from_secs(30);

/// How often a call is sent that fails in another way, and how often where nothing has ever answered.
const TRIES: u32 = 9;
const TRIES_OF_A_STRANGER: u32 = 3;

/// More attempts than any patience above comes to.
pub(crate) const MOST_ATTEMPTS: u32 = 10_000;

/// Who waits looks up at least this often: a bucket may have been slowed down.
const SLICE: Duration = Duration::from_millis(500);

/// The person asked to stop while a call waited for its turn.
#[derive(Debug, thiserror::Error)]
#[error("interrupted while the call waited for its turn")]
pub(crate) struct Interrupted;

/// What is known of a call between its attempts.
#[derive(Clone)]
pub(crate) struct Turn {
    /// The call as IAM names it: `ec2:RunInstances`.
    pub operation: Arc<str>,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Turn").field(&self.operation).finish()
    }
}

impl Storable for Turn {
    type Storer = StoreReplace<Self>;
}

#[derive(Debug, Default)]
struct State {
    /// When the first attempt was sent.
    began: Option<Instant>,
    /// When AWS first refused it because of its rates.
    refused: Option<Instant>,
    /// When the retry of a refused attempt is sent; its token is taken.
    resumes: Option<Instant>,
    /// How many attempts ended in anything else.
    failed: u32,
    /// The attempt under way, counted from one.
    attempt: u32,
    /// The attempt that was last judged, and whether it is the last one: the SDK asks more than once.
    judged: Option<(u32, bool)>,
}

impl Turn {
    pub fn new(operation: String) -> Self {
        Self { operation: operation.into(), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The identity cache at which each attempt waits for its turn.
#[derive(Debug, Clone)]
pub(crate) struct Turnstile {
    pub cache: SharedIdentityCache,
    pub buckets: Option<Arc<Buckets>>,
}

/// The token of an attempt.
enum Token {
    Queued(Ticket),
    At(Instant),
}

impl Turnstile {
    async fn pass(&self, turn: &Turn, attempt: u32) -> Result<bool, Interrupted> {
        let mut waited = false;
        if let Some(buckets) = &self.buckets {
            let now = Instant::now();
            let token = match turn.state().resumes.take() {
                Some(at) => Token::At(at),
                None if attempt > 1 => Token::At(now + buckets.take_again(&turn.operation, now)),
                None => Token::Queued(buckets.take(&turn.operation, now)),
            };
            loop {
                let now = Instant::now();
                let wait = match &token {
                    Token::At(at) => at.saturating_duration_since(now),
                    Token::Queued(ticket) => buckets.wait(&turn.operation, *ticket, now),
                };
                if wait.is_zero() {
                    break;
                }
                if is_interrupted() {
                    return Err(Interrupted);
                }
                waited = true;
                tokio::select! {
                    () = interrupted() => {}
                    () = tokio::time::sleep(wait.min(SLICE)) => {}
                }
            }
        }
        let mut state = turn.state();
        state.began.get_or_insert_with(Instant::now);
        state.attempt = attempt;
        Ok(waited)
    }
}

impl ResolveCachedIdentity for Turnstile {
    fn resolve_cached_identity<'a>(
        &'a self,
        resolver: SharedIdentityResolver,
        components: &'a RuntimeComponents,
        cfg: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        let Some(turn) = cfg.load::<Turn>() else {
            return self.cache.resolve_cached_identity(resolver, components, cfg);
        };
        let attempt = cfg.load::<RequestAttempts>().map_or(1, RequestAttempts::attempts);
        IdentityFuture::new(async move {
            // First, so that no time passes between the token and the request.
            let identity = self.cache.resolve_cached_identity(resolver.clone(), components, cfg).await?;
            let waited = self.pass(turn, attempt).await?;
            if waited { self.cache.resolve_cached_identity(resolver, components, cfg).await } else { Ok(identity) }
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        cfg: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.cache.validate_base_client_config(components, cfg)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, cfg: &ConfigBag) -> Result<(), BoxError> {
        self.cache.validate_final_config(components, cfg)
    }
}

/// Decides when enough is enough. `meter.rs` sees to it that each failed attempt carries its [`Turn`].
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    pub buckets: Option<Arc<Buckets>>,
}

impl Patience {
    /// Whether an attempt that AWS refused because of its rates was the last one.
    fn ends_refused(&self, turn: &Turn, state: &mut State) -> bool {
        let now = Instant::now();
        let since = now.saturating_duration_since(*state.refused.get_or_insert(now));
        if since >= PATIENCE_WITH_RATES || is_interrupted() {
            return true;
        }
        if let Some(buckets) = &self.buckets {
            state.resumes = Some(now + buckets.refused(&turn.operation, now));
        }
        false
    }

    /// Whether an attempt that failed in another way was the last one.
    fn ends_failed(state: &mut State, is_silent: bool, error: Option<&Unanswered>) -> bool {
        state.failed += 1;
        let is_strange = error.is_some_and(|error| error.is_strange);
        error.is_some_and(Unanswered::is_final)
            || (is_silent && state.began.is_some_and(|began| began.elapsed() >= PATIENCE_WITH_SILENCE))
            || state.failed >= TRIES
            || (is_strange && !is_silent && state.failed >= TRIES_OF_A_STRANGER)
    }
}

impl ClassifyRetry for Patience {
    fn classify_retry(&self, _context: &InterceptorContext) -> RetryAction {
        RetryAction::NoActionIndicated
    }

    fn classify_retry_v2(&self, context: &InterceptorContext, previous: &RetryAction) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        let RetryAction::RetryIndicated(reason) = previous else { return RetryAction::NoActionIndicated };
        let unanswered = error.as_connector_error().and_then(Unanswered::of);
        let of_answer = || context.response().and_then(|answer| answer.extension::<Turn>());
        let Some(turn) = unanswered.and_then(|unanswered| unanswered.turn.as_ref()).or_else(of_answer) else {
            // Nobody counts its attempts.
            return RetryAction::RetryForbidden;
        };
        let is_refused = matches!(reason, RetryReason::RetryableError { kind: ErrorKind::ThrottlingError, .. });
        let is_silent = error.is_timeout_error()
            || error.is_response_error()
            || error.as_connector_error().is_some_and(ConnectorError::is_timeout);
        let mut state = turn.state();
        let is_last = match state.judged {
            Some((attempt, is_last)) if attempt == state.attempt => is_last,
            _ if is_refused && is_quota(context) => true,
            _ if is_refused => self.ends_refused(turn, &mut state),
            _ => Self::ends_failed(&mut state, is_silent, unanswered),
        };
        state.judged = Some((state.attempt, is_last));
        if is_last { RetryAction::RetryForbidden } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "Patience"
    }

    /// After all of the SDK's own.
    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::run_after(
            RetryClassifierPriority::transient_error_classifier(),
        ))
    }
}

/// Whether the SDK takes a quota for a refusal because of rates: sending the call again changes nothing.
fn is_quota(context: &InterceptorContext) -> bool {
    let body = context.response().and_then(|response| response.body().bytes()).unwrap_or_default();
    String::from_utf8_lossy(body).contains(LIMIT_EXCEEDED)
}

#[cfg(test)]
mod tests;
