//! What a stack reads and never changes: the network, images, instance types, secrets. One line of the registry for each kind.
//!
//! A lookup that finds nothing does not stop the others: the plan reports all of them with their reasons.

mod elastic_ip_quota;
mod image;
mod instance_type;
mod secret;
mod subnet;
mod vpc;

use std::collections::BTreeMap;

use futures::{
    FutureExt as _,
    future::{ready, try_join_all},
};
use serde::de::DeserializeOwned;
use trunnion_engine::{Address, Graph, Map, Value};

use crate::{Aws, convert::typed, driver::Doing, error::Failure};

/// Every kind of lookup.
static LOOKUPS: [&dyn AnyLookup; 6] = [
    &vpc::Vpcs,
    &subnet::Subnets,
    &image::Images,
    &instance_type::InstanceTypes,
    &secret::Secrets,
    &elastic_ip_quota::ElasticIpQuotas,
];

/// What each lookup found, or why it found nothing.
pub(crate) type Answers = Vec<(Address, Result<Map, Failure>)>;

/// The lookups of a kind, each with its query.
type Asked<Q> = [(Address, Q)];

/// What is known of every lookup after the first round trip.
type Known = BTreeMap<Address, Map>;

/// One kind of lookup.
///
/// Reading takes two round trips. [`read`](Self::read) needs nothing, [`complete`](Self::complete) has what the first round
/// trip found. Neither is called for a stack without such a lookup.
trait Lookup: Sync + 'static {
    /// How it asks.
    type Query: DeserializeOwned + Send + Sync;
    /// The lookup's kind.
    const KIND: &'static str;
    /// Whether it always takes the second round trip.
    const HAS_SECOND: bool = false;

    /// What the first round trip finds.
    fn read(&self, _: &Aws, _: &Asked<Self::Query>) -> impl Future<Output = Result<Answers, Failure>> + Send {
        ready(Ok(Answers::new()))
    }

    /// What the second one finds. An answer replaces that of the first one.
    fn complete(
        &self,
        _: &Aws,
        _: &Asked<Self::Query>,
        _: &Known,
    ) -> impl Future<Output = Result<Answers, Failure>> + Send {
        ready(Ok(Answers::new()))
    }
}

/// Any kind of lookup: what [`Lookup`] says, without its types.
trait AnyLookup: Sync {
    fn kind(&self) -> &'static str;
    fn has_second(&self) -> bool;
    fn read<'a>(&'a self, aws: &'a Aws, asked: &'a Asked<Map>) -> Doing<'a, Answers>;
    fn complete<'a>(&'a self, aws: &'a Aws, asked: &'a Asked<Map>, known: &'a Known) -> Doing<'a, Answers>;
}

impl<L: Lookup> AnyLookup for L {
    fn kind(&self) -> &'static str {
        L::KIND
    }

    fn has_second(&self) -> bool {
        L::HAS_SECOND
    }

    fn read<'a>(&'a self, aws: &'a Aws, asked: &'a Asked<Map>) -> Doing<'a, Answers> {
        async move { Lookup::read(self, aws, &decoded(asked)?).await }.boxed()
    }

    fn complete<'a>(&'a self, aws: &'a Aws, asked: &'a Asked<Map>, known: &'a Known) -> Doing<'a, Answers> {
        async move { Lookup::complete(self, aws, &decoded(asked)?, known).await }.boxed()
    }
}

fn decoded<Q: DeserializeOwned>(asked: &Asked<Map>) -> Result<Vec<(Address, Q)>, Failure> {
    asked.iter().map(|(address, query)| Ok((address.clone(), typed(query)?))).collect()
}

/// The lookups of a stack by kind.
pub(crate) struct Queries(Vec<OfKind>);

/// All lookups of one kind.
type OfKind = (&'static dyn AnyLookup, Vec<(Address, Map)>);

impl Queries {
    /// The lookups of a graph.
    pub fn of(graph: &Graph) -> Result<Self, Failure> {
        let mut by_kind: BTreeMap<&str, Vec<(Address, Map)>> = BTreeMap::new();
        for lookup in graph.lookups().values() {
            let asked = by_kind.entry(lookup.address.kind.as_str()).or_default();
            asked.push((lookup.address.clone(), lookup.query.clone()));
        }
        let of_kind = |(kind, asked)| match LOOKUPS.into_iter().find(|lookup| lookup.kind() == kind) {
            Some(lookup) => Ok((lookup, asked)),
            None => Err(Failure::own(format!("`{kind}` is not a kind of lookup"), None)),
        };
        by_kind.into_iter().map(of_kind).collect::<Result<_, _>>().map(Self)
    }

    /// Both round trips, each kind for itself, so that a failure of one kind hides no other.
    pub async fn each(&self, aws: &Aws) -> (Answers, Vec<(&'static str, Failure)>) {
        let (mut known, mut missing, mut failed) = (Known::new(), BTreeMap::new(), Vec::new());
        for is_second in [false, true] {
            let asked = self.0.iter().map(|(lookup, asked)| {
                let known = &known;
                async move {
                    let answers = if is_second {
                        lookup.complete(aws, asked, known).await
                    } else {
                        lookup.read(aws, asked).await
                    };
                    (lookup.kind(), answers)
                }
            });
            for (kind, answers) in futures::future::join_all(asked).await {
                match answers {
                    Err(failure) => failed.push((kind, failure)),
                    Ok(answers) => {
                        for (address, answer) in answers {
                            match answer {
                                Ok(found) => drop(known.insert(address, found)),
                                Err(failure) => {
                                    known.remove(&address);
                                    missing.insert(address, failure);
                                }
                            }
                        }
                    }
                }
            }
        }
        let known = known.into_iter().map(|(address, found)| (address, Ok(found)));
        (known.chain(missing.into_iter().map(|(address, failure)| (address, Err(failure)))).collect(), failed)
    }

    /// Whether a second round trip is needed.
    pub fn has_second(&self) -> bool {
        self.0.iter().any(|(lookup, _)| lookup.has_second())
    }

    /// The first round trip.
    pub async fn read(&self, aws: &Aws) -> Result<Answers, Failure> {
        let calls = self.0.iter().map(|(lookup, asked)| lookup.read(aws, asked));
        Ok(try_join_all(calls).await?.concat())
    }

    /// The second round trip.
    pub async fn complete(&self, aws: &Aws, known: &Known) -> Result<Answers, Failure> {
        let calls = self.0.iter().map(|(lookup, asked)| lookup.complete(aws, asked, known));
        Ok(try_join_all(calls).await?.concat())
    }
}

fn attributes<const N: usize>(pairs: [(&str, Value); N]) -> Map {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_kind_of_lookup_has_one_line() {
        let kinds: BTreeSet<&str> = LOOKUPS.into_iter().map(AnyLookup::kind).collect();
        assert_eq!(kinds.len(), LOOKUPS.len());
    }
}
