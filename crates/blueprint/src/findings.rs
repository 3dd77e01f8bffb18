//! Problems of a stack that show only after the lookups were read, and before anything is changed.

use std::collections::{BTreeMap, BTreeSet};

use trunnion_catalog::{Architecture, limits::SERVICE_SUBNETS};
use trunnion_engine::{Action, Address, Change, Graph, Map, Note, Observed, Plan, Value};
use trunnion_host::Route;
use trunnion_kinds::{ElasticIp, S3Object};
use trunnion_stack::{Image, Placement, Pool, Spread, Stack, may_be_secret};

use crate::{
    Binaries, Binary, Unusable,
    address::{self, EXECUTION},
    boot::{IPV4, IPV6, default_route, runs_javascript},
    error::how_to_build,
    estimate, keys,
    network::{control_plane_placements, pool_placements},
    quotas,
};

/// The versions of Amazon Corretto in Amazon Linux 2023 (its user guide, "Amazon Corretto").
const CORRETTO: [u8; 4] = [11, 17, 21, 25];

/// All findings, each list in the order of the stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What cannot work. A plan with one of these must not be applied.
    pub errors: Vec<Finding>,
    /// What will probably not work as intended.
    pub warnings: Vec<Finding>,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A stable name, such as `pool_does_not_fit`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The key of the stack that causes it, such as `pools.heavy.count`.
    pub path: String,
}

/// Checks the stack and its graph against the binaries, the lookups and the observed resources. A lookup without a result
/// gives no finding.
pub fn findings(stack: &Stack, binaries: &Binaries, desired: &Graph, observed: &Observed) -> Findings {
    let mut found = Findings::default();
    for (name, pool) in &stack.pools {
        found.errors.extend(type_too_small(name, pool, observed));
        found.errors.extend(no_ipv6(name, pool, observed));
        found.errors.extend(volume_too_small(name, pool, observed));
        found.errors.extend(no_graalvm(stack, name, pool));
        found.warnings.extend(pool_unreachable(name, pool, observed));
        found.warnings.extend(not_public(stack, name, pool, observed));
        found.warnings.extend(ipv6_unreachable(name, pool, observed));
    }
    found.warnings.extend(nat_gateways(stack, observed));
    found.errors.extend(no_such_java(stack));
    found.errors.extend(too_many_subnets(stack, observed));
    free_addresses(stack, desired, observed, &mut found.errors);
    quotas::check(desired, observed, &mut found);
    found.errors.extend(estimate::too_few_users(stack, observed));
    found.warnings.extend(control_plane_unreachable(stack, observed));
    found.warnings.extend(secrets_with_keys(stack, observed));
    found.warnings.extend(binaries_that_may_not_start(stack, binaries, desired));
    found.warnings.extend(secrets_in_clear(stack));
    found
}

/// The stack was checked against the catalog before. AWS's own answer for the region takes precedence.
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

/// An interface has an IPv6 prefix only in a subnet with a range of IPv6 addresses, and of a type that supports it.
fn no_ipv6(name: &str, pool: &Pool, observed: &Observed) -> Option<Finding> {
    let finding = |code, message, help: &str| {
        Some(Finding { code, message, help: Some(help.to_owned()), path: format!("pools.{name}.ipv6") })
    };
    let type_name = pool.instance_type.name;
    let facts = observed.lookups.get(&address::instance_type(type_name)).filter(|_| pool.ipv6);
    if facts.is_some_and(|facts| facts.get("ipv6_prefixes") == Some(&Value::Bool(false))) {
        let message = format!("`pools.{name}.ipv6` is true, but AWS says that {type_name} supports no IPv6 prefixes");
        return finding("type_without_ipv6", message, "use an instance type of the Nitro system, or remove `ipv6`");
    }
    let subnet = observed.lookups.get(&address::subnet(&pool.placement)).filter(|_| pool.ipv6)?;
    let id = text(subnet, "id").filter(|_| text(subnet, "ipv6_cidr").is_none())?;
    let message = format!("`pools.{name}.ipv6` is true, but {id} has no range of IPv6 addresses");
    finding(
        "subnet_without_ipv6",
        message,
        "associate an IPv6 range of the VPC with it, place the pool in a subnet that has one, or remove `ipv6`",
    )
}

/// EC2 does not create a root volume that is smaller than the image's snapshot.
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

/// Only the lookups show how many subnets there are: a zone and a subnet ID may stand for the same one.
fn too_many_subnets(stack: &Stack, observed: &Observed) -> Option<Finding> {
    let placements = control_plane_placements(stack);
    let ids: BTreeSet<&str> = placements.iter().filter_map(|placement| subnet_id(placement, observed)).collect();
    (ids.len() > SERVICE_SUBNETS).then(|| Finding {
        code: "too_many_subnets",
        message: format!(
            "the control plane uses the {} subnets of the pools, but an ECS service allows at most {SERVICE_SUBNETS}",
            ids.len()
        ),
        help: Some(format!("set `control_plane.zones` to at most {SERVICE_SUBNETS} zones")),
        path: "control_plane.zones".to_owned(),
    })
}

/// Values that look like secrets. They appear in plain text in the task definition, the hosts' user data, tags, state
/// and plans.
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
                "`{path}` may contain a secret; anyone who can read the task definition, the hosts or the tags can see it"
            ),
            help: Some(
                "let simulations fetch it from Secrets Manager, and replace the secret: it was in a file".to_owned(),
            ),
            path,
        })
    };
    places.into_iter().filter_map(finding).collect()
}

/// The built-in template checks for GraalVM and does not install it, so the boot would fail.
fn no_graalvm(stack: &Stack, name: &str, pool: &Pool) -> Option<Finding> {
    (is_all_built_in(stack, pool) && runs_javascript(stack, name)).then(|| Finding {
        code: "no_graalvm",
        message: format!(
            "a location of pool `{name}` runs JavaScript, which needs GraalVM, but Amazon Linux 2023 has no package of it"
        ),
        help: Some(format!("set `pools.{name}.image` to an image with GraalVM, or use a template that installs it")),
        path: format!("pools.{name}.image"),
    })
}

/// The built-in template installs the Java version of the stack, and Amazon Linux 2023 has packages of only some
/// versions.
fn no_such_java(stack: &Stack) -> Option<Finding> {
    let java = stack.generator.java;
    let installs = |(name, pool): &(&String, &Pool)| is_all_built_in(stack, pool) && !runs_javascript(stack, name);
    let (name, _) = stack.pools.iter().find(installs).filter(|_| !CORRETTO.contains(&java))?;
    Some(Finding {
        code: "no_such_java",
        message: format!("the hosts of pool `{name}` need Java {java}, but Amazon Linux 2023 has no package of it"),
        help: Some(format!(
            "use Java 11, 17, 21 or 25, set `pools.{name}.image` to an image with Java {java}, or use a template that \
             installs it"
        )),
        path: "generator.java".to_owned(),
    })
}

/// Whether image and template are both the built-in ones, so that only the built-in template installs software.
fn is_all_built_in(stack: &Stack, pool: &Pool) -> bool {
    pool.image == Image::AmazonLinux2023 && stack.generator.template.is_none()
}

fn pool_unreachable(name: &str, pool: &Pool, observed: &Observed) -> Option<Finding> {
    let subnet = observed.lookups.get(&address::subnet(&pool.placement))?;
    let id = text(subnet, "id")?;
    let gives_none = || subnet.get("gives_public_address") == Some(&Value::Bool(false));
    let public = "give each host a public address (`public_ip: true`), or place the pool in a subnet whose default route is a \
                  NAT gateway or similar";
    let (why, help) = match default_route(subnet, IPV4) {
        Route::None => (
            format!("{id} has no default route"),
            "place the pool in a subnet whose default route is an internet gateway, a NAT gateway or similar",
        ),
        Route::InternetGateway if pool.interfaces > 1 && !pool.public_ip => (
            format!(
                "the default route of {id} is an internet gateway, but AWS gives no public address to hosts with several \
                 interfaces"
            ),
            public,
        ),
        Route::InternetGateway if !pool.public_ip && gives_none() => (
            format!(
                "the default route of {id} is an internet gateway, but the subnet gives no public address to hosts"
            ),
            public,
        ),
        _ => return None,
    };
    Some(Finding {
        code: "pool_unreachable",
        message: format!(
            "the hosts of pool `{name}` cannot reach the internet (api.gatling.io, package repositories, S3), so their \
             boot fails: {why}"
        ),
        help: Some(help.to_owned()),
        path: format!("pools.{name}.{}", placement_key(&pool.placement)),
    })
}

/// Without a default route for IPv6, hosts reach nothing outside of the VPC over IPv6.
fn ipv6_unreachable(name: &str, pool: &Pool, observed: &Observed) -> Option<Finding> {
    let subnet = observed.lookups.get(&address::subnet(&pool.placement)).filter(|_| pool.ipv6)?;
    let id = text(subnet, "id").filter(|_| default_route(subnet, IPV6) == Route::None)?;
    Some(Finding {
        code: "ipv6_unreachable",
        message: format!(
            "the hosts of pool `{name}` reach no destination on the internet over IPv6: {id} has no route for `::/0`"
        ),
        help: Some("add a route for `::/0` to an internet gateway or an egress-only internet gateway".to_owned()),
        path: format!("pools.{name}.ipv6"),
    })
}

/// A NAT gateway limits connections and bills data (VPC User Guide, "NAT gateway basics": 55,000 connections to each
/// destination for each of its at most 8 addresses, read November 2026).
fn nat_gateways(stack: &Stack, observed: &Observed) -> Option<Finding> {
    let is_behind = |(_, pool): &(&String, &Pool)| {
        let subnet = observed.lookups.get(&address::subnet(&pool.placement));
        subnet.is_some_and(|subnet| default_route(subnet, IPV4) == Route::Nat)
    };
    let behind: Vec<_> = stack.pools.iter().filter(is_behind).collect();
    let (name, pool) = behind.first()?;
    let names = behind.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let pools = if behind.len() == 1 { "pool" } else { "pools" };
    Some(Finding {
        code: "nat_gateway",
        message: format!(
            "the hosts of {pools} {names} reach the internet through a NAT gateway: it bills each gigabyte, and holds 55,000 \
             connections to one destination for each of its addresses"
        ),
        help: Some(
            "for load on the internet, place the pool in a subnet whose default route is an internet gateway, with \
             `public_ip: true`"
                .to_owned(),
        ),
        path: format!("pools.{name}.{}", placement_key(&pool.placement)),
    })
}

/// Warns if a pool has addresses without a public one although only public ones reach the internet, or public ones that
/// nothing uses.
fn not_public(stack: &Stack, name: &str, pool: &Pool, observed: &Observed) -> Option<Finding> {
    let public = Some(u64::from(pool.public_addresses)).filter(|public| *public > 0)?;
    let subnet = observed.lookups.get(&address::subnet(&pool.placement)).filter(|subnet| subnet.contains_key(IPV4))?;
    let id = text(subnet, "id")?;
    let all = u64::from(pool.interfaces) * u64::from(pool.addresses);
    let (message, help) = match default_route(subnet, IPV4) {
        Route::InternetGateway if stack.generator.spread != Spread::Off && all > public => (
            format!(
                "the hosts of pool `{name}` have {all} addresses each, and {public} of them {} a public one: connections to \
                 the internet use no other address",
                if public == 1 { "has" } else { "have" }
            ),
            "raise `public_addresses` for more connections to one destination; private destinations can use all addresses",
        ),
        Route::None | Route::InternetGateway => return None,
        _ => (
            format!(
                "the Elastic IPs of pool `{name}` are not used: the default route of {id} is not an internet gateway, so its \
                 hosts reach the internet by other addresses"
            ),
            "remove `public_ip` and `public_addresses`, or place the pool in a subnet whose default route is an internet \
             gateway",
        ),
    };
    Some(Finding {
        code: "not_public",
        message,
        help: Some(help.to_owned()),
        path: format!("pools.{name}.public_addresses"),
    })
}

/// A note that Elastic IPs are associated late: AWS does not allow it before the host runs.
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
            "{count} {address} {is} associated when the host runs; with `--no-wait`, the next apply does it, and the host's \
             boot waits until then"
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
    let mut reported = BTreeSet::new();
    for placement in control_plane_placements(stack) {
        let Some(subnet) = observed.lookups.get(&address::subnet(&placement)) else { continue };
        let (Some(id), Some(route)) = (text(subnet, "id"), text(subnet, "default_route")) else { continue };
        // A zone and a subnet ID may stand for the same subnet.
        if !reported.insert(id) {
            continue;
        }
        let (why, help, path) = match route {
            "none" => (
                format!("{id} has no default route"),
                "choose zones whose subnets have a default route to an internet gateway or a NAT gateway",
                "control_plane.zones",
            ),
            "internet_gateway" if !public_ip => (
                format!("the default route of {id} is an internet gateway, but its task has no public address"),
                "set `control_plane.public_ip` to true, or choose zones whose subnets route to a NAT gateway",
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

/// The execution role can read the secrets, but it cannot use a customer managed KMS key that encrypts them.
fn secrets_with_keys(stack: &Stack, observed: &Observed) -> Vec<Finding> {
    let secrets = [("token", "control_plane.token"), ("ssh_private_key", "control_plane.ssh.private_key")];
    let finding = |(name, path): (&str, &str)| {
        let secret = observed.lookups.get(&address::secret(name))?;
        let (arn, key) = (text(secret, "arn")?, text(secret, "kms_key")?);
        Some(Finding {
            code: "secret_with_own_key",
            message: format!(
                "the secret `{arn}` is encrypted with the key `{key}`, but the execution role cannot use that key"
            ),
            help: Some(format!(
                "allow kms:Decrypt for the role `{}` in the key's policy",
                address::name(stack, EXECUTION)
            )),
            path: path.to_owned(),
        })
    };
    secrets.into_iter().filter_map(finding).collect()
}

/// Amazon Linux 2023 has glibc 2.34. Most build machines have a newer one, and a binary linked against it may not
/// start.
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
                "the generator binary `{}` is linked dynamically: it may not start on Amazon Linux 2023, whose C library may be \
                 older than that of this machine",
                binary.path.display()
            ),
            help: Some("run `cargo xtask generator` in the source folder of Trunnion, and name the result in `generator.binary`".to_owned()),
            path: "generator.binary".to_owned(),
        })
    };
    binaries.known().filter_map(finding).collect()
}

/// Checks that the subnets have enough free addresses. Existing hosts already hold theirs.
fn free_addresses(stack: &Stack, desired: &Graph, observed: &Observed, errors: &mut Vec<Finding>) {
    // By the subnet's ID: a zone and an ID may stand for the same subnet.
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
            errors.push(pool_does_not_fit(name, pool, id, AddressCount { wanted, held, left: *left }));
        }
        *left = (*left - (wanted - held)).max(0);
    }
    let exists = observed.remotes.get(&address::service()).is_some_and(|remotes| !remotes.is_empty());
    let placements = control_plane_placements(stack);
    let ids: BTreeSet<&str> = placements.iter().filter_map(|placement| subnet_id(placement, observed)).collect();
    let in_words = ids.iter().copied().collect::<Vec<_>>().join(", ");
    if !exists && !ids.is_empty() && ids.iter().all(|id| free.get(id).is_some_and(|left| *left < 1)) {
        errors.push(Finding {
            code: "control_plane_does_not_fit",
            message: format!("the control plane's task needs an address, but none is free in {in_words}"),
            help: Some("set `control_plane.zones` to zones with free addresses".to_owned()),
            path: "control_plane.zones".to_owned(),
        });
    }
}

/// How many addresses a pool needs, how many its hosts already hold, and how many its subnet has left.
struct AddressCount {
    wanted: i64,
    held: i64,
    left: i64,
}

fn pool_does_not_fit(name: &str, pool: &Pool, id: &str, AddressCount { wanted, held, left }: AddressCount) -> Finding {
    let Pool { count, interfaces, addresses, .. } = pool;
    let has = if held > 0 { format!(" and has {held}") } else { String::new() };
    let each = i64::from(*interfaces) * i64::from(*addresses);
    Finding {
        code: "pool_does_not_fit",
        message: format!(
            "pool `{name}` needs {wanted} private addresses ({count} × {interfaces} interfaces × {addresses}){has}, but \
             {id} has {left} free"
        ),
        help: Some(match (left + held) / each.max(1) {
            0 => "lower `interfaces` or `addresses`, or place the pool in a larger subnet".to_owned(),
            fit => format!("lower `count` to {fit}, or place the pool in a larger subnet"),
        }),
        path: format!("pools.{name}.count"),
    }
}

/// How many addresses the stack asks for on a host.
fn wanted(address: &Address, desired: &Graph) -> i64 {
    desired.resources().get(address).and_then(|host| all_addresses(&host.attributes)).unwrap_or(0)
}

/// How many addresses a host holds already.
pub(crate) fn held(address: &Address, observed: &Observed) -> i64 {
    let existing = observed.remotes.get(address).and_then(|remotes| remotes.first());
    existing.and_then(|host| all_addresses(&host.attributes)).unwrap_or(0)
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

pub(crate) fn number(attributes: &Map, name: &str) -> Option<i64> {
    attributes.get(name)?.as_number()
}

/// Notes of `validate`: on a key with which a control plane may not log in, and on the configured generator binaries that
/// cannot be used. A plan refuses such a binary only if hosts boot it.
pub fn doubts(stack: &Stack) -> Vec<Note> {
    let doubt = |(architecture, why): (Architecture, Unusable)| {
        // If the stack sets the digest, the bucket may already hold the binary.
        let is_named = stack.generator.sha256.contains_key(&architecture);
        (!is_named).then(|| Note {
            code: "blueprint::generator".to_owned(),
            message: format!("new and changed pools need a generator binary for {architecture}, but {why}"),
            help: Some(how_to_build(architecture).to_owned()),
        })
    };
    keys::note(stack).into_iter().chain(Binaries::of(stack).doubts().into_iter().filter_map(doubt)).collect()
}
