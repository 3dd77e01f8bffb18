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

/// No config is this long: user data ends at 16,384 bytes.
const LONGEST: u64 = 64 * 1024;

/// What a generator host was promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The layout of this document: [`Config::FORMAT`].
    pub format: u32,
    /// The stack the host belongs to.
    pub stack: String,
    /// Its pool.
    pub pool: String,
    /// Its EC2 instance type.
    pub instance_type: String,
    /// The Java version its simulations run on.
    pub java: u8,
    /// How many network interfaces it has.
    pub interfaces: u32,
    /// How many private IPv4 addresses each interface has, the primary one included.
    pub addresses: u32,
    /// Whether EC2 tracks the connections of its load interfaces.
    pub tracking: Tracking,
    /// The local ports of every address that outgoing connections take.
    pub ports: Ports,
    /// How many connections it can hold.
    pub connections: Connections,
    /// Open files that one process may have.
    pub descriptors: u64,
    /// How outgoing connections come by their source address.
    pub spread: Spread,
    /// The TCP port of `GET /health` and `GET /metrics` on the primary address.
    pub metrics_port: u16,
    /// Folder of the programs that Gatling unpacks on the host.
    pub executable_dir: PathBuf,
    /// How the control plane logs in.
    pub ssh: Ssh,
}

/// Whether EC2 tracks the connections of the load interfaces, which are all but the primary one. Those of the primary one
/// are always tracked, because its security group is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tracking {
    /// It does, and its allowance caps them.
    #[default]
    Tracked,
    /// It does not, because their security group lets everything in.
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

/// How outgoing connections come by their source address.
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
    /// The simulation, which names its local addresses.
    Simulation,
    /// Nobody: the primary address is the only source.
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
    /// The subnets that the host's own interfaces stand in.
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

/// How the control plane logs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    /// The user it logs in as.
    pub user: String,
    /// The keys it may show, each one line of `authorized_keys`.
    pub authorized_keys: Vec<String>,
}

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is longer than a config can be.
    #[error("`{path}` is longer than {LONGEST} bytes, which no config is")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no config.
    #[error("`{path}` holds no valid config")]
    InvalidFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// The text is no config.
    #[error("the config is not valid")]
    Invalid(#[from] serde_json::Error),
    /// The config is of another time.
    #[error("the config has format {found}, this binary reads format {}", Config::FORMAT)]
    OtherFormat {
        /// The format it has.
        found: u32,
    },
}

impl ConfigError {
    /// What to do about it, where there is something to do.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable { .. } => {
                Some("the boot template writes it: see /var/log/trunnion-boot.log, or name it with --config")
            }
            Self::OtherFormat { .. } => {
                Some("take the binary that the boot template fetched: config and binary are baked together")
            }
            Self::TooLong { .. } | Self::InvalidFile { .. } | Self::Invalid(_) => None,
        }
    }
}

impl Config {
    /// The only format there is.
    pub const FORMAT: u32 = 2;

    /// Where metrics are served unless the stack says otherwise.
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
        /// The format comes first: what else a later one holds is not known here.
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

    /// The config as JSON, one field per line; no line but the braces begins without a space.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// How many private IPv4 addresses the host has over all its interfaces.
    pub fn all_addresses(&self) -> u64 {
        u64::from(self.interfaces) * u64::from(self.addresses)
    }
}

impl fmt::Display for Config {
    /// For people: a line for each thing promised, the last one without a line end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stack, pool, instance_type, java, interfaces, addresses, ports, connections, spread, ssh, .. } =
            self;
        let keys = ssh.authorized_keys.len();
        writeln!(f, "stack       {stack}")?;
        writeln!(f, "pool        {pool}, {instance_type}")?;
        writeln!(f, "interfaces  {interfaces}")?;
        writeln!(f, "addresses   {addresses} on each interface, {} in all", self.all_addresses())?;
        writeln!(f, "tracking    {}", self.tracking)?;
        writeln!(f, "ports       {} to {} of each address", ports.first, ports.last)?;
        writeln!(f, "connections {} to one destination, {} in all", connections.per_destination, connections.total)?;
        writeln!(f, "spread      {}", spread.mode)?;
        writeln!(f, "metrics     port {}", self.metrics_port)?;
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
    fn what_is_not_known_is_refused() {
        assert_eq!(Config::parse(TEXT).unwrap().all_addresses(), 60);
        let with_more = TEXT.replacen("\"pool\"", "\"pol\":1,\"pool\"", 1);
        let Err(ConfigError::Invalid(error)) = Config::parse(&with_more) else { panic!("it was taken") };
        assert!(error.to_string().contains("unknown field `pol`"));
    }

    #[test]
    fn a_later_format_is_told_from_a_broken_config() {
        let later = r#"{"format":3,"something":"else"}"#;
        assert!(matches!(Config::parse(later), Err(ConfigError::OtherFormat { found: 3 })));
        assert!(matches!(Config::parse("{"), Err(ConfigError::Invalid(_))));
    }
}
