//! A state under its lock, from the reading of it until what was planned with it is applied.

use std::sync::Arc;

use crate::{
    Events, Hold, LockInfo, Outcome, Plan, Provider, RuleBook, Settings, State, StateError, StateLock as _, StateStore,
    StoreError, apply,
};

/// A stack's state that nobody else writes. Plans are applied here and nowhere else.
///
/// A session reads the state under its lock, a plan is made with that state, and the session applies it; a plan that was
/// made with another state is refused. Once the lock is lost, every call returns [`StoreError::Lost`] and changes nothing.
/// Dropping a session gives the lock back, too; [`Session::release`] waits for that and says whether it went well.
///
/// Here, a cloud in memory is the [`Provider`]:
///
/// ```
/// use std::{collections::BTreeMap, sync::{Arc, Mutex}};
/// use trunnion_engine::{
///     Address, Computed, Context, Events, FileStore, Graph, LockInfo, Map, Observed, PlanOptions, Provider,
///     ProviderError, Remote, Replacement, Resolved, Resource, RuleBook, Rules, Session, Settings, State, Token, plan,
/// };
///
/// #[derive(Default)]
/// struct InMemory(Mutex<BTreeMap<Address, Remote>>);
///
/// impl Provider for InMemory {
///     async fn observe(&self, _: &Graph, _: &State, _: &Context) -> Result<Observed, ProviderError> {
///         let mut observed = Observed::default();
///         for (address, remote) in &*self.0.lock().unwrap() {
///             observed.remotes.insert(address.clone(), vec![remote.clone()]);
///         }
///         Ok(observed)
///     }
///
///     async fn create(&self, wanted: &Resolved, _: &Token, _: &Context) -> Result<Remote, ProviderError> {
///         let remote = Remote::new(format!("id-of-{}", wanted.address), wanted.attributes.clone());
///         self.0.lock().unwrap().insert(wanted.address.clone(), remote.clone());
///         Ok(remote)
///     }
///
///     async fn update(
///         &self, remote: &Remote, wanted: &Resolved, _: &[String], _: &Context,
///     ) -> Result<Remote, ProviderError> {
///         let remote = Remote::new(&remote.id, wanted.attributes.clone());
///         self.0.lock().unwrap().insert(wanted.address.clone(), remote.clone());
///         Ok(remote)
///     }
///
///     async fn delete(&self, address: &Address, _: &Remote, _: &Context) -> Result<(), ProviderError> {
///         self.0.lock().unwrap().remove(address);
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("state.json");
/// let rules = RuleBook::new([Rules {
///     kind: "disk",
///     depends_on: &[],
///     blocks: &[],
///     attributes: &[],
///     computed: &[("id", Computed::AtCreation)],
///     replacement: Replacement::DeleteFirst,
/// }]);
/// let disk = Resource::new("disk.data".parse()?, Map::from([("size".to_owned(), "8 GiB".into())]));
/// let desired = Graph::new("example", [disk], [])?;
/// let (cloud, store) = (InMemory::default(), Arc::new(FileStore::new(path, "example")));
///
/// let mut session = Session::begin(store, &LockInfo::of_this_process("apply")).await?;
/// let state = session.read().await?;
/// let observed = cloud.observe(&desired, &state, &Context::default()).await?;
/// let plan = plan(&desired, &observed, &state, &rules, &PlanOptions::default())?;
/// let outcome =
///     session.apply(&plan, state, &cloud, &rules, &Events::nowhere(), &Settings::default()).await?;
/// session.release().await?;
///
/// assert!(outcome.is_complete());
/// assert_eq!(cloud.0.lock().unwrap().len(), 1);
/// # Ok(())
/// # }
/// ```
///
/// There is no way around it. Apply is no function of its own:
///
/// ```compile_fail,E0603
/// use trunnion_engine::apply;
/// ```
///
/// A state is not written without its lock:
///
/// ```compile_fail,E0599
/// # use trunnion_engine::{FileStore, State, StateStore as _, StateLock as _};
/// # async fn example(store: FileStore, state: State) {
/// store.save(&state).await;
/// # }
/// ```
///
/// Nothing is applied after the lock was given back:
///
/// ```compile_fail,E0382
/// # use trunnion_engine::{Events, FileStore, Plan, Provider, RuleBook, Session, Settings, State, StoreError};
/// # async fn example(
/// #     mut session: Session<FileStore>, plan: Plan, state: State, cloud: impl Provider, rules: RuleBook,
/// # ) -> Result<(), StoreError> {
/// session.release().await?;
/// session.apply(&plan, state, &cloud, &rules, &Events::nowhere(), &Settings::default()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session<S: StateStore> {
    store: Arc<S>,
    lock: S::Lock,
    /// Line and number of the document that was read or written last; nothing before, and after a write that failed.
    version: Option<(String, u64)>,
}

impl<S: StateStore> Session<S> {
    /// Takes the lock of a state, or says who has it.
    pub async fn begin(store: Arc<S>, info: &LockInfo) -> Result<Self, StoreError> {
        let lock = store.lock(info).await?;
        Ok(Self { store, lock, version: None })
    }

    /// Reads the state, which plans are to be made with from now on.
    pub async fn read(&mut self) -> Result<State, StoreError> {
        self.held()?;
        let state = self.store.load().await?;
        self.note(Some(&state));
        Ok(state)
    }

    /// Executes a plan. `state` is what it was made with: what [`Session::read`] gave, or what was left of that because the
    /// rest says nothing about this cloud.
    pub async fn apply(
        &mut self,
        plan: &Plan,
        state: State,
        provider: &impl Provider,
        rules: &RuleBook,
        events: &Events,
        settings: &Settings,
    ) -> Result<Outcome, StoreError> {
        self.held()?;
        let read = self.version.as_ref().map(|(lineage, serial)| (lineage.as_str(), *serial));
        if read != Some(state.version()) || read != Some((plan.state.0.as_str(), plan.state.1)) {
            return Err(StoreError::Moved { place: self.store.location() });
        }
        let outcome = apply::apply(plan, provider, self, rules, state, events, settings).await;
        self.note(outcome.unsaved.is_none().then_some(&outcome.state));
        Ok(outcome)
    }

    /// Makes an earlier document the present one, under the next number. Where the present one is damaged, a new line begins;
    /// one of a later format stays, and is an error.
    pub async fn restore(&mut self, earlier: State) -> Result<State, StoreError> {
        self.held()?;
        let (present, is_damaged) = match self.store.load().await {
            Ok(present) => (present, false),
            Err(StoreError::Document { source: StateError::Damaged(_), .. }) => (State::empty(&earlier.stack), true),
            Err(error) => return Err(error),
        };
        let mut restored = State { lineage: present.lineage, serial: present.serial, ..earlier };
        restored.advance();
        if is_damaged {
            self.lock.replace_damaged(&restored).await?;
        } else {
            self.save(&restored).await?;
        }
        self.note(Some(&restored));
        Ok(restored)
    }

    /// Gives the lock back.
    pub async fn release(self) -> Result<(), StoreError> {
        self.lock.release().await
    }

    /// Nothing while the lock is held, else [`StoreError::Lost`].
    pub fn held(&self) -> Result<(), StoreError> {
        if self.lock.is_held() { Ok(()) } else { Err(StoreError::Lost { place: self.store.location() }) }
    }

    /// What says whether the lock is still held.
    pub(crate) fn hold(&self) -> Hold {
        self.lock.hold()
    }

    /// Waits until the lock is lost.
    pub(crate) async fn lost(&self) {
        self.lock.lost().await;
    }

    pub(crate) async fn save(&self, state: &State) -> Result<(), StoreError> {
        self.held()?;
        self.lock.save(state).await
    }

    fn note(&mut self, state: Option<&State>) {
        self.version = state.map(|state| (state.lineage.clone(), state.serial));
    }
}

#[cfg(test)]
mod tests;
