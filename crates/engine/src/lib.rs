//! The engine: compares what a stack asks for with what stands in the cloud, and makes the difference go away.
//!
//! [`plan()`] is a pure function from a [`Graph`], what was [`Observed`] and the recorded [`State`] to a [`Plan`];
//! [`apply()`] executes exactly that plan through a [`Provider`] and keeps the state in a [`StateStore`]. The engine knows
//! no kind, no YAML and no AWS: kinds bring their [`Rules`].

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod address;
mod apply;
mod diff;
mod document;
mod home;
mod plan;
mod provider;
mod resource;
mod rules;
mod state;
mod store;
mod value;

pub use crate::{
    address::{Address, Index, InvalidAddress, KindName},
    apply::{Event, Events, Outcome, Settings, apply},
    diff::{Difference, differences, lies_under, normalised_json},
    document::{
        Document, DocumentChange, DocumentDifference, DocumentStep, Endpoint, Moved, Origin, Place, StateReference,
        Summary,
    },
    home::{HomeRule, OtherHome},
    plan::{Action, Cause, Change, Note, Operation, Plan, PlanError, PlanOptions, Reason, Step, plan, selection},
    provider::{Observed, Provider, ProviderError, Remote, Resolved, Token, plain},
    resource::{Graph, GraphError, Lookup, Resource},
    rules::{Accepts, Attribute, Computed, Replacement, RuleBook, Rules},
    state::{Recorded, State, StateError},
    store::{FileLock, FileStore, LockGuard, LockInfo, StateStore, StoreError, replace_file},
    value::{Map, Reference, Value, from_map, hex, to_map},
};
