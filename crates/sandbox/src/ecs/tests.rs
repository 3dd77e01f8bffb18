//! Services over time. Time is part of the calls, so the tests do not wait.

use serde_json::{Value, json};

use super::handle;
use crate::{
    Options,
    authorize::Scene,
    call::{Call, Fault, Reply},
    cloud::Cloud,
    ec2,
    json::testing::{self, PACE, json_call, query_call},
    logs,
};

const TRUST: &str =
    r#"{"Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

fn try_ask(cloud: &mut Cloud, second: i64, action: &str, document: Value) -> Result<Value, Fault> {
    handle(cloud, &json_call(action, second, document)).map(|reply| match reply {
        Reply::Json(answer) => answer,
        Reply::Xml(text) => panic!("{text}"),
    })
}

fn ask(cloud: &mut Cloud, second: i64, action: &str, document: Value) -> Value {
    try_ask(cloud, second, action, document).unwrap()
}

fn definition() -> Value {
    json!({
        "family": "cp", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "1024",
        "memory": "3072", "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
        "containerDefinitions": [{
            "name": "cp", "image": "control-plane:1",
            "logConfiguration": { "logDriver": "awslogs", "options": { "awslogs-group": "/cp" } },
        }],
    })
}

fn service(cloud: &mut Cloud) -> Value {
    let Ok(Reply::Xml(subnets)) = ec2::handle(cloud, &query_call("DescribeSubnets", &[])) else { panic!() };
    let subnet = subnets.split("<subnetId>").nth(1).unwrap().split('<').next().unwrap();
    json!({
        "cluster": "main", "serviceName": "cp", "taskDefinition": "cp", "desiredCount": 1, "launchType": "FARGATE",
        "clientToken": "token", "deploymentConfiguration": { "minimumHealthyPercent": 0, "maximumPercent": 100 },
        "networkConfiguration": { "awsvpcConfiguration": { "subnets": [subnet] } },
    })
}

/// Allows the execution role everything on resources with such an ARN, and otherwise only to write logs.
fn allow(cloud: &mut Cloud, arn: &str) {
    let policy = format!(
        r#"{{"Statement":[{{"Effect":"Allow","Action":"logs:*","Resource":"*"}},
        {{"Effect":"Allow","Action":"*","Resource":"{arn}"}}]}}"#
    );
    let put = [("RoleName", "execution"), ("PolicyName", "all"), ("PolicyDocument", &policy)];
    crate::iam::handle(cloud, &query_call("PutRolePolicy", &put)).unwrap();
}

/// A sandbox with a cluster, a definition and the resources that its tasks need.
fn cloud() -> Cloud {
    let mut cloud = testing::cloud();
    let first = json_call("", 0, Value::Null);
    cloud.enter(&first.region, first.now);
    let role = [("RoleName", "execution"), ("AssumeRolePolicyDocument", TRUST)];
    crate::iam::handle(&mut cloud, &query_call("CreateRole", &role)).unwrap();
    allow(&mut cloud, "*");
    logs::handle(&mut cloud, &json_call("CreateLogGroup", 0, json!({ "logGroupName": "/cp" }))).unwrap();
    // The first call makes AWS create the service-linked role.
    let early = try_ask(&mut cloud, 0, "CreateCluster", json!({ "clusterName": "main" })).unwrap_err();
    assert!(early.message.contains("service linked role"), "{}", early.message);
    ask(&mut cloud, 0, "CreateCluster", json!({ "clusterName": "main" }));
    ask(&mut cloud, 0, "RegisterTaskDefinition", definition());
    cloud
}

fn described(cloud: &mut Cloud, second: i64) -> Value {
    let asked = json!({ "cluster": "main", "services": ["cp"] });
    ask(cloud, second, "DescribeServices", asked)["services"][0].clone()
}

#[test]
fn a_rollout_completes_only_after_the_pace() {
    let mut cloud = cloud();
    let service = service(&mut cloud);
    ask(&mut cloud, 0, "CreateService", service.clone());
    let before = described(&mut cloud, PACE - 1);
    assert_eq!((&before["runningCount"], &before["pendingCount"]), (&json!(0), &json!(1)));
    assert_eq!(before["deployments"][0]["rolloutState"], "IN_PROGRESS");
    let after = described(&mut cloud, PACE);
    assert_eq!(after["runningCount"], 1);
    assert_eq!(after["deployments"][0]["rolloutState"], "COMPLETED");
}

#[test]
fn an_update_stops_the_old_task_first_if_none_must_stay_healthy() {
    let mut cloud = cloud();
    let service = service(&mut cloud);
    ask(&mut cloud, 0, "CreateService", service.clone());
    ask(&mut cloud, 20, "RegisterTaskDefinition", definition());
    let update = json!({ "cluster": "main", "service": "cp", "taskDefinition": "cp" });
    ask(&mut cloud, 20, "UpdateService", update);
    let during = described(&mut cloud, 21);
    assert_eq!(during["deployments"].as_array().unwrap().len(), 2);
    assert_eq!(during["runningCount"], 0);
    let after = described(&mut cloud, 20 + PACE);
    assert_eq!(after["deployments"].as_array().unwrap().len(), 1);
    assert!(after["taskDefinition"].as_str().unwrap().ends_with("cp:2"));
}

/// The `lastStatus` of every listed task, whatever its `desiredStatus`.
fn statuses(cloud: &mut Cloud, second: i64) -> Vec<String> {
    let mut statuses = Vec::new();
    for desired in ["RUNNING", "STOPPED"] {
        let listed = ask(cloud, second, "ListTasks", json!({ "cluster": "main", "desiredStatus": desired }));
        if listed["taskArns"] != json!([]) {
            let asked = json!({ "cluster": "main", "tasks": listed["taskArns"] });
            let tasks = ask(cloud, second, "DescribeTasks", asked)["tasks"].clone();
            statuses
                .extend(tasks.as_array().unwrap().iter().map(|task| task["lastStatus"].as_str().unwrap().to_owned()));
        }
    }
    statuses
}

#[test]
fn a_clock_that_is_set_back_revives_no_task() {
    let mut cloud = cloud();
    let mut service = service(&mut cloud);
    service.as_object_mut().unwrap().remove("deploymentConfiguration");
    let created = ask(&mut cloud, 100, "CreateService", service);
    ask(&mut cloud, 120, "UpdateService", json!({ "cluster": "main", "service": "cp", "forceNewDeployment": true }));
    // The old task waits for its successor, which has started by then.
    assert_eq!(statuses(&mut cloud, 60), ["RUNNING", "STOPPING"]);
    assert_eq!(statuses(&mut cloud, 50), ["RUNNING"]);
    ask(&mut cloud, 200, "UpdateService", json!({ "cluster": "main", "service": "cp", "desiredCount": 0 }));
    assert_eq!(statuses(&mut cloud, 200), ["STOPPING"]);
    assert_eq!(statuses(&mut cloud, 199), [""; 0]);
    let arn = created["service"]["serviceArn"].as_str().unwrap();
    assert_eq!(cloud.ecs.most_tasks()[arn], 2);
}

#[test]
fn a_new_task_starts_while_the_old_one_is_stopping() {
    let mut cloud = cloud();
    let service = service(&mut cloud);
    let mut slow = definition();
    slow["containerDefinitions"][0]["stopTimeout"] = 120.into();
    ask(&mut cloud, 0, "RegisterTaskDefinition", slow);
    let created = ask(&mut cloud, 0, "CreateService", service);
    ask(&mut cloud, 20, "UpdateService", json!({ "cluster": "main", "service": "cp", "forceNewDeployment": true }));
    assert_eq!(statuses(&mut cloud, 20 + PACE), ["RUNNING", "STOPPING"]);
    assert_eq!(statuses(&mut cloud, 20 + 2 * PACE), ["RUNNING", "DEPROVISIONING"]);
    assert_eq!(statuses(&mut cloud, 20 + 3 * PACE), ["RUNNING", "STOPPED"]);
    let arn = created["service"]["serviceArn"].as_str().unwrap();
    assert_eq!(cloud.ecs.most_tasks()[arn], 2);
}

#[test]
fn tasks_of_a_deleted_service_still_hold_its_cluster() {
    let mut cloud = cloud();
    let service = service(&mut cloud);
    let mut slow = definition();
    slow["containerDefinitions"][0]["stopTimeout"] = 120.into();
    ask(&mut cloud, 0, "RegisterTaskDefinition", slow);
    ask(&mut cloud, 0, "CreateService", service.clone());
    ask(&mut cloud, 20, "DeleteService", json!({ "cluster": "main", "service": "cp", "force": true }));
    assert_eq!(described(&mut cloud, 20 + PACE)["status"], "INACTIVE");
    assert_eq!(statuses(&mut cloud, 20 + PACE), ["STOPPING"]);
    let named = json!({ "cluster": "main", "serviceName": "cp" });
    assert_eq!(try_ask(&mut cloud, 20 + PACE, "ListTasks", named).unwrap_err().code, "ServiceNotFoundException");
    let delete = |cloud: &mut Cloud, second| try_ask(cloud, second, "DeleteCluster", json!({ "cluster": "main" }));
    assert_eq!(delete(&mut cloud, 20 + PACE).unwrap_err().code, "ClusterContainsTasksException");
    delete(&mut cloud, 20 + 3 * PACE).unwrap();
}

#[test]
fn rebalancing_needs_a_maximum_above_100_percent() {
    let mut cloud = cloud();
    let mut service = service(&mut cloud);
    service["availabilityZoneRebalancing"] = "ENABLED".into();
    assert_eq!(try_ask(&mut cloud, 0, "CreateService", service.clone()).unwrap_err().code, "InvalidParameterException");
    service["deploymentConfiguration"]["maximumPercent"] = 200.into();
    ask(&mut cloud, 0, "CreateService", service);
    let back = json!({ "cluster": "main", "service": "cp", "deploymentConfiguration": { "maximumPercent": 100 } });
    assert_eq!(try_ask(&mut cloud, 0, "UpdateService", back).unwrap_err().code, "InvalidParameterException");
}

#[test]
fn without_the_service_role_clusters_work_and_services_do_not() {
    let mut cloud = testing::cloud();
    cloud.makes_service_roles = false;
    let first = json_call("", 0, Value::Null);
    cloud.enter(&first.region, first.now);
    ask(&mut cloud, 0, "CreateCluster", json!({ "clusterName": "main" }));
    ask(&mut cloud, 0, "RegisterTaskDefinition", definition());
    let service = service(&mut cloud);
    assert!(try_ask(&mut cloud, 0, "CreateService", service).unwrap_err().message.contains("service linked role"));
}

#[test]
fn an_update_overlaps_the_tasks_if_all_must_stay_healthy() {
    let mut cloud = cloud();
    let mut overlapping = service(&mut cloud);
    overlapping["deploymentConfiguration"]["minimumHealthyPercent"] = 100.into();
    ask(&mut cloud, 0, "CreateService", overlapping);
    ask(&mut cloud, 20, "UpdateService", json!({ "cluster": "main", "service": "cp", "forceNewDeployment": true }));
    assert_eq!(described(&mut cloud, 21)["runningCount"], 1);
    assert_eq!(described(&mut cloud, 21)["pendingCount"], 1);
    let tasks = ask(&mut cloud, 21, "ListTasks", json!({ "cluster": "main" }));
    assert_eq!(tasks["taskArns"].as_array().unwrap().len(), 2);
}

#[test]
fn the_same_token_returns_the_same_service_and_another_is_refused() {
    let mut cloud = cloud();
    let service = service(&mut cloud);
    let first = ask(&mut cloud, 0, "CreateService", service.clone());
    let again = ask(&mut cloud, 1, "CreateService", service.clone());
    assert_eq!(first["service"]["deployments"][0]["id"], again["service"]["deployments"][0]["id"]);
    let mut other = service;
    other["clientToken"] = "other".into();
    let fault = try_ask(&mut cloud, 1, "CreateService", other).unwrap_err();
    assert_eq!(fault.message, "Creation of service was not idempotent.");
}

#[test]
fn a_deleted_service_drains_before_its_name_and_cluster_are_free() {
    let mut cloud = cloud();
    let service = service(&mut cloud);
    ask(&mut cloud, 0, "CreateService", service.clone());
    let delete = json!({ "cluster": "main", "service": "cp" });
    let fault = try_ask(&mut cloud, 20, "DeleteService", delete.clone()).unwrap_err();
    assert_eq!(fault.code, "InvalidParameterException");
    let fault = try_ask(&mut cloud, 20, "DeleteCluster", json!({ "cluster": "main" })).unwrap_err();
    assert_eq!(fault.code, "ClusterContainsServicesException");
    ask(&mut cloud, 20, "UpdateService", json!({ "cluster": "main", "service": "cp", "desiredCount": 0 }));
    let drained = ask(&mut cloud, 20, "DeleteService", delete);
    assert_eq!(drained["service"]["status"], "DRAINING");
    let fault = try_ask(&mut cloud, 21, "CreateService", service.clone()).unwrap_err();
    assert_eq!(fault.message, "Unable to Start a service that is still Draining.");
    assert_eq!(described(&mut cloud, 20 + PACE)["status"], "INACTIVE");
    let again = ask(&mut cloud, 20 + PACE, "CreateService", service);
    assert_eq!(again["service"]["status"], "ACTIVE");
}

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

#[test]
fn tags_outside_the_pattern_of_aws_are_refused() {
    let mut cloud = cloud();
    for (key, value) in [("e\u{301}", "a"), ("a", "a,b"), ("a", "aws:b"), ("aws:a", "b")] {
        let tagged = json!({ "clusterName": "other", "tags": [{ "key": key, "value": value }] });
        assert_eq!(try_ask(&mut cloud, 1, "CreateCluster", tagged).unwrap_err().code, "InvalidParameterException");
        let group = json!({ "logGroupName": "/other", "tags": { key: value } });
        let refused = logs::handle(&mut cloud, &json_call("CreateLogGroup", 0, group));
        assert!(refused.is_err() || value == "aws:b", "{key} {value}");
    }
}

#[test]
fn every_registration_creates_a_new_revision_number() {
    let mut cloud = cloud();
    ask(&mut cloud, 0, "DeregisterTaskDefinition", json!({ "taskDefinition": "cp:1" }));
    ask(&mut cloud, 0, "DeleteTaskDefinitions", json!({ "taskDefinitions": ["cp:1"] }));
    let day = 24 * 60 * PACE;
    assert!(try_ask(&mut cloud, day - 1, "DescribeTaskDefinition", json!({ "taskDefinition": "cp:1" })).is_ok());
    let second = ask(&mut cloud, day, "RegisterTaskDefinition", definition());
    assert_eq!(second["taskDefinition"]["revision"], 2);
    let fault = try_ask(&mut cloud, day, "DescribeTaskDefinition", json!({ "taskDefinition": "cp:1" })).unwrap_err();
    assert_eq!(fault.message, "Unable to describe task definition.");
}

#[test]
fn definitions_that_fargate_cannot_run_are_refused() {
    let mut cloud = cloud();
    for (member, value) in [("memory", json!("3000")), ("cpu", json!("1000")), ("networkMode", json!("bridge"))] {
        let mut wrong = definition();
        wrong[member] = value;
        let fault = try_ask(&mut cloud, 0, "RegisterTaskDefinition", wrong).unwrap_err();
        assert_eq!(fault.code, "ClientException", "{member}");
    }
}

#[test]
fn an_existing_cluster_is_returned_unchanged() {
    let mut cloud = cloud();
    let tagged = json!({ "clusterName": "main", "tags": [{ "key": "a", "value": "b" }] });
    assert_eq!(ask(&mut cloud, 1, "CreateCluster", tagged)["cluster"]["tags"], json!([]));
    let other = json!({ "clusterName": "main", "settings": [{ "name": "containerInsights", "value": "enabled" }] });
    assert_eq!(try_ask(&mut cloud, 1, "CreateCluster", other).unwrap_err().code, "InvalidParameterException");
}

#[test]
fn a_security_group_is_not_deleted_while_tasks_use_it() {
    let mut cloud = cloud();
    let vpcs = ec2::handle(&mut cloud, &query_call("DescribeVpcs", &[])).unwrap();
    let Reply::Xml(vpcs) = vpcs else { panic!() };
    let vpc = vpcs.split("<vpcId>").nth(1).unwrap().split('<').next().unwrap();
    let group = [("GroupName", "cp"), ("GroupDescription", "cp"), ("VpcId", vpc)];
    let Ok(Reply::Xml(created)) = ec2::handle(&mut cloud, &query_call("CreateSecurityGroup", &group)) else { panic!() };
    let group = created.split("<groupId>").nth(1).unwrap().split('<').next().unwrap();
    let mut behind = service(&mut cloud);
    behind["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"] = json!([group]);
    ask(&mut cloud, 0, "CreateService", behind);
    let delete = |cloud: &mut Cloud, second| {
        let call = query_call("DeleteSecurityGroup", &[("GroupId", group)]);
        ec2::handle(cloud, &Call { now: json_call("", second, Value::Null).now, ..call })
    };
    assert_eq!(delete(&mut cloud, 20).unwrap_err().code, "DependencyViolation");
    ask(&mut cloud, 20, "DeleteService", json!({ "cluster": "main", "service": "cp", "force": true }));
    assert_eq!(delete(&mut cloud, 21).unwrap_err().code, "DependencyViolation");
    delete(&mut cloud, 20 + PACE).unwrap();
}

#[test]
fn an_unknown_subnet_is_refused() {
    let mut cloud = cloud();
    let mut nowhere = service(&mut cloud);
    nowhere["networkConfiguration"]["awsvpcConfiguration"]["subnets"] = json!(["subnet-0123456789abcdef0"]);
    let fault = try_ask(&mut cloud, 0, "CreateService", nowhere).unwrap_err();
    assert!(fault.message.contains("InvalidSubnetID.NotFound"), "{}", fault.message);
}

/// The service's network, for tasks without a service.
fn run(cloud: &mut Cloud, more: &Value) -> Value {
    let mut asked = json!({ "cluster": "main", "taskDefinition": "cp", "launchType": "FARGATE" });
    asked["networkConfiguration"] = service(cloud)["networkConfiguration"].clone();
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    asked
}

#[test]
fn overrides_must_be_an_object() {
    let mut cloud = cloud();
    for wrong in [json!("x"), json!(1), json!([1])] {
        let asked = run(&mut cloud, &json!({ "overrides": wrong }));
        assert_eq!(try_ask(&mut cloud, 0, "RunTask", asked).unwrap_err().code, "SerializationException");
    }
    assert_eq!(ask(&mut cloud, 0, "ListTasks", json!({ "cluster": "main" }))["taskArns"], json!([]));
    let asked = run(&mut cloud, &json!({ "overrides": { "cpu": "512", "containerOverrides": "x" } }));
    let overrides = ask(&mut cloud, 0, "RunTask", asked)["tasks"][0]["overrides"].clone();
    assert_eq!((&overrides["cpu"], &overrides["containerOverrides"]), (&json!("512"), &json!([{ "name": "cp" }])));
}

#[test]
fn tasks_run_on_fargate_only() {
    let mut cloud = cloud();
    let on = |cloud: &mut Cloud, action: &str, asked: &Value| {
        try_ask(cloud, 0, action, asked.clone()).map_or_else(|fault| fault.message, |_| String::new())
    };
    let none = "No Container Instances were found in your cluster.";
    for launch_type in [json!("EC2"), Value::Null] {
        let asked = run(&mut cloud, &json!({ "launchType": launch_type }));
        assert_eq!(on(&mut cloud, "RunTask", &asked), none);
        let mut asked = service(&mut cloud);
        asked["launchType"] = launch_type;
        assert_eq!(on(&mut cloud, "CreateService", &asked), none);
    }
    let mut asked = service(&mut cloud);
    asked.as_object_mut().unwrap().remove("launchType");
    asked["capacityProviderStrategy"] = json!([{ "capacityProvider": "hosts" }]);
    assert!(on(&mut cloud, "CreateService", &asked).contains("'hosts' was not found"));
    asked["capacityProviderStrategy"] = json!([{ "capacityProvider": "FARGATE" }]);
    assert_eq!(on(&mut cloud, "CreateService", &asked), "");
    let listed = ask(&mut cloud, 0, "ListServices", json!({ "cluster": "main", "launchType": "FARGATE" }));
    assert_eq!(listed["serviceArns"], json!([]), "it has a strategy and no launch type");
}

#[test]
fn a_service_has_at_most_5000_tasks() {
    let mut cloud = cloud();
    let mut asked = service(&mut cloud);
    for count in [5_001, u64::MAX] {
        asked["desiredCount"] = count.into();
        let fault = try_ask(&mut cloud, 0, "CreateService", asked.clone()).unwrap_err();
        assert_eq!(fault.code, "InvalidParameterException");
    }
    asked["desiredCount"] = 1.into();
    ask(&mut cloud, 0, "CreateService", asked);
    let update = json!({ "cluster": "main", "service": "cp", "desiredCount": 5_001 });
    assert_eq!(try_ask(&mut cloud, 0, "UpdateService", update).unwrap_err().code, "InvalidParameterException");
}

#[test]
fn an_update_is_checked_like_a_new_service() {
    let mut cloud = cloud();
    let asked = service(&mut cloud);
    ask(&mut cloud, 0, "CreateService", asked);
    let hosts = json!({
        "family": "hosts", "networkMode": "awsvpc",
        "containerDefinitions": [{ "name": "cp", "image": "control-plane:1", "memory": 512 }],
    });
    ask(&mut cloud, 0, "RegisterTaskDefinition", hosts);
    let update = json!({ "cluster": "main", "service": "cp", "taskDefinition": "hosts" });
    let fault = try_ask(&mut cloud, 0, "UpdateService", update).unwrap_err();
    assert_eq!(fault.message, "Task definition does not support launch_type FARGATE.");
}

#[test]
fn a_resource_has_at_most_50_tags() {
    let mut cloud = cloud();
    let tags =
        |from: u32| (from..from + 30).map(|key| json!({ "key": key.to_string(), "value": "" })).collect::<Value>();
    let arn = "arn:aws:ecs:eu-west-3:123456789012:cluster/main";
    ask(&mut cloud, 0, "TagResource", json!({ "resourceArn": arn, "tags": tags(0) }));
    let more = json!({ "resourceArn": arn, "tags": tags(30) });
    assert_eq!(try_ask(&mut cloud, 0, "TagResource", more).unwrap_err().code, "InvalidParameterException");
    let map = |from: u32| (from..from + 30).map(|key| (key.to_string(), "".into())).collect::<serde_json::Map<_, _>>();
    let mut tag = |from| {
        let arn = "arn:aws:logs:eu-west-3:123456789012:log-group:/cp";
        logs::handle(&mut cloud, &json_call("TagResource", 0, json!({ "resourceArn": arn, "tags": map(from) })))
    };
    tag(0).unwrap();
    assert_eq!(tag(30).unwrap_err().code, "TooManyTagsException");
}

/// The needs of a call: the ARNs and the values of one condition key.
fn judged(cloud: &Cloud, action: &str, document: Value, key: &str) -> Vec<(String, bool)> {
    let call = Call { service: "ecs".to_owned(), ..json_call(action, 20, document) };
    let (_, actions) = super::PERMISSIONS.iter().find(|(name, _)| *name == action).unwrap();
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
        super::start::failure(&cloud, "eu-west-3", now, definition).map(|blocked| blocked.reason)
    };
    assert_eq!(failure("aws:ResourceTag/team", "red"), None);
    assert!(failure("aws:ResourceTag/team", "blue").unwrap().contains("secretsmanager:GetSecretValue"));
}
