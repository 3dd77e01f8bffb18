//! The plan document: the plan as JSON, versioned, with a published schema. Every human view of a plan is made from it.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{
    Address, Difference, Map, OtherHome, Plan, RuleBook, Value,
    plan::{Action, Cause, Note, Operation, Reason},
};

/// A plan as it is written down. Nothing in it depends on the time or place it was made at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Trunnion plan")]
pub struct Document {
    /// Version of this format: 1.
    pub format: u32,
    /// The stack's name.
    pub stack: String,
    /// How the plan was asked for: whoever applies it asks the same again and compares.
    pub origin: Origin,
    /// Where it was made. A remark, but for the account, the region and the kind of endpoint: those are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Who made it, as the ARN that the cloud knows it by. A remark: somebody else may apply the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Whether it covers targets only, and not the whole stack.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
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
    /// Whose resources it would take over: apply refuses unless a person agrees to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_homes: Vec<OtherHome>,
}

/// How a plan was asked for.
#[expect(clippy::struct_excessive_bools, reason = "each one is an independent flag of the command")]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The stack file: in a written plan, relative to the folder of the plan.
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
    /// The addresses whose replacement was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replace: Vec<String>,
    /// Whether the newest images were asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub update_images: bool,
    /// Whether the newest generator and boot script were asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub update_generator: bool,
}

/// Where a plan was made: which account and region, reached how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// How it was reached.
    pub endpoint: Endpoint,
}

/// What answers the calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// AWS itself.
    Aws,
    /// Something else that speaks AWS's protocols, at this URL; or which services are where, if not all are at one.
    Url(String),
    /// The sandbox inside the process, its data in this folder.
    Sandbox(String),
}

impl Place {
    /// Whether both speak of the same account and region, reached in the same way. Another URL is the same way.
    pub fn is_alike(&self, other: &Self) -> bool {
        let kind = std::mem::discriminant(&self.endpoint) == std::mem::discriminant(&other.endpoint);
        kind && self.account == other.account && self.region == other.region
    }

    /// How a state document names it: `aws/123456789012/eu-west-3`, `sandbox/…`, `http://127.0.0.1:4600/…`.
    pub fn key(&self) -> String {
        let endpoint = match &self.endpoint {
            Endpoint::Aws => "aws",
            Endpoint::Sandbox(_) => "sandbox",
            Endpoint::Url(url) => url.trim_end_matches('/'),
        };
        format!("{endpoint}/{}/{}", self.account, self.region)
    }

    /// Reads what [`Place::key`] wrote; the folder of a sandbox is not in it.
    pub fn of_key(key: &str) -> Option<Self> {
        let mut parts = key.rsplitn(3, '/');
        let (region, account, endpoint) = (parts.next()?, parts.next()?, parts.next()?);
        let endpoint = match endpoint {
            "aws" => Endpoint::Aws,
            "sandbox" => Endpoint::Sandbox(String::new()),
            url => Endpoint::Url(url.to_owned()),
        };
        Some(Self { account: account.to_owned(), region: region.to_owned(), endpoint })
    }
}

/// `account 123456789012 · eu-west-3 · AWS`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account {} · {} · {}", self.account, self.region, self.endpoint)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aws => f.write_str("AWS"),
            Self::Url(url) => f.write_str(url),
            Self::Sandbox(folder) if folder.is_empty() => f.write_str("sandbox"),
            Self::Sandbox(folder) => write!(f, "sandbox in {folder}"),
        }
    }
}

/// Which state document a plan was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateReference {
    /// Its line; empty before the first apply.
    pub lineage: String,
    /// Its number in the line.
    pub serial: u64,
}

/// How many resources each action concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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
    /// Addresses that no target covers: nothing is said of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_covered: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
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
        let mut summary = Summary { not_covered: plan.not_covered, ..Summary::default() };
        let mut changes = Vec::with_capacity(plan.changes.len());
        // What no target covers is in the plan for the sake of the others, which refer to it.
        for change in plan.changes.iter().filter(|change| change.reason != Reason::NotSelected) {
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
            place: None,
            identity: None,
            partial: !plan.is_whole,
            state: StateReference { lineage, serial },
            digest: plan.digest.clone(),
            summary,
            changes,
            steps,
            notes: plan.notes.clone(),
            other_homes: plan.other_homes.clone(),
        }
    }

    /// The schema of the document.
    pub fn json_schema() -> Json {
        schemars::schema_for!(Document).to_value()
    }

    /// Why a later plan of the same origin is not this one; nothing where it is. Notes and who made the plan do not count.
    pub fn moved(&self, later: &Self) -> Option<Moved> {
        if self.stack != later.stack {
            let message = format!("it is a plan of `{}`, and the file is now the stack `{}`", self.stack, later.stack);
            return Some(Moved::Stack(message));
        }
        if let (Some(made), Some(here)) = (&self.place, &later.place)
            && !made.is_alike(here)
        {
            return Some(Moved::Place(format!("it was made for {made}, and this is {here}")));
        }
        if self.state.lineage != later.state.lineage {
            return Some(Moved::State(self.another_state(later)));
        }
        let same = Self {
            place: self.place.clone(),
            identity: self.identity.clone(),
            notes: self.notes.clone(),
            ..later.clone()
        };
        (same != *self).then(|| Moved::Content(self.different(&same)))
    }

    fn another_state(&self, later: &Self) -> String {
        match (self.state.lineage.is_empty(), later.state.lineage.is_empty()) {
            (false, true) => {
                format!("it was made with a state, at serial {}, and there is no state here", self.state.serial)
            }
            (true, _) => format!(
                "it was made without a state, and the state here is at serial {}: the stack was applied since, or this \
                 is the state of another place",
                later.state.serial
            ),
            (false, false) => "it was made with another state than the one here".to_owned(),
        }
    }

    /// One sentence for each thing that is different. Since when an attribute differs, and why, follows from the state
    /// and is no difference by itself.
    fn different(&self, later: &Self) -> Vec<String> {
        let mut different = Vec::new();
        if self.digest != later.digest {
            different.push("the stack asks for something else than it did".to_owned());
        }
        if self.other_homes != later.other_homes {
            different.push("other resources belong to another home than did".to_owned());
        }
        if self.state.serial != later.state.serial {
            let (now, then) = (later.state.serial, self.state.serial);
            different.push(format!("the state is at serial {now}, the plan was made at {then}"));
        }
        let (before, now) = (by_address(self), by_address(later));
        let mut addresses: Vec<&String> = before.keys().chain(now.keys()).collect();
        addresses.sort();
        addresses.dedup();
        for address in addresses {
            let changes = |of: &BTreeMap<_, Vec<DocumentChange>>| of.get(address).cloned().unwrap_or_default();
            let (planned, would) = (changes(&before), changes(&now));
            if planned == would {
                continue;
            }
            let (planned, would) = (actions(&planned), actions(&would));
            different.push(if planned == would {
                format!("`{address}` is not as the plan saw it")
            } else {
                format!("`{address}`: the plan says {planned}, a fresh one says {would}")
            });
        }
        if different.is_empty() {
            different.push("a fresh plan says something else in its steps or reasons".to_owned());
        }
        different
    }
}

/// Why a plan made now is not the one that was written down: one sentence, or one for each thing that is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// It is the plan of another stack.
    Stack(String),
    /// It was made for another account or region, or for a sandbox.
    Place(String),
    /// It was made with a state that is not the one here.
    State(String),
    /// The stack, the state or the cloud went on.
    Content(Vec<String>),
}

/// The changes by address, without what only explains them.
fn by_address(document: &Document) -> BTreeMap<String, Vec<DocumentChange>> {
    let mut changes: BTreeMap<String, Vec<DocumentChange>> = BTreeMap::new();
    for change in &document.changes {
        let mut plain = DocumentChange { reason: Reason::Unchanged, ..change.clone() };
        for difference in &mut plain.differences {
            difference.cause = Cause::Unrecorded;
        }
        changes.entry(change.address.clone()).or_default().push(plain);
    }
    changes
}

/// `replace and delete`; an address may have a left-over beside the one that stays.
fn actions(changes: &[DocumentChange]) -> String {
    let words: Vec<&str> = changes
        .iter()
        .map(|change| match change.action {
            Action::None => "no change",
            Action::Create => "create",
            Action::Update => "update",
            Action::Replace => "replace",
            Action::Delete => "delete",
        })
        .collect();
    if words.is_empty() { "nothing of it".to_owned() } else { words.join(" and ") }
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

#[cfg(test)]
mod tests;
