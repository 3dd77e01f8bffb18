//! Plans and applies a Gatling load-testing platform on AWS from one YAML file.
//!
//! The command `trunnion` does nothing that this library cannot do. A [`Stack`] is what the file says, an [`Engine`] connects
//! it to AWS or to a sandbox. [`Engine::plan`] makes a plan to look at. To apply one, [`Engine::lock`] begins a [`Session`],
//! [`Session::plan`] or [`Session::plan_written`] makes the plan under its lock, and [`LockedPlan::apply`] executes it.
//!
//! Everything that these signatures name is here, or in the modules of the crates behind: [`stack`], [`kinds`], [`engine`],
//! [`aws`], [`blueprint`], [`render`] and, with the feature `sandbox`, [`sandbox`].
//!
//! # Plan and apply under the lock
//!
//! ```
//! use trunnion::{CancellationToken, Engine, Events, LoadOptions, Options, Origin, Request, Stack};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let folder = temporary.path().to_owned();
//! # let file = folder.join("minimal.yaml");
//! # std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../../stacks/minimal.yaml"), &file)?;
//! # let mut program = vec![0; 4096];
//! # program[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
//! # program[18] = 62;
//! # std::fs::write(folder.join("trunnion-generator"), program)?;
//! // `folder` has the program for the hosts, and the sandbox keeps its data there. `Options::new()` connects to AWS.
//! let stack = Stack::load(&file, None, &LoadOptions { executable_dir: Some(folder.clone()) })?;
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
//! Apply says what it does while it does it. A failure has a [class](ErrorClass), which tells whether trying again makes
//! sense.
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
//! # A provider of one's own, in a test
//!
//! An [`Engine`] takes any [`Provider`] and any [`StateStore`]. This one has a log group and notes what is deleted.
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
//! # let file = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../stacks/minimal.yaml"));
//! let stack = Stack::load(file, None, &LoadOptions::default())?;
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
//! plan.agree_to_take_over(); // The log group says nothing about whose it is.
//! let outcome = plan.apply(&Events::nowhere(), &interrupt).await?;
//! session.release().await?;
//!
//! assert!(outcome.is_complete());
//! assert_eq!(*engine.provider().deleted.lock().unwrap(), ["log_group.control_plane"]);
//! # Ok(())
//! # }
//! ```

mod connected;
#[cfg(feature = "sandbox")]
mod embedded;
#[cfg(not(feature = "sandbox"))]
#[path = "embedded_none.rs"]
mod embedded;
mod error;
mod nearest;
mod options;
mod outputs;
pub mod report;
mod session;
mod store;

pub use miette;
pub use serde_json;
pub use tokio_util::sync::CancellationToken;
pub use trunnion_aws::{self as aws, Calls, ConnectError};
pub use trunnion_blueprint::{self as blueprint, BlueprintError};
pub use trunnion_engine::{
    self as engine, Action, Address, Compared, Context, Document, DocumentError, Endpoint, ErrorClass, Event,
    EventReceiver, Events, ExitCode, FileStore, Format, Graph, InvalidAddress, LockInfo, Moved, Note, Observed,
    Operation, Origin, OtherHome, Outcome, Place, Plan, PlanError, Provider, ProviderError, Remarks, Remote, Resolved,
    State, StateLock, StateStore, StoreError, Token, plain, read_file, replace_file,
};
pub use trunnion_kinds::{self as kinds, InstanceInterface};
pub use trunnion_render as render;
#[cfg(feature = "sandbox")]
pub use trunnion_sandbox::{self as sandbox, SandboxError};
pub use trunnion_stack::{self as stack, Diagnostic, Invalid, LoadOptions, Stack, json_schema as stack_schema};

pub use crate::{
    connected::{Engine, Planned, check},
    error::{Error, is_full},
    options::{Options, Request},
    outputs::{Host, Outputs},
    session::{LockedPlan, OtherHomes, Session, Stale},
    store::{Store, StoreLock},
};
