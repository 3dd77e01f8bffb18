//! Roles and profiles through the API.

use jiff::SignedDuration;

use super::handle;
use crate::{
    Options,
    call::{Fault, Reply},
    cloud::Cloud,
    json::testing::{cloud, query_call},
};

const TRUST: &str =
    r#"{"Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const READ: &str = r#"{"Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}"#;

fn try_ask(cloud: &mut Cloud, action: &str, parameters: &[(&str, &str)]) -> Result<String, Fault> {
    handle(cloud, &query_call(action, parameters)).map(|reply| match reply {
        Reply::Xml(text) => text,
        Reply::Json(answer) => panic!("{answer}"),
    })
}

fn ask(cloud: &mut Cloud, action: &str, parameters: &[(&str, &str)]) -> String {
    try_ask(cloud, action, parameters).unwrap()
}

fn create_role(cloud: &mut Cloud, name: &str, path: &str) -> Result<String, Fault> {
    let tag = [("Tags.member.1.Key", "owner"), ("Tags.member.1.Value", "a b")];
    let mut parameters = vec![("RoleName", name), ("Path", path), ("AssumeRolePolicyDocument", TRUST)];
    parameters.extend(tag);
    try_ask(cloud, "CreateRole", &parameters)
}

#[test]
fn a_role_is_shown_with_its_tags_and_its_encoded_trust() {
    let mut cloud = cloud();
    create_role(&mut cloud, "generator", "/trunnion/lt/").unwrap();
    let shown = ask(&mut cloud, "GetRole", &[("RoleName", "generator")]);
    assert!(shown.contains("<Arn>arn:aws:iam::123456789012:role/trunnion/lt/generator</Arn>"), "{shown}");
    assert!(shown.contains("<Tags><member><Key>owner</Key><Value>a b</Value></member></Tags>"), "{shown}");
    assert!(shown.contains("%7B%22Statement%22%3A%5B"), "{shown}");
    assert!(!ask(&mut cloud, "ListRoles", &[]).contains("<Tags>"));
}

/// A sandbox in which changes of IAM are known everywhere after ten seconds.
fn strict() -> Cloud {
    Cloud::open(&Options::strict(1).with_speed(6.0)).unwrap()
}

fn at(cloud: &mut Cloud, second: i64, action: &str, parameters: &[(&str, &str)]) -> Result<Reply, String> {
    let mut call = query_call(action, parameters);
    call.now += SignedDuration::from_secs(second);
    cloud.begin(&format!("iam:{action}"));
    handle(cloud, &call).map_err(|fault| fault.code)
}

#[test]
fn a_role_is_usable_and_deletable_only_when_its_last_change_is_known_everywhere() {
    let mut cloud = strict();
    create_role(&mut cloud, "generator", "/").unwrap();
    let name = ("RoleName", "generator");
    let policy = ("PolicyName", "read");
    at(&mut cloud, 3, "PutRolePolicy", &[name, policy, ("PolicyDocument", READ)]).unwrap();
    let start = query_call("GetRole", &[]).now;
    let is_known = |cloud: &Cloud, second| {
        super::delay::is_known_everywhere(
            cloud,
            "arn:aws:iam::1:role/generator",
            start + SignedDuration::from_secs(second),
        )
    };
    assert!(!is_known(&cloud, 12) && is_known(&cloud, 13));
    at(&mut cloud, 20, "DeleteRolePolicy", &[name, policy]).unwrap();
    assert_eq!(at(&mut cloud, 29, "DeleteRole", &[name]).unwrap_err(), "DeleteConflict");
    at(&mut cloud, 30, "DeleteRole", &[name]).unwrap();
    let trust = ("AssumeRolePolicyDocument", TRUST);
    assert_eq!(at(&mut cloud, 39, "CreateRole", &[name, trust]).unwrap_err(), "EntityAlreadyExists");
    at(&mut cloud, 40, "CreateRole", &[name, trust]).unwrap();
}

#[test]
fn reads_show_a_new_role_and_hide_it_again_and_a_deleted_one_stays_for_some_of_them() {
    let mut cloud = strict();
    create_role(&mut cloud, "generator", "/").unwrap();
    let name = ("RoleName", "generator");
    let tenths = |cloud: &mut Cloud, from: i64| -> Vec<bool> {
        (0..100)
            .map(|tenth| {
                let mut call = query_call("GetRole", &[name]);
                call.now += SignedDuration::from_secs(from) + SignedDuration::from_millis(100 * tenth);
                cloud.begin("iam:GetRole");
                handle(cloud, &call).is_ok()
            })
            .collect()
    };
    let seen = tenths(&mut cloud, 0);
    assert!(!seen[0] && seen.windows(2).any(|pair| pair == [true, false]), "{seen:?}");
    assert!(tenths(&mut cloud, 10).into_iter().all(|seen| seen));
    at(&mut cloud, 20, "DeleteRole", &[name]).unwrap();
    let seen = tenths(&mut cloud, 20);
    assert!(seen[0] && seen.windows(2).any(|pair| pair == [false, true]), "{seen:?}");
    assert!(!tenths(&mut cloud, 30).into_iter().any(|seen| seen));
}

#[test]
fn a_role_does_not_appear_because_it_was_deleted() {
    let mut cloud = strict();
    create_role(&mut cloud, "generator", "/").unwrap();
    let name = ("RoleName", "generator");
    let is_hidden =
        |cloud: &mut Cloud, second: i64| (0..40).filter(|_| at(cloud, second, "GetRole", &[name]).is_err()).count();
    let is_known_to_some = |cloud: &mut Cloud, second: i64| (1..40).contains(&is_hidden(cloud, second));
    let second = (0..10).find(|second| is_known_to_some(&mut cloud, *second)).unwrap();
    assert!((0..40).any(|_| at(&mut cloud, second, "DeleteRole", &[name]).is_ok()));
    assert!(is_known_to_some(&mut cloud, second));
}

#[test]
fn the_role_of_a_service_is_created_once() {
    let mut cloud = cloud();
    let service = [("AWSServiceName", "ecs.amazonaws.com")];
    let made = ask(&mut cloud, "CreateServiceLinkedRole", &service);
    assert!(made.contains("role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS</Arn>"), "{made}");
    assert_eq!(try_ask(&mut cloud, "CreateServiceLinkedRole", &service).unwrap_err().code, "InvalidInput");
}

#[test]
fn a_name_is_taken_whatever_its_path_and_case() {
    let mut cloud = cloud();
    create_role(&mut cloud, "generator", "/one/").unwrap();
    let fault = create_role(&mut cloud, "Generator", "/two/").unwrap_err();
    assert_eq!((fault.code.as_str(), fault.status), ("EntityAlreadyExists", 409));
}

#[test]
fn lists_have_a_path_prefix_and_pages() {
    let mut cloud = cloud();
    for name in ["a", "b", "c"] {
        create_role(&mut cloud, name, "/ours/").unwrap();
    }
    create_role(&mut cloud, "other", "/theirs/").unwrap();
    let first = ask(&mut cloud, "ListRoles", &[("PathPrefix", "/ours/"), ("MaxItems", "2")]);
    assert!(first.contains("<IsTruncated>true</IsTruncated>") && !first.contains("<RoleName>c<"), "{first}");
    let marker = first.split("<Marker>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let second = ask(&mut cloud, "ListRoles", &[("PathPrefix", "/ours/"), ("Marker", &marker)]);
    assert!(second.contains("<RoleName>c<") && !second.contains("other"), "{second}");
}

#[test]
fn a_role_is_deleted_only_when_nothing_is_attached() {
    let mut cloud = cloud();
    let role = ("RoleName", "generator");
    let policy = ("PolicyArn", "arn:aws:iam::aws:policy/ReadOnlyAccess");
    let profile = ("InstanceProfileName", "generator");
    create_role(&mut cloud, "generator", "/").unwrap();
    ask(&mut cloud, "PutRolePolicy", &[role, ("PolicyName", "read"), ("PolicyDocument", READ)]);
    ask(&mut cloud, "AttachRolePolicy", &[role, policy]);
    ask(&mut cloud, "CreateInstanceProfile", &[profile]);
    ask(&mut cloud, "AddRoleToInstanceProfile", &[profile, role]);
    let details = ask(&mut cloud, "GetAccountAuthorizationDetails", &[("Filter.member.1", "Role")]);
    for part in ["<PolicyName>read<", "<PolicyName>ReadOnlyAccess<", "<InstanceProfileName>generator<", "<Key>owner<"] {
        assert!(details.contains(part), "{part}: {details}");
    }
    let steps: [(&str, Vec<(&str, &str)>); 3] = [
        ("RemoveRoleFromInstanceProfile", vec![profile, role]),
        ("DeleteRolePolicy", vec![role, ("PolicyName", "read")]),
        ("DetachRolePolicy", vec![role, policy]),
    ];
    for (action, parameters) in steps {
        let fault = try_ask(&mut cloud, "DeleteRole", &[role]).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.status), ("DeleteConflict", 409), "before {action}");
        ask(&mut cloud, action, &parameters);
    }
    ask(&mut cloud, "DeleteRole", &[role]);
    assert_eq!(try_ask(&mut cloud, "GetRole", &[role]).unwrap_err().status, 404);
}

#[test]
fn long_lists_are_refused_before_anything_else() {
    let tags: Vec<String> = (1..=51).map(|number| format!("Tags.member.{number}.Key")).collect();
    let call =
        |count: usize| query_call("TagRole", &tags.iter().take(count).map(|name| (&**name, "x")).collect::<Vec<_>>());
    assert_eq!(super::wire::check_lists(&call(50)), Ok(()));
    let fault = super::wire::check_lists(&call(51)).unwrap_err();
    assert!(fault.code == "ValidationError" && fault.message.contains("'tags'"), "{fault:?}");
}

#[test]
fn a_simulation_is_limited_and_evaluates_only_its_page() {
    let mut cloud = cloud();
    create_role(&mut cloud, "generator", "/").unwrap();
    let source = ("PolicySourceArn", "arn:aws:iam::123456789012:role/generator");
    let names = |list: &str, count: usize| -> Vec<String> {
        (1..=count).map(|number| format!("{list}.member.{number}")).collect()
    };
    let (actions, resources) = (names("ActionNames", 101), names("ResourceArns", 100));
    let mut parameters = vec![source, ("MaxItems", "2")];
    parameters.extend(actions.iter().map(|name| (&**name, "s3:GetObject")));
    let shown = ask(&mut cloud, "SimulatePrincipalPolicy", &parameters);
    assert_eq!(shown.matches("<EvalActionName>").count(), 2);
    parameters.extend(resources.iter().map(|name| (&**name, "arn:aws:s3:::x/y")));
    assert_eq!(try_ask(&mut cloud, "SimulatePrincipalPolicy", &parameters).unwrap_err().code, "InvalidInput");
}

#[test]
fn a_parameter_is_found_whatever_the_order_of_the_request() {
    let call = query_call("TagRole", &[("b", "2"), ("c", "3"), ("a", "1"), ("a", "4"), ("d", "")]);
    let found: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|name| super::wire::parameter(&call, name)).collect();
    assert_eq!(found, [Some("1"), Some("2"), Some("3"), None, None]);
}

#[test]
fn a_profile_with_a_role_refuses_another_role_and_its_deletion() {
    let mut cloud = cloud();
    let profile = ("InstanceProfileName", "generator");
    for name in ["one", "two"] {
        create_role(&mut cloud, name, "/").unwrap();
    }
    ask(&mut cloud, "CreateInstanceProfile", &[profile]);
    ask(&mut cloud, "AddRoleToInstanceProfile", &[profile, ("RoleName", "one")]);
    let fault = try_ask(&mut cloud, "AddRoleToInstanceProfile", &[profile, ("RoleName", "two")]).unwrap_err();
    assert_eq!((fault.code.as_str(), fault.status), ("LimitExceeded", 409));
    assert_eq!(try_ask(&mut cloud, "DeleteInstanceProfile", &[profile]).unwrap_err().code, "DeleteConflict");
}

fn trusting(principal: &str) -> String {
    let actions = r#"["sts:AssumeRole","sts:SetSourceIdentity"]"#;
    format!(r#"{{"Statement":[{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":{actions}}}]}}"#)
}

#[test]
fn a_principal_of_the_account_exists() {
    let mut cloud = cloud();
    let create = |cloud: &mut Cloud, name: &str, principal: &str| {
        let trust = trusting(principal);
        try_ask(cloud, "CreateRole", &[("RoleName", name), ("AssumeRolePolicyDocument", &trust)])
    };
    for missing in ["iam::123456789012:user/ci", "iam::123456789012:role/ci", "sts::123456789012:assumed-role/ci/me"] {
        let fault = create(&mut cloud, "ops", &format!("arn:aws:{missing}")).unwrap_err();
        assert_eq!(fault.code, "MalformedPolicyDocument");
        assert!(fault.message.starts_with("Invalid principal in policy: \"AWS\":"), "{}", fault.message);
    }
    ask(&mut cloud, "CreateUser", &[("UserName", "ci")]);
    create(&mut cloud, "ops", "arn:aws:iam::123456789012:user/ci").unwrap();
    create(&mut cloud, "more", "arn:aws:sts::123456789012:assumed-role/ops/me").unwrap();
    create(&mut cloud, "other", "arn:aws:iam::210987654321:user/somebody").unwrap();
    let trust = trusting("arn:aws:iam::123456789012:user/gone");
    let update = [("RoleName", "ops"), ("PolicyDocument", trust.as_str())];
    assert_eq!(try_ask(&mut cloud, "UpdateAssumeRolePolicy", &update).unwrap_err().code, "MalformedPolicyDocument");
}

/// `AssumeRole` of the role `ops` with these credentials, as the server answers it.
fn assume(cloud: &mut Cloud, key: &str, more: &[(&str, &str)]) -> Result<String, Fault> {
    let base = [("RoleArn", "arn:aws:iam::123456789012:role/ops"), ("RoleSessionName", "me")];
    let mut call = query_call("AssumeRole", &[&base[..], more].concat());
    call.service = "sts".to_owned();
    call.origin.access_key = key.to_owned();
    crate::authorize::check(cloud, &call)?;
    match crate::sts::handle(cloud, &call)? {
        Reply::Xml(text) => Ok(text),
        Reply::Json(answer) => panic!("{answer}"),
    }
}

fn with_ops(cloud: &mut Cloud, trust: &str) {
    ask(cloud, "CreateRole", &[("RoleName", "ops"), ("AssumeRolePolicyDocument", trust)]);
}

#[test]
fn a_source_identity_needs_its_permission_and_stays_the_same() {
    let mut cloud = cloud();
    let trust = trusting("123456789012");
    with_ops(&mut cloud, &trust);
    let allow = |action: &str| {
        format!(r#"{{"Statement":{{"Effect":"Allow","Action":["sts:AssumeRole"{action}],"Resource":"*"}}}}"#)
    };
    let put = |cloud: &mut Cloud, document: &str| {
        let put = [("RoleName", "ops"), ("PolicyName", "own"), ("PolicyDocument", document)];
        ask(cloud, "PutRolePolicy", &put);
    };
    put(&mut cloud, &allow(""));
    let source = [("SourceIdentity", "alice")];
    let begun = assume(&mut cloud, crate::ACCESS_KEY_ID, &source).unwrap();
    let key = begun.split("<AccessKeyId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let refused = assume(&mut cloud, &key, &[]).unwrap_err();
    assert!(refused.message.contains("sts:SetSourceIdentity"), "{}", refused.message);
    put(&mut cloud, &allow(r#","sts:SetSourceIdentity""#));
    let chained = assume(&mut cloud, &key, &[]).unwrap();
    let chained = chained.split("<AccessKeyId>").nth(1).unwrap().split('<').next().unwrap();
    assert_eq!(cloud.iam.sessions.get(chained).unwrap().source_identity.as_deref(), Some("alice"));
    assume(&mut cloud, &key, &source).unwrap();
    assert_eq!(assume(&mut cloud, &key, &[("SourceIdentity", "mallory")]).unwrap_err().code, "AccessDenied");
    let without = trust.replace(r#","sts:SetSourceIdentity""#, "");
    ask(&mut cloud, "UpdateAssumeRolePolicy", &[("RoleName", "ops"), ("PolicyDocument", &without)]);
    assert_eq!(assume(&mut cloud, crate::ACCESS_KEY_ID, &source).unwrap_err().code, "AccessDenied");
}

#[test]
fn a_session_gets_nothing_that_is_not_served() {
    let mut cloud = cloud();
    with_ops(&mut cloud, &trusting("123456789012"));
    for name in ["SerialNumber", "TokenCode", "TransitiveTagKeys.member.1", "ProvidedContexts.member.1.ProviderArn"] {
        let fault = assume(&mut cloud, crate::ACCESS_KEY_ID, &[(name, "123456")]).unwrap_err();
        let named = name.split('.').next().unwrap();
        assert!(fault.code == "ValidationError" && fault.message.contains(named), "{}", fault.message);
    }
    let long = READ.replace('*', &format!("arn:aws:s3:::{}", "x".repeat(2_048)));
    assert_eq!(assume(&mut cloud, crate::ACCESS_KEY_ID, &[("Policy", &long)]).unwrap_err().code, "ValidationError");
    let arn = "arn:aws:iam::aws:policy/AdministratorAccess";
    let names: Vec<String> = (1..=11).map(|number| format!("PolicyArns.member.{number}.arn")).collect();
    let arns: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), arn)).collect();
    assume(&mut cloud, crate::ACCESS_KEY_ID, &arns[..10]).unwrap();
    assert_eq!(assume(&mut cloud, crate::ACCESS_KEY_ID, &arns).unwrap_err().code, "ValidationError");
}

#[test]
fn a_session_has_the_arn_of_its_role_even_where_the_role_is_new() {
    let mut cloud = strict();
    let mut found = false;
    with_ops(&mut cloud, &trusting("123456789012"));
    // Each of the replicas knows the role at its own time; one of them does before all do.
    for second in 0..10 {
        let base = [("RoleArn", "arn:aws:iam::123456789012:role/ops"), ("RoleSessionName", "me")];
        let mut call = query_call("AssumeRole", &base);
        call.now += SignedDuration::from_secs(second);
        cloud.begin("sts:AssumeRole");
        if let Ok(Reply::Xml(text)) = crate::sts::handle(&mut cloud, &call) {
            assert!(text.contains("<Arn>arn:aws:sts::123456789012:assumed-role/ops/me</Arn>"), "{text}");
            found = true;
        }
    }
    assert!(found);
}
