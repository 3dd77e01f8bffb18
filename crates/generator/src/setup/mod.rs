//! `setup`: brings the host to its layout, and everything else that many connections need. Says what it changed; what is
//! already so is left alone.
//!
//! Killed at any point and run again, it ends where it would have: every step looks at what is there first, what files or
//! the kernel would forget is in the journal before it is changed, and what is ours in the kernel carries our number.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Args;
use trunnion_host::Config;

use self::{
    files::{FileError, Wanted},
    journal::Journal,
};
use crate::{
    cli::{Failure, causes, data},
    host::{self, Host},
    layout::{Layout, Link},
};

pub(crate) mod files;
mod journal;
mod kernel;
mod limits;
mod network;
mod plan;
mod refresh;
mod sshd;
mod systemd;
mod undo;
pub(crate) mod users;

/// What keeps the host set up, as the boot template calls it.
const SERVICE: &str = "trunnion-generator.service";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
    /// Take back what earlier setups changed
    #[arg(long)]
    undo: bool,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

/// One thing that setup changed: what, and to what.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Change {
    /// Such as `address 10.0.1.7/32 on ens6`.
    pub(crate) what: String,
    /// Such as `added`.
    pub(crate) how: String,
}

/// How a setup ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    pub(crate) changes: Vec<Change>,
    /// What was left as it is for a reason that harms nobody.
    pub(crate) warnings: Vec<String>,
    /// What stands in the way of the host's promise and could not be changed, or is not ours to change.
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    fn changed(&mut self, what: impl Into<String>, how: impl Into<String>) {
        self.changes.push(Change { what: what.into(), how: how.into() });
    }

    /// Makes the file so and says whether it was not.
    fn put(&mut self, wanted: &Wanted<'_>, journal: &mut Journal) -> Result<bool, FileError> {
        let written = wanted.put(journal)?;
        if written {
            self.changed(format!("`{}`", wanted.path.display()), "written");
        }
        Ok(written)
    }

    /// A step that failed does not keep the others from being taken.
    fn take(&mut self, step: Result<(), Failure>) {
        if let Err(error) = step {
            self.problems.push(format!("{error}{}", causes(&*error)));
        }
    }

    /// Changes to stdout, the rest to stderr.
    fn tell(&self, json: bool) -> Result<ExitCode, Failure> {
        if json {
            data(&serde_json::to_string_pretty(&self.changes)?)?;
        } else if self.changes.is_empty() {
            if self.problems.is_empty() {
                data("nothing to change")?;
            }
        } else {
            let lines: Vec<String> = self.changes.iter().map(|Change { what, how }| format!("{what}: {how}")).collect();
            data(&lines.join("\n"))?;
        }
        let mut stderr = io::stderr().lock();
        // Where stderr is closed, the exit code says it alone.
        for warning in &self.warnings {
            let _ = writeln!(stderr, "warning: {warning}");
        }
        for problem in &self.problems {
            let _ = writeln!(stderr, "error: {problem}");
        }
        Ok(if self.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

pub(crate) async fn command(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err("setup changes network, limits and users, which only root may: run it with `sudo`".into());
    }
    let outcome = if arguments.undo {
        if systemd::runs() && systemd::systemctl(&format!("is-active {SERVICE}")).is_ok() {
            return Err(
                format!("`{SERVICE}` would set it up again: stop it first with `systemctl stop {SERVICE}`").into()
            );
        }
        undo::undo().await?
    } else {
        let host = Host::new(&arguments.host)?;
        // Whole or not at all: where the metadata cannot be read, nothing has been touched yet.
        let layout = host.layout().await?;
        setup(&host, &layout).await?
    };
    outcome.tell(arguments.json)
}

/// The interfaces that the kernel has, but for the loopback.
pub(crate) async fn links() -> Result<Vec<Link>, Failure> {
    Ok(kernel::Netlink::open()?.links().await?.into_iter().map(|link| link.link).collect())
}

/// Everything: network, limits, user and sshd.
pub(crate) async fn setup(host: &Host, layout: &Layout) -> Result<Outcome, Failure> {
    let config = &host.config;
    let mut journal = Journal::open().await?;
    let mut outcome = Outcome::default();
    let missing = layout.missing.iter();
    outcome.warnings.extend(missing.map(|mac| format!("the metadata has an interface {mac}, and the kernel has not")));
    let step = refresh::off(layout, &mut journal, &mut outcome);
    outcome.take(step);
    let step = limits::raise(config, &mut journal, &mut outcome);
    outcome.take(step);
    let step = network::bring_about(config, layout, &mut journal, &mut outcome).await;
    outcome.take(step);
    let step = users::admit(config, &mut journal, &mut outcome);
    outcome.take(step);
    let step = sshd::listen(layout, &mut journal, &mut outcome);
    outcome.take(step);
    systemd::tell(&mut journal, &mut outcome)?;
    Ok(outcome)
}

/// The network alone: links, addresses, rules and routes.
pub(crate) async fn network(config: &Config, layout: &Layout) -> Result<Outcome, Failure> {
    let mut journal = Journal::open().await?;
    let mut outcome = Outcome::default();
    network::bring_about(config, layout, &mut journal, &mut outcome).await?;
    Ok(outcome)
}
