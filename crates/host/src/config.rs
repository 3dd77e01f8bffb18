//! The generator's config: what the boot template writes on every generator host and the binary reads there.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Connections, Ports};

/// Where the boot template writes the config.
pub const CONFIG_PATH: &str = "/etc/trunnion/generator.json";

/// Longer files are refused. User data, which holds the config, ends at 16,384 bytes.
const LONGEST: u64 = 64 * 1024;

/// What one generator host is promised, and how it is set up.
///
/// Fields that this format got later are left out where they have their defaults: the user data of a pool that does not use
/// them stays the same, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The version of this format: [`Config::FORMAT`].
    pub format: u32,
    /// The stack the host belongs to.
    pub stack: String,
    /// The pool of that stack.
    pub pool: String,
    /// The EC2 instance type.
    pub instance_type: String,
    /// The major version of Java that its simulations run on.
    pub java: u8,
    /// How many network interfaces the host has.
    pub interfaces: u32,
    /// How many private IPv4 addresses each interface has, the primary one included.
    pub addresses: u32,
    /// Whether EC2 tracks the connections of its load interfaces.
    pub tracking: Tracking,
    /// The local ports of every address that outgoing connections take.
    pub ports: Ports,
    /// Ports that outgoing connections leave to other services of the host, beside the metrics port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved_ports: Vec<u16>,
    /// How many connections the host can hold.
    pub connections: Connections,
    /// The limit of open files of one process.
    pub descriptors: u64,
    /// How outgoing connections get their source address.
    pub spread: Spread,
    /// What the instance metadata does not say about the host's network. It is left out where its addresses do not differ:
    /// each of them reaches the same destinations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Whether each interface has an IPv6 prefix of 80 bits. The instance metadata says which.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
    /// Whether a resolver on the host answers lookups from its cache.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dns_cache: bool,
    /// The TCP port of `GET /health` and `GET /metrics` on the primary address.
    pub metrics_port: u16,
    /// The folder in which Gatling unpacks its programs on the host.
    pub executable_dir: PathBuf,
    /// How the control plane logs in.
    pub ssh: Ssh,
    /// Whether the SSH user's processes reach the instance metadata service, and with it the credentials of the host's role.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub metadata_access: bool,
}

/// Whether EC2 tracks the connections of the load interfaces, which are all but the primary one. Those of the primary one
/// are always tracked, because its security group is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tracking {
    /// EC2 tracks them, and its allowance limits their number.
    #[default]
    Tracked,
    /// EC2 does not track them, because their security group lets all TCP in.
    Untracked,
}

impl fmt::Display for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tracked => "tracked",
            Self::Untracked => "untracked",
        })
    }
}

/// How outgoing connections get their source address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Who picks the source.
    pub mode: Mode,
    /// Destinations that keep the host's normal source address.
    pub except: Vec<Except>,
}

/// Who picks the source address of an outgoing connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The kernel, for every connection of the SSH user's processes that binds no address itself.
    #[default]
    Kernel,
    /// The simulation, which names its local addresses itself.
    Simulation,
    /// No choice: the primary address is the only source.
    Off,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Simulation => "simulation",
            Self::Off => "off",
        })
    }
}

/// Destinations that keep the host's normal source address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Except {
    /// The subnets of the host's own interfaces.
    OwnSubnets,
    /// This range.
    Range(IpNet),
}

impl Except {
    const OWN_SUBNETS: &str = "own-subnets";
}

impl fmt::Display for Except {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnSubnets => f.write_str(Self::OWN_SUBNETS),
            Self::Range(range) => range.fmt(f),
        }
    }
}

impl FromStr for Except {
    type Err = ipnet::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == Self::OWN_SUBNETS { Ok(Self::OwnSubnets) } else { Ok(Self::Range(text.parse()?)) }
    }
}

impl TryFrom<String> for Except {
    type Error = ipnet::AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Except> for String {
    fn from(except: Except) -> Self {
        except.to_string()
    }
}

/// What the instance metadata does not say about a host's network: it was read when the host's boot was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Where the default routes of its subnet lead.
    pub default_routes: DefaultRoutes,
    /// Destinations that are not on the internet, whichever way they are routed: every address of the host reaches them.
    /// Sorted, and none is a part of another one.
    pub private_ranges: Vec<IpNet>,
}

/// Where the default routes of a subnet lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultRoutes {
    /// The route to `0.0.0.0/0`.
    pub ipv4: Route,
    /// The route to `::/0`.
    pub ipv6: Route,
}

/// The target of a default route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// An internet gateway: only addresses that are public, or have a public one, reach the internet.
    InternetGateway,
    /// An egress-only internet gateway, for IPv6: every IPv6 address reaches the internet.
    EgressOnlyGateway,
    /// A NAT gateway.
    Nat,
    /// A transit gateway.
    TransitGateway,
    /// An appliance or anything else, or it was not read.
    Other,
    /// There is no default route, or it drops everything.
    None,
}

impl fmt::Display for Route {
    /// With its article, for messages: `a NAT gateway`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InternetGateway => "an internet gateway",
            Self::EgressOnlyGateway => "an egress-only internet gateway",
            Self::Nat => "a NAT gateway",
            Self::TransitGateway => "a transit gateway",
            Self::Other => "another target",
            Self::None => "nothing",
        })
    }
}

/// How the control plane logs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    /// The user as which it logs in.
    pub user: String,
    /// The keys with which it may log in, each one line of `authorized_keys`.
    pub authorized_keys: Vec<String>,
}

/// Why a config cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        source: io::Error,
    },
    /// The file is longer than a config can be.
    #[error("`{path}` has more than {LONGEST} bytes, which is too long for a config")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The content of the file is not a config.
    #[error("`{path}` is not a valid config")]
    InvalidFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// The text is not a config.
    #[error("the config is not valid")]
    Invalid(#[from] serde_json::Error),
    /// The config was written for another version of the binary.
    #[error("the config has format {found}, this binary reads format {}", Config::FORMAT)]
    OtherFormat {
        /// The format that the config names.
        found: u32,
    },
}

impl ConfigError {
    /// What to do next, for errors that a user can resolve.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable { .. } => {
                Some("the boot template writes it: see /var/log/trunnion-boot.log, or name another file with --config")
            }
            Self::OtherFormat { .. } => {
                Some("use the binary that the boot template downloaded: config and binary have the same version")
            }
            Self::TooLong { .. } | Self::InvalidFile { .. } | Self::Invalid(_) => None,
        }
    }
}

impl Config {
    /// The format that this version reads and writes.
    pub const FORMAT: u32 = 2;

    /// The ports that outgoing connections leave to services of the host.
    pub fn listeners(&self) -> impl Iterator<Item = u16> + '_ {
        self.reserved_ports.iter().copied().chain([self.metrics_port])
    }

    /// How many local ports each address has for outgoing connections.
    pub fn ports_per_address(&self) -> u64 {
        self.ports.count_without(self.listeners())
    }

    /// The default of [`Config::metrics_port`].
    pub const METRICS_PORT: u16 = 9_464;

    /// Reads the config file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text)).map_err(unreadable)?;
        if text.len() as u64 > LONGEST {
            return Err(ConfigError::TooLong { path: path.to_owned() });
        }
        Self::parse(&text).map_err(|error| match error {
            ConfigError::Invalid(source) => ConfigError::InvalidFile { path: path.to_owned(), source },
            other => other,
        })
    }

    /// Reads a config from its JSON.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        /// The format is read first: a later format may have other fields.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_str(text)?;
        if format != Self::FORMAT {
            return Err(ConfigError::OtherFormat { found: format });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The config as JSON, one field per line. Every line between the outer braces begins with a space.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// How many private IPv4 addresses the host has on all its interfaces together.
    pub fn all_addresses(&self) -> u64 {
        u64::from(self.interfaces) * u64::from(self.addresses)
    }
}

impl fmt::Display for Config {
    /// For people: one line for each promise, without a line end after the last one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stack, pool, instance_type, java, interfaces, addresses, ports, connections, spread, ssh, .. } =
            self;
        let keys = ssh.authorized_keys.len();
        writeln!(f, "stack       {stack}")?;
        writeln!(f, "pool        {pool}, {instance_type}")?;
        writeln!(f, "interfaces  {interfaces}")?;
        writeln!(f, "addresses   {addresses} on each interface, {} in all", self.all_addresses())?;
        writeln!(f, "tracking    {}", self.tracking)?;
        write!(f, "ports       {} to {} of each address", ports.first, ports.last)?;
        if !self.reserved_ports.is_empty() {
            let reserved: Vec<String> = self.reserved_ports.iter().map(ToString::to_string).collect();
            write!(f, ", without {}", reserved.join(", "))?;
        }
        writeln!(f)?;
        writeln!(f, "connections {} to one destination, {} in all", connections.per_destination, connections.total)?;
        writeln!(f, "spread      {}", spread.mode)?;
        writeln!(f, "metrics     port {}", self.metrics_port)?;
        writeln!(f, "metadata    {} to simulations", if self.metadata_access { "open" } else { "closed" })?;
        writeln!(f, "java        {java}")?;
        write!(f, "ssh         user {}, {keys} authorised key{}", ssh.user, if keys == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"format":2,"stack":"s","pool":"p","instance_type":"c7i.xlarge","java":21,"interfaces":4,
        "addresses":15,"tracking":"untracked","ports":{"first":1024,"last":65535},"connections":{"per_destination":3870720,"total":715827},
        "descriptors":3870720,"spread":{"mode":"kernel","except":["own-subnets","18.98.64.240/29"]},"metrics_port":9464,
        "executable_dir":"/var/lib/gatling","ssh":{"user":"gatling","authorized_keys":[]}}"#;

    #[test]
    fn an_unknown_field_is_refused() {
        assert_eq!(Config::parse(TEXT).unwrap().all_addresses(), 60);
        let with_more = TEXT.replacen("\"pool\"", "\"pol\":1,\"pool\"", 1);
        let Err(ConfigError::Invalid(error)) = Config::parse(&with_more) else {
            panic!("the unknown field is accepted")
        };
        assert!(error.to_string().contains("unknown field `pol`"));
    }

    #[test]
    fn fields_with_their_defaults_are_left_out() {
        let plain = Config::parse(TEXT).unwrap();
        assert_eq!((&plain.network, plain.ipv6), (&None, false));
        let text = plain.to_json().unwrap();
        assert!(!text.contains("network") && !text.contains("ipv6"), "{text}");
        let default_routes = DefaultRoutes { ipv4: Route::InternetGateway, ipv6: Route::EgressOnlyGateway };
        let network = Network { default_routes, private_ranges: vec!["10.0.0.0/8".parse().unwrap()] };
        let full = Config { network: Some(network), ipv6: true, ..plain };
        let text = full.to_json().unwrap();
        assert!(text.contains(r#""ipv4": "internet_gateway""#) && text.contains(r#""ipv6": "egress_only_gateway""#));
        assert_eq!(Config::parse(&text).unwrap(), full);
    }

    #[test]
    fn a_later_format_has_its_own_error() {
        let later = r#"{"format":3,"something":"else"}"#;
        assert!(matches!(Config::parse(later), Err(ConfigError::OtherFormat { found: 3 })));
        assert!(matches!(Config::parse("{"), Err(ConfigError::Invalid(_))));
    }
}
