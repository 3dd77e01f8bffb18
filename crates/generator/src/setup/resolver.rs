//! Lets systemd-resolved answer lookups from its cache, with `generator.dns_cache`. EC2 passes 1,024 packets a second of an
//! interface to its DNS, time and metadata services together (EC2 User Guide, "Monitor network performance for ENA settings on
//! your EC2 instance": `linklocal_allowance_exceeded`), and all lookups leave through the primary interface.

use std::path::Path;

use trunnion_host::Config;

use super::{
    files::{self, Wanted},
    journal::Journal,
    outcome::Outcome,
    systemd,
};
use crate::{
    check::dns::{RESOLV_CONF, STUB},
    failure::Failure,
};

const UNIT: &str = "systemd-resolved.service";
/// It sorts behind the files of distributions, of which one can turn the stub off: the last value counts.
const FILE: &str = "/etc/systemd/resolved.conf.d/zz-trunnion.conf";
const TEXT: &str = "[Resolve]\nCache=yes\nDNSStubListener=yes\n";

pub(super) fn set_up(config: &Config, journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    if !config.dns_cache {
        return Ok(());
    }
    if !systemd::has_unit(UNIT) {
        return Err(
            "`generator.dns_cache` needs systemd-resolved, which this image does not have: install it in the boot \
                    template"
                .into(),
        );
    }
    let wanted = Wanted::system(Path::new(FILE), TEXT);
    if !wanted.is_there()? {
        journal.pend(&restart())?;
    }
    outcome.put(&wanted, journal)?;
    let path = Path::new(RESOLV_CONF);
    let found = files::link(path);
    if found.as_deref() != Some(Path::new(STUB)) {
        let saved = if found.is_none() { files::save(path)? } else { None };
        journal.remember(|before| {
            if let Some(target) = found {
                before.links.entry(path.to_owned()).or_insert(target);
            } else {
                before.files.entry(path.to_owned()).or_insert(saved);
            }
        })?;
        files::put_link(path, Path::new(STUB))?;
        outcome.changed(format!("`{RESOLV_CONF}`"), format!("leads to `{STUB}`"));
    }
    Ok(())
}

/// The arguments of `systemctl` to run after this file was restored.
pub(super) fn restart_for(path: &Path) -> Option<String> {
    (path == Path::new(FILE)).then(restart)
}

fn restart() -> String {
    format!("restart {UNIT}")
}
