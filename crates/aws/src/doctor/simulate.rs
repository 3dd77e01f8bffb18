//! IAM's simulation of the policies of the identity.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::types::{
    ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType as Decision,
    ResourceSpecificResult,
};

use super::{
    Examination,
    cases::{self, Case, Cases, Entry},
};
use crate::{
    Aws,
    calls::{Commands, known_keys},
    error::{Class, Failure, OfCall as _},
};

/// How many actions one call has.
const AT_ONCE: usize = 50;

/// What the policies say of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Allowed,
    /// Nothing allows it, or something denies it.
    Denied(By),
    /// The policies ask for condition keys whose values nobody here knows.
    Depends {
        keys: BTreeSet<String>,
    },
}

/// What denies a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum By {
    /// No policy allows it.
    Nothing,
    /// A statement of this policy.
    Policy(String),
    /// The permissions boundary does not allow it.
    Boundary,
    /// A policy of the organization does not allow it.
    Organization,
}

/// What the policies say by action and resource.
type Answers = BTreeMap<(String, String), Result<Said, Failure>>;

/// Whose policies are simulated.
struct Source {
    arn: String,
    /// The condition keys whose values are given wherever a call has them.
    known: BTreeSet<&'static str>,
}

/// The questions, and what the simulation answered.
pub(super) struct Simulated {
    pub cases: Cases,
    pub answers: BTreeMap<Case, Result<Said, Failure>>,
    /// The identity whose policies were simulated.
    pub source: String,
}

pub(super) async fn ask(examination: &Examination<'_>, commands: Commands) -> Simulated {
    let aws = examination.aws;
    let cases = cases::of(&examination.subject, commands);
    let mut batches: BTreeMap<(&[Entry], &str), BTreeSet<&'static str>> = BTreeMap::new();
    for case in cases.values().flatten() {
        batches.entry((case.context.as_slice(), case.resource.as_str())).or_default().insert(case.action);
    }
    let source = match source(aws).await {
        Ok(source) => source,
        Err(failure) => {
            let answers = cases.values().flatten().map(|case| (case.clone(), Err(failure.clone()))).collect();
            return Simulated { cases, answers, source: String::new() };
        }
    };
    // One call asks of all its resources about all its actions, so resources with the same actions share calls.
    let mut shared: BTreeMap<(&[Entry], Vec<&'static str>), Vec<&str>> = BTreeMap::new();
    for ((context, resource), actions) in batches {
        let actions: Vec<&'static str> = actions.into_iter().collect();
        for actions in actions.chunks(AT_ONCE) {
            shared.entry((context, actions.to_vec())).or_default().push(resource);
        }
    }
    let source = Source { arn: source, known: known_keys(&examination.subject) };
    let asked = shared.into_iter().map(|((context, actions), resources)| {
        let source = &source;
        async move {
            let answers = Box::pin(each(aws, source, context, &resources, &actions)).await;
            let said = |case: &Case| {
                let answer = answers.get(&(case.action.to_owned(), case.resource.clone())).cloned();
                answer.unwrap_or_else(|| Err(Failure::own("IAM's simulation left it out", None)))
            };
            let cases = resources.iter().flat_map(|resource| {
                let case = |action: &&'static str| Case {
                    action,
                    resource: (*resource).to_owned(),
                    context: context.to_vec(),
                };
                actions.iter().map(case)
            });
            cases.map(|case| (case.clone(), said(&case))).collect::<Vec<_>>()
        }
    });
    let answers = futures::future::join_all(asked).await.into_iter().flatten().collect();
    Simulated { cases, answers, source: source.arn }
}

/// The user or the role of the identity. A session's ARN has only the last part of its role's name, so IAM is asked for
/// the whole ARN; without the permission for it, the role counts as one without a path.
async fn source(aws: &Aws) -> Result<String, Failure> {
    let identity = aws.identity.get().map(String::as_str).unwrap_or_default();
    let (head, resource) = identity.rsplit_once(':').unwrap_or_default();
    match resource.split('/').collect::<Vec<_>>().as_slice() {
        ["user", ..] => Ok(identity.to_owned()),
        ["assumed-role", name, ..] => {
            let answer = aws.clients.iam.get_role().role_name(*name).send().await.of_call("iam:GetRole");
            match answer {
                Ok(answer) => Ok(answer.role.map(|role| role.arn).unwrap_or_default()),
                Err(failure) if failure.class == Class::Denied => {
                    Ok(format!("{}:role/{name}", head.replacen(":sts:", ":iam:", 1)))
                }
                Err(failure) => Err(failure),
            }
        }
        _ => {
            let help = "use a user or a role".to_owned();
            Err(Failure::own(format!("IAM does not simulate the policies of `{identity}`"), help))
        }
    }
}

/// Asks about all actions and resources at once. IAM refuses some actions together ("… require different authorization
/// information", as public programs quote it; AWS documents no list), so what it refuses is asked in smaller calls.
async fn each(aws: &Aws, source: &Source, context: &[Entry], resources: &[&str], actions: &[&'static str]) -> Answers {
    let mut answers = Answers::new();
    let mut left = vec![(resources.to_vec(), actions.to_vec())];
    while let Some((resources, actions)) = left.pop() {
        match Box::pin(one(aws, source, context, &resources, &actions)).await {
            Ok(said) => answers.extend(said.into_iter().map(|(case, said)| (case, Ok(said)))),
            Err(failure) => {
                if let Some(calls) = smaller(&failure, &resources, &actions) {
                    left.extend(calls);
                    continue;
                }
                let pairs = actions.iter().flat_map(|action| resources.iter().map(move |one| (action, one)));
                let case = |(action, resource): (&&str, &&str)| ((*action).to_owned(), (*resource).to_owned());
                answers.extend(pairs.map(|pair| (case(pair), Err(failure.clone()))));
            }
        }
    }
    answers
}

/// The calls that ask the same as one that IAM refused: each action alone, then each resource alone.
fn smaller<'a>(
    failure: &Failure,
    resources: &[&'a str],
    actions: &[&'static str],
) -> Option<Vec<(Vec<&'a str>, Vec<&'static str>)>> {
    if !failure.code.starts_with("InvalidInput") {
        return None;
    }
    match (actions, resources) {
        ([_, _, ..], _) => Some(actions.iter().map(|action| (resources.to_vec(), vec![*action])).collect()),
        (_, [_, _, ..]) => Some(resources.iter().map(|resource| (vec![*resource], actions.to_vec())).collect()),
        _ => None,
    }
}

async fn one(
    aws: &Aws,
    source: &Source,
    context: &[Entry],
    resources: &[&str],
    actions: &[&'static str],
) -> Result<BTreeMap<(String, String), Said>, Failure> {
    let entries = context.iter().map(|(key, values, is_list)| {
        let kind = match (*key, is_list) {
            ("aws:SecureTransport", _) => ContextKeyTypeEnum::Boolean,
            (_, true) => ContextKeyTypeEnum::StringList,
            (_, false) => ContextKeyTypeEnum::String,
        };
        let values = values.clone();
        ContextEntry::builder()
            .context_key_name(*key)
            .context_key_type(kind)
            .set_context_key_values(Some(values))
            .build()
    });
    let call = aws.clients.iam.simulate_principal_policy().policy_source_arn(&source.arn);
    let call = call
        .set_resource_arns(Some(resources.iter().map(|resource| (*resource).to_owned()).collect()))
        .set_action_names(Some(actions.iter().map(|action| (*action).to_owned()).collect()))
        .set_context_entries(Some(entries.collect()))
        .max_items(1000);
    let mut said = BTreeMap::new();
    let mut pages = call.into_paginator().send();
    while let Some(page) = pages.next().await {
        let results = page.of_call("iam:SimulatePrincipalPolicy")?.evaluation_results.into_iter().flatten();
        for result in results {
            let resource = result.eval_resource_name.clone().unwrap_or_default();
            said.insert((result.eval_action_name.clone(), resource), of(&result, &source.known));
        }
    }
    Ok(said)
}

/// `known` are keys whose values are given wherever a call has them. IAM also lists those that only statements about other
/// actions ask for (aws/aws-sdk-java-v2#1751).
fn of(result: &EvaluationResult, known: &BTreeSet<&str>) -> Said {
    let specific = || result.resource_specific_results().iter();
    let missing =
        specific().flat_map(ResourceSpecificResult::missing_context_values).chain(result.missing_context_values());
    // With other values of these keys, the decision can be another one.
    let is_known = |key: &String| known.iter().any(|known| known.eq_ignore_ascii_case(key));
    let keys: BTreeSet<String> = missing.filter(|key| !is_known(key)).cloned().collect();
    if !keys.is_empty() {
        return Said::Depends { keys };
    }
    let organization = result.organizations_decision_detail().map(|detail| detail.allowed_by_organizations);
    let general = result.permissions_boundary_decision_detail();
    let boundaries = specific().filter_map(ResourceSpecificResult::permissions_boundary_decision_detail).chain(general);
    let mut boundaries = boundaries.map(|detail| detail.allowed_by_permissions_boundary);
    match result.eval_decision {
        Decision::Allowed => Said::Allowed,
        _ if organization == Some(false) => Said::Denied(By::Organization),
        _ if boundaries.any(|is_allowed| !is_allowed) => Said::Denied(By::Boundary),
        Decision::ExplicitDeny => {
            let mut statements =
                specific().flat_map(ResourceSpecificResult::matched_statements).chain(result.matched_statements());
            let by = statements.find_map(|statement| statement.source_policy_id.clone());
            Said::Denied(By::Policy(by.unwrap_or_default()))
        }
        _ => Said::Denied(By::Nothing),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use aws_sdk_iam::types::{
        OrganizationsDecisionDetail, PermissionsBoundaryDecisionDetail, builders::EvaluationResultBuilder,
    };

    use super::*;

    fn decided(decision: Decision) -> EvaluationResultBuilder {
        EvaluationResult::builder().eval_action_name("a:B").eval_decision(decision)
    }

    #[test]
    fn a_decision_that_depends_on_an_unknown_key_is_open() {
        for decision in [Decision::Allowed, Decision::ExplicitDeny, Decision::ImplicitDeny] {
            let key = "aws:MultiFactorAuthPresent";
            let keys = BTreeSet::from([key.to_owned()]);
            let general = decided(decision.clone()).missing_context_values(key).build().unwrap();
            assert_eq!(of(&general, &BTreeSet::new()), Said::Depends { keys: keys.clone() });
            let specific = ResourceSpecificResult::builder().eval_resource_name("x");
            let specific =
                specific.eval_resource_decision(decision.clone()).missing_context_values(key).build().unwrap();
            let result = decided(decision).resource_specific_results(specific).build().unwrap();
            assert_eq!(of(&result, &BTreeSet::new()), Said::Depends { keys });
        }
        let known = BTreeSet::from(["iam:PassedToService"]);
        let allowed = decided(Decision::Allowed).missing_context_values("iam:passedtoservice").build().unwrap();
        assert_eq!(of(&allowed, &known), Said::Allowed);
    }

    #[test]
    fn a_denial_names_what_denies() {
        let boundary = PermissionsBoundaryDecisionDetail::builder().allowed_by_permissions_boundary(false).build();
        let organization = OrganizationsDecisionDetail::builder().allowed_by_organizations(false).build();
        let denied = || decided(Decision::ImplicitDeny);
        for (result, by) in [
            (denied(), By::Nothing),
            (denied().permissions_boundary_decision_detail(boundary), By::Boundary),
            (denied().organizations_decision_detail(organization), By::Organization),
            (decided(Decision::ExplicitDeny), By::Policy(String::new())),
        ] {
            assert_eq!(of(&result.build().unwrap(), &BTreeSet::new()), Said::Denied(by));
        }
    }

    #[test]
    fn what_iam_refuses_together_is_asked_alone() {
        let refused = Failure { code: "InvalidInput".to_owned(), ..Failure::own("", None) };
        let actions = smaller(&refused, &["x", "y"], &["a:B", "a:C"]).unwrap();
        assert_eq!(actions, [(vec!["x", "y"], vec!["a:B"]), (vec!["x", "y"], vec!["a:C"])]);
        let resources = smaller(&refused, &["x", "y"], &["a:B"]).unwrap();
        assert_eq!(resources, [(vec!["x"], vec!["a:B"]), (vec!["y"], vec!["a:B"])]);
        assert_eq!(smaller(&refused, &["x"], &["a:B"]), None);
        assert_eq!(smaller(&Failure::own("", None), &["x", "y"], &["a:B"]), None);
    }
}
