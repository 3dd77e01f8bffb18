//! The only user of the AWS SDKs: reads a stack in bulk, and creates, changes and deletes its resources.
//!
//! [`Aws`] is a [`trunnion_engine::Provider`], [`S3Store`] a [`trunnion_engine::StateStore`]. Reading takes three waves
//! of concurrent calls at the most (`observe.rs` says which). There is one file for each kind in `kinds/`, with its read,
//! create, update and delete; `kinds.rs` holds the registry. Every create carries its tags, and is safe to repeat after a
//! kill at any point: by a client token, or by a unique name whose owner the tags tell.
//!
//! ```no_run
//! use trunnion_aws::{Aws, Connection};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let home = "github.com/acme/infra/loadtest";
//! let aws = Aws::connect(Connection::new("loadtest", home, "123456789012", "eu-west-3")).await?;
//! # let _ = aws.calls();
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod calls;
mod connect;
mod context;
mod convert;
mod credentials;
mod endpoint;
mod environment;
mod error;
mod files;
mod hosts;
mod http;
mod kinds;
mod lookups;
mod meter;
mod observe;
mod owner;
mod pace;
mod profiles;
mod proxy;
mod recorded;
mod store;
mod taken;
mod throttle;
mod trust;
mod unanswered;
mod wait;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use trunnion_engine::{Address, Context, Graph, Observed, Provider, ProviderError, Remote, Resolved, State, Token};

pub use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};

pub use crate::{
    calls::Calls,
    connect::{ConnectError, Connection, Throttle},
    environment::Environment,
    store::{Lease, S3Lock, S3Store},
    trust::Bundle,
};
use crate::{
    connect::{Clients, Ways},
    context::within,
    hosts::Hosts,
    kinds::s3_object::Content,
};

/// A stack's account and region, connected.
#[derive(Debug)]
pub struct Aws {
    connection: Connection,
    clients: Clients,
    endpoint: Option<String>,
    counter: Arc<calls::Counter>,
    hosts: Hosts,
    /// What objects are uploaded from, by SHA-256.
    contents: Mutex<HashMap<String, Content>>,
    /// Who makes the calls, once AWS said so.
    identity: OnceLock<String>,
}

impl Aws {
    /// Connects by the ordinary chain of AWS (environment, profiles, SSO, web identity, instance role), or to the
    /// endpoint that the connection names and nothing of the environment. No call is made yet.
    pub async fn connect(connection: Connection) -> Result<Self, ConnectError> {
        Self::connect_in(connection, &Environment::of_this_process()).await
    }

    /// The same in another environment than that of this process.
    pub async fn connect_in(connection: Connection, environment: &Environment) -> Result<Self, ConnectError> {
        let counter = Arc::new(calls::Counter::default());
        let ways = Box::pin(Ways::find(&connection, environment)).await?;
        let clients = Clients::new(&ways, Arc::clone(&counter));
        let hosts = Hosts::new(clients.ec2.clone(), connection.pace);
        let endpoint = ways.endpoints.shown();
        let contents = Mutex::default();
        Ok(Self { connection, clients, endpoint, counter, hosts, contents, identity: OnceLock::new() })
    }

    fn content(&self, sha256: &str) -> Option<Content> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).get(sha256).cloned()
    }

    /// The calls made so far.
    pub fn calls(&self) -> Calls {
        self.counter.snapshot()
    }

    /// What answers instead of AWS, where the environment, the profile or the connection names such: its URL, or which
    /// services are where (`EC2 at http://127.0.0.1:4600, the rest AWS`).
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Whether an earlier version applied a stack of this name and no other home: its launch templates are named otherwise.
    pub async fn has_former_names(&self) -> Result<bool, ProviderError> {
        Box::pin(kinds::launch_template::has_former(self)).await.map_err(|failure| failure.about(""))
    }

    /// The partition that the region lies in, as ARNs spell it.
    fn partition(&self) -> &'static str {
        trunnion_catalog::Partition::of(&self.connection.region).id
    }
}

impl Provider for Aws {
    async fn observe(&self, desired: &Graph, recorded: &State, context: &Context) -> Result<Observed, ProviderError> {
        within(context, Box::pin(observe::observe(self, desired, recorded))).await
    }

    async fn create(&self, resource: &Resolved, token: &Token, context: &Context) -> Result<Remote, ProviderError> {
        let made = within(context, kinds::create(self, resource, token)).await;
        made.map_err(|failure| failure.about(&quoted(&resource.address)))
    }

    async fn update(
        &self,
        remote: &Remote,
        resource: &Resolved,
        paths: &[String],
        context: &Context,
    ) -> Result<Remote, ProviderError> {
        let changed = within(context, kinds::update(self, remote, resource, paths)).await;
        changed.map_err(|failure| failure.about(&quoted(&resource.address)))
    }

    async fn delete(&self, address: &Address, remote: &Remote, context: &Context) -> Result<(), ProviderError> {
        let deleted = within(context, kinds::delete(self, address, remote)).await;
        deleted.map_err(|failure| failure.about(&quoted(address)))
    }

    fn supply(&self, sha256: &str, content: Arc<Vec<u8>>) {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256.to_owned(), content);
    }

    /// An ARN.
    fn identity(&self) -> Option<String> {
        self.identity.get().cloned()
    }
}

fn quoted(address: &Address) -> String {
    format!("`{address}`")
}
