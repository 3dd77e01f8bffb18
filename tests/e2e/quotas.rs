//! Quotas that stop the apply of a plan.

use serde_json::{Value, json};
use trunnion_tests::{SandboxProcess, Stage};

/// The notes of a plan on quotas: the message and the help of each.
fn notes(stage: &Stage) -> Vec<(String, String)> {
    let plan: Value = serde_json::from_str(&stage.succeed(&["plan", "--json"]).stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let notes = plan["remarks"]["notes"].as_array().unwrap().iter();
    let notes = notes.filter(|note| note["code"].as_str().unwrap().starts_with("plan::quota_"));
    notes.map(|note| (text(&note["message"]), text(&note["help"]))).collect()
}

fn message(notes: &[(String, String)]) -> Vec<&str> {
    notes.iter().map(|(message, _)| message.as_str()).collect()
}

fn asks_for(service: &str, code: &str, value: u32) -> String {
    format!(
        "request more: `aws service-quotas request-service-quota-increase --region eu-west-3 --service-code {service} \
         --quota-code {code} --desired-value {value}`"
    )
}

#[test]
fn a_plan_names_the_quota_that_stops_its_hosts() {
    let sandbox = SandboxProcess::start(&["--vcpus", "11"]);
    let other = Stage::with("minimal").at(&sandbox);
    other.edit("stack: minimal", "stack: other");
    assert_eq!(notes(&other), []);
    other.converge(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2 }");
    let expected = "the quota of vCPUs of On-Demand Standard instances stops the apply: the stack needs 8, 4 are in use by \
                    others, and the quota is 11";
    let found = notes(&stage);
    assert_eq!(found, [(expected.to_owned(), asks_for("ec2", "L-1216C47A", 12))]);
    let shown = stage.succeed(&["plan"]).stdout;
    assert!(shown.contains("the stack needs 8, 4 are in use by others"), "{shown}");
    // It is no promise of this program alone.
    let ended = stage.run(&["apply", "--yes"]);
    assert!(ended.stderr.contains("VcpuLimitExceeded"), "{}", ended.stderr);
    // What stands counts as needed, and not as used by others.
    stage.edit("zone: eu-west-3a, count: 2 }", "zone: eu-west-3a }");
    stage.succeed(&["apply", "--yes"]);
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 3 }");
    let more = notes(&stage);
    assert_eq!(message(&more), [expected.replace("needs 8", "needs 12")]);
    // A replaced host is deleted first.
    stage.edit("zone: eu-west-3a, count: 3 }", "zone: eu-west-3a, volume_gib: 31 }");
    assert_eq!(notes(&stage), []);
}

#[test]
fn only_a_plan_with_new_hosts_or_a_new_task_asks_for_quotas() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    let asked = || sandbox.calls()["servicequotas:GetServiceQuota"]["count"].as_u64().unwrap_or(0);
    stage.converge(&[]);
    let before = asked();
    // vCPUs, interfaces and Fargate, for a plan and for its apply.
    assert!(before > 0 && before % 3 == 0, "{before}");
    stage.succeed(&["plan"]);
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, volume_gib: 31 }");
    stage.succeed(&["plan"]);
    assert_eq!(asked(), before);
}

#[test]
fn each_kind_of_host_and_task_has_its_quota() {
    let sandbox = SandboxProcess::start(&["--vcpus", "3"]);
    let stage = Stage::with("minimal").at(&sandbox);
    let hosts = "  spot: { instance_type: c7i.xlarge, zone: eu-west-3a, market: spot }\n  \
                 graphics: { instance_type: g4dn.xlarge, zone: eu-west-3a, count: 2 }\n  \
                 large: { instance_type: i4i.xlarge, zone: eu-west-3a }\n\ncontrol_plane:\n  cpu: 8192\n  memory: 16384";
    stage.edit("\ncontrol_plane:", hosts);
    let of = |quota: &str, needed: u32, others: &str, most: u32| {
        format!("the quota of {quota} stops the apply: the stack needs {needed}{others}, and the quota is {most}")
    };
    let nobody = ", 0 are in use by others";
    let found = notes(&stage);
    let expected = [
        (of("vCPUs of On-Demand Standard instances", 8, nobody, 3), asks_for("ec2", "L-1216C47A", 8)),
        (of("vCPUs of Standard spot requests", 4, nobody, 3), asks_for("ec2", "L-34B43A08", 4)),
        (of("vCPUs of On-Demand G and VT instances", 8, nobody, 3), asks_for("ec2", "L-DB2E81BA", 8)),
        (of("vCPUs of Fargate tasks", 8, "", 6), asks_for("fargate", "L-3032A538", 8)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn interfaces_are_compared_with_the_quota_of_the_region() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    let pools = "instance_type: c7i.4xlarge, zone: eu-west-3a, count: 500, interfaces: 8 }\n  \
                 more: { instance_type: c7i.4xlarge, zone: eu-west-3b, count: 124, interfaces: 8 }";
    stage.edit("instance_type: c7i.xlarge, zone: eu-west-3a }", pools);
    assert_eq!(notes(&stage), []);
    // The task of the control plane has one.
    stage.edit("count: 124", "count: 125");
    let expected = "the quota of network interfaces stops the apply: the stack needs 5001, 0 are in use by others, and the \
                    quota is 5000";
    assert_eq!(notes(&stage), [(expected.to_owned(), asks_for("vpc", "L-DF5E4CA3", 5001))]);
}

#[test]
fn a_plan_says_which_quotas_it_could_not_read() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    let fail = |failures: &[(&str, u16, &str)]| {
        let rule = |(operation, status, code): &(&str, u16, &str)| json!({"operation": operation, "times": 99, "effect": {"error": {"status": status, "code": code, "message": "no"}}});
        sandbox.faults(&failures.iter().map(rule).collect());
    };
    let all = "whether a quota stops the apply is not known of vCPUs of On-Demand Standard instances, network interfaces, vCPUs of \
               Fargate tasks: ";
    fail(&[("servicequotas:GetServiceQuota", 400, "AccessDeniedException")]);
    let found = notes(&stage);
    assert_eq!(message(&found), [format!("{all}the identity may not call `servicequotas:GetServiceQuota`")]);
    assert!(found[0].1.contains("trunnion permissions --for plan"), "{found:?}");
    fail(&[("ec2:DescribeNetworkInterfaces", 403, "UnauthorizedOperation")]);
    let found = notes(&stage);
    let expected = "whether a quota stops the apply is not known of network interfaces: the identity may not call \
                    `ec2:DescribeNetworkInterfaces`";
    assert_eq!(message(&found), [expected]);
    fail(&[
        ("servicequotas:GetServiceQuota", 400, "NoSuchResourceException"),
        ("servicequotas:GetAWSDefaultServiceQuota", 400, "SomethingElse"),
    ]);
    let found = notes(&stage);
    assert!(found[0].0.contains("SomethingElse"), "{found:?}");
}
