//! What cannot work, or will not work as meant, seen from what the lookups found. Nothing has been changed by then.

use std::collections::{BTreeMap, BTreeSet};

use trunnion_catalog::{Architecture, limits::SERVICE_SUBNETS};
use trunnion_engine::{Action, Address, Change, Graph, Map, Note, Observed, Plan};
use trunnion_kinds::{ElasticIp, S3Object};
use trunnion_stack::{Image, Placement, Pool, Spread, Stack, Tracking, may_be_secret};

use crate::{
    Binaries, Binary, Unusable,
    address::{self, EXECUTION},
    boot::{runs_javascript, sources},
    error::how_to_build,
    network::{control_plane_placements, pool_placements},
};

/// Versions of Amazon Corretto that Amazon Linux 2023 keeps (its user guide, "Amazon Corretto").
const CORRETTO: [u8; 4] = [11, 17, 21, 25];

/// Everything found, each list in the order of the stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What cannot work: a plan with one of these must not be applied.
    pub errors: Vec<Finding>,
    /// What will probably not work as meant.
    pub warnings: Vec<Finding>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name, which never changes.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The key of the stack that it is about, such as `pools.heavy.count`.
    pub path: String,
}

/// What the binaries, the observed lookups and the resources say about the stack and the graph it became. A lookup that was
/// not found says nothing here.
pub fn findings(stack: &Stack, binaries: &Binaries, desired: &Graph, observed: &Observed) -> Findings {
    let mut found = Findings::default();
    for (name, pool) in &stack.pools {
        found.errors.extend(type_too_small(name, pool, observed));
        found.errors.extend(volume_too_small(name, pool, observed));
        found.errors.extend(no_graalvm(stack, name, pool));
        found.warnings.extend(pool_unreachable(name, pool, observed));
        found.warnings.extend(not_public(stack, name, pool, observed));
    }
    found.errors.extend(no_such_java(stack));
    found.errors.extend(too_many_subnets(stack, observed));
    room(stack, desired, observed, &mut found.errors);
    found.warnings.extend(too_few_elastic_ips(desired, observed));
    found.warnings.extend(control_plane_unreachable(stack, observed));
    found.warnings.extend(secrets_with_keys(stack, observed));
    found.warnings.extend(binaries_that_may_not_start(stack, binaries, desired));
    found.warnings.extend(secrets_in_clear(stack));
    found
}

/// The region's own answer counts more than the catalog, by which the stack was checked.
fn type_too_small(name: &str, pool: &Pool, observed: &Observed) -> Option<Finding> {
    let type_name = pool.instance_type.name;
    let facts = observed.lookups.get(&address::instance_type(type_name))?;
    let (key, asked, has) = [
        ("interfaces", pool.interfaces, number(facts, "interfaces")?),
        ("addresses", pool.addresses, number(facts, "addresses")?),
    ]
    .into_iter()
    .find(|(_, asked, has)| i64::from(*asked) > *has)?;
    Some(Finding {
        code: "type_too_small",
        message: format!("`pools.{name}.{key}` asks for {asked}, but AWS says that {type_name} allows {has}"),
        help: Some(format!("lower it to {has}, or use a larger instance type")),
        path: format!("pools.{name}.{key}"),
    })
}

/// EC2 makes no root volume that is smaller than the image's snapshot.
fn volume_too_small(name: &str, pool: &Pool, observed: &Observed) -> Option<Finding> {
    let image = observed.lookups.get(&address::image(name))?;
    let least = number(image, "root_size_gib")?;
    if i64::from(pool.volume_gib) >= least {
        return None;
    }
    Some(Finding {
        code: "volume_too_small",
        message: format!(
            "`pools.{name}.volume_gib` is {}, but the root volume of the image `{}` has {least} GiB",
            pool.volume_gib,
            text(image, "id").unwrap_or_default()
        ),
        help: Some(format!("raise it to {least}")),
        path: format!("pools.{name}.volume_gib"),
    })
}

/// A zone and an id may be the same subnet, so that only the lookups tell how many there are.
fn too_many_subnets(stack: &Stack, observed: &Observed) -> Option<Finding> {
    let placements = control_plane_placements(stack);
    let ids: BTreeSet<&str> = placements.iter().filter_map(|placement| subnet_id(placement, observed)).collect();
    (ids.len() > SERVICE_SUBNETS).then(|| Finding {
        code: "too_many_subnets",
        message: format!(
            "the control plane runs in the pools' subnets, which are {}, but an ECS service allows {SERVICE_SUBNETS} at most",
            ids.len()
        ),
        help: Some(format!("name at most {SERVICE_SUBNETS} zones for it in `control_plane.zones`")),
        path: "control_plane.zones".to_owned(),
    })
}

/// What looks like a secret and goes in clear into the task definition, the hosts' user data, tags, state and plans.
pub fn secrets_in_clear(stack: &Stack) -> Vec<Finding> {
    let mut places: Vec<(String, &str)> = Vec::new();
    places.extend(stack.tags.iter().map(|(key, value)| (format!("tags.{key}"), value.as_str())));
    let variables = stack.generator.variables.iter();
    places.extend(variables.map(|(key, value)| (format!("generator.variables.{key}"), value.as_str())));
    for (id, location) in &stack.locations {
        let options = location.jvm_options.iter().enumerate();
        places.extend(options.map(|(at, option)| (format!("locations.{id}.jvm_options[{at}]"), option.as_str())));
        let properties = location.system_properties.iter();
        places
            .extend(properties.map(|(key, value)| (format!("locations.{id}.system_properties.{key}"), value.as_str())));
    }
    let finding = |(path, value): (String, &str)| {
        let name = path.rsplit('.').next().unwrap_or_default();
        may_be_secret(name, value).then(|| Finding {
            code: "secret_in_clear",
            message: format!(
                "`{path}` may hold a secret, which everybody sees who may read the task definition, the hosts, the tags or the \
                 state"
            ),
            help: Some(
                "let simulations fetch it from Secrets Manager, and replace it: it has been in a file".to_owned(),
            ),
            path,
        })
    };
    places.into_iter().filter_map(finding).collect()
}

/// The built-in template only makes sure that GraalVM is there, so the boot would fail.
fn no_graalvm(stack: &Stack, name: &str, pool: &Pool) -> Option<Finding> {
    (is_all_built_in(stack, pool) && runs_javascript(stack, name)).then(|| Finding {
        code: "no_graalvm",
        message: format!(
            "a location of pool `{name}` runs JavaScript, which needs GraalVM, and Amazon Linux 2023 has none to install"
        ),
        help: Some(format!("name an image with GraalVM in `pools.{name}.image`, or a template that fetches it")),
        path: format!("pools.{name}.image"),
    })
}

/// The built-in template installs the Java that the stack asks for, and Amazon Linux 2023 has only some of them.
fn no_such_java(stack: &Stack) -> Option<Finding> {
    let java = stack.generator.java;
    let installs = |(name, pool): &(&String, &Pool)| is_all_built_in(stack, pool) && !runs_javascript(stack, name);
    let (name, _) = stack.pools.iter().find(installs).filter(|_| !CORRETTO.contains(&java))?;
    Some(Finding {
        code: "no_such_java",
        message: format!("Amazon Linux 2023 has no Java {java} to install for the hosts of pool `{name}`"),
        help: Some(format!(
            "use Java 11, 17, 21 or 25, or name an image with Java {java} in `pools.{name}.image`, or a template that \
             fetches it"
        )),
        path: "generator.java".to_owned(),
    })
}

/// Whether nobody but the built-in template puts anything onto the hosts.
fn is_all_built_in(stack: &Stack, pool: &Pool) -> bool {
    pool.image == Image::AmazonLinux2023 && stack.generator.template.is_none()
}

fn pool_unreachable(name: &str, pool: &Pool, observed: &Observed) -> Option<Finding> {
    let subnet = observed.lookups.get(&address::subnet(&pool.placement))?;
    let id = text(subnet, "id")?;
    let why = match text(subnet, "default_route")? {
        "none" => format!("{id} has no default route"),
        "internet_gateway" if pool.interfaces > 1 && !pool.public_ip => format!(
            "the default route of {id} is an internet gateway, and AWS gives no public address to hosts with several \
             interfaces"
        ),
        _ => return None,
    };
    Some(Finding {
        code: "pool_unreachable",
        message: format!(
            "the hosts of pool `{name}` cannot reach the internet (api.gatling.io, package repositories, S3), so their \
             boot fails: {why}"
        ),
        help: Some("place the pool in a subnet whose default route is a NAT gateway or the like".to_owned()),
        path: format!("pools.{name}.{}", placement_key(&pool.placement)),
    })
}

/// Load of a pool with Elastic IPs that does not leave by them: only the primary address of each host is public.
fn not_public(stack: &Stack, name: &str, pool: &Pool, observed: &Observed) -> Option<Finding> {
    let subnet = observed.lookups.get(&address::subnet(&pool.placement)).filter(|_| pool.public_ip)?;
    let id = text(subnet, "id")?;
    let sources = sources(stack, pool);
    let (message, help) = match (text(subnet, "default_route")?, pool.tracking) {
        ("internet_gateway", Tracking::Untracked) if stack.generator.spread != Spread::Off => (
            format!(
                "the hosts of pool `{name}` are untracked, so they spread their connections over {sources} addresses of their \
                 other interfaces, of which none is public: what is left for the internet is what is not spread, from the \
                 primary address"
            ),
            "set `generator.spread` to `off`, or name the targets in `generator.spread_except`",
        ),
        ("internet_gateway", Tracking::Tracked) if sources > 1 => (
            format!(
                "the hosts of pool `{name}` spread their connections over {sources} addresses, of which only the primary one is \
                 public: connections from the others do not reach the internet through {id}"
            ),
            "set `generator.spread` to `off`, or name the targets in `generator.spread_except`",
        ),
        ("none" | "internet_gateway", _) => return None,
        _ => (
            format!(
                "the Elastic IPs of pool `{name}` are not used: the default route of {id} is not an internet gateway, so its \
                 hosts reach the internet by other addresses"
            ),
            "remove `public_ip`, or place the pool in a subnet whose default route is an internet gateway",
        ),
    };
    Some(Finding { code: "not_public", message, help: Some(help.to_owned()), path: format!("pools.{name}.public_ip") })
}

/// An account has a quota of Elastic IPs for each region, whoever they belong to. AWS may have raised it a moment ago.
fn too_few_elastic_ips(desired: &Graph, observed: &Observed) -> Option<Finding> {
    let quota = observed.lookups.get(&address::elastic_ip_quota())?;
    let (most, used) = (number(quota, "most")?, number(quota, "used")?);
    let wanted = desired.resources().keys().filter(|address| address.kind.as_str() == ElasticIp::KIND);
    let new = wanted.filter(|address| observed.remotes.get(*address).is_none_or(Vec::is_empty)).count();
    let needed = used.saturating_add(i64::try_from(new).unwrap_or(i64::MAX));
    (new > 0 && needed > most).then(|| Finding {
        code: "too_few_elastic_ips",
        message: format!(
            "{new} more Elastic IPs are needed, but the region has {used}, and the account may have {most} there"
        ),
        help: Some(
            "have the quota `EC2-VPC Elastic IPs` (L-0263D0A3) raised in Service Quotas, or release some that nobody needs"
                .to_owned(),
        ),
        path: "pools".to_owned(),
    })
}

/// Says that addresses are associated late: AWS does not take it before a host runs.
pub fn associated_later(plan: &Plan) -> Option<Note> {
    let is_moved = |change: &&Change| {
        change.address.kind.as_str() == ElasticIp::KIND
            && matches!(change.action, Action::Create | Action::Update)
            && (change.action == Action::Create
                || change.differences.iter().any(|(difference, _)| !difference.path.starts_with("tags")))
    };
    let count = plan.pending().filter(is_moved).count();
    let (address, is) = if count == 1 { ("Elastic IP", "is") } else { ("Elastic IPs", "are") };
    (count > 0).then(|| Note {
        code: "blueprint::associated_later".to_owned(),
        message: format!(
            "{count} {address} {is} associated once the host runs: with `--no-wait`, the next apply does that, and the host's \
             boot waits for it"
        ),
        help: None,
    })
}

fn placement_key(placement: &Placement) -> &'static str {
    match placement {
        Placement::Zone(_) => "zone",
        Placement::Subnet(_) => "subnet",
    }
}

fn control_plane_unreachable(stack: &Stack, observed: &Observed) -> Vec<Finding> {
    let public_ip = stack.control_plane.public_ip;
    let mut findings = Vec::new();
    let mut told = BTreeSet::new();
    for placement in control_plane_placements(stack) {
        let Some(subnet) = observed.lookups.get(&address::subnet(&placement)) else { continue };
        let (Some(id), Some(route)) = (text(subnet, "id"), text(subnet, "default_route")) else { continue };
        // A pool's zone and another's subnet may be the same one.
        if !told.insert(id) {
            continue;
        }
        let (why, help, path) = match route {
            "none" => (
                format!("{id} has no default route"),
                "choose zones whose subnets have one, to an internet gateway or a NAT gateway",
                "control_plane.zones",
            ),
            "internet_gateway" if !public_ip => (
                format!("the default route of {id} is an internet gateway, and its task has no public address"),
                "set `control_plane.public_ip` to true, or choose zones whose subnets are behind a NAT gateway",
                "control_plane.public_ip",
            ),
            _ => continue,
        };
        findings.push(Finding {
            code: "control_plane_unreachable",
            message: format!("the control plane cannot reach api.gatling.io: {why}"),
            help: Some(help.to_owned()),
            path: path.to_owned(),
        });
    }
    findings
}

/// The execution role may read the secrets, but not use a key of somebody's own that encrypts them.
fn secrets_with_keys(stack: &Stack, observed: &Observed) -> Vec<Finding> {
    let secrets = [("token", "control_plane.token"), ("ssh_private_key", "control_plane.ssh.private_key")];
    let finding = |(name, path): (&str, &str)| {
        let secret = observed.lookups.get(&address::secret(name))?;
        let (arn, key) = (text(secret, "arn")?, text(secret, "kms_key")?);
        Some(Finding {
            code: "secret_with_own_key",
            message: format!(
                "the secret `{arn}` is encrypted with the key `{key}`, which the execution role may not use"
            ),
            help: Some(format!("allow `{}` kms:Decrypt in the key's policy", address::name(stack, EXECUTION))),
            path: path.to_owned(),
        })
    };
    secrets.into_iter().filter_map(finding).collect()
}

/// Amazon Linux 2023 has glibc 2.34, and a newer one is what most machines have that binaries are built on.
fn binaries_that_may_not_start(stack: &Stack, binaries: &Binaries, desired: &Graph) -> Vec<Finding> {
    let objects = || desired.resources().values().filter(|resource| resource.kind().as_str() == S3Object::KIND);
    let finding = |(architecture, binary): (Architecture, &Binary)| {
        objects().find(|object| text(&object.attributes, "sha256") == Some(&*binary.sha256))?;
        let boots =
            |pool: &&Pool| pool.instance_type.architecture == architecture && pool.image == Image::AmazonLinux2023;
        stack.pools.values().find(boots).filter(|_| binary.is_dynamic)?;
        Some(Finding {
            code: "dynamic_generator",
            message: format!(
                "the generator binary `{}` is linked dynamically: on Amazon Linux 2023 it may not start, because that has \
                 an older C library",
                binary.path.display()
            ),
            help: Some("build one that is linked statically with `cargo xtask generator`".to_owned()),
            path: "generator.binary".to_owned(),
        })
    };
    binaries.known().filter_map(finding).collect()
}

/// Addresses that are still to be taken must be free: hosts that stand already hold theirs.
fn room(stack: &Stack, desired: &Graph, observed: &Observed, errors: &mut Vec<Finding>) {
    // By the subnet's id: a zone and an id may mean the same one.
    let mut free: BTreeMap<&str, i64> = BTreeMap::new();
    for placement in pool_placements(stack).into_iter().chain(control_plane_placements(stack)) {
        let Some(subnet) = observed.lookups.get(&address::subnet(&placement)) else { continue };
        if let (Some(id), Some(addresses)) = (text(subnet, "id"), number(subnet, "free_addresses")) {
            free.insert(id, addresses);
        }
    }
    for (name, pool) in &stack.pools {
        let Some(id) = subnet_id(&pool.placement, observed) else { continue };
        let Some(left) = free.get_mut(id) else { continue };
        let hosts: Vec<Address> = (0..pool.count).map(|number| address::instance(name, number)).collect();
        let wanted: i64 = hosts.iter().map(|host| wanted(host, desired)).sum();
        let held: i64 = hosts.iter().map(|host| held(host, observed)).sum();
        if wanted - held > *left {
            errors.push(pool_does_not_fit(name, pool, id, Room { wanted, held, left: *left }));
        }
        *left = (*left - (wanted - held)).max(0);
    }
    let stands = observed.remotes.get(&address::service()).is_some_and(|remotes| !remotes.is_empty());
    let placements = control_plane_placements(stack);
    let ids: BTreeSet<&str> = placements.iter().filter_map(|placement| subnet_id(placement, observed)).collect();
    let in_words = ids.iter().copied().collect::<Vec<_>>().join(", ");
    if !stands && !ids.is_empty() && ids.iter().all(|id| free.get(id).is_none_or(|left| *left < 1)) {
        errors.push(Finding {
            code: "control_plane_does_not_fit",
            message: format!("the control plane's task needs an address, and none is left free in {in_words}"),
            help: Some("name zones with room in `control_plane.zones`".to_owned()),
            path: "control_plane.zones".to_owned(),
        });
    }
}

/// Addresses of a pool and of its subnet.
struct Room {
    wanted: i64,
    held: i64,
    left: i64,
}

fn pool_does_not_fit(name: &str, pool: &Pool, id: &str, Room { wanted, held, left }: Room) -> Finding {
    let Pool { count, interfaces, addresses, .. } = pool;
    let has = if held > 0 { format!(" and has {held}") } else { String::new() };
    let each = i64::from(*interfaces) * i64::from(*addresses);
    Finding {
        code: "pool_does_not_fit",
        message: format!(
            "pool `{name}` takes {wanted} private addresses ({count} × {interfaces} interfaces × {addresses}){has}, but \
             {id} has {left} free"
        ),
        help: Some(match (left + held) / each.max(1) {
            0 => "lower `interfaces` or `addresses`, or place the pool in a larger subnet".to_owned(),
            fit => format!("lower `count` to {fit}, or place the pool in a larger subnet"),
        }),
        path: format!("pools.{name}.count"),
    }
}

/// How many addresses a host is to have.
fn wanted(address: &Address, desired: &Graph) -> i64 {
    desired.resources().get(address).and_then(|host| all_addresses(&host.attributes)).unwrap_or(0)
}

/// How many addresses a host holds already.
fn held(address: &Address, observed: &Observed) -> i64 {
    let standing = observed.remotes.get(address).and_then(|remotes| remotes.first());
    standing.and_then(|host| all_addresses(&host.attributes)).unwrap_or(0)
}

fn all_addresses(host: &Map) -> Option<i64> {
    Some(number(host, "interfaces")? * number(host, "addresses")?)
}

fn subnet_id<'a>(placement: &Placement, observed: &'a Observed) -> Option<&'a str> {
    text(observed.lookups.get(&address::subnet(placement))?, "id")
}

fn text<'a>(attributes: &'a Map, name: &str) -> Option<&'a str> {
    attributes.get(name)?.as_text()
}

fn number(attributes: &Map, name: &str) -> Option<i64> {
    attributes.get(name)?.as_number()
}

/// What is wrong with the generator binaries that are at hand. A plan refuses them only where it boots hosts with them.
pub fn doubts(stack: &Stack) -> Vec<Note> {
    let doubt = |(architecture, why): (Architecture, Unusable)| {
        // Whose digest is named may lie in the bucket.
        let is_named = stack.generator.sha256.contains_key(&architecture);
        (!is_named).then(|| Note {
            code: "blueprint::generator".to_owned(),
            message: format!("a pool that is new or changed boots a generator binary for {architecture}, and {why}"),
            help: Some(how_to_build(architecture).to_owned()),
        })
    };
    Binaries::of(stack).doubts().into_iter().filter_map(doubt).collect()
}
