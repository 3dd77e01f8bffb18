//! A stack under the lock of its state, from plan to apply.

use std::{fmt, ops::Deref, sync::Arc};

use tokio_util::sync::CancellationToken;
use trunnion_aws::Aws;
use trunnion_engine::{
    Adoption, Document, Events, LockInfo, Moved, OtherHome, Outcome, Provider, Settings, State, StateStore,
};
use trunnion_estimate::Estimate;

use crate::{
    Error,
    budget::OverBudget,
    connected::{Parts, Planned, until},
    options::Request,
    store::Store,
};

/// A stack whose state nobody else writes: [`Engine::lock`](crate::Engine::lock) begins one.
///
/// What is applied was planned under the same lock, and there is no other way:
///
/// ```no_run
/// # use trunnion::{CancellationToken, Engine, Error, Events, Outcome, Request};
/// # async fn example(engine: Engine) -> Result<Outcome, Error> {
/// # let (request, events, interrupt) = (Request::new(), Events::nowhere(), CancellationToken::new());
/// let mut session = engine.lock("apply").await?;
/// let plan = session.plan(&request, &interrupt).await?;
/// let outcome = plan.apply(&events, &interrupt).await?;
/// session.release().await?;
/// # Ok(outcome)
/// # }
/// ```
///
/// A plan that was made without the lock cannot be applied:
///
/// ```compile_fail,E0599
/// # use trunnion::{CancellationToken, Engine, Error, Events, Outcome, Request};
/// # async fn example(engine: Engine) -> Result<Outcome, Error> {
/// # let (request, events, interrupt) = (Request::new(), Events::nowhere(), CancellationToken::new());
/// let plan = engine.plan(&request, &interrupt).await?;
/// let outcome = plan.apply(&events, &interrupt).await?;
/// # Ok(outcome)
/// # }
/// ```
///
/// Nor can one whose lock was given back:
///
/// ```compile_fail,E0505
/// # use trunnion::{CancellationToken, Engine, Error, Events, Outcome, Request};
/// # async fn example(engine: Engine) -> Result<Outcome, Error> {
/// # let (request, events, interrupt) = (Request::new(), Events::nowhere(), CancellationToken::new());
/// let mut session = engine.lock("apply").await?;
/// let plan = session.plan(&request, &interrupt).await?;
/// session.release().await?;
/// let outcome = plan.apply(&events, &interrupt).await?;
/// # Ok(outcome)
/// # }
/// ```
///
/// Nor the same plan twice:
///
/// ```compile_fail,E0382
/// # use trunnion::{CancellationToken, Engine, Error, Events, Outcome, Request};
/// # async fn example(engine: Engine) -> Result<Outcome, Error> {
/// # let (request, events, interrupt) = (Request::new(), Events::nowhere(), CancellationToken::new());
/// let mut session = engine.lock("apply").await?;
/// let plan = session.plan(&request, &interrupt).await?;
/// plan.apply(&events, &interrupt).await?;
/// let outcome = plan.apply(&events, &interrupt).await?;
/// # Ok(outcome)
/// # }
/// ```
///
/// Once the lock is lost, because it could not be renewed or because somebody took it away, every call ends with
/// [`StoreError::Lost`](crate::StoreError::Lost) and changes nothing. An apply that is under way then drops what runs, as a
/// kill would, and says so in [`Outcome::unsaved`].
///
/// Dropping a session gives the lock back, too; [`Session::release`] waits for that and says whether it went well.
pub struct Session<P = Aws, S: StateStore = Store> {
    parts: Arc<Parts<P, S>>,
    session: trunnion_engine::Session<S>,
}

impl<P: Provider, S: StateStore> Session<P, S> {
    pub(crate) async fn begin(parts: Arc<Parts<P, S>>, info: &LockInfo) -> Result<Self, Error> {
        let session = trunnion_engine::Session::begin(Arc::clone(&parts.store), info).await?;
        Ok(Self { parts, session })
    }

    /// Reads AWS in bulk and plans. Once `interrupt` is cancelled, it ends with [`Error::Interrupted`].
    pub async fn plan(
        &mut self,
        request: &Request,
        interrupt: &CancellationToken,
    ) -> Result<LockedPlan<'_, P, S>, Error> {
        let (parts, session) = (&self.parts, &mut self.session);
        let planned = until(interrupt, async {
            let state = parts.relevant(session.read().await?).await?;
            parts.plan_to_apply(state, request, interrupt).await
        });
        let planned = planned.await?;
        Ok(LockedPlan { session: self, planned, is_take_over: false, prices: None })
    }

    /// Makes a saved plan again, and refuses with [`Error::Stale`] if it differs.
    pub async fn plan_written(
        &mut self,
        written: &Document,
        interrupt: &CancellationToken,
    ) -> Result<LockedPlan<'_, P, S>, Error> {
        let mut plan = self.plan(&Request::from(&written.compared.origin), interrupt).await?;
        match written.moved(&plan.document(&written.compared.origin)) {
            None => {
                plan.prices.clone_from(&written.remarks.estimate);
                Ok(plan)
            }
            Some(moved) => Err(Error::Stale(Stale { moved })),
        }
    }

    /// Makes an earlier document of the state the present one, under the next number, and returns it. Nothing else changes.
    pub async fn restore(&mut self, earlier: State) -> Result<State, Error> {
        Ok(self.session.restore(earlier).await?)
    }

    /// Plans to take the stack's tags off what is at these addresses and leave it as it is. It is refused while the stack
    /// asks for one of them.
    pub async fn forget(
        &mut self,
        addresses: &[String],
        interrupt: &CancellationToken,
    ) -> Result<LockedPlan<'_, P, S>, Error> {
        let (parts, session) = (&self.parts, &mut self.session);
        let planned = until(interrupt, async {
            let state = parts.relevant(session.read().await?).await?;
            parts.plan_to_forget(state, addresses, interrupt).await
        });
        let planned = planned.await?;
        Ok(LockedPlan { session: self, planned, is_take_over: false, prices: None })
    }

    /// Plans to make a resource that the stack did not create the one at an address, by changes in place. It is refused if a
    /// difference would replace it.
    pub async fn import(
        &mut self,
        address: &str,
        id: &str,
        interrupt: &CancellationToken,
    ) -> Result<LockedPlan<'_, P, S>, Error> {
        let (parts, session) = (&self.parts, &mut self.session);
        let planned = until(interrupt, async {
            let state = parts.relevant(session.read().await?).await?;
            parts.plan_to_import(state, address, id, interrupt).await
        });
        let planned = planned.await?;
        Ok(LockedPlan { session: self, planned, is_take_over: false, prices: None })
    }

    /// Gives the lock back.
    pub async fn release(self) -> Result<(), Error> {
        Ok(self.session.release().await?)
    }
}

/// A plan that was made under the lock, and can be applied under it.
pub struct LockedPlan<'session, P = Aws, S: StateStore = Store> {
    session: &'session mut Session<P, S>,
    planned: Planned,
    is_take_over: bool,
    /// The estimate of a saved plan, whose prices hold for its budget.
    prices: Option<Estimate>,
}

impl<P, S: StateStore> fmt::Debug for Session<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("state", &self.parts.store.location()).finish_non_exhaustive()
    }
}

impl<P, S: StateStore> fmt::Debug for LockedPlan<'_, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedPlan").field("planned", &self.planned).finish_non_exhaustive()
    }
}

impl<P, S: StateStore> Deref for LockedPlan<'_, P, S> {
    type Target = Planned;

    fn deref(&self) -> &Planned {
        &self.planned
    }
}

impl<P: Provider, S: StateStore> LockedPlan<'_, P, S> {
    /// A person agreed that the plan takes over resources of another home. Without that, such a plan is refused with
    /// [`Error::OtherHome`].
    pub fn agree_to_take_over(&mut self) {
        self.is_take_over = true;
    }

    /// The other homes whose resources the plan takes over, unless a person agreed to that.
    pub fn not_agreed(&self) -> Option<OtherHomes> {
        let homes = &self.planned.plan.other_homes;
        let home = &self.session.parts.stack.home;
        (!self.is_take_over && !homes.is_empty())
            .then(|| OtherHomes { homes: homes.clone(), home: home.as_str().to_owned() })
    }

    /// Why the budget of the stack refuses the plan, with the prices of the saved plan, if it is one.
    pub fn over_budget(&self) -> Option<OverBudget> {
        OverBudget::of(&self.session.parts.stack, self.planned.estimate.as_ref()?, self.prices.as_ref())
    }

    /// Executes the plan. Once `interrupt` is cancelled, it starts nothing new and ends every wait; what was done until then
    /// is recorded.
    pub async fn apply(self, events: &Events, interrupt: &CancellationToken) -> Result<Outcome, Error> {
        if let Some(others) = self.not_agreed() {
            return Err(Error::OtherHome(others));
        }
        if let Some(over) = self.over_budget() {
            return Err(Error::OverBudget(over));
        }
        let Self { session: Session { parts, session }, planned, is_take_over, .. } = self;
        let adoption = Adoption { former_home: planned.state.home.clone(), take_over: is_take_over };
        let settings = Settings::new(interrupt.clone()).with_home(&parts.stack.home, adoption);
        Ok(session.apply(&planned.plan, planned.state, &*parts.provider, &parts.rules, events, &settings).await?)
    }
}

/// Other homes whose resources a plan takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherHomes {
    /// Each of them, with the number of its resources.
    pub homes: Vec<OtherHome>,
    /// The home of this stack.
    pub home: String,
}

impl OtherHomes {
    /// What to do next.
    pub fn help(&self) -> &'static str {
        if self.homes.iter().any(|other| other.home.is_some()) {
            "run it from that home, or give this stack another name; to take these resources over permanently, add \
             `--take-over`"
        } else {
            "to take these resources over permanently, add `--take-over`; otherwise give this stack another name"
        }
    }
}

impl fmt::Display for OtherHomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let homes: Vec<String> = self.homes.iter().map(ToString::to_string).collect();
        write!(f, "{}; this is `{}`", homes.join(", and "), self.home)
    }
}

/// Why a saved plan is not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stale {
    /// What changed since the plan was made.
    pub moved: Moved,
}

impl Stale {
    /// How many differences are named.
    const NAMED: usize = 10;

    /// The sentence, with a name for the plan: a path in backticks.
    pub fn message_for(&self, plan: &str) -> String {
        match &self.moved {
            Moved::Stack(why) | Moved::Place(why) => format!("{plan} cannot be applied: {why}"),
            Moved::Content(different) => {
                let shown: String = different.iter().take(Self::NAMED).flat_map(|what| ["\n  ", what]).collect();
                let more = match different.len().saturating_sub(Self::NAMED) {
                    0 => String::new(),
                    more => format!("\n  and {more} more"),
                };
                format!("{plan} is out of date. Nothing was changed. Since it was made:{shown}{more}")
            }
        }
    }

    /// What to do next.
    pub fn help(&self) -> String {
        let again = "make a new plan with `trunnion plan … --out FILE`, read it, and apply that";
        match &self.moved {
            Moved::Stack(_) => "give the plan's stack file with `--stack FILE`".to_owned(),
            _ => again.to_owned(),
        }
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message_for("the saved plan"))
    }
}

impl std::error::Error for Stale {}

#[cfg(test)]
mod tests {
    use trunnion_stack::Stack;

    use super::*;
    use crate::{Engine, Options};

    #[test]
    fn every_future_can_move_between_threads() {
        fn sent<T: Send>(value: T) -> T {
            value
        }
        async fn every_future(stack: Stack, written: &Document) -> Result<(), Error> {
            let (request, interrupt) = (Request::new(), CancellationToken::new());
            let engine = sent(Engine::connect(stack, Options::new())).await?;
            sent(engine.plan(&request, &interrupt)).await?;
            let mut session = sent(engine.lock("apply")).await?;
            sent(session.plan_written(written, &interrupt)).await?;
            let plan = sent(session.plan(&request, &interrupt)).await?;
            sent(plan.apply(&Events::nowhere(), &interrupt)).await?;
            sent(session.release()).await?;
            sent(engine.close()).await;
            Ok(())
        }
        let _ = every_future;
    }

    #[test]
    fn the_error_of_a_stale_plan_has_its_path_and_ten_differences() {
        let moved = Moved::Content((0..12).map(|number| format!("difference {number}")).collect());
        let stale = Stale { moved };
        let message = stale.message_for("`plan.json`");
        assert!(
            message
                .starts_with("`plan.json` is out of date. Nothing was changed. Since it was made:\n  difference 0\n")
        );
        assert!(message.ends_with("\n  difference 9\n  and 2 more"), "{message}");
        let stale = Stale { moved: Moved::Place("why".to_owned()) };
        assert_eq!(stale.to_string(), "the saved plan cannot be applied: why");
    }
}
