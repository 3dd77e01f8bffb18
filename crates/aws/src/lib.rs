//! The only user of the AWS SDKs: reads a stack in bulk, and creates, changes and deletes its resources.
//!
//! [`Aws`] is a [`trunnion_engine::Provider`], [`S3Store`] a [`trunnion_engine::StateStore`]. Reading takes three waves
//! of concurrent calls at the most (`observe.rs` says which). There is one file for each kind in `kinds/`, with its read,
//! create, update and delete; `kinds.rs` holds the registry. Every create carries its tags, and is safe to repeat after a
//! kill at any point: by a client token, or by a unique name whose owner the tags tell.
//!
//! ```no_run
//! use trunnion_aws::{Aws, Connection, Endpoint, Throttle};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let aws = Aws::connect(Connection {
//!     stack: "loadtest".into(),
//!     account: "123456789012".into(),
//!     region: "eu-west-3".into(),
//!     wait: true,
//!     throttle: Throttle::Aws,
//!     endpoint: None,
//!     pace: Connection::AWS_PACE,
//!     patience: Connection::AWS_PATIENCE,
//!     interrupt: Default::default(),
//! })
//! .await?;
//! # let _ = aws.calls();
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod calls;
mod connect;
mod convert;
mod credentials;
mod environment;
mod error;
mod hosts;
mod http;
mod kinds;
mod lookups;
mod meter;
mod observe;
mod pace;
mod profiles;
mod proxy;
mod store;
mod throttle;
mod trust;
mod unanswered;
mod wait;

use std::sync::Arc;

use trunnion_engine::{Address, Graph, Observed, Provider, ProviderError, Remote, Resolved, State, Token};

pub use crate::{
    calls::Calls,
    connect::{ConnectError, Connection, Endpoint, Throttle},
    environment::Environment,
    store::{Lease, S3Lock, S3Store},
    trust::Bundle,
};
use crate::{
    connect::{Clients, Ways},
    hosts::Hosts,
};

/// A stack's account and region, connected.
#[derive(Debug)]
pub struct Aws {
    connection: Connection,
    clients: Clients,
    endpoint: Option<String>,
    counter: Arc<calls::Counter>,
    hosts: Hosts,
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
        let clients = Clients::new(&ways, Arc::clone(&counter), &connection.interrupt);
        let hosts = Hosts::new(clients.ec2.clone(), connection.pace);
        Ok(Self { connection, clients, endpoint: ways.endpoints.of_all().map(str::to_owned), counter, hosts })
    }

    /// The endpoint that all services are asked at, where one is configured; AWS's own without.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// The calls made so far.
    pub fn calls(&self) -> Calls {
        self.counter.snapshot()
    }

    /// The partition that the region lies in, as ARNs spell it.
    fn partition(&self) -> &'static str {
        match self.connection.region.split('-').next() {
            Some("cn") => "aws-cn",
            _ if self.connection.region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }
}

impl Provider for Aws {
    async fn observe(&self, desired: &Graph, recorded: &State) -> Result<Observed, ProviderError> {
        Box::pin(observe::observe(self, desired, recorded)).await
    }

    async fn create(&self, resource: &Resolved, token: &Token) -> Result<Remote, ProviderError> {
        kinds::create(self, resource, token).await.map_err(|failure| failure.about(&quoted(&resource.address)))
    }

    async fn update(&self, remote: &Remote, resource: &Resolved, paths: &[String]) -> Result<Remote, ProviderError> {
        kinds::update(self, remote, resource, paths).await.map_err(|failure| failure.about(&quoted(&resource.address)))
    }

    async fn delete(&self, address: &Address, remote: &Remote) -> Result<(), ProviderError> {
        kinds::delete(self, address, remote).await.map_err(|failure| failure.about(&quoted(address)))
    }
}

fn quoted(address: &Address) -> String {
    format!("`{address}`")
}
