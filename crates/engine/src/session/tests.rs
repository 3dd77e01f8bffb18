use std::sync::Mutex;

use super::*;
use crate::{
    Address, Context, FileStore, Graph, Map, Observed, PlanOptions, ProviderError, Remote, Replacement, Resolved,
    Resource, Rules, Token, plan,
};

/// A cloud that does everything and keeps only what was asked of it.
#[derive(Default)]
struct Cloud(Mutex<Vec<String>>);

impl Provider for Cloud {
    async fn observe(&self, _: &Graph, _: &State, _: &Context) -> Result<Observed, ProviderError> {
        Ok(Observed::default())
    }

    async fn create(&self, resource: &Resolved, _: &Token, _: &Context) -> Result<Remote, ProviderError> {
        self.0.lock().unwrap().push(resource.address.to_string());
        Ok(Remote::new("id", resource.attributes.clone()))
    }

    async fn update(&self, remote: &Remote, _: &Resolved, _: &[String], _: &Context) -> Result<Remote, ProviderError> {
        Ok(remote.clone())
    }

    async fn delete(&self, _: &Address, _: &Remote, _: &Context) -> Result<(), ProviderError> {
        Ok(())
    }
}

fn book() -> RuleBook {
    RuleBook::new([Rules {
        kind: "thing",
        depends_on: &[],
        blocks: &[],
        attributes: &[],
        computed: &[],
        replacement: Replacement::DeleteFirst,
    }])
}

fn planned(state: &State) -> Plan {
    let desired = Graph::new("test", [Resource::new("thing.a".parse().unwrap(), Map::new())], []).unwrap();
    plan(&desired, &Observed::default(), state, &book(), &PlanOptions::default()).unwrap()
}

fn store(folder: &tempfile::TempDir) -> Arc<FileStore> {
    Arc::new(FileStore::new(folder.path().join("test.json"), "test"))
}

async fn begun(store: &Arc<FileStore>) -> Session<FileStore> {
    Session::begin(Arc::clone(store), &LockInfo::of_this_process("test")).await.unwrap()
}

async fn apply(session: &mut Session<FileStore>, plan: &Plan, state: State) -> (Result<Outcome, StoreError>, usize) {
    let cloud = Cloud::default();
    let outcome = session.apply(plan, state, &cloud, &book(), &Events::nowhere(), &Settings::default()).await;
    (outcome, cloud.0.into_inner().unwrap().len())
}

#[tokio::test]
async fn a_session_plans_and_applies_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = begun(&store(&folder)).await;
    for _ in 0..3 {
        let state = session.read().await.unwrap();
        let before = state.serial;
        let (outcome, calls) = apply(&mut session, &planned(&state), state).await;
        let outcome = outcome.unwrap();
        assert!(outcome.is_complete() && outcome.state.serial > before && calls == 1, "{outcome:?}");
    }
    session.release().await.unwrap();
}

#[tokio::test]
async fn a_plan_that_was_made_with_another_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let before = store.load().await.unwrap();
    let early = planned(&before);
    let mut session = begun(&store).await;
    // Nothing was read under the lock yet.
    let (refused, calls) = apply(&mut session, &early, before.clone()).await;
    assert!(matches!(refused, Err(StoreError::Moved { .. })) && calls == 0);
    let state = session.read().await.unwrap();
    apply(&mut session, &planned(&state), state).await.0.unwrap();
    // The state that was saved is another one than that of the plan.
    let state = session.read().await.unwrap();
    for given in [before, state] {
        let (refused, calls) = apply(&mut session, &early, given).await;
        assert!(matches!(refused, Err(StoreError::Moved { .. })) && calls == 0);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_state_that_could_not_be_saved_says_why_and_takes_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let mut session = begun(&store).await;
    let state = session.read().await.unwrap();
    let plan = planned(&state);
    // A folder is where the new document is written before it replaces the old one.
    let in_the_way = folder.path().join(format!("test.json.{}.tmp", std::process::id()));
    std::fs::create_dir(&in_the_way).unwrap();
    let (outcome, _) = apply(&mut session, &plan, state).await;
    let outcome = outcome.unwrap();
    assert!(matches!(outcome.unsaved, Some(StoreError::Io { action: "writing", .. })), "{outcome:?}");
    assert_eq!(outcome.state.version(), ("", 0));
    std::fs::remove_dir(&in_the_way).unwrap();
    let state = session.read().await.unwrap();
    let (outcome, _) = apply(&mut session, &planned(&state), state).await;
    assert!(outcome.unwrap().is_complete());
}

#[cfg(unix)]
#[tokio::test]
async fn a_session_that_lost_its_lock_returns_an_error_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let mut lost = begun(&store).await;
    let state = lost.read().await.unwrap();
    let plan = planned(&state);
    std::fs::remove_file(folder.path().join("test.lock")).unwrap();
    let mut other = begun(&store).await;
    let (refused, calls) = apply(&mut lost, &plan, state).await;
    assert!(matches!(refused, Err(StoreError::Lost { .. })) && calls == 0);
    assert!(matches!(lost.read().await, Err(StoreError::Lost { .. })));
    lost.release().await.unwrap();
    let state = other.read().await.unwrap();
    let (outcome, calls) = apply(&mut other, &planned(&state), state).await;
    assert!(outcome.unwrap().is_complete() && calls == 1);
}

#[test]
fn its_futures_can_move_between_threads() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    fn every_future(store: &Arc<FileStore>, mut session: Session<FileStore>, cloud: &Cloud, plan: &Plan, state: State) {
        drop(sent(Session::begin(Arc::clone(store), &LockInfo::of_this_process("test"))));
        drop(sent(session.read()));
        let (events, settings) = (Events::nowhere(), Settings::default());
        drop(sent(session.apply(plan, state, cloud, &book(), &events, &settings)));
        drop(sent(session.release()));
    }
    let _ = every_future;
}
