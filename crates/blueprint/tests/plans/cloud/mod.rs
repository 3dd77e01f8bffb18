//! A cloud in memory that refuses what AWS refuses: duplicate names, deletes of things in use, references to what does
//! not exist.
//!
//! It follows the behaviour of AWS and makes the same calls as the real provider for each create, update and delete.
//! Every call counts, waits for its turn, and can be the last one. It shares no code with the engine except the trait.

mod access;
mod control_plane;
mod network;

use std::collections::{BTreeMap, BTreeSet};

pub use control_plane::{ECS, confs};
use trunnion_engine::{
    Address, Context, Graph, KindName, Map, Observed, Operation, Provider, ProviderError, Remote, Resolved, State,
    Token, Value,
};
use trunnion_kinds::{
    ADDRESS_TAG, EcsCluster, EcsService, EcsTaskDefinition, IamInstanceProfile, IamRole, Instance, LaunchTemplate,
    LogGroup, S3Bucket, S3Object, STACK_TAG, SecurityGroup, iam_path, lookup,
};

use crate::{
    shared::Shared,
    turns::{Pace, Turns, When},
};

/// One thing in the cloud.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thing {
    /// The attributes of its kind.
    pub attributes: Map,
    /// A deregistered revision.
    pub is_inactive: bool,
    /// The client token that a host was launched with.
    pub token: String,
    /// The data of each version of a launch template.
    pub versions: Vec<Value>,
    /// The security groups of a host's interfaces.
    pub groups: BTreeSet<String>,
    /// The ARN of a host's instance profile.
    pub profile: String,
    /// Whether the test created it.
    pub is_by_hand: bool,
}

impl Thing {
    /// The text at a path in its attributes; empty if there is none.
    pub fn text(&self, path: &str) -> &str {
        text(&self.attributes, path)
    }

    /// The value of a tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.attributes.get("tags")?.as_map()?.get(key)?.as_text()
    }

    /// The value of its stack tag.
    pub fn stack(&self) -> Option<&str> {
        self.tag(STACK_TAG)
    }

    /// The address in its address tag.
    pub fn address(&self) -> Option<Address> {
        self.tag(ADDRESS_TAG)?.parse().ok()
    }
}

/// The text at a path such as `data.user_data`; empty if there is none.
pub fn text<'a>(attributes: &'a Map, path: &str) -> &'a str {
    let mut found = attributes;
    let mut path = path;
    while let Some((name, rest)) = path.split_once('.') {
        let Some(inner) = found.get(name).and_then(Value::as_map) else { return "" };
        (found, path) = (inner, rest);
    }
    found.get(path).and_then(Value::as_text).unwrap_or_default()
}

/// The texts of a list attribute.
pub fn texts(attributes: &Map, name: &str) -> Vec<String> {
    let list = attributes.get(name).and_then(Value::as_list).unwrap_or_default();
    list.iter().filter_map(|value| value.as_text().map(str::to_owned)).collect()
}

/// Whether two values are equal. The order of lists does not matter.
fn is_same(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(Value::List(one)), Some(Value::List(other))) => {
            one.iter().collect::<BTreeSet<_>>() == other.iter().collect::<BTreeSet<_>>()
        }
        _ => one.unwrap_or(&Value::Null) == other.unwrap_or(&Value::Null),
    }
}

/// All resources of one AWS account in one region.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// By kind and ID.
    pub things: BTreeMap<(String, String), Thing>,
    /// The number of the newest image.
    pub newest_image: u32,
    /// The VPC of each subnet.
    pub subnets: BTreeMap<String, String>,
    /// The client tokens of terminated hosts, with the hosts' ids.
    spent_tokens: BTreeMap<String, String>,
    /// The newest revision of each family.
    pub revisions: BTreeMap<String, u64>,
    last: u64,
}

impl Account {
    /// An empty account. Its generated numbers start after this one.
    pub fn starting_at(last: u64) -> Self {
        Self { last, newest_image: 1, ..Self::default() }
    }

    pub fn get(&self, kind: &str, id: &str) -> Option<&Thing> {
        self.things.get(&(kind.to_owned(), id.to_owned()))
    }

    fn get_mut(&mut self, kind: &str, id: &str) -> Result<&mut Thing, String> {
        self.things.get_mut(&(kind.to_owned(), id.to_owned())).ok_or_else(|| format!("{id} does not exist"))
    }

    pub fn put(&mut self, kind: &str, id: &str, thing: Thing) {
        self.things.insert((kind.to_owned(), id.to_owned()), thing);
    }

    fn remove(&mut self, kind: &str, id: &str) -> Option<Thing> {
        self.things.remove(&(kind.to_owned(), id.to_owned()))
    }

    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = (&str, &Thing)> {
        self.things.iter().filter(move |((of, _), _)| of == kind).map(|((_, id), thing)| (id.as_str(), thing))
    }

    fn find(&self, kind: &str, is_it: impl Fn(&Thing) -> bool) -> Option<(String, &Thing)> {
        self.of_kind(kind).find(|(_, thing)| is_it(thing)).map(|(id, thing)| (id.to_owned(), thing))
    }

    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn set(&mut self, kind: &str, id: &str, name: &str, value: Option<&Value>) -> Result<(), String> {
        self.get_mut(kind, id)?.attributes.insert(name.to_owned(), value.cloned().unwrap_or(Value::Null));
        Ok(())
    }

    /// Whether a thing belongs to a stack: for IAM by its path, for other kinds by its tag.
    pub fn is_of(kind: &str, thing: &Thing, stack: &str) -> bool {
        match kind {
            IamRole::KIND | IamInstanceProfile::KIND => thing.text("path") == iam_path(stack, "eu-west-3"),
            _ => thing.stack() == Some(stack),
        }
    }
}

/// A fault, with the number of the changing call at which it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed after the call, before the response.
    Killed(usize),
    /// No call after this one reaches the cloud.
    Offline(usize),
    /// The call takes effect, but its response is lost.
    Lost(usize),
    /// The call is refused.
    Refused(usize),
}

/// What happened in the present run.
#[derive(Debug, Default)]
pub struct Run {
    pub fault: Option<Fault>,
    pub calls: usize,
    is_killed: bool,
    is_offline: bool,
    /// Every call with its result.
    pub log: Vec<String>,
    /// Calls that AWS would refuse, and events that must never happen.
    pub wrong: Vec<String>,
    /// What this run created, by kind and ID.
    made: BTreeSet<(String, String)>,
    /// Hosts that the run must replace one at a time, by their present ID.
    pub rolling: BTreeMap<String, Address>,
    down: BTreeSet<Address>,
    /// The addresses in the stack.
    pub wanted: BTreeSet<Address>,
    /// Whether the run applies only a part of the stack.
    pub is_partial: bool,
    /// What is deleted before it is created again, by kind and ID. Its users are without it in between.
    pub deleted_first: BTreeSet<(String, String)>,
    /// Whether calls are written down.
    is_verbose: bool,
}

impl Run {
    fn write(&mut self, what: impl FnOnce() -> String) {
        if self.is_verbose {
            self.log.push(what());
        }
    }
}

/// The cloud.
pub struct Cloud {
    pub account: Shared<Account>,
    pub run: Shared<Run>,
    /// How often a host was launched for each address, over all runs.
    pub launched: Shared<BTreeMap<Address, u32>>,
    /// The number of the permutation in which things with the same address are listed.
    pub order: usize,
    turns: Turns,
    /// Whether calls are written down.
    pub is_verbose: bool,
}

impl Cloud {
    pub fn new(account: Account, order: usize, pace: Pace, is_verbose: bool) -> Self {
        Self {
            is_verbose,
            account: Shared::new(account),
            run: Shared::default(),
            launched: Shared::default(),
            order,
            turns: Turns::new(pace),
        }
    }

    /// Starts a run with this fault.
    pub fn begin(&self, fault: Option<Fault>) {
        *self.run.borrow_mut() = Run { fault, is_verbose: self.is_verbose, ..Run::default() };
    }

    /// Runs a future that makes calls; `None` if its process was killed.
    pub fn drive<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.turns.run(future, || self.run.borrow().is_killed)
    }

    fn perform<T>(
        &self,
        call: &str,
        subject: &str,
        effect: impl FnOnce(&mut Account) -> Result<T, String>,
    ) -> Result<T, ProviderError> {
        let mut run = self.run.borrow_mut();
        if run.is_offline {
            return Err(ProviderError::new("offline", None));
        }
        run.calls += 1;
        let calls = run.calls;
        let fails = |run: &mut Run, why: &str| {
            run.write(|| format!("{calls:>3} {call} {subject}: {why}"));
            Err(ProviderError::new(format!("{call} {subject}: {why}"), None))
        };
        if run.fault == Some(Fault::Refused(calls)) {
            return fails(&mut run, "refused once");
        }
        let done = match effect(&mut self.account.borrow_mut()) {
            Ok(done) => done,
            Err(why) => {
                run.wrong.push(format!("{call} {subject}: {why}"));
                return fails(&mut run, &why);
            }
        };
        if run.fault == Some(Fault::Lost(calls)) {
            return fails(&mut run, "done, but the response is lost");
        }
        run.is_killed = run.fault == Some(Fault::Killed(calls));
        run.is_offline = run.fault == Some(Fault::Offline(calls));
        run.write(|| format!("{calls:>3} {call} {subject}"));
        Ok(done)
    }

    /// Records what a create returned.
    fn note_made(&self, kind: &KindName, id: &str) {
        self.run.borrow_mut().made.insert((kind.as_str().to_owned(), id.to_owned()));
    }

    /// Records a delete, which is wrong for what the same run created.
    fn note_delete(&self, kind: &KindName, id: &str) {
        let mut run = self.run.borrow_mut();
        if run.made.contains(&(kind.as_str().to_owned(), id.to_owned())) {
            run.wrong.push(format!("{kind} {id} is deleted by the run that made it or found it"));
        }
    }

    fn note_terminated(&self, id: &str, address: Option<&Address>, listed: Option<&str>) {
        let mut run = self.run.borrow_mut();
        if let Some(address) = run.rolling.get(id).cloned() {
            run.down.insert(address.clone());
            let down: Vec<String> =
                run.down.iter().filter(|other| other.name == address.name).map(Address::to_string).collect();
            if down.len() > 1 {
                run.wrong.push(format!("{} are down at once", down.join(" and ")));
            }
        }
        if let Some(service) = listed
            && !run.is_partial
            && address.is_some_and(|address| !run.wanted.contains(address))
        {
            run.wrong.push(format!("{id} goes while the control plane of {service} lists it"));
        }
    }

    fn note_up(&self, address: &Address, is_new: bool) {
        self.run.borrow_mut().down.remove(address);
        if is_new {
            *self.launched.borrow_mut().entry(address.clone()).or_default() += 1;
        }
    }

    /// Observes a stack as the real provider does.
    pub fn look(&self, desired: &Graph, recorded: &State) -> Observed {
        let account = &mut *self.account.borrow_mut();
        let stack = desired.stack();
        let by_id: BTreeMap<(&str, &str), &Address> =
            recorded.resources.iter().map(|(at, found)| ((at.kind.as_str(), found.id.as_str()), at)).collect();
        let mut observed = Observed { lookups: lookups(account, desired), ..Observed::default() };
        for ((kind, id), thing) in &account.things {
            let is_recorded = by_id.get(&(kind.as_str(), id.as_str()));
            let is_ours = Account::is_of(kind, thing, stack) || (thing.stack().is_none() && is_recorded.is_some());
            // A draining service is not listed.
            if !is_ours || (kind == EcsService::KIND && thing.is_inactive) {
                continue;
            }
            let address = thing
                .address()
                .filter(|address| address.kind.as_str() == kind)
                .or_else(|| is_recorded.map(|address| (*address).clone()))
                .unwrap_or_else(|| Address::keyed(kind, "unaddressed", id));
            let remote = Remote { is_spent: thing.is_inactive, ..Remote::new(id, thing.attributes.clone()) };
            observed.remotes.entry(address).or_default().push(remote);
        }
        for remotes in observed.remotes.values_mut() {
            remotes.sort_by_cached_key(|remote| {
                let revision = remote.id.rsplit_once('/').map_or(0, |(_, name)| control_plane::revision(name));
                (std::cmp::Reverse(revision), remote.id.clone())
            });
            arrange(remotes, self.order);
        }
        observed
    }
}

/// Puts a list into its n-th permutation.
fn arrange<T>(list: &mut [T], mut order: usize) {
    for at in 0..list.len() {
        let left = list.len() - at;
        list[at..].rotate_left(order % left);
        order /= left;
    }
}

/// The results of a graph's lookups. Every VPC, subnet, image and secret exists.
fn lookups(account: &mut Account, desired: &Graph) -> BTreeMap<Address, Map> {
    let mut found: BTreeMap<Address, Map> = BTreeMap::new();
    let put = |found: &mut BTreeMap<Address, Map>, address: &Address, pairs: &[(&str, String)]| {
        let attributes = pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect();
        found.insert(address.clone(), attributes);
    };
    let of_kind = |kind: &'static str| desired.lookups().values().filter(move |it| it.address.kind.as_str() == kind);
    for lookup in of_kind(lookup::Vpc::KIND) {
        let id = Some(text(&lookup.query, "id")).filter(|id| !id.is_empty()).unwrap_or("vpc-0default");
        put(&mut found, &lookup.address, &[("id", id.to_owned()), ("cidr", "10.0.0.0/8".to_owned())]);
    }
    for lookup in of_kind(lookup::Subnet::KIND) {
        let vpc = lookup.query["vpc"].resolve(&|it| found.get(&it.address)?.get(&it.attribute).cloned());
        let vpc = vpc.as_text().unwrap_or_default().to_owned();
        let zone = text(&lookup.query, "zone");
        let id = format!("subnet-of-{vpc}-{zone}{}", text(&lookup.query, "id"));
        let third = zone.bytes().last().unwrap_or_default();
        let second = vpc.bytes().last().unwrap_or_default();
        account.subnets.insert(id.clone(), vpc);
        let cidr = format!("10.{second}.{third}.0/24");
        let rest = [("zone", zone.to_owned()), ("cidr", cidr), ("default_route", "nat".to_owned())];
        put(&mut found, &lookup.address, &[&[("id", id)], rest.as_slice()].concat());
    }
    for lookup in of_kind(lookup::Image::KIND) {
        let asked = text(&lookup.query, "id");
        let id = if asked.is_empty() { format!("ami-{:017x}", account.newest_image) } else { asked.to_owned() };
        let architecture = text(&lookup.query, "architecture").to_owned();
        let rest = [("architecture", architecture), ("root_device", "/dev/xvda".to_owned())];
        put(&mut found, &lookup.address, &[&[("name", id.clone()), ("id", id)], rest.as_slice()].concat());
    }
    for lookup in of_kind(lookup::InstanceType::KIND) {
        put(&mut found, &lookup.address, &[("name", text(&lookup.query, "name").to_owned())]);
    }
    for lookup in of_kind(lookup::Secret::KIND) {
        put(&mut found, &lookup.address, &[("arn", text(&lookup.query, "arn").to_owned())]);
    }
    found
}

/// Makes the calls of one create, update or delete.
pub struct Caller<'a> {
    cloud: &'a Cloud,
    operation: Operation,
}

/// Why a call cannot be made.
enum Blocked {
    /// Another step of the same plan may remove the reason.
    ForNow(String),
    /// Permanently.
    Refused(String),
}

impl Caller<'_> {
    /// Makes a changing call when its turn comes.
    async fn call<T>(
        &self,
        call: &str,
        subject: &str,
        effect: impl FnOnce(&mut Account) -> Result<T, String>,
    ) -> Result<T, ProviderError> {
        self.cloud.turns.take(self.operation, When::InTurn).await;
        let result = self.cloud.perform(call, subject, effect);
        if self.cloud.run.borrow().is_killed {
            std::future::pending::<()>().await;
        }
        result
    }

    /// Makes a call when it is no longer blocked. It gives up when no other call was made in the meantime.
    async fn call_when_free(
        &self,
        call: &str,
        subject: &str,
        effect: impl Fn(&mut Account) -> Result<(), Blocked>,
    ) -> Result<(), ProviderError> {
        let mut seen = None;
        loop {
            let when = if seen.is_none() { When::InTurn } else { When::AtLast };
            self.cloud.turns.take(self.operation, when).await;
            let calls = self.cloud.run.borrow().calls;
            let blocked = effect(&mut self.cloud.account.borrow_mut());
            let result = match blocked {
                Err(Blocked::ForNow(_)) if seen != Some(calls) => {
                    seen = Some(calls);
                    continue;
                }
                Err(Blocked::ForNow(why) | Blocked::Refused(why)) => self.cloud.perform(call, subject, |_| Err(why)),
                Ok(()) => self.cloud.perform(call, subject, |_| Ok(())),
            };
            if self.cloud.run.borrow().is_killed {
                std::future::pending::<()>().await;
            }
            return result;
        }
    }

    /// Changes an attribute if it differs.
    async fn put(&self, call: &str, (kind, id): (&str, &str), name: &str, wanted: &Map) -> Result<(), ProviderError> {
        let wanted = wanted.get(name);
        let differs = {
            let account = self.cloud.account.borrow();
            account.get(kind, id).is_none_or(|thing| !is_same(thing.attributes.get(name), wanted))
        };
        if differs {
            self.call(call, id, |account| account.set(kind, id, name, wanted)).await?;
        }
        Ok(())
    }

    /// The present attributes of a thing.
    fn remote(&self, kind: &str, id: &str) -> Result<Remote, ProviderError> {
        let account = self.cloud.account.borrow();
        let gone = || ProviderError::new(format!("{kind} {id} is gone"), None);
        Ok(Remote::new(id, account.get(kind, id).ok_or_else(gone)?.attributes.clone()))
    }

    /// Whether a thing is deleted before it is created again.
    fn is_deleted_first(&self, kind: &str, id: &str) -> bool {
        self.cloud.run.borrow().deleted_first.contains(&(kind.to_owned(), id.to_owned()))
    }

    fn has(&self, kind: &str, id: &str) -> bool {
        self.cloud.account.borrow().get(kind, id).is_some()
    }
}

/// Whether a call touches an attribute.
fn touches(paths: &[String], name: &str) -> bool {
    paths.iter().any(|path| trunnion_engine::lies_under(path, name))
}

impl Provider for Cloud {
    async fn observe(&self, desired: &Graph, recorded: &State, _: &Context) -> Result<Observed, ProviderError> {
        Ok(self.look(desired, recorded))
    }

    async fn create(&self, resource: &Resolved, token: &Token, _: &Context) -> Result<Remote, ProviderError> {
        let hand = Caller { cloud: self, operation: Operation::Create };
        let wanted = &resource.attributes;
        let made = match resource.address.kind.as_str() {
            EcsCluster::KIND => hand.create_cluster(wanted).await,
            EcsService::KIND => hand.create_service(wanted).await,
            EcsTaskDefinition::KIND => hand.create_definition(wanted).await,
            IamInstanceProfile::KIND => hand.create_profile(wanted).await,
            IamRole::KIND => hand.create_role(wanted).await,
            Instance::KIND => hand.create_host(wanted, token, &resource.address).await,
            LaunchTemplate::KIND => hand.create_template(wanted).await,
            LogGroup::KIND => hand.create_log_group(wanted).await,
            S3Bucket::KIND => hand.create_bucket(wanted).await,
            S3Object::KIND => hand.create_object(wanted).await,
            SecurityGroup::KIND => hand.create_group(wanted).await,
            kind => panic!("what is a {kind}?"),
        }?;
        self.note_made(&resource.address.kind, &made.id);
        Ok(made)
    }

    async fn update(
        &self,
        remote: &Remote,
        resource: &Resolved,
        paths: &[String],
        _: &Context,
    ) -> Result<Remote, ProviderError> {
        let hand = Caller { cloud: self, operation: Operation::Update };
        let (id, wanted) = (remote.id.as_str(), &resource.attributes);
        match resource.address.kind.as_str() {
            kind @ (EcsCluster::KIND | EcsTaskDefinition::KIND) => hand.put_tags(kind, id, wanted).await,
            EcsService::KIND => hand.update_service(id, wanted, paths).await,
            IamInstanceProfile::KIND => hand.settle_profile(id, wanted).await,
            IamRole::KIND => hand.settle_role(id, wanted).await,
            Instance::KIND => hand.update_host(id, wanted, paths).await,
            LaunchTemplate::KIND => hand.update_template(id, wanted, paths).await,
            LogGroup::KIND => hand.settle_log_group(id, wanted).await,
            S3Bucket::KIND => hand.settle_bucket(id, wanted).await,
            S3Object::KIND => hand.create_object(wanted).await,
            SecurityGroup::KIND => hand.settle_group(id, wanted).await,
            kind => panic!("what is a {kind}?"),
        }
    }

    async fn delete(&self, address: &Address, remote: &Remote, _: &Context) -> Result<(), ProviderError> {
        let hand = Caller { cloud: self, operation: Operation::Delete };
        let id = remote.id.as_str();
        self.note_delete(&address.kind, id);
        match address.kind.as_str() {
            EcsCluster::KIND => hand.delete_cluster(id).await,
            EcsService::KIND => hand.delete_service(id).await,
            EcsTaskDefinition::KIND => hand.delete_definition(id).await,
            IamInstanceProfile::KIND => hand.delete_profile(id).await,
            IamRole::KIND => hand.delete_role(id).await,
            Instance::KIND => hand.delete_host(id).await,
            LaunchTemplate::KIND => hand.delete_template(id).await,
            LogGroup::KIND => hand.delete_log_group(id).await,
            S3Bucket::KIND => hand.delete_bucket(id).await,
            S3Object::KIND => hand.delete_object(id).await,
            SecurityGroup::KIND => hand.delete_group(id).await,
            kind => panic!("what is a {kind}?"),
        }
    }
}

impl Caller<'_> {
    async fn put_tags(&self, kind: &str, id: &str, wanted: &Map) -> Result<Remote, ProviderError> {
        self.put("Tag", (kind, id), "tags", wanted).await?;
        self.remote(kind, id)
    }
}
