//! IAM policy documents, and the names that differ by AWS partition.

use std::collections::BTreeMap;

use serde::Serialize;

/// A policy document.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

/// One statement of a policy.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Statement {
    sid: &'static str,
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Principal>,
    action: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
}

#[derive(Debug, Clone, Serialize)]
enum Principal {
    #[serde(rename = "Service")]
    Service(String),
    #[serde(rename = "AWS")]
    Aws(&'static str),
}

impl Policy {
    pub(crate) fn new(statement: impl IntoIterator<Item = Statement>) -> Self {
        Self { version: "2012-10-17", statement: statement.into_iter().collect() }
    }

    /// Who may assume a role.
    pub(crate) fn trust(service: String, condition: impl IntoIterator<Item = Condition>) -> Self {
        let mut statement = Statement {
            sid: "Assume",
            effect: "Allow",
            principal: Some(Principal::Service(service)),
            action: vec!["sts:AssumeRole"],
            ..Statement::default()
        };
        condition.into_iter().for_each(|condition| statement.require(condition));
        Self::new([statement])
    }

    /// As AWS takes it.
    pub(crate) fn compact(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// As people read it.
    pub(crate) fn pretty(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// Operator, key and value of a condition.
pub(crate) type Condition = (&'static str, &'static str, String);

impl Statement {
    /// Allows actions on resources.
    pub(crate) fn allow<const N: usize>(sid: &'static str, actions: [&'static str; N], resources: Vec<String>) -> Self {
        Self { sid, effect: "Allow", action: actions.into(), resource: resources, ..Self::default() }
    }

    /// Denies everyone an action on resources where the condition holds.
    pub(crate) fn deny(sid: &'static str, action: &'static str, resources: Vec<String>, condition: Condition) -> Self {
        let mut statement = Self {
            sid,
            effect: "Deny",
            principal: Some(Principal::Aws("*")),
            action: vec![action],
            resource: resources,
            ..Self::default()
        };
        statement.require(condition);
        statement
    }

    fn require(&mut self, (operator, key, value): Condition) {
        self.condition.entry(operator).or_default().insert(key, value);
    }
}

/// The partition a region lies in: the first part of every ARN after `arn`.
pub(crate) fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

/// The domain of a region's service endpoints and of EC2's service principal.
pub(crate) fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}
