//! The condition keys that policies ask for.

use std::collections::BTreeSet;

use super::{
    Unknown,
    context::Context,
    document::{Policy, Statement},
    evaluate::Policies,
};

/// The keys in conditions and variables of the statements for an action. A statement whose action has a variable counts.
pub(crate) fn keys_for(policies: &Policies, action: &str) -> Result<BTreeSet<String>, Unknown> {
    let mut keys = BTreeSet::new();
    let all = policies.identity.iter().chain(&policies.boundary);
    for named in all {
        let unreadable = |reason| Unknown::Policy { policy: named.name.clone(), reason };
        if named.document.is_empty() {
            return Err(unreadable("the sandbox does not have its document".to_owned()));
        }
        for statement in &Policy::read(&named.document).map_err(unreadable)?.statements {
            if concerns(statement, action) {
                keys.extend(statement.conditions.iter().flat_map(super::condition::Condition::keys));
                let resources = statement.resources.iter().flat_map(|resources| &resources.items);
                keys.extend(resources.flat_map(super::pattern::Pattern::variables));
            }
        }
    }
    Ok(keys)
}

fn concerns(statement: &Statement, action: &str) -> bool {
    let nothing = Context::default();
    let matches = statement.actions.items.iter().any(|one| one.matches(action, &nothing, true).unwrap_or(true));
    matches != statement.actions.negated
}
