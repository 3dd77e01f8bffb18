//! What a generator host is promised, and how many connections its addresses can hold.
//!
//! `blueprint` fills a [`Config`] and puts its JSON into the user data; the `trunnion-generator` binary reads it on the host
//! with [`Config::load`]. This crate is what both share: plain data, on every platform, without anything of the binary's.
//!
//! ```
//! use trunnion_host::{Config, Connections, DefaultRoutes, Mode, Network, Ports, Route, Spread, Ssh, Tracking};
//! let sources = Mode::Kernel.sources(8, 30, Tracking::Untracked);
//! let ports = Ports::WIDEST.count_without([Config::METRICS_PORT]);
//! let config = Config {
//!     format: Config::FORMAT,
//!     stack: "loadtest".into(),
//!     pool: "heavy".into(),
//!     instance_type: "c6in.32xlarge".into(),
//!     java: 21,
//!     interfaces: 8,
//!     addresses: 30,
//!     tracking: Tracking::Untracked,
//!     ports: Ports::WIDEST,
//!     reserved_ports: Vec::new(),
//!     connections: Connections::promised(sources, ports, 256 << 30, Tracking::Untracked),
//!     descriptors: 13_547_310,
//!     spread: Spread::default(),
//!     network: Some(Network {
//!         default_routes: DefaultRoutes { ipv4: Route::InternetGateway, ipv6: Route::None },
//!         private_ranges: vec!["10.0.0.0/8".parse()?],
//!     }),
//!     ipv6: false,
//!     metrics_port: Config::METRICS_PORT,
//!     executable_dir: "/var/lib/gatling".into(),
//!     ssh: Ssh { user: "gatling".into(), authorized_keys: vec!["ssh-ed25519 AAAA gatling".into()] },
//!     metadata_access: false,
//!     dns_cache: false,
//! };
//! assert_eq!(config.connections.per_destination, 13_547_310);
//! assert_eq!(Config::parse(&config.to_json()?)?, config);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod capacity;
mod config;

pub use capacity::{BYTES_PER_CONNECTION, Ceiling, Connections, Ports, descriptors, most_by_memory, visible_memory};
pub use config::{
    CONFIG_PATH, Config, ConfigError, DefaultRoutes, Except, Mode, Network, Route, Spread, Ssh, Tracking,
};
