//! Reads a stack in three round trips, whatever the dependencies between the calls.
//!
//! 1. The identity of the caller; the lookups that need nothing (VPC, SSM parameters, instance types, secrets); the
//!    bulk read of every driver.
//! 2. Calls that need those answers: subnets, routes and images; for every driver the details that its bulk read leaves
//!    out, the recorded resources that were not listed (only this shows that they no longer exist), and the names that are
//!    about to be created.
//! 3. What a detail needs itself: the policy of each role that has one, the checksum of each object.
//!
//! A driver may ask for further ids once everything else is known, which costs a fourth round trip.
//!
//! The number of calls does not depend on the number of hosts, except for pages. Pages are read one after the other,
//! because each answer contains the token for the next page.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use futures::future::{join, try_join_all};
use trunnion_engine::{Address, Applied, Graph, KindName, Observed, ProviderError, Remote, State, Value};

use crate::{
    Aws,
    driver::{AnyDriver, Wanted},
    error::{Failure, OfCall as _},
    kinds::{DRIVERS, driver, ecs_cluster::APPLIED, needed},
    lookups::{Answers, Queries},
    reading::{Reading, Whose},
    recorded::credible,
    wait::LOOKS_AGAIN,
};

/// For how long after its last change a recorded resource is looked for again if it is not shown.
const RECENT: Duration = Duration::from_mins(2);

/// Reads everything that belongs to the stack, and its lookups.
pub(crate) async fn observe(aws: &Aws, desired: &Graph, recorded: &State) -> Result<Observed, ProviderError> {
    let failed = |failure: Failure| failure.about("");
    let (credible, note) = credible(&aws.connection, recorded);
    let is_left_out = |address: &&Address| !credible.resources.contains_key(*address);
    let impossible = recorded.resources.keys().filter(is_left_out).cloned().collect();
    let recorded = &*credible;
    let queries = Queries::of(desired).map_err(failed)?;
    let mut reading = Reading::new(aws, desired, recorded);
    reading.observed.notes.extend(note);
    reading.observed.impossible = impossible;
    let (identity, first) = join(Box::pin(check_account(aws)), Box::pin(First::read(&reading, &queries))).await;
    identity?;
    let First { answers, listed } = first.map_err(failed)?;
    put_answers(&mut reading, answers);

    let second = Second::of(&reading, listed);
    let rounds = second.rounds(queries.has_second());
    let (answers, found) = second.read(&reading, &queries).await.map_err(failed)?;
    put_answers(&mut reading, answers);
    // A kind comes after those it depends on, because they may decide which stack owns its resources.
    let mut others = Vec::new();
    for (driver, Found { remotes, taken }) in DRIVERS.into_iter().zip(found) {
        put(&mut reading, driver, taken);
        others.push(place(&mut reading, driver, remotes));
    }
    let more = further(&mut reading, &mut others).await.map_err(failed)?;
    for (driver, others) in DRIVERS.into_iter().zip(&others) {
        let taken = names_of(&reading, driver, others);
        put(&mut reading, driver, taken);
    }
    aws.counter.set_round_trips(1 + rounds + u32::from(more));
    remember(&mut reading);
    Ok(in_order(reading))
}

/// A resource of any owner.
pub(crate) async fn find(aws: &Aws, kind: &KindName, id: &str) -> Result<Option<Remote>, ProviderError> {
    let about = |failure: Failure| failure.about(&format!("`{id}`"));
    let driver = needed(kind).map_err(about)?;
    if !driver.imports() {
        let kinds: Vec<&str> = DRIVERS.into_iter().filter(|it| it.imports()).map(|it| it.rules().kind).collect();
        let help = format!("these kinds can be imported: {}; delete the other resource, and apply", kinds.join(", "));
        return Err(ProviderError::new(format!("a resource of the kind `{kind}` cannot be imported"), help));
    }
    if !driver.can_exist(id, &aws.connection) {
        let help =
            "write the id as AWS shows it, such as `i-…`, `lt-…`, `sg-…`, `eipalloc-…` or the name of a log group";
        return Err(ProviderError::new(format!("`{id}` is not an id of the kind `{kind}`"), help.to_owned()));
    }
    // Most ids that AWS does not show are wrong, and few are new.
    let found = aws.if_shown(|| async { Ok(driver.by_ids(aws, vec![id.to_owned()]).await?.pop()) });
    found.await.map_err(about)
}

/// Refuses credentials of another account than the stack's.
pub(crate) async fn check_account(aws: &Aws) -> Result<(), ProviderError> {
    let answer = aws.clients.sts.get_caller_identity().send().await.of_call("sts:GetCallerIdentity");
    let answer = answer.map_err(|failure| failure.about(""))?;
    if let Some(arn) = answer.arn {
        // The first answer is enough: all calls have the same credentials.
        let _ = aws.identity.set(arn);
    }
    let account = answer.account.unwrap_or_default();
    if account == aws.connection.account {
        return Ok(());
    }
    let message =
        format!("the credentials are of account {account}, but the stack is of account {}", aws.connection.account);
    let help = "choose another profile with `AWS_PROFILE`, or correct `account` in the stack file".to_owned();
    Err(ProviderError::new(message, help))
}

/// The answers of the first round trip.
struct First {
    answers: Answers,
    /// What each driver lists, in the order of the drivers.
    listed: Vec<Vec<Remote>>,
}

impl First {
    async fn read(reading: &Reading<'_>, queries: &Queries) -> Result<Self, Failure> {
        let lists = try_join_all(DRIVERS.into_iter().map(|driver| Box::pin(list(reading, driver))));
        let (answers, listed) = futures::try_join!(queries.read(reading.aws), lists)?;
        Ok(Self { answers, listed })
    }
}

/// The work of the other round trips for each driver; lookups come in addition.
struct Second(Vec<Work>);

/// What must still be read of a kind.
struct Work {
    driver: &'static dyn AnyDriver,
    /// The listed resources, which may need details.
    listed: Vec<Remote>,
    /// Recorded ids that were not listed.
    unseen: Vec<String>,
    /// Names that are about to be created.
    names: Vec<Wanted>,
}

/// What was read of a kind.
struct Found {
    remotes: Vec<Remote>,
    /// Names that belong to somebody else.
    taken: Vec<Wanted>,
}

impl Second {
    fn of(reading: &Reading<'_>, listed: Vec<Vec<Remote>>) -> Self {
        let inside = |kind: &str| -> Vec<Remote> {
            let outer = DRIVERS.into_iter().zip(&listed).filter(|(driver, _)| driver.rules().kind == kind);
            let is_ours = |driver: &dyn AnyDriver, one: &Remote| driver.whose(reading, one).is_ours();
            outer.flat_map(|(driver, listed)| listed.iter().filter(move |one| is_ours(driver, one))).cloned().collect()
        };
        let inside: Vec<_> = DRIVERS.into_iter().map(|driver| driver.inside().map(inside)).collect();
        let works = DRIVERS.into_iter().zip(listed).zip(inside).map(|((driver, listed), inside)| {
            let ids: BTreeSet<&str> = listed.iter().map(|one| one.id.as_str()).collect();
            let unseen =
                reading.recorded_ids(driver.rules().kind).filter(|id| driver.list_misses() && !ids.contains(id));
            let unseen = unseen.map(str::to_owned).collect();
            let names = driver.to_ask(reading, &listed);
            Work { driver, listed: inside.unwrap_or(listed), unseen, names }
        });
        Self(works.collect())
    }

    /// How many round trips it takes.
    fn rounds(&self, looks_up: bool) -> u32 {
        let of = |work: &Work| {
            let detail = if work.listed.is_empty() && work.unseen.is_empty() { 0 } else { work.driver.rounds() };
            detail.max(u32::from(!work.unseen.is_empty() || !work.names.is_empty()))
        };
        self.0.iter().map(of).max().unwrap_or(0).max(u32::from(looks_up))
    }

    async fn read(self, reading: &Reading<'_>, queries: &Queries) -> Result<(Answers, Vec<Found>), Failure> {
        let works = try_join_all(self.0.into_iter().map(|work| Box::pin(work.read(reading))));
        futures::try_join!(queries.complete(reading.aws, &reading.observed.lookups), works)
    }
}

impl Work {
    async fn read(self, reading: &Reading<'_>) -> Result<Found, Failure> {
        let Self { driver, listed, unseen, names } = self;
        let by_ids =
            async { if unseen.is_empty() { Ok(Vec::new()) } else { driver.by_ids(reading.aws, unseen).await } };
        let taken = async { if names.is_empty() { Ok(Vec::new()) } else { driver.taken(reading, names).await } };
        let (mut remotes, again, taken) = futures::try_join!(driver.detail(reading, listed), by_ids, taken)?;
        remotes.extend(again);
        look_again(reading, driver, &mut remotes).await?;
        Ok(Found { remotes, taken })
    }
}

/// What a driver lists. AWS's reads are eventually consistent, so one list without a resource that was created a short time
/// ago does not mean that it was deleted. Recorded ids that the list omits for other reasons are read later.
async fn list(reading: &Reading<'_>, driver: &dyn AnyDriver) -> Result<Vec<Remote>, Failure> {
    let mut listed = driver.list(reading).await?;
    if driver.list_misses() || driver.inside().is_some() {
        return Ok(listed);
    }
    let wait = reading.aws.short_wait();
    for _ in 0..LOOKS_AGAIN {
        if recent(reading, driver, &listed).is_empty() || wait.look().await.is_err() {
            break;
        }
        let mut again = driver.list(reading).await?;
        again.retain(|one| !listed.iter().any(|known| known.id == one.id));
        listed.extend(again);
    }
    Ok(listed)
}

/// Reads resources again that were created a short time ago and are not shown.
async fn look_again(reading: &Reading<'_>, driver: &dyn AnyDriver, remotes: &mut Vec<Remote>) -> Result<(), Failure> {
    if !driver.list_misses() {
        return Ok(());
    }
    let aws = reading.aws;
    let wait = aws.short_wait();
    for _ in 0..LOOKS_AGAIN {
        let missing = recent(reading, driver, remotes);
        if missing.is_empty() || wait.look().await.is_err() {
            break;
        }
        remotes.extend(driver.by_ids(aws, missing).await?);
    }
    Ok(())
}

/// The ids that were recorded a short time ago and are not among these resources.
fn recent(reading: &Reading<'_>, driver: &dyn AnyDriver, remotes: &[Remote]) -> Vec<String> {
    let recorded = reading.recorded_since(driver.rules().kind, RECENT);
    recorded.filter(|id| !remotes.iter().any(|one| one.id == *id)).map(str::to_owned).collect()
}

/// Reads the further ids that drivers ask for. Returns whether there were any.
async fn further(reading: &mut Reading<'_>, others: &mut [Vec<Remote>]) -> Result<bool, Failure> {
    let ids: Vec<_> = DRIVERS.into_iter().map(|driver| driver.further(reading)).collect();
    let is_any = ids.iter().any(|ids| !ids.is_empty());
    let aws = reading.aws;
    let asked = DRIVERS.into_iter().zip(ids).map(|(driver, ids)| async move {
        if ids.is_empty() { Ok(Vec::new()) } else { driver.by_ids(aws, ids).await }
    });
    let found = try_join_all(asked.map(Box::pin)).await?;
    for ((driver, found), others) in DRIVERS.into_iter().zip(found).zip(others) {
        others.extend(place(reading, driver, found));
    }
    Ok(is_any)
}

fn put_answers(reading: &mut Reading<'_>, answers: Answers) {
    for (address, answer) in answers {
        match answer {
            Ok(found) => {
                reading.observed.lookups.insert(address, found);
            }
            Err(failure) => {
                let error = failure.about(&format!("`{address}`"));
                reading.observed.lookups.remove(&address);
                reading.observed.missing.insert(address, error);
            }
        }
    }
}

/// Stores the stack's resources at their addresses, and returns the others.
fn place(reading: &mut Reading<'_>, driver: &dyn AnyDriver, remotes: Vec<Remote>) -> Vec<Remote> {
    let mut others = Vec::new();
    for mut remote in remotes {
        let applied = remote.attributes.remove(APPLIED);
        let whose = driver.whose(reading, &remote);
        // What is spent can only be deleted, with tags or without.
        remote.is_untagged = matches!(whose, Whose::Recorded(_)) && !remote.is_spent;
        match whose {
            Whose::Ours(address) | Whose::Recorded(address) => {
                let applied = applied.as_ref().and_then(Value::as_text).and_then(Applied::of_text);
                reading.observed.applied = reading.observed.applied.take().or(applied);
                reading.observed.remotes.entry(address).or_default().push(remote);
            }
            Whose::Other => others.push(remote),
        }
    }
    others
}

/// Adds what only the lost tags of resources said, from the state. An earlier state than that of the last apply says nothing:
/// somebody may have given the resource away since.
fn remember(reading: &mut Reading<'_>) {
    let Reading { recorded, observed, .. } = reading;
    if observed.applied.as_ref().is_some_and(|applied| applied.is_after(recorded)) {
        return;
    }
    for (address, remotes) in &mut observed.remotes {
        let Some(driver) = driver(&address.kind) else { continue };
        let record = recorded.resources.get(address);
        for remote in remotes.iter_mut().filter(|remote| remote.is_untagged) {
            let record = record.filter(|record| record.id == remote.id);
            for name in driver.only_in_tags() {
                let value = record.and_then(|record| record.attributes.get(*name));
                if let (Some(lost @ Value::Null), Some(value)) = (remote.attributes.get_mut(*name), value) {
                    lost.clone_from(value);
                }
            }
        }
    }
}

/// The names that the stack wants and that belong to others.
fn names_of(reading: &Reading<'_>, driver: &dyn AnyDriver, others: &[Remote]) -> Vec<Wanted> {
    let names = others.iter().filter(|other| !other.is_spent).map(|other| driver.name_of(&other.attributes));
    // Hosts and Elastic IPs have no name.
    let of_others: BTreeSet<&str> = names.filter(|name| !name.is_empty()).collect();
    let wanted = reading.wanted(driver.rules().kind).filter_map(|resource| {
        let name = driver.name_of(&resource.attributes);
        of_others.contains(name).then(|| Wanted { address: resource.address.clone(), name: name.to_owned() })
    });
    wanted.collect()
}

fn put(reading: &mut Reading<'_>, driver: &dyn AnyDriver, taken: Vec<Wanted>) {
    let taken = taken.into_iter().map(|wanted| {
        let error = driver.foreign(&wanted);
        (wanted.address, error)
    });
    reading.observed.taken.extend(taken);
}

/// Sorts several resources at one address: the current one comes first, by the kind's rank, then the lowest id. Resources
/// that can only be deleted come last. The state has no say.
fn in_order(reading: Reading<'_>) -> Observed {
    let Reading { mut observed, desired, .. } = reading;
    // A taken name is no obstacle if the stack has its own resource: others may have revisions of the same family.
    let Observed { remotes, taken, .. } = &mut observed;
    let is_there = |address: &Address| remotes.get(address).is_some_and(|found| found.iter().any(|one| !one.is_spent));
    taken.retain(|address, _| !is_there(address));
    for (address, remotes) in remotes.iter_mut().filter(|(_, remotes)| remotes.len() > 1) {
        let wanted = desired.resources().get(address).map(|found| &found.attributes);
        let driver = driver(&address.kind);
        remotes.sort_by_cached_key(|remote| {
            let rank = driver.map_or(0, |driver| driver.rank(wanted, remote));
            (remote.is_spent, Reverse(rank), remote.id.clone())
        });
    }
    observed
}
