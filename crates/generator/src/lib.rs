//! The generator's config: what the boot template writes on every generator host and the `trunnion-generator` binary
//! reads there.
//!
//! `blueprint` fills a [`Config`] and bakes its JSON into the user data; [`Config::load`] reads it back on the host.
//!
//! ```
//! use trunnion_generator::{Config, Ssh};
//! let config = Config {
//!     format: Config::FORMAT,
//!     stack: "loadtest".into(),
//!     pool: "heavy".into(),
//!     instance_type: "c6in.32xlarge".into(),
//!     java: 21,
//!     interfaces: 8,
//!     addresses: 30,
//!     ssh: Ssh { user: "gatling".into(), authorized_keys: vec!["ssh-ed25519 AAAA gatling".into()] },
//! };
//! assert_eq!(Config::parse(&config.to_json()?)?, config);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

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
    /// How the control plane logs in.
    pub ssh: Ssh,
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

impl Config {
    /// The only format there is.
    pub const FORMAT: u32 = 1;

    /// Reads the config file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text)).map_err(unreadable)?;
        if text.len() as u64 > LONGEST {
            return Err(ConfigError::TooLong { path: path.to_owned() });
        }
        Self::parse(&text)
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
        let Self { stack, pool, instance_type, java, interfaces, addresses, ssh, .. } = self;
        let keys = ssh.authorized_keys.len();
        writeln!(f, "stack      {stack}")?;
        writeln!(f, "pool       {pool}, {instance_type}")?;
        writeln!(f, "interfaces {interfaces}")?;
        writeln!(f, "addresses  {addresses} on each interface, {} in all", self.all_addresses())?;
        writeln!(f, "java       {java}")?;
        write!(f, "ssh        user {}, {keys} authorised key{}", ssh.user, if keys == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"format":1,"stack":"s","pool":"p","instance_type":"c7i.xlarge","java":21,"interfaces":4,
        "addresses":15,"ssh":{"user":"gatling","authorized_keys":[]}}"#;

    #[test]
    fn what_is_not_known_is_refused() {
        assert_eq!(Config::parse(TEXT).unwrap().all_addresses(), 60);
        let with_more = TEXT.replacen("\"pool\"", "\"pol\":1,\"pool\"", 1);
        let Err(ConfigError::Invalid(error)) = Config::parse(&with_more) else { panic!("it was taken") };
        assert!(error.to_string().contains("unknown field `pol`"));
    }

    #[test]
    fn a_later_format_is_told_from_a_broken_config() {
        let later = r#"{"format":2,"something":"else"}"#;
        assert!(matches!(Config::parse(later), Err(ConfigError::OtherFormat { found: 2 })));
        assert!(matches!(Config::parse("{"), Err(ConfigError::Invalid(_))));
    }
}
