//! Previews as Markdown.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::{Value, json};
use trunnion_engine::Preview;
use trunnion_render::{markdown::LONGEST, preview};

/// A stack with some of each change, of which the first deletion is pending.
fn stack(number: usize, of_each: usize, path: &str) -> Value {
    let name = |kind: &str, at: usize| format!("{kind}.s{number}n{}", at * 2);
    let made = |at| json!({"address": name("log_group", at), "action": "create", "reason": "new"});
    let gone = |at| json!({"address": name("iam_role", at), "action": "delete", "reason": "not_in_stack", "id": name("x", at)});
    let replaced = |at| {
        json!({
            "address": name("instance", at), "action": "replace", "reason": "differs", "id": name("i", at),
            "differences": [{"path": path, "before": "a".repeat(60), "after": "b", "cause": "stack", "forces_replacement": true}],
            "desired": {"template": "b", "tags": {}},
        })
    };
    let all = || 0..of_each;
    let changes: Vec<Value> = all().map(made).chain(all().map(gone)).chain(all().map(replaced)).collect();
    let steps = changes.iter().map(|change| json!({"address": change["address"], "operation": "create", "after": []}));
    json!({
        "file": format!("stacks/{number}.yaml"),
        "base": "planned",
        "command": format!("trunnion apply stacks/{number}.yaml"),
        "pending": [name("iam_role", 0)],
        "verdicts": [{"severity": "deny", "code": "plan::budget", "message": format!("budget of {number}"), "help": "less"}],
        "plan": {
            "format": "2.0",
            "compared": {
                "stack": format!("s{number}"), "origin": {"file": format!("stacks/{number}.yaml")},
                "state": {"lineage": "", "serial": 0}, "digest": "d",
                "summary": {"create": of_each, "update": 0, "replace": of_each, "delete": of_each, "unchanged": 3},
                "changes": changes, "steps": steps.collect::<Vec<_>>(),
            },
            "remarks": {"notes": [
                {"code": "a", "message": "the same of all ".to_owned() + &"x".repeat(1_000)},
                {"code": "a", "message": format!("own of {number}")},
            ]},
        },
    })
}

fn of(stacks: &[Value], unchanged: usize) -> Preview {
    let base = json!({"named": "main", "commit": "c0ffee"});
    serde_json::from_value(json!({"format": "1.0", "base": base, "stacks": stacks, "unchanged": unchanged})).unwrap()
}

/// Every deletion and every replacement of the JSON is in the text.
#[track_caller]
fn has_all_that_is_lost(preview: &Preview, text: &str) {
    for stack in &preview.stacks {
        for change in &stack.plan.as_ref().unwrap().compared.changes {
            let action = serde_json::to_value(change.action).unwrap();
            if action == "delete" || action == "replace" {
                assert!(text.contains(&format!("`{}`", change.address)), "{action} {}", change.address);
            }
        }
    }
}

#[test]
fn a_preview_begins_with_everything_and_tells_apart_what_is_pending() {
    let preview_of_two = of(&[stack(0, 2, "template"), stack(1, 2, "template")], 3);
    let text = preview(&preview_of_two);
    has_all_that_is_lost(&preview_of_two, &text);
    let headline = "**2 stacks change · 4 to create · 4 to replace · 2 to delete · ⛔ 2 verdicts forbid it**";
    assert!(text.contains(headline), "{text}");
    assert!(text.contains("3 stacks are the same in the base and left out."), "{text}");
    assert_eq!((text.matches("the same of all").count(), text.matches("own of 1").count()), (1, 1), "{text}");
    let (own, pending) = text.split_once("Deleted and replaced by what the base asks for, not applied yet").unwrap();
    assert!(own.contains("`iam_role.s0n2`") && !own.contains("`iam_role.s0n0`"), "{own}");
    assert!(pending.contains("`iam_role.s0n0`") && pending.contains("<details>"), "{pending}");
}

#[test]
fn a_hundred_stacks_and_one_with_many_resources_stay_below_the_limit() {
    let hundred: Vec<Value> = (0..100).map(|number| stack(number, 5, "a.long.path.of.an.attribute")).collect();
    for large in [of(&hundred, 40), of(&[stack(0, 800, "template")], 0)] {
        let text = preview(&large);
        assert!(text.chars().count() < LONGEST, "{}", text.chars().count());
        has_all_that_is_lost(&large, &text);
        for stack in &large.stacks {
            for expected in [&stack.file, &stack.verdicts[0].message, stack.command.as_ref().unwrap()] {
                assert!(text.contains(expected.as_str()), "{expected}");
            }
        }
        assert!(text.contains("because a comment has a limit: details"), "{}", text.len());
        assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
    }
}

#[test]
fn nothing_of_a_stack_becomes_markup() {
    let evil = "</details><img src=x> @team #1 [a](http://b) `c` | \u{1b}[31m\n## forged";
    let mut forged = stack(0, 1, evil);
    forged["file"] = evil.into();
    forged["environment"] = evil.into();
    forged["command"] = evil.into();
    forged["verdicts"][0]["message"] = evil.into();
    forged["problem"] = json!({"message": evil, "help": evil});
    forged["base"] = json!({"unknown": {"message": evil, "help": evil}});
    let mut preview_of_it = of(&[forged], 0);
    preview_of_it.base.named = evil.to_owned();
    preview_of_it.base.problem = Some(serde_json::from_value(json!({"message": evil})).unwrap());
    let text = preview(&preview_of_it);
    let outside: String = text.split("```").step_by(2).collect();
    assert!(!text.contains('\u{1b}') && !text.contains("\n## forged"), "{text}");
    for line in outside.lines().filter(|line| !line.contains('`')) {
        assert!(!line.contains("<img") && !line.contains("@team") && !line.contains("](http"), "{line}");
    }
}
