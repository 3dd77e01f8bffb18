//! The stack language. Every key is declared once.
//!
//! Each section of the file has a module of the same name, which declares it with [`section::section`] or [`section::keys`]. A
//! declaration contains, for each key, its type with bounds, its default, an example, its description, and its field in the
//! model. The reader is made from the declaration. [`STACK`] is the same declaration as data; the list of known keys, the JSON
//! Schema and the reference are made from it. So every accepted key is also read.

mod binaries;
mod budget;
mod control_plane;
mod decimals;
mod describe;
mod generator;
mod images;
mod key;
mod kinds;
mod location;
mod moved;
mod network;
mod places;
mod pool;
mod prices;
mod protect;
mod ranges;
mod secret_arns;
mod section;
mod ssh;
mod stack;
mod tags;
mod workload;

use std::{path::Path, sync::LazyLock};

pub use binaries::built_for;
pub use budget::Budget;
pub use control_plane::ControlPlane;
pub use generator::Generator;
pub use location::Location;
pub use network::Network;
pub use pool::Pool;
pub use prices::Prices;
pub use ssh::Ssh;
pub use workload::{Targets, Workload};

pub(crate) use binaries::{DEFAULT_BINARY, reason};
pub(crate) use describe::{Absent, Below, Described, Description, Entry, Named};
pub(crate) use stack::{Decoded, Top, read};

use crate::{LoadOptions, files::Files};

/// Every key of a stack, and of an environment.
pub(crate) static STACK: LazyLock<Description> = LazyLock::new(Top::describe);

/// The context in which a key is read. The value of another key is `None` if it was not read yet or has a mistake. That
/// mistake has its own error, so checks skip a missing value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    /// The folder of the stack file, to which relative paths refer.
    pub(crate) directory: &'a Path,
    /// The environment that was merged in.
    pub(crate) environment: Option<&'a str>,
    /// The options of the caller.
    pub(crate) options: &'a LoadOptions,
    /// The files that the stack may name.
    pub(crate) files: &'a Files,
    /// The stack's name with its environment.
    name: Option<&'a str>,
    region: Option<&'a str>,
    account: Option<&'a str>,
    pools: Option<&'a kinds::Readings<Pool>>,
    /// The stack's `protect`.
    protect: Option<bool>,
    /// `generator.java`.
    java: Option<u8>,
}

impl<'a> Around<'a> {
    /// The context before any key is read.
    pub(crate) fn new(
        directory: &'a Path,
        environment: Option<&'a str>,
        options: &'a LoadOptions,
        files: &'a Files,
    ) -> Self {
        Around {
            directory,
            environment,
            options,
            files,
            name: None,
            region: None,
            account: None,
            pools: None,
            protect: None,
            java: None,
        }
    }
}

#[cfg(test)]
mod tests;
