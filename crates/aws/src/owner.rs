//! Whose something is that a create finds in its place: only what is of this stack and of its home is adopted.

use trunnion_kinds::{HOME_TAG, Tags};

use crate::{Aws, context, convert::is_ours};

impl Aws {
    /// Whether tags say that something is this stack's, and of its home. What has no home is of an earlier version: the
    /// plan shows it, so that a create never meets it.
    pub(crate) fn owns(&self, tags: &Tags) -> bool {
        if !is_ours(tags, &self.connection.stack) {
            return false;
        }
        let adoption = context::current().map(|context| context.adoption).unwrap_or_default();
        let is_home = |home: &String| *home == self.connection.home || adoption.former_home.as_ref() == Some(home);
        adoption.take_over || tags.get(HOME_TAG).is_some_and(is_home)
    }
}
