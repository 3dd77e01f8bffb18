//! What every command that reads the host starts from: its config, its metadata and its links.

use std::path::PathBuf;

use clap::Args;
use trunnion_host::{CONFIG_PATH, Config, ConfigError};

use crate::{
    failure::Failure,
    imds::Imds,
    layout::{Layout, Link},
    netlink::Netlink,
};

/// Where config and metadata come from.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// The config that the boot template wrote
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH)]
    config: PathBuf,
    /// The instance metadata service
    #[arg(long, value_name = "URL", default_value = Imds::ADDRESS)]
    imds: String,
}

impl Arguments {
    /// Reads the config alone.
    pub(crate) fn config(&self) -> Result<Config, ConfigError> {
        Config::load(&self.config)
    }
}

/// The config, and a client of the metadata service.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) imds: Imds,
}

impl Host {
    pub(crate) fn new(arguments: &Arguments) -> Result<Self, Failure> {
        Ok(Self { config: arguments.config()?, imds: Imds::new(&arguments.imds)? })
    }

    /// The network that the host should have, from its metadata and its links.
    pub(crate) async fn layout(&self) -> Result<Layout, Failure> {
        let metadata = self.imds.metadata().await?;
        Ok(Layout::new(&metadata, &links().await?)?)
    }
}

/// The links of the kernel, without the loopback.
pub(crate) async fn links() -> Result<Vec<Link>, Failure> {
    Ok(Netlink::open()?.links().await?.into_iter().map(|link| link.identity).collect())
}
