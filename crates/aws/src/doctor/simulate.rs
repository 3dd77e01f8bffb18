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
    calls::Commands,
    error::{Class, Failure, OfCall as _},
};

/// How many actions one call has.
const AT_ONCE: usize = 50;

/// What the policies say of one case.
#[derive(Debug, Clone)]
pub(super) enum Said {
    Allowed,
    /// Nothing allows it, or this policy denies it.
    Denied {
        by: Option<String>,
    },
    /// The policies ask for condition keys whose values nobody here knows.
    Depends {
        keys: BTreeSet<String>,
    },
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
    let asked = shared.into_iter().map(|((context, actions), resources)| {
        let source = source.as_str();
        async move {
            let answer = Box::pin(one(aws, source, context, &resources, &actions)).await;
            let unanswered = || Failure::own("IAM's simulation left it out", None);
            let said = |case: &Case| match &answer {
                Ok(said) => said.get(&(case.action.to_owned(), case.resource.clone())).cloned().ok_or_else(unanswered),
                Err(failure) => Err(failure.clone()),
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
    Simulated { cases, answers, source }
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

async fn one(
    aws: &Aws,
    source: &str,
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
    let call = aws.clients.iam.simulate_principal_policy().policy_source_arn(source);
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
            said.insert((result.eval_action_name.clone(), resource), of(&result));
        }
    }
    Ok(said)
}

fn of(result: &EvaluationResult) -> Said {
    let specific = || result.resource_specific_results().iter();
    let missing =
        specific().flat_map(ResourceSpecificResult::missing_context_values).chain(result.missing_context_values());
    match result.eval_decision {
        Decision::Allowed => Said::Allowed,
        Decision::ExplicitDeny => {
            let mut statements =
                specific().flat_map(ResourceSpecificResult::matched_statements).chain(result.matched_statements());
            let by = statements.find_map(|statement| statement.source_policy_id.clone());
            Said::Denied { by: Some(by.unwrap_or_default()) }
        }
        _ => {
            let keys: BTreeSet<String> = missing.cloned().collect();
            if keys.is_empty() { Said::Denied { by: None } } else { Said::Depends { keys } }
        }
    }
}
