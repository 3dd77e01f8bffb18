//! The only user of the AWS SDKs: reads a stack in bulk, and creates, changes and deletes its resources.
//!
//! [`Aws`] is a [`trunnion_engine::Provider`], [`S3Store`] a [`trunnion_engine::StateStore`]. Reading takes three
//! round trips of concurrent calls, and a fourth for an instance profile of an earlier version (`observe.rs` lists them).
//! `kinds/` has one file for each kind, which implements the trait `Driver` of `driver.rs`; `kinds.rs` has the list of
//! drivers. Every create sets tags and is safe to repeat after a kill at any point: by a client token, or by a unique
//! name whose tags identify the owner.
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
mod clock;
mod connect;
mod context;
mod convert;
mod credentials;
mod cut;
mod doctor;
mod driver;
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
mod quotas;
mod reading;
mod reads;
mod recorded;
mod store;
mod throttle;
mod together;
mod transcript;
mod trust;
mod unanswered;
mod wait;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use trunnion_engine::{
    Address, Applied, Context, Graph, KindName, Note, Observed, Plan, Provider, ProviderError, Remote, Resolved, State,
    Token,
};
use trunnion_kinds::EcsCluster;

pub use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};

use crate::{
    calls::Subject,
    clock::Clock,
    connect::{Clients, Setup},
    context::within,
    driver::{AnyDriver, Doing},
    hosts::Hosts,
    kinds::{instance::Host, s3_object::Content},
    meter::Meter,
    together::Together,
};
pub use crate::{
    calls::{Calls, Extent, MANAGED_POLICY_LIMIT, Policy, Purpose, permissions},
    connect::{ConnectError, Connection, Throttle},
    doctor::Examined,
    environment::Environment,
    reads::Reads,
    store::{Lease, S3Lock, S3Store},
    transcript::Transcript,
    trust::Bundle,
};

/// A connection to a stack's account and region.
#[derive(Debug)]
pub struct Aws {
    connection: Connection,
    clients: Clients,
    endpoint: Option<String>,
    counter: Arc<calls::Counter>,
    clock: Arc<Clock>,
    hosts: Hosts,
    /// The hosts of the stack, read once for all creates that need them.
    fleet: Together<Vec<Host>>,
    /// The ids of the hosts that the plan was made with.
    planned: Mutex<HashSet<String>>,
    /// The Elastic IPs of the stack, read once for all creates that need them.
    addresses: Together<Vec<Remote>>,
    /// Contents to upload, by their SHA-256.
    contents: Mutex<HashMap<String, Content>>,
    /// ARN of the identity that makes the calls, once AWS has returned it.
    identity: OnceLock<String>,
}

impl Aws {
    /// Connects with AWS's usual chain of credentials (environment, profiles, SSO, web identity, instance role), or
    /// only to the connection's endpoint. Makes no call.
    pub async fn connect(connection: Connection) -> Result<Self, ConnectError> {
        Self::connect_in(connection, &Environment::of_this_process()).await
    }

    /// The same with another environment than this process has.
    pub async fn connect_in(connection: Connection, environment: &Environment) -> Result<Self, ConnectError> {
        let counter = Arc::new(calls::Counter::default());
        let setup = Box::pin(Setup::find(&connection, environment)).await?;
        let clock = Arc::new(Clock::default());
        let clients = Clients::new(&setup, &Meter { counter: Arc::clone(&counter), clock: Arc::clone(&clock) });
        let hosts = Hosts::new(clients.ec2.clone(), connection.pace);
        let (fleet, addresses) = (Together::new(connection.pace), Together::new(connection.pace));
        let endpoint = setup.endpoints.shown();
        let contents = Mutex::default();
        Ok(Self {
            connection,
            clients,
            endpoint,
            counter,
            clock,
            hosts,
            fleet,
            planned: Mutex::default(),
            addresses,
            contents,
            identity: OnceLock::new(),
        })
    }

    fn content(&self, sha256: &str) -> Option<Content> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).get(sha256).cloned()
    }

    /// Remembers the hosts that a plan is made with.
    fn plans_with<'h>(&self, ids: impl Iterator<Item = &'h str>) {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).extend(ids.map(str::to_owned));
    }

    /// Whether a plan was made with this host.
    fn is_planned(&self, id: &str) -> bool {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// The calls made so far.
    pub fn calls(&self) -> Calls {
        self.counter.snapshot()
    }

    /// What answers instead of AWS, if the environment, the profile or the connection configures such an endpoint: its
    /// URL, or which services are where (`EC2 at http://127.0.0.1:4600, the rest AWS`).
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Whether an earlier version applied a stack of this name without another home: its launch templates have other
    /// names.
    pub async fn has_former_names(&self) -> Result<bool, ProviderError> {
        Box::pin(kinds::launch_template::has_former(self)).await.map_err(|failure| failure.about(""))
    }

    /// The stack of the connection, for policies.
    fn subject(&self) -> Subject {
        let Connection { stack, account, region, .. } = &self.connection;
        Subject::somewhere(stack, account, region)
    }

    /// The id of the region's partition, as in ARNs.
    fn partition(&self) -> &'static str {
        trunnion_catalog::Partition::of(&self.connection.region).id
    }
}

impl Provider for Aws {
    async fn observe(&self, desired: &Graph, recorded: &State, context: &Context) -> Result<Observed, ProviderError> {
        within(context, Box::pin(observe::observe(self, desired, recorded))).await
    }

    async fn create(&self, resource: &Resolved, token: &Token, context: &Context) -> Result<Remote, ProviderError> {
        only(self.create_all(vec![(resource.clone(), token.clone())], context)).await
    }

    async fn update(
        &self,
        remote: &Remote,
        resource: &Resolved,
        paths: &[String],
        context: &Context,
    ) -> Result<Remote, ProviderError> {
        only(self.update_all(vec![(remote.clone(), resource.clone(), paths.to_vec())], context)).await
    }

    async fn delete(&self, address: &Address, remote: &Remote, context: &Context) -> Result<(), ProviderError> {
        only(self.delete_all(vec![(address.clone(), remote.clone())], context)).await
    }

    fn create_all<'a>(
        &'a self,
        resources: Vec<(Resolved, Token)>,
        context: &'a Context,
    ) -> Vec<impl Future<Output = Result<Remote, ProviderError>> + Send> {
        let addresses = resources.iter().map(|(resource, _)| resource.address.clone()).collect();
        list(addresses, resources, context, |driver, resources| driver.create_all(self, resources))
    }

    fn update_all<'a>(
        &'a self,
        resources: Vec<(Remote, Resolved, Vec<String>)>,
        context: &'a Context,
    ) -> Vec<impl Future<Output = Result<Remote, ProviderError>> + Send> {
        let addresses = resources.iter().map(|(_, resource, _)| resource.address.clone()).collect();
        list(addresses, resources, context, |driver, resources| driver.update_all(self, resources))
    }

    fn delete_all<'a>(
        &'a self,
        resources: Vec<(Address, Remote)>,
        context: &'a Context,
    ) -> Vec<impl Future<Output = Result<(), ProviderError>> + Send> {
        let (addresses, remotes) = resources.into_iter().unzip();
        list(addresses, remotes, context, |driver, remotes| driver.delete_all(self, remotes))
    }

    /// Writes it into a tag of the cluster, which every stack has.
    async fn sign(&self, applied: &Applied, state: &State, context: &Context) -> Result<(), ProviderError> {
        let cluster = state.resources.iter().find(|(address, _)| address.kind.as_str() == EcsCluster::KIND);
        let Some((address, cluster)) = cluster else { return Ok(()) };
        let signed = kinds::ecs_cluster::sign(self, &cluster.id, applied);
        within(context, Box::pin(signed)).await.map_err(|failure| failure.about(&quoted(address)))
    }

    async fn find(&self, kind: &KindName, id: &str, context: &Context) -> Result<Option<Remote>, ProviderError> {
        within(context, Box::pin(observe::find(self, kind, id))).await
    }

    async fn quotas(
        &self,
        desired: &Graph,
        observed: &Observed,
        plan: &Plan,
        context: &Context,
    ) -> Result<Vec<Note>, ProviderError> {
        Ok(within(context, Box::pin(quotas::of_plan(self, desired, observed, plan))).await)
    }

    fn supply(&self, sha256: &str, content: Arc<Vec<u8>>) {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256.to_owned(), content);
    }

    /// The ARN of the identity that makes the calls.
    fn identity(&self) -> Option<String> {
        self.identity.get().cloned()
    }
}

/// Passes a list to the driver of its kind. Each failure names its resource.
fn list<'a, T, R: Send + 'a>(
    addresses: Vec<Address>,
    items: Vec<T>,
    context: &'a Context,
    call: impl FnOnce(&'static dyn AnyDriver, Vec<T>) -> Vec<Doing<'a, R>>,
) -> Vec<BoxFuture<'a, Result<R, ProviderError>>> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let doing = match kinds::needed(&first.kind) {
        Ok(driver) => call(driver, items),
        Err(failure) => addresses.iter().map(|_| ready(Err(failure.clone())).boxed()).collect(),
    };
    let about = |(doing, address): (Doing<'a, R>, Address)| {
        within(context, doing).map(move |ended| ended.map_err(|failure| failure.about(&quoted(&address)))).boxed()
    };
    doing.into_iter().zip(addresses).map(about).collect()
}

/// The only future of a list with one item.
async fn only<R>(mut list: Vec<impl Future<Output = Result<R, ProviderError>>>) -> Result<R, ProviderError> {
    match list.pop() {
        Some(doing) => doing.await,
        None => Err(ProviderError::new("no call was made", None)),
    }
}

fn quoted(address: &Address) -> String {
    format!("`{address}`")
}
