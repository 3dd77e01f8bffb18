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
    assert!(told(&document(&json!([]), &nothing, true)).ends_with("No changes: nothing of `loadtest` is left.\n"));
    let all = json!({"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 20});
    assert!(told(&document(&json!([]), &all, false)).ends_with("No changes: all 20 resources match the stack.\n"));
}

/// One change of `address` in the shape of the document, its one difference between these two values.
fn differing(before: &serde_json::Value, after: &serde_json::Value) -> Document {
    let changes = json!([{
        "address": "ecs_service.control_plane", "action": "update", "reason": "differs", "id": "arn",
        "differences": [{"path": "value", "before": before, "after": after, "cause": "stack"}],
    }]);
    document(&changes, &json!({"create": 0, "update": 1, "replace": 0, "delete": 0, "unchanged": 0}), false)
}

/// What stands between the address and the notes.
fn difference(before: &serde_json::Value, after: &serde_json::Value) -> String {
    let told = told(&differing(before, after));
    let told = told.split_once("  arn\n").unwrap().1;
    told.split_once("\n\n!").unwrap().0.to_owned()
}

#[test]
fn what_differs_never_looks_alike() {
    let repository =
        "123456789012.dkr.ecr.eu-west-3.amazonaws.com/performance-engineering/gatling-control-plane@sha256:";
    let digest = |end: char| "a".repeat(63) + &end.to_string();
    let cases = [
        ("a long image", json!(format!("{repository}{}", digest('1'))), json!(format!("{repository}{}", digest('2')))),
        ("two digests that begin alike", json!(digest('1')), json!(digest('2'))),
        ("lists of long words", json!([digest('1')]), json!([digest('2')])),
        ("another order", json!(["subnet-1", "subnet-2"]), json!(["subnet-2", "subnet-1"])),
        ("a letter of another alphabet", json!("eu-west-3a"), json!("eu-west-3\u{430}")),
        ("no ink", json!("team a"), json!("team\u{a0}a\u{200b}")),
        ("line ends", json!("one\ntwo\n"), json!("one\r\ntwo\r\n")),
        ("the end of the last line", json!("one\ntwo"), json!("one\ntwo\n")),
        ("tabs and spaces", json!("if\n    a\n"), json!("if\n\ta  \n")),
        ("a written and a real line end", json!("a\\r\nb\n"), json!("a\r\nb\n")),
    ];
    let mut shown = String::new();
    for (name, before, after) in cases {
        shown.extend([name, "\n", &difference(&before, &after), "\n"]);
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_json_document_that_only_looks_different_is_shown_as_it_is() {
    let mut document = differing(&json!("{\"a\": 1}"), &json!("{\"a\":1}"));
    document.changes[0].differences[0].json = true;
    let told = told(&document);
    assert!(told.contains(r#"value "{\"a\": 1}" → "{\"a\":1}""#), "{told}");
}

#[test]
fn the_head_says_where_and_by_whom() {
    let mut document =
        document(&json!([]), &json!({"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 15}), false);
    let place = |endpoint: serde_json::Value| {
        let place = json!({"account": "123456789012", "region": "eu-west-3", "endpoint": endpoint});
        Some(serde_json::from_value(place).unwrap())
    };
    document.place = place(json!("aws"));
    document.identity = Some("arn:aws:sts::123456789012:assumed-role/admin/ana".to_owned());
    let head = |document: &Document| told(document).lines().next().unwrap().to_owned();
    assert_eq!(
        head(&document),
        "Stack loadtest · no environment · account 123456789012 · eu-west-3 · AWS \
         · as arn:aws:sts::123456789012:assumed-role/admin/ana"
    );
    document.origin.environment = Some("prod".to_owned());
    document.identity = None;
    for (endpoint, shown) in [
        (json!({"url": "http://127.0.0.1:4600"}), "http://127.0.0.1:4600"),
        (json!({"sandbox": ".trunnion/sandbox"}), "sandbox in .trunnion/sandbox"),
    ] {
        document.place = place(endpoint);
        let expected = format!("Stack loadtest · environment prod · account 123456789012 · eu-west-3 · {shown}");
        assert_eq!(head(&document), expected);
    }
}

#[test]
fn a_partial_plan_says_so_and_never_that_all_is_well() {
    let mut document = document(
        &json!([]),
        &json!({"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 3, "not_covered": 12}),
        false,
    );
    document.partial = true;
    document.origin.targets = vec!["instance.probe".to_owned()];
    let told = told(&document);
    let partial =
        "! This plan is partial: it covers `instance.probe` and what it needs. 12 other addresses are not planned.";
    assert_eq!(told.lines().nth(1), Some(partial));
    assert!(!told.contains("No changes:"), "{told}");
    assert!(told.ends_with(
        "No changes to the targets: all 3 resources covered match the stack. 12 other addresses are not planned.\n"
    ));
}

#[test]
fn addresses_of_a_pool_stand_together() {
    let all = ["instance.a[0]", "iam_role.x", "instance.a[1]", "instance.a[2]", "instance.a[5]", "iam_role.y"];
    assert_eq!(trunnion_render::addresses(all), "instance.a[0…2, 5], iam_role.x, iam_role.y");
}
