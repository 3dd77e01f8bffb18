//! Quotas that new hosts and the control plane's task can reach, compared with what is in use: for the examination of an
//! account, and for a plan that starts some.
//!
//! What the stack has already counts as in use by itself, so that an applied stack needs nothing more.

use std::{collections::BTreeMap, fmt, sync::Arc};

use aws_sdk_ec2::types::{Instance as Ec2Instance, InstanceLifecycleType};
use aws_sdk_servicequotas::config::{Builder, retry::RetryConfig};
use tokio::sync::OnceCell;
use trunnion_catalog::VcpuQuota;
use trunnion_engine::{Action, Address, Graph, Map, Note, Observed, Plan, Resource, Value};
use trunnion_kinds::{EcsService, EcsTaskDefinition, Instance, LaunchTemplate, Market, STACK_TAG};

use crate::{
    Aws,
    convert::typed,
    error::{Class, Failure, OfCall as _},
    kinds::tagging::{filter, from_ec2},
};

/// A pool of hosts, as far as its launch template says.
pub(crate) struct Pool {
    pub instance_type: String,
    pub is_spot: bool,
    /// How many hosts it has.
    pub count: u32,
    pub interfaces: u32,
    pub image: Option<String>,
    pub subnet: Option<String>,
}

/// The pools of a stack. `known` has the attributes of every lookup that was found; `counts` says which hosts count.
pub(crate) fn pools(desired: &Graph, known: &BTreeMap<Address, Map>, counts: impl Fn(&Address) -> bool) -> Vec<Pool> {
    let resources = || desired.resources().values();
    let templates = resources().filter(|resource| resource.kind().as_str() == LaunchTemplate::KIND);
    let value = |value: &Value| {
        let value = value.resolve(&|reference| known.get(&reference.address)?.get(&reference.attribute).cloned());
        value.as_text().map(str::to_owned)
    };
    let pool = |(name, template): (String, LaunchTemplate)| {
        let data = template.data;
        let is_host =
            |address: &&Address| address.kind.as_str() == Instance::KIND && address.name == name && counts(address);
        Pool {
            count: number(desired.resources().keys().filter(is_host).count()),
            interfaces: number(data.interfaces.len()),
            image: value(&data.image),
            subnet: data.interfaces.first().and_then(|interface| value(&interface.subnet)),
            is_spot: matches!(data.market, Market::Spot),
            instance_type: data.instance_type,
        }
    };
    let typed = |one: &Resource| Some((one.address.name.clone(), typed::<LaunchTemplate>(&one.attributes).ok()?));
    templates.filter_map(typed).map(pool).collect()
}

pub(crate) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// How often a quota is asked for before it counts as not known.
const ATTEMPTS: u32 = 2;

/// A quota of Service Quotas (Amazon EC2, Amazon VPC and AWS Fargate service quotas, read November 2026).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quota {
    pub service: &'static str,
    pub code: &'static str,
    /// What it counts.
    pub name: String,
}

impl Quota {
    fn interfaces() -> Self {
        Self { service: "vpc", code: "L-DF5E4CA3", name: "network interfaces".to_owned() }
    }

    pub fn elastic_ips() -> Self {
        Self { service: "ec2", code: "L-0263D0A3", name: "Elastic IPs".to_owned() }
    }

    fn fargate() -> Self {
        Self { service: "fargate", code: "L-3032A538", name: "vCPUs of Fargate tasks".to_owned() }
    }

    /// The account's quota; AWS's default if the account has none of its own.
    async fn most(&self, aws: &Aws) -> Result<f64, Failure> {
        let quotas = &aws.clients.quotas;
        // Nobody waits long for a note.
        let few = || Builder::new().retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        let own = quotas.get_service_quota().service_code(self.service).quota_code(self.code);
        let own = own.customize().config_override(few());
        let found = match own.send().await.of_call("servicequotas:GetServiceQuota") {
            Ok(answer) => answer.quota,
            Err(failure) if failure.class == Class::NotFound => {
                let default = quotas.get_aws_default_service_quota().service_code(self.service).quota_code(self.code);
                let default = default.customize().config_override(few());
                default.send().await.of_call("servicequotas:GetAWSDefaultServiceQuota")?.quota
            }
            Err(failure) => return Err(failure),
        };
        let value = found.and_then(|quota| quota.value);
        value.ok_or_else(|| Failure::own(format!("Service Quotas has no value for {}", self.code), None))
    }

    /// Compares it with a need. `used` is what others use, or nothing if that cannot be seen.
    pub async fn compare(&self, aws: &Aws, needed: u32, used: Option<u32>) -> Result<Compared, Failure> {
        let region = aws.connection.region.clone();
        Ok(Compared { quota: self.clone(), needed, used, most: self.most(aws).await?, region })
    }
}

/// A quota beside what is needed of it.
pub(crate) struct Compared {
    pub quota: Quota,
    /// What the stack needs, with what it has.
    pub needed: u32,
    /// What others use; nothing if that cannot be seen.
    pub used: Option<u32>,
    /// The quota's value.
    pub most: f64,
    /// Where it holds.
    pub region: String,
}

impl Compared {
    /// The least value that would do.
    fn least(&self) -> u32 {
        self.needed.saturating_add(self.used.unwrap_or(0))
    }

    /// Whether the quota is too low.
    pub fn exceeds(&self) -> bool {
        f64::from(self.least()) > self.most
    }

    /// The request to make.
    pub fn help(&self) -> String {
        let Self { quota: Quota { service, code, .. }, region, .. } = self;
        format!(
            "request more: `aws service-quotas request-service-quota-increase --region {region} --service-code {service} \
             --quota-code {code} --desired-value {}`",
            self.least()
        )
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed, used, most, .. } = self;
        let others = used.map(|used| format!(", {used} are in use by others")).unwrap_or_default();
        write!(f, "the stack needs {needed}{others}, and the quota is {most}")
    }
}

/// The quota of the vCPUs of a pool.
pub(crate) fn of_vcpus(pool: &Pool) -> Option<Quota> {
    let quota = VcpuQuota::of(&pool.instance_type)?;
    let name = format!("vCPUs of {}", quota.counts(pool.is_spot));
    Some(Quota { service: "ec2", code: quota.code(pool.is_spot)?, name })
}

/// Compares what hosts need: vCPUs, and network interfaces together with `other_interfaces`.
pub(crate) async fn of_hosts(
    aws: &Aws,
    pools: &[Pool],
    other_interfaces: u32,
) -> Vec<(Quota, Result<Compared, Failure>)> {
    let (used, interfaces_used) = futures::join!(Box::pin(vcpus_of_others(aws)), Box::pin(interfaces_of_others(aws)));
    let mut vcpus: BTreeMap<Quota, u32> = BTreeMap::new();
    for pool in pools {
        if let Some(quota) = of_vcpus(pool) {
            let needed = vcpus.entry(quota).or_default();
            *needed = needed.saturating_add(vcpus_of(&pool.instance_type).saturating_mul(pool.count));
        }
    }
    let interfaces = pools.iter().map(|pool| pool.interfaces.saturating_mul(pool.count));
    let interfaces = interfaces.fold(other_interfaces, u32::saturating_add);
    let of_quota = |quota: &Quota| used.as_ref().map(|used| used.get(quota.code).copied().unwrap_or(0));
    let asked = vcpus.into_iter().map(|(quota, needed)| (of_quota(&quota), quota, needed));
    let asked = asked.chain([(interfaces_used.as_ref().copied(), Quota::interfaces(), interfaces)]);
    let compared = asked.filter(|(.., needed)| *needed > 0).map(|(used, quota, needed)| async move {
        let compared = match used {
            Ok(used) => quota.compare(aws, needed, Some(used)).await,
            Err(failure) => Err(failure.clone()),
        };
        (quota, compared)
    });
    futures::future::join_all(compared).await
}

/// Compares what the tasks of these resources need of Fargate. What other tasks use is in no list, only in a metric.
pub(crate) async fn of_tasks(
    aws: &Aws,
    resources: impl Iterator<Item = &Resource>,
) -> Option<(Quota, Result<Compared, Failure>)> {
    let definitions = resources.filter(|resource| resource.kind().as_str() == EcsTaskDefinition::KIND);
    let tasks = definitions.filter_map(|resource| typed::<EcsTaskDefinition>(&resource.attributes).ok());
    // In units of a thousandth: 1,024 are one vCPU.
    let needed = tasks.map(|task| task.cpu.div_ceil(1024)).sum();
    let quota = Quota::fargate();
    let compared = quota.compare(aws, needed, None).await;
    Some((quota, compared))
}

fn vcpus_of(instance_type: &str) -> u32 {
    trunnion_catalog::instance_type(instance_type).map_or(0, |found| found.vcpu)
}

/// What the stacks of a region use of its quotas. Connections that share their reads count it once: the answers are about all
/// hosts of the region, and each stack would parse them again.
#[derive(Debug, Default)]
pub(crate) struct InUse {
    vcpus: OnceCell<Vcpus>,
    interfaces: OnceCell<Interfaces>,
}

/// By the stack whose tag the instance has, and the code of the quota.
type Vcpus = BTreeMap<(Option<String>, &'static str), u32>;
/// By the stack whose tag the interface has.
type Interfaces = BTreeMap<Option<String>, u32>;

/// What is in use in the region of a connection: shared with others of the same identity and region, if they share their reads.
fn in_use(aws: &Aws) -> Arc<InUse> {
    let shared = || {
        let who = aws.identity.get()?.clone();
        let asker = (who, aws.endpoint.clone(), aws.connection.region.clone());
        Some(aws.connection.reads.as_ref()?.in_use(asker))
    };
    shared().unwrap_or_default()
}

/// The vCPUs of others' instances that count, by the code of their quota.
async fn vcpus_of_others(aws: &Aws) -> Result<BTreeMap<&'static str, u32>, Failure> {
    let in_use = in_use(aws);
    let mut used = BTreeMap::new();
    for ((stack, code), vcpus) in in_use.vcpus.get_or_try_init(|| Box::pin(vcpus(aws))).await? {
        if stack.as_ref() != Some(&aws.connection.stack) {
            let sum: &mut u32 = used.entry(*code).or_default();
            *sum = sum.saturating_add(*vcpus);
        }
    }
    Ok(used)
}

/// The vCPUs of the instances that count. Those that are stopping or stopped do not (EC2 User Guide, "On-Demand Instance
/// quotas", read November 2026); pending ones count as soon as they run.
async fn vcpus(aws: &Aws) -> Result<Vcpus, Failure> {
    let states = ["pending", "running", "shutting-down"].map(str::to_owned).to_vec();
    let call = aws.clients.ec2.describe_instances().filters(filter("instance-state-name", states));
    let mut pages = call.into_paginator().page_size(1000).send();
    let mut used = Vcpus::new();
    while let Some(page) = pages.next().await {
        let reservations = page.of_call("ec2:DescribeInstances")?.reservations.into_iter().flatten();
        for instance in reservations.flat_map(|reservation| reservation.instances.unwrap_or_default()) {
            let stack = from_ec2(instance.tags.clone()).remove(STACK_TAG);
            if let Some((code, vcpus)) = counted(instance) {
                let sum = used.entry((stack, code)).or_default();
                *sum = sum.saturating_add(vcpus);
            }
        }
    }
    Ok(used)
}

/// The code of the quota that counts an instance, and its vCPUs.
fn counted(instance: Ec2Instance) -> Option<(&'static str, u32)> {
    let name = instance.instance_type?;
    let is_spot = instance.instance_lifecycle == Some(InstanceLifecycleType::Spot);
    let code = VcpuQuota::of(name.as_str())?.code(is_spot)?;
    let cores = instance
        .cpu_options
        .map(|options| options.core_count.unwrap_or(0).saturating_mul(options.threads_per_core.unwrap_or(0)));
    let vcpus = cores.and_then(|cores| u32::try_from(cores).ok()).filter(|cores| *cores > 0);
    Some((code, vcpus.unwrap_or_else(|| vcpus_of(name.as_str()))))
}

/// How many interfaces of the region are not the stack's.
async fn interfaces_of_others(aws: &Aws) -> Result<u32, Failure> {
    let in_use = in_use(aws);
    let all = in_use.interfaces.get_or_try_init(|| Box::pin(interfaces(aws))).await?;
    let others = all.iter().filter(|(stack, _)| stack.as_ref() != Some(&aws.connection.stack));
    Ok(others.fold(0, |sum, (_, count)| sum.saturating_add(*count)))
}

/// Every interface of the region, also those of no instance.
async fn interfaces(aws: &Aws) -> Result<Interfaces, Failure> {
    let mut pages = aws.clients.ec2.describe_network_interfaces().into_paginator().page_size(1000).send();
    let mut all = Interfaces::new();
    while let Some(page) = pages.next().await {
        for interface in page.of_call("ec2:DescribeNetworkInterfaces")?.network_interfaces.into_iter().flatten() {
            let count = all.entry(from_ec2(interface.tag_set).remove(STACK_TAG)).or_default();
            *count = count.saturating_add(1);
        }
    }
    Ok(all)
}

/// The note of a quota that is too low for a plan.
const TOO_LOW: &str = "plan::quota_too_low";

/// The note of quotas that could not be compared.
const UNREAD: &str = "plan::quota_unread";

const PERMISSION: &str = "`trunnion permissions --for plan` prints a policy that allows it; Service Quotas shows the quotas in AWS's console";

/// Compares what the new hosts and the new task of a plan need, with the hosts that stay. It asks nothing if there are none: a
/// replaced host is deleted first. Elastic IPs are a lookup of the stack, and IAM's quotas are left to the examination of an
/// account.
pub(crate) async fn of_plan(aws: &Aws, desired: &Graph, observed: &Observed, plan: &Plan) -> Vec<Note> {
    let creates = |address: &Address| {
        plan.changes.iter().any(|change| change.action == Action::Create && change.address == *address)
    };
    let is_new =
        |kind: &str| desired.resources().keys().any(|address| address.kind.as_str() == kind && creates(address));
    let (has_hosts, has_task) = (is_new(Instance::KIND), is_new(EcsService::KIND));
    let stands = |address: &Address| observed.remotes.get(address).is_some_and(|remotes| !remotes.is_empty());
    let hosts = async {
        if !has_hosts {
            return Vec::new();
        }
        let pools = pools(desired, &observed.lookups, |host| stands(host) || creates(host));
        of_hosts(aws, &pools, u32::from(has_task)).await
    };
    let task = async { if has_task { of_tasks(aws, desired.resources().values()).await } else { None } };
    let (hosts, task) = futures::join!(Box::pin(hosts), Box::pin(task));
    notes(hosts.into_iter().chain(task))
}

fn notes(compared: impl Iterator<Item = (Quota, Result<Compared, Failure>)>) -> Vec<Note> {
    let (mut notes, mut unread, mut why) = (Vec::new(), Vec::new(), None);
    for (quota, compared) in compared {
        match compared {
            Ok(compared) if compared.exceeds() => notes.push(Note {
                code: TOO_LOW.to_owned(),
                message: format!("the quota of {} stops the apply: {compared}", quota.name),
                help: Some(compared.help()),
            }),
            Ok(_) => {}
            Err(failure) => {
                unread.push(quota.name);
                why.get_or_insert(failure);
            }
        }
    }
    if let Some(failure) = why {
        let (reason, help) = if failure.class == Class::Denied {
            let action = crate::calls::action_of(failure.operation);
            (format!("the identity may not call `{action}`"), Some(PERMISSION.to_owned()))
        } else {
            let error = failure.about("");
            (error.message, error.help)
        };
        let message = format!("whether a quota stops the apply is not known of {}: {reason}", unread.join(", "));
        notes.push(Note { code: UNREAD.to_owned(), message, help });
    }
    notes
}
