//! `SimulatePrincipalPolicy`: verdicts on requests that nobody makes.
//!
//! The policies are those of a user or a role, and the request is only what the call says: a condition key that it does not
//! give is absent, and the answer names it. Policies of resources, sessions and organizations do not take part.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    answer, identity, no_such,
    policy::{self, Basis, Context, Decision, Request, Values, evaluate},
    wire::{Members, paged, parameter, required, texts},
};
use crate::{
    call::{Call, Fault, Input, Reply},
    cloud::Cloud,
};

/// Parameters that change what is simulated and that are not served.
const NOT_SERVED: [&str; 6] = [
    "CallerArn",
    "PermissionsBoundaryPolicyInputList.member.1",
    "PolicyInputList.member.1",
    "ResourceHandlingOption",
    "ResourceOwner",
    "ResourcePolicy",
];

/// AWS's model limits neither of these lists (botocore's model of IAM, read November 2026). The sandbox answers one call at
/// a time, so it limits what one call may cost.
const MOST_PARAMETERS: usize = 10_000;
const MOST_PAIRS: usize = 10_000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    evaluation_results: Members<Evaluated>,
    is_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Evaluated {
    eval_action_name: String,
    eval_resource_name: String,
    eval_decision: &'static str,
    matched_statements: Members<Matched>,
    missing_context_values: Members<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions_boundary_decision_detail: Option<Bounded>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_specific_results: Option<Members<Specific>>,
}

/// The verdict again, with what was missing for it, where resources were named.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Specific {
    eval_resource_name: String,
    eval_resource_decision: &'static str,
    matched_statements: Members<Matched>,
    missing_context_values: Members<String>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Matched {
    source_policy_id: String,
    source_policy_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Bounded {
    allowed_by_permissions_boundary: bool,
}

/// Answers the call: one result for each action and resource.
pub(super) fn principal_policy(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    if matches!(&call.input, Input::Query(parameters) if parameters.len() > MOST_PARAMETERS) {
        return Err(invalid(format!("The sandbox simulates requests of at most {MOST_PARAMETERS} parameters.")));
    }
    let source = required(call, "PolicySourceArn")?;
    for name in NOT_SERVED {
        if parameter(call, name).is_some() {
            return Err(invalid(format!("The parameter {name} is not served here.")));
        }
    }
    let identity = source_of(cloud, call, source)?;
    let actions = texts(call, "ActionNames");
    required(call, "ActionNames.member.1").map_err(|_| null("actionNames"))?;
    for action in &actions {
        let is_whole = action.split_once(':').is_some_and(|(service, name)| !service.is_empty() && !name.is_empty());
        if !is_whole || action.len() > 128 || action.contains(['*', '?']) {
            return Err(invalid(format!("Invalid Input Action: {action} is not an action")));
        }
    }
    let resources = texts(call, "ResourceArns");
    if actions.len().saturating_mul(resources.len().max(1)) > MOST_PAIRS {
        return Err(invalid(format!("The sandbox simulates at most {MOST_PAIRS} pairs of an action and a resource.")));
    }
    let context = context(call)?;
    let everything = [String::from("*")];
    let resources = if resources.is_empty() { &everything[..] } else { &resources[..] };
    let pairs = actions.iter().flat_map(|action| resources.iter().map(move |resource| (action, resource)));
    let pairs = pairs.map(|(action, resource)| (format!("{action} {resource}"), (action, resource))).collect();
    // Only what the page shows is evaluated.
    let (page, is_truncated, marker) = paged(call, pairs)?;
    let mut asked = BTreeMap::new();
    let mut results = Vec::new();
    for (action, resource) in page {
        if !asked.contains_key(action) {
            asked.insert(action, Asked::of(&identity, action, &context)?);
        }
        if let Some(asked) = asked.get(action) {
            results.push(evaluated(&identity, (action, resource), asked)?);
        }
    }
    answer(call, &Answer { evaluation_results: results.into_iter().collect(), is_truncated, marker })
}

/// The context of an action, and the keys that are missing in it.
struct Asked {
    context: Context,
    missing: Vec<String>,
}

impl Asked {
    fn of(identity: &identity::Identity, action: &str, given: &BTreeMap<String, Values>) -> Result<Self, Fault> {
        let mut context = Context::default();
        let mut missing = Vec::new();
        for (key, values) in given {
            context.set(key.as_str(), values.clone());
        }
        for key in policy::keys_for(&identity.policies, action).map_err(|unknown| cannot(action, &unknown))? {
            if !given.keys().any(|known| known.eq_ignore_ascii_case(&key)) {
                context.absent(key.as_str());
                missing.push(key);
            }
        }
        Ok(Self { context, missing })
    }
}

fn cannot(action: &str, unknown: &policy::Unknown) -> Fault {
    Fault::new("SandboxCannotEvaluate", format!("{action}: {unknown}"))
}

fn evaluated(
    identity: &identity::Identity,
    (action, resource): (&str, &str),
    Asked { context, missing }: &Asked,
) -> Result<Evaluated, Fault> {
    let request = Request { caller: &identity.caller, action, resource, context };
    let decision = evaluate(&request, &identity.policies).map_err(|unknown| cannot(action, &unknown))?;
    let (decided, by) = match &decision {
        Decision::Allowed { by, .. } => ("allowed", by.as_ref()),
        Decision::Denied(denial) if denial.explicit.is_some() => ("explicitDeny", denial.explicit.as_ref()),
        Decision::Denied(_) => ("implicitDeny", None),
    };
    let by_boundary = !matches!(&decision, Decision::Denied(denial) if denial.basis == Basis::Boundary);
    let matched = |policy: &str| {
        let source_policy_type = match policy.split_once(":iam::") {
            Some((_, rest)) if rest.starts_with("aws:") => "aws-managed",
            Some(_) => "user-managed",
            None if matches!(identity.caller, policy::Caller::Session { .. }) => "role",
            None => "user",
        };
        Matched { source_policy_id: policy.to_owned(), source_policy_type }
    };
    let statements: Vec<Matched> = by.into_iter().map(|by| matched(&by.policy)).collect();
    let is_general = resource == "*";
    let specific = Specific {
        eval_resource_name: resource.to_owned(),
        eval_resource_decision: decided,
        matched_statements: statements.iter().cloned().collect(),
        missing_context_values: missing.iter().cloned().collect(),
    };
    Ok(Evaluated {
        eval_action_name: action.to_owned(),
        eval_resource_name: resource.to_owned(),
        eval_decision: decided,
        matched_statements: statements.into_iter().collect(),
        // For named resources, the missing keys are in the results of each (IAM API reference, `EvaluationResult`, read
        // November 2026).
        missing_context_values: missing.iter().filter(|_| is_general).cloned().collect(),
        permissions_boundary_decision_detail: identity
            .policies
            .boundary
            .as_ref()
            .map(|_| Bounded { allowed_by_permissions_boundary: by_boundary }),
        resource_specific_results: (!is_general).then(|| [specific].into_iter().collect()),
    })
}

/// Whose policies are simulated. Sessions have no ARN that IAM knows, so the role's is needed.
fn source_of(cloud: &Cloud, call: &Call, arn: &str) -> Result<identity::Identity, Fault> {
    let kind = arn.split(':').nth(5).and_then(|resource| resource.split('/').next()).unwrap_or_default();
    if !arn.starts_with(&format!("{}:iam::{}:", call.arn(), cloud.account))
        || !matches!(kind, "user" | "role" | "group")
    {
        return Err(invalid(format!("Invalid Entity Arn: {arn} does not clearly define entity type and name.")));
    }
    identity::by_arn(cloud, arn, &call.region, call.now).ok_or_else(|| {
        no_such(format!("The {kind} with name {} cannot be found.", arn.rsplit('/').next().unwrap_or_default()))
    })
}

/// The types of condition keys (botocore's model of IAM, read November 2026), and whether each has several values.
const TYPES: [(&str, bool); 12] = [
    ("string", false),
    ("stringList", true),
    ("numeric", false),
    ("numericList", true),
    ("boolean", false),
    ("booleanList", true),
    ("ip", false),
    ("ipList", true),
    ("binary", false),
    ("binaryList", true),
    ("date", false),
    ("dateList", true),
];

fn context(call: &Call) -> Result<BTreeMap<String, Values>, Fault> {
    let mut given = BTreeMap::new();
    for number in 1.. {
        let member = |name: &str| format!("ContextEntries.member.{number}.{name}");
        let Some(key) = parameter(call, &member("ContextKeyName")) else { break };
        let kind = required(call, &member("ContextKeyType"))?;
        let Some((_, is_list)) = TYPES.iter().find(|(name, _)| *name == kind) else {
            return Err(invalid(format!("Invalid context key type: {kind}")));
        };
        let values = texts(call, &member("ContextKeyValues"));
        let values = match (is_list, values.as_slice()) {
            (true, _) => Values::Many(values),
            (false, [only]) => Values::One(only.clone()),
            (false, _) => {
                return Err(invalid(format!("The context key {key} of type {kind} needs exactly one value.")));
            }
        };
        if given.insert(key.to_owned(), values).is_some() {
            return Err(invalid(format!("Duplicate context key {key}")));
        }
    }
    Ok(given)
}

fn invalid(message: String) -> Fault {
    Fault::new("InvalidInput", message)
}

fn null(member: &str) -> Fault {
    Fault::new(
        "ValidationError",
        format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ),
    )
}
