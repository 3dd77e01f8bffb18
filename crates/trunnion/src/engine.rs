//! A stack connected to a cloud.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trunnion_aws::{Adoption, Aws, Calls, Connection, Endpoint, S3Store, Throttle};
use trunnion_blueprint::{self as blueprint, Binaries, Boots, Standing};
use trunnion_engine::{
    Address, Document, Events, FileStore, Graph, LockGuard as _, LockInfo, Note, Observed, Origin, Outcome, Place,
    Plan, PlanError, PlanOptions, Provider as _, RuleBook, Settings, State, StateStore as _, apply, plan, selection,
};
use trunnion_sandbox::{Running, Sandbox};
use trunnion_stack::{Stack, StateLocation};

use crate::{Error, nearest::nearest, store::Store};

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// Start a sandbox inside this process instead of using AWS, its data kept in this folder. The data of a second account
    /// is in a folder of its name inside.
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
    /// Where it was made.
    pub place: Place,
    /// Who made it, as the ARN that AWS knows it by.
    pub identity: Option<String>,
    /// Whether a person agreed to what the plan takes over from other homes. Without it, such a plan is not executed.
    pub take_over: bool,
}

impl Planned {
    /// The plan document.
    pub fn document(&self, origin: &Origin) -> Document {
        Document {
            place: Some(self.place.clone()),
            identity: self.identity.clone(),
            ..Document::new(&self.plan, origin.clone(), &trunnion_kinds::rule_book())
        }
    }
}

/// A stack connected to AWS or to a sandbox.
#[derive(Debug)]
pub struct Engine {
    stack: Stack,
    aws: Aws,
    store: Store,
    rules: RuleBook,
    place: Place,
    interrupt: CancellationToken,
    sandbox: Option<Running>,
}

impl Engine {
    /// Connects a stack. No call is made yet, but for a stack that earlier versions gave another name: it keeps that name
    /// where resources have it.
    pub async fn connect(stack: Stack, options: Options) -> Result<Self, Error> {
        let folder = options.sandbox.map(|folder| folder_of_account(folder, &stack.account));
        let sandbox = match &folder {
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
        let cloud = Cloud { endpoint, folder, wait: options.wait, interrupt: options.interrupt.clone() };
        let (stack, aws, store) = cloud.settled(stack).await?;
        let endpoint = match (&cloud.folder, aws.endpoint()) {
            (Some(folder), _) => trunnion_engine::Endpoint::Sandbox(folder.display().to_string()),
            (None, Some(url)) => trunnion_engine::Endpoint::Url(url.to_owned()),
            (None, None) => trunnion_engine::Endpoint::Aws,
        };
        let place = Place { account: stack.account.clone(), region: stack.region.clone(), endpoint };
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

    /// Where it is connected to.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where the state is kept: a path, or an `s3://` URL.
    pub fn state_location(&self) -> String {
        self.store.location()
    }

    /// The state as it was last saved, wherever it was applied.
    pub async fn recorded(&self) -> Result<State, Error> {
        Ok(self.store.load().await?)
    }

    /// The state as it was last saved, as far as it speaks of the place that this is connected to.
    pub async fn state(&self) -> Result<State, Error> {
        let mut state = self.recorded().await?;
        if state.lineage.is_empty() {
            state = self.beside().await.unwrap_or(state);
        }
        let here = self.place.key();
        match Recorded::of(&state.place, &self.place) {
            _ if state.resources.is_empty() => {}
            Recorded::Here => {}
            Recorded::OfALookAlike => state.resources.clear(),
            Recorded::Elsewhere => {
                return Err(Error::Elsewhere { recorded: state.place, count: state.resources.len(), here });
            }
        }
        if state.resources.is_empty() {
            state.digest = None;
        }
        state.place = here;
        Ok(state)
    }

    /// What the state beside the stack file says where the stack's own one in S3 is still empty: the stack moved there, and
    /// what it applied before is still its own. It goes on as a new line of documents.
    async fn beside(&self) -> Option<State> {
        let StateLocation::S3 { .. } = self.stack.state else { return None };
        let path = self.stack.folder.join(".trunnion").join(format!("{}.json", self.stack.name));
        let mut state = FileStore::new(path, &self.stack.name).load().await.ok()?;
        if !matches!(Recorded::of(&state.place, &self.place), Recorded::Here) {
            state.resources.clear();
        }
        Some(State { lineage: String::new(), serial: 0, digest: None, ..state })
    }

    /// Reads AWS in bulk and plans.
    pub async fn plan(&self, request: &Request) -> Result<Planned, Error> {
        let state = self.state().await?;
        let Aim { desired, observed, binaries, note, targets, replace } = self.aim(&state, request).await?;
        let home = Some(self.stack.home.clone());
        let options = PlanOptions { targets, update_pinned: request.update_images, replace, home };
        let mut plan = plan(&desired, &observed, &state, &self.rules, &options)
            .map_err(|error| explained(error, &desired, &observed))?;
        plan.notes.extend(note);
        plan.notes.extend(blueprint::associated_later(&plan));
        if let Some(binaries) = &binaries {
            let findings = blueprint::findings(&self.stack, binaries, &desired, &observed);
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
        let identity = self.aws.identity().map(str::to_owned);
        Ok(Planned { plan, state, place: self.place.clone(), identity, take_over: false })
    }

    /// Looks at the cloud, and only then decides what hosts boot: what stands keeps its boot.
    async fn aim(&self, state: &State, request: &Request) -> Result<Aim, Error> {
        let stack = &self.stack;
        let refused = |error| Error::blueprint(stack, error);
        let is_scoped = !request.targets.is_empty() || !request.replace.is_empty();
        let outline = if request.destroy {
            Graph::empty(&stack.name)
        } else {
            blueprint::outline(stack, is_scoped).map_err(refused)?
        };
        let replace = addresses(&request.replace, &outline)?;
        let mut targets = addresses(&request.targets, &outline)?;
        if !targets.is_empty() {
            // What is to be replaced is meant, too.
            targets.extend(replace.iter().cloned());
        }
        let binaries = Arc::new(Binaries::of(stack));
        if request.destroy {
            let observed = self.aws.observe(&outline, state).await?;
            return Ok(Aim { desired: outline, observed, binaries: None, note: None, targets, replace });
        }
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
        let selected = selection(&outline, &observed, &targets);
        let selected = selected.map_err(|error| explained(error, &outline, &observed))?;
        let update = request.update_generator;
        let standing = Standing { observed: &observed, recorded: state, update, selected: selected.as_ref() };
        let boots = Boots::decide(stack, &binaries, &standing).map_err(refused)?;
        for sha256 in boots.uploads() {
            if let Some(content) = binaries.content(sha256) {
                self.aws.supply(sha256, content);
            }
        }
        boots.spell_out(stack, &mut observed);
        let desired = blueprint::blueprint_with(stack, &boots).map_err(refused)?;
        let desired = blueprint::complete(desired, &observed).map_err(refused)?;
        Ok(Aim { desired, observed, binaries: Some(binaries), note: boots.note(), targets, replace })
    }

    /// Takes the lock for an operation; hold it from before the plan until after apply.
    pub async fn lock(&self, operation: &str) -> Result<Lock, Error> {
        Ok(Lock(self.store.lock(&LockInfo::of_this_process(operation)).await?))
    }

    /// Executes a plan. The caller holds the lock. A plan that takes over resources of another home is refused until
    /// [`Planned::take_over`] says that a person agreed.
    pub async fn apply(&self, planned: &Planned, events: &Events) -> Result<Outcome, Error> {
        if !planned.take_over && !planned.plan.other_homes.is_empty() {
            return Err(Error::OtherHome(planned.plan.other_homes.clone()));
        }
        self.aws.let_adopt(Adoption { former_home: planned.state.home.clone(), take_over: planned.take_over });
        let settings =
            Settings { interrupt: self.interrupt.clone(), home: Some(self.stack.home.clone()), ..Settings::default() };
        let state = planned.state.clone();
        Ok(apply(&planned.plan, &self.aws, &self.store, &self.rules, state, events, &settings).await)
    }

    /// Ends the connection, and the sandbox with it.
    pub async fn close(self) {
        if let Some(running) = self.sandbox {
            running.shutdown().await;
        }
    }
}

/// AWS, or a sandbox inside this process.
struct Cloud {
    endpoint: Option<Endpoint>,
    /// Where the sandbox keeps its data.
    folder: Option<PathBuf>,
    wait: bool,
    interrupt: CancellationToken,
}

impl Cloud {
    /// The connection and the state of a stack.
    async fn attach(&self, stack: &Stack) -> Result<(Aws, Store), Error> {
        let is_sandbox = self.endpoint.is_some();
        let connection = Connection {
            stack: stack.name.clone(),
            home: stack.home.clone(),
            account: stack.account.clone(),
            region: stack.region.clone(),
            wait: self.wait,
            throttle: if is_sandbox { Throttle::Off } else { Throttle::Aws },
            endpoint: self.endpoint.clone(),
            pace: if is_sandbox { Connection::SANDBOX_PACE } else { Connection::AWS_PACE },
            patience: if is_sandbox { Connection::SANDBOX_PATIENCE } else { Connection::AWS_PATIENCE },
            interrupt: self.interrupt.clone(),
        };
        let aws = Aws::connect(connection).await?;
        let store = match (&stack.state, &self.folder) {
            (StateLocation::S3 { bucket, key }, None) => Store::S3(S3Store::new(&aws, bucket, key)),
            (StateLocation::File(path), None) => Store::File(FileStore::new(path, &stack.name)),
            (location, Some(folder)) => Store::File(sandbox_state(location, folder, &stack.name).await),
        };
        Ok((aws, store))
    }

    /// The stack by its name, or by the one that earlier versions gave it, where its state or AWS has resources of that
    /// name and its state none of the other.
    async fn settled(&self, stack: Stack) -> Result<(Stack, Aws, Store), Error> {
        let (aws, store) = self.attach(&stack).await?;
        if let Some(former) = stack.under_former_name()
            && store.load().await?.resources.is_empty()
        {
            let (former_aws, former_store) = self.attach(&former).await?;
            if !former_store.load().await?.resources.is_empty() || former_aws.has_former_names().await? {
                return Ok((former, former_aws, former_store));
            }
        }
        Ok((stack, aws, store))
    }
}

/// What a state speaks of, seen from a place.
enum Recorded {
    /// This place. An earlier version wrote `aws` for every endpoint outside the process, and the same look-alike may
    /// serve at another port.
    Here,
    /// A sandbox or another look-alike: what was applied there explains nothing here, and is no loss.
    OfALookAlike,
    /// Another account or region.
    Elsewhere,
}

impl Recorded {
    fn of(recorded: &str, here: &Place) -> Self {
        use trunnion_engine::Endpoint::{Aws, Sandbox, Url};
        let Some(there) = Place::of_key(recorded) else { return Self::Elsewhere };
        let is_same_account = there.account == here.account && there.region == here.region;
        match (there.endpoint, &here.endpoint) {
            (Sandbox(_), Aws | Url(_)) | (Url(_), Aws) => Self::OfALookAlike,
            (Sandbox(_), Sandbox(_)) | (Aws, Aws) | (Aws | Url(_), Url(_)) if is_same_account => Self::Here,
            _ => Self::Elsewhere,
        }
    }
}

/// The addresses that a person named.
fn addresses(named: &[String], desired: &Graph) -> Result<Vec<Address>, Error> {
    let known = || desired.resources().keys().map(ToString::to_string);
    let parse = |name: &String| name.parse().map_err(|error| Error::Target { nearest: nearest(name, known()), error });
    named.iter().map(parse).collect()
}

/// Names what is nearest to an address that is nowhere.
fn explained(error: PlanError, desired: &Graph, observed: &Observed) -> Error {
    let PlanError::UnknownTarget(address) = error else { return error.into() };
    let known = desired.resources().keys().chain(observed.remotes.keys()).map(ToString::to_string);
    Error::UnknownAddress { nearest: nearest(&address.to_string(), known), address }
}

/// The folder itself, unless it keeps the data of another account.
fn folder_of_account(folder: PathBuf, account: &str) -> PathBuf {
    match trunnion_sandbox::account_of(&folder) {
        Some(kept) if kept != account => folder.join(account),
        _ => folder,
    }
}

/// The state of a sandbox lies where the stack's lies, so that it is found there; but never over one of AWS, and never in
/// a bucket, for then it lies beside the sandbox's data.
async fn sandbox_state(location: &StateLocation, folder: &Path, stack: &str) -> FileStore {
    let beside = FileStore::new(folder.join(format!("{stack}.json")), stack);
    let StateLocation::File(path) = location else { return beside };
    let usual = FileStore::new(path, stack);
    match usual.load().await {
        Ok(state) if !state.resources.is_empty() && !state.place.starts_with("sandbox/") => beside,
        _ => usual,
    }
}

/// What a plan starts from.
struct Aim {
    desired: Graph,
    observed: Observed,
    binaries: Option<Arc<Binaries>>,
    note: Option<Note>,
    targets: Vec<Address>,
    replace: Vec<Address>,
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
