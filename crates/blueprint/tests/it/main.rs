//! From a stack file to what AWS is asked for, seen from outside.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and writes its own files")]

mod boot;
mod common;
mod conf;
mod control_plane;
mod findings;
mod graph;
mod policies;
