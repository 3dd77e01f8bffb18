//! The next step after AWS denied a call: the statement that would allow it, or the policy that has to change.

use std::fmt::Write as _;

use super::help::{MFA, is_about_mfa};
use crate::calls::{Grant, On, Statement, Subject, action_of, grants_of, matches};

/// A call that AWS denied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Denial<'a> {
    operation: &'a str,
    message: &'a str,
    /// The resource, if AWS's message does not name it.
    resource: Option<&'a str>,
}

impl<'a> Denial<'a> {
    pub fn new(operation: &'a str, message: &'a str) -> Self {
        Self { operation, message, resource: None }
    }

    /// The same with the resource that the call was for.
    #[must_use]
    pub fn on(self, resource: &'a str) -> Self {
        Self { resource: Some(resource), ..self }
    }

    /// The action that is missing. A call with tags or roles needs further actions; AWS's message names the missing one.
    pub fn action(self) -> &'a str {
        let named = self.message.split_once("not authorized to perform: ").map(|(_, rest)| rest);
        let named = named.and_then(|rest| rest.split_whitespace().next()).filter(|action| action.contains(':'));
        named.unwrap_or_else(|| action_of(self.operation))
    }

    /// The resource as AWS's message names it: an ARN, or the type and the name.
    pub fn resource(self) -> Option<&'a str> {
        let named = self.message.split_once("on resource: ").map(|(_, rest)| {
            let ends = [" because ", " with an explicit deny", ". Encoded authorization"];
            let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
            rest.get(..end).unwrap_or(rest).trim_matches(['"', '.', ' '])
        });
        named.filter(|named| !named.is_empty()).or(self.resource)
    }

    /// The next step. A missing permission must be added; an explicit deny must be removed, because no permission
    /// overrides it.
    pub fn help(self, subject: Option<&Subject>) -> String {
        if is_about_mfa(self.message) {
            return MFA.to_owned();
        }
        let action = self.action();
        let lower = self.message.to_ascii_lowercase();
        let says = |part: &str| lower.contains(part);
        let is_explicit = says("explicit deny");
        match () {
            () if says("service control policy") || says("resource control policy") => by_organization(action),
            () if says("permissions boundary") => by_boundary(action),
            () if says("session policy") => {
                format!("start the session with a policy that allows `{action}`")
            }
            () if says("vpc endpoint policy") => {
                format!("allow `{action}` in the policy of the VPC endpoint that the call goes through")
            }
            () if says("resource-based policy") && is_explicit => {
                format!("remove the statement that denies `{action}` from the policy of the resource")
            }
            () if is_explicit => format!(
                "find and change the statement that denies `{action}` in the policies of the AWS identity of this command: while it applies (it may require MFA, a region or a tag), a further permission does not help"
            ),
            () => self.missing(action, subject),
        }
    }

    /// The next step if no policy allows the action.
    fn missing(self, action: &str, subject: Option<&Subject>) -> String {
        let on = self.resource().map(|resource| format!(" on `{resource}`")).unwrap_or_default();
        let mut help = format!("give the AWS identity of this command the permission `{action}`{on}");
        let Some(subject) = subject else { return help };
        let grants = self.grants(action, subject);
        let statements: Vec<String> = grants
            .iter()
            .filter_map(|grant| Statement::of(grant, [static_action(action)?], subject))
            .map(|statement| format!("`{}`", statement.compact()))
            .collect();
        if !statements.is_empty() {
            let _ = write!(
                help,
                ". `trunnion permissions` prints the whole policy, of which this call needs {}",
                statements.join(" and ")
            );
        }
        if self.message.contains("Encoded authorization failure message") {
            help += ". `aws sts decode-authorization-message` says more about the denied call";
        }
        if grants.iter().any(|grant| grant.needs_tag()) {
            let _ = write!(
                help,
                ". If the identity has this permission, the resource has lost the tag that limits it: let an administrator restore it with `aws ec2 create-tags --resources ID --tags Key=trunnion:stack,Value={}`; no policy of `trunnion permissions` allows it",
                subject.stack
            );
        }
        help
    }

    /// The statements that allow the action on the resource; all of them if the resource is not known.
    fn grants(self, action: &str, subject: &Subject) -> Vec<&'static Grant> {
        let grants = grants_of(self.operation, action);
        let Some(resource) = self.resource().filter(|resource| resource.starts_with("arn:")) else { return grants };
        let covers = |on: &On| subject.arns(*on).iter().any(|pattern| matches(pattern, resource));
        let fitting: Vec<_> = grants.iter().copied().filter(|grant| grant.on.iter().any(covers)).collect();
        if fitting.is_empty() { grants } else { fitting }
    }
}

/// The next step if a policy of the organization refuses an action.
pub(crate) fn by_organization(action: &str) -> String {
    format!(
        "ask the administrators of your AWS organization to remove the deny on `{action}` for this account: no permission in the account overrides it"
    )
}

/// The next step if the permissions boundary refuses an action.
pub(crate) fn by_boundary(action: &str) -> String {
    format!("allow `{action}` in the permissions boundary of the AWS identity of this command")
}

/// The action as the table spells it.
fn static_action(action: &str) -> Option<&'static str> {
    crate::calls::actions().find(|known| *known == action)
}
