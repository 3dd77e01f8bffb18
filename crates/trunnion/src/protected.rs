//! The error of a plan that would delete or replace what is protected.

use std::collections::BTreeMap;

use trunnion_blueprint::protecting_key;
use trunnion_engine::{Action, Address, Protected, ProtectedBy};
use trunnion_stack::Stack;

use crate::Error;

/// How many resources of one pool and reason are named.
const NAMED: usize = 3;

/// One diagnostic for each pool and reason, at the key that protects it.
pub(crate) fn error(stack: &Stack, refused: &[Protected], is_destroy: bool) -> Error {
    let mut alike: BTreeMap<_, Vec<&Protected>> = BTreeMap::new();
    for one in refused {
        let Address { kind, name, .. } = &one.address;
        alike.entry((kind, name, one.action, &one.because, one.by == ProtectedBy::Stack)).or_default().push(one);
    }
    let diagnostic = |group: Vec<&Protected>| {
        let first = group.first()?;
        let key = match first.by {
            ProtectedBy::Stack => written(stack, &protecting_key(&first.address)),
            ProtectedBy::Tag(_) => "pools".to_owned(),
        };
        Some(stack.sources.diagnostic(
            &key,
            "plan::protected",
            message(&group, first),
            Some(help(first, &key, is_destroy)),
        ))
    };
    Error::Refused(alike.into_values().filter_map(diagnostic).collect())
}

/// The key of the file that protects: its own, or that of the whole stack.
fn written(stack: &Stack, own: &str) -> String {
    if stack.sources.has(own) { own.to_owned() } else { "protect".to_owned() }
}

fn message(group: &[&Protected], first: &Protected) -> String {
    let named: Vec<String> = group.iter().take(NAMED).map(|one| format!("`{}` (`{}`)", one.address, one.id)).collect();
    let more = match group.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let is = if group.len() == 1 { "is" } else { "are" };
    let action = if first.action == Action::Replace { "replaced" } else { "deleted" };
    format!("{}{more} {is} protected and would be {action}: {}. Nothing was changed", named.join(", "), first.because)
}

fn help(first: &Protected, key: &str, is_destroy: bool) -> String {
    match first.by {
        ProtectedBy::Stack if is_destroy => format!("remove `{key}` from the stack file to allow it"),
        ProtectedBy::Stack if first.is_asked => format!("leave out its `--replace`, or remove `{key}` to allow it"),
        ProtectedBy::Stack => format!(
            "take the change back, leave it out with `--exclude {}`, or remove `{key}` to allow it",
            named(&first.address)
        ),
        ProtectedBy::Tag(tag) => format!(
            "its tag `{tag}` remembers that it was applied with `protect: true`: put it back into the stack file without \
             `protect`, apply, and remove it then"
        ),
    }
}

/// All resources of a pool and kind.
fn named(address: &Address) -> Address {
    Address { index: None, ..address.clone() }
}
