//! The knowledge while a stack is read: what the stack wants, what the state recorded, and what has been read so far.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use aws_smithy_types::{DateTime, date_time::Format};

use trunnion_engine::{Address, Graph, Observed, Remote, Resource, State};
use trunnion_kinds::{ADDRESS_TAG, STACK_TAG};

use crate::{
    Aws,
    convert::{attribute, tags_of},
    driver::Wanted,
};

/// The owner of a resource in AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The stack owns it, at this address.
    Ours(Address),
    /// It has none of the stack's tags, and the state has its id at this address.
    Recorded(Address),
    /// Somebody else owns it.
    Other,
}

impl Whose {
    /// Whether the stack owns it, by its tags or by the state.
    pub fn is_ours(&self) -> bool {
        *self != Self::Other
    }
}

/// The reading of one stack.
pub(crate) struct Reading<'a> {
    pub aws: &'a Aws,
    pub desired: &'a Graph,
    pub recorded: &'a State,
    /// The addresses of recorded resources, by kind and id.
    by_id: HashMap<(&'a str, &'a str), &'a Address>,
    /// What has been read so far.
    pub observed: Observed,
}

impl<'a> Reading<'a> {
    pub fn new(aws: &'a Aws, desired: &'a Graph, recorded: &'a State) -> Self {
        let by_id = recorded.resources.iter().map(|(at, found)| ((at.kind.as_str(), found.id.as_str()), at)).collect();
        Self { aws, desired, recorded, by_id, observed: Observed::default() }
    }

    /// The recorded ids of a kind.
    pub fn recorded_ids<'r>(&'r self, kind: &str) -> impl Iterator<Item = &'r str> {
        let of_kind = self.recorded.resources.iter().filter(move |(address, _)| address.kind.as_str() == kind);
        of_kind.map(|(_, found)| found.id.as_str())
    }

    /// The ids of a kind that were recorded within this time.
    pub fn recorded_since<'r>(&'r self, kind: &str, time: Duration) -> impl Iterator<Item = &'r str> {
        let is_recent = move |applied_at: &str| {
            let at = DateTime::from_str(applied_at, Format::DateTime).ok();
            let at = at.and_then(|at| SystemTime::try_from(at).ok());
            at.and_then(|at| at.elapsed().ok()).is_some_and(|age| age <= time)
        };
        let of_kind = self.recorded.resources.iter().filter(move |(address, _)| address.kind.as_str() == kind);
        of_kind.filter(move |(_, found)| is_recent(&found.applied_at)).map(|(_, found)| found.id.as_str())
    }

    pub fn is_recorded(&self, kind: &str, id: &str) -> bool {
        self.by_id.contains_key(&(kind, id))
    }

    /// The stack's resources of a kind.
    pub fn wanted<'r>(&'r self, kind: &str) -> impl Iterator<Item = &'r Resource> {
        self.desired.resources().values().filter(move |resource| resource.kind().as_str() == kind)
    }

    /// The names of the stack's resources of a kind.
    pub fn names(&self, kind: &str, name: &str) -> impl Iterator<Item = Wanted> {
        let of = move |found: &Resource| Wanted {
            address: found.address.clone(),
            name: attribute(&found.attributes, name).to_owned(),
        };
        self.wanted(kind).map(of)
    }

    /// The stack's resources of a kind that have been read so far.
    pub fn seen<'r>(&'r self, kind: &str) -> impl Iterator<Item = &'r Remote> {
        let of_kind = self.observed.remotes.iter().filter(move |(address, _)| address.kind.as_str() == kind);
        of_kind.flat_map(|(_, remotes)| remotes)
    }

    /// The owner of a resource: by its tags or, without tags, by the state that has its id.
    pub fn by_tags(&self, kind: &str, remote: &Remote) -> Whose {
        match tags_of(&remote.attributes).get(STACK_TAG) {
            Some(stack) if *stack == self.aws.connection.stack => Whose::Ours(self.address(kind, remote)),
            None if self.is_recorded(kind, &remote.id) => Whose::Recorded(self.address(kind, remote)),
            _ => Whose::Other,
        }
    }

    /// The address of a resource of the stack: from its tag, or else from the state.
    pub fn address(&self, kind: &str, remote: &Remote) -> Address {
        let tags = remote.attributes.get("tags").and_then(trunnion_engine::Value::as_map);
        let tagged = tags.and_then(|tags| attribute(tags, ADDRESS_TAG).parse::<Address>().ok());
        tagged
            .filter(|address| address.kind.as_str() == kind)
            .or_else(|| self.by_id.get(&(kind, remote.id.as_str())).map(|address| (*address).clone()))
            .unwrap_or_else(|| Address::keyed(kind, "unaddressed", &remote.id))
    }
}
