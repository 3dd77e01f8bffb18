//! Makes sshd listen on the primary address only. All other addresses are for load.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    files::{self, Wanted},
    journal::Journal,
    outcome::Outcome,
    systemd,
};
use crate::{failure::Failure, layout::Layout};

/// sshd uses the first value of each keyword, so this file sorts before those of distributions, such as `50-redhat.conf`. The
/// exception is `ListenAddress`: sshd uses all of its values, and [`other_listeners`] finds those of other files.
const FILE: &str = "/etc/ssh/sshd_config.d/00-trunnion.conf";
const PROGRAMS: [&str; 2] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"];
/// The names of the unit on Amazon Linux and on Debian.
const UNITS: [&str; 2] = ["sshd.service", "ssh.service"];
const SOCKETS: [&str; 2] = ["sshd.socket", "ssh.socket"];
/// sshd can only listen on an address that exists when it starts.
const ORDER: &str = "[Unit]\nAfter=network-online.target\nWants=network-online.target\n";

pub(super) fn set_up(layout: &Layout, journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    let Some(&address) = layout.interfaces.first().and_then(|primary| primary.addresses.first()) else {
        return Err("the primary interface has no address".into());
    };
    let Some(sshd) = PROGRAMS.into_iter().find(|program| Path::new(program).exists()) else {
        outcome.warnings.push("sshd is not installed, so the control plane cannot log in".to_owned());
        return Ok(());
    };
    let unit = UNITS.into_iter().find(|unit| systemd::has_unit(unit));
    let reload = unit.map(reload);
    if let Some(unit) = unit {
        let path = drop_in(unit);
        let order = Wanted::system(&path, ORDER);
        if !order.is_there()? {
            journal.pend("daemon-reload")?;
        }
        outcome.put(&order, journal)?;
    }
    let text = format!("# All other addresses of this host are for load.\nListenAddress {address}\nUsePAM yes\n");
    let wanted = Wanted::system(Path::new(FILE), &text);
    let was_there = wanted.is_there()?;
    if let Some(reload) = reload.as_deref().filter(|_| !was_there) {
        journal.pend(reload)?;
    }
    outcome.put(&wanted, journal)?;
    let untried = !was_there || reload.as_deref().is_some_and(|reload| journal.is_pending(reload));
    if untried && let Err(error) = systemd::run(Command::new(sshd).arg("-t")) {
        files::restore(Path::new(FILE), journal.before().files.get(Path::new(FILE)).and_then(Option::as_ref))?;
        if let Some(reload) = &reload {
            journal.done(reload)?;
        }
        outcome.changed(format!("`{FILE}`"), "restored");
        return Err(format!("sshd rejects its configuration with `{FILE}`, so the file was restored: {error}").into());
    }
    let effective = systemd::run(Command::new(sshd).arg("-T"))?;
    outcome.problems.extend(other_listeners(&effective, address));
    if systemd::runs() {
        let active = SOCKETS.into_iter().find(|socket| systemd::systemctl(&format!("is-active {socket}")).is_ok());
        if let Some(socket) = active {
            outcome.problems.push(format!("`{socket}` listens instead of sshd, on other addresses: disable it"));
        }
    }
    Ok(())
}

/// The problems in the output of `sshd -T`: it must list the primary address, and no other.
fn other_listeners(effective: &str, address: IpAddr) -> Vec<String> {
    let listeners: Vec<&str> = effective.lines().filter_map(|line| line.strip_prefix("listenaddress ")).collect();
    let is_ours = |listener: &&str| {
        let ip = listener.rsplit_once(':').map_or(*listener, |(ip, _)| ip);
        ip.trim_matches(['[', ']']).parse() == Ok(address)
    };
    if !listeners.iter().any(is_ours) {
        let problem = format!(
            "sshd does not read `{FILE}`: add `Include /etc/ssh/sshd_config.d/*.conf` as the first line of `/etc/ssh/sshd_config`"
        );
        return vec![problem];
    }
    let others = listeners.iter().filter(|listener| !is_ours(listener));
    others
        .map(|other| format!("sshd also listens on {other}: remove that `ListenAddress` from its configuration"))
        .collect()
}

/// The arguments of `systemctl` that make sshd read its configuration.
fn reload(unit: &str) -> String {
    format!("try-reload-or-restart {unit}")
}

fn drop_in(unit: &str) -> PathBuf {
    systemd::mask(&format!("{unit}.d")).join("90-trunnion.conf")
}

/// The arguments of `systemctl` to run after this file was restored, if it is ours.
pub(super) fn reload_for(path: &Path) -> Option<String> {
    if path != Path::new(FILE) {
        return None;
    }
    UNITS.into_iter().find(|unit| systemd::has_unit(unit)).map(reload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners() {
        let address = "10.0.1.5".parse().unwrap();
        let others = |text: &str| other_listeners(text, address).len();
        assert_eq!(others("port 22\nlistenaddress 10.0.1.5:22\nusepam yes\n"), 0);
        assert_eq!(others("listenaddress 10.0.1.5:22\nlistenaddress 10.0.1.5:2222\n"), 0);
        assert_eq!(others("listenaddress 10.0.1.5:22\nlistenaddress 0.0.0.0:22\nlistenaddress [::]:22\n"), 2);
        assert!(other_listeners("listenaddress 0.0.0.0:22\n", address)[0].contains("does not read"));
    }
}
