//! The cloud as the engine sees it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Address, Graph, Map, State, value::hex};

/// One thing that stands in the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// What the cloud calls it: `i-…`, an ARN, a name.
    pub id: String,
    /// What it looks like now, in the shape of the kind's attributes, computed ones included.
    pub attributes: Map,
    /// Whether it can only be deleted any more, such as a deregistered revision: it never counts as the current one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_spent: bool,
}

impl Remote {
    /// One that can be the current one of its address.
    pub fn new(id: impl Into<String>, attributes: Map) -> Self {
        Self { id: id.into(), attributes, is_spent: false }
    }
}

/// What the cloud says now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Everything that carries the stack's tags. Where an address has several, the plan takes the one that needs no
    /// replacement as the current one, the first of equals; the others are left-overs to delete.
    pub remotes: BTreeMap<Address, Vec<Remote>>,
    /// The attributes of every lookup that was found.
    pub lookups: BTreeMap<Address, Map>,
    /// Every lookup that was not found, and why.
    pub missing: BTreeMap<Address, ProviderError>,
    /// Every resource that cannot be created because its name belongs to somebody else, and to whom.
    pub taken: BTreeMap<Address, ProviderError>,
}

/// A resource whose references are all replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Where it stands in the stack.
    pub address: Address,
    /// What it should look like.
    pub attributes: Map,
}

/// What makes a retried create find the first one: SHA-256 over stack, address and attributes, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token of a create in a stack.
    pub fn new(stack: &str, resource: &Resolved) -> Self {
        let attributes = crate::Value::Map(resource.attributes.clone()).digest();
        Self(crate::Value::from(format!("{stack}\n{}\n{attributes}", resource.address)).digest())
    }

    /// The token of the n-th try: APIs remember the token of what was deleted since.
    #[must_use]
    pub fn nth(&self, n: u32) -> Self {
        Self(hex(&Sha256::digest(format!("{}{n}", self.0))))
    }

    /// The first `length` characters (64 at most): APIs differ in how long a token may be.
    pub fn shortened(&self, length: usize) -> &str {
        self.0.get(..length).unwrap_or(&self.0)
    }
}

/// Why the cloud did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderError {
    /// One sentence: the operation, the address, the cloud's code and message.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
    /// Whether nothing failed: a wait was ended because the person asked to stop.
    pub is_interruption: bool,
}

impl ProviderError {
    /// An error with its next step.
    pub fn new(message: impl Into<String>, help: impl Into<Option<String>>) -> Self {
        Self { message: plain(&message.into()), help: help.into(), is_interruption: false }
    }
}

/// Text from outside without characters that would steer a terminal or turn text around.
pub fn plain(text: &str) -> String {
    let steers = |character: char| {
        (character.is_control() && character != '\n' && character != '\t')
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|character| if steers(character) { '\u{fffd}' } else { character }).collect()
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ProviderError {}

/// A cloud that the engine can read and change.
pub trait Provider {
    /// Reads everything that carries the stack's tags, and what the graph looks up, in bulk.
    ///
    /// What `recorded` holds and the tags do not show is read once more by its id before it counts as gone.
    fn observe(&self, desired: &Graph, recorded: &State) -> impl Future<Output = Result<Observed, ProviderError>>;

    /// Creates a resource, or finds the one that an earlier call with the same token created.
    fn create(&self, resource: &Resolved, token: &Token) -> impl Future<Output = Result<Remote, ProviderError>>;

    /// Changes the attributes at `paths` in place.
    fn update(
        &self,
        remote: &Remote,
        resource: &Resolved,
        paths: &[String],
    ) -> impl Future<Output = Result<Remote, ProviderError>>;

    /// Deletes a resource; one that is gone already counts as deleted.
    fn delete(&self, address: &Address, remote: &Remote) -> impl Future<Output = Result<(), ProviderError>>;

    /// Creates resources of one kind: one future for each, in order, all to be polled together. A cloud that takes lists
    /// creates them with fewer calls; by default each one is created by itself.
    fn create_all(
        &self,
        resources: Vec<(Resolved, Token)>,
    ) -> Vec<impl Future<Output = Result<Remote, ProviderError>>> {
        let create = |(resource, token)| async move { self.create(&resource, &token).await };
        resources.into_iter().map(create).collect()
    }

    /// Changes resources of one kind, as [`create_all`](Self::create_all) creates them.
    fn update_all(
        &self,
        resources: Vec<(Remote, Resolved, Vec<String>)>,
    ) -> Vec<impl Future<Output = Result<Remote, ProviderError>>> {
        let update =
            |(remote, resource, paths): (_, _, Vec<_>)| async move { self.update(&remote, &resource, &paths).await };
        resources.into_iter().map(update).collect()
    }

    /// Deletes resources of one kind, as [`create_all`](Self::create_all) creates them.
    fn delete_all(&self, resources: Vec<(Address, Remote)>) -> Vec<impl Future<Output = Result<(), ProviderError>>> {
        let delete = |(address, remote)| async move { self.delete(&address, &remote).await };
        resources.into_iter().map(delete).collect()
    }
}
