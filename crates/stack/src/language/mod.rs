//! The stack language: every key, declared once.
//!
//! A section of the file is declared in the module of its name, by [`section::section`] or [`section::keys`]: for each key its
//! type with its bounds, its default, an example, what it is for, and its field in the model. The declaration is the reader,
//! and [`STACK`] is the same as data, from which the known keys, the JSON Schema and the reference are made. So a key that is
//! accepted is read.

mod binaries;
mod control_plane;
mod describe;
mod generator;
mod images;
mod key;
mod kinds;
mod location;
mod network;
mod places;
mod pool;
mod ranges;
mod secret_arns;
mod section;
mod ssh;
mod stack;
mod tags;

use std::{path::Path, sync::LazyLock};

pub use binaries::built_for;
pub use control_plane::ControlPlane;
pub use generator::Generator;
pub use location::Location;
pub use network::Network;
pub use pool::Pool;
pub use ssh::Ssh;

pub(crate) use binaries::reason;
pub(crate) use describe::{Absent, Below, Described, Description, Entry, Named};
pub(crate) use stack::{Decoded, Top, read};

use crate::LoadOptions;

/// Every key of a stack, and of an environment.
pub(crate) static STACK: LazyLock<Description> = LazyLock::new(Top::describe);

/// What is known while a key is read. The value of another key is missing where it was not read yet or has a mistake. That
/// mistake is reported there, and nothing is judged by the missing value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    /// Relative paths are relative to this one.
    pub(crate) directory: &'a Path,
    /// The environment that was merged in.
    pub(crate) environment: Option<&'a str>,
    /// What the caller knows.
    pub(crate) options: &'a LoadOptions,
    /// The stack's name with its environment.
    name: Option<&'a str>,
    region: Option<&'a str>,
    account: Option<&'a str>,
    pools: Option<&'a kinds::Readings<Pool>>,
    /// `generator.java`.
    java: Option<u8>,
}

impl<'a> Around<'a> {
    /// Before any key was read.
    pub(crate) fn new(directory: &'a Path, environment: Option<&'a str>, options: &'a LoadOptions) -> Self {
        Around { directory, environment, options, name: None, region: None, account: None, pools: None, java: None }
    }
}

#[cfg(test)]
mod tests;
