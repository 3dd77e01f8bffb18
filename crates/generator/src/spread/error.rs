//! Why connections cannot be spread, and what to do next.

use std::{error::Error, io, net::IpAddr, path::PathBuf};

use aya::{
    EbpfError,
    maps::MapError,
    pin::PinError,
    programs::{ProgramError, links::LinkError},
    sys::SyscallError,
};

use super::maps::MOST_SOURCES;
use crate::failure::FileError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SpreadError {
    #[error("the kernel does not allow this process to use BPF")]
    Refused(#[source] io::Error),
    #[error("this kernel cannot spread connections")]
    Unsupported(#[source] io::Error),
    #[error("the kernel's verifier rejects the program:\n{0}")]
    Rejected(String),
    #[error("the kernel failed to {what}")]
    Failed { what: &'static str, source: io::Error },
    #[error("cannot build the object file of the program: {0}")]
    Object(String),
    #[error("the loader rejects the program")]
    Loader(#[source] Box<dyn Error + Send + Sync>),
    #[error("no cgroup2 file system is mounted")]
    NoCgroup2,
    #[error("cannot open the cgroup `{path}`")]
    Cgroup { path: PathBuf, source: io::Error },
    #[error("`{path}` is not a folder of a cgroup2 file system")]
    NotCgroup2 { path: PathBuf },
    #[error("cannot create or read `{path}`")]
    Pins { path: PathBuf, source: io::Error },
    #[error("`{path}` is not on a BPF file system")]
    NotBpffs { path: PathBuf },
    #[error("cannot mount a BPF file system at `{path}`")]
    Mount { path: PathBuf, source: io::Error },
    #[error("connections are not spread: there is no program in `{path}`")]
    NotAttached { path: PathBuf },
    #[error("connections can be spread over {MOST_SOURCES} addresses of one family at most, not over {0}")]
    TooMany(usize),
    #[error("{0} is not a source address")]
    NoSource(IpAddr),
    #[error("there is no user `{user}`")]
    NoUser { user: String },
    #[error(transparent)]
    Users(FileError),
    #[error("cannot read the addresses of this host from the kernel")]
    Addresses(#[source] io::Error),
    #[error("cannot read the connections of this host from the kernel")]
    Sockets(#[source] io::Error),
}

impl SpreadError {
    /// What to do next, for errors that a user can resolve.
    pub(crate) fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Refused(_) => {
                "run this as root with the capabilities CAP_BPF and CAP_NET_ADMIN; kernel lockdown, a seccomp filter or a security module can also deny it"
            }
            Self::Unsupported(_) => {
                "use a kernel from 6.1 on with CONFIG_CGROUP_BPF, or set `generator.spread: simulation`"
            }
            Self::Rejected(_) | Self::Object(_) | Self::Loader(_) => {
                "this is a bug in trunnion-generator: report it with the version of the kernel, and set `generator.spread: simulation` until it is fixed"
            }
            Self::NoCgroup2 => {
                "mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`, or name one with --cgroup"
            }
            Self::Cgroup { .. } | Self::NotCgroup2 { .. } => "name another one with --cgroup, or leave out --cgroup",
            Self::NotBpffs { .. } => "name a folder on a BPF file system with --pins",
            Self::NotAttached { .. } => "run `trunnion-generator spread`",
            Self::TooMany(_) => "delegate fewer prefixes to the host",
            Self::NoSource(_) => "list the source addresses with `trunnion-generator spread --show`",
            Self::NoUser { .. } => "run `trunnion-generator setup` first, or name a user id with --uid",
            Self::Failed { .. }
            | Self::Pins { .. }
            | Self::Mount { .. }
            | Self::Users(_)
            | Self::Addresses(_)
            | Self::Sockets(_) => {
                return None;
            }
        })
    }

    /// The error of a failed system call. `what` completes "failed to".
    pub(super) fn failed(what: &'static str, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::Refused(source)
        } else {
            Self::Failed { what, source }
        }
    }

    pub(super) fn map(what: &'static str, error: MapError) -> Self {
        match error {
            MapError::CreateError { io_error, .. } | MapError::SyscallError(SyscallError { io_error, .. }) => {
                Self::failed(what, io_error)
            }
            MapError::PinError { error, .. } => Self::pin(what, error),
            other => Self::failed(what, io::Error::other(other)),
        }
    }

    pub(super) fn pin(what: &'static str, error: PinError) -> Self {
        match error {
            PinError::SyscallError(SyscallError { io_error, .. }) => Self::failed(what, io_error),
            other => Self::failed(what, io::Error::other(other)),
        }
    }

    pub(super) fn link(what: &'static str, error: LinkError) -> Self {
        match error {
            LinkError::SyscallError(SyscallError { io_error, .. }) => Self::failed(what, io_error),
            other => Self::failed(what, io::Error::other(other)),
        }
    }
}

impl From<EbpfError> for SpreadError {
    fn from(error: EbpfError) -> Self {
        match error {
            EbpfError::MapError(error) => Self::map("create the maps", error),
            EbpfError::ProgramError(error) => error.into(),
            other => Self::Loader(other.into()),
        }
    }
}

impl From<ProgramError> for SpreadError {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                match io_error.kind() {
                    io::ErrorKind::PermissionDenied if log.trim().is_empty() => Self::Refused(io_error),
                    _ if log.trim().is_empty() => Self::Unsupported(io_error),
                    _ => Self::Rejected(log),
                }
            }
            ProgramError::SyscallError(SyscallError { io_error, .. }) => Self::failed("attach the program", io_error),
            ProgramError::MapError(error) => Self::map("create the maps", error),
            other => Self::Loader(other.into()),
        }
    }
}
