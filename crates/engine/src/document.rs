//! The plan document: the plan as JSON, versioned, with a published schema. Every human view of a plan is made from it.
//!
//! It has two parts. [`Compared`] is what a reviewer agrees to: the same inputs give the same bytes, and a written plan is
//! applied only where a fresh plan says the same. What the state explains is not compared, so a job without the state can
//! apply it. [`Remarks`] explain it and may differ.

mod format;
mod moved;
mod place;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use trunnion_estimate::Estimate;

pub use self::{
    format::Format,
    moved::Moved,
    place::{ComparedPlace, Endpoint, EndpointKind, Place},
};
use crate::{
    Address, Applied, Difference, Map, OtherHome, Plan, Redacted, Redacts, RuleBook, Rules, Value, diff,
    plan::{Action, Cause, Change, Note, Operation, Reason},
    value::JsonText,
};

/// A plan as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Trunnion plan")]
pub struct Document {
    /// Version of this format, such as `2.0`: another major version cannot be read.
    #[schemars(extend("pattern" = r"^2\.[0-9]+$"))]
    pub format: Format,
    /// What is compared when the plan is applied: a fresh plan has to be equal in all of it.
    pub compared: Compared,
    /// What explains the plan and may differ when it is applied. A reader ignores what it does not know here.
    #[serde(default)]
    pub remarks: Remarks,
}

/// The part of a plan that is compared when it is applied, without what only the state explains: [`Compared::state`], the
/// causes of differences, and since when something is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// The stack's name, with its environment.
    pub stack: String,
    /// How the plan was asked for: apply asks the same again.
    pub origin: Origin,
    /// The account, the region, and what answered the calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<ComparedPlace>,
    /// Whether it covers a part of the stack only: targets, or all but what is excluded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// The state it was made with. It explains the plan: apply does not compare it.
    pub state: StateReference,
    /// SHA-256, in hexadecimal, of what the stack asks for.
    pub digest: String,
    /// How many phases it has: each begins once everything of the one before it has succeeded.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1))]
    pub phases: usize,
    /// How many resources each action concerns.
    pub summary: Summary,
    /// One entry per resource and phase, in the order of addresses; unchanged ones are named only.
    pub changes: Vec<DocumentChange>,
    /// What apply does, each step behind those it waits for.
    pub steps: Vec<DocumentStep>,
    /// Whose resources it would take over: apply refuses unless a person agrees to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_homes: Vec<OtherHome>,
}

/// The part of a plan that explains it: another person may apply the plan, and see other notes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Remarks {
    /// Who made the plan, as the ARN that the cloud knows it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Where the calls went: the URL of something that is not AWS, or the folder of a sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Who applied the stack last, as the cloud says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// What a person should know beside the changes.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// What the plan costs, and how many virtual users its pools hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
}

/// How a plan was asked for.
#[expect(clippy::struct_excessive_bools, reason = "each one is an independent flag of the command")]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The stack file: in a written plan, relative to the folder of the plan.
    pub file: String,
    /// The environment of the stack file, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Whether it is a plan for the sandbox in the process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandbox: bool,
    /// Whether it deletes everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destroy: bool,
    /// The only addresses planned for, as they were typed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// The addresses that stay as they are, as they were typed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// The addresses whose replacement was asked for, as they were typed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replace: Vec<String>,
    /// Whether the newest images were asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub update_images: bool,
    /// Whether the newest generator and boot script were asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub update_generator: bool,
}

/// Which state document a plan was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateReference {
    /// Its lineage, a UUID; empty before the first apply.
    pub lineage: String,
    /// Its number in the lineage; 0 before the first apply.
    pub serial: u64,
}

/// How many resources each action concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Resources that are created.
    pub create: usize,
    /// Resources that are changed in place.
    pub update: usize,
    /// Resources that are deleted and created again, in either order.
    pub replace: usize,
    /// Resources that are deleted.
    pub delete: usize,
    /// Resources that match the stack.
    pub unchanged: usize,
    /// Addresses that no target covers, or that are excluded: nothing is said of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_covered: usize,
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_one(count: &usize) -> bool {
    *count == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What happens to one resource, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentChange {
    /// Its address, as in `instance.heavy[2]`.
    pub address: Address,
    /// In which phase it happens, counted from 1; absent in a plan of one phase, and where nothing happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<usize>,
    /// What apply does with it.
    pub action: Action,
    /// Why it does that.
    pub reason: Reason,
    /// The id, in the cloud, of the resource that is at the address now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name or its tag `Name`, where its id does not end with it; absent where nothing happens to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The attributes that make it happen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<DocumentDifference>,
    /// The attributes that a created or replaced resource will have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Map>,
    /// SHA-256, in hexadecimal, of the attributes that the resource has now; absent where nothing happens to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_digest: Option<String>,
}

/// One attribute that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentDifference {
    /// Path of the attribute, such as `data.image_id`.
    pub path: String,
    /// What it is; absent where it is not there; a digest where it is sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it becomes; absent where it goes; a digest where it is sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// Whether the stack or the cloud changed since the last apply, if the state says it, or another phase changes it.
    pub cause: Cause,
    /// Whether it forces a replacement.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forces_replacement: bool,
    /// Whether it is sensitive: then `before` and `after` are digests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
}

/// One step of apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentStep {
    /// The address of the resource.
    pub address: Address,
    /// The phase of the change that it belongs to, counted from 1; absent in a plan of one phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<usize>,
    /// What is done.
    pub operation: Operation,
    /// Positions, from 0, of the steps that must have succeeded before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<usize>,
}

/// Why a text cannot be read as a plan document, as the end of a sentence that begins with the name of its file.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON, or JSON of another shape.
    #[error("is not a plan document: {0}")]
    Damaged(#[source] serde_json::Error),
    /// Its major version is a lower one than that of [`Document::FORMAT`].
    #[error("has format {0}, which only an earlier version of trunnion reads; this version reads format {ours}", ours = Document::FORMAT)]
    Earlier(String),
    /// Its major version is a higher one than that of [`Document::FORMAT`].
    #[error("has format {0} of a later version of trunnion; this version reads format {ours}", ours = Document::FORMAT)]
    Later(Format),
    /// A later minor version, with something to agree to that this version does not know.
    #[error("has format {format} of a later version of trunnion, with something that this version, which reads format {ours}, does not know: {source}", ours = Document::FORMAT)]
    Unknown {
        /// The document's format.
        format: Format,
        /// Names the field or value that is not known.
        source: serde_json::Error,
    },
}

impl DocumentError {
    /// The next step, for a person.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "`trunnion plan STACK --out FILE` writes one",
            Self::Earlier(_) => "make a new plan with `trunnion plan STACK --out FILE`",
            Self::Later(_) | Self::Unknown { .. } => {
                "use the version of trunnion that wrote it, or make a new plan with `trunnion plan STACK --out FILE`"
            }
        }
    }
}

impl Document {
    /// The format that this version writes. Version 1 had no parts, and a plain number as its version; 2.1 added phases, 2.2 exclusions.
    pub const FORMAT: Format = Format { major: 2, minor: 2 };

    /// Writes a plan down, without its [place](Compared::place). Sensitive values become digests.
    pub fn new(plan: &Plan, origin: Origin, rules: &RuleBook) -> Self {
        // What no target covers is in the plan for the sake of the others, which refer to it.
        let covered = || plan.changes.iter().filter(|change| change.reason != Reason::NotSelected);
        let phase = |change: &Change| (plan.phases > 1).then_some(change.phase);
        let step = |step: &crate::Step| {
            let change = &plan.changes[step.change];
            DocumentStep {
                address: change.address.clone(),
                phase: phase(change),
                operation: step.operation,
                after: step.after.clone(),
            }
        };
        let (lineage, serial) = plan.state.clone();
        let compared = Compared {
            stack: plan.stack.clone(),
            origin,
            place: None,
            partial: !plan.is_whole,
            state: StateReference { lineage, serial },
            digest: plan.digest.clone(),
            phases: plan.phases,
            summary: Summary::new(covered(), plan.not_covered),
            changes: covered().map(|change| DocumentChange::new(change, phase(change), rules)).collect(),
            steps: plan.steps.iter().map(step).collect(),
            other_homes: plan.other_homes.clone(),
        };
        let remarks = Remarks { applied: plan.applied.clone(), notes: plan.notes.clone(), ..Remarks::default() };
        Self { format: Self::FORMAT, compared, remarks }
    }

    /// The same plan with where and by whom it was made.
    #[must_use]
    pub fn made(mut self, place: &Place, identity: Option<String>) -> Self {
        self.compared.place = Some(place.compared());
        self.remarks.endpoint = place.endpoint.address().map(str::to_owned);
        self.remarks.identity = identity;
        self
    }

    /// The same plan with what it costs and holds.
    #[must_use]
    pub fn estimated(mut self, estimate: Option<Estimate>) -> Self {
        self.remarks.estimate = estimate;
        self
    }

    /// Where it was made; nothing where [`Document::made`] was not called.
    pub fn place(&self) -> Option<Place> {
        self.compared.place.as_ref().map(|place| place.at(self.remarks.endpoint.as_deref()))
    }

    /// Reads a document of this major version. Remarks that this version does not know are ignored; anything else that it
    /// does not know refuses the document, because nobody can apply what they do not understand.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let json: Json = serde_json::from_slice(bytes).map_err(DocumentError::Damaged)?;
        // The format first: what another one has more or less is no mistake of the file.
        let format = match json.get("format") {
            Some(Json::Number(number)) => return Err(DocumentError::Earlier(number.to_string())),
            Some(format) => Format::deserialize(format).map_err(DocumentError::Damaged)?,
            None => Self::FORMAT,
        };
        if format.major < Self::FORMAT.major {
            return Err(DocumentError::Earlier(format.to_string()));
        }
        if format.major > Self::FORMAT.major {
            return Err(DocumentError::Later(format));
        }
        Self::deserialize(&json).map_err(|source| {
            if format > Self::FORMAT {
                DocumentError::Unknown { format, source }
            } else {
                DocumentError::Damaged(source)
            }
        })
    }

    /// The document as JSON, indented, with a newline at its end.
    pub fn to_text(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The JSON Schema of the document: `schemas/plan.schema.json`.
    pub fn json_schema() -> Json {
        schemars::schema_for!(Document).to_value()
    }
}

impl Summary {
    /// The same for changes that were written down.
    pub(crate) fn of(changes: &[DocumentChange], not_covered: usize) -> Self {
        let mut actions: Vec<(&Address, Action)> = Vec::new();
        for change in changes {
            match actions.last_mut().filter(|(address, _)| *address == &change.address) {
                Some((_, action)) if matches!(action, Action::Update | Action::None) => *action = change.action,
                Some(_) => {}
                None => actions.push((&change.address, change.action)),
            }
        }
        Self::counted(actions.into_iter().map(|(_, action)| action), not_covered)
    }

    /// Counts a resource once, whatever number of phases change it.
    fn new<'a>(changes: impl Iterator<Item = &'a Change>, not_covered: usize) -> Self {
        let mut actions: Vec<Action> = Vec::new();
        for change in changes {
            match actions.last_mut().filter(|_| change.follows.is_some()) {
                // It is replaced if any phase replaces it; what an earlier phase creates counts as created.
                Some(action) if *action == Action::Update => *action = change.action,
                Some(_) => {}
                None => actions.push(change.action),
            }
        }
        Self::counted(actions.into_iter(), not_covered)
    }

    fn counted(actions: impl Iterator<Item = Action>, not_covered: usize) -> Self {
        let actions: Vec<Action> = actions.collect();
        let count = |action| actions.iter().filter(|it| **it == action).count();
        Self {
            create: count(Action::Create),
            update: count(Action::Update),
            replace: count(Action::Replace),
            delete: count(Action::Delete),
            unchanged: count(Action::None),
            not_covered,
        }
    }
}

impl DocumentChange {
    fn new(change: &Change, phase: Option<usize>, rules: &RuleBook) -> Self {
        let Change { address, action, reason, differences, desired, remote, .. } = change;
        let is_touched = *action != Action::None;
        let is_new = matches!(action, Action::Create | Action::Replace);
        let remote = remote.as_ref();
        let id = remote.map(|remote| remote.id.clone());
        let name = || {
            let attributes = remote.map(|remote| &remote.attributes).or(desired.as_ref()).filter(|_| is_touched)?;
            let name = name_of(&lasting(attributes, address, rules))?.to_owned();
            id.as_ref().is_none_or(|id| !id.ends_with(&name)).then_some(name)
        };
        let spelled = |desired: &Map| -> Map {
            let lasting = lasting(desired, address, rules);
            lasting.iter().map(|(name, value)| (name.clone(), shown(value, name, address, rules))).collect()
        };
        Self {
            address: address.clone(),
            phase: phase.filter(|_| is_touched),
            action: *action,
            reason: reason.clone(),
            name: name(),
            id,
            differences: differences
                .iter()
                .map(|(difference, cause)| DocumentDifference::new(difference, cause, address, rules))
                .collect(),
            desired: desired.as_ref().filter(|_| is_new).map(spelled),
            observed_digest: remote.filter(|_| is_touched).map(|remote| Value::Map(remote.attributes.clone()).digest()),
        }
    }
}

/// What people call something.
fn name_of(attributes: &Map) -> Option<&str> {
    let tag = || attributes.get("tags")?.as_map()?.get("Name");
    attributes.get("name").or_else(tag)?.as_text()
}

impl DocumentDifference {
    fn new(difference: &Difference, cause: &Cause, address: &Address, rules: &RuleBook) -> Self {
        let Difference { path, before, after, forces_replacement, sensitive } = difference;
        let [before, after] =
            [before, after].map(|value| value.as_ref().map(|value| masked(value, path, address, rules)));
        let (before, after) = if *sensitive {
            (before, after)
        } else {
            let shown = |value: &Option<Value>| value.as_ref().map(|value| shown(value, path, address, rules));
            match (shown(&before), shown(&after)) {
                // Both as JSON, or both as text; and as text where they are the same JSON in different words.
                (Some(Value::Json(one)), Some(Value::Json(other))) if one != other => {
                    (Some(Value::Json(one)), Some(Value::Json(other)))
                }
                (Some(_), Some(_)) => (before.clone(), after.clone()),
                only => only,
            }
        };
        Self {
            path: path.clone(),
            before,
            after,
            cause: cause.clone(),
            forces_replacement: *forces_replacement,
            sensitive: *sensitive,
        }
    }
}

/// A value as a document shows it: text that holds JSON is that JSON.
fn shown(value: &Value, path: &str, address: &Address, rules: &RuleBook) -> Value {
    let is_json = |path: &str| rules.get(&address.kind).is_some_and(|rules| rules.attribute(path).json);
    match value {
        Value::Text(text) if is_json(path) => JsonText::parse(text).map_or_else(|| value.clone(), Value::Json),
        Value::Map(map) => Value::Map(
            map.iter()
                .map(|(key, value)| (key.clone(), shown(value, &format!("{path}.{key}"), address, rules)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Attributes without those that only a create call needs, without what may be a secret.
pub(crate) fn lasting(attributes: &Map, address: &Address, rules: &RuleBook) -> Map {
    let is_lasting = |name: &str| rules.get(&address.kind).is_none_or(|rules| !rules.attribute(name).create_only);
    let shown = attributes.iter().filter(|(name, _)| is_lasting(name));
    shown.map(|(name, value)| (name.clone(), masked(value, name, address, rules))).collect()
}

/// A value without what may be a secret: with digests for what is sensitive. What has them already stays as it is.
fn masked(value: &Value, path: &str, address: &Address, rules: &RuleBook) -> Value {
    fn walk(value: &Value, path: &str, rules: &Rules) -> Value {
        let rule = rules.attribute(path);
        if rule.sensitive && *value != Value::Null {
            return mask(value);
        }
        match (value, rule.redacts) {
            (Value::Text(text), Some(Redacts(redacts))) => {
                Value::Text(redacts(Redacted { path, text, is_part: false }))
            }
            (Value::Concat(parts), Some(Redacts(redacts))) => Value::concat(parts.iter().map(|part| match part {
                Value::Text(text) => Value::Text(redacts(Redacted { path, text, is_part: true })),
                other => other.clone(),
            })),
            (Value::Map(map), _) => {
                let entry =
                    |(key, value): (&String, &Value)| (key.clone(), walk(value, &diff::step_into(path, key), rules));
                Value::Map(map.iter().map(entry).collect())
            }
            (Value::List(list), _) => {
                let element = |(index, value)| walk(value, &format!("{path}[{index}]"), rules);
                Value::List(list.iter().enumerate().map(element).collect())
            }
            (other, _) => other.clone(),
        }
    }
    match rules.get(&address.kind) {
        Some(rules) if rules.attributes.iter().any(|(_, rule)| rule.sensitive || rule.redacts.is_some()) => {
            walk(value, path, rules)
        }
        _ => value.clone(),
    }
}

/// The digest of a value.
fn mask(value: &Value) -> Value {
    const MARK: &str = "sha256:";
    let is_digest = |text: &str| {
        text.strip_prefix(MARK)
            .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(|it| it.is_ascii_hexdigit()))
    };
    match value {
        Value::Text(text) if is_digest(text) => value.clone(),
        other => Value::Text(format!("{MARK}{}", other.digest())),
    }
}

#[cfg(test)]
mod tests;
