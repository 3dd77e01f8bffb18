//! The whole crate against an in-process sandbox.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod lifecycle;
mod store;
