//! IAM policy documents.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use trunnion_catalog::Partition;
use trunnion_engine::{Reference, Value};

/// A policy document.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

/// A resource of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An ARN, or a pattern of ARNs.
    Arn(String),
    /// An ARN that a lookup finds, and the text that is shown instead until then.
    LookedUp { reference: Reference, shown: String },
}

impl From<String> for Target {
    fn from(arn: String) -> Self {
        Self::Arn(arn)
    }
}

impl Target {
    /// The placeholder in a document until the ARN is known. No ARN contains `<` or `>`.
    fn mark(&self) -> String {
        match self {
            Self::Arn(arn) => arn.clone(),
            Self::LookedUp { reference, .. } => format!("<{}.{}>", reference.address, reference.attribute),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.mark())
    }
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
    resource: Vec<Target>,
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

    /// A trust policy: the service that may assume a role.
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

    /// The JSON text that AWS gets.
    pub(crate) fn compact(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// As [`Policy::compact`], with a reference for each ARN that a lookup finds.
    pub(crate) fn value(&self) -> serde_json::Result<Value> {
        let mut parts = vec![Value::Text(self.compact()?)];
        for target in self.statement.iter().flat_map(|statement| &statement.resource) {
            if let Target::LookedUp { reference, .. } = target {
                let mark = target.mark();
                parts = parts.into_iter().flat_map(|part| instead(part, &mark, reference)).collect();
            }
        }
        Ok(Value::concat(parts))
    }

    /// Indented JSON, to read.
    pub(crate) fn pretty(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string_pretty(self)?;
        for target in self.statement.iter().flat_map(|statement| &statement.resource) {
            if let Target::LookedUp { shown, .. } = target {
                text = text.replace(&target.mark(), shown);
            }
        }
        Ok(text)
    }
}

/// Splits a text at each mark and puts the reference in its place.
fn instead(part: Value, mark: &str, reference: &Reference) -> Vec<Value> {
    let Value::Text(text) = part else { return vec![part] };
    let mut pieces = Vec::new();
    for (index, piece) in text.split(mark).enumerate() {
        if index > 0 {
            pieces.push(Value::Reference(reference.clone()));
        }
        pieces.push(piece.into());
    }
    pieces
}

/// Operator, key and value of a condition.
pub(crate) type Condition = (&'static str, &'static str, String);

impl Statement {
    /// Allows actions on resources.
    pub(crate) fn allow<const N: usize>(
        sid: &'static str,
        actions: [&'static str; N],
        resources: impl IntoIterator<Item: Into<Target>>,
    ) -> Self {
        let resource = resources.into_iter().map(Into::into).collect();
        Self { sid, effect: "Allow", action: actions.into(), resource, ..Self::default() }
    }

    /// Denies everyone an action on resources if the condition holds.
    pub(crate) fn deny(sid: &'static str, action: &'static str, resources: Vec<String>, condition: Condition) -> Self {
        let mut statement = Self {
            sid,
            effect: "Deny",
            principal: Some(Principal::Aws("*")),
            action: vec![action],
            resource: resources.into_iter().map(Target::Arn).collect(),
            ..Self::default()
        };
        statement.require(condition);
        statement
    }

    fn require(&mut self, (operator, key, value): Condition) {
        self.condition.entry(operator).or_default().insert(key, value);
    }
}

/// The partition of a region: the second field of every ARN, such as `aws`.
pub(crate) fn partition(region: &str) -> &'static str {
    Partition::of(region).id
}
