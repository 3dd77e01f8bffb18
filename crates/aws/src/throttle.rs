//! A copy of AWS's token buckets on our side, so that a large apply is paced instead of throttled.
//!
//! There is one bucket per EC2 API, one per category of ECS calls, and one for each other service. The table of calls has
//! their capacities and refill rates. Calls that launch, start or terminate instances take a token for each instance from
//! a second bucket.
//!
//! Each call takes a numbered [`Ticket`] and waits until the bucket has been filled up to that number, so calls are
//! sent in order. If AWS throttles a call, somebody else uses the same bucket too. Then the bucket counts as empty and
//! its rate is multiplied by 0.6; the rate recovers with every second without throttling. This way, two processes that
//! each assume the full rate share it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::calls::{EC2_CHANGE, Rate, expected, of_instances};

/// How many calls can be made at once, and how many per second after that.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Size {
    capacity: f64,
    per_second: f64,
}

/// A call may be delayed and arrive just before the next one. AWS counts arrivals, so a server with exactly the
/// documented limits would refuse some calls that were sent exactly at the limit. To prevent that, half a second's worth
/// of tokens (at least one) stays in the bucket, and 2 % of the rate is left unused because clocks differ in speed.
const JITTER_SECONDS: f64 = 0.5;
const SHARE_OF_THE_RATE: f64 = 0.98;

/// The factor of the rate after each throttled call, its lower limit, and how much of the full rate returns per second:
/// it recovers from one throttled call in 20 seconds.
const AFTER_A_REFUSAL: f64 = 0.6;
const LEAST_FACTOR: f64 = 1.0 / 16.0;
const RECOVERY_PER_SECOND: f64 = 0.02;

/// Throttled calls within this time count once: they were all sent before the first answer.
const ONE_EVENT: Duration = Duration::from_secs(1);

/// The size of a bucket with these documented limits.
fn size(capacity: f64, per_second: f64) -> Size {
    let kept = (per_second * JITTER_SECONDS).max(1.0);
    Size { capacity: (capacity - kept).max(1.0), per_second: per_second * SHARE_OF_THE_RATE }
}

/// What a call takes from the buckets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost<'a> {
    /// The call's IAM action name, such as `ec2:RunInstances`.
    pub operation: &'a str,
    /// How many instances it launches, starts or terminates.
    pub instances: u32,
}

impl Cost<'_> {
    /// The bucket of the calls, its size and the tokens to take. A call that the table does not have is paced like a change of
    /// EC2's.
    fn of_call(&self) -> (String, Size, f64) {
        let Rate { shared, capacity, per_second } = expected(self.operation).map_or(EC2_CHANGE, |call| call.rate);
        (shared.unwrap_or(self.operation).to_owned(), size(capacity, per_second), 1.0)
    }

    /// The same for the instances.
    fn of_instances(&self) -> Option<(String, Size, f64)> {
        let Rate { shared, capacity, per_second } = of_instances(self.operation).filter(|_| self.instances > 0)?;
        // A call for more than the bucket holds would wait for ever.
        let size = size(capacity, per_second);
        Some((shared?.to_owned(), size, f64::from(self.instances).min(size.capacity)))
    }

    fn buckets(&self) -> impl Iterator<Item = (String, Size, f64)> {
        [self.of_call()].into_iter().chain(self.of_instances())
    }
}

/// The numbers in the queues of the buckets that a call uses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ticket(Vec<f64>);

/// The state of a bucket since its first call, in tokens.
#[derive(Debug)]
struct Level {
    size: Size,
    /// How many tokens have been filled in.
    filled: f64,
    /// How many tickets have been handed out.
    tickets: f64,
    /// The time for which `filled` is correct.
    at: Instant,
    /// The current share of the full rate.
    factor: f64,
    /// When AWS last throttled a call and the rate was lowered.
    lowered: Option<Instant>,
    /// The end of the queue of retries.
    retries_until: Instant,
}

impl Level {
    fn full(size: Size, now: Instant) -> Self {
        Self { size, filled: size.capacity, tickets: 0.0, at: now, factor: 1.0, lowered: None, retries_until: now }
    }

    fn rate(&self) -> f64 {
        self.size.per_second * self.factor
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.filled = (self.filled + seconds * self.rate()).min(self.tickets + self.size.capacity);
        self.factor = (self.factor + seconds * RECOVERY_PER_SECOND).min(1.0);
        self.at = self.at.max(now);
    }

    fn until(&self, tokens: f64) -> Duration {
        if tokens <= self.filled { Duration::ZERO } else { seconds((tokens - self.filled) / self.rate()) }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

/// The token buckets of one account and region.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    levels: HashMap<String, Level>,
    taken: u64,
}

impl Buckets {
    /// Takes a ticket for a call.
    pub fn take(&self, cost: Cost<'_>, now: Instant) -> Ticket {
        let mut inner = self.lock();
        inner.taken += 1;
        let take = |(name, size, tokens)| {
            let level = inner.level(name, size, now);
            level.tickets += tokens;
            level.tickets
        };
        Ticket(cost.buckets().map(take).collect())
    }

    /// How long a ticket still has to wait; shorter each time, unless AWS throttles a call.
    pub fn wait(&self, cost: Cost<'_>, ticket: &Ticket, now: Instant) -> Duration {
        let mut inner = self.lock();
        let wait = |((name, size, _), ticket): (_, &f64)| inner.level(name, size, now).until(*ticket);
        cost.buckets().zip(&ticket.0).map(wait).max().unwrap_or_default()
    }

    /// Takes a token for a retry, ahead of the queue. Returns how long to wait before it. Its instances have their tokens.
    pub fn take_again(&self, operation: &str, now: Instant) -> Duration {
        self.with(operation, now, |level| {
            level.filled -= 1.0;
            if level.filled >= level.tickets { Duration::ZERO } else { seconds(1.0 / level.rate()) }
        })
    }

    /// Takes a token for a throttled call, ahead of the queue, and lowers the bucket's rate. Returns how long to wait
    /// before sending it again. AWS does not say whether the calls or the instances were too many; waiting longer between the
    /// calls helps in both cases.
    pub fn refused(&self, operation: &str, now: Instant) -> Duration {
        self.with(operation, now, |level| {
            if level.lowered.is_none_or(|at| now.saturating_duration_since(at) >= ONE_EVENT) {
                level.factor = (level.factor * AFTER_A_REFUSAL).max(LEAST_FACTOR);
                level.lowered = Some(now);
            }
            level.filled = level.filled.min(level.tickets) - 1.0;
            let pause = seconds((0.5 + fastrand::f64()) / level.rate());
            level.retries_until = level.retries_until.max(now) + pause;
            level.retries_until.saturating_duration_since(now)
        })
    }

    /// How many tokens have been taken.
    #[cfg(test)]
    pub fn taken(&self) -> u64 {
        self.lock().taken
    }

    fn with<T>(&self, operation: &str, now: Instant, take: impl FnOnce(&mut Level) -> T) -> T {
        let mut inner = self.lock();
        inner.taken += 1;
        let (name, size, _) = Cost { operation, instances: 0 }.of_call();
        take(inner.level(name, size, now))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn level(&mut self, name: String, size: Size, now: Instant) -> &mut Level {
        let level = self.levels.entry(name).or_insert_with(|| Level::full(size, now));
        level.refill(now);
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "ec2:RunInstances";

    /// Takes a token and returns how long it has to wait.
    fn take(buckets: &Buckets, operation: &str, now: Instant) -> f64 {
        take_some(buckets, operation, 0, now)
    }

    /// The same for a call about some instances.
    fn take_some(buckets: &Buckets, operation: &str, instances: u32, now: Instant) -> f64 {
        let cost = Cost { operation, instances };
        let ticket = buckets.take(cost, now);
        buckets.wait(cost, &ticket, now).as_secs_f64()
    }

    fn is_near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-6
    }

    #[test]
    fn launches_wait_once_the_bucket_is_empty() {
        let buckets = Buckets::default();
        let now = Instant::now();
        for _ in 0..4 {
            assert!(is_near(take(&buckets, RUN, now), 0.0));
        }
        assert!(is_near(take(&buckets, RUN, now), 1.0 / 1.96));
        assert!(is_near(take(&buckets, RUN, now), 2.0 / 1.96));
        assert!(is_near(take(&buckets, "ec2:DescribeInstances", now), 0.0));
        assert!(is_near(take(&buckets, RUN, now + Duration::from_mins(1)), 0.0));
        assert_eq!(buckets.taken(), 8);
    }

    #[test]
    fn instances_wait_once_their_bucket_is_empty() {
        let buckets = Buckets::default();
        let now = Instant::now();
        for _ in 0..4 {
            assert!(is_near(take_some(&buckets, RUN, 100, now), 0.0));
        }
        let later = now + Duration::from_mins(1);
        let waits: Vec<f64> = (0..4).map(|_| take_some(&buckets, RUN, 200, later)).collect();
        // 400 were launched, and a minute brought 117.6 of them back: 716.6 are left.
        assert!(is_near(waits[2], 0.0) && is_near(waits[3], (800.0 - 716.6) / 1.96), "{waits:?}");
        // Each operation has its own bucket of instances.
        assert!(is_near(take_some(&buckets, "ec2:TerminateInstances", 900, later), 0.0));
        assert!(is_near(take_some(&buckets, "ec2:TerminateInstances", 110, later), 20.0 / 19.6));
        // One call for more than a bucket holds waits for a full one.
        assert!(take_some(&Buckets::default(), RUN, 5000, now) < 1.0);
    }

    #[test]
    fn calls_delayed_by_half_a_second_stay_within_the_documented_limits() {
        for (operation, capacity, per_second) in
            [(RUN, 5.0, 2.0), ("ec2:CreateTags", 100.0, 10.0), ("iam:CreateRole", 15.0, 15.0)]
        {
            let buckets = Buckets::default();
            let start = Instant::now();
            // Calls of the first half second all arrive at its end.
            let mut arrivals: Vec<f64> = (0..400)
                .map(|_| take(&buckets, operation, start))
                .map(|sent| if sent < 0.5 { 0.5 } else { sent })
                .collect();
            arrivals.sort_by(f64::total_cmp);
            let (mut tokens, mut at) = (capacity, 0.0);
            for arrival in arrivals {
                tokens = f64::min(tokens + (arrival - at) * per_second, capacity) - 1.0;
                at = arrival;
                assert!(tokens >= 0.0, "{operation} at {arrival}");
            }
        }
    }

    #[test]
    fn a_throttled_call_empties_the_bucket_and_slows_it_down_until_it_recovers() {
        let buckets = Buckets::default();
        let now = Instant::now();
        take(&buckets, RUN, now);
        let again = buckets.refused(RUN, now).as_secs_f64();
        assert!((0.4..1.4).contains(&again), "{again}");
        // The retry's token and the next one, at 0.6 of the rate.
        assert!(is_near(take(&buckets, RUN, now), 2.0 / (1.96 * 0.6)));
        // Several throttled calls that were sent together count once.
        buckets.refused(RUN, now);
        assert!(is_near(take(&buckets, RUN, now), 4.0 / (1.96 * 0.6)));
        let later = now + Duration::from_mins(2);
        for _ in 0..4 {
            assert!(is_near(take(&buckets, RUN, later), 0.0));
        }
        assert!(is_near(take(&buckets, RUN, later), 1.0 / 1.96));
    }

    #[test]
    fn waiting_calls_wait_longer_after_a_call_is_throttled() {
        let buckets = Buckets::default();
        let now = Instant::now();
        for _ in 0..4 {
            take(&buckets, RUN, now);
        }
        let cost = Cost { operation: RUN, instances: 0 };
        let ticket = buckets.take(cost, now);
        let before = buckets.wait(cost, &ticket, now);
        buckets.refused(RUN, now);
        assert!(buckets.wait(cost, &ticket, now) > before * 2);
    }

    #[test]
    fn retries_of_many_throttled_calls_are_spread_out() {
        let buckets = Buckets::default();
        let now = Instant::now();
        let waits: Vec<Duration> = (0..10).map(|_| buckets.refused(RUN, now)).collect();
        assert!(waits.is_sorted() && waits.last().is_some_and(|last| *last > Duration::from_secs(4)), "{waits:?}");
    }

    #[test]
    fn ecs_calls_share_the_bucket_of_their_category() {
        let bucket_of = |operation| Cost { operation, instances: 0 }.of_call();
        assert_eq!(bucket_of("ecs:RegisterTaskDefinition"), bucket_of("ecs:DeregisterTaskDefinition"));
        assert_ne!(bucket_of("ecs:RegisterTaskDefinition").0, bucket_of("ecs:CreateCluster").0);
        assert_eq!(bucket_of("ecs:ListTasks"), bucket_of("ecs:DescribeClusters"));
    }
}
