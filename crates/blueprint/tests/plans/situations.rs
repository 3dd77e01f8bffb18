//! What else an account can contain beside an applied stack, and what can be missing.

use trunnion_engine::{Address, Map, Value};
use trunnion_kinds::{
    ADDRESS_TAG, EcsCluster, EcsService, EcsTaskDefinition, IamInstanceProfile, IamRole, Instance, LaunchTemplate,
    LogGroup, S3Bucket, S3Object, STACK_TAG, SecurityGroup, iam_path,
};

use crate::{
    cloud::{Account, Thing, text, texts},
    stacks::Hosts,
};

/// How a duplicate differs from its original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// The same content; its ID sorts first.
    OlderEqual,
    /// Other content; its ID sorts first.
    OlderOther,
    /// The same content; its ID sorts last.
    NewerEqual,
    /// Other content; its ID sorts last.
    NewerOther,
    /// A security group of the same name in another VPC.
    InAnotherVpc,
    /// Its address tag is not in the stack.
    NotInStack,
    /// It has no address tag.
    Unaddressed,
    /// A deregistered revision with the same content.
    SpentEqual,
    /// A deregistered revision with other content.
    SpentOther,
}

use Variant::{
    InAnotherVpc, NewerEqual, NewerOther, NotInStack, OlderEqual, OlderOther, SpentEqual, SpentOther, Unaddressed,
};

/// A change in the account after the stack was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A duplicate exists beside the resource at this address.
    Duplicate(&'static str, Variant),
    /// The resource at this address is gone.
    Gone(&'static str),
    /// Another resource has taken the place of the one at this address.
    Moved(&'static str, Variant),
    /// The revision at this address is deregistered while the service runs it.
    Spent(&'static str),
    /// The resource was changed by hand.
    Drifted(&'static str, Drift),
}

/// What was changed by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    /// An attribute has another value.
    Content,
    /// A host is stopped.
    Stopped,
    /// An older version of a launch template is the default.
    OlderDefault,
}

/// The addresses that get a duplicate, and the possible variants of each.
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

/// The duplicates that are combined in pairs.
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

/// Changes by hand, and what an interrupted run leaves.
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
    let mut situations: Vec<Vec<Event>> = gone.into_iter().map(|address| one(Gone(address))).collect();
    situations.push(vec![Gone("ecs_service.control_plane"), Gone("ecs_cluster.main")]);
    situations.push(vec![Gone("s3_object.generator[x86_64]"), Gone("s3_bucket.artifacts")]);
    for address in
        ["iam_role.generator", "iam_role.execution", "iam_instance_profile.generator", "launch_template.heavy"]
    {
        situations.push(one(Moved(address, NewerOther)));
    }
    situations.push(one(Moved("ecs_service.control_plane", OlderOther)));
    situations.push(one(Moved("log_group.control_plane", OlderEqual)));
    situations.push(one(Moved("instance.heavy[0]", OlderOther)));
    situations.push(vec![Moved("instance.heavy[0]", OlderOther), Duplicate("instance.heavy[0]", NewerEqual)]);
    situations.push(vec![Moved("instance.heavy[0]", OlderOther), Duplicate("instance.heavy[0]", NewerOther)]);
    let revision = "ecs_task_definition.control_plane";
    situations.push(one(Spent(revision)));
    for variant in [OlderEqual, OlderOther, NewerEqual, NewerOther] {
        situations.push(vec![Spent(revision), Duplicate(revision, variant)]);
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
        situations.push(one(Drifted(address, Drift::Content)));
    }
    situations.push(one(Drifted("instance.heavy[0]", Drift::Stopped)));
    situations.push(one(Drifted("launch_template.heavy", Drift::OlderDefault)));
    situations
}

/// The hosts that must be replaced because of these events alone.
pub fn hosts_of(events: &[Event]) -> Hosts {
    let all = ["iam_role.generator", "iam_instance_profile.generator"];
    let mut hosts = Hosts::None;
    for event in events {
        match event {
            // A host cannot keep a deleted profile.
            Event::Gone("iam_instance_profile.generator") => return Hosts::All,
            Event::Moved(address, _) if all.contains(address) => return Hosts::All,
            Event::Moved("launch_template.heavy" | "instance.heavy[0]", _)
            | Event::Gone("instance.heavy[0]" | "instance.heavy[1]") => hosts = Hosts::Of("heavy"),
            _ => {}
        }
    }
    hosts
}

/// Applies the events to an account.
pub fn apply_events(account: &mut Account, stack: &str, events: &[Event]) {
    for event in events {
        match event {
            Event::Duplicate(at, variant) => drop(duplicate(account, stack, at, *variant)),
            Event::Gone(at) => {
                let key = current(account, stack, at);
                account.things.remove(&key);
            }
            Event::Moved(at, variant) => {
                let key = current(account, stack, at);
                let made = duplicate(account, stack, at, *variant);
                take_over(account, &key, &made);
                account.things.remove(&key);
            }
            Event::Spent(at) => {
                let key = current(account, stack, at);
                account.things.get_mut(&key).unwrap().is_inactive = true;
            }
            Event::Drifted(at, drift) => {
                let key = current(account, stack, at);
                drifted(&key.0, account.things.get_mut(&key).unwrap(), *drift);
            }
        }
    }
    link_duplicates(account);
}

/// The applied resource at an address, else one that the test made.
fn current(account: &Account, stack: &str, at: &str) -> (String, String) {
    let address: Address = at.parse().unwrap();
    let is_it = |((kind, _), thing): &(&(String, String), &Thing)| {
        *kind == address.kind.as_str() && thing.stack() == Some(stack) && thing.address().as_ref() == Some(&address)
    };
    let found = account.things.iter().filter(is_it).min_by_key(|(_, thing)| thing.is_by_hand);
    found.map_or_else(|| panic!("nothing exists at {at}"), |(key, _)| key.clone())
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

/// Creates a duplicate of the resource at an address, and returns its kind and ID.
fn duplicate(account: &mut Account, stack: &str, at: &str, variant: Variant) -> (String, String) {
    let (kind, original) = current(account, stack, at);
    let mut thing = account.things[&(kind.clone(), original.clone())].clone();
    let is_first = matches!(variant, OlderEqual | OlderOther | SpentEqual);
    let n = account.number();
    let id = rename(account, &kind, &mut thing, is_first, n);
    match variant {
        OlderOther | NewerOther | SpentOther => drifted(&kind, &mut thing, Drift::Content),
        InAnotherVpc => {
            let name = account.things[&(kind.clone(), original)].text("name").to_owned();
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
    account.put(&kind, &id, thing);
    (kind, id)
}

/// Gives a copy an ID that sorts before or after those from AWS, and another name if names are unique. Returns the ID.
fn rename(account: &mut Account, kind: &str, thing: &mut Thing, is_first: bool, n: u64) -> String {
    let attributes = &mut thing.attributes;
    let digits = if is_first { format!("00000{n:03x}") } else { format!("fffff{n:03x}") };
    let name = |attributes: &Map| {
        let (path, name) = text(attributes, "name").rsplit_once('/').map_or(("", text(attributes, "name")), |it| it);
        let slash = if path.is_empty() { "" } else { "/" };
        // `0` sorts before letters and `z` after most. All kinds allow these characters in names.
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
            let newest = account.revisions.get(&family).copied().unwrap_or_default();
            // Applied revisions start at 100.
            let number = if is_first { n % 100 } else { newest + n };
            account.revisions.insert(family.clone(), newest.max(number));
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

/// Changes a thing as somebody might by hand.
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

/// Makes everything that uses one role or profile use another.
fn take_over(account: &mut Account, (kind, from): &(String, String), (_, to): &(String, String)) {
    if kind != IamRole::KIND && kind != IamInstanceProfile::KIND {
        return;
    }
    let arn = |id: &str| account.get(kind, id).map(|thing| thing.text("arn").to_owned()).unwrap_or_default();
    let (arn_before, arn) = (arn(from), arn(to));
    for ((of, _), thing) in &mut account.things {
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

/// Makes duplicates refer to each other, as if one earlier run had left them all.
fn link_duplicates(account: &mut Account) {
    let by_hand = |kind: &str| {
        let mut found = account.of_kind(kind).filter(|(_, thing)| thing.is_by_hand && !thing.is_inactive);
        found.next().map(|(id, thing)| (id.to_owned(), thing.text("arn").to_owned()))
    };
    let group = by_hand(SecurityGroup::KIND);
    let profile = by_hand(IamInstanceProfile::KIND);
    let role = by_hand(IamRole::KIND);
    let cluster = by_hand(EcsCluster::KIND);
    let revision = by_hand(EcsTaskDefinition::KIND);
    let hosts: Vec<_> = account.of_kind(Instance::KIND).filter(|(_, host)| !host.is_by_hand).collect();
    let hosts: Vec<_> = hosts.into_iter().map(|(_, host)| (host.address(), host.text("template").to_owned())).collect();
    let stays = |host: &Thing| hosts.contains(&(host.address(), host.text("template").to_owned()));
    for ((kind, _), thing) in account.things.iter_mut().filter(|(_, thing)| thing.is_by_hand) {
        match kind.as_str() {
            // A host that may stay keeps what its template names.
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

/// Adds one thing of each kind that belongs to another stack.
pub fn others(account: &mut Account, stack: &str) {
    let all: Vec<_> = account.things.iter().map(|(key, thing)| (key.clone(), thing.clone())).collect();
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
        account.put(&kind, &id, thing);
    }
}
