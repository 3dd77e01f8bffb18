//! What a role may do, and who may assume it: the part of IAM's evaluation that the roles here need.
//!
//! A deny has priority. Conditions are not evaluated: a deny with a condition always applies, an allow with one never
//! does.

use serde_json::{Map, Value};

use super::{State, policy, role::Role};

/// Managed policies that allow every action that is checked here.
const ALLOWS_ALL: [&str; 1] = ["AdministratorAccess"];

impl State {
    /// Whether the role with this ARN may do `action` on `resource`.
    pub(crate) fn allows(&self, role: &str, action: &str, resource: &str) -> bool {
        let Some(role) = self.role(role) else { return false };
        let statements: Vec<_> = role.inline.values().filter_map(|policy| policy::statements(policy).ok()).collect();
        let matching = |effect: &str| {
            let mut all = statements.iter().flatten();
            all.any(|statement| {
                statement.get("Effect").is_some_and(|is| is == effect) && covers(statement, action, resource)
            })
        };
        let by_managed = role.attached.iter().any(|arn| ALLOWS_ALL.iter().any(|name| arn.ends_with(name)));
        !matching("Deny") && (by_managed || matching("Allow"))
    }

    /// Whether a service, such as `ecs-tasks.amazonaws.com`, may assume the role with this ARN.
    pub(crate) fn trusts(&self, role: &str, service: &str) -> bool {
        let statements = self.role(role).and_then(|role| policy::statements(&role.trust).ok()).unwrap_or_default();
        statements.iter().any(|statement| {
            let principal = statement.get("Principal").and_then(|principal| principal.get("Service"));
            statement.get("Effect").is_some_and(|effect| effect == "Allow")
                && policy::texts(principal).iter().any(|trusted| trusted == service)
        })
    }

    fn role(&self, arn: &str) -> Option<&Role> {
        self.roles.values().find(|role| role.arn == arn)
    }
}

/// Whether a statement applies to an action on a resource.
fn covers(statement: &Map<String, Value>, action: &str, resource: &str) -> bool {
    let names = |positive: &str, negative: &str, text: &str, ignores_case: bool| match statement.get(positive) {
        Some(_) => policy::texts(statement.get(positive)).iter().any(|pattern| matches(pattern, text, ignores_case)),
        None => !policy::texts(statement.get(negative)).iter().any(|pattern| matches(pattern, text, ignores_case)),
    };
    let is_certain =
        statement.get("Effect").is_some_and(|effect| effect == "Deny") || !statement.contains_key("Condition");
    is_certain && names("Action", "NotAction", action, true) && names("Resource", "NotResource", resource, false)
}

/// Whether a text matches a pattern with `*` and `?`.
fn matches(pattern: &str, text: &str, ignores_case: bool) -> bool {
    let normal = |text: &str| if ignores_case { text.to_lowercase() } else { text.to_owned() };
    let (pattern, text): (Vec<char>, Vec<char>) = (normal(pattern).chars().collect(), normal(text).chars().collect());
    // The position of the last `*`, and how much of the text it has matched so far.
    let mut star: Option<(usize, usize)> = None;
    let (mut at, mut place) = (0, 0);
    while place < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(letter) if *letter == '?' || text.get(place) == Some(letter) => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                at = after + 1;
                place = taken + 1;
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_iam() {
        for (pattern, text) in [("*", "s3:GetObject"), ("s3:Get*", "s3:GetObject"), ("a?c", "abc"), ("a*b*c", "axxbbc")]
        {
            assert!(matches(pattern, text, false), "{pattern} {text}");
        }
        for (pattern, text) in
            [("secret:x", "secret:x-AbCdEf"), ("a?c", "ac"), ("s3:get*", "s3:GetObject"), ("a*b", "a")]
        {
            assert!(!matches(pattern, text, false), "{pattern} {text}");
        }
        assert!(matches("s3:get*", "s3:GetObject", true));
    }
}
