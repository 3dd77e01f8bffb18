//! When a read shows what has changed.
//!
//! In the strict model, each service has several replicas. Every replica learns of every change at its own time, and
//! each call is answered by one of them. So a read shows a part of what is new, and what one read has shown can be
//! missing in the next. All of it follows from a seed: the same calls at the same times get the same answers.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::durations::{Clock, Delay, signed};

/// How many replicas each service has.
const REPLICAS: u64 = 3;

/// Which reads show a change that was answered only recently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Consistency {
    /// All of them.
    #[default]
    Immediate,
    /// None for this time, then all of them.
    After(Duration),
    /// Those of the replicas that know of it, according to this seed.
    Replicas(u64),
}

/// The replica that answers the current call.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    consistency: Consistency,
    calls: BTreeMap<String, u64>,
    replica: u64,
}

impl Reader {
    pub(crate) fn new(consistency: Consistency) -> Self {
        Self { consistency, ..Self::default() }
    }

    /// Begins a call of this operation, which one replica answers.
    pub(crate) fn begin(&mut self, operation: &str) {
        if let Consistency::Replicas(seed) = self.consistency {
            let number = self.calls.entry(operation.to_owned()).or_default();
            *number += 1;
            self.replica = number_of(&format!("{seed} {operation} {number}")) % REPLICAS;
        }
    }

    /// Whether the current call knows at `now` of a change to `what` that was made at `since`.
    pub(crate) fn knows(&self, clock: Clock, delay: Delay, what: &str, since: Timestamp, now: Timestamp) -> bool {
        let lag = match self.consistency {
            Consistency::Immediate => return true,
            Consistency::After(lag) => signed(lag),
            Consistency::Replicas(seed) => {
                let part = number_of(&format!("{seed} {what} {}", self.replica)) % 1000;
                let longest = clock.takes(delay).as_nanos();
                SignedDuration::from_nanos_i128(longest * i128::from(part + 1) / 1000)
            }
        };
        has_passed(lag, since, now)
    }

    /// Whether every replica knows of the change for certain. The services that use each other's resources wait for
    /// that.
    pub(crate) fn all_know(&self, clock: Clock, delay: Delay, since: Timestamp, now: Timestamp) -> bool {
        match self.consistency {
            Consistency::Replicas(_) => has_passed(clock.takes(delay), since, now),
            // Nothing here depends on what changed.
            _ => self.knows(clock, delay, "", since, now),
        }
    }

    /// The longest lag, if the longest one of a replica is this.
    pub(crate) fn longest(&self, of_replica: SignedDuration) -> SignedDuration {
        match self.consistency {
            Consistency::Immediate => SignedDuration::ZERO,
            Consistency::After(lag) => signed(lag),
            Consistency::Replicas(_) => of_replica,
        }
    }

    /// Which of two answers that nobody can foretell the strict model gives, by its seed.
    pub(crate) fn draws(&self, what: &str) -> bool {
        matches!(self.consistency, Consistency::Replicas(seed) if number_of(&format!("{seed} {what}")).is_multiple_of(2))
    }

    /// Whether this is the strict model.
    pub(crate) fn is_strict(&self) -> bool {
        matches!(self.consistency, Consistency::Replicas(_))
    }
}

/// Whether this much time has passed. A start in the future means that the clock was set back, so it counts as passed.
pub(crate) fn has_passed(time: SignedDuration, since: Timestamp, now: Timestamp) -> bool {
    let passed = now.duration_since(since);
    passed.is_negative() || passed >= time
}

fn number_of(text: &str) -> u64 {
    let digest = Sha256::digest(text);
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 8] = ["i-0", "i-1", "i-2", "i-3", "i-4", "i-5", "i-6", "i-7"];

    /// What twelve reads show of a batch that was created at the epoch, one read a second.
    fn reads(seed: u64) -> Vec<Vec<&'static str>> {
        let mut reader = Reader::new(Consistency::Replicas(seed));
        let clock = Clock::new(1.0, &[(Delay::Ec2Lag, Duration::from_secs(10))]);
        let since = Timestamp::UNIX_EPOCH;
        let mut shown = |second| {
            reader.begin("ec2:DescribeInstances");
            let now = since + SignedDuration::from_secs(second);
            IDS.into_iter().filter(|id| reader.knows(clock, Delay::Ec2Lag, id, since, now)).collect()
        };
        (0..12).map(&mut shown).collect()
    }

    #[test]
    fn a_batch_appears_in_parts_disappears_again_and_is_complete_after_the_lag() {
        let reads = reads(1);
        assert!(reads.iter().any(|seen| !seen.is_empty() && seen.len() < IDS.len()), "{reads:?}");
        let lost = |pair: &[Vec<&str>]| pair[0].iter().any(|id| !pair[1].contains(id));
        assert!(reads.windows(2).any(lost), "{reads:?}");
        assert_eq!(reads[10].len(), IDS.len());
        assert_eq!(reads[11].len(), IDS.len());
    }

    #[test]
    fn a_seed_always_gives_the_same_answers_and_another_one_others() {
        assert_eq!(reads(1), reads(1));
        assert_ne!(reads(1), reads(2));
    }
}
