//! Plans that take in one resource that the stack did not create.

use super::{Action, Plan, PlanError, PlanOptions, exclusion, plan, protection};
use crate::{Address, Graph, Observed, Remote, RuleBook, State};

/// Why a resource cannot become the one at an address.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoImport {
    /// There is no such resource.
    #[error("it does not exist")]
    Missing,
    /// Another stack has it, or one of another home.
    #[error("it belongs to {0}")]
    OfAnother(String),
    /// It is at another address that the stack asks for.
    #[error("it is `{0}` already")]
    Elsewhere(Address),
    /// Another resource is at the address.
    #[error("`{0}` is there already")]
    Occupied(String),
    /// A part of what the address needs does not exist.
    #[error("it needs `{0}`, which does not exist yet")]
    Needs(Address),
    /// A difference cannot change in place.
    #[error("{because}")]
    Differs {
        /// What forces a replacement.
        because: String,
        /// The plan that would replace it.
        plan: Box<Plan>,
    },
}

/// A plan that changes this resource in place to what the stack asks for at this address, its tags included, and nothing
/// else. One that is there already may have been taken in by a command that did not end.
///
/// # Errors
/// When the stack does not ask for the address, another resource is there already, a part of what the address needs is missing,
/// or a difference cannot change in place.
pub fn importing(
    desired: &Graph,
    observed: &Observed,
    recorded: &State,
    rules: &RuleBook,
    address: &Address,
    remote: &Remote,
) -> Result<Plan, PlanError> {
    let refused =
        |reason: NoImport| PlanError::CannotImport { address: address.clone(), id: remote.id.clone(), reason };
    let Some(resource) = desired.resources().get(address) else {
        return Err(PlanError::NotAsked { address: address.clone(), one: None });
    };
    let is_other = |it: &&Remote| !it.is_spent && !it.is_untagged && it.id != remote.id;
    if let Some(there) = observed.remotes.get(address).and_then(|remotes| remotes.iter().find(is_other)) {
        return Err(refused(NoImport::Occupied(there.id.clone())));
    }
    let is_there =
        |address: &Address| observed.remotes.contains_key(address) || !desired.resources().contains_key(address);
    if let Some(missing) = resource.dependencies().into_iter().find(|need| !is_there(need)) {
        return Err(refused(NoImport::Needs(missing.clone())));
    }
    let mut observed = observed.clone();
    let elsewhere = observed
        .remotes
        .iter()
        .find(|(at, remotes)| at.kind == address.kind && remotes.iter().any(|it| it.id == remote.id));
    if let Some((at, _)) = elsewhere.filter(|(at, _)| *at != address && desired.resources().contains_key(*at)) {
        return Err(refused(NoImport::Elsewhere(at.clone())));
    }
    observed.remotes.insert(address.clone(), vec![remote.clone()]);
    observed.taken.remove(address);
    let options = PlanOptions {
        targets: vec![address.clone()],
        exclude: exclusion::needed_by(desired, address)
            .into_iter()
            .filter(|need| desired.resources().contains_key(*need))
            .cloned()
            .collect(),
        ..PlanOptions::default()
    };
    let mut plan = plan(desired, &observed, recorded, rules, &options)?;
    plan.notes.clear();
    let replaced = plan.changes.iter().find(|change| change.address == *address && change.action == Action::Replace);
    if let Some(change) = replaced {
        let because = protection::because(desired, &plan.changes, rules, change);
        return Err(refused(NoImport::Differs { because, plan: Box::new(plan) }));
    }
    Ok(plan)
}
