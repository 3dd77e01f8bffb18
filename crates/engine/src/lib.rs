//! The engine: compares what a stack asks for with what stands in the cloud, and makes the difference go away.
//!
//! [`plan()`] is a pure function from a [`Graph`], what was [`Observed`] and the recorded [`State`] to a [`Plan`]. A
//! [`Session`] holds the lock of the state; it executes exactly that plan through a [`Provider`] and keeps the state in a
//! [`StateStore`]. The engine knows no kind, no YAML and no AWS: kinds bring their [`Rules`]. A failure has an
//! [`ErrorClass`], which says whether to try again.
//!
//! [`Session`] has an example of all of this.

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod address;
mod applied;
mod apply;
mod class;
mod diff;
mod document;
mod drift;
mod events;
mod examination;
mod hold;
mod holder;
mod home;
mod moment;
mod moves;
mod order;
mod outcome;
mod plan;
pub mod preview;
mod provider;
mod resource;
mod rules;
mod session;
mod state;
mod store;
mod value;

pub use crate::{
    address::{Address, Index, InvalidAddress, KindName},
    applied::Applied,
    apply::Settings,
    class::{ErrorClass, ExitCode},
    diff::{Difference, differences, lies_under, normalised_json},
    document::{
        Compared, ComparedPlace, Document, DocumentChange, DocumentDifference, DocumentError, DocumentStep, Endpoint,
        EndpointKind, Format, Moved, Origin, Place, Remarks, StateReference, Summary,
    },
    drift::{Drift, DriftKind, Drifted, DriftedAttribute},
    events::{Event, EventReceiver, Events},
    examination::{Examination, Finding, Verdict},
    hold::Hold,
    holder::{Life, LockInfo},
    home::{Adoption, HomeRule, OtherHome},
    moment::Moment,
    moves::{Move, move_observed, move_recorded},
    outcome::{Ending, Outcome},
    plan::{
        Action, Cause, Change, Marks, NoImport, Note, Operation, Plan, PlanError, PlanOptions, Protected, ProtectedBy,
        Protection, Reason, Step, forgetting, importing, plan, selection,
    },
    preview::Preview,
    provider::{Context, Observed, Provider, ProviderError, Remote, Resolved, Token, plain},
    resource::{Graph, GraphError, Lookup, Resource},
    rules::{Accepts, Attribute, Computed, Redacted, Redacts, Replacement, RuleBook, Rules},
    session::Session,
    state::{Recorded, State, StateError},
    store::{FileLock, FileStore, FoundLock, StateLock, StateStore, StoreError, Version, read_file, replace_file},
    value::{JsonText, Map, Reference, Value, from_map, hex, to_map},
};
