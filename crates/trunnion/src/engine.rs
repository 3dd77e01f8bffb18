//! A stack connected to a cloud.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trunnion_aws::{Aws, Calls, Connection, Endpoint, S3Store, Throttle};
use trunnion_blueprint::{self as blueprint, Binaries, Boots, Standing};
use trunnion_engine::{
    Address, Document, Events, FileStore, Graph, LockGuard as _, LockInfo, Note, Observed, Origin, Outcome, Plan,
    PlanError, PlanOptions, Provider as _, RuleBook, Settings, State, StateStore as _, apply, plan, selection,
};
use trunnion_sandbox::{Running, Sandbox};
use trunnion_stack::{Stack, StateLocation};

use crate::{Error, store::Store};

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// Start a sandbox inside this process instead of using AWS, its world kept in this folder.
    pub sandbox: Option<PathBuf>,
    /// Whether apply waits until hosts run and the service is stable.
    pub wait: bool,
    /// Once cancelled, apply starts nothing new, and ends every wait.
    pub interrupt: CancellationToken,
}

impl Default for Options {
    fn default() -> Self {
        Self { sandbox: None, wait: true, interrupt: CancellationToken::new() }
    }
}

/// What to plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Delete everything.
    pub destroy: bool,
    /// Only these addresses and what they need, or all.
    pub targets: Vec<String>,
    /// Take the newest images instead of those the launch templates hold.
    pub update_images: bool,
    /// Take the newest generator and boot script instead of those that the launch templates hold.
    pub update_generator: bool,
    /// Replace what stands at these addresses although nothing of it differs.
    pub replace: Vec<String>,
}

/// A plan with the state it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The state.
    pub state: State,
}

impl Planned {
    /// The plan document.
    pub fn document(&self, origin: &Origin) -> Document {
        Document::new(&self.plan, origin.clone(), &trunnion_kinds::rule_book())
    }
}

/// A stack connected to AWS or to a sandbox.
#[derive(Debug)]
pub struct Engine {
    stack: Stack,
    aws: Aws,
    store: Store,
    rules: RuleBook,
    place: String,
    interrupt: CancellationToken,
    sandbox: Option<Running>,
}

impl Engine {
    /// Connects a stack. No call is made yet.
    pub async fn connect(stack: Stack, options: Options) -> Result<Self, Error> {
        let sandbox = match &options.sandbox {
            None => None,
            Some(folder) => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Error::Listen)?;
                let options = trunnion_sandbox::Options {
                    data: Some(folder.clone()),
                    account: stack.account.clone(),
                    ..trunnion_sandbox::Options::default()
                };
                Some(Sandbox::open(options)?.serve(listener)?)
            }
        };
        let endpoint = sandbox.as_ref().map(|running| Endpoint {
            url: running.endpoint(),
            access_key: trunnion_sandbox::ACCESS_KEY_ID.to_owned(),
            secret_key: trunnion_sandbox::SECRET_ACCESS_KEY.to_owned(),
        });
        let is_sandbox = endpoint.is_some();
        let connection = Connection {
            stack: stack.name.clone(),
            account: stack.account.clone(),
            region: stack.region.clone(),
            wait: options.wait,
            throttle: if is_sandbox { Throttle::Off } else { Throttle::Aws },
            endpoint,
            pace: if is_sandbox { Connection::SANDBOX_PACE } else { Connection::AWS_PACE },
            patience: if is_sandbox { Connection::SANDBOX_PATIENCE } else { Connection::AWS_PATIENCE },
            interrupt: options.interrupt.clone(),
        };
        let aws = Aws::connect(connection).await?;
        let cloud = if is_sandbox { SANDBOX } else { "aws/" };
        let place = format!("{cloud}{}/{}", stack.account, stack.region);
        let store = match (&stack.state, options.sandbox) {
            (StateLocation::S3 { bucket, key }, None) => Store::S3(S3Store::new(&aws, bucket, key)),
            (StateLocation::File(path), None) => Store::File(FileStore::new(path, &stack.name)),
            (location, Some(folder)) => Store::File(sandbox_state(location, &folder, &stack.name).await),
        };
        Ok(Self { stack, aws, store, rules: trunnion_kinds::rule_book(), place, interrupt: options.interrupt, sandbox })
    }

    /// The stack.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The AWS calls made so far.
    pub fn calls(&self) -> Calls {
        self.aws.calls()
    }

    /// The state, as it was last saved.
    pub async fn state(&self) -> Result<State, Error> {
        let mut state = self.store.load().await?;
        let is_of_a_sandbox = state.place.starts_with(SANDBOX) && !self.place.starts_with(SANDBOX);
        if state.resources.is_empty() || is_of_a_sandbox {
            // What was applied to a sandbox explains nothing here, and is no loss.
            state.resources.clear();
            state.digest = None;
            state.place.clone_from(&self.place);
        }
        if state.place != self.place {
            return Err(Error::Elsewhere {
                recorded: state.place,
                count: state.resources.len(),
                here: self.place.clone(),
            });
        }
        Ok(state)
    }

    /// Reads AWS in bulk and plans.
    pub async fn plan(&self, request: &Request) -> Result<Planned, Error> {
        let addresses =
            |named: &[String]| named.iter().map(|address| address.parse()).collect::<Result<Vec<Address>, _>>();
        let (targets, replace) = (addresses(&request.targets)?, addresses(&request.replace)?);
        let state = self.state().await?;
        let aim = if request.destroy {
            let desired = Graph::empty(&self.stack.name);
            let observed = self.aws.observe(&desired, &state).await?;
            Aim { desired, observed, binaries: None, note: None }
        } else {
            self.aim(&state, &targets, request.update_generator).await?
        };
        let options = PlanOptions { targets, update_pinned: request.update_images, replace };
        let mut plan = plan(&aim.desired, &aim.observed, &state, &self.rules, &options)?;
        plan.notes.extend(aim.note);
        if let Some(binaries) = &aim.binaries {
            let findings = blueprint::findings(&self.stack, binaries, &aim.desired, &aim.observed);
            if !findings.errors.is_empty() {
                let refused = findings.errors.into_iter().map(|finding| {
                    self.stack.sources.diagnostic(&finding.path, finding.code, finding.message, finding.help)
                });
                return Err(Error::Refused(refused.collect()));
            }
            plan.notes.extend(findings.warnings.into_iter().map(|finding| Note {
                code: finding.code.to_owned(),
                message: finding.message,
                help: finding.help,
            }));
        }
        Ok(Planned { plan, state })
    }

    /// Looks at the cloud, and only then decides what hosts boot: what stands keeps its boot.
    async fn aim(&self, state: &State, targets: &[Address], update: bool) -> Result<Aim, Error> {
        let stack = &self.stack;
        let refused = |error| Error::blueprint(stack, error);
        let outline = blueprint::outline(stack).map_err(refused)?;
        let binaries = Arc::new(Binaries::of(stack));
        // Hashing takes less time than the answers do.
        let hashing = tokio::task::spawn_blocking({
            let binaries = Arc::clone(&binaries);
            move || binaries.read()
        });
        let mut observed = self.aws.observe(&outline, state).await?;
        // Where it was not hashed, it is once it is needed.
        let _ = hashing.await;
        if !observed.missing.is_empty() {
            return Err(PlanError::Missing(observed.missing).into());
        }
        let selected = if targets.is_empty() {
            None
        } else {
            let whole = Boots::without_binaries(stack).and_then(|boots| blueprint::blueprint_with(stack, &boots));
            selection(&whole.map_err(refused)?, &observed, targets)?
        };
        let standing = Standing { observed: &observed, recorded: state, update, selected: selected.as_ref() };
        let boots = Boots::decide(stack, &binaries, &standing).map_err(refused)?;
        for sha256 in boots.uploads() {
            if let Some(content) = binaries.content(sha256) {
                self.aws.supply(sha256, content);
            }
        }
        boots.spell_out(stack, &mut observed);
        let desired = blueprint::blueprint_with(stack, &boots).map_err(refused)?;
        Ok(Aim { desired, observed, binaries: Some(binaries), note: boots.note() })
    }

    /// Takes the lock for an operation; hold it from before the plan until after apply.
    pub async fn lock(&self, operation: &str) -> Result<Lock, Error> {
        Ok(Lock(self.store.lock(&LockInfo::of_this_process(operation)).await?))
    }

    /// Executes a plan. The caller holds the lock.
    pub async fn apply(&self, planned: &Planned, events: &Events) -> Outcome {
        let settings = Settings { interrupt: self.interrupt.clone(), ..Settings::default() };
        apply(&planned.plan, &self.aws, &self.store, &self.rules, planned.state.clone(), events, &settings).await
    }

    /// Ends the connection, and the sandbox with it.
    pub async fn close(self) {
        if let Some(running) = self.sandbox {
            running.shutdown().await;
        }
    }
}

/// How the place of a sandbox begins.
const SANDBOX: &str = "sandbox/";

/// The state of a sandbox lies where the stack's lies, so that it is found there; but never over one of AWS, and never in
/// a bucket, for then it lies beside the sandbox's world.
async fn sandbox_state(location: &StateLocation, folder: &Path, stack: &str) -> FileStore {
    let beside = FileStore::new(folder.join(format!("{stack}.json")), stack);
    let StateLocation::File(path) = location else { return beside };
    let usual = FileStore::new(path, stack);
    match usual.load().await {
        Ok(state) if !state.resources.is_empty() && !state.place.starts_with(SANDBOX) => beside,
        _ => usual,
    }
}

/// What a plan starts from.
struct Aim {
    desired: Graph,
    observed: Observed,
    binaries: Option<Arc<Binaries>>,
    note: Option<Note>,
}

/// Checks what only shows once everything is rendered, and says what is wrong with the generator binaries that are at hand:
/// hosts that stand need none. Asks AWS nothing.
pub fn check(stack: &Stack) -> Result<Vec<Note>, Error> {
    blueprint::check(stack).map_err(|error| Error::blueprint(stack, error))?;
    Ok(blueprint::doubts(stack))
}

/// The lock of a stack's state.
#[derive(Debug)]
pub struct Lock(crate::store::Lock);

impl Lock {
    /// Gives it back.
    pub async fn release(self) -> Result<(), Error> {
        Ok(self.0.release().await?)
    }
}
