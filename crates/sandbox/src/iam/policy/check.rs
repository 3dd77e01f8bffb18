//! Policy documents: the errors that IAM returns before it stores one.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use trunnion_catalog::COMMERCIAL;

use super::Policy;
use crate::call::Fault;

/// Refuses a document that is not an identity-based policy.
pub(crate) fn check_identity(document: &str) -> Result<(), Fault> {
    for statement in statements(document)? {
        check_effect(&statement)?;
        if !has_one_of(&statement, "Action", "NotAction") {
            return Err(malformed("Policy statement must contain actions."));
        }
        if !has_one_of(&statement, "Resource", "NotResource") {
            return Err(malformed("Policy statement must contain resources."));
        }
        if statement.contains_key("Principal") || statement.contains_key("NotPrincipal") {
            return Err(malformed("Policy document should not specify a principal."));
        }
        check_actions(&statement)?;
    }
    check_words(document)
}

/// Refuses a document that is not a trust policy.
pub(crate) fn check_trust(document: &str) -> Result<(), Fault> {
    for statement in statements(document)? {
        check_effect(&statement)?;
        // "AWS JSON policy elements: NotPrincipal", IAM user guide, read November 2026.
        if statement.contains_key("NotPrincipal") {
            return Err(malformed("Has prohibited field NotPrincipal"));
        }
        if !statement.contains_key("Principal") {
            return Err(malformed("Missing required field Principal"));
        }
        if !has_one_of(&statement, "Action", "NotAction") {
            return Err(malformed("Missing required field Action"));
        }
        if let Some(member) = ["Resource", "NotResource"].into_iter().find(|member| statement.contains_key(*member)) {
            return Err(malformed(format!("Has prohibited field {member}")));
        }
        let assumes = texts(statement.get("Action"))
            .iter()
            .all(|action| action.to_lowercase().starts_with("sts:") || action == "*");
        if !assumes {
            return Err(malformed("AssumeRole policy may only specify STS AssumeRole actions."));
        }
    }
    check_words(document)
}

/// Refuses what the evaluator could not read, so that no stored policy is without a verdict.
fn check_words(document: &str) -> Result<(), Fault> {
    let policy = Policy::read(document).map_err(|reason| malformed(format!("Syntax errors in policy: {reason}.")))?;
    let mut names = BTreeSet::new();
    for name in policy.sids() {
        if !name.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            return Err(malformed(
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression \
                 [0-9A-Za-z]*",
            ));
        }
        if !names.insert(name) {
            return Err(malformed(format!("Statement IDs (SID) in a single policy must be unique. {name} is not.")));
        }
    }
    Ok(())
}

/// Why a text is no policy of a bucket, as far as the language goes.
pub(crate) fn malformed_bucket_policy(document: &str) -> Option<String> {
    Policy::read(document).err()
}

fn statements(document: &str) -> Result<Vec<Map<String, Value>>, Fault> {
    let parsed: Value = serde_json::from_str(document).map_err(|_| malformed("This policy contains invalid Json"))?;
    let Value::Object(mut policy) = parsed else { return Err(malformed("Syntax errors in policy.")) };
    if let Some(member) = policy.keys().find(|member| !["Version", "Id", "Statement"].contains(&member.as_str())) {
        return Err(malformed(format!("Syntax errors in policy: unknown field {member}.")));
    }
    if policy.get("Version").is_some_and(|version| version != "2012-10-17" && version != "2008-10-17") {
        return Err(malformed("The policy must contain a valid version string"));
    }
    let statements = match policy.remove("Statement") {
        Some(Value::Array(statements)) => statements,
        Some(statement @ Value::Object(_)) => vec![statement],
        _ => return Err(malformed("Syntax errors in policy.")),
    };
    if statements.is_empty() {
        return Err(malformed("Syntax errors in policy."));
    }
    statements
        .into_iter()
        .map(|statement| match statement {
            Value::Object(statement) => Ok(statement),
            _ => Err(malformed("Syntax errors in policy.")),
        })
        .collect()
}

/// Refuses service principals that do not exist in the region's partition. Every principal ends in `amazonaws.com`; in
/// China, some services have a second one. The European Sovereign Cloud refuses `ec2.amazonaws.eu` in this way
/// (pulumi/pulumi-eks#2341).
pub(crate) fn check_principals(document: &str, region: &str) -> Result<(), Fault> {
    let domains = [COMMERCIAL.domain, if region.starts_with("cn-") { "amazonaws.com.cn" } else { COMMERCIAL.domain }];
    for statement in statements(document)? {
        let services = texts(statement.get("Principal").and_then(|principal| principal.get("Service")));
        let is_known = |service: &&String| {
            domains.iter().any(|domain| service.strip_suffix(domain).is_some_and(|name| name.ends_with('.')))
        };
        if let Some(service) = services.iter().find(|service| !is_known(service)) {
            return Err(malformed(format!("Invalid principal in policy: \"SERVICE\":\"{service}\"")));
        }
    }
    Ok(())
}

fn check_effect(statement: &Map<String, Value>) -> Result<(), Fault> {
    const KNOWN: [&str; 9] =
        ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    if let Some(member) = statement.keys().find(|member| !KNOWN.contains(&member.as_str())) {
        return Err(malformed(format!("Syntax errors in policy: unknown field {member}.")));
    }
    match statement.get("Effect").and_then(Value::as_str) {
        Some("Allow" | "Deny") => Ok(()),
        Some(other) => Err(malformed(format!("Invalid effect: {other}"))),
        None => Err(malformed("Missing required field Effect")),
    }
}

fn check_actions(statement: &Map<String, Value>) -> Result<(), Fault> {
    let actions = texts(statement.get("Action").or_else(|| statement.get("NotAction")));
    match actions.iter().find(|action| *action != "*" && !action.contains(':')) {
        Some(_) => Err(malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")),
        None => Ok(()),
    }?;
    let resources = texts(statement.get("Resource").or_else(|| statement.get("NotResource")));
    // One with fewer than six parts matches nothing.
    let is_arn = |resource: &str| resource.starts_with("arn:") && resource.splitn(6, ':').count() == 6;
    match resources.iter().find(|resource| *resource != "*" && !is_arn(resource)) {
        Some(resource) => Err(malformed(format!("Resource {resource} must be in ARN format or \"*\"."))),
        None => Ok(()),
    }
}

fn has_one_of(statement: &Map<String, Value>, one: &str, other: &str) -> bool {
    !texts(statement.get(one).or_else(|| statement.get(other))).is_empty()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn malformed(message: impl Into<String>) -> Fault {
    Fault::new("MalformedPolicyDocument", message)
}

#[cfg(test)]
mod tests {
    use super::{check_identity, check_trust};

    const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
        "Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    const READ: &str = r#"{"Version":"2012-10-17","Statement":
        {"Effect":"Allow","Action":["s3:GetObject"],"Resource":"arn:aws:s3:::bucket/*"}}"#;

    #[test]
    fn each_kind_of_policy_is_accepted_only_where_it_belongs() {
        check_trust(TRUST).unwrap();
        check_identity(READ).unwrap();
        assert_eq!(check_trust(READ).unwrap_err().code, "MalformedPolicyDocument");
        assert_eq!(check_identity(TRUST).unwrap_err().code, "MalformedPolicyDocument");
    }

    #[test]
    fn invalid_json_and_invalid_policies_are_refused() {
        for document in ["{", "[]", "{}", r#"{"Statement":[]}"#, r#"{"Statement":[{"Effect":"Allow"}]}"#] {
            assert_eq!(check_identity(document).unwrap_err().code, "MalformedPolicyDocument", "{document}");
        }
    }

    #[test]
    fn a_resource_that_is_not_an_arn_is_refused() {
        for resource in ["bucket", "arn:aws:s3:bucket/*", "arn:aws:s3::bucket", "arn:*", "*:*:*:*:*:*"] {
            for element in ["Resource", "NotResource"] {
                let document = READ.replace("arn:aws:s3:::bucket/*", resource).replace("Resource", element);
                assert!(check_identity(&document).unwrap_err().message.contains("ARN format"), "{resource}");
            }
        }
    }

    #[test]
    fn a_trust_policy_names_whom_it_trusts() {
        let document = TRUST.replace("Principal", "NotPrincipal");
        assert!(check_trust(&document).unwrap_err().message.contains("NotPrincipal"));
        assert!(check_trust(&document.replace("Allow", "Deny")).unwrap_err().message.contains("NotPrincipal"));
    }
}
