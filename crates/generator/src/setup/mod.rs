//! `setup`: gives the host the network of its layout, and the limits, user and sshd settings that many connections need. It
//! prints what it changed, and changes nothing that is already right.
//!
//! It can be killed at any point and run again, with the same result: every step first looks at what is there, earlier
//! values are in the journal before they are overwritten, and objects that it adds to the kernel carry its protocol number.

use std::process::ExitCode;

use clap::Args;
use trunnion_host::Config;

use self::journal::Journal;
pub(crate) use self::outcome::Outcome;
use crate::{
    failure::Failure,
    host::{self, Host},
    layout::Layout,
};

mod files;
mod journal;
mod limits;
mod network;
mod outcome;
mod plan;
mod queues;
mod refresh;
mod resolver;
mod sshd;
mod systemd;
mod undo;
mod users;

/// The unit that the boot template writes for `trunnion-generator run`.
const SERVICE: &str = "trunnion-generator.service";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
    /// Undo what earlier setups changed
    #[arg(long)]
    undo: bool,
    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn command(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err("only root can change the network, limits and users: run it with `sudo`".into());
    }
    let outcome = if arguments.undo {
        if systemd::runs() && systemd::systemctl(&format!("is-active {SERVICE}")).is_ok() {
            return Err(format!(
                "`{SERVICE}` runs and would set up the host again: run `systemctl stop {SERVICE}` first"
            )
            .into());
        }
        undo::undo().await?
    } else {
        let host = Host::new(&arguments.host)?;
        // Before the first change: without metadata, setup changes nothing.
        let layout = host.layout().await?;
        setup(&host, &layout).await?
    };
    outcome.print(arguments.json)
}

/// Sets up everything: network, limits, user and sshd.
pub(crate) async fn setup(host: &Host, layout: &Layout) -> Result<Outcome, Failure> {
    let config = &host.config;
    let mut journal = Journal::open().await?;
    let mut outcome = Outcome::default();
    let missing = layout.missing.iter();
    outcome.warnings.extend(missing.map(|mac| format!("interface {mac} is in the metadata, but not in the kernel")));
    let step = refresh::disable(layout, &mut journal, &mut outcome);
    outcome.take(step);
    let step = limits::set_up(config, &mut journal, &mut outcome);
    outcome.take(step);
    // The user exists before the network, whose rules refuse it the metadata service.
    let step = users::set_up(config, &mut journal, &mut outcome);
    outcome.take(step);
    let step = network::set_up(config, layout, &mut journal, &mut outcome).await;
    outcome.take(step);
    let step = sshd::set_up(layout, &mut journal, &mut outcome);
    outcome.take(step);
    let step = queues::set_up(layout, &mut journal, &mut outcome);
    outcome.take(step);
    let step = resolver::set_up(config, &mut journal, &mut outcome);
    outcome.take(step);
    systemd::run_pending(&mut journal, &mut outcome)?;
    Ok(outcome)
}

/// Sets up the network alone: links, addresses, rules and routes.
pub(crate) async fn network(config: &Config, layout: &Layout) -> Result<Outcome, Failure> {
    let mut journal = Journal::open().await?;
    let mut outcome = Outcome::default();
    network::set_up(config, layout, &mut journal, &mut outcome).await?;
    Ok(outcome)
}
