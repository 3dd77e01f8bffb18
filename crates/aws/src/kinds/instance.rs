//! `instance`. `instance_launch.rs` launches hosts; the shared poll waits until they run.

use std::{collections::BTreeMap, net::Ipv4Addr};

use aws_sdk_ec2::{
    Client,
    types::{Filter, Instance as Ec2Instance, InstanceNetworkInterface, InstanceStateName},
};
use futures::{FutureExt as _, future::try_join_all};
use trunnion_engine::{Remote, Rules, Token, Value, lies_under};
use trunnion_kinds::{
    ADDRESS_TAG, Instance, InstanceInterface, LAUNCH_TAG, STACK_TAG, STATE_RUNNING, TEMPLATE_TAG, Tags,
};

use super::{
    instance_chunk::{HOSTS_PER_CALL, Launched, address_of, hundred_of, together},
    instance_launch::{launch, must_be_alone, until_whole},
    launch_template_data::unsigned,
    tagging::{change_ec2, filter, of_stack},
};
use crate::{
    Aws, Connection, context,
    convert::{remote, tag_changes, tags_of, touches, values},
    driver::{Doing, Driver, one_call},
    error::{Class, Failure, OfCall as _},
    hosts::{IDS_PER_CALL, by_ids},
    reading::Reading,
    recorded::is_ec2,
};

/// How many hosts a page of a bulk read has. With 240 addresses per host, a page has some tens of megabytes.
const PAGE: i32 = 250;

const STATE_STOPPED: &str = "stopped";

/// How often a create continues after its host turned out to be at another address.
const MOVES: u32 = 3;

/// The few fields of a host that matter here.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub id: String,
    /// When it was launched, in seconds since 1970.
    pub launched: i64,
    pub zone: Option<String>,
    /// The digest of the launch template's content that it was launched from.
    pub template: Option<String>,
    /// The numbers that the call was to launch which launched it.
    pub launch: Option<String>,
    pub tags: Tags,
    state: InstanceStateName,
    reason: Option<String>,
    launched_from: (Value, Value),
    interfaces: Vec<InstanceInterface>,
    /// The private IPv4 addresses of each interface, in the same order: first the primary one, then the others by number.
    addresses: Vec<Vec<String>>,
    volumes: Vec<String>,
}

impl From<Ec2Instance> for Host {
    fn from(instance: Ec2Instance) -> Self {
        let mut all: BTreeMap<String, String> = instance
            .tags
            .into_iter()
            .flatten()
            .filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())))
            .collect();
        let template = all.remove(TEMPLATE_TAG);
        // Only a host that changed its address since its launch, or was launched singly, has the tag with its address.
        let launch = all.remove(LAUNCH_TAG);
        let index = instance.ami_launch_index.and_then(|index| u32::try_from(index).ok());
        if let (Some(launch), Some(index), false) = (&launch, index, all.contains_key(ADDRESS_TAG))
            && let Some(address) = address_of(launch, index)
        {
            all.insert(ADDRESS_TAG.to_owned(), address);
        }
        // EC2 itself records the template of an instance in tags.
        let mut noted = |key: &str| all.remove(key).map_or(Value::Null, Value::from);
        let launched_from = (noted("aws:ec2launchtemplate:id"), noted("aws:ec2launchtemplate:version"));
        all.retain(|key, _| !key.starts_with("aws:"));
        let mut interfaces: Vec<_> = instance.network_interfaces.into_iter().flatten().map(interface).collect();
        interfaces.sort_by_key(|(interface, _)| (interface.card, interface.device));
        let (interfaces, addresses) = interfaces.into_iter().unzip();
        let mut volumes: Vec<String> =
            instance.block_device_mappings.into_iter().flatten().filter_map(|mapping| mapping.ebs?.volume_id).collect();
        volumes.sort();
        Self {
            id: instance.instance_id.unwrap_or_default(),
            launched: instance.launch_time.map_or(0, |time| time.secs()),
            zone: instance.placement.and_then(|placement| placement.availability_zone),
            state: instance.state.and_then(|state| state.name).unwrap_or(InstanceStateName::Pending),
            reason: instance.state_reason.and_then(|reason| reason.message),
            template,
            launch,
            launched_from,
            interfaces,
            addresses,
            volumes,
            tags: all,
        }
    }
}

/// An interface and its private IPv4 addresses. AWS promises no order of the secondary ones.
fn interface(interface: InstanceNetworkInterface) -> (InstanceInterface, Vec<String>) {
    let attachment = interface.attachment.as_ref();
    let all = interface.private_ip_addresses.as_deref().unwrap_or_default().iter();
    let mut addresses: Vec<String> = all.filter_map(|address| address.private_ip_address.clone()).collect();
    let primary = interface.private_ip_address.as_deref();
    addresses.sort_by_key(|address| (primary != Some(address.as_str()), address.parse::<Ipv4Addr>().ok()));
    let interface = InstanceInterface {
        card: unsigned(attachment.and_then(|attachment| attachment.network_card_index)),
        device: unsigned(attachment.and_then(|attachment| attachment.device_index)),
        private_ip: interface.private_ip_address.unwrap_or_default(),
        addresses: u32::try_from(interface.private_ip_addresses.map_or(0, |addresses| addresses.len()))
            .unwrap_or(u32::MAX),
        id: interface.network_interface_id.unwrap_or_default(),
    };
    (interface, addresses)
}

impl Host {
    /// Whether the host exists and is not being terminated.
    pub fn is_live(&self) -> bool {
        !matches!(self.state, InstanceStateName::ShuttingDown | InstanceStateName::Terminated)
    }

    /// All private IPv4 addresses: first the primary ones of the interfaces, then the second ones, and so on.
    fn private_ips(&self) -> Vec<String> {
        let most = self.addresses.iter().map(Vec::len).max().unwrap_or_default();
        (0..most).flat_map(|at| self.addresses.iter().filter_map(move |of| of.get(at).cloned())).collect()
    }

    /// The host as the engine's type.
    pub fn remote(&self) -> Result<Remote, Failure> {
        let state = match self.state {
            InstanceStateName::Stopping | InstanceStateName::Stopped => STATE_STOPPED,
            _ => STATE_RUNNING,
        };
        let (launch_template, version) = self.launched_from.clone();
        let instance = Instance {
            launch_template,
            version,
            zone: self.zone.clone().map_or(Value::Null, Value::from),
            template: self.template.clone().map_or(Value::Null, Value::from),
            interfaces: u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX),
            addresses: self.interfaces.iter().map(|interface| interface.addresses).min().unwrap_or(0),
            state: state.to_owned(),
            tags: self.tags.clone(),
        };
        let interfaces = Value::from_serialize(&self.interfaces).unwrap_or(Value::Null);
        let primary = self.interfaces.first().map_or(Value::Null, |interface| interface.private_ip.as_str().into());
        let computed = [
            ("id", self.id.as_str().into()),
            ("private_ip", primary),
            ("private_ips", Value::List(values(self.private_ips()))),
            ("network_interfaces", interfaces),
            ("volumes", Value::List(values(self.volumes.clone()))),
        ];
        remote(&self.id, &instance, computed)
    }

    /// Refuses a host with fewer interfaces or addresses than asked for.
    pub fn check(&self, promised: &Instance) -> Result<(), Failure> {
        let short = self.interfaces.iter().find(|interface| interface.addresses < promised.addresses);
        let message = if self.interfaces.len() < promised.interfaces as usize {
            format!("`{}` has {} network interfaces instead of {}", self.id, self.interfaces.len(), promised.interfaces)
        } else if let Some(short) = short {
            format!(
                "interface `{}` of `{}` has {} private addresses instead of {}",
                short.id, self.id, short.addresses, promised.addresses
            )
        } else {
            return Ok(());
        };
        Err(Failure::own(message, "run a plan: it shows what to replace".to_owned()))
    }
}

pub(super) async fn list(ec2: &Client, filters: Vec<Filter>) -> Result<Vec<Host>, Failure> {
    let call = ec2.describe_instances().set_filters(Some(filters));
    let mut pages = call.into_paginator().page_size(PAGE).send();
    let mut hosts = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.of_call("ec2:DescribeInstances")?;
        let instances = page.reservations.into_iter().flatten().filter_map(|found| found.instances).flatten();
        hosts.extend(instances.map(Host::from));
    }
    Ok(hosts)
}

/// Waits until a host runs.
pub(super) async fn until_running(aws: &Aws, mut host: Host) -> Result<Host, Failure> {
    let wait = aws.long_wait();
    while host.state != InstanceStateName::Running {
        match next(aws, &host.id).await {
            Ok(Some(seen)) => host = seen,
            // AWS may not show a host that was launched just now.
            Ok(None) => {}
            Err(Some(failure)) => return Err(failure),
            Err(None) => return Err(Failure::interrupted(format!("`{}` does not run yet", host.id))),
        }
        if !host.is_live() {
            let reason = host.reason.unwrap_or_else(|| "EC2 gives no reason".to_owned());
            return Err(Failure::own(format!("`{}` was terminated while it started: {reason}", host.id), None));
        }
        if host.state != InstanceStateName::Running && wait.is_over() {
            return Err(Failure::own(
                format!("`{}` is still `{}`", host.id, host.state.as_str()),
                "check the host in the EC2 console; it is kept, and the next plan finds it".to_owned(),
            ));
        }
    }
    Ok(host)
}

/// The host at the next poll; `Err(None)` if interrupted.
pub(super) async fn next(aws: &Aws, id: &str) -> Result<Option<Host>, Option<Failure>> {
    tokio::select! {
        () = context::interrupted() => Err(None),
        answer = aws.hosts.next(id) => answer.map_err(Some),
    }
}

/// The interface of a host that has a private address; `None` if the host does not run yet and the command does not wait.
pub(super) async fn interface_with(aws: &Aws, id: &str, address: &str) -> Result<Option<String>, Failure> {
    let wait = aws.short_wait();
    let mut host = loop {
        match next(aws, id).await {
            Ok(Some(host)) => break host,
            // AWS may not show a host that was launched just now.
            Ok(None) if !wait.is_over() => {}
            Ok(None) => return Err(Failure::own(format!("`{id}` does not exist"), None)),
            Err(failure) => {
                return Err(failure.unwrap_or_else(|| Failure::interrupted(format!("`{id}` does not run yet"))));
            }
        }
    };
    if host.state == InstanceStateName::Pending {
        if !aws.connection.wait {
            return Ok(None);
        }
        host = until_running(aws, host).await?;
    }
    let has_it = |(_, of): &(InstanceInterface, Vec<String>)| of.iter().any(|one| one == address);
    match host.interfaces.into_iter().zip(host.addresses).find(has_it) {
        Some((interface, _)) => Ok(Some(interface.id)),
        None => Err(Failure::own(format!("`{id}` has no address {address}"), "run the command again".to_owned())),
    }
}

/// Waits until a host reaches a state or no longer exists.
async fn until(aws: &Aws, id: &str, reached: impl Fn(&InstanceStateName) -> bool) -> Result<(), Failure> {
    let wait = aws.long_wait();
    loop {
        match next(aws, id).await {
            Ok(None) => return Ok(()),
            Ok(Some(host)) if reached(&host.state) => return Ok(()),
            Ok(Some(_)) => {}
            Err(failure) => {
                return Err(
                    failure.unwrap_or_else(|| Failure::interrupted(format!("`{id}` is still changing its state")))
                );
            }
        }
        if wait.is_over() {
            let help = "check the host in the EC2 console, and run the command again".to_owned();
            return Err(Failure::own(format!("`{id}` did not change its state in time"), help));
        }
    }
}

/// The ids that have a host's tags: the host, its volumes and its interfaces.
pub(super) fn tagged_ids(remote: &Remote) -> Vec<String> {
    let part = |value: &Value| value.as_text().map(str::to_owned);
    let list = |name: &str| remote.attributes.get(name).and_then(Value::as_list).unwrap_or_default();
    let interfaces = list("network_interfaces").iter().filter_map(Value::as_map);
    let interfaces = interfaces.filter_map(|interface| interface.get("id").and_then(part));
    [remote.id.clone()].into_iter().chain(list("volumes").iter().filter_map(part)).chain(interfaces).collect()
}

/// The tags before and after a change. A host that stops being the stack's also loses the tags of its launch, which are no
/// attributes; one that lost its tags gets that of its template back.
fn tags_around(remote: &Remote, instance: &Instance) -> (Tags, Tags) {
    let (mut before, mut after) = (tags_of(&remote.attributes), instance.tags.clone());
    if !after.contains_key(STACK_TAG) {
        before.extend([TEMPLATE_TAG, LAUNCH_TAG].map(|key| (key.to_owned(), String::new())));
    } else if !before.contains_key(STACK_TAG)
        && let Some(template) = remote.attributes.get("template").and_then(Value::as_text)
    {
        after.insert(TEMPLATE_TAG.to_owned(), template.to_owned());
    }
    (before, after)
}

/// Creates a host, or takes the one that a call for several launched.
async fn create(aws: &Aws, instance: &Instance, token: &Token, launched: Option<Host>) -> Result<Remote, Failure> {
    let (mut launched, mut next) = (launched, token.clone());
    for _ in 0..MOVES {
        let host = match launched.take() {
            Some(host) => host,
            None => launch(aws, instance, &next).await?,
        };
        let id = host.id.clone();
        if let Some(host) = until_whole(aws, host, instance).await? {
            must_be_alone(aws, &host, instance, token.follows()).await?;
            return host.remote();
        }
        next = next.following(id);
    }
    let help = "check whether something else changes the tags of new instances".to_owned();
    Err(Failure::own(format!("{MOVES} hosts were launched or found, and each has another address now"), help))
}

/// Whether the changes ask to start a stopped host.
fn starts(instance: &Instance, paths: &[String]) -> bool {
    touches(paths, "state") && instance.state == STATE_RUNNING
}

/// Starts stopped hosts.
async fn start(aws: &Aws, ids: Vec<String>) -> Result<(), Failure> {
    // A host that is stopping can be started only after it has stopped.
    let stopped = |id| until(aws, id, |state| *state != InstanceStateName::Stopping).boxed();
    try_join_all(ids.iter().map(|id| stopped(id))).await?;
    let call = aws.clients.ec2.start_instances().set_instance_ids(Some(ids));
    call.send().await.of_call("ec2:StartInstances").map(drop)
}

/// Waits until a host that was started runs.
async fn until_started(aws: &Aws, id: &str) -> Result<(), Failure> {
    if aws.connection.wait { until(aws, id, |state| *state == InstanceStateName::Running).await } else { Ok(()) }
}

/// The host after an update.
fn changed(remote: &Remote, instance: &Instance) -> Result<Remote, Failure> {
    let mut changed = remote.clone();
    let asked = trunnion_engine::to_map(instance).map_err(|error| Failure::own(error.to_string(), None))?;
    changed.attributes.extend(asked.into_iter().filter(|(name, _)| matches!(name.as_str(), "tags" | "state")));
    Ok(changed)
}

/// Reads hosts again that are starting and are shown without all of their interfaces, which AWS may know later than the host.
async fn until_not_partial(reading: &Reading<'_>, hosts: &mut [Host]) -> Result<(), Failure> {
    let aws = reading.aws;
    let wanted: BTreeMap<String, i64> = reading
        .wanted(Instance::KIND)
        .filter_map(|one| Some((one.address.to_string(), one.attributes.get("interfaces")?.as_number()?)))
        .collect();
    let is_partial = |host: &Host| {
        let wanted = host.tags.get(ADDRESS_TAG).and_then(|address| wanted.get(address)).copied().unwrap_or_default();
        host.state == InstanceStateName::Pending && i64::try_from(host.interfaces.len()).is_ok_and(|has| has < wanted)
    };
    let wait = aws.lag_wait();
    loop {
        let partial: Vec<String> = hosts.iter().filter(|host| is_partial(host)).map(|host| host.id.clone()).collect();
        if partial.is_empty() || wait.look().await.is_err() {
            return Ok(());
        }
        for ids in partial.chunks(IDS_PER_CALL) {
            let mut seen = by_ids(&aws.clients.ec2, ids).await?;
            for host in hosts.iter_mut() {
                if let Some(seen) = seen.remove(&host.id) {
                    *host = seen;
                }
            }
        }
    }
}

async fn terminate(aws: &Aws, ids: Vec<String>) -> Result<(), Failure> {
    let call = aws.clients.ec2.terminate_instances().set_instance_ids(Some(ids));
    call.send().await.of_call("ec2:TerminateInstances").map(drop)
}

/// Waits until a host is terminated, if EC2 accepted the call.
async fn until_terminated(aws: &Aws, id: &str, accepted: Result<(), Failure>) -> Result<(), Failure> {
    match accepted {
        Ok(()) => until(aws, id, |state| *state == InstanceStateName::Terminated).await,
        Err(failure) if failure.class == Class::NotFound => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// The hosts with the stack's tag that are not being terminated.
pub(crate) struct Instances;

impl Driver for Instances {
    type Attributes = Instance;
    const RULES: Rules = Instance::RULES;
    const NOUN: &'static str = "the instance";
    const LIST_MISSES: bool = true;
    const ONLY_IN_TAGS: &'static [&'static str] = &["template"];
    const IMPORTS: bool = true;

    fn can_exist(id: &str, _: &Connection) -> bool {
        is_ec2(id, "i-")
    }

    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        let aws = reading.aws;
        let states = ["pending", "running", "stopping", "stopped"].map(str::to_owned);
        let states = filter("instance-state-name", states.into());
        let mut hosts = list(&aws.clients.ec2, vec![of_stack(aws), states]).await?;
        until_not_partial(reading, &mut hosts).await?;
        reading.aws.plans_with(hosts.iter().map(|host| host.id.as_str()));
        hosts.iter().map(Host::remote).collect()
    }

    /// The hosts with these ids that are not being terminated.
    async fn by_ids(&self, aws: &Aws, ids: Vec<String>) -> Result<Vec<Remote>, Failure> {
        let found = try_join_all(ids.chunks(IDS_PER_CALL).map(|ids| by_ids(&aws.clients.ec2, ids).boxed())).await?;
        found.into_iter().flat_map(BTreeMap::into_values).filter(Host::is_live).map(|host| host.remote()).collect()
    }

    async fn create(&self, aws: &Aws, instance: Instance, token: &Token) -> Result<Remote, Failure> {
        create(aws, &instance, token, None).await
    }

    fn create_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Instance, Token)>) -> Vec<Doing<'a, Remote>> {
        let calls = together(aws, &items);
        let create = |(instance, token): (Instance, Token)| {
            let call = hundred_of(&instance, &token).and_then(|(hundred, _)| calls.get(&hundred).cloned());
            async move {
                let hosts = match call {
                    Some(call) => call.await?,
                    None => Launched::default(),
                };
                let address = instance.tags.get(ADDRESS_TAG);
                let launched = address.and_then(|address| hosts.get(address)).cloned();
                create(aws, &instance, &token, launched).await
            }
            .boxed()
        };
        items.into_iter().map(create).collect()
    }

    async fn update(
        &self,
        aws: &Aws,
        remote: &Remote,
        instance: Instance,
        paths: &[String],
    ) -> Result<Remote, Failure> {
        if touches(paths, "tags") {
            let (from, to) = tags_around(remote, &instance);
            change_ec2(aws, &tagged_ids(remote), &from, &to).await?;
        }
        if starts(&instance, paths) {
            start(aws, vec![remote.id.clone()]).await?;
            until_started(aws, &remote.id).await?;
        }
        changed(remote, &instance)
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        // EC2 knows a host for an hour after its end, so one that it does not know is most likely new.
        let accepted = aws.for_lag(&[Class::NotFound], || terminate(aws, vec![remote.id.clone()])).await;
        until_terminated(aws, &remote.id, accepted).await
    }

    /// Tags hosts with the same change of tags in one call, and starts hosts in one call. If EC2 refuses it, each host gets a
    /// call of its own.
    fn update_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Remote, Instance, Vec<String>)>) -> Vec<Doing<'a, Remote>> {
        let change_of = |(remote, instance, paths): &(Remote, Instance, Vec<String>)| {
            touches(paths, "tags").then(|| {
                let (from, to) = tags_around(remote, instance);
                tag_changes(&from, &to)
            })
        };
        let mut alike: BTreeMap<_, Vec<&(Remote, Instance, Vec<String>)>> = BTreeMap::new();
        for item in &items {
            alike.entry(change_of(item)).or_default().push(item);
        }
        let mut calls = BTreeMap::new();
        for (change, items) in alike.into_iter().filter(|(change, items)| change.is_some() && items.len() > 1) {
            let Some((remote, instance, _)) = items.first() else { continue };
            let (from, to) = tags_around(remote, instance);
            let ids: Vec<String> = items.iter().flat_map(|(remote, ..)| tagged_ids(remote)).collect();
            calls.insert(change, one_call(async move { change_ec2(aws, &ids, &from, &to).await }));
        }
        let stopped: Vec<String> = items
            .iter()
            .filter(|(_, instance, paths)| starts(instance, paths))
            .map(|(remote, ..)| remote.id.clone())
            .collect();
        let mut starting = BTreeMap::new();
        for ids in stopped.chunks(HOSTS_PER_CALL).filter(|ids| ids.len() > 1) {
            let call = one_call(start(aws, ids.to_vec()));
            starting.extend(ids.iter().map(|id| (id.clone(), call.clone())));
        }
        let update = |item: (Remote, Instance, Vec<String>)| {
            let (tagged, started) = (calls.get(&change_of(&item)).cloned(), starting.remove(&item.0.id));
            async move {
                let (remote, instance, mut paths) = item;
                if let Some(call) = tagged
                    && call.await.is_ok()
                {
                    paths.retain(|path| !lies_under(path, "tags"));
                }
                if let Some(call) = started
                    && call.await.is_ok()
                {
                    until_started(aws, &remote.id).await?;
                    paths.retain(|path| !lies_under(path, "state"));
                }
                self.update(aws, &remote, instance, &paths).await
            }
            .boxed()
        };
        items.into_iter().map(update).collect()
    }

    /// Terminates all hosts with one call. If EC2 refuses it, for example because of a protected host, each host gets a
    /// call of its own.
    fn delete_all<'a>(&'a self, aws: &'a Aws, items: Vec<Remote>) -> Vec<Doing<'a, ()>> {
        let are_several = items.len() > 1;
        let ids: Vec<String> = items.iter().map(|remote| remote.id.clone()).collect();
        let calls: Vec<_> = ids.chunks(HOSTS_PER_CALL).map(|ids| one_call(terminate(aws, ids.to_vec()))).collect();
        let delete = |(index, remote): (usize, Remote)| {
            let call = calls.get(index / HOSTS_PER_CALL).cloned();
            async move {
                let all = async { if let Some(call) = call { call.await } else { Ok(()) } };
                match all.await {
                    Err(failure) if failure.is(&[Class::NotFound]) => self.delete(aws, &remote).await,
                    Err(failure) if are_several && failure.is(&[Class::Denied, Class::Other]) => {
                        self.delete(aws, &remote).await
                    }
                    accepted => until_terminated(aws, &remote.id, accepted).await,
                }
            }
            .boxed()
        };
        items.into_iter().enumerate().map(delete).collect()
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{InstanceNetworkInterfaceAttachment, InstancePrivateIpAddress, Tag};

    use super::*;

    fn host(addresses: &[usize]) -> Host {
        let mut instance = Ec2Instance::builder().instance_id("i-1");
        for (device, &count) in addresses.iter().enumerate() {
            let attachment = InstanceNetworkInterfaceAttachment::builder().device_index(i32::try_from(device).unwrap());
            let list = vec![InstancePrivateIpAddress::builder().build(); count];
            let interface = InstanceNetworkInterface::builder()
                .attachment(attachment.build())
                .private_ip_address(format!("10.0.0.{device}"))
                .set_private_ip_addresses(Some(list));
            instance = instance.network_interfaces(interface.build());
        }
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let tags = [
            tag("team", "performance"),
            tag(TEMPLATE_TAG, "abc"),
            tag("aws:ec2launchtemplate:id", "lt-1"),
            tag("aws:ec2launchtemplate:version", "3"),
        ];
        instance.set_tags(Some(tags.into())).build().into()
    }

    #[test]
    fn tags_of_the_launch_become_attributes() {
        let remote = host(&[30, 30]).remote().unwrap();
        let text = |name: &str| remote.attributes[name].as_text().unwrap();
        assert_eq!((text("template"), text("launch_template"), text("version")), ("abc", "lt-1", "3"));
        assert_eq!(tags_of(&remote.attributes).into_keys().collect::<Vec<_>>(), ["team"]);
        assert_eq!(text("private_ip"), "10.0.0.0");
    }

    #[test]
    fn a_host_with_too_few_addresses_is_refused() {
        let mut promised: Instance = crate::convert::typed(&host(&[30, 30]).remote().unwrap().attributes).unwrap();
        assert!(host(&[30, 30]).check(&promised).is_ok());
        assert!(host(&[30]).check(&promised).unwrap_err().message.contains("1 network interfaces instead of 2"));
        assert!(host(&[30, 29]).check(&promised).unwrap_err().message.contains("29 private addresses instead of 30"));
        promised.addresses = 20;
        assert!(host(&[30, 30]).check(&promised).is_ok());
    }
}
