//! The only user of the AWS SDKs: reads a stack in bulk, and creates, changes and deletes its resources.
//!
//! [`Aws`] is a [`trunnion_engine::Provider`], [`S3Store`] a [`trunnion_engine::StateStore`]. Reading takes three waves
//! of concurrent calls at the most (`observe.rs` says which). There is one file for each kind in `kinds/`, which implements
//! the trait `Driver` of `driver.rs`; `kinds.rs` holds the list of drivers. Every create carries its tags, and is safe to repeat after a
//! kill at any point: by a client token, or by a unique name whose owner the tags tell.
//!
//! ```no_run
//! use trunnion_aws::{Aws, Connection, Endpoint, Throttle};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let aws = Aws::connect(Connection {
//!     stack: "loadtest".into(),
//!     home: "github.com/acme/infra/loadtest".into(),
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
mod driver;
mod endpoint;
mod environment;
mod error;
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
mod reading;
mod recorded;
mod store;
mod throttle;
mod trust;
mod unanswered;
mod wait;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use trunnion_engine::{Address, Graph, Observed, Provider, ProviderError, Remote, Resolved, State, Token};

pub use crate::{
    calls::Calls,
    connect::{ConnectError, Connection, Endpoint, Throttle},
    environment::Environment,
    owner::Adoption,
    store::{Lease, S3Lock, S3Store},
    trust::Bundle,
};
use crate::{
    connect::{Clients, Ways},
    driver::{AnyDriver, Doing},
    hosts::Hosts,
    kinds::s3_object::Content,
    owner::Owner,
};

/// A stack's account and region, connected.
#[derive(Debug)]
pub struct Aws {
    connection: Connection,
    clients: Clients,
    endpoint: Option<String>,
    counter: Arc<calls::Counter>,
    hosts: Hosts,
    owner: Owner,
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
        let clients = Clients::new(&ways, Arc::clone(&counter), &connection.interrupt);
        let hosts = Hosts::new(clients.ec2.clone(), connection.pace);
        let endpoint = ways.endpoints.of_all().and_then(endpoint::custom);
        let (owner, contents) = (Owner::default(), Mutex::default());
        Ok(Self { connection, clients, endpoint, counter, hosts, owner, contents, identity: OnceLock::new() })
    }

    /// Hands over what the object of this SHA-256 is uploaded from, so that its file is not read once more.
    pub fn supply(&self, sha256: impl Into<String>, content: Arc<Vec<u8>>) {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256.into(), content);
    }

    fn content(&self, sha256: &str) -> Option<Content> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).get(sha256).cloned()
    }

    /// The calls made so far.
    pub fn calls(&self) -> Calls {
        self.counter.snapshot()
    }

    /// The ARN of the identity that makes the calls; nothing before the first observation.
    pub fn identity(&self) -> Option<&str> {
        self.identity.get().map(String::as_str)
    }

    /// The URL of what answers instead of AWS, where the environment, the profile or the connection names one.
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
    async fn observe(&self, desired: &Graph, recorded: &State) -> Result<Observed, ProviderError> {
        Box::pin(observe::observe(self, desired, recorded)).await
    }

    async fn create(&self, resource: &Resolved, token: &Token) -> Result<Remote, ProviderError> {
        only(self.create_all(vec![(resource.clone(), token.clone())])).await
    }

    async fn update(&self, remote: &Remote, resource: &Resolved, paths: &[String]) -> Result<Remote, ProviderError> {
        only(self.update_all(vec![(remote.clone(), resource.clone(), paths.to_vec())])).await
    }

    async fn delete(&self, address: &Address, remote: &Remote) -> Result<(), ProviderError> {
        only(self.delete_all(vec![(address.clone(), remote.clone())])).await
    }

    fn create_all(
        &self,
        resources: Vec<(Resolved, Token)>,
    ) -> Vec<impl Future<Output = Result<Remote, ProviderError>>> {
        let addresses = resources.iter().map(|(resource, _)| resource.address.clone()).collect();
        list(addresses, resources, |driver, resources| driver.create_all(self, resources))
    }

    fn update_all(
        &self,
        resources: Vec<(Remote, Resolved, Vec<String>)>,
    ) -> Vec<impl Future<Output = Result<Remote, ProviderError>>> {
        let addresses = resources.iter().map(|(_, resource, _)| resource.address.clone()).collect();
        list(addresses, resources, |driver, resources| driver.update_all(self, resources))
    }

    fn delete_all(&self, resources: Vec<(Address, Remote)>) -> Vec<impl Future<Output = Result<(), ProviderError>>> {
        let (addresses, remotes) = resources.into_iter().unzip();
        list(addresses, remotes, |driver, remotes| driver.delete_all(self, remotes))
    }
}

/// Hands a list to the driver of its kind. Each failure names its resource.
fn list<'a, T, R: Send + 'a>(
    addresses: Vec<Address>,
    items: Vec<T>,
    call: impl FnOnce(&'static dyn AnyDriver, Vec<T>) -> Vec<Doing<'a, R>>,
) -> Vec<BoxFuture<'a, Result<R, ProviderError>>> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let doing = match kinds::needed(&first.kind) {
        Ok(driver) => call(driver, items),
        Err(failure) => addresses.iter().map(|_| ready(Err(failure.clone())).boxed()).collect(),
    };
    let about = |(doing, address): (Doing<'a, R>, Address)| {
        doing.map(move |ended| ended.map_err(|failure| failure.about(&quoted(&address)))).boxed()
    };
    doing.into_iter().zip(addresses).map(about).collect()
}

/// The only future of a list of one.
async fn only<R>(mut list: Vec<impl Future<Output = Result<R, ProviderError>>>) -> Result<R, ProviderError> {
    match list.pop() {
        Some(doing) => doing.await,
        None => Err(ProviderError::new("no call was made", None)),
    }
}

fn quoted(address: &Address) -> String {
    format!("`{address}`")
}
