//! What can stand in a cloud beside an applied stack, or be missing from it.

use trunnion_engine::{Address, Map, Value};
use trunnion_kinds::{
    ADDRESS_TAG, EcsCluster, EcsService, EcsTaskDefinition, IamInstanceProfile, IamRole, Instance, LaunchTemplate,
    LogGroup, S3Bucket, S3Object, STACK_TAG, SecurityGroup, iam_path,
};

use crate::{
    cloud::{Thing, World, text, texts},
    stacks::Hosts,
};

/// How a duplicate differs from what it is a duplicate of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// It says the same, and its id comes first.
    OlderEqual,
    /// It says something else, and its id comes first.
    OlderOther,
    /// It says the same, and its id comes last.
    NewerEqual,
    /// It says something else, and its id comes last.
    NewerOther,
    /// A security group of the same name in another VPC.
    InAnotherVpc,
    /// It stands at an address that the stack does not ask for.
    NotInStack,
    /// It does not say where it stands.
    Unaddressed,
    /// A deregistered revision that says the same.
    SpentEqual,
    /// A deregistered revision that says something else.
    SpentOther,
}

use Variant::{
    InAnotherVpc, NewerEqual, NewerOther, NotInStack, OlderEqual, OlderOther, SpentEqual, SpentOther, Unaddressed,
};

/// Something that happened to an applied stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something stands there beside the one at this address.
    Duplicate(&'static str, Variant),
    /// What stood at this address is gone.
    Gone(&'static str),
    /// Something else stands at this address instead.
    Moved(&'static str, Variant),
    /// The revision at this address was deregistered while the service runs it.
    Spent(&'static str),
    /// Something was changed by hand.
    Drifted(&'static str, Drift),
}

/// What was changed by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    /// An attribute is something else.
    Content,
    /// A host was stopped.
    Stopped,
    /// An older version of a launch template is the default.
    OlderDefault,
}

/// The kinds' representatives, with the variants that a duplicate of each can have.
const DUPLICATES: &[(&str, &[Variant])] = &[
    ("ecs_cluster.main", &[OlderEqual, OlderOther, NewerOther, NotInStack, Unaddressed]),
    ("ecs_service.control_plane", &[OlderEqual, OlderOther, NewerOther, NotInStack, Unaddressed]),
    (
        "ecs_task_definition.control_plane",
        &[OlderEqual, OlderOther, NewerEqual, NewerOther, SpentEqual, SpentOther, NotInStack, Unaddressed],
    ),
    ("iam_instance_profile.generator", &[OlderEqual, OlderOther, NewerOther, NotInStack, Unaddressed]),
    ("iam_role.execution", &[OlderEqual, NewerOther]),
    ("iam_role.generator", &[OlderEqual, OlderOther, NewerOther, NotInStack, Unaddressed]),
    ("instance.heavy[0]", &[OlderEqual, OlderOther, NewerEqual, NewerOther, NotInStack, Unaddressed]),
    ("instance.heavy[1]", &[OlderEqual, NewerOther]),
    ("instance.probe[0]", &[NewerEqual, OlderOther]),
    ("launch_template.heavy", &[OlderEqual, OlderOther, NewerEqual, NewerOther, NotInStack, Unaddressed]),
    ("log_group.control_plane", &[OlderEqual, OlderOther, NewerOther, NotInStack, Unaddressed]),
    ("s3_bucket.artifacts", &[OlderEqual, OlderOther, NewerOther, NotInStack, Unaddressed]),
    ("s3_object.generator[x86_64]", &[OlderOther, NewerOther, NotInStack, Unaddressed]),
    ("security_group.control_plane", &[OlderEqual, NewerOther, InAnotherVpc]),
    (
        "security_group.generator",
        &[OlderEqual, OlderOther, NewerEqual, NewerOther, InAnotherVpc, NotInStack, Unaddressed],
    ),
    ("security_group.untracked", &[NewerOther, InAnotherVpc]),
];

/// Of each kind, what makes pairs.
const PAIRED: &[(&str, &[Variant])] = &[
    ("ecs_cluster.main", &[OlderOther]),
    ("ecs_service.control_plane", &[NotInStack]),
    ("ecs_task_definition.control_plane", &[OlderOther, NewerEqual, SpentOther]),
    ("iam_instance_profile.generator", &[NewerOther]),
    ("iam_role.generator", &[OlderEqual]),
    ("instance.heavy[0]", &[OlderOther, NewerEqual]),
    ("instance.probe[0]", &[Unaddressed]),
    ("launch_template.heavy", &[NotInStack]),
    ("log_group.control_plane", &[NewerOther]),
    ("s3_bucket.artifacts", &[OlderEqual]),
    ("s3_object.generator[x86_64]", &[NewerOther]),
    ("security_group.control_plane", &[OlderEqual]),
    ("security_group.generator", &[NewerOther, InAnotherVpc]),
];

fn listed(list: &[(&'static str, &'static [Variant])]) -> Vec<Event> {
    let one = |(address, variants): &(&'static str, &'static [Variant])| {
        let address = *address;
        variants.iter().map(move |variant| Event::Duplicate(address, *variant)).collect::<Vec<_>>()
    };
    list.iter().flat_map(one).collect()
}

/// Every duplicate alone.
pub fn duplicates() -> Vec<Vec<Event>> {
    listed(DUPLICATES).into_iter().map(|event| vec![event]).collect()
}

/// Every pair of duplicates.
pub fn pairs() -> Vec<Vec<Event>> {
    let all = listed(PAIRED);
    let pairs = all.iter().enumerate().flat_map(|(at, one)| all[at + 1..].iter().map(move |other| (one, other)));
    pairs.map(|(one, other)| vec![one.clone(), other.clone()]).collect()
}

/// What people do by hand, and what a run that was ended half-way leaves.
pub fn accidents() -> Vec<Vec<Event>> {
    use Event::{Drifted, Duplicate, Gone, Moved, Spent};
    let one = |event: Event| vec![event];
    let gone = [
        "ecs_service.control_plane",
        "ecs_task_definition.control_plane",
        "iam_instance_profile.generator",
        "iam_role.control_plane",
        "iam_role.execution",
        "iam_role.generator",
        "instance.heavy[0]",
        "instance.heavy[1]",
        "launch_template.heavy",
        "log_group.control_plane",
        "s3_object.generator[x86_64]",
    ];
    let mut worlds: Vec<Vec<Event>> = gone.into_iter().map(|address| one(Gone(address))).collect();
    worlds.push(vec![Gone("ecs_service.control_plane"), Gone("ecs_cluster.main")]);
    worlds.push(vec![Gone("s3_object.generator[x86_64]"), Gone("s3_bucket.artifacts")]);
    for address in
        ["iam_role.generator", "iam_role.execution", "iam_instance_profile.generator", "launch_template.heavy"]
    {
        worlds.push(one(Moved(address, NewerOther)));
    }
    worlds.push(one(Moved("ecs_service.control_plane", OlderOther)));
    worlds.push(one(Moved("log_group.control_plane", OlderEqual)));
    worlds.push(one(Moved("instance.heavy[0]", OlderOther)));
    worlds.push(vec![Moved("instance.heavy[0]", OlderOther), Duplicate("instance.heavy[0]", NewerEqual)]);
    worlds.push(vec![Moved("instance.heavy[0]", OlderOther), Duplicate("instance.heavy[0]", NewerOther)]);
    let revision = "ecs_task_definition.control_plane";
    worlds.push(one(Spent(revision)));
    for variant in [OlderEqual, OlderOther, NewerEqual, NewerOther] {
        worlds.push(vec![Spent(revision), Duplicate(revision, variant)]);
    }
    for address in [
        "ecs_cluster.main",
        "ecs_service.control_plane",
        "iam_instance_profile.generator",
        "iam_role.generator",
        "launch_template.heavy",
        "log_group.control_plane",
        "s3_bucket.artifacts",
        "security_group.generator",
    ] {
        worlds.push(one(Drifted(address, Drift::Content)));
    }
    worlds.push(one(Drifted("instance.heavy[0]", Drift::Stopped)));
    worlds.push(one(Drifted("launch_template.heavy", Drift::OlderDefault)));
    worlds
}

/// Which hosts these events alone are a reason to replace.
pub fn hosts_of(events: &[Event]) -> Hosts {
    let all = ["iam_role.generator", "iam_instance_profile.generator"];
    let mut hosts = Hosts::None;
    for event in events {
        match event {
            // A host keeps no profile that was deleted.
            Event::Gone("iam_instance_profile.generator") => return Hosts::All,
            Event::Moved(address, _) if all.contains(address) => return Hosts::All,
            Event::Moved("launch_template.heavy" | "instance.heavy[0]", _)
            | Event::Gone("instance.heavy[0]" | "instance.heavy[1]") => hosts = Hosts::Of("heavy"),
            _ => {}
        }
    }
    hosts
}

/// Makes it happen.
pub fn happen(world: &mut World, stack: &str, events: &[Event]) {
    for event in events {
        match event {
            Event::Duplicate(at, variant) => drop(duplicate(world, stack, at, *variant)),
            Event::Gone(at) => {
                let key = current(world, stack, at);
                world.things.remove(&key);
            }
            Event::Moved(at, variant) => {
                let key = current(world, stack, at);
                let made = duplicate(world, stack, at, *variant);
                take_over(world, &key, &made);
                world.things.remove(&key);
            }
            Event::Spent(at) => {
                let key = current(world, stack, at);
                world.things.get_mut(&key).unwrap().is_inactive = true;
            }
            Event::Drifted(at, drift) => {
                let key = current(world, stack, at);
                drifted(&key.0, world.things.get_mut(&key).unwrap(), *drift);
            }
        }
    }
    stand_on_each_other(world);
}

/// The one that was applied at an address; one made by hand where there is no other.
fn current(world: &World, stack: &str, at: &str) -> (String, String) {
    let address: Address = at.parse().unwrap();
    let is_it = |((kind, _), thing): &(&(String, String), &Thing)| {
        *kind == address.kind.as_str() && thing.stack() == Some(stack) && thing.address().as_ref() == Some(&address)
    };
    let found = world.things.iter().filter(is_it).min_by_key(|(_, thing)| thing.is_by_hand);
    found.map_or_else(|| panic!("nothing stands at {at}"), |(key, _)| key.clone())
}

fn set(attributes: &mut Map, name: &str, value: impl Into<Value>) {
    attributes.insert(name.to_owned(), value.into());
}

fn set_tag(attributes: &mut Map, key: &str, value: Option<String>) {
    let Some(Value::Map(tags)) = attributes.get_mut("tags") else { panic!("no tags") };
    match value {
        Some(value) => drop(tags.insert(key.to_owned(), value.into())),
        None => drop(tags.remove(key)),
    }
}

/// Puts a duplicate of what stands at an address beside it, and says what it is called.
fn duplicate(world: &mut World, stack: &str, at: &str, variant: Variant) -> (String, String) {
    let (kind, original) = current(world, stack, at);
    let mut thing = world.things[&(kind.clone(), original.clone())].clone();
    let is_first = matches!(variant, OlderEqual | OlderOther | SpentEqual);
    let n = world.number();
    let id = rename(world, &kind, &mut thing, is_first, n);
    match variant {
        OlderOther | NewerOther | SpentOther => drifted(&kind, &mut thing, Drift::Content),
        InAnotherVpc => {
            let name = world.things[&(kind.clone(), original)].text("name").to_owned();
            set(&mut thing.attributes, "name", name);
            set(&mut thing.attributes, "vpc", "vpc-0eeeeeeeeeeeeeeee");
            for way in ["ingress", "egress"] {
                set(&mut thing.attributes, way, Value::List(Vec::new()));
            }
        }
        NotInStack => {
            let address: Address = at.parse().unwrap();
            let other = match address.index {
                Some(_) if kind == Instance::KIND => format!("{kind}.{}[7]", address.name),
                Some(_) => format!("{kind}.{}[arm64]", address.name),
                None => format!("{kind}.former"),
            };
            set_tag(&mut thing.attributes, ADDRESS_TAG, Some(other));
        }
        Unaddressed => set_tag(&mut thing.attributes, ADDRESS_TAG, None),
        OlderEqual | NewerEqual | SpentEqual => {}
    }
    thing.is_inactive = matches!(variant, SpentEqual | SpentOther);
    thing.is_by_hand = true;
    world.put(&kind, &id, thing);
    (kind, id)
}

/// Gives a copy an id of its own, before or behind those that AWS gave, and a name of its own where names are unique.
fn rename(world: &mut World, kind: &str, thing: &mut Thing, is_first: bool, n: u64) -> String {
    let attributes = &mut thing.attributes;
    let digits = if is_first { format!("00000{n:03x}") } else { format!("fffff{n:03x}") };
    let name = |attributes: &Map| {
        let (path, name) = text(attributes, "name").rsplit_once('/').map_or(("", text(attributes, "name")), |it| it);
        let slash = if path.is_empty() { "" } else { "/" };
        // `-` sorts before letters, `~` behind; both are made of what all kinds take but IAM.
        format!(
            "{path}{slash}{}-{name}{}{n:x}",
            if is_first { "0-0" } else { "z-z" },
            if is_first { "-0-" } else { "-z-" }
        )
    };
    let (id, arn) = match kind {
        Instance::KIND => {
            set(attributes, "private_ip", format!("10.99.0.{n}"));
            let mut interfaces = attributes.get("network_interfaces").cloned().unwrap_or(Value::Null);
            if let Value::List(list) = &mut interfaces {
                for (at, interface) in list.iter_mut().enumerate() {
                    if let Value::Map(interface) = interface {
                        set(interface, "id", format!("eni-{digits}{at}"));
                        set(interface, "private_ip", format!("10.99.{at}.{n}"));
                    }
                }
            }
            set(attributes, "network_interfaces", interfaces);
            thing.token = format!("by hand {n}");
            (format!("i-{digits}"), None)
        }
        SecurityGroup::KIND => {
            let name = name(attributes);
            set(attributes, "name", name);
            (format!("sg-{digits}"), None)
        }
        LaunchTemplate::KIND => {
            let name = name(attributes);
            set(attributes, "name", name);
            (format!("lt-{digits}"), None)
        }
        EcsTaskDefinition::KIND => {
            let family = text(attributes, "family").to_owned();
            let newest = world.revisions.get(&family).copied().unwrap_or_default();
            // The applied ones begin at a hundred.
            let number = if is_first { n % 100 } else { newest + n };
            world.revisions.insert(family.clone(), newest.max(number));
            let id = format!("{}:task-definition/{family}:{number}", crate::cloud::ECS);
            (id.clone(), Some(id))
        }
        EcsCluster::KIND | EcsService::KIND => {
            let name = name(attributes);
            set(attributes, "name", name.as_str());
            let cluster = text(attributes, "cluster").rsplit('/').next().unwrap_or_default().to_owned();
            let id = if kind == EcsCluster::KIND {
                format!("{}:cluster/{name}", crate::cloud::ECS)
            } else {
                format!("{}:service/{cluster}/{name}", crate::cloud::ECS)
            };
            (id.clone(), Some(id))
        }
        S3Object::KIND => {
            let key = format!("{}{}", S3Object::PREFIX, digits.repeat(8));
            set(attributes, "sha256", digits.repeat(8));
            set(attributes, "key", key.as_str());
            (format!("{}/{key}", text(attributes, "bucket")), None)
        }
        _ => {
            let name = name(attributes);
            set(attributes, "name", name.as_str());
            let arn = format!("arn:aws:{kind}:::{name}");
            (name, Some(arn))
        }
    };
    if matches!(kind, SecurityGroup::KIND | LaunchTemplate::KIND | Instance::KIND) {
        set(attributes, "id", id.as_str());
    }
    if let Some(arn) = arn {
        set(attributes, "arn", arn);
    }
    id
}

/// Makes something say what nobody asked for.
fn drifted(kind: &str, thing: &mut Thing, drift: Drift) {
    let attributes = &mut thing.attributes;
    match (drift, kind) {
        (Drift::Stopped, _) => set(attributes, "state", "stopped"),
        (Drift::OlderDefault, _) => {
            let data = attributes["data"].clone();
            thing.versions.push(data);
            let newest = thing.versions.len();
            set(attributes, "version", newest.to_string());
            set(attributes, "default_version", (newest - 1).to_string());
        }
        (_, EcsService::KIND) => set(attributes, "desired_count", Value::Number(0)),
        (_, EcsTaskDefinition::KIND) => set(attributes, "cpu", Value::Number(256)),
        (_, IamInstanceProfile::KIND) => set(attributes, "roles", Value::List(Vec::new())),
        (_, IamRole::KIND) => set(attributes, "policy", "{}"),
        (_, Instance::KIND) => set(attributes, "template", "0".repeat(64)),
        (_, LaunchTemplate::KIND) => {
            let Some(Value::Map(data)) = attributes.get_mut("data") else { panic!("no data") };
            set(data, "user_data", "#!/bin/bash\nedited by hand\n");
            let data = attributes["data"].clone();
            thing.versions.push(data);
            let newest = thing.versions.len();
            set(attributes, "version", newest.to_string());
        }
        (_, LogGroup::KIND) => set(attributes, "retention_days", Value::Number(1)),
        (_, S3Bucket::KIND) => set(attributes, "versioning", Value::Bool(false)),
        (_, SecurityGroup::KIND) => set(attributes, "ingress", Value::List(Vec::new())),
        _ => set_tag(attributes, "by", Some("hand".to_owned())),
    }
}

/// Lets everything that uses one thing use another.
fn take_over(world: &mut World, (kind, from): &(String, String), (_, to): &(String, String)) {
    if kind != IamRole::KIND && kind != IamInstanceProfile::KIND {
        return;
    }
    let arn = |id: &str| world.get(kind, id).map(|thing| thing.text("arn").to_owned()).unwrap_or_default();
    let (arn_before, arn) = (arn(from), arn(to));
    for ((of, _), thing) in &mut world.things {
        match of.as_str() {
            IamInstanceProfile::KIND if kind == IamRole::KIND => {
                let Some(Value::List(roles)) = thing.attributes.get_mut("roles") else { continue };
                roles
                    .iter_mut()
                    .filter(|role| role.as_text() == Some(from))
                    .for_each(|role| *role = to.as_str().into());
            }
            EcsTaskDefinition::KIND => {
                for role in ["execution_role", "task_role"] {
                    if thing.text(role) == arn_before {
                        set(&mut thing.attributes, role, arn.as_str());
                    }
                }
            }
            Instance::KIND if thing.profile == arn_before => thing.profile.clone_from(&arn),
            _ => {}
        }
    }
}

/// Lets duplicates use each other, as those do that an earlier run of the stack left together.
fn stand_on_each_other(world: &mut World) {
    let by_hand = |kind: &str| {
        let mut found = world.of_kind(kind).filter(|(_, thing)| thing.is_by_hand && !thing.is_inactive);
        found.next().map(|(id, thing)| (id.to_owned(), thing.text("arn").to_owned()))
    };
    let group = by_hand(SecurityGroup::KIND);
    let profile = by_hand(IamInstanceProfile::KIND);
    let role = by_hand(IamRole::KIND);
    let cluster = by_hand(EcsCluster::KIND);
    let revision = by_hand(EcsTaskDefinition::KIND);
    let hosts: Vec<_> = world.of_kind(Instance::KIND).filter(|(_, host)| !host.is_by_hand).collect();
    let hosts: Vec<_> = hosts.into_iter().map(|(_, host)| (host.address(), host.text("template").to_owned())).collect();
    let stays = |host: &Thing| hosts.contains(&(host.address(), host.text("template").to_owned()));
    for ((kind, _), thing) in world.things.iter_mut().filter(|(_, thing)| thing.is_by_hand) {
        match kind.as_str() {
            // One that may stay stands on what its template says.
            Instance::KIND if !stays(thing) => {
                thing.groups.extend(group.clone().map(|(group, _)| group));
                if let Some((_, arn)) = &profile {
                    thing.profile.clone_from(arn);
                }
            }
            IamInstanceProfile::KIND if !texts(&thing.attributes, "roles").is_empty() => {
                if let Some((role, _)) = &role {
                    set(&mut thing.attributes, "roles", Value::List(vec![role.as_str().into()]));
                }
            }
            EcsService::KIND => {
                if let Some((cluster, _)) = &cluster {
                    set(&mut thing.attributes, "cluster", cluster.as_str());
                }
                if let Some((revision, _)) = &revision {
                    set(&mut thing.attributes, "task_definition", revision.as_str());
                }
                if let (Some((group, _)), Some(Value::Map(network))) = (&group, thing.attributes.get_mut("network")) {
                    set(network, "security_groups", Value::List(vec![group.as_str().into()]));
                }
            }
            _ => {}
        }
    }
}

/// What others have in the same account: one thing of each kind, of another stack or of none.
pub fn others(world: &mut World, stack: &str) {
    let all: Vec<_> = world.things.iter().map(|(key, thing)| (key.clone(), thing.clone())).collect();
    let mut kinds = Vec::new();
    for ((kind, id), mut thing) in all {
        if kinds.contains(&kind) {
            continue;
        }
        kinds.push(kind.clone());
        let foreign = |text: &str| text.replace(stack, "theirs");
        for name in ["name", "family", "bucket", "cluster"] {
            if thing.attributes.contains_key(name) {
                let value = foreign(thing.text(name));
                set(&mut thing.attributes, name, value);
            }
        }
        if thing.attributes.contains_key("path") {
            set(&mut thing.attributes, "path", iam_path("theirs", "eu-west-3"));
        }
        if kind == EcsService::KIND {
            set(&mut thing.attributes, "task_definition", "theirs");
        }
        if thing.attributes.contains_key("roles") {
            set(&mut thing.attributes, "roles", Value::List(vec!["theirs".into()]));
        }
        thing.token.clear();
        thing.groups.clear();
        thing.profile.clear();
        thing.versions.clear();
        for name in ["network", "data", "containers", "ingress", "egress"] {
            thing.attributes.remove(name);
        }
        set_tag(&mut thing.attributes, STACK_TAG, Some("theirs".to_owned()));
        let id = if id.contains(stack) { foreign(&id) } else { format!("{id}-theirs") };
        world.put(&kind, &id, thing);
    }
}
