//! Decides whether a create may adopt an existing resource: only if it belongs to this stack and to its home.

use trunnion_kinds::{HOME_TAG, Tags};

use crate::{Aws, context, convert::is_ours};

impl Aws {
    /// Whether tags belong to this stack and its home. Tags without a home come from an earlier version; the plan shows
    /// such resources, so a create never finds one.
    pub(crate) fn owns(&self, tags: &Tags) -> bool {
        if !is_ours(tags, &self.connection.stack) {
            return false;
        }
        let adoption = context::current().map(|context| context.adoption).unwrap_or_default();
        let is_home = |home: &String| *home == self.connection.home || adoption.former_home.as_ref() == Some(home);
        adoption.take_over || tags.get(HOME_TAG).is_some_and(is_home)
    }
}
