//! What is written down, and why it is refused later.

use serde_json::json;

use super::*;

fn json() -> serde_json::Value {
    json!({
        "format": "2.0",
        "compared": {
            "stack": "test",
            "origin": {"file": "stack.yaml"},
            "place": {"account": "123456789012", "region": "eu-west-3", "endpoint": "aws"},
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
        },
        "remarks": {"identity": "arn:aws:iam::123456789012:user/ana", "notes": []},
    })
}

fn document() -> Document {
    parse(&json()).unwrap()
}

fn parse(json: &serde_json::Value) -> Result<Document, DocumentError> {
    Document::parse(json.to_string().as_bytes())
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
    later.remarks.identity = Some("arn:aws:iam::123456789012:user/bo".to_owned());
    later.remarks.notes.push(Note { code: "x".to_owned(), message: "newer".to_owned(), help: None });
    assert_eq!(document().moved(&later), None);
}

#[test]
fn another_place_is_one_sentence() {
    let place = |change: fn(&mut Place)| {
        let mut place = document().place().unwrap();
        change(&mut place);
        document().moved(&document().made(&place, None))
    };
    let expected = "it was made for account 123456789012 · eu-west-3 · AWS, and this is account 123456789012 · eu-west-3 · http://x";
    assert_eq!(
        place(|place| place.endpoint = Endpoint::Url("http://x".to_owned())),
        Some(Moved::Place(expected.to_owned()))
    );
    assert!(matches!(place(|place| place.region = "eu-west-1".to_owned()), Some(Moved::Place(_))));
    assert!(matches!(place(|place| place.account = "210987654321".to_owned()), Some(Moved::Place(_))));
    let at = |url: &str| Place { endpoint: Endpoint::Url(url.to_owned()), ..document().place().unwrap() };
    let (here, there) = (at("http://127.0.0.1:1"), at("http://127.0.0.1:2"));
    let (made, now) = (document().made(&here, None), document().made(&there, None));
    assert_eq!(made.moved(&now), None, "the same look-alike may serve at another port");
    assert_eq!((made.place(), now.place()), (Some(here), Some(there)));
}

#[test]
fn what_the_state_explains_is_no_difference() {
    let mut later = document();
    later.compared.state = StateReference { lineage: String::new(), serial: 0 };
    later.compared.changes[1].differences[0].cause = Cause::Unrecorded;
    later.compared.changes[0].reason =
        Reason::Gone { id: "i-1".to_owned(), applied_at: "2026-08-01T00:00:00Z".to_owned() };
    assert_eq!(document().moved(&later), None);
    assert_eq!(later.moved(&document()), None);
    later.compared.changes[0].reason = Reason::Asked;
    assert_eq!(content(&later), ["a new plan has other steps or reasons"]);
}

#[test]
fn what_moved_is_named() {
    let mut later = document();
    later.compared.changes[0].action = Action::None;
    later.compared.changes[0].id = Some("i-1".to_owned());
    later.compared.changes[1].observed_digest = Some("p".to_owned());
    assert_eq!(
        content(&later),
        [
            "`group.g`: its values on AWS or in the stack have changed",
            "`host.h[0]`: the plan says create, a new plan says no change"
        ]
    );
    later = document();
    later.compared.changes.push(later.compared.changes[1].clone());
    later.compared.changes[2].action = Action::Delete;
    assert_eq!(content(&later), ["`group.g`: the plan says update, a new plan says update and delete"]);
    later = document();
    later.compared.steps.clear();
    assert_eq!(content(&later).len(), 1);
}

/// The document with something surplus at each of these places.
fn with_surplus<'a>(format: &'a str, places: &'a [&'a str]) -> impl Iterator<Item = (&'a str, serde_json::Value)> {
    places.iter().map(move |place| {
        let mut document = json();
        document["format"] = json!(format);
        document["remarks"]["notes"] = json!([{"code": "x", "message": "x"}]);
        document.pointer_mut(place).unwrap()["surplus"] = json!(1);
        (*place, document)
    })
}

const COMPARED: &[&str] = &[
    "",
    "/compared",
    "/compared/origin",
    "/compared/place",
    "/compared/state",
    "/compared/summary",
    "/compared/changes/0",
    "/compared/changes/1/differences/0",
    "/compared/steps/0",
];

#[test]
fn what_is_compared_and_not_known_is_refused_wherever_it_stands() {
    for (place, document) in with_surplus("2.0", COMPARED) {
        let error = parse(&document).unwrap_err().to_string();
        assert!(error.contains("unknown field `surplus`"), "{place}: {error}");
    }
    for (place, value) in [
        ("/compared/changes/0/reason", json!({"gone": {"id": "i-1", "applied_at": "x", "surplus": 1}})),
        ("/compared/changes/1/differences/0/cause", json!({"outside": {"since": "x", "surplus": 1}})),
        ("/compared/changes/0/address", json!("nowhere")),
    ] {
        let mut document = json();
        *document.pointer_mut(place).unwrap() = value;
        assert!(parse(&document).is_err(), "{place}");
    }
}

#[test]
fn a_later_minor_version_may_add_remarks_and_nothing_to_agree_to() {
    for (place, document) in with_surplus("2.7", &["/remarks", "/remarks/notes/0"]) {
        assert!(parse(&document).is_ok(), "{place}");
    }
    for (place, document) in with_surplus("2.7", COMPARED) {
        let error = parse(&document).unwrap_err();
        let expected = "has format 2.7 of a later version of trunnion, with something that this version, which reads \
                        format 2.2, does not know: unknown field `surplus`";
        assert!(error.to_string().starts_with(expected), "{place}: {error}");
        assert!(error.help().starts_with("use the version of trunnion that wrote it"), "{}", error.help());
    }
}

#[test]
fn another_major_version_is_named() {
    let cases = [
        (json!(1), "has format 1, which only an earlier version of trunnion reads; this version reads format 2.2"),
        (
            json!("1.4"),
            "has format 1.4, which only an earlier version of trunnion reads; this version reads format 2.2",
        ),
        (json!("3.0"), "has format 3.0 of a later version of trunnion; this version reads format 2.2"),
        (json!("two"), "is not a plan document: a format is `major.minor`, such as `2.0`"),
        (json!("2.x"), "is not a plan document: a format is `major.minor`, such as `2.0`"),
    ];
    for (format, expected) in cases {
        // Whatever else has changed.
        let error = parse(&json!({"format": format, "stack": "test"})).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    assert!(matches!(parse(&json!({"stack": "test"})), Err(DocumentError::Damaged(_))));
}

#[test]
fn a_document_reads_back_as_it_was_written() {
    let mut document = json();
    document["compared"]["changes"][0]["desired"] = json!({
        "reference": {"$reference": "group.g#id"},
        "text": {"$concat": ["a", {"$reference": "group.g#id"}]},
        "policy": {"$json": {"b": [1.5], "a": null}},
        "tags": {"$json": "a tag of that name"},
    });
    let read = parse(&document).unwrap();
    let desired = read.compared.changes[0].desired.clone().unwrap();
    assert!(matches!(desired["reference"], Value::Reference(_)) && matches!(desired["text"], Value::Concat(_)));
    assert!(matches!(desired["policy"], Value::Json(_)) && matches!(desired["tags"], Value::Map(_)));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&read.to_text().unwrap()).unwrap(), document);
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
