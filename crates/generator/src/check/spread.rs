//! Whether connections are spread over all usable addresses, and how many addresses connections to one destination have.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use trunnion_host::{Config, Mode, Route};

use super::verdict::Check;
use crate::{
    failure::causes,
    spread::{Options, Rules, Source, SpreadError, Spreader},
};

const ATTACH: &str = "run `trunnion-generator spread`";

/// The state of the spread program in the kernel.
#[derive(Debug, Clone)]
pub(crate) enum Spreading {
    /// It is attached, with these sources.
    Attached(Vec<Source>),
    /// It is not attached, although the kernel accepts it.
    Absent,
    /// The kernel refuses it: why, and what to do next.
    Refused { why: String, help: Option<&'static str> },
    /// The stack does not ask for it.
    Unwanted,
}

impl Spreading {
    /// Asks the kernel, if the stack asks for the program.
    pub(crate) fn look(config: &Config) -> Self {
        if config.spread.mode != Mode::Kernel {
            return Self::Unwanted;
        }
        match Spreader::open(Path::new(Options::PINS)).and_then(|spreader| spreader.sources()) {
            Ok(sources) => Self::Attached(sources),
            Err(SpreadError::NotAttached { .. }) => match Spreader::probe() {
                Ok(()) => Self::Absent,
                Err(error) => error.into(),
            },
            Err(error) => error.into(),
        }
    }
}

impl From<SpreadError> for Spreading {
    fn from(error: SpreadError) -> Self {
        Self::Refused { why: format!("{error}{}", causes(&error)), help: error.help() }
    }
}

/// The number of source addresses of connections to one IPv4 destination.
pub(super) fn sources(config: &Config, usable: &[IpAddr], spreading: &Spreading) -> u64 {
    let usable = usable.iter().filter(|address| address.is_ipv4());
    match (config.spread.mode, spreading) {
        (Mode::Kernel, Spreading::Attached(sources)) => {
            let taken = taken(sources);
            usable.filter(|&address| taken.get(address) == Some(&false)).count() as u64
        }
        (Mode::Simulation, _) => usable.count() as u64,
        // The primary address alone.
        (Mode::Kernel | Mode::Off, _) => usable.take(1).count() as u64,
    }
}

/// By address, whether it is draining.
fn taken(sources: &[Source]) -> BTreeMap<IpAddr, bool> {
    sources.iter().map(|source| (source.address, source.draining)).collect()
}

pub(super) fn judge(config: &Config, rules: &Rules, spreading: &Spreading) -> Check {
    const NAME: &str = "spread";
    let usable = rules.addresses();
    let sources = match (config.spread.mode, spreading) {
        (Mode::Simulation, _) => {
            let message = format!("the simulations choose among {} addresses", rules.sources.len());
            return Check::ok(NAME, message);
        }
        (Mode::Off, _) => return Check::ok(NAME, "off: the primary address is the only source"),
        (Mode::Kernel, Spreading::Absent | Spreading::Unwanted) => {
            let message = "connections are not spread: all come from one address";
            return Check::failed(NAME, message, ATTACH);
        }
        (Mode::Kernel, Spreading::Refused { why, help }) => {
            let message = format!("connections are not spread, all come from one address: {why}");
            return Check::failed(NAME, message, help.unwrap_or(ATTACH));
        }
        (Mode::Kernel, Spreading::Attached(sources)) => sources,
    };
    let taken = taken(sources);
    let mut details: Vec<String> = usable
        .iter()
        .filter(|address| !taken.contains_key(address))
        .map(|address| format!("`{address}` can be used, but is not a source"))
        .collect();
    details.extend(
        taken
            .keys()
            .filter(|address| !usable.contains(address))
            .map(|address| format!("`{address}` is a source, but cannot be used")),
    );
    if !details.is_empty() {
        let message = "the source addresses are not the usable addresses";
        return Check::failed(NAME, message, ATTACH).with(details);
    }
    let draining: Vec<String> = taken
        .iter()
        .filter(|(_, draining)| **draining)
        .map(|(address, _)| format!("`{address}` is draining"))
        .collect();
    if !draining.is_empty() {
        let help = "to use an address again, run `trunnion-generator spread --add ADDRESS`";
        return Check::warning(NAME, "some addresses get no new connections", help).with(draining);
    }
    let said = format!("the kernel spreads connections over {} addresses", rules.sources.len());
    let gateway = config.network.as_ref().is_some_and(|network| network.default_routes.ipv4 == Route::InternetGateway);
    match rules.public.len() {
        _ if !gateway => Check::ok(NAME, said),
        0 => {
            let message = format!("{said}, and no address reaches the internet: none has a public address");
            Check::warning(
                NAME,
                message,
                "set `public_addresses` for the pool, and apply the stack: it associates the Elastic IPs",
            )
        }
        public => Check::ok(NAME, format!("{said}, and those to the internet over {public}")),
    }
}
