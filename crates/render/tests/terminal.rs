//! The output of plan documents on a terminal.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::json;
use trunnion_engine::{Action, Document, Endpoint, OtherHome, Place};
use trunnion_render::tree::{Mark, Section, Tree};

fn document(changes: &serde_json::Value, summary: &serde_json::Value, destroy: bool) -> Document {
    serde_json::from_value(json!({
        "format": "2.0",
        "compared": {
            "stack": "loadtest",
            "origin": {"file": "loadtest.yaml", "destroy": destroy},
            "state": {"lineage": "", "serial": 0},
            "digest": "",
            "summary": summary,
            "changes": changes,
            "steps": [],
        },
        "remarks": {"notes": [{"code": "plan::pinned", "message": "an image is\u{1b}[2J newer", "help": "take it"}]},
    }))
    .unwrap()
}

fn shown(document: &Document) -> String {
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
fn a_plan_with_every_kind_of_change() {
    let policy = |action: &str| json!({"$json": {"Statement": [{"Action": action, "Effect": "Allow"}]}});
    let tags = json!({"team": "a", "Name": "loadtest-heavy-9"});
    let changes = json!([
        {"address": "ecs_cluster.main", "action": "none", "reason": "unchanged", "id": "arn"},
        {
            "address": "iam_role.generator", "action": "create", "reason": "new",
            "desired": {"name": "loadtest-generator", "policy": policy("s3:GetObject"), "tags": tags, "other_policies": []},
        },
        {
            "address": "instance.heavy[9]", "action": "create", "reason": "new", "name": "loadtest-heavy-9",
            "desired": {"template": "x".repeat(200), "tags": tags, "user_data": "one\ntwo\n"},
        },
        host(0), host(1), host(3),
        {
            "address": "instance.old[0]", "action": "delete", "reason": "not_in_stack", "id": "i-9", "name": "loadtest-old-0",
        },
        {
            "address": "log_group.control_plane", "action": "create",
            "reason": {"gone": {"id": "/trunnion/x", "applied_at": "2026-08-01T00:00:00Z"}}, "desired": {"retention_days": 30},
        },
        {
            "address": "security_group.load", "action": "update", "reason": "differs", "id": "sg-1", "name": "loadtest-load",
            "differences": [
                {
                    "path": "ingress", "cause": {"outside": {"since": "2026-08-01T00:00:00Z"}},
                    "before": [{"peer": "0.0.0.0/0", "protocol": "tcp"}, "kept"], "after": ["kept"],
                },
                {"path": "password", "before": "sha256:1", "after": "sha256:2", "cause": "stack", "sensitive": true},
                {"path": "policy", "before": policy("s3:GetObject"), "after": policy("s3:PutObject"), "cause": "unrecorded"},
                {"path": "tags.owner", "before": "me", "cause": "unrecorded"},
                {"path": "user_data", "before": "one\ntwo\nthree\n", "after": "one\n2\nthree\n", "cause": "stack"},
            ],
        },
    ]);
    let summary = json!({"create": 3, "update": 1, "replace": 3, "delete": 1, "unchanged": 1});
    insta::assert_snapshot!(shown(&document(&changes, &summary, false)));
}

#[test]
fn an_empty_plan_is_one_line() {
    let nothing = json!({"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 0});
    assert!(shown(&document(&json!([]), &nothing, true)).ends_with("No changes: nothing of `loadtest` is left.\n"));
    let all = json!({"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 20});
    let mut plan = document(&json!([]), &all, false);
    assert!(shown(&plan).ends_with("No changes: all 20 resources match the stack.\n"));
    // Without a note between, it is said once.
    plan.remarks.notes.clear();
    assert_eq!(shown(&plan).matches("No changes").count(), 1);
}

/// A document with one change, which has one difference between these two values.
fn differing(before: &serde_json::Value, after: &serde_json::Value) -> Document {
    let changes = json!([{
        "address": "ecs_service.control_plane", "action": "update", "reason": "differs", "id": "arn",
        "differences": [{"path": "value", "before": before, "after": after, "cause": "stack"}],
    }]);
    document(&changes, &json!({"create": 0, "update": 1, "replace": 0, "delete": 0, "unchanged": 0}), false)
}

/// The rendered difference: the text between the address and the notes.
fn difference(before: &serde_json::Value, after: &serde_json::Value) -> String {
    let text = shown(&differing(before, after));
    let text = text.split_once("  arn\n").unwrap().1;
    text.split_once("\n\n!").unwrap().0.to_owned()
}

#[test]
fn different_values_never_look_the_same() {
    let repository =
        "123456789012.dkr.ecr.eu-west-3.amazonaws.com/performance-engineering/gatling-control-plane@sha256:";
    let digest = |end: char| "a".repeat(63) + &end.to_string();
    let cases = [
        ("a long image", json!(format!("{repository}{}", digest('1'))), json!(format!("{repository}{}", digest('2')))),
        ("two digests with the same start", json!(digest('1')), json!(digest('2'))),
        ("lists of long words", json!([digest('1')]), json!([digest('2')])),
        ("another order", json!(["subnet-1", "subnet-2"]), json!(["subnet-2", "subnet-1"])),
        ("a letter of another alphabet", json!("eu-west-3a"), json!("eu-west-3\u{430}")),
        ("spaces", json!("team a"), json!("team  a")),
        ("invisible characters", json!("team a"), json!("team\u{a0}a\u{200b}")),
        ("line ends", json!("one\ntwo\n"), json!("one\r\ntwo\r\n")),
        ("the end of the last line", json!("one\ntwo"), json!("one\ntwo\n")),
        ("the last line and its end", json!("one\ntwo"), json!("one\n2\n")),
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
fn json_with_other_whitespace_is_shown_as_text() {
    let text = shown(&differing(&json!("{\"a\": 1}"), &json!("{\"a\":1}")));
    assert!(text.contains(r#"value "{\"a\": 1}" → "{\"a\":1}"  whitespace only"#), "{text}");
}

#[test]
fn a_change_of_a_long_policy_names_its_statement_and_counts_what_is_folded() {
    let policy = |bucket: &str| {
        let statement = |sid: &str, bucket: &str| {
            json!({
                "Sid": sid, "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
                "Resource": [format!("arn:aws:s3:::{bucket}")],
            })
        };
        json!({"$json": {"Statement": [statement("Logs", "logs"), statement("Binaries", bucket), statement("Keys", "keys")]}})
    };
    let mut document = differing(&policy("old"), &policy("new"));
    insta::assert_snapshot!(shown(&document));
    document.compared.changes[0].differences[0].after = None;
    let text = shown(&document);
    assert!(text.contains("\n          - {\n          -   \"Statement\": [\n"), "{text}");
}

#[test]
fn a_change_of_a_long_text_names_the_block_that_it_is_in() {
    let location = |id: &str, last: &str| {
        format!(
            "  {{\n    id = \"{id}\"\n    type = \"dedicated\"\n    java = 25\n    ips = [\n      \"10.0.0.1\"\n      \"{last}\"\n    ]\n  }}\n"
        )
    };
    let conf =
        |last: &str| json!(format!("locations = [\n{}{}]\n", location("prl_a", "10.0.0.2"), location("prl_b", last)));
    let expected = r#"        value
          ⋮ 11 lines unchanged
                id = "prl_b"
          ⋮ 2 lines unchanged
                ips = [
                  "10.0.0.1"
          -       "10.0.1.2"
          +       "10.0.1.3"
                ]
              }
            ]"#;
    assert_eq!(difference(&conf("10.0.1.2"), &conf("10.0.1.3")), expected);
}

#[test]
fn what_a_group_folds_is_counted() {
    let hosts: Vec<_> = (0..9).map(host).collect();
    let text = shown(&document(
        &json!(hosts),
        &json!({"create": 0, "update": 0, "replace": 9, "delete": 0, "unchanged": 0}),
        false,
    ));
    assert!(text.contains("-/+ instance.heavy[0…8]  9 alike · i-0, i-8 and 7 more\n"), "{text}");
}

#[test]
fn a_host_with_another_difference_is_not_grouped() {
    let mut hosts: Vec<_> = (0..4).map(host).collect();
    hosts[1]["desired"]["tags"]["Name"] = json!("another-1");
    hosts[2]["differences"][0]["path"] = json!("interfaces[2]");
    hosts[3]["differences"][0]["after"] = json!({"$reference": "launch_template.other#digest"});
    let text = shown(&document(
        &json!(hosts),
        &json!({"create": 0, "update": 0, "replace": 4, "delete": 0, "unchanged": 0}),
        false,
    ));
    for number in 0..4 {
        assert!(text.contains(&format!("-/+ instance.heavy[{number}]  i-{number}\n")), "{text}");
    }
}

#[test]
fn the_head_names_place_and_identity() {
    let mut document =
        document(&json!([]), &json!({"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 15}), false);
    let place = |endpoint| Place { account: "123456789012".to_owned(), region: "eu-west-3".to_owned(), endpoint };
    let ana = "arn:aws:sts::123456789012:assumed-role/admin/ana";
    document = document.made(&place(Endpoint::Aws), Some(ana.to_owned()));
    let head = |document: &Document| shown(document).lines().next().unwrap().to_owned();
    assert_eq!(
        head(&document),
        "Stack loadtest · no environment · account 123456789012 · eu-west-3 · AWS \
         · as arn:aws:sts::123456789012:assumed-role/admin/ana"
    );
    document.compared.origin.environment = Some("prod".to_owned());
    for (endpoint, shown) in [
        (Endpoint::Url("http://127.0.0.1:4600".to_owned()), "http://127.0.0.1:4600"),
        (Endpoint::Sandbox(".trunnion/sandbox".to_owned()), "sandbox in .trunnion/sandbox"),
    ] {
        document = document.made(&place(endpoint), None);
        let expected = format!("Stack loadtest · environment prod · account 123456789012 · eu-west-3 · {shown}");
        assert_eq!(head(&document), expected);
    }
}

#[test]
fn a_partial_plan_never_claims_that_all_resources_match() {
    let mut document = document(
        &json!([]),
        &json!({"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 3, "not_covered": 12}),
        false,
    );
    document.compared.partial = true;
    document.compared.origin.targets = vec!["instance.probe".to_owned()];
    let text = shown(&document);
    let partial =
        "! This plan is partial: it covers `instance.probe` and what it needs. 12 other resources were not compared.";
    let claim =
        "No changes to the targets: all 3 resources covered match the stack. 12 other resources were not compared.";
    assert_eq!(text.lines().skip(1).take(2).collect::<Vec<_>>(), [claim, partial]);
    assert!(!text.contains("No changes:"), "{text}");
    assert!(text.ends_with(&format!("\n{claim}\n")), "{text}");
}

#[test]
fn phases_are_shown_in_order() {
    let revision = |phase: usize, before: serde_json::Value| {
        json!({
            "address": "ecs_service.control_plane", "phase": phase, "action": "update", "reason": "differs",
            "differences": [{
                "path": "task_definition", "before": before,
                "after": {"$reference": "ecs_task_definition.control_plane#arn"},
                "cause": if phase == 1 { "stack" } else { "phase" },
            }],
        })
    };
    let in_phase = |number: u32| {
        let mut host = host(number);
        host["phase"] = json!(2);
        host
    };
    let changes = json!([
        revision(1, json!("arn:1")),
        revision(3, json!({"$reference": "ecs_task_definition.control_plane#arn of phase 1"})),
        in_phase(0), in_phase(1),
        {"address": "iam_role.generator", "action": "none", "reason": "unchanged"},
    ]);
    let mut document =
        document(&changes, &json!({"create": 0, "update": 1, "replace": 2, "delete": 0, "unchanged": 1}), false);
    document.compared.phases = 3;
    document.remarks.notes.clear();
    insta::assert_snapshot!(shown(&document));
}

#[test]
fn a_number_of_phases_that_is_not_so_hides_nothing() {
    let mut host = host(0);
    host["phase"] = json!(7);
    let mut document =
        document(&json!([host]), &json!({"create": 0, "update": 0, "replace": 1, "delete": 0, "unchanged": 0}), false);
    for phases in [0, 1, usize::MAX] {
        document.compared.phases = phases;
        assert!(shown(&document).contains("instance.heavy[0]"), "{phases}: {}", shown(&document));
    }
}

#[test]
fn a_partial_plan_that_covers_everything_names_no_others() {
    let mut document =
        document(&json!([]), &json!({"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 3}), false);
    document.compared.partial = true;
    let text = shown(&document);
    assert!(text.contains("all 3 resources covered match the stack.\n") && !text.contains("other"), "{text}");
}

#[test]
fn addresses_of_a_pool_are_combined() {
    let all = ["instance.a[0]", "iam_role.x", "instance.a[1]", "instance.a[2]", "instance.a[5]", "iam_role.y"];
    let all = all.map(|address| address.parse().unwrap());
    assert_eq!(trunnion_render::addresses(&all), "instance.a[0…2, 5], iam_role.x, iam_role.y");
}

#[test]
fn the_tree_has_no_markup_and_no_control_characters() {
    let document = document(
        &json!([host(0)]),
        &json!({"create": 0, "update": 0, "replace": 1, "delete": 0, "unchanged": 0}),
        false,
    );
    let tree = Tree::of(&document);
    assert!(!format!("{tree:?}").contains("\\u{1b}"), "{tree:?}");
    assert!(trunnion_render::terminal(&document).contains('\u{1b}'));
    let [Section { action: Action::Replace, entries, .. }] = tree.sections.as_slice() else { panic!("{tree:?}") };
    assert_eq!(entries[0].rows[0].marks, [Mark::ForcesReplacement]);
}

#[test]
fn a_list_of_homes_counts_the_rest() {
    let mut document =
        document(&json!([]), &json!({"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 0}), false);
    let named = ["instance.a[0]", "instance.a[1]", "iam_role.x"].map(|address| address.parse().unwrap()).to_vec();
    document.compared.other_homes = vec![OtherHome { home: None, count: 14, addresses: named }];
    assert!(shown(&document).contains("\n  instance.a[0…1], iam_role.x and 11 more\n"), "{}", shown(&document));
}
