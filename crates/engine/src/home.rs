//! The homes of a stack's resources: this home, another one, or none yet.
//!
//! Two stacks of one name see the same resources, because they are found by their tags. So each resource also says which
//! home its stack has, and a plan names those of another home before anything is done to them.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Action, Address, Change, Map, Observed, Recorded, Remote, RuleBook, State, diff};

/// How resources say which home their stack has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HomeRule {
    /// The tag that says it, in the attribute `tags`.
    pub tag: &'static str,
    /// The kind whose home changes after everything else was done: until then, a take-over is not complete.
    pub last: &'static str,
}

/// Resources of the stack that are not of its home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OtherHome {
    /// Their home; without one, an earlier version applied them, and the state does not know them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// How many they are.
    pub count: usize,
    /// Some of their addresses.
    pub addresses: Vec<Address>,
}

impl fmt::Display for OtherHome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (resources, have) = if self.count == 1 { ("resource", "has") } else { ("resources", "have") };
        match &self.home {
            Some(home) => {
                write!(f, "a stack of this name was applied from another home, `{home}` ({} {resources})", self.count)
            }
            None => write!(f, "{} {resources} of an earlier version {have} no home yet", self.count),
        }
    }
}

impl OtherHome {
    /// How many addresses are named.
    const NAMED: usize = 3;
}

/// What a create may take over beside resources of the stack's own home.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adoption {
    /// The home that the state recorded: an earlier one of the same stack.
    pub former_home: Option<String>,
    /// Everything that has the stack's name, because a person agreed to a take-over.
    pub take_over: bool,
}

/// The home that the tags of something say.
fn tagged<'a>(attributes: &'a Map, tag: &str) -> Option<&'a str> {
    attributes.get("tags")?.as_map()?.get(tag)?.as_text()
}

/// The homes of observed resources that are not the stack's own, which are its current home and the one that its state
/// recorded. A resource without a home is the stack's if the state knows its id.
pub(crate) fn others(observed: &Observed, recorded: &State, rules: &RuleBook, home: &str) -> Vec<OtherHome> {
    let Some(rule) = rules.home() else { return Vec::new() };
    let mut others: BTreeMap<Option<&str>, Vec<&Address>> = BTreeMap::new();
    for (address, remotes) in &observed.remotes {
        // Resources whose tags never change belong to what contains them; spent ones can only be deleted.
        let is_counted = rules.get(&address.kind).is_some_and(|rules| !rules.attribute("tags").create_only);
        for remote in remotes.iter().filter(|remote| is_counted && !remote.is_spent) {
            let is_ours = match tagged(&remote.attributes, rule.tag) {
                Some(found) => found == home || recorded.home.as_deref() == Some(found),
                None => knows(recorded, address, remote),
            };
            if !is_ours {
                others.entry(tagged(&remote.attributes, rule.tag)).or_default().push(address);
            }
        }
    }
    let named = |addresses: &[&Address]| addresses.iter().take(OtherHome::NAMED).map(|&at| at.clone()).collect();
    let other = |(home, addresses): (Option<&str>, Vec<&Address>)| OtherHome {
        home: home.map(crate::plain),
        count: addresses.len(),
        addresses: named(&addresses),
    };
    others.into_iter().map(other).collect()
}

/// Whether the state knows a resource by its id.
fn knows(recorded: &State, address: &Address, remote: &Remote) -> bool {
    let is_it = |(at, found): (&Address, &Recorded)| at.kind == address.kind && found.id == remote.id;
    recorded.resources.get_key_value(address).is_some_and(is_it) || recorded.resources.iter().any(is_it)
}

/// The path of the difference that a change of the home is.
pub(crate) fn path(rule: HomeRule) -> String {
    diff::step_into("tags", rule.tag)
}

/// Whether a change sets the home of the resource whose home is set last.
pub(crate) fn is_last(rules: &RuleBook, change: &Change) -> bool {
    rules.home().is_some_and(|rule| {
        let path = path(rule);
        change.address.kind.as_str() == rule.last
            && change.action == Action::Update
            && change.differences.iter().any(|(difference, _)| difference.path == path)
    })
}

#[cfg(test)]
mod tests;
