//! The plan document: the plan as JSON, versioned, with a published schema. Every human view of a plan is made from it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{
    Address, Difference, Map, Plan, RuleBook, Value,
    plan::{Action, Cause, Note, Operation, Reason},
};

/// A plan as it is written down. Nothing in it depends on the time or place it was made at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Trunnion plan")]
pub struct Document {
    /// Version of this format: 1.
    pub format: u32,
    /// The stack's name.
    pub stack: String,
    /// How the plan was asked for: whoever applies it asks the same again and compares.
    pub origin: Origin,
    /// The state it was made with.
    pub state: StateReference,
    /// SHA-256 of what the stack asks for.
    pub digest: String,
    /// How many resources each action concerns.
    pub summary: Summary,
    /// One entry per resource, in the order of addresses; unchanged ones are named only.
    pub changes: Vec<DocumentChange>,
    /// What apply does, each step behind those it waits for.
    pub steps: Vec<DocumentStep>,
    /// What is worth telling.
    pub notes: Vec<Note>,
}

/// How a plan was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// The stack file, as it was named.
    pub file: String,
    /// The environment chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Whether it is a plan for the sandbox in the process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandbox: bool,
    /// Whether everything is to go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destroy: bool,
    /// The only addresses planned for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Whether the newest images were asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub update_images: bool,
    /// Whether the newest generator and boot script were asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub update_generator: bool,
}

/// Which state document a plan was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateReference {
    /// Its line; empty before the first apply.
    pub lineage: String,
    /// Its number in the line.
    pub serial: u64,
}

/// How many resources each action concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Made.
    pub create: usize,
    /// Changed in place.
    pub update: usize,
    /// Deleted and made anew.
    pub replace: usize,
    /// Deleted.
    pub delete: usize,
    /// Left as they are.
    pub unchanged: usize,
}

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentChange {
    /// Its address, as in `instance.heavy[2]`.
    pub address: String,
    /// What happens.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// What the cloud calls the one that stands there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The attributes that make it happen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<DocumentDifference>,
    /// What a new resource will look like; a reference is `{"$reference": "address#attribute"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Json>,
    /// SHA-256 of what stands there now: apply refuses when it is something else by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_digest: Option<String>,
}

/// One attribute that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentDifference {
    /// Path of the attribute.
    pub path: String,
    /// What it is; absent where it is not there; a digest where it is sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Json>,
    /// What it shall be; absent where it shall go; a digest where it is sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Json>,
    /// Since when it differs.
    pub cause: Cause,
    /// Whether it forces a replacement.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forces_replacement: bool,
    /// Whether it is sensitive.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
    /// Whether its text holds JSON.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
}

/// One step of apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentStep {
    /// The address it is about.
    pub address: String,
    /// What is done.
    pub operation: Operation,
    /// Positions, from 0, of the steps that must have succeeded before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<usize>,
}

impl Document {
    /// The format this version writes and reads.
    pub const FORMAT: u32 = 1;

    /// Writes a plan down. Sensitive values become digests.
    pub fn new(plan: &Plan, origin: Origin, rules: &RuleBook) -> Self {
        let mut summary = Summary::default();
        let mut changes = Vec::with_capacity(plan.changes.len());
        for change in &plan.changes {
            *match change.action {
                Action::None => &mut summary.unchanged,
                Action::Create => &mut summary.create,
                Action::Update => &mut summary.update,
                Action::Replace => &mut summary.replace,
                Action::Delete => &mut summary.delete,
            } += 1;
            let is_touched = change.action != Action::None;
            let shown = matches!(change.action, Action::Create | Action::Replace);
            changes.push(DocumentChange {
                address: change.address.to_string(),
                action: change.action,
                reason: change.reason.clone(),
                id: change.remote.as_ref().map(|remote| remote.id.clone()),
                differences: change
                    .differences
                    .iter()
                    .map(|(difference, cause)| written(difference, cause, &change.address, rules))
                    .collect(),
                desired: change
                    .desired
                    .as_ref()
                    .filter(|_| shown)
                    .map(|desired| Value::Map(lasting(desired, &change.address, rules)).into()),
                observed_digest: change
                    .remote
                    .as_ref()
                    .filter(|_| is_touched)
                    .map(|remote| Value::Map(remote.attributes.clone()).digest()),
            });
        }
        let steps = plan
            .steps
            .iter()
            .map(|step| DocumentStep {
                address: plan.changes[step.change].address.to_string(),
                operation: step.operation,
                after: step.after.clone(),
            })
            .collect();
        let (lineage, serial) = plan.state.clone();
        Self {
            format: Self::FORMAT,
            stack: plan.stack.clone(),
            origin,
            state: StateReference { lineage, serial },
            digest: plan.digest.clone(),
            summary,
            changes,
            steps,
            notes: plan.notes.clone(),
        }
    }

    /// The schema of the document.
    pub fn json_schema() -> Json {
        schemars::schema_for!(Document).to_value()
    }

    /// The addresses of which `self` and a later plan of the same origin say different things, each with what moved.
    pub fn moved(&self, later: &Self) -> Vec<String> {
        let mut moved = Vec::new();
        if self.stack != later.stack {
            return vec![format!("it is a plan of `{}`, and the file is now the stack `{}`", self.stack, later.stack)];
        }
        if self.digest != later.digest {
            moved.push("the stack asks for something else than it did".to_owned());
        }
        if self.state.lineage != later.state.lineage {
            moved.push("the state is another one".to_owned());
        } else if self.state.serial != later.state.serial {
            moved.push(format!(
                "the state is at serial {}, the plan was made at {}",
                later.state.serial, self.state.serial
            ));
        }
        let by_address = |document: &Self| -> BTreeMap<(String, Option<String>), DocumentChange> {
            let key = |change: &DocumentChange| (change.address.clone(), change.id.clone());
            document.changes.iter().map(|change| (key(change), change.clone())).collect()
        };
        let (before, now) = (by_address(self), by_address(later));
        let mut addresses: Vec<&String> = before
            .iter()
            .filter(|(key, change)| now.get(key) != Some(change))
            .chain(now.iter().filter(|(key, _)| !before.contains_key(key)))
            .map(|((address, _), _)| address)
            .collect();
        addresses.sort();
        addresses.dedup();
        moved.extend(addresses.into_iter().map(|address| format!("`{address}` is not as it was")));
        if moved.is_empty() && self != later {
            moved.push("the plan of now is another one".to_owned());
        }
        moved
    }
}

fn written(difference: &Difference, cause: &Cause, address: &Address, rules: &RuleBook) -> DocumentDifference {
    let rule = rules.get(&address.kind).map(|rules| rules.attribute(&difference.path)).unwrap_or_default();
    let show = |value: &Option<Value>| {
        value.as_ref().map(|value| if difference.sensitive { mask(value).into() } else { value.clone().into() })
    };
    DocumentDifference {
        path: difference.path.clone(),
        before: show(&difference.before),
        after: show(&difference.after),
        cause: cause.clone(),
        forces_replacement: difference.forces_replacement,
        sensitive: difference.sensitive,
        json: rule.json,
    }
}

fn mask(value: &Value) -> Value {
    Value::Text(format!("sha256:{}", value.digest()))
}

/// Attributes without those that only a create call needs, with digests for what is sensitive.
pub(crate) fn lasting(attributes: &Map, address: &Address, rules: &RuleBook) -> Map {
    let mut shown = masked(attributes, address, rules);
    if let Some(rules) = rules.get(&address.kind) {
        shown.retain(|name, _| !rules.attribute(name).create_only);
    }
    shown
}

/// Attributes with digests for what is sensitive.
fn masked(attributes: &Map, address: &Address, rules: &RuleBook) -> Map {
    fn walk(path: &str, value: &Value, rules: &crate::Rules) -> Value {
        if rules.attribute(path).sensitive && *value != Value::Null {
            return mask(value);
        }
        match value {
            Value::Map(map) => Value::Map(
                map.iter().map(|(key, value)| (key.clone(), walk(&format!("{path}.{key}"), value, rules))).collect(),
            ),
            Value::List(list) => Value::List(
                list.iter().enumerate().map(|(index, value)| walk(&format!("{path}[{index}]"), value, rules)).collect(),
            ),
            other => other.clone(),
        }
    }
    match rules.get(&address.kind) {
        Some(rules) if rules.attributes.iter().any(|(_, rule)| rule.sensitive) => {
            attributes.iter().map(|(name, value)| (name.clone(), walk(name, value, rules))).collect()
        }
        _ => attributes.clone(),
    }
}
