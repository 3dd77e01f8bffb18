//! What every command that looks at the host begins with: its config, its metadata, its links.

use std::path::PathBuf;

use clap::Args;
use trunnion_host::{CONFIG_PATH, Config, ConfigError};

use crate::{cli::Failure, imds::Imds, layout::Layout};

/// Where config and truth come from.
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
    /// The config alone.
    pub(crate) fn config(&self) -> Result<Config, ConfigError> {
        Config::load(&self.config)
    }
}

/// The config and a way to the metadata.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) imds: Imds,
}

impl Host {
    pub(crate) fn new(arguments: &Arguments) -> Result<Self, Failure> {
        Ok(Self { config: arguments.config()?, imds: Imds::new(&arguments.imds)? })
    }

    /// What the host should look like, from the metadata service and the links that are there.
    pub(crate) async fn layout(&self) -> Result<Layout, Failure> {
        let metadata = self.imds.metadata().await?;
        Ok(Layout::new(&metadata, &crate::setup::links().await?)?)
    }
}
