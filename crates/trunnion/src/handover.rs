//! Gives a resource away, or takes one in that the stack did not create.

use tokio_util::sync::CancellationToken;
use trunnion_blueprint as blueprint;
use trunnion_engine::{
    Address, Context, Marks, NoImport, PlanError, Provider, Remote, State, StateStore, forgetting, importing,
    move_observed, move_recorded,
};
use trunnion_kinds::{
    EcsTaskDefinition, HOME_TAG, IamInstanceProfile, IamRole, S3Object, STACK_TAG, TAG_PREFIX, Value,
};

use crate::{
    Error,
    connected::{Aim, Parts, Planned, addresses, explained},
    options::Request,
};

/// Why the tags of a kind do not decide whose its resources are.
fn not_by_tags(address: &Address) -> Option<&'static str> {
    match address.kind.as_str() {
        IamRole::KIND | IamInstanceProfile::KIND => Some("its path in IAM makes it the stack's"),
        S3Object::KIND => Some("it is in the stack's bucket"),
        EcsTaskDefinition::KIND => Some("its family makes it the stack's"),
        _ => None,
    }
}

impl<P: Provider, S: StateStore> Parts<P, S> {
    /// Plans to take the stack's tags off these addresses.
    pub(crate) async fn plan_to_forget(
        &self,
        mut state: State,
        named: &[String],
        interrupt: &CancellationToken,
    ) -> Result<Planned, Error> {
        let stack = &self.stack;
        let desired = blueprint::outline(stack, true).map_err(|error| Error::blueprint(stack, error))?;
        let named = addresses(named, &desired)?;
        let moves = blueprint::moves(stack);
        move_recorded(&mut state, &moves);
        let mut observed = self.provider.observe(&desired, &state, &Context::new(interrupt.clone())).await?;
        move_observed(&mut observed, &moves);
        let marks = Marks { prefix: TAG_PREFIX, home: &stack.home };
        let plan = forgetting(&desired, &observed, &state, &self.rules, &named, marks)
            .map_err(|error| explained(error, &desired, &observed))?;
        for change in &plan.changes {
            if let Some(reason) = not_by_tags(&change.address) {
                return Err(Error::CannotForget { address: change.address.clone(), reason });
            }
        }
        Ok(Planned { plan, state, place: self.place().clone(), identity: self.provider.identity(), estimate: None })
    }

    /// Plans to make this resource the one at an address.
    pub(crate) async fn plan_to_import(
        &self,
        mut state: State,
        named: &str,
        id: &str,
        interrupt: &CancellationToken,
    ) -> Result<Planned, Error> {
        let (request, context) = (Request::new().with_targets([named]), Context::new(interrupt.clone()));
        let moves = blueprint::moves(&self.stack);
        move_recorded(&mut state, &moves);
        let Aim { desired, observed, options, .. } = self.aim(&state, &request, moves, &context).await?;
        let Some(address) = options.targets.first() else { return Err(Error::Interrupted) };
        if !desired.resources().contains_key(address) {
            let is_meant =
                |it: &&Address| address.index.is_none() && (&it.kind, &it.name) == (&address.kind, &address.name);
            let one = desired.resources().keys().find(is_meant).cloned();
            return Err(PlanError::NotAsked { address: address.clone(), one }.into());
        }
        let found = self.provider.find(&address.kind, id, &context).await?;
        let refused =
            |reason: NoImport| PlanError::CannotImport { address: address.clone(), id: id.to_owned(), reason };
        let Some(remote) = found else { return Err(refused(NoImport::Missing).into()) };
        let is_other = |key: &str, own: &str| tag(&remote, key).filter(|found| *found != own).map(str::to_owned);
        if let Some(other) = is_other(STACK_TAG, &self.stack.name) {
            return Err(refused(NoImport::OfAnother(format!("the stack `{other}`"))).into());
        }
        if let Some(other) = is_other(HOME_TAG, &self.stack.home) {
            return Err(refused(NoImport::OfAnother(format!("a stack of another home, `{other}`"))).into());
        }
        let planned = |plan| Planned {
            plan,
            state: state.clone(),
            place: self.place().clone(),
            identity: self.provider.identity(),
            estimate: None,
        };
        match importing(&desired, &observed, &state, &self.rules, address, &remote) {
            Ok(plan) => Ok(planned(plan)),
            Err(PlanError::CannotImport { reason: NoImport::Differs { because, plan }, address, id }) => {
                let planned = Box::new(planned(plan.as_ref().clone()));
                let error = PlanError::CannotImport { reason: NoImport::Differs { because, plan }, address, id };
                Err(Error::Differs { error, planned })
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn tag<'r>(remote: &'r Remote, key: &str) -> Option<&'r str> {
    remote.attributes.get("tags").and_then(Value::as_map)?.get(key)?.as_text()
}
