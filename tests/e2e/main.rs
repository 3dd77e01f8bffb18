//! The real binary, from outside, against the sandbox.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bad_input;
mod changes;
mod homes;
mod interrupted;
mod lifecycle;
