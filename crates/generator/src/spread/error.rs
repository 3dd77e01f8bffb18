//! Why connections cannot be spread, and what to do about it.

use std::{error::Error, io, net::IpAddr, path::PathBuf};

use aya::{
    EbpfError,
    maps::MapError,
    pin::PinError,
    programs::{ProgramError, links::LinkError},
    sys::SyscallError,
};

use super::maps::MOST_SOURCES;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SpreadError {
    #[error("the kernel refuses BPF to this process")]
    Refused(#[source] io::Error),
    #[error("this kernel cannot spread connections")]
    Unsupported(#[source] io::Error),
    #[error("the kernel's verifier rejects the program:\n{0}")]
    Rejected(String),
    #[error("the kernel fails to {what}")]
    Failed { what: &'static str, source: io::Error },
    #[error("the program cannot be put into an object: {0}")]
    Object(String),
    #[error("the loader rejects the program")]
    Loader(#[source] Box<dyn Error + Send + Sync>),
    #[error("no cgroup2 file system is mounted")]
    NoCgroup2,
    #[error("the cgroup `{path}` cannot be opened")]
    Cgroup { path: PathBuf, source: io::Error },
    #[error("`{path}` is no folder of a cgroup2 file system")]
    NotCgroup2 { path: PathBuf },
    #[error("`{path}` cannot be made or read")]
    Pins { path: PathBuf, source: io::Error },
    #[error("`{path}` does not lie on a BPF file system")]
    NotBpffs { path: PathBuf },
    #[error("no BPF file system can be mounted at `{path}`")]
    Mount { path: PathBuf, source: io::Error },
    #[error("nothing spreads connections here: `{path}` holds no program")]
    NotAttached { path: PathBuf },
    #[error("{0} addresses of one family are more than the {MOST_SOURCES} that connections can be spread over")]
    TooMany(usize),
    #[error("{0} is not among the source addresses")]
    NoSource(IpAddr),
    #[error("there is no user `{user}`")]
    NoUser { user: String },
    #[error("`/etc/passwd` cannot be read")]
    Users(#[source] io::Error),
    #[error("the host's addresses cannot be read")]
    Interfaces(#[source] io::Error),
}

impl SpreadError {
    /// What to do about it, where there is something to do.
    pub(crate) fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Refused(_) => {
                "run it as root with the capabilities CAP_BPF and CAP_NET_ADMIN; a kernel in lockdown, a seccomp filter or a security module can refuse it, too"
            }
            Self::Unsupported(_) => {
                "take a kernel from 5.14 on with CONFIG_CGROUP_BPF, or set `generator.spread: simulation`"
            }
            Self::Rejected(_) | Self::Object(_) | Self::Loader(_) => {
                "this is a fault of trunnion-generator: report it with the kernel's version, and set `generator.spread: simulation` meanwhile"
            }
            Self::NoCgroup2 => {
                "mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`, or name one with --cgroup"
            }
            Self::Cgroup { .. } | Self::NotCgroup2 { .. } => "name one with --cgroup, or leave it to be found",
            Self::NotBpffs { .. } => "name a folder on a BPF file system with --pins",
            Self::NotAttached { .. } => "attach it with `trunnion-generator spread`",
            Self::TooMany(_) => "give the host fewer prefixes",
            Self::NoSource(_) => "see them with `trunnion-generator spread --show`",
            Self::NoUser { .. } => "run `trunnion-generator setup` first, or name a user id with --uid",
            Self::Failed { .. } | Self::Pins { .. } | Self::Mount { .. } | Self::Users(_) | Self::Interfaces(_) => {
                return None;
            }
        })
    }

    /// Tells a refusal from other failures to `what`.
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
            EbpfError::MapError(error) => Self::map("make the maps", error),
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
            ProgramError::MapError(error) => Self::map("make the maps", error),
            other => Self::Loader(other.into()),
        }
    }
}
