//! The data of the sandbox, for all services and regions, and how it is stored.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    Options, SandboxError,
    authorize::record::Recorder,
    consistency::Reader,
    durations::{Clock, Delay},
    ec2, ecs, iam,
    journal::{Journal, NamedTable},
    json::hex,
    logs, s3, secrets, ssm,
    table::Table,
};

/// The rows of a table as JSON, by id.
pub(crate) type Rows = BTreeMap<String, Option<Box<RawValue>>>;

/// The data as the server and the services share it. The lock is never held over an `await`.
pub type SharedCloud = Arc<Mutex<Cloud>>;

/// Locks the data. If a call panicked while it held the lock, the data is still consistent, because
/// [`Cloud::attempt`] took back what the call changed.
pub fn lock(cloud: &SharedCloud) -> MutexGuard<'_, Cloud> {
    cloud.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The data of every service.
#[derive(Debug)]
pub struct Cloud {
    /// The twelve digits of the account that all resources belong to.
    pub account: String,
    /// EC2.
    pub ec2: ec2::State,
    /// IAM, which is global.
    pub iam: iam::State,
    /// ECS.
    pub ecs: ecs::State,
    /// Systems Manager's parameters.
    pub ssm: ssm::State,
    /// CloudWatch Logs.
    pub logs: logs::State,
    /// Secrets Manager.
    pub secrets: secrets::State,
    /// S3.
    pub s3: s3::State,
    /// When each region was first used, which is when its default network was created.
    regions: Table<Timestamp>,
    /// The last number of [`Cloud::new_number`], under the only key `ids`.
    counters: Table<u64>,
    /// Whether the identity may create service-linked roles.
    pub makes_service_roles: bool,
    /// The quota of Elastic IPs in each region.
    pub most_elastic_ips: usize,
    /// The quota of vCPUs in each region, if there is one.
    pub most_vcpus: Option<u32>,
    /// Where verdicts on permissions are written, if anywhere.
    pub(crate) authorizations: Recorder,
    clock: Clock,
    reader: Reader,
    data: Option<PathBuf>,
    journal: Option<Journal>,
}

impl Cloud {
    /// Empty data, or the data in the options' directory.
    pub(crate) fn open(options: &Options) -> Result<Self, SandboxError> {
        let mut cloud = Self {
            account: options.account.clone(),
            ec2: ec2::State::default(),
            iam: iam::State::default(),
            ecs: ecs::State::default(),
            ssm: ssm::State::default(),
            logs: logs::State::default(),
            secrets: secrets::State::default(),
            s3: s3::State::default(),
            regions: Table::default(),
            counters: Table::default(),
            makes_service_roles: options.makes_service_roles,
            most_elastic_ips: options.elastic_ips,
            most_vcpus: options.vcpus,
            authorizations: Recorder::default(),
            clock: Clock::new(options.speed, &options.delays),
            reader: Reader::new(options.consistency),
            data: None,
            journal: None,
        };
        if let Some(directory) = options.data.clone() {
            let account = cloud.account.clone();
            cloud.journal = Some(Journal::open(&directory, &account, cloud.tables())?);
            cloud.data = Some(directory);
        }
        Ok(cloud)
    }

    /// A new id in AWS's format: `prefix` and 17 hexadecimal digits. Every new sandbox creates the same ids in the same
    /// order.
    pub fn new_id(&mut self, prefix: &str) -> String {
        id_of(prefix, &self.new_number().to_string())
    }

    /// A number that is higher than all before it.
    pub fn new_number(&mut self) -> u64 {
        let number = self.counters.get("ids").map_or(1, |number| number + 1);
        self.counters.insert("ids", number);
        number
    }

    /// Whether a change that started at `since` is complete at `now`.
    pub fn settled(&self, delay: Delay, since: Timestamp, now: Timestamp) -> bool {
        self.clock.is_over(delay, since, now)
    }

    /// How long changes take.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Begins a call of this operation, such as `ec2:DescribeInstances`.
    pub(crate) fn begin(&mut self, operation: &str) {
        self.reader.begin(operation);
    }

    /// Whether the current call knows at `now` of a change to `what` that was made at `since`, for example that it was
    /// created.
    pub(crate) fn knows(&self, delay: Delay, what: &str, since: Timestamp, now: Timestamp) -> bool {
        self.reader.knows(self.clock, delay, what, since, now)
    }

    /// Whether every other service knows of the change, too.
    pub(crate) fn all_know(&self, delay: Delay, since: Timestamp, now: Timestamp) -> bool {
        self.reader.all_know(self.clock, delay, since, now)
    }

    /// The longest time until every read shows a change.
    pub(crate) fn longest_lag(&self) -> SignedDuration {
        let tagged = self.clock.takes(Delay::Ec2Lag) + self.clock.takes(Delay::Ec2TagLag);
        let others = [Delay::IamLag, Delay::EcsLag, Delay::LogsLag, Delay::S3Lag].map(|delay| self.clock.takes(delay));
        self.reader.longest(others.into_iter().fold(tagged, SignedDuration::max))
    }

    /// Which of two possible answers the strict profile gives in this case; `false` in the other profiles.
    pub(crate) fn draws(&self, what: &str) -> bool {
        self.reader.draws(what)
    }

    /// Whether what AWS does is not known, or not documented, is answered in the strictest way.
    pub(crate) fn is_strict(&self) -> bool {
        self.reader.is_strict()
    }

    /// The directory with the data, if it is not only in memory.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data.as_deref()
    }

    /// Creates a region's default network at its first use.
    pub fn enter(&mut self, region: &str, now: Timestamp) {
        if self.regions.get(region).is_none() {
            self.regions.insert(region, now);
            ec2::seed(self, region);
        }
    }

    /// Whether a call has used the region.
    pub fn has_used(&self, region: &str) -> bool {
        self.regions.get(region).is_some()
    }

    /// Runs a call. If it fails or panics, every change that it made is taken back, except for those before
    /// [`Cloud::keep`].
    pub fn attempt<T, E>(&mut self, call: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        self.keep();
        let mut attempt = Attempt { cloud: self, keep: false };
        let answer = call(attempt.cloud);
        attempt.keep = answer.is_ok();
        answer
    }

    /// Keeps what the current call has changed so far, even if the call fails.
    pub fn keep(&mut self) {
        for (_, table) in self.tables() {
            table.begin_trial();
        }
    }

    /// Writes the rows that changed since the last call to the journal; if that fails, the changes are taken back. Must
    /// be called before a call is answered.
    pub(crate) fn commit(&mut self) -> Result<(), SandboxError> {
        let mut journal = self.journal.take();
        let written = journal.as_mut().map_or(Ok(()), |journal| journal.append(&self.tables()));
        self.journal = journal;
        for (_, table) in self.tables() {
            if written.is_ok() {
                table.keep();
            } else {
                table.undo();
            }
        }
        written
    }

    /// Every row of every table, by table and id: also what no call shows any more.
    pub(crate) fn rows(&mut self) -> serde_json::Result<BTreeMap<&'static str, Rows>> {
        let of = |(name, table): NamedTable<'_>| Ok((name, table.all()?.into_iter().collect()));
        self.tables().into_iter().map(of).collect()
    }

    /// The rows that have changed since the last call, as `table/id`.
    #[cfg(test)]
    pub(crate) fn changed(&mut self) -> Vec<String> {
        let of = |(name, table): NamedTable<'_>| {
            let rows = table.changed().unwrap_or_default();
            rows.into_iter().map(|(id, _)| format!("{name}/{id}")).collect::<Vec<_>>()
        };
        self.tables().into_iter().flat_map(of).collect()
    }

    fn tables(&mut self) -> Vec<NamedTable<'_>> {
        let mut tables: Vec<NamedTable<'_>> =
            vec![("world.regions", &mut self.regions), ("world.counters", &mut self.counters)];
        tables.extend(self.ec2.tables());
        tables.extend(self.iam.tables());
        tables.extend(self.ecs.tables());
        tables.extend(self.ssm.tables());
        tables.extend(self.logs.tables());
        tables.extend(self.secrets.tables());
        tables.extend(self.s3.tables());
        tables
    }
}

/// Ends an attempt when it is dropped.
struct Attempt<'c> {
    cloud: &'c mut Cloud,
    keep: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        for (_, table) in self.cloud.tables() {
            table.end_trial(self.keep);
        }
    }
}

/// An id in AWS's format that depends only on `seed`: `prefix`, a zero and 16 hexadecimal digits.
pub fn id_of(prefix: &str, seed: &str) -> String {
    let digest = Sha256::digest(format!("{prefix}{seed}"));
    let digits = hex(digest.get(..8).unwrap_or_default());
    format!("{prefix}0{digits}")
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::Consistency;

    #[test]
    fn a_call_that_fails_or_panics_changes_nothing() {
        let mut cloud = Cloud::open(&Options::new()).unwrap();
        assert_eq!(cloud.attempt(|cloud| Ok::<_, ()>(cloud.new_number())), Ok(1));
        assert_eq!(cloud.attempt(|cloud| Err::<(), _>(cloud.new_number())), Err(2));
        let panicked =
            catch_unwind(AssertUnwindSafe(|| cloud.attempt::<(), ()>(|cloud| panic!("at {}", cloud.new_number()))));
        assert!(panicked.is_err());
        let kept = cloud.attempt(|cloud| {
            cloud.new_number();
            cloud.keep();
            Err::<(), _>(cloud.new_number())
        });
        assert_eq!(kept, Err(3));
        assert_eq!(cloud.new_number(), 3);
    }

    #[test]
    fn setting_the_clock_back_does_not_undo_changes() {
        for consistency in [Consistency::After(std::time::Duration::from_secs(5)), Consistency::Replicas(1)] {
            let cloud = Cloud::open(&Options::new().with_speed(1.0).with_consistency(consistency)).unwrap();
            let knows = |since, now| cloud.knows(Delay::Ec2Lag, "i-1", since, now);
            let settled = |since, now| cloud.settled(Delay::InstanceStart, since, now);
            let created = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24);
            assert!(!knows(created, created) && !settled(created, created));
            for hours in [23, 25] {
                let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
                assert!(knows(created, now) && settled(created, now), "at hour {hours}");
            }
        }
    }
}
