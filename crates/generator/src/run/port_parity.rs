//! Alternates `ip_local_port_range` between the promised range and the same range without its first and last port.
//!
//! Linux first tries all ports that have the parity of the first port of the range, and then those of the other parity. Once
//! an address has used the first half to a destination, each further connection tries 32,000 used ports first, and takes
//! milliseconds instead of 30 microseconds (`cargo xtask capacity` measures it). Without its first port, the range prefers
//! the other parity. So the service alternates the range, both halves fill evenly, and a free port is found quickly until
//! almost all are used.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use trunnion_host::{Config, Ports};

use super::journal::say;
use crate::{
    failure::{FileError, causes},
    sysctl,
};

/// How long one half is preferred: too short for a host to use all of its ports.
const PERIOD: Duration = Duration::from_millis(250);
const RANGE: &str = "net/ipv4/ip_local_port_range";

/// Alternates the range, and leaves any other range unchanged. Never ends.
pub(super) async fn alternate(config: &Config) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let error = loop {
        ticks.tick().await;
        if let Err(error) = swap(config.ports) {
            break error;
        }
    };
    let why = format!("{error}{}", causes(&error));
    say(format_args!(
        "ports: cannot alternate the port range ({why}): connect() will be slow once half of an address's ports are used"
    ));
    std::future::pending::<()>().await;
}

/// Sets the promised range.
pub(super) fn reset(config: &Config) {
    if sysctl::get(RANGE).is_ok_and(|found| found == Some(text(config.ports.alternate()))) {
        // If this fails, the range is one port shorter on each side, which `check` accepts.
        let _ = sysctl::set(RANGE, &text(config.ports));
    }
}

/// Makes the other half preferred. A range that somebody else set stays, and `check` reports it.
fn swap(ports: Ports) -> Result<(), FileError> {
    let (here, there) = (text(ports), text(ports.alternate()));
    match sysctl::get(RANGE)? {
        Some(found) if found == here => sysctl::set(RANGE, &there),
        Some(found) if found == there => sysctl::set(RANGE, &here),
        _ => Ok(()),
    }
}

fn text(Ports { first, last }: Ports) -> String {
    format!("{first} {last}")
}
