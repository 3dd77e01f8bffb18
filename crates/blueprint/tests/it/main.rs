//! Tests of the public API: from a stack file to the resources.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and writes its own files")]

mod boot;
mod common;
mod conf;
mod control_plane;
mod findings;
mod graph;
mod policies;
