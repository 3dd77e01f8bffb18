//! Drift: what differs between the cloud and what was last applied. What the stack asks for since then is none.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Action, Address, Applied, Change, Difference, Format, Map, Observed, Place, Plan, Reason, Recorded, Remote,
    RuleBook, State, StateReference, Value, diff, document::lasting, plan::Note,
};

/// The resources that are not as they were last applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Trunnion drift")]
pub struct Drift {
    /// Version of the format.
    #[schemars(extend("pattern" = r"^1\.[0-9]+$"))]
    pub format: Format,
    /// The stack's name, with its environment.
    pub stack: String,
    /// The account, the region and the endpoint, such as `aws/123456789012/eu-west-3`.
    pub place: String,
    /// The state that it was compared with.
    pub state: StateReference,
    /// Who applied the stack last, as the cloud says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// How many resources of the stack exist.
    pub compared: usize,
    /// Each resource that drifted, in the order of addresses.
    pub resources: Vec<Drifted>,
    /// What a person should know beside it.
    pub notes: Vec<Note>,
}

/// A resource that is not as it was last applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drifted {
    /// Its address, as in `instance.heavy[2]`.
    pub address: Address,
    /// Its id in the cloud.
    pub id: String,
    /// In which way it drifted.
    pub kind: DriftKind,
    /// When it was last applied, in RFC 3339; absent if the state does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<String>,
    /// The attributes that drifted; none of a resource that is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<DriftedAttribute>,
}

/// In which way a resource drifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// Its attributes are not those that were applied.
    Changed,
    /// It was applied and does not exist any more.
    Gone,
    /// It exists and has the stack's tags, and the state does not know it: it differs from what the stack asks for, or the
    /// stack does not ask for it.
    Unrecorded,
}

/// An attribute of a resource that drifted. Sensitive values are digests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DriftedAttribute {
    /// Its path, such as `data.image`.
    pub path: String,
    /// What the stack asks for; absent if it asks for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Value>,
    /// What was last applied; absent if it was not there, or is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Value>,
    /// What it is; absent if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Value>,
}

impl Drift {
    /// The format that this version writes.
    pub const FORMAT: Format = Format { major: 1, minor: 0 };

    /// The drift in what a plan of the whole stack found, by the state and the observation that it was made with.
    pub fn new(plan: &Plan, observed: &Observed, recorded: &State, rules: &RuleBook, place: &Place) -> Self {
        let mut recorded = recorded.clone();
        recorded.resources.retain(|address, _| !observed.impossible.contains(address));
        let recorded = &recorded;
        let mut seen = BTreeSet::new();
        // An address has several changes in a plan with phases, each with the same resource or none.
        let existing: Vec<(&Change, &Remote)> = plan
            .changes
            .iter()
            .filter_map(|change| Some((change, change.remote.as_ref()?)))
            .filter(|(change, remote)| !remote.is_spent && seen.insert((&change.address.kind, &remote.id)))
            .collect();
        let found = existing.iter().filter_map(|(change, remote)| drifted(change, remote, recorded, rules));
        let untagged: BTreeSet<_> = observed
            .remotes
            .iter()
            .flat_map(|(address, remotes)| remotes.iter().filter(|it| it.is_untagged).map(|it| (&address.kind, &it.id)))
            .collect();
        let is_gone = |(address, found): &(&Address, &Recorded)| {
            let known = (&address.kind, &found.id);
            !seen.contains(&known) && !untagged.contains(&known)
        };
        let gone = recorded.resources.iter().filter(is_gone).map(|(address, found)| Drifted {
            address: address.clone(),
            id: found.id.clone(),
            kind: DriftKind::Gone,
            applied_at: Some(found.applied_at.clone()),
            attributes: Vec::new(),
        });
        let mut resources: Vec<Drifted> = found.chain(gone).collect();
        resources.sort_by(|one, other| one.address.cmp(&other.address));
        let (lineage, serial) = plan.state.clone();
        let later = plan.applied.as_ref().and_then(|applied| applied.note(recorded));
        let help = || Some("what that apply changed is drift for this state".to_owned());
        let later = later.map(|note| Note { help: help(), ..note });
        let unknown = existing.iter().filter(|(change, remote)| of(change, remote, recorded).is_none()).count();
        let untagged = plan.notes.iter().filter(|note| note.code == Note::UNTAGGED);
        let notes = later.into_iter().chain(observed.notes.iter().chain(untagged).cloned());
        let notes = notes.chain((unknown > 0).then(|| not_recorded(unknown)));
        Self {
            format: Self::FORMAT,
            stack: plan.stack.clone(),
            place: place.key(),
            state: StateReference { lineage, serial },
            applied: plan.applied.clone(),
            compared: existing.len(),
            resources,
            notes: notes.collect(),
        }
    }

    /// Whether everything is as it was last applied.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// The JSON Schema of the document: `schemas/drift.schema.json`.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

fn not_recorded(count: usize) -> Note {
    let (resources, are) = if count == 1 { ("resource", "is") } else { ("resources", "are") };
    Note {
        code: "drift::unrecorded".to_owned(),
        message: format!(
            "{count} {resources} {are} not in the state: what differs there may be a change of the stack that nobody \
             applied yet"
        ),
        help: Some("the next apply records them".to_owned()),
    }
}

/// What the state knows of a resource.
fn of<'a>(change: &Change, remote: &Remote, recorded: &'a State) -> Option<&'a Recorded> {
    recorded.resources.get(&change.address).filter(|found| found.id == remote.id)
}

fn drifted(change: &Change, remote: &Remote, recorded: &State, rules: &RuleBook) -> Option<Drifted> {
    let address = &change.address;
    let desired = change.desired.as_ref().map(|desired| lasting(desired, address, rules)).unwrap_or_default();
    let known = of(change, remote, recorded);
    let is_surplus = change.action == Action::Delete && change.reason != Reason::NotSelected;
    let differences = match known {
        Some(known) => since(known, remote, address, rules),
        None if is_surplus => Vec::new(),
        None => {
            let rules_of = rules.get(&address.kind)?;
            diff::differences(rules_of, &desired, &lasting(&remote.attributes, address, rules))
        }
    };
    if differences.is_empty() && (known.is_some() || !is_surplus) {
        return None;
    }
    let attribute = |difference: Difference| DriftedAttribute {
        desired: value_at(&desired, &difference.path).cloned(),
        recorded: known.and(difference.after),
        observed: difference.before,
        path: difference.path,
    };
    Some(Drifted {
        address: address.clone(),
        id: remote.id.clone(),
        kind: if known.is_some() { DriftKind::Changed } else { DriftKind::Unrecorded },
        applied_at: known.map(|known| known.applied_at.clone()),
        attributes: differences.into_iter().map(attribute).collect(),
    })
}

/// What changed of a resource since it was applied: `after` is what was applied, and `before` what it is now.
pub(crate) fn since(recorded: &Recorded, remote: &Remote, address: &Address, rules: &RuleBook) -> Vec<Difference> {
    let Some(rules_of) = rules.get(&address.kind) else { return Vec::new() };
    // An earlier version recorded in clear what is a digest today.
    let recorded = lasting(&recorded.attributes, address, rules);
    let now = lasting(&remote.attributes, address, rules);
    let mut changed = diff::differences(rules_of, &recorded, &now);
    // What the cloud does after an apply is recorded as absent.
    changed.retain(|difference| !matches!(value_at(&recorded, &difference.path), Some(Value::Null)));
    changed
}

/// The value at the path of a difference: `data.interfaces[0].addresses`, `tags["cost.center"]`.
fn value_at<'a>(map: &'a Map, path: &str) -> Option<&'a Value> {
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (name, mut rest) = path.split_at(end);
    let mut value = map.get(name)?;
    while !rest.is_empty() {
        let step = if let Some(inner) = rest.strip_prefix('.') {
            let end = inner.find(['.', '[']).unwrap_or(inner.len());
            rest = inner.get(end..)?;
            Value::as_map(value)?.get(inner.get(..end)?)
        } else {
            let inner = rest.strip_prefix('[')?;
            // The key of a map is a text of JSON, which may contain brackets.
            let mut keys = serde_json::Deserializer::from_str(inner).into_iter::<serde_json::Value>();
            let key = keys.next()?.ok()?;
            rest = inner.get(keys.byte_offset()..)?.strip_prefix(']')?;
            match (value, key.as_str(), key.as_u64()) {
                (Value::Map(map), Some(key), _) => map.get(key),
                (Value::List(list), _, Some(index)) => usize::try_from(index).ok().and_then(|index| list.get(index)),
                _ => None,
            }
        };
        value = step?;
    }
    Some(value)
}

#[cfg(test)]
mod tests;
