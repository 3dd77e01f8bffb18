//! `report`: prints what the host was promised, from the config that the boot template wrote.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use trunnion_host::{CONFIG_PATH, Config};

use crate::{failure::Failure, output::data};

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The config that the boot template wrote
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH)]
    config: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// The report as JSON.
#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    config: &'a Config,
    all_addresses: u64,
}

pub(crate) fn command(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(&arguments.config)?;
    if arguments.json {
        let document = Document { version: VERSION, config: &config, all_addresses: config.all_addresses() };
        data(&serde_json::to_string_pretty(&document)?)?;
    } else {
        data(&format!("trunnion-generator {VERSION}\n{config}"))?;
    }
    Ok(())
}
