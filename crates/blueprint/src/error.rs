//! Why a stack cannot become resources.

use std::{io, path::PathBuf};

use trunnion_catalog::Architecture;
use trunnion_engine::{Address, GraphError};

use crate::binaries::Unusable;

/// Why a stack cannot become resources.
#[derive(Debug, thiserror::Error)]
pub enum BlueprintError {
    /// Hosts are to boot a generator binary that cannot be had.
    #[error("the hosts of pool `{pool}` boot a generator binary for {architecture}, and {why}")]
    NoBinary {
        /// The first pool that needs it.
        pool: String,
        /// Its architecture.
        architecture: Architecture,
        /// Where it was looked for, and what is wrong there.
        why: Unusable,
    },
    /// Hosts are to boot one generator binary, the bucket does not hold it, and there is only another one or none.
    #[error("the hosts of pool `{pool}` boot the generator binary {wanted}, which the bucket does not hold, and {}", instead(.found.as_ref(), .why.as_ref()))]
    OtherBinary {
        /// The first pool that needs it.
        pool: String,
        /// The SHA-256 that is needed.
        wanted: String,
        /// The file that is there, and its SHA-256.
        found: Option<(PathBuf, String)>,
        /// What is wrong where it was looked for, if there is none.
        why: Option<Unusable>,
        /// Whether the stack names the digest.
        is_named: bool,
        /// The pool's architecture.
        architecture: Architecture,
    },
    /// There is no such pool.
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
    /// The boot template is longer than any is.
    #[error("the boot template `{path}` has more than {limit} bytes")]
    TemplateTooLong {
        /// The file.
        path: PathBuf,
        /// How many bytes are taken.
        limit: u64,
    },
    /// The boot template does not render.
    #[error("{template}{}: {message}", line_of(*.line))]
    Render {
        /// The template's file, or that it is the built-in one.
        template: String,
        /// The line it is about, where there is one.
        line: Option<usize>,
        /// What Tera says.
        message: String,
    },
    /// The built-in boot template knows no such variable.
    #[error("the built-in boot template knows no variable `{name}`, only {known}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The variables it knows.
        known: &'static str,
    },
    /// The rendered user data is nothing that cloud-init knows.
    #[error("{template} gives user data that cloud-init ignores: it begins with {first:?}")]
    NoCloudInit {
        /// The template's file, or that it is the built-in one.
        template: String,
        /// How its first line begins.
        first: String,
    },
    /// The control plane's task definition is longer than ECS takes.
    #[error("the control plane's task definition has {size} bytes, {conf} of them its conf, but ECS allows {limit}")]
    TaskDefinitionTooLong {
        /// Its size in bytes.
        size: usize,
        /// How many of them are the conf.
        conf: usize,
        /// How many bytes ECS takes.
        limit: usize,
    },
    /// The rendered user data is longer than AWS takes.
    #[error("the user data of pool `{pool}` has {size} bytes, but AWS allows {limit}")]
    UserDataTooLong {
        /// The pool.
        pool: String,
        /// Its size in bytes.
        size: usize,
        /// How many bytes AWS takes.
        limit: usize,
    },
    /// Attributes that are no JSON object.
    #[error("the attributes of `{address}` cannot be written")]
    Attributes {
        /// The resource.
        address: Box<Address>,
        /// Why.
        source: serde_json::Error,
    },
    /// A document that cannot be written as JSON.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
    /// The resources do not form a graph.
    #[error("the stack's resources do not fit together")]
    Graph(#[from] GraphError),
}

impl BlueprintError {
    pub(crate) fn attributes(address: &Address, source: serde_json::Error) -> Self {
        Self::Attributes { address: Box::new(address.clone()), source }
    }

    /// The key of the stack file that the error is about, such as `generator.template`.
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

    /// What to do next, where that is not the message itself.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NoBinary { architecture, .. } => Some(how_to_build(*architecture)),
            Self::OtherBinary { is_named: true, .. } => {
                Some("name the file with that SHA-256 in `generator.binary`, or correct `generator.sha256`")
            }
            Self::OtherBinary { .. } => Some(
                "name the file with that SHA-256 in `generator.binary` and apply again, or let `--update-generator` take \
                 the newest one",
            ),
            Self::UserDataTooLong { .. } => {
                Some("shorten the template or the variables, or put what is long into an image of your own")
            }
            Self::NoCloudInit { .. } => Some(
                "let the first line of the template begin with `#!/bin/bash`, `#cloud-config` or another mark of cloud-init",
            ),
            Self::TaskDefinitionTooLong { .. } => Some(
                "the conf names every host and every system property: use fewer and larger hosts or fewer properties, or \
                 split the stack",
            ),
            Self::UnknownVariable { .. } => Some("remove it, or name a template of your own in `generator.template`"),
            Self::Render { .. } => Some("the head of the built-in template lists every variable a template is handed"),
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
        (None, None) => "there is none on this machine".to_owned(),
    }
}

/// How to come to a generator binary for an architecture.
pub(crate) fn how_to_build(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => {
            "build one with `cargo xtask generator` and name it: `generator: { binary: dist/trunnion-generator }`"
        }
        Architecture::Arm64 => {
            "build one with `cargo xtask generator --target aarch64-unknown-linux-gnu` and name it: `generator: { binary: \
             dist/trunnion-generator-arm64 }`"
        }
    }
}
