//! The cloud as the engine sees it: what a provider does, and what goes in and out.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{Address, Adoption, Applied, ErrorClass, Graph, Hold, KindName, Map, Note, Plan, Rules, State, value::hex};

/// One thing that stands in the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Its id in the cloud: `i-…`, an ARN, a name.
    pub id: String,
    /// What it looks like now, by the names that the [`Resource`](crate::Resource) has, computed attributes included.
    pub attributes: Map,
    /// Whether it can only be deleted, such as a deregistered revision: it is never the current one of its address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_spent: bool,
    /// Whether it has none of the stack's tags and only the state knows it. Where somebody applied after what the state knows,
    /// it may get them back, and is neither deleted nor replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_untagged: bool,
    /// What it looked like before somebody else changed it, where the cloud keeps that: pinned values that are missing now
    /// are taken from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Map>,
}

impl Remote {
    /// One that can be the current one of its address.
    pub fn new(id: impl Into<String>, attributes: Map) -> Self {
        Self { id: id.into(), attributes, is_spent: false, is_untagged: false, earlier: None }
    }
}

/// What the cloud has now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Everything that carries the stack's tags, and what the state alone knows ([`Remote::is_untagged`]). Where an address has several, the plan takes the one that needs no
    /// replacement as the current one, the first of equals; the others are left-overs to delete.
    pub remotes: BTreeMap<Address, Vec<Remote>>,
    /// The attributes of every lookup that was found.
    pub lookups: BTreeMap<Address, Map>,
    /// Every lookup that was not found, and why.
    pub missing: BTreeMap<Address, ProviderError>,
    /// Every resource that cannot be created because its name belongs to somebody else, and to whom.
    pub taken: BTreeMap<Address, ProviderError>,
    /// Who applied the stack last, as the cloud says it.
    pub applied: Option<Applied>,
    /// What a person should know about the state that was read with.
    pub notes: Vec<Note>,
    /// Where the state that was read with has ids that the cloud cannot have given.
    pub impossible: BTreeSet<Address>,
}

/// A resource whose references are all replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The address of the resource.
    pub address: Address,
    /// What it should look like: no value in it holds a [`Reference`](crate::Reference).
    pub attributes: Map,
}

/// What makes a retried create find the first one.
///
/// It covers the stack's home and name, the address, the attributes that identify a resource of the kind
/// ([`Attribute::identifies`](crate::Attribute::identifies)), and the id of the resource that the new one follows. So a
/// create that is repeated with other content still has the same token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    base: String,
    follows: Option<String>,
    number: Option<u32>,
}

impl Token {
    /// The token of a resource that follows no other one.
    pub fn new(home: &str, stack: &str, resource: &Resolved, rules: &Rules) -> Self {
        let attributes = rules.identity(&resource.attributes).digest();
        Self {
            base: digest(&format!("{home}\n{stack}\n{}\n{attributes}", resource.address)),
            follows: None,
            number: None,
        }
    }

    /// The token of the resource that follows the one with this id at the same address.
    #[must_use]
    pub fn following(&self, id: impl Into<String>) -> Self {
        Self { follows: Some(id.into()), number: None, ..self.clone() }
    }

    /// The id of the resource that the new one follows.
    pub fn follows(&self) -> Option<&str> {
        self.follows.as_deref()
    }

    /// The n-th token of its kind, for a create whose earlier tokens are used up by something that is not known.
    #[must_use]
    pub fn nth(&self, n: u32) -> Self {
        Self { number: Some(n), ..self.clone() }
    }

    /// The first `length` characters (64 at most): APIs differ in how long a token may be.
    pub fn shortened(&self, length: usize) -> String {
        let Self { base, follows, number } = self;
        let mut text = base.clone();
        if let Some(id) = follows {
            text = digest(&format!("{text}\n{id}"));
        }
        if let Some(number) = number {
            text = digest(&format!("{text}{number}"));
        }
        text.truncate(length);
        text
    }
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Why a call, or the wait behind it, failed. Two of them are equal if they say the same: neither [`ProviderError::request_id`] nor
/// the source counts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProviderError {
    /// The kind of the failure, from which retries and the exit code follow.
    pub class: ErrorClass,
    /// The call as the cloud's permissions name it: `ec2:RunInstances`; none where no call failed.
    pub operation: Option<String>,
    /// The cloud's code: `InsufficientInstanceCapacity`.
    pub code: Option<String>,
    /// The number that the cloud gave the request: its support finds the call by it.
    pub request_id: Option<String>,
    /// One sentence that is complete by itself: the operation, the address, the cloud's code and message.
    pub message: String,
    /// The next step, for a person; nothing where none is known.
    pub help: Option<String>,
    /// [`ProviderError::message`] has its text already.
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ProviderError {
    /// An error of the class [`ErrorClass::Other`] with its next step.
    pub fn new(message: impl Into<String>, help: impl Into<Option<String>>) -> Self {
        Self {
            class: ErrorClass::Other,
            operation: None,
            code: None,
            request_id: None,
            message: plain(&message.into()),
            help: help.into(),
            source: None,
        }
    }

    /// The same in this class. Where no next step is known yet, it is that of the class.
    #[must_use]
    pub fn with_class(self, class: ErrorClass) -> Self {
        let help = self.help.or_else(|| class.help().map(str::to_owned));
        Self { class, help, ..self }
    }

    /// The same with the call that failed.
    #[must_use]
    pub fn with_operation(self, operation: impl Into<String>) -> Self {
        Self { operation: Some(operation.into()), ..self }
    }

    /// The same with the cloud's code.
    #[must_use]
    pub fn with_code(self, code: impl Into<String>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// The same with the number that the cloud gave the request.
    #[must_use]
    pub fn with_request_id(self, request_id: impl Into<String>) -> Self {
        Self { request_id: Some(request_id.into()), ..self }
    }

    /// The same with the error that it was made from.
    #[must_use]
    pub fn with_source(self, source: Arc<dyn Error + Send + Sync>) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Whether nothing failed: a wait was ended because the person asked to stop.
    pub fn is_interruption(&self) -> bool {
        self.class == ErrorClass::Interrupted
    }
}

impl PartialEq for ProviderError {
    fn eq(&self, other: &Self) -> bool {
        let said = |error: &Self| (error.class, error.operation.clone(), error.code.clone(), error.help.clone());
        self.message == other.message && said(self) == said(other)
    }
}

impl Eq for ProviderError {}

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

impl Error for ProviderError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// What holds for all calls of one plan or apply.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Context {
    /// Once it is cancelled, every wait ends with [`ErrorClass::Interrupted`]. What was created stays, and is found again.
    pub interrupt: CancellationToken,
    /// Which resources a create may adopt beside those of the stack's own home.
    pub adoption: Adoption,
    /// The lock under which changes are made: once it is not held, no further call that changes something is sent.
    pub hold: Hold,
}

impl Context {
    /// With this token, and with the default [`Adoption`].
    pub fn new(interrupt: CancellationToken) -> Self {
        Self { interrupt, ..Self::default() }
    }

    /// The same with this adoption.
    #[must_use]
    pub fn with_adoption(self, adoption: Adoption) -> Self {
        Self { adoption, ..self }
    }

    /// The same under this lock.
    #[must_use]
    pub fn with_hold(self, hold: Hold) -> Self {
        Self { hold, ..self }
    }
}

/// A cloud that the engine can read and change.
///
/// A call that fails returns a [`ProviderError`] with its class; the engine does not repeat it, so a provider does that by
/// itself where it makes sense. [`Session`](crate::Session) has an example of a provider.
pub trait Provider: Send + Sync {
    /// Reads everything that carries the stack's tags, and what the graph looks up, in bulk.
    ///
    /// What `recorded` holds and the tags do not show is read once more by its id before it counts as gone.
    fn observe(
        &self,
        desired: &Graph,
        recorded: &State,
        context: &Context,
    ) -> impl Future<Output = Result<Observed, ProviderError>> + Send;

    /// Creates a resource, or finds the one that an earlier call with the same token created.
    fn create(
        &self,
        resource: &Resolved,
        token: &Token,
        context: &Context,
    ) -> impl Future<Output = Result<Remote, ProviderError>> + Send;

    /// Changes the attributes at `paths` in place.
    fn update(
        &self,
        remote: &Remote,
        resource: &Resolved,
        paths: &[String],
        context: &Context,
    ) -> impl Future<Output = Result<Remote, ProviderError>> + Send;

    /// Deletes a resource; one that is gone already counts as deleted.
    fn delete(
        &self,
        address: &Address,
        remote: &Remote,
        context: &Context,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send;

    /// Creates resources of one kind: one future for each, in order, all to be polled together. A cloud that takes lists
    /// creates them with fewer calls; by default each one is created by itself.
    fn create_all<'a>(
        &'a self,
        resources: Vec<(Resolved, Token)>,
        context: &'a Context,
    ) -> Vec<impl Future<Output = Result<Remote, ProviderError>> + Send> {
        let create = |(resource, token)| async move { self.create(&resource, &token, context).await };
        resources.into_iter().map(create).collect()
    }

    /// Changes resources of one kind, as [`create_all`](Self::create_all) creates them.
    fn update_all<'a>(
        &'a self,
        resources: Vec<(Remote, Resolved, Vec<String>)>,
        context: &'a Context,
    ) -> Vec<impl Future<Output = Result<Remote, ProviderError>> + Send> {
        let update = |(remote, resource, paths): (_, _, Vec<_>)| async move {
            self.update(&remote, &resource, &paths, context).await
        };
        resources.into_iter().map(update).collect()
    }

    /// Deletes resources of one kind, as [`create_all`](Self::create_all) creates them.
    fn delete_all<'a>(
        &'a self,
        resources: Vec<(Address, Remote)>,
        context: &'a Context,
    ) -> Vec<impl Future<Output = Result<(), ProviderError>> + Send> {
        let delete = |(address, remote)| async move { self.delete(&address, &remote, context).await };
        resources.into_iter().map(delete).collect()
    }

    /// Writes into the cloud who applied last, in one call at most. `state` has what the stack consists of now. By default,
    /// nothing is written.
    fn sign(
        &self,
        applied: &Applied,
        state: &State,
        context: &Context,
    ) -> impl Future<Output = Result<(), ProviderError>> + Send {
        let _ = (applied, state, context);
        async { Ok(()) }
    }

    /// A resource of any owner, by its kind and id; `None` if it does not exist.
    fn find(
        &self,
        kind: &KindName,
        id: &str,
        context: &Context,
    ) -> impl Future<Output = Result<Option<Remote>, ProviderError>> + Send {
        let _ = context;
        let error = ProviderError::new(format!("this provider finds no `{kind}` by its id, `{id}`"), None);
        std::future::ready(Err(error))
    }

    /// The quotas of the cloud that would stop the apply of a plan, and those that could not be read, each with its next step.
    /// None of them refuses the plan: a quota can be raised until it is applied. By default, the cloud has none.
    fn quotas(
        &self,
        desired: &Graph,
        observed: &Observed,
        plan: &Plan,
        context: &Context,
    ) -> impl Future<Output = Result<Vec<Note>, ProviderError>> + Send {
        let _ = (desired, observed, plan, context);
        async { Ok(Vec::new()) }
    }

    /// Hands over what the object of this SHA-256 is made from, so that nobody has to read its file once more.
    fn supply(&self, sha256: &str, content: Arc<Vec<u8>>) {
        let _ = (sha256, content);
    }

    /// Who makes the calls, such as an ARN; nothing before the cloud answered that.
    fn identity(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attribute, Replacement};

    const RULES: Rules = Rules {
        kind: "host",
        depends_on: &[],
        blocks: &[],
        attributes: &[("zone", Attribute::CREATE_ONLY.identifying())],
        computed: &[],
        replacement: Replacement::DeleteFirst,
    };

    fn resource(address: &str, pairs: &[(&str, &str)]) -> Resolved {
        let attributes = pairs.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
        Resolved { address: address.parse().unwrap_or_else(|error| panic!("{error}")), attributes }
    }

    #[test]
    fn a_token_covers_what_identifies_and_no_content() {
        let token = |home, pairs: &[_]| Token::new(home, "loadtest", &resource("host.a[0]", pairs), &RULES);
        let first = token("home", &[("zone", "a"), ("template", "1")]);
        assert_eq!(first, token("home", &[("zone", "a"), ("template", "2")]));
        let differing = [
            first.clone(),
            token("elsewhere", &[("zone", "a")]),
            token("home", &[("zone", "b")]),
            Token::new("home", "other", &resource("host.a[0]", &[("zone", "a")]), &RULES),
            Token::new("home", "loadtest", &resource("host.a[1]", &[("zone", "a")]), &RULES),
            first.following("i-1"),
            first.following("i-2"),
            first.nth(1),
            first.nth(2),
            first.following("i-1").nth(1),
        ];
        let distinct: std::collections::BTreeSet<String> = differing.iter().map(|token| token.shortened(36)).collect();
        assert_eq!(distinct.len(), differing.len());
        assert_eq!(first.following("i-1").following("i-2"), first.following("i-2"));
    }

    #[test]
    fn where_nothing_identifies_a_token_covers_all_attributes() {
        const PLAIN: Rules = Rules { attributes: &[], ..RULES };
        let token = |value| Token::new("home", "loadtest", &resource("host.a", &[("zone", value)]), &PLAIN);
        assert_ne!(token("a"), token("b"));
    }
}
