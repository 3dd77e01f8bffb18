//! `spread`: gives the outgoing connections of the SSH user's processes one source address after the other.
//!
//! | module | what is in it |
//! |---|---|
//! | `program`, `instructions` | the programs that the kernel runs, and the assembler they are written with |
//! | `maps` | the data that the programs and this binary share |
//! | `object_file` | the programs in the format of the loader |
//! | `spreader`, `place`, `sys` | attaches the programs, and reads and writes their data |
//! | `simulation` | the settings of a simulation that chooses its addresses itself |

mod error;
mod instructions;
mod maps;
mod object_file;
mod place;
mod program;
mod rules;
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
    maps::Counter,
    rules::Rules,
    simulation::Simulation,
    spreader::{Options, Source, Spreader},
};
use crate::{
    accounts,
    failure::Failure,
    host::{self, Host},
    layout::Interface,
    local_ports::LocalPorts,
    netlink::Netlink,
    output::data,
};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("action").multiple(false).args(["add", "drain", "detach", "show"]))]
pub(crate) struct Arguments {
    #[command(flatten)]
    host: host::Arguments,
    /// Use these addresses as sources, drained or new
    #[arg(long, value_name = "ADDRESS", num_args = 1..)]
    add: Vec<IpAddr>,
    /// Give new connections none of these addresses
    #[arg(long, value_name = "ADDRESS", num_args = 1..)]
    drain: Vec<IpAddr>,
    /// Stop spreading connections
    #[arg(long)]
    detach: bool,
    /// Print the source addresses with their counters
    #[arg(long)]
    show: bool,
    /// Spread over these addresses instead of those in the metadata
    #[arg(long, value_name = "ADDRESS", num_args = 1.., conflicts_with = "action")]
    source: Vec<IpAddr>,
    /// Do not spread connections to these ranges, in addition to those in the config
    #[arg(long, value_name = "RANGE", num_args = 1.., conflicts_with = "action")]
    except: Vec<IpNet>,
    /// Spread the connections of this user id, or of `any` user [default: the SSH user of the config]
    #[arg(long, conflicts_with = "action")]
    uid: Option<Uid>,
    /// Spread the connections of this cgroup's processes [default: the root of the cgroup2 hierarchy]
    #[arg(long, value_name = "DIR", conflicts_with = "action")]
    cgroup: Option<PathBuf>,
    /// Pin the program in this folder of a BPF file system
    #[arg(long, value_name = "DIR", default_value = Options::PINS)]
    pins: PathBuf,
    /// Print the result as JSON
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
        text.parse().map(Self::One).map_err(|_| "expected a user id or `any`".to_owned())
    }
}

/// The result as JSON.
#[derive(Serialize)]
struct Document {
    /// Whether the program is attached.
    attached: bool,
    sources: Vec<Source>,
    /// The settings of the simulation, in the mode `simulation`.
    #[serde(skip_serializing_if = "Option::is_none")]
    simulation: Option<Simulation>,
}

pub(crate) async fn command(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { add, drain, pins, .. } = arguments;
    if arguments.detach {
        Spreader::detach(pins)?;
        return print(arguments, "connections are no longer spread", false, Vec::new(), None);
    }
    if arguments.show || !add.is_empty() || !drain.is_empty() {
        let spreader = Spreader::open(pins)?;
        spreader.add(add)?;
        spreader.drain(drain)?;
        return print(arguments, "", true, spreader.sources()?, None);
    }
    let config = arguments.host.config()?;
    let needs_layout = arguments.source.is_empty() || config.spread.except.contains(&Except::OwnSubnets);
    let layout = if config.spread.mode != Mode::Off && needs_layout {
        Some(Host::new(&arguments.host)?.layout().await?)
    } else {
        None
    };
    let mut rules = match &layout {
        Some(layout) if arguments.source.is_empty() => Rules::new(&config, layout, &present(&layout.interfaces).await?),
        layout => Rules::everywhere(arguments.source.clone(), rules::except(&config, layout.as_ref())),
    };
    match config.spread.mode {
        Mode::Kernel => {
            let uid = match arguments.uid {
                Some(Uid::Any) => None,
                Some(Uid::One(uid)) => Some(uid),
                None => Some(uid_of(&config.ssh.user)?),
            };
            let options = Options { uid, cgroup: arguments.cgroup.clone(), pins: pins.clone(), ports: ports(&config) };
            rules.except.extend(&arguments.except);
            let spreader = Spreader::attach(&options)?;
            spreader.sync(&rules)?;
            spreader.recount()?;
            let whose = uid.map_or("all users".to_owned(), |uid| format!("user id {uid}"));
            let said = format!("connections of {whose} are spread over {} source addresses", rules.sources.len());
            print(arguments, &said, true, spreader.sources()?, None)
        }
        Mode::Simulation => {
            Spreader::detach(pins)?;
            let said = "the kernel does not spread connections: the simulation chooses its local addresses\nwarning: if a \
                        simulation chooses a private address (RFC 1918), Gatling from 3.12 on refuses to connect to a \
                        public one; `generator.spread: kernel` has no such limit";
            print(arguments, said, false, Vec::new(), Some(Simulation::new(&rules.sources)))
        }
        Mode::Off => {
            Spreader::detach(pins)?;
            print(arguments, "connections are not spread: `generator.spread` is `off`", false, Vec::new(), None)
        }
    }
}

/// Prints data to stdout, and `said` to stderr.
fn print(
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
        for Source { address, draining, public, connections, refused } in sources {
            let state = if draining { "draining" } else { "taken" };
            let note = if public { " public" } else { "" };
            write!(table, "\n{address:<39} {state:<8} {connections:>12} {refused:>12}{note}")?;
        }
        data(&table)?;
    }
    if !said.is_empty() {
        // Where stderr is closed, the exit code still reports the success.
        let _ = writeln!(io::stderr(), "{said}");
    }
    Ok(())
}

/// The number of local ports of each source: as the kernel is set, or as promised if that cannot be read.
pub(crate) fn ports(config: &Config) -> u32 {
    let found = LocalPorts::look(config);
    let count = if found.range.is_some() { found.count() } else { config.ports_per_address() };
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The addresses of these interfaces that the kernel has. It refuses others as sources.
async fn present(interfaces: &[Interface]) -> Result<Vec<IpAddr>, SpreadError> {
    let addresses = async { Netlink::open()?.addresses().await };
    let present: HashSet<IpAddr> =
        addresses.await.map_err(SpreadError::Addresses)?.into_iter().map(|address| address.ip).collect();
    let addresses = interfaces.iter().flat_map(|interface| interface.addresses.iter().copied());
    Ok(addresses.filter(|address| present.contains(address)).collect())
}

/// The id of a local user, such as the SSH user.
pub(crate) fn uid_of(user: &str) -> Result<u32, SpreadError> {
    let found = accounts::user(user).map_err(SpreadError::Users)?;
    found.map(|found| found.uid).ok_or_else(|| SpreadError::NoUser { user: user.to_owned() })
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
