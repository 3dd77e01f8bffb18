use serde_json::json;

use super::*;
use crate::{Applied, Attribute, Computed, Endpoint, Graph, Observed, PlanOptions, Replacement, Resource, Rules, plan};

const RULES: Rules = Rules {
    kind: "thing",
    depends_on: &[],
    blocks: &[],
    attributes: &[("secret", Attribute::SENSITIVE), ("size", Attribute::IMMUTABLE)],
    computed: &[("arn", Computed::AtCreation)],
    replacement: Replacement::DeleteFirst,
};

fn map(json: serde_json::Value) -> Map {
    match Value::from(json) {
        Value::Map(map) => map,
        other => panic!("no map: {other:?}"),
    }
}

fn at(text: &str) -> Address {
    text.parse().unwrap()
}

/// What the stack asks for, what was recorded and what exists, each by address; the id is the name.
fn drift(desired: serde_json::Value, recorded: serde_json::Value, observed: serde_json::Value) -> Drift {
    drift_of(desired, recorded, observed, |_| {})
}

/// The same, with another observation.
fn drift_of(
    desired: serde_json::Value,
    recorded: serde_json::Value,
    observed: serde_json::Value,
    edit: fn(&mut Observed),
) -> Drift {
    let each = |json: serde_json::Value| {
        map(json).into_iter().map(|(name, value)| (at(&name), value.as_map().unwrap().clone()))
    };
    let resources = each(desired).map(|(address, attributes)| Resource::new(address, attributes));
    let graph = Graph::new("test", resources, []).unwrap();
    let mut state = State::empty("test");
    for (address, attributes) in each(recorded) {
        let (id, applied_at) = (format!("id-{address}"), "2026-08-01T00:00:00Z".to_owned());
        let book = RuleBook::new([RULES]);
        let attributes = lasting(&attributes, &address, &book);
        state.resources.insert(address, Recorded { id, applied_at, attributes });
    }
    let remotes = each(observed).map(|(address, attributes)| {
        let remote = Remote::new(format!("id-{address}"), attributes);
        (address, vec![remote])
    });
    let mut observed = Observed { remotes: remotes.collect(), ..Observed::default() };
    edit(&mut observed);
    let rules = RuleBook::new([RULES]);
    let plan = plan(&graph, &observed, &state, &rules, &PlanOptions::default()).unwrap();
    let place = Place { account: "1".to_owned(), region: "r".to_owned(), endpoint: Endpoint::Aws };
    Drift::new(&plan, &observed, &state, &rules, &place)
}

fn shown(drift: &Drift) -> serde_json::Value {
    serde_json::to_value(&drift.resources).unwrap()
}

#[test]
fn what_the_stack_asks_for_newly_is_no_drift() {
    let applied = json!({"thing.a": {"size": 1, "tags": {"team": "a"}}, "thing.gone_from_stack": {"size": 1}});
    let asked = json!({"thing.a": {"size": 2, "tags": {"team": "b", "new": "c"}}, "thing.new": {"size": 1}});
    let drift = drift(asked, applied.clone(), applied);
    assert!(drift.is_empty() && drift.notes.is_empty(), "{drift:?}");
    assert_eq!(drift.compared, 2);
}

#[test]
fn a_change_from_outside_is_shown_beside_both_others() {
    let found = drift(
        json!({"thing.a": {"size": 2, "tags": {"cost.center": "stack"}}}),
        json!({"thing.a": {"size": 1, "tags": {"cost.center": "state"}}}),
        json!({"thing.a": {"size": 1, "tags": {"cost.center": "cloud", "by": "hand"}}}),
    );
    let expected = json!([{
        "address": "thing.a", "id": "id-thing.a", "kind": "changed", "applied_at": "2026-08-01T00:00:00Z",
        "attributes": [
            {"path": "tags.by", "observed": "hand"},
            {"path": "tags[\"cost.center\"]", "desired": "stack", "recorded": "state", "observed": "cloud"},
        ],
    }]);
    assert_eq!(shown(&found), expected);
}

#[test]
fn what_is_gone_and_what_nobody_recorded_is_drift() {
    let found = drift(json!({}), json!({"thing.a": {"size": 1}}), json!({"thing.b": {"size": 1}}));
    let kinds: Vec<_> = found.resources.iter().map(|one| (one.address.to_string(), one.kind)).collect();
    assert_eq!(kinds, [("thing.a".to_owned(), DriftKind::Gone), ("thing.b".to_owned(), DriftKind::Unrecorded)]);
    let same = json!({"thing.a": {"size": 1}});
    assert!(drift(same.clone(), json!({}), same.clone()).is_empty(), "without a state, what matches the stack is none");
    let found = drift(same, json!({}), json!({"thing.a": {"size": 2}}));
    assert_eq!(shown(&found)[0]["attributes"], json!([{"path": "size", "desired": 1, "observed": 2}]));
    assert!(found.notes[0].message.contains("may be a change of the stack"), "{:?}", found.notes);
}

#[test]
fn what_the_state_cannot_know_is_not_gone() {
    let thing = json!({"thing.a": {"size": 1}});
    // An id that the cloud cannot have given says nothing of what is there.
    let found = drift_of(thing.clone(), json!({"thing.a": {"size": 2}}), thing.clone(), |observed| {
        observed.impossible.insert(at("thing.a"));
        let message = "the state has an ID that cannot be".to_owned();
        observed.notes.push(Note { code: "state::impossible_id".to_owned(), message, help: None });
    });
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(found.notes[0].code, "state::impossible_id");
    // Nor is something gone that has no tags any more and was given away.
    let found = drift_of(json!({}), thing.clone(), thing, |observed| {
        observed.remotes.values_mut().flatten().for_each(|remote| remote.is_untagged = true);
        observed.applied = Some(Applied { number: 9, at: "2026-08-02T00:00:00Z".to_owned(), by: "ana".to_owned() });
    });
    assert!(found.is_empty(), "{found:?}");
    assert!(found.notes.iter().any(|note| note.code == Note::UNTAGGED), "{:?}", found.notes);
}

#[test]
fn secrets_are_digests_and_what_the_cloud_adds_later_is_no_drift() {
    let stack = json!({"thing.a": {"secret": "hunter2", "later": null}});
    let now = |secret: &str| json!({"thing.a": {"secret": secret, "later": "x", "arn": "y"}});
    assert!(drift(stack.clone(), stack.clone(), now("hunter2")).is_empty());
    let found = drift(stack.clone(), stack, now("hunter3"));
    let text = shown(&found).to_string();
    assert!(text.contains("sha256:") && !text.contains("hunter"), "{text}");
}

#[test]
fn a_path_of_a_difference_leads_to_its_value() {
    let map = map(json!({"a": {"b": [{"c.d": {"e]": 7}}]}}));
    assert_eq!(value_at(&map, "a.b[0][\"c.d\"][\"e]\"]"), Some(&Value::Number(7)));
    for missing in ["a.b[1]", "a.x", "b", "a.b[0].c", "a.b[", "a.b[0]x"] {
        assert_eq!(value_at(&map, missing), None, "{missing}");
    }
}
