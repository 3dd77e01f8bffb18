//! Services over time. Time is part of the calls, so the tests do not wait.

mod permissions;
mod start;

use serde_json::{Value, json};

use super::handle;
use crate::{
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
