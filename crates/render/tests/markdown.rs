//! Plan documents as Markdown.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::{Value, json};
use trunnion_engine::Document;
use trunnion_render::markdown::{LONGEST, markdown};

fn document(stack: &str, changes: &[Value], notes: &[&str]) -> Document {
    let count = |action: &str| changes.iter().filter(|change| change["action"] == action).count();
    let note = |message: &&str| json!({"code": "plan::x", "message": message, "help": message});
    serde_json::from_value(json!({
        "format": "2.0",
        "compared": {
            "stack": stack,
            "origin": {"file": "loadtest.yaml"},
            "state": {"lineage": "", "serial": 0},
            "digest": "",
            "summary": {
                "create": count("create"), "update": count("update"), "replace": count("replace"), "delete": count("delete"),
                "unchanged": 3
            },
            "changes": changes,
            "steps": [],
        },
        "remarks": {
            "identity": "arn:aws:iam::123456789012:user/bo",
            "applied": {"number": 7, "at": "2026-11-27T20:00:00Z", "by": "arn:aws:iam::123456789012:user/al"},
            "notes": notes.iter().map(note).collect::<Vec<_>>(),
        },
    }))
    .unwrap()
}

fn replaced(number: usize) -> Value {
    json!({
        "address": format!("instance.heavy[{number}]"), "action": "replace", "reason": "differs", "id": format!("i-{number}"),
        "differences": [{"path": "template", "before": "a", "after": "b", "cause": "stack", "forces_replacement": true}],
        "desired": {"template": "b", "tags": {}},
    })
}

fn deleted(name: &str) -> Value {
    json!({"address": format!("iam_role.{name}"), "action": "delete", "reason": "not_in_stack", "id": name})
}

#[test]
fn a_plan_shows_what_is_lost_first_and_details_folded() {
    let policy = |action: &str| json!({"$json": {"Statement": [{"Action": action, "Effect": "Allow"}]}});
    let changes = [
        deleted("old"),
        json!({
            "address": "iam_role.generator", "action": "update", "reason": "differs", "id": "loadtest-generator",
            "differences": [
                {"path": "policy", "before": policy("s3:GetObject"), "after": policy("s3:*"), "cause": "stack"},
                {"path": "name", "before": "a|b", "after": "`c`", "cause": "stack"},
            ],
        }),
        replaced(0),
        replaced(1),
        json!({
            "address": "log_group.control_plane", "action": "create", "reason": "new",
            "desired": {"name": "/trunnion/loadtest", "retention_days": 30},
        }),
    ];
    insta::assert_snapshot!(markdown(&[document("loadtest", &changes, &["an image is <b>newer</b>, says @bo in #1"])]));
}

#[test]
fn a_plan_without_changes_is_short() {
    let text = markdown(&[document("loadtest", &[], &[])]);
    assert!(text.contains("**No changes**: all 3 resources match the stack."), "{text}");
    assert!(!text.contains("###"), "{text}");
}

#[test]
fn what_does_not_fit_is_left_out_as_a_whole_and_never_what_is_lost() {
    let long = |name: usize| {
        json!({
            "address": format!("log_group.g{name}"), "action": "create", "reason": "new",
            "desired": {"name": format!("{name}{}", "x".repeat(90)), "more": "ü".repeat(90)},
        })
    };
    let mut changes: Vec<Value> = (0..400).map(long).collect();
    changes.push(deleted("old"));
    changes.extend((0..5_000).map(replaced));
    let large = document("large", &changes, &[]);
    let small = document("small", &[deleted("gone")], &[]);
    let text = markdown(&[large, small]);
    assert!(text.chars().count() < LONGEST, "{}", text.chars().count());
    for lost in ["`iam_role.old`", "`instance.heavy[0…4999]`", "`iam_role.gone`"] {
        assert!(text.contains(lost), "{lost}");
    }
    assert_eq!(text.matches("because a comment has a limit: details").count(), 1);
    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
}

#[test]
fn five_thousand_resources_become_a_number_and_none_of_the_lost_ones_is_missing() {
    let created = |name: usize| json!({"address": format!("log_group.g{name}"), "action": "create", "reason": "new"});
    let mut changes: Vec<Value> = (0..5_000).map(created).collect();
    changes.extend((0..500).map(|name| deleted(&format!("old{name}"))));
    let text = markdown(&[document("large", &changes, &[])]);
    assert!(text.chars().count() < LONGEST, "{}", text.chars().count());
    assert!(text.contains("Created and changed: 5000 resources"), "{text}");
    for name in 0..500 {
        assert!(text.contains(&format!("`iam_role.old{name}`")), "{name}");
    }
}
