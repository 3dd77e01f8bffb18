//! The least IAM policy of a command for a stack.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use trunnion_engine::Graph;

use super::{
    grant::{Commands, GRANTS, Grant},
    subject::Subject,
    table::all,
};

/// The most characters of a managed policy, white space excluded.
pub const MANAGED_POLICY_LIMIT: usize = trunnion_catalog::limits::MANAGED_POLICY;

/// The command that a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Reads only.
    Plan,
    /// Also creates and changes resources, and deletes those that the stack no longer asks for.
    Apply,
    /// Deletes everything.
    Destroy,
    /// Reads what `plan` reads, and what the examination of an account asks besides.
    Doctor,
    /// Lists, shows and restores versions of the state.
    State,
    /// Takes the stack's tags off resources.
    Forget,
    /// Gives resources the stack's tags, and changes them in place.
    Import,
}

impl Purpose {
    pub(crate) const fn commands(self) -> Commands {
        match self {
            Self::Plan => Commands::PLAN,
            Self::Apply => Commands::APPLY,
            Self::Destroy => Commands::DESTROY,
            Self::Doctor => Commands::PLAN.and(Commands::DOCTOR),
            Self::State => Commands::STATE,
            Self::Forget => Commands::PLAN.and(Commands::FORGET),
            Self::Import => Commands::PLAN.and(Commands::IMPORT),
        }
    }
}

/// Where the actions of a policy apply.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Extent<'a> {
    /// The account, twelve digits.
    pub account: &'a str,
    /// The region.
    pub region: &'a str,
    /// The bucket and the key of the state in S3.
    pub state: Option<(&'a str, &'a str)>,
}

impl<'a> Extent<'a> {
    /// A stack whose state is not in S3.
    pub const fn new(account: &'a str, region: &'a str) -> Self {
        Self { account, region, state: None }
    }

    /// The same with its state in S3.
    #[must_use]
    pub const fn with_state(self, bucket: &'a str, key: &'a str) -> Self {
        Self { state: Some((bucket, key)), ..self }
    }
}

/// An IAM policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

/// A statement that allows actions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Statement {
    #[serde(skip_serializing_if = "str::is_empty")]
    sid: &'static str,
    effect: &'static str,
    action: Vec<String>,
    resource: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<&'static str, Vec<String>>>,
}

impl Statement {
    /// The statement of a grant; nothing if the stack has no such resource.
    pub fn of(grant: &Grant, actions: impl IntoIterator<Item = &'static str>, subject: &Subject) -> Option<Self> {
        let actions: BTreeSet<&str> = actions.into_iter().collect();
        let resource: Vec<String> = grant.on.iter().flat_map(|on| subject.arns(*on)).collect();
        if actions.is_empty() || resource.is_empty() {
            return None;
        }
        let mut condition: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (operator, key, values) in grant.when.iter().flat_map(|when| when.conditions(subject)) {
            condition.entry(operator).or_default().insert(key, values);
        }
        let action = actions.into_iter().map(str::to_owned).collect();
        Some(Self { sid: grant.sid, effect: "Allow", action, resource, condition })
    }

    /// Its JSON in one line.
    pub fn compact(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Policy {
    fn new(statement: Vec<Statement>) -> Self {
        Self { version: "2012-10-17", statement }
    }

    /// How many characters IAM counts.
    pub fn characters(&self) -> usize {
        let text = serde_json::to_string(self).unwrap_or_default();
        text.chars().filter(|character| !character.is_whitespace()).count()
    }

    /// The actions that it allows, sorted, each once.
    pub fn actions(&self) -> BTreeSet<&str> {
        self.statement.iter().flat_map(|statement| &statement.action).map(String::as_str).collect()
    }
}

/// The least policy with which a command works on the stack of this graph, in as many documents as managed policies need.
/// It makes no call.
pub fn permissions(graph: &Graph, extent: Extent<'_>, purpose: Purpose) -> Vec<Policy> {
    let mut subject = Subject::of(extent.account, extent.region, graph);
    if let Some((bucket, key)) = extent.state {
        subject = subject.with_state(bucket, [key.to_owned(), crate::store::lock_key(key)]);
    }
    split(statements(&subject, purpose.commands()))
}

/// The statements for commands, in the order of the grants.
fn statements(subject: &Subject, commands: Commands) -> Vec<Statement> {
    let statement = |grant: &&'static Grant| {
        let needs = all().flat_map(|call| call.needs).filter(|need| need.grant == *grant);
        let actions = needs.filter(|need| need.commands.meets(commands)).map(|need| need.action);
        Statement::of(grant, actions, subject)
    };
    GRANTS.iter().filter_map(statement).collect()
}

/// As few documents as the limit of a managed policy allows without a change of the order.
fn split(statements: Vec<Statement>) -> Vec<Policy> {
    let mut policies: Vec<Policy> = Vec::new();
    for statement in statements {
        let extended =
            policies.last().map(|last| Policy::new([&last.statement[..], std::slice::from_ref(&statement)].concat()));
        match (extended, policies.last_mut()) {
            (Some(extended), Some(last)) if extended.characters() <= MANAGED_POLICY_LIMIT => *last = extended,
            _ => policies.push(Policy::new(vec![statement])),
        }
    }
    policies
}
