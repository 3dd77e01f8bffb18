//! Tests of the machine from outside: over its addresses, or by logging in.

use std::{
    fmt::Write as _,
    io,
    net::Ipv4Addr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use trunnion_host::Config;

use super::{
    PATIENCE,
    machine::Machine,
    vpc::{TARGET, Vpc},
    write,
};
use crate::{Failure, kernel::ensure};

const UNIT: &str = "trunnion-generator.service";

/// The default user of Debian's cloud-init, who has EC2's key and may use `sudo`.
const ADMINISTRATOR: &str = "debian";

/// The longest time for a repair, if qemu emulates the processor.
const REPAIR: Duration = Duration::from_mins(4);

/// The number of connections from each address.
const EACH: usize = 8;

/// A test's name and what it does.
pub(super) type Test = (&'static str, fn(&Guest<'_>) -> Result<(), Failure>);

/// The tests after every boot.
pub(super) const ALWAYS: &[Test] = &[
    ("the_service_runs", |guest| guest.service_runs()),
    ("the_host_is_healthy", |guest| guest.is_healthy()),
    ("metrics_count_every_address", |guest| guest.metrics()),
    ("sshd_listens_on_the_primary_address_only", |guest| guest.sshd_listens_on_primary()),
    ("the_login_has_the_descriptors", |guest| guest.login_has_descriptors()),
    ("programs_run_from_the_executable_folder", |guest| guest.executable_folder()),
    ("connections_come_from_every_address_evenly", |guest| guest.spreads_evenly()),
    ("others_keep_the_primary_address", |guest| guest.others_keep_primary()),
    ("setup_finds_nothing_to_change", |guest| guest.setup_again()),
    ("the_unit_is_hardened", |guest| guest.unit_is_hardened()),
    ("simulations_do_not_reach_the_metadata", |guest| guest.metadata_is_closed()),
    ("tcp_may_take_a_quarter_of_the_memory", |guest| guest.tcp_memory()),
];

/// The tests of repairs.
pub(super) const DAMAGE: &[Test] = &[
    ("a_killed_service_comes_back_and_the_spread_stays", |guest| guest.killed_service()),
    ("a_restart_of_networkd_is_survived", |guest| guest.networkd_restarts()),
];

/// The machine, seen from outside.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    pub(super) vpc: &'a Vpc,
    pub(super) key: &'a Path,
    pub(super) config: &'a Config,
}

impl Guest<'_> {
    /// Checks that the boot script succeeded and cloud-init reports no error.
    pub(super) fn cloud_init_ended(&self, machine: &Machine) -> Result<(), Failure> {
        let ends = ["boot finished", "boot failed", "Failed to run module scripts-user"];
        let said = machine.wait_for(&ends, PATIENCE)?;
        let last = said.last().map(String::as_str).unwrap_or_default();
        ensure!(last.contains("boot finished"), "the boot script says: {last}");
        machine.wait_for(&["finished at"], PATIENCE)?;
        // It exits with 1 on errors.
        let status = self.vpc.ssh(self.key, ADMINISTRATOR, "cloud-init status --long", "")?.succeeded()?;
        ensure!(status.stdout.contains("status: done"), "{status}");
        Ok(())
    }

    /// Checks the exposure that systemd computes, in tenths: it must be below 4.0.
    fn unit_is_hardened(&self) -> Result<(), Failure> {
        let command = format!("systemd-analyze security --no-pager --threshold=39 {UNIT}");
        self.vpc.ssh(self.key, ADMINISTRATOR, &command, "")?.succeeded()?;
        Ok(())
    }

    fn metadata_is_closed(&self) -> Result<(), Failure> {
        let command = "curl --silent --show-error --max-time 5 http://169.254.169.254/latest/meta-data/";
        let refused = self.vpc.ssh(self.key, &self.config.ssh.user, command, "")?;
        ensure!(refused.stdout.is_empty() && refused.stderr.contains("Failed to connect"), "{refused}");
        Ok(())
    }

    fn tcp_memory(&self) -> Result<(), Failure> {
        let command =
            "awk '/^MemTotal/ { print int($2 * 1024 / 4 / 4096) }' /proc/meminfo; cut -f 3 /proc/sys/net/ipv4/tcp_mem";
        let pages = self.vpc.ssh(self.key, ADMINISTRATOR, command, "")?.succeeded()?.stdout;
        let (wanted, found) = pages.trim().split_once('\n').ok_or("two numbers were expected")?;
        ensure!(wanted == found, "TCP may take {found} pages, not {wanted}");
        Ok(())
    }

    /// Waits until `/health` is healthy.
    pub(super) fn becomes_healthy(&self, patience: Duration) -> Result<(), Failure> {
        self.until(patience, Self::is_healthy)
    }

    fn until(&self, patience: Duration, test: impl Fn(&Self) -> Result<(), Failure>) -> Result<(), Failure> {
        let end = Instant::now() + patience;
        loop {
            match test(self) {
                Err(_) if Instant::now() < end => thread::sleep(Duration::from_millis(500)),
                result => return result,
            }
        }
    }

    /// Runs a command as the SSH user of the control plane.
    fn as_user(&self, command: &str, input: &str) -> Result<String, Failure> {
        Ok(self.vpc.ssh(self.key, &self.config.ssh.user, command, input)?.succeeded()?.stdout)
    }

    fn as_root(&self, command: &str) -> Result<String, Failure> {
        Ok(self.vpc.ssh(self.key, ADMINISTRATOR, &format!("sudo {command}"), "")?.succeeded()?.stdout)
    }

    fn service_runs(&self) -> Result<(), Failure> {
        let shown = self.as_user(&format!("systemctl show --property ActiveState,SubState,NRestarts {UNIT}"), "")?;
        for wanted in ["ActiveState=active", "SubState=running", "NRestarts=0"] {
            ensure!(shown.lines().any(|line| line == wanted), "the service is not `{wanted}`: {shown}");
        }
        Ok(())
    }

    fn is_healthy(&self) -> Result<(), Failure> {
        let (status, body) = self.vpc.get(self.config.metrics_port, "/health")?;
        let health: serde_json::Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        ensure!(status == 200 && health["status"] == "healthy", "/health says {status}: {body}");
        Ok(())
    }

    fn metrics(&self) -> Result<(), Failure> {
        let (status, body) = self.vpc.get(self.config.metrics_port, "/metrics?per=address")?;
        ensure!(status == 200, "/metrics says {status}: {body}");
        for address in self.vpc.addresses() {
            ensure!(body.contains(&format!("\"{address}\"")), "/metrics does not know {address}: {body}");
        }
        Ok(())
    }

    fn sshd_listens_on_primary(&self) -> Result<(), Failure> {
        let user = &self.config.ssh.user;
        let who = self.as_user("id -un", "")?;
        ensure!(who.trim() == user, "the login of {user} is {who}");
        let primary = self.vpc.primary()?;
        for address in self.vpc.addresses().into_iter().filter(|address| *address != primary) {
            let error = self.vpc.connect(address, 22)?.err().map(|error| error.kind());
            // The machine refuses the connection, so it has the address and nobody listens.
            ensure!(error == Some(io::ErrorKind::ConnectionRefused), "port 22 of {address}: {error:?}");
        }
        Ok(())
    }

    fn login_has_descriptors(&self) -> Result<(), Failure> {
        let wanted = self.config.descriptors.to_string();
        for command in ["ulimit -Sn", "ulimit -Hn", "bash -lc 'ulimit -n'"] {
            let limit = self.as_user(command, "")?;
            ensure!(limit.trim() == wanted, "`{command}` is {limit}, not {wanted}");
        }
        Ok(())
    }

    fn executable_folder(&self) -> Result<(), Failure> {
        let program = self.config.executable_dir.join("probe");
        let program = program.display();
        let script =
            format!("printf '#!/bin/sh\\necho it runs\\n' > {program}; chmod 700 {program}; {program}; rm {program}");
        let said = self.as_user("bash -es", &script)?;
        ensure!(said == "it runs\n", "a program in the executable folder says: {said}");
        Ok(())
    }

    fn spreads_evenly(&self) -> Result<(), Failure> {
        let addresses = self.vpc.addresses();
        let wanted = addresses.len() * EACH;
        let target = self.vpc.target();
        target.close_all();
        self.as_user("python3 -", &client(wanted)?)?;
        target.wait_for(wanted, Duration::from_mins(1))?;
        let sources = target.by_source();
        target.close_all();
        for address in addresses {
            let count = sources.get(&address.into()).copied().unwrap_or_default();
            ensure!(count.abs_diff(EACH) <= 1, "{count} of {wanted} connections come from {address}: {sources:?}");
        }
        Ok(())
    }

    /// Checks that only connections of the SSH user are spread.
    fn others_keep_primary(&self) -> Result<(), Failure> {
        let target = self.vpc.target();
        target.close_all();
        self.vpc.ssh(self.key, ADMINISTRATOR, "python3 -", &client(EACH)?)?.succeeded()?;
        target.wait_for(EACH, Duration::from_mins(1))?;
        let sources = target.by_source();
        target.close_all();
        let only = sources.len() == 1 && sources.contains_key(&self.vpc.primary()?.into());
        ensure!(only, "connections of {ADMINISTRATOR} come from {sources:?}");
        Ok(())
    }

    fn setup_again(&self) -> Result<(), Failure> {
        let said = self.as_root("trunnion-generator setup")?;
        ensure!(said == "nothing to change\n", "a further setup changed: {said}");
        Ok(())
    }

    fn killed_service(&self) -> Result<(), Failure> {
        self.as_root(&format!("systemctl kill --signal KILL {UNIT}"))?;
        self.spreads_evenly()?;
        self.becomes_healthy(REPAIR)?;
        let shown = self.as_user(&format!("systemctl show --property NRestarts {UNIT}"), "")?;
        ensure!(shown == "NRestarts=1\n", "the service was not restarted once: {shown}");
        Ok(())
    }

    /// networkd removes addresses that it does not know, and rules and routes, too, unless its configuration forbids that.
    fn networkd_restarts(&self) -> Result<(), Failure> {
        let before = self.network()?;
        self.as_root("systemctl restart systemd-networkd")?;
        // Returns when networkd has configured its interfaces.
        self.as_root("/usr/lib/systemd/systemd-networkd-wait-online --timeout 120")?;
        self.until(REPAIR, |guest| {
            let after = guest.network()?;
            ensure!(after == before, "the network was\n{before}\nand is\n{after}");
            Ok(())
        })?;
        self.becomes_healthy(REPAIR)?;
        self.spreads_evenly()
    }

    /// Addresses, rules and routes, as text that can be compared.
    fn network(&self) -> Result<String, Failure> {
        self.as_user("ip -4 -oneline address | sed 's/ *valid_lft.*//' | sort; ip -4 rule | sort; ip -4 route show table all | sort", "")
    }

    /// Saves the journal of this boot to a file.
    #[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
    pub(super) fn keep_journal(&self, path: &Path) {
        match self.as_root("journalctl --boot --no-pager").and_then(|journal| Ok(write(path, &journal)?)) {
            Ok(()) => eprintln!("The machine's journal is {}", path.display()),
            Err(error) => eprintln!("The machine's journal cannot be read: {error}"),
        }
    }
}

/// A program that opens this number of connections without binding an address, and holds them until all are
/// established.
fn client(connections: usize) -> Result<String, std::fmt::Error> {
    let (address, port): (Ipv4Addr, u16) = TARGET;
    let mut script = String::from("import socket\n");
    writeln!(script, "held = [socket.create_connection(('{address}', {port}), 30) for _ in range({connections})]")?;
    writeln!(script, "print(len(held))")?;
    Ok(script)
}
