//! What is written down, and why it is refused later.

use serde_json::json;

use super::*;

fn document() -> Document {
    serde_json::from_value(json!({
        "format": 1,
        "stack": "test",
        "origin": {"file": "stack.yaml"},
        "place": {"account": "123456789012", "region": "eu-west-3", "endpoint": "aws"},
        "identity": "arn:aws:iam::123456789012:user/ana",
        "state": {"lineage": "a", "serial": 3},
        "digest": "d",
        "summary": {"create": 1, "update": 1, "replace": 0, "delete": 0, "unchanged": 0},
        "changes": [
            {"address": "host.h[0]", "action": "create", "reason": "new", "desired": {"size": 1}},
            {
                "address": "group.g", "action": "update", "reason": "differs", "id": "sg-1", "observed_digest": "o",
                "differences": [{"path": "rules", "before": 1, "after": 2, "cause": "stack"}],
            },
        ],
        "steps": [{"address": "host.h[0]", "operation": "create"}],
        "notes": [],
    }))
    .unwrap()
}

fn content(later: &Document) -> Vec<String> {
    match document().moved(later) {
        Some(Moved::Content(different)) => different,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_applies_it_and_what_is_noted_is_no_difference() {
    let mut later = document();
    later.identity = Some("arn:aws:iam::123456789012:user/bo".to_owned());
    later.notes.push(Note { code: "x".to_owned(), message: "newer".to_owned(), help: None });
    assert_eq!(document().moved(&later), None);
    let earlier_version = Document { place: None, identity: None, ..document() };
    assert_eq!(earlier_version.moved(&document()), None);
}

#[test]
fn another_place_is_one_sentence() {
    let place = |change: fn(&mut Place)| {
        let mut later = document();
        later.place.as_mut().map(change);
        document().moved(&later)
    };
    let expected = "it was made for account 123456789012 · eu-west-3 · AWS, and this is account 123456789012 · eu-west-3 · http://x";
    assert_eq!(
        place(|place| place.endpoint = Endpoint::Url("http://x".to_owned())),
        Some(Moved::Place(expected.to_owned()))
    );
    assert!(matches!(place(|place| place.region = "eu-west-1".to_owned()), Some(Moved::Place(_))));
    assert!(matches!(place(|place| place.account = "210987654321".to_owned()), Some(Moved::Place(_))));
}

#[test]
fn a_state_that_is_not_there_is_the_only_reason() {
    let mut later = document();
    later.state = StateReference { lineage: String::new(), serial: 0 };
    // Without a state, nothing says since when something differs.
    later.changes[1].differences[0].cause = Cause::Unrecorded;
    let expected = "it was made with a state, at serial 3, and there is no state here";
    assert_eq!(document().moved(&later), Some(Moved::State(expected.to_owned())));
    assert!(matches!(later.moved(&document()), Some(Moved::State(_))));
    later.state.lineage = "b".to_owned();
    let expected = "it was made with another state than the one here";
    assert_eq!(document().moved(&later), Some(Moved::State(expected.to_owned())));
}

#[test]
fn what_moved_is_named_and_what_only_has_another_reason_is_not() {
    let mut later = document();
    later.state.serial = 4;
    later.changes[1].differences[0].cause = Cause::Outside { since: "2026-08-01T00:00:00Z".to_owned() };
    assert_eq!(content(&later), ["the state is at serial 4, the plan was made at 3"]);
    later = document();
    later.changes[0].action = Action::None;
    later.changes[0].id = Some("i-1".to_owned());
    later.changes[1].observed_digest = Some("p".to_owned());
    assert_eq!(
        content(&later),
        ["`group.g` is not as the plan saw it", "`host.h[0]`: the plan says create, a fresh one says no change"]
    );
    later = document();
    later.changes.push(later.changes[1].clone());
    later.changes[2].action = Action::Delete;
    assert_eq!(content(&later), ["`group.g`: the plan says update, a fresh one says update and delete"]);
    later = document();
    later.steps.clear();
    assert_eq!(content(&later).len(), 1);
}

#[test]
fn what_a_plan_does_not_know_is_refused_wherever_it_stands() {
    let document = serde_json::to_value(document()).unwrap();
    for place in ["", "/origin", "/place", "/state", "/summary", "/changes/0", "/changes/1/differences/0", "/steps/0"] {
        let mut document = document.clone();
        document.pointer_mut(place).unwrap()["surplus"] = json!(1);
        let error = serde_json::from_value::<Document>(document).unwrap_err().to_string();
        assert!(error.contains("unknown field `surplus`"), "{place}: {error}");
    }
    for (place, value) in [
        ("/changes/0/reason", json!({"gone": {"id": "i-1", "applied_at": "x", "surplus": 1}})),
        ("/changes/1/differences/0/cause", json!({"outside": {"since": "x", "surplus": 1}})),
        ("/notes", json!([{"code": "x", "message": "x", "surplus": 1}])),
    ] {
        let mut document = document.clone();
        *document.pointer_mut(place).unwrap() = value;
        assert!(serde_json::from_value::<Document>(document).is_err(), "{place}");
    }
}

#[test]
fn a_place_reads_back_from_a_state() {
    for key in
        ["aws/123456789012/eu-west-3", "sandbox/123456789012/eu-west-3", "http://[::1]:4600/x/123456789012/eu-west-3"]
    {
        assert_eq!(Place::of_key(key).map(|place| place.key()).as_deref(), Some(key));
    }
    assert_eq!(Place::of_key(""), None);
}
