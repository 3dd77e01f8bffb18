//! Limits of the kernel: local ports, open files, memory and tracked connections; and whether the clock is synchronised.

use std::{fs, str::FromStr};

use trunnion_host::{Config, most_by_memory};

use super::{kernel, verdict::Check};
use crate::{
    local_ports::LocalPorts,
    tcp_limits::{self, TcpLimits},
};

/// Limits of the kernel. A field that is `None` could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) ports: LocalPorts,
    /// The highest limit of open files that a process can have.
    pub(crate) nr_open: Option<u64>,
    /// Open files of the whole host, and their limit.
    pub(crate) open_files: Option<(u64, u64)>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) tcp: TcpLimits,
    /// `None` where the kernel tracks no connections of this network namespace.
    pub(crate) conntrack: Option<Conntrack>,
    pub(crate) clock_is_synchronised: Option<bool>,
    /// TCP sockets in use or in `TIME_WAIT`.
    pub(crate) connections: u64,
}

/// The connection tracking of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conntrack {
    pub(crate) entries: u64,
    /// `None` if there is no limit.
    pub(crate) most: Option<u64>,
}

impl Limits {
    pub(crate) fn look(config: &Config) -> Self {
        Self {
            ports: LocalPorts::look(config),
            nr_open: number("/proc/sys/fs/nr_open"),
            open_files: open_files(),
            memory_bytes: memory("MemTotal"),
            tcp: TcpLimits::look(),
            conntrack: conntrack(),
            clock_is_synchronised: kernel::clock_is_synchronised().ok(),
            connections: connections(&read("/proc/net/sockstat"), &read("/proc/net/sockstat6")),
        }
    }
}

/// The content of a file in `/proc`; empty if it cannot be read.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn number<T: FromStr>(path: &str) -> Option<T> {
    read(path).trim().parse().ok()
}

/// Open files of the whole host, and their limit.
pub(crate) fn open_files() -> Option<(u64, u64)> {
    let text = read("/proc/sys/fs/file-nr");
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    // The second number has been zero since Linux 2.6.
    Some((numbers.next()?.ok()?, numbers.nth(1)?.ok()?))
}

/// A line of `/proc/meminfo`, in bytes.
pub(crate) fn memory(line: &str) -> Option<u64> {
    memory_in(&read("/proc/meminfo"), line)
}

fn memory_in(text: &str, line: &str) -> Option<u64> {
    let rest = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'))?;
    rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The kernel tracks connections if it has entries: our own connection to the metadata service would be one.
pub(crate) fn conntrack() -> Option<Conntrack> {
    let entries = number("/proc/sys/net/netfilter/nf_conntrack_count").filter(|&entries| entries > 0)?;
    let most = number("/proc/sys/net/netfilter/nf_conntrack_max").filter(|&most| most > 0);
    Some(Conntrack { entries, most })
}

/// Sockets in use and in `TIME_WAIT`, of both families. The kernel counts all of the latter as IPv4.
fn connections(sockstat: &str, sockstat6: &str) -> u64 {
    let value = |text: &str, line: &str, word: &str| {
        let line = text.lines().find_map(|found| found.strip_prefix(line))?;
        let mut words = line.split_ascii_whitespace().skip_while(|found| *found != word);
        words.nth(1)?.parse::<u64>().ok()
    };
    let counts = [value(sockstat, "TCP:", "inuse"), value(sockstat, "TCP:", "tw"), value(sockstat6, "TCP6:", "inuse")];
    counts.into_iter().flatten().sum()
}

pub(super) fn ports(config: &Config, limits: &Limits) -> Check {
    const NAME: &str = "ports";
    let Some(ports) = limits.ports.range else {
        return Check::failed(NAME, "cannot read `net.ipv4.ip_local_port_range`", "make sure that /proc is mounted");
    };
    let (count, promised) = (limits.ports.count(), config.ports_per_address());
    let range = format!("{} to {}", ports.first, ports.last);
    if count < promised {
        let reserved = match limits.ports.reserved {
            0 => String::new(),
            reserved => format!(" without the {reserved} of `net.ipv4.ip_local_reserved_ports`"),
        };
        return Check::failed(
            NAME,
            format!("each address has {count} local ports, {range}{reserved}; {promised} were promised"),
            "name ports of other services in `generator.reserved_ports` of the stack; then run `trunnion-generator setup`, and remove \
             files in /etc/sysctl.d that set other values",
        );
    }
    Check::ok(NAME, format!("each address has {count}, {range}"))
}

pub(super) fn memory_of(limits: &Limits) -> Option<u64> {
    limits.memory_bytes.map(most_by_memory)
}

pub(super) fn judge_memory(config: &Config, limits: &Limits) -> Check {
    const NAME: &str = "memory";
    let (Some(bytes), Some(most)) = (limits.memory_bytes, memory_of(limits)) else {
        return Check::failed(NAME, "cannot read the memory size of this host", "make sure that /proc is mounted");
    };
    let message = format!("{} MiB are enough for {most} connections", bytes >> 20);
    if most < config.connections.total {
        let message = format!("{message}, {} were promised", config.connections.total);
        return Check::failed(NAME, message, "use an instance type with more memory");
    }
    Check::ok(NAME, message)
}

/// Whether the kernel lets TCP take the memory and the orphaned sockets of the promised connections.
pub(super) fn judge_tcp(config: &Config, limits: &Limits) -> [Check; 2] {
    const SETUP: &str = "run `trunnion-generator setup`, and remove files in /etc/sysctl.d that set other values";
    const OTHERS: &str = "only the machine can set it, not this network namespace";
    let connections = config.connections.total;
    let wanted = tcp_limits::unread_bytes(config);
    let memory = match limits.tcp.memory_bytes {
        None => Check::ok("tcp memory", OTHERS),
        Some(most) if most < wanted => {
            let message = format!(
                "`net.ipv4.tcp_mem` allows {} MiB; {connections} connections with a short unread message take {} MiB",
                most >> 20,
                wanted >> 20
            );
            Check::failed("tcp memory", message, SETUP)
        }
        Some(most) => Check::ok("tcp memory", format!("at most {} MiB, {} MiB are needed", most >> 20, wanted >> 20)),
    };
    let orphans = match limits.tcp.orphans {
        None => Check::ok("tcp orphans", OTHERS),
        Some(most) if most < connections => {
            let message = format!(
                "`net.ipv4.tcp_max_orphans` is {most}: if more of the {connections} connections are closed at once, the \
                 kernel resets them"
            );
            Check::warning("tcp orphans", message, SETUP)
        }
        Some(most) => Check::ok("tcp orphans", format!("at most {most}")),
    };
    [memory, orphans]
}

pub(super) fn judge_conntrack(config: &Config, limits: &Limits) -> Check {
    const NAME: &str = "conntrack";
    const HELP: &str =
        "raise `net.netfilter.nf_conntrack_max`, or remove the firewall rules that turn on connection tracking";
    match limits.conntrack {
        None => Check::ok(NAME, "the kernel tracks no connections"),
        Some(Conntrack { entries, most: None }) => {
            Check::ok(NAME, format!("the kernel tracks {entries} connections, without a limit"))
        }
        Some(Conntrack { entries, most: Some(most) }) if entries >= most => Check::failed(
            NAME,
            format!("the connection table of the kernel is full: {entries} of {most} entries"),
            HELP,
        ),
        Some(Conntrack { most: Some(most), .. }) if most < config.connections.total => Check::failed(
            NAME,
            format!("the kernel tracks {most} connections at most, {} were promised", config.connections.total),
            HELP,
        ),
        Some(Conntrack { entries, most: Some(most) }) => {
            Check::ok(NAME, format!("the kernel tracks {entries} of {most} connections"))
        }
    }
}

pub(super) fn clock(limits: &Limits) -> Check {
    const NAME: &str = "clock";
    const HELP: &str = "start chronyd, which Amazon Linux configures for 169.254.169.123; without it, timestamps can be wrong, but response times are right";
    match limits.clock_is_synchronised {
        Some(true) => Check::ok(NAME, "synchronised"),
        Some(false) => Check::warning(NAME, "the clock is not synchronised", HELP),
        None => Check::warning(NAME, "cannot read from the kernel whether the clock is synchronised", HELP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc_are_read() {
        assert_eq!(memory_in("MemTotal:       16 kB\nMemFree: 1 kB\n", "MemTotal"), Some(16_384));
        assert_eq!(memory_in("MemTotal: 16 MB\n", "MemTotal"), None);
        assert_eq!(memory_in("", "MemTotal"), None);
    }

    #[test]
    fn connections_of_both_families_count() {
        let sockstat = "sockets: used 9\nTCP: inuse 3 orphan 0 tw 2 alloc 4 mem 2\n";
        assert_eq!(connections(sockstat, "TCP6: inuse 5\n"), 10);
        assert_eq!(connections("", ""), 0);
    }
}
