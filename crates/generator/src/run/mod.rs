//! `run`: the service. Sets up, spreads and checks, keeps it so, and serves `/health` and `/metrics`.
//!
//! Five things go on side by side on one thread: [`keep`] brings the host to its layout and checks it, [`notices`] asks
//! what AWS is about to do with the host, [`http`] answers, [`port_turns`] keeps free ports near, and the signal that ends
//! the service is awaited. They meet in [`Shared`]. Whatever ends it, what was set up and what is attached stays:
//! connections outlive the service.

mod believed;
mod collect;
mod events;
mod gatling;
mod http;
mod keep;
mod metrics;
mod port_turns;
mod shared;
mod sockets;

use std::{
    env,
    ffi::OsStr,
    fmt,
    io::{self, Write as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use self::{collect::Collector, keep::Keeper, shared::Shared};
use crate::{
    cli::Failure,
    host::{self, Host},
    imds::{Imds, Notice},
};

/// AWS advises to ask every five seconds (EC2 User Guide, "Spot Instance interruption notices").
const NOTICES: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
    /// Seconds between two reads of the metadata, after which everything is checked though nothing happened
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    refresh: u64,
}

pub(crate) async fn command(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let host = Host::new(&arguments.host)?;
    // A connection of its own: the two readers do not wait for each other.
    let imds = Host::new(&arguments.host)?.imds;
    let refresh = Duration::from_secs(arguments.refresh);
    let shared = Arc::new(Shared::new(host.config.clone(), refresh));
    let (primary, addresses) = watch::channel(None);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut server = http::Server::new(&shared, Collector::new(Arc::clone(&shared)));
    let keeper = Keeper::new(&host, Arc::clone(&shared), primary, refresh);
    say(format_args!("trunnion-generator {} starts", env!("CARGO_PKG_VERSION")));
    tokio::select! {
        result = keeper.keep() => result?,
        () = notices(&imds, &shared) => {}
        () = port_turns::turn(&host.config) => {}
        () = server.serve(addresses) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    port_turns::end(&host.config);
    shared.drain("the service was told to stop");
    notify("STOPPING=1\nSTATUS=draining");
    server.finish().await;
    say(format_args!("trunnion-generator ends; what is set up and attached stays"));
    Ok(ExitCode::SUCCESS)
}

/// Follows what AWS says it is about to do with the host. A failed read changes nothing.
async fn notices(imds: &Imds, shared: &Shared) {
    let mut ticks = interval(NOTICES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(notice) = imds.notice().await {
            shared.notice(notice.map(|notice| match notice {
                Notice::Interruption { action, time } => format!("AWS will {action} this spot instance at {time}"),
                Notice::Rebalance { time } => {
                    format!("AWS recommends to rebalance: this spot instance is at risk since {time}")
                }
            }));
        }
    }
}

/// Tells the service manager, by the protocol of `sd_notify(3)`; without one, nothing is lost.
fn notify(lines: &str) {
    if let Some(name) = env::var_os("NOTIFY_SOCKET") {
        // Where it does not listen, or has not read what came before, it is not told: it must not hold us up.
        let _ = send(&name, lines);
    }
}

fn send(name: &OsStr, lines: &str) -> io::Result<usize> {
    let address = match name.as_encoded_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }?;
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(lines.as_bytes(), &address)
}

/// A line for the journal.
fn say(line: fmt::Arguments<'_>) {
    // Where stderr is closed, there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_that_reads_nothing_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(manager.recv(&mut buffer).unwrap(), 7);
        assert_eq!(&buffer[..7], b"READY=1");
        let full = (0..100_000).find_map(|_| send(path.as_os_str(), "STATUS=healthy").err());
        assert_eq!(full.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        assert_eq!(send(OsStr::new("@no-such-manager"), "").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
