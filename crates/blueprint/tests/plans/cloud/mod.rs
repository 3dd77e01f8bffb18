//! A cloud in memory that refuses what AWS refuses: names that are taken, deletes of what is in use, what does not exist.
//!
//! It is written from what AWS does and from the calls that the real provider makes of each create, update and delete.
//! Every such call counts, takes its turn, and can be the last one. It takes nothing from the engine but the trait.

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
    /// In the shape of its kind.
    pub attributes: Map,
    /// A deregistered revision.
    pub is_inactive: bool,
    /// The client token that a host was launched with.
    pub token: String,
    /// What each version of a launch template says.
    pub versions: Vec<Value>,
    /// The security groups of a host's interfaces.
    pub groups: BTreeSet<String>,
    /// The ARN of a host's instance profile.
    pub profile: String,
    /// Whether the test put it there.
    pub is_by_hand: bool,
}

impl Thing {
    /// A text among its attributes, by its path.
    pub fn text(&self, path: &str) -> &str {
        text(&self.attributes, path)
    }

    /// The value of a tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.attributes.get("tags")?.as_map()?.get(key)?.as_text()
    }

    /// The stack it says it belongs to.
    pub fn stack(&self) -> Option<&str> {
        self.tag(STACK_TAG)
    }

    /// The address it says it stands at.
    pub fn address(&self) -> Option<Address> {
        self.tag(ADDRESS_TAG)?.parse().ok()
    }
}

/// A text in attributes, by its path; empty where there is none.
pub fn text<'a>(attributes: &'a Map, path: &str) -> &'a str {
    let mut found = attributes;
    let mut path = path;
    while let Some((name, rest)) = path.split_once('.') {
        let Some(inner) = found.get(name).and_then(Value::as_map) else { return "" };
        (found, path) = (inner, rest);
    }
    found.get(path).and_then(Value::as_text).unwrap_or_default()
}

/// The texts of a list among attributes.
pub fn texts(attributes: &Map, name: &str) -> Vec<String> {
    let list = attributes.get(name).and_then(Value::as_list).unwrap_or_default();
    list.iter().filter_map(|value| value.as_text().map(str::to_owned)).collect()
}

/// Whether two values are the same, lists without order.
fn is_same(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(Value::List(one)), Some(Value::List(other))) => {
            one.iter().collect::<BTreeSet<_>>() == other.iter().collect::<BTreeSet<_>>()
        }
        _ => one.unwrap_or(&Value::Null) == other.unwrap_or(&Value::Null),
    }
}

/// Everything there is in an account and a region.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// By kind and id.
    pub things: BTreeMap<(String, String), Thing>,
    /// Which image is the newest.
    pub newest_image: u32,
    /// The VPC of each subnet.
    pub subnets: BTreeMap<String, String>,
    /// Tokens of hosts that are gone.
    spent_tokens: BTreeSet<String>,
    /// The newest revision of each family.
    pub revisions: BTreeMap<String, u64>,
    last: u64,
}

impl World {
    /// An empty one, whose numbers begin behind this one.
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

    /// Whether something belongs to a stack: IAM's by its path, everything else by its tag.
    pub fn is_of(kind: &str, thing: &Thing, stack: &str) -> bool {
        match kind {
            IamRole::KIND | IamInstanceProfile::KIND => thing.text("path") == iam_path(stack, "eu-west-3"),
            _ => thing.stack() == Some(stack),
        }
    }
}

/// What goes wrong, counted in calls that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed after the call, before its answer.
    Killed(usize),
    /// After the call and its answer, no further call goes through.
    Offline(usize),
    /// The call is done, and its answer is lost.
    Lost(usize),
    /// The call is refused.
    Refused(usize),
}

/// What happened since the run began.
#[derive(Debug, Default)]
pub struct Run {
    pub fault: Option<Fault>,
    pub calls: usize,
    is_killed: bool,
    is_offline: bool,
    /// Every call, with what came of it.
    pub log: Vec<String>,
    /// What AWS would have refused, and what must never happen.
    pub wrong: Vec<String>,
    /// What creates of this run returned, by kind and id.
    made: BTreeSet<(String, String)>,
    /// Current hosts by id, of those that the run replaces one at a time.
    pub rolling: BTreeMap<String, Address>,
    down: BTreeSet<Address>,
    /// Addresses that the stack asks for.
    pub wanted: BTreeSet<Address>,
    /// Whether only a part of the stack is applied.
    pub is_partial: bool,
    /// What goes before it is made again, by kind and id: what uses it does without for a while.
    pub going_first: BTreeSet<(String, String)>,
    /// Whether calls are written down.
    is_telling: bool,
}

impl Run {
    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.is_telling {
            self.log.push(what());
        }
    }
}

/// The cloud.
pub struct Cloud {
    pub world: Shared<World>,
    pub run: Shared<Run>,
    /// How often a host was launched at each address, over all runs.
    pub launched: Shared<BTreeMap<Address, u32>>,
    /// Which order of things at one address is shown.
    order: usize,
    turns: Turns,
    /// Whether calls are written down.
    pub is_telling: bool,
}

impl Cloud {
    pub fn new(world: World, order: usize, pace: Pace, is_telling: bool) -> Self {
        Self {
            is_telling,
            world: Shared::new(world),
            run: Shared::default(),
            launched: Shared::default(),
            order,
            turns: Turns::new(pace),
        }
    }

    /// Begins a run with this fault.
    pub fn begin(&self, fault: Option<Fault>) {
        *self.run.borrow_mut() = Run { fault, is_telling: self.is_telling, ..Run::default() };
    }

    /// Runs something that makes calls; nothing if its process was killed.
    pub fn drive<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.turns.run(future, || self.run.borrow().is_killed)
    }

    fn perform<T>(
        &self,
        call: &str,
        subject: &str,
        effect: impl FnOnce(&mut World) -> Result<T, String>,
    ) -> Result<T, ProviderError> {
        let mut run = self.run.borrow_mut();
        if run.is_offline {
            return Err(ProviderError::new("offline", None));
        }
        run.calls += 1;
        let calls = run.calls;
        let fails = |run: &mut Run, why: &str| {
            run.tell(|| format!("{calls:>3} {call} {subject}: {why}"));
            Err(ProviderError::new(format!("{call} {subject}: {why}"), None))
        };
        if run.fault == Some(Fault::Refused(calls)) {
            return fails(&mut run, "refused once");
        }
        let done = match effect(&mut self.world.borrow_mut()) {
            Ok(done) => done,
            Err(why) => {
                run.wrong.push(format!("{call} {subject}: {why}"));
                return fails(&mut run, &why);
            }
        };
        if run.fault == Some(Fault::Lost(calls)) {
            return fails(&mut run, "done, and its answer is lost");
        }
        run.is_killed = run.fault == Some(Fault::Killed(calls));
        run.is_offline = run.fault == Some(Fault::Offline(calls));
        run.tell(|| format!("{calls:>3} {call} {subject}"));
        Ok(done)
    }

    /// Notes what a create returned.
    fn note_made(&self, kind: &KindName, id: &str) {
        self.run.borrow_mut().made.insert((kind.as_str().to_owned(), id.to_owned()));
    }

    /// Notes that something is about to be deleted.
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

    /// What is seen of a stack, as the real provider puts it together.
    pub fn look(&self, desired: &Graph, recorded: &State) -> Observed {
        let world = &mut *self.world.borrow_mut();
        let stack = desired.stack();
        let by_id: BTreeMap<(&str, &str), &Address> =
            recorded.resources.iter().map(|(at, found)| ((at.kind.as_str(), found.id.as_str()), at)).collect();
        let mut observed = Observed { lookups: lookups(world, desired), ..Observed::default() };
        for ((kind, id), thing) in &world.things {
            let is_recorded = by_id.get(&(kind.as_str(), id.as_str()));
            let is_ours = World::is_of(kind, thing, stack) || (thing.stack().is_none() && is_recorded.is_some());
            // A service that is going is not shown.
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
        for (address, remotes) in &mut observed.remotes {
            let recorded = recorded.resources.get(address).map(|found| found.id.as_str());
            remotes.sort_by_cached_key(|remote| {
                let revision = remote.id.rsplit_once('/').map_or(0, |(_, name)| control_plane::revision(name));
                (std::cmp::Reverse(revision), recorded != Some(remote.id.as_str()), remote.id.clone())
            });
            arrange(remotes, self.order);
        }
        observed
    }
}

/// The n-th order of a list.
fn arrange<T>(list: &mut [T], mut order: usize) {
    for at in 0..list.len() {
        let left = list.len() - at;
        list[at..].rotate_left(order % left);
        order /= left;
    }
}

/// What the lookups of a graph find: every VPC, subnet, image and secret that is asked for is there.
fn lookups(world: &mut World, desired: &Graph) -> BTreeMap<Address, Map> {
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
        world.subnets.insert(id.clone(), vpc);
        let cidr = format!("10.{second}.{third}.0/24");
        let rest = [("zone", zone.to_owned()), ("cidr", cidr), ("default_route", "nat".to_owned())];
        put(&mut found, &lookup.address, &[&[("id", id)], rest.as_slice()].concat());
    }
    for lookup in of_kind(lookup::Image::KIND) {
        let asked = text(&lookup.query, "id");
        let id = if asked.is_empty() { format!("ami-{:017x}", world.newest_image) } else { asked.to_owned() };
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
pub struct Hand<'a> {
    cloud: &'a Cloud,
    operation: Operation,
}

/// Why a call cannot be made.
enum Blocked {
    /// Something else of the same plan may be about to end it.
    ForNow(String),
    /// For good.
    Refused(String),
}

impl Hand<'_> {
    /// A call that changes something, in its turn.
    async fn call<T>(
        &self,
        call: &str,
        subject: &str,
        effect: impl FnOnce(&mut World) -> Result<T, String>,
    ) -> Result<T, ProviderError> {
        self.cloud.turns.take(self.operation, When::InTurn).await;
        let result = self.cloud.perform(call, subject, effect);
        if self.cloud.run.borrow().is_killed {
            std::future::pending::<()>().await;
        }
        result
    }

    /// A call that waits while it is blocked for now, as long as others still do something.
    async fn patiently(
        &self,
        call: &str,
        subject: &str,
        effect: impl Fn(&mut World) -> Result<(), Blocked>,
    ) -> Result<(), ProviderError> {
        let mut seen = None;
        loop {
            let when = if seen.is_none() { When::InTurn } else { When::AtLast };
            self.cloud.turns.take(self.operation, when).await;
            let calls = self.cloud.run.borrow().calls;
            let blocked = effect(&mut self.cloud.world.borrow_mut());
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

    /// Changes an attribute where it differs.
    async fn put(&self, call: &str, (kind, id): (&str, &str), name: &str, wanted: &Map) -> Result<(), ProviderError> {
        let wanted = wanted.get(name);
        let differs = {
            let world = self.cloud.world.borrow();
            world.get(kind, id).is_none_or(|thing| !is_same(thing.attributes.get(name), wanted))
        };
        if differs {
            self.call(call, id, |world| world.set(kind, id, name, wanted)).await?;
        }
        Ok(())
    }

    /// What stands there now.
    fn remote(&self, kind: &str, id: &str) -> Result<Remote, ProviderError> {
        let world = self.cloud.world.borrow();
        let gone = || ProviderError::new(format!("{kind} {id} is gone"), None);
        Ok(Remote::new(id, world.get(kind, id).ok_or_else(gone)?.attributes.clone()))
    }

    /// Whether it is made again once it is gone.
    fn is_going_first(&self, kind: &str, id: &str) -> bool {
        self.cloud.run.borrow().going_first.contains(&(kind.to_owned(), id.to_owned()))
    }

    fn has(&self, kind: &str, id: &str) -> bool {
        self.cloud.world.borrow().get(kind, id).is_some()
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
        let hand = Hand { cloud: self, operation: Operation::Create };
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
        let hand = Hand { cloud: self, operation: Operation::Update };
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
        let hand = Hand { cloud: self, operation: Operation::Delete };
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

impl Hand<'_> {
    async fn put_tags(&self, kind: &str, id: &str, wanted: &Map) -> Result<Remote, ProviderError> {
        self.put("Tag", (kind, id), "tags", wanted).await?;
        self.remote(kind, id)
    }
}
