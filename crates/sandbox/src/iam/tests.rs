//! Roles and profiles through the API.

use super::handle;
use crate::{
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
