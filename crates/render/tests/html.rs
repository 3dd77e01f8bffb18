//! Previews as HTML.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::{Value, json};
use trunnion_engine::Preview;
use trunnion_render::preview_html;

const HOSTILE: &str = "</style></title></details><script>alert(1)</script>\"><img src=x onerror=alert(1)> ' javascript:alert(1) \
    & \u{202e}turned \u{1b}[31m https://evil.example/x";

fn total(hourly: &str) -> Value {
    json!({"hourly": hourly, "monthly": hourly})
}

fn pool(name: &str, hourly: &str, users: u64) -> Value {
    let capacity = json!({
        "virtual_users": users, "requests_per_second": 1, "packets_per_second": 1, "binds": "cpu", "bounds": [],
    });
    json!({"pool": name, "hosts": 2, "instance_type": "c7i.large", "hourly": hourly, "capacity": capacity})
}

fn estimate(currency: &str, hourly: [&str; 2], users: [u64; 2], pools: &[Value]) -> Value {
    json!({
        "currency": currency, "cost_before": total(hourly[0]), "cost": total(hourly[1]), "lines": [],
        "virtual_users_before": users[0], "virtual_users": users[1], "pools": pools, "locations": [],
        "hours_per_month": 80, "assumptions": [],
    })
}

/// A stack with one change of each kind, in which the first deletion is pending.
fn stack(number: usize) -> Value {
    let name = |kind: &str, at: usize| format!("{kind}.s{number}n{at}");
    let forcing = json!([{"path": "data.image_id", "before": "ami-1", "after": "ami-2", "cause": "stack", "forces_replacement": true}]);
    let lines =
        json!([{"path": "user_data", "before": "a\nb\n", "after": "a\nc\n", "cause": {"outside": {"since": "then"}}}]);
    let changes = json!([
        {"address": name("log_group", 0), "action": "create", "reason": "new", "desired": {"retention": 14}},
        {"address": name("route", 0), "action": "update", "reason": "differs", "id": "rt-1", "differences": lines},
        {"address": name("instance", 0), "action": "replace", "reason": "differs", "id": "i-1", "differences": forcing},
        {"address": name("iam_role", 0), "action": "delete", "reason": "not_in_stack", "id": "role-0"},
        {"address": name("iam_role", 1), "action": "delete", "reason": "not_in_stack", "id": "role-1"},
    ]);
    let steps = changes.as_array().unwrap().iter();
    let steps = steps.map(|change| json!({"address": change["address"], "operation": "create", "after": []}));
    json!({
        "file": format!("stacks/{number}.yaml"),
        "environment": format!("env{number}"),
        "base": "planned",
        "command": format!("trunnion apply stacks/{number}.yaml"),
        "pending": [name("iam_role", 0)],
        "before": {"cost": total("1.25"), "virtual_users": 10, "pools": [pool("old", "1.25", 10)]},
        "verdicts": [
            {"severity": "warn", "code": "plan::b", "message": "look at it"},
            {"severity": "deny", "code": "plan::budget", "message": format!("budget of {number}"), "help": "take less"},
        ],
        "plan": {
            "format": "2.0",
            "compared": {
                "stack": format!("s{number}"), "origin": {"file": "a.yaml"}, "state": {"lineage": "", "serial": 0},
                "digest": format!("digest{number}"),
                "summary": {"create": 1, "update": 1, "replace": 1, "delete": 2, "unchanged": 3},
                "changes": changes, "steps": steps.collect::<Vec<_>>(),
            },
            "remarks": {
                "notes": [{"code": "a", "message": "the same of all"}, {"code": "a", "message": format!("own of {number}")}],
                "estimate": estimate("USD", ["0", "2.5"], [0, 1_000_000], &[pool("new", "2.5", 1_000_000)]),
            },
        },
    })
}

fn of(stacks: &[Value]) -> Preview {
    let base = json!({"named": "main", "commit": "c0ffee"});
    serde_json::from_value(json!({"format": "1.0", "base": base, "stacks": stacks, "unchanged": 3})).unwrap()
}

/// A tag: its name, whether it ends an element, and its attributes.
struct Tag {
    name: String,
    is_end: bool,
    attributes: Vec<(String, String)>,
}

/// The tags of a page and its texts, with what is in a text as a browser shows it. It panics at whatever a strict parser refuses.
#[track_caller]
fn parsed(page: &str) -> (Vec<Tag>, String) {
    let (mut tags, mut text) = (Vec::new(), String::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some((before, after)) = rest.split_once('<') {
        assert!(!before.contains('>'), "a bare `>` in {before:.200}");
        text += &before.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
        text.push('\n');
        let is_end = after.starts_with('/');
        let after = after.strip_prefix('/').unwrap_or(after);
        let name: String = after.chars().take_while(char::is_ascii_alphanumeric).collect();
        let mut inside = after.strip_prefix(name.as_str()).unwrap();
        let mut attributes: Vec<(String, String)> = Vec::new();
        while let Some(attribute) = inside.strip_prefix(' ') {
            let end = attribute.find(['=', ' ', '>']).unwrap();
            let (key, value) = attribute.split_at(end);
            assert!(
                !key.is_empty() && key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'),
                "{key:.200}"
            );
            let Some(quoted) = value.strip_prefix("=\"") else {
                inside = value;
                continue;
            };
            let (value, after) = quoted.split_once('"').unwrap();
            assert!(attributes.iter().all(|(known, _)| known != key), "`{key}` twice: {attribute:.100}");
            attributes.push((key.to_owned(), value.to_owned()));
            inside = after;
        }
        rest = inside.strip_prefix('>').unwrap_or_else(|| panic!("<{name}{inside:.100}"));
        if name == "style" && !is_end {
            rest = rest.split_at(rest.find("</style").unwrap()).1;
        }
        tags.push(Tag { name, is_end, attributes });
    }
    assert!(rest.is_empty(), "{rest}");
    (tags, text)
}

/// Each element ends where it may, each id is there once, each link leads to one, and nothing is fetched or runs.
#[track_caller]
fn is_safe(page: &str) -> String {
    let (tags, text) = parsed(page);
    let known = [
        "html",
        "head",
        "meta",
        "link",
        "title",
        "style",
        "body",
        "header",
        "main",
        "nav",
        "section",
        "article",
        "footer",
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
        "ul",
        "li",
        "dl",
        "div",
        "dt",
        "dd",
        "table",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "th",
        "td",
        "figure",
        "figcaption",
        "svg",
        "rect",
        "span",
        "strong",
        "code",
        "bdi",
        "pre",
        "a",
        "details",
        "summary",
    ];
    let (mut open, mut ids, mut links) = (Vec::new(), Vec::new(), Vec::new());
    for tag in &tags {
        let name = tag.name.as_str();
        assert!(known.contains(&name), "<{name}>");
        match (tag.is_end, name) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, "meta" | "link") => {}
            (false, _) => open.push(name),
        }
        for (key, value) in &tag.attributes {
            assert!(
                !key.starts_with("on") && !["src", "srcset", "style", "action", "poster"].contains(&key.as_str()),
                "{key}"
            );
            match key.as_str() {
                "href" if name == "link" => assert_eq!(value, "data:,"),
                "href" => links.push(value.strip_prefix('#').unwrap()),
                "id" => ids.push(value.as_str()),
                "aria-labelledby" => links.push(value),
                _ => {}
            }
            assert!(!value.contains("//") && !value.contains("javascript"), "{value}");
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let unique: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len());
    for link in links {
        assert!(unique.contains(link), "{link}");
    }
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    assert!(!style.contains("url(") && !style.contains("@import") && !style.contains("//"));
    assert!(page.contains(
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\""
    ));
    text
}

#[track_caller]
fn in_order(text: &str, expected: &[&str]) {
    let mut rest = text;
    for part in expected {
        rest = rest.split_once(part).unwrap_or_else(|| panic!("`{part}` is missing, or not in order: {text}")).1;
    }
}

#[test]
fn a_page_has_everything_in_order() {
    let preview = of(&[stack(0), stack(1)]);
    let page = preview_html(&preview);
    let text = is_safe(&page);
    for stack in &preview.stacks {
        for change in &stack.plan.as_ref().unwrap().compared.changes {
            assert!(page.contains(&format!("<code>{}</code>", change.address)), "{}", change.address);
        }
    }
    in_order(
        &text,
        &[
            "2 stacks change",
            "2 verdicts forbid it",
            "2\n",
            "to create",
            "2\n",
            "to replace",
            "2\n",
            "to delete",
            "+2.50",
            "USD an hour",
        ],
    );
    in_order(
        &text,
        &[
            "Compared with",
            "main",
            "c0ffee",
            "3 stacks are the same",
            "Notes on several stacks",
            "the same of all",
            "In 2 stacks.",
        ],
    );
    assert_eq!((text.matches("the same of all").count(), text.matches("own of 1").count()), (1, 1), "{text}");
    let of_second = page.split_once("id=\"stack-2\"").unwrap().1;
    let of_second = parsed(&format!("<!DOCTYPE html><p{of_second}")).1;
    in_order(
        &of_second,
        &[
            "stacks/1.yaml",
            "env1",
            "Deleted and replaced",
            "delete",
            "iam_role.s1n1",
            "not in the stack any more",
            "replace",
            "instance.s1n0",
            "data.image_id",
            "Created and changed",
            "route.s1n0",
            "user_data",
            "log_group.s1n0",
            "Cost and capacity",
            "an hour",
            "1.25 USD",
            "2.50 USD",
            "+1.25 USD",
            "virtual users",
            "10",
            "1,000,000",
            "+999,990",
            "limited by",
            "c7i.large",
            "CPU",
            "What the base asks for, not applied yet",
            "delete",
            "iam_role.s1n0",
            "Verdicts",
            "forbids it",
            "budget of 1",
            "Help: ",
            "take less",
            "warning",
            "look at it",
            "Notes",
            "own of 1",
            "To apply it",
            "trunnion apply stacks/1.yaml",
            "digest1",
            "Details",
            "- ",
            "ami-1",
            "forces replacement",
            "+ ",
            "ami-2",
            "changed outside since then",
            "- ",
            "b",
            "+ ",
            "c",
        ],
    );
    assert!(
        page.contains("<div class=\"before\"><span>- </span>  b</div><div class=\"after\"><span>+ </span>  c</div>"),
        "{page}"
    );
}

#[test]
fn whatever_comes_from_outside_is_text() {
    let mut forged = stack(0);
    let as_json = serde_json::to_string(HOSTILE).unwrap();
    let as_json = as_json.trim_matches('"');
    for known in [
        "stacks/0.yaml",
        "env0",
        "look at it",
        "budget of 0",
        "take less",
        "own of 0",
        "digest0",
        "ami-1",
        "ami-2",
        "c7i.large",
        "data.image_id",
        "user_data",
        "retention",
        "USD",
        "rt-1",
        "\"new\",\"virtual",
        "then",
    ] {
        let text = forged.to_string();
        assert!(known.contains("virtual") || text.contains(known), "{known}");
        forged = serde_json::from_str(&text.replace(known, as_json)).unwrap();
    }
    forged["plan"]["remarks"]["estimate"]["pools"][0]["pool"] = HOSTILE.into();
    forged["problem"] = json!({"message": format!("`{HOSTILE}` and `"), "help": format!("`{HOSTILE}`")});
    forged["base"] = json!({"unknown": {"message": HOSTILE, "help": HOSTILE}});
    let mut preview = of(&[forged, stack(1)]);
    preview.base.named = HOSTILE.to_owned();
    preview.base.problem = Some(serde_json::from_value(json!({"message": HOSTILE})).unwrap());
    let page = preview_html(&preview);
    let text = is_safe(&page);
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains(['\u{1b}', '\u{202e}']));
    assert!(text.matches("<script>alert(1)</script>").count() > 25, "{}", text.matches("<script>").count());

    let long = "<b>".repeat(350_000);
    let mut named = stack(0);
    named["file"] = long.clone().into();
    named["environment"] = long.clone().into();
    assert!(is_safe(&preview_html(&of(&[named]))).contains(&long));
}

/// The widths of the bars of a page, in percent.
fn widths(page: &str) -> Vec<(String, String)> {
    let of = |tag: &Tag, key: &str| tag.attributes.iter().find(|(known, _)| known == key).unwrap().1.clone();
    let bars = parsed(page).0.into_iter().filter(|tag| tag.name == "rect" && !tag.is_end);
    bars.map(|tag| (of(&tag, "class"), of(&tag, "width"))).filter(|(class, _)| class != "track").collect()
}

/// The widths and the text of the charts of the stacks.
fn charts(stacks: &[Value]) -> (Vec<String>, String) {
    let page = preview_html(&of(stacks));
    is_safe(&page);
    let Some((_, charts)) = page.split_once("id=\"charts\"") else { return (Vec::new(), String::new()) };
    let charts = format!("<!DOCTYPE html><p id=\"charts\"{}", charts.split_once("<article").unwrap().0);
    (widths(&charts).into_iter().map(|(_, width)| width).collect(), parsed(&charts).1)
}

fn estimated(number: usize, estimate: Value) -> Value {
    let mut stack = stack(number);
    stack.as_object_mut().unwrap().remove("before");
    stack["plan"]["remarks"]["estimate"] = estimate;
    stack
}

#[test]
fn charts_are_right_with_any_numbers() {
    let (bars, text) = charts(&[estimated(0, estimate("USD", ["0", "0"], [0, 0], &[]))]);
    assert_eq!(bars, ["0%"; 4]);
    in_order(
        &text,
        &["Cost an hour in USD", "stacks/0.yaml", "+0.00 USD", "before", "0.00", "after", "0.00", "Virtual users"],
    );

    let (bars, text) = charts(&[estimated(0, estimate("USD", ["10000000", "0.0031"], [1, 10_000_000], &[]))]);
    assert_eq!(bars, ["100%", "0.8%", "0.8%", "100%"]);
    in_order(&text, &["−10000000.00 USD", "10000000.00", "0.0031", "+9,999,999", "1", "10,000,000"]);

    let largest = "79228162514264337593543950335";
    let (bars, _) = charts(&[estimated(0, estimate("USD", [largest, "-5"], [u64::MAX, u64::MAX / 2], &[]))]);
    assert_eq!(bars, ["100%", "0%", "100%", "50%"]);

    // Amounts of several currencies are never in one chart.
    let (bars, text) = charts(&[
        estimated(0, estimate("USD", ["1", "2"], [1, 2], &[])),
        estimated(1, estimate("CNY", ["50", "100"], [1, 2], &[])),
    ]);
    assert_eq!(bars, ["50%", "100%", "50%", "100%", "50%", "100%", "50%", "100%"]);
    in_order(
        &text,
        &["Cost an hour in USD", "1.00", "2.00", "Cost an hour in CNY", "50.00", "100.00", "Virtual users"],
    );

    let mut unpriced = estimated(0, estimate("USD", ["0", "0"], [0, 0], &[]));
    unpriced["plan"]["remarks"]["estimate"]["cost"]["unpriced"] = json!({"nat": "1"});
    let mut unknown = stack(1);
    unknown["plan"]["remarks"].as_object_mut().unwrap().remove("estimate");
    let (_, text) = charts(&[unpriced, unknown.clone()]);
    in_order(
        &text,
        &["unpriced parts", "before", "0.00", "after", "unpriced", "1 stack has no estimate and is not in the charts."],
    );
    assert_eq!(charts(&[unknown]).0.len(), 0);
}

#[test]
fn a_chart_of_many_stacks_has_those_that_change_most() {
    let hundred: Vec<Value> = (0..100)
        .map(|number| {
            let users = 1_000 + u64::try_from(number).unwrap();
            estimated(number, estimate("USD", ["1", &number.to_string()], [1_000, users], &[]))
        })
        .collect();
    let (bars, text) = charts(&hundred);
    assert_eq!(bars.len(), 2 * 2 * 12);
    in_order(
        &text,
        &[
            "stacks/99.yaml",
            "stacks/98.yaml",
            "stacks/88.yaml",
            "The 12 largest changes; 88 other stacks are not shown.",
        ],
    );
    assert!(!text.contains("stacks/50.yaml"), "{text}");
    let page = preview_html(&of(&hundred));
    for number in 0..100 {
        assert!(
            page.contains(&format!("href=\"#stack-{}\"", number + 1))
                && page.contains(&format!("iam_role.s{number}n1"))
        );
    }
}

#[test]
fn pools_are_compared_with_the_base_where_it_is_known() {
    let text_of = |stack: Value| {
        let page = preview_html(&of(&[stack]));
        is_safe(&page);
        let chart =
            page.split_once("Virtual users of each pool").unwrap().1.split_once("</figure>").unwrap().0.to_owned();
        parsed(&format!("<!DOCTYPE html><p>{chart}<p>")).1
    };
    in_order(
        &text_of(stack(0)),
        &["new", "+1,000,000", "before", "0", "after", "1,000,000", "old", "−10", "before", "10", "after", "0"],
    );
    let mut before = stack(0);
    before["before"].as_object_mut().unwrap().remove("pools");
    in_order(&text_of(before), &["new", "before", "not known", "after", "1,000,000"]);
    in_order(
        &text_of(estimated(0, estimate("USD", ["1", "2"], [1, 2], &[pool("one", "2", 2)]))),
        &["one", "before", "not known", "after", "2"],
    );
    in_order(
        &text_of(estimated(0, estimate("USD", ["0", "2"], [0, 2], &[pool("one", "2", 2)]))),
        &["one", "+2", "before", "0", "after", "2"],
    );
}

#[test]
fn a_preview_without_stacks_says_so() {
    let text = is_safe(&preview_html(&of(&[])));
    in_order(
        &text,
        &["No stack changes", "0\n", "to delete", "Compared with", "3 stacks are the same in the base and left out."],
    );
}

#[test]
fn what_is_in_backticks_is_code_and_a_lone_one_stays() {
    let mut stack = stack(0);
    for (message, expected) in [
        ("raise `budget.hourly` to 18", "raise <code>budget.hourly</code> to 18"),
        ("one ` alone", "one ` alone"),
        ("``", "``"),
    ] {
        stack["verdicts"][0]["message"] = message.into();
        let page = preview_html(&of(std::slice::from_ref(&stack)));
        is_safe(&page);
        assert!(page.contains(expected), "{expected}");
    }
}
