//! `protect`: the stack's own, that of each pool, and that of the control plane.

use std::collections::BTreeMap;

use trunnion_catalog::limits::MOST_TAGS;

use super::{Around, Pool, key::Key, key::or_else, kinds::Boolean, kinds::Readings};
use crate::{diagnostic::Findings, field::Map};

/// The key of a pool or of the control plane. Without it, the stack's own one holds.
pub(super) fn own() -> Key<Boolean> {
    // A mistake in the stack's own one has its own error.
    or_else(Boolean, "that of the stack", |_, around: &Around| around.protect.unwrap_or_default()).such_as(&["true"])
}

/// What is protected has one more tag of Trunnion.
pub(super) fn leaves_a_tag(
    top: &Map,
    tags: Option<&BTreeMap<String, String>>,
    is_protected: bool,
    pools: Option<&Readings<Pool>>,
    findings: &mut Findings,
) -> Option<()> {
    let is_protected = is_protected || pools.is_some_and(|pools| pools.valid.values().any(|pool| pool.protect));
    let most = MOST_TAGS - 7;
    let found = tags.map_or(0, BTreeMap::len);
    if !is_protected || found <= most {
        return Some(());
    }
    let says = format!("has {found} tags, but at most {most} are allowed with `protect`");
    let help = "remove some: AWS limits the tags of a resource, and seven of them are Trunnion's own";
    findings.about(&top.get("tags")?, "stack::tag", says, help);
    None
}
