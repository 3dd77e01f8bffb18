//! The condition keys of a request: set, known to be absent, or unknown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::authorize::reference;

/// The values of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Values {
    /// Of a key that has one value.
    One(String),
    /// Of a key that can have several.
    Many(Vec<String>),
}

impl From<String> for Values {
    fn from(value: String) -> Self {
        Self::One(value)
    }
}

impl From<&str> for Values {
    fn from(value: &str) -> Self {
        Self::One(value.to_owned())
    }
}

impl From<bool> for Values {
    fn from(value: bool) -> Self {
        Self::One(value.to_string())
    }
}

impl From<Vec<String>> for Values {
    fn from(values: Vec<String>) -> Self {
        Self::Many(values)
    }
}

/// What a context says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked<'c> {
    /// The request has it.
    Set(&'c Values),
    /// The request is known not to have it.
    Absent,
    /// Whether AWS would set it is not known.
    Unknown,
}

/// The condition keys of a request. Names of keys are compared regardless of case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Values by key.
    set: BTreeMap<String, Values>,
    /// Keys that the request does not have. One that ends in `/` stands for all keys that begin with it.
    absent: BTreeSet<String>,
    /// Keys of which nobody here knows whether the request has them.
    #[serde(default)]
    unknown: BTreeSet<String>,
}

impl Context {
    /// Sets a key.
    pub(crate) fn set(&mut self, key: impl Into<String>, values: impl Into<Values>) {
        self.set.insert(key.into(), values.into());
    }

    /// Says that the request does not have a key, unless it is set.
    pub(crate) fn absent(&mut self, key: impl Into<String>) {
        self.absent.insert(key.into());
    }

    /// Says that nobody here knows whether the request has a key.
    pub(crate) fn unknown(&mut self, key: impl Into<String>) {
        self.unknown.insert(key.into());
    }

    /// What the request has for a key. A key that AWS knows, but not for this action, is absent.
    pub(crate) fn look(&self, key: &str) -> Looked<'_> {
        let is_it = |other: &String| other.eq_ignore_ascii_case(key);
        if let Some((_, values)) = self.set.iter().find(|(other, _)| is_it(other)) {
            return Looked::Set(values);
        }
        let begins = |family: &String| {
            family.ends_with('/') && key.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family))
        };
        let holds = |keys: &BTreeSet<String>| keys.iter().any(|other| is_it(other) || begins(other));
        if !holds(&self.unknown) && (holds(&self.absent) || reference::is_known(key)) {
            Looked::Absent
        } else {
            Looked::Unknown
        }
    }
}
