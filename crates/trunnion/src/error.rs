//! Why something could not be done, with a code and the next step.

use std::{
    fmt,
    io::{self, ErrorKind},
};

use miette::Diagnostic;
use trunnion_blueprint::BlueprintError;
use trunnion_engine::{
    Address, ErrorClass, ExitCode, NoImport, Plan, PlanError, ProviderError, State, StateError, StoreError, Value,
};
use trunnion_kinds::{ElasticIp, Instance, LaunchTemplate, TEMPLATE_TAG};
#[cfg(feature = "sandbox")]
use trunnion_sandbox::SandboxError;
use trunnion_stack::Stack;

use crate::{
    Planned,
    budget::OverBudget,
    session::{OtherHomes, Stale},
};

/// Why the engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stack cannot be turned into resources.
    #[error(transparent)]
    Blueprint(#[from] BlueprintError),
    /// The stack needs what its account or region does not have.
    #[error("the stack cannot be applied in its present form")]
    Refused(Vec<trunnion_stack::Diagnostic>),
    /// The connection cannot be set up, such as with an endpoint that is no URL. No call was made.
    #[error(transparent)]
    Connect(#[from] trunnion_aws::ConnectError),
    /// The sandbox inside the process cannot use its folder.
    #[cfg(feature = "sandbox")]
    #[error(transparent)]
    Sandbox(#[from] trunnion_sandbox::SandboxError),
    /// The sandbox inside the process cannot listen on a port of loopback.
    #[cfg(feature = "sandbox")]
    #[error("the sandbox cannot listen on loopback")]
    Listen(#[source] std::io::Error),
    /// The file for the transcript cannot be written. No call was made.
    #[error("the transcript `{}` cannot be written", .path.display())]
    Transcript {
        /// Path of the file.
        path: std::path::PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A call to AWS failed before anything was changed.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// No plan can be made of the stack and of what AWS has.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The stack was applied to another account or region.
    #[error("{count} resources of this stack are recorded in `{recorded}`, and the stack file now says `{here}`")]
    Elsewhere {
        /// The place that the state records, such as `aws/123456789012/eu-west-3`.
        recorded: String,
        /// How many resources are recorded there.
        count: usize,
        /// The place that the stack file names now, in the same form.
        here: String,
    },
    /// The plan takes over resources of another home, and nobody agreed.
    #[error("{0}. Nothing was changed")]
    OtherHome(OtherHomes),
    /// The plan costs more than the stack's budget, or nobody can say whether it does.
    #[error("{0}. Nothing was changed")]
    OverBudget(OverBudget),
    /// A saved plan differs from a fresh one.
    #[error(transparent)]
    Stale(Stale),
    /// It was interrupted before the first change.
    #[error("interrupted, so nothing was changed")]
    Interrupted,
    /// The state could not be read, written or locked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A text of the request that is no address.
    #[error("{error}")]
    Target {
        /// Why it is none.
        error: trunnion_engine::InvalidAddress,
        /// Addresses that look similar, the nearest first.
        nearest: Vec<String>,
    },
    /// A resource that cannot be imported because of differences, with the plan that shows them.
    #[error("{error}")]
    Differs {
        /// The reason.
        error: PlanError,
        /// A plan that would replace the resource.
        planned: Box<Planned>,
    },
    /// A resource that stays the stack's without its tags.
    #[error("`{address}` cannot be forgotten: {reason}, whatever its tags")]
    CannotForget {
        /// The address of the resource.
        address: Address,
        /// What makes it the stack's.
        reason: &'static str,
    },
    /// An address that is neither in the stack nor on AWS.
    #[error("`{address}` is neither in the stack nor among its resources on AWS")]
    UnknownAddress {
        /// The address that the request names.
        address: Address,
        /// Addresses that look similar, the nearest first.
        nearest: Vec<String>,
    },
}

/// A lookup without a result, with its address.
#[derive(Debug, thiserror::Error)]
#[error("{}", .error.message)]
struct Missing {
    error: ProviderError,
}

impl Diagnostic for Missing {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("plan::missing"))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.error.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}

impl Error {
    /// The error of a stack that cannot become resources. It shows the key in the stack file, if one causes it.
    pub fn blueprint(stack: &Stack, error: BlueprintError) -> Self {
        match error.path() {
            None => Self::Blueprint(error),
            Some(path) => {
                let help = error.help().map(str::to_owned);
                let mut message = error.to_string();
                if let Some(cause) = std::error::Error::source(&error) {
                    message = format!("{message}: {cause}");
                }
                Self::Refused(vec![stack.sources.diagnostic(&path, "blueprint::stack", message, help)])
            }
        }
    }

    /// What is wrong in detail: one diagnostic each, or this error alone.
    pub fn diagnostics(&self) -> Vec<Box<dyn Diagnostic + '_>> {
        match self {
            Self::Refused(list) => list.iter().cloned().map(|found| Box::new(found) as Box<dyn Diagnostic>).collect(),
            Self::Plan(PlanError::Missing(missing) | PlanError::Taken(missing)) => missing
                .values()
                .map(|error| Box::new(Missing { error: error.clone() }) as Box<dyn Diagnostic>)
                .collect(),
            other => vec![Box::new(OwnDiagnostic(other))],
        }
    }

    /// The class of the failure, if the cloud or an interruption caused it.
    pub fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Provider(error) | Self::Store(StoreError::Remote(error)) => Some(error.class),
            Self::Interrupted => Some(ErrorClass::Interrupted),
            _ => None,
        }
    }

    /// The exit code of a command that ends because of it.
    pub fn exit_code(&self) -> ExitCode {
        self.class().map_or(ExitCode::Error, ErrorClass::exit_code)
    }

    fn own_code(&self) -> &'static str {
        match self {
            Self::Blueprint(_) => "blueprint",
            Self::Refused(_) => "plan::refused",
            Self::Connect(_) => "aws::connect",
            #[cfg(feature = "sandbox")]
            Self::Sandbox(_) | Self::Listen(_) => "sandbox",
            Self::Transcript { .. } => "transcript",
            Self::Provider(_) => "aws",
            Self::Plan(_) | Self::Differs { .. } => "plan",
            Self::Elsewhere { .. } => "state::elsewhere",
            Self::OtherHome(_) => "apply::other_home",
            Self::OverBudget(_) => "plan::budget",
            Self::CannotForget { .. } => "forget",
            Self::Stale(_) => "plan::moved",
            Self::Interrupted => "interrupted",
            Self::Store(StoreError::Locked { .. }) => "state::locked",
            Self::Store(StoreError::Lost { .. }) => "state::lost",
            Self::Store(_) => "state",
            Self::Target { .. } | Self::UnknownAddress { .. } => "plan::target",
        }
    }

    fn own_help(&self) -> Option<String> {
        match self {
            Self::Provider(error) | Self::Store(StoreError::Remote(error)) => error.help.clone(),
            Self::Connect(error) => error.help(),
            #[cfg(feature = "sandbox")]
            Self::Sandbox(SandboxError::InUse { .. }) => Some(
                "wait until the other command is done, or stop the `trunnion sandbox` that uses the \
                      folder"
                    .to_owned(),
            ),
            #[cfg(feature = "sandbox")]
            Self::Sandbox(SandboxError::Journal { .. }) => {
                Some("delete the sandbox's folder and apply again; no AWS resource is lost".to_owned())
            }
            Self::Blueprint(error) => error.help().map(str::to_owned),
            Self::Stale(stale) => Some(stale.help()),
            Self::OverBudget(over) => Some(over.help()),
            Self::Store(StoreError::Lost { .. }) => {
                Some("wait until no other command works on this stack, then run it again to continue".to_owned())
            }
            Self::Store(StoreError::Locked { place, .. }) if place.starts_with("s3://") => Some(
                "wait for it with `--lock-timeout 30m`; a lock that its holder does not renew any more expires after \
                     two minutes, and `trunnion unlock` takes it away from a holder that hangs"
                    .to_owned(),
            ),
            Self::Store(StoreError::Locked { .. }) => Some(
                "wait for it with `--lock-timeout 30m`; the lock ends with the process that holds it, and `trunnion \
                     unlock` takes it away from one that hangs"
                    .to_owned(),
            ),
            Self::Store(StoreError::Document { source: StateError::Format(format), .. }) if *format > State::FORMAT => {
                Some(
                    "update trunnion: a newer version wrote the state; it stays as it is until then, and `trunnion state \
                     list` shows earlier documents"
                        .to_owned(),
                )
            }
            Self::Store(StoreError::Document { place, .. }) => Some(format!(
                "restore an earlier document (`trunnion state list`), or delete or rename `{place}`: the state is only a \
                 cache, and the next plan finds all resources by their tags"
            )),
            Self::Store(StoreError::Moved { .. }) => Some("plan again".to_owned()),
            Self::Store(StoreError::Io { source, .. }) if is_full(source) => Some(FREE_SPACE.to_owned()),
            Self::Store(StoreError::Io { .. }) => {
                Some("make the folder readable and writable, or set `state` to another place".to_owned())
            }
            #[cfg(feature = "sandbox")]
            Self::Sandbox(SandboxError::OtherAccount { kept, .. }) => {
                Some(format!("use another folder with `--data`, or use `--account {kept}`"))
            }
            #[cfg(feature = "sandbox")]
            Self::Sandbox(SandboxError::File { source, .. }) if is_full(source) => Some(FREE_SPACE.to_owned()),
            Self::Elsewhere { .. } => Some(
                "destroy it there first, or keep it and define the new place as an environment, which is a separate \
                 stack"
                    .to_owned(),
            ),
            Self::OtherHome(others) => Some(others.help().to_owned()),
            #[cfg(feature = "sandbox")]
            Self::Sandbox(SandboxError::File { .. }) => {
                Some("make the folder readable and writable, or run the command in another folder".to_owned())
            }
            Self::Transcript { .. } => Some("use a file in a folder with write permission".to_owned()),
            Self::Plan(PlanError::CannotReplace { .. }) => Some(
                "use `--replace` for hosts, such as `instance.heavy[0]`, and for what no other resource depends on"
                    .to_owned(),
            ),
            Self::Plan(PlanError::StillAsked(address)) => Some(match address.kind.as_str() {
                Instance::KIND | LaunchTemplate::KIND | ElasticIp::KIND => {
                    "remove it from the stack file first, for example with a lower `count`, and do not apply before it is \
                     forgotten"
                }
                _ => "a part that every stack has can only be deleted, with `trunnion destroy`; remove any other from the \
                      stack file first, and do not apply before it is forgotten",
            }.to_owned()),
            Self::Plan(PlanError::NotAsked { one: Some(one), .. }) => {
                Some(format!("name one of the resources that it means, such as `{one}`"))
            }
            Self::Plan(PlanError::NotAsked { .. }) => {
                Some("add it to the stack file first: its address follows from its name there".to_owned())
            }
            Self::Plan(error @ PlanError::CannotImport { .. }) | Self::Differs { error, .. } => import_help(error),
            Self::CannotForget { .. } => Some("leave it in the stack, or delete it with `trunnion apply`".to_owned()),
            Self::Plan(PlanError::Excluded(address)) => {
                Some(format!("name `{address}` with `--exclude` or with the other option, but not with both"))
            }
            Self::Target { nearest, .. } | Self::UnknownAddress { nearest, .. } => Some(addresses(nearest)),
            _ => None,
        }
    }
}

/// What to do about a resource that cannot be imported.
fn import_help(error: &PlanError) -> Option<String> {
    let PlanError::CannotImport { address, id, reason } = error else { return None };
    Some(match reason {
        NoImport::Missing => {
            "check the id, and that the resource is in the account and the region of the stack; one that was made a moment \
             ago may not be shown yet"
                .to_owned()
        }
        NoImport::OfAnother(_) => format!("take it out of the other stack first, there with `trunnion forget`: it has `{id}`"),
        NoImport::Elsewhere(_) => "nothing needs to be imported: it belongs to the stack at that address".to_owned(),
        NoImport::Occupied(_) => format!(
            "import it at another address, or free `{address}` first: remove it from the stack file, `trunnion forget` it or \
             apply, and then add it again"
        ),
        NoImport::Needs(missing) => format!("create `{missing}` first: `trunnion apply --exclude '{address}'`"),
        NoImport::Differs { plan, .. } => lost_template(plan, address).map_or_else(
            || {
                "nothing was changed; change the resource or the stack file so that all differences can change in place, or \
                 let `trunnion apply` create a new one"
                    .to_owned()
            },
            |digest| {
                format!(
                    "if `{id}` was launched from this launch template as it is now, give it the tag `{TEMPLATE_TAG}` with \
                     the value `{digest}`, and import it again; otherwise let `trunnion apply` create a new one"
                )
            },
        ),
    })
}

/// The digest that the tag of a host's template must have, if all that replaces the host is that it has none.
fn lost_template(plan: &Plan, address: &Address) -> Option<String> {
    let change = plan.changes.iter().find(|change| change.address == *address)?;
    let mut forcing = change.differences.iter().map(|(it, _)| it).filter(|it| it.forces_replacement);
    let (Some(lost), None) = (forcing.next(), forcing.next()) else { return None };
    let is_lost = lost.path == "template" && lost.before.as_ref().is_none_or(|before| *before == Value::Null);
    lost.after.as_ref().and_then(Value::as_text).filter(|_| is_lost).map(str::to_owned)
}

/// The help if a disk or a quota is full.
pub(crate) const FREE_SPACE: &str = "free some space there, or use another disk";

/// Whether a write failed because the disk or a quota is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

fn addresses(nearest: &[String]) -> String {
    let all = "`trunnion plan --json` lists the addresses of all resources";
    if nearest.is_empty() {
        return all.to_owned();
    }
    let near: Vec<String> = nearest.iter().map(|address| format!("`{address}`")).collect();
    format!("similar: {}; {all}", near.join(", "))
}

/// The error as one diagnostic.
#[derive(Debug)]
struct OwnDiagnostic<'a>(&'a Error);

impl fmt::Display for OwnDiagnostic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for OwnDiagnostic<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.0 {
            // The message already contains the text of the SDK's errors.
            Error::Provider(_) => None,
            other => other.source(),
        }
    }
}

impl Diagnostic for OwnDiagnostic<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.0.own_code()))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.own_help().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}
