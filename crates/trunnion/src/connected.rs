//! A stack connected to a cloud.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunnion_aws::{Aws, Calls, Connection, S3Store, Transcript};
use trunnion_blueprint::{self as blueprint, Binaries, Boots, Standing};
use trunnion_engine::{
    Address, Context, Document, Drift, FileStore, FoundLock, Graph, LockInfo, Move, Note, Observed, Origin, Place,
    Plan, PlanError, PlanOptions, Protection, Provider, RuleBook, State, StateStore, StoreError, Version,
    move_observed, move_recorded, plan, selection,
};
use trunnion_estimate::Estimate;
use trunnion_stack::{Stack, StateLocation};

use crate::{
    Error, ExitCode, Session,
    embedded::Embedded,
    nearest::nearest,
    options::{Options, Request},
    protected,
    store::Store,
};

/// How often a lock that is waited for is tried.
const TRY_LOCK_AGAIN: Duration = Duration::from_secs(1);

/// A plan with the state that it was made with, to look at. Only a plan that a [`Session`] made can be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Planned {
    /// What differs, and the steps that make the difference go away.
    pub plan: Plan,
    /// The state that the plan was made with.
    pub state: State,
    /// The account, the region and the endpoint that the plan was made for.
    pub place: Place,
    /// The ARN of the identity that made the calls; nothing where the provider has none.
    pub identity: Option<String>,
    /// What the plan costs, and how many virtual users its pools hold; nothing for a plan to forget or to import.
    pub estimate: Option<Estimate>,
}

impl Planned {
    /// The plan as data. `origin` says how it was asked for: [`Session::plan_written`] asks the same again. Use
    /// [`Origin::default`] where nobody applies the document.
    pub fn document(&self, origin: &Origin) -> Document {
        Document::new(&self.plan, origin.clone(), &trunnion_kinds::rule_book())
            .made(&self.place, self.identity.clone())
            .estimated(self.estimate.clone())
    }

    /// What `plan --detailed-exitcode` ends with: whether changes are pending.
    pub fn exit_code(&self) -> ExitCode {
        if self.plan.is_empty() { ExitCode::Done } else { ExitCode::Pending }
    }
}

/// A stack connected to AWS, to a sandbox, or to a provider and a store that the caller brings.
#[derive(Debug)]
pub struct Engine<P = Aws, S = Store> {
    pub(crate) parts: Arc<Parts<P, S>>,
    sandbox: Option<Embedded>,
}

/// A plan, and what decides whether it may be applied.
pub(crate) struct Judged {
    pub(crate) planned: Planned,
    /// What the plan costs by the workload and prices of another stack.
    pub(crate) estimate: Option<Estimate>,
    pub(crate) drift: Option<Drift>,
    binaries: Option<Arc<Binaries>>,
    uploads: Vec<String>,
}

/// What an engine shares with its sessions.
#[derive(Debug)]
pub(crate) struct Parts<P, S> {
    pub(crate) stack: Stack,
    pub(crate) provider: Arc<P>,
    pub(crate) store: Arc<S>,
    pub(crate) rules: RuleBook,
    place: Place,
}

impl Engine {
    /// Connects a stack. It makes no call yet, with one exception: for a stack that earlier versions gave another name, it
    /// reads whether resources still have that name, and keeps the name then.
    pub async fn connect(stack: Stack, options: Options) -> Result<Self, Error> {
        let sandbox = Embedded::start(&options, &stack.account).await?;
        let cloud = Cloud { sandbox: sandbox.as_ref(), options };
        let (stack, aws, store) = cloud.settled(stack).await?;
        let endpoint = match (&sandbox, aws.endpoint()) {
            (Some(sandbox), _) => trunnion_engine::Endpoint::Sandbox(sandbox.folder().display().to_string()),
            (None, Some(url)) => trunnion_engine::Endpoint::Url(url.to_owned()),
            (None, None) => trunnion_engine::Endpoint::Aws,
        };
        let place = Place { account: stack.account.clone(), region: stack.region.clone(), endpoint };
        Ok(Self { sandbox, ..Self::new(stack, aws, store, place) })
    }

    /// How many AWS calls were made so far, by operation.
    pub fn calls(&self) -> Calls {
        self.parts.provider.calls()
    }
}

impl<P: Provider, S: StateStore> Engine<P, S> {
    /// Connects a stack to a provider and a state store of your own. The state and the plans record `place`: a state of
    /// another account or region is refused with [`Error::Elsewhere`].
    pub fn new(stack: Stack, provider: P, store: S, place: Place) -> Self {
        Self { parts: Arc::new(Parts::new(stack, Arc::new(provider), Arc::new(store), place)), sandbox: None }
    }

    /// The stack that was connected.
    pub fn stack(&self) -> &Stack {
        &self.parts.stack
    }

    /// The provider, which makes the calls.
    pub fn provider(&self) -> &P {
        &self.parts.provider
    }

    /// The account, the region and the endpoint.
    pub fn place(&self) -> &Place {
        &self.parts.place
    }

    /// The state as it was last saved, wherever it was applied. It needs no lock.
    pub async fn recorded(&self) -> Result<State, Error> {
        Ok(self.parts.store.load().await?)
    }

    /// The state as it was last saved, with the resources of this [place](Engine::place) only. A state of another account or
    /// region is refused with [`Error::Elsewhere`].
    pub async fn state(&self) -> Result<State, Error> {
        self.parts.relevant(self.recorded().await?).await
    }

    /// Reads AWS in bulk and plans, without the lock: a plan to look at, or to write down. Once `interrupt` is cancelled, it
    /// ends with [`Error::Interrupted`].
    pub async fn plan(&self, request: &Request, interrupt: &CancellationToken) -> Result<Planned, Error> {
        until(interrupt, async { self.parts.plan(self.state().await?, request, interrupt).await }).await
    }

    /// Reads AWS in bulk and compares it with what was last applied, without the lock. A change of the stack that nobody applied
    /// yet is no drift.
    pub async fn drift(&self, interrupt: &CancellationToken) -> Result<Drift, Error> {
        let drift = async {
            let mut state = self.state().await?;
            // Protection refuses changes, and none is made here.
            let (request, protection) = (Request::new(), Protection::default());
            let (aim, plan) = self.parts.compared(&mut state, &request, protection, interrupt).await?;
            Ok(Drift::new(&plan, &aim.observed, &state, &self.parts.rules, &self.parts.place))
        };
        until(interrupt, drift).await
    }

    /// Takes the lock of the state, without waiting. `operation`, such as `apply`, is shown to others who find it locked:
    /// their error is [`StoreError::Locked`](crate::StoreError::Locked).
    pub async fn lock(&self, operation: &str) -> Result<Session<P, S>, Error> {
        Session::begin(Arc::clone(&self.parts), &LockInfo::of_this_process(operation)).await
    }

    /// Takes the lock of the state, and waits for it for at most this long. `waiting` gets the error
    /// [`StoreError::Locked`](crate::StoreError::Locked) of each try after which it waits. Once `interrupt` is cancelled, it
    /// ends with [`Error::Interrupted`].
    pub async fn lock_within(
        &self,
        timeout: Duration,
        operation: &str,
        interrupt: &CancellationToken,
        mut waiting: impl FnMut(&StoreError),
    ) -> Result<Session<P, S>, Error> {
        let began = Instant::now();
        loop {
            match self.lock(operation).await {
                Err(Error::Store(locked @ StoreError::Locked { .. })) => {
                    let left = timeout.saturating_sub(began.elapsed());
                    if left.is_zero() {
                        return Err(locked.into());
                    }
                    waiting(&locked);
                    // A try that runs is never dropped: its lock would stay.
                    tokio::select! {
                        () = interrupt.cancelled() => return Err(Error::Interrupted),
                        () = tokio::time::sleep(TRY_LOCK_AGAIN.min(left)) => {}
                    }
                }
                taken => return taken,
            }
        }
    }

    /// The documents of the state that its store still has, the newest first, and no more than `most`.
    pub async fn versions(&self, most: usize) -> Result<Vec<Version>, Error> {
        Ok(self.parts.store.versions(most).await?)
    }

    /// The document of the state that its store calls so.
    pub async fn version(&self, id: &str) -> Result<Option<State>, Error> {
        Ok(self.parts.store.version(id).await?)
    }

    /// The lock of the state that somebody holds now; nothing where it is free.
    pub async fn found_lock(&self) -> Result<Option<FoundLock>, Error> {
        Ok(self.parts.store.found_lock().await?)
    }

    /// Takes the lock of the state away from its holder, if it is still this one. Returns whether it was. The former holder
    /// makes no further change once it notices: at its next renewal, within 20 seconds, where the state is in S3.
    pub async fn take_lock_away(&self, found: &FoundLock) -> Result<bool, Error> {
        Ok(self.parts.store.take_away(found).await?)
    }

    /// Ends the connection, and the sandbox inside the process with it.
    pub async fn close(self) {
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await;
        }
    }
}

/// Runs work that changes nothing, so that an interruption can end it at any time.
pub(crate) async fn until<T>(
    interrupt: &CancellationToken,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = interrupt.cancelled() => Err(Error::Interrupted),
        result = work => result,
    }
}

impl<P: Provider, S: StateStore> Parts<P, S> {
    /// The state, if it belongs to the connected place; else the same one without resources, or an error if another account
    /// or region has some.
    pub(crate) async fn relevant(&self, mut state: State) -> Result<State, Error> {
        if state.lineage.is_empty() {
            state = self.beside().await.unwrap_or(state);
        }
        let here = self.place.key();
        match RecordedPlace::of(&state.place, &self.place) {
            _ if state.resources.is_empty() => {}
            RecordedPlace::Here => {}
            RecordedPlace::OfALookAlike => state.resources.clear(),
            RecordedPlace::Elsewhere => {
                return Err(Error::Elsewhere { recorded: state.place, count: state.resources.len(), here });
            }
        }
        if state.resources.is_empty() {
            state.digest = None;
            state.applied = 0;
        }
        state.place = here;
        Ok(state)
    }

    /// The state file beside the stack file, while the state in S3 is still empty. The stack file moved its state to S3,
    /// and the resources it applied before are still its own. The state in S3 starts with a new lineage.
    async fn beside(&self) -> Option<State> {
        let StateLocation::S3 { .. } = self.stack.state else { return None };
        let mut state = FileStore::new(StateLocation::beside(&self.stack), &self.stack.name).load().await.ok()?;
        if !matches!(RecordedPlace::of(&state.place, &self.place), RecordedPlace::Here) {
            state.resources.clear();
        }
        Some(State { lineage: String::new(), serial: 0, digest: None, ..state })
    }
}

impl<P: Provider, S: Send + Sync> Parts<P, S> {
    pub(crate) fn new(stack: Stack, provider: Arc<P>, store: Arc<S>, place: Place) -> Self {
        Self { stack, provider, store, rules: trunnion_kinds::rule_book(), place }
    }

    /// The same for another version of the stack, with the same name, place, state and home.
    pub(crate) fn with_stack(&self, stack: Stack) -> Self {
        Self::new(stack, Arc::clone(&self.provider), Arc::clone(&self.store), self.place.clone())
    }

    /// The account, the region and the endpoint.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Reads AWS in bulk, plans, and hands over the bytes that an apply uploads: as the plan saw them, whatever becomes of their
    /// files.
    pub(crate) async fn plan_to_apply(
        &self,
        state: State,
        request: &Request,
        interrupt: &CancellationToken,
    ) -> Result<Planned, Error> {
        let Judged { planned, binaries, uploads, .. } = self.judged(state, request, None, interrupt).await?;
        for sha256 in uploads {
            let (binaries, digest) = (binaries.clone(), sha256.clone());
            let content = tokio::task::spawn_blocking(move || binaries?.content(&digest)).await;
            if let Ok(Some(content)) = content {
                self.provider.supply(&sha256, content);
            }
        }
        Ok(planned)
    }

    /// Reads AWS in bulk and plans.
    pub(crate) async fn plan(
        &self,
        state: State,
        request: &Request,
        interrupt: &CancellationToken,
    ) -> Result<Planned, Error> {
        Ok(self.judged(state, request, None, interrupt).await?.planned)
    }

    /// The same; with `judge`, also what the plan costs by the workload and prices of that stack, and the drift.
    pub(crate) async fn judged(
        &self,
        mut state: State,
        request: &Request,
        judge: Option<&Stack>,
        interrupt: &CancellationToken,
    ) -> Result<Judged, Error> {
        let protection = blueprint::protection(&self.stack);
        let (aim, mut plan) = self.compared(&mut state, request, protection, interrupt).await?;
        let Aim { desired, observed, binaries, uploads, notes, .. } = aim;
        plan.notes.extend(notes);
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
            let context = Context::new(interrupt.clone());
            plan.notes.extend(self.provider.quotas(&desired, &observed, &plan, &context).await?);
        }
        let estimate = Some(blueprint::estimate(&self.stack, &plan, &observed));
        let drift = judge.map(|_| Drift::new(&plan, &observed, &state, &self.rules, &self.place));
        let judged = judge.map(|stack| blueprint::estimate(stack, &plan, &observed));
        let identity = self.provider.identity();
        let planned = Planned { plan, state, place: self.place.clone(), identity, estimate };
        Ok(Judged { planned, estimate: judged, drift, binaries, uploads })
    }

    /// Reads AWS in bulk and compares it with what the stack asks for. What the stack renamed is renamed in the state, too.
    async fn compared(
        &self,
        state: &mut State,
        request: &Request,
        protection: Protection,
        interrupt: &CancellationToken,
    ) -> Result<(Aim, Plan), Error> {
        let context = Context::new(interrupt.clone());
        let moves = if request.destroy { Vec::new() } else { blueprint::moves(&self.stack) };
        move_recorded(state, &moves);
        let mut aim = self.aim(state, request, moves, &context).await?;
        aim.options.update_pinned = request.update_images;
        aim.options.home = Some(self.stack.home.clone());
        aim.options.protection = protection;
        match plan(&aim.desired, &aim.observed, state, &self.rules, &aim.options) {
            Ok(plan) => Ok((aim, plan)),
            Err(PlanError::Protected(refused)) => Err(protected::error(&self.stack, &refused, request.destroy)),
            Err(error) => Err(explained(error, &aim.desired, &aim.observed)),
        }
    }

    /// Observes the cloud, and then decides what hosts boot, because existing hosts keep their boot.
    pub(crate) async fn aim(
        &self,
        state: &State,
        request: &Request,
        moves: Vec<Move>,
        context: &Context,
    ) -> Result<Aim, Error> {
        let stack = &self.stack;
        let refused = |error| Error::blueprint(stack, error);
        let named = [&request.targets, &request.replace, &request.exclude];
        let is_scoped = named.iter().any(|named| !named.is_empty());
        let outline = if request.destroy {
            Graph::empty(&stack.name)
        } else {
            blueprint::outline(stack, is_scoped).map_err(refused)?
        };
        let mut options = PlanOptions::default();
        options.moves = moves;
        options.replace = addresses(&request.replace, &outline)?;
        options.exclude = addresses(&request.exclude, &outline)?;
        options.targets = addresses(&request.targets, &outline)?;
        if !options.targets.is_empty() {
            // Addresses in `--replace` also count as targets.
            options.targets.extend(options.replace.iter().cloned());
        }
        let binaries = Arc::new(Binaries::of(stack));
        if request.destroy {
            let observed = self.provider.observe(&outline, state, context).await?;
            let (uploads, notes) = (Vec::new(), Vec::new());
            return Ok(Aim { desired: outline, observed, binaries: None, uploads, notes, options });
        }
        // Hashing is faster than the calls, so it costs no extra time.
        let hashing = tokio::task::spawn_blocking({
            let binaries = Arc::clone(&binaries);
            move || binaries.read()
        });
        let mut observed = self.provider.observe(&outline, state, context).await?;
        // If this fails, the binary is hashed on first use.
        let _ = hashing.await;
        if !observed.missing.is_empty() {
            return Err(PlanError::Missing(observed.missing).into());
        }
        let mut notes = move_observed(&mut observed, &options.moves);
        let selected = selection(&outline, &observed, &options);
        let selected = selected.map_err(|error| explained(error, &outline, &observed))?;
        let update = request.update_generator;
        let standing = Standing { observed: &observed, update, selected: selected.as_ref() };
        let boots = Boots::decide(stack, &binaries, &standing).map_err(refused)?;
        let uploads = boots.uploads().map(str::to_owned).collect();
        boots.spell_out(stack, &mut observed);
        let desired = blueprint::blueprint_with(stack, &boots).map_err(refused)?;
        let desired = blueprint::complete(desired, &observed).map_err(refused)?;
        notes.extend(boots.note());
        notes.extend(boots.outdated_networks());
        Ok(Aim { desired, observed, binaries: Some(binaries), uploads, notes, options })
    }
}

/// AWS, or a sandbox inside this process.
struct Cloud<'a> {
    sandbox: Option<&'a Embedded>,
    options: Options,
}

impl Cloud<'_> {
    /// Connects to the cloud and the state store of a stack.
    async fn attach(&self, stack: &Stack) -> Result<(Aws, Store), Error> {
        let mut connection = Connection::new(&stack.name, &stack.home, &stack.account, &stack.region);
        connection.endpoint.clone_from(&self.options.endpoint);
        connection.credentials.clone_from(&self.options.credentials);
        if let Some(sandbox) = self.sandbox {
            connection = sandbox.connection(connection);
        }
        connection.wait = self.options.wait;
        connection.reads.clone_from(&self.options.reads);
        if let Some(path) = &self.options.transcript {
            let opened = Transcript::append(path, &stack.account, &stack.home);
            let failed = |source| Error::Transcript { path: path.clone(), source };
            connection.transcript = Some(opened.map_err(failed)?);
        }
        let aws = Aws::connect(connection).await?;
        let store = match (&stack.state, self.sandbox) {
            (StateLocation::S3 { bucket, key }, None) => Store::S3(S3Store::new(&aws, bucket, key)),
            (StateLocation::File(path), None) => Store::File(FileStore::new(path, &stack.name)),
            (location, Some(sandbox)) => Store::File(sandbox.store(location, &stack.name).await),
        };
        Ok((aws, store))
    }

    /// The stack. It has the name that earlier versions gave it if its state has no resources under the new name, and the
    /// former state or AWS has some under the former one.
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

/// Where a state was applied, compared with the connected place.
enum RecordedPlace {
    /// The same place. Earlier versions wrote `aws` for every endpoint outside the process, and a simulated AWS may
    /// have another port now.
    Here,
    /// A sandbox or another simulated AWS. Its state does not apply here and may be ignored.
    OfALookAlike,
    /// Another account or region.
    Elsewhere,
}

impl RecordedPlace {
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

/// The addresses for the texts of `--target`, `--exclude` or `--replace`.
pub(crate) fn addresses(named: &[String], desired: &Graph) -> Result<Vec<Address>, Error> {
    let known = || desired.resources().keys().map(ToString::to_string);
    let parse = |name: &String| name.parse().map_err(|error| Error::Target { nearest: nearest(name, known()), error });
    named.iter().map(parse).collect()
}

/// Adds similar addresses to the error of an unknown address.
pub(crate) fn explained(error: PlanError, desired: &Graph, observed: &Observed) -> Error {
    let PlanError::UnknownTarget(address) = error else { return error.into() };
    let known = desired.resources().keys().chain(observed.remotes.keys()).map(ToString::to_string);
    Error::UnknownAddress { nearest: nearest(&address.to_string(), known), address }
}

/// The input of a plan.
pub(crate) struct Aim {
    pub(crate) desired: Graph,
    pub(crate) observed: Observed,
    binaries: Option<Arc<Binaries>>,
    /// The SHA-256 of each binary that must be uploaded.
    uploads: Vec<String>,
    notes: Vec<Note>,
    /// What is planned, as far as the request says it.
    pub(crate) options: PlanOptions,
}

/// Checks what shows only when everything is rendered, without any AWS call. Returns notes on a key with which a control
/// plane may not log in, and on generator binaries that cannot be used. They are no errors: Gatling does not document what its
/// control plane reads, and existing hosts need no binary.
pub fn check(stack: &Stack) -> Result<Vec<Note>, Error> {
    blueprint::check(stack).map_err(|error| Error::blueprint(stack, error))?;
    Ok(blueprint::doubts(stack))
}
