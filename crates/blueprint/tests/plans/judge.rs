//! Plans, executes, and judges what stands then.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    future::pending,
    sync::{Arc, LazyLock},
};

use trunnion_engine::{
    Action, Address, Events, Graph, LockInfo, Operation, Outcome, Plan, PlanOptions, Remote, Replacement, RuleBook,
    Session, Settings, State, StateLock, StateStore, StoreError, Value, plan,
};
use trunnion_kinds::{
    EcsService, EcsTaskDefinition, IamInstanceProfile, Instance, LaunchTemplate, SecurityGroup, rule_book,
};

use crate::{
    cloud::{Cloud, Fault, Thing, World, confs, texts},
    shared::Shared,
};

/// A state in memory, whose lock nobody else wants.
#[derive(Clone)]
pub struct Memory(Arc<Shared<State>>);

static ME: LazyLock<LockInfo> = LazyLock::new(|| LockInfo::of_this_process("test"));

impl StateStore for Memory {
    type Lock = Self;

    async fn load(&self) -> Result<State, StoreError> {
        Ok(self.0.borrow().clone())
    }

    async fn lock(&self, _: &LockInfo) -> Result<Self, StoreError> {
        Ok(self.clone())
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

impl StateLock for Memory {
    async fn save(&self, state: &State) -> Result<(), StoreError> {
        state.clone_into(&mut self.0.borrow_mut());
        Ok(())
    }

    fn is_held(&self) -> bool {
        true
    }

    async fn lost(&self) {
        pending::<()>().await;
    }

    async fn release(self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// One who plans and applies, with a state, in a cloud.
pub struct Judge {
    pub cloud: Cloud,
    pub state: State,
    rules: RuleBook,
    /// What was done so far, to read.
    story: Shared<String>,
}

impl Judge {
    pub fn new(cloud: Cloud, state: State) -> Self {
        Self { cloud, state, rules: rule_book(), story: Shared::default() }
    }

    /// What was done so far.
    pub fn story(self) -> String {
        self.story.into_inner()
    }

    /// Adds to the story, where it is read.
    fn tell(&self, what: impl FnOnce(&mut String)) {
        if self.cloud.is_telling {
            what(&mut self.story.borrow_mut());
        }
    }

    fn plan(&self, desired: &Graph, options: &PlanOptions) -> Result<Plan, String> {
        let observed = self.cloud.look(desired, &self.state);
        let plan = plan(desired, &observed, &self.state, &self.rules, options)
            .map_err(|error| format!("there is no plan: {error}"))?;
        for (index, step) in plan.steps.iter().enumerate() {
            if step.after.iter().any(|&before| before >= index) {
                return Err(format!("step {index} waits for one behind it"));
            }
        }
        Ok(plan)
    }

    /// Plans and applies. Without a fault, everything has to succeed.
    pub fn apply(&mut self, desired: &Graph, options: &PlanOptions, fault: Option<Fault>) -> Result<(), String> {
        self.cloud.world.borrow_mut().settle();
        let plan = self.plan(desired, options)?;
        self.tell(|story| write_plan(story, &plan));
        self.cloud.begin(fault);
        self.watch(desired, &plan);
        let store = Memory(Arc::new(Shared::new(self.state.clone())));
        let (events, settings) = (Events::nowhere(), Settings::default());
        let work = async {
            let mut session = Session::begin(Arc::new(store.clone()), &ME).await?;
            let state = session.read().await?;
            session.apply(&plan, state, &self.cloud, &self.rules, &events, &settings).await
        };
        let outcome = self.cloud.drive(work).transpose().map_err(|error| error.to_string())?;
        self.state = store.0.borrow().clone();
        let run = self.cloud.run.borrow();
        self.note(&format!("calls:\n    {}", run.log.join("\n    ")));
        if let Some(wrong) = run.wrong.first() {
            return Err(wrong.clone());
        }
        match outcome {
            Some(outcome) if fault.is_none() && !outcome.is_complete() => Err(incomplete(&outcome)),
            _ => Ok(()),
        }
    }

    /// How many calls an apply makes.
    pub fn calls(&self) -> usize {
        self.cloud.run.borrow().calls
    }

    /// Tells the cloud which hosts are replaced one after the other: those of a pool of which nothing must go before it is
    /// made again.
    fn watch(&self, desired: &Graph, plan: &Plan) {
        let goes_first = |address: &Address| {
            self.rules.get(&address.kind).is_some_and(|rules| rules.replacement == Replacement::DeleteFirst)
        };
        let replaced: Vec<_> = plan.changes.iter().filter(|change| change.action == Action::Replace).collect();
        let first: Vec<_> = replaced.iter().filter(|change| goes_first(&change.address)).collect();
        let uprooted = standing_on(desired, first.iter().map(|change| &change.address).collect());
        let key = |address: &Address, remote: &Remote| (address.kind.as_str().to_owned(), remote.id.clone());
        let mut run = self.cloud.run.borrow_mut();
        run.going_first = first.iter().filter_map(|it| Some(key(&it.address, it.remote.as_ref()?))).collect();
        run.is_partial = !plan.is_whole;
        for change in replaced.iter().filter(|change| change.address.kind.as_str() == Instance::KIND) {
            if let Some(remote) = change.remote.as_ref().filter(|_| !uprooted.contains(&change.address)) {
                run.rolling.insert(remote.id.clone(), change.address.clone());
            }
        }
        run.wanted = desired.resources().keys().cloned().collect();
    }

    /// Nothing is left to do.
    pub fn is_done(&self, desired: &Graph, options: &PlanOptions) -> Result<(), String> {
        self.cloud.world.borrow_mut().settle();
        let plan = self.plan(desired, options)?;
        if plan.is_empty() {
            return Ok(());
        }
        self.tell(|story| write_plan(story, &plan));
        Err("the next plan is not empty".to_owned())
    }

    /// Adds a line to the story.
    pub fn note(&self, text: &str) {
        self.tell(|story| story.push_str(&format!("  {text}\n")));
    }

    /// What the stack asks for stands, once, on things that are there; nothing else of the stack does.
    pub fn stands(&self, desired: &Graph) -> Result<(), String> {
        let world = self.cloud.world.borrow();
        let mut found: BTreeSet<Address> = BTreeSet::new();
        for ((kind, id), thing) in &world.things {
            if !World::is_of(kind, thing, desired.stack()) {
                continue;
            }
            let address = thing.address().filter(|address| desired.resources().contains_key(address));
            let Some(address) = address.filter(|_| !thing.is_inactive) else {
                return Err(format!("{kind} {id} is left over"));
            };
            if !found.insert(address.clone()) {
                return Err(format!("there are two of {address}"));
            }
            works(&world, kind, thing).map_err(|why| format!("{address}: {why}"))?;
        }
        match desired.resources().keys().find(|address| !found.contains(address)) {
            Some(missing) => Err(format!("{missing} is missing")),
            None => lists_its_hosts(&world, desired),
        }
    }
}

fn write_plan(story: &mut String, plan: &Plan) {
    let _ = writeln!(story, "  plan:");
    for change in plan.pending() {
        let id = change.remote.as_ref().map(|remote| remote.id.as_str()).unwrap_or_default();
        let _ = writeln!(story, "    {:?} {} {id} ({:?})", change.action, change.address, change.reason);
        for (difference, _) in change.differences.iter().take(6) {
            let value = |value: &Option<Value>| {
                let text = value.clone().map(|it| serde_json::Value::from(it).to_string()).unwrap_or_default();
                text.chars().take(60).collect::<String>()
            };
            let (before, after) = (value(&difference.before), value(&difference.after));
            let _ = writeln!(story, "        {}: {before} -> {after}", difference.path);
        }
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let change = &plan.changes[step.change];
        let id = match (step.operation, &change.remote) {
            (Operation::Delete, Some(remote)) => remote.id.as_str(),
            _ => "",
        };
        let _ = writeln!(story, "    [{index}] {:?} {} {id} after {:?}", step.operation, change.address, step.after);
    }
}

fn incomplete(outcome: &Outcome) -> String {
    let failed: Vec<String> = outcome.failed.iter().map(|(address, _, error)| format!("{address}: {error}")).collect();
    format!("the apply is not complete: {}; {} not started", failed.join(", "), outcome.not_started)
}

/// What needs one of these, directly or through others, and these.
fn standing_on<'a>(desired: &'a Graph, what: BTreeSet<&'a Address>) -> BTreeSet<&'a Address> {
    let mut found = what;
    for address in desired.in_order() {
        if desired.resources()[address].dependencies().iter().any(|need| found.contains(need)) {
            found.insert(address);
        }
    }
    found
}

/// What a thing uses is there.
fn works(world: &World, kind: &str, thing: &Thing) -> Result<(), String> {
    match kind {
        Instance::KIND => {
            let is_gone = |group: &&String| world.get(SecurityGroup::KIND, group).is_none();
            if let Some(group) = thing.groups.iter().find(is_gone) {
                return Err(format!("its group {group} is gone"));
            }
            let is_its_profile = |(_, profile): &(&str, &Thing)| profile.text("arn") == thing.profile;
            match world.of_kind(IamInstanceProfile::KIND).find(is_its_profile) {
                Some((_, profile)) if !texts(&profile.attributes, "roles").is_empty() => Ok(()),
                _ => Err("it has no role".to_owned()),
            }
        }
        LaunchTemplate::KIND => match thing.versions.last() {
            Some(newest) if thing.attributes.get("data") == Some(newest) => Ok(()),
            _ => Err("its newest version says something else".to_owned()),
        },
        EcsService::KIND => match world.get(EcsTaskDefinition::KIND, thing.text("task_definition")) {
            Some(definition) if !definition.is_inactive => Ok(()),
            _ => Err("its revision cannot be started".to_owned()),
        },
        _ => Ok(()),
    }
}

/// The conf that runs lists the hosts that stand.
fn lists_its_hosts(world: &World, desired: &Graph) -> Result<(), String> {
    let mine = |kind: &'static str| world.of_kind(kind).filter(|(_, thing)| thing.stack() == Some(desired.stack()));
    let Some((_, service)) = mine(EcsService::KIND).next() else { return Ok(()) };
    let Some(definition) = world.get(EcsTaskDefinition::KIND, service.text("task_definition")) else { return Ok(()) };
    let listed = |address: &str| confs(definition).filter(|conf| conf.contains(&format!("\"{address}\""))).count();
    let needed: BTreeSet<&Address> = desired
        .resources()
        .values()
        .filter(|resource| resource.kind().as_str() == EcsTaskDefinition::KIND)
        .flat_map(trunnion_engine::Resource::dependencies)
        .collect();
    for (id, host) in mine(Instance::KIND) {
        let is_needed = host.address().is_some_and(|address| needed.contains(&address));
        if is_needed != (listed(host.text("private_ip")) > 0) {
            return Err(format!("the control plane and {id} do not fit: listed or not"));
        }
    }
    Ok(())
}
