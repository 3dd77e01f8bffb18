//! Keeps other programs from removing what setup adds.
//!
//! amazon-ec2-net-utils reads the metadata every minute (`refresh-policy-routes@<interface>.timer`), and removes addresses if
//! a read fails. systemd-networkd removes routes and rules of others whenever it starts.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use super::{files::Wanted, journal::Journal, outcome::Outcome, systemd};
use crate::{
    failure::{Failure, FileError},
    layout::Layout,
};

const TEMPLATE: &str = "refresh-policy-routes@.timer";
const NETWORKD: &str = "systemd-networkd.service";
const NETWORKD_FILE: &str = "/etc/systemd/networkd.conf.d/90-trunnion.conf";
/// networkd reads it when it starts, which is when it removes routes. We do not restart it: that would drop its leases.
const NETWORKD_TEXT: &str = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n";

pub(super) fn disable(layout: &Layout, journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    if systemd::has_unit(NETWORKD) {
        outcome.put(&Wanted::system(Path::new(NETWORKD_FILE), NETWORKD_TEXT), journal)?;
    }
    if !systemd::has_unit(TEMPLATE) {
        return Ok(());
    }
    for interface in &layout.interfaces {
        let unit = format!("refresh-policy-routes@{}.timer", interface.name);
        let path = systemd::mask(&unit);
        match fs::read_link(&path) {
            Ok(target) if target == Path::new("/dev/null") => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => {
                outcome.problems.push(format!(
                    "`{}` is not a link to /dev/null, so `{unit}` is not masked: remove it",
                    path.display()
                ));
                continue;
            }
        }
        journal.remember(|before| {
            before.masked.insert(unit.clone());
            before.pending.insert("daemon-reload".to_owned());
            before.pending.insert(format!("stop {unit}"));
        })?;
        // `systemctl mask` does the same, but only where systemd runs.
        symlink("/dev/null", &path).map_err(FileError::new("create", &path))?;
        outcome.changed(format!("`{unit}`"), "masked");
    }
    Ok(())
}
