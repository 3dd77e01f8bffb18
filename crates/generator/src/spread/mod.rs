//! `spread`: gives every outgoing connection of the SSH user's processes a source address in turn.
//!
//! | room | what for |
//! |---|---|
//! | `program`, `instructions` | the program that the kernel runs, and the assembler it is written with |
//! | `maps` | what the program and this binary share |
//! | `object_file` | the program as the loader takes it |
//! | `spreader`, `place`, `sys` | the program in the kernel, from outside |
//! | `simulation` | what to do where the kernel shall not spread |

mod error;
mod instructions;
mod maps;
mod object_file;
mod place;
mod program;
mod simulation;
mod spreader;
mod sys;

use std::{
    collections::HashSet,
    fmt::Write as _,
    io::{self, Write as _},
    net::IpAddr,
    path::PathBuf,
    str::FromStr,
};

use clap::Args;
use ipnet::IpNet;
use serde::Serialize;
use trunnion_host::{Config, Except, Mode};

pub(crate) use self::{
    error::SpreadError,
    simulation::Simulation,
    spreader::{Options, Source, Spreader},
};
use crate::{
    cli::{Failure, data},
    host::{self, Host},
    layout::{Interface, Layout},
    setup::users,
};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("deed").multiple(false).args(["add", "drain", "detach", "show"]))]
pub(crate) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
    /// Take these addresses as sources, drained or new
    #[arg(long, value_name = "ADDRESS", num_args = 1..)]
    add: Vec<IpAddr>,
    /// Keep new connections off these addresses
    #[arg(long, value_name = "ADDRESS", num_args = 1..)]
    drain: Vec<IpAddr>,
    /// Spread nothing any more
    #[arg(long)]
    detach: bool,
    /// Tell the source addresses and what was counted for them
    #[arg(long)]
    show: bool,
    /// Spread over these addresses instead of those that the metadata service names
    #[arg(long, value_name = "ADDRESS", num_args = 1.., conflicts_with = "deed")]
    source: Vec<IpAddr>,
    /// Leave connections to these ranges alone, beside those that the config excepts
    #[arg(long, value_name = "RANGE", num_args = 1.., conflicts_with = "deed")]
    except: Vec<IpNet>,
    /// Spread the connections of this user id, or of `any` user [default: the SSH user of the config]
    #[arg(long, conflicts_with = "deed")]
    uid: Option<Uid>,
    /// Spread the connections of this cgroup's processes [default: the root of the cgroup2 hierarchy]
    #[arg(long, value_name = "DIR", conflicts_with = "deed")]
    cgroup: Option<PathBuf>,
    /// Keep the program in this folder of a BPF file system
    #[arg(long, value_name = "DIR", default_value = Options::PINS)]
    pins: PathBuf,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

/// Whose connections are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uid {
    Any,
    One(u32),
}

impl FromStr for Uid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "any" {
            return Ok(Self::Any);
        }
        text.parse().map(Self::One).map_err(|_| "a user id or `any` stands here".to_owned())
    }
}

/// What is told as JSON.
#[derive(Serialize)]
struct Document {
    /// Whether the program is attached.
    attached: bool,
    sources: Vec<Source>,
    /// What to do instead, in the mode `simulation`.
    #[serde(skip_serializing_if = "Option::is_none")]
    simulation: Option<Simulation>,
}

pub(crate) async fn command(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { add, drain, pins, .. } = arguments;
    if arguments.detach {
        Spreader::detach(pins)?;
        return tell(arguments, "nothing is spread any more", false, Vec::new(), None);
    }
    if arguments.show || !add.is_empty() || !drain.is_empty() {
        let spreader = Spreader::open(pins)?;
        spreader.add(add)?;
        spreader.drain(drain)?;
        return tell(arguments, "", true, spreader.sources()?, None);
    }
    let config = arguments.host.config()?;
    let needs_layout = arguments.source.is_empty() || config.spread.except.contains(&Except::OwnSubnets);
    let layout = if config.spread.mode != Mode::Off && needs_layout {
        Some(Host::new(&arguments.host)?.layout().await?)
    } else {
        None
    };
    let sources = match &layout {
        Some(layout) if arguments.source.is_empty() => present(layout.load_interfaces(&config))?,
        _ => arguments.source.clone(),
    };
    match config.spread.mode {
        Mode::Kernel => {
            let uid = match arguments.uid {
                Some(Uid::Any) => None,
                Some(Uid::One(uid)) => Some(uid),
                None => Some(uid_of(&config.ssh.user)?),
            };
            let options = Options { uid, cgroup: arguments.cgroup.clone(), pins: pins.clone() };
            let mut except = except(&config, layout.as_ref());
            except.extend(&arguments.except);
            let spreader = Spreader::attach(&options)?;
            spreader.sync(&sources, &except)?;
            let whose = uid.map_or("everybody".to_owned(), |uid| format!("user id {uid}"));
            let said = format!("connections of {whose} are spread over {} source addresses", sources.len());
            tell(arguments, &said, true, spreader.sources()?, None)
        }
        Mode::Simulation => {
            Spreader::detach(pins)?;
            let said = "nothing is spread by the kernel: the simulation names its local addresses\nwarning: Gatling \
                        from 3.12 on refuses to connect from a private address (RFC 1918) that a simulation named to a \
                        public one; `generator.spread: kernel` has no such limit";
            tell(arguments, said, false, Vec::new(), Some(Simulation::new(&sources)))
        }
        Mode::Off => {
            Spreader::detach(pins)?;
            tell(arguments, "nothing is spread: `generator.spread` is `off`", false, Vec::new(), None)
        }
    }
}

/// Data goes to stdout, what was `said` to stderr.
fn tell(
    arguments: &Arguments,
    said: &str,
    attached: bool,
    sources: Vec<Source>,
    simulation: Option<Simulation>,
) -> Result<(), Failure> {
    if arguments.json {
        let document = Document { attached, sources, simulation };
        return Ok(data(&serde_json::to_string_pretty(&document)?)?);
    }
    if let Some(simulation) = simulation {
        data(&simulation.lines())?;
    }
    if arguments.show {
        let mut table = format!("{:<39} {:<8} {:>12} {:>12}", "address", "state", "connections", "refused");
        for Source { address, draining, connections, refused } in sources {
            let state = if draining { "draining" } else { "taken" };
            write!(table, "\n{address:<39} {state:<8} {connections:>12} {refused:>12}")?;
        }
        data(&table)?;
    }
    if !said.is_empty() {
        // Where stderr is closed, the exit code says it alone.
        let _ = writeln!(io::stderr(), "{said}");
    }
    Ok(())
}

/// Spreads as the config says over the addresses of the layout that the host has. Nothing is there to look at where the
/// kernel shall not spread.
pub(crate) fn apply(config: &Config, layout: &Layout) -> Result<Option<Spreader>, SpreadError> {
    match config.spread.mode {
        Mode::Kernel => {
            let spreader = Spreader::attach(&Options::of_user(Some(uid_of(&config.ssh.user)?)))?;
            spreader.sync(&present(layout.load_interfaces(config))?, &except(config, Some(layout)))?;
            Ok(Some(spreader))
        }
        Mode::Simulation | Mode::Off => Spreader::detach(Options::PINS.as_ref()).map(|()| None),
    }
}

/// The destinations that the config excepts.
pub(crate) fn except(config: &Config, layout: Option<&Layout>) -> Vec<IpNet> {
    let subnets = || {
        layout.iter().flat_map(|layout| &layout.interfaces).flat_map(|interface| {
            let ipv6 = interface.ipv6.map(|(subnet, _)| IpNet::V6(subnet));
            [IpNet::V4(interface.subnet)].into_iter().chain(ipv6)
        })
    };
    let mut ranges = Vec::new();
    for except in &config.spread.except {
        match except {
            Except::OwnSubnets => ranges.extend(subnets()),
            Except::Range(range) => ranges.push(*range),
        }
    }
    ranges
}

/// The load addresses that stand on the host's interfaces: the kernel refuses the others.
pub(crate) fn present(load: &[Interface]) -> Result<Vec<IpAddr>, SpreadError> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(|error| SpreadError::Interfaces(error.into()))?;
    let there: HashSet<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
            v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
        })
        .collect();
    let addresses = load.iter().flat_map(|interface| interface.addresses.iter().copied());
    Ok(addresses.filter(|address| there.contains(address)).collect())
}

/// The id of a local user, such as the SSH user.
pub(crate) fn uid_of(user: &str) -> Result<u32, SpreadError> {
    users::uid(user).map_err(SpreadError::Users)?.ok_or_else(|| SpreadError::NoUser { user: user.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_number_or_any() {
        assert_eq!("any".parse(), Ok(Uid::Any));
        assert_eq!("1001".parse(), Ok(Uid::One(1001)));
        assert!("gatling".parse::<Uid>().is_err());
        assert!("-1".parse::<Uid>().is_err());
    }
}
