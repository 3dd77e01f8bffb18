//! Tests the whole crate against an in-process sandbox.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod control_plane;
mod cut;
mod doubles;
mod elastic_ips;
mod every_kind;
mod fleets;
mod hidden;
mod lifecycle;
mod lists;
mod names;
mod phases;
mod refusals;
mod round_trips;
mod states;
mod store;
