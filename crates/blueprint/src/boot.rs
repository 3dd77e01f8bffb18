//! Renders the boot template for a pool: the result is the user data of the pool's hosts.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _},
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use trunnion_catalog::Architecture;
use trunnion_engine::{Map, Observed, Value, hex};
use trunnion_host::{Config, Connections, DefaultRoutes, Except, Mode, Network, Ports, Route, Spread, Ssh};
use trunnion_stack::{Engine, Pool, Stack, Tracking};

use crate::{
    Binaries, BlueprintError,
    address::{self, bucket_of},
    binaries::key,
    conf::EXECUTABLE_DIR,
    error::BlueprintError as Error,
    template::Template,
};

/// How many bytes of user data AWS allows, before base64 encoding.
pub const USER_DATA_LIMIT: usize = trunnion_catalog::limits::USER_DATA_BYTES;

/// The built-in boot template.
pub(crate) const BUILT_IN: &str = include_str!("../templates/boot.sh.tera");
const BUILT_IN_NAME: &str = "the built-in boot template";
/// The built-in boot template of version [`FIRST_VERSION`].
const FIRST: &str = include_str!("../templates/boot-0.1.0.sh.tera");
const FIRST_NAME: &str = "the built-in boot template of version 0.1.0";
/// The version of Trunnion whose launch templates do not record what their user data was rendered from.
const FIRST_VERSION: &str = "0.1.0";
/// The version of this Trunnion.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The entries of `generator.variables` that the built-in template uses.
const KNOWN_VARIABLES: &[&str] = &["packages"];
const KNOWN_VARIABLES_IN_WORDS: &str = "`packages`";

/// The longest template that is accepted, in bytes and with its comments.
const LONGEST_TEMPLATE: u64 = 1024 * 1024;

/// The addresses of Gatling's cloud, to which hosts and control plane connect (its documentation of private locations,
/// read August 2026). This traffic is not load.
const GATLING_CLOUD: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(18, 98, 64, 240), 29));
/// The same for IPv6, which hosts without it do not need.
const GATLING_CLOUD_IPV6: [IpNet; 3] = [gatling_ipv6(0xc101), gatling_ipv6(0xc102), gatling_ipv6(0xc103)];

const fn gatling_ipv6(subnet: u16) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x2a05, 0xd012, 0x03a4, subnet, 0, 0, 0, 0), 64))
}

/// The ranges that no route leads to the internet: RFC 1918, the shared range of RFC 6598, and the unique local addresses of
/// RFC 4193.
const PRIVATE_RANGES: [IpNet; 5] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)),
];

/// The variables of a boot template. The comment at the head of the built-in template documents them.
#[derive(Serialize)]
struct BootContext<'a> {
    stack: &'a str,
    region: &'a str,
    pool: &'a str,
    instance_type: &'a str,
    architecture: Architecture,
    interfaces: u32,
    addresses: u32,
    tracking: trunnion_host::Tracking,
    public_ip: bool,
    java: u8,
    javascript: bool,
    generator: Artifact<'a>,
    config: String,
    metrics_port: u16,
    ssh: SshAccess<'a>,
    variables: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Artifact<'a> {
    bucket: String,
    key: String,
    sha256: &'a str,
}

#[derive(Serialize)]
struct SshAccess<'a> {
    user: &'a str,
    public_key: &'a str,
}

/// The user data of a pool's hosts: the boot template, rendered with the newest generator binary. Nothing of AWS is read, so
/// the default routes are not known.
pub fn boot(stack: &Stack, pool_name: &str, binaries: &Binaries) -> Result<String, BlueprintError> {
    let nothing = Observed::default();
    let script = Script::read(stack, &nothing)?;
    let architecture = pool(stack, pool_name)?.instance_type.architecture;
    script.render(pool_name, newest(pool_name, architecture, binaries)?)
}

/// The user data of a pool's hosts for readers of the repository, to compare it with that of another commit. Digests stand for the
/// generator binary where the stack names none, and in the stack's own template for `values`: those of `generator.variables` of both.
/// `None` for a template from outside of the repository, whose content is not theirs, and for one that decides or computes by its
/// variables.
pub fn boot_for_review(stack: &Stack, pool_name: &str, values: &[&str]) -> Result<Option<String>, BlueprintError> {
    if stack.generator.template.as_ref().is_some_and(|path| stack.files.is_allowed_beside(path)) {
        return Ok(None);
    }
    let architecture = pool(stack, pool_name)?.instance_type.architecture;
    let sha256 = stack.generator.sha256.get(&architecture).map_or(ANY_BINARY, String::as_str);
    let nothing = Observed::default();
    let rendered = |stack: &Stack| Script::read(stack, &nothing)?.render(pool_name, sha256);
    let text = rendered(stack)?;
    if stack.generator.template.is_none() {
        return Ok(Some(text));
    }
    let mut secrets: Vec<&str> = values.iter().copied().filter(|value| value.trim().len() >= SHORTEST_SECRET).collect();
    secrets.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let masked = |text: String| secrets.iter().fold(text, |text, value| text.replace(value, &digest_of(value)));
    // A template may write a value in another way, so that digests are what it gets.
    let mut without = stack.clone();
    let variables = without.generator.variables.values_mut();
    variables.filter(|value| secrets.contains(&value.as_str())).for_each(|value| *value = digest_of(value));
    let shown = masked(rendered(&without)?);
    // Marks with which shells quote differ between a value and its digest.
    let bare = |text: &str| text.replace(['\'', '"', '\\'], "");
    let plain = secrets.iter().fold(bare(&text), |text, value| text.replace(&bare(value), &digest_of(value)));
    Ok((plain == bare(&shown)).then_some(shown))
}

/// Stands for a value: one word, which no shell needs to quote.
fn digest_of(value: &str) -> String {
    format!("sha256:{:.12}", hex(&Sha256::digest(value)))
}

/// Stands for the digest of a binary that nobody reads.
const ANY_BINARY: &str = "(the generator binary)";

/// Shorter values are no secrets, and are found in other words, too.
const SHORTEST_SECRET: usize = 4;

/// The digest of the newest generator binary for a pool's hosts.
pub(crate) fn newest<'b>(
    pool_name: &str,
    architecture: Architecture,
    binaries: &'b Binaries,
) -> Result<&'b str, BlueprintError> {
    binaries.newest(architecture).map_err(|why| Error::NoBinary { pool: pool_name.to_owned(), architecture, why })
}

fn pool<'s>(stack: &'s Stack, name: &str) -> Result<&'s Pool, BlueprintError> {
    stack.pools.get(name).ok_or_else(|| Error::NoPool { pool: name.to_owned() })
}

/// The parsed boot template of a stack. It renders for any pool and any generator binary.
pub(crate) struct Script<'s> {
    stack: &'s Stack,
    version: &'static str,
    observed: &'s Observed,
    template: Template,
}

impl<'s> Script<'s> {
    pub(crate) fn read(stack: &'s Stack, observed: &'s Observed) -> Result<Self, BlueprintError> {
        let template = match (&stack.generator.template, &stack.template_program) {
            (None, _) => built_in(stack)?,
            (Some(path), program) => {
                let (name, text) = own(stack, path)?;
                match program {
                    Some(program) => Template::apart(name, text, program)?,
                    None => Template::here(name, text)?,
                }
            }
        };
        Ok(Self { stack, version: VERSION, observed, template })
    }

    /// The script of version 0.1.0; `None` if the stack has its own template.
    pub(crate) fn first(stack: &'s Stack, observed: &'s Observed) -> Result<Option<Self>, BlueprintError> {
        let is_built_in = stack.generator.template.is_none();
        let parse = || {
            let template = Template::built_in(FIRST_NAME, FIRST)?;
            Ok(Self { stack, version: FIRST_VERSION, observed, template })
        };
        is_built_in.then(parse).transpose()
    }

    /// The version of Trunnion that has this script, or that reads it if it is the stack's own.
    pub(crate) fn version(&self) -> &'static str {
        self.version
    }

    /// The text of the stack's own template; `None` for the built-in one.
    pub(crate) fn own(&self) -> Option<&str> {
        self.stack.generator.template.is_some().then(|| self.template.text())
    }

    /// The user data of a pool's hosts for the generator binary with this digest.
    pub(crate) fn render(&self, pool_name: &str, sha256: &str) -> Result<String, BlueprintError> {
        self.render_as(pool_name, pool_name, sha256)
    }

    /// The same for a pool that has this name for its hosts.
    pub(crate) fn render_as(&self, pool_name: &str, named: &str, sha256: &str) -> Result<String, BlueprintError> {
        let pool = pool(self.stack, pool_name)?;
        let config = config(self.stack, named, pool, network(self.stack, pool, self.observed)).to_json()?;
        let context = boot_context(self.stack, pool_name, named, pool, sha256, config);
        let text = self.template.render(&context)?;
        check_mark(self.template.name(), &text)?;
        if text.len() > USER_DATA_LIMIT {
            return Err(Error::UserDataTooLong {
                pool: pool_name.to_owned(),
                size: text.len(),
                limit: USER_DATA_LIMIT,
            });
        }
        Ok(text)
    }
}

/// The built-in template, if the stack gives it no variables that it does not know.
fn built_in(stack: &Stack) -> Result<Template, BlueprintError> {
    let unknown = stack.generator.variables.keys().find(|name| !KNOWN_VARIABLES.contains(&name.as_str()));
    match unknown {
        Some(name) => Err(Error::UnknownVariable { name: name.clone(), known: KNOWN_VARIABLES_IN_WORDS }),
        None => Template::built_in(BUILT_IN_NAME, BUILT_IN),
    }
}

/// The name of the stack's own template for messages, and its text.
fn own(stack: &Stack, path: &Path) -> Result<(String, String), BlueprintError> {
    let text = read(stack, path).map_err(|source| Error::Template { path: path.to_path_buf(), source })?;
    if text.len() as u64 > LONGEST_TEMPLATE {
        return Err(Error::TemplateTooLong { path: path.to_path_buf(), limit: LONGEST_TEMPLATE });
    }
    // Remove a byte order mark and Windows line ends: cloud-init and shells do not understand them. Also, a checkout on
    // Windows would otherwise replace every host.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n");
    Ok((format!("`{}`", path.display()), text))
}

/// The first characters by which cloud-init recognises user data (its documentation, "User data formats", read November
/// 2026). Compressed user data is not text, so it is not listed.
const MARKS: [&str; 8] = [
    "#!",
    "#cloud-config",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
    "Content-Type:",
    "MIME-Version:",
];

/// Refuses user data that cloud-init would ignore: the host would boot without becoming a generator.
fn check_mark(template: &str, user_data: &str) -> Result<(), BlueprintError> {
    let is_known = MARKS.iter().any(|mark| {
        user_data.get(..mark.len()).is_some_and(|start| {
            // MIME headers are case-insensitive; the other marks are not.
            start == *mark || (mark.ends_with(':') && start.eq_ignore_ascii_case(mark))
        })
    });
    if is_known {
        return Ok(());
    }
    Err(Error::NoCloudInit { template: template.to_owned() })
}

fn read(stack: &Stack, path: &Path) -> io::Result<String> {
    let mut text = String::new();
    stack.files.open(path)?.take(LONGEST_TEMPLATE + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn boot_context<'a>(
    stack: &'a Stack,
    pool_name: &'a str,
    named: &'a str,
    pool: &'a Pool,
    sha256: &'a str,
    config: String,
) -> BootContext<'a> {
    let ssh = &stack.control_plane.ssh;
    let instance_type = pool.instance_type;
    BootContext {
        stack: &stack.name,
        region: &stack.region,
        pool: named,
        instance_type: instance_type.name,
        architecture: instance_type.architecture,
        interfaces: pool.interfaces,
        addresses: pool.addresses,
        tracking: tracking(pool),
        public_ip: pool.public_ip,
        java: stack.generator.java,
        javascript: runs_javascript(stack, pool_name),
        generator: Artifact { bucket: bucket_of(stack), key: key(sha256), sha256 },
        config,
        metrics_port: stack.generator.metrics_port,
        ssh: SshAccess { user: &ssh.user, public_key: &ssh.public_key },
        variables: &stack.generator.variables,
    }
}

/// A pool's tracking, as hosts and templates know it.
pub(crate) fn tracking(pool: &Pool) -> trunnion_host::Tracking {
    match pool.tracking {
        Tracking::Tracked => trunnion_host::Tracking::Tracked,
        Tracking::Untracked => trunnion_host::Tracking::Untracked,
    }
}

/// Who picks the source addresses of a stack's hosts, as hosts know it.
pub(crate) fn mode(stack: &Stack) -> Mode {
    match stack.generator.spread {
        trunnion_stack::Spread::Kernel => Mode::Kernel,
        trunnion_stack::Spread::Simulation => Mode::Simulation,
        trunnion_stack::Spread::Off => Mode::Off,
    }
}

/// Over how many source addresses a host of the pool spreads its connections.
pub(crate) fn sources(stack: &Stack, pool: &Pool) -> u64 {
    mode(stack).sources(pool.interfaces, pool.addresses, tracking(pool))
}

/// The config file of the pool's hosts, with the capacity that each host must have.
fn config(stack: &Stack, pool_name: &str, pool: &Pool, network: Option<Network>) -> Config {
    let Pool { instance_type, interfaces, addresses, .. } = *pool;
    let ssh = &stack.control_plane.ssh;
    let tracking = tracking(pool);
    let generator = &stack.generator;
    let listeners = generator.reserved_ports.iter().copied().chain([generator.metrics_port]);
    let connections = Connections::promised(
        sources(stack, pool),
        Ports::WIDEST.count_without(listeners),
        instance_type.memory_mib << 20,
        tracking,
    );
    Config {
        format: Config::FORMAT,
        stack: stack.name.clone(),
        pool: pool_name.to_owned(),
        instance_type: instance_type.name.to_owned(),
        java: generator.java,
        interfaces,
        addresses,
        tracking,
        ports: Ports::WIDEST,
        reserved_ports: generator.reserved_ports.clone(),
        connections,
        descriptors: trunnion_host::descriptors(connections.per_destination),
        spread: spread(stack, pool),
        network,
        ipv6: pool.ipv6,
        metrics_port: generator.metrics_port,
        executable_dir: EXECUTABLE_DIR.into(),
        ssh: Ssh { user: ssh.user.clone(), authorized_keys: vec![ssh.public_key.clone()] },
        metadata_access: generator.metadata_access,
        dns_cache: generator.dns_cache,
    }
}

/// What a host of the pool must know of its network; `None` if each of its addresses reaches the same destinations.
pub(crate) fn network(stack: &Stack, pool: &Pool, observed: &Observed) -> Option<Network> {
    let default_routes = default_routes(pool, observed);
    if !(pool.ipv6 || default_routes.ipv4 == Route::InternetGateway && pool.public_addresses > 0) {
        return None;
    }
    let vpc = observed.lookups.get(&address::vpc());
    let of_vpc = vpc.and_then(|vpc| vpc.get("ranges")?.as_list()).unwrap_or_default();
    let of_vpc = of_vpc.iter().filter_map(|range| range.as_text()?.parse().ok());
    let of_stack = stack.generator.private_ranges.iter().copied();
    let mut private_ranges = IpNet::aggregate(&PRIVATE_RANGES.into_iter().chain(of_vpc).chain(of_stack).collect());
    private_ranges.sort();
    Some(Network { default_routes, private_ranges })
}

/// Where the default routes of a pool's subnet lead.
pub(crate) fn default_routes(pool: &Pool, observed: &Observed) -> DefaultRoutes {
    let subnet = observed.lookups.get(&address::subnet(&pool.placement));
    let route = |family| subnet.map_or(Route::Other, |subnet| default_route(subnet, family));
    DefaultRoutes { ipv4: route(IPV4), ipv6: route(IPV6) }
}

/// The attributes of a subnet with its default routes.
pub(crate) const IPV4: &str = "default_route";
pub(crate) const IPV6: &str = "default_route_ipv6";

/// Where a default route of a subnet leads, by the attribute of the lookup.
pub(crate) fn default_route(subnet: &Map, attribute: &str) -> Route {
    let named = subnet.get(attribute).and_then(Value::as_text).unwrap_or_default();
    serde_json::from_value(named.into()).unwrap_or(Route::Other)
}

/// The config that a boot script contains; `None` if it contains none of this format.
pub(crate) fn config_in(user_data: &str) -> Option<Config> {
    let start = user_data.find("{\n  \"format\":")?;
    serde_json::Deserializer::from_str(user_data.get(start..)?).into_iter().next()?.ok()
}

fn spread(stack: &Stack, pool: &Pool) -> Spread {
    let mut except: BTreeSet<Except> = [Except::Range(GATLING_CLOUD)].into();
    if pool.ipv6 {
        except.extend(GATLING_CLOUD_IPV6.map(Except::Range));
    }
    except.extend(stack.generator.spread_except.iter().map(|except| match *except {
        trunnion_stack::Except::OwnSubnets => Except::OwnSubnets,
        trunnion_stack::Except::Range(range) => Except::Range(range),
    }));
    Spread { mode: mode(stack), except: except.into_iter().collect() }
}

/// Whether a location of the pool runs JavaScript simulations.
pub(crate) fn runs_javascript(stack: &Stack, pool_name: &str) -> bool {
    stack.locations.values().any(|location| location.pool == pool_name && location.engine == Engine::JavaScript)
}
