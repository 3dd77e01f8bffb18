//! `elastic_ip`. Allocation carries tags and has no client token, so a create first looks for an address that an
//! earlier attempt allocated. AWS accepts an association only once the host runs.

use aws_sdk_ec2::{
    config::retry::RetryConfig,
    types::{Address as Ec2Address, DomainType, Filter, ResourceType},
};
use futures::FutureExt as _;
use trunnion_engine::{Remote, Rules, Token, Value};
use trunnion_kinds::{ADDRESS_TAG, ElasticIp, Tags};

use super::{
    instance,
    tagging::{change_ec2, filter, from_ec2, of_stack, specification, to_ec2},
};
use crate::{
    Aws, Connection,
    convert::{attribute, remote, tags_of, text, touches},
    driver::{Doing, Driver, one_call},
    error::{Class, Failure, OfCall as _, unless_gone},
    reading::Reading,
    recorded::is_ec2,
};

/// An attribute outside the kind's struct: the association's id, which the call that ends it needs.
const ASSOCIATION: &str = "association";

async fn list(aws: &Aws, filter: Filter) -> Result<Vec<Remote>, Failure> {
    // AWS returns all addresses in one answer, without pages.
    let call = aws.clients.ec2.describe_addresses().filters(filter);
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
    Ok(list(aws, filter("allocation-id", vec![id.to_owned()])).await?.pop())
}

/// The address that an earlier attempt allocated for the same resource.
fn of_resource(found: &[Remote], wanted: &Tags) -> Option<Remote> {
    let is_it = |found: &&Remote| tags_of(&found.attributes).get(ADDRESS_TAG) == wanted.get(ADDRESS_TAG);
    found.iter().find(is_it).cloned()
}

/// Allocates an address. Each call would allocate another one, so it is made once. If no answer comes, a read shows
/// whether it was executed.
async fn allocate(aws: &Aws, wanted: &ElasticIp) -> Result<Remote, Failure> {
    // A throttled call was not executed.
    let allocated = aws
        .patiently(&[Class::Throttled], || async {
            let call = aws.clients.ec2.allocate_address().domain(DomainType::Vpc);
            let call = call.tag_specifications(specification(ResourceType::ElasticIp, &wanted.tags));
            let once = aws_sdk_ec2::config::Builder::default().retry_config(RetryConfig::disabled());
            call.customize().config_override(once).send().await.of_call("ec2:AllocateAddress")
        })
        .await;
    match allocated {
        Ok(made) => as_remote(
            Ec2Address::builder()
                .set_allocation_id(made.allocation_id)
                .set_public_ip(made.public_ip)
                .set_tags(Some(to_ec2(&wanted.tags)))
                .build(),
        ),
        Err(failure) if failure.class == Class::Unreachable => {
            let look = || async { Ok(of_resource(&list(aws, of_stack(aws)).await?, &wanted.tags)) };
            aws.until_seen(look).await?.ok_or(failure)
        }
        Err(failure) => Err(failure),
    }
}

/// Uses the address of an earlier attempt or allocates one, and associates it.
async fn make(aws: &Aws, there: &[Remote], wanted: &ElasticIp) -> Result<Remote, Failure> {
    let found = match of_resource(there, &wanted.tags) {
        Some(found) if aws.owns(&tags_of(&found.attributes)) => found,
        Some(found) => return Err(ElasticIps::foreign(attribute(&found.attributes, "public_ip"))),
        None => allocate(aws, wanted).await?,
    };
    converge(aws, &found, wanted).await
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
    let Some(interface) = instance::primary_interface(aws, host).await? else { return Ok(false) };
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
            let found = by_id(aws, &found.id).await?;
            if found.is_some_and(|found| attribute(&found.attributes, "instance") == host) {
                return Ok(true);
            }
            let help = format!("remove the other Elastic IP from `{interface}`, and run the command again");
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

    fn can_exist(id: &str, _: &Connection) -> bool {
        is_ec2(id, "eipalloc-")
    }

    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        list(reading.aws, of_stack(reading.aws)).await
    }

    async fn by_ids(&self, aws: &Aws, ids: Vec<String>) -> Result<Vec<Remote>, Failure> {
        list(aws, filter("allocation-id", ids)).await
    }

    async fn create(&self, aws: &Aws, wanted: ElasticIp, _: &Token) -> Result<Remote, Failure> {
        make(aws, &list(aws, of_stack(aws)).await?, &wanted).await
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
        let released = aws
            .patiently(&[Class::InUse], || {
                aws.if_known(|| async {
                    let call = aws.clients.ec2.release_address().allocation_id(&remote.id);
                    call.send().await.of_call("ec2:ReleaseAddress")
                })
            })
            .await;
        unless_gone(released)
    }

    /// One list of earlier attempts' addresses is shared by all items.
    fn create_all<'a>(&'a self, aws: &'a Aws, items: Vec<(ElasticIp, Token)>) -> Vec<Doing<'a, Remote>> {
        let there = one_call(list(aws, of_stack(aws)));
        let create = |(wanted, _)| {
            let there = there.clone();
            async move { make(aws, &there.await?, &wanted).await }.boxed()
        };
        items.into_iter().map(create).collect()
    }
}
