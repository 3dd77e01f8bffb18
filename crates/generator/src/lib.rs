//! What a generator host was promised, and what its addresses can hold: the part of the generator that `blueprint`
//! shares with the `trunnion-generator` binary.
//!
//! `blueprint` fills a [`Config`] and bakes its JSON into the user data; [`Config::load`] reads it back on the host.
//!
//! ```
//! use trunnion_generator::{Config, Connections, Ports, Spread, Ssh};
//! let config = Config {
//!     format: Config::FORMAT,
//!     stack: "loadtest".into(),
//!     pool: "heavy".into(),
//!     instance_type: "c6in.32xlarge".into(),
//!     java: 21,
//!     interfaces: 8,
//!     addresses: 30,
//!     ports: Ports::WIDEST,
//!     connections: Connections::promised(8 * 30, 256 << 30),
//!     descriptors: 15_482_880,
//!     spread: Spread::default(),
//!     metrics_port: Config::METRICS_PORT,
//!     executable_dir: "/var/lib/gatling".into(),
//!     ssh: Ssh { user: "gatling".into(), authorized_keys: vec!["ssh-ed25519 AAAA gatling".into()] },
//! };
//! assert_eq!(config.connections.per_destination, 15_482_880);
//! assert_eq!(Config::parse(&config.to_json()?)?, config);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod capacity;
mod config;

pub use capacity::{BYTES_PER_CONNECTION, Connections, Ports, most_by_memory};
pub use config::{CONFIG_PATH, Config, ConfigError, Except, Mode, Spread, Ssh};
