//! `run`: the service. It sets up, spreads and checks again and again, and serves `/health` and `/metrics`.
//!
//! Five tasks run on one thread: [`keep`] sets up and checks the host, [`notices`] asks whether AWS will interrupt it,
//! [`http`] serves, [`port_parity`] alternates the port range, and one waits for the signal to stop. They share [`Shared`].
//! When the service ends, the setup and the spread program stay, so connections outlive it.

mod believed;
mod collect;
mod events;
mod gatling;
mod http;
mod journal;
mod keep;
mod lock;
mod metrics;
mod notify;
mod port_parity;
mod shared;
mod sockets;

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use self::{collect::Collector, journal::say, keep::Keeper, notify::notify, shared::Shared};
use crate::{
    failure::Failure,
    host::{self, Host},
    imds::{Imds, Notice},
};

/// AWS recommends to ask every five seconds (EC2 User Guide, "Spot Instance interruption notices").
const NOTICES: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
    /// Seconds between two reads of the metadata; after each, the host is checked even if nothing changed
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    refresh: u64,
}

pub(crate) async fn command(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err("only root can set up a host: run the service with `sudo`".into());
    }
    let host = Host::new(&arguments.host)?;
    let _lock = lock::lock()?;
    // A second client, so that the two readers do not wait for each other.
    let imds = Host::new(&arguments.host)?.imds;
    let refresh = Duration::from_secs(arguments.refresh);
    let shared = Arc::new(Shared::new(host.config.clone(), refresh));
    let (primary, addresses) = watch::channel(None);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut server = http::Server::new(&shared, Collector::new(Arc::clone(&shared)));
    let keeper = Keeper::new(&host, Arc::clone(&shared), primary, refresh);
    say(format_args!("trunnion-generator {} started", env!("CARGO_PKG_VERSION")));
    tokio::select! {
        result = keeper.keep() => result?,
        () = notices(&imds, &shared) => {}
        () = port_parity::alternate(&host.config) => {}
        () = server.serve(addresses) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    port_parity::reset(&host.config);
    shared.drain("the service is stopping");
    notify("STOPPING=1\nSTATUS=draining");
    server.finish().await;
    say(format_args!("trunnion-generator stopped; the setup and the spread program stay in place"));
    Ok(ExitCode::SUCCESS)
}

/// Reads whether AWS will interrupt the host. A failed read changes nothing.
async fn notices(imds: &Imds, shared: &Shared) {
    let mut ticks = interval(NOTICES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(notice) = imds.notice().await {
            shared.notice(notice.map(|notice| match notice {
                Notice::Interruption { action, time } => format!("AWS will {action} this spot instance at {time}"),
                Notice::Rebalance { time } => {
                    format!("AWS recommends a rebalance: this spot instance is at risk of interruption since {time}")
                }
            }));
        }
    }
}
