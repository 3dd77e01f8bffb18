//! Launches hosts, each one once.
//!
//! The token of a host depends on its home, its address, its zone and the host that it follows. EC2 compares it with the
//! tokens that it knows: it returns the host of an earlier attempt, refuses the call because its parameters differ, or says
//! that the host has been terminated. EC2's documents leave open when it returns the old host although the parameters differ
//! ("Ensuring idempotency in Amazon EC2 API requests", EC2 developer guide, read November 2026), so what a call returns is
//! compared with what was asked. Since January 2025 a token of a terminated host is refused; before, the terminated host was
//! returned (boto/boto3 issue 4406, read November 2026).

use std::{collections::BTreeMap, sync::Arc};

use aws_sdk_ec2::types::{LaunchTemplateSpecification, ResourceType};
use trunnion_engine::{Token, Value};
use trunnion_kinds::{ADDRESS_TAG, Instance, STACK_TAG, TEMPLATE_TAG, Tags};

use super::{
    instance::{Host, list, next, tagged_ids, until_running},
    instance_chunk::{is_young, may_have_launched},
    tagging::{change_ec2, filter, of_stack, specification},
};
use crate::{
    Aws,
    convert::text,
    error::{Class, Failure, OfCall as _},
    hosts::by_ids,
    wait::Ended,
};

/// How many tokens are tried for one host. A token is used up when its host was terminated.
const TOKENS: u32 = 50;

/// What to do after the plan was overtaken by what AWS shows only now.
const AGAIN: &str = "run the same command again: the plan finds this host";

/// What one call launches.
pub(super) struct Launch<'a> {
    /// The hosts that it can find.
    pub wanted: Vec<&'a Instance>,
    /// What each host that it launches is like, except for its tags.
    pub like: &'a Instance,
    /// The tags of each host.
    pub tags: Tags,
    /// The most hosts that it launches.
    pub count: u32,
}

/// Launches the host of an address, or finds the one of an earlier attempt.
pub(super) async fn launch(aws: &Aws, instance: &Instance, first: &Token) -> Result<Host, Failure> {
    let there = fleet(aws).await?;
    if let Some(host) = others(aws, &there, instance, first.follows()).next() {
        differs(host, instance)?;
        return Ok(host.clone());
    }
    let token = match first.follows() {
        Some(_) => first.clone(),
        // An earlier attempt may have launched the host that follows this one.
        None => last_ended(aws, &there, instance).map_or_else(|| first.clone(), |ended| first.following(&ended.id)),
    };
    let call = Launch { wanted: vec![instance], like: instance, tags: instance.tags.clone(), count: 1 };
    let launched = with_tokens(aws, &call, token).await?.into_iter().next();
    let host = launched.ok_or_else(|| Failure::own("EC2 returned no host", AGAIN.to_owned()))?;
    differs(&host, instance)?;
    Ok(host)
}

/// Launches hosts, or finds those of an earlier attempt with the same token. Returns the live ones at wanted addresses: at
/// least one.
pub(super) async fn with_tokens(aws: &Aws, call: &Launch<'_>, first: Token) -> Result<Vec<Host>, Failure> {
    let (mut token, mut number) = (first, 0);
    for _ in 0..TOKENS {
        let hosts = match run(aws, call, &token.shortened(64)).await {
            Ok(hosts) => hosts,
            Err(refused) => match refused.code.as_str() {
                "IdempotentInstanceTerminated" => holders(aws, &token, call, true).await?,
                "IdempotentParameterMismatch" => holders(aws, &token, call, false).await?,
                _ => return Err(refused),
            },
        };
        let Some(newest) = hosts.iter().max_by_key(|host| (host.is_live(), host.launched, host.id.as_str())) else {
            number += 1;
            token = token.nth(number);
            continue;
        };
        let newest = newest.id.clone();
        let found = at_wanted(aws, hosts, &call.wanted).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        (token, number) = (token.following(newest), 0);
    }
    Err(Failure::own(
        format!("the hosts of {TOKENS} tokens were terminated within the lifetime of their tokens"),
        "wait an hour, and run the command again".to_owned(),
    ))
}

/// The hosts of a token that EC2 refuses. They may be too new to be shown, and a host that was terminated may still be shown
/// as running.
async fn holders(aws: &Aws, token: &Token, call: &Launch<'_>, some_are_terminated: bool) -> Result<Vec<Host>, Failure> {
    let wait = aws.lag_wait();
    let mut seen: BTreeMap<String, Host> = BTreeMap::new();
    loop {
        let found = list(&aws.clients.ec2, vec![filter("client-token", vec![token.shortened(64)])]).await?;
        seen.extend(found.into_iter().map(|host| (host.id.clone(), host)));
        let is_wanted = |host: &Host| call.wanted.iter().any(|instance| is_at(host, instance));
        // Others of its call may be hidden.
        let are_all = !seen.values().any(|host| may_have_launched(host, seen.len(), call.wanted.iter().copied()));
        let is_enough = if some_are_terminated {
            are_all && seen.values().any(|host| !host.is_live())
        } else {
            are_all && !seen.is_empty() || seen.values().any(|host| host.is_live() && is_wanted(host))
        };
        match wait.look().await {
            Ok(()) if !is_enough => {}
            Err(Ended::Interrupted) if !is_enough => {
                return Err(Failure::interrupted("AWS may not show all hosts of a token yet"));
            }
            _ => return Ok(seen.into_values().collect()),
        }
    }
}

/// One call with a token.
async fn run(aws: &Aws, call: &Launch<'_>, token: &str) -> Result<Vec<Host>, Failure> {
    let template = LaunchTemplateSpecification::builder()
        .launch_template_id(text(&call.like.launch_template)?)
        .version(text(&call.like.version)?)
        .build();
    let mut tags = call.tags.clone();
    let others = [ResourceType::Volume, ResourceType::NetworkInterface].map(|kind| specification(kind, &tags));
    tags.insert(TEMPLATE_TAG.to_owned(), text(&call.like.template)?.to_owned());
    let mut specifications = vec![specification(ResourceType::Instance, &tags)];
    specifications.extend(others);
    let count = i32::try_from(call.count).unwrap_or(i32::MAX);
    // EC2 needs some seconds until a new instance profile, template or security group is known everywhere.
    let answer = aws
        .patiently(&[Class::Lag], || async {
            let call = aws.clients.ec2.run_instances().launch_template(template.clone()).client_token(token);
            let call = call.min_count(1).max_count(count).set_tag_specifications(Some(specifications.clone()));
            call.send().await.of_call("ec2:RunInstances").map_err(|failure| match failure.class {
                Class::NotFound if failure.code.contains("LaunchTemplate") || failure.code.contains("Group") => {
                    Failure { class: Class::Lag, ..failure }
                }
                _ => failure,
            })
        })
        .await?;
    let hosts: Vec<Host> = answer.instances.into_iter().flatten().map(Host::from).collect();
    if hosts.is_empty() {
        return Err(Failure::of_call("ec2:RunInstances", Class::Unreachable, "EC2 returned no instance"));
    }
    Ok(hosts)
}

/// The live ones of the hosts that are still the stack's and at a wanted address: one that was given away or moved keeps its
/// token. AWS may show the tags of a new host late.
async fn at_wanted(aws: &Aws, hosts: Vec<Host>, wanted: &[&Instance]) -> Result<Vec<Host>, Failure> {
    let live = hosts.into_iter().filter(Host::is_live);
    let (mut hosts, bare): (Vec<Host>, Vec<Host>) = live.partition(|host| host.tags.contains_key(STACK_TAG));
    if !bare.is_empty() {
        let ids: Vec<String> = bare.into_iter().map(|host| host.id).collect();
        let wait = aws.lag_wait();
        hosts.extend(loop {
            let shown: Vec<Host> = by_ids(&aws.clients.ec2, &ids).await?.into_values().collect();
            let are_tagged = shown.len() == ids.len() && shown.iter().all(|host| host.tags.contains_key(STACK_TAG));
            match wait.look().await {
                Ok(()) if !are_tagged => {}
                Err(Ended::Interrupted) => return Err(Failure::interrupted("AWS does not show all tags yet")),
                _ => break shown,
            }
        });
    }
    // A host that the plan knows at another address moved there.
    let is_wanted = |host: &Host| wanted.iter().any(|instance| is_at(host, instance)) && !aws.is_planned(&host.id);
    hosts.retain(|host| host.is_live() && is_wanted(host));
    Ok(hosts)
}

/// Whether a host is the stack's and at the wanted address.
fn is_at(host: &Host, instance: &Instance) -> bool {
    [STACK_TAG, ADDRESS_TAG].iter().all(|tag| host.tags.get(*tag) == instance.tags.get(*tag))
}

/// Refuses a host that was launched from something else than what is asked for.
fn differs(host: &Host, instance: &Instance) -> Result<(), Failure> {
    let is_other = |found: Option<&str>, asked: &Value| found.is_some_and(|found| Some(found) != asked.as_text());
    let what = if is_other(host.zone.as_deref(), &instance.zone) {
        "in another availability zone"
    } else if is_other(host.template.as_deref(), &instance.template) {
        "from other content"
    } else {
        return Ok(());
    };
    let message = format!("an earlier attempt launched `{}` {what}; no second host was launched", host.id);
    Err(Failure::own(message, format!("{AGAIN} and replaces it")))
}

/// Waits until AWS shows a host with all that was promised, and corrects its tags. Returns what AWS shows; `None` if the host
/// is not at this address any more: `RunInstances` may answer a call with the tags that the host had first.
pub(super) async fn until_whole(aws: &Aws, host: Host, instance: &Instance) -> Result<Option<Host>, Failure> {
    if !is_young(aws, &host) {
        let shown = by_ids(&aws.clients.ec2, std::slice::from_ref(&host.id)).await?;
        if shown.get(&host.id).is_some_and(|shown| !is_at(shown, instance)) {
            return Ok(None);
        }
    }
    let mut host = if aws.connection.wait { until_running(aws, host).await? } else { host };
    let wait = aws.lag_wait();
    loop {
        let is_last = wait.is_over();
        match next(aws, &host.id).await {
            Ok(Some(seen)) if seen.template.is_some() && seen.check(instance).is_ok() => {
                host = seen;
                break;
            }
            Ok(Some(seen)) if is_last => {
                if !is_at(&seen, instance) {
                    return Ok(None);
                }
                seen.check(instance)?;
                return Err(Failure::own(format!("`{}` has lost its tag `{TEMPLATE_TAG}`", seen.id), AGAIN.to_owned()));
            }
            Ok(None) if is_last => {
                return Err(Failure::own(format!("AWS does not show `{}`", host.id), AGAIN.to_owned()));
            }
            Ok(_) => {}
            Err(Some(failure)) => return Err(failure),
            Err(None) => return Err(Failure::interrupted(format!("AWS does not show all of `{}` yet", host.id))),
        }
    }
    if !is_at(&host, instance) {
        return Ok(None);
    }
    differs(&host, instance)?;
    if host.tags != instance.tags {
        change_ec2(aws, &tagged_ids(&host.remote()?), &host.tags, &instance.tags).await?;
        host.tags.clone_from(&instance.tags);
    }
    Ok(Some(host))
}

/// Fails if AWS shows a second host at the address of this one: an earlier attempt launched it in another zone, or another
/// apply did at the same time, and no read showed it before.
pub(super) async fn must_be_alone(
    aws: &Aws,
    host: &Host,
    instance: &Instance,
    follows: Option<&str>,
) -> Result<(), Failure> {
    let shown = aws
        .within_lag(|| async {
            let there = fleet(aws).await?;
            Ok(there.iter().any(|one| one.id == host.id).then_some(there))
        })
        .await?;
    let Some(there) = shown else {
        return Err(Failure::own(format!("AWS does not list `{}`", host.id), AGAIN.to_owned()));
    };
    let mut others = others(aws, &there, instance, follows);
    match others.find(|other| other.id != host.id) {
        None => Ok(()),
        Some(other) => {
            let message = format!("`{}` is a second host at this address, beside `{}`", other.id, host.id);
            Err(Failure::own(message, "run the same command again: the plan deletes one of them".to_owned()))
        }
    }
}

/// All hosts of the stack that AWS lists, terminated ones included. One read answers all who ask at the same time.
pub(super) async fn fleet(aws: &Aws) -> Result<Arc<Vec<Host>>, Failure> {
    let (ec2, filter) = (aws.clients.ec2.clone(), of_stack(aws));
    aws.fleet.read(|| async move { list(&ec2, vec![filter]).await }).await
}

fn at_address<'h>(aws: &'h Aws, there: &'h [Host], instance: &'h Instance) -> impl Iterator<Item = &'h Host> {
    let is_at = |host: &&Host| host.tags.get(ADDRESS_TAG) == instance.tags.get(ADDRESS_TAG);
    there.iter().filter(is_at).filter(|host| aws.owns(&host.tags))
}

/// The live hosts at the address of a wanted one that the plan does not know: it follows one of those that the plan knows, and
/// deletes the others. One that is not new was hidden from the plan because it is ending.
fn others<'h>(
    aws: &'h Aws,
    there: &'h [Host],
    instance: &'h Instance,
    follows: Option<&'h str>,
) -> impl Iterator<Item = &'h Host> {
    let is_known = move |id: &str| Some(id) == follows || aws.is_planned(id);
    at_address(aws, there, instance).filter(move |host| host.is_live() && is_young(aws, host) && !is_known(&host.id))
}

/// The newest host at the address of a wanted one that is being terminated or was.
fn last_ended<'h>(aws: &'h Aws, there: &'h [Host], instance: &'h Instance) -> Option<&'h Host> {
    let ended = at_address(aws, there, instance).filter(|host| !host.is_live());
    ended.max_by_key(|host| (host.launched, host.id.as_str()))
}
