//! The limits of kernel and processes: those of Gatling's operations page (read August 2026), raised where the addresses of
//! this host need more.

use std::path::Path;

use trunnion_host::{Config, Ports};

use super::{files::Wanted, journal::Journal, outcome::Outcome};
use crate::{
    check,
    failure::{Failure, causes},
    sysctl, tcp_limits,
};

const SYSCTL_FILE: &str = "/etc/sysctl.d/90-trunnion.conf";
const LIMITS_FILE: &str = "/etc/security/limits.d/90-trunnion.conf";
const SYSTEMD_FILE: &str = "/etc/systemd/system.conf.d/90-trunnion.conf";

/// The highest limit of open files that the kernel accepts for one process.
const NR_OPEN: u64 = 1_073_741_816;
const NR_OPEN_NAME: &str = "fs/nr_open";
const PORTS_NAME: &str = "net/ipv4/ip_local_port_range";
const RESERVED_NAME: &str = "net/ipv4/ip_local_reserved_ports";

pub(super) fn set_up(config: &Config, journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    let mut sysctls = sysctls(config);
    let listeners: Vec<u16> = config.listeners().filter(|port| config.ports.contains(*port)).collect();
    if !listeners.is_empty() {
        // Without the reservation, a connection can hold the port when the service restarts.
        let others = sysctl::get(RESERVED_NAME)?.unwrap_or_default();
        let list = listeners.iter().fold(others, |list, &port| with_port(&list, port));
        sysctls.push((RESERVED_NAME, list));
    }
    // A higher value of these stays, and is not in the file, which would lower it at the next start of the host.
    for (name, wanted) in
        tcp_limits::wanted(config, check::limits::memory("MemTotal").ok_or("/proc/meminfo has no MemTotal")?)
    {
        if sysctl::get(name)?.is_some_and(|found| found == wanted || !tcp_limits::is_as_high(&found, &wanted)) {
            sysctls.push((name, wanted));
        }
    }
    for (name, wanted) in &sysctls {
        match sysctl::get(name)? {
            None => outcome.warnings.push(format!("the kernel has no parameter `{}`", dotted(name))),
            Some(found) if found == *wanted => {}
            // The service alternates between the two.
            Some(found) if *name == PORTS_NAME && found == range(config.ports.alternate()) => {}
            Some(found) if *name == NR_OPEN_NAME && found.parse().is_ok_and(|found: u64| found >= NR_OPEN) => {}
            Some(found) => {
                journal.remember(|before| {
                    before.sysctls.entry((*name).to_owned()).or_insert_with(|| found.clone());
                })?;
                match sysctl::set(name, wanted) {
                    Ok(()) => outcome.changed(format!("`{}`", dotted(name)), format!("set to `{wanted}`")),
                    Err(error) => {
                        let said = format!("`{}` stays `{found}`: {error}{}", dotted(name), causes(&error));
                        let enough = *name != PORTS_NAME
                            && (*name != NR_OPEN_NAME
                                || found.parse().is_ok_and(|found: u64| found >= config.descriptors));
                        if enough { outcome.warnings.push(said) } else { outcome.problems.push(said) }
                    }
                }
            }
        }
    }
    let lines: Vec<_> = sysctls.iter().map(|(name, value)| format!("{} = {value}\n", dotted(name))).collect();
    outcome.put(&Wanted::system(Path::new(SYSCTL_FILE), &lines.concat()), journal)?;
    let text = format!("* - nofile {0}\nroot - nofile {0}\n", config.descriptors);
    outcome.put(&Wanted::system(Path::new(LIMITS_FILE), &text), journal)?;
    let text = format!("[Manager]\nDefaultLimitNOFILE={}\n", config.descriptors);
    let systemd = Wanted::system(Path::new(SYSTEMD_FILE), &text);
    if !systemd.is_there()? {
        // `daemon-reload` also makes systemd read this file.
        journal.pend("daemon-reload")?;
    }
    outcome.put(&systemd, journal)?;
    Ok(())
}

/// The kernel parameters to set, by their path below `/proc/sys`.
fn sysctls(config: &Config) -> Vec<(&'static str, String)> {
    vec![
        (NR_OPEN_NAME, NR_OPEN.max(config.descriptors).to_string()),
        ("net/core/optmem_max", "131072".into()),
        (PORTS_NAME, range(config.ports)),
        ("net/ipv4/tcp_fin_timeout", "15".into()),
        ("net/ipv4/tcp_max_tw_buckets", "8192".into()),
        ("net/ipv4/tcp_rmem", "4096 131072 33554432".into()),
        ("net/ipv4/tcp_slow_start_after_idle", "0".into()),
        ("net/ipv4/tcp_tw_reuse", "1".into()),
        ("net/ipv4/tcp_wmem", "4096 16384 4194304".into()),
    ]
}

fn range(ports: Ports) -> String {
    format!("{} {}", ports.first, ports.last)
}

/// Adds the port to a list such as `8080,9000-9100`, unless the list has it.
fn with_port(list: &str, port: u16) -> String {
    let holds = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        low.parse().is_ok_and(|low: u16| low <= port) && high.parse().is_ok_and(|high: u16| port <= high)
    };
    let list = list.trim();
    if list.split(',').any(holds) {
        return list.to_owned();
    }
    // The kernel sorts the list.
    if list.is_empty() { port.to_string() } else { format!("{list},{port}") }
}

fn dotted(name: &str) -> String {
    name.replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_reserved_already_stay_in_the_list() {
        assert_eq!(with_port("", 9_464), "9464");
        assert_eq!(with_port("8080,9000-9100\n", 9_464), "8080,9000-9100,9464");
        for list in ["9464", "80,9000-9500"] {
            assert_eq!(with_port(list, 9_464), list);
        }
    }
}
