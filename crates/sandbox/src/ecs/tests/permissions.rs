//! For which resources, and with which tags, ECS judges a call.

use serde_json::{Value, json};

use super::{ask, cloud, definition, service, try_ask};
use crate::{
    authorize::Scene,
    call::{Call, Reply},
    cloud::Cloud,
    json::testing::{json_call, query_call},
    logs,
};

/// The needs of a call: the ARNs and the values of one condition key.
fn judged(cloud: &Cloud, action: &str, document: Value, key: &str) -> Vec<(String, bool)> {
    let call = Call { service: "ecs".to_owned(), ..json_call(action, 20, document) };
    let (_, actions) = crate::ecs::PERMISSIONS.iter().find(|(name, _)| *name == action).unwrap();
    let targets = actions.iter().flat_map(|(_, resolve)| resolve(&Scene { cloud, call: &call }));
    targets.map(|target| (target.arn, target.keys.iter().any(|(name, _)| name == key))).collect()
}

#[test]
fn permissions_are_judged_for_what_the_call_changes() {
    let mut cloud = cloud();
    let asked = service(&mut cloud);
    ask(&mut cloud, 0, "CreateService", asked);
    let both = json!({ "cluster": "main", "service": "cp", "serviceName": "other", "clusterName": "other" });
    let arn = "arn:aws:ecs:eu-west-3:123456789012:service/main/cp".to_owned();
    for action in ["UpdateService", "DeleteService", "ListServiceDeployments"] {
        assert_eq!(judged(&cloud, action, both.clone(), ""), [(arn.clone(), false)], "{action}");
    }
    let other = json!({ "cluster": "main", "serviceName": "cp" });
    for action in ["UpdateService", "DeleteService"] {
        assert_eq!(try_ask(&mut cloud, 20, action, other.clone()).unwrap_err().message, "Service cannot be empty.");
    }
    let other = json!({ "clusterName": "main" });
    assert_eq!(try_ask(&mut cloud, 20, "DeleteCluster", other).unwrap_err().message, "Cluster cannot be empty.");
    let spelled = json!({ "clusterName": "new", "tags": [{ "key": "a", "Key": "b", "value": "" }] });
    assert!(judged(&cloud, "CreateCluster", spelled.clone(), "aws:RequestTag/a").iter().all(|(_, has)| *has));
    assert!(!judged(&cloud, "CreateCluster", spelled, "aws:RequestTag/b").iter().any(|(_, has)| *has));
}

#[test]
fn a_task_is_judged_by_its_tags() {
    let mut cloud = cloud();
    let mut asked = service(&mut cloud);
    asked["propagateTags"] = "SERVICE".into();
    asked["tags"] = json!([{ "key": "team", "value": "red" }]);
    ask(&mut cloud, 0, "CreateService", asked);
    let task = ask(&mut cloud, 20, "ListTasks", json!({ "cluster": "main" }))["taskArns"][0].clone();
    let id = task.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    for name in [task.clone(), id.into()] {
        let needed = judged(&cloud, "StopTask", json!({ "cluster": "main", "task": name }), "ecs:ResourceTag/team");
        assert_eq!(needed, [(task.as_str().unwrap().to_owned(), true)]);
    }
    let needed = judged(&cloud, "DescribeTasks", json!({ "cluster": "main", "tasks": [task] }), "aws:ResourceTag/team");
    assert!(needed[0].1);
}

#[test]
fn tasks_read_logs_and_secrets_by_their_tags() {
    let mut cloud = cloud();
    let arn = "arn:aws:logs:eu-west-3:123456789012:log-group:/cp";
    let tags = json!({ "resourceArn": arn, "tags": { "team": "red" } });
    logs::handle(&mut cloud, &json_call("TagResource", 0, tags)).unwrap();
    let secret = json!({ "Name": "token", "SecretString": "x", "Tags": [{ "Key": "team", "Value": "red" }] });
    let made = crate::secrets::handle(&mut cloud, &json_call("CreateSecret", 0, secret)).unwrap();
    let Reply::Json(made) = made else { panic!() };
    let mut with_secret = definition();
    with_secret["containerDefinitions"][0]["secrets"] = json!([{ "name": "T", "valueFrom": made["ARN"] }]);
    ask(&mut cloud, 0, "RegisterTaskDefinition", with_secret);
    let definition = "arn:aws:ecs:eu-west-3:123456789012:task-definition/cp:2";
    let now = json_call("", 60, Value::Null).now;
    let mut failure = |key: &str, value: &str| {
        let policy = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": ["logs:*", "secretsmanager:*"], "Resource": "*",
            "Condition": { "StringEquals": { (key): value } },
        }] });
        let put = [("RoleName", "execution"), ("PolicyName", "all"), ("PolicyDocument", &policy.to_string())];
        crate::iam::handle(&mut cloud, &query_call("PutRolePolicy", &put)).unwrap();
        crate::ecs::start::failure(&cloud, "eu-west-3", now, definition).map(|blocked| blocked.reason)
    };
    assert_eq!(failure("aws:ResourceTag/team", "red"), None);
    assert!(failure("aws:ResourceTag/team", "blue").unwrap().contains("secretsmanager:GetSecretValue"));
}
