use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::{
    grant::{Commands, GRANTS},
    table::all,
    *,
};

fn subject() -> Subject {
    Subject::somewhere("a", "123456789012", "eu-west-3").with_state("states", ["a.json".into(), "a.lock.json".into()])
}

/// The operations that the sources name when they call AWS.
fn called(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            called(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let calls = text.match_indices(".of_call(\"").map(|(at, mark)| &text[at + mark.len()..]);
        found.extend(calls.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    }
}

#[test]
fn the_table_has_exactly_the_calls_of_the_sources() {
    let mut found = BTreeSet::new();
    called(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let rows: BTreeSet<String> = all().map(|call| call.operation.to_owned()).collect();
    assert_eq!(found, rows);
    assert_eq!(rows.len(), all().count(), "an operation has two rows");
}

#[test]
fn plan_needs_only_calls_that_change_nothing() {
    for call in all() {
        for need in call.needs {
            assert!(!call.changes || !need.commands.meets(Commands::PLAN), "{}: {}", call.operation, need.action);
            assert!(GRANTS.contains(&need.grant), "{} is in no policy", need.grant.sid);
        }
    }
}

#[test]
fn a_call_of_another_name_in_iam_names_its_action() {
    for (operation, action) in [
        ("s3:HeadObject", "s3:GetObject"),
        ("s3:ListObjectVersions", "s3:ListBucketVersions"),
        ("s3:GetPublicAccessBlock", "s3:GetBucketPublicAccessBlock"),
        ("ec2:RunInstances", "ec2:RunInstances"),
        ("sts:GetCallerIdentity", "sts:GetCallerIdentity"),
    ] {
        assert_eq!(action_of(operation), action);
    }
}

/// The table as data, for the comparison with AWS's Service Authorization Reference.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test writes its own snapshot")]
fn the_file_for_the_comparison_with_aws_has_the_table() {
    let subject = subject();
    let rows = all().map(|call| {
        let needs = call.needs.iter().map(|need| {
            let types: BTreeSet<String> = (need.grant.on.iter().filter_map(|on| on.resource_type()))
                .map(|(service, name)| format!("{service}:{name}"))
                .collect();
            let conditions = need.grant.when.iter().flat_map(|when| when.conditions(&subject));
            let keys: BTreeSet<&str> = conditions.map(|(_, key, _)| key).collect();
            let arns: Vec<String> = need.grant.on.iter().flat_map(|on| subject.arns(*on)).collect();
            json!({"action": need.action, "statement": need.grant.sid, "types": types, "keys": keys, "arns": arns})
        });
        json!({"operation": call.operation, "changes": call.changes, "needs": needs.collect::<Vec<Value>>()})
    });
    let text = format!("{:#}\n", Value::Array(rows.collect()));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/authorization/calls.json");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|value| value == "always") {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "run this test with INSTA_UPDATE=always");
}

#[test]
fn what_a_stack_is_named_with_matches_only_itself() {
    let subject = Subject::somewhere("a", "123456789012", "eu-west-3")
        .with_state("states", ["team*/a?$.json".into(), "team/${aws:username}.lock.json".into()]);
    let patterns = subject.arns(On::StateObjects);
    assert_eq!(
        patterns,
        ["arn:aws:s3:::states/team${*}/a${?}${$}.json", "arn:aws:s3:::states/team/${$}{aws:username}.lock.json"]
    );
    let whole = ["arn:aws:s3:::states/team*/a?$.json", "arn:aws:s3:::states/team/${aws:username}.lock.json"];
    assert_eq!(subject.examples(On::StateObjects), whole);
    assert!(patterns.iter().zip(whole).all(|(pattern, text)| matches(pattern, text)));
    assert!(!matches(&patterns[0], "arn:aws:s3:::states/teams/a1$.json"));
    for (pattern, text, expected) in [
        ("a*c", "abbc", true),
        ("a*c", "abb", false),
        ("a??", "abc", true),
        ("a??", "ab", false),
        ("*", "", true),
        ("", "a", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}
