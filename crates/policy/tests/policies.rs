//! What policies may be, and what stops them.

#![expect(clippy::unwrap_used, reason = "a policy that is not as expected fails the test")]

use std::time::Instant;

use serde_json::{Value as Json, json};
use trunnion_policy::{Policies, PolicyError, Severity, Verdict};

fn parse(text: &str) -> Result<Policies, PolicyError> {
    Policies::parse([("policies/a.rego".to_owned(), text.to_owned())])
}

/// The verdicts of a body of `deny` in a package of its own.
fn deny(head: &str, body: &str) -> Result<Vec<Verdict>, PolicyError> {
    parse(&format!("package trunnion.a\ndeny contains {head} if {{\n{body}\n}}\n"))?.verdicts(&plan())
}

fn plan() -> Json {
    json!({
        "format": "2.2",
        "compared": {"stack": "a", "changes": [
            {"address": "log_group.main", "action": "create", "reason": "new", "desired": {"name": "a", "retention_days": 30, "tags": {"team": "a"}}},
            {"address": "instance.heavy[0]", "action": "none", "reason": "unchanged"},
        ]},
        "remarks": {"estimate": {"cost": {"monthly": "164.917"}, "virtual_users": 100}},
    })
}

fn refused(text: &str) -> String {
    let error = match parse(text) {
        Err(error) => error,
        Ok(policies) => policies.verdicts(&plan()).unwrap_err(),
    };
    assert!(!error.help.is_empty(), "{error}");
    format!("{error} | {}", error.help)
}

#[track_caller]
fn refuses(text: &str, parts: &[&str]) {
    let error = refused(text);
    for part in parts {
        assert!(error.contains(part), "{error}\nlacks {part}");
    }
}

/// A policy of one statement, on line 3.
fn with(statement: &str) -> String {
    format!("package trunnion.a\ndeny contains \"no\" if {{\n{statement}\n}}\n")
}

#[test]
fn a_text_or_an_object_becomes_a_verdict() {
    let verdict = |severity, code: &str, message: &str, help: Option<&str>| Verdict {
        severity,
        code: code.into(),
        message: message.into(),
        help: help.map(str::to_owned),
    };
    let policies = Policies::parse([
        ("z.rego".to_owned(), "package trunnion.z\nwarn contains \"w\"\ndeny contains {\"message\": \"m\", \"help\": \"h\"}\n".to_owned()),
        ("b.rego".to_owned(), "package trunnion.b\ndeny contains \"two\"\ndeny contains \"one\"\n".to_owned()),
        (
            "c.rego".to_owned(),
            "package trunnion.c\ndeny contains {\"message\": m, \"address\": \"x.y\"} if {\n\tsome m in [\"`x.y` is new\", \"is new\"]\n}\n".to_owned(),
        ),
    ])
    .unwrap();
    let expected = [
        verdict(Severity::Deny, "policy::b", "one", None),
        verdict(Severity::Deny, "policy::b", "two", None),
        verdict(Severity::Deny, "policy::c", "`x.y` is new", None),
        verdict(Severity::Deny, "policy::c", "`x.y`: is new", None),
        verdict(Severity::Deny, "policy::z", "m", Some("h")),
        verdict(Severity::Warn, "policy::z", "w", None),
    ];
    assert_eq!(policies.verdicts(&plan()).unwrap(), expected);
    assert_eq!(policies.clone().verdicts(&plan()).unwrap(), expected);
    assert_eq!(policies.count(), 3);
    assert_eq!(Policies::parse([]).unwrap().verdicts(&plan()).unwrap(), []);
}

#[test]
fn several_files_may_have_one_package_and_share_helpers() {
    let files = [
        ("1.rego", "package trunnion.a\nimport data.lib.plans\ndeny contains c.address if some c in plans.created\n"),
        ("2.rego", "package trunnion.a\ndeny contains \"two\"\n"),
        (
            "3.rego",
            "package lib.plans\ncreated contains c if {\n\tsome c in input.compared.changes\n\tc.action == \"create\"\n}\n",
        ),
        (
            "4_test.rego",
            "package trunnion.a_test\nimport data.trunnion.a\ntest_it if count(a.deny) == 2 with input as {\"compared\": {}}\n",
        ),
    ];
    let policies = Policies::parse(files.map(|(name, text)| (name.to_owned(), text.to_owned()))).unwrap();
    let messages: Vec<String> = policies.verdicts(&plan()).unwrap().into_iter().map(|it| it.message).collect();
    assert_eq!(messages, ["log_group.main", "two"]);
}

#[test]
fn other_shapes_are_refused_with_their_place() {
    refuses(
        "package trunnion.a\ndeny contains 3\n",
        &["a.rego:2: `deny` of the package `trunnion.a` has the element 3", "deny contains TEXT"],
    );
    refuses("package trunnion.a\ndeny contains {\"msg\": \"a\"}\n", &["a.rego:2", "\"msg\", which is not one of"]);
    refuses("package trunnion.a\ndeny contains {\"message\": 1}\n", &["message\" is 1, not a text"]);
    refuses("package trunnion.a\ndeny contains {\"help\": \"a\"}\n", &["no `message`"]);
    refuses("package trunnion.a\ndeny contains \" \"\n", &["empty message"]);
    refuses(
        "package trunnion.a\n\ndeny := \"a\"\n",
        &["a.rego:3: `deny` is not a set of messages", "deny contains TEXT"],
    );
    refuses("package trunnion.a\ndeny if true\n", &["a.rego:2: `deny` is not a set of messages"]);
    refuses("package trunnion.a\ndefault deny := false\nwarn contains \"a\"\n", &["a.rego:2: `deny` is not a set"]);
    refuses("package trunnion.a\ndeny[m] := \"a\" if m := \"b\"\n", &["a.rego:2", "is not a set of messages"]);
    refuses("package trunnion.a\ndeny.x contains \"a\"\n", &["a.rego:2", "is not a set of messages"]);
}

#[test]
fn rules_that_nothing_evaluates_are_refused() {
    refuses(
        "package main\ndeny contains \"a\"\n",
        &["a.rego:2: `deny` is in the package `main`, so nothing evaluates it", "trunnion.NAME"],
    );
    refuses(
        "package trunnion\ndeny contains \"a\"\n",
        &["a.rego:1: the package `trunnion` has no name", "policy::NAME"],
    );
    refuses("package trunnion.a.b\ndeny contains \"a\"\n", &["a.rego:1: the package `trunnion.a.b`"]);
    refuses(
        "package trunnion.a\ndenny contains \"a\"\n",
        &["a.rego:1: the package `trunnion.a` has no rule `deny` or `warn`"],
    );
}

#[test]
fn syntax_errors_name_their_place() {
    refuses("package trunnion.a\ndeny contains \"a\" if {\n", &["a.rego:", "opa check"]);
    refuses("package trunnion.a\n\ndeny[msg] { msg := \"a\" }\n", &["a.rego:3: "]);
    refuses("deny contains \"a\"\n", &["a.rego:1: "]);
    refuses("", &["a.rego"]);
    refuses(&with("missing == 3"), &["a.rego:3: ", "missing"]);
    refuses(
        &format!("package trunnion.a\ndeny contains {}1{} if true\n", "[".repeat(5000), "]".repeat(5000)),
        &["a.rego:2: ", "a.rego:2: brackets are nested more than 12 deep"],
    );
}

#[test]
fn long_and_deep_policies_are_read_in_no_time() {
    let start = Instant::now();
    for (open, close) in [("[", "]"), ("{", "}"), ("(", ")"), ("count([", "])"), ("{1: ", "}"), ("[1 | ", "]")] {
        let times = 10 / open.matches(['[', '{', '(']).count();
        let _ = parse(&with(&format!("x := {}1{}\nx == x", open.repeat(times), close.repeat(times))));
    }
    let sum = (0..20_000).map(|_| "1").collect::<Vec<_>>().join(" +\n");
    let _ = parse(&with(&format!("x := {sum}\nx > 0"))).map(|policies| policies.verdicts(&plan()));
    let text = with(
        "# a comment with \" and [[[[[[[[[[[[[[[[\nx := `[[[[[[[[[[[[[[[[[\\` # )\nx == \"[[[[[[[[[[[[[[[[[[\\\"\"",
    );
    assert!(parse(&text).is_ok(), "{:?}", parse(&text));
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

#[test]
fn names_that_no_plan_document_has_are_refused() {
    refuses(
        &with("some c in input.compared.chnages\nc.action == \"create\""),
        &["a.rego:3: `input.compared` of the plan document has no `chnages`", "`changes`"],
    );
    refuses(
        &with("some c in input.changes\nc.action == \"create\""),
        &["a.rego:3: `input` of the plan document has no `changes`"],
    );
    refuses(
        &with("some c in input.compared.changes\nc.adress == \"x.y\""),
        &["a.rego:4: `c` of the plan document has no `adress`", "`address`"],
    );
    refuses(
        &with("some c in input.compared.changes\nc[\"adress\"] == \"x.y\""),
        &["a.rego:4: `c` of the plan document has no `adress`"],
    );
    refuses(&with("input.compared.changes[_].desird.name == \"a\""), &["a.rego:3", "`desired`"]);
    refuses(
        &with("input.compared.changes.address == \"a\""),
        &["a.rego:3: `input.compared.changes` of the plan document has no `address`", "list"],
    );
    refuses(
        &with("some c in input.compared.changes\nc.desired.ingres[_].peer == \"a\""),
        &["a.rego:4: nothing in a plan document has the name `ingres`", "write `ingress`, or"],
    );
    refuses(&with("some c in input.compared.changes\nc.desired.tags.owner == \"a\""), &["a.rego:4", "[\"owner\"]"]);
    refuses(&with("not input.remarks.estimat"), &["a.rego:3", "`estimate`"]);
    refuses(&with("every c in input.compared.changes { c.actoin == \"none\" }"), &["a.rego:3", "`action`"]);
    refuses(
        &with("count([d | d := input.compared.changes[_].differences[_]; d.pth == \"a\"]) > 0"),
        &["a.rego:3", "`path`"],
    );
    refuses(
        "package trunnion.a\ndeny contains c.adress if some c in input.compared.changes\n",
        &["a.rego:2", "`address`"],
    );
    refuses(
        "package trunnion.a\nis_new(c) if c.desird\ndeny contains \"a\" if is_new(input.compared.changes[0])\n",
        &["a.rego:2", "`desired`"],
    );
    refuses(
        "package trunnion.a\nimport input.compard\ndeny contains \"a\" if compard.stack\n",
        &["a.rego:2", "`compared`"],
    );
    let fine = with(
        "some c in input.compared.changes\nc.desired.tags[\"owner\"] == \"a\"\nlimits := {\"soft\": 1}\nlimits.soft == 1",
    );
    assert!(parse(&fine).is_ok());
}

#[test]
fn values_that_no_attribute_has_are_refused() {
    refuses(
        &with("some c in input.compared.changes\nc.action == \"destroy\""),
        &["a.rego:4: `c.action` is never `destroy`", "delete"],
    );
    refuses(
        &with("some c in input.compared.changes\nc.action in {\"create\", \"change\"}"),
        &["a.rego:4: `c.action` is never `change`"],
    );
    refuses(&with("some c in input.compared.changes\na := c.action\n\"new\" != a"), &["a.rego:5: `a` is never `new`"]);
    assert!(parse(&with("some c in input.compared.changes\nc.action in {\"create\", \"none\"}\nc.reason == \"new\"\nc.address == \"x\"")).is_ok());
}

#[test]
fn functions_and_rules_that_are_not_there_are_refused() {
    for call in [
        "http.send({})",
        "time.now_ns()",
        "opa.runtime()",
        "rand.intn(\"a\", 3)",
        "uuid.rfc4122(\"a\")",
        "net.lookup_ip_addr(\"a\")",
        "numbers.range_step(1, 2, 1)",
        "io.jwt.decode(\"\")",
    ] {
        let name = call.split('(').next().unwrap();
        refuses(
            &with(&format!("x := {call}\nx")),
            &[&format!("a.rego:3: there is no function `{name}`"), "neither network, files, clock nor random numbers"],
        );
    }
    refuses(&with("startwith(input.compared.stack, \"a\")"), &["a.rego:3", "`startswith`"]);
    refuses(&with("data.trunnion.a.acepted"), &["a.rego:3: `data.trunnion.a.acepted` is neither a rule nor a package"]);
    refuses(
        "package trunnion.a\nimport data.lib.netz\ndeny contains \"a\" if netz.x\n",
        &["a.rego:2: `data.lib.netz` is neither"],
    );
    refuses(&with("data.files.list"), &["a.rego:3: `data.files.list`"]);
}

#[test]
fn errors_of_functions_are_not_the_same_as_nothing_to_deny() {
    refuses(&with("to_number(input.compared.stack) > 1"), &["a.rego:3: ", "opa eval"]);
    refuses(&with("net.cidr_contains(\"10.0.0.0/8\", input.compared.stack)"), &["a.rego:3: `a` is not a network"]);
    refuses(&with("count(input.remarks.estimate.virtual_users) > 1"), &["a.rego:3: "]);
    refuses("package trunnion.a\nx := 1 if true\nx := 2 if true\ndeny contains \"a\" if x == 1\n", &["a.rego:3: "]);
}

#[test]
fn the_functions_for_networks_and_ranges_are_those_of_opa() {
    for (expression, is_true) in [
        ("net.cidr_contains(\"10.0.0.0/8\", \"10.1.0.0/16\")", true),
        ("net.cidr_contains(\"10.0.0.0/8\", \"10.1.2.3\")", true),
        ("net.cidr_contains(\"10.1.0.0/16\", \"10.0.0.0/8\")", false),
        ("net.cidr_contains(\"::/0\", \"10.0.0.0/8\")", false),
        ("net.cidr_is_valid(\"10.0.0.0/33\")", false),
        ("net.cidr_is_valid(\"2001:db8::/32\")", true),
        ("numbers.range(1, 3) == [1, 2, 3]", true),
        ("numbers.range(3, 1) == [3, 2, 1]", true),
        ("numbers.range(2, 2) == [2]", true),
        ("regex.match(`^a+$`, \"aa\")", true),
    ] {
        assert_eq!(!deny("\"a\"", expression).unwrap().is_empty(), is_true, "{expression}");
    }
}

#[test]
fn every_evaluation_ends() {
    let start = Instant::now();
    let bits = "some a in numbers.range(1, 1000)\nsome b in numbers.range(1, 1000)\nsome c in numbers.range(1, 1000)\na + b + c == 0";
    refuses(&with(bits), &["a.rego: the policy takes more than 10000000 steps", "loops"]);
    refuses(
        &with(
            "count({[a, b] | some a in numbers.range(1, 99999); some b in numbers.range(1, 99999); a < b; a < 0}) > 1",
        ),
        &["steps"],
    );
    refuses(&with("numbers.range(1, 1000000000000)[_] == 0"), &["a.rego:3", "apart"]);
    refuses("package trunnion.a\nf(x) := f(x + 1)\ndeny contains \"a\" if f(1) == 2\n", &["needs itself"]);
    refuses(
        "package trunnion.a\nf(x) := g(x + 1)\ng(x) := f(x)\ndeny contains \"a\" if f(1) == 2\n",
        &["needs itself"],
    );
    refuses("package trunnion.a\na if b\nb if a\ndeny contains \"a\" if a\n", &["needs itself"]);
    refuses("package trunnion.a\ndeny contains \"a\" if count(deny) > 1\n", &["needs itself"]);
    refuses("package trunnion.a\ndeny contains \"a\" if data.trunnion.a.deny[\"b\"]\n", &["needs itself"]);
    // A variable may have the name of a rule.
    let text = "package trunnion.a\ngroups contains 1 if other[1]\nother contains 1 if {\n\tgroups := 1\n\tgroups == 1\n}\ndeny contains \"a\" if groups[1]\n";
    assert_eq!(parse(text).unwrap().verdicts(&plan()).unwrap().len(), 1);
    assert!(start.elapsed().as_secs() < 300, "{:?}", start.elapsed());
}

#[test]
fn policies_can_be_used_by_several_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Policies>();
}
