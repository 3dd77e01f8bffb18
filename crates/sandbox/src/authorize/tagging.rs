//! The permissions of the Resource Groups Tagging API's calls.

use super::{Row, any};

pub(super) const PERMISSIONS: &[Row] = &[
    ("GetResources", &[("tag:GetResources", any)]),
    ("GetTagKeys", &[("tag:GetTagKeys", any)]),
    ("GetTagValues", &[("tag:GetTagValues", any)]),
];
