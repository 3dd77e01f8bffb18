//! Plans that take in one resource that the stack did not create.

use super::{Action, Plan, PlanError, PlanOptions, exclusion, plan, protection};
use crate::{Address, Graph, Observed, Remote, RuleBook, State};

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
    let refused = |reason: String| PlanError::CannotImport { address: address.clone(), id: remote.id.clone(), reason };
    let Some(resource) = desired.resources().get(address) else {
        return Err(PlanError::NotAsked(address.clone()));
    };
    let is_other = |it: &&Remote| !it.is_spent && !it.is_untagged && it.id != remote.id;
    if let Some(there) = observed.remotes.get(address).and_then(|remotes| remotes.iter().find(is_other)) {
        return Err(refused(format!("`{}` is there already", there.id)));
    }
    let is_there =
        |address: &Address| observed.remotes.contains_key(address) || !desired.resources().contains_key(address);
    if let Some(missing) = resource.dependencies().into_iter().find(|need| !is_there(need)) {
        return Err(refused(format!("it needs `{missing}`, which does not exist yet")));
    }
    let mut observed = observed.clone();
    let elsewhere = observed
        .remotes
        .iter()
        .find(|(at, remotes)| at.kind == address.kind && remotes.iter().any(|it| it.id == remote.id));
    if let Some((at, _)) = elsewhere.filter(|(at, _)| *at != address && desired.resources().contains_key(*at)) {
        return Err(refused(format!("it is `{at}` already")));
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
        return Err(refused(protection::because(desired, &plan.changes, rules, change)));
    }
    Ok(plan)
}
