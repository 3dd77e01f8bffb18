//! How long AWS takes for what it does later than it answers, and the factor by which the sandbox is faster.
//!
//! One factor applies to all of them, so that their ratios are AWS's. Where AWS documents no duration and none is
//! reported, the table has the longest one that is plausible, which is the stricter assumption.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::consistency::has_passed;

/// Something that AWS completes some time after it answered the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delay {
    /// An instance is pending.
    InstanceStart,
    /// An instance is stopping.
    InstanceStop,
    /// An instance is shutting down.
    InstanceEnd,
    /// A terminated instance can still be described.
    InstanceForgotten,
    /// The status checks of an instance that runs are initializing.
    StatusChecks,
    /// A NAT gateway is pending.
    NatGateway,
    /// A NAT gateway is deleting.
    NatGatewayEnd,
    /// A deleted NAT gateway can still be described.
    NatGatewayForgotten,
    /// A task is provisioned and pending.
    TaskStart,
    /// The network interface of a stopped task is deleted.
    TaskDeprovision,
    /// A stopped task can still be described.
    TaskForgotten,
    /// A deleted service is draining.
    ServiceDrain,
    /// A deleted service can still be described.
    ServiceForgotten,
    /// A deleted task definition is in `DELETE_IN_PROGRESS`.
    DefinitionDelete,
    /// A new bucket refuses its first change with `OperationAborted`.
    BucketSettle,
    /// The name of a deleted bucket cannot be used for another one.
    BucketNameRest,
    /// The longest time for which EC2 does not know a new resource everywhere.
    Ec2Lag,
    /// The longest time for which EC2's filters do not know the tags of a new resource, on top of [`Delay::Ec2Lag`].
    Ec2TagLag,
    /// The longest time for which IAM's changes, deletions included, are not known everywhere.
    IamLag,
    /// The longest time for which ECS does not know a new resource everywhere.
    EcsLag,
    /// The longest time for which CloudWatch Logs does not list a new log group.
    LogsLag,
    /// The longest time for which S3 does not know a new bucket everywhere.
    S3Lag,
}

/// Longer delays would leave the range of time stamps.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 365);

/// How many delays there are.
const COUNT: usize = 22;

impl Delay {
    /// How long it takes on AWS.
    #[expect(clippy::match_same_arms, reason = "each has its own source")]
    fn on_aws(self) -> SignedDuration {
        match self {
            // Not documented. Between ten seconds and a minute are commonly seen for virtual machines; bare metal takes
            // ten minutes and is not distinguished here. Stops and terminations depend on the guest.
            Self::InstanceStart | Self::InstanceStop | Self::InstanceEnd => SignedDuration::from_secs(60),
            // "Terminate Amazon EC2 instances" in the EC2 user guide: "a short while (usually an hour)"; "Delete a NAT
            // gateway" in the VPC user guide: "usually about an hour"; `ListTasks` in the ECS API reference: "at least one
            // hour"; all read November 2026. Not documented for services:
            // `DeleteService` says "in the future". The shorter time is the stricter one.
            Self::InstanceForgotten | Self::NatGatewayForgotten | Self::TaskForgotten | Self::ServiceForgotten => {
                SignedDuration::from_hours(1)
            }
            // Not documented. One to two minutes are commonly seen for each.
            Self::StatusChecks | Self::NatGateway | Self::NatGatewayEnd => SignedDuration::from_secs(120),
            // Not documented. Half a minute to a minute are commonly seen on Fargate, most of it for the image.
            Self::TaskStart => SignedDuration::from_secs(60),
            // Not documented: "Amazon ECS task lifecycle" describes DEPROVISIONING without a duration.
            Self::TaskDeprovision => SignedDuration::from_secs(30),
            // Not documented: `DeleteService` says that the service is DRAINING until its tasks are STOPPING or STOPPED.
            Self::ServiceDrain => SignedDuration::from_secs(60),
            // "Deleting an Amazon ECS task definition revision" in the ECS developer guide, read November 2026: up to
            // an hour after the last task, up to 24 hours after the last deployment.
            Self::DefinitionDelete => SignedDuration::from_hours(24),
            // Not documented. hashicorp/terraform-provider-aws issue 7628 reports it for new buckets; the provider
            // repeats such calls for one to two minutes.
            Self::BucketSettle => SignedDuration::from_secs(120),
            // aws/aws-cli issue 2593, read November 2026: up to an hour.
            Self::BucketNameRest => SignedDuration::from_hours(1),
            // "Eventual consistency" in the EC2 developer guide, read November 2026, names no limit; seconds are
            // commonly seen.
            Self::Ec2Lag => SignedDuration::from_secs(30),
            Self::Ec2TagLag => SignedDuration::from_secs(15),
            // "Changes that I make are not always immediately visible" in the IAM user guide, read November 2026, names
            // no limit. About ten seconds are commonly seen; hashicorp/terraform-provider-aws waits for two minutes.
            Self::IamLag => SignedDuration::from_secs(60),
            // "API request consistency" in the ECS API reference, read November 2026, names no limit.
            Self::EcsLag => SignedDuration::from_secs(20),
            // Not documented.
            Self::LogsLag => SignedDuration::from_secs(20),
            // "Amazon S3 data consistency model" in the S3 user guide, read November 2026: bucket configurations are
            // eventually consistent, without a limit.
            Self::S3Lag => SignedDuration::from_secs(30),
        }
    }
}

/// How fast time passes for AWS's delays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    speed: f64,
    /// In milliseconds.
    fixed: [Option<u32>; COUNT],
}

impl Clock {
    /// A clock that is this many times faster than AWS; 1 is real time.
    pub(crate) fn new(speed: f64, fixed: &[(Delay, Duration)]) -> Self {
        let mut clock = Self { speed, fixed: [None; COUNT] };
        for (delay, duration) in fixed {
            if let Some(slot) = clock.fixed.get_mut(*delay as usize) {
                *slot = Some(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX));
            }
        }
        clock
    }

    /// How long a delay takes in the sandbox.
    pub(crate) fn takes(&self, delay: Delay) -> SignedDuration {
        let fixed = self.fixed.get(delay as usize).copied().flatten();
        let fixed = fixed.map(|millis| SignedDuration::from_millis(millis.into()));
        fixed.unwrap_or_else(|| self.scaled(delay.on_aws()))
    }

    /// Whether a delay that began at `since` is over at `now`. If the clock was set back, it is.
    pub(crate) fn is_over(&self, delay: Delay, since: Timestamp, now: Timestamp) -> bool {
        has_passed(self.takes(delay), since, now)
    }

    /// How long something takes in the sandbox that takes this long on AWS.
    pub(crate) fn scaled(&self, on_aws: SignedDuration) -> SignedDuration {
        SignedDuration::try_from_secs_f64(on_aws.as_secs_f64() / self.speed).map_or(LONGEST, |it| it.min(LONGEST))
    }
}

/// A duration as jiff's type.
pub(crate) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).map_or(LONGEST, |it| it.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_keeps_the_ratios_and_a_fixed_delay_ignores_it() {
        let clock = Clock::new(60.0, &[(Delay::NatGateway, Duration::from_secs(7))]);
        assert_eq!(clock.takes(Delay::InstanceStart), SignedDuration::from_secs(1));
        assert_eq!(clock.takes(Delay::BucketNameRest), SignedDuration::from_secs(60));
        assert_eq!(clock.takes(Delay::NatGateway), SignedDuration::from_secs(7));
        assert_eq!(Clock::new(1.0, &[]).takes(Delay::TaskStart), Delay::TaskStart.on_aws());
        assert_eq!(Delay::S3Lag as usize, COUNT - 1, "every delay has a place in the table");
    }
}
