//! Whose something is that a create finds in its place: only what is of this stack and of its home is adopted.

use std::sync::{PoisonError, RwLock};

use trunnion_kinds::{HOME_TAG, Tags};

use crate::{Aws, convert::is_ours};

/// What a create may adopt beside what is of the stack's home.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adoption {
    /// The home that the state recorded: an earlier one of the same stack.
    pub former_home: Option<String>,
    /// Whatever is of the stack's name, because a person agreed to a take-over.
    pub take_over: bool,
}

/// The same for all calls of a connection.
#[derive(Debug, Default)]
pub(crate) struct Owner(RwLock<Adoption>);

impl Aws {
    /// Says what creates may adopt from now on; without it, nothing but what is of the stack's home.
    pub fn let_adopt(&self, adoption: Adoption) {
        *self.owner.0.write().unwrap_or_else(PoisonError::into_inner) = adoption;
    }

    /// Whether tags say that something is this stack's, and of its home. What has no home is of an earlier version: the
    /// plan shows it, so that a create never meets it.
    pub(crate) fn owns(&self, tags: &Tags) -> bool {
        if !is_ours(tags, &self.connection.stack) {
            return false;
        }
        let adoption = self.owner.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_home = |home: &String| *home == self.connection.home || adoption.former_home.as_ref() == Some(home);
        adoption.take_over || tags.get(HOME_TAG).is_some_and(is_home)
    }
}
