//! Plans and applies a Gatling load-testing platform on AWS from one YAML file.
//!
//! The command `trunnion` can do nothing that this library cannot: load a [`Stack`], connect an [`Engine`] to AWS or to a
//! sandbox, [`Engine::plan`], [`Engine::apply`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use trunnion::{Engine, Events, LoadOptions, Options, Request, Stack};
//!
//! let stack = Stack::load("stacks/minimal.yaml".as_ref(), None, &LoadOptions::of_this_process())?;
//! let engine = Engine::connect(stack, Options::default()).await?;
//! let planned = engine.plan(&Request::default()).await?;
//! println!("{:?}", planned.document(&Default::default()).compared.summary);
//! let outcome = engine.apply(&planned, &Events::nowhere()).await?;
//! assert!(outcome.is_complete());
//! # Ok(())
//! # }
//! ```

mod engine;
mod error;
mod nearest;
mod outputs;
pub mod report;
mod store;

pub use trunnion_aws::Calls;
pub use trunnion_blueprint as blueprint;
pub use trunnion_engine::{
    Action, Address, Compared, Document, DocumentError, Endpoint, Event, Events, Format, InvalidAddress, LockInfo,
    Moved, Note, Operation, Origin, OtherHome, Outcome, Place, Plan, PlanError, ProviderError, Remarks, State,
    StoreError, plain, replace_file,
};
pub use trunnion_render as render;
pub use trunnion_sandbox as sandbox;
pub use trunnion_stack::{Invalid, LoadOptions, Stack, json_schema as stack_schema};

pub use crate::{
    engine::{Engine, Lock, Options, Planned, Request, check},
    error::{Error, is_full},
    outputs::{Host, Outputs},
};
