//! Decides when a call is sent: each attempt takes a token before it is signed. Also decides whether another attempt
//! follows.
//!
//! A call that changes something is not signed once the lock of the state is lost: somebody else may be at work. This is
//! checked last, in each attempt, because the wait before it can be long, for example on a machine that sleeps. A request
//! that was signed before and still waits for its connection is dropped ([`unless_lock_is_lost`]).
//!
//! In each attempt, retries included, the SDK asks its identity cache once, before it signs the request and passes it
//! to the HTTP client. So the [`Turnstile`] wraps that cache: once it has the credentials, it waits for the token. At
//! that time nothing is signed and no time-out of the SDK runs (attempts have none: `http.rs` limits the time after
//! this point), so the wait is not counted. The other possible place would be a retry strategy of our own, but the
//! SDK's clients do not accept one.
//!
//! [`Patience`] limits the retries of the SDK's standard strategy:
//! - A throttled call is repeated for ten minutes, because two processes can work in one account.
//! - A call without any answer is repeated for half a minute. A host that has never answered and refuses the connection
//!   gets three attempts.
//! - Any other call gets nine attempts, within the retry quota of the standard strategy.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::HttpConnectorFuture,
        identity::{IdentityFuture, ResolveCachedIdentity, SharedIdentityCache, SharedIdentityResolver},
        interceptors::context::InterceptorContext,
        orchestrator::HttpResponse,
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
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    calls::expected,
    context::{interrupted, is_interrupted, is_lock_lost},
    error::LIMIT_EXCEEDED,
    throttle::{Buckets, Cost, Ticket},
    unanswered::Unanswered,
};

/// How long a throttled call is repeated.
const PATIENCE_WITH_RATES: Duration = Duration::from_mins(10);

/// After this time, a call without any answer is not repeated.
const PATIENCE_WITH_SILENCE: Duration = Duration::from_secs(30);

/// The most attempts of a call that fails for another reason, and of one to a host that has never answered.
const TRIES: u32 = 9;
const TRIES_OF_A_STRANGER: u32 = 3;

/// More than the limits above ever allow.
pub(crate) const MOST_ATTEMPTS: u32 = 10_000;

/// The longest sleep before a waiting call checks its bucket again: the bucket may have become slower.
const SLICE: Duration = Duration::from_millis(500);

/// The user asked to stop while a call waited for its token.
#[derive(Debug, thiserror::Error)]
#[error("interrupted before the call was sent")]
pub(crate) struct Interrupted;

/// The lock of the state was lost before an attempt of a call was signed.
#[derive(Debug, thiserror::Error)]
#[error("the lock of the state was lost before the call was sent")]
pub(crate) struct LockLost;

/// The state of a call, shared by its attempts.
#[derive(Clone)]
pub(crate) struct Turn {
    /// The call's IAM action name, such as `ec2:RunInstances`.
    pub operation: Arc<str>,
    /// How many instances it launches, starts or terminates.
    instances: u32,
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
    /// When AWS first throttled it.
    refused: Option<Instant>,
    /// When the retry of a throttled attempt may be sent; it has its token already.
    resumes: Option<Instant>,
    /// How many attempts failed for other reasons.
    failed: u32,
    /// The current attempt, counted from one.
    attempt: u32,
    /// The attempt that was judged last, and whether it is the final one: the SDK asks more than once.
    judged: Option<(u32, bool)>,
    /// The current attempt's place among the requests that have no answer yet.
    place: Option<OwnedSemaphorePermit>,
}

impl Turn {
    pub fn new(operation: String, instances: u32) -> Self {
        Self { operation: operation.into(), instances, state: Arc::default() }
    }

    fn cost(&self) -> Cost<'_> {
        Cost { operation: &self.operation, instances: self.instances }
    }

    /// Whether the call can change something.
    fn can_change(&self) -> bool {
        expected(&self.operation).is_none_or(|call| call.changes)
    }

    /// The current attempt, counted from one.
    pub fn attempt(&self) -> u32 {
        self.state().attempt
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a request. The wait for it ends once the lock is lost under which the request changes something: a request
/// that is not sent yet, for example because its connection is still being made, is dropped.
pub(crate) async fn unless_lock_is_lost(
    turn: Option<&Turn>,
    answer: HttpConnectorFuture,
) -> Result<HttpResponse, ConnectorError> {
    let can_change = turn.is_some_and(Turn::can_change);
    let mut answer = pin!(answer);
    let answer = poll_fn(|context| {
        if can_change && is_lock_lost() {
            return Poll::Ready(Err(ConnectorError::user(LockLost.into())));
        }
        answer.as_mut().poll(context)
    })
    .await;
    if let Some(turn) = turn {
        turn.state().place = None;
    }
    answer
}

/// The identity cache that makes each attempt wait for its token.
#[derive(Debug, Clone)]
pub(crate) struct Turnstile {
    pub cache: SharedIdentityCache,
    pub buckets: Option<Arc<Buckets>>,
    /// The places for requests that have no answer yet.
    pub places: Arc<Semaphore>,
}

/// How many requests can be without an answer at a time: each has its own connection.
pub(crate) const PLACES: usize = 64;

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
                None => Token::Queued(buckets.take(turn.cost(), now)),
            };
            loop {
                let now = Instant::now();
                let wait = match &token {
                    Token::At(at) => at.saturating_duration_since(now),
                    Token::Queued(ticket) => buckets.wait(turn.cost(), ticket, now),
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
        // An attempt whose request was never sent still has its place.
        drop(turn.state().place.take());
        let place = tokio::select! {
            biased;
            place = Arc::clone(&self.places).acquire_owned() => place.ok(),
            () = interrupted() => return Err(Interrupted),
        };
        let mut state = turn.state();
        state.place = place;
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
            // The credentials come first, so that the request follows the token at once.
            let identity = self.cache.resolve_cached_identity(resolver.clone(), components, cfg).await?;
            let waited = self.pass(turn, attempt).await?;
            let identity =
                if waited { self.cache.resolve_cached_identity(resolver, components, cfg).await? } else { identity };
            if turn.can_change() && is_lock_lost() { Err(LockLost.into()) } else { Ok(identity) }
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

/// Decides when a call is not repeated any more. `meter.rs` attaches the [`Turn`] to each failed attempt.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    pub buckets: Option<Arc<Buckets>>,
}

impl Patience {
    /// Whether a throttled attempt was the final one.
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

    /// Whether an attempt that failed for another reason was the final one.
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
            // Without a `Turn`, attempts are not counted.
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

    /// Runs after all the SDK's own classifiers.
    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::run_after(
            RetryClassifierPriority::transient_error_classifier(),
        ))
    }
}

/// Whether the error is a quota that the SDK treats as throttling. A retry would not help.
fn is_quota(context: &InterceptorContext) -> bool {
    let body = context.response().and_then(|response| response.body().bytes()).unwrap_or_default();
    String::from_utf8_lossy(body).contains(LIMIT_EXCEEDED)
}

#[cfg(test)]
mod tests;
