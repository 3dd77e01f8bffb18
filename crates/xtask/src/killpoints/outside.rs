//! Changes that somebody else makes to the resources of a stack.

use std::fmt;

use serde_json::{Value, json};

use super::{
    Random,
    stage::{REGION, Stage},
};
use crate::Failure;

/// A change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    /// Terminates one of the hosts.
    Terminate(usize),
    /// Removes a tag that is only for people.
    RemoveName(usize),
    /// Opens a port.
    AddRule(usize),
    /// Closes what the stack opens.
    RemoveRule(usize),
    /// Removes a launch template.
    DeleteTemplate(usize),
    /// Takes the control plane's task away.
    StopService,
    /// Keeps logs for a day.
    ChangeRetention,
    /// Takes a role's permissions away.
    DeletePolicy,
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminate(at) => write!(f, "terminate host {at}"),
            Self::RemoveName(at) => write!(f, "remove the name of host {at}"),
            Self::AddRule(at) => write!(f, "open a port in group {at}"),
            Self::RemoveRule(at) => write!(f, "remove rule {at}"),
            Self::DeleteTemplate(at) => write!(f, "delete launch template {at}"),
            Self::StopService => f.write_str("scale the service to 0"),
            Self::ChangeRetention => f.write_str("change the retention of the logs"),
            Self::DeletePolicy => f.write_str("delete a role's policy"),
        }
    }
}

impl Outside {
    /// A random one.
    pub fn random(random: &mut Random) -> Self {
        let at = random.below(3);
        random.pick([
            Self::Terminate(at),
            Self::RemoveName(at),
            Self::AddRule(at),
            Self::RemoveRule(at),
            Self::DeleteTemplate(at),
            Self::StopService,
            Self::ChangeRetention,
            Self::DeletePolicy,
        ])
    }
}

/// Makes a change, and returns whether there was something to change.
pub(super) fn make(change: Outside, stage: &Stage) -> Result<bool, Failure> {
    let client = stage.client()?;
    let rows = stage.rows()?;
    let ours = |table: &str| ids(&rows, table);
    let ec2 = |pairs: &[(&str, &str)]| client.ec2(REGION, pairs);
    let answer = match change {
        Outside::Terminate(at) => {
            let Some(host) = nth(&ours("ec2.instances"), at) else { return Ok(false) };
            ec2(&[("Action", "TerminateInstances"), ("InstanceId.1", host.as_str())])?
        }
        Outside::RemoveName(at) => {
            let Some(host) = nth(&ours("ec2.instances"), at) else { return Ok(false) };
            ec2(&[("Action", "DeleteTags"), ("ResourceId.1", host.as_str()), ("Tag.1.Key", "Name")])?
        }
        Outside::AddRule(at) => {
            let Some(group) = nth(&ours("ec2.groups"), at) else { return Ok(false) };
            ec2(&[
                ("Action", "AuthorizeSecurityGroupIngress"),
                ("GroupId", group.as_str()),
                ("IpPermissions.1.IpProtocol", "tcp"),
                ("IpPermissions.1.FromPort", "3389"),
                ("IpPermissions.1.ToPort", "3389"),
                ("IpPermissions.1.IpRanges.1.CidrIp", "192.0.2.0/24"),
            ])?
        }
        Outside::RemoveRule(at) => {
            let groups = ours("ec2.groups");
            let of_ours = |row: &Value| groups.iter().any(|group| row["group"] == group.as_str());
            let found = rows["ec2.rules"].as_object().into_iter().flatten();
            let rules: Vec<(&String, &Value)> = found.filter(|(_, row)| of_ours(row)).collect();
            let Some((rule, row)) = rules.get(at % rules.len().max(1)) else { return Ok(false) };
            let way = if row["is_egress"] == true { "Egress" } else { "Ingress" };
            let action = format!("RevokeSecurityGroup{way}");
            let group = row["group"].as_str().unwrap_or_default();
            ec2(&[("Action", action.as_str()), ("GroupId", group), ("SecurityGroupRuleId.1", rule.as_str())])?
        }
        Outside::DeleteTemplate(at) => {
            let Some(template) = nth(&ours("ec2.templates"), at) else { return Ok(false) };
            ec2(&[("Action", "DeleteLaunchTemplate"), ("LaunchTemplateId", template.as_str())])?
        }
        Outside::StopService => {
            let service = json!({"cluster": "kill", "service": "kill-control-plane", "desiredCount": 0});
            client.json("ecs", REGION, "AmazonEC2ContainerServiceV20141113.UpdateService", &service)?
        }
        Outside::ChangeRetention => {
            let retention = json!({"logGroupName": "/trunnion/kill/control-plane", "retentionInDays": 1});
            client.json("logs", REGION, "Logs_20140328.PutRetentionPolicy", &retention)?
        }
        Outside::DeletePolicy => client.query(
            "iam",
            "us-east-1",
            &[
                ("Version", "2010-05-08"),
                ("Action", "DeleteRolePolicy"),
                ("RoleName", "kill.eu-west-3.execution"),
                ("PolicyName", "trunnion"),
            ],
        )?,
    };
    Ok(answer.is_success())
}

fn nth(ids: &[String], at: usize) -> Option<String> {
    ids.get(at % ids.len().max(1)).cloned()
}

/// The ids of a table's rows that belong to the stack and exist.
fn ids(rows: &Value, table: &str) -> Vec<String> {
    let rows = rows[table].as_object().into_iter().flatten();
    let is_ours = |row: &Value| {
        row["tags"]["trunnion:stack"] == "kill"
            && !["ShuttingDown", "Terminated"].contains(&row["state"].as_str().unwrap_or_default())
    };
    rows.filter(|(_, row)| is_ours(row)).map(|(id, _)| id.clone()).collect()
}
