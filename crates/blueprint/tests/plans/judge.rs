//! Plans, applies, and checks the result in the account.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    future::pending,
    sync::{Arc, LazyLock},
};

use trunnion_engine::{
    Action, Address, Cause, Events, Graph, Hold, LockInfo, Observed, Operation, Outcome, Plan, PlanOptions, Reason,
    Remote, Replacement, RuleBook, Session, Settings, State, StateLock, StateStore, StoreError, Value, plan,
};
use trunnion_kinds::{
    EcsService, EcsTaskDefinition, IamInstanceProfile, Instance, LaunchTemplate, SecurityGroup, rule_book,
};

use crate::{
    cloud::{Account, Cloud, Fault, Thing, confs, texts},
    shared::Shared,
};

/// A state in memory. Its lock is always free.
#[derive(Clone)]
pub struct Memory(Arc<Shared<State>>);

/// Of how many plans one is made with other states, too.
const SAMPLED: usize = 16;

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

    fn hold(&self) -> Hold {
        Hold::default()
    }

    async fn lost(&self) {
        pending::<()>().await;
    }

    async fn release(self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A cloud, and a state to plan and apply with.
pub struct Judge {
    pub cloud: Cloud,
    pub state: State,
    rules: RuleBook,
    /// The plans and calls so far.
    transcript: Shared<String>,
}

impl Judge {
    pub fn new(cloud: Cloud, state: State) -> Self {
        Self { cloud, state, rules: rule_book(), transcript: Shared::default() }
    }

    /// The plans and calls so far.
    pub fn transcript(self) -> String {
        self.transcript.into_inner()
    }

    /// Adds to the transcript, if one is kept.
    fn write(&self, what: impl FnOnce(&mut String)) {
        if self.cloud.is_verbose {
            what(&mut self.transcript.borrow_mut());
        }
    }

    fn plan(&self, desired: &Graph, options: &PlanOptions) -> Result<Plan, String> {
        let observed = self.cloud.look(desired, &self.state);
        let plan = plan(desired, &observed, &self.state, &self.rules, options)
            .map_err(|error| format!("there is no plan: {error}"))?;
        for (index, step) in plan.steps.iter().enumerate() {
            if step.after.iter().any(|&before| before >= index) {
                return Err(format!("step {index} waits for a later step"));
            }
        }
        if (plan.steps.len() + self.cloud.order).is_multiple_of(SAMPLED) {
            self.is_same_with_every_state(desired, &observed, &plan, options)?;
        }
        Ok(plan)
    }

    /// Checks that the plan has the same actions, differences and order with no state and with a damaged one.
    fn is_same_with_every_state(
        &self,
        desired: &Graph,
        observed: &Observed,
        made: &Plan,
        options: &PlanOptions,
    ) -> Result<(), String> {
        let expected = without_explanations(made.clone());
        for (name, state) in [("no", State::empty(desired.stack())), ("a damaged", damaged(&self.state))] {
            let other = plan(desired, observed, &state, &self.rules, options);
            let other = other.map_err(|error| format!("with {name} state, there is no plan: {error}"))?;
            if without_explanations(other) != expected {
                return Err(format!("with {name} state, the plan is another one"));
            }
        }
        Ok(())
    }

    /// Plans and applies. Without a fault, every step must succeed.
    pub fn apply(&mut self, desired: &Graph, options: &PlanOptions, fault: Option<Fault>) -> Result<(), String> {
        self.cloud.account.borrow_mut().settle();
        let plan = self.plan(desired, options)?;
        self.write(|transcript| write_plan(transcript, &plan));
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

    /// Records in the cloud which hosts must be replaced one at a time. Hosts that depend on something that is deleted
    /// before it is created again are excluded.
    fn watch(&self, desired: &Graph, plan: &Plan) {
        let is_deleted_first = |address: &Address| {
            self.rules.get(&address.kind).is_some_and(|rules| rules.replacement == Replacement::DeleteFirst)
        };
        let replaced: Vec<_> = plan.changes.iter().filter(|change| change.action == Action::Replace).collect();
        let first: Vec<_> = replaced.iter().filter(|change| is_deleted_first(&change.address)).collect();
        let with_deleted_first = with_dependents(desired, first.iter().map(|change| &change.address).collect());
        let key = |address: &Address, remote: &Remote| (address.kind.as_str().to_owned(), remote.id.clone());
        let mut run = self.cloud.run.borrow_mut();
        run.deleted_first = first.iter().filter_map(|it| Some(key(&it.address, it.remote.as_ref()?))).collect();
        run.is_partial = !plan.is_whole;
        for change in replaced.iter().filter(|change| change.address.kind.as_str() == Instance::KIND) {
            if let Some(remote) = change.remote.as_ref().filter(|_| !with_deleted_first.contains(&change.address)) {
                run.rolling.insert(remote.id.clone(), change.address.clone());
            }
        }
        run.wanted = desired.resources().keys().cloned().collect();
    }

    /// Checks that a new plan is empty.
    pub fn is_done(&self, desired: &Graph, options: &PlanOptions) -> Result<(), String> {
        self.cloud.account.borrow_mut().settle();
        let plan = self.plan(desired, options)?;
        if plan.is_empty() {
            return Ok(());
        }
        self.write(|transcript| write_plan(transcript, &plan));
        Err("the next plan is not empty".to_owned())
    }

    /// Adds a line to the transcript.
    pub fn note(&self, text: &str) {
        self.write(|transcript| transcript.push_str(&format!("  {text}\n")));
    }

    /// Checks that each desired resource exists exactly once with working dependencies, and that the stack has nothing
    /// else.
    pub fn matches(&self, desired: &Graph) -> Result<(), String> {
        let account = self.cloud.account.borrow();
        let mut found: BTreeSet<Address> = BTreeSet::new();
        for ((kind, id), thing) in &account.things {
            if !Account::is_of(kind, thing, desired.stack()) {
                continue;
            }
            let address = thing.address().filter(|address| desired.resources().contains_key(address));
            let Some(address) = address.filter(|_| !thing.is_inactive) else {
                return Err(format!("{kind} {id} is a left-over"));
            };
            if !found.insert(address.clone()) {
                return Err(format!("there are two of {address}"));
            }
            works(&account, kind, thing).map_err(|why| format!("{address}: {why}"))?;
        }
        match desired.resources().keys().find(|address| !found.contains(address)) {
            Some(missing) => Err(format!("{missing} is missing")),
            None => lists_its_hosts(&account, desired),
        }
    }
}

/// A plan without what the state explains.
fn without_explanations(mut plan: Plan) -> Plan {
    plan.state = (String::new(), 0);
    plan.notes.clear();
    for change in &mut plan.changes {
        if let Reason::Gone { .. } = change.reason {
            change.reason = Reason::New;
        }
        change.differences.iter_mut().for_each(|(_, cause)| *cause = Cause::Unrecorded);
    }
    plan
}

/// The state with other values in all attributes, and with every second id given to the next address.
fn damaged(state: &State) -> State {
    fn scrambled(value: &Value) -> Value {
        match value {
            Value::Text(text) => format!("{text}x").into(),
            Value::Number(number) => Value::Number(number + 1),
            Value::Bool(truth) => Value::Bool(!truth),
            Value::Map(map) => Value::Map(map.iter().map(|(name, value)| (name.clone(), scrambled(value))).collect()),
            Value::List(list) => Value::List(list.iter().skip(1).map(scrambled).collect()),
            other => other.clone(),
        }
    }
    let mut damaged = state.clone();
    let ids: Vec<String> = state.resources.values().map(|found| found.id.clone()).collect();
    let next = ids.iter().cycle().skip(1);
    for (number, (recorded, id)) in damaged.resources.values_mut().zip(next).enumerate() {
        if number % 2 == 1 {
            recorded.id.clone_from(id);
        }
        recorded.attributes =
            recorded.attributes.iter().map(|(name, value)| (name.clone(), scrambled(value))).collect();
    }
    damaged
}

fn write_plan(transcript: &mut String, plan: &Plan) {
    let _ = writeln!(transcript, "  plan:");
    for change in plan.pending() {
        let id = change.remote.as_ref().map(|remote| remote.id.as_str()).unwrap_or_default();
        let _ = writeln!(transcript, "    {:?} {} {id} ({:?})", change.action, change.address, change.reason);
        for (difference, _) in change.differences.iter().take(6) {
            let value = |value: &Option<Value>| {
                let text = value.clone().map(|it| serde_json::Value::from(it).to_string()).unwrap_or_default();
                text.chars().take(60).collect::<String>()
            };
            let (before, after) = (value(&difference.before), value(&difference.after));
            let _ = writeln!(transcript, "        {}: {before} -> {after}", difference.path);
        }
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let change = &plan.changes[step.change];
        let id = match (step.operation, &change.remote) {
            (Operation::Delete, Some(remote)) => remote.id.as_str(),
            _ => "",
        };
        let _ =
            writeln!(transcript, "    [{index}] {:?} {} {id} after {:?}", step.operation, change.address, step.after);
    }
}

fn incomplete(outcome: &Outcome) -> String {
    let failed: Vec<String> = outcome.failed.iter().map(|(address, _, error)| format!("{address}: {error}")).collect();
    format!("the apply is not complete: {}; {} not started", failed.join(", "), outcome.not_started)
}

/// These addresses and everything that depends on them, directly or indirectly.
fn with_dependents<'a>(desired: &'a Graph, what: BTreeSet<&'a Address>) -> BTreeSet<&'a Address> {
    let mut found = what;
    for address in desired.in_order() {
        if desired.resources()[address].dependencies().iter().any(|need| found.contains(need)) {
            found.insert(address);
        }
    }
    found
}

/// Checks that everything that a thing uses exists.
fn works(account: &Account, kind: &str, thing: &Thing) -> Result<(), String> {
    match kind {
        Instance::KIND => {
            let is_gone = |group: &&String| account.get(SecurityGroup::KIND, group).is_none();
            if let Some(group) = thing.groups.iter().find(is_gone) {
                return Err(format!("its group {group} is gone"));
            }
            let is_its_profile = |(_, profile): &(&str, &Thing)| profile.text("arn") == thing.profile;
            match account.of_kind(IamInstanceProfile::KIND).find(is_its_profile) {
                Some((_, profile)) if !texts(&profile.attributes, "roles").is_empty() => Ok(()),
                _ => Err("it has no role".to_owned()),
            }
        }
        LaunchTemplate::KIND => match thing.versions.last() {
            Some(newest) if thing.attributes.get("data") == Some(newest) => Ok(()),
            _ => Err("its newest version has other data".to_owned()),
        },
        EcsService::KIND => match account.get(EcsTaskDefinition::KIND, thing.text("task_definition")) {
            Some(definition) if !definition.is_inactive => Ok(()),
            _ => Err("its revision cannot be started".to_owned()),
        },
        _ => Ok(()),
    }
}

/// Checks that the conf of the running control plane lists exactly the existing hosts.
fn lists_its_hosts(account: &Account, desired: &Graph) -> Result<(), String> {
    let mine = |kind: &'static str| account.of_kind(kind).filter(|(_, thing)| thing.stack() == Some(desired.stack()));
    let Some((_, service)) = mine(EcsService::KIND).next() else { return Ok(()) };
    let Some(definition) = account.get(EcsTaskDefinition::KIND, service.text("task_definition")) else { return Ok(()) };
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
            return Err(format!("{id} is listed by the control plane: {}, needed: {is_needed}", !is_needed));
        }
    }
    Ok(())
}
