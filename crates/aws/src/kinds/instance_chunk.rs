//! Launches many new hosts with few calls.
//!
//! The hosts of a pool are divided by their numbers into hundreds. Where AWS shows no host of a hundred, one call launches
//! those that are wanted: its token depends on the home, the hundred and the zone, and not on how many are wanted, so a call
//! that is repeated after a kill finds what the first one launched. The call accepts fewer hosts than it asks for: EC2 then
//! launches as many as it can (`RunInstances` in the EC2 API reference, read November 2026). Hosts that are missing beside others
//! of their hundred are launched singly, each with its own token, once AWS has had the time to show those that exist. The
//! token of a hundred is that of its first number, so that the only host of a pool, which was launched singly because it
//! follows another one, is found too.
//!
//! All hosts of a call have the same tags. The tag [`LAUNCH_TAG`] has the numbers that the call was to launch, and the number
//! of a host is the first of them plus its launch index.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use futures::{FutureExt as _, future::Shared};
use trunnion_engine::{Address, Index, Map, Resolved, Token};
use trunnion_kinds::{ADDRESS_TAG, Instance, LAUNCH_TAG};

use super::{
    instance::Host,
    instance_launch::{Launch, fleet, with_tokens},
};
use crate::{
    Aws,
    driver::{Doing, one_call},
    error::Failure,
    wait::Ended,
};

/// How many hosts one call launches, terminates or starts at most.
pub(super) const HOSTS_PER_CALL: usize = 100;
const HUNDRED: u32 = 100;

/// The hosts of a pool with numbers of one hundred, in one zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hundred {
    pool: String,
    /// The number of the first one.
    first: u32,
    zone: String,
}

/// The wanted hosts of a hundred by their numbers.
type Wanted = BTreeMap<u32, Instance>;

/// Hosts by their addresses.
pub(super) type Launched = Arc<BTreeMap<String, Host>>;

/// The calls that launch the wanted hosts together, by hundred. A host that follows another one is launched singly.
pub(super) fn together<'a>(
    aws: &'a Aws,
    items: &[(Instance, Token)],
) -> BTreeMap<Hundred, Shared<Doing<'a, Launched>>> {
    let mut hundreds: BTreeMap<Hundred, Wanted> = BTreeMap::new();
    for (instance, token) in items {
        if let Some((hundred, number)) = hundred_of(instance, token) {
            hundreds.entry(hundred).or_default().insert(number, instance.clone());
        }
    }
    let call = |(hundred, wanted): (Hundred, Wanted)| {
        let hosts = one_call(launch(aws, hundred.clone(), wanted).boxed());
        (hundred, hosts)
    };
    hundreds.into_iter().map(call).collect()
}

/// The hundred of a host that follows no other one, and its number.
pub(super) fn hundred_of(instance: &Instance, token: &Token) -> Option<(Hundred, u32)> {
    let (pool, number) = pool_of(instance.tags.get(ADDRESS_TAG).filter(|_| token.follows().is_none())?)?;
    let zone = instance.zone.as_text()?.to_owned();
    Some((Hundred { pool, first: number - number % HUNDRED, zone }, number))
}

/// The pool and the number in a host's address.
fn pool_of(address: &str) -> Option<(String, u32)> {
    let address: Address = address.parse().ok().filter(|address: &Address| address.kind.as_str() == Instance::KIND)?;
    match address.index {
        Some(Index::Number(number)) => Some((address.name, number)),
        _ => None,
    }
}

/// The address of an instance that was launched with others.
pub(super) fn address_of(launch: &str, launch_index: u32) -> Option<String> {
    let (pool, numbers) = launch_of(launch)?;
    Some(Address::numbered(Instance::KIND, pool, numbers.start().checked_add(launch_index)?).to_string())
}

/// The pool and the numbers of a call: what [`LAUNCH_TAG`] says.
fn launch_of(text: &str) -> Option<(String, RangeInclusive<u32>)> {
    let (first, last) = text.strip_suffix(']')?.rsplit_once('-')?;
    let (pool, first) = pool_of(&format!("{first}]"))?;
    Some((pool, first..=last.parse().ok()?))
}

impl Hundred {
    fn has(&self, host: &Host) -> bool {
        let place = host.tags.get(ADDRESS_TAG).and_then(|address| pool_of(address));
        place.is_some_and(|(pool, number)| pool == self.pool && number - number % HUNDRED == self.first)
    }

    fn token(&self, aws: &Aws) -> Token {
        let address = Address::numbered(Instance::KIND, &self.pool, self.first);
        let attributes = Map::from([("zone".to_owned(), self.zone.as_str().into())]);
        Token::new(&aws.connection.home, &aws.connection.stack, &Resolved { address, attributes }, &Instance::RULES)
    }
}

/// Launches hosts of a hundred, or finds those of an earlier attempt. Hosts that are not returned are to be launched singly.
async fn launch(aws: &Aws, hundred: Hundred, wanted: Wanted) -> Result<Launched, Failure> {
    let mut seen = Seen::default();
    let there = seen.read(aws, &hundred, &wanted).await?;
    let of_hundred = there.iter().filter(|host| aws.owns(&host.tags) && hundred.has(host));
    // A host that ended soon after its launch can be the only one that is shown.
    if of_hundred.clone().any(|host| is_young(aws, host) && was_launched_with(host, &wanted)) {
        seen.read_all(aws, &hundred, &wanted).await?;
    }
    if seen.has_siblings {
        return Ok(Arc::new(seen.found));
    }
    let newest_ended = of_hundred.max_by_key(|host| (host.launched, host.id.as_str()));
    let token = hundred.token(aws);
    let token = newest_ended.map_or_else(|| token.clone(), |ended| token.following(&ended.id));
    let Some(call) = Launch::together(&hundred, &wanted) else { return Ok(Arc::default()) };
    seen.add(with_tokens(aws, &call, token).await?);
    if seen.found.len() < wanted.len() {
        seen.read_all(aws, &hundred, &wanted).await?;
    }
    Ok(Arc::new(seen.found))
}

/// What several reads showed. A later read may hide what an earlier one showed.
#[derive(Default)]
struct Seen {
    /// Whether there is a live host of the hundred.
    has_siblings: bool,
    /// The live hosts at wanted addresses that no plan knows.
    found: BTreeMap<String, Host>,
}

impl Seen {
    fn add(&mut self, hosts: Vec<Host>) {
        let address = |host: &Host| host.tags.get(ADDRESS_TAG).cloned();
        self.found.extend(hosts.into_iter().filter_map(|host| Some((address(&host)?, host))));
    }

    /// Reads all hosts of the stack once.
    async fn read(&mut self, aws: &Aws, hundred: &Hundred, wanted: &Wanted) -> Result<Arc<Vec<Host>>, Failure> {
        let there = fleet(aws).await?;
        let live = there.iter().filter(|host| host.is_live() && aws.owns(&host.tags) && hundred.has(host));
        self.has_siblings |= live.clone().next().is_some();
        let is_wanted = |host: &&Host| {
            wanted.values().any(|instance| host.tags.get(ADDRESS_TAG) == instance.tags.get(ADDRESS_TAG))
                && !aws.is_planned(&host.id)
        };
        self.add(live.filter(is_wanted).cloned().collect());
        Ok(there)
    }

    /// Reads until a live host is seen at each wanted address, or until AWS has shown whatever existed before.
    async fn read_all(&mut self, aws: &Aws, hundred: &Hundred, wanted: &Wanted) -> Result<(), Failure> {
        let wait = aws.lag_wait();
        while self.found.len() < wanted.len() {
            match wait.look().await {
                Ok(()) => drop(self.read(aws, hundred, wanted).await?),
                Err(Ended::Interrupted) => return Err(Failure::interrupted("AWS may not show all hosts yet")),
                Err(Ended::OutOfPatience) => break,
            }
        }
        Ok(())
    }
}

/// Whether AWS may still hide a host that was launched together with this one, or what became of it.
pub(super) fn is_young(aws: &Aws, host: &Host) -> bool {
    // Both times are whole seconds.
    let age = aws.clock.now().saturating_sub(host.launched).saturating_sub(1);
    u64::try_from(age).unwrap_or(0) <= aws.connection.lag.as_secs()
}

/// Whether a host was launched by a call that was to launch one of these hosts, too.
fn was_launched_with(host: &Host, wanted: &Wanted) -> bool {
    may_have_launched(host, 0, wanted.values())
}

/// Whether the call that launched a host was to launch more hosts than are known, and one of these among them.
pub(super) fn may_have_launched<'i>(host: &Host, known: usize, mut wanted: impl Iterator<Item = &'i Instance>) -> bool {
    let Some((pool, numbers)) = host.launch.as_deref().and_then(launch_of) else { return false };
    if numbers.clone().count() <= known {
        return false;
    }
    let place = |instance: &Instance| instance.tags.get(ADDRESS_TAG).and_then(|address| pool_of(address));
    wanted.any(|instance| place(instance).is_some_and(|(of, number)| of == pool && numbers.contains(&number)))
}

impl<'a> Launch<'a> {
    /// Launches the longest run of wanted numbers; another one than the first is possible only where hosts of the hundred are
    /// not asked for. Finds also the others.
    fn together(hundred: &Hundred, wanted: &'a Wanted) -> Option<Self> {
        let (first, count) = longest_run(wanted.keys().copied())?;
        let mut tags = wanted.get(&first)?.tags.clone();
        tags.remove(ADDRESS_TAG);
        let last = first + count - 1;
        tags.insert(LAUNCH_TAG.to_owned(), format!("{}.{}[{first}-{last}]", Instance::KIND, hundred.pool));
        Some(Self { wanted: wanted.values().collect(), like: wanted.get(&first)?, tags, count })
    }
}

/// The first number and the length of the longest sequence of numbers without a gap; the first of equals.
fn longest_run(numbers: impl Iterator<Item = u32>) -> Option<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == number => *count += 1,
            _ => runs.push((number, 1)),
        }
    }
    runs.into_iter().rev().max_by_key(|(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_sequence_without_a_gap_is_launched_together() {
        let of = |numbers: &[u32]| longest_run(numbers.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some((7, 1)));
        assert_eq!(of(&[0, 1, 3, 4, 5, 9]), Some((3, 3)));
        assert_eq!(of(&[0, 1, 4, 5]), Some((0, 2)));
    }

    #[test]
    fn an_address_follows_from_the_first_one_and_the_launch_index() {
        assert_eq!(address_of("instance.heavy[200-299]", 7).as_deref(), Some("instance.heavy[207]"));
        assert_eq!(address_of("instance.a-b[3-3]", 0).as_deref(), Some("instance.a-b[3]"));
        for broken in [
            "instance.heavy",
            "instance.heavy[2]",
            "elastic_ip.heavy[2-3]",
            "instance.heavy[x-3]",
            "instance.heavy[1-x]",
            "instance.heavy[-1]",
            "]",
            "",
            "instance.heavy[4294967295-4294967295]",
        ] {
            assert_eq!(address_of(broken, 1), None, "{broken}");
        }
    }
}
