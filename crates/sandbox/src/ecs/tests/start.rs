//! What a task needs before it runs: its roles, its log group and its secrets.

use serde_json::{Value, json};

use super::{TRUST, allow, ask, cloud, definition, described, service, try_ask};
use crate::{
    Options,
    call::Reply,
    cloud::Cloud,
    json::testing::{PACE, json_call, query_call},
    logs,
};

#[test]
fn tasks_wait_for_a_missing_log_group_and_report_it() {
    let mut cloud = cloud();
    logs::handle(&mut cloud, &json_call("DeleteLogGroup", 0, json!({ "logGroupName": "/cp" }))).unwrap();
    let service = service(&mut cloud);
    ask(&mut cloud, 0, "CreateService", service.clone());
    let waiting = described(&mut cloud, 100);
    assert_eq!(waiting["runningCount"], 0);
    assert!(waiting["events"][0]["message"].as_str().unwrap().contains("unable to consistently start tasks"));
    assert!(stopped_reason(&mut cloud, 100).contains("The specified log group does not exist."));
    logs::handle(&mut cloud, &json_call("CreateLogGroup", 100, json!({ "logGroupName": "/cp" }))).unwrap();
    described(&mut cloud, 100);
    assert_eq!(described(&mut cloud, 100 + PACE)["runningCount"], 1);
}

#[test]
fn a_new_role_is_not_assumed_until_every_service_knows_it() {
    let mut cloud = Cloud::open(&Options::strict(1).with_speed(6.0)).unwrap();
    let first = json_call("", 0, Value::Null);
    cloud.enter(&first.region, first.now);
    logs::handle(&mut cloud, &json_call("CreateLogGroup", 0, json!({ "logGroupName": "/cp" }))).unwrap();
    let cluster = json!({ "clusterName": "main" });
    for second in [0, PACE - 1] {
        let early = try_ask(&mut cloud, second, "CreateCluster", cluster.clone()).unwrap_err();
        assert!(early.message.contains("service linked role"), "{}", early.message);
    }
    ask(&mut cloud, PACE, "CreateCluster", cluster);
    let role = [("RoleName", "execution"), ("AssumeRolePolicyDocument", TRUST)];
    let mut late = query_call("CreateRole", &role);
    late.now = json_call("", 100, Value::Null).now;
    crate::iam::handle(&mut cloud, &late).unwrap();
    let policy = r#"{"Statement":[{"Effect":"Allow","Action":"logs:*","Resource":"*"}]}"#;
    let put = [("RoleName", "execution"), ("PolicyName", "all"), ("PolicyDocument", policy)];
    let mut later = query_call("PutRolePolicy", &put);
    later.now = json_call("", 105, Value::Null).now;
    crate::iam::handle(&mut cloud, &later).unwrap();
    ask(&mut cloud, 105, "RegisterTaskDefinition", definition());
    let service = service(&mut cloud);
    ask(&mut cloud, 105, "CreateService", service);
    let waiting = described(&mut cloud, 105 + PACE - 1);
    assert!(waiting["events"][0]["message"].as_str().unwrap().contains("unable to assume the role"), "{waiting}");
    described(&mut cloud, 105 + PACE);
    assert_eq!(described(&mut cloud, 105 + 2 * PACE)["runningCount"], 1);
}

const TOKEN: &str = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token";

/// Why a task with this secret does not start, if its execution role may read the secret with the allowed ARN.
fn blocked(from: &str, allowed: &str) -> Option<String> {
    let mut cloud = cloud();
    allow(&mut cloud, allowed);
    let create = json!({ "Name": "db", "SecretString": r#"{"password":"x"}"# });
    crate::secrets::handle(&mut cloud, &json_call("CreateSecret", 0, create)).unwrap();
    let Ok(Reply::Json(db)) =
        crate::secrets::handle(&mut cloud, &json_call("DescribeSecret", 0, json!({ "SecretId": "db" })))
    else {
        panic!()
    };
    let mut with_secret = definition();
    let from = from.replace("DB", db["ARN"].as_str().unwrap());
    with_secret["containerDefinitions"][0]["secrets"] = json!([{ "name": "TOKEN", "valueFrom": from }]);
    ask(&mut cloud, 0, "RegisterTaskDefinition", with_secret);
    let service = service(&mut cloud);
    ask(&mut cloud, 0, "CreateService", service);
    let later = described(&mut cloud, PACE);
    if later["runningCount"] == 1 {
        return None;
    }
    Some(stopped_reason(&mut cloud, PACE))
}

/// Why the last task stopped before it ran.
fn stopped_reason(cloud: &mut Cloud, second: i64) -> String {
    let listed = ask(cloud, second, "ListTasks", json!({ "cluster": "main", "desiredStatus": "STOPPED" }));
    let described = ask(cloud, second, "DescribeTasks", json!({ "cluster": "main", "tasks": listed["taskArns"] }));
    let task = &described["tasks"][0];
    assert_eq!((&task["lastStatus"], &task["stopCode"]), (&json!("STOPPED"), &json!("TaskFailedToStart")));
    task["stoppedReason"].as_str().unwrap().to_owned()
}

#[test]
fn a_parameter_is_a_secret_if_it_exists_and_the_role_may_read_it() {
    const ARN: &str = "arn:aws:ssm:eu-west-3:123456789012:parameter/gatling/token";
    let run = |from: &str, allowed: &str, puts: bool| {
        let mut cloud = cloud();
        if puts {
            let put = json!({ "Name": "/gatling/token", "Value": "x", "Type": "String" });
            crate::ssm::handle(&mut cloud, &json_call("PutParameter", 0, put)).unwrap();
        }
        allow(&mut cloud, allowed);
        let mut with = definition();
        with["containerDefinitions"][0]["secrets"] = json!([{ "name": "TOKEN", "valueFrom": from }]);
        ask(&mut cloud, 0, "RegisterTaskDefinition", with);
        let asked = service(&mut cloud);
        ask(&mut cloud, 0, "CreateService", asked);
        let arn = cloud.ecs.services.values().next().unwrap().primary.blocked.clone();
        arn.map(|blocked| blocked.reason)
    };
    assert_eq!(run(ARN, ARN, true), None);
    assert_eq!(run("/gatling/token", ARN, true), None);
    let denied = run(ARN, "arn:aws:ssm:eu-west-3:123456789012:parameter/other", true).unwrap();
    assert!(denied.contains("ssm:GetParameters on resource: ") && denied.contains(ARN), "{denied}");
    let absent = run("/gatling/token", ARN, false).unwrap();
    assert!(absent.ends_with("invalid ssm parameters: /gatling/token"), "{absent}");
}

#[test]
fn what_a_task_cannot_read_is_refused_when_it_is_registered() {
    let mut cloud = cloud();
    let mut refused = |member: &str, value: Value| {
        let mut with = definition();
        with["containerDefinitions"][0][member] = value;
        try_ask(&mut cloud, 0, "RegisterTaskDefinition", with).unwrap_err().message
    };
    for from in ["arn:aws:s3:::bucket/key", "two words", "arn:aws:ssm:eu-west-3:123456789012:document/x"] {
        let message = refused("secrets", json!([{ "name": "TOKEN", "valueFrom": from }]));
        assert!(message.contains("specified for secret TOKEN is invalid"), "{message}");
    }
    let files = json!([{ "type": "s3", "value": "arn:aws:s3:::bucket/file.env" }]);
    assert!(refused("environmentFiles", files).contains("environmentFiles"));
    let registry = json!({ "credentialsParameter": TOKEN });
    assert!(refused("repositoryCredentials", registry).contains("repositoryCredentials"));
}

#[test]
fn a_secret_is_readable_only_if_the_policy_has_its_complete_arn() {
    let whole = format!("{TOKEN}-AbCdEf");
    assert_eq!(blocked(&whole, &whole), None);
    assert_eq!(blocked(TOKEN, &whole), None, "a short ARN also finds the secret");
    for from in [TOKEN, &whole] {
        let reason = blocked(from, TOKEN).unwrap();
        assert!(reason.contains("secretsmanager:GetSecretValue on resource: ") && reason.contains(&whole), "{reason}");
    }
    assert_eq!(blocked(TOKEN, &format!("{TOKEN}-??????")), None);
}

#[test]
fn a_key_and_a_version_of_a_secret_must_exist() {
    assert_eq!(blocked("DB:password::", "*"), None);
    assert_eq!(blocked("DB:password:AWSCURRENT:", "*"), None);
    assert!(blocked("DB:user::", "*").unwrap().contains("did not contain json key user"));
    assert!(blocked("DB:password:AWSPENDING:", "*").unwrap().contains("can't find the specified secret version"));
    assert!(blocked("DB:password", "*").unwrap().contains("three fields"));
    let short = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:db:password::";
    assert!(blocked(short, "*").unwrap().contains("unexpected ARN format"));
}

#[test]
fn a_role_needs_permission_for_logs_and_trust_for_tasks() {
    let trust = TRUST.replace("ecs-tasks", "ec2");
    let without_policy = ("DeleteRolePolicy", [("RoleName", "execution"), ("PolicyName", "all")]);
    let for_hosts = ("UpdateAssumeRolePolicy", [("RoleName", "execution"), ("PolicyDocument", trust.as_str())]);
    for ((action, parameters), reason) in
        [(without_policy, "logs:CreateLogStream"), (for_hosts, "unable to assume the role")]
    {
        let mut cloud = cloud();
        crate::iam::handle(&mut cloud, &query_call(action, &parameters)).unwrap();
        let service = service(&mut cloud);
        ask(&mut cloud, 0, "CreateService", service);
        let later = described(&mut cloud, PACE);
        assert_eq!(later["runningCount"], 0);
        let event = later["events"][0]["message"].to_string();
        if event.contains("unable to assume the role") {
            assert!(event.contains(reason), "{event}");
        } else {
            let why = stopped_reason(&mut cloud, PACE);
            assert!(why.contains(reason), "{why}");
        }
    }
}
