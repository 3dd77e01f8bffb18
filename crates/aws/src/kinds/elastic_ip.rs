//! `elastic_ip`. Allocation carries tags and has no client token, so a create first looks for an address that an
//! earlier attempt allocated, and at the end for one that AWS did not show at first. AWS accepts an association only once
//! the host runs.

use std::sync::Arc;

use aws_sdk_ec2::{
    Client,
    config::retry::RetryConfig,
    types::{Address as Ec2Address, DomainType, Filter, ResourceType},
};
use trunnion_engine::{Remote, Rules, Token, Value};
use trunnion_kinds::{ADDRESS_TAG, ElasticIp, Tags};

use super::{
    instance,
    tagging::{change_ec2, filter, from_ec2, of_stack, specification, to_ec2},
};
use crate::{
    Aws, Connection,
    convert::{attribute, remote, tags_of, text, touches},
    driver::Driver,
    error::{Class, Failure, OfCall as _, is_unknown_end, unless_gone},
    reading::Reading,
    recorded::is_ec2,
};

/// An attribute outside the kind's struct: the association's id, which the call that ends it needs.
const ASSOCIATION: &str = "association";

/// How often an address is allocated if it stays unknown whether the call was executed.
const TRIES: usize = 3;

async fn list(ec2: &Client, filter: Filter) -> Result<Vec<Remote>, Failure> {
    // AWS returns all addresses in one answer, without pages.
    let call = ec2.describe_addresses().filters(filter);
    let found = call.send().await.of_call("ec2:DescribeAddresses")?.addresses.unwrap_or_default();
    found.into_iter().map(as_remote).collect()
}

fn as_remote(found: Ec2Address) -> Result<Remote, Failure> {
    let value = |text: Option<String>| text.filter(|text| !text.is_empty()).map_or(Value::Null, Value::from);
    let id = found.allocation_id.unwrap_or_default();
    let address = ElasticIp {
        instance: value(found.instance_id),
        private_ip: value(found.private_ip_address),
        tags: from_ec2(found.tags),
    };
    let public_ip = found.public_ip.unwrap_or_default();
    let computed =
        [("id", id.as_str().into()), ("public_ip", public_ip.into()), (ASSOCIATION, value(found.association_id))];
    remote(&id, &address, computed)
}

async fn by_id(aws: &Aws, id: &str) -> Result<Option<Remote>, Failure> {
    Ok(list(&aws.clients.ec2, filter("allocation-id", vec![id.to_owned()])).await?.pop())
}

/// The stack's addresses. One read answers all who ask at the same time.
async fn all(aws: &Aws) -> Result<Arc<Vec<Remote>>, Failure> {
    let (ec2, filter) = (aws.clients.ec2.clone(), of_stack(aws));
    aws.addresses.read(|| async move { list(&ec2, filter).await }).await
}

/// The addresses that were allocated for the same resource. The one to keep comes first: the one in use, or else the one
/// with the lowest id, so that two applies at the same time keep the same one.
fn of_resource(found: &[Remote], wanted: &Tags) -> Vec<Remote> {
    let is_it = |found: &&Remote| tags_of(&found.attributes).get(ADDRESS_TAG) == wanted.get(ADDRESS_TAG);
    let mut found: Vec<Remote> = found.iter().filter(is_it).cloned().collect();
    found.sort_by_key(|one| (!is_used(one), one.id.clone()));
    found
}

fn is_used(address: &Remote) -> bool {
    !attribute(&address.attributes, ASSOCIATION).is_empty()
}

/// Allocates an address. Each call that is executed allocates one, so none is repeated before AWS would show the address of
/// the call before it.
async fn allocate(aws: &Aws, wanted: &ElasticIp) -> Result<Remote, Failure> {
    let mut tries = 1;
    loop {
        let failure = match call_allocate(aws, wanted).await {
            Err(failure) if failure.class == Class::Unreachable => failure,
            ended => return ended,
        };
        let look = || async { Ok(of_resource(&all(aws).await?, &wanted.tags).into_iter().next()) };
        if let Some(found) = aws.within_lag(look).await? {
            return Ok(found);
        }
        if tries == TRIES {
            return Err(failure);
        }
        tries += 1;
    }
}

async fn call_allocate(aws: &Aws, wanted: &ElasticIp) -> Result<Remote, Failure> {
    // A throttled call was not executed.
    let allocated = aws
        .patiently(&[Class::Throttled], || async {
            let call = aws.clients.ec2.allocate_address().domain(DomainType::Vpc);
            let call = call.tag_specifications(specification(ResourceType::ElasticIp, &wanted.tags));
            let once = aws_sdk_ec2::config::Builder::default().retry_config(RetryConfig::disabled());
            call.customize().config_override(once).send().await.of_call("ec2:AllocateAddress").map_err(|failure| {
                let is_unknown = is_unknown_end(&failure);
                if is_unknown { Failure { class: Class::Unreachable, ..failure } } else { failure }
            })
        })
        .await;
    let made = allocated?;
    if made.allocation_id.is_none() {
        let message = "EC2 returned no address";
        return Err(Failure::of_call("ec2:AllocateAddress", Class::Unreachable, message));
    }
    as_remote(
        Ec2Address::builder()
            .set_allocation_id(made.allocation_id)
            .set_public_ip(made.public_ip)
            .set_tags(Some(to_ec2(&wanted.tags)))
            .build(),
    )
}

/// Uses the address of an earlier attempt or allocates one, and associates it.
async fn make(aws: &Aws, there: &[Remote], wanted: &ElasticIp) -> Result<Remote, Failure> {
    let found = match of_resource(there, &wanted.tags).into_iter().next() {
        Some(found) if aws.owns(&tags_of(&found.attributes)) => found,
        Some(found) => return Err(ElasticIps::foreign(attribute(&found.attributes, "public_ip"))),
        None => allocate(aws, wanted).await?,
    };
    let made = converge(aws, &found, wanted).await?;
    only_one(aws, made, wanted).await
}

/// Reads an address back until AWS shows it. If AWS now shows several for the resource, because it did not show that of a
/// killed apply before, one stays and those that nothing uses are released.
async fn only_one(aws: &Aws, made: Remote, wanted: &ElasticIp) -> Result<Remote, Failure> {
    let look = || async {
        let found = of_resource(&all(aws).await?, &wanted.tags);
        Ok(found.iter().any(|one| one.id == made.id).then_some(found))
    };
    let Some(mut found) = aws.within_lag(look).await? else {
        let help = "run the same command again: the plan finds the address".to_owned();
        return Err(Failure::own(format!("AWS does not show `{}`", made.id), help));
    };
    found.retain(|one| aws.owns(&tags_of(&one.attributes)));
    // A read may be older than the association.
    if attribute(&made.attributes, "instance").is_empty() {
        let kept = found.first().cloned();
        if let Some(kept) = kept.filter(|kept| kept.id != made.id) {
            release_surplus(aws, &found, &kept.id).await?;
            return converge(aws, &kept, wanted).await;
        }
    }
    release_surplus(aws, &found, &made.id).await?;
    Ok(made)
}

async fn release_surplus(aws: &Aws, found: &[Remote], kept: &str) -> Result<(), Failure> {
    for surplus in found.iter().filter(|one| one.id != kept && !is_used(one)) {
        unless_gone(release(aws, &surplus.id).await)?;
    }
    Ok(())
}

async fn release(aws: &Aws, id: &str) -> Result<(), Failure> {
    aws.patiently(&[Class::InUse], || {
        aws.if_known(|| async {
            let call = aws.clients.ec2.release_address().allocation_id(id);
            call.send().await.of_call("ec2:ReleaseAddress").map(drop)
        })
    })
    .await
}

/// Associates an address and sets its tags as wanted.
async fn converge(aws: &Aws, found: &Remote, wanted: &ElasticIp) -> Result<Remote, Failure> {
    change_ec2(aws, std::slice::from_ref(&found.id), &tags_of(&found.attributes), &wanted.tags).await?;
    let is_associated = associate(aws, found, wanted).await?;
    let nothing = || (Value::Null, Value::Null);
    let asked = || (wanted.instance.clone(), wanted.private_ip.clone());
    let (instance, private_ip) = if is_associated { asked() } else { nothing() };
    let made = ElasticIp { instance, private_ip, tags: wanted.tags.clone() };
    let public_ip = attribute(&found.attributes, "public_ip");
    remote(&found.id, &made, [("id", found.id.as_str().into()), ("public_ip", public_ip.into())])
}

/// Associates an address with a host; `false` if the host does not run yet and the command does not wait.
async fn associate(aws: &Aws, found: &Remote, wanted: &ElasticIp) -> Result<bool, Failure> {
    let (host, private_ip) = (text(&wanted.instance)?, text(&wanted.private_ip)?);
    if attribute(&found.attributes, "instance") == host && attribute(&found.attributes, "private_ip") == private_ip {
        return Ok(true);
    }
    disassociate(aws, attribute(&found.attributes, ASSOCIATION)).await?;
    let Some(interface) = instance::interface_with(aws, host, private_ip).await? else { return Ok(false) };
    // AWS may not know a new address or interface everywhere.
    let associated = aws
        .patiently(&[Class::Lag, Class::NotFound], || async {
            let call = aws.clients.ec2.associate_address().allocation_id(&found.id).network_interface_id(&interface);
            // An address of somebody else on this interface stays.
            let call = call.private_ip_address(private_ip).allow_reassociation(false);
            call.send().await.of_call("ec2:AssociateAddress").map_err(|failure| match failure.code.as_str() {
                // AWS does not see the host as running yet.
                "IncorrectInstanceState" | "InvalidInstanceID" => Failure { class: Class::Lag, ..failure },
                _ => failure,
            })
        })
        .await;
    match associated {
        Ok(_) => Ok(true),
        // An earlier call succeeded and its answer was lost, or the interface has another address.
        Err(failure) if failure.code == "Resource.AlreadyAssociated" => {
            let is = |found: &Remote, name: &str, value: &str| attribute(&found.attributes, name) == value;
            let found = by_id(aws, &found.id).await?;
            if found.is_some_and(|found| is(&found, "instance", host) && is(&found, "private_ip", private_ip)) {
                return Ok(true);
            }
            let help =
                format!("remove the other Elastic IP from {private_ip} of `{interface}`, and run the command again");
            Err(Failure { help: Some(help), ..failure })
        }
        Err(failure) => Err(failure),
    }
}

/// Ends an association. It also ends when its host is terminated.
async fn disassociate(aws: &Aws, association: &str) -> Result<(), Failure> {
    if association.is_empty() {
        return Ok(());
    }
    let call = aws.clients.ec2.disassociate_address().association_id(association);
    unless_gone(call.send().await.of_call("ec2:DisassociateAddress"))
}

/// The addresses with the stack's tag.
pub(crate) struct ElasticIps;

impl Driver for ElasticIps {
    type Attributes = ElasticIp;
    const RULES: Rules = ElasticIp::RULES;
    const NOUN: &'static str = "the Elastic IP";
    const LIST_MISSES: bool = true;
    const IMPORTS: bool = true;

    fn can_exist(id: &str, _: &Connection) -> bool {
        is_ec2(id, "eipalloc-")
    }

    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        list(&reading.aws.clients.ec2, of_stack(reading.aws)).await
    }

    async fn by_ids(&self, aws: &Aws, ids: Vec<String>) -> Result<Vec<Remote>, Failure> {
        list(&aws.clients.ec2, filter("allocation-id", ids)).await
    }

    async fn create(&self, aws: &Aws, wanted: ElasticIp, _: &Token) -> Result<Remote, Failure> {
        make(aws, &all(aws).await?, &wanted).await
    }

    async fn update(&self, aws: &Aws, found: &Remote, wanted: ElasticIp, paths: &[String]) -> Result<Remote, Failure> {
        // The association in the plan may have ended with its host.
        let is_moved = touches(paths, "instance") || touches(paths, "private_ip");
        let seen = if is_moved { by_id(aws, &found.id).await? } else { None };
        converge(aws, seen.as_ref().unwrap_or(found), &wanted).await
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        let Some(found) = aws.if_shown(|| by_id(aws, &remote.id)).await? else { return Ok(()) };
        disassociate(aws, attribute(&found.attributes, ASSOCIATION)).await?;
        unless_gone(release(aws, &remote.id).await)
    }
}
