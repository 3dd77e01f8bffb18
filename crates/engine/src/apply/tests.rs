//! Apply against a cloud in memory that can refuse, and a store in memory that can refuse too.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::json;

use super::*;
use crate::{
    Applied, Attribute, ErrorClass, ExitCode, Graph, Hold, LockInfo, Marks, Observed, PlanOptions, Replacement,
    Resource, Rules, StateLock, forgetting, plan,
};

const BOOK: [Rules; 3] = [
    Rules {
        kind: "base",
        depends_on: &[],
        blocks: &[],
        attributes: &[],
        computed: &[("id", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    },
    Rules {
        kind: "thing",
        depends_on: &["base"],
        blocks: &[],
        attributes: &[],
        computed: &[("id", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    },
    Rules {
        kind: "copy",
        depends_on: &["base"],
        blocks: &[],
        attributes: &[("base", Attribute::IMMUTABLE), ("note", Attribute::IMMUTABLE)],
        computed: &[("id", Computed::AtCreation)],
        replacement: Replacement::CreateFirst,
    },
];

#[derive(Default)]
struct Cloud {
    world: Mutex<BTreeMap<Address, Remote>>,
    calls: Mutex<Vec<String>>,
    /// How many calls there were before each signature.
    signed_after: Mutex<Vec<usize>>,
    /// How long the lists of deletes were.
    lists: Mutex<Vec<usize>>,
    refuses: Vec<&'static str>,
    interrupts_at: Option<(&'static str, CancellationToken)>,
    /// Whether the call that is interrupted ends its wait, too.
    gives_up: bool,
    /// During this call the lock is lost, and its answer never comes.
    loses_at: Option<(&'static str, Arc<AtomicBool>)>,
}

impl Cloud {
    fn call(&self, what: &str, address: &Address) -> Result<(), ProviderError> {
        let call = format!("{what} {address}");
        self.calls.lock().unwrap().push(call.clone());
        if let Some((at, token)) = &self.interrupts_at
            && *at == call
        {
            token.cancel();
            if self.gives_up {
                return Err(ProviderError::new("not waited for", None).with_class(ErrorClass::Interrupted));
            }
        }
        if self.refuses.contains(&call.as_str()) {
            return Err(ProviderError::new("no", None));
        }
        Ok(())
    }

    async fn lose(&self, what: &str, address: &Address) {
        if let Some((at, is_lost)) = &self.loses_at
            && *at == format!("{what} {address}")
        {
            is_lost.store(true, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
    }
}

impl Provider for Cloud {
    async fn observe(&self, _: &Graph, _: &State, _: &Context) -> Result<Observed, ProviderError> {
        let world = self.world.lock().unwrap();
        let remotes = world.iter().map(|(address, remote)| (address.clone(), vec![remote.clone()])).collect();
        Ok(Observed { remotes, ..Observed::default() })
    }

    async fn create(&self, resource: &Resolved, _: &Token, _: &Context) -> Result<Remote, ProviderError> {
        self.call("create", &resource.address)?;
        self.lose("create", &resource.address).await;
        let mut attributes = resource.attributes.clone();
        let id = format!("id-of-{}", resource.address);
        attributes.insert("id".to_owned(), id.clone().into());
        let remote = Remote::new(id, attributes);
        self.world.lock().unwrap().insert(resource.address.clone(), remote.clone());
        Ok(remote)
    }

    async fn update(
        &self,
        remote: &Remote,
        resource: &Resolved,
        _: &[String],
        _: &Context,
    ) -> Result<Remote, ProviderError> {
        self.call("update", &resource.address)?;
        let mut remote = remote.clone();
        remote.attributes.extend(resource.attributes.clone());
        self.world.lock().unwrap().insert(resource.address.clone(), remote.clone());
        Ok(remote)
    }

    async fn sign(&self, _: &Applied, _: &State, _: &Context) -> Result<(), ProviderError> {
        self.signed_after.lock().unwrap().push(self.calls.lock().unwrap().len());
        Ok(())
    }

    async fn delete(&self, address: &Address, _: &Remote, _: &Context) -> Result<(), ProviderError> {
        self.call("delete", address)?;
        self.world.lock().unwrap().remove(address);
        Ok(())
    }

    fn delete_all<'a>(
        &'a self,
        resources: Vec<(Address, Remote)>,
        context: &'a Context,
    ) -> Vec<impl Future<Output = Result<(), ProviderError>> + Send> {
        self.lists.lock().unwrap().extend(Some(resources.len()).filter(|length| *length > 0));
        let delete =
            |(address, remote): (Address, Remote)| async move { self.delete(&address, &remote, context).await };
        resources.into_iter().map(delete).collect()
    }
}

/// A state in memory, and its lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub(crate) saved: Arc<Mutex<Vec<State>>>,
    /// How many saves are still refused.
    refuses: Arc<AtomicUsize>,
    /// Whether a refused save loses the lock as well.
    loses: bool,
    is_lost: Arc<AtomicBool>,
}

impl Memory {
    /// With this document.
    pub(crate) fn of(state: &State) -> Self {
        Self { saved: Arc::new(Mutex::new(vec![state.clone()])), ..Self::default() }
    }
}

impl Memory {
    /// Refuses that many saves.
    fn refusing(saves: usize) -> Self {
        Self { refuses: Arc::new(AtomicUsize::new(saves)), ..Self::default() }
    }
}

impl StateStore for Memory {
    type Lock = Self;

    async fn load(&self) -> Result<State, StoreError> {
        Ok(self.saved.lock().unwrap().last().cloned().unwrap_or_else(|| State::empty("test")))
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
        let one_less = |left: usize| left.checked_sub(1);
        if self.refuses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            self.is_lost.fetch_or(self.loses, Ordering::Relaxed);
            return Err(StoreError::Remote(ProviderError::new("full", None)));
        }
        self.saved.lock().unwrap().push(state.clone());
        Ok(())
    }

    fn hold(&self) -> Hold {
        let is_lost = Arc::clone(&self.is_lost);
        Hold::new(move || !is_lost.load(Ordering::Relaxed))
    }

    async fn release(self) -> Result<(), StoreError> {
        Ok(())
    }
}

pub(crate) async fn session(store: &Memory) -> Session<Memory> {
    Session::begin(Arc::new(store.clone()), &LockInfo::of_this_process("test")).await.unwrap()
}

/// `base.a` and `base.b`; `thing.a[0]` and `thing.a[1]` on the first, `thing.b` on the second.
fn graph() -> Graph {
    let thing = |at: &str, base: &str| {
        let attributes = json!({"base": {"$reference": format!("{base}#id")}});
        let Value::Map(map) = Value::from(attributes) else { panic!("no map") };
        Resource::new(at.parse().unwrap_or_else(|error| panic!("{error}")), map)
    };
    let base = |at: &str| Resource::new(at.parse().unwrap_or_else(|error| panic!("{error}")), Map::new());
    let resources = [
        base("base.a"),
        base("base.b"),
        thing("thing.a[0]", "base.a"),
        thing("thing.a[1]", "base.a"),
        thing("thing.b", "base.b"),
    ];
    Graph::new("test", resources, []).unwrap_or_else(|error| panic!("{error}"))
}

async fn run(desired: &Graph, cloud: &Cloud, store: &Memory, settings: &Settings) -> (Outcome, Vec<Event>) {
    let rules = RuleBook::new(BOOK);
    let mut session = session(store).await;
    let state = session.read().await.unwrap();
    let observed = cloud.observe(desired, &state, &Context::default()).await.unwrap();
    let plan =
        plan(desired, &observed, &state, &rules, &PlanOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let (events, mut receiver) = Events::channel();
    let outcome = session.apply(&plan, state, cloud, &rules, &events, settings).await.unwrap();
    drop(events);
    let mut heard = Vec::new();
    while let Some(event) = receiver.recv().await {
        heard.push(event);
    }
    (outcome, heard)
}

#[tokio::test]
async fn what_was_unknown_comes_from_the_steps_before() {
    let (cloud, store) = (Cloud::default(), Memory::default());
    let (outcome, heard) = run(&graph(), &cloud, &store, &Settings::default()).await;
    assert!(outcome.is_complete());
    assert_eq!(outcome.done.len(), 5);
    assert_eq!(heard.len(), 10, "each step starts and finishes");
    let address = "thing.a[1]".parse().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(cloud.world.lock().unwrap()[&address].attributes["base"], Value::from("id-of-base.a"));
    let saved = store.load().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(saved, outcome.state);
    assert_eq!(saved.resources.len(), 5);
    assert!(saved.digest.is_some() && !saved.lineage.is_empty());
}

#[tokio::test]
async fn a_second_apply_calls_and_saves_nothing() {
    let (cloud, store) = (Cloud::default(), Memory::default());
    run(&graph(), &cloud, &store, &Settings::default()).await;
    let (calls, saves) = (cloud.calls.lock().unwrap().len(), store.saved.lock().unwrap().len());
    let (outcome, heard) = run(&graph(), &cloud, &store, &Settings::default()).await;
    assert!(outcome.is_complete() && heard.is_empty());
    assert_eq!((cloud.calls.lock().unwrap().len(), store.saved.lock().unwrap().len()), (calls, saves));
}

#[tokio::test]
async fn a_lost_state_is_built_again_from_what_stands() {
    let cloud = Cloud::default();
    let (first, _) = run(&graph(), &cloud, &Memory::default(), &Settings::default()).await;
    let store = Memory::default();
    let (second, _) = run(&graph(), &cloud, &store, &Settings::default()).await;
    assert!(second.done.is_empty());
    let ids = |state: &State| state.resources.iter().map(|(at, recorded)| (at.clone(), recorded.id.clone())).collect();
    let (before, after): (Vec<_>, Vec<_>) = (ids(&first.state), ids(&second.state));
    assert_eq!(before, after);
    assert_eq!(first.state.digest, second.state.digest);
}

#[tokio::test]
async fn what_depends_on_a_failure_is_skipped_and_the_rest_is_done() {
    let cloud = Cloud { refuses: vec!["create base.a"], ..Cloud::default() };
    let store = Memory::default();
    let (outcome, _) = run(&graph(), &cloud, &store, &Settings::default()).await;
    let names = |list: &[(Address, Operation)]| list.iter().map(|(address, _)| address.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&outcome.done), ["base.b", "thing.b"]);
    assert_eq!(outcome.failed.len(), 1);
    let skipped: Vec<String> =
        outcome.skipped.iter().map(|(address, _, because)| format!("{address} because {because}")).collect();
    assert_eq!(skipped, ["thing.a[0] because base.a", "thing.a[1] because base.a"]);
    assert!(outcome.state.digest.is_none(), "not applied to the end");
    let repaired = Cloud { world: cloud.world, ..Cloud::default() };
    let (outcome, _) = run(&graph(), &repaired, &store, &Settings::default()).await;
    assert!(outcome.is_complete());
    assert_eq!(*repaired.calls.lock().unwrap(), ["create base.a", "create thing.a[0]", "create thing.a[1]"]);
}

#[tokio::test]
async fn an_interruption_starts_nothing_new_and_keeps_what_was_done() {
    let interrupt = CancellationToken::new();
    let cloud = Cloud { interrupts_at: Some(("create base.a", interrupt.clone())), ..Cloud::default() };
    let store = Memory::default();
    let settings = Settings { concurrency: 1, interrupt, ..Settings::default() };
    let (outcome, heard) = run(&graph(), &cloud, &store, &settings).await;
    assert_eq!(*cloud.calls.lock().unwrap(), ["create base.a"]);
    assert_eq!((outcome.done.len(), outcome.not_started), (1, 4));
    assert!(heard.len() >= 2);
    assert_eq!(store.load().await.unwrap_or_else(|error| panic!("{error}")).resources.len(), 1);
}

#[tokio::test]
async fn what_ran_when_it_was_interrupted_is_not_counted_as_not_started() {
    let interrupt = CancellationToken::new();
    let interrupts_at = Some(("create base.b", interrupt.clone()));
    let cloud = Cloud { interrupts_at, gives_up: true, ..Cloud::default() };
    let store = Memory::default();
    let (outcome, heard) =
        run(&graph(), &cloud, &store, &Settings { concurrency: 1, interrupt, ..Settings::default() }).await;
    let interrupted: Vec<String> = outcome.interrupted.iter().map(|(address, _)| address.to_string()).collect();
    assert_eq!(interrupted, ["base.b"]);
    assert_eq!(outcome.done.len() + outcome.interrupted.len() + outcome.not_started, 5);
    assert!(!outcome.is_complete() && outcome.state.digest.is_none());
    assert_eq!(outcome.exit_code(), ExitCode::Interrupted);
    assert!(heard.iter().any(|event| matches!(event, Event::Interrupted { .. })));
}

#[tokio::test]
async fn a_state_that_cannot_be_saved_stops_and_loses_nothing() {
    let (cloud, store) = (Cloud::default(), Memory::refusing(usize::MAX));
    let (outcome, _) = run(&graph(), &cloud, &store, &Settings { concurrency: 1, ..Settings::default() }).await;
    assert!(outcome.unsaved.is_some() && !outcome.is_complete());
    assert!(outcome.not_started > 0, "it starts nothing that it cannot record");
    let (outcome, _) = run(&graph(), &cloud, &Memory::default(), &Settings::default()).await;
    assert!(outcome.is_complete());
    let creates = cloud.calls.lock().unwrap().len();
    assert_eq!(creates, 5, "nothing is created twice");
}

/// Two resources that need nothing: both are under way before either is done.
fn two_bases() -> Graph {
    let base = |at: &str| Resource::new(at.parse().unwrap(), Map::new());
    Graph::new("test", [base("base.a"), base("base.b")], []).unwrap()
}

#[tokio::test]
async fn a_save_that_failed_counts_no_more_once_everything_is_saved() {
    let (cloud, store) = (Cloud::default(), Memory::refusing(1));
    let (outcome, _) = run(&two_bases(), &cloud, &store, &Settings::default()).await;
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(store.load().await.unwrap(), outcome.state);
    assert_eq!(outcome.state.resources.len(), 2);
}

#[tokio::test]
async fn a_save_that_failed_is_the_reason_for_steps_that_were_not_started() {
    let (cloud, store) = (Cloud::default(), Memory::refusing(1));
    let (outcome, _) = run(&graph(), &cloud, &store, &Settings::default()).await;
    assert_eq!((outcome.done.len(), outcome.not_started), (2, 3));
    assert_eq!((outcome.unsaved.is_some(), outcome.exit_code()), (true, ExitCode::Error));
    assert_eq!(store.load().await.unwrap().resources.len(), 2, "the last attempt succeeded");
}

#[tokio::test]
async fn a_save_that_is_tried_once_more_without_the_lock_says_that_it_is_lost() {
    let (cloud, store) = (Cloud::default(), Memory { loses: true, ..Memory::refusing(1) });
    let base = Resource::new("base.a".parse().unwrap(), Map::new());
    let desired = Graph::new("test", [base], []).unwrap();
    let (outcome, _) = run(&desired, &cloud, &store, &Settings::default()).await;
    assert_eq!((outcome.done.len(), outcome.not_started), (1, 0));
    assert!(matches!(outcome.unsaved, Some(StoreError::Lost { .. })), "{outcome:?}");
    assert!(store.saved.lock().unwrap().is_empty());
}

#[tokio::test]
async fn deletes_forget() {
    let (cloud, store) = (Cloud::default(), Memory::default());
    run(&graph(), &cloud, &store, &Settings::default()).await;
    let (outcome, _) = run(&Graph::empty("test"), &cloud, &store, &Settings::default()).await;
    assert!(outcome.is_complete());
    assert!(outcome.state.resources.is_empty() && cloud.world.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_apply_is_signed_at_its_end_and_forgetting_before_anything_loses_its_tags() {
    let (cloud, store) = (Cloud::default(), Memory::default());
    run(&two_bases(), &cloud, &store, &Settings::default()).await;
    assert_eq!(*cloud.signed_after.lock().unwrap(), [2]);
    let mut session = session(&store).await;
    let state = session.read().await.unwrap();
    let observed = cloud.observe(&two_bases(), &state, &Context::default()).await.unwrap();
    let (rules, given_away) = (RuleBook::new(BOOK), ["base.a".parse().unwrap()]);
    let marks = Marks { prefix: "trunnion:", home: "home" };
    let plan = forgetting(&Graph::empty("test"), &observed, &state, &rules, &given_away, marks).unwrap();
    let outcome = session.apply(&plan, state, &cloud, &rules, &Events::nowhere(), &Settings::default()).await.unwrap();
    assert_eq!(*cloud.calls.lock().unwrap(), ["create base.a", "create base.b", "update base.a"]);
    assert_eq!(*cloud.signed_after.lock().unwrap(), [2, 2], "once");
    assert_eq!(outcome.state.resources.len(), 1);
}

/// `copy.c`, which is never there twice, on `base.a`.
fn copy(note: &str) -> Graph {
    let parsed = |at: &str| at.parse::<Address>().unwrap_or_else(|error| panic!("{error}"));
    let attributes = json!({"base": {"$reference": "base.a#id"}, "note": note});
    let Value::Map(attributes) = Value::from(attributes) else { panic!("no map") };
    let resources = [Resource::new(parsed("base.a"), Map::new()), Resource::new(parsed("copy.c"), attributes)];
    Graph::new("test", resources, []).unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn a_replacement_that_turns_out_to_be_the_same_keeps_the_old_one() {
    let (cloud, store) = (Cloud::default(), Memory::default());
    let graph = copy("as it was");
    run(&graph, &cloud, &store, &Settings::default()).await;
    // Its id is unknown when the plan is made, and comes out as it was.
    cloud.world.lock().unwrap().retain(|address, _| address.kind.as_str() != "base");
    cloud.calls.lock().unwrap().clear();
    let (outcome, heard) = run(&graph, &cloud, &store, &Settings::default()).await;
    assert!(outcome.is_complete(), "{:?}", outcome.failed);
    assert_eq!(*cloud.calls.lock().unwrap(), ["create base.a", "create copy.c"], "the old one is not deleted");
    assert_eq!(heard.len(), 4, "what is not done is not reported");
    assert_eq!(outcome.state.resources.len(), 2);

    let (outcome, _) = run(&copy("another"), &cloud, &store, &Settings::default()).await;
    assert_eq!(outcome.failed.len(), 1, "one that had to become another cannot be the old one");
}

#[tokio::test]
async fn what_a_create_found_is_not_deleted() {
    let (cloud, store) = (Cloud::default(), Memory::default());
    let rules = RuleBook::new(BOOK);
    run(&graph(), &cloud, &store, &Settings::default()).await;
    let mut session = session(&store).await;
    let state = session.read().await.unwrap();
    let mut observed = cloud.observe(&graph(), &state, &Context::default()).await.unwrap();
    // The plan believes that the only one is a left-over: the cloud showed another one as the current one, or none.
    let address: Address = "thing.b".parse().unwrap();
    observed.remotes.get_mut(&address).unwrap()[0].is_spent = true;
    let plan = plan(&graph(), &observed, &state, &rules, &PlanOptions::default()).unwrap();
    let steps: Vec<_> = plan.steps.iter().map(|step| step.operation).collect();
    assert_eq!(steps, [Operation::Create, Operation::Delete]);
    cloud.calls.lock().unwrap().clear();
    let outcome = session.apply(&plan, state, &cloud, &rules, &Events::nowhere(), &Settings::default()).await.unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(*cloud.calls.lock().unwrap(), ["create thing.b"]);
    assert_eq!(outcome.state.resources[&address].id, "id-of-thing.b");
}

#[tokio::test(start_paused = true)]
async fn whose_lock_is_lost_drops_what_runs_and_changes_nothing_more() {
    let store = Memory::default();
    let loses_at = Some(("create base.b", Arc::clone(&store.is_lost)));
    let cloud = Cloud { loses_at, ..Cloud::default() };
    let settings = Settings { concurrency: 1, ..Settings::default() };
    let desired = graph();
    let work = run(&desired, &cloud, &store, &settings);
    let (outcome, heard) = tokio::time::timeout(Duration::from_mins(1), work).await.unwrap();
    assert!(matches!(&outcome.unsaved, Some(StoreError::Lost { place }) if place == "memory"), "{outcome:?}");
    assert_eq!(*cloud.calls.lock().unwrap(), ["create base.a", "create base.b"]);
    let interrupted: Vec<String> = outcome.interrupted.iter().map(|(address, _)| address.to_string()).collect();
    assert_eq!((interrupted, outcome.done.len(), outcome.not_started), (vec!["base.b".to_owned()], 1, 3));
    assert!(heard.iter().any(|event| matches!(event, Event::Interrupted { .. })));
    assert_eq!(outcome.exit_code(), ExitCode::Error);
    let saved = store.saved.lock().unwrap();
    assert!(saved.iter().all(|state| !state.resources.contains_key(&"base.b".parse().unwrap())));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_a_save_finds_lost_drops_what_runs_too() {
    let store = Memory::default();
    // The call never returns; the one beside it does, and what it made is to be saved.
    let cloud = Cloud { loses_at: Some(("create base.a", Arc::clone(&store.is_lost))), ..Cloud::default() };
    let settings = Settings { concurrency: 2, ..Settings::default() };
    let desired = graph();
    let work = run(&desired, &cloud, &store, &settings);
    let (outcome, _) = tokio::time::timeout(Duration::from_mins(1), work).await.unwrap();
    assert!(matches!(&outcome.unsaved, Some(StoreError::Lost { .. })), "{outcome:?}");
    assert_eq!(outcome.interrupted.len() + outcome.done.len(), 2, "{outcome:?}");
    assert!(outcome.interrupted.iter().any(|(address, _)| address.to_string() == "base.a"));
}

#[tokio::test]
async fn what_is_ready_together_goes_to_the_cloud_as_a_list() {
    for (concurrency, lists) in [(usize::MAX, vec![3, 2]), (2, vec![2, 1, 2]), (1, vec![1; 5])] {
        let (cloud, store) = (Cloud::default(), Memory::default());
        run(&graph(), &cloud, &store, &Settings::default()).await;
        let settings = Settings { concurrency, ..Settings::default() };
        let (outcome, _) = run(&Graph::empty("test"), &cloud, &store, &settings).await;
        assert!(outcome.is_complete(), "{:?}", outcome.failed);
        assert_eq!(*cloud.lists.lock().unwrap(), lists, "{concurrency} at a time");
    }
}
