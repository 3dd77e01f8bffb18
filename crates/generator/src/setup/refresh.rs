//! Keeps others from taking back what setup gives.
//!
//! amazon-ec2-net-utils reads the metadata every minute (`refresh-policy-routes@<interface>.timer`) and takes a failure for
//! an address that is gone. systemd-networkd removes routes and rules that it does not know whenever it starts.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use super::{
    Failure, Outcome,
    files::{FileError, Wanted},
    journal::Journal,
    systemd,
};
use crate::layout::Layout;

const TEMPLATE: &str = "refresh-policy-routes@.timer";
const NETWORKD: &str = "systemd-networkd.service";
const NETWORKD_FILE: &str = "/etc/systemd/networkd.conf.d/90-trunnion.conf";
/// Read when networkd starts, which is when it matters; it is not restarted for it, because it would drop its leases.
const NETWORKD_TEXT: &str = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n";

pub(super) fn off(layout: &Layout, journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
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
                outcome.problems.push(format!("`{}` is there, so `{unit}` is not masked", path.display()));
                continue;
            }
        }
        journal.remember(|before| {
            before.masked.insert(unit.clone());
            before.pending.insert("daemon-reload".to_owned());
            before.pending.insert(format!("stop {unit}"));
        })?;
        // As `systemctl mask` does, which is of no use where systemd does not run.
        symlink("/dev/null", &path).map_err(FileError::new("create", &path))?;
        outcome.changed(format!("`{unit}`"), "masked");
    }
    Ok(())
}
