//! Plans and applies a Gatling load-testing platform on AWS from one YAML file.
//!
//! The command `trunnion` does nothing that this library cannot do:
//!
//! 1. [`Stack::load`] reads and checks the stack file.
//! 2. [`Engine::connect`] connects the stack to AWS, to another endpoint, or to a sandbox inside the process.
//! 3. [`Engine::plan`] makes a plan to look at.
//! 4. [`Engine::lock`] begins a [`Session`], which holds the lock of the state. [`Session::plan`] or
//!    [`Session::plan_written`] makes a plan under this lock, and [`LockedPlan::apply`] executes it.
//!
//! The shortest stack file, which the examples below use:
//!
//! ```yaml
#![doc = include_str!("../examples/minimal.yaml")]
//! ```
//!
//! # Plan and apply under the lock
//!
//! This example works in a sandbox: a small stand-in for AWS inside the process. With [`Options::new`] instead of
//! [`Options::in_sandbox`], the same program works on AWS, with the credentials of the environment.
//!
//! ```
//! use trunnion::{CancellationToken, Engine, Events, LoadOptions, Options, Origin, Request, Stack};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let folder = temporary.path().to_owned();
//! # let file = folder.join("minimal.yaml");
//! # std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/minimal.yaml"), &file)?;
//! # let mut program = vec![0; 4096];
//! # program[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
//! # program[18] = 62;
//! # std::fs::write(folder.join("trunnion-generator"), program)?;
//! // The stack names no generator binary: `trunnion-generator` in this folder is the one.
//! let stack = Stack::load(&file, None, &LoadOptions::new().with_executable_dir(&folder))?;
//! let engine = Engine::connect(stack, Options::in_sandbox(folder.join("sandbox"))).await?;
//! let interrupt = CancellationToken::new();
//!
//! let mut session = engine.lock("apply").await?;
//! let plan = session.plan(&Request::new(), &interrupt).await?;
//! println!("{}", trunnion::render::terminal(&plan.document(&Origin::default())));
//! let outcome = plan.apply(&Events::nowhere(), &interrupt).await?;
//! session.release().await?;
//!
//! assert!(outcome.is_complete());
//! engine.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # React to events and to failures
//!
//! [`Events`] reports every step while apply works. A failure has an [`ErrorClass`], which says whether the same call may
//! succeed later.
//!
//! ```
//! use trunnion::{CancellationToken, Engine, Error, Event, Events, ExitCode, Request};
//!
//! /// Applies, and stops at the first failure that does not go away by itself.
//! async fn apply(engine: &Engine) -> Result<ExitCode, Error> {
//!     let interrupt = CancellationToken::new();
//!     let (events, mut receiver) = Events::channel();
//!     let listening = async {
//!         while let Some(event) = receiver.recv().await {
//!             match event {
//!                 Event::Finished { address, id, .. } => println!("{address} is {id}"),
//!                 Event::Failed { error, .. } if !error.class.is_retryable() => interrupt.cancel(),
//!                 _ => {}
//!             }
//!         }
//!     };
//!     let mut session = engine.lock("apply").await?;
//!     let plan = session.plan(&Request::new(), &interrupt).await?;
//!     let applying = async {
//!         let outcome = plan.apply(&events, &interrupt).await;
//!         drop(events); // The last sender: this ends the listening.
//!         outcome
//!     };
//!     let (outcome, ()) = tokio::join!(applying, listening);
//!     session.release().await?;
//!     Ok(outcome?.exit_code())
//! }
//! # let _ = apply;
//! ```
//!
//! # Test against a sandbox that fails
//!
//! A program that is built on this library can be tested without AWS. [`sandbox::Options`] makes calls slow, throttled or
//! wrong. Here, the first call for hosts is refused; a second apply continues where the first one stopped.
//!
//! ```
//! use std::time::Duration;
//! use trunnion::{
//!     CancellationToken, Engine, Error, Events, LoadOptions, Options, Outcome, Request, Stack,
//!     aws::Credentials,
//!     sandbox::{self, Effect, FaultRule, Sandbox},
//! };
//!
//! async fn apply(engine: &Engine) -> Result<Outcome, Error> {
//!     let interrupt = CancellationToken::new();
//!     let mut session = engine.lock("apply").await?;
//!     let plan = session.plan(&Request::new(), &interrupt).await?;
//!     let outcome = plan.apply(&Events::nowhere(), &interrupt).await?;
//!     session.release().await?;
//!     Ok(outcome)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let folder = temporary.path().to_owned();
//! # let file = folder.join("minimal.yaml");
//! # std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/minimal.yaml"), &file)?;
//! # let mut program = vec![0; 4096];
//! # program[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
//! # program[18] = 62;
//! # std::fs::write(folder.join("trunnion-generator"), program)?;
//! # let stack = Stack::load(&file, None, &LoadOptions::new().with_executable_dir(&folder))?;
//! let effect = Effect::Error { code: "Unsupported".into(), status: 400, message: "Not in this zone.".into() };
//! let fault = FaultRule { operation: "ec2:RunInstances".into(), nth: 1, times: 1, effect };
//! let options = sandbox::Options::new().with_speed(10_000.0).with_faults([fault]);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let running = Sandbox::open(options)?.serve(listener)?;
//!
//! let credentials = Credentials::new(sandbox::ACCESS_KEY_ID, sandbox::SECRET_ACCESS_KEY, None, None, "sandbox");
//! let options = Options::new().with_endpoint(running.endpoint()).with_credentials(credentials);
//! let engine = Engine::connect(stack, options).await?;
//! assert!(!apply(&engine).await?.is_complete());
//! assert!(apply(&engine).await?.is_complete());
//! assert!(running.calls().contains_key("ecs:CreateService"));
//! running.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Test with a provider of your own
//!
//! [`Engine::new`] takes any [`Provider`] and any [`StateStore`]. This provider has one log group, and keeps a list of what
//! it deletes.
//!
//! ```
//! use std::sync::Mutex;
//! use trunnion::{
//!     Address, CancellationToken, Context, Endpoint, Engine, Events, FileStore, Graph, LoadOptions, Observed, Place,
//!     Provider, ProviderError, Remote, Request, Resolved, Stack, State, Token,
//! };
//!
//! #[derive(Default)]
//! struct Fake {
//!     deleted: Mutex<Vec<String>>,
//! }
//!
//! impl Provider for Fake {
//!     async fn observe(&self, _: &Graph, _: &State, _: &Context) -> Result<Observed, ProviderError> {
//!         let mut observed = Observed::default();
//!         if let Ok(address) = "log_group.control_plane".parse() {
//!             observed.remotes.insert(address, vec![Remote::new("/trunnion/minimal", Default::default())]);
//!         }
//!         Ok(observed)
//!     }
//!
//!     async fn create(&self, wanted: &Resolved, _: &Token, _: &Context) -> Result<Remote, ProviderError> {
//!         Ok(Remote::new("new", wanted.attributes.clone()))
//!     }
//!
//!     async fn update(
//!         &self, remote: &Remote, _: &Resolved, _: &[String], _: &Context,
//!     ) -> Result<Remote, ProviderError> {
//!         Ok(remote.clone())
//!     }
//!
//!     async fn delete(&self, address: &Address, _: &Remote, _: &Context) -> Result<(), ProviderError> {
//!         self.deleted.lock().unwrap().push(address.to_string());
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let folder = temporary.path();
//! # let file = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/minimal.yaml"));
//! let stack = Stack::load(file, None, &LoadOptions::new())?;
//! let place = Place {
//!     account: stack.account.clone(),
//!     region: stack.region.clone(),
//!     endpoint: Endpoint::Url("http://fake".to_owned()),
//! };
//! let store = FileStore::new(folder.join("state.json"), &stack.name);
//! let engine = Engine::new(stack, Fake::default(), store, place);
//!
//! let interrupt = CancellationToken::new();
//! let mut session = engine.lock("destroy").await?;
//! let mut plan = session.plan(&Request::destroy(), &interrupt).await?;
//! plan.agree_to_take_over(); // The log group has no tag that says which stack it belongs to.
//! let outcome = plan.apply(&Events::nowhere(), &interrupt).await?;
//! session.release().await?;
//!
//! assert!(outcome.is_complete());
//! assert_eq!(*engine.provider().deleted.lock().unwrap(), ["log_group.control_plane"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Where everything is
//!
//! The crate root has what most programs need. Every other type of its signatures is in one of these modules, which are the
//! crates behind it:
//!
//! | module | has |
//! |---|---|
//! | [`stack`] | the stack file: [`Stack`], its reader, its JSON schema and its diagnostics |
//! | [`engine`] | resources, plans, the plan document, apply, the state and its lock; [`Provider`] and [`StateStore`] |
//! | [`kinds`] | the attributes of each kind of resource, such as [`kinds::Instance`] |
//! | [`blueprint`] | the resources that a stack asks for |
//! | [`aws`] | the provider and the state store for AWS |
//! | [`render`] | a plan as text for a terminal |
//! | [`report`] | events and the outcome as JSON |
//! | [`preview`] | what a pull request changes, compared with its base |
//! | [`sandbox`] | a stand-in for AWS, with the feature `sandbox` |
//! | [`catalog`] | instance types, and the partitions and limits of AWS |
//!
//! # Features
//!
//! - `sandbox` adds [`Options::in_sandbox`] and the module [`sandbox`]. It is off by default.
//!
//! Everything asynchronous runs on [Tokio](https://docs.rs/tokio).

mod budget;
mod commit;
mod connected;
mod doctor;
mod duration;
#[cfg(feature = "sandbox")]
mod embedded;
#[cfg(not(feature = "sandbox"))]
#[path = "embedded_none.rs"]
mod embedded;
mod error;
mod handover;
mod nearest;
mod offline;
mod options;
mod outputs;
mod permissions;
pub mod policies;
pub mod preview;
mod protected;
pub mod report;
mod session;
mod store;

pub use miette;
pub use serde_json;
pub use tokio_util::sync::CancellationToken;
pub use trunnion_aws::{self as aws, Calls, ConnectError};
pub use trunnion_blueprint::{self as blueprint, BlueprintError};
pub use trunnion_engine::{
    self as engine, Action, Address, Applied, Compared, Context, Document, DocumentError, Drift, DriftKind, Drifted,
    DriftedAttribute, Endpoint, ErrorClass, Event, EventReceiver, Events, Examination, ExitCode, FileStore, Finding,
    Format, FoundLock, Graph, Hold, InvalidAddress, LockInfo, Moved, Note, Observed, Operation, Origin, OtherHome,
    Outcome, Place, Plan, PlanError, Preview, Provider, ProviderError, Remarks, Remote, Resolved, State, StateLock,
    StateStore, StoreError, Token, Verdict, Version, plain, read_file, replace_file,
};
pub use trunnion_estimate::{self as estimate, Estimate};
pub use trunnion_kinds::{self as kinds, InstanceInterface};
pub use trunnion_policy::Policies;
pub use trunnion_render as render;
#[cfg(feature = "sandbox")]
pub use trunnion_sandbox::{self as sandbox, SandboxError};
pub use trunnion_stack::{
    self as stack, Diagnostic, Invalid, LoadOptions, Stack, catalog, json_schema as stack_schema,
};

pub use crate::{
    budget::OverBudget,
    commit::{Commit, CommitError, is_tracked},
    connected::{Engine, Planned, check},
    error::{Error, is_full},
    options::{Options, Request},
    outputs::{Host, Outputs},
    permissions::permissions,
    session::{LockedPlan, OtherHomes, Session, Stale},
    store::{Store, StoreLock},
};

#[cfg(test)]
mod tests;
