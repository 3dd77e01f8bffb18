//! The data of the sandbox, for all services and regions, and how it is stored.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::{
    SandboxError,
    authorize::record::Recorder,
    ec2, ecs, iam,
    journal::{Journal, NamedTable},
    json::hex,
    logs, s3, secrets, ssm,
    table::Table,
};

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
    pace: SignedDuration,
    lag: SignedDuration,
    data: Option<PathBuf>,
    journal: Option<Journal>,
}

impl Cloud {
    /// Empty data, or the data in the directory `data`.
    ///
    /// `pace` is how long gradual state changes take, `lag` how long a new resource is invisible.
    pub(crate) fn open(
        account: String,
        pace: Duration,
        lag: Duration,
        data: Option<PathBuf>,
    ) -> Result<Self, SandboxError> {
        let signed = |duration: Duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let mut cloud = Self {
            account,
            ec2: ec2::State::default(),
            iam: iam::State::default(),
            ecs: ecs::State::default(),
            ssm: ssm::State::default(),
            logs: logs::State::default(),
            secrets: secrets::State::default(),
            s3: s3::State::default(),
            regions: Table::default(),
            counters: Table::default(),
            makes_service_roles: true,
            most_elastic_ips: 5,
            most_vcpus: None,
            authorizations: Recorder::default(),
            pace: signed(pace),
            lag: signed(lag),
            data: None,
            journal: None,
        };
        if let Some(directory) = data {
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

    /// Whether a gradual change that started at `since` is complete at `now`.
    pub fn settled(&self, since: Timestamp, now: Timestamp) -> bool {
        has_passed(self.pace, since, now)
    }

    /// How long gradual state changes take.
    pub fn pace(&self) -> SignedDuration {
        self.pace
    }

    /// Whether a resource created at `created` is visible at `now`.
    pub fn visible(&self, created: Timestamp, now: Timestamp) -> bool {
        has_passed(self.lag, created, now)
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

    /// Writes the rows that changed since the last call to the journal. Must be called before a call is answered.
    pub(crate) fn commit(&mut self) -> Result<(), SandboxError> {
        let Some(mut journal) = self.journal.take() else {
            // Without a journal, nobody empties the lists of changed rows, and they would grow.
            for (_, table) in self.tables() {
                table.forget_touched();
            }
            return Ok(());
        };
        let written = journal.append(self.tables());
        self.journal = Some(journal);
        written
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

/// Whether this much time has passed. A start in the future means that the clock was set back, so it counts as passed.
fn has_passed(time: SignedDuration, since: Timestamp, now: Timestamp) -> bool {
    let passed = now.duration_since(since);
    passed.is_negative() || passed >= time
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

    #[test]
    fn a_call_that_fails_or_panics_changes_nothing() {
        let mut cloud = Cloud::open("123456789012".to_owned(), Duration::ZERO, Duration::ZERO, None).unwrap();
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
        let lag = Duration::from_secs(5);
        let cloud = Cloud::open("123456789012".to_owned(), lag, lag, None).unwrap();
        let created = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24);
        assert!(!cloud.visible(created, created) && !cloud.settled(created, created));
        for hours in [23, 25] {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
            assert!(cloud.visible(created, now) && cloud.settled(created, now), "at hour {hours}");
        }
    }
}
