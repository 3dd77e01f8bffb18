//! Lets the two halves of the local ports come first by turns.
//!
//! Linux gives an outgoing connection a port of the same parity as the first one of `ip_local_port_range`, and looks at all
//! of those before the first of the other parity. Once an address has used up one half towards a destination, every further
//! connection looks at 32,000 ports in vain: what took 30 microseconds takes milliseconds (`cargo xtask capacity` measures
//! it). With the range moved by one port the other half comes first. So the range is moved to and fro: both halves fill
//! alike, and a free port is near until almost the last one is taken.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use trunnion_host::{Config, Mode, Ports};

use super::say;
use crate::{
    cli::causes,
    setup::files::{FileError, set_sysctl, sysctl},
};

/// How long a half comes first: too short for a host to use it up.
const PERIOD: Duration = Duration::from_millis(250);
const RANGE: &str = "net/ipv4/ip_local_port_range";

/// Moves the range to and fro, as long as it is the promised one or that one moved. Never ends.
pub(super) async fn turn(config: &Config) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if config.spread.mode == Mode::Kernel {
        let error = loop {
            ticks.tick().await;
            if let Err(error) = swap(config.ports) {
                break error;
            }
        };
        say(format_args!("ports: {error}{}; the same half always comes first now", causes(&error)));
    }
    std::future::pending::<()>().await;
}

/// Puts the range where it was promised.
pub(super) fn end(config: &Config) {
    if config.spread.mode == Mode::Kernel
        && sysctl(RANGE).is_ok_and(|found| found == Some(text(config.ports.alternate())))
    {
        // The check says so where it fails.
        let _ = set_sysctl(RANGE, &text(config.ports));
    }
}

/// The other half's turn. A range that somebody else set is left to the check to tell.
fn swap(ports: Ports) -> Result<(), FileError> {
    let (here, there) = (text(ports), text(ports.alternate()));
    match sysctl(RANGE)? {
        Some(found) if found == here => set_sysctl(RANGE, &there),
        Some(found) if found == there => set_sysctl(RANGE, &here),
        _ => Ok(()),
    }
}

fn text(Ports { first, last }: Ports) -> String {
    format!("{first} {last}")
}
