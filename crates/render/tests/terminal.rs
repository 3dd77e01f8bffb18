//! A plan as a person sees it, from a document with one of everything.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::json;
use trunnion_engine::Document;

fn document(changes: &serde_json::Value, summary: &serde_json::Value, destroy: bool) -> Document {
    serde_json::from_value(json!({
        "format": 1,
        "stack": "loadtest",
        "origin": {"file": "loadtest.yaml", "destroy": destroy},
        "state": {"lineage": "", "serial": 0},
        "digest": "",
        "summary": summary,
        "changes": changes,
        "steps": [],
        "notes": [{"code": "plan::pinned", "message": "an image is\u{1b}[2J newer", "help": "take it"}],
    }))
    .unwrap()
}

fn told(document: &Document) -> String {
    anstream::adapter::strip_str(&trunnion_render::terminal(document)).to_string()
}

fn host(number: u32) -> serde_json::Value {
    json!({
        "address": format!("instance.heavy[{number}]"),
        "action": "replace",
        "reason": "differs",
        "id": format!("i-{number}"),
        "differences": [{
            "path": "template",
            "before": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "after": {"$reference": "launch_template.heavy#digest"},
            "cause": "stack",
            "forces_replacement": true,
        }],
        "desired": {"template": "x", "tags": {"Name": format!("loadtest-heavy-{number}")}},
    })
}

#[test]
fn one_of_everything() {
    let policy = r#"{"Statement":[{"Action":"s3:GetObject","Effect":"Allow"}]}"#;
    let changes = json!([
        {"address": "ecs_cluster.main", "action": "none", "reason": "unchanged", "id": "arn"},
        {
            "address": "iam_role.generator", "action": "create", "reason": "new",
            "desired": {"name": "loadtest-generator", "policy": policy, "tags": {"team": "a"}, "other_policies": []},
        },
        host(0), host(1), host(3),
        {
            "address": "instance.old[0]", "action": "delete", "reason": "not_in_stack", "id": "i-9",
        },
        {
            "address": "log_group.control_plane", "action": "create",
            "reason": {"gone": {"id": "/trunnion/x", "applied_at": "2026-08-01T00:00:00Z"}}, "desired": {"retention_days": 30},
        },
        {
            "address": "security_group.load", "action": "update", "reason": "differs", "id": "sg-1",
            "differences": [
                {
                    "path": "ingress", "cause": {"outside": {"since": "2026-08-01T00:00:00Z"}},
                    "before": [{"peer": "0.0.0.0/0", "protocol": "tcp"}], "after": [],
                },
                {"path": "password", "before": "sha256:1", "after": "sha256:2", "cause": "stack", "sensitive": true},
                {"path": "policy", "before": policy, "after": policy.replace("Get", "Put"), "cause": "unrecorded", "json": true},
                {"path": "tags.owner", "before": "me", "cause": "unrecorded"},
                {"path": "user_data", "before": "one\ntwo\nthree\n", "after": "one\n2\nthree\n", "cause": "stack"},
            ],
        },
    ]);
    let summary = json!({"create": 2, "update": 1, "replace": 3, "delete": 1, "unchanged": 1});
    insta::assert_snapshot!(told(&document(&changes, &summary, false)));
}

#[test]
fn nothing_is_told_in_one_line() {
    let nothing = json!({"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 0});
    assert!(told(&document(&json!([]), &nothing, true)).ends_with("No changes. Nothing of `loadtest` is left.\n"));
    let all = json!({"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 20});
    assert!(told(&document(&json!([]), &all, false)).ends_with("No changes. 20 resources are as they shall be.\n"));
}
