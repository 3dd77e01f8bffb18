//! Tables: each operator and element of the language, and how kinds of policies meet.

use serde_json::{Value, json};

use super::{
    Unknown,
    context::{Context, Values},
    document::Policy,
    evaluate::{Basis, Caller, Decision, Named, Policies, Request, evaluate},
};

const USER: &str = "arn:aws:iam::123456789012:user/ci";
const ROLE: &str = "arn:aws:iam::123456789012:role/ops";
const SESSION: &str = "arn:aws:sts::123456789012:assumed-role/ops/me";
const OBJECT: &str = "arn:aws:s3:::bucket/a/b";

fn context(set: &[(&str, Values)]) -> Context {
    let mut context = Context::default();
    for (key, values) in set {
        context.set(*key, values.clone());
    }
    context.absent("aws:Absent");
    context.absent("aws:ResourceTag/");
    context
}

fn named(statements: &Value) -> Named {
    Named {
        name: "policy".to_owned(),
        document: json!({ "Version": "2012-10-17", "Statement": statements }).to_string(),
    }
}

fn user() -> Caller {
    Caller::User { arn: USER.to_owned() }
}

fn session() -> Caller {
    Caller::Session { arn: SESSION.to_owned(), role: ROLE.to_owned() }
}

fn verdict(caller: &Caller, policies: &Policies, context: &Context) -> Result<Decision, Unknown> {
    evaluate(&Request { caller, action: "s3:GetObject", resource: OBJECT, context }, policies)
}

fn allowed(statement: &Value, context: &Context) -> Result<bool, Unknown> {
    let policies = Policies { identity: vec![named(&json!([statement]))], ..Policies::default() };
    Ok(matches!(verdict(&user(), &policies, context)?, Decision::Allowed { .. }))
}

/// Whether a condition of one operator holds for a value; without a value the key is absent.
fn holds(operator: &str, wanted: &Value, value: Option<Values>) -> Result<bool, Unknown> {
    let key = if value.is_some() { "aws:Key" } else { "aws:Absent" };
    let context = context(&value.map(|value| vec![("aws:Key", value)]).unwrap_or_default());
    let condition = json!({ operator: { key: wanted } });
    allowed(&json!({ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition }), &context)
}

#[test]
fn each_operator_compares_as_its_name_says() {
    let ip = json!(["10.0.0.0/8", "2001:db8::/32"]);
    let arn = json!("arn:aws:ecs:*:123456789012:service/*");
    let service = "arn:aws:ecs:eu-west-3:123456789012:service/a/b";
    for (operator, wanted, value, expected) in [
        ("StringEquals", json!("a*"), "a*", true),
        ("StringEquals", json!(["x", "a"]), "a", true),
        ("StringEquals", json!("A"), "a", false),
        ("StringNotEquals", json!(["x", "a"]), "a", false),
        ("StringNotEquals", json!("b"), "a", true),
        ("StringEqualsIgnoreCase", json!("A"), "a", true),
        ("StringNotEqualsIgnoreCase", json!("A"), "a", false),
        ("StringLike", json!("a?c*"), "abcdef", true),
        ("StringLike", json!("a?c"), "ac", false),
        ("StringNotLike", json!("a*"), "abc", false),
        ("NumericEquals", json!(10), "10.0", true),
        ("NumericNotEquals", json!(10), "10", false),
        ("NumericLessThan", json!("10"), "9", true),
        ("NumericLessThan", json!("10"), "10", false),
        ("NumericLessThanEquals", json!(10), "10", true),
        ("NumericGreaterThan", json!(10), "10", false),
        ("NumericGreaterThanEquals", json!(10), "10", true),
        ("NumericEquals", json!(10), "ten", false),
        ("DateEquals", json!("2026-11-26"), "2026-11-26T00:00:00Z", true),
        ("DateNotEquals", json!("2026-11-26T00:00:00Z"), "2026-11-26T00:00:00Z", false),
        ("DateLessThan", json!("2026-11-26T00:00:01Z"), "2026-11-26T00:00:00Z", true),
        ("DateLessThanEquals", json!("2026-11-26T00:00:00Z"), "2026-11-26T00:00:00Z", true),
        ("DateGreaterThan", json!("1780000000"), "2026-11-26T00:00:00Z", true),
        ("DateGreaterThanEquals", json!("2026-11-27T00:00:00Z"), "2026-11-26T00:00:00Z", false),
        ("Bool", json!(true), "true", true),
        ("Bool", json!("TRUE"), "false", false),
        ("BinaryEquals", json!("QmluYXJ5"), "QmluYXJ5", true),
        ("BinaryEquals", json!("QmluYXJ5"), "QmluYXJ6", false),
        ("IpAddress", ip.clone(), "10.1.2.3", true),
        ("IpAddress", ip.clone(), "2001:db8::1", true),
        ("IpAddress", json!("192.0.2.1"), "192.0.2.1", true),
        ("IpAddress", ip.clone(), "11.1.2.3", false),
        ("NotIpAddress", ip, "11.1.2.3", true),
        ("ArnLike", arn.clone(), service, true),
        ("ArnEquals", arn.clone(), service, true),
        ("ArnLike", json!("arn:aws:*:*:*:service/a/c"), service, false),
        ("ArnLike", arn.clone(), "no ARN", false),
        ("ArnNotLike", arn.clone(), service, false),
        ("ArnNotEquals", arn, "no ARN", true),
        ("Null", json!(false), "a", true),
        ("Null", json!("true"), "a", false),
    ] {
        let found = holds(operator, &wanted, Some(value.into()));
        assert_eq!(found, Ok(expected), "{operator} {wanted} {value}");
        if operator != "Null" {
            let found = holds(&format!("{operator}IfExists"), &wanted, Some(value.into()));
            assert_eq!(found, Ok(expected), "{operator}IfExists {wanted} {value}");
        }
    }
}

#[test]
fn an_absent_key_fails_but_for_negated_operators() {
    for (operator, wanted, expected) in [
        ("StringEquals", json!("a"), false),
        ("StringLike", json!("*"), false),
        ("StringNotEquals", json!("a"), true),
        ("StringNotLike", json!("*"), true),
        ("NumericLessThan", json!(1), false),
        ("NumericNotEquals", json!(1), true),
        ("DateNotEquals", json!("2026-11-26"), true),
        ("Bool", json!(false), false),
        ("BoolIfExists", json!(true), true),
        ("NotIpAddress", json!("10.0.0.0/8"), true),
        ("IpAddressIfExists", json!("10.0.0.0/8"), true),
        ("ArnNotLike", json!("arn:aws:*:*:*:*"), true),
        ("Null", json!(true), true),
        ("Null", json!(false), false),
        ("ForAllValues:StringEquals", json!("a"), true),
        ("ForAnyValue:StringEquals", json!("a"), false),
        ("ForAnyValue:StringNotEquals", json!("a"), false),
        ("ForAnyValue:StringEqualsIfExists", json!("a"), true),
    ] {
        assert_eq!(holds(operator, &wanted, None), Ok(expected), "{operator} {wanted}");
    }
}

#[test]
fn set_operators_look_at_each_value() {
    let values = |all: &[&str]| Some(Values::Many(all.iter().map(|&one| one.to_owned()).collect()));
    for (operator, wanted, value, expected) in [
        ("ForAllValues:StringEquals", json!(["a", "b"]), &["a", "b"][..], true),
        ("ForAllValues:StringEquals", json!(["a"]), &["a", "b"], false),
        ("ForAllValues:StringNotEquals", json!(["a"]), &["b", "c"], true),
        ("ForAllValues:StringNotEquals", json!(["a"]), &["a", "c"], false),
        ("ForAllValues:StringLike", json!("t*"), &["team", "tier"], true),
        ("ForAnyValue:StringEquals", json!(["a"]), &["a", "b"], true),
        ("ForAnyValue:StringEquals", json!(["c"]), &["a", "b"], false),
        ("ForAnyValue:StringNotEquals", json!(["a"]), &["a", "b"], true),
        ("ForAnyValue:StringNotEquals", json!(["a", "b"]), &["a", "b"], false),
    ] {
        assert_eq!(holds(operator, &wanted, values(value)), Ok(expected), "{operator} {wanted} {value:?}");
    }
    let several = holds("StringEquals", &json!("a"), values(&["a", "b"]));
    assert_eq!(several, Err(Unknown::Several("aws:Key".to_owned())));
}

#[test]
fn variables_have_their_values_or_match_nothing() {
    let context = context(&[("aws:username", "ci".into()), ("aws:PrincipalTag/team", "a*".into())]);
    let resource = |text: &str| {
        allowed(&json!({ "Effect": "Allow", "Action": "s3:*", "Resource": format!("arn:aws:s3:::{text}") }), &context)
    };
    let allows = |text: &str, resource: &str| {
        let statement = json!({ "Effect": "Allow", "Action": "*", "Resource": format!("arn:aws:s3:::{text}") });
        let policies = Policies { identity: vec![named(&statement)], ..Policies::default() };
        let caller = user();
        let request = Request { caller: &caller, action: "s3:GetObject", resource, context: &context };
        matches!(evaluate(&request, &policies).unwrap(), Decision::Allowed { .. })
    };
    assert!(allows("${aws:username}/*", "arn:aws:s3:::ci/x"));
    assert!(allows("${aws:UserName}/*", "arn:aws:s3:::ci/x"), "keys are compared regardless of case");
    assert!(allows("${aws:PrincipalTag/team}", "arn:aws:s3:::a*"));
    assert!(!allows("${aws:PrincipalTag/team}", "arn:aws:s3:::abc"), "a value has no wildcards");
    assert!(allows("${aws:Absent, 'none'}", "arn:aws:s3:::none"));
    assert!(!allows("${aws:Absent}*", "arn:aws:s3:::none"));
    assert!(allows("${*}${?}${$}", "arn:aws:s3:::*?$"));
    assert!(!allows("${*}", "arn:aws:s3:::a"));
    assert_eq!(resource("${aws:Strange}"), Err(Unknown::Key("aws:Strange".to_owned())));
}

#[test]
fn only_the_newer_language_has_variables() {
    let mut policies = Policies {
        identity: vec![named(&json!({ "Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::${aws:username}" }))],
        ..Policies::default()
    };
    let context = context(&[("aws:username", "ci".into())]);
    let caller = user();
    let mut allows = |version: &str, resource: &str| {
        for policy in &mut policies.identity {
            policy.document = policy.document.replace("2012-10-17", version).replace("2008-10-17", version);
        }
        let request = Request { caller: &caller, action: "s3:GetObject", resource, context: &context };
        matches!(evaluate(&request, &policies).unwrap(), Decision::Allowed { .. })
    };
    assert!(allows("2012-10-17", "arn:aws:s3:::ci"));
    assert!(allows("2008-10-17", "arn:aws:s3:::${aws:username}"));
    assert!(!allows("2008-10-17", "arn:aws:s3:::ci"));
}

#[test]
fn elements_and_their_negations_select() {
    let none = context(&[]);
    for (statement, expected) in [
        (json!({ "Action": "S3:getobject", "Resource": "*" }), true),
        (json!({ "Action": ["s3:Put*", "s3:Get*"], "Resource": "arn:aws:s3:::bucket/*" }), true),
        (json!({ "Action": "s3:*", "Resource": "arn:aws:s3:::BUCKET/*" }), false),
        (json!({ "NotAction": "ec2:*", "Resource": "*" }), true),
        (json!({ "NotAction": ["ec2:*", "s3:Get*"], "Resource": "*" }), false),
        (json!({ "Action": "*", "NotResource": "arn:aws:s3:::other/*" }), true),
        (json!({ "Action": "*", "NotResource": ["arn:aws:s3:::bucket/*"] }), false),
        (json!({ "Action": "*", "Resource": "arn:aws:s3:*:*:bucket/*" }), true),
        (json!({ "Action": "*", "Resource": "arn:aws:*:bucket/*" }), false),
    ] {
        let mut statement = statement;
        statement["Effect"] = "Allow".into();
        assert_eq!(allowed(&statement, &none), Ok(expected), "{statement}");
    }
}

#[test]
fn kinds_of_policies_meet_as_in_one_account() {
    let all = json!({ "Effect": "Allow", "Action": "*", "Resource": "*" });
    let deny = json!({ "Sid": "No", "Effect": "Deny", "Action": "*", "Resource": "*" });
    let other = json!({ "Effect": "Allow", "Action": "ec2:*", "Resource": "*" });
    let to = |effect: &str, principal: Value| {
        Some(named(&json!({ "Effect": effect, "Action": "*", "Resource": "*", "Principal": principal })))
    };
    let with = |identity: &[&Value]| Policies {
        identity: identity.iter().map(|one| named(&json!([one]))).collect(),
        ..Policies::default()
    };
    let root = json!({ "AWS": "123456789012" });
    let admin = Caller::Administrator { arn: USER.to_owned() };
    let service = Caller::Service { name: "ec2.amazonaws.com".to_owned() };
    let (boundary, sessions) = (Some(named(&json!([other]))), Some(vec![named(&json!([other]))]));
    let trust = |principal| Policies { resource: to("Allow", principal), is_trust: true, ..Policies::default() };
    let yes = Ok::<Basis, (Basis, bool)>;
    let no = |basis, explicit| Err::<Basis, _>((basis, explicit));
    let cases = [
        (user(), with(&[]), no(Basis::Identity, false)),
        (user(), with(&[&all]), yes(Basis::Identity)),
        (user(), with(&[&all, &deny]), no(Basis::Identity, true)),
        (user(), Policies { boundary: boundary.clone(), ..with(&[&all]) }, no(Basis::Boundary, false)),
        (user(), Policies { boundary: Some(named(&json!([all]))), ..with(&[]) }, no(Basis::Identity, false)),
        (session(), Policies { session: sessions.clone(), ..with(&[&all]) }, no(Basis::Session, false)),
        (session(), Policies { session: Some(vec![named(&json!([deny]))]), ..with(&[&all]) }, no(Basis::Session, true)),
        (user(), Policies { resource: to("Allow", json!("*")), ..with(&[]) }, yes(Basis::Resource)),
        (user(), Policies { resource: to("Allow", root.clone()), ..with(&[]) }, no(Basis::Identity, false)),
        (
            user(),
            Policies { resource: to("Allow", json!({ "AWS": USER })), boundary: boundary.clone(), ..with(&[]) },
            yes(Basis::Resource),
        ),
        (session(), Policies { resource: to("Allow", json!({ "AWS": ROLE })), ..with(&[]) }, yes(Basis::Resource)),
        (
            session(),
            Policies { resource: to("Allow", json!({ "AWS": ROLE })), boundary: boundary.clone(), ..with(&[]) },
            no(Basis::Boundary, false),
        ),
        (
            session(),
            Policies { resource: to("Allow", json!({ "AWS": ROLE })), session: sessions, ..with(&[]) },
            no(Basis::Session, false),
        ),
        (
            session(),
            Policies { resource: to("Allow", json!({ "AWS": SESSION })), boundary, ..with(&[]) },
            yes(Basis::Resource),
        ),
        (user(), Policies { resource: to("Deny", json!("*")), ..with(&[&all]) }, no(Basis::Resource, true)),
        (admin.clone(), Policies { resource: to("Deny", json!("*")), ..with(&[]) }, no(Basis::Resource, true)),
        (admin, with(&[]), yes(Basis::Administrator)),
        (service.clone(), trust(json!({ "Service": "ec2.amazonaws.com" })), yes(Basis::Trust)),
        (service.clone(), trust(json!({ "Service": "ecs-tasks.amazonaws.com" })), no(Basis::Trust, false)),
        (service, trust(json!({ "AWS": "*", "Federated": "x", "CanonicalUser": "y" })), yes(Basis::Trust)),
        (
            user(),
            Policies { is_trust: true, resource: to("Allow", root.clone()), ..with(&[]) },
            no(Basis::Identity, false),
        ),
        (user(), Policies { is_trust: true, resource: to("Allow", root), ..with(&[&all]) }, yes(Basis::Identity)),
        (
            user(),
            Policies { is_trust: true, resource: to("Allow", json!({ "AWS": ROLE })), ..with(&[&all]) },
            no(Basis::Trust, false),
        ),
    ];
    for (caller, policies, expected) in cases {
        let found = match verdict(&caller, &policies, &context(&[])).unwrap() {
            Decision::Allowed { basis, .. } => Ok(basis),
            Decision::Denied(denial) => Err((denial.basis, denial.explicit.is_some())),
        };
        assert_eq!(found, expected, "{caller:?} {policies:?}");
    }
}

#[test]
fn a_deny_for_everybody_else_spares_only_a_caller_listed_whole() {
    let not = |list: Value| Policies {
        identity: vec![named(&json!({ "Effect": "Allow", "Action": "*", "Resource": "*" }))],
        resource: Some(named(
            &json!({ "Effect": "Deny", "Action": "*", "Resource": "*", "NotPrincipal": { "AWS": list } }),
        )),
        ..Policies::default()
    };
    let is_allowed =
        |list: Value| matches!(verdict(&session(), &not(list), &context(&[])).unwrap(), Decision::Allowed { .. });
    assert!(is_allowed(json!(["123456789012", ROLE, SESSION])));
    assert!(!is_allowed(json!([ROLE, SESSION])));
    assert!(!is_allowed(json!(["123456789012", ROLE])));
}

#[test]
fn what_is_not_known_is_named() {
    let read = |statement: Value| {
        Policy::read(&json!({ "Version": "2012-10-17", "Statement": statement }).to_string()).unwrap_err()
    };
    let base = json!({ "Effect": "Allow", "Action": "*", "Resource": "*" });
    let with = |element: &str, value: Value| {
        let mut statement = base.clone();
        statement[element] = value;
        statement
    };
    for (statement, word) in [
        (with("Effects", json!("x")), "Effects"),
        (with("Effect", json!("Maybe")), "Maybe"),
        (with("Principal", json!({ "Human": "me" })), "Human"),
        (with("Principal", json!({ "AWS": "arn:aws:iam::123456789012:user/*" })), "user/*"),
        (with("Condition", json!({ "StringMatches": { "aws:a": "b" } })), "StringMatches"),
        (with("Condition", json!({ "NullIfExists": { "aws:a": "b" } })), "NullIfExists"),
        (with("Condition", json!({ "ForSomeValues:StringEquals": { "aws:a": "b" } })), "ForSomeValues"),
        (with("Condition", json!({ "StringEquals": { "tag": "b" } })), "tag"),
        (with("Condition", json!({ "NumericEquals": { "aws:a": "ten" } })), "ten"),
        (with("Condition", json!({ "IpAddress": { "aws:a": "10/8" } })), "10/8"),
        (with("Condition", json!({ "StringEquals": { "aws:a": [{}] } })), "aws:a"),
        (with("Resource", json!("arn:aws:s3:::${username}")), "username"),
        (with("NotAction", json!("s3:*")), "NotAction"),
    ] {
        let error = read(statement);
        assert!(error.contains(word), "{error} does not name {word}");
    }
    let twice = r#"{"Statement":[{"Effect":"Deny","Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    assert!(Policy::read(twice).unwrap_err().contains("`Effect` stands there twice"));
    let strange = holds("StringEquals", &json!("a"), None).unwrap();
    assert!(!strange);
    let statement = with("Condition", json!({ "StringEquals": { "ec2:Strange": "b" } }));
    assert_eq!(allowed(&statement, &context(&[])), Err(Unknown::Key("ec2:Strange".to_owned())));
}

#[test]
fn not_principal_is_only_for_a_deny_and_spares_nobody_with_a_boundary() {
    let all = json!({ "Effect": "Allow", "Action": "*", "Resource": "*" });
    let deny = json!({
        "Effect": "Deny", "Action": "*", "Resource": "*",
        "NotPrincipal": { "AWS": ["123456789012", ROLE, SESSION] },
    });
    let policies = |boundary| Policies {
        identity: vec![named(&all)],
        resource: Some(named(&deny)),
        boundary,
        ..Policies::default()
    };
    let is_allowed = |boundary| {
        let verdict = verdict(&session(), &policies(boundary), &context(&[])).unwrap();
        matches!(verdict, Decision::Allowed { .. })
    };
    assert!(is_allowed(None));
    assert!(!is_allowed(Some(named(&all))));
    let allow = deny.to_string().replace("Deny", "Allow");
    let error = Policy::read(&format!(r#"{{"Statement":{allow}}}"#)).unwrap_err();
    assert!(error.contains("NotPrincipal"), "{error}");
}

#[test]
fn a_year_is_not_a_number_of_seconds() {
    let read = |value: &str| {
        let condition = json!({ "DateLessThan": { "aws:CurrentTime": value } });
        let statement = json!({ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition });
        Policy::read(&json!({ "Statement": statement }).to_string())
    };
    for wrong in ["2099", "20990101", "2099-01"] {
        assert!(read(wrong).unwrap_err().contains(wrong));
    }
    for right in ["2099-01-01", "4070908800", "2099-01-01T00:00:00Z"] {
        read(right).unwrap();
    }
}
