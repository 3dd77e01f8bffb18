//! Why a stack cannot become resources.

use std::{io, path::PathBuf};

use trunnion_catalog::Architecture;
use trunnion_engine::{Address, GraphError};

use crate::binaries::Unusable;

/// Why a stack cannot become resources.
#[derive(Debug, thiserror::Error)]
pub enum BlueprintError {
    /// There is no usable generator binary for a pool.
    #[error("the hosts of pool `{pool}` need a generator binary for {architecture}, but {why}")]
    NoBinary {
        /// The first pool that needs it.
        pool: String,
        /// The pool's architecture.
        architecture: Architecture,
        /// The file that was tried, and what is wrong with it.
        why: Unusable,
    },
    /// A pool needs a certain generator binary, but neither the bucket nor this machine has it.
    #[error("the hosts of pool `{pool}` need the generator binary {wanted}, but the bucket does not hold it and {}", instead(.found.as_ref(), .why.as_ref()))]
    OtherBinary {
        /// The first pool that needs it.
        pool: String,
        /// The SHA-256 of the needed binary, in hexadecimal.
        wanted: String,
        /// The file on this machine, and its SHA-256.
        found: Option<(PathBuf, String)>,
        /// Why the configured file cannot be used, if that is the reason.
        why: Option<Unusable>,
        /// Whether the digest comes from `generator.sha256`.
        is_named: bool,
        /// The pool's architecture.
        architecture: Architecture,
    },
    /// The stack has no pool of this name.
    #[error("the stack has no pool `{pool}`")]
    NoPool {
        /// The name that was asked for.
        pool: String,
    },
    /// The boot template cannot be read.
    #[error("cannot read the boot template `{path}`")]
    Template {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The boot template is too long.
    #[error("the boot template `{path}` has more than {limit} bytes")]
    TemplateTooLong {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The boot template does not render.
    #[error("{template}{}: {message}", line_of(*.line))]
    Render {
        /// The template's file, or that it is the built-in one.
        template: String,
        /// The line of the error, counted from 1, if it is known.
        line: Option<usize>,
        /// The message of Tera.
        message: String,
    },
    /// `generator.variables` has an entry that the built-in boot template does not use.
    #[error("the built-in boot template has no variable `{name}`, only {known}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The variables that the template uses.
        known: &'static str,
    },
    /// The rendered user data has no format that cloud-init knows.
    #[error("{template} gives user data that cloud-init ignores, by its first line")]
    NoCloudInit {
        /// The template's file, or that it is the built-in one.
        template: String,
    },
    /// The control plane's task definition is longer than ECS allows.
    #[error("the control plane's task definition has {size} bytes, {conf} of them its conf, but ECS allows {limit}")]
    TaskDefinitionTooLong {
        /// Its size in bytes.
        size: usize,
        /// The size of the conf in it, in bytes.
        conf: usize,
        /// The limit of ECS in bytes.
        limit: usize,
    },
    /// The rendered user data is longer than AWS allows.
    #[error("the user data of pool `{pool}` has {size} bytes, but AWS allows {limit}")]
    UserDataTooLong {
        /// The pool.
        pool: String,
        /// Its size in bytes.
        size: usize,
        /// The limit of AWS in bytes.
        limit: usize,
    },
    /// A resource's attributes cannot be written as a JSON object.
    #[error("the attributes of `{address}` cannot be written")]
    Attributes {
        /// The resource.
        address: Box<Address>,
        /// Why.
        source: serde_json::Error,
    },
    /// A document cannot be written as JSON.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
    /// The resources do not form a valid graph.
    #[error("the stack's resources do not fit together")]
    Graph(#[from] GraphError),
}

impl BlueprintError {
    pub(crate) fn attributes(address: &Address, source: serde_json::Error) -> Self {
        Self::Attributes { address: Box::new(address.clone()), source }
    }

    /// The key of the stack file that causes the error, such as `generator.template`.
    pub fn path(&self) -> Option<String> {
        match self {
            Self::NoBinary { .. } | Self::OtherBinary { is_named: false, .. } => Some("generator.binary".to_owned()),
            Self::OtherBinary { .. } => Some("generator.sha256".to_owned()),
            Self::Template { .. } | Self::TemplateTooLong { .. } | Self::Render { .. } | Self::NoCloudInit { .. } => {
                Some("generator.template".to_owned())
            }
            Self::TaskDefinitionTooLong { .. } => Some("locations".to_owned()),
            Self::UnknownVariable { name, .. } => Some(format!("generator.variables.{name}")),
            Self::UserDataTooLong { .. } => Some("generator".to_owned()),
            Self::NoPool { .. } | Self::Attributes { .. } | Self::Json(_) | Self::Graph(_) => None,
        }
    }

    /// What to do next, if the message does not already say it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NoBinary { architecture, .. } => Some(how_to_build(*architecture)),
            Self::OtherBinary { is_named: true, .. } => {
                Some("set `generator.binary` to the file with that SHA-256, or correct `generator.sha256`")
            }
            Self::OtherBinary { .. } => Some(
                "set `generator.binary` to the file with that SHA-256 and run again, or use the newest binary with \
                 `--update-generator`",
            ),
            Self::UserDataTooLong { .. } => {
                Some("shorten the template or the variables, or move long parts into an image of your own")
            }
            Self::NoCloudInit { .. } => {
                Some("begin the template with `#!/bin/bash`, `#cloud-config` or another format that cloud-init knows")
            }
            Self::TaskDefinitionTooLong { .. } => Some(
                "the conf lists every host and every system property: use fewer and larger hosts, use fewer properties, or \
                 split the stack",
            ),
            Self::UnknownVariable { .. } => Some("remove it, or set `generator.template` to a template of your own"),
            Self::Render { line: Some(_), .. } => {
                Some("the comment at the head of the built-in template lists every variable")
            }
            _ => None,
        }
    }
}

fn line_of(line: Option<usize>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

fn instead(found: Option<&(PathBuf, String)>, why: Option<&Unusable>) -> String {
    match (found, why) {
        (Some((path, sha256)), _) => format!("`{}` is {sha256}", path.display()),
        (None, Some(why)) => why.to_string(),
        (None, None) => "this machine does not have it".to_owned(),
    }
}

/// The help that says how to build a generator binary for an architecture.
pub(crate) fn how_to_build(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => {
            "build one with `cargo xtask generator`, then set `generator: { binary: dist/trunnion-generator }`"
        }
        Architecture::Arm64 => {
            "build one with `cargo xtask generator --target aarch64-unknown-linux-musl` (before, `rustup target add` that target), \
             then set `generator: { binary: dist/trunnion-generator-arm64 }`"
        }
    }
}
